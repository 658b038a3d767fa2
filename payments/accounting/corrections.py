"""Corrections as colleagues make them: proposed, approved or refused, and booked.

What stands in an account of one transaction can be moved to another, with a reason. Above the limit
of its currency a second colleague approves it, and so always where the difference is accepted
without an explanation. A correction is booked on an open day: its transaction's own day where that
is in an open month, else the first open one, and it names the closed month it concerns.
"""

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import period_close
from payments.accounting.late_entries import LateEntry
from payments.accounting.reports.period import ALL_TIME, Period
from payments.core.calendar import first_of_month, next_month
from payments.core.errors import InvalidField, NotFound
from payments.core.identifiers import new_row_id
from payments.core.money import Money
from payments.infra import audit_log, second_person
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.infra.second_person import Actor, DecisionOutcome, DecisionRefused
from payments.ledger import entries
from payments.ledger.balance_transactions import BalanceTransaction
from payments.ledger.corrections import (
    CORRECTABLE_ACCOUNTS,
    Correction,
    CorrectionDecision,
    may_move,
    posting_between,
)
from payments.ledger.entries import LedgerEntry
from payments.ledger.posting_rules import LedgerAccount

MAX_CORRECTIONS = 200  # on a page
NOT_IN_BOOKS = "There is no such transaction in the books."
ACCOUNTS_HELP = "Choose two accounts that a correction may move money between. Nothing was done."


class CorrectionRefused(DecisionRefused):
    """A correction cannot be made as things stand. Nothing was done."""

    code = "correction-refused"
    title = "The change was not made"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a colleague wants to move, in minor units of the transaction's currency.

    `booked_on` None is the day that follows from the transaction's. `seen` is how many corrections
    of the transaction they had before them: with another number somebody was there meanwhile.
    """

    balance_transaction: str
    from_account: str
    to_account: str
    amount: int
    currency: str
    reason: str
    seen: int
    booked_on: date | None = None


@dataclass(frozen=True, slots=True)
class CorrectionView:
    """A correction, what was decided of it, and the ledger entry it became, if any."""

    correction: Correction
    decision: CorrectionDecision | None
    seq: int | None

    @property
    def status(self) -> str:
        """One of booked, waiting, refused, withdrawn."""
        if self.seq is not None:
            return "booked"
        return "waiting" if self.decision is None else self.decision.outcome


@dataclass(frozen=True, slots=True)
class CorrectableTransaction:
    """A transaction, what stands in its accounts, and all corrections of it, oldest first.

    `standing` is debits less credits; `free` is the same without what waits for approval.
    `first_open` is the day from which months are open, None where none was closed.
    """

    transaction: BalanceTransaction
    standing: dict[LedgerAccount, int]
    free: dict[LedgerAccount, int]
    corrections: list[CorrectionView]
    first_open: date | None
    occurred_on: date
    booked_on: date


async def get_transaction(ctx: Context, transaction_id: str) -> CorrectableTransaction:
    """Return a transaction and what can be corrected of it. Raises NotFound."""
    async with ctx.sessions() as session:
        return await _load(session, transaction_id, ctx.settings.accounting_zoneinfo)


async def propose(ctx: Context, proposal: Proposal, *, by: Actor) -> CorrectionView:
    """Book a correction, or store it for a second colleague to approve.

    Raises NotFound, InvalidField, or CorrectionRefused where somebody was there before.
    """
    reason = audit_log.validate_reason(proposal.reason)
    from_account, to_account = _parse_accounts(proposal)
    async with ctx.sessions.begin() as session:
        await entries.lock_chain(session)
        zone = ctx.settings.accounting_zoneinfo
        found = await _load(session, proposal.balance_transaction, zone)
        if len(found.corrections) != proposal.seen:
            raise CorrectionRefused(
                "Somebody corrected this transaction meanwhile, perhaps you in another tab. Look "
                "at what stands there now. Nothing was done."
            )
        _validate_amount(found, from_account, proposal)
        booked_on = _booking_day(ctx, found, proposal.booked_on)
        sign = 1 if found.free[from_account] > 0 else -1
        posting = posting_between(from_account, to_account, sign * proposal.amount)
        correction = Correction(
            id=new_row_id(),
            balance_transaction=proposal.balance_transaction,
            from_account=from_account,
            debit=posting.debit,
            credit=posting.credit,
            amount=posting.amount,
            currency=proposal.currency,
            booked_on=booked_on,
            concerns_month=_closed_month(found),
            needs_approval=to_account is LedgerAccount.UNEXPLAINED
            or await _is_above_limit(ctx, session, Money(posting.amount, proposal.currency), by),
            reason=reason,
            proposed_at=ctx.now().replace(microsecond=0),
            proposed_by=by.name,
            proposed_by_id=by.id,
        )
        session.add(correction)
        await session.flush()
        action = AuditAction.CORRECTION_PROPOSED
        if not correction.needs_approval:
            action = AuditAction.CORRECTION_BOOKED
            await entries.post_correction(session, found.transaction, correction, None)
        else:
            await second_person.announce(session, correction.id, now=ctx.now())
        await audit_log.record(
            session, action, staff_id=by.id, name=by.name, object_id=correction.id,
            reason=reason, now=ctx.now(),
        )  # fmt: skip
        return await _view(session, correction)


async def approve(ctx: Context, correction_id: str, *, by: Actor) -> CorrectionView:
    """Book a correction that another colleague proposed.

    Raises NotFound, DecisionRefused as `second_person.decide`, and CorrectionRefused where the
    month of its day was closed meanwhile.
    """
    return await _decide(ctx, correction_id, DecisionOutcome.APPROVED, "", by)


async def refuse(ctx: Context, correction_id: str, *, reason: str, by: Actor) -> CorrectionView:
    """Refuse a correction, or withdraw one's own. Raises as `approve`, and without a reason."""
    return await _decide(
        ctx, correction_id, DecisionOutcome.REFUSED, audit_log.validate_reason(reason), by
    )


