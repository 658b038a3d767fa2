"""A donor who replaces the card pays one gift at most, and sees beforehand which."""

import asyncio
from datetime import timedelta

import pytest

from payments.giving import cancellations, change_log, debts, payment_methods
from payments.giving.change_log import Actor
from payments.giving.contributions import Contribution
from payments.infra import retries
from payments.safety import data_requests
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.hosted_page_client import pay
from tests.support.donor import (
    READER_EMAIL,
    Donor,
    account_page,
    card_page_of,
    link_in,
    months_pass,
    payment_fails,
    subscription_id_of,
    successful_charges,
    well_formed_page,
)
from tests.support.mail import execute, run_scheduled_jobs
from tests.support.newsroom import Newsroom
from tests.support.past import begin_with

pytestmark = pytest.mark.anyio

GOOD_CARD, DECLINED_CARD, CONFIRMED_CARD = (
    "5555555555554444",
    "4000000000000341",  # it is taken, and declined when it is charged
    "4000002760003184",  # its bank asks for each payment
)
BANK_ANSWERS, BANK_REFUSES = "AT611904300234573201", "AT861904300235473202"
OPEN_ALERTS = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY id"


def invoices_at_stripe(room: Newsroom) -> list[JsonObject]:
    return list(room.sandbox.account.store.of_kind("invoice"))


def invoices(room: Newsroom) -> list[tuple[str, int]]:
    """Return the status and the amount of each invoice at Stripe, oldest first."""
    return [(invoice["status"], invoice["amount_due"]) for invoice in invoices_at_stripe(room)]


def at_stripe(room: Newsroom, subscription_id: str) -> str:
    return str(room.sandbox.account.store.objects[subscription_id]["status"])


async def goes_unpaid(donor: Donor, months: int = 3) -> tuple[Contribution, str]:
    """Give monthly, and let the card fail for so many months. Stripe gives up after a week."""

    async def play(room: Newsroom) -> str:
        room.sandbox.set_billing(status_after_retries="unpaid", retry_days=[3, 7])
        gift = await donor.gives(500)
        await card_fails(room)
        return gift.id

    gift = await donor.room.contribution(await begin_with(donor.room, "goes unpaid", play))
    for _ in range(months):
        await months_pass(donor.room, 1)
    return gift, await subscription_id_of(donor.room)


async def card_fails(room: Newsroom) -> None:
    """Let the bank decline the only donor's card from now on."""
    ((method,),) = await room.rows("SELECT stripe_payment_method_id FROM subscriptions")
    room.sandbox.fail_card(str(method), "insufficient_funds")


async def has_two_open_payments(donor: Donor) -> tuple[Contribution, str]:
    """Give monthly, and let the card fail for two months. Stripe tries for longer."""

    async def play(room: Newsroom) -> str:
        room.sandbox.set_billing(retry_days=[10, 20, 30, 40, 50, 60])
        gift = await donor.gives(500)
        await card_fails(room)
        await months_pass(room, 2)
        return gift.id

    id_ = await begin_with(donor.room, "two open payments", play)
    return await donor.room.contribution(id_), await subscription_id_of(donor.room)


async def replaces_card(
    donor: Donor, gift: Contribution, card: str = GOOD_CARD, *, iban: str = ""
) -> str:
    """Replace the card, or the bank account, on Stripe's page. Returns what our page said it would
    charge.
    """
    action = f"{account_page(gift)}/card"
    form = await donor.opens(action)
    answer = await donor.submits(form, action)
    assert answer.status_code == 303, answer.text
    await pay(answer.headers["location"], card=card, email=READER_EMAIL, iban=iban)
    await donor.room.runs_until_idle()
    return form.text


async def test_an_unpaid_contribution_goes_on_for_one_gift_that_the_donor_saw(
    donor: Donor,
) -> None:
    room = donor.room
    gift, id_ = await goes_unpaid(donor)
    assert at_stripe(room, id_) == "unpaid"
    assert [status for status, _ in invoices(room)] == ["paid", "open", "draft", "draft"]
    await donor.signs_in()
    said = await replaces_card(donor, gift)
    assert "The payment of $5.00 due on 22 February 2027, which did not go through" in said
    assert "Earlier ones are not charged any more" in said
    assert [status for status, _ in invoices(room)] == ["paid", "void", "void", "paid"]
    assert at_stripe(room, id_) == "active"
    assert "Active" in (await donor.opens(account_page(gift))).text
    assert [amount for _, amount in await successful_charges(room)] == [500, 500]
    assert await room.rows(OPEN_ALERTS) == []
    for intent in room.sandbox.dashboard_request("GET", "/v1/setup_intents")["data"]:
        await payment_methods.sync_setup_intent(room.ctx, intent["id"])  # Stripe says it again
    await months_pass(room, 1)
    assert [amount for _, amount in await successful_charges(room)] == [500, 500, 500]


