"""A reader who is not ready to give is reminded, at most twice and each time at most once."""

import re
from datetime import UTC, datetime, timedelta

import icalendar
import pytest

from tests.support.donor import SAME_ORIGIN_HEADERS, Donor, newest_link, open_donor_browser
from tests.support.mail import TELLTALE
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom, without_tokens
from tests.support.page import Page
from tests.support.reminders import (
    DAY,
    READER,
    asks,
    change,
    confirms,
    is_reminded_in_a_week,
    keys,
    passes,
    retries_at_once,
    signs_up,
    states,
    works,
)

PAYING_BANK, REFUSING_BANK = "AT611904300234573201", "AT861904300235473202"
pytestmark = pytest.mark.anyio


async def test_a_reader_who_is_not_ready_is_reminded_once_and_forgotten(reader: Donor) -> None:
    room = reader.room
    page = await signs_up(reader)
    assert "Check your e-mail" in page.text
    assert room.mails() == []
    await works(room)
    (confirmation_mail,) = room.mails()
    assert confirmation_mail.to == [READER]
    assert confirmation_mail.subject == "Please confirm your address"
    shown = await confirms(reader, confirmation_mail)
    assert "We will remind you" in shown.text
    assert "29 November 2026" in shown.text
    await passes(room, 6 * DAY)
    assert len(room.mails()) == 1
    await passes(room, DAY)
    _, reminded = room.mails()
    assert reminded.to == [READER]
    assert reminded.subject == "You asked us to write to you today"
    assert "This was the last e-mail." in reminded.part()
    assert keys(room) == []
    assert await states(room) == ["sent"]
    await passes(room, 30 * DAY)
    assert len(room.mails()) == 2


async def test_the_mail_leads_back_to_the_form_as_it_was_left(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    await passes(reader.room, 7 * DAY)
    link = reader.room.newest_mail("/back/").link("/back/")
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
    lines = mail.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")  # as they are on the wire
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines
    assert b"Auto-Submitted: auto-generated" in lines
    assert f"Message-ID: <{row_id}.1@lindenau.example>".encode() in lines
    (header,) = (line for line in lines if line.startswith(b"List-Unsubscribe: "))
    leave = header.decode("ascii").removeprefix("List-Unsubscribe: <").removesuffix(">")
    assert re.fullmatch(rf"{re.escape(BASE_URL)}/remind/stop/[\w.-]+", leave)
    assert max(map(len, lines)) < 998
    for headers in (
        {"accept": "text/html,*/*;q=0.5"},
        {"accept": "text/html", **SAME_ORIGIN_HEADERS},
    ):
        one_click = {"List-Unsubscribe": "One-Click"}
        gone = await reader.room.web.post(leave, data=one_click, headers=headers)
        assert gone.status_code == 200  # not redirected (RFC 8058), and without a cookie
        assert "set-cookie" not in gone.headers
    assert keys(reader.room) == []
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 2


async def test_a_second_mail_comes_a_week_later_only_to_whoever_ticked_it(reader: Donor) -> None:
    await is_reminded_in_a_week(reader, once_more="yes")
    await passes(reader.room, 7 * DAY)
    assert "once more, on 6 December 2026, and not after that" in reader.room.mails()[-1].part()
    assert len(keys(reader.room)) == 1
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 3
    await passes(reader.room, 60 * DAY)
    assert len(reader.room.mails()) == 3
    assert keys(reader.room) == []


async def test_every_few_months_is_two_mails_and_then_silence(reader: Donor) -> None:
    await is_reminded_in_a_week(reader, when="every_months", every_months="3")
    times = []
    for days in (*[1] * 190, *[10] * 21):  # each day until the second mail, and then a long time
        before = len(reader.room.mails())
        await passes(reader.room, days * DAY)
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
        for word in ("The Example", "50", "€", "eur"):
            assert word not in without_tokens(mail.part())
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
        open_donor_browser(room) as browser,
    ):
        page = await browser.opens("/remind")
        assert "By e-mail" not in page.text
        answer = await asks(room)
        assert (answer.status_code, answer.json()["title"]) == (
            503,
            "E-mail reminders are not available here",
        )
        assert "Nothing was stored." in answer.json()["detail"]


# --- cancelled stays cancelled --------------------------------------------------------------------


async def test_signing_up_again_does_not_revive_what_was_cancelled(reader: Donor) -> None:
    await is_reminded_in_a_week(reader, once_more="yes")
    await passes(reader.room, 7 * DAY)
    stop = newest_link(reader.room, "/remind/stop/")
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
    stop = newest_link(reader.room, "/remind/stop/")
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
    again = newest_link(reader.room, "/remind/again/")
    page = await reader.opens(again)
    answer = await reader.submits(page, "/remind", when="first", address=READER)
    assert "We will remind you" in answer.text
    answer = await reader.submits(page, "/remind", when="first", address="victim@example.org")
    assert "Check your e-mail" in answer.text
    await passes(reader.room, 2 * DAY)
    assert [mail.to for mail in reader.room.mails()[2:]] == [["victim@example.org"], [READER]]


