"""The review of adoption: imported subscriptions that do not fit `PAYMENTS_ADOPT` any more.

The setting may have been changed, mistyped or lost, or something was changed at Stripe. Stripe goes
on charging all the same, so none is forgotten here before a person says so: until then its donor
finds it, and can end it.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import stripe
from sqlalchemy import select

from payments.core.errors import StripeRejected, StripeUnavailable
from payments.giving import adoption, cancellations, change_log, subscriptions
from payments.giving.contributions import Contribution, ContributionOrigin
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import alerts, audit_log, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.mail import outbox


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many were forgotten, and how many stay because their donor's cancellation is not done."""

    dropped: int
    not_cancelled: int


async def find_left_out(ctx: Context) -> list[str]:
    """Return the live imported subscriptions that the rule leaves out. Raises StripeUnavailable.

    What Stripe does not list any more is not among them: reconciliation finds it. If there are
    none, the alert about them is closed.
    """
    imported = await _live_imported(ctx)
    left_out = []
    if imported:
        with stripe_client.translate_errors():
            page = await ctx.stripe.v1.subscriptions.list_async({"limit": 100})
            async for fetched in page.auto_paging_iter():
                if fetched.id in imported and not await adoption.includes_subscription(
                    ctx, fetched
                ):
                    left_out.append(fetched.id)
    if not left_out:
        async with ctx.sessions.begin() as session:
            await alerts.close_kind(session, AlertKind.ADOPTION_MISMATCH, now=ctx.now())
    return left_out


async def count_undecided(ctx: Context) -> int:
    """Return how many live subscriptions were imported, while the alert is open that the rule
    leaves some of them out; 0 if it is closed. Stripe is not asked.
    """
    async with ctx.sessions() as session:
        is_open = await alerts.is_open(
            session, AlertKind.ADOPTION_MISMATCH, object_id=adoption.SETTING
        )
    return len(await _live_imported(ctx)) if is_open else 0


async def _live_imported(ctx: Context) -> set[str]:
    query = (
        select(Subscription.stripe_subscription_id)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(
            Contribution.origin == ContributionOrigin.IMPORTED,
            ~Contribution.erased,
            Subscription.status.in_(LIVE_STATUSES),
        )
    )
    async with ctx.sessions() as session:
        return set(await session.scalars(query))


async def drop(ctx: Context, subscription_ids: Sequence[str]) -> Dropped:
    """Forget subscriptions that are no contributions, which a person has confirmed.

    What was booked of them stays; nobody is written to about them, and nobody finds them on a page.
    A cancellation that was decided is carried out first, and while Stripe has not done it the
    subscription stays.
    """
    count = not_cancelled = 0
    for subscription_id in subscription_ids:
        if not await _has_no_pending_cancellation(ctx, subscription_id):
            not_cancelled += 1
            continue
        async with ctx.sessions.begin() as session:
            row = await session.get(Subscription, subscription_id, with_for_update=True)
            if row is None:
                continue
            contribution = await session.get_one(Contribution, row.contribution_id)
            contribution.donor_id, contribution.dropped = None, True
            await outbox.cancel_for(session, [subscription_id])
            await change_log.forget(session, subscription_id)
            await session.delete(row)
            await audit_log.record(
                session, AuditAction.ADOPTION_DROPPED, object_id=contribution.id, now=ctx.now()
            )
        count += 1
    if not not_cancelled:
        async with ctx.sessions.begin() as session:
            await alerts.close_kind(session, AlertKind.ADOPTION_MISMATCH, now=ctx.now())
    return Dropped(count, not_cancelled)


async def _has_no_pending_cancellation(ctx: Context, subscription_id: str) -> bool:
    """Carry out the cancellation that was decided, if one was. Returns whether none is left."""
    with contextlib.suppress(StripeUnavailable, StripeRejected, stripe.StripeError):
        await cancellations.perform(ctx, subscription_id)
    async with ctx.sessions() as session:
        pending = await change_log.pending_cancellations(session, [subscription_id])
        row = await subscriptions.get_or_none(session, subscription_id)
    return not pending or row is None or not row.may_be_charged
