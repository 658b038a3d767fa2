"""Checkout: the outcome of a contribution, as Stripe's payment page has it.

A Checkout Session is fetched, never believed from a return address. Its status counts until money
moves; from then on the charges' does (`charges`), because a bank debit is paid, refused or returned
days after its reader has left the page.
"""

from datetime import datetime

import stripe
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from stripe.checkout import Session as CheckoutSession

from payments.core.calendar import from_unix
from payments.core.frequency import Interval
from payments.donors import donors
from payments.giving import (
    adoption,
    charges,
    contributions,
    donor_attribution,
    erased_contributions,
    import_unknown,
    subscription_terms,
)
from payments.giving.contributions import OUTCOME_PENDING, Contribution, ContributionStatus
from payments.giving.import_unknown import ImportedTerms
from payments.giving.payment_intent_links import PaymentIntentLink
from payments.infra import stripe_client
from payments.infra.context import Context

# Stripe's statuses of a delayed payment that failed
FAILED_INTENT_STATUSES = ("requires_payment_method", "canceled")
FAILED_SUBSCRIPTION_STATUSES = (
    "past_due",
    "unpaid",
    "canceled",
    "incomplete",
    "incomplete_expired",
)


def contribution_status(session: CheckoutSession) -> ContributionStatus:
    """Return the status of the contribution that a Checkout Session is for.

    `payment_intent` and `subscription` must be expanded or null: only they show that a delayed
    payment has failed.
    """
    if session.status == "open":
        return ContributionStatus.OPEN
    if session.status == "expired":
        return ContributionStatus.EXPIRED
    if session.payment_status in ("paid", "no_payment_required"):
        return ContributionStatus.PAID
    intent, subscription = session.payment_intent, session.subscription
    failed = isinstance(intent, stripe.PaymentIntent) and intent.status in FAILED_INTENT_STATUSES
    if isinstance(subscription, stripe.Subscription):
        failed = subscription.status in FAILED_SUBSCRIPTION_STATUSES
    return ContributionStatus.FAILED if failed else ContributionStatus.PROCESSING


async def sync_session(ctx: Context, session_id: str) -> CheckoutSession:
    """Fetch a Checkout Session, write the outcome of its contribution, and return it as fetched.

    One that only sets up a card belongs to no contribution: nothing is written.
    """
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.checkout.sessions.retrieve_async(
            session_id, {"expand": ["payment_intent", "subscription"]}
        )
    if fetched.mode != "setup":
        is_ours = await adoption.includes_session(ctx, fetched)
        async with ctx.sessions.begin() as session:
            await _write_outcome(ctx, session, fetched, is_ours=is_ours)
    return fetched


async def _write_outcome(
    ctx: Context, session: AsyncSession, fetched: CheckoutSession, *, is_ours: bool
) -> None:
    contribution_id = await _contribution_of(ctx, session, fetched, is_ours=is_ours)
    if contribution_id is None:
        return
    donor_id = None
    # a page that is open may still be paid, which is a new gift
    given_at = ctx.now() if fetched.status == "open" else _completed_at(fetched)
    if await erased_contributions.is_or_becomes_erased(
        session, contribution_id, given_at=given_at, now=ctx.now()
    ):
        await _apply_erased(session, contribution_id, fetched, now=ctx.now())
        return
    if await _is_first_outcome(session, contribution_id):
        # before the contribution is locked: the donor is always locked first
        donor_id = await _find_or_create_donor(ctx, session, fetched)
        if donor_id is None and _address_of(fetched) is not None:  # erased since
            await erased_contributions.erase(session, [contribution_id], now=ctx.now())
            await _apply_erased(session, contribution_id, fetched, now=ctx.now())
            return
    await _apply_session(session, contribution_id, fetched, now=ctx.now())
    if donor_id is not None:
        await donor_attribution.attach_donor(session, contribution_id, donor_id)
    if (intent := stripe_client.id_of(fetched.payment_intent)) is not None:
        await charges.link_payment(session, intent, contribution_id, None, now=ctx.now())


async def _apply_erased(
    session: AsyncSession, contribution_id: str, fetched: CheckoutSession, *, now: datetime
) -> None:
    """Write the outcome of an erased contribution, and nothing else."""
    row = await session.get_one(Contribution, contribution_id)
    if row.status in OUTCOME_PENDING:
        await contributions.set_status(
            session, contribution_id, contribution_status(fetched), now=now
        )
    if (intent := stripe_client.id_of(fetched.payment_intent)) is not None:
        await charges.link_payment(session, intent, contribution_id, None, now=now)


