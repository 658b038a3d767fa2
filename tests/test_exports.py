"""Files hold what the ledger says, nobody's name, and nothing that a spreadsheet would run."""

import asyncio
import csv
import io
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from stripe.params import RefundCreateParams

from payments import exports
from payments.exports import journals, ledger, sheets
from payments.exports.journals import Format, Journal, JournalUnbalanced
from payments.reports import period
from tests.journeys.test_staff import sees, signs_in
from tests.newsroom import Newsroom, opened

pytestmark = pytest.mark.anyio

COLUMNS = re.findall(
    r"\w+",
    """
    line_id period occurred_at occurred_at_utc type status frequency sequence campaign source
    country presentment_currency presentment_amount presentment_amount_minor settlement_currency
    gross gross_minor fee fee_minor fee_tax fee_tax_minor net net_minor exchange_rate available_on
    payout_id payout_arrival_date payment_method wallet contribution_id recurring_id donor_ref
    relates_to receipt_no provider_charge_id provider_balance_transaction_id provider_invoice_id
    ledger_account exported_in note
    """,
)


@pytest.fixture
async def room(database: str) -> AsyncIterator[Newsroom]:
    """Gifts of three frequencies and currencies, one refunded in part, and a payout."""
    async with opened(database, accounting_zone="Europe/Amsterdam") as room:
        for amount, frequency, currency in (
            (2500, "once", "usd"),
            (700, "monthly", "eur"),
            (5000, "annual", "gbp"),
        ):
            await room.asks(amount, frequency, currency)
            await room.gives(amount, frequency, currency)
        asked = await room.asks(1234, campaign="war-diary")
        await room.pays(asked.json()["checkout_url"])
        await room.settles()
        ((intent,),) = await room.rows(
            "SELECT stripe_payment_intent_id FROM charges WHERE amount = 2500"
        )
        refund: RefundCreateParams = {"payment_intent": str(intent), "amount": 333}
        await room.rt.stripe.v1.refunds.create_async(refund)
        for _ in range(2):
            await room.turns(timedelta(days=32))
            await room.settles()
        await room.sweeps()
        yield room
        assert await room.wrong_books() == []


