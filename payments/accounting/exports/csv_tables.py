"""Small tables as CSV: payouts with their reconciliation, MRR with its movements.

Every file begins with its columns; the last column of every row says what the file is of.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from payments.accounting import deferred_income
from payments.accounting.exports.csv_cells import escape_formula
from payments.accounting.mrr_rollforward import MRR_MOVEMENTS, MrrMonth
from payments.accounting.reports import recurring_figures
from payments.accounting.reports.payouts import PayoutSummary
from payments.core import money
from payments.core.money import Money


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    """Return rows as RFC 4180 in UTF-8. Text is escaped for spreadsheets; numbers are ours."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: escape_formula(cell) if isinstance(cell, str) else cell
                for name, cell in row.items()
            }
        )
    return out.getvalue().encode()


def _major_and_minor(name: str, minor: int, currency: str) -> dict[str, object]:
    return {
        name: _PreformattedNumber(money.to_decimal_string(Money(minor, currency))),
        f"{name}_minor": minor,
    }


class _PreformattedNumber:
    """A number that is already text, so that its minus is not taken for a formula."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


PAYOUT_COLUMNS = (
    *("payout_id", "status", "method", "automatic", "created_at", "arrives_on", "currency"),
    *(
        "amount",
        "amount_minor",
        "transactions",
        "transactions_net",
        "transactions_net_minor",
        "match_status",
    ),
    "exported_in",
)


def payouts_csv(payouts: Iterable[PayoutSummary], *, exported_in: str) -> bytes:
    """Return one row for each payout, with the sum of its items."""
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
                "transactions": one.item_count,
                # A payout without a list has no sum either.
                **(
                    _major_and_minor("transactions_net", one.listed_net, one.currency)
                    if one.item_count
                    else {}
                ),
                "match_status": one.match_status,
                "exported_in": exported_in,
            }
            for one in payouts
        ),
    )


_MRR_AMOUNTS = ("opening", *MRR_MOVEMENTS, "closing")
_RECURRING_FIGURES = ("arr", "average_contribution", "lifetime_value")
RECURRING_COLUMNS = (
    *("month", "currency"),
    *(name for amount in _MRR_AMOUNTS for name in (amount, f"{amount}_minor")),
    *("contributions", "supporters", "lost", "churn_percent"),
    *(name for amount in _RECURRING_FIGURES for name in (amount, f"{amount}_minor")),
    "exported_in",
)


def recurring_csv(months: Sequence[MrrMonth], *, exported_in: str) -> bytes:
    """Return one row for each month and currency: closing = opening + every movement. What there
    is too little of to say is empty.
    """
    rows = []
    for one, figures in zip(months, recurring_figures.by_month(months), strict=True):
        row: dict[str, object] = {"month": f"{one.month:%Y-%m}", "currency": one.currency}
        for name in _MRR_AMOUNTS:
            row |= _major_and_minor(name, getattr(one, name), one.currency)
        counts = {name: getattr(one, name) for name in ("contributions", "supporters", "lost")}
        share = f"{100 * figures.churned / figures.opening:.1f}" if figures.opening else ""
        for name in _RECURRING_FIGURES:
            if (amount := getattr(figures, name)) is not None:
                row |= _major_and_minor(name, amount, one.currency)
        rows.append(row | counts | {"churn_percent": share, "exported_in": exported_in})
    return to_csv(RECURRING_COLUMNS, rows)


DEFERRED_COLUMNS = (
    *("month", "currency", "account"),
    *(column for name in deferred_income.AMOUNTS for column in (name, f"{name}_minor")),
    "exported_in",
)


def deferred_csv(rows: Iterable[deferred_income.DeferredMonth], *, exported_in: str) -> bytes:
    """Return deferred income by month, currency and account of income."""
    return to_csv(
        DEFERRED_COLUMNS,
        (
            {
                "month": f"{row.month:%Y-%m}",
                "currency": row.currency,
                "account": row.account,
                **{
                    column: cell
                    for name in deferred_income.AMOUNTS
                    for column, cell in _major_and_minor(
                        name, getattr(row, name), row.currency
                    ).items()
                },
                "exported_in": exported_in,
            }
            for row in rows
        ),
    )
