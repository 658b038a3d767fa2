"""CSV cells: text that no spreadsheet takes for a formula, and amounts in major units.

A text that could begin a formula is led by an apostrophe.
https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal

from payments.core import money

# What a spreadsheet may take for the beginning of a formula, the full-width forms included.
FORMULA_PREFIXES = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_FORMULA_PREFIXES_SQL = ", ".join(f"U&'\\{ord(character):04x}'" for character in FORMULA_PREFIXES)


def to_csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """Return RFC 4180 in UTF-8. The cells are written as they are: none may begin a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue().encode()


def escape_formula(cell: str) -> str:
    """Return a text cell that no spreadsheet runs."""
    return f"'{cell}" if cell[:1] and cell[0] in FORMULA_PREFIXES else cell


def escape_formula_sql(column: str) -> str:
    """Return the same as an expression of SQL."""
    return (
        f"CASE WHEN left({column}, 1) IN ({_FORMULA_PREFIXES_SQL})"
        f" THEN '''' || {column} ELSE {column} END"
    )


def major_units_sql(amount: str, currency: str) -> str:
    """Return an amount in major units as an expression of SQL, with all its decimals.

    Both parameters are expressions. Numeric keeps the scale of the factor.
    """
    cases = " ".join(
        f"WHEN '{code}' THEN {Decimal(1).scaleb(-digits)}"
        for code in sorted(money.GIFT_LIMITS)
        if (digits := money.exponent(code)) != 2
    )
    factor = f"CASE {currency} {cases} ELSE 0.01 END" if cases else "0.01"
    return f"({amount}) * {factor}"
