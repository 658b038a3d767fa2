"""Where a request ends, and for which host it is, is read in one way: nothing can be smuggled past
a proxy that reads it in another. Bytes as an attacker would send them, over a socket.
"""

import asyncio
import re

import pytest

from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom
from tests.support.ports import reserve_port
from tests.support.serving import serve_newsroom

pytestmark = pytest.mark.anyio
HOST = b"Host: 127.0.0.1:8000\r\n"
POST = b"POST /donate HTTP/1.1\r\n" + HOST
SECOND = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"  # what would be smuggled
REFUSED = {
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nabcde" + SECOND,
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nabcde" + SECOND,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + SECOND,
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\nabcde" + SECOND,
    "two encodings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "a blank before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunks in 1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\r\n b\r\n\r\n" + SECOND,
    "a zero byte": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\0b\r\n\r\n" + SECOND,
}
METHODS = ("TRACE", "TRACK", "CONNECT", "PROPFIND", "DEBUG")
FOREIGN_HOSTS = ("evil.example", "127.0.0.1:8000.evil.example", "evil@127.0.0.1:8000", "")
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
WEBSOCKET = UPGRADE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"


async def statuses(port: int, sent: bytes, *, until: int = 0) -> list[int]:
    """The status of each answer, until the server hangs up or so many have come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    received, found = b"", list[int]()
    try:
        async with asyncio.timeout(REAL_TIMEOUT_SECONDS):
            while not until or len(found) < until:
                chunk = await reader.read(65536)
                received += chunk
                found = [int(one) for one in re.findall(rb"HTTP/1\.\d (\d{3})", received)]
                if not chunk:
                    break
    finally:
        writer.close()
    return found


async def test_a_message_has_one_end(newsroom: Newsroom) -> None:
    with reserve_port() as port:
        async with serve_newsroom(newsroom, port):
            for name, sent in REFUSED.items():
                assert await statuses(port, sent) == [400], name
            # Both are read as chunks, as RFC 9112 6.3 has it, and the connection ends after it.
            both = b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            assert await statuses(port, POST + both + SECOND) == [422]
            plain = POST + b"Content-Length: 5\r\n\r\nabcde" + SECOND
            assert await statuses(port, plain, until=2) == [422, 200]
            for method in METHODS:
                sent = f"{method} / HTTP/1.1\r\n".encode() + HOST + b"\r\n"
                assert await statuses(port, sent, until=1) == [405], method
            for host in FOREIGN_HOSTS:
                sent = f"GET /donate HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
                assert await statuses(port, sent, until=1) == [400], host
            sent = b"GET / HTTP/1.1\r\n" + HOST + WEBSOCKET
            assert await statuses(port, sent, until=1) == [403]
