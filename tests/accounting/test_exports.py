"""Files hold what the ledger says, nobody's name, and nothing that a spreadsheet would run."""

import asyncio
import csv
import io
import itertools
import json
import os
import re
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.utils.escape import unescape
from openpyxl.worksheet.worksheet import Worksheet
from sqlalchemy import text
from stripe.params import RefundCreateParams

from payments.accounting.exports import (
    account_map,
    csv_cells,
    csv_journals,
    datev,
    program_amounts,
    transactions_csv,
    xlsx,
)
from payments.accounting.exports.journal_format import JournalFormat, Program
from payments.accounting.exports.journals import Journal, Movement, ProgramRefuses
from payments.accounting.exports.transaction_totals import SUMMED_COLUMNS
from tests.support import command_line
from tests.support.accounting_programs import read_datev, read_xero_journals
from tests.support.colleague import sees, signs_in
from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom
from tests.support.snapshot import Snapshot, restore_newsroom

pytestmark = pytest.mark.anyio
MAP = Path(__file__).parent.parent / "support" / "account_map.csv"

COLUMNS = re.findall(
    r"\w+",
    """
    line_id period occurred_at occurred_at_utc type status frequency interval sequence campaign
    source country presentment_currency presentment_amount presentment_amount_minor
    settlement_currency amount amount_minor fee fee_minor fee_tax fee_tax_minor
    balance_change balance_change_minor gross gross_minor fees fees_minor refunds refunds_minor
    disputes disputes_minor net net_minor exchange_rate available_on
    payout_id payout_arrival_date payment_method wallet contribution_id recurring_id donor_ref
    relates_to receipt_no provider_charge_id provider_balance_transaction_id provider_invoice_id
    ledger_account exported_in note
    """,
)


@pytest.fixture
async def room(cluster: str, two_months: Snapshot) -> AsyncIterator[Newsroom]:
    """Gifts of three frequencies and currencies, one refunded in part, and a payout."""
    async with restore_newsroom(cluster, two_months) as room:
        yield room
        assert await room.failed_integrity_checks() == []


