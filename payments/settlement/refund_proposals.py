"""Refunds above the limit of one colleague: proposed, approved or refused, and made then.

Nothing is a refund, and nothing is sent to Stripe, before a second colleague approved exactly what
was asked. What waits counts as given back for whoever asks for more of the same payment, and ends
by itself after a week.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import CheckConstraint, ForeignKey, String, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import money
from payments.core.errors import IdempotencyKeyReused, NotFound
from payments.core.identifiers import new_row_id
from payments.core.money import Money
from payments.infra import audit_log, db, second_person
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.infra.second_person import Actor, DecisionOutcome, DecisionRefused
from payments.settlement import refund_requests
from payments.settlement.refunds import UNSUCCESSFUL_STATUSES, Refund, RefundReason
from payments.staff.accounts import NAME_MAX_LENGTH, Staff

LIFETIME = timedelta(days=7)
MAX_WAITING = 200  # on a page
EXPIRED_AT_ONCE = 100  # in a run of the schedule


class RefundProposal(db.Base):
    """A refund that waits for a second colleague, and what became of it.

    `outcome` is set once and nothing else changes; `refund_id` is the refund it became.
    """

    __tablename__ = "refund_proposals"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_is_positive"),
        CheckConstraint("(outcome IS NULL) = (decided_at IS NULL)", name="decided_when_it_ended"),
        CheckConstraint(
            "(outcome IS NOT DISTINCT FROM 'approved') = (refund_id IS NOT NULL)",
            name="made_if_approved",
        ),
        db.currency_check(),
    )

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    stripe_charge_id: Mapped[db.StripeId] = mapped_column(String(255), index=True)
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    reason: Mapped[RefundReason] = mapped_column(db.enum_column(RefundReason, "reason_is_known"))
    idempotency_key: Mapped[str] = mapped_column(String(64), unique=True)  # of the form sent
    proposed_at: Mapped[db.Timestamp] = mapped_column(index=True)
    proposed_by: Mapped[str] = mapped_column(String(NAME_MAX_LENGTH))
    proposed_by_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id"))
    outcome: Mapped[DecisionOutcome | None] = mapped_column(
        db.enum_column(DecisionOutcome, "outcome_is_known")
    )
    refusal: Mapped[str] = mapped_column(String(audit_log.MAX_REASON_LENGTH))  # why it was refused
    decided_at: Mapped[db.Timestamp | None]
    decided_by: Mapped[str | None] = mapped_column(String(NAME_MAX_LENGTH))  # null: by nobody
    decided_by_id: Mapped[db.Id | None] = mapped_column(ForeignKey("staff.id"))
    refund_id: Mapped[db.Id | None] = mapped_column(ForeignKey("refunds.id"), unique=True)

    @property
    def money(self) -> Money:
        """The amount with its currency."""
        return Money(self.amount, self.currency)

    @property
    def expires_at(self) -> datetime:
        """When it ends by itself."""
        return self.proposed_at + LIFETIME

    def is_waiting(self, now: datetime) -> bool:
        """Whether it can still be decided."""
        return self.outcome is None and now < self.expires_at


async def request(
    ctx: Context,
    charge_id: str,
    amount: Money,
    *,
    reason: RefundReason,
    by: Actor,
    idempotency_key: str,
    seen: int | None = None,
) -> Refund | RefundProposal:
    """Refund an amount of a payment, or have it wait for a second colleague above the limit.

    Sent again, a form returns what it led to. `seen` is what `count_earlier` said when the form was
    shown. Raises RefundedMeanwhile for another number, else as `refund_requests.request`.
    """
    async with ctx.sessions.begin() as session:
        # Two forms of one colleague at once would each see the other's refund not yet made.
        await session.get(Staff, by.id, with_for_update={"key_share": True})
        earlier = await session.scalar(
            select(RefundProposal).where(RefundProposal.idempotency_key == idempotency_key)
        )
        if earlier is not None:
            if (earlier.stripe_charge_id, earlier.money) != (charge_id, amount):
                raise IdempotencyKeyReused("This form was sent before, for another refund.")
            return earlier
        was_made = await refund_requests.get_by_key(session, idempotency_key) is not None
        await refund_requests.lock_charge(session, charge_id)
        if not was_made and seen not in (None, await count_earlier(session, charge_id)):
            raise refund_requests.RefundedMeanwhile(
                "Since you opened this page a refund of this payment was requested, perhaps by you"
                " in another tab. Look at it below, and send this again if you still want to."
                " Nothing was refunded now."
            )
        if not was_made and await _needs_second_person(ctx, session, amount, by):
            return await _propose(ctx, session, charge_id, amount, reason, by, idempotency_key)
        refund, is_new = await refund_requests.create(
            session,
            charge_id,
            amount=amount.amount,
            reason=reason,
            staff_id=by.id,
            idempotency_key=idempotency_key,
            reserved=await waiting_amount(session, charge_id, now=ctx.now()),
            now=ctx.now(),
        )
        if is_new:
            details = _details(amount, reason)
            await _record(ctx, session, AuditAction.REFUND_REQUESTED, by, charge_id, details)
    return await refund_requests.submit(ctx, refund.id) if is_new else refund


async def _needs_second_person(
    ctx: Context, session: AsyncSession, amount: Money, by: Actor
) -> bool:
    """Whether the limits are set, and what a colleague refunded alone in a day passes them."""
    limits = dict(ctx.settings.refund_limit)
    if not limits:
        return False
    alone = await session.execute(
        select(Refund.currency, func.sum(Refund.amount))
        .outerjoin(RefundProposal, RefundProposal.refund_id == Refund.id)
        .where(
            Refund.requested_by == by.id,
            Refund.requested_at > ctx.now() - second_person.LIMIT_PERIOD,
            Refund.status.not_in(UNSUCCESSFUL_STATUSES),
            RefundProposal.id.is_(None),
        )
        .group_by(Refund.currency)
    )
    sums = [Money(int(sum_), currency) for currency, sum_ in alone]
    return second_person.is_above(limits, [amount, *sums])


async def _propose(
    ctx: Context,
    session: AsyncSession,
    charge_id: str,
    amount: Money,
    reason: RefundReason,
    by: Actor,
    idempotency_key: str,
) -> RefundProposal:
    reserved = await waiting_amount(session, charge_id, now=ctx.now())
    await refund_requests.ensure_possible(session, charge_id, amount.amount, reserved=reserved)
    proposal = RefundProposal(
        id=new_row_id(),
        stripe_charge_id=charge_id,
        amount=amount.amount,
        currency=amount.currency,
        reason=reason,
        idempotency_key=idempotency_key,
        proposed_at=ctx.now(),
        proposed_by=by.name,
        proposed_by_id=by.id,
        refusal="",
    )
    session.add(proposal)
    await session.flush()
    await second_person.announce(session, proposal.id, now=ctx.now())
    details = _details(amount, reason)
    await _record(ctx, session, AuditAction.REFUND_PROPOSED, by, charge_id, details)
    return proposal


async def approve(
    ctx: Context, proposal_id: str, *, charge_id: str, shown: Money, by: Actor
) -> Refund:
    """Make a refund that another colleague proposed. `shown` is the amount that was approved.

    Raises NotFound, DecisionRefused, and as `refund_requests.request` where the payment cannot be
    given back any more.
    """
    async with ctx.sessions.begin() as session:
        proposal = await _lock(session, proposal_id, charge_id)
        await _decide(ctx, session, proposal, DecisionOutcome.APPROVED, by)
        if shown != proposal.money:
            raise DecisionRefused(
                "That is not the amount that was proposed. Look at it again. Nothing was refunded."
            )
        proposer = await session.get(Staff, proposal.proposed_by_id)
        if proposer is None or not proposer.has_access(ctx.now()):
            raise DecisionRefused(
                f"{proposal.proposed_by} is no colleague any more. Refuse it. Nothing was refunded."
            )
        waiting = await waiting_amount(session, charge_id, now=ctx.now())
        refund, _is_new = await refund_requests.create(
            session,
            charge_id,
            amount=proposal.amount,
            reason=proposal.reason,
            staff_id=proposal.proposed_by_id,
            idempotency_key=f"proposal:{proposal.id}",
            reserved=waiting - proposal.amount,
            now=ctx.now(),
        )
        proposal.refund_id = refund.id
        await _end(ctx, session, proposal, DecisionOutcome.APPROVED, by)
    return await refund_requests.submit(ctx, refund.id)


async def refuse(ctx: Context, proposal_id: str, *, charge_id: str, why: str, by: Actor) -> None:
    """Refuse a proposed refund, or withdraw one's own. Raises InvalidField without a reason."""
    reason = audit_log.validate_reason(why)
    async with ctx.sessions.begin() as session:
        proposal = await _lock(session, proposal_id, charge_id)
        outcome = await _decide(ctx, session, proposal, DecisionOutcome.REFUSED, by)
        proposal.refusal = reason
        await _end(ctx, session, proposal, outcome, by)


