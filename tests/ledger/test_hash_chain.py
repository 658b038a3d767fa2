"""The hash chain and the integrity checks: how a change to the ledger is found out."""

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from payments.ledger import hash_chain
from tests.support import command_line
from tests.support.database import copy_database
from tests.support.database_owner import as_owner, tampering
from tests.support.ledger import DERIVED_CHECKS, failed_checks, failed_checks_now, rehash_chain
from tests.support.newsroom import open_newsroom
from tests.support.past import has_given
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio


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


# --- how a change is found out --------------------------------------------------------------------


async def test_two_months_of_books_hold_and_have_something_of_everything(
    two_months_database: str,
) -> None:
    assert await failed_checks(two_months_database) == {}
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
    "a refund among those of other income": (
        "UPDATE ledger_entries SET debit = 'other:refunds' WHERE seq = {refund.seq}",
        {
            "chain": "row {refund.seq} (",
            "other_income": "{refund.id}: other:refunds moved by no other income",
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
            "payout_composition": ": {income.id} is ",
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
            "UPDATE payment_intent_links SET interval_unit = 'month', interval_count = 1"
            " WHERE stripe_payment_intent_id = (SELECT stripe_payment_intent_id FROM charges"
            " WHERE stripe_charge_id = '{charge.id}')"
        ),
        {"income": "{charge.id}: "},
    ),
    "a charge for something else": (
        (
            "UPDATE payment_intent_links SET contribution_id = NULL,"
            " interval_unit = NULL, interval_count = NULL WHERE stripe_payment_intent_id = (SELECT"
            " stripe_payment_intent_id FROM charges WHERE stripe_charge_id = '{charge.id}')"
        ),
        {
            "income": "{charge.id}: ",
            "other_income": "{income.id}: expense:processing moved by other income",
        },
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
    "the alert about suspense, closed": (
        "UPDATE alerts SET closed_at = now() WHERE kind = 'suspense'",
        {"suspense": "{odd.id}: 77 usd"},
    ),
}
"""What is done behind the trigger's back -> the identities that fail, and the row each names."""


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_whoever_changes_the_books_is_found_out_and_the_row_is_named(
    ledger_copy: str, name: str
) -> None:
    statement, expected = TAMPERINGS[name]
    with tampering(ledger_copy) as owner:
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
    found = await failed_checks(ledger_copy)
    assert found.keys() - DERIVED_CHECKS == expected.keys(), found
    for identity, says in expected.items():
        assert any(says in row for row in found[identity]), (says, found[identity])


async def test_a_forger_who_rehashes_the_chain_is_still_found_out(ledger_copy: str) -> None:
    with tampering(ledger_copy) as owner:
        owner.execute("UPDATE ledger_entries SET amount = amount - 100 WHERE debit = 'refunds'")
        rehash_chain(owner)
    assert {*await failed_checks(ledger_copy)} - DERIVED_CHECKS == {"posted", "refunds"}


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
                await has_given(room, amount)
                assert await room.failed_integrity_checks() == []
            with tampering(url) as owner:
                owner.execute(REMOVE)
                rehash_chain(owner)
            assert {*await failed_checks(url)} <= DERIVED_CHECKS  # a forger could change those, too
            [found] = [
                says
                for says in await failed_checks_now(room)
                if says.split(":")[0] not in DERIVED_CHECKS
            ]
            assert found == "stripe_balance: ('usd: Stripe 2852, books 2397',)"


def test_payments_check_ends_with_4_and_names_the_row(ledger_copy: str) -> None:
    assert run_check(ledger_copy) == (0, {})
    with tampering(ledger_copy) as owner:
        owner.execute("UPDATE ledger_entries SET amount = amount + 1 WHERE seq = 1")
    code, rows = run_check(ledger_copy)
    assert code == 4
    assert rows["chain"][0].startswith("row 1 (txn_")
    assert rows.keys() - {"daily_totals"} == {"chain", "posted", "income"}


def run_check(url: str) -> tuple[int, dict[str, list[str]]]:
    """`payments verify-ledger --offline --json`, as an operator runs it."""
    environ = {name: value for name, value in os.environ.items() if "PAYMENTS_" not in name} | {
        "PAYMENTS_DATABASE_URL": url,
        "PAYMENTS_BASE_URL": "https://give.example.org",
        "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
        "PAYMENTS_SECRET_KEYS": secret_named("keys"),
    }
    done = command_line.run_in(environ, "verify-ledger", "--offline", "--json")
    assert done.exit_code in (0, 4), done.stderr
    findings = json.loads(done.stdout)
    assert len(findings) >= 6
    return done.exit_code, {f["check_name"]: f["failures"] for f in findings if not f["passed"]}
