"""A donor's payments as their account and receipts show them, with what went back of each.

A charge that succeeded is a payment, also one that the donor's bank took back later. What was
refunded, disputed or returned is taken off wherever a sum is shown as given: the view
`returned_money` says what that is, on any day.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, cast, column, func, or_, select, table, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import LateralFromClause

from payments.core.errors import NotFound
from payments.core.frequency import Frequency, Interval
from payments.core.money import Money
from payments.giving.charges import Charge, ChargeStatus
from payments.giving.contributions import Contribution
from payments.giving.interval_columns import interval_of
from payments.giving.payment_intent_links import PaymentIntentLink

REFERENCE_PATTERN = re.compile("[0-9a-f]{16}")
_PRINTED_PATTERN = re.compile("[A-Za-z0-9./-]{0,20}?((?:[0-9A-F]{4} ){3}[0-9A-F]{4})")
PAID_STATUSES = (ChargeStatus.SUCCEEDED, ChargeStatus.RETURNED)
RETURNED_MONEY = table(
    "returned_money", column("stripe_charge_id"), column("refunded"), column("taken_back")
)

REFUNDS = table(
    "refunds",
    column("id"),
    column("stripe_charge_id"),
    column("status"),
    column("amount"),
    column("currency"),
)


@dataclass(frozen=True, slots=True)
class GivenAmounts:
    """What was paid, what of it was refunded, and what the donor's bank took back."""

    paid: Money
    refunded: Money
    taken_back: Money

    @property
    def returned(self) -> Money:
        """Everything that went back; never more than was paid."""
        return min(self.refunded + self.taken_back, self.paid)

    @property
    def given(self) -> Money:
        """What stays given."""
        return self.paid - self.returned


@dataclass(frozen=True, slots=True)
class DonorPayment:
    """One payment of a donor. `reference` identifies it on a receipt without Stripe's id."""

    reference: str
    contribution_id: str
    interval: Interval | None  # None for once
    amounts: GivenAmounts
    paid_at: datetime
    is_mailable: bool  # of a contribution that mails may speak of

    @property
    def frequency(self) -> Frequency:
        """The frequency that the books count it by."""
        return Frequency.ONCE if self.interval is None else self.interval.frequency

    def printed_reference(self, prefix: str) -> str:
        """Return the reference in groups of four, as it is read aloud, after the prefix."""
        letters = self.reference.upper()
        return prefix + " ".join(letters[i : i + 4] for i in range(0, len(letters), 4))


def reference_of(text: str) -> str:
    """Return the reference that is printed so, whatever the prefix; other text as it is."""
    printed = _PRINTED_PATTERN.fullmatch(text.strip())
    return text if printed is None else printed[1].replace(" ", "").lower()


def _reference_sql() -> ColumnElement[str]:
    """Return the number on a receipt, a function of the database that the books use too.

    It is not keyed, because it is printed and must survive a change of keys.
    """
    return func.receipt_number(Charge.stripe_charge_id)


