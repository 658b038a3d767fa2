"""Corrections: what the posting table could not explain, colleagues do, and the proof covers it.

The figures expected here are computed by hand from what moved at Stripe.
"""

import csv
import io
from datetime import UTC, date, datetime
from http import HTTPStatus

import pytest

from payments.accounting import (
    chain_verification,
    corrections,
    daily_totals,
    integrity,
    period_close,
)
from payments.accounting.corrections import CorrectionRefused, Proposal
from payments.accounting.period_close import PeriodNotReady
from payments.core.errors import InvalidField, NotFound
from payments.infra.second_person import Actor, DecisionRefused
from payments.sandbox import balance as sandbox_balance
from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser, sees, signs_in
from tests.support.database_owner import as_owner, tampering
from tests.support.figures import lines_add_up, months_are_their_lines
from tests.support.ledger import (
    BALANCES_SQL,
    DERIVED_CHECKS,
    failed_checks,
    rehash_chain,
    without_stripe,
)
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.packs import closes, files_of, find_problems, signed_by_a_stranger
from tests.support.page import Page

pytestmark = pytest.mark.anyio
NOVEMBER, DECEMBER = date(2026, 11, 1), date(2026, 12, 1)
ADA, BORIS, CARL = (Actor(name[0].lower() * 32, name) for name in ("Ada", "Boris", "Carl"))
LIMIT = 500


async def until(room: Newsroom, moment: datetime) -> None:
    await room.advances_time(moment - room.clock())
    await room.runs_until_idle()
    await daily_totals.import_and_refresh(room.ctx)


async def moves(room: Newsroom, amount: int, on: datetime | None = None) -> str:
    """Money moves at Stripe in a way that no table knows. Gives the movement's id."""
    odd = {"type": "tax_fund", "amount": amount, "currency": "usd"}
    id_ = str(sandbox_balance.create_transaction(room.sandbox.account, odd)["id"])
    if on is not None:
        row = room.sandbox.account.store.get("balance_transaction", id_)
        assert row is not None
        row["created"] = int(on.timestamp())
    await daily_totals.import_and_refresh(room.ctx)
    return id_


def wanted(id_: str, amount: int, to: str = "expense:billing", **more: object) -> Proposal:
    values: dict[str, object] = {
        "balance_transaction": id_,
        "from_account": "suspense",
        "to_account": to,
        "amount": amount,
        "currency": "usd",
        "reason": "A fee, says Stripe",
        "seen": 0,
    }
    return Proposal(**values | more)  # type: ignore[arg-type]  # as the test has them


async def refused(room: Newsroom, proposal: Proposal, words: str, by: Actor = ADA) -> None:
    with pytest.raises((InvalidField, CorrectionRefused, NotFound), match=words):
        await corrections.propose(room.ctx, proposal, by=by)


async def balances(room: Newsroom) -> dict[str, int]:
    return {
        str(account): int(str(sum_)) for account, _, sum_ in await room.rows(BALANCES_SQL) if sum_
    }


async def failing(room: Newsroom) -> dict[str, tuple[str, ...]]:
    results = await integrity.run_checks(room.ctx, replay=True)
    return {one.check_name: one.failures for one in results if not one.passed}


