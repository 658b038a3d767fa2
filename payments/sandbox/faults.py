"""Fault injection: dropped connections, errors and hanging requests, as real networks have them.

A fault of the next requests is counted; an outage lasts until a time of the wall clock, or until
it is cleared. Kinds that end in `_before` prevent the request from being carried out; with
`_after` it is carried out and its response is lost. `without_effect` confirms a change of an object
that nobody makes, or that another takes back at once.
"""

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypedDict, Unpack

from payments.sandbox.clock import BillingClock
from payments.sandbox.form_encoding import JsonObject

CONNECTION_FAULTS: Final = ("drop_before", "drop_after", "hang_before", "hang_after")
HTML_STATUSES: Final = {"html_500": 500, "html_503": 503}
SERVER_ERROR: Final = {"type": "api_error", "message": "An unknown error occurred."}
# Errors by kind; `unauthorized` and `forbidden` depend on the request.
ERRORS: Final[dict[str, tuple[int, JsonObject]]] = {
    "status_500": (500, SERVER_ERROR),
    "status_503": (503, {"type": "api_error", "message": "Stripe is temporarily unavailable."}),
    "refused": (400, {"type": "invalid_request_error",
                      "message": "This cannot be done as things are."}),
    "rate_limited": (429, {"type": "invalid_request_error", "code": "rate_limit",
                           "message": "Request rate limit exceeded."}),
    "lock_timeout": (429, {"type": "invalid_request_error", "code": "lock_timeout",
                           "message": "This object cannot be accessed right now because another "
                           "API request or Stripe process is currently accessing it."}),
    "conflict_409": (409, {"type": "invalid_request_error", "code": "lock_timeout",
                           "message": "This object cannot be accessed right now."}),
    "declined": (402, {"type": "card_error", "code": "card_declined",
                       "decline_code": "generic_decline", "message": "Your card was declined."}),
}  # fmt: skip
KEY_FAULTS: Final = ("unauthorized", "forbidden")
WITHOUT_EFFECT: Final = "without_effect"
FAULT_KINDS: Final = (*CONNECTION_FAULTS, *HTML_STATUSES, *ERRORS, *KEY_FAULTS, WITHOUT_EFFECT)
METHOD_CLASSES: Final = {
    "*": ("GET", "POST", "DELETE"),
    "ANY": ("GET", "POST", "DELETE"),
    "READS": ("GET",),
    "WRITES": ("POST", "DELETE"),
}


class FaultOptions(TypedDict, total=False):
    """When a fault happens, and what is special about it."""

    since: datetime | None  # of the wall clock, as `until`
    until: datetime | None
    share: float  # of the requests that match, the part that has the fault, evenly spread
    should_retry: bool | None  # what an error says in Stripe-Should-Retry
    keep: bool  # an error is stored under the request's idempotency key, and replayed
    takes_effect: bool  # an error answers a request that was carried out
    seconds: float | None  # a hanging request goes on by itself after so many


@dataclass
class Fault:
    """A fault of requests that match. Raises ValueError, which names the field."""

    method: str
    path: re.Pattern[str]
    kind: str
    remaining: int | None
    since: datetime | None = None
    until: datetime | None = None
    share: float = 1.0
    should_retry: bool | None = None
    keep: bool = False
    takes_effect: bool = False
    seconds: float | None = None
    _debt: float = 0.0  # what `share` owes: from 1 on, the next request has the fault

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError("share: more than 0, 1 at most")
        if self.remaining is not None and self.remaining < 1:
            raise ValueError("remaining: 1 or more")
        of_errors = self.keep or self.takes_effect or self.should_retry is not None
        if of_errors and self.kind not in ERRORS:
            raise ValueError("keep, takes_effect, should_retry: of an error only")

    def matches(self, method: str, path: str, now: datetime) -> bool:
        """Return whether the fault is of this request, apart from its share."""
        if self.since is not None and now < self.since:
            return False
        methods = METHOD_CLASSES.get(self.method, (self.method,))
        return method in methods and self.path.search(path) is not None

    def take(self) -> bool:
        """Count a matching request. Returns whether it has the fault: of a half, every other."""
        self._debt += self.share
        if self._debt < 1:
            return False
        self._debt -= 1
        if self.remaining is not None:
            self.remaining -= 1
        return True

    def is_over(self, now: datetime) -> bool:
        """Return whether the fault can happen no more."""
        ended = self.until is not None and now >= self.until
        return ended or (self.remaining is not None and self.remaining < 1)


class Faults:
    """The pending faults of one sandbox."""

    def __init__(self, clock: BillingClock) -> None:
        self._clock = clock
        self._pending: list[Fault] = []
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    @property
    def pending(self) -> list[Fault]:
        """The faults that may still happen, oldest first."""
        now = self._clock.wall_now()
        self._pending = [fault for fault in self._pending if not fault.is_over(now)]
        return self._pending

    def add(
        self,
        method: str,
        path_regex: str,
        kind: str,
        remaining: int | None = None,
        **options: Unpack[FaultOptions],
    ) -> None:
        """Add a fault of the next `remaining` requests whose path the pattern finds.

        `method` is one of HTTP's, `reads`, `writes`, or `ANY` or `*` for all. Without a count it is
        the next request, or all until the end. Raises ValueError, which names the argument.
        """
        if kind not in FAULT_KINDS:
            raise ValueError(f"kind: no such fault: {kind}; one of {', '.join(FAULT_KINDS)}")
        if remaining is None and options.get("until") is None:
            remaining = 1
        try:
            pattern = re.compile(path_regex)
        except re.error as error:
            raise ValueError(f"path: {error}") from None
        self._pending.append(Fault(method.upper(), pattern, kind, remaining, **options))
        if kind.startswith("hang"):
            self._reached, self._released = asyncio.Event(), asyncio.Event()

    def take_matching(self, method: str, path: str) -> Fault | None:
        """Return and count down the first fault of a request, or None."""
        now = self._clock.wall_now()
        matching = (fault for fault in self.pending if fault.matches(method, path, now))
        return next((fault for fault in matching if fault.take()), None)

    def clear(self) -> None:
        """Remove all faults and release hanging requests."""
        self._pending.clear()
        self.release()

    def release(self) -> None:
        """Let hanging requests continue."""
        self._released.set()

    async def wait_until_hanging(self) -> None:
        """Wait until a request hangs."""
        await self._reached.wait()

    async def hang(self, seconds: float | None = None) -> None:
        """Wait until released, or for so many seconds."""
        self._reached.set()
        try:
            await asyncio.wait_for(self._released.wait(), seconds)
        except TimeoutError:
            return
