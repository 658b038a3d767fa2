"""The figures that the roll-forward of recurring revenue gives: ARR, churn, average and lifetime.

Each is defined in one sentence, which the page and the documentation say in the same words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from payments.accounting.mrr_rollforward import MrrMonth

LIFETIME_BASE_MONTHS = 12
LIFETIME_MAX_MONTHS = 60  # nobody knows who gives in six years
LIFETIME_MIN_SUPPORTERS = 50
LIFETIME_MIN_LOST = 10  # of fewer, one more or less changes it by a tenth
DEFINITIONS = {
    "MRR": "what a month of the contributions brings that are paid for at the end of the month.",
    "ARR": "twelve times MRR.",
    "Supporters": (
        "the people who gave these contributions, by the hash of their address, each counted once"
        " in a currency, however many contributions they have."
    ),
    "Average contribution": "MRR divided by the number of contributions.",
    "Churn": (
        "what was cancelled or lost to failed payments in the month, as a share of the MRR it"
        " opened with; a pause is none."
    ),
    "Lifetime value": (
        "MRR divided by the supporters, times the months they stay: one divided by the average"
        " churn of the last twelve months, and at most 60; it is shown from 50 supporters and 10"
        " lost contributions in twelve whole months on."
    ),
}


@dataclass(frozen=True, slots=True)
class RecurringFigures:
    """The figures of one month and currency; amounts are in minor units, rounded half to even."""

    month: date
    currency: str
    mrr: int
    arr: int
    supporters: int
    contributions: int
    average_contribution: int | None  # None where there is no contribution
    churned: int  # of the opening, not below zero
    opening: int
    lifetime_value: int | None  # None where too few have given or ended


def by_month(months: Sequence[MrrMonth]) -> list[RecurringFigures]:
    """Return the figures of each month, in the order given: newest first by currency.

    A lifetime looks at twelve months: of fewer it is None.
    """
    return [
        _figures_of(months[place : place + LIFETIME_BASE_MONTHS]) for place in range(len(months))
    ]


def newest(months: Sequence[MrrMonth]) -> list[RecurringFigures]:
    """Return the figures of the newest month of each currency."""
    found: dict[str, RecurringFigures] = {}
    for figures in by_month(months):
        found.setdefault(figures.currency, figures)
    return list(found.values())


def _figures_of(year: Sequence[MrrMonth]) -> RecurringFigures:
    one = year[0]
    return RecurringFigures(
        month=one.month,
        currency=one.currency,
        mrr=one.closing,
        arr=12 * one.closing,
        supporters=one.supporters,
        contributions=one.contributions,
        average_contribution=(
            round(Fraction(one.closing, one.contributions)) if one.contributions else None
        ),
        churned=_churned(one),
        opening=one.opening,
        lifetime_value=_lifetime_value([other for other in year if other.currency == one.currency]),
    )


def _churned(month: MrrMonth) -> int:
    return -(month.churn_voluntary + month.churn_involuntary)


def _lifetime_value(year: Sequence[MrrMonth]) -> int | None:
    """Return what a supporter gives in all; None where the base is too small to say it."""
    is_whole_year = len(year) == LIFETIME_BASE_MONTHS and all(month.opening for month in year)
    has_base = year[0].supporters >= LIFETIME_MIN_SUPPORTERS
    if not is_whole_year or not has_base or sum(one.lost for one in year) < LIFETIME_MIN_LOST:
        return None
    churn = Fraction(sum(_churned(one) for one in year), sum(one.opening for one in year))
    months = min(1 / churn, Fraction(LIFETIME_MAX_MONTHS)) if churn else LIFETIME_MAX_MONTHS
    return round(Fraction(year[0].closing, year[0].supporters) * months)
