"""The refund form: a part of a payment goes back once, however often the form is sent."""

import asyncio
from datetime import timedelta

import pytest

from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.past import has_given

pytestmark = pytest.mark.anyio


async def test_finance_refunds_a_part_of_a_gift_once_however_often_they_press(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 2500)
    ((charge,),) = await newsroom.rows("SELECT stripe_charge_id FROM charges")
    page_of = f"/finance/refund/{charge}"
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens(page_of)
        sent = page.form(page_of).submission(amount="10", reason="duplicate")
        answers = await asyncio.gather(*(ada.sends(page_of, **sent) for _ in range(2)))
        assert [answer.status_code for answer in answers] == [303, 303]
        await newsroom.runs_until_idle()
        shown = await ada.opens(answers[0].headers["location"])
        assert "The refund has been requested" in shown.text
        assert "Can be refunded $15.00" in shown.text
        assert len(await newsroom.rows("SELECT 1 FROM refunds")) == 1
        for changes, words in (
            ({"amount": "15.01"}, "Only $15.00 of this payment"),
            ({"amount": "0"}, "Nothing was refunded"),
            ({"amount": "-1"}, "Type an amount such as 12.50"),
            ({"amount": "ten"}, "Type an amount such as 12.50"),
            ({"reason": ""}, "Choose why"),
        ):
            form = (await ada.opens(page_of)).form(page_of)
            answer = await ada.sends(page_of, **{**form.submission(reason="duplicate"), **changes})
            assert answer.status_code == 422, changes
            assert words in Page(answer.text).text
        assert len(await newsroom.rows("SELECT 1 FROM refunds")) == 1
        for nobody in ("ch_x", "x", "%00", "ch_" + "0" * 300):
            assert (await ada.web.get(f"/finance/refund/{nobody}")).status_code == 404
        assert ("refund_requested", charge, "$10.00, duplicate") in await ada.audit_actions()
        newsroom.clock.advance(timedelta(minutes=5))
        late = await ada.sends(page_of, **sent)
        assert late.headers["location"].startswith("/staff/confirm?back=%2Ffinance%2Frefund")


async def test_of_two_who_refund_the_same_contribution_at_once_one_gets_an_error(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 2500)
    ((charge,),) = await newsroom.rows("SELECT stripe_charge_id FROM charges")
    page_of = f"/finance/refund/{charge}"
    async with (
        open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(newsroom, "Bea", Role.FINANCE) as bea,
    ):
        await ada.opens_link()
        await bea.opens_link()
        forms = [(await one.opens(page_of)).form(page_of) for one in (ada, bea)]
        answers = await asyncio.gather(
            *(
                one.sends(page_of, **form.submission(amount="20", reason="duplicate"))
                for one, form in zip((ada, bea), forms, strict=True)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [303, 422]
