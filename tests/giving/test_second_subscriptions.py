"""A donor begins a recurring contribution and has another one: meant, by mistake, or anew."""

from datetime import timedelta

import pytest

from payments.accounting.reports import recurring
from payments.core.errors import StripeUnavailable
from payments.core.money import Money
from payments.giving import second_subscriptions, subscription_changes
from payments.giving.change_log import Actor
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import FORGIVE_JOB, SECOND_JOB
from payments.infra import job_queue
from payments.sandbox.hosted_page_client import pay
from tests.support import stripe_dashboard
from tests.support.donor import (
    OTHER_EMAIL,
    READER_EMAIL,
    Donor,
    account_page,
    link_in,
    months_pass,
    open_donor_browser,
    payment_fails,
    subscription_id_of,
    subscription_requests,
    successful_charges,
)
from tests.support.jobs import hours_pass_for_jobs, open_alerts, runs_schedule
from tests.support.mail import execute, run_scheduled_jobs
from tests.support.newsroom import Mail, Newsroom

pytestmark = pytest.mark.anyio

SUBJECT = "You now have more than one regular payment"
PAUSED = "Your monthly payment is paused"


async def counted(donor: Donor) -> tuple[int, int]:
    async with donor.room.ctx.sessions() as session:
        return await recurring.donors_with_several(session)


def seconds(room: Newsroom) -> list[Mail]:
    """The mails that say of a second one."""
    return [mail for mail in room.mails() if mail.subject == SUBJECT]


def invoice_status(room: Newsroom, subscription_id: str) -> str:
    """The status of a subscription's last invoice at Stripe."""
    objects = room.sandbox.account.store.objects
    return str(objects[str(objects[subscription_id]["latest_invoice"])]["status"])


def begins_beside(
    room: Newsroom, subscription_id: str, amount: int = 700, *, trial_days: int | None = None
) -> str:
    """Begin another one for the customer of a subscription, with a card that works."""
    customer = str(room.sandbox.account.store.objects[subscription_id]["customer"])
    _, card = stripe_dashboard.with_card(room, READER_EMAIL, customer=customer)
    return stripe_dashboard.subscribe(
        room,
        customer,
        card,
        amount,
        product="reader_payments_monthly",
        trial_period_days=trial_days,
    )


async def last_words(room: Newsroom, subscription_id: str) -> str:
    """End a subscription at Stripe, once all is known of it. Returns the mail about it."""
    await room.runs_until_idle()
    room.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{subscription_id}")
    await room.runs_until_idle()
    return " ".join(room.mails()[-1].part().split())


async def repairs_card(room: Newsroom, contribution: Contribution) -> None:
    """Have the failing card work again: Stripe would take it at the next attempt."""
    query = "SELECT stripe_payment_method_id FROM subscriptions WHERE contribution_id = :id"
    ((method,),) = await room.rows(query, id=contribution.id)
    room.sandbox.restore_card(str(method))


async def test_two_begun_are_mailed_once_and_differ_on_the_page(donor: Donor) -> None:
    room = donor.room
    first = await donor.gives(500)
    assert room.mails() == []
    await room.advances_time(timedelta(minutes=7))
    second = await donor.gives(500)
    await donor.gives(900, "once")
    async with open_donor_browser(room, OTHER_EMAIL) as other:
        await other.gives(500)
    (mail,) = room.mails()
    assert mail.subject == SUBJECT
    assert "You also have a payment of $5.00 a month" in mail.part()
    assert await counted(donor) == (1, 0)
    await months_pass(room, 1)
    assert len(room.mails()) == 1
    page = await donor.signs_in()
    assert "You have more than one recurring contribution" in page.text
    label = "Cancel the one of $5.00 every month, started on 22 November 2026, {} UTC (Active)"
    assert page.links[label.format("12:00")] == f"{account_page(first)}/stop"
    link = page.links[label.format("12:07")]
    assert link == f"{account_page(second)}/stop"
    page = await donor.follows_redirect(await donor.opens_and_submits(link))
    await room.runs_until_idle()
    page = await donor.opens("/manage/contributions")
    assert "You have more than one recurring contribution" not in page.text
    assert await counted(donor) == (0, 0)


