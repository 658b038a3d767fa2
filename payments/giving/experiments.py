"""Variants: which of a campaign's offers brought more, by what was kept, and how sure that is.

Each showing of the form was given a variant by lot. What it brought is the net of its gifts, less
the fees, refunds and disputes, over as many days as the campaign said beforehand; most showings
bring nothing, and count. Only showings old enough to have had all those days are compared, and each
variant is compared with the first.

Where the widget drew the lot, in an article, nobody counted the showings. But it draws fairly, so
each variant was shown as often as the other, and whichever more net came with brought more. There
the gifts are the trials: each adds its net to one side or to the other.

Intervals hold however often they are looked at. They are asymptotic confidence sequences (theorem
2.2 of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences", Annals of Statistics 52, 2024), for a difference of two means,
with the risk of one in twenty shared by all the comparisons. "Asymptotic" means that they ask for
enough gifts: below that nothing is said. Tests simulate it. Floats here are statistics, never
money.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.giving.campaigns import Campaign
from payments.infra.context import Context

SIGNIFICANCE_LEVEL = 0.05
MIN_CONTRIBUTIONS = 60  # of the two that are compared
MIN_IMPRESSIONS = 500  # each
PRIVACY_THRESHOLD = 10  # fewer might be somebody
# Showings at which the intervals are narrowest, and gifts; fixed, or looking would move it.
OPTIMAL_IMPRESSIONS, OPTIMAL_CONTRIBUTIONS = 20_000, 400


class Verdict(StrEnum):
    INSUFFICIENT_DATA = "insufficient data"
    INCONCLUSIVE = "inconclusive"
    MORE = "more"
    LESS = "less"


@dataclass(frozen=True, slots=True)
class VariantResult:
    """What the showings of one variant brought: `total` minor units, and the sum of squares."""

    name: str
    impressions: int
    contributions: int
    net_total: int
    sum_of_squares: int

    @property
    def mean(self) -> float:
        return self.net_total / self.impressions if self.impressions else 0.0

    @property
    def variance(self) -> float:
        """Of one showing."""
        return max(
            0.0, (self.sum_of_squares - self.net_total * self.mean) / max(1, self.impressions - 1)
        )

    @property
    def is_reportable(self) -> bool:
        return self.contributions >= PRIVACY_THRESHOLD


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much more one showing brought than one of the first variant, in minor units."""

    verdict: Verdict
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """All the variants of the present round; the first is compared with nothing."""

    currency: str | None
    since: date
    until: date  # not included
    variants: Sequence[VariantResult]
    comparisons: Sequence[Comparison]
    other_currency_contributions: int  # gifts settled in another currency, which are in no figure
    widget_variants: Sequence[VariantResult]  # what the widget drew: how often is not known
    widget_comparisons: Sequence[Comparison]  # by what a gift of the two adds to the other's side


def compare_by_impression(
    first: VariantResult, other: VariantResult, *, comparisons: int = 1
) -> Comparison:
    """The difference and its interval, or that it is too early for one."""
    gifts = first.contributions + other.contributions
    if gifts < MIN_CONTRIBUTIONS or min(first.impressions, other.impressions) < MIN_IMPRESSIONS:
        return Comparison(Verdict.INSUFFICIENT_DATA)
    difference = other.mean - first.mean
    variance = first.variance / first.impressions + other.variance / other.impressions
    half = _interval_half_width(
        first.impressions + other.impressions, variance, SIGNIFICANCE_LEVEL / comparisons
    )
    low, high = difference - half, difference + half
    verdict = Verdict.MORE if low > 0 else Verdict.LESS if high < 0 else Verdict.INCONCLUSIVE
    return Comparison(verdict, difference, low, high)


def compare_by_contribution(
    first: VariantResult, other: VariantResult, *, comparisons: int = 1
) -> Comparison:
    """The same where equal lots are known of, and no showings: each gift is one side's or the
    other's, and their mean has the sign of the difference.
    """
    gifts = first.contributions + other.contributions
    if gifts < MIN_CONTRIBUTIONS:
        return Comparison(Verdict.INSUFFICIENT_DATA)
    difference = (other.net_total - first.net_total) / gifts
    squares = (first.sum_of_squares + other.sum_of_squares) / gifts
    variance = max(0.0, squares - difference**2) / gifts
    half = _interval_half_width(
        gifts, variance, SIGNIFICANCE_LEVEL / comparisons, optimal_trials=OPTIMAL_CONTRIBUTIONS
    )
    low, high = difference - half, difference + half
    verdict = Verdict.MORE if low > 0 else Verdict.LESS if high < 0 else Verdict.INCONCLUSIVE
    return Comparison(verdict, difference, low, high)