async def list_for_donor(
    session: AsyncSession,
    donor_id: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    reference: str | ColumnElement[str] | None = None,
    contribution_id: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Sequence[DonorPayment]:
    """Return a donor's payments, the newest first: all, or a page.

    `since` is included, `until` is not; `reference` selects one payment.
    """
    returned = _returned_sums()
    query = (
        select(
            _reference_sql(),
            Contribution.id,
            PaymentIntentLink.interval_unit,
            PaymentIntentLink.interval_count,
            Charge.amount,
            returned.c.refunded,
            returned.c.taken_back,
            Charge.currency,
            Charge.charged_at,
            ~or_(Contribution.protected, Contribution.erased, Contribution.dropped),
        )
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .join(Contribution, Contribution.id == PaymentIntentLink.contribution_id)
        .join(returned, true())
        .where(Contribution.donor_id == donor_id, Charge.status.in_(PAID_STATUSES))
        .order_by(Charge.charged_at.desc(), Charge.stripe_charge_id)
        .limit(limit)
        .offset(offset)
    )
    if since is not None:
        query = query.where(Charge.charged_at >= since)
    if until is not None:
        query = query.where(Charge.charged_at < until)
    if reference is not None:
        query = query.where(_reference_sql() == reference)
    if contribution_id is not None:
        query = query.where(Contribution.id == contribution_id)
    rows = await session.execute(query)
    return [
        DonorPayment(
            name,
            contribution_id,
            interval_of(unit, count),
            _amounts(*amounts),
            paid_at,
            is_mailable,
        )
        for name, contribution_id, unit, count, *amounts, paid_at, is_mailable in rows
    ]


async def refund_amount(session: AsyncSession, refund_id: str) -> Money | None:
    """Return the amount of one refund; None for one that has not succeeded, or has failed since."""
    query = select(REFUNDS.c.amount, REFUNDS.c.currency).where(
        REFUNDS.c.id == refund_id, REFUNDS.c.status == "succeeded"
    )
    row = (await session.execute(query)).first()
    return None if row is None else Money(row.amount, row.currency)


async def refund_ids(session: AsyncSession, charge_ids: Sequence[str]) -> list[str]:
    """Return the ids of all refunds of these charges."""
    query = select(REFUNDS.c.id).where(REFUNDS.c.stripe_charge_id.in_(charge_ids))
    return list(await session.scalars(query.order_by(REFUNDS.c.id)))


async def given_after_refunds(
    session: AsyncSession, charge_id: str, amounts: GivenAmounts
) -> Money:
    """Return what stays given of a payment, for a mail about money that went back: less the refunds
    that succeeded, and not those that are only asked for.
    """
    query = select(cast(func.coalesce(func.sum(REFUNDS.c.amount), 0), BigInteger)).where(
        REFUNDS.c.stripe_charge_id == charge_id, REFUNDS.c.status == "succeeded"
    )
    refunded = Money(int(await session.scalar(query) or 0), amounts.paid.currency)
    return amounts.paid - min(refunded + amounts.taken_back, amounts.paid)


def _returned_sums() -> LateralFromClause:
    """Return what went back of the charge of a row, in minor units."""
    sums = [
        cast(func.coalesce(func.sum(RETURNED_MONEY.c[name]), 0), BigInteger).label(name)
        for name in ("refunded", "taken_back")
    ]
    of_charge = RETURNED_MONEY.c.stripe_charge_id == Charge.stripe_charge_id
    return select(*sums).where(of_charge).lateral()


def _amounts(paid: int, refunded: int, taken_back: int, currency: str) -> GivenAmounts:
    return GivenAmounts(
        Money(paid, currency), Money(refunded, currency), Money(taken_back, currency)
    )


async def amounts_by_contribution(
    session: AsyncSession, contribution_ids: Sequence[str]
) -> dict[str, GivenAmounts]:
    """Return what was paid for each of these contributions and what went back, by its id. One that
    nothing was paid for has none.
    """
    returned = _returned_sums()
    refunded = func.least(returned.c.refunded, Charge.amount)
    # of one payment no more goes back than was paid, so that none of another's is taken off
    taken_back = func.least(returned.c.taken_back, Charge.amount - refunded)
    sums = [cast(func.sum(amount), BigInteger) for amount in (Charge.amount, refunded, taken_back)]
    rows = await session.execute(
        select(PaymentIntentLink.contribution_id, *sums, Charge.currency)
        .join(Charge, Charge.stripe_payment_intent_id == PaymentIntentLink.stripe_payment_intent_id)
        .join(returned, true())
        .where(
            PaymentIntentLink.contribution_id.in_(contribution_ids),
            Charge.status.in_(PAID_STATUSES),
        )
        .group_by(PaymentIntentLink.contribution_id, Charge.currency)
    )
    return {id_: _amounts(*amounts) for id_, *amounts in rows if id_ is not None}


def totals(payments: Sequence[DonorPayment]) -> list[Money]:
    """Return what stays given of payments in each currency. Two currencies are never added."""
    sums: dict[str, Money] = {}
    for payment in payments:
        given = payment.amounts.given
        sums[given.currency] = sums.get(given.currency, Money(0, given.currency)) + given
    return list(sums.values())


async def was_charged_since(session: AsyncSession, donor_id: str, since: datetime) -> bool:
    """Whether a charge of a donor since then has succeeded, or waits for a bank to answer."""
    query = (
        select(Charge.stripe_charge_id)
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .join(Contribution, Contribution.id == PaymentIntentLink.contribution_id)
        .where(
            Contribution.donor_id == donor_id,
            Charge.status.in_((ChargeStatus.SUCCEEDED, ChargeStatus.PENDING)),
            Charge.charged_at >= since,
        )
        .limit(1)
    )
    return await session.scalar(query) is not None


async def get_owned(session: AsyncSession, donor_id: str, reference: str) -> DonorPayment:
    """Return a donor's own payment. Raises NotFound, for another's too."""
    payments: Sequence[DonorPayment] = ()
    if REFERENCE_PATTERN.fullmatch(reference):
        payments = await list_for_donor(session, donor_id, reference=reference)
    if not payments:
        raise NotFound("There is no such payment.")
    return payments[0]