async def test_a_strangers_second_neither_pauses_nor_voids_and_the_donor_may(donor: Donor) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, old)
    await donor.gives(100_00)
    (mail,) = seconds(room)
    assert "Its last payment failed and may be tried again." in mail.part()
    assert room.sandbox.account.store.objects[id_]["pause_collection"] is None
    assert invoice_status(room, id_) == "open"
    page = await donor.signs_in()
    assert "A payment of one of them did not go through and may be tried again" in page.text
    pause = "Pause the one of $5.00 every month, started on 22 November 2026 (A payment is open)"
    action = page.links[pause]
    form = await donor.opens(action)
    assert "it won't be tried again, and you don't owe it" in form.text
    room.sandbox.faults.add("POST", r"/v1/invoices/in_[^/]+/void", "status_500", remaining=9)
    page = await donor.follows_redirect(await donor.submits(form, action, months="open"))
    assert invoice_status(room, id_) == "open"
    room.sandbox.faults.clear()
    await run_scheduled_jobs(room)
    await room.runs_until_idle()
    assert invoice_status(room, id_) == "void"
    page = await donor.opens(account_page(old))
    assert "Paused until you resume it" in page.text
    assert "did not go through" not in page.text
    before = len(await successful_charges(room))
    await repairs_card(room, old)
    await room.advances_time(timedelta(days=25))
    await room.runs_until_idle()
    assert len(await successful_charges(room)) == before
    assert await open_alerts(room) == []


async def test_a_failing_one_of_the_same_customer_is_held_before_the_mail_says_so(
    donor: Donor,
) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, old)
    room.sandbox.faults.add("POST", r"/v1/invoices/in_[^/]+/void", "status_500", remaining=9999)
    new = begins_beside(room, id_)
    await room.runs_until_idle()
    # Half done: paused, and the invoice is open, which Stripe would try again. No mail says more.
    assert room.sandbox.account.store.objects[id_]["pause_collection"] is not None
    assert invoice_status(room, id_) == "open"
    await hours_pass_for_jobs(room)
    assert ("retries_exhausted", id_) in await open_alerts(room)
    # another job about it succeeds: the one that failed is not forgotten
    await sync_runs(room, id_)
    async with room.ctx.sessions() as session:
        assert {(FORGIVE_JOB, id_), (SECOND_JOB, new)} <= set(await job_queue.list_failed(session))
    assert ("retries_exhausted", id_) in await open_alerts(room)
    # both fail: each has an alert of its own, and is tried again for itself
    room.sandbox.faults.add("GET", f"/v1/subscriptions/{id_}", "status_500", remaining=9999)
    await sync_runs(room, id_)
    await hours_pass_for_jobs(room)
    failed = "SELECT job FROM alerts WHERE closed_at IS NULL AND object_id = :id ORDER BY id"
    assert await room.rows(failed, id=id_) == [(FORGIVE_JOB,), ("subscription",)]
    assert seconds(room) == []
    room.sandbox.faults.clear()
    # one attempt more each hour, until it succeeds or a person has closed the alert
    await runs_schedule(room, "retry_exhausted")
    await room.runs_due_jobs()
    assert invoice_status(room, id_) == "void"
    assert await room.rows(failed, id=id_) == []
    async with room.ctx.sessions() as session:
        assert await job_queue.list_failed(session) == []
    (mail,) = seconds(room)
    said = " ".join(mail.part().split())
    assert "Your payment of $7.00 a month has started." in said
    assert "You also have a payment of $5.00 a month, started on 22 November 2026." in said
    assert "We have paused it until you resume it, and won't try that payment again." in said
    labels = [line for line in mail.part().splitlines() if line.startswith("Cancel the ")]
    assert labels == [
        "Cancel the payment of $7.00 a month, started on 23 December 2026:",
        "Cancel the payment of $5.00 a month, started on 22 November 2026:",
    ]
    assert await counted(donor) == (1, 1)
    await repairs_card(room, old)
    before = await successful_charges(room)
    await room.advances_time(timedelta(days=25))
    await room.runs_until_idle()
    assert await successful_charges(room) == before
    begun_later = begins_beside(room, id_, 900)  # for which nothing is held
    said = f"{await last_words(room, begun_later)} {await last_words(room, new)}"
    assert "payment is still paused. It won't be charged" in said
    assert "payment is still paused because you started this one in its place. It won't" in said
    await donor.signs_in()
    page = await donor.opens(account_page(old))
    assert "Paused because you started another one" in page.text
    await donor.follows_redirect(await donor.opens_and_submits(f"{account_page(old)}/resume"))
    query = "SELECT is_paused FROM subscriptions WHERE contribution_id = :id"
    assert await room.rows(query, id=old.id) == [(False,)]


