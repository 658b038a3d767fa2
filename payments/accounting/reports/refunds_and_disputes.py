"""Refunds and disputes: what was given back or taken back, and what needs a response by when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import sql_text
from payments.accounting.reports import PAGE_SIZE
from payments.accounting.reports.period import Period
from payments.accounting.reports.sorting import Order, SortableList
from payments.core.errors import InvalidField, NotFound
from payments.core.identifiers import is_row_id
from payments.settlement.disputes import NEEDS_RESPONSE_STATUSES

NEWEST_FIRST = Order("asked", is_descending=True)
SORTABLE_REFUNDS = SortableList(
    "refunds r",
    "r.id",
    {
        "asked": "r.requested_at",
        "refund": "coalesce(r.stripe_refund_id, '')",
        "reason": "coalesce(r.reason, '')",
        "by": "coalesce((SELECT name FROM staff WHERE staff.id = r.requested_by), '')",
        "status": "r.status",
        "currency": "r.currency",
        "as-the-donor-saw-it": "(r.currency, r.amount)",
    },
)
SORTABLE_DISPUTES = SortableList(
    "disputes d",
    "d.stripe_dispute_id",
    {
        "opened": "d.opened_at",
        "as-the-donor-saw-it": "(d.currency, d.amount)",
        "answer-by": "coalesce(d.evidence_due_at, 'infinity')",
        "status": "d.status",
        "reason": "d.reason",
        "dispute": "d.stripe_dispute_id",
    },
)


@dataclass(frozen=True, slots=True)
class RefundRow:
    """A refund, in minor units of the currency the donor was charged in."""

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
    counted_on: date | None  # of one that came late for a closed month: the day that counts it


async def list_refunds(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    before: str | None = None,
    order: Order = NEWEST_FIRST,
    size: int = PAGE_SIZE,
) -> tuple[Sequence[RefundRow], str | None]:
    """Return the refunds that were asked for in a period, in an order, or those after one, and the
    id that the next page begins after.

    Raises InvalidField for a `before` that is no row's id.
    """
    if before is not None and not is_row_id(before):
        raise InvalidField("before: follow the link of a page.", field="before")
    conditions, params = sql_text.where(
        [
            ("since", sql_text.local_day_condition("r.requested_at", ">=", "since"), period.since),
            ("until", sql_text.local_day_condition("r.requested_at", "<", "until"), period.until),
            ("before", SORTABLE_REFUNDS.after(order), before),
        ],
        {"zone": zone.key},
    )
    query = f"""
    SELECT r.id, r.requested_at, r.status, r.amount, r.currency, r.reason, staff.name,
           r.stripe_refund_id, r.failure_reason, link.contribution_id,
           (SELECT max(late.booked_on)
              FROM late_entries late
              JOIN ledger_entries e USING (seq)
             WHERE e.balance_transaction = r.balance_transaction)
      FROM refunds r
      LEFT JOIN staff ON staff.id = r.requested_by
      LEFT JOIN charges c ON c.stripe_charge_id = r.stripe_charge_id
      LEFT JOIN payment_intent_links link USING (stripe_payment_intent_id)
     WHERE {conditions}
     ORDER BY {SORTABLE_REFUNDS.order_by(order)}
     LIMIT {size + 1}
    """  # noqa: S608 - constants only
    refunds = [RefundRow(*row) for row in await session.execute(text(query), params)]
    more = refunds[size - 1].id if len(refunds) > size else None
    return refunds[:size], more


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """A dispute, in minor units of the currency the donor was charged in."""

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
        """Whether it needs a response."""
        return self.status in NEEDS_RESPONSE_STATUSES


_NEEDS_RESPONSE_STATUSES_SQL = sql_text.in_list(NEEDS_RESPONSE_STATUSES)
_DISPUTES_SQL = """
    SELECT d.stripe_dispute_id, d.opened_at, d.status, d.amount, d.currency, d.reason,
           d.evidence_due_at, d.evidence_submitted, link.contribution_id
      FROM disputes d
      LEFT JOIN charges c ON c.stripe_charge_id = d.stripe_charge_id
      LEFT JOIN payment_intent_links link USING (stripe_payment_intent_id)
     WHERE {conditions}
"""
_BY_URGENCY_SQL = f"""
     ORDER BY d.status IN {_NEEDS_RESPONSE_STATUSES_SQL} DESC,
              CASE WHEN d.status IN {_NEEDS_RESPONSE_STATUSES_SQL}
                   THEN d.evidence_due_at END NULLS LAST,
              d.opened_at DESC,
              d.stripe_dispute_id
"""


async def list_disputes(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    offset: int = 0,
    order: Order | None = None,
) -> tuple[Sequence[DisputeRow], int | None]:
    """Return the disputes opened in a period in an order; without one, those that need a response,
    most urgent first, then the newest others. Begin after so many, and return after how many the
    next page begins.
    """
    conditions, params = sql_text.where(
        [
            ("since", sql_text.local_day_condition("d.opened_at", ">=", "since"), period.since),
            ("until", sql_text.local_day_condition("d.opened_at", "<", "until"), period.until),
        ],
        {"zone": zone.key, "limit": PAGE_SIZE + 1, "offset": offset},
    )
    query = f"""{_DISPUTES_SQL.format(conditions=conditions)}
{_BY_URGENCY_SQL if order is None else f"ORDER BY {SORTABLE_DISPUTES.order_by(order)}"}
     LIMIT :limit
    OFFSET :offset
    """
    disputes = [DisputeRow(*row) for row in await session.execute(text(query), params)]
    more = offset + PAGE_SIZE if len(disputes) > PAGE_SIZE else None
    return disputes[:PAGE_SIZE], more


async def list_disputes_by_day(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    before: str | None = None,
    size: int = PAGE_SIZE,
) -> tuple[Sequence[DisputeRow], str | None]:
    """Return the newest disputes that were opened in a period, or those before one, and the id that
    the next page begins before.
    """
    conditions, params = sql_text.where(
        [
            ("since", sql_text.local_day_condition("d.opened_at", ">=", "since"), period.since),
            ("until", sql_text.local_day_condition("d.opened_at", "<", "until"), period.until),
            (
                "before",
                """(d.opened_at, d.stripe_dispute_id) < (
           SELECT opened_at, stripe_dispute_id FROM disputes WHERE stripe_dispute_id = :before)""",
                before,
            ),
        ],
        {"zone": zone.key},
    )
    query = f"""{_DISPUTES_SQL.format(conditions=conditions)}
     ORDER BY d.opened_at DESC, d.stripe_dispute_id DESC
     LIMIT {size + 1}
    """
    disputes = [DisputeRow(*row) for row in await session.execute(text(query), params)]
    more = disputes[size - 1].id if len(disputes) > size else None
    return disputes[:size], more


async def get_dispute(session: AsyncSession, dispute_id: str) -> DisputeRow:
    """Return one dispute. Raises NotFound."""
    query = text(_DISPUTES_SQL.format(conditions="d.stripe_dispute_id = :id"))
    row = (await session.execute(query, {"id": dispute_id})).one_or_none()
    if row is None:
        raise NotFound("There is no such dispute.")
    return DisputeRow(*row)
