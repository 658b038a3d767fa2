"""`payments …` as an operator runs it: in a process of its own, with the settings in its
environment and nothing else of ours.
"""

import asyncio
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from pydantic import SecretStr

import tests
from payments.core.settings import Settings
from tests.support.newsroom import REAL_TIMEOUT_SECONDS


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    exit_code: int
    stdout: bytes
    stderr: str


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The settings that were chosen, as environment variables, and what is not ours."""

    def as_text(value: object) -> str:
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if isinstance(value, tuple):
            return ",".join(map(as_text, value))
        assert not isinstance(value, dict), "write the setting's text yourself"
        return str(value)

    chosen = {
        f"PAYMENTS_{name.upper()}": as_text(value)
        for name, value in settings
        if name in settings.model_fields_set and value
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    return {**others, **chosen, **more}


class Running:
    """A command that was started, of `payments` or of a program of the tests. Its output waits
    until it is asked for.
    """

    def __init__(
        self,
        environ: dict[str, str],
        words: tuple[str, ...],
        *,
        program: str = "payments.cli",
        max_files: int | None = None,
    ) -> None:
        self._stdout, self.stderr = TemporaryFile(), TemporaryFile()  # noqa: SIM115 - of `wait`
        self._exit_code: int | None = None
        asked = {"program": program, "words": words, "environment": environ}
        request = json.dumps({**asked, "max_files": max_files}).encode()
        with socket.socket(socket.AF_UNIX) as server:
            server.settimeout(REAL_TIMEOUT_SECONDS)
            server.connect(_server_path())
            files = [self._stdout.fileno(), self.stderr.fileno()]
            socket.send_fds(server, [b"%d\n" % len(request)], files)
            server.sendall(request)
            self._answers = server.makefile("rb")
            self.pid = int(self._answers.readline())

    def kill(self) -> None:
        """`kill -9` it."""
        os.kill(self.pid, signal.SIGKILL)

    def is_over(self, *, within_seconds: float = 0) -> bool:
        """Whether it ends within this time."""
        if self._exit_code is None:
            return self._answers in select.select([self._answers], [], [], within_seconds)[0]
        return True

    def exit_code(self) -> int:
        """Wait for its end. Returns its exit code, which is negative if it was killed."""
        if self._exit_code is None:
            self._exit_code = int(self._answers.readline())
        return self._exit_code

    def wait(self) -> Finished:
        """Wait for its end, and take its output."""
        with self._answers, self._stdout, self.stderr:
            exit_code = self.exit_code()
            self._stdout.seek(0)
            self.stderr.seek(0)
            return Finished(exit_code, self._stdout.read(), self.stderr.read().decode())


async def start(settings: Settings, *words: str, **more: str) -> Running:
    """Start `payments …`."""
    return await asyncio.to_thread(Running, environment(settings, **more), words)


async def run(settings: Settings, *words: str, **more: str) -> Finished:
    """Run `payments …` to its end."""
    return await asyncio.to_thread(run_in, environment(settings, **more), *words)


def run_in(environ: dict[str, str], *words: str) -> Finished:
    """Run `payments …` to its end, with nothing in its environment but what is given."""
    return Running(environ, words).wait()


@cache
def _server_path() -> str:
    """Start the process that runs commands, once; it ends with this one."""
    folder = TemporaryDirectory()
    path = str(Path(folder.name, "commands"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.command_server", path],
        cwd=Path(tests.__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"

    def end(stdin: IO[bytes], stdout: IO[bytes]) -> None:
        stdin.close()
        stdout.close()
        process.wait()
        folder.cleanup()

    atexit.register(end, process.stdin, process.stdout)
    return path