async def test_of_two_open_payments_the_newer_is_made_and_the_older_never(donor: Donor) -> None:
    room = donor.room
    gift, id_ = await has_two_open_payments(donor)
    assert [status for status, _ in invoices(room)] == ["paid", "open", "open"]
    await donor.signs_in()
    assert "due on 22 January 2027" in await replaces_card(donor, gift)
    assert [status for status, _ in invoices(room)] == ["paid", "void", "paid"]
    assert at_stripe(room, id_) == "active"
    await room.advances_time(timedelta(days=20))  # no attempt for the older is left
    await room.runs_until_idle()
    assert [amount for _, amount in await successful_charges(room)] == [500, 500]


@pytest.mark.parametrize(
    ("act", "said", "charges"),
    [
        ("void", "Nothing is charged now", 1),
        ("mark_uncollectible", "Nothing is charged now", 1),
        ("written off, and still unpaid", "The payment of $5.00", 2),
    ],
)
async def test_what_was_voided_or_written_off_is_charged_only_where_it_keeps_the_gift_back(
    donor: Donor, act: str, said: str, charges: int
) -> None:
    room = donor.room
    gift, id_ = await goes_unpaid(donor, months=1)
    newest = room.sandbox.account.store.objects[id_]["latest_invoice"]
    verb = "mark_uncollectible" if " " in act else act
    room.sandbox.dashboard_request("POST", f"/v1/invoices/{newest}/{verb}")
    if " " in act:  # as an account sets it: the invoice is written off, the subscription unpaid
        room.sandbox.account.store.objects[id_]["status"] = "unpaid"
    await room.runs_until_idle()
    await donor.signs_in()
    assert said in await replaces_card(donor, gift)
    assert at_stripe(room, id_) == "active"
    assert len(await successful_charges(room)) == charges


@pytest.mark.parametrize("reason", ["a payment failed", "the trial ended without a card"])
async def test_a_pause_for_want_of_payment_ends_with_another_card(
    donor: Donor, reason: str
) -> None:
    room = donor.room
    if reason == "a payment failed":
        room.sandbox.set_billing(status_after_retries="paused", retry_days=[3])
        gift, _ = await payment_fails(donor)
        await months_pass(room, 1)
        said = "The payment of $5.00 due on 22 December 2026"
    else:
        gift = await donor.gives(500)
        said = "Nothing is charged now. Your contribution then continues."
        subscription = room.sandbox.account.store.objects[await subscription_id_of(room)]
        subscription["status"] = "paused"
        subscription["status_details"] = {
            "paused": {
                "subscription": {"type": "trial_end_without_payment_method"},
                "transitioned_at": int(room.clock().timestamp()),
                "type": "subscription",
            }
        }
    id_ = await subscription_id_of(room)
    assert at_stripe(room, id_) == "paused"
    await donor.signs_in()
    assert said in await replaces_card(donor, gift)
    assert at_stripe(room, id_) == "active"
    assert "Active" in (await donor.opens(account_page(gift))).text


async def test_a_bank_that_refuses_days_later_calls_a_person(donor: Donor) -> None:
    room = donor.room
    room.sandbox.set_billing(status_after_retries="unpaid", retry_days=[3, 7])
    gift = await donor.gives(500, "monthly", "eur", iban=BANK_ANSWERS)
    await room.advances_time(timedelta(days=4))
    for account in room.sandbox.account.store.of_kind("payment_method"):
        room.sandbox.account.store.private(account["id"])["number"] = BANK_REFUSES
    await months_pass(room, 2)
    id_ = await subscription_id_of(room)
    assert at_stripe(room, id_) == "unpaid"
    for iban, alerts in ((BANK_REFUSES, [("debt_left", id_)]), (BANK_ANSWERS, [])):
        await donor.signs_in()
        await replaces_card(donor, gift, iban=iban)
        for _ in range(4):
            await room.advances_time(timedelta(days=1))
            await room.runs_until_idle()
        assert await room.rows(OPEN_ALERTS) == alerts
    assert at_stripe(room, id_) == "active"


async def test_a_pause_that_somebody_asked_for_does_not_end_with_another_card(
    donor: Donor,
) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    asked = {"type": "subscription", "bill_for": {"unused_time_from": {"type": "none"}}}
    room.sandbox.dashboard_request("POST", f"/v1/subscriptions/{id_}/pause", asked)
    await room.runs_until_idle()
    await donor.signs_in()
    assert "then continues" not in await replaces_card(donor, gift)
    assert at_stripe(room, id_) == "paused"


