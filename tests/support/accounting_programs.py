"""What accounting programs accept, written from the makers' own pages, and other people's programs.

Each reader refuses (AssertionError) what its program would refuse, and returns what it would book.
Nothing here is of the product: docs/accounting-programs.md says which rule is from which page.
"""

import asyncio
import csv
import io
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

HLEDGER = shutil.which("hledger")
BEAN_CHECK = Path(sys.executable).with_name("bean-check")
Booked = dict[tuple[str, str], Decimal]  # account, day (ISO) -> debit above zero
NUMBER = re.compile(r"-?\d+(\.\d{1,2})?")
TIMEOUT_SECONDS = 60.0


def _table(data: bytes, *, most: int, size: int) -> tuple[list[str], list[dict[str, str]]]:
    """Rows of a CSV file: UTF-8 without a preamble, one head, no cell that begins a formula."""
    assert len(data) <= size, "the file is too large"
    heads, *rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    assert 0 < len(rows) <= most, f"{len(rows)} lines in a file"
    assert len(set(heads)) == len(heads)
    assert all(len(row) == len(heads) for row in rows)
    for row in rows:
        for cell in row:
            assert NUMBER.fullmatch(cell) or not cell.startswith(("=", "+", "-", "@", "\t")), cell
    return heads, [dict(zip(heads, row, strict=True)) for row in rows]


def _days(cells: Iterable[str], form: str) -> list[str]:
    return [datetime.strptime(cell, form).date().isoformat() for cell in cells]  # noqa: DTZ007


def _add(booked: Booked, account: str, day: str, amount: Decimal) -> None:
    booked[account, day] = booked.get((account, day), Decimal()) + amount


def read_xero_journals(
    data: bytes, *, codes: set[str], bank_codes: set[str], rates: set[str]
) -> Booked:
    """Xero, manual journals: help.xero.com, ManualJournalsImport."""
    heads, rows = _table(data, most=300, size=2 * 1024**2)
    known = {"Narration", "Date", "Description", "AccountCode", "TaxRate", "TaxType", "Amount",
             "Debit", "Credit", "TrackingName1", "TrackingOption1", "TrackingName2",
             "TrackingOption2"}  # fmt: skip
    assert {head.lstrip("*") for head in heads} <= known
    booked: Booked = {}
    balance: dict[tuple[str, str], Decimal] = {}
    for row in ({key.lstrip("*"): cell for key, cell in row.items()} for row in rows):
        assert row["Narration"]
        assert row["AccountCode"] in codes, "no account of this code"
        assert len(row["AccountCode"]) <= 10
        assert row["AccountCode"] not in bank_codes, "a manual journal cannot touch a bank account"
        assert row.get("TaxRate", row.get("TaxType")) in rates, "no such tax rate"
        if "Amount" in row:
            amount = Decimal(row["Amount"])
        else:
            assert bool(row["Debit"]) is not bool(row["Credit"])
            amount = Decimal(row["Debit"] or 0) - Decimal(row["Credit"] or 0)
        assert amount
        assert bool(row["TrackingName1"]) is bool(row["TrackingOption1"])
        (day,) = _days([row["Date"]], "%d/%m/%Y")
        _add(booked, row["AccountCode"], day, amount)
        journal = row["Narration"], day
        balance[journal] = balance.get(journal, Decimal()) + amount
    assert set(balance.values()) == {Decimal()}, "a journal does not balance"
    return booked


def read_xero_statement(data: bytes) -> list[tuple[str, Decimal, str, str]]:
    """Xero, bank statement: day, amount, description and reference of each line."""
    heads, rows = _table(data, most=1000, size=2 * 1024**2)
    assert {"Date", "Amount"} <= set(heads)
    assert set(heads) <= {"Date", "Amount", "Payee", "Description", "Reference", "Check Number",
                          "Transaction Type"}  # fmt: skip
    assert all(NUMBER.fullmatch(row["Amount"]) and Decimal(row["Amount"]) for row in rows)
    assert all(len(cell) <= 255 for row in rows for cell in row.values())
    days = _days((row["Date"] for row in rows), "%d/%m/%Y")
    return [
        (day, Decimal(row["Amount"]), row["Description"], row["Reference"])
        for day, row in zip(days, rows, strict=True)
    ]


