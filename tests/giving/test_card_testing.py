"""A Checkout session in which one card after another is declined is expired: of a single
contribution, and of a subscription, though Stripe does not say where its declined cards were tried.
"""

from datetime import timedelta
from typing import Any

import pytest

from payments.risk.risk_level import RiskLevel
from tests.support.newsroom import Newsroom
from tests.support.risk import set_risk_level

pytestmark = pytest.mark.anyio
DECLINED = "4000000000000002"


async def opens_checkout(
    room: Newsroom, amount: int = 500, frequency: str = "monthly"
) -> dict[str, Any]:
    answer = await room.requests_contribution(amount, frequency)
    assert answer.status_code == 201, answer.text
    started: dict[str, Any] = answer.json()
    return started


async def declines_repeatedly(room: Newsroom, started: dict[str, Any], times: int = 5) -> None:
    """Try one declined card after another on one page."""
    for _ in range(times):
        await room.pays(started["checkout_url"], DECLINED)
    await room.runs_until_idle()


async def status(room: Newsroom, started: dict[str, Any]) -> str:
    return (await room.contribution(started["id"])).status.value


@pytest.mark.parametrize("frequency", ["once", "monthly", "annual"])
async def test_a_page_on_which_card_after_card_is_tried_ends(
    newsroom: Newsroom, frequency: str
) -> None:
    others = [
        await opens_checkout(newsroom, 700, frequency),
        await opens_checkout(newsroom, 500, "once"),
    ]
    started = await opens_checkout(newsroom, 500, frequency)
    await declines_repeatedly(newsroom, started, 4)
    assert await status(newsroom, started) == "open"  # four may be somebody with four cards
    await declines_repeatedly(newsroom, started, 1)
    assert await status(newsroom, started) == "expired"
    assert "Nothing was charged" in await newsroom.thanks(started["id"])
    assert [await status(newsroom, other) for other in others] == ["open", "open"]


async def test_a_page_that_stripe_confirms_to_close_and_leaves_open_calls_a_person(
    newsroom: Newsroom,
) -> None:
    started = await opens_checkout(newsroom)
    newsroom.sandbox.faults.add("POST", "/expire", "without_effect", remaining=100)
    await declines_repeatedly(newsroom, started)
    assert await status(newsroom, started) == "open"
    ((session_id,),) = await newsroom.rows("SELECT stripe_session_id FROM contributions")
    opened = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL"
    assert ("change_not_made", session_id) in await newsroom.rows(opened)
    await newsroom.advances_time(timedelta(days=2))  # it ends by itself
    await newsroom.runs_until_idle()
    assert ("change_not_made", session_id) not in await newsroom.rows(opened)


async def test_stripe_does_not_say_on_whose_page_the_cards_of_a_subscription_are_declined(
    newsroom: Newsroom,
) -> None:
    """Why it is found by amount and time. Should Stripe say it one day, this fails."""
    started = await opens_checkout(newsroom)
    await newsroom.pays(started["checkout_url"], DECLINED)
    (charge,) = (await newsroom.stripe_owner.v1.charges.list_async()).data
    intents = newsroom.stripe_owner.v1.payment_intents
    intent = await intents.retrieve_async(str(charge.payment_intent))
    page = (await newsroom.stripe_owner.v1.checkout.sessions.list_async()).data[0]
    assert (page.payment_intent, page.subscription, page.invoice) == (None, None, None)
    assert charge.metadata is not None
    assert intent.metadata is not None
    assert "contribution_id" not in charge.metadata
    assert "contribution_id" not in intent.metadata
    payments = await newsroom.stripe_owner.v1.invoice_payments.list_async(
        {"payment": {"type": "payment_intent", "payment_intent": intent.id}}
    )
    assert payments.data == []


async def test_where_it_may_be_either_of_two_readers_neither_is_ended_until_it_is_an_attack(
    newsroom: Newsroom,
) -> None:
    tester, reader = await opens_checkout(newsroom), await opens_checkout(newsroom)
    await declines_repeatedly(newsroom, tester, 6)
    assert [await status(newsroom, one) for one in (tester, reader)] == ["open", "open"]
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    await declines_repeatedly(newsroom, tester, 1)
    assert [await status(newsroom, one) for one in (tester, reader)] == ["expired", "expired"]
    assert "Nothing was charged" in await newsroom.thanks(reader["id"])


async def test_a_subscription_that_is_paid_meanwhile_goes_on(newsroom: Newsroom) -> None:
    tester, reader = await opens_checkout(newsroom), await opens_checkout(newsroom)
    await newsroom.pays(reader["checkout_url"])
    await declines_repeatedly(newsroom, tester)
    assert await status(newsroom, tester) == "expired"
    assert await status(newsroom, reader) == "paid"
    assert await newsroom.rows("SELECT status FROM subscriptions") == [("active",)]
