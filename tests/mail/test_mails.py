"""What donors find in their mailboxes, and what is never sent."""

import hashlib
import mailbox
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.giving import (
    cancellations,
    notices_due,
    outbox_sender,
    subscription_changes,
    subscription_sync,
)
from payments.giving.change_log import Actor
from payments.infra import db, demo_clock, logs
from payments.infra.context import open_context
from payments.mail import links
from tests.support.donor import SAME_ORIGIN_HEADERS, months_pass, subscription_id_of
from tests.support.mail import (
    ADDRESS,
    GOOD_CARD,
    execute,
    mail_statuses,
    request_sign_in_link,
    run_scheduled_jobs,
    subscribe_monthly,
)
from tests.support.newsroom import Newsroom, open_newsroom

pytestmark = pytest.mark.anyio


async def donors_without_mail(room: Newsroom) -> list[object]:
    """The contributions whose donors could not be reached, by the open alerts."""
    rows = await room.rows(
        "SELECT object_id FROM alerts WHERE kind = 'mail_undeliverable' AND closed_at IS NULL"
    )
    return [row[0] for row in rows]


# --- a payment that failed ------------------------------------------------------------------------


async def test_a_failed_renewal_is_notified_once_with_a_way_to_fix_it(newsroom: Newsroom) -> None:
    gift = await subscribe_monthly(newsroom)
    assert newsroom.mails() == []
    await months_pass(newsroom, 1)
    (mail,) = newsroom.mails()
    assert mail.to == [ADDRESS]
    assert mail.subject == "Your monthly payment needs attention"
    assert "Your payment of $5.00 did not go through. Nothing was charged." in mail.part()
    assert gift.id[:8].upper() in mail.part()
    signed = mail.link("/fix/").removeprefix("/fix/")
    assert links.contribution_for_card_link(newsroom.ctx, signed).contribution_id == gift.id
    signed = mail.link("/stop/").removeprefix("/stop/")
    assert links.contribution_for_cancel_link(newsroom.ctx, signed).contribution_id == gift.id


async def test_the_same_failure_reported_again_by_stripe_is_no_second_mail(
    newsroom: Newsroom,
) -> None:
    await subscribe_monthly(newsroom, months=1)
    for _ in range(2):
        await newsroom.deliver(list(newsroom.delivered))
        await newsroom.runs_until_idle()
    assert len(newsroom.mails()) == 1


async def test_each_mail_says_who_made_it_and_nothing_more(newsroom: Newsroom) -> None:
    await subscribe_monthly(newsroom, months=1)
    (mail,) = newsroom.mails()
    ((mail_id,),) = await newsroom.rows("SELECT id FROM outbox_mails")
    headers = mail.parsed
    assert sorted(headers) == sorted(
        [
            *("Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted"),
            *("Content-Language", "MIME-Version", "Content-Type"),
        ]
    )
    assert headers["From"] == "Support <post@lindenau.example>"
    assert headers["Message-ID"] == f"<{mail_id}@lindenau.example>"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["Date"].datetime == newsroom.clock()


async def test_a_failure_is_not_notified_when_the_subscription_was_cancelled_first(
    newsroom: Newsroom,
) -> None:
    gift = await subscribe_monthly(newsroom)
    await newsroom.mail_server.aclose()
    await months_pass(newsroom, 1)
    await cancellations.cancel(
        newsroom.ctx, await subscription_id_of(newsroom, gift), actor=Actor.DONOR
    )
    await newsroom.mail_server.open()
    await run_scheduled_jobs(newsroom)
    assert [mail.subject for mail in newsroom.mails()] == [
        "Your monthly payment has been cancelled"
    ]
    assert await mail_statuses(newsroom) == {"payment_failed": "dropped", "cancelled": "sent"}


async def test_a_failure_is_not_notified_once_it_was_paid(newsroom: Newsroom) -> None:
    gift = await subscribe_monthly(newsroom)
    await newsroom.mail_server.aclose()
    await months_pass(newsroom, 1)
    stripe = newsroom.stripe_owner.v1
    subscription = await stripe.subscriptions.retrieve_async(
        await subscription_id_of(newsroom, gift)
    )
    card = await stripe.payment_methods.attach_async(
        "pm_card_visa", {"customer": str(subscription.customer)}
    )
    await stripe.invoices.pay_async(str(subscription.latest_invoice), {"payment_method": card.id})
    await newsroom.runs_until_idle()
    await newsroom.mail_server.open()
    await run_scheduled_jobs(newsroom)
    assert await mail_statuses(newsroom) == {"payment_failed": "dropped"}
    assert newsroom.mails() == []


