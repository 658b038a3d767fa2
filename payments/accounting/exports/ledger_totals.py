"""What the lines of a ledger file add up to, by currency and type, in minor units.

A workbook's totals, a pack's manifest and whoever checks that pack years later all add up here.
"""

from collections.abc import Iterable, Iterator, Sequence

SUMMED_COLUMNS = ("gross", "fee", "net")
LedgerTotals = dict[str, dict[str, dict[str, int]]]  # currency -> type -> lines, gross, fee, net


def accumulate(rows: Iterable[Sequence[str]], totals: LedgerTotals) -> Iterator[Sequence[str]]:
    """The same rows, added up as they pass. The first one names the columns."""
    following = iter(rows)
    names = list(next(following, []))
    yield names
    currency, type_ = names.index("settlement_currency"), names.index("type")
    places = [(name, names.index(f"{name}_minor")) for name in SUMMED_COLUMNS]
    for row in following:
        of = totals.setdefault(row[currency], {}).setdefault(
            row[type_], dict.fromkeys(("lines", *SUMMED_COLUMNS), 0)
        )
        of["lines"] += 1
        for name, place in places:
            of[name] += int(row[place])
        yield row
