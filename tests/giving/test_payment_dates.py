"""A donor decides when a contribution is charged: after how many payments it ends, and on which
day it is paid.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from payments.accounting.reports import recurring
from payments.accounting.reports.recurring import CommittedMrr
from payments.core.calendar import add_months, local_date
from payments.giving import payment_day
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
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


def at_stripe(room: Newsroom, id_: str) -> dict[str, Any]:
    """A subscription as Stripe has it."""
    found: dict[str, Any] = room.sandbox.account.store.objects[id_]
    return found


def unix(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]


# --- an end ---------------------------------------------------------------------------------------


async def test_an_end_is_set_after_so_many_payments_and_is_no_churn_before(donor: Donor) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    await donor.signs_in()
    action = f"{account_page(gift)}/end"
    form_page = await donor.opens(action)
    assert "2 payments (22 January 2027)" in form_page.text
    assert "Nothing is charged today" in form_page.text
    for wrong in ("", "2027-01-23", "2036-01-22", "x"):
        answer = await donor.submits(form_page, action, last=wrong)
        assert answer.status_code == 422
        assert "Choose how many more payments" in well_formed_page(answer).text
    assert subscription_requests(room) == []

    sent = form_page.form(action).submission(last="2027-01-22")
    answers = await asyncio.gather(
        *(donor.web.post(action, data=sent, headers=SAME_ORIGIN_HEADERS) for _ in range(2))
    )
    page = await donor.follows_redirect(answers[0])
    assert answers[1].status_code == 303  # a double click
    assert at_stripe(room, id_)["cancel_at"] == unix(2027, 2, 22, 12)
    assert "Your contribution is set to end" in page.text
    assert "This contribution ends on 22 February 2027" in page.text
    assert "2 more payments will be made, the last on 22 January 2027" in page.text
    overview = await donor.opens("/manage/contributions")
    assert "next payment on 22 December 2026 · ends on 22 February 2027" in overview.text
    await room.runs_until_idle()
    mail = room.mails()[-1].part()
    assert "ends on 22 February 2027" in mail
    assert "2 payments remain, the last on 22 January 2027" in mail
    async with room.ctx.sessions() as session:
        committed = await recurring.committed_mrr(session)
    assert committed == [CommittedMrr("usd", 1, 500, 0, 1, 500)]

    # a page from before the end was set does not replace it unseen, and says what is true now
    answer = await donor.submits(form_page, action, last="2027-03-22")
    assert answer.status_code == 422
    page = well_formed_page(answer)
    assert "have changed since this page was opened" in page.text
    assert "It is set to end on 22 February 2027. 2 more payments will be made" in page.text
    page = await donor.follows_redirect(await donor.submits(page, action, last="2026-12-22"))
    assert "The end date has changed" in page.text
    assert "One more payment will be made, on 22 December 2026" in page.text

    await months_pass(room, 1)
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    assert "There are no more payments before then" in page.text
    answer = await donor.web.get(f"{account_page(gift)}/amount")
    assert (await donor.submits(well_formed_page(answer), f"{account_page(gift)}/amount",
                                amount="9")).status_code == 422  # fmt: skip
    await months_pass(room, 2)
    assert await successful_charges(room) == [("2026-11-22", 500), ("2026-12-22", 500)]
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    assert "This contribution has been cancelled" in page.text
    (history,) = await room.rows(
        "SELECT array_agg(kind || ' ' || actor"  # as they were written, where the clock stood
        " ORDER BY done_at, CAST(CAST(xmin AS text) AS bigint)) FROM subscription_changes"
    )
    assert history == (["end_scheduled donor", "end_moved donor", "cancelled stripe"],)


async def test_no_page_names_a_payment_that_an_end_comes_before(donor: Donor) -> None:
    own = account_page(await donor.gives(500))
    await donor.signs_in()
    page = await donor.opens(f"{own}/end")
    page = await donor.follows_redirect(await donor.submits(page, f"{own}/end", last="2027-01-22"))
    skip = await donor.opens(f"{own}/skip")
    assert "Next payment $5.00 , 22 January 2027" in skip.text
    page = await donor.opens(f"{own}/pause")
    assert "1 month (22 January 2027)" in page.text
    assert "2 months" not in page.text
    assert "Until I resume it" in page.text
    pause, one_month = page, {"months": "1"}
    page = await donor.follows_redirect(await donor.submits(pause, f"{own}/pause", **one_month))
    assert "One more payment will be made, on 22 January 2027" in page.text
    await donor.follows_redirect(await donor.submits(pause, f"{own}/pause", **one_month))
    page = await donor.opens(f"{own}/resume")  # it brings back a payment that was not counted
    assert "Next payment $5.00 , 22 December 2026" in page.text
    assert "2 more payments will be made, the last on 22 January 2027" in page.text
    await donor.follows_redirect(await donor.submits(page, f"{own}/resume"))
    # the same form, sent again after its change was taken back, does not say that it was done
    answer = await donor.submits(pause, f"{own}/pause", **one_month)
    assert answer.status_code == 422
    assert "has changed since this page was opened" in well_formed_page(answer).text
    assert (
        donor.room.sandbox.account.store.objects[await subscription_id_of(donor.room)][
            "pause_collection"
        ]
        is None
    )
    page = await donor.opens(f"{own}/end")
    await donor.follows_redirect(await donor.submits(page, f"{own}/end", last="2026-12-22"))
    page = await donor.opens(f"{own}/skip")
    assert "Next payment" not in page.text
    assert "on 22 January 2027. There are no more payments before then" in page.text


async def test_an_end_that_stripe_has_already_is_seen_before_another_is_set(donor: Donor) -> None:
    """Made in the dashboard while the page was open; nothing was reported yet."""
    room, gift = donor.room, await donor.gives(6000, "annual")
    id_ = await subscription_id_of(room)
    await donor.signs_in()
    action = f"{account_page(gift)}/end"
    form_page = await donor.opens(action)
    assert "3 payments (22 November 2029)" in form_page.text
    assert "4 payments" not in form_page.text
    room.sandbox.dashboard_request("POST", f"/v1/subscriptions/{id_}",
                                   {"cancel_at": unix(2029, 11, 22, 12)})  # fmt: skip
    answer = await donor.submits(form_page, action, last="2027-11-22")
    assert answer.status_code == 422
    page = well_formed_page(answer)
    assert "2 more payments will be made, the last on 22 November 2028" in page.text
    await donor.follows_redirect(await donor.submits(page, action, last="2027-11-22"))
    assert at_stripe(room, id_)["cancel_at"] == unix(2028, 11, 22, 12)
    room.sandbox.dashboard_request("POST", f"/v1/subscriptions/{id_}", {"cancel_at": ""})
    await room.runs_until_idle()
    assert "ends on" not in (await donor.opens(account_page(gift))).text
    room.sandbox.dashboard_request("POST", f"/v1/subscriptions/{id_}",
                                   {"cancel_at_period_end": True})  # fmt: skip
    answer = await donor.submits(form_page, action, last="2027-11-22")
    assert answer.status_code == 422
    assert "nothing more is charged" in well_formed_page(answer).text
    assert at_stripe(room, id_)["cancel_at"] == unix(2027, 11, 22, 12)


# --- the day --------------------------------------------------------------------------------------


async def test_another_day_is_charged_once_a_month_and_nothing_for_the_move(donor: Donor) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    await donor.signs_in()
    action = f"{account_page(gift)}/day"
    form_page = await donor.opens(action)
    assert "Days are those of the time zone UTC" in form_page.text
    assert (action, "post") not in [(form.action, form.method) for form in form_page.forms]
    for wrong in ("0", "29", "31", "x", "-1"):
        answer = await donor.web.get(action, params={"day": wrong})
        assert answer.status_code == 422
        assert "Choose a day from 1 to 28" in well_formed_page(answer).text
    assert "That is its day already" in (await donor.opens(f"{action}?day=22")).text

    chosen = await donor.opens(f"{action}?day=5")
    assert "Next payment $5.00 , 5 December 2026" in chosen.text
    assert "In place of 22 December 2026" in chosen.text
    assert "every month on the same day" in chosen.text
    assert "There is no payment in" not in chosen.text
    other_tab = await donor.opens(f"{action}?day=28")
    sent = chosen.form(action).submission()
    answers = await asyncio.gather(
        *(donor.web.post(action, data=sent, headers=SAME_ORIGIN_HEADERS) for _ in range(2))
    )
    page = await donor.follows_redirect(answers[0])
    assert answers[1].status_code == 303  # a double click
    assert "Your payments are on another day from now on" in page.text
    assert "Next payment 5 December 2026" in page.text
    assert at_stripe(room, id_)["trial_end"] == unix(2026, 12, 5, 12)
    answer = await donor.submits(other_tab, action)
    assert answer.status_code == 422
    page = well_formed_page(answer)
    assert "have changed since this page was opened" in page.text
    assert "In place of 5 December 2026" in page.text
    await room.runs_until_idle()
    assert page.text.count("Payment day changed") == 0
    mail = room.mails()[-1]
    assert mail.subject == "Your monthly payment has another day"
    assert "is due on 5 December 2026" in mail.part()
    await months_pass(room, 3)
    assert await successful_charges(room) == [
        ("2026-11-22", 500), ("2026-12-05", 500), ("2027-01-05", 500), ("2027-02-05", 500)
    ]  # fmt: skip
    assert await room.rows("SELECT count(*) FROM outbox_mails WHERE kind = 'day_changed'") == [(1,)]


async def test_a_day_that_is_over_leaves_out_a_month_only_where_the_page_said_so(
    donor: Donor,
) -> None:
    room, gift = donor.room, await donor.gives(500)
    await room.advances_time(timedelta(days=15))  # 7 December
    await donor.signs_in()
    action = f"{account_page(gift)}/day"
    soon = await donor.opens(f"{action}?day=8")
    assert "Next payment $5.00 , 8 December 2026" in soon.text
    over = await donor.opens(f"{action}?day=7")
    assert "Next payment $5.00 , 7 January 2027" in over.text
    assert "There is no payment in December 2026" in over.text
    await room.advances_time(timedelta(minutes=20))
    await donor.follows_redirect(await donor.submits(over, action))
    await room.advances_time(timedelta(days=1))
    await donor.signs_in()
    answer = await donor.submits(soon, action)  # a page of yesterday
    assert answer.status_code == 422
    assert "Next payment $5.00 , 8 January 2027" in well_formed_page(answer).text
    await months_pass(room, 1)
    assert await successful_charges(room) == [("2026-11-22", 500), ("2027-01-07", 500)]
    async with room.ctx.sessions() as session:
        months = await recurring.mrr_by_month(
            session, ZoneInfo("UTC"), since=date(2026, 12, 1), until=date(2027, 1, 1)
        )
    assert [(one.paused, one.churn_voluntary) for one in months] == [(-500, 0)]
    report = await room.rows("SELECT kind, actor FROM subscription_changes")
    assert report == [("day", "donor")]


async def test_a_payment_that_came_meanwhile_is_not_made_again_in_its_month(donor: Donor) -> None:
    """The page was opened before the payment, and nothing reported it since."""
    room, gift = donor.room, await donor.gives(500)
    await room.advances_time(timedelta(days=29))  # 21 December
    await donor.signs_in()
    action = f"{account_page(gift)}/day"
    page = await donor.opens(f"{action}?day=28")
    assert "Next payment $5.00 , 28 December 2026" in page.text
    await room.advances_time(timedelta(days=1, hours=2))
    held_back = room.sandbox.take_deliveries()
    await donor.signs_in()
    answer = await donor.submits(page, action)
    assert answer.status_code == 422
    page = well_formed_page(answer)
    assert "Next payment $5.00 , 28 January 2027 In place of 22 January 2027" in page.text
    await donor.follows_redirect(await donor.submits(page, action))
    await room.runs_until_idle()
    assert await room.deliver(list(reversed(held_back))) == [200] * len(held_back)
    await months_pass(room, 2)
    changes = await room.rows("SELECT kind, actor FROM subscription_changes")
    assert changes == [("day", "donor")]
    assert await successful_charges(room) == [
        ("2026-11-22", 500), ("2026-12-22", 500), ("2027-01-28", 500)
    ]  # fmt: skip


async def test_of_an_annual_contribution_the_date_is_chosen(donor: Donor) -> None:
    room, gift = donor.room, await donor.gives(6000, "annual")
    await donor.signs_in()
    action = f"{account_page(gift)}/day"
    later = await donor.opens(f"{action}?day=1&month=12")
    assert "Next payment $60.00 , 1 December 2027" in later.text
    earlier = await donor.opens(f"{action}?day=28&month=9")
    assert "Next payment $60.00 , 28 September 2027" in earlier.text
    assert "every year on the same day" in earlier.text
    much_earlier = await donor.opens(f"{action}?day=5&month=1")  # not six weeks after the last one
    assert "Next payment $60.00 , 5 January 2028" in much_earlier.text
    answer = await donor.web.get(action, params={"day": "5", "month": "13"})
    assert answer.status_code == 422
    await donor.follows_redirect(await donor.submits(earlier, action))
    await months_pass(room, 23)
    assert await successful_charges(room) == [
        ("2026-11-22", 6000), ("2027-09-28", 6000), ("2028-09-28", 6000)
    ]  # fmt: skip


async def test_what_is_paused_owed_or_set_to_end_says_what_comes_first(donor: Donor) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    await donor.signs_in()
    action = f"{account_page(gift)}/day"
    page = await donor.opens(f"{action}?day=5")
    item = dict(at_stripe(room, id_)["items"]["data"][0])
    states: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "resume it first": ({"pause_collection": {"behavior": "void"}}, {"pause_collection": ""}),
        "take that back first": ({"cancel_at": unix(2027, 1, 22, 12)}, {"cancel_at": ""}),
    }
    for says, (before, after) in states.items():
        room.sandbox.dashboard_request("POST", f"/v1/subscriptions/{id_}", before)
        answer = await donor.submits(page, action)
        assert answer.status_code == 422, says
        assert says in well_formed_page(answer).text
        assert says in (await donor.opens(action)).text
        if "cancel_at" in before:  # it would end within the other period
            frequency = f"{account_page(gift)}/frequency"
            assert "take that back first" in (await donor.opens(frequency)).text
            sent = {"frequency": "annual", "amount": "60", "shown": "2026-12-22"}
            answer = await donor.web.post(frequency, data=sent, headers=SAME_ORIGIN_HEADERS)
            assert answer.status_code == 422
        room.sandbox.dashboard_request("POST", f"/v1/subscriptions/{id_}", after)
        await room.runs_until_idle()
    assert at_stripe(room, id_)["items"]["data"][0] == item
    card = str(at_stripe(room, id_)["default_payment_method"])
    room.sandbox.fail_card(card, "insufficient_funds")
    await months_pass(room, 1)
    await donor.signs_in()
    assert "replace the card first" in (await donor.opens(action)).text
    page = await donor.opens(f"{account_page(gift)}/end")  # of no payment that may come yet
    assert "1 payment (22 January 2027)" in page.text
    assert "may be asked again in the next few days" in page.text


@pytest.mark.parametrize(
    ("day", "zone", "at"),
    [
        (date(2027, 3, 1), "UTC", "2027-03-01T12:00"),
        (date(2027, 7, 1), "Europe/Berlin", "2027-07-01T10:00"),
        (date(2027, 1, 1), "Pacific/Kiritimati", "2027-01-01T01:00"),  # 14 hours before UTC
        (date(2027, 1, 1), "Pacific/Auckland", "2027-01-01T01:00"),
        (date(2027, 1, 28), "Etc/GMT+12", "2027-01-28T23:00"),
    ],
)
def test_a_charge_is_due_on_one_date_in_its_zone_and_in_utc_all_year(
    day: date, zone: str, at: str
) -> None:
    charge = payment_day.charge_time(day, zone)
    assert f"{charge:%Y-%m-%dT%H:%M}" == at
    for months in range(24):  # as Stripe counts, in UTC
        assert local_date(add_months(charge, months), zone) == add_months(day, months)
