"""The mail with a link and a code to sign in: who gets it, and how often."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import text

from payments.donors import sign_in
from payments.ops import schedules
from tests.support.donor import (
    code_in,
    link_in,
    open_donor_browser,
    subscription_id_of,
    well_formed_page,
)
from tests.support.mail import (
    ADDRESS,
    mail_statuses,
    request_sign_in_link,
    run_scheduled_jobs,
    subscribe_monthly,
)
from tests.support.newsroom import BASE_URL, Newsroom
from tests.support.past import has_given

pytestmark = pytest.mark.anyio


async def test_a_donor_gets_a_link_and_a_code_that_open_the_door(newsroom: Newsroom) -> None:
    await subscribe_monthly(newsroom, email="Reader@Example.org")
    await request_sign_in_link(newsroom, " reader@EXAMPLE.org ")
    (mail,) = newsroom.mails()
    assert mail.to == ["Reader@example.org"]
    assert mail.subject == "Your sign-in link"
    assert re.search(r"code: [A-Z2-9]{5}-[A-Z2-9]{5}$", mail.part(), re.MULTILINE)
    page = await newsroom.web.get(mail.link("/manage/enter/"))
    assert page.status_code == 200


async def test_a_guest_who_gave_once_gets_a_link_too(newsroom: Newsroom) -> None:
    await has_given(newsroom, 2500)
    await request_sign_in_link(newsroom, ADDRESS)
    assert [mail.to for mail in newsroom.mails()] == [[ADDRESS]]


async def test_an_address_nobody_gave_with_gets_nothing(newsroom: Newsroom) -> None:
    await subscribe_monthly(newsroom)
    await request_sign_in_link(newsroom, "stranger@example.org")
    assert newsroom.mails() == []
    assert await newsroom.count("outbox_mails") == 0
    assert await newsroom.count("sign_in_links") == 0


async def test_a_link_goes_to_no_other_address_than_the_donors(newsroom: Newsroom) -> None:
    gift = await subscribe_monthly(newsroom)
    stripe = newsroom.stripe_owner.v1
    subscription = await stripe.subscriptions.retrieve_async(
        await subscription_id_of(newsroom, gift)
    )
    newsroom.sandbox.account.store.objects[str(subscription.customer)]["email"] = (
        "other@example.org"
    )
    await request_sign_in_link(newsroom, ADDRESS)
    assert [mail.to for mail in newsroom.mails()] == [[ADDRESS]]  # by the page they paid on


async def test_a_link_waits_for_the_mail_server_but_not_for_long(newsroom: Newsroom) -> None:
    await subscribe_monthly(newsroom)
    await newsroom.mail_server.aclose()
    await request_sign_in_link(newsroom, ADDRESS)
    await newsroom.mail_server.open()
    await run_scheduled_jobs(newsroom)
    assert len(newsroom.mails()) == 1
    await newsroom.mail_server.aclose()
    await request_sign_in_link(newsroom, ADDRESS)
    newsroom.clock.advance(timedelta(minutes=9, seconds=1))
    await newsroom.mail_server.open()
    await run_scheduled_jobs(newsroom)
    assert len(newsroom.mails()) == 1


async def test_a_link_whose_answer_is_lost_is_sent_again_and_is_the_same(
    newsroom: Newsroom,
) -> None:
    await subscribe_monthly(newsroom)
    newsroom.mail_server.lost_responses = 1
    await request_sign_in_link(newsroom, ADDRESS)
    await run_scheduled_jobs(newsroom)
    first, second = newsroom.mails()
    assert first.parsed["Message-ID"] == second.parsed["Message-ID"]
    assert first.part() == second.part()
    assert await mail_statuses(newsroom) == {"sign_in": "sent"}
    assert (await newsroom.web.get(second.link("/manage/enter/"))).status_code == 200


async def test_each_link_is_another_and_follows_from_nothing_that_is_stored(
    newsroom: Newsroom,
) -> None:
    await subscribe_monthly(newsroom)
    for _ in range(2):
        await request_sign_in_link(newsroom, ADDRESS)
    one, other = (mail.part() for mail in newsroom.mails())
    tokens = [re.findall(r"/manage/enter/([\w-]{43})$", text, re.M)[0] for text in (one, other)]
    codes = [re.findall(r"code: (\S+)$", text, re.M)[0].replace("-", "") for text in (one, other)]
    assert len({*tokens, *codes}) == 4
    stored = str(
        [
            *await newsroom.rows("SELECT * FROM sign_in_links"),
            *await newsroom.rows("SELECT * FROM outbox_mails"),
        ]
    )
    for secret in (*tokens, *codes):
        assert secret not in stored


async def test_whatever_others_ask_for_the_link_a_donor_asks_for_arrives(
    newsroom: Newsroom,
) -> None:
    await subscribe_monthly(newsroom)
    for _ in range(20):
        await request_sign_in_link(newsroom, ADDRESS)
    assert len(newsroom.mails()) == 3
    async with open_donor_browser(newsroom, ADDRESS) as donor:
        await donor.opens_and_submits("/manage", address=ADDRESS)
        await request_sign_in_link(newsroom, ADDRESS)
        assert await newsroom.count("sign_in_links") == 3 + 1, "what waits is one mail"
        newsroom.clock.advance(sign_in.MERGE_INTERVAL - timedelta(seconds=1))
        await run_scheduled_jobs(newsroom)
        assert len(newsroom.mails()) == 3
        await donor.opens_and_submits("/manage", address=ADDRESS)
        await newsroom.runs_due_jobs()
        newsroom.clock.advance(timedelta(seconds=1))
        await run_scheduled_jobs(newsroom)
        assert len(newsroom.mails()) == 4
        link = newsroom.newest_mail("/manage/enter/").link("/manage/enter/").removeprefix(BASE_URL)
        await donor.follows_redirect(await donor.opens_and_submits(link))


async def test_a_link_that_waited_lets_in_by_its_code_whoever_asked_last(
    newsroom: Newsroom,
) -> None:
    await subscribe_monthly(newsroom)
    for _ in range(3):
        await request_sign_in_link(newsroom, ADDRESS)
    async with open_donor_browser(newsroom, ADDRESS) as donor:
        await donor.opens_and_submits("/manage", address=ADDRESS)
        await newsroom.runs_due_jobs()
        await request_sign_in_link(newsroom, ADDRESS)
        newsroom.clock.advance(sign_in.MERGE_INTERVAL)
        await run_scheduled_jobs(newsroom)
        (mail,) = newsroom.mails()[3:]
        link = link_in(mail, "/manage/enter/")
        asks = well_formed_page(await donor.opens_and_submits(link))
        entered = await donor.submits(asks, f"{link}/code", code=code_in(mail))
        await donor.follows_redirect(entered)


async def test_hundreds_of_links_raise_an_alert_and_hold_nobody_back(newsroom: Newsroom) -> None:
    await subscribe_monthly(newsroom)
    sent_links = (
        "INSERT INTO sign_in_links (id, address_hash, older_hashes, browser_hash, token_hash,"
        " code_attempts, requested_at, expires_at) SELECT md5(n::text), sha256(n::text::bytea),"
        " '{}', '\\x00', sha256(n::text::bytea), 0, :now, :now FROM generate_series(1, 299) n"
    )
    async with newsroom.ctx.sessions.begin() as session:
        await session.execute(text(sent_links), {"now": newsroom.clock()})
    for _ in range(2):
        await request_sign_in_link(newsroom, ADDRESS)
    assert len(newsroom.mails()) == 2
    assert await newsroom.rows("SELECT kind FROM alerts") == [("sign_in_link_limit_reached",)]


async def test_what_anybody_can_ask_for_is_gone_after_an_hour(newsroom: Newsroom) -> None:
    await subscribe_monthly(newsroom)
    await request_sign_in_link(newsroom, ADDRESS)
    await newsroom.web.post(
        "/manage", data={"address": "x@example.org"}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    newsroom.clock.advance(timedelta(minutes=59))
    await schedules.purge_requests(newsroom.ctx)
    assert (await newsroom.count("sign_in_links"), await newsroom.count("outbox_mails")) == (2, 2)
    newsroom.clock.advance(timedelta(minutes=2))
    await schedules.purge_requests(newsroom.ctx)
    assert (await newsroom.count("sign_in_links"), await newsroom.count("outbox_mails")) == (0, 0)
