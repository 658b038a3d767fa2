"""Figures as a colleague reads them on a page, and the same added up from the lines of a file."""

import csv
import io
import re
from collections import Counter, defaultdict
from decimal import Decimal

from tests.support.colleague import sees
from tests.support.newsroom import Newsroom
from tests.support.page import Page

Totals = dict[tuple[str, str], Decimal]  # by currency as it is printed, and figure
FIGURES = ("gross", "fees", "refunds", "disputes", "net", "balance_change")
DEDUCTIONS = ("fees", "refunds", "disputes")  # printed below zero
HEADS = ["Currency", "Payments", "Gross", "Fees", "Refunds", "Disputes", "Net", "Other movements",
         "Change of balance"]  # fmt: skip


def amount_in(text: str) -> Decimal:
    """Return a printed amount or count, in major units."""
    digits = re.sub(r"[^0-9.]", "", text)
    return -Decimal(digits) if "\N{MINUS SIGN}" in text else Decimal(digits)


async def totals_on_page(room: Newsroom, cookie: str, query: str) -> Totals:
    """Return the totals above a list of transactions: by currency as printed, and figure."""
    answer = await sees(room, cookie, f"/finance/transactions{query}")
    assert answer.status_code == 200, query
    rows = Page(answer.text).cells
    found: Totals = defaultdict(Decimal)
    if HEADS not in rows:
        return found
    for row in rows[rows.index(HEADS) + 1 :]:
        if len(row) != len(HEADS) or not re.match(r"[A-Z]{3}(, other income)?$", row[0]):
            break
        printed = dict(zip(HEADS, row, strict=True))
        for name in FIGURES:
            head = "Change of balance" if name == "balance_change" else name.capitalize()
            amount = amount_in(printed[head])
            found[row[0], name] = -amount if name in DEDUCTIONS else amount
        found[row[0], "payments"] = amount_in(printed["Payments"])
        other = amount_in(printed["Other movements"])
        assert found[row[0], "net"] + other == found[row[0], "balance_change"], row
    return found


async def totals_of_file(room: Newsroom, cookie: str, query: str) -> Totals:
    """Return the same, added up from the lines of the file of the same filters."""
    answer = await sees(room, cookie, f"/finance/transactions.csv{query}")
    assert answer.status_code == 200, query
    found: Totals = defaultdict(Decimal)
    for row in csv.DictReader(io.StringIO(answer.text)):
        currency = row["settlement_currency"].upper()
        if row["frequency"] == "other":
            currency += ", other income"
        for name in FIGURES:
            found[currency, name] += Decimal(row[name])
        found[currency, "payments"] += Decimal(row["type"] == "charge")
        assert Decimal(row["amount"]) - Decimal(row["fee"]) == Decimal(row["balance_change"])
    return found


async def lines_add_up(room: Newsroom, cookie: str, query: str = "") -> Totals:
    """Assert that a page's totals are what its lines add up to, and return them."""
    page = await totals_on_page(room, cookie, query)
    file = await totals_of_file(room, cookie, query)
    for name in {*page, *file}:
        assert page.get(name, 0) == file.get(name, 0), (query, name)
    return page


async def months_are_their_lines(room: Newsroom, cookie: str) -> None:
    """Assert that every figure of the months is what the lines of its month add up to."""
    sums: Counter[tuple[str, ...]] = Counter()
    for address, period, currency in (
        ("monthly.csv", "month", "currency"),
        ("transactions.csv", "period", "settlement_currency"),
    ):
        sign = 1 if period == "month" else -1
        answer = await sees(room, cookie, f"/finance/{address}")
        for row in csv.DictReader(io.StringIO(answer.text)):
            for name in FIGURES[:-1]:
                key = (row[period], row["frequency"], row[currency], name)
                sums[key] += sign * int(row[f"{name}_minor"])
    assert len(sums) > 4
    assert {key: rest for key, rest in sums.items() if rest} == {}
