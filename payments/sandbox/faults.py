"""Faults, put in the way of chosen requests: lost answers, errors, pages that hang.

Each is a kind of trouble a real network, or a real Stripe, gives now and then. `before` means that
nothing was done; `after` means that it was, and the answer never arrived.
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
    """What befalls the next requests that match."""

    method: str
    path: re.Pattern[str]
    kind: str
    remaining: int
    options: JsonObject = field(default_factory=dict)


class Faults:
    """The faults still to come."""

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
        """Have the next requests that match go wrong. `should_retry` belongs to rate_limited."""
        if kind not in FAULT_KINDS:
            raise ValueError(f"no such fault: {kind}")
        self.pending.append(Fault(method.upper(), re.compile(path_regex), kind, remaining, options))
        if kind.startswith("hang"):
            self._reached, self._released = asyncio.Event(), asyncio.Event()

    def take_matching(self, method: str, path: str) -> Fault | None:
        """The fault that befalls this request, if any."""
        for fault in self.pending:
            if fault.method in (method, "*", "ANY") and fault.path.search(path):
                fault.remaining -= 1
                if fault.remaining < 1:
                    self.pending.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        self.pending.clear()
        self.release()

    def release(self) -> None:
        """Let whatever hangs go on."""
        self._released.set()

    async def wait_until_hanging(self) -> None:
        """Wait until a request hangs."""
        await self._reached.wait()

    async def hang(self) -> None:
        """Hang, until released."""
        self._reached.set()
        await self._released.wait()