async def _lock(session: AsyncSession, proposal_id: str, charge_id: str) -> RefundProposal:
    proposal = await session.get(RefundProposal, proposal_id, with_for_update=True)
    if proposal is None or proposal.stripe_charge_id != charge_id:
        raise NotFound("There is no such refund.")
    return proposal


async def _decide(
    ctx: Context,
    session: AsyncSession,
    proposal: RefundProposal,
    outcome: DecisionOutcome,
    by: Actor,
) -> DecisionOutcome:
    return await second_person.decide(
        session,
        outcome,
        asked_by=Actor(proposal.proposed_by_id, proposal.proposed_by),
        by=by,
        is_waiting=proposal.is_waiting(ctx.now()),
        now=ctx.now(),
    )


async def _end(
    ctx: Context,
    session: AsyncSession,
    proposal: RefundProposal,
    outcome: DecisionOutcome,
    by: Actor | None,
) -> None:
    """Store how a proposal ended. `by` is None where nobody decided in time."""
    proposal.outcome, proposal.decided_at = outcome, ctx.now()
    asked_by = Actor(proposal.proposed_by_id, proposal.proposed_by)
    if by is not None:
        proposal.decided_by, proposal.decided_by_id = by.name, by.id
    await session.flush()
    await second_person.close(session, proposal.id, now=ctx.now())
    details = proposal.refusal or f"{money.format(proposal.money)}, proposed by {asked_by.name}"
    action = AuditAction(f"refund_{outcome}")
    await _record(ctx, session, action, by or asked_by, proposal.stripe_charge_id, details)