async def sync_runs(room: Newsroom, subscription_id: str) -> None:
    async with room.ctx.sessions.begin() as session:
        await job_queue.enqueue_sync(session, "subscription", subscription_id)
    await room.runs_due_jobs()


async def test_a_hold_that_nobody_enqueued_is_found(donor: Donor) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, old)
    seen_late = "UPDATE subscriptions SET status = 'active'"
    await execute(room, seen_late)  # the failure of the old one is not known yet
    begins_beside(room, id_)
    await room.runs_until_idle()
    await donor.gives(900)  # with the address alone, which is not certain
    assert room.sandbox.account.store.objects[id_]["pause_collection"] is None
    await sync_runs(room, id_)
    await runs_schedule(room, "enqueue_pauses")
    await room.runs_until_idle()
    assert room.sandbox.account.store.objects[id_]["pause_collection"] is not None
    # resumed by the donor it stays so, and one that is in order is never held
    resumed = "UPDATE subscriptions SET is_paused = false, status = 'past_due'"
    await execute(room, f"{resumed} WHERE stripe_subscription_id = '{id_}'")
    assert await second_subscriptions.enqueue_pauses(room.ctx) == 0
    await execute(room, "DELETE FROM subscription_changes")
    assert await second_subscriptions.enqueue_pauses(room.ctx) == 1
    await execute(room, "UPDATE subscriptions SET stripe_customer_id = 'cus_' || contribution_id")
    assert await second_subscriptions.enqueue_pauses(room.ctx) == 0
    await execute(room, "UPDATE subscriptions SET stripe_customer_id = 'cus_1', status = 'active'")
    assert await second_subscriptions.enqueue_pauses(room.ctx) == 0
    for one in await all_ids(room):
        await sync_runs(room, one)


async def all_ids(room: Newsroom) -> list[str]:
    return [
        str(id_) for (id_,) in await room.rows("SELECT stripe_subscription_id FROM subscriptions")
    ]


async def test_what_stripe_does_not_pause_is_said_as_it_is(donor: Donor) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, old)
    room.sandbox.faults.add("POST", f"/v1/subscriptions/{id_}", "refused")
    begins_beside(room, id_)
    await room.runs_until_idle()
    assert ("change_not_made", id_) in await open_alerts(room)
    (mail,) = seconds(room)
    assert "Its last payment failed and may be tried again." in mail.part()
    assert "paused" not in mail.part()
    # it is asked for again a day later, and what is done then has a mail of its own
    room.sandbox.faults.add("POST", f"/v1/subscriptions/{id_}", "refused", remaining=9)
    asked = subscription_requests(room)
    for _ in range(6):
        await execute(room, "UPDATE alerts SET closed_at = opened_at")
        room.clock.advance(timedelta(minutes=10))
        assert await second_subscriptions.enqueue_pauses(room.ctx) == 0
    room.clock.advance(timedelta(days=1))
    room.sandbox.faults.clear()
    assert await second_subscriptions.enqueue_pauses(room.ctx) == 1
    await room.runs_until_idle()
    assert subscription_requests(room) == [*asked, f"/v1/subscriptions/{id_}"]
    assert await open_alerts(room) == []
    (mail,) = [mail for mail in room.mails() if mail.subject == PAUSED]
    said = " ".join(mail.part().split())
    assert "You started another regular payment, and the last payment of this one failed" in said
    assert "Your payment of $5.00 a month is paused until you resume it." in said
    assert len(seconds(room)) == 1


async def test_one_that_is_held_is_said_to_be_where_no_amount_may_be_said(donor: Donor) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, old)
    for amount in (700, 800, 900, 1000):  # of so many none is described
        begins_beside(room, id_, amount)
    await room.runs_until_idle()
    assert invoice_status(room, id_) == "void"
    mail = seconds(room)[-1]
    said = " ".join(mail.part().split())
    assert "There is now more than one regular payment under this e-mail address" in said
    assert (
        "The last payment of one of them failed, so we have paused it until you resume it." in said
    )
    assert "Each continues" not in said
    assert "$" not in said
    assert [mail for mail in room.mails() if mail.subject == PAUSED] == []


