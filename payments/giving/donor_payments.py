"""A donor's payments: the charges that succeeded, as their account and receipts show them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import NotFound
from payments.core.frequency import Frequency, Interval
from payments.core.money import Money
from payments.giving.charges import Charge, ChargeStatus
from payments.giving.contributions import Contribution
from payments.giving.interval_columns import interval_of
from payments.giving.payment_intent_links import PaymentIntentLink

REFERENCE_PATTERN = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class DonorPayment:
    """One payment of a donor. `reference` identifies it on a receipt without Stripe's id."""

    reference: str
    contribution_id: str
    interval: Interval | None  # None for once
    money: Money
    paid_at: datetime

    @property
    def frequency(self) -> Frequency:
        """The frequency that the books count it by."""
        return Frequency.ONCE if self.interval is None else self.interval.frequency


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
    reference: str | None = None,
    contribution_id: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Sequence[DonorPayment]:
    """Return a donor's payments, the newest first: all, or a page. Refunds are not subtracted.

    `since` is included, `until` is not; `reference` selects one payment.
    """
    query = (
        select(
            _reference_sql(),
            Contribution.id,
            PaymentIntentLink.interval_unit,
            PaymentIntentLink.interval_count,
            Charge.amount,
            Charge.currency,
            Charge.charged_at,
        )
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .join(Contribution, Contribution.id == PaymentIntentLink.contribution_id)
        .where(Contribution.donor_id == donor_id, Charge.status == ChargeStatus.SUCCEEDED)
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
            name, contribution_id, interval_of(unit, count), Money(amount, currency), paid_at
        )
        for name, contribution_id, unit, count, amount, currency, paid_at in rows
    ]


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
