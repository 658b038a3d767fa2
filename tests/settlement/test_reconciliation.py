"""Reconciliation: payouts to the cent, the replayed ledger, and what Stripe has and we do not."""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import uvloop
from sqlalchemy import Connection, create_engine, text

from payments.accounting import chain_verification, daily_totals, integrity, integrity_checks
from payments.ledger import hash_chain
from payments.ledger.posting_rules import LedgerAccount
from payments.ops import comparisons, reconcile
from tests.support import command_line, period_sums, recomputation
from tests.support.busy_year import play
from tests.support.database import copy_database
from tests.support.database_owner import tampering
from tests.support.donor import open_donor_browser
from tests.support.ledger import failed_checks, loses_webhooks, rehash_chain
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.past import has_given
from tests.support.programs import Program, has_token
from tests.support.secret_values import secret_named
from tests.support.stripe_dashboard import subscribe, update, with_card
from webhooks import endpoint

pytestmark = pytest.mark.anyio

# Each trial is a transaction that is rolled back.
TRIALS = pytest.mark.parametrize("tries", [150, pytest.param(10_000, marks=pytest.mark.storm)])
FLIPS = pytest.mark.parametrize("tries", [300, pytest.param(1000, marks=pytest.mark.storm)])


AT_STRIPE: dict[str, list[dict[str, Any]]] = {}  # what it lists at the end of the year


@pytest.fixture(scope="module")
def year(cluster: str) -> Iterator[str]:
    """A year in which money moved in every way, in a database to copy from."""

    async def live(url: str) -> None:
        async with open_newsroom(url) as room:
            await play(room)
            await room.runs_sweeps()
            assert await room.failed_integrity_checks() == []
            assert sorted(set(room.sandbox.problems)) == []
            found = await integrity.run_and_alert(room.ctx, replay=True)
            assert [f for f in found if not f.passed] == []
            until = room.clock() - timedelta(minutes=5)
            assert (
                await reconcile.find_differences(room.ctx, until - timedelta(days=400), until) == ()
            )
            ask = partial(room.sandbox.dashboard_request, "GET")
            for path in ("balance_transactions", "payouts", "refunds", "disputes"):
                AT_STRIPE[path] = list(recomputation.list_all(ask, f"/v1/{path}"))

    with copy_database(cluster) as url:
        uvloop.run(live(url))
        yield url


@pytest.fixture
def own(cluster: str, year: str) -> Iterator[str]:
    with copy_database(cluster, year.rpartition("/")[2].partition("?")[0]) as url:
        yield url


