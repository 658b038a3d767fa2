"""Whatever happens to subscriptions and to webhooks, our records become Stripe's own, each mail is
sent once, and Stripe is not asked more than is needed.
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
DELIVERY_EVENTS = ("lost", "late")
CARD_EVENTS = (
    "card attached",
    "card updated",
    "card updated by the network",
    "card detached",
    "customer's default changed",
    "subscription's default changed",
    "card replaced by its donor",
)
DONOR_EVENTS = ("amount changed", "frequency changed", "skipped", "paused", "resumed")
END_EVENTS = (
    "stopped by its donor",
    "stopped in the dashboard",
    "to end with its period",
    "not to end after all",
    "card begins to fail",
    "card works again",
)
ALL_EVENTS = (*DELIVERY_EVENTS, *CARD_EVENTS, *DONOR_EVENTS, *END_EVENTS)


async def check(donors: RandomDonors) -> None:
    """What must be so in the end."""
    requests, pages = stripe_request_counts(donors.room)
    assert requests <= 3 * donors.changed_objects + pages
    assert await mails_sent_twice(donors.room) == []
    assert await differences_from_stripe(donors.room) == []


async def test_a_year_of_a_few_donors_ends_as_stripe_has_it(newsroom: Newsroom) -> None:
    donors = RandomDonors(newsroom, random.Random(1))
    await donors.run(donors=25, days=360, step=15)
    await check(donors)
    for event in (*ALL_EVENTS, "walked away", "declined, then paid"):
        assert donors.counts.get(event, 0) > 0, (event, donors.counts)


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(2, 7))
async def test_a_year_of_two_hundred_donors_ends_as_stripe_has_it(
    newsroom: Newsroom, seed: int
) -> None:
    donors = RandomDonors(newsroom, random.Random(seed))
    await donors.run(donors=200, days=365, step=5)
    await check(donors)
    for event in ALL_EVENTS:
        assert donors.counts.get(event, 0) > 0, (event, donors.counts)
