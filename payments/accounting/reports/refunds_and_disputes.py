"""Refunds and disputes: what was given back or taken back, and what must be answered by when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import InvalidField

PAGE_SIZE = 50
NEEDS_RESPONSE_STATUSES = ("needs_response", "warning_needs_response", "appeal_needs_response")


@dataclass(frozen=True, slots=True)
class RefundRow:
    """In minor units of what the donor was shown."""

    id: str
    requested_at: datetime
    status: str
    amount: int
    currency: str
    reason: str | None
    requested_by: str | None  # a colleague's name; None when it was made at Stripe
    stripe_refund_id: str | None
    failure_reason: str | None
    contribution_id: str | None


_REFUNDS = """
    SELECT r.id, r.requested_at, r.status, r.amount, r.currency, r.reason, s.name,
           r.stripe_refund_id, r.failure_reason, i.contribution_id
      FROM refunds r
      LEFT JOIN staff s ON s.id = r.requested_by
      LEFT JOIN charges c ON c.stripe_charge_id = r.stripe_charge_id
      LEFT JOIN payment_intent_links i USING (stripe_payment_intent_id)
     WHERE {place}
     ORDER BY r.requested_at DESC, r.id DESC
     LIMIT {limit}
"""


async def list_refunds(
    session: AsyncSession, *, before: str | None = None
) -> tuple[Sequence[RefundRow], str | None]:
    """The newest, or those before one, and where the next page begins."""
    place, params = "true", {}
    if before is not None:
        if len(before) != 32 or not before.isalnum():
            raise InvalidField("before: follow the link of a page.", field="before")
        place = "(r.requested_at, r.id) < (SELECT requested_at, id FROM refunds WHERE id = :before)"
        params = {"before": before}
    query = text(_REFUNDS.format(place=place, limit=PAGE_SIZE + 1))
    rows = [RefundRow(*row) for row in await session.execute(query, params)]
    return rows[:PAGE_SIZE], rows[PAGE_SIZE - 1].id if len(rows) > PAGE_SIZE else None


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """In minor units of what the donor was shown."""

    id: str
    opened_at: datetime
    status: str
    amount: int
    currency: str
    reason: str
    evidence_due_at: datetime | None
    evidence_submitted: bool
    contribution_id: str | None

    @property
    def is_open(self) -> bool:
        return self.status in NEEDS_RESPONSE_STATUSES


_DISPUTES = text(
    f"""
    SELECT d.stripe_dispute_id, d.opened_at, d.status, d.amount, d.currency, d.reason,
           d.evidence_due_at, d.evidence_submitted, i.contribution_id
      FROM disputes d
      LEFT JOIN charges c ON c.stripe_charge_id = d.stripe_charge_id
      LEFT JOIN payment_intent_links i USING (stripe_payment_intent_id)
     ORDER BY d.status IN {NEEDS_RESPONSE_STATUSES} DESC,
              CASE WHEN d.status IN {NEEDS_RESPONSE_STATUSES} THEN d.evidence_due_at END NULLS LAST,
              d.opened_at DESC, 1
     LIMIT 200
    """  # noqa: S608 - our own words
)


async def list_disputes(session: AsyncSession) -> Sequence[DisputeRow]:
    """Those that wait for an answer first, the most urgent at the top; then the newest."""
    return [DisputeRow(*row) for row in await session.execute(_DISPUTES)]
