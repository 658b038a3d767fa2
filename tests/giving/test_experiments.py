"""Which variant brought more is said only when it is so, however often somebody looks."""

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


def shows(
    rng: random.Random, arm: VariantResult, times: int, *, share: float, larger: float = 1.0
) -> VariantResult:
    """The form is shown so often; a few give, most of them little, some take it back for a fee."""
    gifts, total, squares, place = arm.contributions, arm.net_total, arm.sum_of_squares, 0
    while (place := place + 1 + int(math.log(1 - rng.random()) / math.log(1 - share))) <= times:
        stored = min(1_000_000, max(200, round(rng.lognormvariate(math.log(1000), 1.2) * larger)))
        stored = -1500 if rng.random() < 0.02 else stored * 95 // 100
        gifts, total, squares = gifts + 1, total + stored, squares + stored * stored
    return VariantResult(arm.name, arm.impressions + times, gifts, total, squares)


def ever_sure(
    rng: random.Random, *, arms: int = 2, looks: int = 40, step: int = 500, larger: float = 1.0
) -> Comparison | None:
    """Somebody looks after every few showings and stops at the first sure word."""
    held = [VariantResult("abcd"[number], 0, 0, 0, 0) for number in range(arms)]
    for _ in range(looks):
        held = [
            shows(rng, arm, step, share=0.01, larger=larger if number else 1.0)
            for number, arm in enumerate(held)
        ]
        for other in held[1:]:
            found = compare_by_impression(held[0], other, comparisons=arms - 1)
            if found.verdict in SURE:
                return found
    return None


@pytest.mark.parametrize("arms", [2, 4])
def test_where_there_is_no_difference_looking_often_finds_none(arms: int) -> None:
    rng = random.Random(6)
    wrong = sum(ever_sure(rng, arms=arms) is not None for _ in range(RUNS))
    assert wrong / RUNS <= 0.05


def ever_sure_of_gifts(
    rng: random.Random, *, arms: int = 2, looks: int = 40, larger: float = 1.0
) -> Comparison | None:
    """The same where the widget drew the lots: a showing is nobody's to count."""
    held = [VariantResult("abcd"[number], 0, 0, 0, 0) for number in range(arms)]
    for _ in range(looks):
        held = [
            replace(
                shows(rng, arm, 500, share=0.02, larger=larger if number else 1.0), impressions=0
            )
            for number, arm in enumerate(held)
        ]
        for other in held[1:]:
            found = compare_by_contribution(held[0], other, comparisons=arms - 1)
            if found.verdict in SURE:
                return found
    return None


@pytest.mark.parametrize("arms", [2, 4])
def test_where_nobody_counts_the_showings_looking_often_finds_no_difference_either(
    arms: int,
) -> None:
    rng = random.Random(11)
    wrong = sum(ever_sure_of_gifts(rng, arms=arms) is not None for _ in range(RUNS))
    assert wrong / RUNS <= 0.05


def test_by_gifts_alone_a_variant_that_brings_three_times_as_much_is_found() -> None:
    rng = random.Random(12)
    found = [ever_sure_of_gifts(rng, larger=3.0) for _ in range(60)]
    assert sum(one is not None and one.verdict is Verdict.MORE for one in found) >= 54
    worse = [ever_sure_of_gifts(rng, larger=1 / 3) for _ in range(60)]
    assert sum(one is not None and one.verdict is Verdict.LESS for one in worse) >= 48


def test_a_naive_interval_would_have_been_wrong_far_more_often() -> None:
    """The simulation can tell: 1.96 standard errors, looked at as often, cry wolf."""
    rng, wrong = random.Random(6), 0
    for _ in range(RUNS):
        one, other = VariantResult("a", 0, 0, 0, 0), VariantResult("b", 0, 0, 0, 0)
        for _ in range(40):
            one, other = (shows(rng, arm, 500, share=0.01) for arm in (one, other))
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
    found = [ever_sure(rng, larger=3.0) for _ in range(60)]
    assert sum(one is not None and one.verdict is Verdict.MORE for one in found) >= 54
    worse = [ever_sure(rng, larger=1 / 3) for _ in range(60)]
    assert sum(one is not None and one.verdict is Verdict.LESS for one in worse) >= 48


def test_the_interval_covers_what_is_true_at_all_looks() -> None:
    rng, missed = random.Random(9), 0
    for _ in range(RUNS):
        one, other = VariantResult("a", 0, 0, 0, 0), VariantResult("b", 0, 0, 0, 0)
        for _ in range(30):
            one, other = (shows(rng, arm, 700, share=0.02) for arm in (one, other))
            found = compare_by_impression(one, other)
            if found.verdict is not Verdict.INSUFFICIENT_DATA and not found.low <= 0 <= found.high:
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
