"""What we hold and Stripe does not have is found by reconciliation, and by whatever fetches it."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text

from payments.giving import payment_methods, subscription_sync
from payments.giving.change_log import Actor
from payments.giving.subscriptions import SECOND_JOB
from payments.infra import isolation, job_queue, stripe_client
from payments.infra.context import open_context
from payments.infra.stripe_account import AccountNotVerified, WrongStripeAccount
from payments.ops import missing_objects, reconcile, worker
from payments.risk.quarantine import QUARANTINE_JOB
from payments.safety import data_requests, retention
from payments.sandbox.sandbox import Sandbox
from tests.support.donor import subscription_id_of
from tests.support.jobs import hours_pass_for_jobs, jobs
from tests.support.newsroom import Newsroom
from tests.support.past import has_given
from tests.support.stripe_keys import key_without

pytestmark = pytest.mark.anyio
SANDBOX_ACCOUNT = "acct_1SandboxAccount00"


def vanishes(sandbox: Sandbox, object_id: str) -> None:
    """Stripe has no such object any more, and never says so."""
    kind = sandbox.account.store.objects[object_id]["object"]
    sandbox.account.store.remove(object_id)
    sandbox.account.store.kinds[kind].remove(object_id)


async def executes(room: Newsroom, statement: str, **params: object) -> None:
    async with room.ctx.sessions.begin() as session:
        await session.execute(text(statement), params)


async def open_alerts(room: Newsroom) -> list[tuple[object, ...]]:
    return await room.rows(
        "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY kind, object_id"
    )


async def differences(room: Newsroom, *, repair: bool = False) -> tuple[list[str], list[str]]:
    """What reconciliation finds of the last week, and what it leaves."""
    result = await reconcile.run(room.ctx, days=7, repair=repair)
    return [f"{one.kind} {one.id} {one.description}" for one in result.before], [
        one.id for one in result.after
    ]


async def subscribes(room: Newsroom, email: str = "reader@example.org") -> str:
    gift = await has_given(room, 500, "monthly", email=email)
    return await subscription_id_of(room, gift)


async def states(room: Newsroom) -> dict[str, str]:
    rows = await room.rows("SELECT stripe_subscription_id, status FROM subscriptions")
    return {str(id_): str(status) for id_, status in rows}


@pytest.mark.parametrize("found_by", ["reconciliation", "a sweep"])
async def test_a_subscription_that_stripe_does_not_know_ends_and_a_person_looks(
    newsroom: Newsroom, found_by: str
) -> None:
    stays, gone = await subscribes(newsroom), await subscribes(newsroom, "another@example.org")
    vanishes(newsroom.sandbox, gone)
    await newsroom.advances_time(timedelta(days=8))
    await newsroom.runs_until_idle()
    if found_by == "reconciliation":
        found, _ = await differences(newsroom)
        assert found == [f"subscription {gone} is here; Stripe does not have it"]
        assert (await states(newsroom))[gone] == "active"  # only looked at
        assert await differences(newsroom, repair=True) == (found, [])
    else:
        await newsroom.runs_sweeps()
    assert await states(newsroom) == {stays: "active", gone: "canceled"}
    assert await open_alerts(newsroom) == [("missing_at_stripe", gone)]
    assert newsroom.mails() == []
    assert await newsroom.rows("SELECT kind, actor FROM subscription_changes") == [
        ("cancelled", "stripe")
    ]
    asked = len(newsroom.sandbox.requests)
    await newsroom.advances_time(timedelta(days=8))
    await newsroom.runs_sweeps()
    assert not [one for one in newsroom.sandbox.requests[asked:] if gone in one.path]
    assert await differences(newsroom) == ([], [])


async def test_one_that_stripe_has_after_all_goes_on_as_it_was(newsroom: Newsroom) -> None:
    back = await subscribes(newsroom)
    columns = "SELECT status, ended_at, current_period_end, amount, is_paused FROM subscriptions"
    before = await newsroom.rows(columns)
    at_stripe = newsroom.sandbox.account.store.objects.pop(back)
    await newsroom.advances_time(timedelta(hours=1))
    await enqueues(newsroom, "subscription", back)
    await newsroom.runs_due_jobs()
    assert await states(newsroom) == {back: "canceled"}
    assert await open_alerts(newsroom) == [("missing_at_stripe", back)]
    newsroom.sandbox.account.store.objects[back] = at_stripe  # it was another account's key
    ((found,), left) = await differences(newsroom, repair=True)
    assert found.startswith(f"subscription {back} is canceled, ")
    assert left == []
    assert await newsroom.rows(columns) == before
    assert await open_alerts(newsroom) == []
    assert newsroom.mails() == []
    assert await newsroom.count("subscription_changes") == 0


async def test_one_that_is_found_after_its_donor_was_erased_is_cancelled(
    newsroom: Newsroom,
) -> None:
    room, objects = newsroom, newsroom.sandbox.account.store.objects
    asked, expired = await subscribes(room), await subscribes(room, "another@example.org")
    for by_retention, id_ in ((False, asked), (True, expired)):
        at_stripe = objects.pop(id_)
        await missing_objects.handle(room.ctx, "subscription", id_)
        if by_retention:
            room.clock.advance(timedelta(days=430))
            await retention.purge_expired(room.ctx)
        else:
            ((donor,),) = await room.rows(
                "SELECT donor_id FROM contributions JOIN subscriptions ON contribution_id = id"
                " WHERE stripe_subscription_id = :id",
                id=id_,
            )
            await data_requests.erase(room.ctx, str(donor))
        assert id_ not in await states(room)
        objects[id_] = at_stripe
        assert await subscription_sync.sync(room.ctx, id_) is not None
        await room.runs_due_jobs()
        assert objects[id_]["status"] == "canceled"
        await subscription_sync.sync(room.ctx, id_)
        assert id_ not in await states(room)
    assert await room.count("donors") == 0
    assert room.mails() == []


@pytest.mark.parametrize("account", ["another", "not readable"])
async def test_nothing_is_missing_for_a_key_whose_account_is_not_known(
    newsroom: Newsroom, account: str
) -> None:
    lives = await subscribes(newsroom)
    at_stripe = newsroom.sandbox.account.store.objects.pop(lives)
    customers = await newsroom.count("donor_customers")
    if account == "another":
        await executes(newsroom, "UPDATE stripe_accounts SET account_id = 'acct_other'")
    else:
        key_without(newsroom, "accounts_kyc_basic")
    async with open_context(newsroom.settings, now=newsroom.clock) as ctx:
        for object_type, object_id in (
            ("subscription", lives),
            ("customer", "cus_gone"),
            (SECOND_JOB, lives),
        ):
            with pytest.raises((AccountNotVerified, WrongStripeAccount)):
                await missing_objects.handle(ctx, object_type, object_id)
        await enqueues(newsroom, "subscription", lives)
        await worker.run_due_jobs(ctx)
    assert await states(newsroom) == {lives: "active"}
    assert await newsroom.count("donor_customers") == customers
    assert ("missing_at_stripe", lives) not in await open_alerts(newsroom)
    waiting = "SELECT CAST(args ->> 'attempt' AS int) FROM procrastinate_jobs WHERE status = 'todo'"
    assert await newsroom.rows(waiting) == [(2,)]  # an ordinary failure
    newsroom.sandbox.account.store.objects[lives] = at_stripe
    key_without(newsroom)
    await executes(newsroom, "UPDATE stripe_accounts SET account_id = :id", id=SANDBOX_ACCOUNT)
    await hours_pass_for_jobs(newsroom)
    await executes(newsroom, "DELETE FROM alerts")


async def test_what_an_object_only_names_may_be_missing(newsroom: Newsroom) -> None:
    lives = await subscribes(newsroom)
    store = newsroom.sandbox.account.store
    (charge,) = [one["id"] for one in store.of_kind("charge")]
    assert not await missing_objects.handle(newsroom.ctx, "subscription", lives)
    assert not await missing_objects.handle(newsroom.ctx, QUARANTINE_JOB, charge)

    async def meets_another_that_is_missing(_object_id: str) -> None:
        with stripe_client.translate_errors():
            await newsroom.ctx.stripe.v1.invoices.retrieve_async("in_gone")

    run = partial(isolation.for_each, newsroom.ctx)
    assert await run([charge], meets_another_that_is_missing, job="charge") == 0
    assert await open_alerts(newsroom) == [("object_failed", charge)]
    await run(["ch_gone"], meets_another_that_is_missing, job="charge")
    assert await open_alerts(newsroom) == [("object_failed", charge)]  # it is not there itself

    # a job whose object is there has failed, and is tried again
    page = await payment_methods.start_card_update(
        newsroom.ctx, lives, actor=Actor.DONOR, return_path="/manage"
    )
    await newsroom.pays(page)
    at_stripe = store.objects.pop(lives)
    (setup_intent,) = [one["id"] for one in store.of_kind("setup_intent")]
    newsroom.sandbox.take_deliveries()
    await enqueues(newsroom, "setup_intent", setup_intent)
    await newsroom.runs_due_jobs()
    assert await jobs(newsroom) == [("setup_intent", "todo", 2)]
    assert await states(newsroom) == {lives: "active"}
    store.objects[lives] = at_stripe
    await hours_pass_for_jobs(newsroom, 1)
    ((method,),) = await newsroom.rows("SELECT stripe_payment_method_id FROM subscriptions")
    assert method == store.objects[setup_intent]["payment_method"]


async def enqueues(room: Newsroom, object_type: str, object_id: str) -> None:
    async with room.ctx.sessions.begin() as session:
        await job_queue.enqueue_sync(session, object_type, object_id)


async def test_a_customer_that_stripe_does_not_know_leads_to_no_donor(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 500, "monthly")
    await executes(
        newsroom,
        "INSERT INTO donor_customers SELECT 'cus_gone', donor_id FROM contributions WHERE id = :id",
        id=gift.id,
    )
    await newsroom.advances_time(timedelta(hours=1))
    found, left = await differences(newsroom, repair=True)
    assert found == ["customer cus_gone is here; Stripe does not have it"]
    assert left == []
    customers = await newsroom.rows("SELECT stripe_customer_id FROM donor_customers")
    assert len(customers) == 1
    assert ("cus_gone",) not in customers


async def test_money_that_stripe_does_not_know_stays_in_the_books_and_is_called_out(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 500)
    await executes(
        newsroom,
        "INSERT INTO charges (stripe_charge_id, status, amount, currency, charged_at, synced_at)"
        " VALUES ('ch_made_here', 'failed', 500, 'usd', :now, :now)",
        now=newsroom.clock.current,
    )
    await newsroom.advances_time(timedelta(hours=1))
    found, left = await differences(newsroom, repair=True)
    assert found == ["charge ch_made_here is here; Stripe does not have it"]
    assert left == ["ch_made_here"]
    assert await open_alerts(newsroom) == [("missing_at_stripe", "ch_made_here")]
    assert ("ch_made_here",) in await newsroom.rows("SELECT stripe_charge_id FROM charges")


async def test_what_stripe_lists_in_another_window_is_not_missing(newsroom: Newsroom) -> None:
    await has_given(newsroom, 500)
    await newsroom.advances_time(timedelta(days=8))
    await newsroom.runs_until_idle()
    await executes(
        newsroom,
        "UPDATE charges SET charged_at = :now",
        now=newsroom.clock.current - timedelta(days=6, hours=23),
    )
    assert await differences(newsroom) == ([], [])
