"""In whatever order the events of a contribution arrive, however often, and whatever has been done
in between: what we know in the end is the same.

Many contributions share one newsroom. The events of each arrive in an order of its own, among those
of the others, some of them doubled, and the worker runs at random moments. The orders are chosen so
that any three events of a contribution come in each of their six orders.
"""

import asyncio
import json
import random
from collections import Counter
from itertools import combinations, permutations

import pytest
from sqlalchemy import text

from payments.sandbox.webhook_deliveries import Delivery
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio

ORDERS = 20
MANY_ORDERS = 200
CHOICES = 200  # how many orders are drawn to choose each from
PAUSES = 5
AT_ONCE = 12

# All that is known of a contribution, without its ids and without the times at which we looked. The
# place of a row in the books, and so its hash, follows from which contribution was posted first:
# that may differ, what was posted may not.
KNOWN = """
    SELECT c.frequency, c.amount, c.currency, c.status, c.origin, c.campaign, c.checkout_url,
           c.checkout_session_params, c.stripe_session_id IS NOT NULL,
           (SELECT json_agg(json_build_object(
                'status', s.status, 'amount', s.amount, 'currency', s.currency,
                'started', s.started_at, 'renews', s.current_period_end, 'ended', s.ended_at))
              FROM subscriptions s WHERE s.contribution_id = c.id),
           (SELECT json_agg(json_build_object(
                'frequency', i.frequency, 'status', ch.status, 'amount', ch.amount,
                'currency', ch.currency, 'at', ch.charged_at,
                'moved', ch.balance_transaction IS NOT NULL))
              FROM payment_intent_links i LEFT JOIN charges ch USING (stripe_payment_intent_id)
             WHERE i.contribution_id = c.id),
           (SELECT json_agg(json_build_object(
                'debit', e.debit, 'credit', e.credit, 'amount', e.amount,
                'currency', e.currency, 'at', e.occurred_at) ORDER BY e.debit, e.credit)
              FROM ledger_entries e WHERE e.contribution_id = c.id)
      FROM contributions c ORDER BY c.id
"""
OPERATIONAL = ("unposted_transactions", "alerts")


MADE, TAKEN, NEXT = "2026-11-22T12:00:00+00:00", "2026-11-22T12:00:01+00:00", "2026-12-22T12:00:00"


def whole(frequency: str) -> tuple[object, ...]:
    """All there is to know of a contribution made at noon."""
    subscription = {"status": "active", "started": MADE, "renews": f"{NEXT}+00:00", "ended": None}
    shown: dict[str, object] = {"amount": 500, "currency": "usd"}
    charge = {"frequency": frequency, "status": "succeeded", "at": MADE, "moved": True}
    fee = {"debit": "expense:processing", "credit": "stripe:balance", "amount": 45}
    income = {"debit": "stripe:balance", "credit": f"income:{frequency}", "amount": 500}
    entries = [entry | {"currency": "usd", "at": TAKEN} for entry in (fee, income)]
    subscriptions = [subscription | shown] if frequency != "once" else None
    request = (None, None, None)  # no campaign; the request and the page are forgotten
    columns = (frequency, 500, "usd", "paid", "reader", *request, True)
    return *columns, in_words(subscriptions), in_words([charge | shown]), in_words(entries)


def in_words(value: object) -> object:
    """A list of rows as something that can be compared and counted."""
    return None if value is None else json.dumps(value, sort_keys=True)


async def events_of(room: Newsroom, frequency: str, number: int) -> list[list[Delivery]]:
    """Every event, of whatever type, of each of so many contributions made at one moment."""
    room.sandbox.api.check_contract = False  # others look after that; here there are thousands
    [endpoint] = room.sandbox.account.store.of_kind("webhook_endpoint")
    await room.stripe_owner.v1.webhook_endpoints.update_async(
        endpoint["id"], {"enabled_events": ["*"]}
    )
    gifts = []
    for _ in range(number):
        await room.gives(500, frequency)
        gifts.append(room.sandbox.take_deliveries())
    gift_of = {object_id(event): events for events in gifts for event in events}
    await room.sandbox.advance_to_captures()
    for event in room.sandbox.take_deliveries():
        gift_of[object_id(event)].append(event)
    return gifts


