"""Figures as a page prints them and as JSON has them, read without the page's code."""

import re
from collections import defaultdict
from typing import Any

from tests.support.page import Page

SYMBOLS = {"$": ("usd", 2), "€": ("eur", 2), "£": ("gbp", 2), "¥": ("jpy", 0)}
PRINTED = re.compile(r"([$€£¥])\s?([0-9][0-9,]*(?:\.[0-9]+)?)")
MINUS = "\N{MINUS SIGN}"
WHOLE = re.compile(rf"{MINUS}?[0-9]{{1,3}}(,[0-9]{{3}})*")
EVERY = ""  # the currency of what has none


def printed_amounts(page: Page) -> set[tuple[str, int]]:
    """Each amount of money on a page, by currency, in minor units and without its sign."""
    found = set()
    for symbol, digits in PRINTED.findall(page.text):
        currency, places = SYMBOLS[symbol]
        whole, _, rest = digits.replace(",", "").partition(".")
        assert len(rest) == places, digits
        found.add((currency, int(whole + rest)))
    return found


def printed_counts(page: Page) -> set[int]:
    """Each whole number that is all of a table's cell: no year, and no id of digits."""
    cells = {cell for row in page.cells for cell in row if WHOLE.fullmatch(cell)}
    return {abs(int(cell.replace(",", "").replace(MINUS, "-"))) for cell in cells}


def numbers_of(answer: Any, currency: str = EVERY) -> dict[str, set[int]]:  # noqa: ANN401 - JSON
    """Each number of an answer, by the currency of the object it stands in, without its sign."""
    found: dict[str, set[int]] = defaultdict(set)
    if isinstance(answer, dict):
        currency = answer.get("currency", currency)
        for name, value in answer.items():
            of = answer.get("presentment_currency") if name == "presentment_amount" else None
            _add(found, numbers_of(value, of or currency))
    elif isinstance(answer, list):
        for value in answer:
            _add(found, numbers_of(value, currency))
    elif isinstance(answer, int) and not isinstance(answer, bool):
        found[currency].add(abs(answer))
    return found


def _add(found: dict[str, set[int]], more: dict[str, set[int]]) -> None:
    for currency, numbers in more.items():
        found[currency] |= numbers
