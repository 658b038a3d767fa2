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

Wall = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Item(NamedTuple):
    """One thing to do: when, in which order among equals, what, and to whom."""

    due: float
    number: int
    verb: str
    subject: str


class Agenda:
    """Items in the order they fall due."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._number = 0

    def add(self, due: float, verb: str, subject: str) -> None:
        self._number += 1
        heapq.heappush(self.items, Item(due, self._number, verb, subject))

    def next_due(self) -> float | None:
        return self.items[0].due if self.items else None

    def pop(self) -> Item:
        return heapq.heappop(self.items)

    def restore(self, items: list[Item]) -> None:
        self.items = sorted(items)
        self._number = max((item.number for item in items), default=0)


class Clock:
    """Billing time and the wall it is measured from."""

    def __init__(self, wall: Wall = utc_now) -> None:
        self._wall = wall
        self._pinned: float | None = None
        self.offset = timedelta(0)

    def wall(self) -> datetime:
        return self._wall()

    def now(self) -> datetime:
        """Billing time. While a due item runs, the moment it was due."""
        if self._pinned is not None:
            return datetime.fromtimestamp(self._pinned, UTC)
        return self._wall() + self.offset

    def stamp(self) -> int:
        """Billing time as Stripe writes it, in whole seconds."""
        return int(self.now().timestamp())

    def wall_stamp(self) -> int:
        return int(self._wall().timestamp())

    def pin(self, moment: float) -> None:
        self._pinned = moment

    def unpin(self) -> None:
        self._pinned = None

    def reach(self, moment: datetime) -> None:
        """Turn billing time forward to a moment; never back."""
        self.offset = max(self.offset, moment - self._wall())
