"""The books: what is posted, what waits, what can never be changed, and how a change is found
out.
"""

import asyncio
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
import stripe
from psycopg import errors
from sqlalchemy import select
from sqlalchemy.engine import make_url

from payments.accounting import daily_totals, integrity, integrity_checks
from payments.core.errors import StripeUnavailable
from payments.core.frequency import Frequency
from payments.giving import charges
from payments.infra import db
from payments.infra.context import Context
from payments.infra.context import open_context as runtime_opened
from payments.ledger import entries, hash_chain, posting_rules
from payments.ledger.posting_rules import Attribution, LedgerAccount, TransactionFacts
from payments.sandbox import balance as at_stripe
from payments.settlement import payouts
from tests.conftest import copy_database
from tests.support.newsroom import Newsroom, open_newsroom, settings_for

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"
OURS = "0" * 32
Fees = Sequence[tuple[str, int]]
Row = tuple[str, str, int]


# --- what each movement means ---------------------------------------------------------------------


def posted(type_: str, amount: int, fees: Fees = (), *, of: str | None = "once") -> list[Row]:
    """The rows of one balance transaction, as (debit, credit, amount)."""
    fee = sum(part for _, part in fees)
    named, _, category = type_.partition("/")
    category, is_converted = category.removesuffix("*"), category.endswith("*")
    category, _, held_in = category.partition("@")
    movement = TransactionFacts(
        *(named, amount, fee, amount - fee, fees),
        reporting_category=category,
        balance_type=held_in or "payments",
        is_converted=is_converted,
    )
    rows = posting_rules.postings(movement, Attribution(OURS, of) if of is not None else None)
    return [(row.debit.value, row.credit.value, row.amount) for row in rows]


# A type of Stripe's, its amount | the parts of its fee | debit < credit and amount of each row.
# `stripe` is stripe:balance and `once` income:once; processing, billing, tax and fx are expenses.
# After a slash: the reporting category; after an `@` which of Stripe's balances; `*`: converted.
TABLE = """
charge 500           | - | stripe < once 500
charge 500           | stripe_fee:45 | stripe < once 500; processing < stripe 45
charge 30            | stripe_fee:45 | stripe < once 30; processing < stripe 45
charge 500 | stripe_fee:45 tax:9 | stripe < once 500; processing < stripe 45; tax < stripe 9
charge 500           | stripe_fee:40 stripe_fee:5 | stripe < once 500; processing < stripe 45
charge 500           | application_fee:45 | stripe < once 500; suspense < stripe 45
charge 500           | stripe_fee:-45 | stripe < once 500; stripe < processing 45
charge -500          | - | once < stripe 500
charge 0             | - | -
payment 500          | stripe_fee:45 | stripe < once 500; processing < stripe 45
payment -500         | - | once < stripe 500
refund -500          | - | refunds < stripe 500
refund -500          | stripe_fee:-45 | refunds < stripe 500; stripe < processing 45
refund -500          | stripe_fee:45 | refunds < stripe 500; processing < stripe 45
refund 500           | - | stripe < refunds 500
payment_refund -500  | - | refunds < stripe 500
payment_refund 500   | - | stripe < refunds 500
refund_failure 500   | - | stripe < refunds 500
refund_failure -500  | - | refunds < stripe 500
payment_failure_refund -500 | - | refunds < stripe 500
payment_failure_refund 500 | - | stripe < refunds 500
stripe_fee -300      | - | billing < stripe 300
stripe_fee 300       | - | stripe < billing 300
stripe_fee -300      | tax:63 | billing < stripe 300; tax < stripe 63
stripe_fx_fee -7     | - | fx < stripe 7
stripe_fx_fee 7      | - | stripe < fx 7
tax_fee -21          | - | tax < stripe 21
tax_fee 21           | - | stripe < tax 21
tax_fee -21          | tax:4 | tax < stripe 25
payout -9000         | - | in-transit < stripe 9000
payout 9000          | - | stripe < in-transit 9000
payout -9000         | stripe_fee:45 | in-transit < stripe 9000; processing < stripe 45
payout_failure 9000  | - | stripe < in-transit 9000
payout_failure -9000 | - | in-transit < stripe 9000
payout_cancel 9000   | - | stripe < in-transit 9000
payout_cancel -9000  | - | in-transit < stripe 9000
topup 5000           | - | stripe < bank 5000
topup_reversal -5000 | - | bank < stripe 5000
reserve_hold -700    | - | held < stripe 700
reserve_hold/@risk_reserved 700 | - | reserved < held 700
reserve_release 700  | - | stripe < held 700
reserve_release/@risk_reserved -700 | - | held < reserved 700
reserve_transaction -700 | - | held < stripe 700
reserved_funds 700   | - | stripe < held 700
payment_network_reserve_hold -7 | - | held < stripe 7
payment_network_reserve_release 7 | - | stripe < held 7
payout_minimum_balance_hold -9 | - | held < stripe 9
payout_minimum_balance_release 9 | - | stripe < held 9
topup/@refund_and_dispute_prefunding 50 | - | prefunding < bank 50
topup/@issuing 50    | - | issuing < bank 50
topup/@a_new_one 50  | - | held < bank 50
reserve_hold/@a_new_one 50 | - | held < suspense 50
adjustment/dispute -500 | stripe_fee:1500 | disputes < stripe 500; disputing < stripe 1500
adjustment/dispute_reversal 500 | - | stripe < disputes 500
adjustment/dispute_reversal 500 | stripe_fee:-1500 | stripe < disputes 500; stripe < disputing 1500
adjustment/refund_failure 500 | - | stripe < refunds 500
adjustment/fee -30   | - | billing < stripe 30
adjustment/other_adjustment -30 | - | suspense < stripe 30
adjustment/other_adjustment* -30 | - | clearing < stripe 30
adjustment/other_adjustment* 27 | - | stripe < clearing 27
adjustment -30       | - | suspense < stripe 30
invented 1           | - | stripe < suspense 1
invented -1          | - | suspense < stripe 1
invented 100         | new_fee:30 | stripe < suspense 70
"""


