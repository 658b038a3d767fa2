"""The refund form: a part of a payment goes back once, however often the form is sent."""

import asyncio
from datetime import timedelta

import pytest
from stripe.params import RefundCreateParams

from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.past import has_given

pytestmark = pytest.mark.anyio
WHY = {"reason": "duplicate"}
OUTCOMES = "SELECT name, action, reason FROM audit_entries WHERE action LIKE 'refund%' ORDER BY seq"


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
        other_tab = (await ada.opens(page_of)).form(page_of).submission(amount="5", **WHY)
        answers = await asyncio.gather(*(ada.sends(page_of, **sent) for _ in range(2)))
        assert [answer.status_code for answer in answers] == [303, 303]
        await newsroom.runs_until_idle()
        shown = await ada.opens(answers[0].headers["location"])
        assert "The refund has been requested" in shown.text
        assert "Can be refunded $15.00" in shown.text
        assert len(await newsroom.rows("SELECT 1 FROM refunds")) == 1
        meanwhile = Page((await ada.sends(page_of, **other_tab)).text)
        assert "perhaps by you in another tab" in meanwhile.alerts[0]
        again = meanwhile.form(page_of).submission()
        assert (again["amount"], again["reason"]) == ("5", "duplicate")
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
        at_stripe: RefundCreateParams = {"charge": str(charge), "amount": 1400}
        await newsroom.stripe_owner.v1.refunds.create_async(at_stripe)
        newsroom.sandbox.take_deliveries()  # and no webhook arrives
        form = (await ada.opens(page_of)).form(page_of)
        answer = await ada.sends(page_of, **form.submission(amount="2", **WHY))
        assert answer.status_code == 409
        assert "Our payment provider will not refund this payment" in Page(answer.text).alerts[0]
        assert await newsroom.rows(OUTCOMES) == [
            ("Ada", "refund_requested", "$10.00, duplicate"),
            ("Stripe", "refund_succeeded", "$10.00"),
            ("Ada", "refund_requested", "$2.00, duplicate"),
            ("Stripe", "refund_rejected", "$2.00"),
        ]
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
        assert sorted(answer.status_code for answer in answers) == [303, 409]
        await newsroom.runs_until_idle()
        newsroom.sandbox.dispute(str(charge))
        await newsroom.runs_until_idle()
        form = forms[0].submission(amount="1", **WHY) | {"seen": "1"}
        for page in (await ada.opens(page_of), Page((await ada.sends(page_of, **form)).text)):
            assert "It cannot be refunded. The donor's bank has disputed" in page.text
            assert [form for form in page.forms if form.action == page_of] == []
            assert "/donate" not in page.html
        assert (await newsroom.rows(OUTCOMES))[2:] == []  # what was refused was not asked of Stripe