# --- donors ---------------------------------------------------------------------------------------


async def test_whoever_has_given_meanwhile_is_left_in_peace(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    await reader.gives(500, "once")
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 1
    assert await states(reader.room) == ["donated"]
    assert keys(reader.room) == []


@pytest.mark.parametrize(("iban", "state"), [(PAYING_BANK, "donated"), (REFUSING_BANK, "sent")])
async def test_whoever_gave_from_a_bank_is_left_in_peace_unless_the_bank_refused(
    reader: Donor, iban: str, state: str
) -> None:
    await is_reminded_in_a_week(reader)
    await reader.room.advances_time(2 * DAY)
    await reader.gives(500, "once", "eur", iban=iban)
    if state == "sent":
        await reader.room.advances_time(4 * DAY)
        await reader.room.runs_until_idle()  # the bank has answered
    await passes(reader.room, 5 * DAY)
    assert await states(reader.room) == [state]


async def test_whoever_is_charged_again_by_a_bank_is_left_in_peace_while_it_works(
    reader: Donor,
) -> None:
    await reader.gives(500, "monthly", "eur", iban=PAYING_BANK)
    for days in (5, 19):
        await reader.room.advances_time(days * DAY)
        await reader.room.runs_until_idle()
    await is_reminded_in_a_week(reader)
    mails = len(reader.room.mails())
    await reader.room.advances_time(6 * DAY + timedelta(hours=3))
    await reader.room.runs_until_idle()
    assert ("pending",) in await reader.room.rows("SELECT status FROM charges")
    await passes(reader.room, DAY)
    assert len(reader.room.mails()) == mails
    assert await states(reader.room) == ["donated"]


async def test_whoever_gave_before_asking_is_reminded(reader: Donor) -> None:
    await reader.gives(500, "once")
    await reader.room.advances_time(timedelta(minutes=5))
    await is_reminded_in_a_week(reader)
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 2


# --- at most once ---------------------------------------------------------------------------------


async def test_a_lost_answer_of_the_mail_server_repeats_no_reminder(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    reader.room.mail_server.lost_responses = 1
    await passes(reader.room, 7 * DAY)
    assert len(reader.room.mails()) == 2
    await retries_at_once(reader.room)
    await passes(reader.room, timedelta(hours=2))
    assert len(reader.room.mails()) == 2


async def test_a_mail_server_that_is_away_or_asks_to_wait_loses_no_reminder(
    reader: Donor,
) -> None:
    await is_reminded_in_a_week(reader)
    await reader.room.mail_server.aclose()
    await passes(reader.room, 7 * DAY)
    await reader.room.mail_server.open()
    for refusal in (
        "450 4.2.0 greylisted", "554 5.7.1 relay access denied", "550 5.4.5 quota",
        "552 5.2.2 mailbox full", "550 5.7.1 sender address rejected: not logged in",
    ):  # fmt: skip
        reader.room.mail_server.refusal = refusal
        await retries_at_once(reader.room)
        assert await states(reader.room) == ["scheduled"]
    reader.room.mail_server.refusal = ""
    reader.room.mail_server.content_refusal = "550 5.7.1 this looks unsolicited"
    await retries_at_once(reader.room)
    assert len(reader.room.mails()) == 1
    assert await states(reader.room) == ["scheduled"]
    assert len(keys(reader.room)) == 1
    assert await reader.room.rows("SELECT * FROM reminder_counts WHERE step = 'sent'") == []
    reader.room.mail_server.content_refusal = ""
    await retries_at_once(reader.room)
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


async def test_the_days_are_in_order_and_the_page_afterwards_leads_on(reader: Donor) -> None:
    await reader.room.advances_time(8 * DAY)  # the 30th: the 1st is tomorrow
    page = await reader.opens("/remind?frequency=monthly&amount=500&currency=usd")
    one, week, month = (page.text.index(f"{day} {rest}") for day, rest in (
        (1, "December 2026"), (7, "December 2026"), (30, "December 2026")))  # fmt: skip
    assert one < week < month
    assert page.form("/remind").submission()["when"] == "week"  # and not tomorrow
    assert "Berlin (Europe)" in page.text
    sent = page.form("/remind").submission(address=READER, zone="Asia/Tbilisi")
    asked = Page((await reader.web.post("/remind", data=sent)).text)
    assert "In the morning of Tbilisi (Asia)" in asked.text
    await works(reader.room)
    confirmed = await confirms(reader, reader.room.mails()[-1])
    for shown in (asked, confirmed):
        entry = shown.form("/remind/calendar").submission()
        answer = await reader.web.post("/remind/calendar", data=entry)
        assert b"DTSTART:20261207T090000\r\n" in answer.content
        assert shown.links["Back to the form"].startswith("/donate?frequency=monthly&amount=500")
    (stop,) = (
        values["action"]
        for tag, values in confirmed.attributes
        if tag == "form" and "/remind/stop/" in values["action"]
    )
    await reader.web.post(stop)
    assert await states(reader.room) == ["cancelled"]