async def _decide(
    ctx: Context, correction_id: str, outcome: DecisionOutcome, reason: str, by: Actor
) -> CorrectionView:
    async with ctx.sessions.begin() as session:
        await entries.lock_chain(session)
        correction = await session.get(Correction, correction_id)
        if correction is None:
            raise NotFound("There is no such correction.")
        outcome = await second_person.decide(
            session,
            outcome,
            asked_by=Actor(correction.proposed_by_id, correction.proposed_by),
            by=by,
            is_waiting=(await _view(session, correction)).status == "waiting",
            now=ctx.now(),
        )
        if outcome is DecisionOutcome.APPROVED:
            await _ensure_still_possible(session, correction)
        decision = CorrectionDecision(
            id=new_row_id(),
            correction_id=correction_id,
            outcome=outcome,
            reason=reason,
            decided_at=ctx.now().replace(microsecond=0),
            decided_by=by.name,
            decided_by_id=by.id,
        )
        session.add(decision)
        await session.flush()
        await second_person.close(session, correction_id, now=ctx.now())
        if outcome is DecisionOutcome.APPROVED:
            transaction = await session.get_one(BalanceTransaction, correction.balance_transaction)
            await entries.post_correction(session, transaction, correction, decision)
        await audit_log.record(
            session, AuditAction(f"correction_{outcome}"), staff_id=by.id, name=by.name,
            object_id=correction_id, reason=reason, now=ctx.now(),
        )  # fmt: skip
        return await _view(session, correction)


async def _is_above_limit(ctx: Context, session: AsyncSession, amount: Money, by: Actor) -> bool:
    """Whether what a colleague corrects alone in a day passes the limits with an amount more."""
    alone = await session.execute(
        select(Correction.currency, func.sum(Correction.amount))
        .where(
            Correction.proposed_by_id == by.id,
            Correction.proposed_at > ctx.now() - second_person.LIMIT_PERIOD,
            Correction.needs_approval.is_(False),
        )
        .group_by(Correction.currency)
    )
    sums = [Money(int(sum_), currency) for currency, sum_ in alone]
    return second_person.is_above(dict(ctx.settings.correction_limit), [amount, *sums])


async def list_waiting(session: AsyncSession) -> list[CorrectionView]:
    """Return the corrections that wait for a second colleague, oldest first."""
    query = _query().where(Correction.needs_approval.is_(True), CorrectionDecision.id.is_(None))
    rows = await session.execute(
        query.order_by(Correction.proposed_at, Correction.id).limit(MAX_CORRECTIONS)
    )
    return [CorrectionView(one, decision, seq) for one, decision, seq in rows]


async def list_page(
    session: AsyncSession, period: Period = ALL_TIME, *, offset: int = 0
) -> tuple[list[CorrectionView], int | None]:
    """Return a page of the corrections booked in a period, and after how many the next begins."""
    query = _query(period).order_by(Correction.proposed_at.desc(), Correction.id)
    rows = await session.execute(query.limit(MAX_CORRECTIONS + 1).offset(offset))
    views = [CorrectionView(one, decision, seq) for one, decision, seq in rows]
    more = offset + MAX_CORRECTIONS if len(views) > MAX_CORRECTIONS else None
    return views[:MAX_CORRECTIONS], more


async def list_before(
    session: AsyncSession, period: Period = ALL_TIME, *, before: str | None, size: int
) -> tuple[list[CorrectionView], str | None]:
    """Return the newest corrections that are booked in a period, or those before one, and which the
    next page begins before.

    Unlike by counting, a page stays the same while later ones are proposed.
    """
    query = _query(period).order_by(Correction.proposed_at.desc(), Correction.id.desc())
    if before is not None:
        place = select(Correction.proposed_at, Correction.id).where(Correction.id == before)
        query = query.where(tuple_(Correction.proposed_at, Correction.id) < place.scalar_subquery())
    rows = await session.execute(query.limit(size + 1))
    views = [CorrectionView(one, decision, seq) for one, decision, seq in rows]
    return views[:size], views[size - 1].correction.id if len(views) > size else None


