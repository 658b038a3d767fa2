"""A past that several files of these tests begin after; it is played once."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import uvloop
from stripe.params import RefundCreateParams

from payments.accounting import daily_totals
from payments.staff.accounts import Role
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.packs import makes_three_packs
from tests.support.past import has_given
from tests.support.snapshot import Snapshot, restore_newsroom, take_snapshot


@pytest.fixture(scope="session")
def two_months(cluster: str) -> Iterator[Snapshot]:
    """Gifts of three frequencies and currencies, one refunded in part, and payouts."""
    with take_snapshot(cluster, gives_for_two_months, accounting_zone="Europe/Amsterdam") as taken:
        yield taken


@pytest.fixture
async def ada(cluster: str, two_months: Snapshot) -> AsyncIterator[Colleague]:
    """A colleague of finance, in a newsroom with two months of gifts."""
    async with (
        restore_newsroom(cluster, two_months) as room,
        open_colleague_browser(room, "Ada", Role.FINANCE) as ada,
    ):
        await ada.opens_link()
        yield ada
        assert await room.failed_integrity_checks() == []


async def gives_for_two_months(room: Newsroom) -> None:
    for amount, frequency, currency in (
        (2500, "once", "usd"),
        (700, "monthly", "eur"),
        (5000, "annual", "gbp"),
    ):
        await room.requests_contribution(amount, frequency, currency)
        await room.gives(amount, frequency, currency)
    await room.creates_campaigns("war-diary")
    asked = await room.requests_contribution(1234, campaign="war-diary")
    await room.pays(asked.json()["checkout_url"])
    await room.runs_until_idle()
    ((intent,),) = await room.rows(
        "SELECT stripe_payment_intent_id FROM charges WHERE amount = 2500"
    )
    refund: RefundCreateParams = {"payment_intent": str(intent), "amount": 333}
    await room.stripe_owner.v1.refunds.create_async(refund)
    for _ in range(2):
        await room.advances_time(timedelta(days=32))
        await room.runs_until_idle()
    await room.runs_sweeps()


@pytest.fixture(scope="session")
def november(cluster: str) -> Iterator[Snapshot]:
    """A November that is over and can be closed."""
    with take_snapshot(cluster, gives_in_november) as taken:
        yield taken


async def gives_in_november(room: Newsroom) -> None:
    await room.gives(2500)
    await room.gives(500, "monthly")
    await has_given(room, 1000, "once", "eur")
    await room.advances_time(datetime(2026, 12, 1, 8, tzinfo=UTC) - room.clock())
    await room.runs_until_idle()
    await daily_totals.import_and_refresh(room.ctx)


@pytest.fixture(scope="session")
def packs(cluster: str, november: Snapshot) -> list[bytes]:
    """Three packs: November's that was undone, November's that is valid, and December's."""

    async def make() -> list[bytes]:
        async with restore_newsroom(cluster, november) as room:
            return await makes_three_packs(room)

    return uvloop.run(make())
