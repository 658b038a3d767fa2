"""Not ready to give today: asked for, proved, reminded once, and forgotten."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icalendar
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from payments.infra import alerts
from payments.ops import worker
from payments.sandbox.hosted_page_client import pay
from payments.signups import address_vault, confirmation, reminder_sender, reminder_stats
from payments.signups.address_vault import AssociatedData
from tests.support.donor import Donor, link_in, open_donor_browser
from tests.support.mail import TELLTALE
from tests.support.newsroom import BASE_URL, Mail, Newsroom, open_newsroom, without_tokens
from tests.support.page import Page

pytestmark = pytest.mark.anyio
READER = "reader@example.org"
DAY = timedelta(days=1)


@pytest.fixture
async def reader(newsroom: Newsroom) -> AsyncIterator[Donor]:
    async with open_donor_browser(newsroom) as sits:
        yield sits


async def signs_up(reader: Donor, address: str = READER, **more: str) -> Page:
    """Fill in the form as it came from a link, and send it."""
    page = await reader.opens("/remind?frequency=monthly&amount=500&currency=usd")
    answer = await reader.submits(page, "/remind", **{"when": "week", "address": address, **more})
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def works(room: Newsroom) -> None:
    """What the worker does in a minute."""
    await reminder_sender.enqueue_due(room.ctx)
    await reminder_sender.send_confirmations(room.ctx)
    await worker.run_due_jobs(room.ctx)


async def confirms(reader: Donor, mail: Mail) -> Page:
    page = await reader.opens(link_in(mail, "/remind/confirm/"))
    answer = await reader.submits_without_session(page, link_in(mail, "/remind/confirm/"))
    assert answer.status_code == 200
    return Page(answer.text)


async def is_reminded_in_a_week(reader: Donor, address: str = READER, **more: str) -> None:
    await signs_up(reader, address, **more)
    await works(reader.room)
    await confirms(reader, reader.room.mails()[-1])


async def passes(room: Newsroom, by: timedelta) -> None:
    await room.advances_time(by)
    await works(room)


async def states(room: Newsroom) -> list[object]:
    return [
        state for (state,) in await room.rows("SELECT state FROM reminders ORDER BY signed_up_at")
    ]


def keys(room: Newsroom) -> list[Path]:
    return [path for path in Path(room.settings.address_key_dir).glob("??/*") if path.is_file()]


async def change(room: Newsroom, statement: str) -> None:
    async with room.ctx.sessions.begin() as session:
        await session.execute(text(statement))


# --- the whole way --------------------------------------------------------------------------------


async def test_a_reader_who_is_not_ready_is_reminded_once_and_forgotten(reader: Donor) -> None:
    room = reader.room
    page = await signs_up(reader)
    assert "Please look into your mailbox" in page.text
    assert room.mails() == []
    await works(room)
    (asked,) = room.mails()
    assert asked.to == [READER]
    assert asked.subject == "Please confirm your address"
    shown = await confirms(reader, asked)
    assert "We will remind you" in shown.text
    assert "29 November 2026" in shown.text
    await passes(room, 6 * DAY)
    assert len(room.mails()) == 1
    await passes(room, DAY)
    _, reminded = room.mails()
    assert reminded.to == [READER]
    assert reminded.subject == "You asked us to write to you today"
    assert "This was the last mail." in reminded.part()
    assert keys(room) == []
    assert await states(room) == ["sent"]
    await passes(room, 30 * DAY)
    assert len(room.mails()) == 2


async def test_the_mail_leads_back_to_the_form_as_it_was_left(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    await passes(reader.room, 7 * DAY)
    link = reader.room.mails()[-1].link("/back/")
    page = await reader.opens(link)
    form = page.form("/donate?lang=en").submission()
    assert (form["frequency"], form["amount_monthly"], form["currency"]) == (
        "monthly",
        "500",
        "usd",
    )
    assert form["campaign"] == "reminder"
    for nonsense in ("-", "zzz", "b05hTg", "%00", "a" * 300):
        await reader.opens(f"/back/{nonsense}")


async def test_a_reminder_says_who_made_it_and_how_to_leave_without_signing_in(
    reader: Donor,
) -> None:
    await is_reminded_in_a_week(reader, once_more="yes")
    await passes(reader.room, 7 * DAY)
    mail = reader.room.mails()[-1]
    ((row_id,),) = await reader.room.rows("SELECT id FROM reminders")
    assert mail.parsed["Auto-Submitted"] == "auto-generated"
    assert mail.parsed["Message-ID"] == f"<{row_id}.1@lindenau.example>"
    assert mail.parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    leave = str(mail.parsed["List-Unsubscribe"]).strip("<>")
    assert leave.startswith(f"{BASE_URL}/remind/stop/")
    gone = await reader.room.web.post(leave, data={"List-Unsubscribe": "One-Click"})
    assert gone.status_code == 200
    assert keys(reader.room) == []
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 2


async def test_a_second_mail_comes_a_week_later_only_to_whoever_ticked_it(reader: Donor) -> None:
    await is_reminded_in_a_week(reader, once_more="yes")
    await passes(reader.room, 7 * DAY)
    assert "once more, on 6 December 2026, and then not again" in reader.room.mails()[-1].part()
    assert len(keys(reader.room)) == 1
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 3
    await passes(reader.room, 60 * DAY)
    assert len(reader.room.mails()) == 3
    assert keys(reader.room) == []


async def test_every_few_months_is_two_mails_and_then_silence(reader: Donor) -> None:
    await is_reminded_in_a_week(reader, when="every_months", every_months="3")
    times = []
    for _ in range(400):
        before = len(reader.room.mails())
        await passes(reader.room, DAY)
        if len(reader.room.mails()) > before:
            times.append(reader.room.clock().date().isoformat())
    assert times == ["2027-02-22", "2027-05-22"]
    assert keys(reader.room) == []


@pytest.mark.parametrize(("locale", "subject"), [("en", "You asked us"), ("ru", "Вы просили")])
async def test_the_mails_are_neutral_in_every_language(
    reader: Donor, locale: str, subject: str
) -> None:
    page = await reader.opens(f"/remind?frequency=annual&amount=5000&currency=eur&lang={locale}")
    action = next(form.action for form in page.forms if "remind?" in form.action)
    answer = await reader.web.post(
        action, data=page.form(action).submission(when="week", address=READER)
    )
    assert answer.status_code == 200
    await works(reader.room)
    await confirms(reader, reader.room.mails()[-1])
    await passes(reader.room, 7 * DAY)
    confirmation, reminder = reader.room.mails()
    assert reminder.subject.startswith(subject)
    for mail in (confirmation, reminder):
        assert mail.parsed["Content-Language"] == locale
        assert len(mail.raw) < 6 * 1024
        heads = "\n".join(f"{name}: {value}" for name, value in mail.parsed.items())
        everything = "\n".join([heads, mail.part(), mail.part("html")])
        everything = without_tokens(everything.replace(READER, ""))
        assert TELLTALE.search(everything) is None, TELLTALE.search(everything)
        for said in ("The Example", "50", "€", "eur"):
            assert said not in without_tokens(mail.part())
        assert "<img" not in mail.part("html")


# --- without an address ---------------------------------------------------------------------------


async def test_a_calendar_entry_needs_no_address_and_keeps_none(reader: Donor) -> None:
    page = await reader.opens("/remind?frequency=monthly&amount=700&currency=eur")
    filled = page.form("/remind").submission(
        when="on", on="2027-01-31", address="typed@example.org"
    )
    answer = await reader.web.post("/remind/calendar", data=filled)
    assert answer.headers["content-type"].startswith("text/calendar")
    (event,) = icalendar.Calendar.from_ical(answer.content).walk("VEVENT")
    assert event["summary"] == "A note to myself"
    assert b"DTSTART:20270131T090000\r\n" in answer.content  # of no zone: nine wherever it is
    link = str(event["url"])
    assert TELLTALE.search(answer.text.replace(BASE_URL, "")) is None
    form = (await reader.opens(link.removeprefix(BASE_URL))).form("/donate?lang=en").submission()
    assert (form["frequency"], form["other_monthly"]) == ("monthly", "7.00")
    assert await reader.room.count("reminders") == 0
    assert keys(reader.room) == []


async def test_a_calendar_entry_on_the_31st_finds_the_last_day_of_every_month(
    newsroom: Newsroom, reader: Donor
) -> None:
    newsroom.clock.current = datetime(2026, 12, 31, 12, tzinfo=UTC)
    page = await reader.opens("/remind")
    filled = page.form("/remind").submission(when="every_months", every_months="1")
    answer = await reader.web.post("/remind/calendar", data=filled)
    assert "BYMONTHDAY=28,29,30,31;BYSETPOS=-1" in answer.text.replace("\r\n ", "")


async def test_without_a_place_for_keys_only_the_calendar_is_offered(database: str) -> None:
    async with (
        open_newsroom(database, address_key_dir="") as room,
        open_donor_browser(room) as sits,
    ):
        page = await sits.opens("/remind")
        assert "By mail" not in page.text
        asked = await asks(room)
        assert (asked.status_code, asked.json()["title"]) == (
            503,
            "Reminders by mail are not available here",
        )
        assert "Nothing was stored." in asked.json()["detail"]


# --- whose mailbox it is --------------------------------------------------------------------------


async def test_looking_at_a_link_does_not_confirm_and_does_not_burn_it(reader: Donor) -> None:
    await signs_up(reader)
    await works(reader.room)
    link = link_in(reader.room.mails()[0], "/remind/confirm/")
    for _ in range(20):
        await reader.opens(link)
    assert await states(reader.room) == ["unconfirmed"]
    await confirms(reader, reader.room.mails()[0])
    again = await reader.opens(link)
    assert "You have confirmed this already." in again.text


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
    never = link_in(reader.room.mails()[-1], "/remind/never/")
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
    assert "Please look into your mailbox" in other.text
    await passes(reader.room, 7 * DAY)
    assert [mail.to for mail in reader.room.mails()[before:]] == [
        ["somebody.else@example.org"],
        [READER],
    ]


async def test_whoever_says_never_is_never_written_to_again(reader: Donor) -> None:
    await signs_up(reader)
    await works(reader.room)
    link = link_in(reader.room.mails()[0], "/remind/never/")
    await reader.opens(link)
    assert await states(reader.room) == ["unconfirmed"]
    page = Page((await reader.room.web.post(link)).text)
    assert "We will never write to you" in page.text
    await reader.room.advances_time(100 * DAY)
    await signs_up(reader)
    await passes(reader.room, DAY)
    assert len(reader.room.mails()) == 1
    assert keys(reader.room) == []


# --- cancelled stays cancelled --------------------------------------------------------------------


async def test_signing_up_again_does_not_revive_what_was_cancelled(reader: Donor) -> None:
    await is_reminded_in_a_week(reader, once_more="yes")
    await passes(reader.room, 7 * DAY)
    stop = link_in(reader.room.mails()[-1], "/remind/stop/")
    await reader.opens(stop)
    assert await states(reader.room) == ["scheduled"]
    await reader.web.post(stop)
    assert await states(reader.room) == ["cancelled"]
    before = len(reader.room.mails())
    await signs_up(reader)
    await asks(reader.room, address=READER)
    await passes(reader.room, 30 * DAY)
    assert len(reader.room.mails()) == before
    assert (await states(reader.room))[0] == "cancelled"


async def test_only_the_mail_and_its_address_take_a_cancellation_back(reader: Donor) -> None:
    await is_reminded_in_a_week(reader, once_more="yes")
    await passes(reader.room, 7 * DAY)
    stop = link_in(reader.room.mails()[-1], "/remind/stop/")
    code = stop.rpartition("/")[2]
    await reader.web.post(stop)
    answers = set()
    for address in ("other@example.org", READER):
        body = {"code": code, "address": address}
        answer = await reader.room.web.post("/api/reminders/reactivate", json=body)
        answers.add((answer.status_code, answer.text))
        assert await states(reader.room) == [
            "scheduled" if address == READER else "cancelled",
        ]
    assert len(answers) == 1
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 3


async def test_another_day_is_chosen_from_the_mail_without_a_second_confirmation(
    reader: Donor,
) -> None:
    await is_reminded_in_a_week(reader)
    await passes(reader.room, 7 * DAY)
    again = link_in(reader.room.mails()[-1], "/remind/again/")
    page = await reader.opens(again)
    answer = await reader.submits(page, "/remind", when="first", address=READER)
    assert "We will remind you" in answer.text
    answer = await reader.submits(page, "/remind", when="first", address="victim@example.org")
    assert "Please look into your mailbox" in answer.text
    await passes(reader.room, 2 * DAY)
    assert [mail.to for mail in reader.room.mails()[2:]] == [["victim@example.org"], [READER]]


# --- never to these -------------------------------------------------------------------------------


async def test_whoever_has_given_meanwhile_is_left_in_peace(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    await reader.gives(500, "once")
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 1
    assert await states(reader.room) == ["donated"]
    assert keys(reader.room) == []


async def test_whoever_gave_before_asking_is_reminded(reader: Donor) -> None:
    await reader.gives(500, "once")
    await reader.room.advances_time(timedelta(minutes=5))
    await is_reminded_in_a_week(reader)
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 2


@pytest.mark.parametrize("kind", ["bounce", "complaint"])
async def test_a_mailbox_that_bounced_or_complained_is_left_alone(database: str, kind: str) -> None:
    token = "t" * 40
    async with (
        open_newsroom(database, mail_events_token=token) as room,
        open_donor_browser(room) as sits,
    ):
        await is_reminded_in_a_week(sits)
        body = {"events": [{"kind": kind, "address": "READER@example.org"}]}
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
        await signs_up(sits)
        await passes(room, DAY)
        assert len(room.mails()) == 1


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


# --- at most once ---------------------------------------------------------------------------------


async def test_a_lost_answer_of_the_mail_server_repeats_no_reminder(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    reader.room.mail_server.lost_responses = 1
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 2
    await the_pause_is_over(reader.room)
    await passes(reader.room, timedelta(hours=2))
    assert len(reader.room.mails()) == 2


async def test_a_mail_server_that_is_away_or_asks_to_wait_loses_no_reminder(
    reader: Donor,
) -> None:
    await is_reminded_in_a_week(reader)
    await reader.room.mail_server.aclose()
    await passes(reader.room, 7 * DAY)
    await reader.room.mail_server.open()
    reader.room.mail_server.rejections[READER] = "450 4.2.0 greylisted"
    await the_pause_is_over(reader.room)
    assert len(reader.room.mails()) == 1
    reader.room.mail_server.rejections.clear()
    await the_pause_is_over(reader.room)
    assert len(reader.room.mails()) == 2


async def test_after_an_outage_a_reminder_comes_late_but_not_a_week_late(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    async with open_donor_browser(reader.room, "later@example.org") as other:
        await is_reminded_in_a_week(other, "later@example.org", when="on", on="2026-12-02")
    await passes(reader.room, 16 * DAY)
    assert [mail.to for mail in reader.room.mails()[2:]] == [["later@example.org"]]
    assert await reader.room.rows(
        "SELECT step, number FROM reminder_counts WHERE step = 'missed'"
    ) == [("missed", 1)]
    assert keys(reader.room) == []


async def test_a_clock_that_jumps_repeats_nothing(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    await passes(reader.room, 7 * DAY)
    for jump in (-DAY, DAY, -2 * DAY, 3 * DAY):
        reader.room.clock.advance(jump)
        await works(reader.room)
    assert len(reader.room.mails()) == 2


async def test_a_poisoned_row_stops_nobody_else(reader: Donor) -> None:
    for number in range(3):
        await is_reminded_in_a_week(reader, f"reader{number}@example.org")
    ((first,), *_) = await reader.room.rows("SELECT id FROM reminders ORDER BY signed_up_at, id")
    await change(reader.room, f"UPDATE reminders SET address_ciphertext = 'x' WHERE id = '{first}'")  # noqa: S608 - ours
    await change(reader.room, "UPDATE reminders SET zone = 'Nowhere/Gone'")
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 5
    assert sorted(map(str, await states(reader.room))) == ["key_lost", "sent", "sent"]


async def test_it_comes_in_the_morning_where_the_reader_lives(reader: Donor) -> None:
    await is_reminded_in_a_week(reader, zone="Pacific/Auckland")  # where it is Monday already
    ((due,),) = await reader.room.rows("SELECT due_on FROM reminders")
    assert str(due) == "2026-11-30"
    reader.room.clock.current = datetime(2026, 11, 29, 19, 59, tzinfo=UTC)
    await works(reader.room)
    assert len(reader.room.mails()) == 1
    reader.room.clock.current = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)
    await works(reader.room)
    assert len(reader.room.mails()) == 2


async def the_pause_is_over(room: Newsroom) -> None:
    """The engine goes by the database's clock, which no test turns."""
    await change(room, "UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'")
    await worker.run_due_jobs(room.ctx)


