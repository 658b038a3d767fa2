"""Support cases: one donor, opened by one colleague, with a reason, for half an hour.

A donor is found by the address they wrote from, which is hashed and not stored. Every search is in
the audit log with its reason, whether it found a donor or not, and a colleague has twenty an hour.
A case shows subscriptions, payments and mails: no address, no card, no article.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import i18n
from payments.core.errors import NotFound, PaymentsError
from payments.core.identifiers import new_row_id
from payments.donors import donors, sign_in
from payments.giving import (
    cancellations,
    change_log,
    contributions,
    donor_payments,
    payment_notices,
    subscription_changes,
    subscriptions,
)
from payments.giving.change_log import Actor, SubscriptionChange
from payments.giving.donor_payments import DonorPayment
from payments.giving.subscriptions import Subscription
from payments.infra import alerts, audit_log, db
from payments.infra.alerts import AlertKind
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.outbox import MailKind, OutboxMail
from payments.safety import data_requests
from payments.staff import accounts
from payments.staff.accounts import Staff

CASE_LIFETIME = timedelta(minutes=30)
MAX_SEARCHES_PER_HOUR = 20  # of one colleague
RATE_LIMITED_ACTIONS = (AuditAction.DONOR_VIEWED, AuditAction.DONOR_SEARCHED)


class TooManySearches(PaymentsError):
    """A colleague has searched for too many donors in an hour."""

    status = 429
    code = "too-many-searches"
    title = "No more donors for now"


class CaseReason(StrEnum):
    """Why a case is opened. Chosen and not typed, because the audit log cannot be changed."""

    DONOR_WROTE = "the donor wrote to us"
    DONOR_CALLED = "the donor called"
    BANK_INQUIRY = "a question of a bank"
    LEGAL_REQUEST = "a request by law"
    OUR_ERROR = "a fault of ours"


SHOWN_PAYMENTS, SHOWN_MAILS = 100, 50  # the newest, of each donor


class SupportCase(db.Base):
    """A donor, opened by a colleague until it expires."""

    __tablename__ = "support_cases"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    staff_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    donor_id: Mapped[db.Id] = mapped_column(ForeignKey("donors.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[db.Timestamp]


@dataclass(frozen=True, slots=True)
class SubscriptionWithChanges:
    """A subscription and its history."""

    subscription: Subscription
    changes: Sequence[SubscriptionChange]


@dataclass(frozen=True, slots=True)
class CaseView:
    """All that a case shows. `pending_cancellations` is by Stripe's subscription id.

    There is one payment or mail more than is shown, if there are more.
    """

    subscriptions: Sequence[SubscriptionWithChanges]
    payments: Sequence[DonorPayment]
    mails: Sequence[OutboxMail]
    pending_cancellations: dict[str, datetime]


async def open_case(
    ctx: Context, colleague: Staff, *, address: str, reason: CaseReason, ticket: str
) -> SupportCase | None:
    """Open a case for the donor with an address. Returns None if nobody gave with it.

    `ticket` is the newsroom's own number of the letter, or empty. Raises TooManySearches,
    InvalidField.
    """
    recorded_reason = f"{reason}, {ticket}" if ticket else reason.value
    hashes = await donors.address_hashes(ctx.settings, address)
    async with ctx.sessions.begin() as session:
        donor = await donors.find_by_hashes(session, hashes)
        await session.get(Staff, colleague.id, with_for_update=True)  # counts one at a time
        hour_ago = ctx.now() - timedelta(hours=1)
        search_count = await audit_log.count_actions(
            session, RATE_LIMITED_ACTIONS, staff_id=colleague.id, since=hour_ago
        )
        if search_count < MAX_SEARCHES_PER_HOUR:
            donor_id = None if donor is None else donor.id
            return await _create_case(
                session, colleague, donor_id, reason=recorded_reason, now=ctx.now()
            )
        await alerts.raise_alert(
            session, AlertKind.DONOR_VIEW_LIMIT_REACHED, object_id=colleague.id, now=ctx.now()
        )
    raise TooManySearches("Twenty donors were looked for in an hour. Administrators see an alert.")


async def _create_case(
    session: AsyncSession, colleague: Staff, donor_id: str | None, *, reason: str, now: datetime
) -> SupportCase | None:
    if donor_id is None:
        await accounts.record_action(
            session,
            AuditAction.DONOR_SEARCHED,
            colleague,
            object_id="nobody",
            reason=reason,
            now=now,
        )
        return None
    case = SupportCase(
        id=new_row_id(),
        staff_id=colleague.id,
        donor_id=donor_id,
        expires_at=now + CASE_LIFETIME,
    )
    session.add(case)
    await accounts.record_action(
        session, AuditAction.DONOR_VIEWED, colleague, object_id=donor_id, reason=reason, now=now
    )
    return case


async def get_case(
    session: AsyncSession, colleague: Staff, case_id: str, *, now: datetime
) -> SupportCase:
    """Return a case of a colleague that has not expired. Raises NotFound."""
    case = await session.get(SupportCase, case_id)
    if case is None or case.staff_id != colleague.id or case.expires_at <= now:
        raise NotFound("This case is closed. Look for the donor again, with a reason.")
    return case


async def view_case(session: AsyncSession, case: SupportCase, *, now: datetime) -> CaseView:
    """Return what a case shows of its donor."""
    own_subscriptions = await subscriptions.list_for_donor(session, case.donor_id)
    ids = [subscription.stripe_subscription_id for subscription in own_subscriptions]
    payment_mails = await payment_notices.keys_of_donor(session, case.donor_id, now=now)
    return CaseView(
        [
            SubscriptionWithChanges(
                subscription,
                await change_log.list_done(session, subscription.stripe_subscription_id),
            )
            for subscription in own_subscriptions
        ],
        await donor_payments.list_for_donor(session, case.donor_id, limit=SHOWN_PAYMENTS + 1),
        await outbox.list_for(session, ids, payment_mails, limit=SHOWN_MAILS + 1),
        await change_log.pending_cancellations(session, ids),
    )


async def get_subscription(
    session: AsyncSession, case: SupportCase, contribution_id: str
) -> Subscription:
    """Return a subscription of the donor of a case. Raises NotFound for anybody else's."""
    await contributions.get_owned(session, case.donor_id, contribution_id)
    subscription = await subscriptions.get_for_contribution(session, contribution_id)
    if subscription is None:
        raise NotFound("There is no such contribution.")
    return subscription


