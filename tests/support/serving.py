"""The newsroom's application at a port of this machine, in the same loop as its test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import httpx
from granian.constants import Interfaces
from granian.server.embed import Server

from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom


@asynccontextmanager
async def serve_newsroom(room: Newsroom, port: int) -> AsyncIterator[None]:
    """Let the newsroom be reached at a port until the end."""
    transport = cast("httpx.ASGITransport", room.web._transport)
    server = Server(transport.app, port=port, interface=Interfaces.ASGINL, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    try:
        await _wait_until_ready(port, serving)
        yield
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # theirs
        await serving


async def _wait_until_ready(port: int, serving: asyncio.Task[None]) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as web:
        async with asyncio.timeout(REAL_TIMEOUT_SECONDS):
            while True:
                assert not serving.done(), serving.exception()
                try:
                    await web.get("/health/live")
                except httpx.TransportError:
                    await asyncio.sleep(0.02)
                else:
                    return
