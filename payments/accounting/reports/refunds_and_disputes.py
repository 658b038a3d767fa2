"""Refunds and disputes: what was given back or taken back, and what must be answered by when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import InvalidField

PAGE = 50
OPEN = ("needs_response", "warning_needs_response", "appeal_needs_response")


@dataclass(frozen=True, slots=True)
class Refund:
    """In minor units of what the donor was shown."""

    id: str
    asked_at: datetime
    status: str
    amount: int
    currency: str
    reason: str | None
    asked_by: str | None  # a colleague's name; None when it was made at Stripe
    stripe_refund_id: str | None
    failure_reason: str | None
    contribution_id: str | None


_REFUNDS = """
    SELECT r.id, r.asked_at, r.status, r.amount, r.currency, r.reason, s.name,
           r.stripe_refund_id, r.failure_reason, i.contribution_id
      FROM refunds r
      LEFT JOIN staff s ON s.id = r.asked_by
      LEFT JOIN charges c ON c.stripe_charge_id = r.stripe_charge_id
      LEFT JOIN contribution_intents i USING (stripe_payment_intent_id)
     WHERE {place}
     ORDER BY r.asked_at DESC, r.id DESC
     LIMIT {limit}
"""


async def refunds(
    session: AsyncSession, *, before: str | None = None
) -> tuple[Sequence[Refund], str | None]:
    """The newest, or those before one, and where the next page begins."""
    place, params = "true", {}
    if before is not None:
        if len(before) != 32 or not before.isalnum():
            raise InvalidField("before: follow the link of a page.", field="before")
        place = "(r.asked_at, r.id) < (SELECT asked_at, id FROM refunds WHERE id = :before)"
        params = {"before": before}
    query = text(_REFUNDS.format(place=place, limit=PAGE + 1))
    rows = [Refund(*row) for row in await session.execute(query, params)]
    return rows[:PAGE], rows[PAGE - 1].id if len(rows) > PAGE else None


@dataclass(frozen=True, slots=True)
class Dispute:
    """In minor units of what the donor was shown."""

    id: str
    opened_at: datetime
    status: str
    amount: int
    currency: str
    reason: str
    evidence_due_at: datetime | None
    answered: bool
    contribution_id: str | None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


_DISPUTES = text(
    f"""
    SELECT d.stripe_dispute_id, d.opened_at, d.status, d.amount, d.currency, d.reason,
           d.evidence_due_at, d.answered, i.contribution_id
      FROM disputes d
      LEFT JOIN charges c ON c.stripe_charge_id = d.stripe_charge_id
      LEFT JOIN contribution_intents i USING (stripe_payment_intent_id)
     ORDER BY d.status IN {OPEN} DESC,
              CASE WHEN d.status IN {OPEN} THEN d.evidence_due_at END NULLS LAST,
              d.opened_at DESC, 1
     LIMIT 200
    """  # noqa: S608 - our own words
)


async def disputes(session: AsyncSession) -> Sequence[Dispute]:
    """Those that wait for an answer first, the most urgent at the top; then the newest."""
    return [Dispute(*row) for row in await session.execute(_DISPUTES)]
