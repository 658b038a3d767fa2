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
from payments.infra.context import Runtime

RISK = 0.05
GIFTS_LEAST = 60  # of the two that are compared
SHOWN_LEAST = 500  # each
GIFTS_TOLD = 10  # fewer might be somebody
# Showings at which the intervals are narrowest, and gifts; fixed, or looking would move it.
AIM, AIM_GIFTS = 20_000, 400


class Verdict(StrEnum):
    TOO_EARLY = "too early"
    OPEN = "open"
    MORE = "more"
    LESS = "less"


@dataclass(frozen=True, slots=True)
class Arm:
    """What the showings of one variant brought: `total` minor units, and the sum of squares."""

    name: str
    shown: int
    gifts: int
    total: int
    squares: int

    @property
    def mean(self) -> float:
        return self.total / self.shown if self.shown else 0.0

    @property
    def variance(self) -> float:
        """Of one showing."""
        return max(0.0, (self.squares - self.total * self.mean) / max(1, self.shown - 1))

    @property
    def may_be_told(self) -> bool:
        return self.gifts >= GIFTS_TOLD


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much more one showing brought than one of the first variant, in minor units."""

    verdict: Verdict
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """All the variants of the present round; the first is compared with nothing."""

    currency: str | None
    since: date
    until: date  # not included
    arms: Sequence[Arm]
    comparisons: Sequence[Comparison]
    elsewhere: int  # gifts settled in another currency, which are in no figure
    in_articles: Sequence[Arm]  # what the widget drew: how often is not known
    compared_there: Sequence[Comparison]  # by what a gift of the two adds to the other's side


def compare(first: Arm, other: Arm, *, comparisons: int = 1) -> Comparison:
    """The difference and its interval, or that it is too early for one."""
    gifts = first.gifts + other.gifts
    if gifts < GIFTS_LEAST or min(first.shown, other.shown) < SHOWN_LEAST:
        return Comparison(Verdict.TOO_EARLY)
    difference = other.mean - first.mean
    variance = first.variance / first.shown + other.variance / other.shown
    half = _half_width(first.shown + other.shown, variance, RISK / comparisons)
    low, high = difference - half, difference + half
    verdict = Verdict.MORE if low > 0 else Verdict.LESS if high < 0 else Verdict.OPEN
    return Comparison(verdict, difference, low, high)


def compare_gifts(first: Arm, other: Arm, *, comparisons: int = 1) -> Comparison:
    """The same where equal lots are known of, and no showings: each gift is one side's or the
    other's, and their mean has the sign of the difference.
    """
    gifts = first.gifts + other.gifts
    if gifts < GIFTS_LEAST:
        return Comparison(Verdict.TOO_EARLY)
    difference = (other.total - first.total) / gifts
    squares = (first.squares + other.squares) / gifts
    variance = max(0.0, squares - difference**2) / gifts
    half = _half_width(gifts, variance, RISK / comparisons, aim=AIM_GIFTS)
    low, high = difference - half, difference + half
    verdict = Verdict.MORE if low > 0 else Verdict.LESS if high < 0 else Verdict.OPEN
    return Comparison(verdict, difference, low, high)


def _half_width(shown: int, variance: float, risk: float, *, aim: int = AIM) -> float:
    """Half an interval around a mean whose variance is `variance` after so many trials."""
    aimed = -2 * math.log(risk)
    rho = (aimed + math.log(aimed + 1)) / aim  # the paper's rho, squared
    spread = shown * rho + 1
    return math.sqrt(
        shown * variance * 2 * spread / (shown**2 * rho) * math.log(math.sqrt(spread) / risk)
    )


# --- what was shown, and what it brought ----------------------------------------------------------

_SHOWN = text(
    """
    SELECT variant, CAST(sum(shown) AS bigint) FROM campaign_counts
     WHERE campaign = :campaign AND variant = ANY(:lots) AND day < :until
     GROUP BY 1 ORDER BY 1 LIMIT 10
    """
)
_BROUGHT = text(
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


async def standing(session: AsyncSession, rt: Runtime, campaign: Campaign) -> Standing | None:
    """How the variants of the present round stand; None for a campaign without any."""
    lots, terms = campaign.lots(), campaign.read()
    widgets = list(campaign.embedded().lots)
    if not lots:
        return None
    until = _day(rt, rt.now() - timedelta(days=terms.judged_after))
    asked = {"campaign": campaign.id, "lots": [*lots, *widgets], "until": until}
    shown = {lot: int(number) for lot, number in await session.execute(_SHOWN, asked)}
    more = {"zone": rt.settings.zone.key, "days": terms.judged_after}
    brought: dict[str, dict[str, tuple[int, int, int]]] = {}
    for row in await session.execute(_BROUGHT, asked | more):
        sums = (int(row.gifts), int(row.total), int(row.squares))
        brought.setdefault(row.currency, {})[row.variant] = sums
    gifts = {code: sum(one[0] for one in by.values()) for code, by in brought.items()}
    currency = max(sorted(gifts), key=lambda code: gifts[code], default=None)
    of = brought[currency] if currency else {}
    arms, in_articles = (
        [Arm(lot.rpartition("-")[0], shown.get(lot, 0), *of.get(lot, (0, 0, 0))) for lot in kind]
        for kind in (lots, widgets)
    )
    others = len(arms) - 1
    return Standing(
        currency,
        _day(rt, campaign.began_at),
        until,
        arms,
        [compare(arms[0], arm, comparisons=others) for arm in arms[1:]],
        sum(number for code, number in gifts.items() if code != currency),
        in_articles,
        [compare_gifts(in_articles[0], arm, comparisons=others) for arm in in_articles[1:]],
    )


def _day(rt: Runtime, at: datetime) -> date:
    return at.astimezone(rt.settings.zone).date()