async def _is_first_outcome(session: AsyncSession, contribution_id: str) -> bool:
    """Whether the end of the session has not been written before.

    Fetched once more later, it must not bring back a donor who was erased in between.
    """
    row = await session.get_one(Contribution, contribution_id)
    end_is_known = row.stripe_session_id is not None and row.checkout_url is None
    return row.status in OUTCOME_PENDING or not end_is_known


async def _apply_session(
    session: AsyncSession, contribution_id: str, fetched: CheckoutSession, *, now: datetime
) -> None:
    """Write the state of a Checkout Session.

    Once the contribution is paid only charges change its status: a session stays paid even when
    the money is returned.
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
    """Return the donor of a completed session; None without an address, or for an erased one."""
    address = _address_of(fetched)
    if address is None:
        return None
    return await donors.find_or_create(
        session,
        await donors.lenient_address_hashes(ctx.settings, address),
        stripe_customer_id=stripe_client.id_of(fetched.customer),
        contributed_at=_completed_at(fetched),
        now=ctx.now(),
    )


def _address_of(fetched: CheckoutSession) -> str | None:
    """Return the address that a completed session was paid with."""
    details = fetched.customer_details
    return details.email if fetched.status == "complete" and details is not None else None


def _completed_at(fetched: CheckoutSession) -> datetime:
    """Return when the reader pressed the button, as near as Stripe says."""
    intent, subscription = fetched.payment_intent, fetched.subscription
    seconds = fetched.created
    if isinstance(subscription, stripe.Subscription):
        seconds = subscription.start_date
    elif isinstance(intent, stripe.PaymentIntent):
        seconds = intent.created
    return from_unix(seconds)


async def _contribution_of(
    ctx: Context, session: AsyncSession, fetched: CheckoutSession, *, is_ours: bool
) -> str | None:
    """Return the contribution of a session, imported if it has no row; None if nothing was paid,
    or if it is none of ours.
    """
    known_id = await session.scalar(
        select(Contribution.id).where(Contribution.stripe_session_id == fetched.id)
    )
    if known_id is not None:
        return known_id
    # Not client_reference_id: whoever opens a Payment Link chooses that, and could claim a row.
    claimed_id = stripe_client.metadata_value(fetched, "contribution_id")
    if await may_claim(session, claimed_id, fetched.id):
        return claimed_id
    root_id = stripe_client.id_of(fetched.subscription)
    root_id = root_id or stripe_client.id_of(fetched.payment_intent)
    erased_id = await import_unknown.find_erased(session, ctx.settings, root_id, claimed_id)
    if erased_id is not None:
        return erased_id
    if not is_ours or await _is_other_income(session, fetched):
        return None
    if root_id is None or fetched.status != "complete":
        return None
    assert fetched.amount_total is not None
    assert fetched.currency is not None
    return await import_unknown.import_from_stripe(
        session,
        ctx.settings,
        root_id,
        claimed_id=claimed_id,
        terms=ImportedTerms(fetched.amount_total, fetched.currency, _interval_of(fetched)),
        status=contribution_status(fetched),
        given_at=from_unix(fetched.created),
        now=ctx.now(),
    )


async def may_claim(session: AsyncSession, contribution_id: str | None, session_id: str) -> bool:
    """Whether a session may be the one of a contribution: one that is there, and has no other.

    Whoever copies an object at Stripe copies our id with it. Another job may have written this very
    session meanwhile.
    """
    row = None if contribution_id is None else await session.get(Contribution, contribution_id)
    return row is not None and row.stripe_session_id in (None, session_id)


async def _is_other_income(session: AsyncSession, fetched: CheckoutSession) -> bool:
    """Whether the payment is booked as other income already: then it stays that."""
    intent_id = stripe_client.id_of(fetched.payment_intent)
    link = None if intent_id is None else await session.get(PaymentIntentLink, intent_id)
    return link is not None and link.contribution_id is None


def _interval_of(fetched: CheckoutSession) -> Interval | None:
    """Return the interval of a session's subscription, which must be expanded; None for once."""
    if not isinstance(fetched.subscription, stripe.Subscription):
        return None
    return subscription_terms.interval_of(fetched.subscription)
