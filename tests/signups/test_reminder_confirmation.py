"""Nobody is reminded whose mailbox was not confirmed, and no mailbox is written to often."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from payments.infra import alerts
from payments.ops import schedules
from payments.signups import reminder_sender
from tests.support.donor import Donor, link_in, newest_link, open_donor_browser
from tests.support.mail import TELLTALE
from tests.support.newsroom import Newsroom, open_newsroom, without_tokens
from tests.support.page import Page
from tests.support.reminders import (
    DAY,
    READER,
    asks,
    confirms,
    is_reminded_in_a_week,
    keys,
    passes,
    signs_up,
    states,
    walks_away,
    works,
)
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio

MOST = 24  # addresses that an hour has, in a test of that limit


async def test_looking_at_a_link_does_not_confirm_and_does_not_burn_it(reader: Donor) -> None:
    await signs_up(reader)
    await works(reader.room)
    link = link_in(reader.room.mails()[0], "/remind/confirm/")
    for _ in range(20):
        await reader.opens(link)
    assert await states(reader.room) == ["unconfirmed"]
    await confirms(reader, reader.room.mails()[0])
    again = await reader.opens(link)
    assert "You have already confirmed this." in again.text


async def test_what_nobody_confirms_in_two_days_has_its_key_destroyed(reader: Donor) -> None:
    await signs_up(reader)
    await works(reader.room)
    link = link_in(reader.room.mails()[0], "/remind/confirm/")
    assert len(keys(reader.room)) == 1
    await reader.room.advances_time(timedelta(hours=49))
    await reminder_sender.purge(reader.room.ctx, file_time=0)
    assert await reader.room.count("reminders") == 0
    assert keys(reader.room) == []
    await reader.opens(link, status=410)


async def test_the_answer_is_the_same_for_every_address(reader: Donor) -> None:
    unknown = await signs_up(reader, "nobody@example.org")
    await is_reminded_in_a_week(reader)
    known = await signs_up(reader)
    never = newest_link(reader.room, "/remind/never/")
    assert (await reader.room.web.post(never)).status_code == 200
    suppressed = await signs_up(reader)
    assert unknown.html == known.html == suppressed.html


async def test_a_donor_who_is_signed_in_needs_no_confirmation(reader: Donor) -> None:
    await reader.gives(500, "once")
    await reader.room.advances_time(timedelta(minutes=5))
    await reader.signs_in()
    before = len(reader.room.mails())
    page = await signs_up(reader, READER.upper())
    assert "We will remind you" in page.text
    other = await signs_up(reader, "somebody.else@example.org")
    assert "Check your e-mail" in other.text
    await passes(reader.room, 7 * DAY)
    assert [mail.to for mail in reader.room.mails()[before:]] == [
        ["somebody.else@example.org"],
        [READER],
    ]


# --- suppression ----------------------------------------------------------------------------------


async def test_whoever_says_never_is_never_written_to_again(reader: Donor) -> None:
    await signs_up(reader)
    await works(reader.room)
    link = link_in(reader.room.mails()[0], "/remind/never/")
    await reader.opens(link)
    assert await states(reader.room) == ["unconfirmed"]
    page = Page((await reader.room.web.post(link)).text)
    assert "We won't write to you again" in page.text
    await reader.room.advances_time(100 * DAY)
    await signs_up(reader)
    await passes(reader.room, DAY)
    assert len(reader.room.mails()) == 1
    assert keys(reader.room) == []


@pytest.mark.parametrize("kind", ["bounce", "complaint"])
async def test_a_mailbox_that_bounced_or_complained_is_left_alone(database: str, kind: str) -> None:
    token = secret_named("mail events")
    async with (
        open_newsroom(database, mail_events_token=token) as room,
        open_donor_browser(room) as browser,
    ):
        await is_reminded_in_a_week(browser)
        event = {"kind": kind, "address": "READER@example.org"}
        others = [{**event, "kind": "bounce", "status": s} for s in ("5.7.1", "5.2.2", "4.1.1", "")]
        headers = {"authorization": f"Bearer {token}"}
        answer = await room.web.post("/webhooks/mail", json={"events": others}, headers=headers)
        assert answer.json() == {"taken": 0}
        assert await room.rows("SELECT kind, object_id FROM alerts") == [("mail_refused", "5.7.1")]
        body = {"events": [event if kind == "complaint" else {**event, "status": "5.1.1"}]}
        for bearer in ("", "Bearer wrong", f"Bearer {token}x"):
            answer = await room.web.post(
                "/webhooks/mail", json=body, headers={"authorization": bearer}
            )
            assert answer.status_code == 404
        assert await states(room) == ["scheduled"]
        answer = await room.web.post(
            "/webhooks/mail", json=body, headers={"authorization": f"Bearer {token}"}
        )
        assert (answer.status_code, answer.json()) == (200, {"taken": 1})
        assert keys(room) == []
        await passes(room, 8 * DAY)
        await signs_up(browser)
        await passes(room, DAY)
        assert len(room.mails()) == 1
        # Another mail that is accepted says nothing of those that were reported.
        opened = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL"
        await room.web.post("/webhooks/mail", json={"events": others}, headers=headers)
        for days, still in ((0, [("mail_refused", "5.7.1")]), (9, [])):
            await passes(room, days * DAY)
            await schedules.purge_expired(room.ctx)  # time alone closes no alert
            assert await room.rows(opened) == [("mail_refused", "5.7.1")]
            assert await room.count("mail_refusals") == (0 if days else 1)
            room.mail_server.refusal = "450 4.2.0 greylisted"
            await asks(room, address=f"other{days}@example.org")
            await works(room)
            room.mail_server.refusal = ""
            await works(room)
            assert f"other{days}@example.org" in room.mails()[-1].to
            assert await room.rows(opened) == still


async def test_nobody_tells_of_bounces_where_no_token_is_set(newsroom: Newsroom) -> None:
    body = {"events": [{"kind": "bounce", "address": READER}]}
    answer = await newsroom.web.post(
        "/webhooks/mail", json=body, headers={"authorization": "Bearer "}
    )
    assert answer.status_code == 404


async def test_a_mailbox_that_does_not_exist_is_not_tried_twice(reader: Donor) -> None:
    reader.room.mail_server.rejections[READER] = "550 5.1.1 no such mailbox"
    await signs_up(reader)
    await works(reader.room)
    assert keys(reader.room) == []
    del reader.room.mail_server.rejections[READER]
    await signs_up(reader)
    await works(reader.room)
    assert reader.room.mails() == []


async def test_a_server_that_knows_no_mailbox_at_all_is_not_believed(newsroom: Newsroom) -> None:
    newsroom.mail_server.refusal = "550 5.1.1 user unknown in local recipient table"
    for number in range(12):
        await asks(newsroom, address=f"reader{number}@example.org")
    await works(newsroom)
    opened = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL"
    assert await newsroom.rows(opened) == [("mail_refused", "5.1.1")]
    assert await newsroom.count("suppressed_addresses") == 0  # nor of the nine before
    newsroom.mail_server.refusal = ""
    await works(newsroom)
    assert len(newsroom.mails()) == 3
    assert await newsroom.rows(opened) == []
    await asks(newsroom, address="reader0@example.org")
    await works(newsroom)
    # mails of one moment stand in any order
    assert ["reader0@example.org"] in [mail.to for mail in newsroom.mails()]


# --- hostile use ----------------------------------------------------------------------------------


async def test_many_requests_for_one_address_are_one_mail(newsroom: Newsroom) -> None:
    for number in range(30):
        form = ("reader@example.org", "READER@Example.org", "reader@example.org\u200b")[number % 3]
        assert (await asks(newsroom, address=form)).status_code == 202
        if number % 10 == 0:
            await works(newsroom)
    await works(newsroom)
    assert len(newsroom.mails()) == 1
    assert await newsroom.count("reminders") == 1
    for _ in range(30):
        await passes(newsroom, 2 * DAY)
        await reminder_sender.purge(newsroom.ctx, file_time=0)
        await asks(newsroom, on=str((newsroom.clock() + 9 * DAY).date()))
    await works(newsroom)
    assert len(newsroom.mails()) == 1


async def test_one_mailbox_however_it_is_typed_and_two_where_nobody_can_know(
    newsroom: Newsroom,
) -> None:
    wide = "\uff32\uff25\uff21\uff24\uff25\uff32@BÜCHER.example"
    same = ["reader@bücher.example", wide, " reader@xn--bcher-kva.example"]
    same += ["rea\u00adder@bücher.example", "reader\u200d@bücher.example"]
    for address in (*same, "rea.der@bücher.example", "reader+1@bücher.example"):
        await asks(newsroom, address=address)
    await works(newsroom)
    assert len(newsroom.mails()) == 3


@pytest.fixture
async def bounded(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom that writes to few unconfirmed addresses an hour."""
    async with open_newsroom(database, confirmation_mails_per_hour=MOST) as room:
        yield room
        await room.proves_itself()


