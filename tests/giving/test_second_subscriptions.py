"""A donor begins a recurring contribution and has another one: meant, by mistake, or anew."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from payments.accounting.reports import recurring
from payments.giving import second_subscriptions
from payments.giving.subscriptions import HOLD_JOB
from payments.infra import job_queue
from tests.support.donor import (
    OTHER_EMAIL,
    Donor,
    account_page,
    months_pass,
    open_donor_browser,
    payment_fails,
    subscription_id_of,
    successful_charges,
)
from tests.support.jobs import hours_pass_for_jobs, jobs, open_alerts, runs_schedule
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


async def counted(donor: Donor) -> tuple[int, int]:
    async with donor.room.ctx.sessions() as session:
        return await recurring.donors_with_several(session)


async def test_two_begun_are_mailed_once_and_one_can_be_ended_from_the_page(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500)
    assert room.mails() == []
    second = await donor.gives(700)
    await donor.gives(900, "once")
    async with open_donor_browser(room, OTHER_EMAIL) as other:
        await other.gives(500)
    (mail,) = room.mails()
    assert mail.subject == "You now have more than one regular payment"
    assert "Your payment of $7.00 a month has begun. You also have this one: $5.00" in mail.part()
    assert "you can end it in a minute" in mail.part()
    assert await counted(donor) == (1, 0)
    await months_pass(room, 1)
    assert [one.subject for one in room.mails()] == [mail.subject]
    page = await donor.signs_in()
    assert "You have more than one contribution that renews" in page.text
    link = page.links["Stop the one of $7.00 every month"]
    assert link == f"{account_page(second)}/stop"
    page = await donor.follows_redirect(await donor.opens_and_submits(link))
    await room.runs_until_idle()
    page = await donor.opens("/manage/contributions")
    assert "You have more than one contribution that renews" not in page.text
    assert await counted(donor) == (0, 0)


async def test_a_failing_one_is_not_charged_beside_the_new_one(donor: Donor) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    failed = len(room.mails())
    new = await donor.gives(500)
    (mail,) = room.mails()[failed:]
    assert mail.subject == "You now have more than one regular payment"
    assert "It is not tried again: that payment is paused until you resume it" in mail.part()
    assert await counted(donor) == (1, 1)
    (method,) = await room.rows(
        "SELECT stripe_payment_method_id FROM subscriptions WHERE contribution_id = :id", id=old.id
    )
    room.sandbox.restore_card(str(method[0]))  # it works again: Stripe would take it
    before = await successful_charges(room)
    for _ in range(5):
        await room.advances_time(timedelta(days=6))
        await room.runs_until_idle()
    charged = await room.rows(
        "SELECT link.contribution_id FROM charges JOIN payment_intent_links link"
        " USING (stripe_payment_intent_id) WHERE status = 'succeeded' ORDER BY charged_at"
    )
    assert len(charged) == len(before)
    await room.advances_time(timedelta(days=2))
    await room.runs_until_idle()
    charged = await room.rows(
        "SELECT link.contribution_id FROM charges JOIN payment_intent_links link"
        " USING (stripe_payment_intent_id) WHERE status = 'succeeded' ORDER BY charged_at"
    )
    assert charged == [(old.id,), (new.id,), (new.id,)]
    await donor.signs_in()
    page = await donor.opens(account_page(old))
    assert "Paused because you began another one" in page.text
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{account_page(old)}/resume")
    )
    assert "Your contribution" in page.text
    ((is_paused,),) = await room.rows(
        "SELECT is_paused FROM subscriptions WHERE contribution_id = :id", id=old.id
    )
    assert not is_paused


async def test_a_hold_that_failed_half_way_goes_on_and_leaves_nothing_to_charge(
    donor: Donor,
) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, old)
    room.sandbox.faults.add("POST", r"/v1/invoices/[^/]+/void", "status_500", remaining=99)
    await donor.gives(500)
    room.sandbox.faults.clear()
    subscription = room.sandbox.account.store.objects[id_]
    assert subscription["pause_collection"] is not None
    invoices = room.sandbox.account.store.objects
    assert invoices[subscription["latest_invoice"]]["status"] == "open"
    # another job about it succeeds: the one that failed is not forgotten
    room.sandbox.faults.add("POST", r"/v1/invoices/[^/]+/void", "status_500", remaining=999)
    await hours_pass_for_jobs(room)
    assert ("retries_exhausted", id_) in await open_alerts(room)
    await subscription_sync_runs(room, id_)
    async with room.ctx.sessions() as session:
        assert (HOLD_JOB, id_) in await job_queue.list_failed(session)
    assert ("retries_exhausted", id_) in await open_alerts(room)
    # both fail: each has an alert of its own, and is tried again for itself
    room.sandbox.faults.add("GET", f"/v1/subscriptions/{id_}", "status_500", remaining=9999)
    await subscription_sync_runs(room, id_)
    await hours_pass_for_jobs(room)
    failed = "SELECT job FROM alerts WHERE closed_at IS NULL AND object_id = :id ORDER BY id"
    assert await room.rows(failed, id=id_) == [(HOLD_JOB,), ("subscription",)]
    # one attempt more each hour, until it succeeds or a person has closed the alert
    await runs_schedule(room, "retry_exhausted")
    await room.runs_due_jobs()
    assert await room.rows(failed, id=id_) == [(HOLD_JOB,), ("subscription",)]
    assert "todo" not in str(await jobs(room))
    room.sandbox.faults.clear()
    await runs_schedule(room, "retry_exhausted")
    await room.runs_due_jobs()
    assert invoices[subscription["latest_invoice"]]["status"] == "void"
    assert await room.rows(failed, id=id_) == []
    async with room.ctx.sessions() as session:
        assert await job_queue.list_failed(session) == []


async def subscription_sync_runs(room: Newsroom, subscription_id: str) -> None:
    async with room.ctx.sessions.begin() as session:
        await job_queue.enqueue_sync(session, "subscription", subscription_id)
    await room.runs_due_jobs()


async def test_a_hold_that_nobody_enqueued_is_found(donor: Donor) -> None:
    room = donor.room
    old, _ = await payment_fails(donor)
    id_ = await subscription_id_of(room, old)
    seen_late = "UPDATE subscriptions SET status = :status WHERE stripe_subscription_id = :id"
    await executes(room, seen_late, status="active", id=id_)
    await donor.gives(500)  # the failure of the old one is not known yet
    assert room.sandbox.account.store.objects[id_]["pause_collection"] is None
    await subscription_sync_runs(room, id_)
    await runs_schedule(room, "resume_holds")
    await room.runs_due_jobs()
    assert room.sandbox.account.store.objects[id_]["pause_collection"] is not None
    # resumed by the donor it stays so, and one that is in order is never held
    resumed = "UPDATE subscriptions SET is_paused = false, status = 'past_due'"
    await executes(room, f"{resumed} WHERE stripe_subscription_id = :id", id=id_)
    assert await second_subscriptions.resume_holds(room.ctx) == 0
    await executes(room, "DELETE FROM subscription_changes")
    assert await second_subscriptions.resume_holds(room.ctx) == 1
    await executes(room, "UPDATE subscriptions SET status = 'active'")
    assert await second_subscriptions.resume_holds(room.ctx) == 0


async def executes(room: Newsroom, statement: str, **params: object) -> None:
    async with room.ctx.sessions.begin() as session:
        await session.execute(text(statement), params)


async def test_one_that_is_in_order_goes_on_beside_the_new_one(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500)
    await donor.gives(700)
    await months_pass(room, 1)
    amounts = sorted(str(amount) for _, amount in await successful_charges(room))
    assert amounts == ["500", "500", "700", "700"]