def row_of(text: str) -> Row:
    debit, _, credit, amount = text.split()
    full = {"stripe": "stripe:balance", "once": "income:once"}
    full |= {name: f"expense:{name}" for name in ("processing", "billing", "tax", "fx")}
    full |= {"disputing": "expense:disputes", "clearing": "clearing:fx"}
    full |= {name: f"stripe:{name}" for name in ("held", "reserved", "prefunding", "issuing")}
    return full.get(debit, debit), full.get(credit, credit), int(amount)


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_each_movement_is_posted_as_the_table_says(line: str) -> None:
    movement, fees, rows = (part.strip() for part in line.split("|"))
    type_, amount = movement.split()
    parts = [(kind, int(n)) for kind, _, n in (f.partition(":") for f in fees.split() if f != "-")]
    expected = [row_of(row) for row in rows.split(";") if row != "-"]
    assert posted(type_, int(amount), parts) == expected


@pytest.mark.parametrize("frequency", Frequency)
@pytest.mark.parametrize("type_", ["charge", "payment"])
def test_the_frequency_of_the_contribution_decides_which_income_it_is(
    type_: str, frequency: Frequency
) -> None:
    assert posted(type_, 500, [("stripe_fee", 45)], of=frequency) == [
        ("stripe:balance", f"income:{frequency}", 500),
        ("expense:processing", "stripe:balance", 45),
    ]


STRIPES_TYPES = frozenset(
    typing.get_args(typing.get_args(stripe.BalanceTransaction.__annotations__["type"])[0])
)
STRIPES_BALANCES = frozenset(
    typing.get_args(typing.get_args(stripe.BalanceTransaction.__annotations__["balance_type"])[0])
)


def test_each_of_stripes_balances_has_its_account_and_the_proof_knows_the_same() -> None:
    assert set(posting_rules.BALANCE_ACCOUNTS) == STRIPES_BALANCES
    known = re.findall(r"WHEN '(\w+)'\s+THEN '([a-z:]+)'", integrity_checks.CASH_ACCOUNT_SQL)
    assert dict(known) == {
        name: account.value for name, account in posting_rules.BALANCE_ACCOUNTS.items()
    }
    assert f"ELSE '{LedgerAccount.HELD}'" in integrity_checks.CASH_ACCOUNT_SQL


def test_every_type_that_stripe_has_is_in_the_table_or_known_to_be_undecided() -> None:
    decided = {
        *posting_rules.CHARGE_TYPES,
        *posting_rules.CONTRA_ACCOUNTS,
        posting_rules.ADJUSTMENT_TYPE,
    }
    assert decided <= STRIPES_TYPES
    new = STRIPES_TYPES - decided - posting_rules.SUSPENSE_TYPES
    assert not new, f"decide what {', '.join(sorted(new))} means: in the table, or in UNKNOWN"
    assert not decided & posting_rules.SUSPENSE_TYPES
    assert posting_rules.SUSPENSE_TYPES <= STRIPES_TYPES
    shown = {line.split()[0].partition("/")[0] for line in TABLE.split("\n") if line}
    assert shown - {"invented"} == decided
    for type_ in posting_rules.SUSPENSE_TYPES:
        assert posted(type_, 100) == [("stripe:balance", "suspense", 100)]
        assert posted(type_, -100) == [("suspense", "stripe:balance", 100)]
        assert not posting_rules.needs_contribution(type_)


def test_whatever_moves_the_stripe_end_is_the_net_and_no_pair_of_accounts_comes_twice() -> None:
    chance = random.Random(4)
    kinds = ["stripe_fee", "tax", "application_fee", "payment_method_passthrough_fee", "new_fee"]
    for type_ in [*sorted(STRIPES_TYPES), "invented"]:
        for amount in (-(10**15), -500, -1, 0, 1, 500, 10**15):
            for _ in range(6):
                fees = [
                    (chance.choice(kinds), chance.choice([-900, -1, 0, 1, 45, 900]))
                    for _ in range(chance.randrange(4))
                ]
                rows = posted(type_, amount, fees, of=chance.choice([None, *Frequency]))
                into = sum(n for debit, _, n in rows if debit == "stripe:balance")
                out = sum(n for _, credit, n in rows if credit == "stripe:balance")
                assert into - out == amount - sum(part for _, part in fees)
                assert all(n > 0 and "stripe:balance" in ends for *ends, n in rows)
                assert len({(debit, credit) for debit, credit, _ in rows}) == len(rows)


def test_a_charge_of_nobodys_is_never_guessed_to_be_income() -> None:
    assert posted("charge", 500, of=None) == [("stripe:balance", "suspense", 500)]
    assert all(
        posting_rules.needs_contribution(t)
        for t in (*posting_rules.CHARGE_TYPES, *posting_rules.REFUND_TYPES)
    )


# --- the chain ------------------------------------------------------------------------------------