async def test_a_donor_who_has_signed_in_since_has_the_failing_one_held(donor: Donor) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    asked = await room.requests_contribution(700, "monthly")
    await pay(asked.json()["checkout_url"], email=READER_EMAIL, name="A Reader")
    await room.advances_time(timedelta(minutes=1))
    await donor.signs_in()  # while the webhooks of the new one are late
    await room.runs_until_idle()
    id_ = await subscription_id_of(room, old)
    assert invoice_status(room, id_) == "void"
    (mail,) = seconds(room)
    assert "We have paused it until you resume it" in mail.part()


async def test_the_mail_says_of_each_what_is_so_and_leaves_out_what_is_being_stopped(
    donor: Donor,
) -> None:
    room = donor.room
    first = await donor.gives(500)
    id_ = await subscription_id_of(room, first)
    ending, paused, stopping = [begins_beside(room, id_, amount) for amount in (600, 800, 900)]
    await room.runs_until_idle()
    await room.advances_time(timedelta(days=2))
    stripe_dashboard.update(room, f"/v1/subscriptions/{ending}", cancel_at_period_end="true")
    stripe_dashboard.update(
        room, f"/v1/subscriptions/{paused}", pause_collection={"behavior": "void"}
    )
    await room.runs_until_idle()
    room.sandbox.faults.add("DELETE", "/v1/subscriptions/sub_", "status_500", remaining=99)
    await donor.signs_in()
    query = "SELECT contribution_id FROM subscriptions WHERE stripe_subscription_id = :id"
    ((contribution_id,),) = await room.rows(query, id=stopping)
    await donor.opens_and_submits(f"/manage/contributions/{contribution_id}/stop")
    mails = len(seconds(room))
    begins_beside(room, id_, 1000)
    await room.runs_until_idle()
    (mail,) = seconds(room)[mails:]
    said = " ".join(mail.part().split())
    of = "You also have a payment of ${} a month, started on 22 November 2026, 12:00 UTC. {}"
    assert of.format("5.00", "Its next payment is due on 22 December 2026.") in said
    assert of.format("6.00", "It ends on 22 December 2026 and won't be charged again") in said
    assert of.format("8.00", "It is paused until you resume it.") in said
    assert "$9.00" not in said
    assert "failed" not in said
    room.sandbox.faults.clear()
    await run_scheduled_jobs(room)


async def test_a_second_that_begins_as_a_trial_is_mailed_then_and_holds_when_it_is_paid(
    donor: Donor,
) -> None:
    room = donor.room
    room.sandbox.set_billing(retry_days=[25, 28])
    old, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, old)
    begins_beside(room, id_, trial_days=14)
    await room.runs_until_idle()
    (mail,) = seconds(room)
    assert "Its last payment failed and may be tried again." in mail.part()
    assert invoice_status(room, id_) == "open"
    await room.advances_time(timedelta(days=15))
    await room.runs_until_idle()
    assert invoice_status(room, id_) == "void"
    assert room.sandbox.account.store.objects[id_]["pause_collection"] is not None
    assert len(seconds(room)) == 1


async def test_a_failed_payment_says_that_another_one_is_in_order(donor: Donor) -> None:
    room = donor.room
    old = await donor.gives(500)
    await donor.gives(700)
    query = "SELECT stripe_payment_method_id FROM subscriptions WHERE contribution_id = :id"
    ((method,),) = await room.rows(query, id=old.id)
    room.sandbox.fail_card(str(method), "insufficient_funds")
    await months_pass(room, 1)
    failed = room.mails()[-1]
    assert "You also have another regular payment, and that one is fine" in failed.part()
    assert "$7.00" not in failed.part()
    amounts = sorted(str(amount) for _, amount in await successful_charges(room))
    assert amounts == ["500", "700", "700"]  # what is in order goes on