async def test_a_month_with_an_unexplained_cent_is_finished_and_everything_is_proved(
    database: str,
) -> None:
    async with open_newsroom(database, correction_limit={"usd": LIMIT}) as room:
        await room.gives(2500)
        cent = await moves(room, -1)
        bonus = await moves(room, LIMIT + 1)
        await until(room, datetime(2026, 12, 1, 8, tzinfo=UTC))
        with pytest.raises(PeriodNotReady, match="Nothing is in suspense: 2 of them"):
            await period_close.close(room.ctx, NOVEMBER, by="Ada")
        before = await balances(room)
        assert before["suspense"] == 1 - (LIMIT + 1)

        await _refuses_what_cannot_be(room, cent)
        assert await balances(room) == before
        await _explains(room, cent, bonus, before)

        after = await balances(room)
        changed = {name: after.get(name, 0) - before.get(name, 0) for name in {*after, *before}}
        assert {name: sum_ for name, sum_ in changed.items() if sum_} == {
            "suspense": LIMIT, "unexplained": 1, "other:income": -(LIMIT + 1),
        }  # fmt: skip
        assert "suspense" not in after
        days = "SELECT DISTINCT to_char(booked_on, 'YYYY-MM') FROM corrections"
        assert await room.rows(days) == [("2026-11",)]
        assert await failing(room) == {}

        await _closes(room)
        await _corrects_a_closed_month(room)
        await _corrects_on_its_page(room)
        await _adds_up(room, cent)

    await _tamper(database)


async def _adds_up(room: Newsroom, cent: str) -> None:
    """A correction is a line of its month: pages, files and months add up with it."""
    cookie = await signs_in(room)
    for query in ("", "?period=2026-11", "?period=2026-12", "?type=correction", "?account=suspense",
                  "?account=refunds", f"?id={cent}", "?frequency=other"):  # fmt: skip
        await lines_add_up(room, cookie, query)
    page = Page((await sees(room, cookie, "/finance/transactions?type=correction")).text)
    count = await room.count("ledger_entries WHERE correction_id IS NOT NULL")
    assert sum(row[2:3] == ["suspense"] or row[3:4] == ["suspense"] for row in page.cells) >= 3
    file = (await sees(room, cookie, "/finance/transactions.csv?type=correction")).text
    assert file.count(",correction,posted,") == count
    await months_are_their_lines(room, cookie)


async def _refuses_what_cannot_be(room: Newsroom, cent: str) -> None:
    await refused(room, wanted("txn_nobodys", 1), "no such transaction")
    await refused(room, wanted(cent, 1, "expense:lunch"), "Choose two accounts")
    await refused(room, wanted(cent, 1, "stripe:balance"), "Choose two accounts")
    await refused(room, wanted(cent, 1, "income:once"), "Choose two accounts")
    await refused(room, wanted(cent, 1, "suspense"), "Choose two accounts")
    await refused(
        room, wanted(cent, 1, "other:fees", from_account="refunds"), "Choose two accounts"
    )
    await refused(room, wanted(cent, 2), "does not stand in suspense")
    await refused(room, wanted(cent, 0), "does not stand in suspense")
    await refused(room, wanted(cent, 1, from_account="bank"), "does not stand in bank")
    await refused(room, wanted(cent, 1, currency="eur"), "is in USD")
    await refused(room, wanted(cent, 1, reason=" "), "Say why")
    await refused(room, wanted(cent, 1, booked_on=date(2026, 12, 2)), "until today")
    await refused(room, wanted(cent, 1, booked_on=date(2026, 11, 1)), "when it happened")
    assert await room.count("corrections") == 0


