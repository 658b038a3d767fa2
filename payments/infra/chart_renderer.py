"""Draws Vega-Lite charts as SVG, in one child process.

Drawing holds Python's global lock, so it does not happen in the process that serves pages. The
child reads a specification on each line of its input and answers with a JSON string on a line. It
ends when its input does, so it never outlives the service. Drawings are cached by their
specification.
"""

import asyncio
import atexit
import json
import subprocess
import sys
import threading
from functools import cache

CACHE_SIZE = 200  # drawings
RENDER_TIMEOUT = 10.0  # seconds for one drawing, with the start of the child


async def render(spec: str) -> str | None:
    """Return the SVG of a specification on one line, or None where it could not be drawn."""
    return await asyncio.to_thread(_shared_renderer().render, spec)


class _Renderer:
    """The child process, started when it is first needed, and again if it has ended."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.lock = threading.Lock()
        self.cache: dict[str, str] = {}

    def render(self, spec: str) -> str | None:
        with self.lock:
            if spec in self.cache:
                return self.cache[spec]
            svg = self._request(spec)
            if svg is not None:
                if len(self.cache) >= CACHE_SIZE:
                    self.cache.pop(next(iter(self.cache)))
                self.cache[spec] = svg
            return svg

    def _request(self, spec: str) -> str | None:
        process = self._running_process()
        assert process.stdin is not None
        assert process.stdout is not None
        timeout = threading.Timer(RENDER_TIMEOUT, process.kill)
        timeout.start()
        try:
            process.stdin.write(spec + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            timeout.cancel()
        return str(json.loads(answer)) if answer else None

    def _running_process(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.process = subprocess.Popen(  # noqa: S603 - this module
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        return self.process

    def close(self) -> None:
        """Close the child's input, which ends it."""
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
            self.process.wait()
            self.process = None


@cache
def _shared_renderer() -> _Renderer:
    renderer = _Renderer()
    atexit.register(renderer.close)
    return renderer


def _serve() -> None:
    """Run the child: a specification on each line of input, its SVG on each line of output."""
    import vl_convert  # noqa: PLC0415 - large, and only the child needs it

    for line in sys.stdin:
        svg = vl_convert.vegalite_to_svg(line, allowed_base_urls=[])
        sys.stdout.write(json.dumps(svg) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
