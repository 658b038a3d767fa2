"""Which contribution a subscription belongs to; where there is none, it is imported.

Whoever copies an object at Stripe copies our id with it, so what its metadata says is a claim.
"""

import stripe
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.calendar import from_unix
from payments.giving import contributions, import_unknown
from payments.giving.contributions import Contribution, ContributionStatus
from payments.giving.import_unknown import ImportedTerms
from payments.giving.subscription_terms import SubscriptionTerms
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra import stripe_client
from payments.infra.context import Context


async def find(
    ctx: Context, session: AsyncSession, fetched: stripe.Subscription, *, is_adopted: bool
) -> str | None:
    """Return the contribution that a subscription belongs to by its row, its metadata or an
    erasure; None if there is none, or if it was dropped.

    Once known it stays that, whatever becomes of the metadata. One that was dropped, or does not
    fit, is another line of business: it is never taken for an erased donor's, which is cancelled.
    """
    known_id: str | None = await session.scalar(
        select(Subscription.contribution_id).where(
            Subscription.stripe_subscription_id == fetched.id
        )
    )
    if known_id is not None:
        return known_id
    claimed_id = stripe_client.metadata_value(fetched, "contribution_id")
    if await may_claim(session, claimed_id, fetched.id):
        return claimed_id
    erased_id = await import_unknown.find_erased(session, ctx.settings, fetched.id, claimed_id)
    if erased_id is None:
        return None
    is_ours = is_adopted and not await contributions.was_dropped(session, erased_id)
    return erased_id if is_ours or fetched.ended_at is not None else None


async def find_or_import(
    ctx: Context,
    session: AsyncSession,
    fetched: stripe.Subscription,
    terms: SubscriptionTerms,
    *,
    is_adopted: bool,
) -> str | None:
    """Return the contribution of a subscription, imported if it has no row; None if it is no
    contribution.
    """
    known_id = await find(ctx, session, fetched, is_adopted=is_adopted)
    if known_id is not None or not is_adopted:
        return known_id
    claimed_id = stripe_client.metadata_value(fetched, "contribution_id")
    erased_id = await import_unknown.find_erased(session, ctx.settings, fetched.id, claimed_id)
    if erased_id is not None:
        return None  # it was dropped
    is_there = await contributions.exists(session, claimed_id)
    if is_there and await may_claim(session, claimed_id, fetched.id):
        return claimed_id  # the job of its charge has imported it a moment ago
    return await import_unknown.import_from_stripe(
        session,
        ctx.settings,
        fetched.id,
        claimed_id=None if is_there else claimed_id,
        terms=ImportedTerms(terms.amount, fetched.currency, terms.interval),
        given_at=from_unix(fetched.start_date),
        status=_imported_status(fetched),
        now=ctx.now(),
    )


async def may_claim(
    session: AsyncSession, contribution_id: str | None, subscription_id: str
) -> bool:
    """Whether a subscription may be the one of a contribution that its metadata names.

    It must be there, be recurring and have no other: whoever copies an object at Stripe copies our
    id with it, and each subscription has a page of its own. Its own row, which another job may have
    made meanwhile, is no other.
    """
    row = None if contribution_id is None else await session.get(Contribution, contribution_id)
    if row is None or row.interval is None:
        return False
    others = select(Subscription.stripe_subscription_id).where(
        Subscription.contribution_id == row.id,
        Subscription.stripe_subscription_id != subscription_id,
    )
    return await session.scalar(others.limit(1)) is None


def _imported_status(fetched: stripe.Subscription) -> ContributionStatus:
    """Return the status of the contribution of a subscription whose payments are not known yet.

    None is paid before a payment is seen.
    """
    if fetched.status == SubscriptionStatus.TRIALING:
        return ContributionStatus.TRIAL
    has_failed = fetched.status in (
        SubscriptionStatus.INCOMPLETE,
        SubscriptionStatus.INCOMPLETE_EXPIRED,
    )
    return ContributionStatus.FAILED if has_failed else ContributionStatus.PROCESSING
