"""The funnel of reminders: how many were asked for, confirmed, sent, opened, and led to a gift.

It counts and knows nobody: one number for each step and month. A gift that follows is known by the
word its link carries into the form, `reminder`, which is the same for everybody. A month in which
fewer than five people took a step does not say how many.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.money import Money
from payments.core.settings import Settings
from payments.giving import campaigns
from payments.giving.contributions import Contribution, ContributionStatus
from payments.infra import db

MIN_GROUP_SIZE = 5  # a smaller number might be somebody


class ReminderStep(StrEnum):
    SIGNED_UP = "signed_up"
    CONFIRMED = "confirmed"
    SENT = "sent"
    OPENED = "opened"
    MISSED = "missed"  # dropped: more than a week too late
    CALENDAR = "calendar"  # a calendar file, with no address at all


class ReminderCount(db.Base):
    """How often a step was taken in a month."""

    __tablename__ = "reminder_counts"
    __table_args__ = (CheckConstraint("number > 0", name="number_is_positive"),)

    month: Mapped[date] = mapped_column(primary_key=True)
    step: Mapped[ReminderStep] = mapped_column(
        db.enum_column(ReminderStep, "step_is_known"), primary_key=True
    )
    number: Mapped[int]


@dataclass(frozen=True, slots=True)
class ReminderMonth:
    """One month. None stands for "fewer than five"; 0 is told."""

    month: date
    steps: dict[ReminderStep, int | None]
    donated: int | None
    amounts: tuple[Money, ...]  # of those who gave, in each currency that enough gave in


async def record_step(
    session: AsyncSession, settings: Settings, step: ReminderStep, *, now: datetime
) -> None:
    """One more took this step."""
    month = now.astimezone(settings.accounting_zoneinfo).date().replace(day=1)
    await session.execute(
        insert(ReminderCount)
        .values(month=month, step=step, number=1)
        .on_conflict_do_update(
            index_elements=["month", "step"], set_={"number": ReminderCount.number + 1}
        )
    )


async def monthly_stats(
    session: AsyncSession, settings: Settings, *, since: date
) -> list[ReminderMonth]:
    """The months from `since`, the newest first, with small numbers left out."""
    counted: dict[date, dict[ReminderStep, int]] = defaultdict(dict)
    query = select(ReminderCount).where(ReminderCount.month >= since.replace(day=1))
    for one in await session.scalars(query.order_by(ReminderCount.month).limit(1200)):
        counted[one.month][one.step] = one.number
    given = await _contributions_by_month(session, settings, since=since.replace(day=1))
    made = []
    for month in sorted({*counted, *given}, reverse=True):
        steps = {step: suppress_small(counted[month].get(step, 0)) for step in ReminderStep}
        gifts = given.get(month, {})
        gave = suppress_small(sum(number for number, _ in gifts.values()))
        # A currency of few would give them away, and so would the rest, taken from the whole.
        told = gave is not None and all(number >= MIN_GROUP_SIZE for number, _ in gifts.values())
        amounts = tuple(Money(total, code) for code, (_, total) in sorted(gifts.items()))
        made.append(ReminderMonth(month, steps, gave, amounts if told else ()))
    return made


async def _contributions_by_month(
    session: AsyncSession, settings: Settings, *, since: date
) -> dict[date, dict[str, tuple[int, int]]]:
    """For each month and currency how many gave after a reminder, and how much."""
    local = func.timezone(settings.accounting_zone, Contribution.created_at)
    month = func.date(func.date_trunc("month", local))
    query = (
        select(month, Contribution.currency, func.count(), func.sum(Contribution.amount))
        .where(
            Contribution.campaign == campaigns.REMINDER,
            Contribution.status == ContributionStatus.PAID,
            month >= since,
        )
        .group_by(month, Contribution.currency)
        .order_by(month, Contribution.currency)
        .limit(2000)
    )
    found: dict[date, dict[str, tuple[int, int]]] = defaultdict(dict)
    for when, currency, number, total in await session.execute(query):
        found[when][currency] = (number, int(total))
    return found


def suppress_small(number: int) -> int | None:
    """A number that may be told; None for one so small that it might be somebody."""
    return None if 0 < number < MIN_GROUP_SIZE else number
