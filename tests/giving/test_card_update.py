"""A donor replaces the card on Stripe's page."""

import pytest

from payments.risk import account_limit
from payments.sandbox.hosted_page_client import follow_cancel_link, pay
from tests.support.donor import (
    READER_EMAIL,
    SAME_ORIGIN_HEADERS,
    Donor,
    account_page,
    payment_fails,
    successful_charges,
)
from tests.support.newsroom import BASE_URL

pytestmark = pytest.mark.anyio


async def test_a_donor_replaces_the_card_on_stripes_page(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/card")
    assert "Nothing is charged now" in form_page.text
    sent = await donor.submits(form_page, f"{account_page(gift)}/card")
    assert sent.status_code == 303
    assert sent.headers["location"].startswith(donor.room.sandbox.url)
    paid = await pay(sent.headers["location"], card="5555555555554444", email=READER_EMAIL)
    assert paid.redirect_url == f"{BASE_URL}{account_page(gift)}?card=back"
    page = await donor.opens(paid.redirect_url)
    assert "If you entered a card, it will be in use in a moment" in page.text
    await donor.room.runs_until_idle()
    page = await donor.opens(page.links["Check again"])
    assert "Your new card is in use" in page.text
    assert "Card replaced by you" in page.text
    assert await successful_charges(donor.room) == [("2026-11-22", 500)]


async def test_a_donor_who_closes_stripes_page_sees_that_nothing_changed(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    sent = await donor.opens_and_submits(f"{account_page(gift)}/card")
    back = await follow_cancel_link(sent.headers["location"])
    assert back == f"{BASE_URL}{account_page(gift)}?card=back"
    page = await donor.opens(back)
    assert "If you closed its page, nothing has changed" in page.text
    await donor.room.runs_until_idle()
    assert "Card replaced" not in (await donor.opens(account_page(gift))).text


async def test_an_open_payment_is_made_once_with_the_new_card(donor: Donor) -> None:
    gift, link = await payment_fails(donor)
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    assert page.links["Replace the card"] == f"{account_page(gift)}/card"
    sent = await donor.opens_and_submits(f"{account_page(gift)}/card")
    await pay(sent.headers["location"], card="5555555555554444", email=READER_EMAIL)
    await donor.room.runs_until_idle()
    page = await donor.opens(account_page(gift))
    assert "Active" in page.text
    assert [amount for _, amount in await successful_charges(donor.room)] == [500, 500]
    assert "/fix/" in link


async def test_one_donor_does_not_keep_stripe_busy_for_all_others(donor: Donor) -> None:
    gift, link = await payment_fails(donor)
    second = await donor.gives(700)
    await donor.signs_in()
    ((donor_id,),) = await donor.room.rows("SELECT DISTINCT donor_id FROM contributions")
    for _ in range(account_limit.CAPACITY - 3):
        await account_limit.use(donor.room.ctx, str(donor_id))
    await donor.opens(f"{account_page(second)}/card")  # theirs count together
    card = await donor.opens(f"{account_page(gift)}/card")
    by_link = await donor.opens(link)
    sent = card.form(f"{account_page(gift)}/card").submission()
    for path in ("card", "amount", "frequency", "skip", "pause", "resume", "keep"):
        answer = await donor.web.post(
            f"{account_page(gift)}/{path}", data=sent, headers=SAME_ORIGIN_HEADERS
        )
        assert answer.status_code == 429, path
    assert "You can still cancel at any time" in answer.text
    assert answer.headers["retry-after"] == "60"
    assert (await donor.submits_without_session(by_link, link)).status_code == 429
    await donor.opens(link, 429)
    await donor.opens(f"{account_page(second)}/card", 429)
    await donor.room.advances_time(account_limit.REFILL_INTERVAL)
    await donor.opens(link)
    stopped = await donor.opens_and_submits(f"{account_page(gift)}/stop")
    assert stopped.status_code == 303
