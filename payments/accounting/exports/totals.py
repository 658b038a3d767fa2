"""What the lines of a ledger file add up to, by currency and type, in minor units.

A workbook's totals, a pack's manifest and whoever checks that pack years later all add up here.
"""

from collections.abc import Iterable, Iterator, Sequence

SUMMED = ("gross", "fee", "net")
Sums = dict[str, dict[str, dict[str, int]]]  # currency -> type -> lines, gross, fee, net


def added(rows: Iterable[Sequence[str]], sums: Sums) -> Iterator[Sequence[str]]:
    """The same rows, added up as they pass. The first one names the columns."""
    following = iter(rows)
    names = list(next(following, []))
    yield names
    currency, type_ = names.index("settlement_currency"), names.index("type")
    places = [(name, names.index(f"{name}_minor")) for name in SUMMED]
    for row in following:
        of = sums.setdefault(row[currency], {}).setdefault(
            row[type_], dict.fromkeys(("lines", *SUMMED), 0)
        )
        of["lines"] += 1
        for name, place in places:
            of[name] += int(row[place])
        yield row