async def test_a_first_payment_that_was_not_completed_is_made_with_another_card(
    donor: Donor,
) -> None:
    room, id_ = donor.room, await begins_incomplete(donor)
    plan = await debts.plan_for(room.ctx, id_)
    assert plan.amount is not None
    await pay(await card_page_of(room, id_), card=GOOD_CARD, email=READER_EMAIL)
    await room.runs_until_idle()
    assert at_stripe(room, id_) == "active"


async def begins_incomplete(donor: Donor) -> str:
    """Begin a subscription whose first payment is open, in place of the donor's own.

    Our Checkout begins none; another program of the same account may.
    """
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    subscription = room.sandbox.account.store.objects[id_]
    stripe = room.stripe_owner.v1
    made = await stripe.subscriptions.create_async(
        {
            "customer": subscription["customer"],
            "items": [
                {
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 500,
                        "product": "reader_payments_monthly",
                        "recurring": {"interval": "month"},
                    }
                }
            ],
            "payment_behavior": "default_incomplete",
            "metadata": {"contribution_id": gift.id},
        }
    )
    await stripe.subscriptions.cancel_async(id_)
    await room.runs_until_idle()
    return made.id


async def test_an_erasure_cancels_what_has_not_begun_yet_too(donor: Donor) -> None:
    room, id_ = donor.room, await begins_incomplete(donor)
    assert at_stripe(room, id_) == "incomplete"
    assert not await cancellations.resume(room.ctx)
    async with room.ctx.sessions.begin() as session:
        now = room.ctx.now()
        await change_log.record_cancellation(session, id_, actor=Actor.DONOR, now=now)
    assert await cancellations.resume(room.ctx) == 1  # its job was lost
    await execute(room, "DELETE FROM procrastinate_jobs")
    ((donor_id,),) = await room.rows("SELECT id FROM donors")
    await data_requests.erase(room.ctx, str(donor_id))
    assert at_stripe(room, id_) == "canceled"
    done = "SELECT DISTINCT done_at IS NOT NULL FROM subscription_changes WHERE kind = 'cancelled'"
    assert await room.rows(done) == [(True,)]


async def test_a_debt_is_settled_though_the_webhooks_of_the_new_card_were_lost(
    donor: Donor,
) -> None:
    await payment_fails(donor)
    id_ = await subscription_id_of(donor.room)
    await pay(await card_page_of(donor.room, id_), card=GOOD_CARD, email=READER_EMAIL)
    donor.room.sandbox.take_deliveries()
    await donor.room.advances_time(timedelta(hours=2))
    await donor.room.runs_sweeps()
    assert invoices(donor.room) == [("paid", 500), ("paid", 500)]
    assert at_stripe(donor.room, id_) == "active"


async def test_a_card_that_is_declined_leaves_the_payment_open_and_says_so(donor: Donor) -> None:
    gift, _ = await payment_fails(donor)
    await donor.signs_in()
    await replaces_card(donor, gift, DECLINED_CARD)
    assert [status for status, _ in invoices(donor.room)] == ["paid", "open"]
    assert "The last payment did not go through" in (await donor.opens(account_page(gift))).text
    assert len(await successful_charges(donor.room)) == 1
    await replaces_card(donor, gift, GOOD_CARD)
    assert [status for status, _ in invoices(donor.room)] == ["paid", "paid"]


async def test_a_card_that_is_declined_on_what_stripe_gave_up_forgives_nothing_and_is_shown(
    donor: Donor,
) -> None:
    room = donor.room
    gift, id_ = await goes_unpaid(donor)
    mails = len(room.mails())
    await donor.signs_in()
    await replaces_card(donor, gift, DECLINED_CARD)
    assert [status for status, _ in invoices(room)] == ["paid", "open", "draft", "open"]
    assert await room.rows(OPEN_ALERTS) == [("debt_left", id_)]
    failed = [mail for mail in room.mails()[mails:] if "needs attention" in mail.subject]
    assert len(failed) == 1
    link = link_in(failed[0], "/fix/")
    for page in (await donor.opens(f"{account_page(gift)}?card=back"), await donor.opens(link)):
        assert "Your new card is in use." not in page.text
    page = await donor.opens(f"{link}?card=back")
    assert "the open payment has not gone through with it" in page.text
    said = page.text
    assert "The payment of $5.00 due on 22 February 2027" in said
    await room.runs_sweeps()  # neither mails nor charges again
    assert len(room.mails()) == mails + 3  # the sign-in, the new card, the payment
    # As soon as a card pays, the older are forgiven, though Stripe fails half way.
    room.sandbox.faults.add("POST", "/v1/invoices/in_.*/void", "status_500", remaining=9)
    await replaces_card(donor, gift)
    room.sandbox.faults.clear()
    assert at_stripe(room, id_) == "active"
    await run_scheduled_jobs(room)
    await room.runs_until_idle()
    assert [status for status, _ in invoices(room)] == ["paid", "void", "void", "paid"]
    assert await room.rows(OPEN_ALERTS) == []
    assert len(await successful_charges(room)) == 2


