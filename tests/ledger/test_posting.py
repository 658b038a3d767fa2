"""Posting: what each of Stripe's balance transactions means, from one account to another."""

import random
import re
import typing
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import stripe
from sqlalchemy import select

from payments.accounting import integrity_checks
from payments.accounting.reports import transaction_filters
from payments.core.frequency import Frequency
from payments.infra import db
from payments.ledger import balance_transactions, entries, posting_rules
from payments.ledger.posting_rules import Attribution, LedgerAccount, TransactionFacts
from payments.settlement import payouts
from tests.support.database_owner import as_owner, tampering
from tests.support.ledger import BALANCES_SQL, failed_checks

pytestmark = pytest.mark.anyio


OURS = "0" * 32
Fees = Sequence[tuple[str, int]]
Row = tuple[str, str, int]


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


@pytest.mark.parametrize("frequency", [one for one in Frequency if one is not Frequency.OTHER])
@pytest.mark.parametrize("type_", ["charge", "payment"])
def test_the_frequency_of_the_contribution_decides_which_income_it_is(
    type_: str, frequency: Frequency
) -> None:
    assert posted(type_, 500, [("stripe_fee", 45)], of=frequency) == [
        ("stripe:balance", f"income:{frequency}", 500),
        ("expense:processing", "stripe:balance", 45),
    ]


@pytest.mark.parametrize(
    ("type_", "amount", "account"),
    [
        ("charge", 500, "other:income"),
        ("payment", 500, "other:income"),
        ("refund", -500, "other:refunds"),
        ("payment_refund", -500, "other:refunds"),
        ("payment_failure_refund", -500, "other:refunds"),
        ("refund_failure", 500, "other:refunds"),
        ("adjustment/refund_failure", 500, "other:refunds"),
        ("adjustment/dispute", -500, "other:disputes"),
        ("adjustment/dispute_reversal", 500, "other:disputes"),
        ("adjustment/fee", -500, "other:fees"),
        ("stripe_fee", -500, "other:fees"),
        ("stripe_fx_fee", -500, "other:fees"),
        ("tax_fee", -500, "other:fees"),
    ],
)
def test_what_is_no_contribution_is_booked_apart_with_its_fees(
    type_: str, amount: int, account: str
) -> None:
    fees = [(fee_type, 45) for fee_type in posting_rules.FEE_ACCOUNTS]
    (moved, *fee) = posted(type_, amount, fees, of="other")
    assert moved[:2] == (("stripe:balance", account) if amount > 0 else (account, "stripe:balance"))
    if account == "other:fees":
        assert (moved[2], fee) == (500 + 90, [])
    else:
        assert fee == [("other:fees", "stripe:balance", 90)]


TYPES_OF_ACCOUNTS = {  # what moves an account of ours -> what a list and a file call it
    "income:once": {"charge"},
    "refunds": {"refund", "refund_failure"},
    "disputes": {"dispute", "dispute_reversal"},
    **{f"expense:{name}": {"fee"} for name in ("billing", "tax", "fx")},
    "in-transit": {"payout", "payout_reversal"},
    "clearing:fx": {"fx"},
    **{name: {"adjustment"} for name in ("bank", "stripe:held", "suspense")},
}


async def test_a_transaction_is_called_what_it_is_booked_as(ledger_copy: str) -> None:
    categories = ["", "other_adjustment", "a_new_one", *posting_rules.ADJUSTMENT_ACCOUNTS]
    kinds = [(type_, "", None) for type_ in sorted(STRIPES_TYPES)] + [
        ("adjustment", category, rate) for category in categories for rate in (None, "0.9")
    ]
    rows = ", ".join(
        f"('{type_}', '{category}', {'NULL' if rate is None else repr(rate)})"
        for type_, category, rate in kinds
    )
    query = (
        f"SELECT {transaction_filters.TYPE_SQL}"  # noqa: S608 - words of ours
        f" FROM (VALUES {rows}) AS bt(type, reporting_category, exchange_rate)"
    )
    with as_owner(ledger_copy) as owner:
        named = [str(name) for (name,) in owner.execute(query.encode())]
    shown = set()
    for (type_, category, rate), name in zip(kinds, named, strict=True):
        ((_, account, _),) = posted(f"{type_}/{category}{'*' if rate else ''}", 500)
        assert name in TYPES_OF_ACCOUNTS[account], (type_, category, rate)
        shown |= {(account, name)}
    assert shown == {(account, name) for account, its in TYPES_OF_ACCOUNTS.items() for name in its}
    assert {name for _, name in shown} == set(posting_rules.TransactionType)


STRIPES_TYPES = frozenset(
    typing.get_args(typing.get_args(stripe.BalanceTransaction.__annotations__["type"])[0])
)
STRIPES_BALANCES = frozenset(
    typing.get_args(typing.get_args(stripe.BalanceTransaction.__annotations__["balance_type"])[0])
)


def test_each_of_stripes_balances_has_its_account_and_the_proof_knows_the_same() -> None:
    assert set(posting_rules.BALANCE_ACCOUNTS) == STRIPES_BALANCES
    known = re.findall(r"WHEN '(\w+)'\s+THEN '([a-z:]+)'", integrity_checks.CASH_ACCOUNT_SQL)
    # a version that moves another account needs the proof by the version of each entry
    for table in posting_rules.POSTING_TABLES.values():
        assert dict(known) == {
            name: account.value for name, account in table.balance_accounts.items()
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
    assert not new, (
        f"decide what {', '.join(sorted(new))} means: in the table, or in SUSPENSE_TYPES"
    )
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


@pytest.mark.parametrize("orders", [8, pytest.param(40, marks=pytest.mark.storm)])
async def test_in_whatever_order_the_movements_come_the_balances_are_the_same(
    ledger_copy: str, orders: int
) -> None:
    chance, engine = random.Random(7), db.create_engine(ledger_copy, role=None)
    sessions = db.create_session_factory(engine)
    with as_owner(ledger_copy) as owner:
        before = owner.execute(BALANCES_SQL.encode()).fetchall()
    heads = set()
    for n in range(orders):
        with tampering(ledger_copy) as owner:
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
            waiting = await balance_transactions.unposted(session)
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
        with as_owner(ledger_copy) as owner:
            assert owner.execute(BALANCES_SQL.encode()).fetchall() == before
            head = owner.execute("SELECT hash FROM ledger_entries ORDER BY seq DESC LIMIT 1")
            heads.add((n < 2, head.fetchone()))
        assert await failed_checks(ledger_copy) == {}
    await engine.dispose()
    assert sum(in_order for in_order, _ in heads) == 1  # the same rows in the same order
