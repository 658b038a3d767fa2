"""The contribution report: the figures of a period by currency, as plain data for page, PDF, mail
and programs.

Read from the daily totals, in minor units of the settlement currency. The same period over the same
books gives the same report, whenever it is asked for.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.period_close import PeriodClosing
from payments.accounting.reports import monthly, other_income, stripe_balance
from payments.accounting.reports.monthly import AMOUNT_FIELDS, MonthlyTotal
from payments.accounting.reports.period import Period
from payments.accounting.reports.stripe_balance import BALANCE_MOVEMENTS, BalanceMonth
from payments.core.calendar import add_months, first_of_month, months_between
from payments.core.errors import InvalidField

# How a figure of contributions is called in the balance, and with which sign.
_IN_BALANCE = {"gross": 1, "fees": -1, "refunds": -1, "disputes": -1}


@dataclass(frozen=True, slots=True)
class MovementCounts:
    """How many movements of Stripe's balance there were of each kind, and of payouts how much."""

    refunds: int = 0
    refunds_failed: int = 0  # whose money came back
    disputes: int = 0  # that took money
    disputes_reversed: int = 0  # whose money came back
    payouts: int = 0
    payouts_amount: int = 0
    payouts_failed: int = 0  # or were cancelled; their money came back
    payouts_failed_amount: int = 0


@dataclass(frozen=True, slots=True)
class CurrencyReport:
    """The figures of one settlement currency. `total` is the sum of `by_frequency`."""

    currency: str
    by_frequency: Sequence[MonthlyTotal]
    total: MonthlyTotal
    last_year: MonthlyTotal  # the same days a year earlier
    other_income: MonthlyTotal | None  # in no total
    balance: BalanceMonth
    counts: MovementCounts

    @property
    def corrected(self) -> dict[str, int]:
        """By how much a figure of contributions differs from what moved in the balance: what
        colleagues moved between accounts, which moves no balance.
        """
        differences = {
            name: getattr(self.total, name) - sign * getattr(self.balance, name)
            for name, sign in _IN_BALANCE.items()
        }
        return {name: amount for name, amount in differences.items() if amount}


@dataclass(frozen=True, slots=True)
class BooksPosition:
    """The last ledger entry that is booked in the period or before it."""

    seq: int
    occurred_at: datetime
    hash: str  # hex


