"""A donor finds, changes and stops what they give: without a password, a script or a trace."""

import asyncio
import base64
import itertools
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.core.settings import Settings
from payments.donors import donors
from payments.giving import notices_due, subscription_changes, subscriptions
from payments.giving.change_log import Actor
from payments.giving.contributions import Contribution
from payments.mail import links
from payments.sandbox.hosted_page_client import follow_cancel_link, pay
from payments.web.app import create_app
from tests.support.donor import (
    READER_EMAIL,
    SAME_ORIGIN_HEADERS,
    Donor,
    link_in,
    open_donor_browser,
    well_formed_page,
)
from tests.support.newsroom import BASE_URL, Newsroom, forgeries, respellings

pytestmark = pytest.mark.anyio

MONTH = timedelta(days=31)


@pytest.fixture
async def donor(newsroom: Newsroom) -> AsyncIterator[Donor]:
    async with open_donor_browser(newsroom) as made:
        yield made


def page_of(gift: Contribution) -> str:
    return f"/manage/contributions/{gift.id}"


def asked_of(room: Newsroom, verb: str = "POST") -> list[str]:
    """The changes of subscriptions that Stripe was asked for."""
    return [
        seen.path
        for seen in room.sandbox.requests
        if seen.method == verb and seen.path.startswith("/v1/subscriptions/")
    ]


async def charged(room: Newsroom) -> list[tuple[object, ...]]:
    """When how much was taken, the first payments included."""
    return await room.rows(
        "SELECT to_char(charged_at, 'YYYY-MM-DD'), amount FROM charges"
        " WHERE status = 'succeeded' ORDER BY charged_at"
    )


async def until(room: Newsroom, months: int) -> None:
    """Months pass, and what was due in them has happened."""
    for _ in range(months):
        await room.advances_time(MONTH)
        await room.runs_until_idle()


# --- forms from elsewhere -------------------------------------------------------------------------


FROM_ELSEWHERE: tuple[dict[str, str], ...] = (
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "cross-site", "origin": "null"},
    {"sec-fetch-site": "same-site", "origin": BASE_URL},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "same-origin, cross-site"},
    {"origin": "https://evil.example"},
    {"origin": f"{BASE_URL}.evil.example"},
    {"origin": ""},
    {"origin": "null"},
    {},
)


async def test_a_form_from_elsewhere_changes_nothing(donor: Donor) -> None:
    gift = await donor.gives()
    await donor.signs_in()
    before = len(donor.room.sandbox.requests)
    changes = ("amount", "frequency", "skip", "pause", "resume", "card", "stop")
    actions = [f"{page_of(gift)}/{change}" for change in changes]
    actions += ["/manage", "/manage/leave", "/manage/data/erase"]
    for said, action in itertools.product(FROM_ELSEWHERE, actions):
        answer = await donor.web.post(action, data={"amount": "9"}, headers=said)
        assert answer.status_code == 403, (said, action)
        assert "Nothing was changed" in well_formed_page(answer).text
    assert len(donor.room.sandbox.requests) == before
    await donor.opens(page_of(gift))


