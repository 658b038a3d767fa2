"""A/B experiments: which variant of a campaign brought more, net of refunds, and how surely.

Each impression of the form has a random variant. Its revenue is the net of its contributions, less
fees, refunds and disputes, over as many days as the campaign's config says; most impressions bring
nothing, and count. Only impressions old enough for all those days are compared, and each variant is
compared with the first.

The widget draws in an article and nobody counts its impressions. But it draws fairly, so the
variants have as many impressions as each other, and whichever brought more net is better. There the
contributions are the trials: each adds its net to one side or to the other.

Intervals hold however often they are looked at. They are asymptotic confidence sequences (theorem
2.2 of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences", Annals of Statistics 52, 2024), for a difference of two means,
with one significance level shared by all the comparisons. "Asymptotic" means that they need enough
contributions: below that the verdict is insufficient data. Tests simulate it. Floats here are
statistics, never money.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import calendar
from payments.giving import campaigns
from payments.giving.campaigns import Campaign
from payments.infra.context import Context

SIGNIFICANCE_LEVEL = 0.05
MIN_CONTRIBUTIONS = 60  # of the two variants together
MIN_IMPRESSIONS = 500  # of each variant
PRIVACY_THRESHOLD = 10  # fewer contributions might identify somebody
# Trials at which the intervals are narrowest. Fixed: chosen by the data, they would not hold.
OPTIMAL_IMPRESSIONS, OPTIMAL_CONTRIBUTIONS = 20_000, 400


class Verdict(StrEnum):
    """What a comparison says of a variant against the first."""

    INSUFFICIENT_DATA = "insufficient data"
    INCONCLUSIVE = "inconclusive"
    MORE = "more"
    LESS = "less"


@dataclass(frozen=True, slots=True)
class VariantResult:
    """What the impressions of one variant brought; `net_total` and squares are of minor units."""

    name: str
    impressions: int
    contributions: int
    net_total: int
    sum_of_squares: int

    @property
    def mean(self) -> float:
        """Net of one impression, in minor units."""
        return self.net_total / self.impressions if self.impressions else 0.0

    @property
    def variance(self) -> float:
        """Sample variance of the net of one impression."""
        deviations = self.sum_of_squares - self.net_total * self.mean
        return max(0.0, deviations / max(1, self.impressions - 1))

    @property
    def is_reportable(self) -> bool:
        """Whether its figures may be shown without pointing at somebody."""
        return self.contributions >= PRIVACY_THRESHOLD


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much more one trial brought than one of the first variant, in minor units."""

    verdict: Verdict
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """The variants of the current round; the first is compared with none."""

    currency: str | None
    since: date
    until: date  # not included
    variants: Sequence[VariantResult]
    comparisons: Sequence[Comparison]
    other_currency_contributions: int  # settled in another currency, and in no figure
    widget_variants: Sequence[VariantResult]  # drawn by the widget: without impressions
    widget_comparisons: Sequence[Comparison]  # by contribution


def compare_by_impression(
    first: VariantResult, other: VariantResult, *, comparisons: int = 1
) -> Comparison:
    """Compare the net of one impression of two variants.

    `comparisons` is how many share the significance level.
    """
    contributions = first.contributions + other.contributions
    if (
        contributions < MIN_CONTRIBUTIONS
        or min(first.impressions, other.impressions) < MIN_IMPRESSIONS
    ):
        return Comparison(Verdict.INSUFFICIENT_DATA)
    difference = other.mean - first.mean
    variance = first.variance / first.impressions + other.variance / other.impressions
    half_width = _interval_half_width(
        first.impressions + other.impressions, variance, SIGNIFICANCE_LEVEL / comparisons
    )
    return _comparison(difference, half_width)


def compare_by_contribution(
    first: VariantResult, other: VariantResult, *, comparisons: int = 1
) -> Comparison:
    """Compare two variants that are drawn equally often, without impressions.

    Each contribution is one side's or the other's, and their mean has the sign of the difference.
    """
    contributions = first.contributions + other.contributions
    if contributions < MIN_CONTRIBUTIONS:
        return Comparison(Verdict.INSUFFICIENT_DATA)
    difference = (other.net_total - first.net_total) / contributions
    mean_square = (first.sum_of_squares + other.sum_of_squares) / contributions
    variance = max(0.0, mean_square - difference**2) / contributions
    half_width = _interval_half_width(
        contributions,
        variance,
        SIGNIFICANCE_LEVEL / comparisons,
        optimal_trials=OPTIMAL_CONTRIBUTIONS,
    )
    return _comparison(difference, half_width)


def _comparison(difference: float, half_width: float) -> Comparison:
    low, high = difference - half_width, difference + half_width
    verdict = Verdict.MORE if low > 0 else Verdict.LESS if high < 0 else Verdict.INCONCLUSIVE
    return Comparison(verdict, difference, low, high)


def _interval_half_width(
    trials: int,
    variance: float,
    significance_level: float,
    *,
    optimal_trials: int = OPTIMAL_IMPRESSIONS,
) -> float:
    """Return half the width of the interval around a mean with this variance after these trials."""
    log_term = -2 * math.log(significance_level)
    rho = (log_term + math.log(log_term + 1)) / optimal_trials  # the paper's rho, squared
    spread = trials * rho + 1
    return math.sqrt(
        trials
        * variance
        * 2
        * spread
        / (trials**2 * rho)
        * math.log(math.sqrt(spread) / significance_level)
    )


