"""A deadline for the body of a request: the server has one for headers, and none for bodies."""

import asyncio

from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send
from litestar.types.asgi_types import WebSocketReceiveMessage

SECONDS = 10.0


class BodyTooSlow(HTTPException):
    """The body did not arrive in time."""

    status_code = 408


class BodyDeadline:
    """Middleware: answer 408 where a body is not complete in time after somebody asks for it."""

    def __init__(self, app: ASGIApp, seconds: float = SECONDS) -> None:
        """Wrap an application."""
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        deadline: float | None = None
        is_complete = False

        async def receive_in_time() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal deadline, is_complete
            if is_complete:  # what comes next is the end of the connection, whenever it may be
                return await receive()
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + self.seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlow(headers={"connection": "close"}) from None
            is_complete = not message.get("more_body", False)
            return message

        await self.app(scope, receive_in_time, send)
