"""Ledger totals: what the rows of a transactions file add up to, by currency and type, and of
other income by themselves.

In minor units. A workbook's totals, a pack's manifest and whoever verifies that pack years later
all add up here.
"""

from collections.abc import Iterable, Iterator, Sequence

from payments.core.frequency import Frequency

SUMMED_COLUMNS = (
    *("amount", "fee", "balance_change"),
    *("gross", "fees", "refunds", "disputes", "net"),
)
OTHER_SUFFIX = " of other income"
TransactionTotals = dict[
    str, dict[str, dict[str, int]]
]  # currency -> type -> transactions and the summed columns


def accumulate(rows: Iterable[Sequence[str]], totals: TransactionTotals) -> Iterator[Sequence[str]]:
    """Yield the same rows, and add each to `totals` as it passes. The first names the columns."""
    remaining = iter(rows)
    names = list(next(remaining, []))
    yield names
    currency, type_ = names.index("settlement_currency"), names.index("type")
    frequency = names.index("frequency")
    places = [(name, names.index(f"{name}_minor")) for name in SUMMED_COLUMNS]
    for row in remaining:
        is_other = row[frequency] == Frequency.OTHER
        sums = totals.setdefault(row[currency], {}).setdefault(
            f"{row[type_]}{OTHER_SUFFIX}" if is_other else row[type_],
            dict.fromkeys(("transactions", *SUMMED_COLUMNS), 0),
        )
        sums["transactions"] += 1
        for name, place in places:
            sums[name] += int(row[place])
        yield row
