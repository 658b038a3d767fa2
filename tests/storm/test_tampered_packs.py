"""A pack is changed in every bit and in a hundred thousand other ways: none of them is accepted."""

import os
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from payments.accounting import daily_totals, pack_verification
from tests.support.newsroom import Newsroom
from tests.support.packs import (
    PUBLIC_KEY,
    TAMPERINGS,
    archived,
    files_of,
    makes_three_packs,
    random_edits,
    signed_by_a_stranger,
)

pytestmark = [pytest.mark.anyio, pytest.mark.storm]

EDITS = int(os.environ.get("STORM_PACK_EDITS", "90000"))


async def test_of_a_hundred_thousand_changes_of_a_pack_none_is_accepted(newsroom: Newsroom) -> None:
    await newsroom.gives(2500)
    await newsroom.gives(500, "monthly")
    await newsroom.advances_time(datetime(2026, 12, 1, 8, tzinfo=UTC) - newsroom.clock())
    await newsroom.runs_until_idle()
    await daily_totals.import_and_refresh(newsroom.ctx)
    packs = await makes_three_packs(newsroom)
    tried, refused_by = Counter[str](), Counter[str]()
    for kind, changed in changes(packs):
        assert changed not in packs, kind
        checked = pack_verification.check_pack(changed, keys=(PUBLIC_KEY,))  # never raises
        problems = [check.description for check in checked.checks if check.problem]
        assert problems, (kind, changed.hex())
        if kind == "a file of a stranger's":  # he is answered in words without a key, too
            pack_verification.check_pack(changed)
        tried[kind] += 1
        refused_by[problems[0]] += 1
    print(sum(tried.values()), "changes, 0 accepted:", dict(tried), dict(refused_by))  # noqa: T201
    assert sum(tried.values()) > 100_000


def changes(packs: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield every bit turned, every byte taken out or doubled, and what chance makes up."""
    pack = packs[1]
    for place in range(len(pack)):
        for bit in range(8):
            turned = bytes([pack[place] ^ 1 << bit])
            yield "a bit turned", pack[:place] + turned + pack[place + 1 :]
        yield "a byte taken out", pack[:place] + pack[place + 1 :]
        yield "a byte doubled", pack[:place] + pack[place : place + 1] + pack[place:]
        yield "cut off", pack[:place]
    for number, one in enumerate(packs):
        for kind, tamper in TAMPERINGS.items() if number == 0 else ():
            yield kind, tamper(one)
        yield from (("by chance", edit) for edit in random_edits(one, packs, EDITS // 3, number))
    yield from _files_changed(pack)


def _files_changed(pack: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield packs of the one form, with a file changed; and the same signed by a stranger."""
    files, pick = files_of(pack), random.Random(7)
    for _ in range(6_000):
        name = pick.choice(list(files))
        (changed, *_) = random_edits(files[name], list(files.values()), 1, pick.getrandbits(32))
        yield "a file changed", archived(files | {name: changed})
        if name not in ("manifest.json", "manifest.sig"):
            yield "a file of a stranger's", signed_by_a_stranger(files | {name: changed})