# --- acting for the donor, each recorded before Stripe is asked -----------------------------------


async def cancel(ctx: Context, colleague: Staff, subscription: Subscription) -> bool:
    """Cancel a subscription at its donor's request. Returns whether Stripe confirmed it yet."""
    async with _recorded(
        ctx, AuditAction.CANCELLATION_REQUESTED, colleague, subscription.contribution_id
    ):
        return await cancellations.cancel(
            ctx, subscription.stripe_subscription_id, actor=Actor.STAFF
        )


async def pause(
    ctx: Context,
    colleague: Staff,
    subscription: Subscription,
    months: int | None,
    *,
    idempotency_key: str,
) -> None:
    """Pause a subscription for so many months, or with None until its donor resumes."""
    async with _recorded(ctx, AuditAction.PAUSE_REQUESTED, colleague, subscription.contribution_id):
        await subscription_changes.pause(
            ctx,
            subscription.stripe_subscription_id,
            months,
            actor=Actor.STAFF,
            idempotency_key=idempotency_key,
        )


async def skip(
    ctx: Context, colleague: Staff, subscription: Subscription, *, idempotency_key: str
) -> None:
    """Skip the next payment of a subscription."""
    async with _recorded(ctx, AuditAction.SKIP_REQUESTED, colleague, subscription.contribution_id):
        await subscription_changes.skip(
            ctx,
            subscription.stripe_subscription_id,
            actor=Actor.STAFF,
            idempotency_key=idempotency_key,
        )


async def resume(
    ctx: Context, colleague: Staff, subscription: Subscription, *, idempotency_key: str
) -> None:
    """Resume a paused subscription."""
    async with _recorded(
        ctx, AuditAction.RESUME_REQUESTED, colleague, subscription.contribution_id
    ):
        await subscription_changes.resume(
            ctx,
            subscription.stripe_subscription_id,
            actor=Actor.STAFF,
            idempotency_key=idempotency_key,
        )


async def send_sign_in_link(ctx: Context, colleague: Staff, case: SupportCase) -> None:
    """Have a sign-in link mailed to the donor, at the address Stripe holds. Raises NotFound."""
    async with ctx.sessions.begin() as session:
        link_id = await sign_in.request_link_for_donor(session, case.donor_id, now=ctx.now())
        if link_id is None:
            raise NotFound("This donor was erased. Nothing was sent.")
        newest = await contributions.list_for_donor(session, case.donor_id, limit=1)
        await outbox.enqueue(
            session,
            MailKind.SIGN_IN,
            key=f"sign-in:{link_id}",
            now=ctx.now(),
            object_id=link_id,
            language=newest[0].language if newest else i18n.DEFAULT_LOCALE,
        )
        await accounts.record_action(
            session, AuditAction.DONOR_LINK_SENT, colleague, object_id=case.donor_id, now=ctx.now()
        )


async def erase(ctx: Context, colleague: Staff, case: SupportCase) -> datetime:
    """Erase the donor at their request. Returns when that was done. Raises StripeUnavailable."""
    async with _recorded(ctx, AuditAction.ERASURE_REQUESTED, colleague, case.donor_id):
        return await data_requests.erase(ctx, case.donor_id, by=Actor.STAFF)


@asynccontextmanager
async def _recorded(
    ctx: Context, action: AuditAction, colleague: Staff, object_id: str
) -> AsyncIterator[None]:
    """Record what Stripe is asked for, and afterwards that it was refused or failed, if it was."""
    await _record_action(ctx, action, colleague, object_id)
    try:
        yield
    except Exception:
        is_erasure = action is AuditAction.ERASURE_REQUESTED
        failed = AuditAction.ERASURE_FAILED if is_erasure else AuditAction.REQUEST_FAILED
        await _record_action(ctx, failed, colleague, object_id, reason=action)
        raise


async def _record_action(
    ctx: Context, action: AuditAction, colleague: Staff, object_id: str, *, reason: str = ""
) -> None:
    async with ctx.sessions.begin() as session:
        await accounts.record_action(
            session, action, colleague, object_id=object_id, reason=reason, now=ctx.now()
        )


async def purge_expired(session: AsyncSession, now: datetime) -> None:
    """Delete expired cases."""
    await session.execute(delete(SupportCase).where(SupportCase.expires_at <= now))
