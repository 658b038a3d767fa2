"""Cards that are tried one after the other raise the level of care; a day's ordinary declines and
declined renewals do not.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from payments.giving import card_testing
from payments.sandbox.errors import ApiError
from tests.support.newsroom import Newsroom
from tests.support.risk import DECLINED, asks, gives, open_with_limits, solved, tries
from tests.support.stripe_dashboard import pay_once, with_card

pytestmark = pytest.mark.anyio

DECLINES = 8  # the setting: fewer than in production, and the same rules


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_with_limits(database, card_testing_declines=DECLINES) as room:
        yield room


async def test_many_declined_cards_raise_the_level_and_call_a_person(newsroom: Newsroom) -> None:
    await tries(newsroom, DECLINES, declined=3)
    assert (await asks(newsroom)).status_code == 428
    assert await newsroom.rows("SELECT kind, closed_at FROM alerts") == [("card_testing", None)]
    await newsroom.advances_time(timedelta(minutes=61))
    assert (await asks(newsroom)).status_code == 201
    await card_testing.scheduled_check(newsroom.ctx)
    assert await newsroom.rows("SELECT kind FROM alerts WHERE closed_at IS NULL") == []


async def test_an_ordinary_share_of_declined_cards_changes_nothing(newsroom: Newsroom) -> None:
    await tries(newsroom, DECLINES, declined=2)
    assert (await asks(newsroom)).status_code == 201


async def test_mostly_declined_cards_pause_small_gifts_and_no_others(newsroom: Newsroom) -> None:
    await tries(newsroom, DECLINES, declined=6)
    refusal = await asks(newsroom, amount=499)
    assert refusal.status_code == 503
    assert "5.00 USD" in refusal.json()["detail"]
    assert refusal.json()["detail"].endswith("Nothing was charged.")
    page = await gives(newsroom, frequency="monthly", amount_monthly="200")
    assert page.status_code == 503
    assert "Nothing was charged." in page.text
    proof = solved((await newsroom.web.get("/api/challenge")).json())
    assert (await asks(newsroom, "203.0.113.4", amount=500, proof=proof)).status_code == 201
    await newsroom.advances_time(timedelta(minutes=15))
    proof = solved((await newsroom.web.get("/api/challenge")).json())
    assert (await asks(newsroom, "203.0.113.5", amount=200, proof=proof)).status_code == 201


async def test_the_next_pause_takes_less_and_lasts_longer(newsroom: Newsroom) -> None:
    await tries(newsroom, DECLINES, declined=DECLINES)
    await newsroom.advances_time(timedelta(minutes=16))
    for number in range(DECLINES // 4):
        proof = solved((await newsroom.web.get("/api/challenge")).json())
        answer = await asks(newsroom, f"10.9.{number}.1", amount=200, proof=proof)
        await newsroom.pays(answer.json()["checkout_url"], DECLINED)
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(minutes=29))
    assert (await asks(newsroom, amount=200)).status_code == 503
    await newsroom.advances_time(timedelta(minutes=2))
    assert (await asks(newsroom, amount=200)).status_code == 428


async def test_declined_renewals_are_no_attack(database: str) -> None:
    async with open_with_limits(database, card_testing_declines=4) as room:
        await _renewals_are_declined(room, 5)


async def _renewals_are_declined(newsroom: Newsroom, count: int) -> None:
    for number in range(count):
        answer = await asks(newsroom, f"10.0.{number}.1", amount=500, frequency="monthly")
        await newsroom.pays(answer.json()["checkout_url"], "4000000000000341")
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=31, hours=2))
    await newsroom.runs_until_idle()
    rows = await newsroom.rows("SELECT count(*) FROM charges WHERE status = 'failed'")
    assert rows != [(0,)]
    # nor are a shop's, whose charges are nobody's for an hour, or for good
    customer, card = with_card(newsroom, "buyer@example.org")
    newsroom.sandbox.fail_card(card)
    for _ in range(count):
        with pytest.raises(ApiError):
            pay_once(newsroom, customer, card, 2900, shop="letters")
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(minutes=2))
    await card_testing.evaluate(newsroom.ctx)
    failed = await newsroom.rows("SELECT count(*) FROM charges WHERE status = 'failed'")
    assert failed > rows
    assert (await asks(newsroom, "10.1.1.1")).status_code == 201
    assert await newsroom.rows("SELECT kind FROM alerts WHERE kind = 'card_testing'") == []


async def test_a_session_in_which_card_after_card_is_tried_ends(newsroom: Newsroom) -> None:
    contribution = (await asks(newsroom)).json()
    for _ in range(5):
        await newsroom.pays(contribution["checkout_url"], DECLINED)
    await newsroom.runs_until_idle()
    assert (await newsroom.contribution(contribution["id"])).status == "expired"
    assert "Nothing was charged" in await newsroom.thanks(contribution["id"])


async def test_a_donor_who_finds_the_right_card_is_left_alone(newsroom: Newsroom) -> None:
    contribution = (await asks(newsroom)).json()
    for _ in range(4):
        await newsroom.pays(contribution["checkout_url"], DECLINED)
    await newsroom.runs_until_idle()
    await newsroom.pays(contribution["checkout_url"])
    await newsroom.runs_until_idle()
    assert (await newsroom.contribution(contribution["id"])).status == "paid"


async def test_a_flood_that_nobody_pays_raises_the_level(newsroom: Newsroom) -> None:
    for number in range(61):
        assert (await asks(newsroom, f"10.1{number}.0.1")).status_code == 201
    await card_testing.scheduled_check(newsroom.ctx)
    assert (await asks(newsroom)).status_code == 428
