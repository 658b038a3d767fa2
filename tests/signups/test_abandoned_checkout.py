"""A reader who ticked it is reminded once of a Checkout they did not finish."""

import re

import pytest

from payments.sandbox.hosted_page_client import pay
from tests.support.donor import Donor
from tests.support.mail import TELLTALE
from tests.support.newsroom import BASE_URL, without_tokens
from tests.support.page import Page
from tests.support.reminders import DAY, READER, keys, passes, states, walks_away

pytestmark = pytest.mark.anyio


async def test_whoever_ticked_it_is_reminded_once_of_an_abandoned_checkout(reader: Donor) -> None:
    await walks_away(reader, remind="yes", remind_address=READER)
    assert await states(reader.room) == ["scheduled"]
    await passes(reader.room, DAY)
    (mail,) = reader.room.mails()
    assert "left one of our pages unfinished" in mail.part()
    # Whoever gave may have typed anybody's address: no amount, one way on, and one never to hear.
    assert re.findall(rf"{BASE_URL}(/\w+/[\w-]+)", mail.part()) == ["/back/-", "/remind/never"]
    assert TELLTALE.search(without_tokens(mail.part())) is None
    await passes(reader.room, 30 * DAY)
    await walks_away(reader, remind="yes", remind_address=READER)
    await passes(reader.room, 2 * DAY)
    assert len(reader.room.mails()) == 1
    assert keys(reader.room) == []


async def test_without_the_tick_an_unfinished_gift_leaves_nothing(reader: Donor) -> None:
    await walks_away(reader, remind_address=READER)
    assert await reader.room.count("reminders") == 0
    await passes(reader.room, 2 * DAY)
    assert reader.room.mails() == []


async def test_of_whoever_finishes_nothing_is_stored(reader: Donor) -> None:
    page = await reader.opens("/donate?frequency=once&amount=500&currency=usd")
    sent = page.form("/donate").submission() | {"remind": "yes", "remind_address": READER}
    answer = await reader.web.post("/donate", data=sent)
    assert len(keys(reader.room)) == 1
    await pay(answer.headers["location"], email=READER)
    await reader.room.runs_until_idle()
    assert keys(reader.room) == []
    await passes(reader.room, 3 * DAY)
    assert reader.room.mails() == []


async def test_the_tick_without_an_address_is_asked_about(reader: Donor) -> None:
    page = await reader.opens("/donate")
    sent = page.form("/donate").submission() | {"remind": "yes", "remind_address": "nonsense"}
    answer = await reader.web.post("/donate", data=sent)
    assert answer.status_code == 422
    assert "Please check the e-mail address." in Page(answer.text).text
    assert await reader.room.count("contributions") == 0
