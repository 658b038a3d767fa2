"""A mailbox that nobody has proved to be theirs gets no mail that says what was given."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from payments.core.identifiers import new_row_id
from payments.giving import payment_mail, subscription_mail
from payments.mail import render
from payments.mail.outbox import MailKind, OutboxMail
from payments.mail.render import RenderedMail
from tests.support.donor import open_donor_browser
from tests.support.mail import ADDRESS, GOOD_CARD, TELLTALE, execute, subscribe_monthly
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom

pytestmark = pytest.mark.anyio
SUBJECT = "You have a new message"
# What makes a mail of a kind true of a subscription; the other kinds are true of any that lives.
SOON = "CAST(:now AS timestamptz) + interval '20 days'"
TRUE_IF = {
    MailKind.LAPSED: "status = 'canceled', ended_at = :now",
    MailKind.CANCELLED: "status = 'canceled', ended_at = :now",
    MailKind.NEEDS_CARD: "stripe_payment_method_id = NULL",
    MailKind.CARD_EXPIRING: f"card_expires_on = {SOON}",
    MailKind.RENEWS_SOON: f"current_period_end = {SOON}",
    MailKind.SKIPPED: "is_paused = true",
    MailKind.PAUSED: "is_paused = true",
    MailKind.END_SCHEDULED: f"scheduled_end_at = {SOON}",
    MailKind.END_MOVED: f"scheduled_end_at = {SOON}",
}
# What may go to any mailbox: each names nothing, and leads to where its owner proves it.
FOR_ANY_MAILBOX = {
    *("sign_in", "sign_in_invitation", "reminder_confirm", "newsletter_confirm"),
    *("address_change_old", "address_change_new"),  # codes alone: tests/donors/test_own_address.py
}
PROVED_BY_ITS_OWN_ROW = {"reminder"}  # `verified`: tests/signups/test_abandoned_checkout.py


@pytest.fixture
async def room(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database) as room:
        room.donors_have_signed_in = False
        yield room


def assert_names_nothing(mail: RenderedMail) -> None:
    """One link, to where a mailbox is proved, and no word of money or of us."""
    assert mail.subject == SUBJECT
    words = f"{mail.subject} {mail.text}"
    assert words.count(f"{BASE_URL}/manage") == words.count("http") == 1
    words = words.replace(BASE_URL, "")
    assert TELLTALE.search(words) is None
    assert re.search(r"[0-9$€]|payment|amount|card", words, re.IGNORECASE) is None


async def test_who_is_framed_gets_one_mail_that_names_nothing(room: Newsroom) -> None:
    await subscribe_monthly(room)  # with somebody else's address, and a card that fails
    assert room.mails() == []
    for days in (31, 7, 7, 7, 7):
        await room.advances_time(timedelta(days=days))
        await room.runs_until_idle()
    (mail,) = room.mails()
    assert_names_nothing(RenderedMail(mail.subject, mail.part(), ""))
    statuses = await room.rows("SELECT status FROM outbox_mails ORDER BY created_at")
    assert statuses[0] == ("sent",)
    assert set(statuses[1:]) <= {("dropped",)}


async def test_whoever_has_signed_in_is_written_what_happened(room: Newsroom) -> None:
    await subscribe_monthly(room)
    async with open_donor_browser(room, ADDRESS) as donor:
        await donor.signs_in()
    await room.advances_time(timedelta(days=31))
    await room.runs_until_idle()
    assert "Your payment of $5.00" in room.mails()[-1].part()


async def test_each_kind_of_mail_needs_a_proved_mailbox_or_is_for_any(room: Newsroom) -> None:
    templates = {path.stem for path in render.TEMPLATE_DIR.glob("[!_]*.txt")}
    assert templates == set(MailKind) | FOR_ANY_MAILBOX | PROVED_BY_ITS_OWN_ROW
    await subscribe_monthly(room)
    await room.advances_time(timedelta(days=31))
    await room.runs_until_idle()
    await subscribe_monthly(room, card=GOOD_CARD)
    ((subscription_id, invoice_id),) = await room.rows(
        "SELECT subscription_id, object_id FROM outbox_mails WHERE kind = 'payment_failed'"
    )
    await execute(room, "DELETE FROM outbox_mails")
    (as_it_was,) = await room.rows(
        "SELECT status, stripe_payment_method_id, card_expires_on, current_period_end"
        " FROM subscriptions WHERE stripe_subscription_id = :id",
        id=subscription_id,
    )
    # mails about payments: tests/mail/test_payment_mails.py
    for kind in sorted(set(MailKind) - FOR_ANY_MAILBOX - set(payment_mail.KINDS)):
        mail = OutboxMail(
            id=new_row_id(),
            kind=kind,
            subscription_id=subscription_id,
            object_id=invoice_id,
            language="en",
            created_at=room.clock(),
        )
        values = "status = :was, stripe_payment_method_id = :card, card_expires_on = :expires,"
        values += " current_period_end = :end, is_paused = false, scheduled_end_at = NULL"
        was, card, expires, end = as_it_was
        given = {"id": subscription_id, "now": room.clock(), "was": was, "card": card}
        given |= {"expires": expires, "end": end}
        async with room.ctx.sessions.begin() as session:
            for one in (values, TRUE_IF.get(kind, "status = status")):
                await session.execute(
                    text(f"UPDATE subscriptions SET {one} WHERE stripe_subscription_id = :id"),  # noqa: S608 - of this test
                    given,
                )
        await execute(room, "UPDATE donors SET mailbox_proved = false, invited_at = NULL")
        unproved = await subscription_mail.compose(room.ctx, mail)
        assert unproved is not None, kind
        assert_names_nothing(unproved.rendered)
        await execute(room, "UPDATE donors SET mailbox_proved = true")
        proved = await subscription_mail.compose(room.ctx, mail)
        assert proved is not None, kind
        assert proved.rendered.subject != SUBJECT
