"""Two clocks, and what is due on them.

The wall is what people and signatures go by: webhook timestamps and how long a Checkout page
stays open. Billing time is the wall plus an offset that a test may turn forward: charges,
renewals, payouts. Nothing here sleeps. Whatever will happen later is an Item on an Agenda, a verb
and the id it is about, so that it can be saved, and it runs at the moment it was due.
"""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

WallClock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Task(NamedTuple):
    """One thing to do: when, in which order among equals, what, and to whom."""

    due_at: float
    sequence: int
    name: str
    object_id: str


class TaskQueue:
    """Items in the order they fall due."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self._number = 0

    def add(self, due_at: float, name: str, object_id: str) -> None:
        self._number += 1
        heapq.heappush(self.tasks, Task(due_at, self._number, name, object_id))

    def next_due_at(self) -> float | None:
        return self.tasks[0].due_at if self.tasks else None

    def pop(self) -> Task:
        return heapq.heappop(self.tasks)

    def restore(self, tasks: list[Task]) -> None:
        self.tasks = sorted(tasks)
        self._number = max((item.sequence for item in tasks), default=0)


class BillingClock:
    """Billing time and the wall it is measured from."""

    def __init__(self, wall: WallClock = utc_now) -> None:
        self._wall_clock = wall
        self._frozen_at: float | None = None
        self.offset = timedelta(0)

    def wall_now(self) -> datetime:
        return self._wall_clock()

    def now(self) -> datetime:
        """Billing time. While a due item runs, the moment it was due."""
        if self._frozen_at is not None:
            return datetime.fromtimestamp(self._frozen_at, UTC)
        return self._wall_clock() + self.offset

    def timestamp(self) -> int:
        """Billing time as Stripe writes it, in whole seconds."""
        return int(self.now().timestamp())

    def wall_timestamp(self) -> int:
        return int(self._wall_clock().timestamp())

    def freeze_at(self, moment: float) -> None:
        self._frozen_at = moment

    def unfreeze(self) -> None:
        self._frozen_at = None

    def advance_to(self, moment: datetime) -> None:
        """Turn billing time forward to a moment; never back."""
        self.offset = max(self.offset, moment - self._wall_clock())
