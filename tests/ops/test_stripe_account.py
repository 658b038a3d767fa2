"""A database belongs to one Stripe account and mode, and takes in nothing of another."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import update

from payments.accounting import daily_totals
from payments.core.errors import PaymentsError, StripeRejected, StripeUnavailable
from payments.giving import cancellations, contribution_start
from payments.giving.change_log import Actor
from payments.infra import job_queue, stripe_account
from payments.infra.context import Context, open_context
from payments.infra.stripe_account import StripeAccount, WrongStripeAccount
from payments.ops import doctor, reconcile, worker
from payments.ops.schedules import SCHEDULES
from payments.risk.emergency_stops import StopGroup, StopMode
from payments.safety import emergency_stop
from payments.web.app import create_app
from tests.support import command_line
from tests.support.donor import subscription_id_of
from tests.support.newsroom import BASE_URL, Newsroom
from tests.support.past import has_given

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
SANDBOX_ACCOUNT = "acct_1SandboxAccount00"
OTHER_ACCOUNT = "acct_1OtherNewsroom000"


async def belongs_to(room: Newsroom, account_id: str, *, livemode: bool = False) -> None:
    """The database was bound to this account, with another key."""
    async with room.ctx.sessions.begin() as session:
        await session.execute(
            update(StripeAccount).values(account_id=account_id, livemode=livemode)
        )


@asynccontextmanager
async def new_process(room: Newsroom, **changed: object) -> AsyncIterator[Context]:
    """Another process of the same installation."""
    settings = room.settings.model_copy(update=changed)
    async with open_context(settings, now=room.clock) as ctx:
        yield ctx


async def bound(room: Newsroom) -> list[tuple[object, ...]]:
    return await room.rows("SELECT account_id, livemode, bound_at FROM stripe_accounts")


async def test_a_new_database_is_bound_once_to_the_account_of_its_key(newsroom: Newsroom) -> None:
    first = [(SANDBOX_ACCOUNT, False, newsroom.clock.current)]
    assert await bound(newsroom) == first
    newsroom.clock.advance(timedelta(days=1))
    async with new_process(newsroom) as ctx:
        asked = len(newsroom.sandbox.requests)
        await stripe_account.ensure_bound(ctx)
        await stripe_account.ensure_bound(ctx)
        assert len(newsroom.sandbox.requests) == asked + 1  # once for each process
    assert await bound(newsroom) == first
    assert "account" not in {
        one.name for one in await doctor.run_checks(newsroom.ctx) if not one.ok
    }


@pytest.mark.parametrize(
    "takes_in",
    [daily_totals.import_and_refresh, lambda ctx: reconcile.run(ctx, repair=True)],
    ids=["import", "reconcile"],
)
async def test_the_money_of_another_account_is_not_taken_in(
    newsroom: Newsroom, takes_in: Callable[[Context], Awaitable[object]]
) -> None:
    await newsroom.gives(500)
    await newsroom.sandbox.advance_to_captures()
    await belongs_to(newsroom, OTHER_ACCOUNT)
    async with new_process(newsroom) as ctx:
        with pytest.raises(WrongStripeAccount, match=rf"{OTHER_ACCOUNT}.*{SANDBOX_ACCOUNT}"):
            await takes_in(ctx)
        problems = {one.name: one.description for one in await doctor.run_checks(ctx) if not one.ok}
    assert f"payments stripe bind --account {SANDBOX_ACCOUNT}" in problems["account"]
    for table in ("balance_transactions", "charges", "ledger_entries"):
        assert await newsroom.count(table) == 0
    await belongs_to(newsroom, SANDBOX_ACCOUNT)


async def test_a_job_does_not_fetch_from_another_account(newsroom: Newsroom) -> None:
    await newsroom.gives(500)
    await belongs_to(newsroom, OTHER_ACCOUNT)
    await newsroom.sandbox.advance_to_captures()
    await newsroom.deliver(newsroom.sandbox.take_deliveries())
    async with new_process(newsroom) as ctx:
        await worker.run_due_jobs(ctx)
    assert await newsroom.count("charges") == 0
    await belongs_to(newsroom, SANDBOX_ACCOUNT)
    async with new_process(newsroom) as ctx:
        await daily_totals.import_and_refresh(ctx)
    assert await newsroom.count("charges") == 1


async def test_the_same_account_in_another_mode_is_another(newsroom: Newsroom) -> None:
    await belongs_to(newsroom, SANDBOX_ACCOUNT, livemode=True)
    async with new_process(newsroom) as ctx:
        with pytest.raises(WrongStripeAccount, match=r"live mode.*test mode"):
            await stripe_account.ensure_bound(ctx)
    await belongs_to(newsroom, SANDBOX_ACCOUNT)


async def test_whose_key_it_is_is_asked_again_where_stripe_did_not_answer(
    newsroom: Newsroom,
) -> None:
    await belongs_to(newsroom, OTHER_ACCOUNT)
    async with new_process(newsroom) as ctx:
        newsroom.sandbox.faults.add("GET", "^/v1/account$", "status_500", remaining=3)
        with pytest.raises(StripeUnavailable):
            await stripe_account.ensure_bound(ctx)
        with pytest.raises(WrongStripeAccount):
            await stripe_account.ensure_bound(ctx)
    # a server that was started then opens no payment page before it is known
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", "drop_before", remaining=3)
    assert (await newsroom.requests_contribution()).status_code == 503
    ((contribution_id,),) = await newsroom.rows("SELECT id FROM contributions")
    async with new_process(newsroom) as ctx:
        newsroom.sandbox.faults.add("GET", "^/v1/account$", "status_500", remaining=3)
        with pytest.raises(StripeUnavailable):
            await contribution_start.open_checkout(ctx, str(contribution_id))
        with pytest.raises(StripeRejected, match="Nothing was charged"):
            await contribution_start.open_checkout(ctx, str(contribution_id))
    await belongs_to(newsroom, SANDBOX_ACCOUNT)
    async with new_process(newsroom) as ctx:
        opened = await contribution_start.open_checkout(ctx, str(contribution_id))
        assert opened.stripe_session_id is not None


@pytest.mark.parametrize("words", [("serve",), ("work",), ("import-balance",), ("reconcile",)])
async def test_a_command_refuses_another_account(
    newsroom: Newsroom, words: tuple[str, ...]
) -> None:
    await belongs_to(newsroom, OTHER_ACCOUNT)
    ended = await command_line.run(newsroom.settings, *words)
    assert ended.exit_code == 1
    assert f"belongs to Stripe account {OTHER_ACCOUNT} in test mode" in ended.stderr
    assert "Traceback" not in ended.stderr
    await belongs_to(newsroom, SANDBOX_ACCOUNT)


async def test_a_database_is_given_to_another_account_only_on_purpose(newsroom: Newsroom) -> None:
    await belongs_to(newsroom, OTHER_ACCOUNT)
    newsroom.clock.advance(timedelta(days=1))
    async with new_process(newsroom) as ctx:
        with pytest.raises(WrongStripeAccount, match="Nothing was changed"):
            await stripe_account.bind(ctx, OTHER_ACCOUNT)
        assert SANDBOX_ACCOUNT in await stripe_account.bind(ctx, SANDBOX_ACCOUNT)
        await stripe_account.ensure_bound(ctx)
    assert await bound(newsroom) == [(SANDBOX_ACCOUNT, False, newsroom.clock.current)]
    entries = await newsroom.rows("SELECT action, object_id FROM audit_entries")
    assert entries == [("stripe_account_bound", SANDBOX_ACCOUNT)]


async def test_an_emergency_stop_ends_nothing_of_another_account(newsroom: Newsroom) -> None:
    await has_given(newsroom, 500, "monthly")
    await belongs_to(newsroom, OTHER_ACCOUNT)
    async with new_process(newsroom) as ctx:
        for act in (emergency_stop.preview, emergency_stop.execute):
            with pytest.raises(WrongStripeAccount):
                await act(ctx, StopGroup.ALL, StopMode.CANCEL)
    statuses = [one["status"] for one in newsroom.sandbox.account.store.of_kind("subscription")]
    assert statuses == ["active"]
    assert await newsroom.count("emergency_stops") == 0
    # Where Stripe does not say whose the key is, the stop is decided: nobody can give.
    newsroom.sandbox.faults.add("*", "/v1/", "status_500", remaining=10_000)
    async with new_process(newsroom) as ctx:
        report = await emergency_stop.execute(ctx, StopGroup.ALL, StopMode.CANCEL)
    newsroom.sandbox.faults.clear()
    assert not report.is_proved
    assert (await newsroom.requests_contribution(500)).status_code == 503


async def test_nothing_is_changed_at_another_account_by_any_road(newsroom: Newsroom) -> None:
    room = newsroom
    gift = await has_given(room, 500, "monthly")
    id_ = await subscription_id_of(room, gift)
    room.sandbox.faults.add("POST", "/v1/checkout/sessions", "status_500", remaining=3)
    assert (await room.requests_contribution()).status_code == 503
    room.sandbox.faults.add("*", "/v1/", "status_500", remaining=100)
    assert not await cancellations.cancel(room.ctx, id_, actor=Actor.DONOR)
    room.sandbox.faults.clear()
    await room.advances_time(timedelta(minutes=10))
    await belongs_to(room, OTHER_ACCOUNT)
    async with new_process(room) as ctx:
        since = len(room.sandbox.requests)
        for schedule in SCHEDULES:
            with contextlib.suppress(PaymentsError, ExceptionGroup):
                await schedule.task(ctx)
        for job in worker.JOB_HANDLERS:
            async with ctx.sessions.begin() as session:
                await job_queue.enqueue_sync(session, job, id_)
        await worker.run_due_jobs(ctx)
        for method in ("post", "delete"):
            with pytest.raises(StripeRejected, match="Nothing was charged"):
                await ctx.stripe.raw_request_async(method, f"/v1/subscriptions/{id_}")
        asked = {(one.method, one.path) for one in room.sandbox.requests[since:]}
        assert {method for method, _ in asked} == {"GET"}
    alert = "SELECT object_id, closed_at IS NULL FROM alerts WHERE kind = 'wrong_stripe_account'"
    assert await room.rows(alert) == [(SANDBOX_ACCOUNT, True)]  # readers read that we know
    # The same with the right key: the two that were begun are finished.
    await belongs_to(room, SANDBOX_ACCOUNT)
    async with new_process(room) as ctx:
        await contribution_start.resume_started(ctx)
        await cancellations.perform(ctx, id_)
    written = {one.path for one in room.sandbox.requests[since:] if one.method != "GET"}
    assert written == {"/v1/checkout/sessions", f"/v1/subscriptions/{id_}"}
    assert await room.rows(alert) == [(SANDBOX_ACCOUNT, False)]
    # A reader alone brings it about as well, where no schedule has asked yet.
    await belongs_to(room, OTHER_ACCOUNT)
    app = create_app(room.settings, now=room.clock)
    transport = httpx.ASGITransport(app=cast("Any", app))  # typed differently by the two
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as web:
        refused = await replace(room, web=web).requests_contribution(500)
    assert (refused.status_code, "We know about it" in refused.text) == (502, True)
    assert await room.rows(alert + " ORDER BY id") == [
        (SANDBOX_ACCOUNT, False),
        (SANDBOX_ACCOUNT, True),
    ]


def test_nobody_else_makes_a_client() -> None:
    makers = [
        file.relative_to(ROOT).as_posix()
        for place in ("payments", "webhooks")
        for file in (ROOT / place).rglob("*.py")
        if "StripeClient(" in file.read_text()
    ]
    assert makers == ["payments/infra/stripe_client.py"]