async def test_the_older_are_forgiven_when_a_declined_card_pays_at_a_later_attempt(
    donor: Donor,
) -> None:
    room = donor.room
    gift, id_ = await has_two_open_payments(donor)
    await donor.signs_in()
    room.sandbox.faults.add("POST", "/v1/invoices/.*/pay", "declined", remaining=9)
    await replaces_card(donor, gift)
    room.sandbox.faults.clear()
    assert [status for status, _ in invoices(room)] == ["paid", "open", "open"]
    newest = str(room.sandbox.account.store.objects[id_]["latest_invoice"])
    room.sandbox.dashboard_request("POST", f"/v1/invoices/{newest}/pay")
    await room.runs_until_idle()
    assert [status for status, _ in invoices(room)] == ["paid", "void", "paid"]
    assert await room.rows(OPEN_ALERTS) == []


async def test_a_card_whose_bank_asks_each_time_has_its_donor_asked(donor: Donor) -> None:
    gift, _ = await payment_fails(donor)
    await donor.signs_in()
    await replaces_card(donor, gift, CONFIRMED_CARD)
    assert [status for status, _ in invoices(donor.room)] == ["paid", "open"]
    kinds = await donor.room.rows("SELECT kind FROM outbox_mails WHERE kind <> 'sign_in'")
    assert ("action_needed",) in kinds


async def test_another_debt_than_the_one_that_was_shown_is_not_paid(donor: Donor) -> None:
    gift, link = await payment_fails(donor)
    await donor.signs_in()
    action = f"{account_page(gift)}/card"
    forms = {action: await donor.opens(action), link: await donor.opens(link)}
    assert "The payment of $5.00 due on 22 December 2026" in forms[link].text
    newest = invoices_at_stripe(donor.room)[-1]
    donor.room.sandbox.dashboard_request("POST", f"/v1/invoices/{newest['id']}/void")
    for address, form in forms.items():
        answer = await donor.submits(form, address)
        assert answer.status_code == 422
        page = well_formed_page(answer)
        assert "The amount owed has changed" in page.text
        assert "Nothing is charged now" in page.text
        assert (await donor.submits(page, address)).status_code == 303


async def test_what_is_settled_while_it_is_voided_calls_nobody(donor: Donor) -> None:
    room = donor.room
    await payment_fails(donor)
    id_ = await subscription_id_of(room)
    newest = room.sandbox.account.store.objects[id_]["latest_invoice"]
    room.sandbox.faults.add("POST", f"/v1/invoices/{newest}/void", "hang_before")
    voiding = asyncio.create_task(debts.void_all(room.ctx, id_))
    await room.sandbox.faults.wait_until_hanging()
    room.sandbox.dashboard_request("POST", f"/v1/invoices/{newest}/void")
    room.sandbox.faults.release()
    await voiding
    assert await room.rows(OPEN_ALERTS) == []


async def test_a_payment_that_stripe_confirms_and_does_not_make_calls_a_person(
    donor: Donor,
) -> None:
    room = donor.room
    gift, id_ = await goes_unpaid(donor, months=2)
    await donor.signs_in()
    room.sandbox.faults.add("POST", "/v1/invoices/.*/void", "without_effect", remaining=9)
    room.sandbox.faults.add("POST", "/v1/invoices/.*/pay", "without_effect", remaining=9)
    await replaces_card(donor, gift)
    unpaid = {invoice["id"] for invoice in invoices_at_stripe(room) if invoice["status"] == "open"}
    assert len(unpaid) == 2
    newest = room.sandbox.account.store.objects[id_]["latest_invoice"]
    assert await room.rows(OPEN_ALERTS) == [("invoice_left", id_), ("debt_left", id_)]
    assert at_stripe(room, id_) == "unpaid"
    page = await donor.opens(account_page(gift))
    assert "The last payments did not go through" in page.text
    room.sandbox.faults.clear()
    room.sandbox.faults.add("POST", "/v1/invoices/.*/void", "without_effect", remaining=9)
    await replaces_card(donor, gift)
    (older,) = unpaid - {newest}
    assert await room.rows(OPEN_ALERTS) == [("invoice_left", id_)]
    assert at_stripe(room, id_) == "active"
    # It closes once a person has voided what was left, seen by the attempt of each hour.
    room.sandbox.faults.clear()
    for still_open in (True, False):
        await run_scheduled_jobs(room)
        async with room.ctx.sessions.begin() as session:
            await retries.retry_exhausted(session)
        await room.runs_until_idle()
        assert (await room.rows(OPEN_ALERTS) == [("invoice_left", id_)]) is still_open
        if still_open:
            room.sandbox.dashboard_request("POST", f"/v1/invoices/{older}/void")
