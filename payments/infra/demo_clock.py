"""The demo's clock: the real time, and what was added to it by hand.

Everything in the demo goes by it, service, worker, commands and Stripe's stand-in: what was added
stands in a file beside the demo's inbox. Whoever turns it says how far, and the demo moves it there
by a day at a time, so that nothing that falls due on the way is passed over. Without a demo the
clock is the real one.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from payments.core.settings import Settings
from payments.infra import db

FILE_NAME = "clock"
MAX_STEP = timedelta(days=1)
NOTHING = timedelta(0)


class DemoClock:
    """The time of the demo, in UTC, when called."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self) -> datetime:
        """Return the time."""
        return db.utc_now() + self.offset()

    def offset(self) -> timedelta:
        """Return how much was added to the real time."""
        return self._read()[0]

    def left(self) -> timedelta:
        """Return how far it has still to be moved."""
        offset, target = self._read()
        return target - offset

    def turn(self, by: timedelta) -> None:
        """Ask for a later time; an earlier one changes nothing."""
        offset, target = self._read()
        self._write(offset, target + max(by, NOTHING))

    def move(self) -> bool:
        """Move it by a step, if it has to be moved. Returns whether it was."""
        offset, target = self._read()
        step = min(target - offset, MAX_STEP)
        if step > NOTHING:
            self._write(offset + step, target)
        return step > NOTHING

    def _read(self) -> tuple[timedelta, timedelta]:
        try:
            offset, target = map(int, self.file.read_text().split())
        except (FileNotFoundError, ValueError):
            return NOTHING, NOTHING
        return timedelta(seconds=offset), timedelta(seconds=target)

    def _write(self, *moments: timedelta) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(" ".join(str(int(moment.total_seconds())) for moment in moments))
        new.replace(self.file)


def find(settings: Settings) -> DemoClock | None:
    """Return the demo's clock; None where there is no demo."""
    if settings.environment != "demo" or not settings.demo_inbox_dir:
        return None
    return DemoClock(Path(settings.demo_inbox_dir).with_name(FILE_NAME))


def now_of(settings: Settings) -> Callable[[], datetime]:
    """Return the clock that these settings go by."""
    return find(settings) or db.utc_now