async def expire(ctx: Context) -> None:
    """End the proposals that nobody decided in time."""
    async with ctx.sessions.begin() as session:
        overdue = await session.scalars(
            select(RefundProposal)
            .where(
                RefundProposal.outcome.is_(None), RefundProposal.proposed_at <= ctx.now() - LIFETIME
            )
            .order_by(RefundProposal.proposed_at)
            .limit(EXPIRED_AT_ONCE)
            .with_for_update()
        )
        for proposal in overdue.all():
            await _end(ctx, session, proposal, DecisionOutcome.EXPIRED, None)


async def waiting_amount(session: AsyncSession, charge_id: str, *, now: datetime) -> int:
    """Return how much of a payment waits for approval, in minor units of its currency."""
    waiting = await session.scalar(
        select(func.coalesce(func.sum(RefundProposal.amount), 0)).where(
            RefundProposal.stripe_charge_id == charge_id,
            RefundProposal.outcome.is_(None),
            RefundProposal.proposed_at > now - LIFETIME,
        )
    )
    return int(waiting or 0)


async def count_earlier(session: AsyncSession, charge_id: str) -> int:
    """Return how many refunds of a payment there are, with those that were only proposed."""
    query = select(
        select(func.count()).where(Refund.stripe_charge_id == charge_id).scalar_subquery()
        + select(func.count()).where(RefundProposal.stripe_charge_id == charge_id).scalar_subquery()
    )
    return int(await session.scalar(query) or 0)


async def list_for_charge(session: AsyncSession, charge_id: str) -> Sequence[RefundProposal]:
    """Return what was proposed of a payment, oldest first."""
    query = select(RefundProposal).where(RefundProposal.stripe_charge_id == charge_id)
    ordered = query.order_by(RefundProposal.proposed_at, RefundProposal.id)
    return list(await session.scalars(ordered))


async def list_waiting(session: AsyncSession, *, now: datetime) -> Sequence[RefundProposal]:
    """Return the refunds that wait for a second colleague, oldest first, the first MAX_WAITING."""
    query = select(RefundProposal).where(
        RefundProposal.outcome.is_(None), RefundProposal.proposed_at > now - LIFETIME
    )
    ordered = query.order_by(RefundProposal.proposed_at, RefundProposal.id)
    return list(await session.scalars(ordered.limit(MAX_WAITING)))


async def _record(
    ctx: Context,
    session: AsyncSession,
    action: AuditAction,
    by: Actor,
    charge_id: str,
    details: str,
) -> None:
    await audit_log.record(
        session,
        action,
        staff_id=by.id,
        name=by.name,
        object_id=charge_id,
        reason=details,
        now=ctx.now(),
    )


def _details(amount: Money, reason: RefundReason) -> str:
    return f"{money.format(amount)}, {reason}"
