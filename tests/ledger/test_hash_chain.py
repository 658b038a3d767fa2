"""The hash chain and the integrity checks: how a change to the ledger is found out."""

import hashlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from payments.accounting import chain_verification
from payments.ledger import balance_transactions, entries, hash_chain, posting_rules
from payments.ledger.hash_chain import ChainedEntry
from payments.ledger.posting_rules import LedgerAccount
from tests.support import command_line
from tests.support.database import copy_database
from tests.support.database_owner import as_owner, tampering
from tests.support.ledger import (
    DERIVED_CHECKS,
    failed_checks,
    failed_checks_now,
    rehash_chain,
    without_stripe,
)
from tests.support.newsroom import open_newsroom
from tests.support.past import has_given
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio


# The frozen bytes of a row and the hash of the chain up to it; each row follows the one above.
VECTORS = """
v2|1|stripe:balance|income:once|2500|usd|2026-11-22T12:00:01Z|txn_1|00000000000000000000000000000000|1|
eedc91b3e999c478564a27e2df4e637f72b43159bed9233b419f163422d7dddd
v2|2|expense:processing|stripe:balance|103|usd|2026-11-22T12:00:01Z|txn_1||1|
80ee579adb79e307ddc89d175394ee2f176fe153317892e57e41657acacc2a75
v2|3|stripe:balance|income:monthly|500|eur|2026-11-22T23:59:59Z|t_2|0123456789abcdef0123456789abcdef|1|
38e4a4fa69d71a16d9135d635fe0a7d877221e4581c07f403a078df4b9d58f81
v2|4|stripe:balance|income:annual|200|usd|2026-02-28T23:59:59Z|txn_3||1|
33756c3e15b016f0dd3f62d152055bd80ed69abb51aaa88848bee4f617c1d270
v2|5|refunds|stripe:balance|2500|usd|2028-02-29T00:00:00Z|txn_4|00000000000000000000000000000000|2|2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881
b64b919b7184948b8b46bb9e3fc5b74aaf53570d49f3af157e4bc74fcb5b7e65
v2|6|stripe:balance|refunds|2500|usd|2028-02-29T00:00:00Z|txn_5|00000000000000000000000000000000|1|
09de43e03c26be91d13dbfac5fd07457acc79ab873b75e682e529e65f1581976
v2|7|in-transit|stripe:balance|999999999999|jpy|2026-12-31T23:59:59Z|txn_6||1|
eb0c553a2b308d4132b5420d4974dfd4e00e45f4d38efc280d8eb09ba6ef4095
v2|8|bank|in-transit|999999999999|jpy|2026-12-31T23:59:59Z|txn_6||1|
ea0e4c1e368d8a0a782f0d64749e605a45d3b98c890e73079d44a799f11463f2
v2|9|expense:billing|stripe:balance|1|usd|1970-01-01T00:00:00Z|txn_7||1|
aaaa2607beee84b29f20fd177fdac344108cddd673c9a4080a04a7ebdc2d3c08
v2|10|expense:tax|stripe:balance|21|gbp|2026-11-22T12:00:01Z|txn_8||1|
7c2ae934ca88bf5d52cdcd7fb9ce5b1d165315588bda77cc692e8180d95c2adb
v2|11|expense:fx|stripe:balance|7|usd|2026-11-22T12:00:01Z|txn_1NXWPnBcKCaM9aaBCdEfGhIj||1|
59e718ac52af3e6a66d2a10cc49225c11703636f7c536356108911190840b546
v2|12|suspense|stripe:balance|9223372036854775807|kwd|9999-12-31T23:59:59Z|a.dot_and-a-dash||1|
c469e1b714de6c53cb776ccb2e65ed074874d794d21ef43b28c02bb573189182
v2|9223372036854775807|disputes|stripe:balance|1500|usd|2026-11-22T12:00:01Z|txn_9||1|
cea1a74483c97a90aed8ee3e8a4d2702cae793388ddca641bc4fb704d3e814e8
v2|14|stripe:balance|disputes|1500|usd|2026-11-22T12:00:01Z|txn_9|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|1|
cd1fecf5d07f9f8613dd851d4ba83dcde03878ef7ef8230c442f1cc1eebaa906
"""


