"""Reminder statistics: how many sign-ups, confirmations, mails, clicks and contributions a month.

One number is stored for each step and month, and nothing about a person. A contribution after a
reminder is known by its campaign, which the link carries into the form and which is the same for
everybody. A number below `MIN_GROUP_SIZE` is not reported: it might be somebody.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import calendar
from payments.core.money import Money
from payments.core.settings import Settings
from payments.giving import campaigns
from payments.giving.contributions import Contribution, ContributionStatus
from payments.infra import db

MIN_GROUP_SIZE = 5  # of people or contributions, in any report that could tell of one of them


class ReminderStep(StrEnum):
    """What is counted, in the order of the funnel."""

    SIGNED_UP = "signed_up"
    CONFIRMED = "confirmed"
    SENT = "sent"
    OPENED = "opened"
    MISSED = "missed"  # dropped, being a week late
    CALENDAR = "calendar"  # a calendar file was downloaded, without an address


class ReminderCount(db.Base):
    """How often a step was taken in a month of the accounting zone."""

    __tablename__ = "reminder_counts"
    __table_args__ = (CheckConstraint("number > 0", name="number_is_positive"),)

    month: Mapped[date] = mapped_column(primary_key=True)
    step: Mapped[ReminderStep] = mapped_column(
        db.enum_column(ReminderStep, "step_is_known"), primary_key=True
    )
    number: Mapped[int]


@dataclass(frozen=True, slots=True)
class ReminderMonth:
    """One month. None is a number from 1 to below `MIN_GROUP_SIZE`."""

    month: date
    steps: dict[ReminderStep, int | None]
    donated: int | None
    amounts: tuple[Money, ...]  # contributed in each currency; empty unless each has enough


async def record_step(
    session: AsyncSession, settings: Settings, step: ReminderStep, *, now: datetime
) -> None:
    """Count a step, in the month of `now`."""
    month = calendar.first_of_month(now.astimezone(settings.accounting_zoneinfo).date())
    await session.execute(
        insert(ReminderCount)
        .values(month=month, step=step, number=1)
        .on_conflict_do_update(
            index_elements=["month", "step"], set_={"number": ReminderCount.number + 1}
        )
    )


async def take_back_step(
    session: AsyncSession, settings: Settings, step: ReminderStep, *, now: datetime
) -> None:
    """Take back a step of this month that was counted and did not come to be."""
    month = calendar.first_of_month(now.astimezone(settings.accounting_zoneinfo).date())
    of_month = (ReminderCount.month == month) & (ReminderCount.step == step)
    await session.execute(delete(ReminderCount).where(of_month, ReminderCount.number == 1))
    several = update(ReminderCount).where(of_month, ReminderCount.number > 1)
    await session.execute(several.values(number=ReminderCount.number - 1))


async def monthly_stats(
    session: AsyncSession, settings: Settings, *, since: date, until: date
) -> list[ReminderMonth]:
    """Return the months from `since` up to `until`, the newest first, small numbers suppressed.

    Both are first days of a month: days of one would tell of fewer people.
    """
    counts: dict[date, dict[ReminderStep, int]] = defaultdict(dict)
    query = select(ReminderCount).where(ReminderCount.month >= since, ReminderCount.month < until)
    for row in await session.scalars(query.order_by(ReminderCount.month)):
        counts[row.month][row.step] = row.number
    contributions = await _contributions_by_month(session, settings, since, until)
    return [
        _report_month(month, counts[month], contributions.get(month, {}))
        for month in sorted({*counts, *contributions}, reverse=True)
    ]


def _report_month(
    month: date, counts: dict[ReminderStep, int], contributions: dict[str, tuple[int, int]]
) -> ReminderMonth:
    donated = suppress_small(sum(number for number, _ in contributions.values()))
    # An amount of few would give them away, and so would the others, subtracted from the whole.
    is_reportable = donated is not None and all(
        number >= MIN_GROUP_SIZE for number, _ in contributions.values()
    )
    amounts = tuple(Money(total, code) for code, (_, total) in sorted(contributions.items()))
    return ReminderMonth(
        month,
        {step: suppress_small(counts.get(step, 0)) for step in ReminderStep},
        donated,
        amounts if is_reportable else (),
    )


async def _contributions_by_month(
    session: AsyncSession, settings: Settings, since: date, until: date
) -> dict[date, dict[str, tuple[int, int]]]:
    """Return, by month and currency, how many contributed after a reminder, and how much."""
    local = func.timezone(settings.accounting_zone, Contribution.created_at)
    month = func.date(func.date_trunc("month", local))
    query = (
        select(month, Contribution.currency, func.count(), func.sum(Contribution.amount))
        .where(
            Contribution.campaign == campaigns.REMINDER,
            Contribution.status == ContributionStatus.PAID,
            month >= since,
            month < until,
        )
        .group_by(month, Contribution.currency)
        .order_by(month, Contribution.currency)
    )
    contributions: dict[date, dict[str, tuple[int, int]]] = defaultdict(dict)
    for first_day, currency, number, total in await session.execute(query):
        contributions[first_day][currency] = (number, int(total))
    return contributions


def suppress_small(number: int) -> int | None:
    """Return a number that may be reported; None for one from 1 to below `MIN_GROUP_SIZE`."""
    return None if 0 < number < MIN_GROUP_SIZE else number