# The frozen bytes of a row and the hash of the chain up to it; each row follows the one above.
VECTORS = """
v1|1|stripe:balance|income:once|2500|usd|2026-11-22T12:00:01Z|txn_1|00000000000000000000000000000000
d09f221155c5edf44338ed5694655084a571fef75cda4a8657fa718a91988e66
v1|2|expense:processing|stripe:balance|103|usd|2026-11-22T12:00:01Z|txn_1|
8795e5b21d53572f7d7e37075fdaf659b571735c7cf31b373fcb1512d0671017
v1|3|stripe:balance|income:monthly|500|eur|2026-11-22T23:59:59Z|t_2|0123456789abcdef0123456789abcdef
512318f30b0021d14316ee4ab8132e88cfbd2ebd18a08ec347dce19dec36549b
v1|4|stripe:balance|income:annual|200|usd|2026-02-28T23:59:59Z|txn_3|
e970a753e658511024e7b33aba698f50e48e2e92cea868f607b560b0efd1b297
v1|5|refunds|stripe:balance|2500|usd|2028-02-29T00:00:00Z|txn_4|00000000000000000000000000000000
e4deeed26accd008372b1f1029406640f6ef95a88d0e29500aa1ec1923fd114b
v1|6|stripe:balance|refunds|2500|usd|2028-02-29T00:00:00Z|txn_5|00000000000000000000000000000000
6b95aad338e12143bfe3a91c297295fa2bee388333296db64f6f4bb11992937b
v1|7|in-transit|stripe:balance|999999999999|jpy|2026-12-31T23:59:59Z|txn_6|
ace294d7903c19f60cb41e2c4d7b6b5ac2f75987a1f37aa8dd08d7fd50916bcd
v1|8|bank|in-transit|999999999999|jpy|2026-12-31T23:59:59Z|txn_6|
4306e32c017af010d29a5fef4b6030d39dbd1be5528e989085cb4f65f92b8cf4
v1|9|expense:billing|stripe:balance|1|usd|1970-01-01T00:00:00Z|txn_7|
244c6063e58c0477a53fa720c1dd41ec45a332c5fb83570a2316fc81085431b8
v1|10|expense:tax|stripe:balance|21|gbp|2026-11-22T12:00:01Z|txn_8|
45bdd8c1b07f027d2608b3acafec1e31f7e81e209d0a26590153d7bd40c86453
v1|11|expense:fx|stripe:balance|7|usd|2026-11-22T12:00:01Z|txn_1NXWPnBcKCaM9aaBCdEfGhIj|
d014099d5e025488de30233c608360a54cf0535e2e53b76a72edfff1bb355fdb
v1|12|suspense|stripe:balance|9223372036854775807|kwd|9999-12-31T23:59:59Z|a.dot_and-a-dash|
4693002c225a8fc62df71aacc7aba818e4f92189793c16a94d19ea1090d885dc
v1|9223372036854775807|disputes|stripe:balance|1500|usd|2026-11-22T12:00:01Z|txn_9|
9b35c86475191278bf2c463f433590361c01dcbedb64962ab8e7b67cfff50201
v1|14|stripe:balance|disputes|1500|usd|2026-11-22T12:00:01Z|txn_9|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
6e56e5526d20ba59514f9b72dafc4cc3200ccaa5ab231f0091e067cfb05b5d3c
"""


def test_the_chain_is_what_it_was_when_these_vectors_were_written() -> None:
    lines, head = VECTORS.split(), hash_chain.GENESIS_HASH
    assert len(lines) == 2 * 14
    for frozen, expected in zip(lines[::2], lines[1::2], strict=True):
        _, seq, debit, credit, amount, currency, moment, bt, owner = frozen.split("|")
        at = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        row = (int(seq), debit, credit, int(amount), currency, at, bt, owner or None)
        assert hash_chain.row_bytes(*row) == frozen.encode()
        assert hashlib.sha256(head + frozen.encode()).hexdigest() == expected
        head = hash_chain.next_hash(head, frozen.encode())
        assert head.hex() == expected


def test_a_row_has_one_form_whatever_the_zone_and_the_part_of_a_second() -> None:
    noon = datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC)
    west = timezone(timedelta(hours=-5))
    same = [noon, noon.replace(microsecond=999_999), noon.astimezone(west)]
    forms = {hash_chain.row_bytes(1, "a", "b", 1, "usd", at, "txn_1", None) for at in same}
    assert forms == {b"v1|1|a|b|1|usd|2026-11-22T12:00:01Z|txn_1|"}


def test_a_part_that_holds_a_separator_is_refused() -> None:
    with pytest.raises(AssertionError):
        hash_chain.row_bytes(
            1, "a|b", "c", 1, "usd", datetime(2026, 1, 1, tzinfo=UTC), "txn_1", None
        )


# --- what can never be changed --------------------------------------------------------------------


def plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def every_row_of(table: str) -> str:
    return f"SELECT * FROM {table} ORDER BY 1"  # noqa: S608 - a table of ours