@contextmanager
def trials(url: str) -> Iterator[Connection]:
    """The owner, with nothing in the way."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def findings(connection: Connection, *names: str) -> list[str]:
    """What the named checks and the check of the chain report."""
    links = {"whole_chain": True, "after_seq": 0, "after_hash": hash_chain.GENESIS_HASH, "most": 5}
    found = list(connection.scalars(text(chain_verification.CHAIN_SQL), links))
    found += connection.scalars(text(f"{chain_verification.VERIFIED_HEADS_SQL} LIMIT 5"))
    for name in names:
        found += connection.scalars(text(f"{integrity_checks.CHECKS[name][1]} LIMIT 5"))
    return [str(row) for row in found]


def moved(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT id FROM balance_transactions ORDER BY id")))


LISTS = (  # an operation, Stripe's list of the same, and the names of one fact in both
    ("transactions", "balance_transactions", {"id": "id", "balance_change": "net"}),
    ("payouts", "payouts", {"id": "id", "amount": "amount", "status": "status"}),
    ("refunds", "refunds", {"stripe_refund_id": "id", "amount": "amount", "status": "status"}),
    ("disputes", "disputes", {"id": "id", "amount": "amount", "status": "status"}),
)


@pytest.fixture
async def program(own: str) -> AsyncIterator[Program]:
    """What reads the figures of the year when it is over."""
    async with open_newsroom(own) as room:
        newest = AT_STRIPE["balance_transactions"][0]["created"]
        room.clock.current = datetime.fromtimestamp(newest, UTC) + timedelta(days=1)
        yield await has_token(room)


async def test_every_figure_of_the_year_is_what_stripes_own_lists_add_up_to(
    program: Program,
) -> None:
    """From Stripe's lists, by the standard library alone: each month, and all together."""
    moved, zone = AT_STRIPE["balance_transactions"], program.room.settings.accounting_zone
    months = (await program.reads("months", period="all"))["lines"]
    for number in range(14):
        since = date(2026 + (10 + number) // 12, (10 + number) % 12 + 1, 1)
        until = (since + timedelta(days=31)).replace(day=1)
        known, ours = recomputation.sums(moved, zone, since, until), Counter[tuple[str, str]]()
        for line in months:
            if line["month"] == f"{since:%Y-%m}":
                ours.update({(line["currency"], name): line[name] for name in period_sums.SUMS})
        for currency in ("usd", "eur", "gbp"):
            for name in period_sums.SUMS:
                assert ours[currency, name] == known[currency, name], (since, currency, name)


async def test_every_sum_of_a_period_is_what_stripes_own_lists_add_up_to(program: Program) -> None:
    """By quarter, year and days, for programs and in files."""
    begun, over = date(2026, 11, 1), date(2028, 1, 1)
    for period, since, until in (
        ("all", begun, over),
        ("2026-Q4", begun, date(2027, 1, 1)),
        ("FY2027", date(2027, 1, 1), over),
        ("2026-12-05..2027-03-23", date(2026, 12, 5), date(2027, 3, 23)),
    ):
        zone = program.room.settings.accounting_zone
        known = recomputation.sums(AT_STRIPE["balance_transactions"], zone, since, until)
        for what, found in (await period_sums.all_sums(program, period)).items():
            for at in ("usd", "eur", "gbp"):
                for name, value in found[at].items():
                    assert value == known[at, name], (what, period, at, name)


@pytest.mark.parametrize(("operation", "path", "names"), LISTS, ids=[one[0] for one in LISTS])
async def test_every_line_of_the_year_is_one_of_stripes(
    program: Program, operation: str, path: str, names: dict[str, str]
) -> None:
    ours = [one async for one in program.reads_all(operation)]
    assert sorted(tuple(one[name] for name in names) for one in ours) == sorted(
        tuple(one[name] for name in names.values()) for one in AT_STRIPE[path]
    )


# --- the period -----------------------------------------------------------------------------------


async def test_money_moved_in_every_way_and_every_identity_holds(year: str) -> None:
    assert await failed_checks(year) == {}
    with trials(year) as connection:
        types = set(connection.scalars(text("SELECT DISTINCT type FROM balance_transactions")))
        pairs = connection.execute(text("SELECT DISTINCT debit, credit FROM ledger_entries"))
        used = {account for pair in pairs for account in pair}
        settled = set(connection.scalars(text("SELECT DISTINCT currency FROM ledger_entries")))
        payouts = set(
            connection.execute(text("SELECT DISTINCT status, automatic, method FROM payouts"))
        )
        negative = connection.scalar(text("SELECT count(*) FROM payouts WHERE amount < 0"))
        disputes = set(connection.scalars(text("SELECT DISTINCT status FROM disputes")))
    assert types >= {
        *("charge", "refund", "refund_failure", "adjustment", "stripe_fee", "stripe_fx_fee"),
        *("payment", "payment_failure_refund"),
        *("tax_fee", "payout", "payout_failure", "payout_cancel", "topup", "reserve_hold"),
        *("reserve_release", "payout_minimum_balance_hold", "payout_minimum_balance_release"),
    }
    assert {account.value for account in LedgerAccount} - used == {
        *("stripe:prefunding", "stripe:issuing", "suspense"),
        # what is not begun on our own form: tests/giving/test_adoption.py
        *(
            "income:periodic",
            "other:income",
            "other:refunds",
            "other:disputes",
            "other:fees",
            "unexplained",
        ),
    }
    assert settled == {"usd", "eur", "gbp"}
    assert {tuple(row) for row in payouts} >= {
        ("paid", True, "standard"),
        ("failed", True, "standard"),
        ("paid", False, "standard"),
        ("paid", False, "instant"),
        ("canceled", False, "standard"),
    }
    assert negative
    assert {"won", "lost", "warning_closed"} <= disputes


def test_it_was_a_year_with_two_currencies_converted_and_every_month_snapshotted(year: str) -> None:
    with trials(year) as connection:

        def one(query: str) -> object:
            return connection.scalar(text(query))

        days = one("SELECT CAST(extract(day FROM max(occurred_at) - min(occurred_at)) AS int)"
                   "  FROM ledger_entries")  # fmt: skip
        converted = connection.execute(
            text(
                "SELECT DISTINCT c.currency, b.currency FROM charges c"
                "  JOIN balance_transactions b ON b.id = c.balance_transaction"
                " WHERE c.currency <> b.currency"
            )
        )
        pairs = {tuple(row) for row in converted}
        rows = connection.execute(text("SELECT kind, count(*) FROM month_snapshots GROUP BY 1"))
        snapshots = {tuple(row) for row in rows}
        second = one("SELECT count(*) FROM disputes GROUP BY stripe_charge_id"
                     " ORDER BY 1 DESC LIMIT 1")  # fmt: skip
        recovered = one("SELECT count(DISTINCT f.stripe_payment_intent_id) FROM charges f"
                     "  JOIN charges p USING (stripe_payment_intent_id)"
                     " WHERE f.status = 'failed' AND p.status = 'succeeded'")  # fmt: skip
    assert isinstance(days, int)
    assert days > 365
    assert pairs == {("jpy", "usd"), ("cad", "usd")}
    kinds = ("mrr_rollforward", "cohort_retention", "payment_recovery")
    assert snapshots == {(kind, 13) for kind in kinds}
    assert (second, recovered) == (2, 1)


async def test_every_completed_payout_has_its_list_and_no_transaction_is_in_two(year: str) -> None:
    with trials(year) as connection:
        rows = connection.execute(
            text(
                "SELECT count(*), count(transactions_listed_at) FROM payouts"
                " WHERE automatic AND reconciliation_status = 'completed'"
            )
        ).one()
        twice = connection.scalar(
            text(
                "SELECT count(*) FROM (SELECT FROM payout_transactions"
                " GROUP BY balance_transaction HAVING count(*) > 1) t"
            )
        )
    assert rows[0] == rows[1] > 10
    assert twice == 0


# --- tampering ------------------------------------------------------------------------------------

ONE_CENT = (
    "UPDATE balance_transactions SET amount = amount + :by, net = net + :by WHERE id = :id",
    "UPDATE balance_transactions SET fee = fee + :by, net = net - :by WHERE id = :id",
)


@TRIALS
def test_one_cent_of_any_transaction_is_missed_and_the_transaction_is_named(
    own: str, tries: int
) -> None:
    chance = random.Random(5)
    with trials(own) as connection:
        ids = moved(connection)
        connection.rollback()
        for _ in range(tries):
            id_, by, statement = chance.choice(ids), chance.choice([1, -1]), chance.choice(ONE_CENT)
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(statement), {"id": id_, "by": by})
            found = findings(connection, "posted", "fees", "payout_composition")
            assert any(id_ in row for row in found), (id_, by)
            connection.rollback()


