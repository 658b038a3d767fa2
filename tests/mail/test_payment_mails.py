"""Mails about payments: thanks, receipts, refunds, statements; branded, neutral or none."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from payments.core.brand_settings import DonorMails
from payments.giving import donor_attribution, outbox_sender, payment_notices
from payments.risk import emergency_stops
from payments.risk.emergency_stops import StopGroup, StopMode
from payments.safety import emergency_stop, stop_items, support_cases
from payments.safety.support_cases import SupportCase
from payments.settlement import refund_notices
from tests.support.donor import SAME_ORIGIN_HEADERS, Donor, open_donor_browser
from tests.support.mail import ADDRESS, TELLTALE, execute, mail_statuses
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom, settings_for, without_tokens
from tests.support.page import Page
from tests.support.past import has_given

pytestmark = pytest.mark.anyio
BRAND = {
    "brand_address": "1 Canal Street, Amsterdam",
    "brand_legal_line": "Charity no. 12345",
    "receipt_entity": "Stichting Example",
    "receipt_tax_line": "No goods or services were provided.",
}
SERVES_FOR_A_YEAR = """
    UPDATE stripe_accounts
       SET bound_at = bound_at - interval '1 year',
           own_name_since = own_name_since - interval '1 year'
"""


async def notifies(room: Newsroom) -> None:
    """What the schedules of a minute do, twice: nothing is sent twice."""
    for _ in range(2):
        await payment_notices.enqueue_thanks(room.ctx)
        await refund_notices.enqueue(room.ctx)
        await payment_notices.enqueue_statements(room.ctx)
        await room.runs_due_jobs()


async def assert_each_refund_is_mailed_once(room: Newsroom) -> None:
    """Two in one minute: each with its own sum, however long a bank takes for it."""
    rows = await room.rows("SELECT stripe_charge_id FROM charges WHERE amount = 750")
    for amount in (250, 300):
        await room.stripe_owner.v1.refunds.create_async(
            {"charge": str(rows[0][0]), "amount": amount}
        )
    await room.runs_until_idle()
    await execute(room, "UPDATE refunds SET status = 'pending' WHERE amount = 300")
    await notifies(room)
    await execute(room, "UPDATE refunds SET status = 'succeeded' WHERE amount = 300")
    # a bank may take long; and it may fail after all
    await execute(room, "UPDATE refunds SET requested_at = requested_at - interval '22 days'")
    await notifies(room)
    refund, second = room.mails()[3:]
    assert refund.subject == "Your refund of $2.50"
    assert "We have refunded $2.50 of your payment of $7.50 from" in refund.part()
    assert "Remaining amount: $5.00 (USD)" in refund.part()
    assert second.subject == "Your refund of $3.00"
    assert "We have refunded $3.00 of your payment of $7.50 from" in second.part()
    assert "Remaining amount: $2.00 (USD)" in second.part()


async def assert_donor_and_support_see_each(room: Newsroom, donor: Donor) -> None:
    """What was mailed about payments is in the donor's file and in a case, and in no other's."""
    data = (await donor.web.get("/manage/data/file.json")).json()
    kinds = Counter(mail["kind"] for mail in data["mails"])
    assert kinds == {"thanks": 3, "refunded": 2, "yearly_statement": 1}
    async with room.ctx.sessions() as session:
        now, nobody = room.clock(), "0" * 32
        for donor_id, count in ((data["donor"], 6), (nobody, 0)):
            case = SupportCase(id=nobody, staff_id=nobody, donor_id=donor_id, expires_at=now)
            viewed = await support_cases.view_case(session, case, now=now)
            assert len(viewed.mails) == count


async def test_in_its_own_name_a_newsroom_thanks_for_each_payment_and_says_what_went_back(
    database: str,
) -> None:
    async with open_newsroom(database, donor_mails="full", **BRAND) as room:
        room.donors_have_signed_in = False  # the address is as it was given at Stripe
        monthly = await has_given(room, 500, "monthly")
        await room.gives(750, "once")
        await room.sandbox.advance_to_captures()
        room.sandbox.take_deliveries()  # the webhooks are lost
        await room.advances_time(timedelta(hours=1))
        await room.runs_sweeps()
        await notifies(room)
        # several are sent at once
        first, second = sorted(room.mails(), key=lambda mail: "$7.50" in mail.part())
        assert {tuple(mail.to) for mail in room.mails()} == {(ADDRESS,)}
        assert first.subject == second.subject == "Thank you for supporting The Example"
        for says in (
            "The Example\n\nThank you!",
            "Amount: $5.00 (USD)\nDate: 22 November 2026\nReceipt number: ",
            "Received by: Stichting Example\nTax: No goods or services were provided.\n",
            "On your bank statement: EXAMPLE MEDIA",
            "Your payment of $5.00 a month renews automatically until you cancel.",
            "The next one is due on 22 December 2026.",
            f"quote {monthly.id[:8].upper()}.",
            "1 Canal Street, Amsterdam\n\nCharity no. 12345",
        ):
            assert says in first.part(), first.part()
        assert f"{BASE_URL}/manage" in first.part()
        assert "/stop/" not in first.part()  # a mistyped address is a stranger's
        assert "Amount: $7.50 (USD)" in second.part()
        assert "/stop/" not in second.part()
        page = await room.thanks(monthly.id)
        assert "Your receipt is on its way by e-mail" in page
        # Who gave before the newsroom wrote in its own name reads of no mail to come.
        await execute(
            room, "UPDATE stripe_accounts SET own_name_since = now() + interval '9 years'"
        )
        assert "is on its way" not in await room.thanks(monthly.id)
        await execute(room, "UPDATE stripe_accounts SET own_name_since = bound_at")

        await execute(room, "UPDATE donors SET mailbox_proved = true")
        await room.advances_time(timedelta(days=31))
        await room.runs_until_idle()
        await notifies(room)
        assert room.mails()[2].link("/stop/")
        assert [mail.subject for mail in room.mails()[2:]] == [first.subject]
        assert "Date: 22 December 2026" in room.mails()[2].part()

        await assert_each_refund_is_mailed_once(room)
        await room.advances_time(timedelta(days=15))  # 7 January
        await room.runs_until_idle()
        await notifies(room)
        (statement,) = room.mails()[5:]
        assert statement.subject == "Your statement for 2026"
        assert "In all, you gave:\n\nUSD: $12.00\n" in statement.part()
        assert f"{BASE_URL}/manage/statements/2026" in statement.part()
        async with open_donor_browser(room) as donor:
            await donor.signs_in()
            receipt = await donor.opens(statement.link("/manage/statements/2026"))
            assert "Stichting Example" in receipt.text
            assert ["Total (USD)", "$12.00"] in receipt.cells
            await assert_donor_and_support_see_each(room, donor)
            answer = await donor.opens_and_submits("/manage/data/erase")
            assert answer.status_code == 200
        assert await room.count("outbox_mails WHERE kind <> 'sign_in'") == 0


async def asks_for_receipt(donor: Donor) -> Page:
    """Press the button of the page of thanks."""
    answer = await donor.web.post("/thanks/receipt", headers=SAME_ORIGIN_HEADERS)
    return await donor.follows_redirect(answer)


async def test_a_neutral_receipt_is_for_whoever_asks_and_proved_the_mailbox(
    newsroom: Newsroom,
) -> None:
    newsroom.donors_have_signed_in = False
    async with open_donor_browser(newsroom) as donor:
        gift = await donor.gives(750, "once")
        await donor.web.get(f"/thanks/{gift.id}")
        page = await donor.opens("/thanks?lang=en")
        assert "On your bank statement EXAMPLE MEDIA" in page.text
        assert "We don't e-mail a receipt unless you ask." in page.text
        await notifies(newsroom)
        assert newsroom.mails() == []
        assert (await donor.web.post("/thanks/receipt")).status_code == 403  # from elsewhere
        for _ in range(2):
            assert "We are sending your receipt" in (await asks_for_receipt(donor)).text
        await newsroom.runs_due_jobs()
        (invitation,) = newsroom.mails()  # whoever typed the address may be somebody else
        assert invitation.subject == "You have a new message"
        await execute(newsroom, "UPDATE outbox_mails SET status = 'pending'")
        ((mail_id,),) = await newsroom.rows("SELECT id FROM outbox_mails")
        await outbox_sender.send(newsroom.ctx, str(mail_id))  # the server's answer was lost
        assert [mail.subject for mail in newsroom.mails()] == [invitation.subject] * 2
        for days, invitations in ((0, 2), (29, 2), (2, 3)):  # at most one a month
            await newsroom.advances_time(timedelta(days=days))
            gift = await donor.gives(750, "once")
            await donor.web.get(f"/thanks/{gift.id}")
            await asks_for_receipt(donor)
            await newsroom.runs_due_jobs()
            assert len(newsroom.mails()) == invitations

        await donor.signs_in()
        gift = await donor.gives(900, "once")
        await donor.web.get(f"/thanks/{gift.id}")
        await asks_for_receipt(donor)
        await newsroom.runs_due_jobs()
        mail = newsroom.mails()[-1]
        assert mail.subject == "Your receipt"
        assert "Amount: $9.00 (USD)\nDate: 23 December 2026\nReceipt number: " in mail.part()
        assert TELLTALE.search(without_tokens(mail.part())) is None
        assert "Example" not in mail.part()

        await newsroom.advances_time(timedelta(minutes=1))
        full = newsroom.ctx.settings.model_copy(update={"donor_mails": DonorMails.FULL})
        in_own_name = replace(newsroom.ctx, settings=full)
        for thanked in (1, 0):  # whoever gave before read that no mail comes
            assert await payment_notices.enqueue_thanks(in_own_name) == 0
            if thanked:
                await newsroom.advances_time(timedelta(minutes=1))
            else:
                assert await payment_notices.enqueue_thanks(newsroom.ctx) == 0
            await has_given(newsroom, 1000, "once")
            await newsroom.advances_time(timedelta(minutes=1))
            assert await payment_notices.enqueue_thanks(in_own_name) == thanked


async def test_where_no_mails_are_sent_none_is_but_the_link_that_is_asked_for(
    database: str,
) -> None:
    async with (
        open_newsroom(database, donor_mails="none") as room,
        open_donor_browser(room) as donor,
    ):
        gift = await donor.gives(500, "monthly")
        await donor.web.get(f"/thanks/{gift.id}")
        page = await donor.opens("/thanks?lang=en")
        assert "We don't e-mail a receipt. You can always find it" in page.text
        assert "E-mail me a receipt" not in page.text
        await asks_for_receipt(donor)
        await donor.signs_in()
        await donor.opens_and_submits(f"/manage/contributions/{gift.id}/skip")
        await room.runs_until_idle()
        await notifies(room)
        assert [mail.subject for mail in room.mails()] == ["Your sign-in link"]
        assert (await mail_statuses(room))["skipped"] == "dropped"


async def test_history_a_late_find_and_a_protected_donor_are_not_thanked(database: str) -> None:
    async with open_newsroom(database, donor_mails="full") as room:
        await has_given(room, 500, "once")
        for change, undo in (
            ("stripe_accounts SET bound_at = bound_at + interval '1 minute'",
             "stripe_accounts SET bound_at = bound_at - interval '1 minute'"),
            ("contributions SET protected = true", "contributions SET protected = false"),
            ("contributions SET erased = true", "contributions SET erased = false"),
            ("charges SET charged_at = charged_at - interval '22 days'",
             "charges SET charged_at = charged_at + interval '22 days'"),
        ):  # fmt: skip
            await execute(room, f"UPDATE {change}")
            assert await payment_notices.enqueue_thanks(room.ctx) == 0
            await execute(room, f"UPDATE {undo}")
        # a debit that a bank has confirmed after two weeks
        await execute(room, "UPDATE charges SET charged_at = charged_at - interval '14 days'")
        await execute(room, SERVES_FOR_A_YEAR)
        assert await payment_notices.enqueue_thanks(room.ctx) == 1
        await execute(room, "UPDATE contributions SET protected = true")
        await room.runs_due_jobs()  # it became known in between
        assert room.mails() == []


async def assert_who_is_in_danger_stays_muted(room: Newsroom) -> None:
    """What lifting a stop would do about donors for whom a mail is a danger."""
    for state in ("protected", "erased", "dropped"):
        monthly = f"contributions SET {state} = true WHERE frequency = 'monthly'"
        await execute(room, f"UPDATE {monthly}")
        async with room.ctx.sessions.begin() as session:
            (stop,) = await emergency_stops.standing(session)
            await stop_items.unmute(session, stop)
        assert await room.count("muted_subscriptions") == 1
        await execute(room, f"UPDATE {monthly.replace('true', 'false')}")


async def test_nobody_is_written_to_once_a_stop_or_protection_is_known(database: str) -> None:
    async with open_newsroom(database, donor_mails="full") as room:
        await room.advances_time(timedelta(days=40))  # 1 January
        await room.gives(500, "monthly")
        await has_given(room, 750, "once")
        rows = await room.rows("SELECT stripe_charge_id FROM charges WHERE amount = 750")
        await room.stripe_owner.v1.refunds.create_async({"charge": str(rows[0][0]), "amount": 250})
        await room.runs_until_idle()
        for change in (
            "charges SET charged_at = charged_at - interval '10 days'",
            "charges SET charged_at = charged_at - interval '1 day' WHERE amount = 750",
            "contributions SET language = 'ru' WHERE frequency = 'once'",  # her older one
        ):
            await execute(room, f"UPDATE {change}")
        await execute(room, SERVES_FOR_A_YEAR)
        await room.advances_time(timedelta(days=6))
        await room.runs_until_idle()

        async def mails_once(change: str | None = None) -> list[str]:
            """What is mailed where something becomes known after it was enqueued, and before."""
            already = len(room.mails())
            for _ in range(2):
                await execute(room, "DELETE FROM outbox_mails")
                await payment_notices.enqueue_statements(room.ctx)
                await payment_notices.enqueue_thanks(room.ctx)
                await refund_notices.enqueue(room.ctx)
                if change is None:
                    await room.runs_due_jobs()
                    break
                await execute(room, change)
                await room.runs_due_jobs()
            return sorted(mail.subject for mail in room.mails()[already:])

        statement, thanks = "Your statement for 2026", "Thank you for supporting The Example"
        in_russian = ["Возврат 2,50 $", "Спасибо за поддержку: The Example"]
        assert await mails_once() == sorted([statement, thanks, *in_russian])
        assert "USD: $10.00" in next(m.part() for m in room.mails() if m.subject == statement)

        once = "contributions SET {} = true WHERE frequency = 'once'"
        for unsaid in ("protected", "erased", "dropped"):
            assert await mails_once(f"UPDATE {once.format(unsaid)}") == [
                thanks, thanks, statement, statement
            ]  # fmt: skip
            assert "USD: $5.00" in next(
                m.part() for m in room.mails()[-2:] if m.subject == statement
            )
            await execute(room, f"UPDATE {once.format(unsaid).replace('true', 'false')}")

        stopping = (StopGroup.ALL, StopMode.PAUSE)
        await emergency_stop.execute(room.ctx, *stopping)
        assert await mails_once() == []
        await assert_who_is_in_danger_stays_muted(room)
        await emergency_stop.lift(room.ctx, *stopping)
        assert await room.count("muted_subscriptions") == 0
        assert await mails_once() == sorted([statement, thanks, *in_russian])
        assert await mails_once(
            "INSERT INTO muted_subscriptions (stripe_subscription_id, muted_at)"
            " SELECT stripe_subscription_id, now() FROM subscriptions ON CONFLICT DO NOTHING"
        ) == sorted(in_russian * 2)  # fmt: skip

        # Where one of several is erased, the year's statement was mailed all the same.
        await execute(room, "DELETE FROM muted_subscriptions")
        assert statement in await mails_once()
        for frequency, left in (("once", 1), ("monthly", 0)):
            query = f"SELECT id FROM contributions WHERE frequency = '{frequency}'"  # noqa: S608 - ours
            ((id_,),) = await room.rows(query)
            async with room.ctx.sessions.begin() as session:
                await donor_attribution.protect(session, str(id_), now=room.clock())
            assert await payment_notices.enqueue_statements(room.ctx) == 0
            statements = "SELECT count(*) FROM outbox_mails WHERE kind = 'yearly_statement'"
            assert await room.rows(statements) == [(left,)]


def test_protection_refuses_mails_in_the_newsrooms_name(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('protected_countries = ["RU"]')
    nowhere = ("postgresql+psycopg://nobody@localhost/none", "http://127.0.0.1:1")
    given = settings_for(*nowhere, donor_safety_policy=str(policy))
    assert given.donor_mails == "neutral"
    with pytest.raises(ValidationError, match="must be neutral or none"):
        settings_for(*nowhere, donor_safety_policy=str(policy), donor_mails="full")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("donor_mails", "some"),
        ("brand_color", "#f2c14e"),  # white is not legible on it
        ("brand_color", "navy"),
        ("brand_logo", "/nowhere/logo.png"),
        ("brand_logo", __file__),
        ("brand_logo", "BROKEN"),
        ("receipt_zone", "Amsterdam"),
    ],
)
def test_a_brand_that_cannot_be_shown_is_refused(name: str, value: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no picture")
    value = value.replace("BROKEN", str(broken))
    nowhere = ("postgresql+psycopg://nobody@localhost/none", "http://127.0.0.1:1")
    with pytest.raises(ValidationError, match=name):
        settings_for(*nowhere, **{name: value})
