"""No address is handed on whose mailbox was not confirmed, and no mailbox is written to often."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from payments.signups import (
    newsletter,
    newsletter_delivery,
    reminder_sender,
)
from tests.support.donor import Donor, link_in, newest_link
from tests.support.newsletter import (
    DAY,
    HOUR,
    READER,
    MailingSystem,
    asks,
    is_confirmed,
    keys,
    open_alerts,
    passes,
    presses,
    reading,
    signs_up,
    states,
    works,
)
from tests.support.newsroom import (
    forgeries,
    respellings,
)
from tests.support.page import Page

pytestmark = pytest.mark.anyio

MOST = 24  # addresses that an hour has, in a test of that limit


async def test_looking_at_the_link_confirms_nothing_and_pressing_twice_is_once(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    await signs_up(subscriber)
    await works(subscriber.room)
    link = link_in(subscriber.room.mails()[0], "/mailbox/confirm/")
    for _ in range(5):
        await subscriber.opens(link)
    await works(subscriber.room)
    assert mailing.came == []
    assert (await subscriber.web.post(link)).status_code == 200
    assert (await subscriber.web.post(link)).status_code == 200
    await works(subscriber.room)
    assert (await subscriber.web.post(link)).status_code == 200
    assert "Your address is confirmed" in (await subscriber.opens(link)).text
    await works(subscriber.room)
    assert len(mailing.came) == 1


async def test_a_link_that_is_late_or_forged_opens_nothing(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    await signs_up(subscriber)
    await works(subscriber.room)
    link = link_in(subscriber.room.mails()[0], "/mailbox/confirm/")
    never = link_in(subscriber.room.mails()[0], "/mailbox/never/")
    swapped = never.replace("/never/", "/confirm/")
    for forged in (*forgeries(link), *respellings(link), swapped):
        for answer in (await subscriber.web.get(forged), await subscriber.web.post(forged)):
            assert answer.status_code == 410
            assert "Nothing was changed." in Page(answer.text).text
    await subscriber.room.advances_time(49 * HOUR)
    assert (await subscriber.web.post(link)).status_code == 410
    await newsletter_delivery.purge(subscriber.room.ctx)
    assert await subscriber.room.count("newsletter_signups") == 0
    assert keys(subscriber.room) == []
    await works(subscriber.room)
    assert mailing.came == []


async def test_the_answer_is_the_same_for_every_address(subscriber: Donor) -> None:
    unknown = await signs_up(subscriber, "nobody@example.org")
    await is_confirmed(subscriber)
    known = await signs_up(subscriber)
    await presses(subscriber, newest_link(subscriber.room, "/mailbox/never/"))
    suppressed = await signs_up(subscriber)
    assert unknown.html == known.html == suppressed.html
    answers = [
        await asks(subscriber.room, address=one)
        for one in ("new@example.org", READER, READER.upper())
    ]
    assert {(one.status_code, one.text) for one in answers} == {(202, '{"status":"noted"}')}


async def test_whoever_says_never_gets_no_such_mail_and_is_not_handed_over(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    await is_confirmed(subscriber)
    link = link_in(subscriber.room.mails()[0], "/mailbox/never/")
    await subscriber.opens(link)
    assert await states(subscriber.room) == ["confirmed"]
    page = await presses(subscriber, link)
    assert "We won't write to you again" in page.text
    assert keys(subscriber.room) == []
    await passes(subscriber.room, 100 * DAY)
    await signs_up(subscriber)
    await passes(subscriber.room, DAY)
    assert len(subscriber.room.mails()) == 1
    assert mailing.came == []
    assert (
        await subscriber.web.get(link_in(subscriber.room.mails()[0], "/mailbox/confirm/"))
    ).is_error


async def test_a_mailbox_that_wants_no_reminder_gets_none_of_these_either(
    subscriber: Donor,
) -> None:
    page = await subscriber.opens("/remind")
    await subscriber.submits(page, "/remind", when="week", address=READER)
    await reminder_sender.send_confirmations(subscriber.room.ctx)
    never = newest_link(subscriber.room, "/remind/never/")
    assert (await subscriber.web.post(never)).status_code == 200
    await signs_up(subscriber)
    await works(subscriber.room)
    assert len(subscriber.room.mails()) == 1
    assert keys(subscriber.room) == []


async def test_a_mailbox_that_does_not_exist_is_not_tried_twice(subscriber: Donor) -> None:
    subscriber.room.mail_server.rejections[READER] = "550 5.1.1 no such mailbox"
    await signs_up(subscriber)
    await works(subscriber.room)
    subscriber.room.mail_server.rejections.clear()
    await signs_up(subscriber)
    await works(subscriber.room)
    assert subscriber.room.mails() == []
    assert keys(subscriber.room) == []


async def test_many_who_ask_for_one_address_send_it_one_mail(subscriber: Donor) -> None:
    for variant in [READER, READER.upper(), "Reader@EXAMPLE.org", "\u200breader@example.org"] * 10:
        answer = await asks(subscriber.room, address=variant)
        assert answer.status_code == 202
    await works(subscriber.room)
    assert await subscriber.room.count("newsletter_signups") == 1
    for _ in range(6):
        await passes(subscriber.room, 15 * DAY - HOUR)
        await newsletter_delivery.purge(subscriber.room.ctx)
        await signs_up(subscriber)
        await works(subscriber.room)
    assert len(subscriber.room.mails()) == 1
    await passes(subscriber.room, DAY)
    await newsletter_delivery.purge(subscriber.room.ctx)
    await signs_up(subscriber)
    await works(subscriber.room)
    assert len(subscriber.room.mails()) == 2


@pytest.fixture
async def bounded(database: str, mailing: MailingSystem) -> AsyncIterator[Donor]:
    """A reader of a newsroom that writes to few unconfirmed addresses an hour."""
    async with reading(database, mailing, confirmation_mails_per_hour=MOST) as browser:
        yield browser


async def test_many_addresses_share_an_hour_with_the_reminders_and_call_a_person(
    bounded: Donor,
) -> None:
    subscriber, room, most = bounded, bounded.room, MOST
    async with room.ctx.sessions.begin() as session:
        for number in range(60):  # more than two hours' worth, behind one network
            victim = f"victim{number}@example.org"
            await newsletter.sign_up(
                session,
                room.settings,
                address=victim,
                hashes=await newsletter.address_hashes(room.settings, victim),
                deprioritised=number >= 3,
                now=room.clock(),
                locale="en",
            )
    for _ in range(5):
        await works(room)
    assert len(room.mails()) == most // 2  # a crowd does not get all of the hour
    assert await open_alerts(room) == ["confirmation_limit_reached"]
    await signs_up(subscriber, "honest@example.org")
    await works(room)
    assert room.mails()[-1].to == ["honest@example.org"]
    page = await subscriber.opens("/remind")
    await subscriber.submits(page, "/remind", when="week", address="other@example.org")
    await reminder_sender.send_confirmations(room.ctx)
    assert room.mails()[-1].to == ["other@example.org"]
    await passes(room, HOUR + timedelta(minutes=1))
    assert len(room.mails()) == most // 2 + 2 + most // 2
    await passes(room, 48 * HOUR)
    await newsletter_delivery.purge(room.ctx)
    assert len(room.mails()) <= 2 * most
    assert await states(room) == []
    assert keys(room) == [path for path in keys(room) if "newsletter" not in path.parts]