@TRIALS
@pytest.mark.parametrize("with_its_rows", [False, True])
def test_any_transaction_that_is_removed_is_missed_and_named(
    own: str, with_its_rows: bool, tries: int
) -> None:
    chance = random.Random(6)
    with trials(own) as connection:
        ids = moved(connection)
        connection.rollback()
        for _ in range(tries):
            id_ = chance.choice(ids)
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            at = "SELECT seq FROM ledger_entries WHERE balance_transaction = :id"
            rows = list(connection.scalars(text(at), {"id": id_}))
            if with_its_rows:
                delete = "DELETE FROM ledger_entries WHERE balance_transaction = :id"
                connection.execute(text(delete), {"id": id_})
            connection.execute(text("DELETE FROM balance_transactions WHERE id = :id"), {"id": id_})
            found = findings(connection, "recorded", "payout_composition", "payouts", "income")
            last = connection.scalar(text("SELECT max(seq) FROM ledger_entries")) or 0
            names = [id_, *(f"row {seq} is missing" for seq in rows if seq < last)]
            names += [f"row {seq}, proven on" for seq in rows]  # the end of the chain
            assert any(name in row for name in names for row in found), id_
            connection.rollback()


BYTES = {
    "debit": "overlay(debit placing chr(ascii(substr(debit, {n}, 1)) # {bit}) from {n} for 1)",
    "credit": "overlay(credit placing chr(ascii(substr(credit, {n}, 1)) # {bit}) from {n} for 1)",
    "currency": "overlay(currency placing chr(ascii(substr(currency, {m}, 1)) # {bit})"
    " from {m} for 1)",
    "balance_transaction": "overlay(balance_transaction placing"
    " chr(ascii(substr(balance_transaction, {n}, 1)) # {bit}) from {n} for 1)",
    "contribution_id": "coalesce(overlay(contribution_id placing"
    " chr(ascii(substr(contribution_id, {n}, 1)) # {bit}) from {n} for 1), 'x')",
    "amount": "amount # ({bit}::bigint << {shift})",
    "seq": "-seq # ({bit}::bigint << {shift})",
    "occurred_at": "occurred_at + interval '1 microsecond' * ({bit}::bigint << {micro})",
    "hash": "set_byte(hash, {k}, get_byte(hash, {k}) # {bit})",
}


