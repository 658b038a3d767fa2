"""A deadline for the body of a request: the server has one for headers, and none for bodies.

A body is taken in whole before the application hears of the request, so that one which never ends
costs neither a page nor a place in the database, however many are sent at once.
"""

import asyncio

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send
from litestar.types.asgi_types import HTTPScope, WebSocketReceiveMessage

SECONDS = 10.0
MAX_BYTES = 64 * 1024
TOO_SLOW, TOO_LARGE = 408, 413
_BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})


class BodyDeadline:
    """An application that is called with a whole body, or not at all.

    Where the body is not complete in time, 408 is answered, and 413 where it turns out larger than
    it may be: by a bare response, after which the connection ends. A body that says beforehand that
    it is too large is refused by the application, which does not read it.
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
        body = bytearray()
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return  # whoever sent it has gone
                    body += message["body"]
                    if len(body) > MAX_BYTES:
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
    return not length.isdigit() or 0 < int(length) <= MAX_BYTES


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
