"""A reader gives, Stripe tells us, the books show it."""

from datetime import timedelta

import pytest

from tests.support.newsroom import Newsroom
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
    assert "Next payment 22 December 2026" in await newsroom.thanks(gift.id)
    for _ in range(3):
        await newsroom.advances_time(timedelta(days=31))
        await newsroom.runs_until_idle()
    assert await newsroom.rows(
        "SELECT credit, count(*), sum(amount) FROM ledger_entries"
        " WHERE credit LIKE 'income:%' AND contribution_id = :id GROUP BY 1",
        id=gift.id,
    ) == [("income:monthly", 4, 2000)]
    assert await newsroom.count("contributions") == 1


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
