"""Time removes who gave, to the day, and leaves the books as they were."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from payments.ops import schedules
from payments.risk.emergency_stops import StopGroup, StopMode
from payments.safety import data_inventory, emergency_stop, retention
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.past import has_given
from tests.support.safety_policy import POLICY, policy_file
from tests.support.stripe_dashboard import subscribe, with_card

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(database: str, tmp_path: Path) -> AsyncIterator[Newsroom]:
    policy = POLICY.replace('"The Example"', '"Новая газета"')
    async with open_newsroom(database, donor_safety_policy=policy_file(tmp_path, policy)) as made:
        yield made
        await made.runs_until_idle()
        assert made.sandbox.problems == []


async def purges_expired(room: Newsroom) -> None:
    """The schedule of the night."""
    await schedules.purge_expired(room.ctx)


async def test_a_donor_is_forgotten_thirteen_months_after_the_last_gift_to_the_day(
    room: Newsroom,
) -> None:
    contribution = (await room.requests_contribution(500, declaration=True)).json()
    await room.pays(contribution["checkout_url"])
    await room.runs_until_idle()
    await room.runs_sweeps()
    await room.advances_time(data_inventory.DONOR_LINK_RETENTION - timedelta(hours=1))
    await purges_expired(room)
    assert await room.count("donors") == 1
    await room.advances_time(timedelta(days=1))
    await purges_expired(room)
    assert await room.count("donors") == 0
    stored = await room.contribution(contribution["id"])
    assert (stored.donor_id, stored.stripe_session_id, stored.amount) == (None, None, 500)
    assert await room.failed_integrity_checks() == []


async def test_a_subscription_that_goes_on_retains_its_donor(room: Newsroom) -> None:
    contribution = (await room.requests_contribution(500, "annual", declaration=True)).json()
    await room.pays(contribution["checkout_url"])
    await room.runs_until_idle()
    for _ in range(3):
        await room.advances_time(timedelta(days=200))
        await room.runs_until_idle()
        await purges_expired(room)
    assert await room.count("donors") == 1


async def test_of_what_a_stop_ended_for_another_program_nothing_stays(newsroom: Newsroom) -> None:
    room = newsroom
    customer, card = with_card(room, "buyer@example.org")
    subscribe(room, customer, card, 1500, product="letters", shop="letters")
    await has_given(room, 500, "monthly")
    stop = (StopGroup.ALL, StopMode.CANCEL)
    await emergency_stop.execute(room.ctx, *stop)
    await room.runs_due_jobs()
    tables = ("subscription_changes", "emergency_stop_items", "muted_subscriptions")
    before = [await room.count(table) for table in tables]
    assert before == [2, 2, 2]
    room.clock.advance(data_inventory.FOREIGN_RETENTION - timedelta(hours=1))
    await purges_expired(room)
    assert [await room.count(table) for table in tables] == before
    await emergency_stop.lift(room.ctx, *stop)
    room.clock.advance(timedelta(hours=2))
    await purges_expired(room)
    assert [await room.count(table) for table in tables] == [1, 1, 0]  # a donor hears of it again
    room.clock.advance(data_inventory.DONOR_LINK_RETENTION)
    await purges_expired(room)
    assert await room.rows("SELECT left(subscription_id, 10) FROM subscription_changes") == [
        ("anonymised",)
    ]


async def test_eight_years_leave_the_books_and_nobody(room: Newsroom) -> None:
    for frequency in ("once", "monthly"):
        contribution = (await room.requests_contribution(500, frequency, declaration=True)).json()
        await room.pays(contribution["checkout_url"], email=f"{frequency}@example.org")
    await room.runs_until_idle()
    await room.advances_time(timedelta(days=40))
    await room.runs_until_idle()
    ((subscription,),) = await room.rows("SELECT stripe_subscription_id FROM subscriptions")
    room.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{subscription}")
    await room.runs_until_idle()
    await room.runs_sweeps()
    total = (
        "SELECT debit, credit, sum(amount), count(*) FROM ledger_entries GROUP BY 1, 2 ORDER BY 1"
    )
    before = await room.rows(total)
    assert await room.count("donors") == 2
    for _ in range(8 * 12 + 1):
        await room.advances_time(timedelta(days=30, hours=11))
        await purges_expired(room)
    assert await room.rows(total) == before
    for table in (
        "donors",
        "donor_customers",
        "outbox_mails",
        "sign_in_links",
        "erasures",
        "muted_subscriptions",
    ):
        assert await room.count(table) == 0, table
    contributions = await room.rows(
        "SELECT donor_id, stripe_session_id, checkout_url, idempotency_key_hash, language"
        "  FROM contributions"
    )
    assert contributions == [(None, None, None, None, "en")] * 2
    rows = await room.rows("SELECT stripe_subscription_id, stripe_customer_id FROM subscriptions")
    ((subscription_id, customer_id),) = rows
    assert (str(subscription_id)[:11], customer_id) == ("anonymised_", "anonymised")
    assert await room.failed_integrity_checks() == []
    await retention.purge_expired(room.ctx)  # twice is once
    assert await room.rows(total) == before