@FLIPS
def test_a_byte_flipped_in_any_row_of_the_books_is_found(own: str, tries: int) -> None:
    chance = random.Random(7)
    with trials(own) as connection:
        constraints = connection.execute(
            text(
                "SELECT conname FROM pg_constraint WHERE conrelid = 'ledger_entries'::regclass"
                " AND contype <> 'n' ORDER BY contype = 'p', 1"
            )
        )
        for (name,) in constraints.all():  # a forger's last hindrance
            connection.execute(text(f'ALTER TABLE ledger_entries DROP CONSTRAINT "{name}" CASCADE'))
        connection.execute(text("ALTER TABLE ledger_entries ALTER seq DROP NOT NULL"))
        connection.commit()
        last = connection.scalar(text("SELECT max(seq) FROM ledger_entries"))
        assert last is not None
        for _ in range(tries):
            column, seq = chance.choice(list(BYTES)), chance.randrange(1, last + 1)
            change = BYTES[column].format(
                n=chance.randrange(1, 5),
                m=chance.randrange(1, 4),
                k=chance.randrange(32),
                bit=1 << chance.randrange(5),
                shift=8 * chance.randrange(6),
                micro=chance.randrange(30),
            )
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(
                text(f"UPDATE ledger_entries SET {column} = {change} WHERE seq = :seq"),  # noqa: S608
                {"seq": seq},
            )
            assert findings(connection), (column, seq, change)
            connection.rollback()


async def test_books_that_were_forged_with_a_good_chain_are_not_what_is_made_anew(
    own: str,
) -> None:
    with tampering(own) as owner:
        owner.execute(
            "UPDATE ledger_entries SET debit = 'expense:billing' WHERE debit = 'expense:tax'"
        )
        rehash_chain(owner)
    async with open_newsroom(own) as room:
        found = await integrity.run_checks(room.ctx, with_stripe=False, replay=True)
    failures = {f.check_name: f.failures for f in found if not f.passed}
    assert "replay" in failures
    assert "chain" in failures  # an earlier check stored how it ended
    assert "proven on" in failures["chain"][0]


async def test_the_end_of_the_books_cut_off_is_missed(own: str) -> None:
    with tampering(own) as owner:
        owner.execute(
            "DELETE FROM ledger_entries WHERE seq > (SELECT max(seq) - 3 FROM ledger_entries)"
        )
    assert "is gone" in (await failed_checks(own))["chain"][0]


# --- what Stripe has and we do not ----------------------------------------------------------------


async def test_payouts_whose_list_is_not_final_are_not_judged(newsroom: Newsroom) -> None:
    newsroom.sandbox.delay_reconciliation(24 * 3600)
    for amount in (500, 700, 900):
        await newsroom.gives(amount)
    for _ in range(5):
        await newsroom.advances_time(timedelta(days=1))
        await newsroom.runs_until_idle()
    [[status, listed]] = await newsroom.rows(
        "SELECT reconciliation_status, transactions_listed_at FROM payouts"
    )
    assert (status, listed is None) == ("in_progress", True)
    assert await newsroom.failed_integrity_checks() == []
    await newsroom.advances_time(timedelta(days=1))
    newsroom.sandbox.take_deliveries()
    await newsroom.advances_time(timedelta(days=1))
    await newsroom.runs_sweeps()
    [[status, members]] = await newsroom.rows(
        "SELECT reconciliation_status, count(*) FROM payouts JOIN payout_transactions"
        " USING (stripe_payout_id) GROUP BY 1"
    )
    assert (status, members) == ("completed", 4)


