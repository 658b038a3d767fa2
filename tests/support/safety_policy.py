"""A newsroom with a safety policy in force, and cards of the countries it protects."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.newsroom import Newsroom, open_newsroom

RUSSIAN, BELARUSIAN = "4000006430000009", "4000001120000005"
MIRROR = "https://mirror.example"
ONION = f"http://{'abcdefgh23456777' * 3}lindenau.onion"
POLICY = """
protected_countries = ["RU", "BY"]
recurring = "allowed"
forbidden_descriptor_words = ["The Example", "Пример"]
"""


def policy_file(folder: Path, text: str = POLICY) -> str:
    """Write a policy and return its path."""
    path = folder / "protection.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@asynccontextmanager
async def protected(
    database: str, folder: Path, policy: str = POLICY, **settings: object
) -> AsyncIterator[Newsroom]:
    """A newsroom with a policy in force, whose books are checked in the end."""
    file = policy_file(folder, policy)
    async with open_newsroom(database, donor_safety_policy=file, **settings) as room:
        yield room
        await room.runs_until_idle()
        assert room.sandbox.problems == []
        assert await room.failed_integrity_checks() == []
