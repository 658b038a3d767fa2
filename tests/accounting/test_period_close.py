"""Finance closes a month, files its pack, and can trust it years later."""

import io
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from types import ModuleType

import pytest
from sqlalchemy import text

from payments.accounting import close_pack, daily_totals, integrity, period_close
from payments.accounting.exports import ledger_entries, transactions_csv
from payments.accounting.period_close import PeriodNotReady
from payments.accounting.reports import period
from payments.accounting.reports.transaction_filters import Filters
from payments.core.errors import InvalidField, NotFound
from payments.infra import alerts
from payments.infra.alerts import AlertKind
from tests.support.command_line import run
from tests.support.newsroom import Newsroom
from tests.support.packs import PUBLIC_KEY, closes, find_problems, taken
from tests.support.snapshot import Snapshot, restore_newsroom

pytestmark = pytest.mark.anyio
NOVEMBER, DECEMBER, JANUARY = date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)


async def until(newsroom: Newsroom, moment: datetime) -> None:
    """Time passes up to a moment, with everything settled and imported."""
    await newsroom.advances_time(moment - newsroom.clock())
    await newsroom.runs_until_idle()
    await daily_totals.import_and_refresh(newsroom.ctx)


@pytest.fixture
async def newsroom(cluster: str, november: Snapshot) -> AsyncIterator[Newsroom]:
    async with restore_newsroom(cluster, november) as room:
        yield room


async def exported(
    newsroom: Newsroom, month: str, what: ModuleType = transactions_csv
) -> list[str]:
    """The lines that finance takes away for a month: of the ledger, or a journal's entries."""
    today, zone = newsroom.clock().date(), newsroom.settings.accounting_zoneinfo
    of = period.parse_period({"period": month}, today=today)
    async with newsroom.ctx.sessions() as session:
        lines = (
            transactions_csv.stream_csv(session, zone, Filters(of))
            if what is transactions_csv
            else ledger_entries.stream_csv(session, zone, of, exported_in="a test")
        )
        return b"".join([chunk async for chunk in lines]).decode().splitlines()


async def test_a_closed_month_gives_the_same_pack_for_ever(newsroom: Newsroom) -> None:
    pack = await closes(newsroom, NOVEMBER)
    assert close_pack.public_key(newsroom.settings) == PUBLIC_KEY
    assert find_problems(pack, keys=(PUBLIC_KEY,)) == []
    await newsroom.gives(700)
    await until(newsroom, datetime(2027, 1, 2, 12, tzinfo=UTC))
    assert await taken(newsroom, "2026-11") == pack
    in_pieces = io.BytesIO()
    await close_pack.download(newsroom.ctx, "2026-11", in_pieces, chunk_size=1000)
    assert in_pieces.getvalue() == pack
    with zipfile.ZipFile(io.BytesIO(pack)) as files:
        manifest = json.loads(files.read("manifest.json"))
        assert b"@" not in files.read("transactions.csv")
        # What programs are named by, what they take as it is, and what none of them was named for.
        assert files.read("account-map.csv").startswith(b"account,xero,qbo,datev,plain")
        assert {"beancount-main.beancount", "beancount-2026-11.beancount"} <= set(files.namelist())
        assert "xero-statement_2026-11_eur_01.csv" in files.namelist()
        assert b"Xero manual journals eur: Xero: the account map has no" in files.read(
            "journals-left-out.txt"
        )
    assert manifest["month"] == "2026-11"
    gross = {code: of["charge"]["gross"] for code, of in manifest["totals"].items()}
    assert gross == {"usd": 3000, "eur": 1000}
    assert all(point["passed"] for point in manifest["checklist"])


async def test_what_stripe_tells_late_is_booked_in_the_month_that_is_open(
    newsroom: Newsroom,
) -> None:
    await closes(newsroom, NOVEMBER)
    before = await exported(newsroom, "2026-11")
    fee_id = newsroom.sandbox.charge_fee("billing", 150)
    fee = newsroom.sandbox.account.store.get("balance_transaction", fee_id)
    assert fee is not None
    fee["created"] = int(datetime(2026, 11, 30, 23, 50, tzinfo=UTC).timestamp())
    await daily_totals.import_and_refresh(newsroom.ctx)
    assert await newsroom.rows("SELECT booked_on FROM late_entries") == [(DECEMBER,)]
    assert await exported(newsroom, "2026-11") == before
    late = [line for line in await exported(newsroom, "2026-12") if fee_id in line]
    assert len(late) == 1
    assert "2026-11-30T23:50:00" in late[0]  # it points back
    assert late[0].split(",")[1] == "2026-12"
    assert "late for a closed month" in late[0]
    booked = await exported(newsroom, "2026-12", ledger_entries)
    assert {line.partition(",")[0] for line in booked if fee_id in line} == {"2026-12-01"}


