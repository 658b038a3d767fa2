"""Time does not tell a donor from a stranger, measured at every public form.

A sign test over the pairs: of 400, the donor's answer is slower in 167 to 233, or the difference
would be found with an error of one in a thousand. It finds, nine times in ten, a form whose answer
for a donor is slower in 61 pairs of 100. A form takes half a minute on a machine that is idle.
"""

import random
from collections.abc import AsyncIterator
from math import sqrt
from pathlib import Path

import pytest

from tests.support.donor import open_donor_browser
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.onlooker import PUBLIC_FORMS, send, with_every_form

pytestmark = [pytest.mark.anyio, pytest.mark.storm]
PAIRS, CRITICAL = 400, 3.29
DONOR, STRANGER = "donor@example.org", "other@example.org"  # of the same length


@pytest.fixture
async def room(database: str, tmp_path: Path) -> AsyncIterator[Newsroom]:
    """A newsroom that offers every form, has one donor, and a mail server that takes its time."""
    async with open_newsroom(database, **with_every_form(tmp_path)) as opened:
        opened.mail_server.delay = 0.5
        async with open_donor_browser(opened, DONOR) as donor:
            await donor.gives(500)
        yield opened


@pytest.mark.parametrize("path", list(PUBLIC_FORMS))
async def test_no_form_is_slower_or_faster_for_a_donor(room: Newsroom, path: str) -> None:
    slower = 0
    for pair in range(PAIRS):
        seconds = {}
        for address in random.sample([DONOR, STRANGER], 2):
            _, seconds[address] = await send(room, path, address, tables=())
        slower += seconds[DONOR] > seconds[STRANGER]
        if pair % 100 == 99:
            await room.runs_due_jobs()
    z = (slower - PAIRS / 2) / (sqrt(PAIRS) / 2)
    print(f"{path}: slower in {slower} of {PAIRS}, z {z:.2f}")  # noqa: T201 - the figure
    assert abs(z) < CRITICAL
