"""Small tables as CSV: payouts with their proof, recurring revenue with its movements.

Every file begins with its columns; the last column of every row says what the file is of.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from payments.accounting.exports import escape_formula
from payments.accounting.mrr_rollforward import MRR_MOVEMENTS, MrrMonth
from payments.accounting.reports.payouts import PayoutSummary
from payments.core import money
from payments.core.money import Money


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    """RFC 4180 in UTF-8. Text is made safe; numbers are ours."""
    out = io.StringIO()
    write = csv.DictWriter(out, columns)
    write.writeheader()
    for row in rows:
        write.writerow(
            {name: escape_formula(v) if isinstance(v, str) else v for name, v in row.items()}
        )
    return out.getvalue().encode()


def _major_and_minor(name: str, minor: int, currency: str) -> dict[str, object]:
    return {
        name: _PreformattedNumber(money.to_decimal_string(Money(minor, currency))),
        f"{name}_minor": minor,
    }


class _PreformattedNumber:
    """A number that is already written, so that its minus is left alone."""

    def __init__(self, written: str) -> None:
        self.text = written

    def __str__(self) -> str:
        return self.text


PAYOUT_COLUMNS = (
    *("payout_id", "status", "method", "automatic", "created_at", "arrives_on", "currency"),
    *("amount", "amount_minor", "lines", "lines_net", "lines_net_minor", "proof", "exported_in"),
)


def payouts_csv(payouts: Iterable[PayoutSummary], *, exported_in: str) -> bytes:
    """One row for each payout, with the sum of its lines."""
    return to_csv(
        PAYOUT_COLUMNS,
        (
            {
                "payout_id": one.id,
                "status": one.status,
                "method": one.method,
                "automatic": "yes" if one.automatic else "no",
                "created_at": f"{one.created_at:%Y-%m-%dT%H:%M:%SZ}",
                "arrives_on": one.arrives_on.isoformat(),
                "currency": one.currency,
                **_major_and_minor("amount", one.amount, one.currency),
                "lines": one.item_count,
                # a payout without a list has no sum either
                **(
                    _major_and_minor("lines_net", one.listed_net, one.currency)
                    if one.item_count
                    else {}
                ),
                "proof": one.match_status,
                "exported_in": exported_in,
            }
            for one in payouts
        ),
    )


_RECURRING = ("opening", *MRR_MOVEMENTS, "closing")
RECURRING_COLUMNS = (
    *("month", "currency"),
    *(name for part in _RECURRING for name in (part, f"{part}_minor")),
    *("contributions", "exported_in"),
)


def recurring_csv(months: Iterable[MrrMonth], *, exported_in: str) -> bytes:
    """One row for each month and currency. closing = opening + every movement."""
    rows = []
    for one in months:
        row: dict[str, object] = {"month": f"{one.month:%Y-%m}", "currency": one.currency}
        for name in _RECURRING:
            row |= _major_and_minor(name, getattr(one, name), one.currency)
        rows.append(row | {"contributions": one.payers, "exported_in": exported_in})
    return to_csv(RECURRING_COLUMNS, rows)
