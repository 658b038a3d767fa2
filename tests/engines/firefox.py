"""Firefox as Playwright wants it: a program that Playwright starts in its place.

Playwright speaks WebDriver BiDi with a stock Firefox, and begins with a command that Firefox has
known since version 154: `emulation.setMediaFeaturesOverride`. Debian's firefox-esr is older. This
program starts it with the same arguments, stands between the two, and says "done" to that command;
light and dark are chosen by a preference instead. Every other message passes as it is.

Usage: PAYMENTS_TEST_FIREFOX=firefox-esr python -m tests.engines.firefox --remote-debugging-port=0 …
"""

import json
import os
import subprocess
import sys

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)

UNKNOWN = "emulation.setMediaFeaturesOverride"
LISTENING = "WebDriver BiDi listening on "
MAX_MESSAGE_BYTES = 64 << 20


async def pass_on(source: WebSocketConnection, target: WebSocketConnection) -> None:
    """Pass messages on until one end closes, and answer what the target does not know."""
    while True:
        message = await source.get_message()
        if UNKNOWN in message:
            asked = json.loads(message)
            if asked.get("method") == UNKNOWN:
                done = {"type": "success", "id": asked["id"], "result": {}}
                await source.send_message(json.dumps(done))
                continue
        await target.send_message(message)


async def connect(request: WebSocketRequest, url: str) -> None:
    """Connect Playwright with Firefox until either has enough."""
    client = await request.accept()
    async with open_websocket_url(
        f"{url}{request.path}", max_message_size=MAX_MESSAGE_BYTES
    ) as firefox:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, client, firefox)
                nursery.start_soon(pass_on, firefox, client)
        except* ConnectionClosed:
            pass


async def run(arguments: list[str]) -> int:
    """Run Firefox to its end. Returns its exit code."""
    process = await trio.lowlevel.open_process(
        [os.environ["PAYMENTS_TEST_FIREFOX"], *arguments], stderr=subprocess.PIPE
    )
    output = process.stderr
    assert output is not None
    text = ""
    while "\n" not in text.partition(LISTENING)[2]:
        read = await output.receive_some()
        if not read:
            return await process.wait()
        text += read.decode(errors="replace")
        sys.stderr.write(read.decode(errors="replace").replace(LISTENING, "Firefox is at "))
    url = text.partition(LISTENING)[2].split()[0]

    async def answer(request: WebSocketRequest) -> None:
        await connect(request, url)

    async def read_on() -> None:
        async for _ in output:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_on)
        server = await nursery.start(
            lambda task_status: serve_websocket(
                answer, "127.0.0.1", 0, None,
                max_message_size=MAX_MESSAGE_BYTES, task_status=task_status,
            )
        )  # fmt: skip
        print(f"{LISTENING}ws://127.0.0.1:{server.port}", file=sys.stderr, flush=True)  # noqa: T201
        code = await process.wait()
        nursery.cancel_scope.cancel()
    return code


if __name__ == "__main__":
    sys.exit(trio.run(run, sys.argv[1:]))