# --- what is kept ---------------------------------------------------------------------------------


async def test_neither_the_database_nor_yesterdays_copy_of_it_yields_an_address(
    reader: Donor,
) -> None:
    room = reader.room
    await is_reminded_in_a_week(reader)
    yesterday = await dumped(room)
    ((row_id, sealed),) = await room.rows("SELECT id, address_ciphertext FROM reminders")
    assert isinstance(row_id, str)
    assert isinstance(sealed, bytes)
    cell = AssociatedData("reminders", "address_ciphertext", row_id)
    assert address_vault.decrypt(room.settings, cell, sealed) == READER  # while it is needed
    for moved in (
        AssociatedData("reminders", "address_ciphertext", "0" * 32),
        AssociatedData("reminders", "zone", row_id),
        AssociatedData("letters", "address_ciphertext", row_id),
    ):
        assert address_vault.decrypt(room.settings, moved, sealed) is None
    await passes(room, 7 * DAY)
    today = await dumped(room)
    for dump in (yesterday, today):
        assert READER.encode() not in dump
        assert b"reader" not in dump
    # with the secret keys, yesterday's row and today's key store
    assert address_vault.decrypt(room.settings, cell, sealed) is None
    assert keys(room) == []


async def dumped(room: Newsroom) -> bytes:
    """Every row of every table, as a backup has it."""
    tables = await room.rows(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    )
    found = b""
    for (name,) in tables:
        rows = await room.rows(f"SELECT t::text FROM {name} AS t")  # noqa: S608 - the catalogue's own
        found += b"\n".join(str(row).encode() for row in rows)
    return found