async def test_a_late_line_is_back_in_its_month_when_that_is_opened_again(
    newsroom: Newsroom,
) -> None:
    await closes(newsroom, NOVEMBER)
    before = await exported(newsroom, "2026-11")
    fee_id = newsroom.sandbox.charge_fee("billing", 150)
    fee = newsroom.sandbox.account.store.get("balance_transaction", fee_id)
    assert fee is not None
    fee["created"] = int(datetime(2026, 11, 30, 23, 50, tzinfo=UTC).timestamp())
    await daily_totals.import_and_refresh(newsroom.ctx)
    days = "SELECT day, entries FROM daily_totals WHERE debit = 'expense:billing' ORDER BY day"
    assert await newsroom.rows(days) == [(DECEMBER, 2)]  # and the fee of that day itself
    await period_close.reopen(newsroom.ctx, NOVEMBER, reason="A fee came late", by="Ada")
    assert await newsroom.rows(days) == [(date(2026, 11, 30), 1), (DECEMBER, 1)]
    assert await newsroom.count("late_entries") == 0
    assert len(await exported(newsroom, "2026-11")) == len(before) + 1
    assert all(found.passed for found in await integrity.run_checks(newsroom.ctx))


async def test_a_month_is_closed_once_and_in_order(newsroom: Newsroom) -> None:
    with pytest.raises(PeriodNotReady, match="The month is over"):
        await period_close.close(newsroom.ctx, DECEMBER, by="Ada")
    await period_close.close(
        newsroom.ctx, NOVEMBER, by="Ada"
    )  # and a crash before its pack is made
    with pytest.raises(PeriodNotReady, match="2026-11 is closed already"):
        await period_close.close(newsroom.ctx, NOVEMBER, by="Ada")
    assert await period_close.next_to_close(newsroom.ctx) is None
    await until(newsroom, datetime(2027, 2, 2, 12, tzinfo=UTC))
    with pytest.raises(PeriodNotReady, match="The months before it are closed"):
        await period_close.close(newsroom.ctx, JANUARY, by="Ada")
    assert await period_close.next_to_close(newsroom.ctx) == DECEMBER
    # the pack of an undone month could not be made any more: it is made first
    with pytest.raises(InvalidField, match="was not made yet: download it first"):
        await period_close.reopen(newsroom.ctx, NOVEMBER, reason="A fee was missing", by="Ada")
    december = await closes(newsroom, DECEMBER)
    assert find_problems(december, await taken(newsroom, "2026-11"), keys=(PUBLIC_KEY,)) == []


async def test_a_month_with_something_in_suspense_stays_open(newsroom: Newsroom) -> None:
    await newsroom.gives(900)
    async with newsroom.ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session, AlertKind.SUSPENSE, object_id="txn_1", now=newsroom.clock()
        )
    with pytest.raises(PeriodNotReady, match="Nothing is in suspense"):
        await period_close.close(newsroom.ctx, NOVEMBER, by="Ada")
    assert await newsroom.count("period_closings") == 0


async def test_the_last_closed_month_can_be_opened_again_with_a_reason(
    newsroom: Newsroom,
) -> None:
    first = await closes(newsroom, NOVEMBER)
    with pytest.raises(InvalidField, match="Say why"):
        await period_close.reopen(newsroom.ctx, NOVEMBER, reason=" ", by="Ada")
    with pytest.raises(InvalidField, match="only the last closed month"):
        await period_close.reopen(newsroom.ctx, DECEMBER, reason="A refund was missing", by="Ada")
    await period_close.reopen(newsroom.ctx, NOVEMBER, reason="A refund was missing", by="Ada")
    with pytest.raises(NotFound):
        await taken(newsroom, "2026-11")
    again = await closes(newsroom, NOVEMBER)
    assert find_problems(again, first, keys=(PUBLIC_KEY,)) == []
    assert await taken(newsroom, "2026-11", "1") == first
    assert await taken(newsroom, "2026-11", "2") == await taken(newsroom, "2026-11") == again
    for number in ("3", "0", "9" * 30, "x", ""):
        with pytest.raises(NotFound):
            await taken(newsroom, "2026-11", number)
    with pytest.raises(NotFound):
        await taken(newsroom, "2026-12", "1")
    actions = await newsroom.rows("SELECT action, name, reason FROM audit_entries ORDER BY seq")
    assert actions == [
        ("period_closed", "Ada", ""),
        ("period_reopened", "Ada", "A refund was missing"),
        ("period_closed", "Ada", ""),
    ]
    await _takes_an_undone_pack_by_command(newsroom, first)


async def _takes_an_undone_pack_by_command(newsroom: Newsroom, pack: bytes) -> None:
    # commands go by this machine's clock: the month is one that has been in any case
    async with newsroom.ctx.sessions.begin() as session:
        await session.execute(text("UPDATE period_closings SET month = '2024-11-01'"))
    listed = (await run(newsroom.settings, "period", "list")).stdout.decode().splitlines()
    assert [line.rpartition("  ")[2] for line in listed] == [
        "valid",
        "undone: A refund was missing",
    ]
    export = ("period", "export", "2024-11", "--closing")
    assert (await run(newsroom.settings, *export, "1")).stdout == pack
    wrong = await run(newsroom.settings, *export, "3")
    assert (wrong.exit_code, wrong.stdout) == (1, b"")
    assert "There is no pack 3 of 2024-11." in wrong.stderr
    exported = "SELECT object_id FROM audit_entries WHERE action = 'data_exported'"
    assert await newsroom.rows(exported) == [("payments-2024-11-pack-1.zip",)]


async def test_a_month_in_the_future_or_no_month_is_refused(newsroom: Newsroom) -> None:
    for words in ("2027-05", "2026-13", "november"):
        with pytest.raises(InvalidField):
            await taken(newsroom, words)