async def test_a_subscription_that_lapses_says_that_nothing_more_is_charged(
    newsroom: Newsroom,
) -> None:
    await subscribe_monthly(newsroom)
    for _ in range(2):
        await months_pass(newsroom, 1)
    assert [mail.subject for mail in newsroom.mails()] == [
        "Your monthly payment needs attention",
        "Your monthly payment has ended",
    ]
    assert "nothing more will be charged" in newsroom.mails()[1].part()


async def test_a_russian_gift_is_answered_in_russian(newsroom: Newsroom) -> None:
    await subscribe_monthly(newsroom, locale="ru", months=1)
    (mail,) = newsroom.mails()
    assert mail.subject == "Ежемесячный платёж требует вашего внимания"
    assert "Деньги не списаны." in mail.part()
    assert "5,00\N{NO-BREAK SPACE}$" in mail.part()
    assert "2026 года" in mail.part()
    assert mail.parsed["Content-Language"] == "ru"
    assert b"\r\n\r\n" in mail.raw
    assert mail.raw.isascii()


# --- a mail for each change -----------------------------------------------------------------------


async def test_every_change_is_confirmed_once_with_what_is_true_now(newsroom: Newsroom) -> None:
    ctx, actor = newsroom.ctx, Actor.DONOR
    subscription = await subscription_id_of(
        newsroom, await subscribe_monthly(newsroom, card=GOOD_CARD)
    )
    for decision in (
        subscription_changes.change_amount(ctx, subscription, Money(700, "usd"), actor=actor),
        subscription_changes.skip(ctx, subscription, actor=actor),
        subscription_changes.resume(ctx, subscription, actor=actor),
        subscription_changes.pause(ctx, subscription, 3, actor=actor),
        subscription_changes.resume(ctx, subscription, actor=actor),
        subscription_changes.change_frequency(
            ctx, subscription, Frequency.ANNUAL, Money(7000, "usd"), actor=actor
        ),
        cancellations.cancel(ctx, subscription, actor=actor),
    ):
        await newsroom.advances_time(timedelta(minutes=1))
        await decision
        await newsroom.runs_until_idle()
    mails = newsroom.mails()
    assert [mail.subject for mail in mails] == [
        "The amount of your monthly payment has changed",
        "Your next monthly payment will be skipped",
        "Your monthly payment has resumed",
        "Your monthly payment is paused",
        "Your monthly payment has resumed",
        "Your payment is now annual",
        "Your annual payment has been cancelled",
    ]
    amount, skipped, _, paused, resumed, frequency, cancelled = (mail.part() for mail in mails)
    assert "Your payment is now $7.00 a month." in amount
    assert "The next payment, $7.00, is due on 22 December 2026." in amount
    assert (
        "The payment on 22 December 2026 will be skipped, and you don't owe anything for it."
        in skipped
    )
    assert "The next payment, $7.00, is due on 22 January 2027." in skipped
    assert "is paused until 21 March 2027." in paused
    assert "The next payment, $7.00, is due on 22 March 2027." in paused
    assert "due on 22 December 2026." in resumed
    assert "Your payment is now $70.00 a year." in frequency
    assert "The next payment, $70.00, is due on 22 December 2026." in frequency
    assert "$70.00 a year was cancelled on 22 November 2026." in cancelled


async def test_an_annual_charge_is_announced_once(newsroom: Newsroom) -> None:
    started = await newsroom.requests_contribution(5000, "annual")
    await newsroom.pays(started.json()["checkout_url"])
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=360))
    for _ in range(2):
        await notices_due.notify_upcoming_renewals(newsroom.ctx)
        await newsroom.runs_until_idle()
    (mail,) = newsroom.mails()
    assert mail.subject == "Your annual payment is due on 22 November 2027"
    assert "On 22 November 2027 we will charge $50.00 to your card." in mail.part()


