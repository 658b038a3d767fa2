"""A deadline for the body of a request: the server has one for headers, and none for bodies.

A body is taken in whole before the application hears of the request, so that one which never ends
costs neither a page nor a place in the database, however many are sent at once.
"""

import asyncio

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send
from litestar.types.asgi_types import HTTPScope, WebSocketReceiveMessage
from litestar.utils.path import normalize_path

from webhooks import endpoint, intake

SECONDS = 10.0
MAX_BYTES = 64 * 1024
# Of an address that takes more from whoever asks. Staff may send more too, once they are known.
MAX_BYTES_OF = {endpoint.PATH: intake.MAX_BODY_BYTES}
BROKEN, TOO_SLOW, TOO_LARGE = 400, 408, 413
_BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})


class BodyDeadline:
    """An application that is called with a whole body, or not at all.

    Where the body is not complete in time, 408 is answered, 413 where it turns out larger than it
    may be, and 400 where it is no body: by a bare response, after which the connection ends. A body
    that says beforehand that it is too large is refused by the application, which does not read it.
    """

    def __init__(self, app: ASGIApp, seconds: float = SECONDS) -> None:
        """Wrap an application."""
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != ScopeType.HTTP or not _takes_body_in(scope):
            await self.app(scope, receive, send)
            return
        body, max_bytes = bytearray(), _max_bytes(scope)
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":  # or whoever sent it has gone
                        await _refuse(send, BROKEN)
                        return
                    body += message["body"]
                    if len(body) > max_bytes:
                        await _refuse(send, TOO_LARGE)
                        return
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            await _refuse(send, TOO_SLOW)
            return
        whole: HTTPReceiveMessage | None = {
            "type": "http.request",
            "body": bytes(body),
            "more_body": False,
        }

        async def receive_whole() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal whole
            if whole is None:  # what comes next is the end of the connection, whenever it may be
                return await receive()
            message, whole = whole, None
            return message

        await self.app(scope, receive_whole, send)


def _takes_body_in(scope: HTTPScope) -> bool:
    """Whether there is a body that may be taken in: one that does not say it is too large."""
    found = {name: value for name, value in scope["headers"] if name in _BODY_HEADERS}
    if b"transfer-encoding" in found:
        return True
    length = found.get(b"content-length", b"0")
    return not length.isdigit() or 0 < int(length) <= _max_bytes(scope)


def _max_bytes(scope: HTTPScope) -> int:
    return MAX_BYTES_OF.get(normalize_path(scope["path"]), MAX_BYTES)  # as it is routed


async def _refuse(send: Send, status: int) -> None:
    start: Message = {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"connection", b"close"),
            (b"content-length", b"0"),
            (b"cache-control", b"no-store"),
            (b"referrer-policy", b"same-origin"),
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
