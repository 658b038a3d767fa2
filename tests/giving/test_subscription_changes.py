"""A donor changes what they give: another amount or frequency, a skip, a pause, a resumption."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.giving import subscription_changes, subscription_sync, subscriptions
from payments.giving.change_log import Actor
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

pytestmark = pytest.mark.anyio


# --- the amount -----------------------------------------------------------------------------------


async def test_another_amount_counts_from_the_next_charge_on(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/amount")
    assert "your payment on 22 December 2026" in form_page.text
    page = await donor.follows_redirect(
        await donor.submits(form_page, f"{account_page(gift)}/amount", amount="7,50")
    )
    assert "The new amount applies" in page.text
    assert "$7.50 every month" in page.text
    assert "Amount changed by you 22 November 2026, 12:00 UTC" in page.text
    await donor.room.runs_until_idle()
    assert "$7.50" in donor.room.mails()[-1].part()
    await months_pass(donor.room, 1)
    assert await successful_charges(donor.room) == [("2026-11-22", 500), ("2026-12-22", 750)]


WRONG_AMOUNTS = {
    "1.99": "The smallest amount is $2.00.",
    "0": "The smallest amount is $2.00.",
    "10000.01": "The largest amount is $10,000.00.",
    "1.250": "Did you mean",
    "5.001": "multiple of $0.01",
    "five": "in digits",
    "": "in digits",
    "-5": "in digits",
    "9" * 70: "in digits",
}


async def test_an_amount_that_cannot_be_is_said_so_beside_the_field(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    for typed, says in WRONG_AMOUNTS.items():
        answer = await donor.opens_and_submits(f"{account_page(gift)}/amount", amount=typed)
        page = well_formed_page(answer)
        assert answer.status_code == 422, typed
        assert says in page.text
        assert page.field("amount")["value"] == typed
        assert page.field("amount")["aria-invalid"] == "true"
        assert "Nothing was charged" in page.text
    assert subscription_requests(donor.room) == []


async def test_yen_have_no_coins_to_split(donor: Donor) -> None:
    gift = await donor.gives(500, "monthly", "jpy")
    await donor.signs_in()
    assert (
        await donor.opens_and_submits(f"{account_page(gift)}/amount", amount="700.50")
    ).status_code == 422
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{account_page(gift)}/amount", amount="700")
    )
    assert "¥700 every month" in page.text


async def test_an_amount_that_a_tax_would_change_is_refused_beforehand(donor: Donor) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    await donor.signs_in()
    for name, fields in {"amount": {"amount": "9"}, "frequency": {}}.items():
        room.sandbox.account.store.objects[id_]["automatic_tax"]["enabled"] = True
        answer = await donor.opens_and_submits(f"{account_page(gift)}/{name}", **fields)
        assert answer.status_code == 422
        assert "A discount or a tax applies" in well_formed_page(answer).text
        assert subscription_requests(room) == []
    room.sandbox.account.store.objects[id_]["automatic_tax"]["enabled"] = False
    await donor.follows_redirect(
        await donor.opens_and_submits(f"{account_page(gift)}/amount", amount="9")
    )


async def test_the_same_amount_is_no_change(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{account_page(gift)}/amount", amount="5.00")
    )
    assert "new amount applies" not in page.text
    assert subscription_requests(donor.room) == []


# --- the frequency --------------------------------------------------------------------------------


async def test_from_monthly_to_annual_the_next_charge_keeps_its_day(donor: Donor) -> None:
    gift = await donor.gives(500, "monthly")
    await donor.signs_in()
    action = f"{account_page(gift)}/frequency"
    form_page = await donor.opens(action)
    assert "Next payment $60.00 , 22 December 2026" in form_page.text
    again = await donor.web.get(
        action, params=form_page.form(action, "get").submission(amount="50")
    )
    assert "Next payment $50.00 , 22 December 2026" in well_formed_page(again).text
    page = await donor.follows_redirect(await donor.submits(well_formed_page(again), action))
    assert "The new frequency applies" in page.text
    assert "$50.00 every year" in page.text
    assert "Next payment 22 December 2026" in page.text
    await months_pass(donor.room, 14)
    assert await successful_charges(donor.room) == [
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
    action = f"{account_page(gift)}/frequency"
    form_page = await donor.opens(action)
    assert "Next payment $5.00 , 22 November 2027" in form_page.text
    await donor.follows_redirect(await donor.submits(form_page, action))
    await months_pass(donor.room, 13)
    assert await successful_charges(donor.room) == [
        ("2026-11-22", 6000), ("2027-11-22", 500), ("2027-12-22", 500)
    ]  # fmt: skip


async def test_a_frequency_with_too_small_an_amount_shows_what_to_mend(donor: Donor) -> None:
    gift = await donor.gives(500, "monthly")
    await donor.signs_in()
    action = f"{account_page(gift)}/frequency"
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
    assert subscription_requests(donor.room) == []


# --- skipping and pausing -------------------------------------------------------------------------


async def test_a_skipped_charge_is_left_out_and_the_one_after_is_made(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/skip")
    assert "Not charged 22 December 2026 Next payment $5.00 , 22 January 2027" in form_page.text
    page = await donor.follows_redirect(
        await donor.submits(form_page, f"{account_page(gift)}/skip")
    )
    assert "Your next payment will be skipped" in page.text
    assert "Next payment 22 January 2027" in page.text
    await months_pass(donor.room, 3)
    assert await successful_charges(donor.room) == [("2026-11-22", 500), ("2027-01-22", 500),
                                         ("2027-02-22", 500)]  # fmt: skip


async def test_a_pause_leaves_out_as_many_charges_as_it_has_months(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/pause")
    assert "2 months (22 February 2027)" in form_page.text
    page = await donor.follows_redirect(
        await donor.submits(form_page, f"{account_page(gift)}/pause", months="2")
    )
    assert "Your contribution is paused" in page.text
    assert "Next payment 22 February 2027" in page.text
    await months_pass(donor.room, 4)
    assert await successful_charges(donor.room) == [("2026-11-22", 500), ("2027-02-22", 500),
                                         ("2027-03-22", 500)]  # fmt: skip


async def test_a_pause_on_the_last_day_of_january_leaves_out_february(donor: Donor) -> None:
    await donor.room.advances_time(timedelta(days=70))  # 31 January
    gift = await donor.gives(500)
    await donor.signs_in()
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{account_page(gift)}/pause", months="1")
    )
    assert "Paused for now" in page.text
    await months_pass(donor.room, 2)
    assert await successful_charges(donor.room) == [("2027-01-31", 500), ("2027-03-31", 500)]


async def test_a_pause_without_an_end_lasts_until_it_is_resumed(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{account_page(gift)}/pause", months="open")
    )
    assert "Paused until you resume it" in page.text
    assert "None scheduled" in page.text
    await months_pass(donor.room, 3)
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/resume")
    assert "Next payment $5.00 , 22 March 2027" in form_page.text
    page = await donor.follows_redirect(
        await donor.submits(form_page, f"{account_page(gift)}/resume")
    )
    assert "Your contribution has resumed" in page.text
    await months_pass(donor.room, 1)
    assert await successful_charges(donor.room) == [("2026-11-22", 500), ("2027-03-22", 500)]


async def test_an_annual_gift_pauses_for_a_year_and_is_not_offered_less(donor: Donor) -> None:
    gift = await donor.gives(5000, "annual")
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/pause")
    (months,) = [
        f for f in form_page.form(f"{account_page(gift)}/pause").fields if f.name == "months"
    ]
    assert [value for value, _ in months.options] == ["12", "open"]
    page = await donor.follows_redirect(
        await donor.submits(form_page, f"{account_page(gift)}/pause", months="12")
    )
    assert "Next payment 22 November 2028" in page.text


async def test_a_pause_has_one_to_twelve_months(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    for months in ("0", "13", "-1", "1.5", "", "forever", "99", "٣"):
        answer = await donor.opens_and_submits(f"{account_page(gift)}/pause", months=months)
        assert answer.status_code == 422, months
        assert "aria-invalid" in well_formed_page(answer).field("months")
    assert subscription_requests(donor.room) == []


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
    form_page = await donor.opens(action)
    await donor.room.advances_time(timedelta(minutes=15))
    await donor.room.runs_until_idle()
    answer = await donor.submits(form_page, action)
    assert answer.status_code == 422
    assert "have changed since this page was opened" in well_formed_page(answer).text
    assert subscription_requests(donor.room) == []
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
    action = f"{account_page(gift)}/{change}"
    form_page = await donor.opens(action)
    for _ in range(2):
        page = await donor.follows_redirect(
            await donor.submits(form_page, action, **CHANGES[change])
        )
    assert len(subscription_requests(donor.room, "DELETE" if change == "stop" else "POST")) == 1
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
    action = f"{account_page(gift)}/{change}"
    form_page = await donor.opens(action)
    answers = await asyncio.gather(
        *(donor.submits(form_page, action, **CHANGES[change]) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} == {303}
    await donor.room.runs_until_idle()
    mails = await donor.room.rows("SELECT count(*) FROM outbox_mails WHERE kind <> 'sign_in'")
    assert mails == [(1,)]
    page = await donor.opens(account_page(gift))
    assert page.text.count("by you") == 1


async def test_two_tabs_with_two_amounts_make_two_changes_and_the_later_stands(
    donor: Donor,
) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    action = f"{account_page(gift)}/amount"
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
    action = f"{account_page(gift)}/skip"
    one, other = [await donor.opens(action) for _ in range(2)]
    await donor.follows_redirect(await donor.submits(one, action))
    answer = await donor.submits(other, action)
    assert answer.status_code == 422
    assert "It is already paused" in well_formed_page(answer).text
    assert len(subscription_requests(donor.room)) == 1


async def test_after_a_stop_the_other_tab_changes_nothing(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    forms = {name: await donor.opens(f"{account_page(gift)}/{name}") for name in (*CHANGES, "card")}
    await donor.follows_redirect(
        await donor.submits(forms.pop("stop"), f"{account_page(gift)}/stop")
    )
    for name, form in forms.items():
        answer = await donor.submits(form, f"{account_page(gift)}/{name}", **CHANGES.get(name, {}))
        assert answer.status_code == 409, name
        assert "Nothing more is charged" in well_formed_page(answer).text
        await donor.opens(f"{account_page(gift)}/{name}", status=409)
    assert subscription_requests(donor.room) == []


async def test_a_change_that_does_not_reach_stripe_says_so(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    action = f"{account_page(gift)}/amount"
    form_page = await donor.opens(action)
    donor.room.sandbox.faults.add("POST", "/v1/subscriptions/", "status_500", remaining=3)
    answer = await donor.submits(form_page, action, amount="9")
    assert answer.status_code == 503
    assert "Nothing was charged" in well_formed_page(answer).text
    page = await donor.follows_redirect(await donor.submits(form_page, action, amount="9"))
    assert "$9.00 every month" in page.text
    assert page.text.count("Amount changed by you") == 1


async def test_a_change_whose_answer_is_lost_is_made_once(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    action = f"{account_page(gift)}/pause"
    form_page = await donor.opens(action)
    donor.room.sandbox.faults.add("POST", "/v1/subscriptions/", "drop_after", remaining=3)
    assert (await donor.submits(form_page, action, months="2")).status_code == 503
    page = await donor.follows_redirect(await donor.submits(form_page, action, months="2"))
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
    await months_pass(donor.room, 1)
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    assert "The last payment did not go through" in page.text
    form_page = await donor.opens(f"{account_page(gift)}/frequency")
    assert "Please replace the card first" in form_page.text
    with pytest.raises(InvalidField, match="replace the card"):
        await subscription_changes.change_frequency(
            donor.room.ctx, subscription.stripe_subscription_id, Frequency.ANNUAL,
            Money(6000, "usd"), actor=Actor.DONOR,
        )  # fmt: skip
    donor.room.sandbox.restore_card(method)
    await months_pass(donor.room, 1)


# --- the days of charges --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "months", "says"),
    [
        (70, "1", "Next payment 31 March 2027"),  # begun on 31 January, next due on 28 February
        (70, "2", "Next payment 30 April 2027"),
        (68, "1", "Next payment 29 March 2027"),  # begun on 29 January
    ],
)
async def test_after_a_pause_a_subscription_of_the_31st_is_charged_on_its_own_day(
    donor: Donor, days: int, months: str, says: str
) -> None:
    await donor.room.advances_time(timedelta(days=days))
    gift = await donor.gives(500)
    await donor.signs_in()
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{account_page(gift)}/pause", months=months)
    )
    assert says in page.text
    await months_pass(donor.room, 4)
    (first, second, *_) = await successful_charges(donor.room)
    day = datetime.strptime(str(second[0]), "%Y-%m-%d").replace(tzinfo=UTC)
    assert says.endswith(f"{day.day} {day:%B %Y}")
    assert first != second


async def test_an_answer_that_was_slow_takes_back_no_pause(donor: Donor) -> None:
    room = donor.room
    gift = await donor.gives(500)
    id_ = await subscription_id_of(donor.room)
    await donor.signs_in()
    room.sandbox.faults.add("GET", f"/v1/subscriptions/{id_}", "hang_after")
    slow = asyncio.create_task(subscription_sync.sync(room.ctx, id_))
    await room.sandbox.faults.wait_until_hanging()
    room.clock.advance(timedelta(seconds=1))
    await donor.follows_redirect(
        await donor.opens_and_submits(f"{account_page(gift)}/pause", months="2")
    )
    room.sandbox.faults.release()
    await slow
    assert "Paused for now" in (await donor.opens(account_page(gift))).text
    await room.runs_until_idle()
    assert await room.rows("SELECT kind FROM outbox_mails WHERE kind <> 'sign_in'") == [("paused",)]
