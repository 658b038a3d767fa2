"""A forbidden word in what a bank statement would show closes donations until it is gone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payments.risk import statement_descriptor
from tests.support.donor import well_formed_page
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.safety_policy import POLICY, policy_file

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(database: str, tmp_path: Path) -> AsyncIterator[Newsroom]:
    policy = POLICY.replace('"The Example"', '"Новая газета"')
    async with open_newsroom(database, donor_safety_policy=policy_file(tmp_path, policy)) as made:
        yield made
        await made.runs_until_idle()
        assert made.sandbox.problems == []


async def test_a_forbidden_word_closes_donations_until_it_is_gone(room: Newsroom) -> None:
    assert (await room.requests_contribution(500, declaration=True)).status_code == 201
    room.sandbox.update_account(business_name="Новая газета")
    await room.runs_until_idle()  # account.updated
    answer = await room.requests_contribution(500, declaration=True)
    assert answer.status_code == 503
    assert answer.json()["detail"].endswith("Nothing was charged.")
    page = well_formed_page(await room.web.get("/donate"))
    sent = page.form("/donate").submission(declaration="yes")
    closed = await room.web.post("/donate", data=sent)
    assert closed.status_code == 503
    assert "We have closed donations" in closed.text
    assert await room.rows("SELECT kind FROM alerts WHERE closed_at IS NULL") == [
        ("statement_descriptor",)
    ]
    room.sandbox.update_account(business_name="Lindenau")
    await room.runs_until_idle()
    assert (await room.requests_contribution(500, declaration=True)).status_code == 201


async def test_the_schedule_sees_it_without_stripes_word(room: Newsroom) -> None:
    room.sandbox.update_account(statement_descriptor="NOVAYA GAZETA")
    room.sandbox.take_deliveries()  # lost
    await statement_descriptor.scheduled_check(room.ctx)
    assert (await room.requests_contribution(500, declaration=True)).status_code == 503
