"""Load: connections that each send the next request as soon as the last one is answered.

Runs in a process of its own, which reads its plan from standard input and writes its result to
standard output. Requests are built and signed before the clock starts, and responses are read only
as far as their status and length, so that the server is what is measured.
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

from tests.support.secret_values import secret_named

SECRET = "whsec_" + secret_named("webhooks")
EVENT = Path(__file__).with_name("charge_updated.json")
MAX_REQUESTS_PER_SECOND = 12_000  # requests built beforehand; more than has yet been served
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class LoadPlan(msgspec.Struct, frozen=True):
    """What to send, and for how long; `request_kind` is a key of REQUESTS."""

    request_kind: str
    port: int
    connections: int
    seconds: float


class LoadResult(msgspec.Struct, frozen=True):
    """The requests that were answered 200 or 201 and those that were not, and how fast."""

    done: int
    refused: int
    seconds: float
    p50: float  # seconds

    @property
    def rate(self) -> float:
        """Answered requests each second."""
        return self.done / self.seconds


def webhook_requests(port: int, how_many: int) -> Iterator[bytes]:
    """Yield signed events of 5.4 KB, each with an id and an object of its own."""
    parts, run = EVENT.read_bytes().split(b"{n}"), uuid4().hex[:16].encode()
    for number in range(how_many):
        body, now = (run + b"%08d" % number).join(parts), b"%d" % time.time()
        digest = hmac.new(SECRET.encode(), now + b"." + body, hashlib.sha256).hexdigest()
        signature = b"stripe-signature: t=%s,v1=%s\r\n" % (now, digest.encode())
        yield _post("/webhooks/stripe", body, port=port, header=signature)


def contribution_requests(port: int, how_many: int) -> Iterator[bytes]:
    """Yield requests for contributions, each with an idempotency key of its own."""
    body, run = b'{"amount":500,"currency":"usd","frequency":"once"}', uuid4().hex
    for number in range(how_many):
        key = f"idempotency-key: {run}-{number}\r\n".encode()
        yield _post("/api/contributions", body, port=port, header=key)


REQUESTS = {
    "webhook_requests": webhook_requests,
    "contribution_requests": contribution_requests,
}


def _post(path: str, body: bytes, *, port: int, header: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
    )
    return head.encode() + header + b"\r\n" + body


class KeepAliveConnection(asyncio.Protocol):
    """One keep-alive connection, which sends the requests of an iterator that others share."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.refused = 0
        self.response_times: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._response = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def begin(self, until: float) -> None:
        """Send requests until a time of `time.perf_counter`."""
        self._until = until
        self._send_next()

    def _send_next(self) -> None:
        self._sent_at = time.perf_counter()
        request = next(self._requests, None) if self._sent_at < self._until else None
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._response += data
        head, ended, body = self._response.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not ended or (length is not None and len(body) < int(length[1])):
            return
        if self._response.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            self.response_times.append(time.perf_counter() - self._sent_at)
        else:
            self.refused += 1
        self._response = b""
        self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        self.refused += exc is not None


async def run(plan: LoadPlan) -> LoadResult:
    """Carry out a plan."""
    requests = list(
        REQUESTS[plan.request_kind](plan.port, int(MAX_REQUESTS_PER_SECOND * plan.seconds))
    )
    shared, loop = iter(requests), asyncio.get_running_loop()
    connections = []
    for _ in range(plan.connections):
        _, connection = await loop.create_connection(
            lambda: KeepAliveConnection(shared), "127.0.0.1", plan.port
        )
        connections.append(connection)
    began = time.perf_counter()
    for connection in connections:
        connection.begin(began + plan.seconds)
    async with asyncio.timeout(plan.seconds + 20):
        await asyncio.gather(*(connection.ended for connection in connections))
    return load_result(
        [seconds for connection in connections for seconds in connection.response_times],
        refused=sum(connection.refused for connection in connections),
        seconds=time.perf_counter() - began,
    )


def load_result(response_times: list[float], *, refused: int, seconds: float) -> LoadResult:
    """Return the result of a run from its response times in seconds."""
    p50 = median(response_times) if response_times else 0.0
    return LoadResult(len(response_times), refused, seconds, p50=p50)


if __name__ == "__main__":
    requested_plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(requested_plan))))