async def test_a_form_that_cannot_be_read_changes_nothing(donor: Donor) -> None:
    gift = await donor.gives()
    await donor.signs_in()
    bodies = (
        (b"\xff\xfe=\x00", "application/x-www-form-urlencoded"),
        (b"amount=%ff%00&months=%ff&shown=%00", "application/x-www-form-urlencoded"),
        (b"amount=9&amount=8&intent=a&intent=b", "application/json"),
        (b"--x\r\n\r\n", "multipart/form-data"),
        (b"--x\r\ngarbage", "multipart/form-data; boundary=x"),
        (b"a" * 5000, "application/x-www-form-urlencoded"),
        (b"", ""),
    )
    asked = await donor.room.count("sign_in_links")
    actions = [f"{page_of(gift)}/{change}" for change in ("amount", "frequency", "skip", "pause")]
    for action, (body, kind) in itertools.product((*actions, "/manage"), bodies):
        headers = {**SAME_ORIGIN_HEADERS, "content-type": kind}
        answer = await donor.web.post(action, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (action, body[:20], answer.status_code)
    assert asked_of(donor.room) == []
    assert await donor.room.count("sign_in_links") == asked


async def test_a_browser_too_old_to_say_where_from_is_not_shut_out(donor: Donor) -> None:
    gift = await donor.gives()
    await donor.signs_in()
    headers = {"origin": BASE_URL}  # its Referrer-Policy is same-origin, so it is not "null"
    answer = await donor.web.post(page_of(gift) + "/resume", headers=headers)
    assert answer.status_code == 303


# --- the amount -----------------------------------------------------------------------------------


async def test_another_amount_counts_from_the_next_charge_on(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    asks = await donor.opens(f"{page_of(gift)}/amount")
    assert "the charge on 22 December 2026" in asks.text
    page = await donor.follows_redirect(
        await donor.submits(asks, f"{page_of(gift)}/amount", amount="7,50")
    )
    assert "The amount is changed" in page.text
    assert "$7.50 every month" in page.text
    assert "Amount changed by you 22 November 2026, 12:00 UTC" in page.text
    await donor.room.runs_until_idle()
    assert "$7.50" in donor.room.mails()[-1].part()
    await until(donor.room, 1)
    assert await charged(donor.room) == [("2026-11-22", 500), ("2026-12-22", 750)]


WRONG_AMOUNTS = {
    "1.99": "The smallest amount is 2.00 USD.",
    "0": "The smallest amount is 2.00 USD.",
    "10000.01": "The largest amount is 10000.00 USD.",
    "1.250": "Did you mean",
    "5.001": "multiple of 0.01 USD",
    "five": "in digits",
    "": "in digits",
    "-5": "in digits",
    "9" * 70: "in digits",
}


async def test_an_amount_that_cannot_be_is_said_so_beside_the_field(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    for typed, says in WRONG_AMOUNTS.items():
        answer = await donor.opens_and_submits(f"{page_of(gift)}/amount", amount=typed)
        page = well_formed_page(answer)
        assert answer.status_code == 422, typed
        assert says in page.text
        assert page.field("amount")["value"] == typed
        assert page.field("amount")["aria-invalid"] == "true"
        assert "Nothing was charged" in page.text
    assert asked_of(donor.room) == []


async def test_yen_have_no_coins_to_split(donor: Donor) -> None:
    gift = await donor.gives(500, "monthly", "jpy")
    await donor.signs_in()
    assert (
        await donor.opens_and_submits(f"{page_of(gift)}/amount", amount="700.50")
    ).status_code == 422
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{page_of(gift)}/amount", amount="700")
    )
    assert "¥700 every month" in page.text


async def test_the_same_amount_is_no_change(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{page_of(gift)}/amount", amount="5.00")
    )
    assert "is changed" not in page.text
    assert asked_of(donor.room) == []


# --- the frequency --------------------------------------------------------------------------------


async def test_from_monthly_to_annual_the_next_charge_keeps_its_day(donor: Donor) -> None:
    gift = await donor.gives(500, "monthly")
    await donor.signs_in()
    action = f"{page_of(gift)}/frequency"
    asks = await donor.opens(action)
    assert "Next charge $60.00 , 22 December 2026" in asks.text
    again = await donor.web.get(action, params=asks.form(action, "get").submission(amount="50"))
    assert "Next charge $50.00 , 22 December 2026" in well_formed_page(again).text
    page = await donor.follows_redirect(await donor.submits(well_formed_page(again), action))
    assert "The frequency is changed" in page.text
    assert "$50.00 every year" in page.text
    assert "Next charge 22 December 2026" in page.text
    await until(donor.room, 14)
    assert await charged(donor.room) == [
        ("2026-11-22", 500), ("2026-12-22", 5000), ("2027-12-22", 5000)
    ]  # fmt: skip
    assert await donor.room.rows(
        "SELECT credit, sum(amount) FROM ledger_entries WHERE credit LIKE 'income:%' GROUP BY 1"
        " ORDER BY 1"
    ) == [("income:annual", 10000), ("income:monthly", 500)]


async def test_from_annual_to_monthly_nothing_is_taken_before_the_year_is_over(
    donor: Donor,
) -> None:
    gift = await donor.gives(6000, "annual")
    await donor.signs_in()
    action = f"{page_of(gift)}/frequency"
    asks = await donor.opens(action)
    assert "Next charge $5.00 , 22 November 2027" in asks.text
    await donor.follows_redirect(await donor.submits(asks, action))
    await until(donor.room, 13)
    assert await charged(donor.room) == [
        ("2026-11-22", 6000), ("2027-11-22", 500), ("2027-12-22", 500)
    ]  # fmt: skip


async def test_a_frequency_with_too_small_an_amount_shows_what_to_mend(donor: Donor) -> None:
    gift = await donor.gives(500, "monthly")
    await donor.signs_in()
    action = f"{page_of(gift)}/frequency"
    for amount in ("1.99", "x", "1.250"):
        answer = await donor.web.get(action, params={"amount": amount})
        page = well_formed_page(answer)
        assert answer.status_code == 422
        assert page.field("amount")["aria-invalid"] == "true"
        assert [form for form in page.forms if (form.action, form.method) == (action, "post")] == []
    sent = {"frequency": "once", "amount": "60", "shown": "2026-12-22"}
    for frequency in ("once", "weekly", ""):
        answer = await donor.web.post(
            action, data={**sent, "frequency": frequency}, headers=SAME_ORIGIN_HEADERS
        )
        assert answer.status_code == 422
    assert asked_of(donor.room) == []


# --- skipping and pausing -------------------------------------------------------------------------


async def test_a_skipped_charge_is_left_out_and_the_one_after_is_made(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    asks = await donor.opens(f"{page_of(gift)}/skip")
    assert "Not charged 22 December 2026 Next charge $5.00 , 22 January 2027" in asks.text
    page = await donor.follows_redirect(await donor.submits(asks, f"{page_of(gift)}/skip"))
    assert "The next charge is skipped" in page.text
    assert "Next charge 22 January 2027" in page.text
    await until(donor.room, 3)
    assert await charged(donor.room) == [("2026-11-22", 500), ("2027-01-22", 500),
                                         ("2027-02-22", 500)]  # fmt: skip


async def test_a_pause_leaves_out_as_many_charges_as_it_has_months(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    asks = await donor.opens(f"{page_of(gift)}/pause")
    assert "2 months (22 February 2027)" in asks.text
    page = await donor.follows_redirect(
        await donor.submits(asks, f"{page_of(gift)}/pause", months="2")
    )
    assert "Your contribution is paused" in page.text
    assert "Next charge 22 February 2027" in page.text
    await until(donor.room, 4)
    assert await charged(donor.room) == [("2026-11-22", 500), ("2027-02-22", 500),
                                         ("2027-03-22", 500)]  # fmt: skip


async def test_a_pause_on_the_last_day_of_january_leaves_out_february(donor: Donor) -> None:
    await donor.room.advances_time(timedelta(days=70))  # 31 January
    gift = await donor.gives(500)
    await donor.signs_in()
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{page_of(gift)}/pause", months="1")
    )
    assert "Paused for now" in page.text
    await until(donor.room, 2)
    assert await charged(donor.room) == [("2027-01-31", 500), ("2027-03-31", 500)]


async def test_a_pause_without_an_end_lasts_until_it_is_resumed(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{page_of(gift)}/pause", months="open")
    )
    assert "Paused until you resume it" in page.text
    assert "None is planned" in page.text
    await until(donor.room, 3)
    await donor.signs_in()
    asks = await donor.opens(f"{page_of(gift)}/resume")
    assert "Next charge $5.00 , 22 March 2027" in asks.text
    page = await donor.follows_redirect(await donor.submits(asks, f"{page_of(gift)}/resume"))
    assert "Your contribution goes on" in page.text
    await until(donor.room, 1)
    assert await charged(donor.room) == [("2026-11-22", 500), ("2027-03-22", 500)]


async def test_an_annual_gift_pauses_for_a_year_and_is_not_offered_less(donor: Donor) -> None:
    gift = await donor.gives(5000, "annual")
    await donor.signs_in()
    asks = await donor.opens(f"{page_of(gift)}/pause")
    (months,) = [f for f in asks.form(f"{page_of(gift)}/pause").fields if f.name == "months"]
    assert [value for value, _ in months.options] == ["12", "open"]
    page = await donor.follows_redirect(
        await donor.submits(asks, f"{page_of(gift)}/pause", months="12")
    )
    assert "Next charge 22 November 2028" in page.text


async def test_a_pause_has_one_to_twelve_months(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    for months in ("0", "13", "-1", "1.5", "", "forever", "99", "٣"):
        answer = await donor.opens_and_submits(f"{page_of(gift)}/pause", months=months)
        assert answer.status_code == 422, months
        assert "aria-invalid" in well_formed_page(answer).field("months")
    assert asked_of(donor.room) == []


@pytest.mark.parametrize("change", ["skip", "pause", "frequency"])
async def test_a_page_whose_dates_have_moved_is_shown_again(donor: Donor, change: str) -> None:
    await donor.gives(500)
    await donor.room.advances_time(timedelta(days=29, hours=23, minutes=50))
    gift = await donor.gives(700)
    older = (await donor.room.rows("SELECT id FROM contributions WHERE id <> :id", id=gift.id))[0][
        0
    ]
    await donor.signs_in()
    action = f"/manage/contributions/{older}/{change}"
    asks = await donor.opens(action)
    await donor.room.advances_time(timedelta(minutes=15))
    await donor.room.runs_until_idle()
    answer = await donor.submits(asks, action)
    assert answer.status_code == 422
    assert "its dates have moved" in well_formed_page(answer).text
    assert asked_of(donor.room) == []
    assert (await donor.submits(well_formed_page(answer), action)).status_code == 303


# --- twice, in two tabs, at the same time ---------------------------------------------------------

CHANGES = {
    "amount": {"amount": "9"},
    "frequency": {},
    "skip": {},
    "pause": {"months": "3"},
    "stop": {},
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_form_sent_twice_is_one_change(donor: Donor, change: str) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    action = f"{page_of(gift)}/{change}"
    asks = await donor.opens(action)
    for _ in range(2):
        page = await donor.follows_redirect(await donor.submits(asks, action, **CHANGES[change]))
    assert len(asked_of(donor.room, "DELETE" if change == "stop" else "POST")) == 1
    await donor.room.runs_until_idle()
    assert await donor.room.count("subscription_changes") == 1
    assert page.text.count("by you") == 1
    assert await donor.room.rows("SELECT count(*) FROM outbox_mails WHERE kind <> 'sign_in'") == [
        (1,)
    ]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_form_sent_twice_at_once_is_one_change(donor: Donor, change: str) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    action = f"{page_of(gift)}/{change}"
    asks = await donor.opens(action)
    answers = await asyncio.gather(
        *(donor.submits(asks, action, **CHANGES[change]) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} == {303}
    await donor.room.runs_until_idle()
    mails = await donor.room.rows("SELECT count(*) FROM outbox_mails WHERE kind <> 'sign_in'")
    assert mails == [(1,)]
    page = await donor.opens(page_of(gift))
    assert page.text.count("by you") == 1


async def test_two_tabs_with_two_amounts_make_two_changes_and_the_later_stands(
    donor: Donor,
) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    action = f"{page_of(gift)}/amount"
    one, other = [await donor.opens(action) for _ in range(2)]
    await donor.follows_redirect(await donor.submits(one, action, amount="7"))
    page = await donor.follows_redirect(await donor.submits(other, action, amount="9"))
    assert "$9.00 every month" in page.text
    assert page.text.count("Amount changed by you") == 2
    # and the first tab's form, changed and sent again, is another change
    page = await donor.follows_redirect(await donor.submits(one, action, amount="8"))
    assert "$8.00 every month" in page.text


async def test_the_same_charge_is_not_skipped_twice_from_two_tabs(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    action = f"{page_of(gift)}/skip"
    one, other = [await donor.opens(action) for _ in range(2)]
    await donor.follows_redirect(await donor.submits(one, action))
    answer = await donor.submits(other, action)
    assert answer.status_code == 422
    assert "It is paused already" in well_formed_page(answer).text
    assert len(asked_of(donor.room)) == 1


async def test_after_a_stop_the_other_tab_changes_nothing(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    forms = {name: await donor.opens(f"{page_of(gift)}/{name}") for name in (*CHANGES, "card")}
    await donor.follows_redirect(await donor.submits(forms.pop("stop"), f"{page_of(gift)}/stop"))
    for name, form in forms.items():
        answer = await donor.submits(form, f"{page_of(gift)}/{name}", **CHANGES.get(name, {}))
        assert answer.status_code == 409, name
        assert "Nothing more is charged" in well_formed_page(answer).text
        await donor.opens(f"{page_of(gift)}/{name}", status=409)
    assert asked_of(donor.room) == []


async def test_a_change_that_does_not_reach_stripe_says_so(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    action = f"{page_of(gift)}/amount"
    asks = await donor.opens(action)
    donor.room.sandbox.faults.add("POST", "/v1/subscriptions/", "status_500", remaining=3)
    answer = await donor.submits(asks, action, amount="9")
    assert answer.status_code == 503
    assert "Nothing was charged" in well_formed_page(answer).text
    page = await donor.follows_redirect(await donor.submits(asks, action, amount="9"))
    assert "$9.00 every month" in page.text
    assert page.text.count("Amount changed by you") == 1


async def test_a_change_whose_answer_is_lost_is_made_once(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    action = f"{page_of(gift)}/pause"
    asks = await donor.opens(action)
    donor.room.sandbox.faults.add("POST", "/v1/subscriptions/", "drop_after", remaining=3)
    assert (await donor.submits(asks, action, months="2")).status_code == 503
    page = await donor.follows_redirect(await donor.submits(asks, action, months="2"))
    await donor.room.runs_until_idle()
    assert page.text.count("Paused by you") == 1


async def test_while_a_payment_is_open_the_frequency_stays(donor: Donor) -> None:
    gift = await donor.gives(500)
    async with donor.room.ctx.sessions() as session:
        subscription = await subscriptions.get_for_contribution(session, gift.id)
    assert subscription is not None
    method = subscription.stripe_payment_method_id
    assert method is not None
    donor.room.sandbox.fail_card(method, "insufficient_funds")
    await until(donor.room, 1)
    await donor.signs_in()
    page = await donor.opens(page_of(gift))
    assert "The last payment did not go through" in page.text
    asks = await donor.opens(f"{page_of(gift)}/frequency")
    assert "Please replace the card first" in asks.text
    with pytest.raises(InvalidField, match="replace the card"):
        await subscription_changes.change_frequency(
            donor.room.ctx, subscription.stripe_subscription_id, Frequency.ANNUAL,
            Money(6000, "usd"), actor=Actor.DONOR,
        )  # fmt: skip
    donor.room.sandbox.restore_card(method)
    await until(donor.room, 1)


# --- stopping -------------------------------------------------------------------------------------


async def test_a_contribution_is_stopped_by_two_clicks_and_it_is_acknowledged(
    donor: Donor,
) -> None:
    gift = await donor.gives(500)
    page = await donor.signs_in()
    page = await donor.opens(page_of(gift))
    asks = await donor.opens(page.links["Stop this contribution"])
    assert [form.method for form in asks.forms] == ["post", "post"]  # this one, and signing out
    page = await donor.follows_redirect(await donor.submits(asks, f"{page_of(gift)}/stop"))
    assert "This contribution is stopped" in page.text
    assert "Since 22 November 2026, 12:00 UTC. Nothing more will be charged." in page.text
    assert "Stop this contribution" not in page.links
    await donor.room.runs_until_idle()
    assert sum("stop" in mail.part().casefold() for mail in donor.room.mails()[1:]) == 1
    await until(donor.room, 3)
    assert await charged(donor.room) == [("2026-11-22", 500)]


async def test_stopping_offers_less_but_not_in_the_way(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    asks = await donor.opens(f"{page_of(gift)}/stop")
    button = asks.text.index("Stop it now")
    for instead in ("skip the next charge", "pause for a while", "give another amount"):
        assert asks.text.index(instead) > button
        await donor.opens(asks.links[instead])


STEPS = ("period", "charge", "stop", "word")
ORDERS = [
    order
    for order in itertools.permutations(STEPS)
    if order.index("period") < order.index("charge")
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
async def test_a_stop_and_a_renewal_in_the_same_moment(
    donor: Donor, order: tuple[str, ...]
) -> None:
    """Stripe begins the period, Stripe charges for it, the donor stops, Stripe's word arrives."""
    gift = await donor.gives(500)
    await donor.room.advances_time(timedelta(days=29, hours=23, minutes=59, seconds=59))
    await donor.signs_in()
    asks = await donor.opens(f"{page_of(gift)}/stop")

    async def stop() -> None:
        page = await donor.follows_redirect(await donor.submits(asks, f"{page_of(gift)}/stop"))
        assert "Nothing more will be charged" in page.text

    async def period() -> None:
        await donor.room.advances_time(timedelta(seconds=2))

    async def charge() -> None:
        await donor.room.advances_time(timedelta(minutes=70))
        await donor.room.sandbox.advance_to_captures()
        await donor.signs_in()

    steps = {"period": period, "charge": charge, "stop": stop, "word": donor.room.runs_until_idle}
    for step in order:
        await steps[step]()
    await donor.room.runs_until_idle()
    was_charged = order.index("charge") < order.index("stop")
    assert len(await charged(donor.room)) == 1 + was_charged
    assert await donor.room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    await donor.signs_in()
    page = await donor.opens(page_of(gift))
    assert ("One last payment of $5.00" in page.text) is was_charged
    await until(donor.room, 2)
    assert len(await charged(donor.room)) == 1 + was_charged
    assert await donor.room.rows("SELECT kind FROM alerts") == []


# --- another card ---------------------------------------------------------------------------------


async def test_a_donor_replaces_the_card_on_stripes_page(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    asks = await donor.opens(f"{page_of(gift)}/card")
    assert "Nothing is charged now" in asks.text
    sent = await donor.submits(asks, f"{page_of(gift)}/card")
    assert sent.status_code == 303
    assert sent.headers["location"].startswith(donor.room.sandbox.url)
    paid = await pay(sent.headers["location"], card="5555555555554444", email=READER_EMAIL)
    assert paid.redirect_url == f"{BASE_URL}{page_of(gift)}?card=back"
    page = await donor.opens(paid.redirect_url)
    assert "If you entered a card, it will be in use in a moment" in page.text
    await donor.room.runs_until_idle()
    page = await donor.opens(page.links["Check again"])
    assert "Your new card is in use" in page.text
    assert "Card replaced by you" in page.text
    assert await charged(donor.room) == [("2026-11-22", 500)]


async def test_a_donor_who_closes_stripes_page_sees_that_nothing_changed(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    sent = await donor.opens_and_submits(f"{page_of(gift)}/card")
    back = await follow_cancel_link(sent.headers["location"])
    assert back == f"{BASE_URL}{page_of(gift)}?card=back"
    page = await donor.opens(back)
    assert "If you closed its page, nothing has changed" in page.text
    await donor.room.runs_until_idle()
    assert "Card replaced" not in (await donor.opens(page_of(gift))).text


async def test_an_open_payment_is_made_once_with_the_new_card(donor: Donor) -> None:
    gift, link = await behind(donor)
    await donor.signs_in()
    page = await donor.opens(page_of(gift))
    assert page.links["Replace the card"] == f"{page_of(gift)}/card"
    sent = await donor.opens_and_submits(f"{page_of(gift)}/card")
    await pay(sent.headers["location"], card="5555555555554444", email=READER_EMAIL)
    await donor.room.runs_until_idle()
    page = await donor.opens(page_of(gift))
    assert "Active" in page.text
    assert [amount for _, amount in await charged(donor.room)] == [500, 500]
    assert "/fix/" in link


async def behind(donor: Donor) -> tuple[Contribution, str]:
    """A promise whose last payment failed, and the link of the mail that says so."""
    gift = await donor.gives(500)
    (method,) = (await donor.room.rows("SELECT stripe_payment_method_id FROM subscriptions"))[0]
    donor.room.sandbox.fail_card(str(method), "insufficient_funds")
    await until(donor.room, 1)
    return gift, link_in(donor.room.mails()[-1], "/fix/")


# --- the links of mails ---------------------------------------------------------------------------


async def stop_link(donor: Donor) -> str:
    ((contribution_id,),) = await donor.room.rows("SELECT contribution_id FROM subscriptions")
    made = links.cancel_link(donor.room.ctx, str(contribution_id))
    return made.removeprefix(BASE_URL)


async def test_the_stop_link_of_a_mail_stops_without_signing_in(donor: Donor) -> None:
    await donor.gives(500)
    link = await stop_link(donor)
    for _ in range(3):
        asks = await donor.opens(link)
        assert "You give $5.00 every month" in asks.text
    assert asked_of(donor.room, "DELETE") == []
    page = await donor.follows_redirect(await donor.submits_without_session(asks, link))
    assert "This contribution is stopped" in page.text
    assert "Since 22 November 2026, 12:00 UTC" in page.text
    again = await donor.follows_redirect(await donor.submits_without_session(asks, link))
    assert again.text == page.text
    assert len(asked_of(donor.room, "DELETE")) == 1
    await donor.opens("/manage/contributions", status=401)
    assert await donor.room.rows("SELECT kind, actor FROM subscription_changes") == [
        ("cancelled", "link")
    ]


async def test_the_fix_link_of_a_mail_replaces_the_card_without_signing_in(donor: Donor) -> None:
    _, link = await behind(donor)
    asks = await donor.opens(link)
    assert "The last payment did not go through" in asks.text
    sent = await donor.submits_without_session(asks, link)
    assert sent.status_code == 303
    paid = await pay(sent.headers["location"], card="5555555555554444", email=READER_EMAIL)
    assert paid.redirect_url == f"{BASE_URL}{link}?card=back"
    assert "in use in a moment" in (await donor.opens(paid.redirect_url)).text
    await donor.room.runs_until_idle()
    page = await donor.opens(paid.redirect_url)
    assert "Your new card is in use" in page.text
    assert [amount for _, amount in await charged(donor.room)] == [500, 500]
    await donor.opens("/manage/contributions", status=401)


async def test_a_link_opens_what_it_was_made_for_and_for_as_long(donor: Donor) -> None:
    gift = await donor.gives(500)
    stop = links.cancel_link(donor.room.ctx, gift.id).removeprefix(BASE_URL)
    fix = links.card_update_link(donor.room.ctx, gift.id).removeprefix(BASE_URL)
    nobodys = links.cancel_link(donor.room.ctx, "0" * 32).removeprefix(BASE_URL)
    wrong = [stop.replace("/stop/", "/fix/"), fix.replace("/fix/", "/stop/"), nobodys]
    wrong += [
        *forgeries(stop),
        *respellings(fix),
        "/stop/x",
        "/fix/x",
        "/stop/%00",
        "/fix/" + "9" * 3000,
    ]
    answers = [await donor.web.get(link) for link in wrong]
    answers += [await donor.web.post(link) for link in wrong]
    assert {answer.status_code for answer in answers} == {410}
    # a page that was asked for offers other languages, and one that answers a form does not
    assert len({(answer.request.method, answer.text) for answer in answers}) == 2
    assert well_formed_page(answers[0]).links["Ask for a new link"] == "/manage"
    donor.room.clock.advance(timedelta(days=14, seconds=1))
    assert (await donor.web.get(fix)).status_code == 410
    assert (await donor.web.get(stop)).status_code == 200
    donor.room.clock.advance(timedelta(days=16))
    assert (await donor.web.post(stop)).status_code == 410
    assert asked_of(donor.room, "DELETE") == []


async def test_links_to_a_subscription_that_has_ended_say_so(donor: Donor) -> None:
    gift = await donor.gives(500)
    stop = await stop_link(donor)
    (subscription_id,) = (
        await donor.room.rows("SELECT stripe_subscription_id FROM subscriptions")
    )[0]
    fix = links.card_update_link(donor.room.ctx, gift.id).removeprefix(BASE_URL)
    await donor.room.advances_time(timedelta(days=2))
    asks = await donor.opens(fix)
    await subscription_changes.cancel(donor.room.ctx, str(subscription_id), actor=Actor.STAFF)
    assert "is stopped" in (await donor.opens(stop)).text
    assert "This contribution has ended" in (await donor.opens(fix)).text
    answer = await donor.submits_without_session(asks, fix)
    assert answer.status_code == 409
    assert "Nothing more is charged" in well_formed_page(answer).text


# --- receipts -------------------------------------------------------------------------------------


async def test_each_payment_has_a_receipt_with_a_line_for_the_name(donor: Donor) -> None:
    await donor.gives(500)
    await donor.gives(2500, "once", "eur")
    await until(donor.room, 1)
    await donor.signs_in()
    page = await donor.opens("/manage/payments")
    every = re.findall(r'"(/manage/receipts/[0-9a-f]{16})"', page.html)
    assert len(set(every)) == 3
    texts = [(await donor.opens(link)).text for link in every]
    for says in ("$5.00 (USD) On 22 December 2026 Contribution Monthly Reference",
                 "€25.00 (EUR) On 22 November 2026 Contribution Once Reference"):  # fmt: skip
        assert sum(says in text for text in texts) == 1
    for text, link in zip(texts, every, strict=True):
        assert "Received by The Example" in text
        assert "Name to be filled in by hand" in text
        reference = link.rpartition("/")[2].upper()
        assert " ".join(re.findall("....", reference)) in text


async def test_a_year_ends_where_finance_ends_it(newsroom: Newsroom) -> None:
    settings = newsroom.settings
    values = {**settings.model_dump(), "accounting_zone": "Europe/Amsterdam"}
    app = create_app(Settings.model_validate(values), now=newsroom.clock)
    newsroom.clock.advance(timedelta(days=39, hours=11, minutes=30))  # 31 December, 23:30 UTC
    async with open_donor_browser(newsroom) as donor:
        await donor.gives(500, "once")
        await donor.signs_in()
        assert "$5.00" in (await donor.opens("/manage/statements/2026")).text
        async with app.lifespan():
            transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # litestar's ASGI
            async with httpx.AsyncClient(
                transport=transport, base_url=BASE_URL, cookies=donor.web.cookies
            ) as web:
                abroad = Donor(newsroom, web)
                await abroad.opens("/manage/statements/2026", status=404)
                page = await abroad.opens("/manage/statements/2027")
    assert "1 January 2027" in page.text
    assert "Days are counted in Europe/Amsterdam" in page.text


async def test_a_statement_adds_each_currency_by_itself(donor: Donor) -> None:
    await donor.gives(500)
    await donor.gives(2500, "once", "eur")
    await donor.gives(1000, "once")
    await donor.signs_in()
    page = await donor.opens("/manage/statements/2026")
    assert ["Total (USD)", "$15.00"] in page.cells
    assert ["Total (EUR)", "€25.00"] in page.cells
    assert "Name to be filled in by hand" in page.text
    for year in ("2025", "1999", "20266", "x", "-2026"):
        await donor.opens(f"/manage/statements/{year}", status=404)


# --- what is held, and erased ---------------------------------------------------------------------


async def test_a_donor_downloads_all_that_is_held(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    await donor.follows_redirect(await donor.opens_and_submits(f"{page_of(gift)}/skip"))
    page = await donor.opens("/manage/data")
    answer = await donor.web.get(page.links["Download all we hold"])
    assert answer.headers["content-disposition"] == 'attachment; filename="data.json"'
    assert answer.headers["cache-control"] == "no-store"
    held = json.loads(answer.text)
    assert [one["id"] for one in held["contributions"]] == [gift.id]
    assert [one["kind"] for one in held["standing"][0]["history"]] == ["skipped"]
    assert [one["amount"] for one in held["payments"]] == [500]
    assert READER_EMAIL not in answer.text


async def test_erasing_stops_forgets_and_leaves_the_books(donor: Donor) -> None:
    room = donor.room
    gift = await donor.gives(500)
    await donor.gives(2500, "once")
    books = await room.rows("SELECT * FROM ledger_entries ORDER BY seq")
    await donor.signs_in()
    cookie = donor.web.cookies["donor"]
    page = await donor.opens("/manage/data/erase")
    assert "$5.00 every month" in page.text
    assert "write to Stripe for that" in page.text
    answer = await donor.submits(page, "/manage/data/erase")
    assert "On 22 November 2026, 12:00 UTC" in well_formed_page(answer).text
    assert "donor" not in donor.web.cookies
    for table in ("donors", "donor_customers", "donor_sessions", "sign_in_links"):
        assert await room.count(table) == 0, table
    assert await room.rows("SELECT count(*) FROM contributions WHERE donor_id IS NOT NULL") == [
        (0,)
    ]
    donor.web.cookies.set("donor", cookie, domain="127.0.0.1")
    await donor.opens("/manage/contributions", status=401)
    mails = len(room.mails())
    await room.runs_until_idle()
    await until(room, 2)
    await room.runs_sweeps()
    await room.runs_until_idle()
    assert len(room.mails()) == mails
    assert await room.count("donors") == 0
    assert (await room.rows("SELECT * FROM ledger_entries ORDER BY seq"))[: len(books)] == books
    assert len(await charged(room)) == 2
    assert (await room.contribution(gift.id)).amount == 500


async def test_a_donor_who_was_erased_may_give_again(donor: Donor) -> None:
    await donor.gives(500)
    await donor.signs_in()
    await donor.opens_and_submits("/manage/data/erase")
    await donor.opens_and_submits("/manage", address=READER_EMAIL)
    await donor.room.runs_due_jobs()
    assert len(donor.room.mails()) == 1
    await donor.gives(700)
    page = await donor.signs_in()
    assert "$7.00 every month" in page.text
    assert "$5.00" not in page.text


async def test_what_cannot_be_stopped_is_not_erased(donor: Donor) -> None:
    await donor.gives(500)
    await donor.signs_in()
    asks = await donor.opens("/manage/data/erase")
    donor.room.sandbox.faults.add("DELETE", "/v1/subscriptions/", "status_500", remaining=3)
    assert (await donor.submits(asks, "/manage/data/erase")).status_code == 503
    assert "$5.00 every month Being stopped" in (await donor.opens("/manage/contributions")).text
    assert await donor.room.count("donors") == 1
    assert (await donor.submits(asks, "/manage/data/erase")).status_code == 200
    assert await donor.room.count("donors") == 0


# --- what the pages never show --------------------------------------------------------------------


async def test_no_page_shows_a_person_a_card_or_an_id_of_stripe(donor: Donor) -> None:
    gift = await donor.gives(500)
    await until(donor.room, 1)
    await donor.signs_in()
    wanted, seen = ["/manage/contributions"], {}
    while wanted:
        address = wanted.pop()
        answer = await donor.web.get(address)
        assert answer.status_code == 200, address
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        seen[address] = answer.text
        page = well_formed_page(answer)
        for link in page.links.values():
            if link.startswith("/manage/") and link not in seen and link not in wanted:
                wanted.append(link)
    assert len(seen) >= 14
    assert f"{page_of(gift)}/stop" in seen
    for address, text in seen.items():
        assert not re.search(r"(sub|cus|ch|pm|pi|in|cs|py|price)_\w{8,}", address + text), address
        for secret in (READER_EMAIL, r"(?<![0-9a-f])4242(?![0-9a-f])", "A Reader", "visa"):
            assert not re.search(secret, text, re.IGNORECASE), (address, secret)
        title = re.search("<title>(.*)</title>", text)
        assert title is not None
        assert donor.room.settings.publication_name not in title[1]
        assert "<script" not in text
        assert 'style="' not in text


async def test_the_donors_pages_keep_their_styles_out_of_the_form(newsroom: Newsroom) -> None:
    styles = await newsroom.web.get("/static/account.css")
    assert styles.status_code == 200
    assert "account.css" not in (await newsroom.web.get("/donate")).text
    assert "account.css" in (await newsroom.web.get("/manage")).text


# --- a last day that was set elsewhere, and a stop that Stripe has not heard of -------------------


async def subscription_of(donor: Donor) -> str:
    ((id_,),) = await donor.room.rows("SELECT stripe_subscription_id FROM subscriptions")
    return str(id_)


@pytest.mark.parametrize("how", ["cancel_at_period_end", "cancel_at"])
async def test_an_end_set_in_the_dashboard_is_shown_and_can_be_taken_back(
    donor: Donor, how: str
) -> None:
    gift = await donor.gives(500)
    id_, stripe = await subscription_of(donor), donor.room.ctx.stripe.v1
    period_end = 1797940800  # 22 December 2026, 12:00 UTC
    value = {"cancel_at_period_end": True} if how == "cancel_at_period_end" else {
        "cancel_at": period_end, "proration_behavior": "none"
    }  # fmt: skip
    await stripe.subscriptions.update_async(id_, value)  # type: ignore[arg-type]  # either
    await donor.room.runs_until_idle()
    page = await donor.signs_in()
    assert "Ends on 22 December 2026" in page.text
    assert "next charge" not in page.text
    page = await donor.opens(page_of(gift))
    assert "This contribution ends on 22 December 2026" in page.text
    assert "Next charge None is planned" in page.text
    assert "Set to end as our payment provider told us" in page.text
    assert "Skip the next charge" not in page.links
    asks = await donor.opens(page.links["Keep giving"])
    assert "Next charge $5.00 , 22 December 2026" in asks.text
    for _ in range(2):
        page = await donor.follows_redirect(await donor.submits(asks, f"{page_of(gift)}/keep"))
    assert "Your contribution goes on" in page.text
    assert "Next charge 22 December 2026" in page.text
    assert page.text.count("Set to go on by you") == 1
    await until(donor.room, 2)
    assert len(await charged(donor.room)) == 3


async def test_an_end_that_is_not_taken_back_ends_it_and_nothing_more_is_charged(
    donor: Donor,
) -> None:
    gift = await donor.gives(500)
    id_ = await subscription_of(donor)
    await donor.room.ctx.stripe.v1.subscriptions.update_async(id_, {"cancel_at_period_end": True})
    await donor.room.runs_until_idle()
    await donor.signs_in()
    for change in ("amount", "frequency", "skip", "pause"):
        answer = await donor.opens_and_submits(f"{page_of(gift)}/{change}", **CHANGES[change])
        assert answer.status_code == 422, change
        assert "set to end" in well_formed_page(answer).text
    await until(donor.room, 2)
    await donor.signs_in()
    page = await donor.opens(page_of(gift))
    assert "This contribution is stopped" in page.text
    assert await charged(donor.room) == [("2026-11-22", 500)]
    answer = await donor.web.post(f"{page_of(gift)}/keep", headers=SAME_ORIGIN_HEADERS)
    assert answer.status_code == 409
    kinds = await donor.room.rows(
        "SELECT kind FROM outbox_mails WHERE kind <> 'sign_in' ORDER BY 1"
    )
    assert kinds == [("cancelled",), ("end_scheduled",)]


async def test_what_is_set_to_end_can_be_stopped_at_once(donor: Donor) -> None:
    gift = await donor.gives(500)
    id_ = await subscription_of(donor)
    await donor.room.ctx.stripe.v1.subscriptions.update_async(id_, {"cancel_at_period_end": True})
    await donor.room.runs_until_idle()
    await donor.signs_in()
    page = await donor.follows_redirect(await donor.opens_and_submits(f"{page_of(gift)}/stop"))
    assert "This contribution is stopped" in page.text


async def test_a_cancellation_that_does_not_reach_stripe_is_stored_and_performed(
    donor: Donor,
) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    asks = await donor.opens(f"{page_of(gift)}/stop")
    donor.room.sandbox.faults.add("DELETE", "/v1/subscriptions/", "status_500", remaining=9)
    page = await donor.follows_redirect(await donor.submits(asks, f"{page_of(gift)}/stop"))
    assert "We have your decision to stop" in page.text
    assert "we cannot rule out one more payment" in page.text
    assert "Nothing more will be charged" not in page.text
    assert "Change the amount" not in page.links
    assert "Being stopped" in (await donor.opens("/manage/contributions")).text
    again = await donor.follows_redirect(await donor.submits(asks, f"{page_of(gift)}/stop"))
    assert "We have your decision to stop" in again.text
    for change in ("amount", "pause", "keep"):
        answer = await donor.web.post(
            f"{page_of(gift)}/{change}", headers=SAME_ORIGIN_HEADERS,
            data={"amount": "9", "months": "1", "shown": "2026-12-22"},
        )  # fmt: skip
        assert answer.status_code == 409, change
    await donor.room.runs_due_jobs()
    assert await donor.room.rows("SELECT status FROM subscriptions") == [("active",)]
    donor.room.sandbox.faults.clear()
    donor.room.clock.advance(timedelta(days=2))  # and Stripe was away for long
    assert await subscription_changes.resume_cancellations(donor.room.ctx) == 1
    await donor.room.runs_due_jobs()
    await donor.room.runs_until_idle()
    assert await subscription_changes.resume_cancellations(donor.room.ctx) == 0
    await donor.signs_in()
    page = await donor.opens(page_of(gift))
    assert "This contribution is stopped" in page.text
    assert page.text.count("Stopped by you") == 1
    kinds = await donor.room.rows("SELECT kind FROM outbox_mails WHERE kind <> 'sign_in'")
    assert kinds == [("cancelled",)]
    await until(donor.room, 2)
    assert await charged(donor.room) == [("2026-11-22", 500)]


async def test_a_stop_whose_answer_is_lost_is_one_stop(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    donor.room.sandbox.faults.add("DELETE", "/v1/subscriptions/", "drop_after", remaining=3)
    page = await donor.follows_redirect(await donor.opens_and_submits(f"{page_of(gift)}/stop"))
    assert "stop" in page.text
    await donor.room.runs_due_jobs()
    await donor.room.runs_until_idle()
    page = await donor.opens(page_of(gift))
    assert page.text.count("Stopped by you") == 1
    assert await donor.room.rows("SELECT count(*) FROM outbox_mails WHERE kind = 'cancelled'") == [
        (1,)
    ]


async def test_by_a_mails_link_a_cancellation_is_stored_too_and_nothing_else_is_mailed(
    donor: Donor,
) -> None:
    await donor.gives(5000, "annual")
    link = await stop_link(donor)
    asks = await donor.opens(link)
    donor.room.sandbox.faults.add("DELETE", "/v1/subscriptions/", "status_500", remaining=9)
    page = await donor.follows_redirect(await donor.submits_without_session(asks, link))
    assert "We have your decision to stop" in page.text
    await donor.room.advances_time(timedelta(days=355))
    await notices_due.notify_upcoming_renewals(donor.room.ctx)
    await donor.room.runs_due_jobs()
    assert donor.room.mails() == []
    donor.room.sandbox.faults.clear()
    await subscription_changes.resume_cancellations(donor.room.ctx)
    await donor.room.runs_until_idle()
    assert [mail.subject for mail in donor.room.mails()] == ["Your annual payment has stopped"]
    assert await donor.room.rows("SELECT kind, actor FROM subscription_changes") == [
        ("cancelled", "link")
    ]


async def test_the_links_of_mails_hold_no_id_of_stripe(donor: Donor) -> None:
    gift = await donor.gives(500)
    for link in (
        links.cancel_link(donor.room.ctx, gift.id),
        links.card_update_link(donor.room.ctx, gift.id),
    ):
        signed = link.rpartition("/")[2]
        opened = base64.urlsafe_b64decode(signed.partition(".")[0].strip(".") + "==")
        assert gift.id.encode() in opened
        assert b"sub_" not in opened


# --- the days of charges --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "months", "says"),
    [
        (70, "1", "Next charge 31 March 2027"),  # begun on 31 January, next due on 28 February
        (70, "2", "Next charge 30 April 2027"),
        (68, "1", "Next charge 29 March 2027"),  # begun on 29 January
    ],
)
async def test_after_a_pause_a_subscription_of_the_31st_is_charged_on_its_own_day(
    donor: Donor, days: int, months: str, says: str
) -> None:
    await donor.room.advances_time(timedelta(days=days))
    gift = await donor.gives(500)
    await donor.signs_in()
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{page_of(gift)}/pause", months=months)
    )
    assert says in page.text
    await until(donor.room, 4)
    (first, second, *_) = await charged(donor.room)
    day = datetime.strptime(str(second[0]), "%Y-%m-%d").replace(tzinfo=UTC)
    assert says.endswith(f"{day.day} {day:%B %Y}")
    assert first != second


# --- erased while word of it was under way --------------------------------------------------------


async def test_late_word_of_a_gift_does_not_bring_an_erased_donor_back(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500)
    asked = await room.requests_contribution(2500, "once")
    await pay(asked.json()["checkout_url"], email=READER_EMAIL)  # its webhooks are late
    room.clock.advance(timedelta(minutes=1))
    await donor.signs_in()
    answer = await donor.opens_and_submits("/manage/data/erase")
    assert answer.status_code == 200
    await room.runs_until_idle()
    await room.runs_sweeps()
    await room.runs_until_idle()
    for table in ("donors", "donor_customers"):
        assert await room.count(table) == 0, table
    assert (await room.contribution(asked.json()["id"])).status == "paid"
    assert len(await charged(room)) == 2


async def test_a_subscription_that_an_erased_donor_had_just_started_is_cancelled(
    donor: Donor,
) -> None:
    room = donor.room
    await donor.gives(2500, "once")
    asked = await room.requests_contribution(500, "monthly")
    await pay(asked.json()["checkout_url"], email=READER_EMAIL)
    room.clock.advance(timedelta(minutes=1))
    await donor.signs_in()
    assert (await donor.opens_and_submits("/manage/data/erase")).status_code == 200
    await room.runs_until_idle()
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    assert await room.count("donors") == 0
    await until(room, 2)
    assert len(await charged(room)) == 2


async def test_an_answer_from_before_the_erasure_brings_nobody_back(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500)
    id_ = await subscription_of(donor)
    await donor.signs_in()
    asks = await donor.opens("/manage/data/erase")
    room.sandbox.faults.add("GET", f"/v1/subscriptions/{id_}", "hang_after")
    slow = asyncio.create_task(subscriptions.sync(room.ctx, id_))
    await room.sandbox.faults.wait_until_hanging()  # Stripe has answered: it is active
    room.clock.advance(timedelta(seconds=1))
    assert (await donor.submits(asks, "/manage/data/erase")).status_code == 200
    room.sandbox.faults.release()
    await slow
    assert await room.count("donors") == 0
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]


async def test_many_syncs_and_an_erasure_at_once_leave_nobody(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500)
    id_ = await subscription_of(donor)
    room.clock.advance(timedelta(seconds=5))
    await donor.signs_in()
    asks = await donor.opens("/manage/data/erase")
    erasing = asyncio.create_task(donor.submits(asks, "/manage/data/erase"))
    await asyncio.gather(*(subscriptions.sync(room.ctx, id_) for _ in range(20)))
    assert (await erasing).status_code == 200
    assert await room.count("donors") == 0
    await room.runs_until_idle()
    assert await room.count("donors") == 0


async def test_who_stays_forgotten_is_forgotten_too_after_a_month(donor: Donor) -> None:
    await donor.gives(500)
    await donor.signs_in()
    await donor.opens_and_submits("/manage/data/erase")
    for days, left in ((29, 1), (2, 0)):
        donor.room.clock.advance(timedelta(days=days))
        async with donor.room.ctx.sessions.begin() as session:
            await donors.purge_erasures(session, donor.room.ctx.now())
        assert await donor.room.count("erasures") == left


async def test_an_answer_that_was_slow_takes_back_no_pause(donor: Donor) -> None:
    room = donor.room
    gift = await donor.gives(500)
    id_ = await subscription_of(donor)
    await donor.signs_in()
    room.sandbox.faults.add("GET", f"/v1/subscriptions/{id_}", "hang_after")
    slow = asyncio.create_task(subscriptions.sync(room.ctx, id_))
    await room.sandbox.faults.wait_until_hanging()
    room.clock.advance(timedelta(seconds=1))
    await donor.follows_redirect(
        await donor.opens_and_submits(f"{page_of(gift)}/pause", months="2")
    )
    room.sandbox.faults.release()
    await slow
    assert "Paused for now" in (await donor.opens(page_of(gift))).text
    await room.runs_until_idle()
    assert await room.rows("SELECT kind FROM outbox_mails WHERE kind <> 'sign_in'") == [("paused",)]


async def test_a_customer_who_was_deleted_at_stripe_leaves_a_subscription_that_ended(
    donor: Donor,
) -> None:
    room = donor.room
    await donor.gives(500)
    id_ = await subscription_of(donor)
    ((customer,),) = await room.rows("SELECT stripe_customer_id FROM subscriptions")
    await room.ctx.stripe.v1.subscriptions.update_async(id_, {"default_payment_method": ""})
    await room.ctx.stripe.v1.customers.delete_async(str(customer))
    await room.runs_until_idle()
    await subscriptions.sync(room.ctx, id_)
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    assert await room.rows("SELECT kind FROM alerts") == []
