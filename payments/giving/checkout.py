"""Checkout: what Stripe's payment page says became of a contribution.

A Checkout Session is fetched, never believed from a return address. Its word counts until money
moves; from then on the bank's does (`charges`), for a bank debit is paid, refused or taken back
days after its reader has left the page.
"""

from datetime import UTC, datetime

import stripe
from sqlalchemy.ext.asyncio import AsyncSession
from stripe.checkout import Session as CheckoutSession

from payments.core.money import Money
from payments.donors import donors
from payments.giving import charges, contributions, import_unknown
from payments.giving.checkout_session import Frequency
from payments.giving.contributions import UNSETTLED, Contribution, Status
from payments.infra import stripe_client
from payments.infra.context import Runtime

# Stripe's words for a delayed payment that came to nothing
INTENT_FAILED = ("requires_payment_method", "canceled")
PROMISE_FAILED = ("past_due", "unpaid", "canceled", "incomplete", "incomplete_expired")


def status_of(session: CheckoutSession) -> Status:
    """Our word for the state of a Checkout Session.

    `payment_intent` and `subscription` must be expanded or null: a delayed payment that failed is
    told by them alone.
    """
    if session.status == "open":
        return Status.OPEN
    if session.status == "expired":
        return Status.EXPIRED
    if session.payment_status in ("paid", "no_payment_required"):
        return Status.PAID
    intent, promise = session.payment_intent, session.subscription
    failed = isinstance(intent, stripe.PaymentIntent) and intent.status in INTENT_FAILED
    if isinstance(promise, stripe.Subscription):
        failed = promise.status in PROMISE_FAILED
    return Status.FAILED if failed else Status.PROCESSING


async def sync_session(rt: Runtime, session_id: str) -> CheckoutSession:
    """Fetch a Checkout Session as it is now and write what follows. Gives it as fetched.

    One that only sets up a card is no contribution: nothing is written here.
    """
    with stripe_client.reachable():
        fetched = await rt.stripe.v1.checkout.sessions.retrieve_async(
            session_id, {"expand": ["payment_intent", "subscription"]}
        )
    if fetched.mode != "setup":
        async with rt.sessions.begin() as session:
            await _write_session(rt, session, fetched)
    return fetched


async def _write_session(rt: Runtime, session: AsyncSession, fetched: CheckoutSession) -> None:
    contribution_id = await _of_session(rt, session, fetched)
    if contribution_id is None:
        return
    donor_id = None
    if await contributions.is_protected(session, contribution_id):
        await _tell_little(session, contribution_id, fetched, now=rt.now())
        return
    if await _is_news(session, contribution_id):
        # before the contribution is locked: everybody takes the donor first
        donor_id = await _meet_donor(rt, session, fetched)
    await _tell(session, contribution_id, fetched, now=rt.now())
    if donor_id is not None:
        await contributions.give_to(session, contribution_id, donor_id)
    if (intent := stripe_client.id_of(fetched.payment_intent)) is not None:
        await contributions.link(session, intent, contribution_id, Frequency.ONCE)
        await charges.settle(session, intent, now=rt.now())


async def _tell_little(
    session: AsyncSession, contribution_id: str, fetched: CheckoutSession, *, now: datetime
) -> None:
    """Of a protected gift only what the books need is written: what became of it."""
    row = await session.get_one(Contribution, contribution_id)
    if row.status in UNSETTLED:
        await contributions.becomes(session, contribution_id, status_of(fetched), now=now)
    if (intent := stripe_client.id_of(fetched.payment_intent)) is not None:
        await contributions.link(session, intent, contribution_id, Frequency.ONCE)
        await charges.settle(session, intent, now=now)


async def _is_news(session: AsyncSession, contribution_id: str) -> bool:
    """Whether this is the first we hear of a session's end.

    Told of again later, a donor who was erased in between must not come back.
    """
    row = await session.get_one(Contribution, contribution_id)
    is_known = row.stripe_session_id is not None and row.checkout_url is None
    return row.status in UNSETTLED or not is_known


async def _tell(
    session: AsyncSession, contribution_id: str, fetched: CheckoutSession, *, now: datetime
) -> None:
    """Write what a Checkout Session has become.

    Once paid, only the bank's word changes anything: the session stays paid whatever comes back.
    """
    row = await session.get_one(
        Contribution,
        contribution_id,
        with_for_update={"key_share": True},
        populate_existing=True,
    )
    is_decided = row.status in (Status.PAID, Status.RETURNED) and row.stripe_session_id
    row.stripe_session_id, row.checkout_url = fetched.id, fetched.url
    row.checkout_request = None
    await session.flush()
    if not is_decided:
        await contributions.becomes(session, contribution_id, status_of(fetched), now=now)


async def _meet_donor(rt: Runtime, session: AsyncSession, fetched: CheckoutSession) -> str | None:
    """Remember who gave, by a keyed hash, so that they can find their gifts again."""
    details = fetched.customer_details
    if fetched.status != "complete" or details is None or details.email is None:
        return None
    return await donors.meet(
        session,
        rt.settings,
        address=details.email,
        customer=stripe_client.id_of(fetched.customer),
        since=_paid_at(fetched),
        now=rt.now(),
    )


def _paid_at(fetched: CheckoutSession) -> datetime:
    """When the reader pressed the button, as near as Stripe tells."""
    intent, promise = fetched.payment_intent, fetched.subscription
    seconds = fetched.created
    if isinstance(promise, stripe.Subscription):
        seconds = promise.start_date
    elif isinstance(intent, stripe.PaymentIntent):
        seconds = intent.created
    return datetime.fromtimestamp(seconds, UTC)


async def _of_session(rt: Runtime, session: AsyncSession, fetched: CheckoutSession) -> str | None:
    """The contribution of a session: ours, or adopted if something came of it."""
    # Not client_reference_id: whoever opens a Payment Link chooses that, and could claim a row.
    ours = stripe_client.metadata_of(fetched, "contribution_id")
    if ours is not None and await session.get(Contribution, ours) is not None:
        return ours
    root = stripe_client.id_of(fetched.subscription) or stripe_client.id_of(fetched.payment_intent)
    if root is None or fetched.status != "complete":
        return None  # somebody else's, and nothing came of it
    assert fetched.amount_total is not None
    assert fetched.currency is not None
    return await import_unknown.adopt(
        session,
        root,
        claimed_id=ours,
        money=Money(fetched.amount_total, fetched.currency),
        frequency=contributions.frequency_of(fetched.subscription),
        status=status_of(fetched),
        now=rt.now(),
    )
