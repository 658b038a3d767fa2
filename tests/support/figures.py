"""Figures as a colleague reads them on a page, and the same added up from the lines of a file."""

import csv
import io
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from html import unescape
from urllib.parse import parse_qs, urlsplit

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


@dataclass(frozen=True)
class Row:
    """A row of a table, or a card of figures: what its figures are called, and where it leads."""

    figures: dict[str, str]
    url: str

    def currency(self) -> str:
        """The currency of its figures, as the totals above a list print it."""
        params = parse_qs(urlsplit(self.url).query)
        code = self.figures.get("Currency") or params["currency"][0].upper()
        return f"{code}, other income" if params.get("frequency") == ["other"] else code


def rows_with_links(markup: str) -> list[Row]:
    """Return every row and card of a page that leads to figures; ids lead to objects."""
    found = []
    for table in re.findall(r"<table.*?</table>", markup, re.DOTALL):
        heads = [_words(head) for head in re.findall(r'<th scope="col".*?</th>', table)]
        for row in re.findall(r"<tr[^>]*>.*?</tr>", table, re.DOTALL):
            cells = re.findall(r"<(?:th|td)[ >].*?</(?:th|td)>", row, re.DOTALL)
            link = re.search(r'(?<!<code>)<a href="([^"]+)"', row)
            if link and 'scope="col"' not in row:
                figures = dict(zip(heads, map(_words, cells), strict=True))
                found.append(Row(figures, unescape(link[1])))
    for card in re.findall(r'<section aria-labelledby="total-.*?</section>', markup, re.DOTALL):
        link = re.search(r'<h2[^>]*><a href="([^"]+)"', card)
        assert link, "a card of figures leads nowhere"
        pairs = re.findall(r"<dt>(.*?)</dt><dd>(?:<bdi>)?([^<]*)", card)
        found.append(Row(dict(pairs), unescape(link[1])))
    return found


def _words(markup: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", markup)).strip()


async def leads_to_its_figures(room: Newsroom, cookie: str, row: Row) -> int:
    """Assert that what a row leads to adds up to each of its figures. Returns how many they are."""
    path, query = row.url.partition("?")[::2]
    if path == "/finance/transactions":
        totals = await totals_on_page(room, cookie, f"?{query}")
        currency = row.currency()
        expected = {
            **{name.capitalize(): totals.get((currency, name), Decimal()) for name in FIGURES},
            "Payments": totals.get((currency, "payments"), Decimal()),
        }
        expected |= {name: -expected[name] for name in ("Fees", "Refunds", "Disputes")}
        expected["Returned"] = expected["Refunds"] + expected["Disputes"]
    else:
        page = await sees(room, cookie, row.url.partition("#")[0])
        assert page.status_code == 200, row
        expected = {}
        if path == "/finance/why":
            last = re.findall(r"<tfoot>.*?</tfoot>", page.text, re.DOTALL)[-1]
            change = _words(re.findall(r"<td.*?</td>", last)[-1])
            expected = {"Change of net": amount_in(change)}
        elif path == "/finance":
            cards = [one for one in rows_with_links(page.text) if "Payments" in one.figures]
            expected = {"Net": sum((amount_in(one.figures["Net"]) for one in cards), Decimal())}
            assert len(cards) < 2, row
    compared = [name for name in row.figures if name in expected]
    for name in compared:
        assert amount_in(row.figures[name]) == expected[name], (row, name, expected[name])
    return len(compared)
