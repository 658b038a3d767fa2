"""Time does not tell a donor from a stranger, measured at every public form.

A sign test over the pairs: of 400, the donor's answer is slower in 167 to 233, or the difference
would be found with an error of one in a thousand. It finds, nine times in ten, a form whose answer
for a donor is slower in 61 pairs of 100.
"""

import random
from math import sqrt
from pathlib import Path

import pytest

from tests.support.donor import open_donor_browser
from tests.support.newsroom import open_newsroom
from tests.support.onlooker import PUBLIC_FORMS, send

pytestmark = [pytest.mark.anyio, pytest.mark.storm]
PAIRS, CRITICAL = 400, 3.29


async def test_no_form_is_slower_or_faster_for_a_donor(database: str, tmp_path: Path) -> None:
    more = {
        "address_key_dir": str(tmp_path),
        "newsletter_file": str(tmp_path / "addresses"),
        "privacy_url": "https://news.example/privacy",
        "privacy_version": "1",
    }
    async with open_newsroom(database, **more) as room:
        room.mail_server.delay = 0.5
        async with open_donor_browser(room, "donor@example.org") as donor:
            await donor.gives(500)
        results = {}
        for path in [one for one in PUBLIC_FORMS if one != "/donate"]:  # which asks Stripe
            slower = 0
            for pair in range(PAIRS):
                seconds = {}
                # the same number of letters, and equally new to the tables of sign-ups
                both = ["donor@example.org", "other@example.org"]
                for address in random.sample(both, 2):
                    _, seconds[address] = await send(room, path, address, tables=())
                slower += seconds[both[0]] > seconds[both[1]]
                if pair % 100 == 99:
                    await room.runs_due_jobs()
            results[path] = (slower - PAIRS / 2) / (sqrt(PAIRS) / 2)
        print(results)  # noqa: T201 - the figures
        assert all(abs(z) < CRITICAL for z in results.values()), results