def rows_of(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text[-400:]
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_the_ledger_file_is_the_ledger(room: Newsroom) -> None:
    cookie = await signs_in(room)
    answer = await sees(room, cookie, "/finance/lines.csv")
    assert answer.headers["content-disposition"] == (
        'attachment; filename="payments-ledger_all_Europe-Amsterdam.csv"'
    )
    rows = rows_of(answer)
    assert answer.text.splitlines()[0].split(",") == COLUMNS
    known = await room.rows("SELECT id, amount, fee, net, currency FROM balance_transactions")
    assert sorted(known) == sorted(
        (
            row["provider_balance_transaction_id"],
            *(int(row[f"{name}_minor"]) for name in ("gross", "fee", "net")),
            row["settlement_currency"],
        )
        for row in rows
    )
    for row in rows:
        for name in ("gross", "fee", "net"):
            assert Decimal(row[name]) * 100 == int(row[f"{name}_minor"])
    (refund,) = (row for row in rows if row["type"] == "refund")
    (gift,) = (row for row in rows if row["gross_minor"] == "2500")
    assert refund["relates_to"] == gift["line_id"]
    assert refund["frequency"] == "once"
    assert [row["sequence"] for row in rows if row["frequency"] == "monthly"] == ["1", "2", "3"]
    assert [row["campaign"] for row in rows if row["campaign"]] == ["war-diary"]
    assert re.fullmatch(r"2026-11-22T13:00:0[0-9]\+01:00", gift["occurred_at"])
    assert re.fullmatch(r"2026-11-22T12:00:0[0-9]Z", gift["occurred_at_utc"])
    assert {row["exported_in"] for row in rows} == {"ledger period=all zone=Europe/Amsterdam"}


async def test_no_file_has_a_person_in_it(room: Newsroom) -> None:
    cookie = await signs_in(room)
    for address in ("lines.csv", "journal?format=csv", "payouts.csv", "recurring.csv"):
        answer = await sees(room, cookie, f"/finance/{address}")
        assert answer.status_code == 200
        assert "reader@" not in answer.text
        assert "A Reader" not in answer.text
        assert not re.search(r"cus_|pm_|[^@\s]+@[a-z]+\.", answer.text)


async def test_what_the_screen_filters_the_file_filters_and_says(room: Newsroom) -> None:
    cookie = await signs_in(room)
    query = "period=2026-11&frequency=monthly&currency=eur&type=charge"
    answer = await sees(room, cookie, f"/finance/lines.csv?{query}")
    rows = rows_of(answer)
    assert [row["gross"] for row in rows] == ["7.00"]
    said = "ledger period=2026-11 type=charge frequency=monthly currency=eur zone=Europe/Amsterdam"
    assert rows[0]["exported_in"] == said
    name = "payments-ledger_2026-11_charge_monthly_eur_Europe-Amsterdam.csv"
    assert name in answer.headers["content-disposition"]


async def test_a_sheet_read_again_has_the_values_of_the_csv_file(room: Newsroom) -> None:
    cookie = await signs_in(room)
    plain = rows_of(await sees(room, cookie, "/finance/lines.csv"))
    answer = await sees(room, cookie, "/finance/lines.xlsx")
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    assert book.sheetnames == ["Ledger", "About"]
    heads, *lines = book["Ledger"].iter_rows(values_only=True)
    assert list(heads) == COLUMNS
    assert len(lines) == len(plain)
    kinds = {column.name: column.kind for column in ledger.COLUMNS}
    for line, row in zip(lines, plain, strict=True):
        for name, value in zip(COLUMNS, line, strict=True):
            if kinds[name] == "text" or value is None:
                assert (value or "") == row[name]
            else:
                assert Decimal(str(value)) == Decimal(row[name])
    about = {str(name): value for name, value in book["About"].iter_rows(values_only=True)}
    assert about["period"] == "all"
    assert about["zone"] == "Europe/Amsterdam"
    assert about["rows"] == str(len(plain))


OFFICE = shutil.which("soffice")
# Fields parted by commas, text in double quotes, UTF-8, from the first line, quoted fields as text,
# numbers found: LibreOffice's own numbering of these choices.
AS_CSV = "CSV:44,34,76,1,,0,true,true,false"


@pytest.mark.skipif(OFFICE is None, reason="LibreOffice is not here: no file was opened in it")
async def test_libreoffice_shows_the_same_values_in_both_files(
    room: Newsroom, tmp_path: Path
) -> None:
    cookie = await signs_in(room)
    tables = []
    for kind, how in (("csv", [f"--infilter={AS_CSV}"]), ("xlsx", [])):
        source = tmp_path / f"{kind}.{kind}"
        source.write_bytes((await sees(room, cookie, f"/finance/lines.{kind}")).content)
        assert OFFICE is not None
        office = await asyncio.create_subprocess_exec(
            *(OFFICE, f"-env:UserInstallation=file://{tmp_path}/office", "--headless", *how),
            *("--convert-to", "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false"),
            *("--outdir", str(tmp_path / "out"), str(source)),
            stdout=PIPE,
            stderr=PIPE,
        )
        said = await asyncio.wait_for(office.communicate(), timeout=120)
        assert office.returncode == 0, said
        with (tmp_path / "out" / f"{kind}.csv").open(encoding="utf-8", newline="") as shown:
            tables.append(list(csv.reader(shown)))
    from_csv, from_xlsx = tables
    assert from_csv[0] == from_xlsx[0] == COLUMNS
    assert len(from_csv) == len(from_xlsx) > 5
    for one, other in zip(from_csv[1:], from_xlsx[1:], strict=True):
        assert [_shown(cell) for cell in one] == [_shown(cell) for cell in other]


def _shown(cell: str) -> object:
    """A number by its value, however many decimals are shown; anything else as it stands."""
    try:
        return Decimal(cell)
    except ArithmeticError:
        return cell


async def test_a_sheet_holds_any_text_as_text_and_any_number_exactly(tmp_path: Path) -> None:
    columns = (ledger.Column("said", ""), ledger.Column("minor", "", "whole"),
               ledger.Column("amount", "", "amount"))  # fmt: skip
    rows = [
        ("=1+1", "9007199254740991", "-0.01"),
        (" <b>&amp; 'é😀\n ", None, "90071992547.40"),
        (None, "-5", None),
    ]

    async def given_() -> AsyncIterator[tuple[str | None, ...]]:
        for row in rows:
            yield row

    path = tmp_path / "any.xlsx"
    assert await sheets.write(path, columns, given_(), about=[("what", "a <test> & more")]) == 3
    book = openpyxl.load_workbook(path)
    heads, *lines = book["Ledger"].iter_rows(values_only=True)
    assert heads == ("said", "minor", "amount")
    assert [line[0] for line in lines] == [row[0] for row in rows]
    assert [None if v is None else Decimal(str(v)) for line in lines for v in line[1:]] == [
        None if v is None else Decimal(v) for row in rows for v in row[1:]
    ]
    assert book["Ledger"]["A2"].data_type == "s"  # and no formula
    about = list(book["About"].iter_rows(values_only=True))
    assert about == [("what", "a <test> & more"), ("rows", "3")]


async def test_the_same_question_gives_the_same_bytes(room: Newsroom) -> None:
    cookie = await signs_in(room)
    for address in (
        *("lines.csv", "lines.xlsx", "payouts.csv", "recurring.csv", "journal?format=beancount"),
        *("journal?format=csv", "journal?format=xero&currency=usd"),
    ):
        first = await sees(room, cookie, f"/finance/{address}")
        again = await sees(room, cookie, f"/finance/{address}")
        assert first.status_code == 200
        assert first.content == again.content, address


# --- what a spreadsheet would run -----------------------------------------------------------------


@given(st.text(st.sampled_from(exports.FORMULA + "a1' ,;"), max_size=6))
def test_no_cell_begins_a_formula(cell: str) -> None:
    assert exports.safe(cell)[:1] not in tuple(exports.FORMULA)
    assert exports.safe(cell).removeprefix("'") == cell.removeprefix("'")


async def test_the_database_makes_the_same_cells_safe(newsroom: Newsroom) -> None:
    cells = [f"{first}1+1" for first in (*exports.FORMULA, "a", "'", "1")]
    async with newsroom.rt.sessions() as session:
        for cell in cells:
            query = text(f"SELECT {ledger.harmless('CAST(:cell AS text)')}")
            assert await session.scalar(query, {"cell": cell}) == exports.safe(cell)


# --- journals -------------------------------------------------------------------------------------


async def test_debits_equal_credits_in_every_form(room: Newsroom) -> None:
    cookie = await signs_in(room)
    ((moved,),) = await room.rows("SELECT sum(amount) FROM ledger_entries")
    rows = rows_of(await sees(room, cookie, "/finance/journal?format=csv"))
    for side in ("debit", "credit"):
        assert sum(Decimal(row[side]) for row in rows if row[side]) * 100 == moved
    for currency in ("usd", "eur", "gbp"):
        rows = rows_of(await sees(room, cookie, f"/finance/journal?format=qbo&currency={currency}"))
        debits, credits_ = (sum(Decimal(row[side] or 0) for row in rows)
                            for side in ("Debits", "Credits"))  # fmt: skip
        assert debits == credits_ > 0
        rows = rows_of(
            await sees(room, cookie, f"/finance/journal?format=xero&currency={currency}")
        )
        assert sum(Decimal(row["*Amount"]) for row in rows) == 0
        assert rows
    text_ = (await sees(room, cookie, "/finance/journal?format=beancount")).text
    sums: dict[str, Decimal] = {}
    accounts: dict[tuple[str, str], Decimal] = {}
    for account, amount, currency in re.findall(r"^  (\S+)  (\S+) ([A-Z]{3})$", text_, re.M):
        sums[currency] = sums.get(currency, Decimal()) + Decimal(amount)
        key = (account, currency)
        accounts[key] = accounts.get(key, Decimal()) + Decimal(amount)
    assert sums == dict.fromkeys(("EUR", "GBP", "USD"), 0)
    stated = re.findall(r"^\S+ balance (\S+)  (\S+) ([A-Z]{3})$", text_, re.M)
    assert stated
    for account, amount, currency in stated:
        assert accounts[account, currency] == Decimal(amount)


async def test_a_program_of_one_currency_is_not_given_two(room: Newsroom) -> None:
    cookie = await signs_in(room)
    for kind in ("xero", "qbo"):
        answer = await sees(room, cookie, f"/finance/journal?format={kind}")
        assert answer.status_code == 422
        assert "Choose one of eur, gbp, usd" in answer.text


async def test_a_journal_that_does_not_balance_is_not_written(room: Newsroom) -> None:
    """Two ends of one row are always equal, so this is asked of a journal made by hand."""
    day, ends = date(2026, 11, 22), [("Assets:Stripe", 500), ("Income:Donations", -499)]
    wrong = Journal(day, "usd", ends)
    with pytest.raises(JournalUnbalanced, match=r"debits 500, credits 499\. Nothing was written"):
        journals.check([wrong])
    for kind in (Format.XERO, Format.QBO, Format.BEANCOUNT):
        with pytest.raises(JournalUnbalanced, match="RP-20261122-USD"):
            journals.files(kind, [wrong], about="a test")
    async with room.rt.sessions() as session:
        made = await journals.read(
            session, room.settings.zone, period.ALL, accounts=journals.names(None)
        )
    journals.check(made)
    (first, *rest) = made
    with pytest.raises(JournalUnbalanced):
        journals.check([*rest, replace(first, lines=first.lines[1:])])


async def test_bad_questions_are_refused_in_words(room: Newsroom) -> None:
    cookie = await signs_in(room)
    for query, words in (
        ("period=2031-01", "has not begun"),
        ("period=2026-13", "a month such as 2026-10"),
        ("period=2026-11&from=2026-11-01", "Both were given"),
        ("from=2026-11-02&to=2026-11-02", "No time lies between them"),
        ("from=2026-02-30", "a day such as"),
        ("account=income:once&frequency=monthly", "has no line that is monthly"),
        ("frequency=none&campaign=war-diary", "has no campaign"),
        ("type=gift", "one of charge"),
        ("id=!!", "a whole id"),
        ("id=txn", "a whole id"),
    ):
        for address in ("lines", "lines.csv", "lines.xlsx"):
            answer = await sees(room, cookie, f"/finance/{address}?{query}")
            assert answer.status_code == 422, query
            assert words in answer.text, query


# --- the command line -----------------------------------------------------------------------------


async def says(room: Newsroom, *words: str, code: int = 0) -> tuple[bytes, str]:
    """What `payments export` writes, and what it tells on the way."""
    chosen = {
        "PAYMENTS_DATABASE_URL": room.settings.database_url.get_secret_value(),
        "PAYMENTS_STRIPE_API_KEY": room.settings.stripe_api_key.get_secret_value(),
        "PAYMENTS_STRIPE_API_BASE": room.settings.stripe_api_base,
        "PAYMENTS_BASE_URL": room.settings.base_url,
        "PAYMENTS_ACCOUNTING_ZONE": room.settings.accounting_zone,
    }
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "payments.cli", "export", *words),
        env={**os.environ, **chosen},
        stdout=PIPE,
        stderr=PIPE,
    )
    out, told = await run.communicate()
    assert run.returncode == code, told.decode()
    return out, told.decode()


