"""Wall time, billing time and the tasks scheduled on them.

Wall time dates webhook signatures and Checkout expiry. Billing time, which dates charges, renewals
and payouts, is wall time plus an offset that tests increase. Nothing here sleeps: a future action
is a Task in a TaskQueue, a name and an object id, so that it can be saved as JSON.
"""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

WallClock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present time, in UTC."""
    return datetime.now(UTC)


class Task(NamedTuple):
    """A scheduled action on an object; tasks due at the same time run in sequence.

    `due_at` is a Unix time.
    """

    due_at: float
    sequence: int
    name: str
    object_id: str


class TaskQueue:
    """Tasks in the order in which they fall due."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self._last_sequence = 0

    def add(self, due_at: float, name: str, object_id: str) -> None:
        """Schedule a task at a Unix time."""
        self._last_sequence += 1
        heapq.heappush(self.tasks, Task(due_at, self._last_sequence, name, object_id))

    def next_due_at(self) -> float | None:
        """Return when the next task is due, a Unix time, or None when there is none."""
        return self.tasks[0].due_at if self.tasks else None

    def pop(self) -> Task:
        """Remove and return the next task."""
        return heapq.heappop(self.tasks)

    def drop(self, object_ids: set[str]) -> None:
        """Remove the tasks of these objects."""
        if any(task.object_id in object_ids for task in self.tasks):
            self.tasks = sorted(task for task in self.tasks if task.object_id not in object_ids)

    def restore(self, tasks: list[Task]) -> None:
        """Replace all tasks."""
        self.tasks = sorted(tasks)
        self._last_sequence = max((task.sequence for task in tasks), default=0)


class BillingClock:
    """Billing time, and the wall time from which it is measured."""

    def __init__(self, wall_clock: WallClock = utc_now) -> None:
        self._wall_clock = wall_clock
        self._frozen_at: float | None = None
        self.offset = timedelta(0)

    def wall_now(self) -> datetime:
        """Return wall time."""
        return self._wall_clock()

    def now(self) -> datetime:
        """Return billing time; while a task runs, the moment it was due."""
        if self._frozen_at is not None:
            return datetime.fromtimestamp(self._frozen_at, UTC)
        return self._wall_clock() + self.offset

    def timestamp(self) -> int:
        """Return billing time as a Unix time in whole seconds."""
        return int(self.now().timestamp())

    def wall_timestamp(self) -> int:
        """Return wall time as a Unix time in whole seconds."""
        return int(self._wall_clock().timestamp())

    def freeze_at(self, timestamp: float) -> None:
        """Hold billing time at a Unix time."""
        self._frozen_at = timestamp

    def unfreeze(self) -> None:
        """Let billing time run again."""
        self._frozen_at = None

    def advance_to(self, moment: datetime) -> None:
        """Advance billing time to a moment; a moment that has passed changes nothing."""
        self.offset = max(self.offset, moment - self._wall_clock())
