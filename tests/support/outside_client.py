"""Programs of other people, run in a process of their own."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 1800  # dj-stripe copies a year in two minutes, where nothing else runs


def find_stripe_cli() -> str | None:
    """Stripe's own: named by the environment, installed in the project, or on the path."""
    named = os.environ.get("STRIPE_CLI")
    installed = ROOT / "node_modules" / ".bin" / "stripe"
    return named or (str(installed) if installed.exists() else shutil.which("stripe"))


def needs(path: Path, client: str) -> Path:
    """Return the path of a fetched client, or skip the test with a word."""
    if not path.exists():
        pytest.skip(f"{client} was NOT run: it could not be fetched (make interop)")
    return path


async def run(*command: str | Path, home: Path, **environment: str) -> tuple[int, str]:
    """Run a program with a home of its own. Returns its exit status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
    return process.returncode or 0, output.decode()
