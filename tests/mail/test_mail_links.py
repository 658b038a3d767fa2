"""The links of mails cancel or replace a card without signing in, and open nothing else."""

import base64
from datetime import timedelta

import pytest

from payments.giving import cancellations, notices_due
from payments.giving.change_log import Actor
from payments.giving.contributions import Contribution
from payments.mail import links
from payments.sandbox.hosted_page_client import pay
from tests.support.donor import (
    READER_EMAIL,
    Donor,
    payment_fails,
    subscription_id_of,
    subscription_requests,
    successful_charges,
    well_formed_page,
)
from tests.support.newsroom import BASE_URL, forgeries, respellings

pytestmark = pytest.mark.anyio


def cancel_link_of(donor: Donor, contribution: Contribution) -> str:
    return links.cancel_link(donor.room.ctx, contribution.id, contribution.donor_id).removeprefix(
        BASE_URL
    )


async def test_the_stop_link_of_a_mail_stops_without_signing_in(donor: Donor) -> None:
    link = cancel_link_of(donor, await donor.gives(500))
    for _ in range(3):
        form_page = await donor.opens(link)
        assert "You give $5.00 every month" in form_page.text
    assert subscription_requests(donor.room, "DELETE") == []
    page = await donor.follows_redirect(await donor.submits_without_session(form_page, link))
    assert "This contribution has been cancelled" in page.text
    assert "Since 22 November 2026, 12:00 UTC" in page.text
    again = await donor.follows_redirect(await donor.submits_without_session(form_page, link))
    assert again.text == page.text
    assert len(subscription_requests(donor.room, "DELETE")) == 1
    await donor.opens("/manage/contributions", status=401)
    assert await donor.room.rows("SELECT kind, actor FROM subscription_changes") == [
        ("cancelled", "link")
    ]


async def test_the_fix_link_of_a_mail_replaces_the_card_without_signing_in(donor: Donor) -> None:
    _, link = await payment_fails(donor)
    form_page = await donor.opens(link)
    assert (
        "The payment of $5.00 due on 22 December 2026, which did not go through" in form_page.text
    )
    sent = await donor.submits_without_session(form_page, link)
    assert sent.status_code == 303
    paid = await pay(sent.headers["location"], card="5555555555554444", email=READER_EMAIL)
    assert paid.redirect_url == f"{BASE_URL}{link}?card=back"
    assert "in use in a moment" in (await donor.opens(paid.redirect_url)).text
    await donor.room.runs_until_idle()
    page = await donor.opens(paid.redirect_url)
    assert "Your new card is in use" in page.text
    assert [amount for _, amount in await successful_charges(donor.room)] == [500, 500]
    await donor.opens("/manage/contributions", status=401)


async def test_a_link_opens_what_it_was_made_for_and_for_as_long(donor: Donor) -> None:
    gift = await donor.gives(500)
    stop = links.cancel_link(donor.room.ctx, gift.id, gift.donor_id).removeprefix(BASE_URL)
    fix = links.card_update_link(donor.room.ctx, gift.id, gift.donor_id).removeprefix(BASE_URL)
    nobodys = links.cancel_link(donor.room.ctx, "0" * 32, None).removeprefix(BASE_URL)
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
    assert subscription_requests(donor.room, "DELETE") == []


async def test_links_to_a_subscription_that_has_ended_say_so(donor: Donor) -> None:
    gift = await donor.gives(500)
    stop = cancel_link_of(donor, gift)
    fix = links.card_update_link(donor.room.ctx, gift.id, gift.donor_id).removeprefix(BASE_URL)
    await donor.room.advances_time(timedelta(days=2))
    form_page = await donor.opens(fix)
    await cancellations.cancel(
        donor.room.ctx, await subscription_id_of(donor.room), actor=Actor.STAFF
    )
    assert "has been cancelled" in (await donor.opens(stop)).text
    assert "This contribution has ended" in (await donor.opens(fix)).text
    answer = await donor.submits_without_session(form_page, fix)
    assert answer.status_code == 409
    assert "Nothing more is charged" in well_formed_page(answer).text


async def test_by_a_mails_link_a_cancellation_is_stored_too_and_nothing_else_is_mailed(
    donor: Donor,
) -> None:
    link = cancel_link_of(donor, await donor.gives(5000, "annual"))
    form_page = await donor.opens(link)
    donor.room.sandbox.faults.add("DELETE", "/v1/subscriptions/sub_", "status_500", remaining=9)
    page = await donor.follows_redirect(await donor.submits_without_session(form_page, link))
    assert "We have received your cancellation" in page.text
    await donor.room.advances_time(timedelta(days=355))
    await notices_due.notify_upcoming_renewals(donor.room.ctx)
    await donor.room.runs_due_jobs()
    assert donor.room.mails() == []
    donor.room.sandbox.faults.clear()
    await cancellations.resume(donor.room.ctx)
    await donor.room.runs_until_idle()
    assert [mail.subject for mail in donor.room.mails()] == [
        "Your annual payment has been cancelled"
    ]
    assert await donor.room.rows("SELECT kind, actor FROM subscription_changes") == [
        ("cancelled", "link")
    ]


async def test_the_links_of_mails_hold_no_id_of_stripe(donor: Donor) -> None:
    gift = await donor.gives(500)
    for link in (
        links.cancel_link(donor.room.ctx, gift.id, gift.donor_id),
        links.card_update_link(donor.room.ctx, gift.id, gift.donor_id),
    ):
        signed = link.rpartition("/")[2]
        opened = base64.urlsafe_b64decode(signed.partition(".")[0].strip(".") + "==")
        assert gift.id.encode() in opened
        assert b"sub_" not in opened
