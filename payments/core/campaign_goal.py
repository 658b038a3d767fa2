"""A campaign's goal and its matching: what readers are shown, in steps that tell of nobody.

What was given is counted once a day. Progress is shown in tenths of the goal, and a step up only
when at least ten donors gave since the last change: whoever looks before and after one gift reads
the same. A step down, after refunds, is shown at the next count: what is said must be true.

Goal and matching are in one currency, and gifts in others do not count: nothing is converted.
Matching is a sponsor's pledge to us. That money is never charged or booked here; the operator asks
the sponsor for it. Its words end after the last day, and when nine tenths of the ceiling are used
up, so that what comes in until the next count is matched as well.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from payments.core import money
from payments.core.money import Money

STEPS = 10
MIN_DONORS = 10  # who gave since the last change, before another step up is shown
MAX_AMOUNT = 10**13  # minor units

Percent = Annotated[int, Meta(ge=1, le=1000)]
TotalAmount = Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much a campaign is to bring, in minor units."""

    amount: TotalAmount
    currency: str

    @property
    def money(self) -> Money:
        """The amount with its currency."""
        return Money(self.amount, self.currency)


class Matching(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a sponsor adds to each gift: so many percent of it, up to a ceiling in minor units.

    It is for what is charged from the first day to the last, both included.
    """

    sponsor: str
    percent: Percent = 100
    ceiling: TotalAmount
    currency: str
    starts_on: date | None = None
    ends_on: date

    def is_running(self, today: date) -> bool:
        """Whether gifts of a day are matched, as far as the ceiling goes."""
        return (self.starts_on is None or self.starts_on <= today) and today <= self.ends_on

    def added_to(self, given: Money) -> Money:
        """Return what the sponsor adds to a sum, the ceiling considered."""
        return Money(min(given.amount * self.percent // 100, self.ceiling), self.currency)

    def example(self) -> tuple[Money, Money]:
        """Return a small gift, and what is added to it."""
        given = Money(max(10 ** money.exponent(self.currency), 100), self.currency)
        return given, Money(given.amount * self.percent // 100, self.currency)

    def has_terms_of(self, other: "Matching | None") -> bool:
        """Whether as much is added to the same gifts, whatever is said of the sponsor."""
        return other is not None and _terms(self) == _terms(other)


def _terms(matching: Matching) -> tuple[object, ...]:
    return (matching.percent, matching.ceiling, matching.currency, matching.starts_on)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the last count found, as far as it may be shown: whole tenths of the goal.

    `changed_at` is when the step last changed; a day is of the accounting zone.
    """

    counted_on: date
    goal: Goal | None = None  # for which it was counted
    matching: Matching | None = None
    step: int = 0
    changed_at: datetime | None = None
    is_used_up: bool = False  # the matching


@dataclass(frozen=True, slots=True)
class Totals:
    """What a campaign brought in one currency, less what went back, in minor units.

    `matchable` is the part on the days of the matching; `donors` gave since the last change.
    """

    given: int
    matchable: int
    donors: int


@dataclass(frozen=True, slots=True)
class PublicGoal:
    """What readers are shown. `step` is None where nothing of progress is."""

    goal: Goal | None
    ends_on: date | None  # the campaign's last day
    matching: Matching | None
    step: int | None
    currency: str

    @property
    def percent(self) -> int | None:
        """How much of the goal was given at least; None where it is not shown."""
        return None if self.step is None else self.step * 100 // STEPS


def count(
    goal: Goal | None,
    matching: Matching | None,
    *,
    before: Progress | None,
    totals: Totals,
    now: datetime,
    today: date,
) -> Progress:
    """Return what may be shown after a count. `before` is what the last one returned."""
    base = before if before is not None and before.goal == goal else Progress(counted_on=today)
    step = 0 if goal is None else min(totals.given * STEPS // goal.amount, STEPS)
    if step > base.step and totals.donors < MIN_DONORS:
        step = base.step
    step = max(step, 0)
    return Progress(
        counted_on=today,
        goal=goal,
        matching=matching,
        step=step,
        changed_at=base.changed_at if step == base.step else now,
        is_used_up=matching is not None
        and (_was_used_up(matching, before) or _is_used_up(matching, totals)),
    )


def counts_since(goal: Goal | None, before: Progress | None) -> datetime | None:
    """Return since when donors count for the next step; None for since ever."""
    return before.changed_at if before is not None and before.goal == goal else None


def _was_used_up(matching: Matching, before: Progress | None) -> bool:
    """Whether it was used up at the last count. A refund since does not bring the words back."""
    return before is not None and before.is_used_up and matching.has_terms_of(before.matching)


def _is_used_up(matching: Matching, totals: Totals) -> bool:
    added = totals.matchable * matching.percent // 100
    return added * STEPS >= matching.ceiling * (STEPS - 1)


def public_goal(
    goal: Goal | None,
    matching: Matching | None,
    progress: Progress | None,
    *,
    today: date,
    ends_on: date | None,
    with_progress: bool,
) -> PublicGoal | None:
    """Return what readers are shown on a day; None where there is nothing to show."""
    if matching is not None and (
        not matching.is_running(today) or _was_used_up(matching, progress)
    ):
        matching = None
    stated = goal or matching
    if stated is None:
        return None
    is_of_goal = goal is not None and progress is not None and progress.goal == goal
    step = progress.step if with_progress and is_of_goal and progress is not None else 0
    return PublicGoal(goal, ends_on, matching, step or None, stated.currency)
