"""Whatever happens to a donor's promise and to Stripe's webhooks, our records end as Stripe's own,
each mail is sent once, and Stripe is not asked more than is needed.
"""

import random

import pytest

from tests.storm.random_donors import RandomDonors
from tests.storm.stripe_comparison import (
    differences_from_stripe,
    mails_sent_twice,
    stripe_request_counts,
)
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio
POSTAL = ("lost", "late")
CARDS = (
    "card attached",
    "card updated",
    "card updated by the network",
    "card detached",
    "customer's default changed",
    "subscription's default changed",
    "card replaced by its donor",
)
DECISIONS = ("amount changed", "frequency changed", "skipped", "paused", "resumed")
ENDS = ("stopped by its donor", "stopped in the dashboard", "to end with its period",
        "not to end after all", "card begins to fail", "card works again")  # fmt: skip


async def holds(lives: RandomDonors) -> None:
    """What must be so at the end of every life."""
    asked, pages = stripe_request_counts(lives.room)
    assert asked <= 3 * lives.changed + pages, (asked, lives.changed, pages)
    assert await mails_sent_twice(lives.room) == []
    assert await differences_from_stripe(lives.room) == []


async def test_a_year_of_a_few_donors_ends_as_stripe_has_it(newsroom: Newsroom) -> None:
    lives = RandomDonors(newsroom, random.Random(1))
    await lives.run(donors=25, days=360, step=15)
    await holds(lives)
    for mark in (*POSTAL, *CARDS, *DECISIONS, *ENDS, "walked away", "declined, then paid"):
        assert lives.counts.get(mark, 0) > 0, (mark, lives.counts)


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(2, 7))
async def test_a_year_of_two_hundred_donors_ends_as_stripe_has_it(
    newsroom: Newsroom, seed: int
) -> None:
    lives = RandomDonors(newsroom, random.Random(seed))
    await lives.run(donors=200, days=365, step=5)
    await holds(lives)
    for mark in (*POSTAL, *CARDS, *DECISIONS, *ENDS):
        assert lives.counts.get(mark, 0) > 0, (mark, lives.counts)
