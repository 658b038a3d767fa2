"""`payments …` as an operator runs it: in a process of its own, with the settings in its
environment and nothing else of ours.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass

from pydantic import SecretStr

from payments.core.settings import Settings


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


async def start(settings: Settings, *words: str, **more: str) -> asyncio.subprocess.Process:
    """Start `payments …`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "payments.cli", *words),
        env=environment(settings, **more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )


async def run(settings: Settings, *words: str, **more: str) -> Finished:
    """Run `payments …` to its end."""
    process = await start(settings, *words, **more)
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, stdout, stderr.decode())
