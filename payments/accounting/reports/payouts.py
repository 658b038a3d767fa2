"""Payouts: what went to the bank, and the proof that it is the sum of what Stripe says is in it.

Each line of a payout is Stripe's word beside ours. A payout is proved when every line is ours too,
to the cent, and their sum is its amount. Stripe's list also has the payout's own transaction, which
is what the lines are compared with, so it is not among them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports.transactions import TYPE_SQL
from payments.core.errors import InvalidField, NotFound

PAGE_SIZE = 50
MAX_PAYOUTS = 10_000
MAX_ITEMS = 2000  # shown of one payout; its sums are of all
_PAYOUT_ID = re.compile(r"po_[A-Za-z0-9_]{1,250}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PayoutSummary:
    """One payout and the sums of its lines: by Stripe's list, and by our own rows."""

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
    mismatched_items: int  # lines of Stripe's that we have not, or have otherwise

    @property
    def match_status(self) -> str:
        """proved, mismatch, waiting, or none where Stripe does not say what is in it."""
        if self.reconciliation_status == "not_applicable" or not self.automatic:
            return "none"
        if self.transactions_listed_at is None:
            return "waiting"
        holds = self.listed_net == self.recorded_net == self.amount and not self.mismatched_items
        return "proved" if holds else "mismatch"


_SUMMARY_SQL = """
    SELECT p.stripe_payout_id, p.status, p.amount, p.currency, p.automatic, p.method,
           p.created_at, p.arrives_on, p.reconciliation, p.failure_code, p.listed_at,
           count(t.balance_transaction) AS lines,
           CAST(coalesce(sum(t.net), 0) AS bigint) AS theirs,
           CAST(coalesce(sum(b.net), 0) AS bigint) AS ours,
           count(t.balance_transaction) FILTER (
               WHERE (b.net, b.currency) IS DISTINCT FROM (t.net, t.currency)) AS missing
      FROM {those} p
      LEFT JOIN payout_transactions t
        ON t.stripe_payout_id = p.stripe_payout_id
       AND t.balance_transaction IS DISTINCT FROM p.balance_transaction
      LEFT JOIN balance_transactions b ON b.id = t.balance_transaction
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
     ORDER BY p.created_at DESC, 1 DESC
"""


async def list_page(
    session: AsyncSession, *, currency: str | None = None, before: str | None = None
) -> tuple[Sequence[PayoutSummary], str | None]:
    """The newest payouts, or those before one, and where the next page begins."""
    if before is not None and not _PAYOUT_ID.fullmatch(before):
        raise InvalidField("before: follow the link of a page.", field="before")
    conditions, params = ["true"], {}
    if currency is not None:
        conditions.append("currency = :currency")
        params["currency"] = currency
    if before is not None:
        conditions.append(
            "(created_at, stripe_payout_id) < (SELECT created_at, stripe_payout_id FROM payouts"
            " WHERE stripe_payout_id = :before)"
        )
        params["before"] = before
    those = f"""(SELECT * FROM payouts WHERE {" AND ".join(conditions)}
                  ORDER BY created_at DESC, stripe_payout_id DESC LIMIT {PAGE_SIZE + 1})"""  # noqa: S608
    rows = [
        PayoutSummary(*row)
        for row in await session.execute(text(_SUMMARY_SQL.format(those=those)), params)
    ]
    return rows[:PAGE_SIZE], rows[PAGE_SIZE - 1].id if len(rows) > PAGE_SIZE else None


async def list_all(session: AsyncSession, *, currency: str | None = None) -> list[PayoutSummary]:
    """The newest ten thousand payouts: twenty-seven years of one a day."""
    found: list[PayoutSummary] = []
    more: str | None = None
    for _ in range(MAX_PAYOUTS // PAGE_SIZE):
        some, more = await list_page(session, currency=currency, before=more)
        found += some
        if more is None:
            break
    return found


@dataclass(frozen=True, slots=True)
class PayoutItem:
    """One line of a payout. `ours` is None where we do not have it."""

    id: str
    type: str | None
    occurred_at: datetime | None
    contribution_id: str | None
    gross: int | None
    fee: int | None
    listed_net: int
    recorded_net: int | None
    currency: str

    @property
    def matches(self) -> bool:
        return self.listed_net == self.recorded_net


_SUMMARY = text(_SUMMARY_SQL.format(those="(SELECT * FROM payouts WHERE stripe_payout_id = :id)"))
_ITEMS = text(
    f"""
    SELECT t.balance_transaction, CASE WHEN b.id IS NOT NULL THEN {TYPE_SQL} END, b.occurred_at,
           e.contribution_id, b.amount, b.fee, t.net,
           CASE WHEN b.currency = t.currency THEN b.net END, t.currency
      FROM payout_transactions t
      LEFT JOIN balance_transactions b ON b.id = t.balance_transaction
      LEFT JOIN LATERAL (
          SELECT contribution_id FROM ledger_entries
           WHERE balance_transaction = b.id ORDER BY seq LIMIT 1) e ON true
     WHERE t.stripe_payout_id = :id
       AND t.balance_transaction IS DISTINCT FROM (
           SELECT balance_transaction FROM payouts WHERE stripe_payout_id = :id)
     ORDER BY b.occurred_at NULLS FIRST, t.balance_transaction
     LIMIT {MAX_ITEMS + 1}
    """  # noqa: S608 - our own words
)


async def get(session: AsyncSession, payout_id: str) -> tuple[PayoutSummary, Sequence[PayoutItem]]:
    """A payout with its lines. Raises NotFound."""
    row = (await session.execute(_SUMMARY, {"id": payout_id})).one_or_none()
    if row is None:
        raise NotFound("There is no payout with this id.")
    parts = await session.execute(_ITEMS, {"id": payout_id})
    return PayoutSummary(*row), [PayoutItem(*part) for part in parts]