async def test_a_card_that_expires_is_notified_once_and_not_after_it_was_replaced(
    newsroom: Newsroom,
) -> None:
    subscription = await subscription_id_of(
        newsroom, await subscribe_monthly(newsroom, card=GOOD_CARD)
    )
    await execute(newsroom, "UPDATE subscriptions SET card_expires_on = '2026-12-20'")
    await notices_due.notify_expiring_cards(newsroom.ctx)
    await subscription_sync.sync(newsroom.ctx, subscription)  # the network has renewed it
    await newsroom.runs_due_jobs()
    assert newsroom.mails() == []
    await execute(newsroom, "UPDATE subscriptions SET card_expires_on = '2026-12-19'")
    await notices_due.notify_expiring_cards(newsroom.ctx)
    await newsroom.runs_due_jobs()
    (mail,) = newsroom.mails()
    assert "is valid until 19 December 2026." in mail.part()


async def test_a_bank_that_asks_is_answered_on_stripes_page(newsroom: Newsroom) -> None:
    await subscribe_monthly(newsroom, card="4000002760003184", months=1)
    (mail,) = newsroom.mails()
    assert mail.subject == "Your bank is asking you to confirm a payment"
    assert f"\n{newsroom.sandbox.url}/" in mail.part()
    assert mail.link("/stop/")


# --- the address ----------------------------------------------------------------------------------


async def test_the_address_is_the_one_stripe_has_when_the_mail_leaves(
    newsroom: Newsroom,
) -> None:
    gift = await subscribe_monthly(newsroom)
    stripe = newsroom.stripe_owner.v1
    subscription = await stripe.subscriptions.retrieve_async(
        await subscription_id_of(newsroom, gift)
    )
    await stripe.customers.update_async(str(subscription.customer), {"email": "moved@example.org"})
    await months_pass(newsroom, 1)
    assert [mail.to for mail in newsroom.mails()] == [["moved@example.org"]]


async def test_a_customer_who_is_gone_gets_no_mail(newsroom: Newsroom) -> None:
    gift = await subscribe_monthly(newsroom)
    stripe = newsroom.stripe_owner.v1
    subscription = await stripe.subscriptions.retrieve_async(
        await subscription_id_of(newsroom, gift)
    )
    await newsroom.mail_server.aclose()
    await months_pass(newsroom, 1)
    await stripe.customers.delete_async(str(subscription.customer))
    await newsroom.mail_server.open()
    await run_scheduled_jobs(newsroom)
    assert await mail_statuses(newsroom) == {"payment_failed": "dropped"}
    assert newsroom.mails() == []


async def test_an_address_cannot_write_a_header(newsroom: Newsroom) -> None:
    addresses = (
        "victim@example.org\r\nBcc: everyone@example.org",
        "victim@example.org>\r\nRCPT TO:<everyone@example.org",
        "victim\x00@example.org",
        "no address at all",
        "@example.org",
        "reader@exa mple.org",
    )
    for number, address in enumerate(addresses):
        gift = await subscribe_monthly(newsroom, email=f"reader{number}@example.org")
        subscription = await newsroom.stripe_owner.v1.subscriptions.retrieve_async(
            await subscription_id_of(newsroom, gift)
        )
        newsroom.sandbox.account.store.objects[str(subscription.customer)]["email"] = address
    await months_pass(newsroom, 1)
    assert newsroom.mails() == []
    of_each = await newsroom.rows("SELECT kind, status FROM outbox_mails")
    assert of_each == [("payment_failed", "undeliverable")] * len(addresses)


async def test_a_name_is_in_no_mail_whatever_it_tries(newsroom: Newsroom) -> None:
    await subscribe_monthly(
        newsroom, name="Eve\r\nBcc: everyone@example.org\r\n\r\nBuy this", months=1
    )
    (mail,) = newsroom.mails()
    assert mail.to == [ADDRESS]
    assert "Bcc" not in mail.parsed
    assert b"Eve" not in mail.raw
    assert "Buy this" not in mail.part()


