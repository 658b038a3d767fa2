"""Support: one donor at a time, for a colleague who says why, and for half an hour.

A donor is found by the address they wrote from, which is hashed and forgotten. Each opening of a
case is in the audit with its reason, found or not, and nobody opens more than twenty in an hour. A
case shows what was given and promised: no address, no card, no article.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import NotFound, PaymentsError
from payments.core.identifiers import new_row_id
from payments.donors import donors, sign_in
from payments.giving import change_log, charges, contributions, subscription_changes, subscriptions
from payments.giving.change_log import Actor, SubscriptionChange
from payments.giving.charges import DonorPayment
from payments.giving.contributions import Contribution
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
MAX_SEARCHES_PER_HOUR = 20  # donors that one colleague looks for in an hour
RATE_LIMITED_ACTIONS = (AuditAction.DONOR_VIEWED, AuditAction.DONOR_SEARCHED)


class TooManySearches(PaymentsError):
    """A colleague who looks at one donor after the other."""

    status = 429
    code = "too-many-searches"
    title = "No more donors for now"


class CaseReason(StrEnum):
    """Why somebody looks. Chosen and not typed: what the audit holds can never be taken back."""

    DONOR_WROTE = "the donor wrote to us"
    DONOR_CALLED = "the donor called"
    BANK_INQUIRY = "a question of a bank"
    LEGAL_REQUEST = "a request by law"
    OUR_ERROR = "a fault of ours"


class SupportCase(db.Base):
    """One donor, opened by one colleague for a while."""

    __tablename__ = "support_cases"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    staff_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    donor_id: Mapped[db.Id] = mapped_column(ForeignKey("donors.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[db.Timestamp]


@dataclass(frozen=True, slots=True)
class SubscriptionWithChanges:
    """One promise and what became of it."""

    subscription: Subscription
    changes: Sequence[SubscriptionChange]


@dataclass(frozen=True, slots=True)
class CaseView:
    """All that a case shows."""

    subscriptions: Sequence[SubscriptionWithChanges]
    contributions: Sequence[Contribution]
    payments: Sequence[DonorPayment]
    mails: Sequence[OutboxMail]
    pending_cancellations: dict[str, datetime]


async def open_case(
    ctx: Context, colleague: Staff, *, address: str, reason: CaseReason, ticket: str
) -> SupportCase | None:
    """Look for a donor. None if nobody gave with this address. Raises TooManyCases, InvalidField.

    `ticket` names the letter, as the newsroom counts them.
    """
    why = f"{reason}, {ticket}" if ticket else reason.value
    async with ctx.sessions.begin() as session:
        donor_id = await donors.find_by_address(session, ctx.settings, address=address)
        await session.get(Staff, colleague.id, with_for_update=True)  # counted by one at a time
        hour = ctx.now() - timedelta(hours=1)
        seen = await audit_log.count_actions(
            session, RATE_LIMITED_ACTIONS, staff_id=colleague.id, since=hour
        )
        if seen < MAX_SEARCHES_PER_HOUR:
            return await _create_case(session, colleague, donor_id, reason=why, now=ctx.now())
        await alerts.raise_alert(
            session, AlertKind.DONOR_VIEW_LIMIT_REACHED, object_id=colleague.id, now=ctx.now()
        )
    raise TooManySearches("Twenty donors were looked for in an hour. An administrator was told.")


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
    """A case of the colleague who asks, while it is open. Raises NotFound."""
    case = await session.get(SupportCase, case_id)
    if case is None or case.staff_id != colleague.id or case.expires_at <= now:
        raise NotFound("This case is closed. Look for the donor again, with a reason.")
    return case


async def view_case(session: AsyncSession, case: SupportCase) -> CaseView:
    """What there is to know about the donor of a case."""
    theirs = await subscriptions.list_for_donor(session, case.donor_id)
    ids = [promise.stripe_subscription_id for promise in theirs]
    return CaseView(
        [
            SubscriptionWithChanges(
                one, await change_log.list_done(session, one.stripe_subscription_id)
            )
            for one in theirs
        ],
        await contributions.list_for_donor(session, case.donor_id),
        await charges.list_payments_of_donor(session, case.donor_id, limit=100),
        await outbox.list_for(session, ids, limit=50),
        await change_log.pending_cancellations(session, ids),
    )


async def get_subscription(
    session: AsyncSession, case: SupportCase, contribution_id: str
) -> Subscription:
    """A promise of the donor of a case, and of nobody else. Raises NotFound."""
    await contributions.get_owned(session, case.donor_id, contribution_id)
    promise = await subscriptions.get_for_contribution(session, contribution_id)
    if promise is None:
        raise NotFound("There is no such contribution.")
    return promise


# --- acting ---------------------------------------------------------------------------------------


async def cancel(ctx: Context, colleague: Staff, subscription: Subscription) -> bool:
    """Stop a promise because its donor asked for it. Gives whether Stripe confirmed it."""
    await _record_action(
        ctx, AuditAction.CANCELLATION_REQUESTED, colleague, subscription.contribution_id
    )
    return await subscription_changes.cancel(
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
    """Pause a promise for so many months, or until its donor resumes."""
    await _record_action(ctx, AuditAction.PAUSE_REQUESTED, colleague, subscription.contribution_id)
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
    """Leave the next charge of a promise out."""
    await _record_action(ctx, AuditAction.SKIP_REQUESTED, colleague, subscription.contribution_id)
    await subscription_changes.skip(
        ctx, subscription.stripe_subscription_id, actor=Actor.STAFF, idempotency_key=idempotency_key
    )


async def resume(
    ctx: Context, colleague: Staff, subscription: Subscription, *, idempotency_key: str
) -> None:
    """Go on with a promise that was paused."""
    await _record_action(ctx, AuditAction.RESUME_REQUESTED, colleague, subscription.contribution_id)
    await subscription_changes.resume(
        ctx, subscription.stripe_subscription_id, actor=Actor.STAFF, idempotency_key=idempotency_key
    )


async def send_sign_in_link(ctx: Context, colleague: Staff, case: SupportCase) -> None:
    """Have the donor mailed a way to their own pages. Their address stays unknown to us."""
    async with ctx.sessions.begin() as session:
        asked = await sign_in.request_link_for_donor(session, case.donor_id, now=ctx.now())
        if asked is None:
            raise NotFound("This donor was erased. Nothing was sent.")
        gifts = await contributions.list_for_donor(session, case.donor_id, limit=1)
        await outbox.enqueue(
            session,
            MailKind.SIGN_IN,
            key=f"sign-in:{asked}",
            now=ctx.now(),
            object_id=asked,
            language=gifts[0].language if gifts else "en",
        )
        await accounts.record_action(
            session, AuditAction.DONOR_LINK_SENT, colleague, object_id=case.donor_id, now=ctx.now()
        )


async def erase(ctx: Context, colleague: Staff, case: SupportCase) -> datetime:
    """Stop what runs and forget the donor, who asked for it. Raises StripeUnavailable."""
    await _record_action(ctx, AuditAction.ERASURE_REQUESTED, colleague, case.donor_id)
    return await data_requests.erase(ctx, case.donor_id, by=Actor.STAFF)


async def _record_action(
    ctx: Context, action: AuditAction, colleague: Staff, object_id: str
) -> None:
    async with ctx.sessions.begin() as session:
        await accounts.record_action(session, action, colleague, object_id=object_id, now=ctx.now())


async def purge_expired(session: AsyncSession, now: datetime) -> None:
    """Remove cases that show nothing any more."""
    await session.execute(delete(SupportCase).where(SupportCase.expires_at <= now))
