"""What we hold and Stripe does not have is found by reconciliation, and by whatever fetches it."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from payments.ops import reconcile
from payments.sandbox.sandbox import Sandbox
from tests.support.donor import subscription_id_of
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


def vanishes(sandbox: Sandbox, object_id: str) -> None:
    """Stripe has no such object any more, and never says so."""
    kind = sandbox.account.store.objects[object_id]["object"]
    sandbox.account.store.remove(object_id)
    sandbox.account.store.kinds[kind].remove(object_id)


async def executes(room: Newsroom, statement: str, **params: object) -> None:
    async with room.ctx.sessions.begin() as session:
        await session.execute(text(statement), params)


async def open_alerts(room: Newsroom) -> list[tuple[object, ...]]:
    return await room.rows(
        "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY kind, object_id"
    )


async def differences(room: Newsroom, *, repair: bool = False) -> tuple[list[str], list[str]]:
    """What reconciliation finds of the last week, and what it leaves."""
    result = await reconcile.run(room.ctx, days=7, repair=repair)
    return [f"{one.kind} {one.id} {one.description}" for one in result.before], [
        one.id for one in result.after
    ]


async def subscribes(room: Newsroom, email: str = "reader@example.org") -> str:
    gift = await room.gives(500, "monthly", email=email)
    await room.runs_until_idle()
    return await subscription_id_of(room, gift)


async def states(room: Newsroom) -> dict[str, str]:
    rows = await room.rows("SELECT stripe_subscription_id, status FROM subscriptions")
    return {str(id_): str(status) for id_, status in rows}


@pytest.mark.parametrize("found_by", ["reconciliation", "a sweep"])
async def test_a_subscription_that_stripe_does_not_know_ends_and_a_person_looks(
    newsroom: Newsroom, found_by: str
) -> None:
    stays, gone = await subscribes(newsroom), await subscribes(newsroom, "another@example.org")
    vanishes(newsroom.sandbox, gone)
    await newsroom.advances_time(timedelta(days=8))
    await newsroom.runs_until_idle()
    if found_by == "reconciliation":
        found, _ = await differences(newsroom)
        assert found == [f"subscription {gone} is here; Stripe does not have it"]
        assert (await states(newsroom))[gone] == "active"  # only looked at
        assert await differences(newsroom, repair=True) == (found, [])
    else:
        await newsroom.runs_sweeps()
    assert await states(newsroom) == {stays: "active", gone: "canceled"}
    assert await open_alerts(newsroom) == [("missing_at_stripe", gone)]
    assert newsroom.mails() == []
    assert await newsroom.rows("SELECT kind, actor FROM subscription_changes") == [
        ("cancelled", "stripe")
    ]
    asked = len(newsroom.sandbox.requests)
    await newsroom.advances_time(timedelta(days=8))
    await newsroom.runs_sweeps()
    assert not [one for one in newsroom.sandbox.requests[asked:] if gone in one.path]
    assert await differences(newsroom) == ([], [])


async def test_a_customer_that_stripe_does_not_know_leads_to_no_donor(newsroom: Newsroom) -> None:
    gift = await newsroom.gives(500, "monthly")
    await newsroom.runs_until_idle()
    await executes(
        newsroom,
        "INSERT INTO donor_customers SELECT 'cus_gone', donor_id FROM contributions WHERE id = :id",
        id=gift.id,
    )
    await newsroom.advances_time(timedelta(hours=1))
    found, left = await differences(newsroom, repair=True)
    assert found == ["customer cus_gone is here; Stripe does not have it"]
    assert left == []
    customers = await newsroom.rows("SELECT stripe_customer_id FROM donor_customers")
    assert len(customers) == 1
    assert ("cus_gone",) not in customers


async def test_money_that_stripe_does_not_know_stays_in_the_books_and_is_called_out(
    newsroom: Newsroom,
) -> None:
    await newsroom.gives(500)
    await newsroom.runs_until_idle()
    await executes(
        newsroom,
        "INSERT INTO charges (stripe_charge_id, status, amount, currency, charged_at, synced_at)"
        " VALUES ('ch_made_here', 'failed', 500, 'usd', :now, :now)",
        now=newsroom.clock.current,
    )
    await newsroom.advances_time(timedelta(hours=1))
    found, left = await differences(newsroom, repair=True)
    assert found == ["charge ch_made_here is here; Stripe does not have it"]
    assert left == ["ch_made_here"]
    assert await open_alerts(newsroom) == [("missing_at_stripe", "ch_made_here")]
    assert ("ch_made_here",) in await newsroom.rows("SELECT stripe_charge_id FROM charges")


async def test_what_stripe_lists_in_another_window_is_not_missing(newsroom: Newsroom) -> None:
    await newsroom.gives(500)
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=8))
    await newsroom.runs_until_idle()
    await executes(
        newsroom,
        "UPDATE charges SET charged_at = :now",
        now=newsroom.clock.current - timedelta(days=6, hours=23),
    )
    assert await differences(newsroom) == ([], [])