async def test_a_mailbox_that_does_not_exist_is_not_tried_for_hours(newsroom: Newsroom) -> None:
    newsroom.mail_server.rejections[ADDRESS] = "550 5.1.1 no such mailbox"
    gift = await subscribe_monthly(newsroom, months=1)
    assert await mail_statuses(newsroom) == {"payment_failed": "undeliverable"}
    assert await donors_without_mail(newsroom) == [gift.id]
    del newsroom.mail_server.rejections[ADDRESS]
    await months_pass(newsroom, 1)  # the next mail arrives
    assert (await mail_statuses(newsroom))["lapsed"] == "sent"
    assert await donors_without_mail(newsroom) == []


async def test_a_donor_without_an_address_is_not_forgotten(newsroom: Newsroom) -> None:
    gift = await subscribe_monthly(newsroom)
    stripe = newsroom.stripe_owner.v1
    subscription = await stripe.subscriptions.retrieve_async(
        await subscription_id_of(newsroom, gift)
    )
    await stripe.customers.update_async(str(subscription.customer), {"email": ""})
    await months_pass(newsroom, 2)
    assert newsroom.mails() == []
    assert await mail_statuses(newsroom) == {
        "payment_failed": "undeliverable",
        "lapsed": "undeliverable",
    }
    assert await donors_without_mail(newsroom) == [gift.id]  # once


async def test_a_refusal_that_is_not_about_the_mailbox_keeps_the_mail_and_calls_a_person(
    newsroom: Newsroom,
) -> None:
    server = newsroom.mail_server
    server.refusal = "452 4.2.2 mailbox full"
    gift = await subscribe_monthly(newsroom, months=1)
    for refusal, looks in (
        ("452 4.2.2 mailbox full", []),
        ("552 5.2.2 mailbox full", []),
        ("550 no such mailbox", []),  # without an enhanced status it may be about anything
        ("554 relay denied", ["554"]),
        ("554 5.7.1 relay access denied", ["5.7.1", "554"]),
        ("550 5.4.5 daily user sending limit exceeded", ["5.4.5", "5.7.1", "554"]),
    ):
        server.refusal = refusal
        await run_scheduled_jobs(newsroom)
        assert await mail_statuses(newsroom) == {"payment_failed": "pending"}
        assert await refusals_to_look_at(newsroom) == looks
    server.refusal, server.content_refusal = "", "550 5.7.26 unauthenticated mail is prohibited"
    await run_scheduled_jobs(newsroom)
    assert "5.7.26" in await refusals_to_look_at(newsroom)
    server.content_refusal, server.refusal = "", "450 4.2.0 greylisted"
    await newsroom.advances_time(timedelta(days=1))
    await run_scheduled_jobs(newsroom)
    assert "4.2.0" in await refusals_to_look_at(newsroom)  # for a day
    server.refusal = ""
    await run_scheduled_jobs(newsroom)
    assert len(newsroom.mails()) == 1
    assert await mail_statuses(newsroom) == {"payment_failed": "sent"}
    assert await refusals_to_look_at(newsroom) == []
    assert await donors_without_mail(newsroom) == []
    assert gift.id not in str(await newsroom.rows("SELECT object_id FROM alerts"))


async def refusals_to_look_at(room: Newsroom) -> list[object]:
    """The codes of the mail server's refusals with an open alert."""
    rows = await room.rows(
        "SELECT object_id FROM alerts WHERE kind = 'mail_refused' AND closed_at IS NULL ORDER BY 1"
    )
    return [row[0] for row in rows]


# --- when the mail server is away -----------------------------------------------------------------


async def test_a_mail_waits_for_the_mail_server_and_is_sent_once(newsroom: Newsroom) -> None:
    await newsroom.mail_server.aclose()
    await subscribe_monthly(newsroom, months=1)
    await run_scheduled_jobs(newsroom)
    assert await mail_statuses(newsroom) == {"payment_failed": "pending"}
    await newsroom.mail_server.open()
    for _ in range(3):
        await run_scheduled_jobs(newsroom)
    assert len(newsroom.mails()) == 1
    assert await mail_statuses(newsroom) == {"payment_failed": "sent"}