async def test_a_payout_that_is_no_sum_names_what_is_missing_and_what_is_foreign(
    newsroom: Newsroom,
) -> None:
    for amount in (500, 700):
        await newsroom.gives(amount)
    for _ in range(5):
        await newsroom.advances_time(timedelta(days=1))
        await newsroom.runs_until_idle()
    foreign = newsroom.sandbox.charge_fee("billing", 5, "eur")
    await daily_totals.import_and_refresh(newsroom.ctx)
    [[payout]] = await newsroom.rows("SELECT stripe_payout_id FROM payouts")
    async with newsroom.ctx.sessions.begin() as session:
        for id_, net, currency in (("txn_lost", 100, "usd"), (foreign, -5, "eur")):
            await session.execute(
                text("INSERT INTO payout_transactions VALUES (:payout, :id, :net, :currency)"),
                {"payout": payout, "id": id_, "net": net, "currency": currency},
            )
    [failure] = await newsroom.failed_integrity_checks()
    assert failure.startswith("payout_composition: ")
    assert f"{payout}: txn_lost is missing" in failure
    assert f"{payout}: {foreign} is foreign: eur" in failure
    assert f"{payout}: its transactions are 1200, paid out 1105" in failure
    with tampering(newsroom.settings.database_url.get_secret_value()) as owner:
        owner.execute("DELETE FROM payout_transactions WHERE balance_transaction = 'txn_lost'")
        owner.execute("DELETE FROM payout_transactions WHERE currency = 'eur'")


async def test_a_payout_is_in_the_bank_on_the_day_of_the_bank_statement(newsroom: Newsroom) -> None:
    await newsroom.gives(2500)
    for _ in range(5):
        await newsroom.advances_time(timedelta(days=1))
        await newsroom.runs_until_idle()
    days = """
        SELECT CAST(e.occurred_at AS date) - CAST(b.occurred_at AS date),
               CAST(e.occurred_at AS date) - p.arrives_on, p.stripe_payout_id
          FROM ledger_entries e JOIN payouts p USING (balance_transaction)
          JOIN balance_transactions b ON b.id = e.balance_transaction WHERE e.debit = 'bank'
    """
    [[on_its_way, off, payout]] = await newsroom.rows(days)
    assert isinstance(on_its_way, int)
    assert on_its_way > 0
    assert off == 0
    # Whatever Stripe says of the day afterwards, the ledger stays and can be replayed.
    stripes = newsroom.sandbox.account.store.objects[str(payout)]
    newsroom.sandbox.account.update_and_emit(
        stripes, "payout.updated", arrival_date=stripes["arrival_date"] + 3 * 86_400
    )
    await newsroom.runs_until_idle()
    assert await newsroom.rows(days) == [(on_its_way, 0, payout)]
    assert await newsroom.failed_integrity_checks() == []


async def test_a_payout_that_comes_back_leaves_the_bank_again(newsroom: Newsroom) -> None:
    await newsroom.gives(2500)
    for _ in range(5):
        await newsroom.advances_time(timedelta(days=1))
        await newsroom.runs_until_idle()
    [[payout]] = await newsroom.rows("SELECT stripe_payout_id FROM payouts WHERE status = 'paid'")
    newsroom.sandbox.fail_payout(str(payout))
    await newsroom.runs_until_idle()
    held = await newsroom.rows(
        "SELECT CAST(sum(CASE WHEN debit = 'bank' THEN amount ELSE -amount END) AS bigint)"
        "  FROM ledger_entries WHERE 'bank' IN (debit, credit)"
    )
    assert held == [(0,)]
    assert await newsroom.rows("SELECT kind, object_id FROM alerts WHERE closed_at IS NULL") == [
        ("payout_failed", payout)
    ]


async def test_all_that_was_lost_is_listed_repaired_and_gone_from_the_list(cluster: str) -> None:
    with copy_database(cluster) as url:
        async with open_newsroom(url) as room:
            await play(room, lambda: loses_webhooks(room), months_of_renewals=1)
            assert await room.count("charges") == await room.count("refunds") == 0
            outcome = await reconcile.run(room.ctx, days=400, repair=True)
            kinds = {found.kind for found in outcome.before}
            assert kinds == {*comparisons.COMPARISONS} - {"customer", "ended_subscription"}
            assert all(
                "is missing here" in f.description or "paid" in f.description
                for f in outcome.before
            )
            assert outcome.after == ()
            assert await room.failed_integrity_checks() == []
            again = await reconcile.run(room.ctx, days=400)
            assert again.before == again.after == ()