# --- what stands there ----------------------------------------------------------------------------


def _query(period: Period = ALL_TIME) -> Select[Correction, CorrectionDecision, int]:
    """Return the corrections of a period, with decision and entry's number where they have them."""
    return (
        select(Correction, CorrectionDecision, LedgerEntry.seq)
        .outerjoin(CorrectionDecision, CorrectionDecision.correction_id == Correction.id)
        .outerjoin(LedgerEntry, LedgerEntry.correction_id == Correction.id)
        .where(Correction.booked_on >= (period.since or date.min))
        .where(Correction.booked_on < (period.until or date.max))
    )


async def _view(session: AsyncSession, correction: Correction) -> CorrectionView:
    rows = await session.execute(_query().where(Correction.id == correction.id))
    ((found, decision, seq),) = rows
    return CorrectionView(found, decision, seq)


async def _load(
    session: AsyncSession, transaction_id: str, zone: ZoneInfo
) -> CorrectableTransaction:
    transaction = await session.get(BalanceTransaction, transaction_id)
    standing = await entries.standing(session, transaction_id)
    if transaction is None or not standing:
        raise NotFound(NOT_IN_BOOKS)
    rows = await session.execute(
        _query()
        .where(Correction.balance_transaction == transaction_id)
        .order_by(Correction.proposed_at, Correction.id)
    )
    views = [CorrectionView(one, decision, seq) for one, decision, seq in rows]
    free = {account: standing.get(account, 0) for account in CORRECTABLE_ACCOUNTS}
    for view in views:
        if view.status == "waiting":
            is_debit = view.correction.from_account == view.correction.debit
            free[LedgerAccount(view.correction.from_account)] += (
                view.correction.amount if is_debit else -view.correction.amount
            )
    first_open = await _first_open_day(session)
    return CorrectableTransaction(
        transaction,
        {account: sum_ for account, sum_ in standing.items() if account in CORRECTABLE_ACCOUNTS},
        {account: sum_ for account, sum_ in free.items() if sum_},
        views,
        first_open,
        transaction.occurred_at.astimezone(zone).date(),
        await _default_day(session, transaction, first_open, zone),
    )


def _parse_accounts(proposal: Proposal) -> tuple[LedgerAccount, LedgerAccount]:
    ends = []
    for field in ("from_account", "to_account"):
        try:
            ends.append(LedgerAccount(getattr(proposal, field)))
        except ValueError:
            raise InvalidField(ACCOUNTS_HELP, field=field) from None
    if not may_move(ends[0], ends[1]):
        raise InvalidField(ACCOUNTS_HELP, field="to_account")
    return ends[0], ends[1]


def _validate_amount(
    found: CorrectableTransaction, from_account: LedgerAccount, proposal: Proposal
) -> None:
    if proposal.currency != found.transaction.currency:
        raise InvalidField(
            f"This transaction is in {found.transaction.currency.upper()}. Nothing was done.",
            field="amount",
        )
    if not 0 < proposal.amount <= abs(found.free.get(from_account, 0)):
        raise InvalidField(
            f"So much of it does not stand in {from_account}, or waits to be approved already. "
            "Nothing was done.",
            field="amount",
        )


# --- the day --------------------------------------------------------------------------------------


async def _default_day(
    session: AsyncSession, transaction: BalanceTransaction, first_open: date | None, zone: ZoneInfo
) -> date:
    """Return the day of a transaction where its month is open, else the first open day."""
    booked_on = await session.scalar(
        select(func.max(LateEntry.booked_on))
        .join(LedgerEntry, LedgerEntry.seq == LateEntry.seq)
        .where(LedgerEntry.balance_transaction == transaction.id)
    )
    day = booked_on or transaction.occurred_at.astimezone(zone).date()
    return day if first_open is None else max(day, first_open)


async def _first_open_day(session: AsyncSession) -> date | None:
    last = await period_close.last_closed(session)
    return None if last is None else next_month(last.month)


def _closed_month(found: CorrectableTransaction) -> date | None:
    """Return the month of a transaction where that is closed."""
    month = first_of_month(found.occurred_on)
    return month if found.first_open is not None and month < found.first_open else None


def _booking_day(ctx: Context, found: CorrectableTransaction, asked: date | None) -> date:
    if asked is None:
        return found.booked_on
    if found.first_open is not None and asked < found.first_open:
        raise InvalidField(
            f"That month is closed. The first open day is {found.first_open.isoformat()}. "
            "Nothing was done.",
            field="booked_on",
        )
    today = ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()
    if not found.occurred_on <= asked <= today:
        raise InvalidField(
            f"Choose a day from {found.occurred_on.isoformat()}, when it happened, until today. "
            "Nothing was done.",
            field="booked_on",
        )
    return asked


async def _ensure_still_possible(session: AsyncSession, correction: Correction) -> None:
    first_open = await _first_open_day(session)
    if first_open is not None and correction.booked_on < first_open:
        raise CorrectionRefused(
            "The month of its day was closed meanwhile. Refuse it and propose it anew. "
            "Nothing was done."
        )