@dataclass(frozen=True, slots=True)
class ContributionReport:
    """A period's report. It is provisional until each month that it touches is closed."""

    since: date
    until: date  # the day after the last
    zone: str
    closings: Sequence[PeriodClosing]  # of the months that are closed, oldest first
    is_provisional: bool
    late_entries: int  # of closed months, booked in this period
    position: BooksPosition | None
    currencies: Sequence[CurrencyReport]

    @property
    def dated(self) -> datetime | None:
        """When the books came to say this: the last closing, or else the last entry."""
        if not self.is_provisional:
            return max(closing.closed_at for closing in self.closings)
        return None if self.position is None else self.position.occurred_at

    def to_plain(self) -> dict[str, Any]:
        """Return everything as numbers and texts, with the sums that follow from them."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "zone": self.zone,
            "is_provisional": self.is_provisional,
            "closed": [
                {
                    "month": f"{closing.month:%Y-%m}",
                    "at": closing.closed_at.isoformat(),
                    "by": closing.closed_by,
                }
                for closing in self.closings
            ],
            "late_entries": self.late_entries,
            "last_entry": None if self.position is None else self.position.seq,
            "last_entry_hash": None if self.position is None else self.position.hash,
            "currencies": [_plain_currency(one) for one in self.currencies],
        }


def _plain_currency(one: CurrencyReport) -> dict[str, Any]:
    return {
        "currency": one.currency,
        "by_frequency": [
            {"frequency": total.frequency} | _plain_total(total) for total in one.by_frequency
        ],
        "total": _plain_total(one.total)
        | {
            "payers": one.total.payers,
            "first_time_payers": one.total.first_time_payers,
        },
        "same_period_last_year": _plain_total(one.last_year),
        "other_income": None if one.other_income is None else _plain_total(one.other_income),
        "stripe_balance": {
            name: getattr(one.balance, name) for name in ("opening", *BALANCE_MOVEMENTS, "closing")
        },
        "corrected": one.corrected,
        "counts": asdict(one.counts),
    }


def _plain_total(total: MonthlyTotal) -> dict[str, int]:
    return {name: int(getattr(total, name)) for name in ("payments", *AMOUNT_FIELDS)}


_POSITION = text("""
    SELECT seq, occurred_at, encode(hash, 'hex') AS hash
      FROM booked_entries e
     WHERE is_booked_before(e.occurred_at, e.booked_on, :until, :zone)
     ORDER BY seq DESC
     LIMIT 1
    """)
_LATE_ENTRIES = text("""
    SELECT count(*)
      FROM late_entries
     WHERE booked_on >= :since
       AND booked_on < :until
    """)
_COUNTS = text("""
    SELECT currency,
           sum(entries) FILTER (WHERE debit = 'refunds') AS refunds,
           sum(entries) FILTER (WHERE credit = 'refunds') AS refunds_failed,
           sum(entries) FILTER (WHERE debit = 'disputes') AS disputes,
           sum(entries) FILTER (WHERE credit = 'disputes') AS disputes_reversed,
           sum(entries) FILTER (WHERE debit = 'in-transit') AS payouts,
           sum(amount) FILTER (WHERE debit = 'in-transit') AS payouts_amount,
           sum(entries) FILTER (WHERE credit = 'in-transit') AS payouts_failed,
           sum(amount) FILTER (WHERE credit = 'in-transit') AS payouts_failed_amount
      FROM daily_totals_now(:zone) AS days
     WHERE 'stripe:balance' IN (debit, credit)
       AND day >= :since
       AND day < :until
     GROUP BY currency
     ORDER BY currency
     LIMIT 200
    """)


async def build(session: AsyncSession, zone: ZoneInfo, period: Period) -> ContributionReport:
    """Return the report of a period. Raises InvalidField for one without a beginning or an end."""
    since, until = period.since, period.until
    if since is None or until is None:
        raise InvalidField(
            "period: a report has a beginning and an end, such as 2026-10.", field="period"
        )
    days: dict[str, Any] = {"zone": zone.key, "since": since, "until": until}
    months = list(months_between(first_of_month(since), until))
    closings = list(
        await session.scalars(
            select(PeriodClosing)
            .where(PeriodClosing.month.in_(months), PeriodClosing.reopened_at.is_(None))
            .order_by(PeriodClosing.month)
        )
    )
    position = (await session.execute(_POSITION, days)).one_or_none()
    return ContributionReport(
        since=since,
        until=until,
        zone=zone.key,
        closings=closings,
        is_provisional=len(closings) < len(months),
        late_entries=int(await session.scalar(_LATE_ENTRIES, days) or 0),
        position=None if position is None else BooksPosition(*position),
        currencies=await _currency_reports(session, zone, days),
    )


async def _currency_reports(
    session: AsyncSession, zone: ZoneInfo, days: dict[str, Any]
) -> list[CurrencyReport]:
    since, until = days["since"], days["until"]
    lines = await monthly.by_month(session, zone, since=since, until=until)
    year_ago = {"since": add_months(since, -12), "until": add_months(until, -12)}
    last_year = monthly.sum_by_currency(await monthly.by_month(session, zone, **year_ago))
    others = monthly.sum_by_currency(
        await other_income.by_month(session, zone, since=since, until=until)
    )
    balances = {
        one.currency: one for one in await stripe_balance.for_days(session, zone, since, until)
    }
    counts = {
        row.currency: MovementCounts(**{
            name: int(getattr(row, name) or 0) for name in MovementCounts.__dataclass_fields__
        })
        for row in await session.execute(_COUNTS, days)
    }  # fmt: skip
    totals = monthly.sum_by_currency(lines)
    currencies = sorted({*totals, *last_year, *others, *balances})

    def empty(currency: str) -> MonthlyTotal:
        return MonthlyTotal(since, "all", currency, 0, 0, 0, 0, 0)

    return [
        CurrencyReport(
            currency=currency,
            by_frequency=_by_frequency([one for one in lines if one.currency == currency]),
            total=totals.get(currency, empty(currency)),
            last_year=last_year.get(currency, empty(currency)),
            other_income=others.get(currency),
            balance=balances.get(currency, BalanceMonth(currency)),
            counts=counts.get(currency, MovementCounts()),
        )
        for currency in currencies
    ]


def _by_frequency(lines: Sequence[MonthlyTotal]) -> list[MonthlyTotal]:
    """Add up the lines of one currency by frequency."""
    frequencies = sorted({line.frequency for line in lines})
    return [
        replace(total, frequency=frequency)
        for frequency in frequencies
        for total in monthly.sum_by_currency(
            [line for line in lines if line.frequency == frequency]
        ).values()
    ]