@contextmanager
def as_owner(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection of the owner's, each statement at once."""
    with psycopg.connect(plain(url), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def two_months_database(cluster: str) -> Iterator[str]:
    """Two months of a newsroom's books, in a database to copy from."""
    with copy_database(cluster) as url:
        asyncio.run(_two_months(url))
        yield url


async def _two_months(url: str) -> None:
    async with open_newsroom(url) as room:
        gifts = [
            await room.gives(amount, frequency, currency) for amount, frequency, currency in LIFE
        ]
        await room.runs_until_idle()
        await refunds(room, gifts[0].id, 1000)
        for _ in range(3):
            await room.advances_time(timedelta(days=20))
            await room.runs_until_idle()
        at_stripe.create_transaction(room.sandbox.account, dict(UNHEARD_OF))
        assert await room.failed_integrity_checks() == []


LIFE = [
    (2500, "once", "usd"),
    (500, "monthly", "usd"),
    (200, "annual", "usd"),
    (900, "once", "eur"),
    (1500, "once", "jpy"),  # settles in dollars
]
UNHEARD_OF = {"type": "tax_fund", "amount": -77, "currency": "usd"}


async def refunds(room: Newsroom, contribution_id: str, amount: int) -> None:
    """Finance gives a part back, at Stripe."""
    [charge] = [
        row["id"]
        for row in room.sandbox.account.store.of_kind("charge")
        if row["metadata"].get("contribution_id") == contribution_id
    ]
    await room.ctx.stripe.v1.refunds.create_async({"charge": charge, "amount": amount})


@pytest.fixture
def copy(cluster: str, two_months_database: str) -> Iterator[str]:
    with copy_database(cluster, str(make_url(two_months_database).database)) as url:
        yield url


@pytest.fixture
def owner(two_months_database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The owner of the kept books, whose every change is undone after the test."""
    with psycopg.connect(plain(two_months_database)) as connection:
        yield connection
        connection.rollback()


APPEND_ONLY = {
    "balance_transactions": ("id", "amount"),
    "ledger_entries": ("seq", "amount"),
    "stripe_events": ("id", "type"),
}
CHANGES = [
    "UPDATE {table} SET {column} = {column}",
    "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE FROM {table}",
    "DELETE FROM {table} WHERE false",
    "TRUNCATE {table} CASCADE",
    (
        "INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE"
        " SET {column} = EXCLUDED.{column}"
    ),
    "MERGE INTO {table} t USING {table} s ON t.{key} = s.{key} WHEN MATCHED THEN DELETE",
    (
        "MERGE INTO {table} t USING {table} s ON t.{key} = s.{key} WHEN MATCHED THEN"
        " UPDATE SET {column} = s.{column}"
    ),
    "WITH gone AS (DELETE FROM {table} RETURNING *) SELECT count(*) FROM gone",
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_neither_the_service_nor_the_owner_can_change_ledger_rows(
    owner: psycopg.Connection[tuple[object, ...]], table: str, change: str
) -> None:
    key, column = APPEND_ONLY[table]
    statement = change.format(table=table, key=key, column=column).encode()
    before = owner.execute(every_row_of(table).encode()).fetchall()
    assert before
    refused = pytest.raises(errors.RestrictViolation, match=f"{table} is append-only")
    with refused, owner.transaction():
        owner.execute(statement)
    owner.execute(f"SET LOCAL ROLE {db.APP_ROLE}".encode())
    with pytest.raises(errors.InsufficientPrivilege), owner.transaction():
        owner.execute(statement)
    assert owner.execute(every_row_of(table).encode()).fetchall() == before


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON ledger_entries",
        "DROP TABLE ledger_entries",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS ''",
        "CREATE RULE r AS ON INSERT TO ledger_entries DO INSTEAD NOTHING",
        "CREATE TRIGGER t BEFORE INSERT ON ledger_entries EXECUTE FUNCTION refuse_change()",
        "TRUNCATE contributions CASCADE",
        "DELETE FROM contributions",
        "DELETE FROM alembic_version",
    ],
)
def test_the_service_cannot_loosen_what_keeps_the_books(
    owner: psycopg.Connection[tuple[object, ...]], statement: str
) -> None:
    owner.execute(f"SET LOCAL ROLE {db.APP_ROLE}".encode())
    with pytest.raises((errors.InsufficientPrivilege, errors.ForeignKeyViolation)):
        owner.execute(statement.encode())


def test_emptying_a_table_beneath_the_books_does_not_empty_the_books(
    owner: psycopg.Connection[tuple[object, ...]],
) -> None:
    with pytest.raises(errors.RestrictViolation):
        owner.execute("TRUNCATE contributions CASCADE")


NOW, DIGEST = datetime(2026, 11, 22, tzinfo=UTC), bytes(32)


@pytest.mark.parametrize(
    ("debit", "credit", "amount", "currency", "moment", "digest"),
    [
        ("stripe:balance", "income:once", 1, "usd", NOW, DIGEST),  # there already
        ("stripe:balance", "suspense", 0, "usd", NOW, DIGEST),
        ("stripe:balance", "suspense", -5, "usd", NOW, DIGEST),
        ("suspense", "suspense", 1, "usd", NOW, DIGEST),
        ("stripe:balance", "petty cash", 1, "usd", NOW, DIGEST),
        ("stripe:balance", "suspense", 1, "USD", NOW, DIGEST),
        ("stripe:balance", "suspense", 1, "usd", None, DIGEST),
        ("stripe:balance", "suspense", 1, "usd", NOW, bytes(31)),
        ("stripe:balance", "suspense", 1, "usd", NOW, None),
    ],
)
def test_the_schema_takes_no_row_that_cannot_be(
    owner: psycopg.Connection[tuple[object, ...]],
    debit: str,
    credit: str,
    amount: int,
    currency: str,
    moment: datetime | None,
    digest: bytes | None,
) -> None:
    bt = owner.execute(
        "SELECT balance_transaction FROM ledger_entries WHERE credit = 'income:once'"
    ).fetchone()
    assert bt is not None
    insert = "INSERT INTO ledger_entries VALUES (%s, %s, %s, %s, %s, %s, %s, NULL, %s)"
    owner.execute(f"SET LOCAL ROLE {db.APP_ROLE}".encode())
    owner.execute(insert, [998, "stripe:balance", "disputes", 1, "usd", NOW, bt[0], DIGEST])
    row = [999, debit, credit, amount, currency, moment, bt[0], digest]
    with pytest.raises(errors.IntegrityError):
        owner.execute(insert, row)


# --- how a change is found out --------------------------------------------------------------------


@contextmanager
def tampering(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The owner, with nothing in the way."""
    with as_owner(url) as owner:
        owner.execute("SET session_replication_role = replica")
        yield owner


@asynccontextmanager
async def offline(url: str) -> AsyncIterator[Context]:
    async with runtime_opened(settings_for(url, NOWHERE)) as ctx:
        yield ctx


async def wrong(url: str) -> dict[str, list[str]]:
    """Which identities fail, and the rows they name."""
    async with offline(url) as ctx:
        findings = await integrity.run_checks(ctx, with_stripe=False)
    return {found.check_name: list(found.failures) for found in findings if not found.passed}


async def test_two_months_of_books_hold_and_have_something_of_everything(
    two_months_database: str,
) -> None:
    assert await wrong(two_months_database) == {}
    with as_owner(two_months_database) as owner:
        used = {
            account
            for pair in owner.execute("SELECT DISTINCT debit, credit FROM ledger_entries")
            for account in pair
        }
        statuses = set(owner.execute("SELECT DISTINCT status FROM payouts").fetchall())
    # what else there is, `tests/settlement/test_reconciliation.py` has
    assert used >= {"income:once", "income:monthly", "income:annual", "refunds", "bank", "suspense"}
    assert ("paid",) in statuses


# In each `{…}` is a row found by the query of that name.
FOUND = {
    "income": "SELECT seq, balance_transaction FROM ledger_entries WHERE credit = 'income:once'"
    " AND currency = 'usd' ORDER BY seq",
    "converted": "SELECT seq, balance_transaction FROM ledger_entries JOIN charges"
    " USING (balance_transaction) WHERE credit LIKE 'income:%' AND charges.currency = 'jpy'",
    "refund": "SELECT seq, balance_transaction FROM ledger_entries WHERE debit = 'refunds'",
    "arrival": "SELECT seq, balance_transaction FROM ledger_entries WHERE debit = 'bank'",
    "last": "SELECT seq, balance_transaction FROM ledger_entries ORDER BY seq DESC",
    "payout": "SELECT 0, stripe_payout_id FROM payouts WHERE status = 'paid' ORDER BY 2",
    "odd": "SELECT seq, balance_transaction FROM ledger_entries WHERE debit = 'suspense'",
    "charge": "SELECT e.seq, c.stripe_charge_id FROM charges c JOIN ledger_entries e"
    " USING (balance_transaction) WHERE credit = 'income:once' AND e.currency = 'usd'",
}
TAMPERINGS: dict[str, tuple[str, dict[str, str]]] = {
    "an amount": (
        "UPDATE ledger_entries SET amount = amount + 1 WHERE seq = {income.seq}",
        {"chain": "row {income.seq} (", "posted": "{income.id}: ", "income": "{charge.id}: "},
    ),
    "which income": (
        "UPDATE ledger_entries SET credit = 'income:annual' WHERE seq = {income.seq}",
        {"chain": "row {income.seq} (", "income": "{charge.id}: "},
    ),
    "whose income": (
        (
            "UPDATE ledger_entries SET contribution_id = (SELECT id FROM contributions"
            " WHERE frequency = 'annual') WHERE seq = {income.seq}"
        ),
        {"chain": "row {income.seq} (", "income": "{charge.id}: "},
    ),
    "a refund into a dispute": (
        "UPDATE ledger_entries SET debit = 'disputes' WHERE seq = {refund.seq}",
        {
            "chain": "row {refund.seq} (",
            "refunds": "refunded 1000, booked nothing",
            "disputes": "{refund.id}: of no dispute",
        },
    ),
    "the direction of a refund": (
        "UPDATE ledger_entries SET debit = credit, credit = debit WHERE seq = {refund.seq}",
        {"chain": "row {refund.seq} (", "posted": "{refund.id}: "},
    ),
    "the month": (
        (
            "UPDATE ledger_entries SET occurred_at = occurred_at - interval '1 month'"
            " WHERE seq = {income.seq}"
        ),
        {"chain": "row {income.seq} ("},
    ),
    "a currency": (
        "UPDATE ledger_entries SET currency = 'gbp' WHERE seq = {income.seq}",
        {"chain": "row {income.seq} (", "posted": "{income.id}: "},
    ),
    "a hash": (
        "UPDATE ledger_entries SET hash = sha256(hash) WHERE seq = {refund.seq}",
        {"chain": "row {refund.seq} ("},
    ),
    "a row in the middle, gone": (
        "DELETE FROM ledger_entries WHERE seq = {refund.seq}",
        {
            "chain": "row {refund.seq} is missing",
            "posted": "{refund.id}: ",
            "refunds": "refunded 1000, booked nothing",
        },
    ),
    "the first row, gone": (
        "DELETE FROM ledger_entries WHERE seq = 1",
        {"chain": "row 1 is missing", "posted": ": net ", "income": "income nothing"},
    ),
    "the last row, gone": (
        "DELETE FROM ledger_entries WHERE seq = {last.seq}",
        {"posted": "{last.id}: "},  # the chain does not know how long it was
    ),
    "all rows, gone": (
        "DELETE FROM ledger_entries",
        {
            "posted": "{income.id}: ",
            "income": "{charge.id}: ",
            "refunds": "refunded 1000, booked nothing",
            "payouts": "{payout.id}: ",
        },
    ),
    "income into an account beside it": (
        (
            "UPDATE ledger_entries SET amount = amount - 100 WHERE seq = {converted.seq};"
            "INSERT INTO ledger_entries SELECT 1 + (SELECT max(seq) FROM ledger_entries), debit,"
            " 'expense:billing', 100, currency, occurred_at, balance_transaction, NULL, hash"
            " FROM ledger_entries WHERE seq = {converted.seq}"
        ),
        {"chain": "row {converted.seq} (", "income": ": charged 1500, income 890"},
    ),
    "a row too many": (
        (
            "INSERT INTO ledger_entries SELECT seq + 1, 'refunds', 'stripe:balance', 5, 'usd',"
            " occurred_at, '{income.id}', NULL, hash FROM ledger_entries WHERE seq = {last.seq}"
        ),
        {"chain": "row ", "posted": "{income.id}: "},
    ),
    "a fee and its net": (
        "UPDATE balance_transactions SET fee = fee + 1, net = net - 1 WHERE id = '{income.id}'",
        {
            "posted": "{income.id}: ",
            "fees": "{income.id}: ",
            "lists": ": {income.id} is ",
        },
    ),
    "the parts of a fee": (
        "UPDATE balance_transactions SET fees = '[[\"stripe_fee\", 1]]' WHERE id = '{income.id}'",
        {"fees": "{income.id}: "},
    ),
    "a charge": (
        "UPDATE charges SET amount = amount + 1 WHERE stripe_charge_id = '{charge.id}'",
        {"income": "{charge.id}: "},
    ),
    "a charge, gone": (
        "DELETE FROM charges WHERE stripe_charge_id = '{charge.id}'",
        {"income": "{income.id}: charged nothing"},
    ),
    "a charge that failed": (
        "UPDATE charges SET status = 'failed' WHERE stripe_charge_id = '{charge.id}'",
        {"income": "{income.id}: charged nothing"},
    ),
    "whose charge": (
        (
            "UPDATE payment_intent_links SET contribution_id = (SELECT id FROM contributions"
            " WHERE frequency = 'annual') WHERE stripe_payment_intent_id = (SELECT"
            " stripe_payment_intent_id FROM charges WHERE stripe_charge_id = '{charge.id}')"
        ),
        {"income": "{charge.id}: "},
    ),
    "how often a charge is made": (
        (
            "UPDATE payment_intent_links SET frequency = 'monthly' WHERE stripe_payment_intent_id ="
            " (SELECT stripe_payment_intent_id FROM charges WHERE stripe_charge_id = '{charge.id}')"
        ),
        {"income": "{charge.id}: "},
    ),
    "a movement that is said to wait": (
        "INSERT INTO unposted_transactions VALUES ('{refund.id}')",
        {"posted": "{refund.id}: ", "refunds": "{refund.id}: refunded nothing"},
    ),
    "an arrival in the bank, gone": (
        "DELETE FROM ledger_entries WHERE seq = {arrival.seq}",
        {"chain": "row {arrival.seq} is missing", "payouts": ", in the bank 0"},
    ),
    "a payout that failed": (
        "UPDATE payouts SET status = 'failed' WHERE stripe_payout_id = '{payout.id}'",
        {"payouts": "{payout.id}: failed, in the bank 1"},
    ),
    "a payout, gone": (
        "DELETE FROM payouts WHERE stripe_payout_id = '{payout.id}'",
        {"payouts": "{payout.id}: "},
    ),
    "the alarm about suspense, closed": (
        "UPDATE alerts SET closed_at = now() WHERE kind = 'suspense'",
        {"suspense": "{odd.id}: 77 usd"},
    ),
}
"""What is done behind the trigger's back -> the identities that fail, and the row each names."""
DERIVED_CHECKS = {
    "rollup",
    "cash",
    "recurring",
}  # what reports read from differs, too, where a row does


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_whoever_changes_the_books_is_found_out_and_the_row_is_named(
    copy: str, name: str
) -> None:
    statement, expected = TAMPERINGS[name]
    with tampering(copy) as owner:
        known: dict[str, str] = {}
        for what, query in FOUND.items():
            row = owner.execute(f"{query} LIMIT 1".encode()).fetchone()
            assert row is not None
            known |= {f"{{{what}.seq}}": str(row[0]), f"{{{what}.id}}": str(row[1])}
        for mark, value in known.items():
            statement = statement.replace(mark, value)
            expected = {kind: says.replace(mark, value) for kind, says in expected.items()}
        changed = owner.execute(statement.encode())
        assert changed.rowcount > 0
    found = await wrong(copy)
    assert found.keys() - DERIVED_CHECKS == expected.keys(), found
    for identity, says in expected.items():
        assert any(says in row for row in found[identity]), (says, found[identity])


def rehash_chain(owner: psycopg.Connection[tuple[object, ...]]) -> None:
    """Number and hash every row anew, as if nothing had been done."""
    head = hash_chain.GENESIS_HASH
    rows = owner.execute(
        "SELECT seq, debit, credit, amount, currency, occurred_at, balance_transaction,"
        "       contribution_id FROM ledger_entries ORDER BY 1"
    )
    for seq, (old, *rest) in enumerate(rows.fetchall(), 1):
        frozen = hash_chain.row_bytes(seq, *rest)  # type: ignore[arg-type]  # as the columns are
        head = hash_chain.next_hash(head, frozen)
        owner.execute(
            "UPDATE ledger_entries SET seq = %s, hash = %s WHERE seq = %s", [seq, head, old]
        )


async def test_a_forger_who_rehashes_the_chain_is_still_found_out(copy: str) -> None:
    with tampering(copy) as owner:
        owner.execute("UPDATE ledger_entries SET amount = amount - 100 WHERE debit = 'refunds'")
        rehash_chain(owner)
    assert {*await wrong(copy)} - DERIVED_CHECKS == {"posted", "refunds"}


REMOVE = """
    CREATE TABLE gone AS SELECT balance_transaction AS id FROM ledger_entries
                          WHERE contribution_id = (SELECT id FROM contributions WHERE amount = 500);
    DELETE FROM ledger_entries WHERE balance_transaction IN (SELECT id FROM gone);
    DELETE FROM charges WHERE balance_transaction IN (SELECT id FROM gone);
    DELETE FROM balance_transactions WHERE id IN (SELECT id FROM gone)
"""


async def test_a_gift_removed_without_a_trace_is_missed_in_stripes_own_balance(
    cluster: str,
) -> None:
    with copy_database(cluster) as url:
        async with open_newsroom(url) as room:
            for amount in (500, 2500):  # the second moves the importer's mark past the first
                await room.advances_time(timedelta(hours=36))
                await room.gives(amount)
                await room.runs_until_idle()
                assert await room.failed_integrity_checks() == []
            with tampering(url) as owner:
                owner.execute(REMOVE)
                rehash_chain(owner)
            assert {*await wrong(url)} <= DERIVED_CHECKS  # which a forger could mend as well
            [found] = [
                says for says in await problems(room) if says.split(":")[0] not in DERIVED_CHECKS
            ]
            assert found == "balance: ('usd: Stripe 2852, books 2397',)"


def test_payments_check_ends_with_4_and_names_the_row(copy: str) -> None:
    assert run_check(copy) == (0, {})
    with tampering(copy) as owner:
        owner.execute("UPDATE ledger_entries SET amount = amount + 1 WHERE seq = 1")
    code, rows = run_check(copy)
    assert code == 4
    assert rows["chain"][0].startswith("row 1 (txn_")
    assert rows.keys() - {"rollup"} == {"chain", "posted", "income"}


def run_check(url: str) -> tuple[int, dict[str, list[str]]]:
    """`payments verify-ledger --offline --json`, as an operator runs it."""
    environ = {name: value for name, value in os.environ.items() if "PAYMENTS_" not in name} | {
        "PAYMENTS_DATABASE_URL": url,
        "PAYMENTS_BASE_URL": "https://give.example.org",
        "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
        "PAYMENTS_SECRET_KEYS": "k" * 40,
    }
    done = subprocess.run(
        [sys.executable, "-m", "payments.cli", "verify-ledger", "--offline", "--json"],
        env=environ,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 4), done.stderr
    findings = json.loads(done.stdout)
    assert len(findings) >= 6
    return done.returncode, {f["check_name"]: f["failures"] for f in findings if not f["passed"]}


# --- what waits -----------------------------------------------------------------------------------


async def loses_webhooks(room: Newsroom) -> None:
    """Captures happen at Stripe and every word of them is lost."""
    await room.sandbox.advance_to_captures()
    room.sandbox.take_deliveries()


async def problems(room: Newsroom) -> list[str]:
    """What the books say now, with no import before."""
    return [
        f"{f.check_name}: {f.failures}"
        for f in await integrity.run_checks(room.ctx)
        if not f.passed
    ]


async def test_a_charge_and_its_refund_wait_until_their_contribution_is_known(
    newsroom: Newsroom,
) -> None:
    gift = await newsroom.gives(2500)
    await refunds(newsroom, gift.id, 1000)
    await loses_webhooks(newsroom)
    newsroom.sandbox.faults.add("GET", "/v1/charges/", "rate_limited")
    with pytest.raises(StripeUnavailable):
        await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("balance_transactions") == 2
    assert await newsroom.count("unposted_transactions") == 2
    assert await newsroom.count("ledger_entries") == 0
    assert await problems(newsroom) == []  # the money is known, only not whose it is
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
    bt = at_stripe.create_transaction(newsroom.sandbox.account, dict(UNHEARD_OF))["id"]
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.rows("SELECT debit, credit, amount FROM ledger_entries") == [
        ("suspense", "stripe:balance", 77)
    ]
    assert await newsroom.rows("SELECT kind, object_id FROM alerts") == [("suspense", bt)]
    assert await problems(newsroom) == []


async def test_money_that_nothing_explains_is_adopted_after_an_hour_and_a_person_is_called(
    newsroom: Newsroom,
) -> None:
    for with_an_intent in (True, False):
        paid = await newsroom.ctx.stripe.v1.payment_intents.create_async(
            {
                "amount": 700,
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "confirm": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            }
        )
        if not with_an_intent:  # as charges were made before there were intents, and still can be
            charge = newsroom.sandbox.account.store.objects[str(paid.latest_charge)]
            charge["payment_intent"] = None
    await loses_webhooks(newsroom)
    await newsroom.advances_time(timedelta(minutes=59))
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("unposted_transactions") == 2
    assert await newsroom.count("contributions") == await newsroom.count("alerts") == 0
    assert await problems(newsroom) == []
    await newsroom.advances_time(timedelta(minutes=2))
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("unposted_transactions") == 0
    adopted = await newsroom.rows(
        "SELECT id, frequency, amount, origin, status FROM contributions ORDER BY id"
    )
    assert [row[1:] for row in adopted] == [("once", 700, "adopted", "paid")] * 2
    assert await newsroom.rows(
        "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY object_id"
    ) == [("adopted", row[0]) for row in adopted]
    assert await newsroom.rows(
        "SELECT contribution_id, amount FROM ledger_entries WHERE credit = 'income:once'"
        " ORDER BY contribution_id"
    ) == [(row[0], 700) for row in adopted]


async def test_what_can_never_be_explained_waits_and_a_person_is_called(
    newsroom: Newsroom,
) -> None:
    lost = {"type": "refund", "amount": -5, "currency": "usd"}  # and of which charge, nobody says
    bt = at_stripe.create_transaction(newsroom.sandbox.account, lost)["id"]
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("alerts") == 0
    await newsroom.advances_time(timedelta(minutes=61))
    for _ in range(2):
        await daily_totals.import_and_refresh(newsroom.ctx)
        assert await newsroom.rows("SELECT kind, object_id FROM alerts") == [("unattributed", bt)]
    assert await newsroom.count("unposted_transactions") == 1
    assert await problems(newsroom) == []


async def test_a_charge_that_stripe_will_not_show_keeps_no_other_waiting(
    newsroom: Newsroom,
) -> None:
    store, faults = newsroom.sandbox.account.store, newsroom.sandbox.faults
    await newsroom.gives(700)
    [charge] = [row["id"] for row in store.of_kind("charge")]
    faults.add("GET", f"/v1/charges/{charge}", "rate_limited", 2)
    for pause in (timedelta(), timedelta(hours=49)):
        await newsroom.advances_time(pause)
        await newsroom.gives(500)
        await loses_webhooks(newsroom)
        with pytest.raises(StripeUnavailable):
            await daily_totals.import_and_refresh(newsroom.ctx)
    bt = store.objects[charge]["balance_transaction"]
    store.remove(charge)
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.count("ledger_entries") == 4
    assert await newsroom.rows("SELECT kind, object_id FROM alerts") == [("unattributed", bt)]
    assert await problems(newsroom) == []


async def test_money_that_moves_during_the_checks_opens_no_alert(
    newsroom: Newsroom,
) -> None:
    await newsroom.gives(500)
    await newsroom.runs_until_idle()
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
    assert await problems(newsroom) == []


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
    assert await problems(newsroom) == []


async def test_an_import_cut_short_between_two_pages_loses_nothing(newsroom: Newsroom) -> None:
    account, faults = newsroom.sandbox.account, newsroom.sandbox.faults
    fee = {"type": "stripe_fee", "amount": -1, "currency": "usd"}
    for _ in range(250):
        at_stripe.create_transaction(account, dict(fee))
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
    at_stripe.create_transaction(account, dict(fee))
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 1
    assert await newsroom.rows("SELECT sum(amount), count(*) FROM ledger_entries") == [(251, 251)]
    assert await problems(newsroom) == []


async def test_a_movement_that_becomes_visible_a_day_late_is_found(newsroom: Newsroom) -> None:
    fee = {"type": "stripe_fee", "amount": -1, "currency": "usd"}
    at_stripe.create_transaction(newsroom.sandbox.account, dict(fee))
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 1
    late = at_stripe.create_transaction(newsroom.sandbox.account, dict(fee))
    late["created"] -= 23 * 3600
    assert await daily_totals.import_and_refresh(newsroom.ctx) == 1
    assert await problems(newsroom) == []


async def lives(room: Newsroom, then: Callable[[], Awaitable[None]]) -> None:
    """Two months with gifts, renewals, a refund and payouts; `then` is how news of them comes."""
    first = None
    for amount, frequency, currency in LIFE:
        gift = await room.gives(amount, frequency, currency)
        first = first or gift.id
        await then()
    assert first is not None
    await refunds(room, first, 1000)
    await then()
    for _ in range(3):
        await room.advances_time(timedelta(days=20))
        await then()


BALANCES = """
    SELECT account, currency, sum(amount) FROM (
        SELECT debit AS account, currency, amount FROM ledger_entries UNION ALL
        SELECT credit, currency, -amount FROM ledger_entries
    ) AS ends GROUP BY 1, 2 ORDER BY 1, 2
"""
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
            assert len(await bright.rows(BALANCES)) >= 10
            assert await dark.rows(BALANCES) == await bright.rows(BALANCES)
            assert await dark.rows(INCOME) == await bright.rows(INCOME)
            assert await dark.count("alerts") == 0
            # and the sweeps bring what is not money
            assert await dark.rows(SUBSCRIPTIONS_SQL) != await bright.rows(SUBSCRIPTIONS_SQL)
            await dark.runs_sweeps()
            assert await dark.rows(SUBSCRIPTIONS_SQL) == await bright.rows(SUBSCRIPTIONS_SQL)
            assert await dark.rows(BALANCES) == await bright.rows(BALANCES)


async def test_in_whatever_order_the_movements_come_the_balances_are_the_same(copy: str) -> None:
    chance, engine = random.Random(7), db.create_engine(copy, role=None)
    sessions = db.create_session_factory(engine)
    with as_owner(copy) as owner:
        before = owner.execute(BALANCES.encode()).fetchall()
    heads = set()
    for n in range(20):
        with tampering(copy) as owner:
            owner.execute("TRUNCATE ledger_entries, daily_totals, daily_totals_positions CASCADE")
            owner.execute("INSERT INTO unposted_transactions SELECT id FROM balance_transactions")
            owners = {
                str(charge): Attribution(str(contribution), str(frequency))
                for charge, contribution, frequency in owner.execute(
                    "SELECT stripe_charge_id, contribution_id, frequency FROM charges"
                    " JOIN payment_intent_links USING (stripe_payment_intent_id)"
                )
            }
        async with sessions() as session:
            waiting = await entries.unposted(session)
            arrivals = list(await session.scalars(select(payouts.Payout.stripe_payout_id)))
        assert len(waiting) > 10
        assert len(arrivals) >= 3
        if n >= 2:  # twice in the order they happened, then shuffled
            chance.shuffle(waiting)
        while waiting:
            size = chance.randrange(1, 6) if n >= 2 else 5
            async with sessions.begin() as session:
                await entries.post(
                    session, waiting[:size], attributions=owners, now=datetime.now(UTC)
                )
            waiting = waiting[size:]
        for payout_id in arrivals:
            async with sessions.begin() as session:
                await payouts.post_arrival(session, payout_id)
        with as_owner(copy) as owner:
            assert owner.execute(BALANCES.encode()).fetchall() == before
            head = owner.execute("SELECT hash FROM ledger_entries ORDER BY seq DESC LIMIT 1")
            heads.add((n < 2, head.fetchone()))
        assert await wrong(copy) == {}
    await engine.dispose()
    assert sum(in_order for in_order, _ in heads) == 1  # the same rows in the same order
