"""Checkout: what Stripe's payment page says became of a contribution.

A Checkout Session is fetched, never believed from a return address. Its word counts until money
moves; from then on the bank's does (`charges`), for a bank debit is paid, refused or taken back
days after its reader has left the page.
"""

from datetime import datetime

import stripe
from sqlalchemy.ext.asyncio import AsyncSession
from stripe.checkout import Session as CheckoutSession

from payments.core.calendar import from_unix
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.donors import donors
from payments.giving import charges, contributions, import_unknown
from payments.giving.contributions import OUTCOME_PENDING, Contribution, ContributionStatus
from payments.infra import stripe_client
from payments.infra.context import Context

# Stripe's words for a delayed payment that came to nothing
FAILED_INTENT_STATUSES = ("requires_payment_method", "canceled")
FAILED_SUBSCRIPTION_STATUSES = (
    "past_due",
    "unpaid",
    "canceled",
    "incomplete",
    "incomplete_expired",
)


def contribution_status(session: CheckoutSession) -> ContributionStatus:
    """Our word for the state of a Checkout Session.

    `payment_intent` and `subscription` must be expanded or null: a delayed payment that failed is
    told by them alone.
    """
    if session.status == "open":
        return ContributionStatus.OPEN
    if session.status == "expired":
        return ContributionStatus.EXPIRED
    if session.payment_status in ("paid", "no_payment_required"):
        return ContributionStatus.PAID
    intent, promise = session.payment_intent, session.subscription
    failed = isinstance(intent, stripe.PaymentIntent) and intent.status in FAILED_INTENT_STATUSES
    if isinstance(promise, stripe.Subscription):
        failed = promise.status in FAILED_SUBSCRIPTION_STATUSES
    return ContributionStatus.FAILED if failed else ContributionStatus.PROCESSING


async def sync_session(ctx: Context, session_id: str) -> CheckoutSession:
    """Fetch a Checkout Session as it is now and write what follows. Gives it as fetched.

    One that only sets up a card is no contribution: nothing is written here.
    """
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.checkout.sessions.retrieve_async(
            session_id, {"expand": ["payment_intent", "subscription"]}
        )
    if fetched.mode != "setup":
        async with ctx.sessions.begin() as session:
            await _write_outcome(ctx, session, fetched)
    return fetched


async def _write_outcome(ctx: Context, session: AsyncSession, fetched: CheckoutSession) -> None:
    contribution_id = await _contribution_of(ctx, session, fetched)
    if contribution_id is None:
        return
    donor_id = None
    if await contributions.lock_and_check_protected(session, contribution_id):
        await _apply_anonymised(session, contribution_id, fetched, now=ctx.now())
        return
    if await _is_first_outcome(session, contribution_id):
        # before the contribution is locked: everybody takes the donor first
        donor_id = await _find_or_create_donor(ctx, session, fetched)
    await _apply_session(session, contribution_id, fetched, now=ctx.now())
    if donor_id is not None:
        await contributions.attach_donor(session, contribution_id, donor_id)
    if (intent := stripe_client.id_of(fetched.payment_intent)) is not None:
        await contributions.link_payment_intent(session, intent, contribution_id, Frequency.ONCE)
        await charges.update_contribution(session, intent, now=ctx.now())


async def _apply_anonymised(
    session: AsyncSession, contribution_id: str, fetched: CheckoutSession, *, now: datetime
) -> None:
    """Of a protected gift only what the books need is written: what became of it."""
    row = await session.get_one(Contribution, contribution_id)
    if row.status in OUTCOME_PENDING:
        await contributions.set_status(
            session, contribution_id, contribution_status(fetched), now=now
        )
    if (intent := stripe_client.id_of(fetched.payment_intent)) is not None:
        await contributions.link_payment_intent(session, intent, contribution_id, Frequency.ONCE)
        await charges.update_contribution(session, intent, now=now)


async def _is_first_outcome(session: AsyncSession, contribution_id: str) -> bool:
    """Whether this is the first we hear of a session's end.

    Told of again later, a donor who was erased in between must not come back.
    """
    row = await session.get_one(Contribution, contribution_id)
    is_known = row.stripe_session_id is not None and row.checkout_url is None
    return row.status in OUTCOME_PENDING or not is_known


async def _apply_session(
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
    is_decided = (
        row.status in (ContributionStatus.PAID, ContributionStatus.RETURNED)
        and row.stripe_session_id
    )
    row.stripe_session_id, row.checkout_url = fetched.id, fetched.url
    row.checkout_session_params = None
    await session.flush()
    if not is_decided:
        await contributions.set_status(
            session, contribution_id, contribution_status(fetched), now=now
        )


async def _find_or_create_donor(
    ctx: Context, session: AsyncSession, fetched: CheckoutSession
) -> str | None:
    """Remember who gave, by a keyed hash, so that they can find their gifts again."""
    details = fetched.customer_details
    if fetched.status != "complete" or details is None or details.email is None:
        return None
    return await donors.find_or_create(
        session,
        ctx.settings,
        address=details.email,
        stripe_customer_id=stripe_client.id_of(fetched.customer),
        contributed_at=_completed_at(fetched),
        now=ctx.now(),
    )


def _completed_at(fetched: CheckoutSession) -> datetime:
    """When the reader pressed the button, as near as Stripe tells."""
    intent, promise = fetched.payment_intent, fetched.subscription
    seconds = fetched.created
    if isinstance(promise, stripe.Subscription):
        seconds = promise.start_date
    elif isinstance(intent, stripe.PaymentIntent):
        seconds = intent.created
    return from_unix(seconds)


async def _contribution_of(
    ctx: Context, session: AsyncSession, fetched: CheckoutSession
) -> str | None:
    """The contribution of a session: ours, or adopted if something came of it."""
    # Not client_reference_id: whoever opens a Payment Link chooses that, and could claim a row.
    ours = stripe_client.metadata_value(fetched, "contribution_id")
    if ours is not None and await session.get(Contribution, ours) is not None:
        return ours
    root = stripe_client.id_of(fetched.subscription) or stripe_client.id_of(fetched.payment_intent)
    if root is None or fetched.status != "complete":
        return None  # somebody else's, and nothing came of it
    assert fetched.amount_total is not None
    assert fetched.currency is not None
    return await import_unknown.import_from_stripe(
        session,
        root,
        claimed_id=ours,
        money=Money(fetched.amount_total, fetched.currency),
        frequency=contributions.frequency_of(fetched.subscription),
        status=contribution_status(fetched),
        now=ctx.now(),
    )
