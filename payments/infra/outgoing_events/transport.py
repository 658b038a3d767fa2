"""One signed request to an endpoint, and what came of it.

No redirect is followed, no proxy of the environment is used, and no more is read of an answer than
an excerpt of what says why it was refused. The address of each connection is checked as it is made.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import aiohttp

from payments.infra.outgoing_events import addresses
from payments.infra.outgoing_events.tables import Problem

TIMEOUT_SECONDS = 15.0
MAX_READ_BYTES = 1024
MAX_EXCERPT_LENGTH = 200
MAX_RETRY_AFTER = timedelta(hours=24)
AddrInfo = tuple[int, int, int, str, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt; without a problem it was taken."""

    problem: Problem | None
    status: int | None = None
    excerpt: str = ""
    retry_after: timedelta | None = None


class AddressRefused(OSError):
    """A host led to an address that no endpoint may have."""


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    loopback: bool,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Answer:
    """Post a message. `loopback` allows this machine. Raises nothing that an endpoint causes."""
    is_refused = False

    def connect_to(info: AddrInfo) -> socket.socket:
        nonlocal is_refused
        if not addresses.is_allowed(str(info[4][0]), loopback=loopback):
            is_refused = True
            raise AddressRefused
        return socket.socket(*info[:3])

    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, socket_factory=connect_to),
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            ) as http,
            http.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return await _answer_of(response)
    except TimeoutError:
        return Answer(Problem.TIMED_OUT)
    except aiohttp.ClientSSLError:
        return Answer(Problem.TLS)
    except (aiohttp.ClientConnectionError, OSError):
        return Answer(Problem.ADDRESS_REFUSED if is_refused else Problem.UNREACHABLE)
    except (aiohttp.ClientError, ValueError):
        return Answer(Problem.GARBAGE)


async def _answer_of(response: aiohttp.ClientResponse) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Answer(None, status)
    problem = Problem.REDIRECTED if 300 <= status < 400 else Problem.STATUS
    try:
        begun = await response.content.read(MAX_READ_BYTES)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        begun = b""
    return Answer(problem, status, _excerpt(begun), _retry_after(response.headers))


def _excerpt(body: bytes) -> str:
    """Return the beginning of a body on one line, in characters that can be printed."""
    text = " ".join(body.decode("utf-8", "replace").split())
    return "".join(letter for letter in text if letter.isprintable())[:MAX_EXCERPT_LENGTH]


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Return for how long an endpoint asks to be left alone, in whole seconds."""
    value = headers.get("Retry-After", "")
    if not value.isascii() or not value.isdigit():
        return None
    return min(timedelta(seconds=int(value[:9])), MAX_RETRY_AFTER)