async def test_what_a_donor_is_shown_is_compared_and_mended_while_webhooks_are_dark(
    newsroom: Newsroom,
) -> None:
    room = newsroom
    for address in ("more@example.org", "moves@example.org", "same@example.org"):
        await has_given(room, 500, "monthly", email=address)
    await room.advances_time(timedelta(minutes=10))
    assert (await reconcile.run(room.ctx)).before == ()
    store = room.sandbox.account.store
    more, moves, _ = store.of_kind("subscription")
    item = more["items"]["data"][0]["id"]
    thrice = [{"id": item, "quantity": 3}]
    update(room, f"/v1/subscriptions/{more['id']}", items=thrice, proration_behavior="none")
    update(room, f"/v1/customers/{moves['customer']}", email="new@example.org")
    room.sandbox.take_deliveries()
    outcome = await reconcile.run(room.ctx, repair=True)
    found = {one.id: one.description for one in outcome.before}
    assert found.keys() == {more["id"], moves["customer"]}
    assert "500, usd, every 1 month here" in found[more["id"]]
    assert "1500, usd, every 1 month" in found[more["id"]]
    assert found[moves["customer"]] == "is another address here; at Stripe it is another"
    assert outcome.after == ()
    assert (await room.rows("SELECT amount FROM subscriptions ORDER BY 1")) == [
        (500,), (500,), (1500,),
    ]  # fmt: skip
    async with open_donor_browser(room, "new@example.org") as donor:
        assert "$5.00 every month" in (await donor.signs_in()).text


async def test_one_odd_object_keeps_no_other_from_being_compared(newsroom: Newsroom) -> None:
    """Another line of business is not asked about; ours that cannot be compared is named."""
    room = newsroom
    for amount in (500, 700):
        await room.gives(amount, "monthly")
    customer, card = with_card(room, "shop@example.org")
    shop = subscribe(room, customer, card, 1500, product="letters", shop="letters")
    await room.runs_until_idle()
    rows = room.sandbox.account.store.objects
    stored = await room.rows("SELECT stripe_subscription_id FROM subscriptions")
    odd, other = (str(id_) for (id_,) in stored)
    for id_ in (shop, odd):
        rows[id_]["items"]["data"][0]["price"]["billing_scheme"] = "tiered"
    async with room.ctx.sessions.begin() as session:
        await session.execute(
            text("UPDATE subscriptions SET amount = 1 WHERE stripe_subscription_id = :id"),
            {"id": other},
        )
    await room.advances_time(timedelta(minutes=10))
    before = len(room.sandbox.requests)
    room.sandbox.faults.add("POST", "/invoices/create_preview", "refused", remaining=1000)
    room.sandbox.faults.add("GET", f"/v1/invoices/{rows[odd]['latest_invoice']}", "refused", 1000)
    found = {one.id: one.description for one in (await reconcile.run(room.ctx, days=7)).before}
    room.sandbox.faults.clear()
    asked = [one.path for one in room.sandbox.requests[before:] if "create_preview" in one.path]
    assert set(found) == {odd, other}
    assert found[odd].startswith("could not be compared: ")
    assert " 1, usd" in found[other]
    assert len(asked) <= 2  # about the odd one of ours, never about the shop's


async def test_a_movement_removed_without_a_trace_is_named_and_brought_back(
    newsroom: Newsroom,
) -> None:
    for amount in (500, 2500):
        await newsroom.advances_time(timedelta(hours=36))
        await has_given(newsroom, amount)
    url = newsroom.settings.database_url.get_secret_value()
    with tampering(url) as owner:
        gone = owner.execute("SELECT id FROM balance_transactions WHERE amount = 500").fetchone()
        assert gone is not None
        owner.execute("DELETE FROM ledger_entries WHERE balance_transaction = %s", gone)
        owner.execute("DELETE FROM balance_transactions WHERE id = %s", gone)
        owner.execute("TRUNCATE daily_totals, daily_totals_positions")
        rehash_chain(owner)
    await newsroom.advances_time(timedelta(hours=1))
    outcome = await reconcile.run(newsroom.ctx)
    assert [(f.kind, f.id) for f in outcome.before] == [("balance_transaction", gone[0])]
    repaired = await reconcile.run(newsroom.ctx, repair=True)
    assert repaired.before == outcome.before
    assert repaired.after == ()


