"""A reader gives, Stripe tells us, the books show it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from icalendar import Calendar

from tests.support.newsroom import BASE_URL, Newsroom
from tests.support.past import has_given

pytestmark = pytest.mark.anyio


async def test_a_gift_is_paid_confirmed_and_in_the_books(newsroom: Newsroom) -> None:
    gift = await newsroom.gives(2500)
    assert "Confirming your gift" in await newsroom.thanks(gift.id)
    await newsroom.runs_until_idle()
    assert "Thank you" in await newsroom.thanks(gift.id)
    assert await newsroom.rows(
        "SELECT debit, credit, amount, currency, contribution_id FROM ledger_entries ORDER BY seq"
    ) == [
        ("stripe:balance", "income:once", 2500, "usd", gift.id),
        ("expense:processing", "stripe:balance", 103, "usd", gift.id),
    ]


async def test_a_monthly_gift_renews_for_the_contribution_that_began_it(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 500, "monthly")
    assert (await newsroom.web.get("/thanks/calendar")).status_code == 404  # of nobody
    assert "Next payment 22 December 2026" in await newsroom.thanks(gift.id)
    answer = await newsroom.web.get("/thanks/calendar")
    entry: Any
    (entry,) = Calendar.from_ical(answer.content).walk("VEVENT")
    assert f"{entry.start:%Y-%m-%d %H:%M}" == "2026-12-22 09:00"
    assert entry["RRULE"] == {"FREQ": ["MONTHLY"], "INTERVAL": [1]}
    assert entry["SUMMARY"] == "Your regular payment"
    words = entry["DESCRIPTION"] + entry["URL"]
    assert "/manage" in words
    assert re.search(r"Example|gift|donat|support|[$5]", words.replace(BASE_URL, "")) is None
    for _ in range(3):
        await newsroom.advances_time(timedelta(days=31))
        await newsroom.runs_until_idle()
    assert await newsroom.rows(
        "SELECT credit, count(*), sum(amount) FROM ledger_entries"
        " WHERE credit LIKE 'income:%' AND contribution_id = :id GROUP BY 1",
        id=gift.id,
    ) == [("income:monthly", 4, 2000)]
    assert await newsroom.count("contributions") == 1
    # what began on a 31st is on a 30th once, and on the last days afterwards, also in the calendar
    await newsroom.advances_time(datetime(2027, 3, 31, 12, tzinfo=UTC) - newsroom.ctx.now())
    later = await has_given(newsroom, 500, "monthly")
    assert "Next payment 30 April 2027" in await newsroom.thanks(later.id)
    answer = await newsroom.web.get("/thanks/calendar")
    (entry,) = Calendar.from_ical(answer.content).walk("VEVENT")
    assert f"{entry.start:%Y-%m-%d}" == "2027-04-30"
    assert entry["RRULE"]["BYMONTHDAY"] == [28, 29, 30, 31]
    assert entry["RRULE"]["BYSETPOS"] == [-1]


async def test_a_gift_once_has_no_payment_for_a_calendar(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 2500)
    page = await newsroom.thanks(gift.id)
    assert "in your calendar" not in page
    assert (await newsroom.web.get("/thanks/calendar")).status_code == 404


async def test_an_annual_gift_of_two_dollars_is_charged_once_a_year(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 200, "annual")
    await newsroom.advances_time(timedelta(days=366))
    await newsroom.runs_until_idle()
    rows = await newsroom.rows(
        "SELECT credit, amount, contribution_id FROM ledger_entries WHERE credit LIKE 'income:%'"
    )
    assert rows == [("income:annual", 200, gift.id)] * 2


async def test_a_day_later_the_page_of_a_gift_says_no_more(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 2500)
    assert "Thank you" in await newsroom.thanks(gift.id)
    await newsroom.advances_time(timedelta(hours=25))
    assert "We cannot find this gift" in await newsroom.thanks(gift.id)
