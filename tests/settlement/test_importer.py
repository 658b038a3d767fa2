"""The importer: every movement is posted once, whatever was lost, late or interrupted."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from payments.accounting import daily_totals, integrity
from payments.core.errors import StripeUnavailable
from payments.giving import charges
from payments.sandbox import balance as sandbox_balance
from tests.support.database import copy_database
from tests.support.ledger import (
    BALANCES_SQL,
    CONTRIBUTIONS,
    UNKNOWN_MOVEMENT,
    every_row_of,
    failed_checks_now,
    loses_webhooks,
    refunds_at_stripe,
)
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.past import has_given

pytestmark = pytest.mark.anyio


async def open_alerts(room: Newsroom) -> list[tuple[object, ...]]:
    return await room.rows("SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY id")


async def test_a_charge_and_its_refund_wait_until_their_contribution_is_known(
    newsroom: Newsroom,
) -> None:
    gift = await newsroom.gives(2500)
    await refunds_at_stripe(newsroom, gift.id, 1000)
    await loses_webhooks(newsroom)
    newsroom.sandbox.faults.add("GET", "/v1/charges/", "rate_limited")
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("balance_transactions") == 2
    assert await newsroom.count("unposted_transactions") == 2
    assert await newsroom.count("ledger_entries") == 0
    assert await failed_checks_now(newsroom) == []  # the money is known, only not whose it is
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 0
    assert await newsroom.count("unposted_transactions") == 0
    assert sorted(
        await newsroom.rows("SELECT debit, credit, amount, contribution_id FROM ledger_entries")
    ) == [
        ("expense:processing", "stripe:balance", 103, gift.id),
        ("refunds", "stripe:balance", 1000, gift.id),
        ("stripe:balance", "income:once", 2500, gift.id),
    ]


async def test_a_movement_the_books_do_not_know_is_in_suspense_and_a_person_is_called(
    newsroom: Newsroom,
) -> None:
    bt = sandbox_balance.create_transaction(newsroom.sandbox.account, dict(UNKNOWN_MOVEMENT))["id"]
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.rows("SELECT debit, credit, amount FROM ledger_entries") == [
        ("suspense", "stripe:balance", 77)
    ]
    assert await newsroom.rows("SELECT kind, object_id FROM alerts") == [("suspense", bt)]
    assert await failed_checks_now(newsroom) == []


async def test_money_that_nothing_explains_is_adopted_after_an_hour_and_a_person_is_called(
    database: str,
) -> None:
    async with open_newsroom(database, adopt="all") as newsroom:
        await money_that_nothing_explains_is_adopted(newsroom)
        await newsroom.proves_itself()


async def money_that_nothing_explains_is_adopted(newsroom: Newsroom) -> None:
    for with_an_intent in (True, False):
        paid = newsroom.sandbox.dashboard_request(
            "POST",
            "/v1/payment_intents",
            {
                "amount": "700",
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "confirm": "true",
                "automatic_payment_methods": {"enabled": "true", "allow_redirects": "never"},
            },
        )
        if not with_an_intent:  # as charges were made before there were intents, and still can be
            charge = newsroom.sandbox.account.store.objects[paid["latest_charge"]]
            charge["payment_intent"] = None
    await loses_webhooks(newsroom)
    await newsroom.advances_time(timedelta(minutes=59))
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("unposted_transactions") == 2
    assert await newsroom.count("contributions") == await newsroom.count("alerts") == 0
    assert await failed_checks_now(newsroom) == []
    await newsroom.advances_time(timedelta(minutes=2))
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("unposted_transactions") == 0
    adopted = await newsroom.rows(
        "SELECT id, frequency, amount, origin, status FROM contributions ORDER BY id"
    )
    assert [row[1:] for row in adopted] == [("once", 700, "imported", "paid")] * 2
    assert await newsroom.rows(
        "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY object_id"
    ) == [("imported", row[0]) for row in adopted]
    assert await newsroom.rows(
        "SELECT contribution_id, amount FROM ledger_entries WHERE credit = 'income:once'"
        " ORDER BY contribution_id"
    ) == [(row[0], 700) for row in adopted]


async def test_what_can_never_be_explained_waits_and_a_person_is_called(
    newsroom: Newsroom,
) -> None:
    lost = {"type": "refund", "amount": -5, "currency": "usd"}  # and of which charge, nobody says
    bt = sandbox_balance.create_transaction(newsroom.sandbox.account, lost)["id"]
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("alerts") == 0
    await newsroom.advances_time(timedelta(minutes=61))
    for _ in range(2):
        await daily_totals.import_and_refresh(newsroom.ctx)
        assert await newsroom.rows("SELECT kind, object_id FROM alerts") == [("unattributed", bt)]
    assert await newsroom.count("unposted_transactions") == 1
    assert await failed_checks_now(newsroom) == []


async def test_a_charge_that_stripe_will_not_show_keeps_no_other_waiting(
    newsroom: Newsroom,
) -> None:
    store, faults = newsroom.sandbox.account.store, newsroom.sandbox.faults
    await newsroom.gives(700)
    [charge] = [row["id"] for row in store.of_kind("charge")]
    faults.add("GET", f"/v1/charges/{charge}", "refused", 2)
    for pause in (timedelta(), timedelta(hours=49)):
        await newsroom.advances_time(pause)
        await newsroom.gives(500)
        await loses_webhooks(newsroom)
        await daily_totals.import_and_refresh(newsroom.ctx)
        assert ("object_failed", charge) in await open_alerts(newsroom)
    assert await newsroom.count("ledger_entries") == 4  # of the others
    hidden = store.objects[charge]
    bt = hidden["balance_transaction"]
    store.remove(charge)
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await open_alerts(newsroom) == [("unattributed", bt)]
    store.objects[charge] = hidden  # it is shown after all
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("unposted_transactions") == 0
    assert await open_alerts(newsroom) == []
    assert await failed_checks_now(newsroom) == []


async def test_money_that_moves_during_the_checks_opens_no_alert(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 500)
    newsroom.sandbox.faults.add("GET", "^/v1/balance$", "hang_before")
    checking = asyncio.create_task(integrity.run_and_alert(newsroom.ctx))
    await newsroom.sandbox.faults.wait_until_hanging()  # all is imported, and then
    await newsroom.gives(700)
    await loses_webhooks(newsroom)
    newsroom.sandbox.faults.release()
    findings = await checking
    assert [found.check_name for found in findings if not found.passed] == []
    assert await newsroom.count("alerts") == 0


async def test_an_answer_that_was_slow_takes_back_no_money_that_has_moved_since(
    newsroom: Newsroom,
) -> None:
    await newsroom.gives(500)
    [charge] = [row["id"] for row in newsroom.sandbox.account.store.of_kind("charge")]
    newsroom.sandbox.faults.add("GET", f"/v1/charges/{charge}", "hang_after")
    slow = asyncio.create_task(charges.sync(newsroom.ctx, charge))
    await (
        newsroom.sandbox.faults.wait_until_hanging()
    )  # Stripe has answered: no money has moved yet
    await loses_webhooks(newsroom)
    await daily_totals.import_and_refresh(newsroom.ctx)
    newsroom.sandbox.faults.release()
    await slow
    assert await newsroom.count("ledger_entries") == 2
    assert await failed_checks_now(newsroom) == []


# --- the importer ---------------------------------------------------------------------------------


async def dump(room: Newsroom) -> dict[str, list[tuple[object, ...]]]:
    """Every row of money."""
    tables = ("balance_transactions", "unposted_transactions", "ledger_entries", "import_cursors")
    return {table: await room.rows(every_row_of(table)) for table in tables}


async def test_a_second_import_changes_nothing(newsroom: Newsroom) -> None:
    await newsroom.gives(2500)
    await newsroom.gives(500, "monthly")
    await loses_webhooks(newsroom)
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 2
    before = await dump(newsroom)
    assert len(before["ledger_entries"]) == 4
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 0
    await newsroom.runs_until_idle()
    assert await dump(newsroom) == before


async def test_many_posters_at_once_make_one_chain(newsroom: Newsroom) -> None:
    for n in range(12):
        await newsroom.gives(500 + n)
    await loses_webhooks(newsroom)
    made = [row["id"] for row in newsroom.sandbox.account.store.of_kind("charge")]
    await asyncio.gather(*(charges.sync(newsroom.ctx, charge) for charge in [*made, *made]))
    assert await newsroom.count("ledger_entries") == 24
    assert await newsroom.failed_integrity_checks() == []


async def test_many_importers_at_once_post_each_movement_once(newsroom: Newsroom) -> None:
    for n in range(12):
        await newsroom.gives(500 + n, ("once", "monthly", "annual")[n % 3])
    await loses_webhooks(newsroom)
    found = await asyncio.gather(*(daily_totals.import_and_refresh(newsroom.ctx) for _ in range(5)))
    assert sum(found) == 12
    assert await newsroom.count("ledger_entries") == 24
    assert await failed_checks_now(newsroom) == []


async def test_an_import_cut_short_between_two_pages_loses_nothing(newsroom: Newsroom) -> None:
    account, faults = newsroom.sandbox.account, newsroom.sandbox.faults
    fee = {"type": "stripe_fee", "amount": -1, "currency": "usd"}
    for _ in range(250):
        sandbox_balance.create_transaction(account, dict(fee))
    faults.add("GET", "/v1/balance_transactions", "hang_after")
    importing = asyncio.create_task(daily_totals.import_and_refresh(newsroom.ctx))
    await faults.wait_until_hanging()
    faults.add("GET", "/v1/balance_transactions", "rate_limited")
    faults.release()
    with pytest.raises(StripeUnavailable):
        await importing
    assert await newsroom.count("balance_transactions") == 100  # the newest
    assert await newsroom.count("import_cursors") == 0
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 150  # behind a page that is known
    sandbox_balance.create_transaction(account, dict(fee))
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 1
    assert await newsroom.rows("SELECT sum(amount), count(*) FROM ledger_entries") == [(251, 251)]
    assert await failed_checks_now(newsroom) == []


async def test_a_movement_that_becomes_visible_a_day_late_is_found(newsroom: Newsroom) -> None:
    fee = {"type": "stripe_fee", "amount": -1, "currency": "usd"}
    sandbox_balance.create_transaction(newsroom.sandbox.account, dict(fee))
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 1
    late = sandbox_balance.create_transaction(newsroom.sandbox.account, dict(fee))
    late["created"] -= 23 * 3600
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 1
    assert await failed_checks_now(newsroom) == []


async def lives(room: Newsroom, then: Callable[[], Awaitable[None]]) -> None:
    """Two months with gifts, renewals, a refund and payouts; `then` is how news of them comes."""
    first = None
    for amount, frequency, currency in CONTRIBUTIONS:
        gift = await room.gives(amount, frequency, currency)
        first = first or gift.id
        await then()
    assert first is not None
    await refunds_at_stripe(room, first, 1000)
    await then()
    for _ in range(3):
        await room.advances_time(timedelta(days=20))
        await then()


INCOME = """
    SELECT c.frequency, c.currency, c.amount, c.origin, ch.amount, ch.currency, ch.status, e.credit,
           e.amount, e.currency, count(*)
      FROM contributions c
      JOIN ledger_entries e ON e.contribution_id = c.id AND e.credit LIKE 'income:%'
      JOIN charges ch USING (balance_transaction)
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 ORDER BY 1, 2, 3
"""
SUBSCRIPTIONS_SQL = """
    SELECT c.frequency, c.amount, c.status, s.status, s.amount
      FROM contributions c LEFT JOIN subscriptions s ON s.contribution_id = c.id ORDER BY 1, 2