async def _explains(room: Newsroom, cent: str, bonus: str, before: dict[str, int]) -> None:
    # the cent is accepted by two, whatever the limit; what waits is spoken for
    proposed = await corrections.propose(
        room.ctx, wanted(cent, 1, "unexplained", reason="Asked Stripe twice"), by=ADA
    )
    assert proposed.status == "waiting"
    await refused(room, wanted(cent, 1), "meanwhile, perhaps you in another tab")
    await refused(room, wanted(cent, 1, seen=1), "waits to be approved already", by=BORIS)
    with pytest.raises(DecisionRefused, match="somebody else approves it"):
        await corrections.approve(room.ctx, proposed.correction.id, by=ADA)
    assert await balances(room) == before
    booked = await corrections.approve(room.ctx, proposed.correction.id, by=BORIS)
    assert booked.status == "booked"
    with pytest.raises(DecisionRefused, match="decided already"):
        await corrections.approve(room.ctx, proposed.correction.id, by=BORIS)

    # above the limit by one a second person is needed, and may refuse; at it, none
    above = await corrections.propose(room.ctx, wanted(bonus, LIMIT + 1), by=ADA)
    assert above.status == "waiting"
    no = await corrections.refuse(room.ctx, above.correction.id, reason="It was half", by=BORIS)
    assert no.status == "refused"
    mine = await corrections.propose(room.ctx, wanted(bonus, LIMIT + 1, seen=1), by=BORIS)
    mine = await corrections.refuse(room.ctx, mine.correction.id, reason="Oh", by=BORIS)
    assert mine.status == "withdrawn"
    alone = await corrections.propose(
        room.ctx, wanted(bonus, LIMIT, "other:income", seen=2), by=ADA
    )
    assert alone.status == "booked"
    # the limit is of all that one does in a day: no second part of it goes alone
    part = await corrections.propose(room.ctx, wanted(bonus, 1, seen=3), by=ADA)
    assert part.status == "waiting"
    await corrections.refuse(room.ctx, part.correction.id, reason="Oh", by=ADA)
    last = await corrections.propose(room.ctx, wanted(bonus, 1, "bank", seen=4), by=BORIS)
    assert last.status == "booked"
    # and what was wrong is corrected again
    again = await corrections.propose(
        room.ctx, wanted(bonus, 1, "other:income", from_account="bank", seen=5), by=BORIS
    )
    assert again.correction.concerns_month is None


async def _closes(room: Newsroom) -> None:
    pack = await closes(room, NOVEMBER)
    assert find_problems(pack) == []
    files = files_of(pack)
    rows = list(csv.DictReader(io.StringIO(files["corrections.csv"].decode())))
    assert [(row["proposed_by"], row["decided_by"], row["reason"]) for row in rows] == [
        ("Ada", "Boris", "Asked Stripe twice"),
        ("Ada", "", "A fee, says Stripe"),
        *[("Boris", "", "A fee, says Stripe")] * 2,
    ]
    for old, new in ((b"Asked Stripe twice", b"Asked nobody"), (b",Boris", b",Carol")):
        changed = files["corrections.csv"].replace(old, new)
        (problem,) = find_problems(signed_by_a_stranger(files | {"corrections.csv": changed}))
        assert problem.startswith("Every correction in the books")


async def _corrects_a_closed_month(room: Newsroom) -> None:
    # the month is closed: what concerns it is booked in the first that is open, and says so
    fee = await moves(room, -40, datetime(2026, 11, 30, 23, 50, tzinfo=UTC))
    await refused(
        room, wanted(fee, 40, booked_on=date(2026, 11, 30)), "first open day is 2026-12-01"
    )
    late = await corrections.propose(room.ctx, wanted(fee, 40), by=CARL)
    assert (late.correction.booked_on, late.correction.concerns_month) == (DECEMBER, NOVEMBER)
    assert await failing(room) == {}
    assert await room.rows(
        "SELECT action, name FROM audit_entries WHERE action LIKE 'correction%' ORDER BY seq"
    ) == [
        ("correction_proposed", "Ada"),
        ("correction_approved", "Boris"),
        ("correction_proposed", "Ada"),
        ("correction_refused", "Boris"),
        ("correction_proposed", "Boris"),
        ("correction_withdrawn", "Boris"),
        ("correction_booked", "Ada"),
        ("correction_proposed", "Ada"),
        ("correction_withdrawn", "Ada"),
        *[("correction_booked", "Boris")] * 2,
        ("correction_booked", "Carl"),
    ]


