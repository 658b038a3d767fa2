"""Reports: the questions finance asks, answered from ledger rows. Read only; every figure is in
minor units.

A month is a half-open month of the accounting zone. Currencies are never added together.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments import money
from payments.money import Money

# What belongs to no contribution, such as Stripe's own fees, has no frequency.
NO_FREQUENCY = "none"


@dataclass(frozen=True, slots=True)
class MonthLine:
    """One month, frequency and settlement currency. net = gross - fees - refunds - disputes."""

    month: date
    frequency: str
    currency: str
    gifts: int
    gross: int
    fees: int
    refunds: int
    disputes: int

    @property
    def net(self) -> int:
        return self.gross - self.fees - self.refunds - self.disputes


_MONTHLY = text(
    """
    SELECT CAST(date_trunc('month', e.occurred_at AT TIME ZONE :zone) AS date) AS month,
           coalesce(i.frequency, 'none') AS frequency,
           e.currency,
           count(*) FILTER (WHERE e.credit LIKE 'income:%') AS gifts,
           coalesce(sum(e.amount) FILTER (WHERE e.credit LIKE 'income:%'), 0)
             - coalesce(sum(e.amount) FILTER (WHERE e.debit LIKE 'income:%'), 0) AS gross,
           coalesce(sum(e.amount) FILTER (WHERE e.debit LIKE 'expense:%'), 0)
             - coalesce(sum(e.amount) FILTER (WHERE e.credit LIKE 'expense:%'), 0) AS fees,
           coalesce(sum(e.amount) FILTER (WHERE e.debit = 'refunds'), 0)
             - coalesce(sum(e.amount) FILTER (WHERE e.credit = 'refunds'), 0) AS refunds,
           coalesce(sum(e.amount) FILTER (WHERE e.debit = 'disputes'), 0)
             - coalesce(sum(e.amount) FILTER (WHERE e.credit = 'disputes'), 0) AS disputes
      FROM ledger_entries e
      JOIN balance_transactions b ON b.id = e.balance_transaction
      LEFT JOIN charges c ON c.stripe_charge_id = b.charge
      LEFT JOIN contribution_intents i USING (stripe_payment_intent_id)
     WHERE (CAST(:since AS date) IS NULL
            OR e.occurred_at >= CAST(:since AS timestamp) AT TIME ZONE :zone)
       AND (CAST(:until AS date) IS NULL
            OR e.occurred_at < CAST(:until AS timestamp) AT TIME ZONE :zone)
       AND (CAST(:currency AS text) IS NULL OR e.currency = :currency)
       AND (CAST(:frequency AS text) IS NULL OR coalesce(i.frequency, 'none') = :frequency)
       AND NOT ('in-transit' IN (e.debit, e.credit))
     GROUP BY 1, 2, 3
     ORDER BY 1 DESC, 3, 2
     LIMIT 5000
    """
)


async def monthly(
    session: AsyncSession,
    zone: ZoneInfo,
    *,
    since: date | None = None,
    until: date | None = None,
    currency: str | None = None,
    frequency: str | None = None,
) -> list[MonthLine]:
    """Gross, fees, refunds and net by month, frequency and currency; newest month first.

    `since` is the first day and `until` the day after the last, both first days of a month.
    """
    rows = await session.execute(
        _MONTHLY,
        {
            "zone": zone.key,
            "since": since,
            "until": until,
            "currency": currency,
            "frequency": frequency,
        },
    )
    return [
        MonthLine(
            month=row.month,
            frequency=row.frequency,
            currency=row.currency,
            gifts=int(row.gifts),
            gross=int(row.gross),
            fees=int(row.fees),
            refunds=int(row.refunds),
            disputes=int(row.disputes),
        )
        for row in rows
    ]


def totals(lines: Sequence[MonthLine]) -> dict[str, MonthLine]:
    """One sum for each currency."""
    sums: dict[str, MonthLine] = {}
    for line in lines:
        old = sums.get(line.currency)
        sums[line.currency] = MonthLine(
            month=line.month,
            frequency="all",
            currency=line.currency,
            gifts=line.gifts + (old.gifts if old else 0),
            gross=line.gross + (old.gross if old else 0),
            fees=line.fees + (old.fees if old else 0),
            refunds=line.refunds + (old.refunds if old else 0),
            disputes=line.disputes + (old.disputes if old else 0),
        )
    return sums


AMOUNTS = ("gross", "fees", "refunds", "disputes", "net")


def as_rows(lines: Sequence[MonthLine]) -> list[dict[str, str | int]]:
    """The lines for a file: amounts in major units and in minor. Only our own words and numbers,
    so no cell can begin a formula."""
    rows = []
    for line in lines:
        minor = {name: int(getattr(line, name)) for name in AMOUNTS}
        row: dict[str, str | int] = {
            "month": line.month.strftime("%Y-%m"),
            "frequency": line.frequency,
            "currency": line.currency,
            "payments": line.gifts,
        }
        row |= {name: money.plain(Money(value, line.currency)) for name, value in minor.items()}
        row |= {f"{name}_minor": value for name, value in minor.items()}
        rows.append(row)
    return rows


def as_csv(lines: Sequence[MonthLine]) -> str:
    """The lines as RFC 4180."""
    out = io.StringIO()
    names = ["month", "frequency", "currency", "payments", *AMOUNTS]
    write = csv.DictWriter(out, [*names, *(f"{name}_minor" for name in AMOUNTS)])
    write.writeheader()
    write.writerows(as_rows(lines))
    return out.getvalue()


def as_table(lines: Sequence[MonthLine]) -> str:
    """The lines for a terminal."""
    names = ["month", "frequency", "currency", "payments", *AMOUNTS]
    cells = [names] + [[str(row[name]) for name in names] for row in as_rows(lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < 3 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
