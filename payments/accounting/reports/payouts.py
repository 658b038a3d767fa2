"""Payouts: what went to the bank, and payout reconciliation line by line.

Each item of a payout is Stripe's amount beside ours. A payout is matched when every item equals
ours to the cent and their sum is its amount. Stripe's list also has the payout's own transaction,
which is what the items are compared with, so it is not among them.
"""

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
from payments.accounting.reports.transaction_filters import TYPE_SQL, stripe_id_pattern
from payments.core.errors import InvalidField, NotFound
from payments.settlement.payouts import ReconciliationStatus

MAX_ITEMS = 2000  # on a page of one payout; its sums are of all
_PAYOUT_ID = stripe_id_pattern("po")
NEWEST_FIRST = Order("made", is_descending=True)
SORTABLE = SortableList(
    "payouts payout",
    "payout.stripe_payout_id",
    {
        "made": "payout.created_at",
        "arrives": "payout.arrives_on",
        "payout": "payout.stripe_payout_id",
        "status": "payout.status",
        "currency": "payout.currency",
        "paid-out": "(payout.currency, payout.amount)",
    },
)


@dataclass(frozen=True, slots=True)
class PayoutSummary:
    """One payout and the sums of its items, in minor units: by Stripe's list, and by our rows."""

    id: str
    status: str
    amount: int
    currency: str
    automatic: bool
    method: str
    created_at: datetime
    arrives_on: date
    reconciliation_status: str
    failure_code: str | None
    transactions_listed_at: datetime | None
    item_count: int
    listed_net: int
    recorded_net: int
    mismatched_items: int  # items that we do not have, or with another amount

    @property
    def match_status(self) -> str:
        """matched, mismatch, awaiting_list or, of a payout without a list, not_applicable."""
        is_listed = self.reconciliation_status != ReconciliationStatus.NOT_APPLICABLE
        if not (is_listed and self.automatic):
            return "not_applicable"
        if self.transactions_listed_at is None:
            return "awaiting_list"
        is_sum = self.listed_net == self.recorded_net == self.amount
        return "matched" if is_sum and not self.mismatched_items else "mismatch"


_SUMMARY_SQL = """
    WITH chosen_payouts AS (
        SELECT *
          FROM payouts payout
         WHERE {conditions}
         ORDER BY {order_by}
         LIMIT {limit}
    )
    SELECT payout.stripe_payout_id, payout.status, payout.amount, payout.currency,
           payout.automatic, payout.method, payout.created_at, payout.arrives_on,
           payout.reconciliation_status, payout.failure_code, payout.transactions_listed_at,
           count(item.balance_transaction) AS item_count,
           CAST(coalesce(sum(item.net), 0) AS bigint) AS listed_net,
           CAST(coalesce(sum(bt.net), 0) AS bigint) AS recorded_net,
           count(item.balance_transaction) FILTER (
               WHERE (bt.net, bt.currency) IS DISTINCT FROM (item.net, item.currency))
               AS mismatched_items
      FROM chosen_payouts payout
      LEFT JOIN payout_transactions item
        ON item.stripe_payout_id = payout.stripe_payout_id
       AND item.balance_transaction IS DISTINCT FROM payout.balance_transaction
      LEFT JOIN balance_transactions bt ON bt.id = item.balance_transaction
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
     ORDER BY {order_by}
"""
_SUMMARY = text(_SUMMARY_SQL.format(conditions="stripe_payout_id = :id", limit=1, order_by="1"))
_ITEMS = text(
    f"""
    SELECT item.balance_transaction,
           CASE WHEN bt.id IS NOT NULL THEN {TYPE_SQL} END,
           bt.occurred_at,
           e.contribution_id,
           bt.amount,
           bt.fee,
           item.net,
           CASE WHEN bt.currency = item.currency THEN bt.net END,
           item.currency,
           late.booked_on
      FROM payout_transactions item
      LEFT JOIN balance_transactions bt ON bt.id = item.balance_transaction
      LEFT JOIN LATERAL (
          SELECT contribution_id, seq
            FROM ledger_entries
           WHERE balance_transaction = bt.id
           ORDER BY seq
           LIMIT 1) e ON true
      LEFT JOIN late_entries late ON late.seq = e.seq
     WHERE item.stripe_payout_id = :id
       AND item.balance_transaction IS DISTINCT FROM (
           SELECT balance_transaction FROM payouts WHERE stripe_payout_id = :id)
     ORDER BY bt.occurred_at NULLS FIRST, item.balance_transaction
     LIMIT :limit
    OFFSET :offset
    """  # noqa: S608 - constants only
)


async def list_page(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    currency: str | None = None,
    before: str | None = None,
    order: Order = NEWEST_FIRST,
    size: int = PAGE_SIZE,
) -> tuple[Sequence[PayoutSummary], str | None]:
    """Return the payouts that were made in a period, in an order, or those after one, and the id
    that the next page begins after.

    Raises InvalidField for a `before` that is no payout's id.
    """
    if before is not None and not _PAYOUT_ID.fullmatch(before):
        raise InvalidField("before: follow the link of a page.", field="before")
    conditions, params = sql_text.where(
        [
            ("since", sql_text.local_day_condition("created_at", ">=", "since"), period.since),
            ("until", sql_text.local_day_condition("created_at", "<", "until"), period.until),
            ("currency", "currency = :currency", currency),
            ("before", SORTABLE.after(order), before),
        ],
        {"zone": zone.key},
    )
    query = _SUMMARY_SQL.format(
        conditions=conditions, limit=size + 1, order_by=SORTABLE.order_by(order)
    )
    rows = await session.execute(text(query), params)
    payouts = [PayoutSummary(*row) for row in rows]
    more = payouts[size - 1].id if len(payouts) > size else None
    return payouts[:size], more


async def list_all(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, currency: str | None = None
) -> list[PayoutSummary]:
    """Return all payouts that were made in a period, the newest first."""
    payouts: list[PayoutSummary] = []
    before: str | None = None
    while True:
        page, before = await list_page(session, zone, period, currency=currency, before=before)
        payouts += page
        if before is None:
            return payouts


@dataclass(frozen=True, slots=True)
class PayoutItem:
    """One item of a payout, in minor units. What we have of it is None where we have nothing."""

    id: str
    type: str | None
    occurred_at: datetime | None
    contribution_id: str | None
    gross: int | None
    fee: int | None
    listed_net: int
    recorded_net: int | None
    currency: str
    counted_on: date | None  # of a late one: the day on which reports count it

    @property
    def matches(self) -> bool:
        """Whether Stripe's amount is ours."""
        return self.listed_net == self.recorded_net


async def get(
    session: AsyncSession, payout_id: str, *, offset: int = 0, size: int = MAX_ITEMS
) -> tuple[PayoutSummary, Sequence[PayoutItem], int | None]:
    """Return a payout with a page of its items: those after so many, and after how many the next
    begins. Raises NotFound.
    """
    not_found = NotFound("There is no payout with this id.")
    if not _PAYOUT_ID.fullmatch(payout_id):
        raise not_found
    row = (await session.execute(_SUMMARY, {"id": payout_id})).one_or_none()
    if row is None:
        raise not_found
    params = {"id": payout_id, "offset": offset, "limit": size + 1}
    items = [PayoutItem(*item) for item in await session.execute(_ITEMS, params)]
    more = offset + size if len(items) > size else None
    return PayoutSummary(*row), items[:size], more