async def test_more_confirmations_than_an_hour_has_wait_and_call_a_person(
    bounded: Newsroom,
) -> None:
    newsroom, flood = bounded, MOST + 5
    for number in range(flood):
        body = {"address": f"victim{number}@example.org", "on": "2026-12-24"}
        assert (await newsroom.web.post("/api/reminders", json=body)).status_code == 202
    await works(newsroom)
    assert len(newsroom.mails()) == MOST
    async with newsroom.ctx.sessions() as session:
        open_alerts = [alert.kind for alert in await alerts.list_open(session)]
    assert open_alerts == ["confirmation_limit_reached"]
    async with open_donor_browser(newsroom) as reader:
        late = await signs_up(reader, "late@example.org")
        assert "hours" not in late.text, "how many asked is nobody's business"
    await passes(newsroom, timedelta(hours=1, minutes=1))
    assert len(newsroom.mails()) == flood + 1
    await reminder_sender.purge(newsroom.ctx, file_time=0)
    await newsroom.advances_time(timedelta(hours=2))
    await reminder_sender.purge(newsroom.ctx, file_time=0)
    async with newsroom.ctx.sessions() as session:
        assert await alerts.list_open(session) == []


async def test_somebody_framed_gets_one_neutral_mail_and_can_end_it_for_good(
    reader: Donor,
) -> None:
    victim = "victim@example.org"
    for _ in range(5):
        await signs_up(reader, victim)
        await walks_away(reader, remind="yes", remind_address=victim)
        await passes(reader.room, DAY)
    (mail,) = reader.room.mails()
    assert TELLTALE.search(without_tokens(mail.part())) is None
    assert "/remind/never/" in mail.part()
