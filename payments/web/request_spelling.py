"""One spelling of a request before it is routed: HEAD as GET without a body, and our Host as set.

A HEAD gets the status and the headers that a GET of the same address gets (RFC 9110, 9.3.2), on
every route. A Host may be written in capitals, with a dot at its end or with a port that a proxy
adds (RFC 9110, 7.2; RFC 3986, 6.2.2.1): it is the same host.
"""

from collections.abc import Collection

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send


class RequestSpelling:
    """An application that is called with one spelling of a request, whoever sent it."""

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str]) -> None:
        """Wrap an application that answers to these hosts, each with or without a port."""
        self.app = app
        self.allowed_hosts = frozenset(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == ScopeType.HTTP:
            scope["headers"] = [
                (name, self._host(value) if name == b"host" else value)
                for name, value in scope["headers"]
            ]
            if scope["method"] == "HEAD":
                scope["method"] = "GET"
                send = _without_body(send)
        await self.app(scope, receive, send)

    def _host(self, value: bytes) -> bytes:
        """Return a Host as the settings write it, if it is one of ours."""
        host, colon, port = value.decode("latin-1").casefold().rpartition(":")
        if not colon or not port.isdigit():
            host, port = value.decode("latin-1").casefold(), ""
        host = host.removesuffix(".")
        spellings = (f"{host}:{port}", host) if port else (host,)
        return next(
            (
                spelling.encode("latin-1")
                for spelling in spellings
                if spelling in self.allowed_hosts
            ),
            value,
        )


def _without_body(send: Send) -> Send:
    """Return a `send` that passes the head of a response on, and none of its body."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_head