def read_qbo_journals(
    data: bytes, *, names: set[str], home: str, multicurrency: bool, dates: str
) -> Booked:
    """QuickBooks Online, journal entries: quickbooks.intuit.com, import journal entries."""
    heads, rows = _table(data, most=1000, size=2 * 1024**2)
    assert heads[:6] == ["Journal No", "Journal Date", "Account Name", "Description", "Debits",
                         "Credits"]  # fmt: skip
    assert ("Currency" in heads) is multicurrency
    booked: Booked = {}
    balance: dict[str, Decimal] = {}
    currencies = {row.get("Currency", home) for row in rows}
    assert len(currencies) == 1
    for row in rows:
        assert 0 < len(row["Journal No"]) <= 21
        assert row["Account Name"] in names, "no account of this name"
        assert bool(row["Debits"]) is not bool(row["Credits"])
        amount = Decimal(row["Debits"] or 0) - Decimal(row["Credits"] or 0)
        (day,) = _days([row["Journal Date"]], dates)
        _add(booked, row["Account Name"], day, amount)
        balance[row["Journal No"]] = balance.get(row["Journal No"], Decimal()) + amount
    assert set(balance.values()) == {Decimal()}, "a journal does not balance"
    return booked


def read_qbo_statement(data: bytes, *, dates: str) -> list[tuple[str, Decimal]]:
    """QuickBooks Online, bank upload: 350 KB, three columns, no number in a description."""
    heads, rows = _table(data, most=1000, size=350 * 1024)
    assert heads == ["Date", "Description", "Amount"]
    assert all(row["Description"] and not re.search(r"\d", row["Description"]) for row in rows)
    assert all(NUMBER.fullmatch(row["Amount"]) and Decimal(row["Amount"]) for row in rows)
    days = _days((row["Date"] for row in rows), dates)
    return [(day, Decimal(row["Amount"])) for day, row in zip(days, rows, strict=True)]


def read_datev(name: str, data: bytes) -> Booked:
    """DATEV, Buchungsstapel of version 13: developer.datev.de, DATEV-Format."""
    assert re.fullmatch(r"EXTF_[\w.-]+\.csv", name), name
    text = data.decode("cp1252")
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    head, columns, *lines = [
        next(csv.reader([line], delimiter=";", strict=True)) for line in text.split("\r\n")[:-1]
    ]
    assert (head[:5], len(head)) == (["EXTF", "700", "21", "Buchungsstapel", "13"], 31)
    assert re.fullmatch(r"20\d{15}", head[5])
    assert re.fullmatch(r"[1-9]\d{3,6}", head[10])
    assert re.fullmatch(r"[1-9]\d{0,4}", head[11])
    begin, first, last = (datetime.strptime(head[n], "%Y%m%d").date() for n in (12, 14, 15))  # noqa: DTZ007
    length = int(head[13])
    assert 4 <= length <= 8
    assert begin <= first <= last < date(begin.year + 1, begin.month, 1)
    assert len(head[16]) <= 30
    assert re.fullmatch("[A-Z]{3}", head[21])
    assert (len(columns), len(set(columns))) == (125, 125)
    assert (columns[0], columns[6]) == ("Umsatz (ohne Soll/Haben-Kz)", "Konto")
    assert 0 < len(lines) <= 99_999
    booked: Booked = {}
    for cells in lines:
        assert len(cells) == 125
        amount, side, currency, rate, base, base_currency, account, contra, _key, day = cells[:10]
        assert re.fullmatch(r"\d{1,10},\d{2}", amount)
        assert side in {"S", "H"}
        assert currency == head[21]  # or the rate and the amount in the books' currency are needed
        assert (rate, base, base_currency) == ("", "", "")
        assert all(re.fullmatch(rf"\d{{1,{length}}}", one) for one in (account, contra))
        assert account != contra
        assert re.fullmatch(r"[A-Za-z0-9$&%*+/-]{0,36}", cells[10])
        assert len(cells[13]) <= 60
        assert cells[13].isprintable()
        month = date(begin.year, int(day[2:]), int(day[:2]))
        on = month if month >= begin else month.replace(year=begin.year + 1)
        assert first <= on <= last
        value = Decimal(amount.replace(",", ".")) * (1 if side == "S" else -1)
        _add(booked, account, on.isoformat(), value)
        _add(booked, contra, on.isoformat(), -value)
    return booked


async def check_beancount(folder: Path, main: str = "main.beancount") -> str:
    """What bean-check says of a file: nothing where it accepts it."""
    return await _run(str(BEAN_CHECK), "--no-cache", str(folder / main))


async def check_hledger(folder: Path, main: str = "main.journal") -> str:
    """What hledger's strictest check says; nothing where it accepts the file."""
    assert HLEDGER is not None
    return await _run(HLEDGER, "check", "accounts", "balancednoautoconversion", "ordereddates",
                      "-f", str(folder / main))  # fmt: skip


async def hledger_balances(folder: Path, main: str = "main.journal") -> Mapping[str, str]:
    """The balance of each account and currency, as hledger adds them up."""
    assert HLEDGER is not None
    out = await _run(HLEDGER, "balance", "--flat", "-N", "-O", "csv", "--layout", "tidy",
                     "-f", str(folder / main))  # fmt: skip
    return {
        f"{row['account']} {row['commodity']}": row["value"]
        for row in csv.DictReader(io.StringIO(out))
    }


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
    assert process.returncode == 0 or out
    return out.decode()
