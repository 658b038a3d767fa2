"""One odd object stops nothing that has nothing to do with it, and an alert names it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from click import ClickException
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from payments.accounting import daily_totals, integrity
from payments.accounting.integrity_checks import CHECKS
from payments.cli.common import expected_errors
from payments.giving.contributions import Contribution
from payments.infra import alerts, db, isolation, retries
from payments.ledger import posting_rules
from payments.ops import reconcile
from payments.sandbox import balance as sandbox_balance
from payments.settlement import refund_requests
from payments.settlement.refunds import RefundReason
from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser
from tests.support.database_owner import as_owner
from tests.support.newsroom import Newsroom
from tests.support.past import has_given
from tests.support.stripe_keys import key_without
from webhooks import sweeps
from webhooks.registry import SYNC_HANDLERS

pytestmark = pytest.mark.anyio
StripeRow = dict[str, Any]


async def open_alerts(room: Newsroom) -> list[tuple[object, ...]]:
    """But not that there is a dispute."""
    return await room.rows(
        "SELECT kind, object_id FROM alerts"
        " WHERE closed_at IS NULL AND kind NOT IN ('dispute_opened', 'evidence_due')"
        " ORDER BY kind, id"
    )


def newest(room: Newsroom, kind: str) -> StripeRow:
    return list(room.sandbox.account.store.of_kind(kind))[-1]


async def charge_of(room: Newsroom, amount: int) -> str:
    await has_given(room, amount)
    ((charge,),) = await room.rows(
        "SELECT stripe_charge_id FROM charges WHERE amount = :a", a=amount
    )
    return str(charge)


# A kind of object, and what of it nobody foresaw.
ODD: dict[str, Callable[[StripeRow], StripeRow]] = {
    "charge": lambda _row: {"currency": "not a currency"},
    "refund": lambda row: {"amount": -row["amount"]},
    "dispute": lambda row: {"amount": -row["amount"]},
    "payout": lambda _row: {"arrival_date": None},
    "balance_transaction": lambda _row: {"type": "x" * 300},
}


async def make_one(room: Newsroom, kind: str) -> StripeRow:
    """Something of this kind, at Stripe alone."""
    charge = await charge_of(room, 1234)
    if kind == "refund":
        room.sandbox.dashboard_request("POST", "/v1/refunds", {"charge": charge, "amount": "500"})
    elif kind == "dispute":
        room.sandbox.dispute(charge)
    elif kind == "payout":
        await room.advances_time(timedelta(days=5))
        while not list(room.sandbox.account.store.of_kind("payout")):
            await room.advances_time(timedelta(days=1))
    elif kind == "charge":
        await room.gives(777)
        await room.sandbox.advance_to_captures()
    else:
        fee = {"type": "stripe_fee", "amount": -7, "currency": "usd"}
        sandbox_balance.create_transaction(room.sandbox.account, fee)
    room.sandbox.take_deliveries()  # lost: the importer finds it
    return newest(room, kind)


@pytest.mark.parametrize("kind", list(ODD))
async def test_the_importer_goes_on_with_everything_else(newsroom: Newsroom, kind: str) -> None:
    row = await make_one(newsroom, kind)
    right = {name: row[name] for name in ODD[kind](row)}
    row.update(ODD[kind](row))
    await newsroom.gives(2000)
    await newsroom.sandbox.advance_to_captures()
    newsroom.sandbox.take_deliveries()
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert ("object_failed", row["id"]) in await open_alerts(newsroom)
    assert {id_ for alert, id_ in await open_alerts(newsroom)} == {row["id"]}
    posted = "SELECT sum(amount) FROM ledger_entries WHERE credit LIKE 'income:%' AND amount = 2000"
    assert await newsroom.rows(posted) == [(2000,)]
    totals = "SELECT sum(amount) FROM daily_totals WHERE credit LIKE 'income:%'"
    assert await newsroom.rows(totals) == [(3234,)]
    ((completed,),) = await newsroom.rows(
        "SELECT reached_at FROM import_cursors WHERE name = 'import_completed'"
    )
    assert completed == newsroom.clock()

    # a week later Stripe lists it no more, and it is tried again all the same
    for amount in (301, 302):
        await newsroom.advances_time(timedelta(days=4))
        await charge_of(newsroom, amount)
    assert {id_ for _, id_ in await open_alerts(newsroom)} == {row["id"]}
    ((alert_id,),) = await newsroom.rows("SELECT id FROM alerts WHERE kind = 'object_failed'")
    if kind == "balance_transaction":  # by its alert it is fetched: who closes it loses money
        async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
            await ada.opens_link()
            refused = await ada.sends(f"/staff/alerts/{alert_id}", reason="Looked at it.")
            assert refused.status_code == 422
            assert "until the transaction is in the books" in refused.text
            assert [form.action for form in (await ada.opens("/staff/alerts")).forms].count(
                f"/staff/alerts/{alert_id}"
            ) == 0
    row.update(right)
    async with newsroom.ctx.sessions.begin() as session:
        alert = await alerts.get_open(session, cast("int", alert_id))
        assert alert is not None
        assert await retries.retry_alert(session, alert) == 1
    await newsroom.runs_due_jobs()
    assert await open_alerts(newsroom) == []
    if kind == "balance_transaction":
        stored = "SELECT count(*) FROM ledger_entries WHERE balance_transaction = :id"
        assert await newsroom.rows(stored, id=row["id"]) != [(0,)]
    newsroom.sandbox.problems.clear()  # an object that nobody foresaw is not in Stripe's contract


def test_no_transaction_is_so_odd_that_it_cannot_be_posted() -> None:
    facts = posting_rules.TransactionFacts("charge", 500, 45, 455, (("stripe_fee", 40),))
    made = posting_rules.postings(facts, posting_rules.Attribution("c", "once"))
    assert sum(one.amount * (1 if one.debit == "stripe:balance" else -1) for one in made) == 455
    assert any(posting_rules.LedgerAccount.SUSPENSE in (one.debit, one.credit) for one in made)


WORDS = {
    "subscription": {"status": "suspended"},
    "refund": {"status": "settling"},
    "dispute": {"status": "escalated"},
    "payout": {"status": "queued", "reconciliation_status": "half_done"},
    "charge": {"status": "reviewed"},
}


@pytest.mark.parametrize("kind", list(WORDS))
async def test_a_word_that_is_new_at_stripe_is_stored_as_unknown_and_a_person_is_called(
    newsroom: Newsroom, kind: str
) -> None:
    if kind == "subscription":
        await newsroom.gives(500, "monthly")
        row = newest(newsroom, kind)
    else:
        row = await make_one(newsroom, kind)
    right = {name: row[name] for name in WORDS[kind]}
    row.update(WORDS[kind])
    await has_given(newsroom, 2000)
    for _ in range(2):
        await SYNC_HANDLERS[kind](newsroom.ctx, row["id"])
    await newsroom.runs_due_jobs()
    assert await open_alerts(newsroom) == [("stripe_value_unknown", row["id"])]
    table, column = f"{kind}s", f"stripe_{kind}_id"
    stored = f"SELECT status FROM {table} WHERE {column} = :id"  # noqa: S608 - a kind above
    assert await newsroom.rows(stored, id=row["id"]) == [("unknown",)]
    await daily_totals.import_and_refresh(newsroom.ctx)
    paid = "SELECT count(*) FROM ledger_entries WHERE amount = 2000"
    assert await newsroom.rows(paid) == [(1,)]
    if kind in ("subscription", "payout"):  # it is looked at again, however it ends
        await newsroom.advances_time(timedelta(days=8))
        await sweeps.sync_overdue(newsroom.ctx)
        assert (row["id"],) in await newsroom.rows(
            "SELECT args ->> 'object_id' FROM procrastinate_jobs WHERE status = 'todo'"
        )

    row.update(right)
    newsroom.sandbox.problems.clear()
    await SYNC_HANDLERS[kind](newsroom.ctx, row["id"])
    assert await open_alerts(newsroom) == []
    assert await newsroom.rows(stored, id=row["id"]) != [("unknown",)]


async def test_without_leave_to_read_one_kind_everything_else_goes_on(newsroom: Newsroom) -> None:
    for frequency in ("monthly", "once"):
        await newsroom.gives(900, frequency)
    await newsroom.sandbox.advance_to_captures()
    newsroom.sandbox.take_deliveries()
    key_without(newsroom, "invoice", "dispute")
    await newsroom.advances_time(timedelta(hours=2))
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.rows("SELECT credit FROM ledger_entries WHERE amount = 900") == [
        ("income:once",)
    ]
    assert ("stripe_permission_missing", "rak_invoice_read") in await open_alerts(newsroom)
    with pytest.raises(ExceptionGroup):
        await sweeps.sync_new(newsroom.ctx)  # the refunds are looked for all the same
    cursors = await newsroom.rows(
        "SELECT name FROM import_cursors WHERE name IN ('refund', 'dispute')"
    )
    assert cursors == [("refund",)]
    result = await reconcile.run(newsroom.ctx)
    assert [d.id for d in result.before if "cannot be listed" in d.description] == ["dispute"]
    key_without(newsroom)


async def test_checks_of_the_books_are_made_while_nothing_can_be_imported(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 500)
    newsroom.sandbox.faults.add("GET", "/v1/balance", "status_500", 10_000)
    with pytest.raises(Exception, match="did not answer"):
        await integrity.run_and_alert(newsroom.ctx)
    newsroom.sandbox.faults.clear()
    assert await newsroom.count("integrity_checks") > 10
    assert await newsroom.rows("SELECT 1 FROM integrity_checks WHERE failures <> '[]'") == []


async def test_checks_that_cannot_be_made_fail_by_themselves_and_the_others_are_made(
    newsroom: Newsroom, database: str
) -> None:
    async def failed_checks() -> dict[str, tuple[str, ...]]:
        results = await integrity.run_checks(newsroom.ctx)
        assert len(results) > len(CHECKS)
        return {result.check_name: result.failures for result in results if not result.passed}

    with as_owner(database) as owner:
        owner.execute("REVOKE SELECT ON payouts, disputes FROM payments_app")
        failed = await failed_checks()
        owner.execute("GRANT SELECT ON payouts, disputes TO payments_app")
    assert {"disputes", "payouts"} <= failed.keys() < CHECKS.keys()
    assert set(failed.values()) == {("the check cannot be made: InsufficientPrivilege",)}
    assert await failed_checks() == {}


async def test_a_row_that_another_holds_stops_no_other_and_a_lost_connection_stops_all(
    newsroom: Newsroom,
) -> None:
    ids = [(await newsroom.gives(amount)).id for amount in (1100, 1200, 1300)]
    held, lost, locked = ids[0], list[str](), list[str]()

    async def lock(contribution_id: str) -> None:
        async with newsroom.ctx.sessions.begin() as session:
            if contribution_id in lost:
                await (await db.driver_connection(session)).close()
            await session.execute(text("SET LOCAL lock_timeout = '50ms'"))
            row = text("SELECT id FROM contributions WHERE id = :id FOR UPDATE")
            await session.execute(row, {"id": contribution_id})
        locked.append(contribution_id)

    async with newsroom.ctx.sessions.begin() as frozen_worker:
        await frozen_worker.get_one(Contribution, held, with_for_update=True)
        assert await isolation.for_each(newsroom.ctx, ids, lock, job="schedule:any") == 2
        with pytest.raises(ClickException, match="did not finish one statement"), expected_errors():
            await lock(held)
    assert locked == ids[1:]
    assert await open_alerts(newsroom) == [("object_failed", held)]
    assert await isolation.for_each(newsroom.ctx, ids, lock, job="schedule:any") == 3
    assert await open_alerts(newsroom) == []

    lost.append(held)
    locked.clear()
    with pytest.raises(OperationalError):
        await isolation.for_each(newsroom.ctx, ids, lock, job="schedule:any")
    with pytest.raises(ClickException, match="is away"), expected_errors():
        await lock(held)
    assert locked == []
    assert await open_alerts(newsroom) == []  # it is nobody's own fault


async def test_one_refund_that_cannot_be_made_stops_no_other(newsroom: Newsroom) -> None:
    charges = [await charge_of(newsroom, amount) for amount in (1100, 1200)]
    newsroom.sandbox.faults.add("POST", "/v1/refunds", "drop_before", 6)
    for charge in charges:
        with pytest.raises(Exception, match="did not answer"):
            await refund_requests.request(
                newsroom.ctx,
                charge,
                reason=RefundReason.DUPLICATE,
                staff_id=None,
                idempotency_key=f"key-{charge}",
            )
    await newsroom.advances_time(timedelta(minutes=5))
    newsroom.sandbox.faults.add("POST", "/v1/refunds", "status_500", 3)  # of the first alone
    assert await refund_requests.resume_requested(newsroom.ctx) == 1
    ((alert, _id),) = await open_alerts(newsroom)
    assert alert == "object_failed"
    assert await refund_requests.resume_requested(newsroom.ctx) == 1
    assert await open_alerts(newsroom) == []
    assert len(list(newsroom.sandbox.account.store.of_kind("refund"))) == 2


async def test_a_subscription_at_half_a_cent_keeps_nobody_elses_money_waiting(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 500, "monthly")
    ours = newest(newsroom, "subscription")
    price = {
        "currency": "usd",
        "unit_amount": "500",
        "product": "reader_payments_monthly",
        "recurring": {"interval": "month"},
    }
    odd = newsroom.sandbox.dashboard_request(
        "POST",
        "/v1/subscriptions",
        {
            "customer": ours["customer"],
            "items": [{"price_data": price}],
            "default_payment_method": ours["default_payment_method"],
        },
    )
    stored = newsroom.sandbox.account.store.objects[odd["id"]]["items"]["data"][0]["price"]
    stored.update(unit_amount=None, unit_amount_decimal="500.5")
    charge = await charge_of(newsroom, 2000)
    refund = await refund_requests.request(
        newsroom.ctx,
        charge,
        reason=RefundReason.REQUESTED_BY_CUSTOMER,
        staff_id=None,
        idempotency_key="one form",
    )
    await newsroom.advances_time(timedelta(hours=2))
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    await integrity.run_and_alert(newsroom.ctx)
    posted = "SELECT debit, credit FROM ledger_entries WHERE amount = 2000 ORDER BY seq"
    assert await newsroom.rows(posted) == [
        ("stripe:balance", "income:once"),
        ("refunds", "stripe:balance"),
    ]
    assert refund.stripe_refund_id is not None
    query = "SELECT reached_at FROM import_cursors WHERE name = 'import_completed'"
    assert await newsroom.rows(query) == [(newsroom.clock(),)]
    assert "integrity_check_failed" not in {kind for kind, _ in await open_alerts(newsroom)}
    newsroom.sandbox.problems.clear()