# --- impressions and revenue ----------------------------------------------------------------------

_IMPRESSIONS_SQL = text(
    """
    SELECT variant, CAST(sum(impressions) AS bigint)
      FROM campaign_impressions
     WHERE campaign = :campaign
       AND variant = ANY(:variant_keys)
       AND day < :until
     GROUP BY variant
     ORDER BY variant
     LIMIT 10
    """
)
_NET_REVENUE_SQL = text(
    """
    WITH net_by_contribution AS (
        SELECT c.variant, e.currency, c.id,
               sum(CASE WHEN e.credit LIKE 'income:%' OR e.credit LIKE 'expense:%'
                          OR e.credit IN ('refunds', 'disputes') THEN e.amount ELSE 0 END)
             - sum(CASE WHEN e.debit LIKE 'income:%' OR e.debit LIKE 'expense:%'
                          OR e.debit IN ('refunds', 'disputes') THEN e.amount ELSE 0 END) AS net
          FROM contributions c
          JOIN ledger_entries e ON e.contribution_id = c.id
         WHERE c.campaign = :campaign
           AND c.variant = ANY(:variant_keys)
           AND c.created_at < CAST(:until AS timestamp) AT TIME ZONE :zone
           AND e.occurred_at < c.created_at + make_interval(days => :days)
         GROUP BY c.variant, e.currency, c.id
    )
    SELECT currency, variant,
           count(*) AS contributions,
           CAST(sum(net) AS bigint) AS net_total,
           CAST(sum(net * net) AS numeric) AS sum_of_squares
      FROM net_by_contribution
     GROUP BY currency, variant
     ORDER BY currency, variant
     LIMIT 200
    """
)


async def evaluate(
    session: AsyncSession, ctx: Context, campaign: Campaign
) -> ExperimentResult | None:
    """Return the results of the current round; None for a campaign without variants.

    They are of the settlement currency with most contributions.
    """
    config, keys = campaign.parsed_config(), campaign.variant_keys()
    if not keys:
        return None
    widget_keys = list(campaign.as_embedded().options_by_variant_key)
    zone = ctx.settings.accounting_zone
    until = calendar.local_date(ctx.now() - timedelta(days=config.evaluate_after_days), zone)
    params = {"campaign": campaign.id, "variant_keys": [*keys, *widget_keys], "until": until}
    impressions = await _impressions(session, params)
    revenue = await _net_revenue(
        session, params | {"zone": zone, "days": config.evaluate_after_days}
    )
    counts = {code: sum(one.contributions for one in rows) for code, rows in revenue.items()}
    currency = max(sorted(counts), key=lambda code: counts[code], default=None)
    in_currency = {one.variant_key: one for one in revenue[currency]} if currency else {}

    def results(variant_keys: Sequence[str]) -> list[VariantResult]:
        return [
            _variant_result(key, impressions.get(key, 0), in_currency.get(key))
            for key in variant_keys
        ]

    variants, widget_variants = results(keys), results(widget_keys)
    comparisons = len(variants) - 1
    return ExperimentResult(
        currency=currency,
        since=calendar.local_date(campaign.round_started_at, zone),
        until=until,
        variants=variants,
        comparisons=[
            compare_by_impression(variants[0], other, comparisons=comparisons)
            for other in variants[1:]
        ],
        other_currency_contributions=sum(
            count for code, count in counts.items() if code != currency
        ),
        widget_variants=widget_variants,
        widget_comparisons=[
            compare_by_contribution(widget_variants[0], other, comparisons=comparisons)
            for other in widget_variants[1:]
        ],
    )


@dataclass(frozen=True, slots=True)
class _NetRevenue:
    """What the contributions of one variant key brought, in minor units of one currency."""

    variant_key: str
    contributions: int
    net_total: int
    sum_of_squares: int


async def _impressions(session: AsyncSession, params: dict[str, object]) -> dict[str, int]:
    """Return the impressions of each variant key."""
    return {key: int(count) for key, count in await session.execute(_IMPRESSIONS_SQL, params)}


async def _net_revenue(
    session: AsyncSession, params: dict[str, object]
) -> dict[str, list[_NetRevenue]]:
    """Return the revenue of each variant key, by settlement currency."""
    by_currency: dict[str, list[_NetRevenue]] = {}
    for row in await session.execute(_NET_REVENUE_SQL, params):
        revenue = _NetRevenue(
            row.variant, int(row.contributions), int(row.net_total), int(row.sum_of_squares)
        )
        by_currency.setdefault(row.currency, []).append(revenue)
    return by_currency


def _variant_result(key: str, impressions: int, revenue: _NetRevenue | None) -> VariantResult:
    name = campaigns.variant_name(key)
    if revenue is None:
        return VariantResult(name, impressions, 0, 0, 0)
    return VariantResult(
        name, impressions, revenue.contributions, revenue.net_total, revenue.sum_of_squares
    )