async def test_an_address_survives_a_roll_of_the_secret_keys(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    room, settings = reader.room, reader.room.settings
    ((row_id, sealed),) = await room.rows("SELECT id, address_ciphertext FROM reminders")
    assert isinstance(sealed, bytes)
    cell = AssociatedData("reminders", "address_ciphertext", str(row_id))
    rolled = type(settings).model_validate(
        {**settings.model_dump(), "secret_keys": f"{'n' * 40},{'k' * 40}"}
    )
    newest = type(settings).model_validate({**settings.model_dump(), "secret_keys": "n" * 40})
    assert address_vault.decrypt(rolled, cell, sealed) == READER
    assert address_vault.decrypt(newest, cell, sealed) is None
    assert (address_vault.rewrap_keys(rolled), address_vault.rewrap_keys(rolled)) == (1, 0)
    assert address_vault.decrypt(newest, cell, sealed) == READER
    address_vault.destroy_key(settings, str(row_id))
    assert address_vault.rewrap_keys(rolled) == 0
    assert keys(room) == []


async def test_a_key_that_a_crash_left_behind_is_destroyed(reader: Donor) -> None:
    room = reader.room
    await is_reminded_in_a_week(reader)
    address_vault.encrypt(
        room.settings,
        AssociatedData("reminders", "address_ciphertext", "f" * 32),
        "lost@example.org",
    )
    assert len(keys(room)) == 2
    await reminder_sender.purge(room.ctx, file_time=0)
    assert len(keys(room)) == 2
    future = datetime.now(UTC).timestamp() + 3 * 3600
    await reminder_sender.purge(room.ctx, file_time=future)
    assert len(keys(room)) == 1
    await passes(room, 7 * DAY)
    assert len(room.mails()) == 2


# --- an unfinished Checkout -----------------------------------------------------------------------


async def walks_away(reader: Donor, **ticks: str) -> None:
    """Start a gift at the form, and close Stripe's page."""
    page = await reader.opens("/donate?frequency=once&amount=500&currency=usd")
    sent = page.form("/donate").submission() | ticks
    answer = await reader.web.post("/donate", data=sent)
    assert answer.status_code == 303, Page(answer.text).text
    await reader.room.advances_time(timedelta(minutes=70))
    await reader.room.runs_until_idle()


async def test_whoever_ticked_it_is_reminded_once_of_an_abandoned_checkout(reader: Donor) -> None:
    await walks_away(reader, remind="yes", remind_address=READER)
    assert await states(reader.room) == ["scheduled"]
    await passes(reader.room, DAY)
    (mail,) = reader.room.mails()
    assert "left a page of ours unfinished" in mail.part()
    assert TELLTALE.search(without_tokens(mail.part())) is None
    await passes(reader.room, 30 * DAY)
    await walks_away(reader, remind="yes", remind_address=READER)
    await passes(reader.room, 2 * DAY)
    assert len(reader.room.mails()) == 1
    assert keys(reader.room) == []


async def test_without_the_tick_an_unfinished_gift_leaves_nothing(reader: Donor) -> None:
    await walks_away(reader, remind_address=READER)
    assert await reader.room.count("reminders") == 0
    await passes(reader.room, 2 * DAY)
    assert reader.room.mails() == []


async def test_of_whoever_finishes_nothing_is_stored(reader: Donor) -> None:
    page = await reader.opens("/donate?frequency=once&amount=500&currency=usd")
    sent = page.form("/donate").submission() | {"remind": "yes", "remind_address": READER}
    answer = await reader.web.post("/donate", data=sent)
    assert len(keys(reader.room)) == 1
    await pay(answer.headers["location"], email=READER)
    await reader.room.runs_until_idle()
    assert keys(reader.room) == []
    await passes(reader.room, 3 * DAY)
    assert reader.room.mails() == []


async def test_the_tick_without_an_address_is_asked_about(reader: Donor) -> None:
    page = await reader.opens("/donate")
    sent = page.form("/donate").submission() | {"remind": "yes", "remind_address": "nonsense"}
    answer = await reader.web.post("/donate", data=sent)
    assert answer.status_code == 422
    assert "Please check the e-mail address." in Page(answer.text).text
    assert await reader.room.count("contributions") == 0


# --- for programs ---------------------------------------------------------------------------------


async def asks(room: Newsroom, **body: object):  # type: ignore[no-untyped-def]  # noqa: ANN201 - httpx's
    return await room.web.post(
        "/api/reminders", json={"address": READER, "on": "2026-12-24", **body}
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"on": None, "every_months": 0}, "every_months"),
        ({"on": None, "every_months": 13}, "every_months"),
        ({"on": None, "every_months": -1}, "every_months"),
        ({"on": None, "every_months": 2**70}, "every_months"),
        ({"on": None, "every_months": 1.5}, "every_months"),
        ({"on": "2026-11-22"}, "on"),
        ({"on": "2026-01-01"}, "on"),
        ({"on": "2027-11-23"}, "on"),
        ({"on": "9999-12-31"}, "on"),
        ({"on": "soon"}, "on"),
        ({"on": None}, "on"),
        ({"on": None, "month": "2026-11"}, "on"),
        ({"on": None, "month": "2026-13"}, "month"),
        ({"on": None, "month": "0000-01"}, "month"),
        ({"on": None, "month": "2027-01\n"}, "month"),
        ({"every_months": 3}, "on"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"address": "nobody"}, "address"),
        ({"address": "a@b"}, "address"),
        ({"address": ""}, "address"),
        ({"address": "почта@example.org"}, "address"),
        ({"address": "a@example.org\r\nBcc: b@example.org"}, "address"),
        ({"address": "a@example.org,b@example.org"}, "address"),
        ({"address": '"a b"@example.org'}, "address"),
        ({"address": "Name <a@example.org>"}, "address"),
        ({"address": "a" * 300 + "@example.org"}, "address"),
        ({"address": 7}, "address"),
        ({"amount": 500}, "amount"),
        ({"amount": 1, "currency": "usd", "frequency": "once"}, "amount"),
        ({"stage": "PRE"}, "stage"),
    ],
)
async def test_bad_input_is_refused_by_field_and_keeps_nothing(
    newsroom: Newsroom, body: dict[str, object], field: str
) -> None:
    answer = await asks(newsroom, **body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == f"/{field}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert await newsroom.count("reminders") == 0
    assert keys(newsroom) == []


@pytest.mark.parametrize(
    "change",
    [
        "interval_months = 0",
        "interval_months = 13",
        "first_send_on = signed_up_on",
        "first_send_on = signed_up_on - 1",
        "first_send_on = signed_up_on + 367",
        "slots = 3",
        "slot = 1, sent_count = 2",
        "address_ciphertext = NULL",
        "amount = -1, currency = 'usd', frequency = 'once'",
        "amount = 1",
    ],
)
async def test_the_database_refuses_it_too(newsroom: Newsroom, change: str) -> None:
    assert (await asks(newsroom)).status_code == 202
    with pytest.raises(IntegrityError):
        async with newsroom.ctx.sessions.begin() as session:
            await session.execute(text(f"UPDATE reminders SET {change}"))  # noqa: S608 - a test's own word


async def test_a_program_asks_cancels_and_reads_the_same_answers(newsroom: Newsroom) -> None:
    for body in ({}, {"on": None, "month": "2027-01"}, {"on": None, "every_months": 12}):
        answer = await asks(newsroom, **body)
        assert (answer.status_code, answer.json()) == (202, {"status": "noted"})
    assert await newsroom.count("reminders") == 1
    broken = await newsroom.web.post("/api/reminders/cancel", json={"code": "nonsense"})
    assert broken.status_code == 410
    page = await newsroom.web.get("/schema/openapi.json")
    assert {"/api/reminders", "/api/reminders/cancel", "/api/reminders/reactivate"} <= set(
        page.json()["paths"]
    )


# --- hostile use ----------------------------------------------------------------------------------


async def test_many_requests_for_one_address_are_one_mail(newsroom: Newsroom) -> None:
    for number in range(60):
        form = ("reader@example.org", "READER@Example.org", "reader@example.org\u200b")[number % 3]
        assert (await asks(newsroom, address=form)).status_code == 202
        if number % 20 == 0:
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


async def test_a_flood_of_addresses_is_capped_and_honest_readers_are_served(
    newsroom: Newsroom,
) -> None:
    flood = confirmation.CONFIRMATIONS_PER_HOUR + 40
    attacker = {"x-forwarded-for": "203.0.113.7"}
    for number in range(flood):
        body = {"address": f"victim{number}@example.org", "on": "2026-12-24"}
        answer = await newsroom.web.post("/api/reminders", json=body, headers=attacker)
        assert answer.status_code == 202
    honest = {"address": "honest@example.org", "on": "2026-12-24"}
    await newsroom.web.post(
        "/api/reminders", json=honest, headers={"x-forwarded-for": "198.51.100.9"}
    )
    await works(newsroom)
    assert len(newsroom.mails()) == confirmation.CONFIRMATIONS_PER_HOUR
    assert ["honest@example.org"] in [mail.to for mail in newsroom.mails()[:10]]
    async with newsroom.ctx.sessions() as session:
        open_alarms = [alarm.kind for alarm in await alerts.list_open(session)]
    assert open_alarms == ["confirmation_limit_reached"]
    async with open_donor_browser(newsroom) as reader:
        late = await signs_up(reader, "late@example.org")
        assert "the mail may take some hours" in late.text
    await passes(newsroom, timedelta(hours=1, minutes=1))
    assert len(newsroom.mails()) == flood + 2
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


# --- the funnel -----------------------------------------------------------------------------------


async def test_the_funnel_counts_steps_and_hides_the_few(reader: Donor) -> None:
    room = reader.room
    for number in range(6):
        await is_reminded_in_a_week(reader, f"reader{number}@example.org")
    await signs_up(reader, "silent@example.org")
    await passes(room, 7 * DAY)
    links = [mail.link("/back/") for mail in room.mails() if "/back/" in mail.part()]
    assert len(set(links)) == 1  # the same for all, so it names nobody
    for number in range(5):
        page = await reader.opens(links[0])
        answer = await reader.web.post("/donate", data=page.form("/donate?lang=en").submission())
        await pay(answer.headers["location"], email=f"reader{number}@example.org")
    await room.runs_until_idle()
    months = await funnel_rows(room)
    ((month, steps, gave, amounts),) = months
    assert month == "2026-11"
    assert steps == {
        "signed_up": 7, "confirmed": 6, "sent": 6, "opened": 5, "missed": 0, "calendar": 0,
    }  # fmt: skip
    assert (gave, amounts) == (5, ["25.00 USD"])


async def funnel_rows(room: Newsroom) -> list[tuple[str, dict[str, int | None], object, object]]:
    async with room.ctx.sessions() as session:
        rows = await reminder_stats.monthly_stats(
            session, room.settings, since=room.clock().date() - 60 * DAY
        )
    return [
        (
            f"{row.month:%Y-%m}",
            {step.value: number for step, number in row.steps.items()},
            row.donated,
            [str(amount) for amount in row.amounts],
        )
        for row in rows
    ]


async def test_a_month_with_few_says_nothing_of_them(reader: Donor) -> None:
    await signs_up(reader)
    ((_, steps, gave, amounts),) = await funnel_rows(reader.room)
    assert steps["signed_up"] is None
    assert steps["sent"] == 0
    assert (gave, amounts) == (0, [])