def object_id(event: Delivery) -> str:
    return str(json.loads(event.body)["data"]["object"]["id"])


def in_many_orders(
    gifts: list[list[Delivery]], chance: random.Random
) -> tuple[list[Delivery], set[tuple[str, ...]]]:
    """Merge the events of contributions, each in an order of its own.

    Returns them, and every order in which three types came in one contribution.
    """
    seen: set[tuple[str, ...]] = set()
    ordered = []
    for events in gifts:
        drawn = [chance.sample(events, len(events)) for _ in range(CHOICES)]
        best = max(drawn, key=lambda order: len(threes(order) - seen))
        seen |= threes(best)
        ordered.append(best)
    turns = [number for number, events in enumerate(ordered) for _ in events]
    chance.shuffle(turns)
    return [ordered[number].pop(0) for number in turns], seen


def threes(order: list[Delivery]) -> set[tuple[str, ...]]:
    return set(combinations((delivery.event_type for delivery in order), 3))


async def known(room: Newsroom) -> Counter[tuple[object, ...]]:
    """What is known of each contribution, and of how many the same is known."""
    for table in OPERATIONAL:
        assert await room.count(table) == 0, table
    rows = await room.rows(KNOWN)
    return Counter((*row[:9], *(in_words(value) for value in row[9:])) for row in rows)


@pytest.mark.parametrize(("frequency", "types"), [("once", 5), ("monthly", 10)])
@pytest.mark.parametrize("orders", [ORDERS, pytest.param(MANY_ORDERS, marks=pytest.mark.storm)])
async def test_every_order_of_a_gifts_events_ends_in_the_same_rows(
    newsroom: Newsroom, frequency: str, types: int, orders: int
) -> None:
    chance = random.Random(f"{frequency}, in any order")
    deliveries, seen = in_many_orders(await events_of(newsroom, frequency, orders), chance)
    kinds = {delivery.event_type for delivery in deliveries}
    assert len(kinds) >= types
    assert seen >= set(permutations(kinds, 3))
    events = len(deliveries)
    for again in chance.choices(deliveries, k=events // 3):
        deliveries.insert(chance.randrange(len(deliveries)), again)
    pauses = chance.sample(range(0, len(deliveries), AT_ONCE), PAUSES)
    for start in range(0, len(deliveries), AT_ONCE):
        together = deliveries[start : start + AT_ONCE]
        answers = await asyncio.gather(*(newsroom.deliver([one]) for one in together))
        assert answers == [[200]] * len(together)
        if start in pauses:
            await newsroom.runs_due_jobs()
    await newsroom.runs_due_jobs()
    assert await known(newsroom) == {whole(frequency): orders}
    assert await newsroom.count("stripe_events") == events


async def test_it_is_the_same_while_stripe_fails_now_and_then(newsroom: Newsroom) -> None:
    chance = random.Random("and with failures")
    deliveries, _ = in_many_orders(await events_of(newsroom, "monthly", 6), chance)
    for path in ("charges", "invoices", "subscriptions", "checkout"):
        newsroom.sandbox.faults.add("GET", f"/v1/{path}/", "rate_limited", 5)
    for n, delivery in enumerate(deliveries):
        await newsroom.deliver([delivery])
        if n % 30 == 0:
            await newsroom.runs_due_jobs()
    for _ in range(4):  # after a failed attempt there is a pause of real time, which is let pass
        await newsroom.runs_due_jobs()
        async with newsroom.ctx.sessions.begin() as session:
            await session.execute(text("UPDATE procrastinate_jobs SET scheduled_at = NULL"))
    await newsroom.runs_due_jobs()
    assert newsroom.sandbox.faults.pending == []
    assert await known(newsroom) == {whole("monthly"): 6}