async def _corrects_on_its_page(room: Newsroom) -> None:
    id_ = await moves(room, -300)
    url = f"/finance/corrections/{id_}"
    async with (
        open_colleague_browser(room, "Ann", Role.FINANCE) as ann,
        open_colleague_browser(room, "Bob", Role.FINANCE) as bob,
    ):
        await ann.opens_link()
        await bob.opens_link()
        assert url in (await ann.opens("/finance/transactions?account=suspense")).html
        page = await ann.opens(url)
        typed = page.form(url).submission(
            to_account="unexplained", amount="3.01", reason="Nobody can say"
        )
        too_much = await ann.sends(url, **typed)
        assert too_much.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "does not stand in suspense" in too_much.text
        assert 'value="Nobody can say"' in too_much.text
        assert (await ann.sends(url, **typed | {"amount": "3.00"})).status_code in {200, 303}
        again = await ann.sends(url, **typed | {"amount": "3.00"})
        assert again.status_code == HTTPStatus.CONFLICT
        assert "another tab" in again.text
        own = [form.action for form in (await ann.opens(url)).forms]
        assert f"{url}/refuse" in own
        assert f"{url}/approve" not in own
        page = await bob.opens(url)
        waiting = page.form(f"{url}/approve").submission()
        forced = await ann.sends(f"{url}/approve", **waiting)
        assert forced.status_code == HTTPStatus.CONFLICT
        assert (await bob.sends(f"{url}/approve", **waiting)).status_code in {200, 303}
        booked = await bob.opens(url)
        assert "In the books" in booked.text
        assert url in (await bob.opens("/finance/corrections")).html
        assert url in (await bob.opens("/finance/corrections?from=2026-01-01")).html
        assert url not in (await bob.opens("/finance/corrections?to=2026-01-01")).html
    async with open_colleague_browser(room, "Sue", Role.SUPPORT) as sue:
        await sue.opens_link()
        assert (await sue.sends(url, **typed)).status_code == HTTPStatus.FORBIDDEN
    assert await failing(room) == {}


# What is done behind the trigger's back -> the checks that find it; the chain's, by the replay too.
TAMPERINGS = {
    "UPDATE corrections SET reason = 'Nothing' WHERE needs_approval": {"chain"},
    "UPDATE corrections SET proposed_by = 'Eve' WHERE NOT needs_approval": {"chain"},
    "UPDATE corrections SET amount = amount + 1 WHERE amount = 500": {"chain", "corrections"},
    "UPDATE correction_decisions SET decided_by = 'Eve' WHERE outcome = 'approved'": {"chain"},
    "UPDATE correction_decisions SET outcome = 'refused' WHERE outcome = 'approved'": {
        "chain",
        "corrections",
    },
    "UPDATE correction_decisions SET decided_by_id = repeat('a', 32) WHERE outcome = 'approved'": {
        "corrections"
    },
    "DELETE FROM corrections WHERE amount = 500": {"chain", "corrections"},
    "DELETE FROM correction_decisions WHERE outcome = 'approved'": {"chain", "corrections"},
}


async def _tamper(database: str) -> None:
    """Whatever is changed of a correction is found, and undone again; so is an entry removed."""
    with as_owner(database) as owner:
        for table in ("corrections", "correction_decisions"):
            owner.execute(f"CREATE TABLE safe_{table} AS TABLE {table}".encode())
    for statement, found_by in TAMPERINGS.items():
        with tampering(database) as owner:
            assert owner.execute(statement.encode()).rowcount > 0
        assert (await failed_checks(database)).keys() == found_by, statement
        async with without_stripe(database) as ctx:
            replay = await chain_verification.replay_failures(ctx)
        assert bool(replay) == ("chain" in found_by), statement
        with tampering(database) as owner:
            for table in ("corrections", "correction_decisions"):
                owner.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - a table of ours
                owner.execute(f"INSERT INTO {table} TABLE safe_{table}".encode())
    assert await failed_checks(database) == {}
    with tampering(database) as owner:  # a forger, who hashes everything anew
        owner.execute("DELETE FROM ledger_entries WHERE debit = 'unexplained'")
        rehash_chain(owner)
    found = await failed_checks(database)
    assert found.keys() - DERIVED_CHECKS == {"suspense", "corrections"}
    assert found["corrections"][0].endswith(": decided and not in the books")
