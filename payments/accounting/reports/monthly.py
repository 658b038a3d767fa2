"""Monthly totals: gross, fees, refunds and net by month, frequency and currency.

Read from the daily totals. Every figure is in minor units; currencies are never added together.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import money
from payments.core.money import Money


@dataclass(frozen=True, slots=True)
class MonthlyTotal:
    """One month, frequency and settlement currency. net = gross - fees - refunds - disputes."""

    month: date
    frequency: str
    currency: str
    payments: int  # how many
    gross: int
    fees: int
    refunds: int
    disputes: int
    payers: int = 0  # contributions that paid, each once
    first_time_payers: int = 0  # of them, those that paid for the first time

    @property
    def net(self) -> int:
        """Gross less fees, refunds and disputes, in minor units."""
        return self.gross - self.fees - self.refunds - self.disputes


# The sums of a table with the columns of daily_totals_now.
SUMS_SQL = """
    coalesce(sum(entries) FILTER (WHERE credit LIKE 'income:%'), 0) AS payments,
    coalesce(sum(amount) FILTER (WHERE credit LIKE 'income:%'), 0)
      - coalesce(sum(amount) FILTER (WHERE debit LIKE 'income:%'), 0) AS gross,
    coalesce(sum(amount) FILTER (WHERE debit LIKE 'expense:%'), 0)
      - coalesce(sum(amount) FILTER (WHERE credit LIKE 'expense:%'), 0) AS fees,
    coalesce(sum(amount) FILTER (WHERE debit = 'refunds'), 0)
      - coalesce(sum(amount) FILTER (WHERE credit = 'refunds'), 0) AS refunds,
    coalesce(sum(amount) FILTER (WHERE debit = 'disputes'), 0)
      - coalesce(sum(amount) FILTER (WHERE credit = 'disputes'), 0) AS disputes,
    sum(payers) AS payers,
    sum(first_time_payers) AS first_time_payers
"""
_REPORTED_ACCOUNTS_SQL = "LIKE ANY ('{income:%,expense:%,refunds,disputes}')"
_MONTHLY = text(
    f"""
    SELECT CAST(date_trunc('month', day) AS date) AS month, frequency, currency, {SUMS_SQL}
      FROM daily_totals_now(:zone) AS days
     WHERE (CAST(:since AS date) IS NULL OR day >= :since)
       AND (CAST(:until AS date) IS NULL OR day < :until)
       AND (CAST(:currency AS text) IS NULL OR currency = :currency)
       AND (CAST(:frequency AS text) IS NULL OR frequency = :frequency)
       AND (debit {_REPORTED_ACCOUNTS_SQL} OR credit {_REPORTED_ACCOUNTS_SQL})
     GROUP BY month, frequency, currency
     ORDER BY month DESC, currency, frequency
    """  # noqa: S608 - constants only
)


async def by_month(
    session: AsyncSession,
    zone: ZoneInfo,
    *,
    since: date | None = None,
    until: date | None = None,
    currency: str | None = None,
    frequency: str | None = None,
) -> list[MonthlyTotal]:
    """Return the totals by month, frequency and currency, newest month first.

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
        line_of(
            row,
            row.frequency,
            payers=int(row.payers),
            first_time_payers=int(row.first_time_payers),
        )
        for row in rows
    ]


def line_of(row: Row[Any], frequency: str, **people: int) -> MonthlyTotal:
    """Return a row of sums as a line of a frequency, in minor units. `people` are its payers."""
    return MonthlyTotal(
        month=row.month,
        frequency=frequency,
        currency=row.currency,
        payments=int(row.payments),
        gross=int(row.gross),
        fees=int(row.fees),
        refunds=int(row.refunds),
        disputes=int(row.disputes),
        **people,
    )


def sum_by_currency(lines: Sequence[MonthlyTotal]) -> dict[str, MonthlyTotal]:
    """Add up the lines of each currency. `payers` counts a contribution once in every month."""
    sums: dict[str, MonthlyTotal] = {}
    for line in lines:
        old = sums.get(line.currency)
        sums[line.currency] = MonthlyTotal(
            month=line.month,
            frequency="all",
            currency=line.currency,
            payments=line.payments + (old.payments if old else 0),
            gross=line.gross + (old.gross if old else 0),
            fees=line.fees + (old.fees if old else 0),
            refunds=line.refunds + (old.refunds if old else 0),
            disputes=line.disputes + (old.disputes if old else 0),
            payers=line.payers + (old.payers if old else 0),
            first_time_payers=line.first_time_payers + (old.first_time_payers if old else 0),
        )
    return sums


AMOUNT_FIELDS = ("gross", "fees", "refunds", "disputes", "net")


def as_rows(lines: Sequence[MonthlyTotal]) -> list[dict[str, str | int]]:
    """Return the lines for a file, with amounts in major units and in minor.

    They hold only fixed texts and numbers, so that no cell can begin a formula.
    """
    rows = []
    for line in lines:
        minor = {name: int(getattr(line, name)) for name in AMOUNT_FIELDS}
        row: dict[str, str | int] = {
            "month": line.month.strftime("%Y-%m"),
            "frequency": line.frequency,
            "currency": line.currency,
            "payments": line.payments,
        }
        row |= {
            name: money.to_decimal_string(Money(value, line.currency))
            for name, value in minor.items()
        }
        row |= {f"{name}_minor": value for name, value in minor.items()}
        rows.append(row)
    return rows


def as_csv(lines: Sequence[MonthlyTotal]) -> str:
    """Return the lines as RFC 4180."""
    out = io.StringIO()
    names = ["month", "frequency", "currency", "payments", *AMOUNT_FIELDS]
    writer = csv.DictWriter(out, [*names, *(f"{name}_minor" for name in AMOUNT_FIELDS)])
    writer.writeheader()
    writer.writerows(as_rows(lines))
    return out.getvalue()


def as_table(lines: Sequence[MonthlyTotal]) -> str:
    """Return the lines as a table for a terminal."""
    names = ["month", "frequency", "currency", "payments", *AMOUNT_FIELDS]
    cells = [names] + [[str(row[name]) for name in names] for row in as_rows(lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < 3 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
