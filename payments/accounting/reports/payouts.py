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

from payments.accounting.reports.transactions import TYPE
from payments.core.errors import InvalidField, NotFound

PAGE = 50
MOST = 10_000
LINES = 2000  # shown of one payout; its sums are of all
_ID = re.compile(r"po_[A-Za-z0-9_]{1,250}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Paid:
    """One payout and the sums of its lines: by Stripe's list, and by our own rows."""

    id: str
    status: str
    amount: int
    currency: str
    automatic: bool
    method: str
    created_at: datetime
    arrives_on: date
    reconciliation: str
    failure_code: str | None
    listed_at: datetime | None
    lines: int
    theirs: int
    ours: int
    missing: int  # lines of Stripe's that we have not, or have otherwise

    @property
    def proof(self) -> str:
        """proved, mismatch, waiting, or none where Stripe does not say what is in it."""
        if self.reconciliation == "not_applicable" or not self.automatic:
            return "none"
        if self.listed_at is None:
            return "waiting"
        holds = self.theirs == self.ours == self.amount and not self.missing
        return "proved" if holds else "mismatch"


_PAID = """
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


async def page(
    session: AsyncSession, *, currency: str | None = None, before: str | None = None
) -> tuple[Sequence[Paid], str | None]:
    """The newest payouts, or those before one, and where the next page begins."""
    if before is not None and not _ID.fullmatch(before):
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
                  ORDER BY created_at DESC, stripe_payout_id DESC LIMIT {PAGE + 1})"""  # noqa: S608
    rows = [Paid(*row) for row in await session.execute(text(_PAID.format(those=those)), params)]
    return rows[:PAGE], rows[PAGE - 1].id if len(rows) > PAGE else None


async def all_of(session: AsyncSession, *, currency: str | None = None) -> list[Paid]:
    """The newest ten thousand payouts: twenty-seven years of one a day."""
    found: list[Paid] = []
    more: str | None = None
    for _ in range(MOST // PAGE):
        some, more = await page(session, currency=currency, before=more)
        found += some
        if more is None:
            break
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """One line of a payout. `ours` is None where we do not have it."""

    id: str
    type: str | None
    occurred_at: datetime | None
    contribution_id: str | None
    gross: int | None
    fee: int | None
    theirs: int
    ours: int | None
    currency: str

    @property
    def agrees(self) -> bool:
        return self.theirs == self.ours


_ONE = text(_PAID.format(those="(SELECT * FROM payouts WHERE stripe_payout_id = :id)"))
_PARTS = text(
    f"""
    SELECT t.balance_transaction, CASE WHEN b.id IS NOT NULL THEN {TYPE} END, b.occurred_at,
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
     LIMIT {LINES + 1}
    """  # noqa: S608 - our own words
)


async def one(session: AsyncSession, payout_id: str) -> tuple[Paid, Sequence[Part]]:
    """A payout with its lines. Raises NotFound."""
    row = (await session.execute(_ONE, {"id": payout_id})).one_or_none()
    if row is None:
        raise NotFound("There is no payout with this id.")
    parts = await session.execute(_PARTS, {"id": payout_id})
    return Paid(*row), [Part(*part) for part in parts]
