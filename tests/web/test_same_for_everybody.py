"""No form tells a donor from a stranger: not by its answer, nor by what it makes us do."""

import asyncio
import itertools
import threading
from pathlib import Path

import pytest

from payments.infra import address_hash
from tests.support.donor import open_donor_browser
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.onlooker import PUBLIC_FORMS, send, with_every_form
from tests.support.processes import until
from tests.support.risk import open_with_limits
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio
IDLE_IN_TRANSACTION = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
)


async def test_every_form_answers_and_does_the_same_for_a_donor_and_a_stranger(
    database: str, tmp_path: Path
) -> None:
    more = {
        **with_every_form(tmp_path),
        # also while donors are known by a key that was replaced
        "secret_keys": f"{secret_named('newest')},{secret_named('keys')}",
    }
    async with open_newsroom(database, **more) as room:
        async with open_donor_browser(room, "donor@example.org") as donor:
            await donor.gives(500)
        for path in PUBLIC_FORMS:
            await send(room, path, "first@example.org")  # what is prepared once
            await room.runs_due_jobs()
            of_donor, _ = await send(room, path, "donor@example.org")
            await room.runs_due_jobs()
            of_stranger, _ = await send(room, path, "whoever@example.org")
            assert of_donor == of_stranger, path
            assert of_donor.status in (200, 202, 303), (path, of_donor.content)
            assert sum(of_donor.rows.values()) > 0, path
            assert not any("donors" in one for one in of_donor.statements), path


async def signs_up(room: Newsroom, address: str) -> int:
    """Ask for a reminder, always from one network. Gives the status of the answer."""
    headers = {"x-forwarded-for": "203.0.113.7", "sec-fetch-site": "same-origin"}
    form = {"address": address, "when": "week"}
    return (await room.web.post("/remind", data=form, headers=headers)).status_code


async def test_an_address_is_hashed_after_the_limits_and_with_nothing_in_hand(
    database: str, tmp_path: Path
) -> None:
    hasher, is_busy = address_hash.THREAD, threading.Event()
    more = with_every_form(tmp_path) | {"trusted_proxies": "127.0.0.0/8"}
    async with open_with_limits(database, **more) as room:
        hasher.submit(is_busy.wait)
        try:
            asked = [
                asyncio.create_task(send(room, path, "whoever@example.org", tables=()))
                for path in PUBLIC_FORMS
            ]
            crowd = [
                asyncio.create_task(signs_up(room, f"{number}@example.org")) for number in range(8)
            ]
            turned_away = [await one for one in itertools.islice(asyncio.as_completed(crowd), 5)]
            assert turned_away == [428] * 5, "past its limit nothing of a network is hashed"

            async def all_others_wait() -> bool:
                return hasher._work_queue.qsize() == len(asked) + 3

            await until(all_others_wait, "the wait of all others")
            assert await room.rows(IDLE_IN_TRANSACTION) == [(0,)]
        finally:
            is_busy.set()
        assert {answer.status for answer, _ in await asyncio.gather(*asked)} <= {200, 202, 303}
        assert sorted(await asyncio.gather(*crowd)) == [200] * 3 + [428] * 5