"""


async def test_with_every_webhook_lost_the_books_are_the_same(cluster: str) -> None:
    with copy_database(cluster) as bright_url, copy_database(cluster) as dark_url:
        async with open_newsroom(bright_url) as bright, open_newsroom(dark_url) as dark:
            await lives(bright, bright.runs_until_idle)
            await lives(dark, lambda: loses_webhooks(dark))
            assert await dark.count("stripe_events") == await dark.count("ledger_entries") == 0
            assert (
                await bright.failed_integrity_checks() == await dark.failed_integrity_checks() == []
            )
            assert len(await bright.rows(BALANCES_SQL)) >= 10
            assert await dark.rows(BALANCES_SQL) == await bright.rows(BALANCES_SQL)
            assert await dark.rows(INCOME) == await bright.rows(INCOME)
            assert await dark.count("alerts") == 0
            # and the sweeps bring what is not money
            assert await dark.rows(SUBSCRIPTIONS_SQL) != await bright.rows(SUBSCRIPTIONS_SQL)
            await dark.runs_sweeps()
            assert await dark.rows(SUBSCRIPTIONS_SQL) == await bright.rows(SUBSCRIPTIONS_SQL)
            assert await dark.rows(BALANCES_SQL) == await bright.rows(BALANCES_SQL)