def rows_of(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text[-400:]
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_the_transactions_file_is_the_ledger(room: Newsroom) -> None:
    cookie = await signs_in(room)
    answer = await sees(room, cookie, "/finance/transactions.csv")
    assert answer.headers["content-disposition"] == (
        'attachment; filename="payments-transactions_all_Europe-Amsterdam.csv"'
    )
    rows = rows_of(answer)
    assert answer.text.splitlines()[0].split(",") == COLUMNS
    known = await room.rows("SELECT id, amount, fee, net, currency FROM balance_transactions")
    assert sorted(known) == sorted(
        (
            row["provider_balance_transaction_id"],
            *(int(row[f"{name}_minor"]) for name in ("amount", "fee", "balance_change")),
            row["settlement_currency"],
        )
        for row in rows
    )
    for row in rows:
        for name in SUMMED_COLUMNS:
            assert Decimal(row[name]) * 100 == int(row[f"{name}_minor"])
    (refund,) = (row for row in rows if row["type"] == "refund")
    (gift,) = (row for row in rows if row["gross_minor"] == "2500")
    assert refund["relates_to"] == gift["line_id"]
    assert refund["frequency"] == "once"
    assert (refund["presentment_amount"], refund["amount"]) == ("-3.33", "-3.33")
    assert (refund["gross"], refund["refunds"], refund["net"]) == ("0.00", "3.33", "-3.33")
    assert [row["sequence"] for row in rows if row["frequency"] == "monthly"] == ["1", "2", "3"]
    assert [row["campaign"] for row in rows if row["campaign"]] == ["war-diary"]
    assert re.fullmatch(r"2026-11-22T13:00:0[0-9]\+01:00", gift["occurred_at"])
    assert re.fullmatch(r"2026-11-22T12:00:0[0-9]Z", gift["occurred_at_utc"])
    assert {row["exported_in"] for row in rows} == {"ledger period=all zone=Europe/Amsterdam"}


async def test_a_line_tells_what_a_donor_got_back_and_where_money_went(newsroom: Newsroom) -> None:
    await newsroom.gives(1500, "once", "jpy")  # settles in dollars
    await newsroom.runs_until_idle()
    ((intent,),) = await newsroom.rows("SELECT stripe_payment_intent_id FROM charges")
    refund: RefundCreateParams = {"payment_intent": str(intent), "amount": 500}
    await newsroom.stripe_owner.v1.refunds.create_async(refund)
    newsroom.sandbox.hold_reserve(200)
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    cookie = await signs_in(newsroom)
    for page, currency in itertools.product(("", "/months", "/transactions"), ("jpy", "usd")):
        shown = (await sees(newsroom, cookie, f"/finance{page}?currency={currency}")).text
        assert ("1 payment in JPY, together ¥1,500, were settled in USD" in shown) is (
            currency == "jpy"
        )
        assert "No money moved" not in shown
    rows = rows_of(await sees(newsroom, cookie, "/finance/transactions.csv"))
    columns = ("presentment_currency", "presentment_amount_minor", "settlement_currency",
               "amount", "ledger_account")  # fmt: skip
    assert sorted(tuple(row[name] for name in columns) for row in rows) == [
        ("", "", "usd", "-2.00", "stripe:held"),
        ("", "", "usd", "2.00", "stripe:held"),
        ("jpy", "-500", "usd", "-3.30", "refunds"),
        ("jpy", "1500", "usd", "9.90", "income:once"),
    ]


async def test_no_file_has_a_person_in_it(room: Newsroom) -> None:
    cookie = await signs_in(room)
    for address in ("transactions.csv", "journal?format=csv", "payouts.csv", "recurring.csv"):
        answer = await sees(room, cookie, f"/finance/{address}")
        assert answer.status_code == 200
        assert "reader@" not in answer.text
        assert "A Reader" not in answer.text
        assert not re.search(r"cus_|pm_|[^@\s]+@[a-z]+\.", answer.text)


async def test_what_the_screen_filters_the_file_filters_and_says(room: Newsroom) -> None:
    cookie = await signs_in(room)
    query = "period=2026-11&frequency=monthly&currency=eur&type=charge"
    answer = await sees(room, cookie, f"/finance/transactions.csv?{query}")
    rows = rows_of(answer)
    assert [row["gross"] for row in rows] == ["7.00"]
    exported_in = (
        "ledger period=2026-11 type=charge frequency=monthly currency=eur zone=Europe/Amsterdam"
    )
    assert rows[0]["exported_in"] == exported_in
    name = "payments-transactions_2026-11_charge_monthly_eur_Europe-Amsterdam.csv"
    assert name in answer.headers["content-disposition"]


def values(sheet: Worksheet) -> list[dict[str, str]]:
    """The lines of a sheet as the CSV file has them; each cell is of its column's kind."""
    kinds = {column.name: column.kind for column in transactions_csv.COLUMNS}
    heads, *lines = sheet.iter_rows(values_only=True)
    assert list(heads) == COLUMNS
    return [
        {name: _written(value, kinds[name]) for name, value in zip(COLUMNS, line, strict=True)}
        for line in lines
    ]


def _written(value: object, kind: str) -> str:
    if value is None:
        return ""
    if kind == "text":
        assert isinstance(value, str)
        return value
    if kind == "day":
        assert isinstance(value, datetime)
        return f"{value:%Y-%m-%d}"
    assert isinstance(value, int | float)
    return f"{value:.2f}" if kind == "amount" else str(value)


def sums(rows: list[dict[str, str]]) -> dict[tuple[str, str], list[Decimal]]:
    """Lines and all that is summed, for each currency and type and for each currency."""
    found: dict[tuple[str, str], list[Decimal]] = {}
    for row in rows:
        for type_ in (row["type"], "all"):
            had = found.setdefault(
                (row["settlement_currency"], type_), [Decimal()] * (1 + len(SUMMED_COLUMNS))
            )
            more = ("1", *(row[name] for name in SUMMED_COLUMNS))
            had[:] = [one + Decimal(other) for one, other in zip(had, more, strict=True)]
    return found


def totals_of(book: Workbook) -> dict[tuple[str, str], list[Decimal]]:
    heads, *lines = book["Totals"].iter_rows(values_only=True)
    assert heads == ("settlement_currency", "type", "transactions", *SUMMED_COLUMNS)
    return {(line[0], line[1]): [Decimal(str(cell)) for cell in line[2:]] for line in lines}


async def test_a_sheet_read_again_has_the_values_of_the_csv_file(room: Newsroom) -> None:
    cookie = await signs_in(room)
    plain = rows_of(await sees(room, cookie, "/finance/transactions.csv"))
    answer = await sees(room, cookie, "/finance/transactions.xlsx")
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    assert book.sheetnames == ["Ledger", "Totals", "About"]
    assert values(book["Ledger"]) == plain
    sheet = book["Ledger"]
    assert sheet.freeze_panes == "B2"
    assert sheet.auto_filter.ref == sheet.dimensions
    assert sums(plain) == totals_of(book)
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
        source.write_bytes((await sees(room, cookie, f"/finance/transactions.{kind}")).content)
        assert OFFICE is not None
        office = await asyncio.create_subprocess_exec(
            *(OFFICE, f"-env:UserInstallation=file://{tmp_path}/office", "--headless", *how),
            *("--convert-to", "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false"),
            *("--outdir", str(tmp_path / "out"), str(source)),
            stdout=PIPE,
            stderr=PIPE,
        )
        output = await asyncio.wait_for(office.communicate(), timeout=REAL_TIMEOUT_SECONDS)
        assert office.returncode == 0, output
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


KINDS = [(column.name, column.kind) for column in transactions_csv.COLUMNS]


async def test_a_workbook_goes_on_to_the_next_sheet_when_one_is_full(
    room: Newsroom, tmp_path: Path
) -> None:
    cookie = await signs_in(room)
    answer = await sees(room, cookie, "/finance/transactions.csv")
    plain, source = rows_of(answer), tmp_path / "lines.csv"
    source.write_bytes(answer.content)
    for most, sheets_ in ((len(plain), 1), (len(plain) - 1, 2), (3, -(-len(plain) // 3))):
        path = tmp_path / f"{most}.xlsx"
        count = xlsx.write_workbook(path, source, KINDS, about=[("what", "a test")], rows_max=most)
        assert count == len(plain)
        book = openpyxl.load_workbook(path)
        names = ["Ledger", *(f"Ledger {number}" for number in range(2, sheets_ + 1))]
        assert book.sheetnames == [*names, "Totals", "About"]
        assert [row for name in names for row in values(book[name])] == plain
        assert {book[name].auto_filter.ref for name in names} == {
            book[name].dimensions for name in names
        }
        assert totals_of(book) == sums(plain)
        assert list(book["About"].iter_rows(values_only=True))[-1] == ("rows", str(count))


async def test_a_sheet_holds_any_text_as_text_and_any_number_exactly(tmp_path: Path) -> None:
    given_ = [
        {"campaign": "=1+1", "gross": "-0.01", "gross_minor": "-1"},
        {"campaign": " <b>&amp; 'é😀\n ", "relates_to": "999999999999999"},
        {"campaign": "https://example.org", "gross": "90071992547.40", "note": "\x0b _x0041_"},
        {"campaign": "0012", "note": "'<r>&</r>"},
    ]
    always = {"settlement_currency": "kwd", "type": "charge"}
    always |= {f"{name}_minor": "0" for name in SUMMED_COLUMNS}
    source, path = tmp_path / "any.csv", tmp_path / "any.xlsx"
    with source.open("w", encoding="utf-8", newline="") as file:
        write = csv.DictWriter(file, COLUMNS, restval="")
        write.writeheader()
        write.writerows(always | row for row in given_[:-1])
        write.writerow(always | given_[-1] | {"note": "<r>&</r>"})  # the library's own mark-up
    assert xlsx.write_workbook(path, source, KINDS, about=[("what", "a <test> & more")]) == len(
        given_
    )
    book = openpyxl.load_workbook(path)
    place = {name: number for number, name in enumerate(COLUMNS)}
    lines = list(book["Ledger"].iter_rows(min_row=2))
    for line, row in zip(lines, given_, strict=True):
        for name, cell in row.items():
            found = line[place[name]]
            assert found.hyperlink is None
            if place[name] in (place["campaign"], place["note"]):
                assert (found.data_type, unescape(found.value)) == ("s", cell)
            else:
                assert (found.data_type, Decimal(str(found.value))) == ("n", Decimal(cell))
    assert totals_of(book)["kwd", "charge"][:4] == [4, 0, 0, 0]
    assert totals_of(book)["kwd", "charge"][4] == Decimal("-0.001")
    about = list(book["About"].iter_rows(values_only=True))
    assert about == [("what", "a <test> & more"), ("rows", "4")]
    assert (
        book.properties.created == book.properties.modified == xlsx.FIXED_CREATED_AT
    )  # by no clock


async def test_a_sheet_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "half.csv"
    source.write_text(",".join(COLUMNS) + "\n1,2\n")
    with pytest.raises(RuntimeError, match="the process that writes sheets"):
        await xlsx.write_in_subprocess(tmp_path / "half.xlsx", source, KINDS, about=[])
    assert not (tmp_path / "half.xlsx").exists()


async def test_the_same_question_gives_the_same_bytes(room: Newsroom) -> None:
    cookie = await signs_in(room)
    for address in (
        *(
            "transactions.csv",
            "transactions.xlsx",
            "payouts.csv",
            "recurring.csv",
            "journal?format=beancount",
        ),
        *("journal?format=csv", "journal?format=xero-statement&currency=usd"),
    ):
        first = await sees(room, cookie, f"/finance/{address}")
        again = await sees(room, cookie, f"/finance/{address}")
        assert first.status_code == 200
        assert first.content == again.content, address


# --- what a spreadsheet would run -----------------------------------------------------------------


@given(st.text(st.sampled_from(csv_cells.FORMULA_PREFIXES + "a1' ,;"), max_size=6))
def test_no_cell_begins_a_formula(cell: str) -> None:
    assert csv_cells.escape_formula(cell)[:1] not in tuple(csv_cells.FORMULA_PREFIXES)
    assert csv_cells.escape_formula(cell).removeprefix("'") == cell.removeprefix("'")


async def test_the_database_makes_the_same_cells_safe(newsroom: Newsroom) -> None:
    cells = [f"{first}1+1" for first in (*csv_cells.FORMULA_PREFIXES, "a", "'", "1")]
    async with newsroom.ctx.sessions() as session:
        for cell in cells:
            query = text(f"SELECT {csv_cells.escape_formula_sql('CAST(:cell AS text)')}")
            assert await session.scalar(query, {"cell": cell}) == csv_cells.escape_formula(cell)


# --- journals -------------------------------------------------------------------------------------


async def test_debits_equal_credits_in_the_plain_form(room: Newsroom) -> None:
    cookie = await signs_in(room)
    ((moved,),) = await room.rows("SELECT sum(amount) FROM ledger_entries")
    rows = rows_of(await sees(room, cookie, "/finance/journal?format=csv"))
    for side in ("debit", "credit"):
        assert sum(Decimal(row[side]) for row in rows if row[side]) * 100 == moved


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
        for address in ("transactions", "transactions.csv", "transactions.xlsx"):
            answer = await sees(room, cookie, f"/finance/{address}?{query}")
            assert answer.status_code == 422, query
            assert words in answer.text, query


# --- the command line -----------------------------------------------------------------------------


async def says(
    room: Newsroom, *words: str, code: int = 0, group: str = "export"
) -> tuple[bytes, str]:
    """What `payments export` writes, and what it tells on the way."""
    chosen = {
        "PAYMENTS_DATABASE_URL": room.settings.database_url.get_secret_value(),
        "PAYMENTS_STRIPE_API_KEY": room.settings.stripe_api_key.get_secret_value(),
        "PAYMENTS_STRIPE_API_BASE": room.settings.stripe_api_base,
        "PAYMENTS_BASE_URL": room.settings.base_url,
        "PAYMENTS_ACCOUNTING_ZONE": room.settings.accounting_zone,
    }
    environ = {**os.environ, **chosen}
    done = await asyncio.to_thread(command_line.run_in, environ, group, *words)
    assert done.exit_code == code, done.stderr
    return done.stdout, done.stderr


def names_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


async def test_the_operator_takes_away_what_the_page_gives(room: Newsroom, tmp_path: Path) -> None:
    cookie = await signs_in(room)
    page = await sees(room, cookie, "/finance/transactions.csv")
    stdout, stderr = await says(room, "transactions", "--period", "all")
    assert stdout == page.content
    assert "Transactions" in stderr
    file = tmp_path / "ledger.csv"
    await says(room, "transactions", "--period", "all", "--output", str(file))
    assert file.read_bytes() == page.content
    sheet = tmp_path / "ledger.xlsx"
    await says(room, "transactions", "--period", "all", "--format", "xlsx", "--output", str(sheet))
    heads, *lines = openpyxl.load_workbook(sheet)["Ledger"].iter_rows(values_only=True)
    assert list(heads) == COLUMNS
    assert len(lines) == len(rows_of(page))
    assert sheet.read_bytes() == (await sees(room, cookie, "/finance/transactions.xlsx")).content
    for name in ("payouts", "recurring"):
        out, _ = await says(room, name)
        assert out.startswith(b"payout_id" if name == "payouts" else b"month,currency")


async def test_the_operator_proves_journals_and_writes_what_the_page_gives(
    room: Newsroom, tmp_path: Path
) -> None:
    await says(room, "import", str(MAP), group="accounts")
    cookie = await signs_in(room)
    for kind in JournalFormat:
        of = "eur" if kind in (JournalFormat.XERO, JournalFormat.DATEV) else "usd"
        one = ("--currency", of) if kind.takes_one_currency else ()
        words = ("journal", "--format", kind, "--period", "2026-11", *one)
        file = tmp_path / f"journal.{kind}"
        await says(room, *words, "--output", str(file))
        query = f"format={kind}&period=2026-11" + (f"&currency={of}" if one else "")
        assert file.read_bytes() == (await sees(room, cookie, f"/finance/journal?{query}")).content
    out, _ = await says(room, "journal", "--format", "beancount", "--period", "all", "--check")
    sums = json.loads(out)
    assert sorted(sums) == ["eur", "gbp", "usd"]
    assert all(of["debits"] == of["credits"] > 0 for of in sums.values())
    out, _ = await says(room, "export", group="accounts")
    assert list(csv.reader(io.StringIO(out.decode()))) == list(
        csv.reader(io.StringIO(MAP.read_text()))
    )
    out, _ = await says(room, "history", group="accounts")
    assert re.fullmatch(r"1  20\d\d-\S+  the command line\n", out.decode())


async def test_long_periods_are_several_files_of_whole_journals() -> None:
    """No newsroom of these tests has so many days: journals made by hand, for the limits alone."""
    names = account_map.with_defaults(account_map.from_csv(MAP.read_bytes()))
    lines = [Movement("200", "620", 500), Movement("461", "620", 20)]
    days = [Journal(date(2026, 1, 1) + timedelta(days=n), "eur", lines) for n in range(350)]
    for write, sizes, side in (
        (csv_journals.xero, [300, 300, 300, 150], "*Amount"),
        (csv_journals.qbo, [999, 51], "Debits"),
    ):
        tables = [list(csv.DictReader(io.StringIO(file.decode()))) for file in write(days, names)]
        assert [len(table) for table in tables] == sizes
        if side == "*Amount":
            assert all(sum(Decimal(row[side]) for row in table) == 0 for table in tables)
    # As other organisations are set up: two columns and tracking; a year that begins in July.
    other = {program: dict(of) for program, of in names.items()}
    other[Program.XERO] |= {"setting:columns": "debit-credit", "setting:tracking_name": "Desk",
                            "setting:tracking_option": "Online"}  # fmt: skip
    other[Program.DATEV] |= {"setting:fiscal_year_begins": "07-01"}
    rules = {"codes": {"200", "461", "620"}, "bank_codes": {"090"}, "rates": {"No VAT"}}
    assert read_xero_journals(csv_journals.xero(days[:9], other)[0], **rules) == (
        read_xero_journals(csv_journals.xero(days[:9], names)[0], **rules)
    )
    (file,) = datev.datev(days[:181], other)  # to the end of June
    assert len(read_datev("EXTF_a.csv", file)) == 181 * 3
    with pytest.raises(ProgramRefuses, match="of several"):
        datev.datev(days[:182], other)
    other[Program.QBO] |= {"setting:base_currency": "USD", "setting:multicurrency": "no"}
    with pytest.raises(ProgramRefuses, match="only where multicurrency is switched on"):
        csv_journals.qbo(days, other)
    for minor, currency, shown in (
        (-1250, "eur", "-12.50"), (5, "eur", "0.05"), (1500, "jpy", "1500.00"),
        (-1230, "kwd", "-1.23"),
    ):  # fmt: skip
        assert program_amounts.two_decimals(minor, currency) == shown
    with pytest.raises(ProgramRefuses, match=r"1\.234 KWD has more decimals"):
        program_amounts.two_decimals(1234, "kwd")
    with pytest.raises(ProgramRefuses, match="of several"):
        datev.datev([*days, replace(days[0], day=date(2027, 1, 1))], names)


async def test_what_the_operator_asks_wrongly_writes_no_file(
    room: Newsroom, tmp_path: Path
) -> None:
    file = tmp_path / "none"
    for words, code, message in (
        (("transactions", "--period", "2031-01"), 1, "has not begun"),
        (("transactions", "--type", "gift"), 1, "one of charge"),
        (("transactions", "--format", "pdf"), 2, "is not one of"),
        (("journal", "--format", "xero-statement", "--period", "all"), 1, "Choose one of eur, gbp"),
        (("journal", "--format", "xero", "--period", "all"), 1, "the account map has no"),
        (("payouts", "--currency", "dollars"), 1, "three letters"),
    ):
        _, stderr = await says(room, *words, "--output", str(file), code=code)
        assert message in stderr, words
        assert names_in(tmp_path) == [], words
    existing = tmp_path / "journal.csv"
    existing.write_text("what was there")
    command = ("journal", "--format", "xero", "--period", "2031-01", "--output", str(existing))
    await says(room, *command, code=1)
    assert (names_in(tmp_path), existing.read_text()) == (["journal.csv"], "what was there")
    _, stderr = await says(room, "transactions", "--format", "xlsx", code=2)
    assert "needs --output" in stderr