async def test_a_mail_outlives_its_last_attempt(newsroom: Newsroom) -> None:
    await newsroom.mail_server.aclose()
    await subscribe_monthly(newsroom, months=1)
    await execute(newsroom, "DELETE FROM procrastinate_jobs")
    await newsroom.mail_server.open()
    await newsroom.advances_time(timedelta(hours=1))
    assert await outbox_sender.resend_pending(newsroom.ctx) == 1
    await newsroom.runs_due_jobs()
    assert len(newsroom.mails()) == 1
    assert await outbox_sender.resend_pending(newsroom.ctx) == 0


async def test_a_lost_answer_sends_the_same_mail_again(newsroom: Newsroom) -> None:
    newsroom.mail_server.lost_responses = 1
    await subscribe_monthly(newsroom, months=1)
    await run_scheduled_jobs(newsroom)
    first, second = newsroom.mails()
    assert first.parsed["Message-ID"] == second.parsed["Message-ID"]
    assert await mail_statuses(newsroom) == {"payment_failed": "sent"}


async def test_a_mail_that_is_too_late_is_not_sent_and_a_person_knows(newsroom: Newsroom) -> None:
    await newsroom.mail_server.aclose()
    gift = await subscribe_monthly(newsroom, months=1)
    newsroom.clock.advance(timedelta(days=8))
    await newsroom.mail_server.open()
    await run_scheduled_jobs(newsroom)
    assert newsroom.mails() == []
    assert await mail_statuses(newsroom) == {"payment_failed": "undeliverable"}
    assert await donors_without_mail(newsroom) == [gift.id]