def _interval_half_width(
    trials: int,
    variance: float,
    significance_level: float,
    *,
    optimal_trials: int = OPTIMAL_IMPRESSIONS,
) -> float:
    """Half an interval around a mean whose variance is `variance` after so many trials."""
    aimed = -2 * math.log(significance_level)
    rho = (aimed + math.log(aimed + 1)) / optimal_trials  # the paper's rho, squared
    spread = trials * rho + 1
    return math.sqrt(
        trials
        * variance
        * 2
        * spread
        / (trials**2 * rho)
        * math.log(math.sqrt(spread) / significance_level)
    )


# --- what was shown, and what it brought ----------------------------------------------------------

_IMPRESSIONS_SQL = text(
    """
    SELECT variant, CAST(sum(impressions) AS bigint) FROM campaign_impressions
     WHERE campaign = :campaign AND variant = ANY(:lots) AND day < :until
     GROUP BY 1 ORDER BY 1 LIMIT 10
    """
)
_NET_REVENUE_SQL = text(
    """
    WITH gifts AS (
        SELECT n.variant, e.currency, n.id,
               sum(CASE WHEN e.credit LIKE 'income:%' OR e.credit LIKE 'expense:%'
                          OR e.credit IN ('refunds', 'disputes') THEN e.amount ELSE 0 END)
             - sum(CASE WHEN e.debit LIKE 'income:%' OR e.debit LIKE 'expense:%'
                          OR e.debit IN ('refunds', 'disputes') THEN e.amount ELSE 0 END) AS net
          FROM contributions n
          JOIN ledger_entries e ON e.contribution_id = n.id
         WHERE n.campaign = :campaign AND n.variant = ANY(:lots)
           AND n.created_at < CAST(:until AS timestamp) AT TIME ZONE :zone
           AND e.occurred_at < n.created_at + make_interval(days => :days)
         GROUP BY 1, 2, 3)
    SELECT currency, variant, count(*) AS gifts, CAST(sum(net) AS bigint) AS total,
           CAST(sum(net * net) AS numeric) AS squares
      FROM gifts GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 200
    """
)


async def evaluate(
    session: AsyncSession, ctx: Context, campaign: Campaign
) -> ExperimentResult | None:
    """How the variants of the present round stand; None for a campaign without any."""
    lots, terms = campaign.variant_keys(), campaign.parsed_config()
    widgets = list(campaign.as_embedded().options_by_variant_key)
    if not lots:
        return None
    until = _local_date(ctx, ctx.now() - timedelta(days=terms.evaluate_after_days))
    asked = {"campaign": campaign.id, "lots": [*lots, *widgets], "until": until}
    shown = {lot: int(number) for lot, number in await session.execute(_IMPRESSIONS_SQL, asked)}
    more = {"zone": ctx.settings.accounting_zoneinfo.key, "days": terms.evaluate_after_days}
    brought: dict[str, dict[str, tuple[int, int, int]]] = {}
    for row in await session.execute(_NET_REVENUE_SQL, asked | more):
        sums = (int(row.gifts), int(row.total), int(row.squares))
        brought.setdefault(row.currency, {})[row.variant] = sums
    gifts = {code: sum(one[0] for one in by.values()) for code, by in brought.items()}
    currency = max(sorted(gifts), key=lambda code: gifts[code], default=None)
    of = brought[currency] if currency else {}
    arms, in_articles = (
        [
            VariantResult(lot.rpartition("-")[0], shown.get(lot, 0), *of.get(lot, (0, 0, 0)))
            for lot in kind
        ]
        for kind in (lots, widgets)
    )
    others = len(arms) - 1
    return ExperimentResult(
        currency,
        _local_date(ctx, campaign.round_started_at),
        until,
        arms,
        [compare_by_impression(arms[0], arm, comparisons=others) for arm in arms[1:]],
        sum(number for code, number in gifts.items() if code != currency),
        in_articles,
        [
            compare_by_contribution(in_articles[0], arm, comparisons=others)
            for arm in in_articles[1:]
        ],
    )


def _local_date(ctx: Context, at: datetime) -> date:
    return at.astimezone(ctx.settings.accounting_zoneinfo).date()
