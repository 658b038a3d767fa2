"""Whatever happens to a donor's promise and to Stripe's webhooks, our records end as Stripe's own,
each mail is sent once, and Stripe is not asked more than is needed.
"""

import random

import pytest

from tests.newsroom import Newsroom
from tests.storm.lives import Lives
from tests.storm.truth import asked_of_stripe, differences, mails_sent_twice

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


async def holds(lives: Lives) -> None:
    """What must be so at the end of every life."""
    asked, pages = asked_of_stripe(lives.room)
    assert asked <= 3 * lives.changed + pages, (asked, lives.changed, pages)
    assert await mails_sent_twice(lives.room) == []
    assert await differences(lives.room) == []


async def test_a_year_of_a_few_donors_ends_as_stripe_has_it(newsroom: Newsroom) -> None:
    lives = Lives(newsroom, random.Random(1))
    await lives.live(donors=25, days=360, step=15)
    await holds(lives)
    for mark in (*POSTAL, *CARDS, *DECISIONS, *ENDS, "walked away", "declined, then paid"):
        assert lives.marks.get(mark, 0) > 0, (mark, lives.marks)


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(2, 7))
async def test_a_year_of_two_hundred_donors_ends_as_stripe_has_it(
    newsroom: Newsroom, seed: int
) -> None:
    lives = Lives(newsroom, random.Random(seed))
    await lives.live(donors=200, days=365, step=5)
    await holds(lives)
    for mark in (*POSTAL, *CARDS, *DECISIONS, *ENDS):
        assert lives.marks.get(mark, 0) > 0, (mark, lives.marks)