async def test_an_amount_that_was_changed_here_cannot_be_repaired_and_stays(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 500)
    await newsroom.advances_time(timedelta(hours=1))
    change = "UPDATE balance_transactions SET amount = amount + {0}, net = net + {0}"
    with tampering(newsroom.settings.database_url.get_secret_value()) as owner:
        owner.execute(change.format(1).encode())
        outcome = await reconcile.run(newsroom.ctx, repair=True)
        owner.execute(change.format(-1).encode())
    [found] = outcome.after
    assert found.kind == "balance_transaction"
    assert "charge, 501, 45, 456, usd" in found.description
    assert "charge, 500, 45, 455, usd" in found.description


async def test_payments_reconcile_exits_with_4_until_it_has_repaired(newsroom: Newsroom) -> None:
    newsroom.clock.current = datetime.now(UTC) - timedelta(hours=1)  # the command goes by the wall
    await newsroom.gives(500)
    await newsroom.sandbox.advance_to_captures()
    newsroom.sandbox.take_deliveries()
    code, outcome = await run_reconcile(newsroom)
    kinds = ["checkout.session", "charge", "balance_transaction"]
    assert (code, [found["kind"] for found in outcome["before"]]) == (4, kinds)
    assert outcome["after"] == outcome["before"]
    code, outcome = await run_reconcile(newsroom, "--repair")
    assert (code, len(outcome["before"]), outcome["after"]) == (0, 3, [])
    assert (await run_reconcile(newsroom))[0] == 0


async def run_reconcile(
    room: Newsroom, *options: str
) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """`payments reconcile --json`, as an operator runs it."""
    environ = {name: value for name, value in os.environ.items() if "PAYMENTS_" not in name} | {
        "PAYMENTS_DATABASE_URL": room.settings.database_url.get_secret_value(),
        "PAYMENTS_BASE_URL": room.settings.base_url,
        "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
        "PAYMENTS_STRIPE_API_BASE": room.settings.stripe_api_base,
        "PAYMENTS_SECRET_KEYS": secret_named("keys"),
    }
    words = ("reconcile", "--json", "--days=366", *options)
    done = await asyncio.to_thread(command_line.run_in, environ, *words)
    assert done.exit_code in (0, 4), done.stderr
    return done.exit_code, json.loads(done.stdout)


# --- the endpoint ---------------------------------------------------------------------------------


async def endpoint_id(room: Newsroom) -> str:
    [found] = (await room.stripe_owner.v1.webhook_endpoints.list_async()).data
    return found.id


async def test_an_endpoint_as_it_should_be_opens_no_alert(newsroom: Newsroom) -> None:
    assert await endpoint.refresh_alert(newsroom.ctx) == []
    assert await newsroom.count("alerts") == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"disabled": True}, "is disabled"),
        ({"enabled_events": ["charge.succeeded"]}, "does not send "),
    ],
)
async def test_an_endpoint_that_was_changed_opens_an_alert_and_is_repaired(
    newsroom: Newsroom, change: dict[str, object], says: str
) -> None:
    newsroom.sandbox.dashboard_request(
        "POST", f"/v1/webhook_endpoints/{await endpoint_id(newsroom)}", change
    )
    [drift] = await endpoint.refresh_alert(newsroom.ctx)
    assert says in drift
    assert await newsroom.rows("SELECT kind FROM alerts WHERE closed_at IS NULL") == [
        ("webhook_endpoint_drift",)
    ]
    outcome = await reconcile.run(newsroom.ctx, repair=True)
    assert [f.kind for f in outcome.before] == ["webhook_endpoint"]
    assert outcome.after == ()
    assert await newsroom.rows("SELECT kind FROM alerts WHERE closed_at IS NULL") == []


async def test_an_endpoint_of_an_old_version_or_none_is_reported_and_needs_a_person(
    newsroom: Newsroom,
) -> None:
    ours = await endpoint_id(newsroom)
    newsroom.sandbox.set_endpoint_version(ours, "2024-06-20")
    [drift] = await endpoint.refresh_alert(newsroom.ctx)
    assert "renders 2024-06-20" in drift
    await newsroom.stripe_owner.v1.webhook_endpoints.delete_async(ours)
    outcome = await reconcile.run(newsroom.ctx, repair=True)
    [left] = outcome.after
    assert "there is no webhook endpoint" in left.description
    assert (await newsroom.stripe_owner.v1.webhook_endpoints.list_async()).data == []
