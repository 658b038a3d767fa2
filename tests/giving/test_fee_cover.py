"""A donor adds the payment fee to a contribution that runs, and leaves it out again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.donor import (
    SAME_ORIGIN_HEADERS,
    Donor,
    account_page,
    months_pass,
    subscription_id_of,
    subscription_requests,
    successful_charges,
    well_formed_page,
)
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio


NAMED_AMOUNTS = ("amount", "frequency")


def sets_price(room: Newsroom, id_: str, amount: int) -> None:
    """Have somebody set another amount in Stripe's dashboard."""
    item = room.sandbox.account.store.objects[id_]["items"]["data"][0]
    price = {"currency": "usd", "unit_amount": amount, "product": item["price"]["product"],
             "recurring": {"interval": "month"}}  # fmt: skip
    change = {"items": [{"id": item["id"], "price_data": price}], "proration_behavior": "none"}
    room.sandbox.dashboard_request("POST", f"/v1/subscriptions/{id_}", change)


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database, stripe_fees="usd=290+30,eur=150+25") as room:
        yield room


async def test_the_fee_is_added_and_left_out_again_as_at_the_beginning(donor: Donor) -> None:
    room = donor.room
    form = Page((await room.web.get("/donate")).text).form("/donate")
    sent = form.submission(frequency="monthly", amount_monthly="500") | {"cover": "yes"}
    answer = await room.web.post("/donate", data=sent)
    await room.pays(answer.headers["location"])
    await room.runs_until_idle()
    ((gift_id,),) = await room.rows("SELECT contribution_id FROM subscriptions")
    gift = await room.contribution(str(gift_id))
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    assert "You give $5.46 every month Of this for the payment fee $0.46" in page.text

    action = f"{account_page(gift)}/fee"
    without = await donor.opens(action)
    assert "$0.46 of it is for the payment fee" in without.text
    assert "Next payment $5.00 , 22 December 2026 After that $5.00 every month" in without.text
    # another amount keeps the fee covered, and a page from before it says another total
    amount = f"{account_page(gift)}/amount"
    form_page = await donor.opens(amount)
    assert form_page.field("amount")["value"] == "5.00"
    assert "The payment fee is added to it, as before" in form_page.text
    page = await donor.follows_redirect(await donor.submits(form_page, amount, amount="10"))
    assert "You give $10.61 every month Of this for the payment fee $0.61" in page.text
    answer = await donor.submits(without, action)
    assert answer.status_code == 422
    page = well_formed_page(answer)
    assert "has changed since this page was opened" in page.text
    assert "Next payment $10.00" in page.text
    frequency = await donor.opens(f"{account_page(gift)}/frequency")
    assert "Next payment $123.90 , 22 December 2026" in frequency.text  # of $120.00

    sent = page.form(action).submission()
    answers = await asyncio.gather(
        *(donor.web.post(action, data=sent, headers=SAME_ORIGIN_HEADERS) for _ in range(2))
    )
    page = await donor.follows_redirect(answers[0])
    assert answers[1].status_code == 303  # a double click
    assert "You give $10.00 every month Status" in page.text
    assert "The new amount applies from your next payment" in page.text
    page = await donor.opens(action)
    assert "Next payment $10.61 , 22 December 2026 Of this for the payment fee $0.61" in page.text
    page = await donor.follows_redirect(await donor.submits(page, action))
    assert page.text.count("Amount changed by you") == 3
    # an amount set in Stripe's dashboard has no part that is known to be for the fee
    id_ = await subscription_id_of(room)
    sets_price(room, id_, 900)
    await room.runs_until_idle()
    page = await donor.opens(account_page(gift))
    assert "You give $9.00 every month Status" in page.text
    await months_pass(room, 1)
    assert await successful_charges(room) == [("2026-11-22", 546), ("2026-12-22", 900)]


async def test_a_page_that_said_nothing_of_the_fee_adds_none(donor: Donor) -> None:
    room, own = donor.room, account_page(await donor.gives(1000))
    await donor.signs_in()
    before = [(await donor.opens(f"{own}/{name}"), f"{own}/{name}") for name in NAMED_AMOUNTS]
    page = await donor.opens(f"{own}/fee")
    page = await donor.follows_redirect(await donor.submits(page, f"{own}/fee"))
    assert "You give $10.61" in page.text
    for form_page, url in before:
        answer = await donor.submits(form_page, url)
        assert answer.status_code == 422
        assert "has changed since this page was opened" in well_formed_page(answer).text
    # an old whole, chosen again after the dashboard set another, has no part for the fee
    id_ = await subscription_id_of(room)
    sets_price(room, id_, 900)
    await room.runs_until_idle()
    page = await donor.opens(f"{own}/amount")
    page = await donor.follows_redirect(await donor.submits(page, f"{own}/amount", amount="10.61"))
    assert "You give $10.61 every month Status" in page.text


async def test_no_fee_is_added_in_a_currency_whose_fee_is_not_known(donor: Donor) -> None:
    gift = await donor.gives(500, "monthly", "gbp")
    await donor.signs_in()
    action = f"{account_page(gift)}/fee"
    assert action not in (await donor.opens(account_page(gift))).links.values()
    assert "can't be added" in (await donor.opens(action)).text
    sent = {"covers": "yes", "total": "546"}
    answer = await donor.web.post(action, data=sent, headers=SAME_ORIGIN_HEADERS)
    assert answer.status_code == 422
    assert subscription_requests(donor.room) == []
