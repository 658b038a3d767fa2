"""A variant is called better only when it is, however often somebody looks: simulated."""

import math
import random
from dataclasses import replace

import pytest

from payments.giving.experiments import (
    Comparison,
    VariantResult,
    Verdict,
    compare_by_contribution,
    compare_by_impression,
)

RUNS = 300
SURE = (Verdict.MORE, Verdict.LESS)


def add_impressions(
    rng: random.Random, variant: VariantResult, times: int, *, share: float, larger: float = 1.0
) -> VariantResult:
    """Show the form so often; a few give, most of them little, some are refunded for a fee."""
    count, total, squares = variant.contributions, variant.net_total, variant.sum_of_squares
    place = 0
    while (place := place + 1 + int(math.log(1 - rng.random()) / math.log(1 - share))) <= times:
        net = min(1_000_000, max(200, round(rng.lognormvariate(math.log(1000), 1.2) * larger)))
        net = -1500 if rng.random() < 0.02 else net * 95 // 100
        count, total, squares = count + 1, total + net, squares + net * net
    return VariantResult(variant.name, variant.impressions + times, count, total, squares)


def ever_sure(
    rng: random.Random, *, variants: int = 2, looks: int = 40, step: int = 500, larger: float = 1.0
) -> Comparison | None:
    """Look after every few impressions, and stop at the first sure verdict."""
    results = [VariantResult("abcd"[number], 0, 0, 0, 0) for number in range(variants)]
    for _ in range(looks):
        results = [
            add_impressions(rng, variant, step, share=0.01, larger=larger if number else 1.0)
            for number, variant in enumerate(results)
        ]
        for other in results[1:]:
            comparison = compare_by_impression(results[0], other, comparisons=variants - 1)
            if comparison.verdict in SURE:
                return comparison
    return None


@pytest.mark.parametrize("variants", [2, 4])
def test_where_there_is_no_difference_looking_often_finds_none(variants: int) -> None:
    rng = random.Random(6)
    wrong = sum(ever_sure(rng, variants=variants) is not None for _ in range(RUNS))
    assert wrong / RUNS <= 0.05


def ever_sure_by_contribution(
    rng: random.Random, *, variants: int = 2, looks: int = 40, larger: float = 1.0
) -> Comparison | None:
    """The same where the widget draws, and nobody counts impressions."""
    results = [VariantResult("abcd"[number], 0, 0, 0, 0) for number in range(variants)]
    for _ in range(looks):
        results = [
            replace(
                add_impressions(rng, variant, 500, share=0.02, larger=larger if number else 1.0),
                impressions=0,
            )
            for number, variant in enumerate(results)
        ]
        for other in results[1:]:
            comparison = compare_by_contribution(results[0], other, comparisons=variants - 1)
            if comparison.verdict in SURE:
                return comparison
    return None


@pytest.mark.parametrize("variants", [2, 4])
def test_where_nobody_counts_the_showings_looking_often_finds_no_difference_either(
    variants: int,
) -> None:
    rng = random.Random(11)
    wrong = sum(ever_sure_by_contribution(rng, variants=variants) is not None for _ in range(RUNS))
    assert wrong / RUNS <= 0.05


def test_by_gifts_alone_a_variant_that_brings_three_times_as_much_is_found() -> None:
    rng = random.Random(12)
    better = [ever_sure_by_contribution(rng, larger=3.0) for _ in range(60)]
    assert sum(one is not None and one.verdict is Verdict.MORE for one in better) >= 54
    worse = [ever_sure_by_contribution(rng, larger=1 / 3) for _ in range(60)]
    assert sum(one is not None and one.verdict is Verdict.LESS for one in worse) >= 48


def test_a_naive_interval_would_have_been_wrong_far_more_often() -> None:
    """The simulation can tell: 1.96 standard errors, looked at as often, find what is not there."""
    rng, wrong = random.Random(6), 0
    for _ in range(RUNS):
        one, other = VariantResult("a", 0, 0, 0, 0), VariantResult("b", 0, 0, 0, 0)
        for _ in range(40):
            one, other = (
                add_impressions(rng, variant, 500, share=0.01) for variant in (one, other)
            )
            error = math.sqrt(one.variance / one.impressions + other.variance / other.impressions)
            if (
                one.contributions + other.contributions >= 60
                and abs(one.mean - other.mean) > 1.96 * error
            ):
                wrong += 1
                break
    assert wrong / RUNS > 0.15


def test_a_variant_that_brings_three_times_as_much_is_found() -> None:
    rng = random.Random(8)
    better = [ever_sure(rng, larger=3.0) for _ in range(60)]
    assert sum(one is not None and one.verdict is Verdict.MORE for one in better) >= 54
    worse = [ever_sure(rng, larger=1 / 3) for _ in range(60)]
    assert sum(one is not None and one.verdict is Verdict.LESS for one in worse) >= 48


def test_the_interval_covers_what_is_true_at_all_looks() -> None:
    rng, missed = random.Random(9), 0
    for _ in range(RUNS):
        one, other = VariantResult("a", 0, 0, 0, 0), VariantResult("b", 0, 0, 0, 0)
        for _ in range(30):
            one, other = (
                add_impressions(rng, variant, 700, share=0.02) for variant in (one, other)
            )
            comparison = compare_by_impression(one, other)
            if (
                comparison.verdict is not Verdict.INSUFFICIENT_DATA
                and not comparison.low <= 0 <= comparison.high
            ):
                missed += 1
                break
    assert missed / RUNS <= 0.05


def test_nothing_is_said_of_too_few() -> None:
    many = VariantResult("a", 10_000, 100, 100_000, 200_000_000)
    for few in (
        VariantResult("b", 499, 59, 59_000, 59_000_000),
        VariantResult("b", 0, 0, 0, 0),
    ):
        assert compare_by_impression(many, few).verdict is Verdict.INSUFFICIENT_DATA
    small = VariantResult("a", 10_000, 29, 29_000, 29_000_000)
    assert (
        compare_by_impression(small, VariantResult("b", 10_000, 30, 90_000, 270_000_000)).verdict
        is Verdict.INSUFFICIENT_DATA
    )
    assert (
        compare_by_impression(small, VariantResult("b", 10_000, 31, 9_000, 9_000_000)).verdict
        is not Verdict.INSUFFICIENT_DATA
    )