@pytest.fixture
async def silent(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom that has not set up mail."""
    async with open_newsroom(database, smtp_url=None, mail_from="") as room:
        yield room


async def test_without_a_mail_server_mails_wait(silent: Newsroom) -> None:
    await subscribe_monthly(silent)
    await months_pass(silent, 1)
    assert await mail_statuses(silent) == {"payment_failed": "pending"}
    assert await silent.rows("SELECT 1 FROM procrastinate_jobs WHERE status = 'todo'") == []
    assert await outbox_sender.resend_pending(silent.ctx) == 0


# --- a last day that was set elsewhere ------------------------------------------------------------


async def test_an_end_that_was_set_and_undone_is_notified_once_each_time(
    newsroom: Newsroom,
) -> None:
    gift = await subscribe_monthly(newsroom, card=GOOD_CARD)
    id_, stripe = await subscription_id_of(newsroom, gift), newsroom.stripe_owner.v1
    for _ in range(2):
        await stripe.subscriptions.update_async(id_, {"cancel_at_period_end": True})
        await newsroom.runs_until_idle()
        await subscription_sync.sync(newsroom.ctx, id_)
        await stripe.subscriptions.update_async(id_, {"cancel_at_period_end": False})
        await newsroom.runs_until_idle()
        await subscription_sync.sync(newsroom.ctx, id_)
    assert [mail.subject for mail in newsroom.mails()] == [
        "Your monthly payment is set to end", "Your monthly payment will continue",
    ] * 2  # fmt: skip
    assert "ends on 22 December 2026" in newsroom.mails()[0].part()
    assert "There are no more payments before then." in newsroom.mails()[0].part()
    assert "The next payment, $5.00, is due on 22 December 2026." in newsroom.mails()[1].part()


async def test_each_pause_is_notified_once_at_the_same_moment_too(newsroom: Newsroom) -> None:
    gift = await subscribe_monthly(newsroom, card=GOOD_CARD)
    id_ = await subscription_id_of(newsroom, gift)
    for _ in range(2):
        await subscription_changes.pause(newsroom.ctx, id_, None, actor=Actor.DONOR)
        for _ in range(3):
            await subscription_sync.sync(newsroom.ctx, id_)
        await subscription_changes.resume(newsroom.ctx, id_, actor=Actor.DONOR)
        await newsroom.runs_until_idle()
    kinds = await newsroom.rows("SELECT kind, count(*) FROM outbox_mails GROUP BY 1 ORDER BY 1")
    assert kinds == [("paused", 2), ("resumed", 2)]
    changes = await newsroom.rows("SELECT kind || ':' || id FROM subscription_changes")
    causes = [hashlib.sha256(str(cause).encode()).hexdigest() for (cause,) in changes]
    keys = await newsroom.rows("SELECT key FROM outbox_mails")
    assert sorted(str(key) for (key,) in keys) == sorted(causes)


# --- the demo's mailbox ---------------------------------------------------------------------------


async def test_the_demo_shows_what_was_sent(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    async with open_newsroom(database, environment="demo", demo_inbox_dir=str(folder)) as room:
        assert "No mail yet." in (await room.web.get("/dev/inbox")).text
        await subscribe_monthly(room, locale="ru")
        await months_pass(room, 1)
        (mail,) = room.mails()
        mailbox.Maildir(folder).add(mail.raw)
        page = (await room.web.get("/dev/inbox")).text
        assert "Ежемесячный платёж требует вашего внимания" in page
        assert f'<a href="http://127.0.0.1:8000{mail.link("/fix/")}">' in page
        await the_demo_shows_a_mail_and_turns_its_clock(room, page)


async def the_demo_shows_a_mail_and_turns_its_clock(room: Newsroom, page: str) -> None:
    (key,) = re.findall(r'href="(/dev/inbox/[^"]+)"', page)
    shown = await room.web.get(key)
    assert "требует вашего внимания" in shown.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert (await room.web.get("/dev/inbox/nothing")).status_code == 404
    for address, count in ((ADDRESS, 1), ("nobody@example.org", 0)):
        some = (await room.web.get("/dev/inbox", params={"to": address})).text
        assert some.count("<details") == count
    clock = demo_clock.find(room.settings)
    assert clock is not None
    for step in ("day", "hour", "century", ""):
        sent = await room.web.post("/dev/clock", data={"by": step}, headers=SAME_ORIGIN_HEADERS)
        assert (sent.status_code, sent.headers["location"]) == (303, "/dev/inbox")
    assert (await room.web.post("/dev/clock", data={"by": "day"})).status_code == 403
    assert "1 more days are on their way" in (await room.web.get("/dev/inbox")).text
    assert (clock.offset(), clock.left()) == (timedelta(0), timedelta(hours=25))
    assert [clock.move() for _ in range(3)] == [True, True, False]
    clock.turn(timedelta(days=-1))
    assert (clock.offset(), clock.left()) == (timedelta(hours=25), timedelta(0))
    async with open_context(room.settings) as ctx:
        assert ctx.now() > db.utc_now() + timedelta(hours=24)
    assert demo_clock.find(room.settings.model_copy(update={"environment": "test"})) is None


async def test_only_the_demo_has_a_mailbox(newsroom: Newsroom) -> None:
    for answer in (
        await newsroom.web.get("/dev/inbox"),
        await newsroom.web.post("/dev/clock", data={"by": "day"}, headers=SAME_ORIGIN_HEADERS),
    ):
        assert answer.status_code == 404


# --- what is stored afterwards --------------------------------------------------------------------


async def test_no_address_is_stored_or_logged(
    newsroom: Newsroom, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug")
    canary = "canary-9f3@post.example"
    await subscribe_monthly(newsroom, email=canary, name="Canary Nine", months=1)
    await request_sign_in_link(newsroom, canary)
    await newsroom.mail_server.aclose()
    await request_sign_in_link(newsroom, canary)
    await newsroom.mail_server.open()
    newsroom.mail_server.lost_responses = 1
    await run_scheduled_jobs(newsroom)
    newsroom.mail_server.rejections[canary] = "550 no such mailbox"
    await request_sign_in_link(newsroom, canary)
    assert [mail.to for mail in newsroom.mails()] == [[canary]] * 3
    log = "".join(capfd.readouterr())
    assert "job_failed" in log
    stored = "\n".join([row async for row in every_row(newsroom)])
    assert "payment_failed" in stored
    for trace in ("canary", "Canary", "post.example"):
        assert trace not in log
        assert trace not in stored


async def every_row(room: Newsroom) -> AsyncIterator[str]:
    """Each row of each table, as text."""
    tables = await room.rows(
        "SELECT quote_ident(table_name) FROM information_schema.tables"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    for (table,) in tables:
        for row in await room.rows(f"SELECT CAST(t AS text) FROM {table} AS t"):  # noqa: S608
            yield str(row[0])