def test_the_chain_is_what_it_was_when_these_vectors_were_written() -> None:
    lines, head = VECTORS.split(), hash_chain.GENESIS_HASH
    assert len(lines) == 2 * 14
    for frozen, expected in zip(lines[::2], lines[1::2], strict=True):
        _, seq, debit, credit, amount, currency, moment, *rest = frozen.split("|")
        bt, owner, table, digest = rest
        at = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        row = ChainedEntry(
            int(seq), debit, credit, int(amount), currency, at, bt, owner or None, int(table),
            bytes.fromhex(digest) or None,
        )  # fmt: skip
        assert hash_chain.row_bytes(row) == frozen.encode()
        assert hashlib.sha256(head + frozen.encode()).hexdigest() == expected
        head = hash_chain.next_hash(head, frozen.encode())
        assert head.hex() == expected


def test_a_row_has_one_form_whatever_the_zone_and_the_part_of_a_second() -> None:
    noon = datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC)
    west = timezone(timedelta(hours=-5))
    same = [noon, noon.replace(microsecond=999_999), noon.astimezone(west)]
    forms = {
        hash_chain.row_bytes(ChainedEntry(1, "a", "b", 1, "usd", at, "txn_1", None, 1))
        for at in same
    }
    assert forms == {b"v2|1|a|b|1|usd|2026-11-22T12:00:01Z|txn_1||1|"}


def test_a_part_that_holds_a_separator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a \|"):
        hash_chain.row_bytes(
            ChainedEntry(
                1, "a|b", "c", 1, "usd", datetime(2026, 1, 1, tzinfo=UTC), "txn_1", None, 1
            )
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
            " 'expense:billing', 100, currency, occurred_at, balance_transaction, NULL, 1, NULL,"
            " hash"
            " FROM ledger_entries WHERE seq = {converted.seq}"
        ),
        {"chain": "row {converted.seq} (", "income": ": charged 1500, income 890"},
    ),
    "a row too many": (
        (
            "INSERT INTO ledger_entries SELECT seq + 1, 'refunds', 'stripe:balance', 5, 'usd',"
            " occurred_at, '{income.id}', NULL, 1, NULL, hash FROM ledger_entries"
            " WHERE seq = {last.seq}"
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


async def test_a_new_version_of_the_posting_table_leaves_what_was_posted_before_proved(
    ledger_copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def replayed(url: str) -> tuple[str, ...]:
        async with without_stripe(url) as ctx:
            return await chain_verification.replay_failures(ctx)

    first = posting_rules.POSTING_TABLES[1]
    decided = replace(
        first, contra_accounts={**first.contra_accounts, "tax_fund": LedgerAccount.TAX}
    )
    # decided in a newer version, what was in suspense stays proved, and what comes is posted anew
    monkeypatch.setitem(posting_rules.POSTING_TABLES, 2, decided)
    assert await replayed(ledger_copy) == ()
    with as_owner(ledger_copy) as owner:
        owner.execute(
            "INSERT INTO balance_transactions SELECT 'txn_new', type, reporting_category,"
            " balance_type, -5, 0, -5, currency, fees, NULL, NULL, NULL, occurred_at, available_on"
            " FROM balance_transactions WHERE type = 'tax_fund'"
        )
        owner.execute("INSERT INTO unposted_transactions VALUES ('txn_new')")
    async with without_stripe(ledger_copy) as ctx, ctx.sessions.begin() as session:
        waiting = await balance_transactions.unposted(session)
        assert await entries.post(session, waiting, attributions={}, now=ctx.now()) == 1
    with as_owner(ledger_copy) as owner:
        taxes = owner.execute(
            "SELECT debit, e.amount, posting_version FROM ledger_entries e"
            " JOIN balance_transactions bt ON bt.id = e.balance_transaction"
            " WHERE type = 'tax_fund' ORDER BY seq"
        ).fetchall()
    assert taxes == [("suspense", 77, 1), ("expense:tax", 5, 2)]
    assert await replayed(ledger_copy) == ()
    assert (await failed_checks(ledger_copy)).keys() <= DERIVED_CHECKS

    # edited in place, the table no longer proves what it posted; nor does one that is gone
    monkeypatch.setitem(posting_rules.POSTING_TABLES, 1, decided)
    (failure,) = await replayed(ledger_copy)
    assert failure.endswith(") would be another")
    monkeypatch.setitem(posting_rules.POSTING_TABLES, 1, first)
    monkeypatch.delitem(posting_rules.POSTING_TABLES, 2)
    (failure,) = await replayed(ledger_copy)
    assert failure.endswith("its posting table, 2, is unknown")
    # and a row that says another version of itself is another row
    with tampering(ledger_copy) as owner:
        owner.execute("UPDATE ledger_entries SET posting_version = 1 WHERE posting_version = 2")
    assert "(txn_new) was changed" in (await failed_checks(ledger_copy))["chain"][0]


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
    assert rows.keys() - DERIVED_CHECKS == {"chain", "posted", "income"}


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
