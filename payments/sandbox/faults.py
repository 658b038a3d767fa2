"""Fault injection: dropped connections, errors and hanging requests, as real networks have them.

A fault `before` prevents the request from being carried out; a fault `after` loses its response.
"""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Final

from payments.sandbox.form_encoding import JsonObject, JsonValue

FAULT_KINDS: Final = (
    "drop_before", "drop_after", "status_500", "html_500", "rate_limited", "conflict_409",
    "hang_before", "hang_after",
)  # fmt: skip


@dataclass
class Fault:
    """A fault of the next `remaining` requests that match."""

    method: str
    path: re.Pattern[str]
    kind: str
    remaining: int
    options: JsonObject = field(default_factory=dict)


class Faults:
    """The pending faults."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    def add(
        self,
        method: str,
        path_regex: str,
        kind: str,
        remaining: int = 1,
        **options: JsonValue,
    ) -> None:
        """Add a fault of the next `remaining` requests whose path the pattern finds.

        `method` may be `*`. The option `should_retry`, of `rate_limited`, sets a response header.
        Raises ValueError for an unknown kind.
        """
        if kind not in FAULT_KINDS:
            raise ValueError(f"no such fault: {kind}")
        self.pending.append(Fault(method.upper(), re.compile(path_regex), kind, remaining, options))
        if kind.startswith("hang"):
            self._reached, self._released = asyncio.Event(), asyncio.Event()

    def take_matching(self, method: str, path: str) -> Fault | None:
        """Return and count down the first fault that matches a request, or None."""
        for fault in self.pending:
            if fault.method in (method, "*", "ANY") and fault.path.search(path):
                fault.remaining -= 1
                if fault.remaining < 1:
                    self.pending.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        """Remove all faults and release hanging requests."""
        self.pending.clear()
        self.release()

    def release(self) -> None:
        """Let hanging requests continue."""
        self._released.set()

    async def wait_until_hanging(self) -> None:
        """Wait until a request hangs."""
        await self._reached.wait()

    async def hang(self) -> None:
        """Wait until released."""
        self._reached.set()
        await self._released.wait()
