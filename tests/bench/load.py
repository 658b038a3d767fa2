"""Load: so many connections, each of which asks again as soon as it is answered.

A process of its own, told its plan on standard input and telling on standard output what it saw.
Requests are built and signed before the clock starts, and answers are read only as far as their
status and length, so that what is measured is the server.
"""

import asyncio
import hashlib
import hmac
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from uuid import uuid4

import msgspec

SECRET = "whsec_" + "0" * 32
EVENT = Path(__file__).with_name("charge_updated.json")
MAX_REQUESTS_PER_SECOND = 12_000  # requests built beforehand; more than has yet been served
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class LoadPlan(msgspec.Struct, frozen=True):
    """What to do: `of` names the requests."""

    request_kind: str
    port: int
    connections: int
    seconds: float


class LoadResult(msgspec.Struct, frozen=True):
    """What came of it. Every request was answered one way or the other."""

    done: int
    refused: int
    seconds: float
    p50: float

    @property
    def rate(self) -> float:
        return self.done / self.seconds


def webhook_requests(port: int, how_many: int) -> Iterator[bytes]:
    """Signed events of 5.4 KB, each with an id and an object of its own."""
    parts, run = EVENT.read_bytes().split(b"{n}"), uuid4().hex[:16].encode()
    for number in range(how_many):
        body, now = (run + b"%08d" % number).join(parts), b"%d" % time.time()
        digest = hmac.new(SECRET.encode(), now + b"." + body, hashlib.sha256).hexdigest()
        signature = b"stripe-signature: t=%s,v1=%s\r\n" % (now, digest.encode())
        yield _post("/webhooks/stripe", body, port=port, header=signature)


def contribution_requests(port: int, how_many: int) -> Iterator[bytes]:
    """Gifts, each with a key of its own."""
    body, run = b'{"amount":500,"currency":"usd","frequency":"once"}', uuid4().hex
    for number in range(how_many):
        key = f"idempotency-key: {run}-{number}\r\n".encode()
        yield _post("/api/contributions", body, port=port, header=key)


REQUESTS = {"events": webhook_requests, "asks": contribution_requests}


def _post(path: str, body: bytes, *, port: int, header: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
    )
    return head.encode() + header + b"\r\n" + body


class KeepAliveConnection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.refused = 0
        self.response_times: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def begin(self, until: float) -> None:
        self._until = until
        self._ask()

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        request = next(self._requests, None) if self._asked_at < self._until else None
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, ended, body = self._answer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not ended or (length is not None and len(body) < int(length[1])):
            return
        if self._answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            self.response_times.append(time.perf_counter() - self._asked_at)
        else:
            self.refused += 1
        self._answer = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        self.refused += exc is not None


async def run(plan: LoadPlan) -> LoadResult:
    """Carry the plan out."""
    requests = list(
        REQUESTS[plan.request_kind](plan.port, int(MAX_REQUESTS_PER_SECOND * plan.seconds))
    )
    left, loop = iter(requests), asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: KeepAliveConnection(left), "127.0.0.1", plan.port))[1]
        for _ in range(plan.connections)
    ]
    began = time.perf_counter()
    for caller in callers:
        caller.begin(began + plan.seconds)
    async with asyncio.timeout(plan.seconds + 20):
        await asyncio.gather(*(caller.ended for caller in callers))
    return load_result(
        [took for caller in callers for took in caller.response_times],
        refused=sum(caller.refused for caller in callers),
        seconds=time.perf_counter() - began,
    )


def load_result(took: list[float], *, refused: int, seconds: float) -> LoadResult:
    """What a run came to."""
    return LoadResult(len(took), refused, seconds, p50=median(took) if took else 0.0)


if __name__ == "__main__":
    requested_plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(requested_plan))))