async def test_the_operator_takes_away_what_the_page_gives(room: Newsroom, tmp_path: Path) -> None:
    cookie = await signs_in(room)
    page = await sees(room, cookie, "/finance/lines.csv")
    out, told = await says(room, "ledger", "--period", "all")
    assert out == page.content
    assert "Ledger lines" in told
    file = tmp_path / "ledger.csv"
    await says(room, "ledger", "--period", "all", "--output", str(file))
    assert file.read_bytes() == page.content
    sheet = tmp_path / "ledger.xlsx"
    await says(room, "ledger", "--period", "all", "--format", "xlsx", "--output", str(sheet))
    heads, *lines = openpyxl.load_workbook(sheet)["Ledger"].iter_rows(values_only=True)
    assert list(heads) == COLUMNS
    assert len(lines) == len(rows_of(page))
    assert sheet.read_bytes() == (await sees(room, cookie, "/finance/lines.xlsx")).content
    for name in ("payouts", "recurring"):
        out, _ = await says(room, name)
        assert out.startswith(b"payout_id" if name == "payouts" else b"month,currency")


async def test_the_operator_proves_journals_and_writes_them(room: Newsroom, tmp_path: Path) -> None:
    for kind in Format:
        one = () if kind in (Format.BEANCOUNT, Format.CSV) else ("--currency", "usd")
        words = ("journal", "--format", kind, "--period", "all", *one)
        out, _ = await says(room, *words, "--check")
        sums = json.loads(out)
        assert sorted(sums) == (["usd"] if one else ["eur", "gbp", "usd"])
        assert all(of["debits"] == of["credits"] > 0 for of in sums.values())
        file = tmp_path / f"journal.{kind}"
        await says(room, *words, "--output", str(file))
        assert file.stat().st_size > 100


async def test_what_the_operator_asks_wrongly_writes_no_file(
    room: Newsroom, tmp_path: Path
) -> None:
    file = tmp_path / "none"
    for words, code, said in (
        (("ledger", "--period", "2031-01"), 1, "has not begun"),
        (("ledger", "--type", "gift"), 1, "one of charge"),
        (("ledger", "--format", "pdf"), 2, "is not one of"),
        (("journal", "--format", "xero", "--period", "all"), 1, "Choose one of eur, gbp, usd"),
        (("payouts", "--currency", "dollars"), 1, "three letters"),
    ):
        _, told = await says(room, *words, "--output", str(file), code=code)
        assert said in told, words
        assert not file.exists(), words
    _, told = await says(room, "ledger", "--format", "xlsx", code=2)
    assert "needs --output" in told