async def test_an_address_that_makes_two_donors_one_is_mailed_once_and_holds_nothing(
    donor: Donor,
) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, old)
    async with open_donor_browser(room, OTHER_EMAIL) as other:
        moved = await other.gives(700)
    assert seconds(room) == []
    moved_id = await subscription_id_of(room, moved)
    customer = str(room.sandbox.account.store.objects[moved_id]["customer"])
    stripe_dashboard.update(room, f"/v1/customers/{customer}", email=READER_EMAIL)
    await room.runs_until_idle()
    stripe_dashboard.update(room, f"/v1/customers/{customer}", name="A Reader")
    await room.runs_until_idle()
    (mail,) = seconds(room)
    assert mail.to == [READER_EMAIL]
    assert "Your payment of $7.00 a month has started." in mail.part()
    assert invoice_status(room, id_) == "open"


async def test_a_mail_after_a_change_of_address_has_links_that_open(donor: Donor) -> None:
    room = donor.room
    async with open_donor_browser(room, OTHER_EMAIL) as other:
        await other.gives(900, "once")  # their mailbox is proved
    gift = await donor.gives(500)
    id_ = await subscription_id_of(room, gift)
    customer = str(room.sandbox.account.store.objects[id_]["customer"])
    await subscription_changes.change_amount(room.ctx, id_, Money(900, "usd"), actor=Actor.DONOR)
    stripe_dashboard.update(room, f"/v1/customers/{customer}", email=OTHER_EMAIL)
    await room.runs_due_jobs()  # before Stripe's event
    mail = room.mails()[-1]
    assert mail.to == [OTHER_EMAIL]
    await room.runs_until_idle()
    assert "Cancel this contribution" in (await donor.opens(link_in(mail, "/stop/"))).text


async def test_a_pause_at_stripe_leaves_an_open_payment_and_its_mail_says_so(donor: Donor) -> None:
    room = donor.room
    gift, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, gift)
    stripe_dashboard.update(room, f"/v1/subscriptions/{id_}", pause_collection={"behavior": "void"})
    await room.runs_until_idle()
    said = " ".join(room.mails()[-1].part().split())
    assert "An earlier payment is still open and may be charged." in said
    assert "you won't owe" not in said
    assert invoice_status(room, id_) == "open"
    stripe_dashboard.update(room, f"/v1/subscriptions/{id_}", pause_collection="")
    await room.runs_until_idle()
    await donor.signs_in()
    action = f"{account_page(gift)}/skip"
    form = await donor.opens(action)
    assert "it won't be tried again, and you don't owe it" in form.text
    await donor.follows_redirect(await donor.submits(form, action))
    assert invoice_status(room, id_) == "void"
    await room.runs_until_idle()
    assert "Nothing will be charged on that day." in room.mails()[-1].part()


async def test_a_payment_that_cannot_be_voided_is_said_to_be_open(donor: Donor) -> None:
    room = donor.room
    gift, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, gift)
    void = r"/v1/invoices/[^/]+/void"
    room.sandbox.faults.add("POST", void, "refused", remaining=9)
    await subscription_changes.pause(room.ctx, id_, None, actor=Actor.DONOR)
    await room.runs_until_idle()
    still_open = "An earlier payment is still open and may be charged."
    assert still_open in " ".join(room.mails()[-1].part().split())
    await subscription_changes.resume(room.ctx, id_, actor=Actor.DONOR)
    await subscription_changes.skip(room.ctx, id_, actor=Actor.DONOR)
    await room.runs_until_idle()
    skipped = room.mails()[-1]
    assert "will be skipped, and you don't owe anything for it" in skipped.part()
    assert still_open in skipped.part()
    # a mail that leaves before the job that voids says what is so after it
    room.sandbox.faults.clear()
    await subscription_changes.resume(room.ctx, id_, actor=Actor.DONOR)
    room.sandbox.faults.add("GET", f"/v1/subscriptions/{id_}", "status_500", remaining=9)
    with pytest.raises(StripeUnavailable):
        await subscription_changes.pause(room.ctx, id_, None, actor=Actor.DONOR)
    room.sandbox.faults.clear()
    room.sandbox.take_deliveries()  # no webhook says that it was made
    assert invoice_status(room, id_) == "open"
    await run_scheduled_jobs(room)
    await room.runs_due_jobs()
    assert invoice_status(room, id_) == "void"
    (paused,) = [mail for mail in room.mails()[-1:] if mail.subject == PAUSED]
    assert "Nothing is charged during the pause" in paused.part()
    assert still_open not in paused.part()
