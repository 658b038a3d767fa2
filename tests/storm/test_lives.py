"""Whatever happens to Stripe's webhooks, our records end as Stripe's own."""

import random

import pytest

from tests.newsroom import Newsroom
from tests.storm.lives import Lives, differences

pytestmark = pytest.mark.anyio


async def test_a_year_of_a_few_donors_ends_as_stripe_has_it(newsroom: Newsroom) -> None:
    lives = Lives(newsroom, random.Random(1))
    await lives.live(donors=25, days=360, step=30)
    assert await differences(newsroom) == []
    for mark in ("lost", "late", "stopped", "walked away", "declined, then paid"):
        assert lives.marks.get(mark, 0) > 0, mark


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(2, 7))
async def test_a_year_of_two_hundred_donors_ends_as_stripe_has_it(
    newsroom: Newsroom, seed: int
) -> None:
    lives = Lives(newsroom, random.Random(seed))
    await lives.live(donors=200, days=365, step=5)
    assert await differences(newsroom) == []
