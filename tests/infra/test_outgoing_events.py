"""What happens here is sent to other programs of the newsroom: made once, delivered surely."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from payments.accounting import period_close
from payments.core.errors import InvalidField, NotFound
from payments.infra.outgoing_events import delivery, endpoints, replays
from payments.infra.outgoing_events.tables import EventKind
from payments.safety import erasure
from tests.support.events import (
    Receiver,
    has_endpoint,
    is_signed,
    kinds,
    listening,
    messages,
    sends_events,
)
from tests.support.newsletter import lower_case_headers
from tests.support.newsroom import Newsroom
from tests.support.safety_policy import POLICY, RUSSIAN, policy_file, protected
from tests.support.stripe_dashboard import update, with_card

pytestmark = pytest.mark.anyio
DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with listening() as made:
        yield made


@pytest.fixture
async def other() -> AsyncIterator[Receiver]:
    async with listening() as made:
        yield made


async def test_webhooks_in_any_order_and_doubled_make_one_signed_event_of_each_fact(
    newsroom: Newsroom, receiver: Receiver
) -> None:
    await newsroom.gives(700, "once")  # before there is an endpoint
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(minutes=1))
    _, secret = await has_endpoint(newsroom, receiver)
    gift = await newsroom.gives(500, "monthly")
    webhooks = newsroom.sandbox.take_deliveries()
    for webhook in (*reversed(webhooks), *webhooks):
        await newsroom.deliver([webhook])
        await newsroom.runs_due_jobs()
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    assert receiver.came == []
    for _ in range(2):
        await sends_events(newsroom)
    assert kinds(receiver, secret) == ["contribution.paid", "subscription.started"]
    assert len(receiver.came) == 2
    paid = next(one for one in messages(receiver, secret) if one["type"] == "contribution.paid")
    assert paid["timestamp"] == "2026-11-22T12:01:01Z"
    pseudonym = paid["data"].pop("contribution")
    assert pseudonym != gift.id
    assert len(pseudonym) == 32
    assert paid["data"] == {
        "amount": 500,
        "currency": "usd",
        "frequency": "monthly",
        "interval_unit": "month",
        "interval_count": 1,
    }
    sent = b"".join(body for _, body in receiver.came).decode()
    donor_id = (await newsroom.contribution(gift.id)).donor_id
    for private in (gift.id, donor_id, "cus_", "sub_", "ch_", "pi_", "reader@", "campaign"):
        assert str(private) not in sent
    ((headers, body), _) = receiver.came
    assert not is_signed(headers, body.replace(b"500", b"501"), secret)
    assert not is_signed(lower_case_headers(headers) | {"webhook-id": "evt_x"}, body, secret)


def documented() -> dict[str, Any]:
    """The example of each event in the document, by its type."""
    examples = re.findall(r"^```json\n(.*?)\n```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    found = {example["type"]: example for example in map(json.loads, examples)}
    assert sorted(found) == sorted(EventKind)
    return found


def shape(value: object) -> object:
    """What a message has, without its values; an interval may be null."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if not name.startswith("interval_")}
    return type(value).__name__


def is_believed_by_the_receiver_of_the_document(
    headers: dict[str, str], body: bytes, secret: str
) -> None:
    """Run what the document shows to receivers."""
    (example,) = re.findall(
        r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - our own document
    sent = lower_case_headers(headers)
    at = int(sent["webhook-timestamp"])
    believes = names["is_ours"]
    assert believes(secret, sent, body, now=at)
    assert not believes(secret, sent, body + b" ", now=at)
    assert not believes(secret, sent | {"webhook-id": "evt_x"}, body, now=at)
    assert not believes(secret, sent, body, now=at + 301)
    assert not believes("whsec_" + "A" * 32, sent, body, now=at)
    assert not believes(secret, sent | {"webhook-timestamp": "soon"}, body)


async def test_a_contribution_and_the_books_have_an_event_at_each_turn_and_no_other(
    newsroom: Newsroom, receiver: Receiver
) -> None:
    room = newsroom
    _, secret = await has_endpoint(room, receiver)
    seen = list[str]()

    async def news() -> list[str]:
        """What has come since it was last asked for."""
        await room.runs_until_idle()
        await room.runs_sweeps()
        await sends_events(room)
        new = kinds(receiver, secret)
        for one in seen:
            new.remove(one)
        seen.extend(new)
        return new

    await room.gives(700, "monthly")
    assert await news() == ["contribution.paid", "subscription.started"]
    ((subscription, customer, method),) = await room.rows(
        "SELECT stripe_subscription_id, stripe_customer_id, stripe_payment_method_id"
        "  FROM subscriptions"
    )
    path = f"/v1/subscriptions/{subscription}"
    (item,) = room.sandbox.account.store.objects[str(subscription)]["items"]["data"]
    price = {
        "currency": "usd",
        "unit_amount": 900,
        "product": item["price"]["product"],
        "recurring": {"interval": "month"},
    }
    update(room, path, items=[{"id": item["id"], "price_data": price}], proration_behavior="none")
    assert await news() == ["subscription.changed"]
    changed = messages(receiver, secret)[-1]["data"]
    assert (changed["amount"], changed["before"]["amount"]) == (900, 700)
    room.sandbox.fail_card(str(method), "insufficient_funds")
    await room.advances_time(timedelta(days=31))
    assert await news() == ["payout.paid", "subscription.failed"]
    _, card = with_card(room, "", customer=str(customer))
    update(room, path, default_payment_method=card)
    invoice = room.sandbox.account.store.objects[str(subscription)]["latest_invoice"]
    update(room, f"/v1/invoices/{invoice}/pay", payment_method=card)
    assert await news() == ["contribution.paid", "subscription.recovered"]
    room.sandbox.dashboard_request("DELETE", path)
    assert await news() == ["subscription.ended"]
    pseudonyms = {
        one["data"]["contribution"]
        for one in messages(receiver, secret)
        if "contribution" in one["data"]
    }
    assert len(pseudonyms) == 1
    await room.gives(2500)
    assert await news() == ["contribution.paid"]
    ((charge,),) = await room.rows("SELECT stripe_charge_id FROM charges WHERE amount = 2500")
    await room.stripe_owner.v1.refunds.create_async({"charge": str(charge), "amount": 1000})
    assert await news() == ["contribution.refunded"]
    assert messages(receiver, secret)[-1]["data"]["amount"] == 1000
    room.sandbox.dispute(str(charge), amount=500)
    assert await news() == ["contribution.disputed"]
    assert messages(receiver, secret)[-1]["data"]["amount"] == 500
    await period_close.close(room.ctx, date(2026, 11, 1), by="Ada")
    assert await news() == ["period.closed"]
    closed = messages(receiver, secret)[-1]["data"]
    assert closed == {"month": "2026-11", "zone": "UTC"}
    for message in messages(receiver, secret):
        assert shape(message) == shape(documented()[message["type"]])
    sent = b"".join(body for _, body in receiver.came).decode()
    for private in (customer, subscription, method, charge, "reader@", "cus_", "pm_", "in_"):
        assert str(private) not in sent


async def sends_test(room: Newsroom, endpoint_id: str) -> str:
    """A colleague sends a test to an endpoint. Gives the event's id."""
    async with room.ctx.sessions.begin() as session:
        endpoint = await endpoints.get(session, endpoint_id, lock=True)
        event_id = await replays.send_test(session, endpoint, now=room.ctx.now())
    await room.runs_due_jobs()
    return event_id


async def log(room: Newsroom, event_id: str) -> tuple[object, ...]:
    """What the log says of an event: its state, attempts, problem and status."""
    (row,) = await room.rows(
        "SELECT state, attempts, problem, response_status FROM event_deliveries"
        " WHERE event_id = :id",
        id=event_id,
    )
    return row


async def open_alerts(room: Newsroom) -> list[object]:
    rows = await room.rows("SELECT kind, object_id FROM alerts WHERE closed_at IS NULL")
    return [tuple(row) for row in rows]


async def waits(room: Newsroom, by: timedelta) -> None:
    room.clock.advance(by)
    await sends_events(room)


async def test_what_is_not_taken_is_sent_again_and_a_dead_endpoint_holds_up_nobody(
    newsroom: Newsroom, receiver: Receiver, other: Receiver
) -> None:
    room = newsroom
    bad, secret = await has_endpoint(room, receiver)
    good, _ = await has_endpoint(room, other, name="Chat")
    receiver.status = 500
    first = await sends_test(room, bad.id)
    assert await log(room, first) == ("waiting", 1, "status", 500)
    await sends_events(room)
    assert len(receiver.came) == 1  # not due yet
    receiver.status = 302
    await waits(room, timedelta(minutes=2))
    assert await log(room, first) == ("waiting", 2, "redirected", 302)
    receiver.status = 200
    await waits(room, timedelta(minutes=7))
    assert await log(room, first) == ("delivered", 3, None, 200)
    (message,) = messages(receiver, secret)  # the same bytes under the same id
    assert shape(message) == shape(documented()["endpoint.test"])
    assert message["data"] == {"endpoint": "Statistics"}
    is_believed_by_the_receiver_of_the_document(*receiver.came[0], secret)
    stamps = [lower_case_headers(sent)["webhook-timestamp"] for sent, _ in receiver.came]
    assert stamps == sorted(set(stamps))

    await receiver.aclose()
    waiting = [await sends_test(room, bad.id) for _ in range(4)]
    attempts = [await log(room, one) for one in waiting]
    assert attempts[:3] == [("waiting", 1, "unreachable", None)] * 3
    for _ in range(6):
        await waits(room, timedelta(hours=13))
        assert (await log(room, await sends_test(room, good.id)))[0] == "delivered"
    assert await open_alerts(room) == [("event_endpoint_disabled", bad.id)]
    await receiver.open()
    late = await sends_test(room, bad.id)
    await waits(room, timedelta(hours=13))
    assert await log(room, late) == ("waiting", 0, None, None)
    assert len(receiver.came) == 3
    async with room.ctx.sessions.begin() as session:
        endpoint = await endpoints.get(session, bad.id, lock=True)
        await endpoints.enable(session, endpoint, now=room.ctx.now())
    await waits(room, timedelta(hours=25))
    assert {(await log(room, one))[0] for one in (*waiting, late)} == {"delivered"}
    assert await open_alerts(room) == []

    receiver.status = 410  # it wants no more
    assert await log(room, await sends_test(room, bad.id)) == ("waiting", 1, "status", 410)
    assert await open_alerts(room) == [("event_endpoint_disabled", bad.id)]
    await waits(room, timedelta(hours=1))
    assert len(receiver.came) == 9
    async with room.ctx.sessions.begin() as session:
        await endpoints.delete(
            session, await endpoints.get(session, bad.id, lock=True), now=room.ctx.now()
        )
    assert await open_alerts(room) == []
    async with room.ctx.sessions.begin() as session:
        await delivery.purge(session, room.ctx.now() + timedelta(days=15))
    assert await room.count("outgoing_events") == await room.count("event_deliveries") == 0


async def test_an_event_that_is_never_taken_is_given_up_and_can_be_sent_again(
    newsroom: Newsroom, receiver: Receiver, other: Receiver
) -> None:
    room = newsroom
    endpoint, secret = await has_endpoint(room, receiver)
    receiver.status = 400
    refused = await sends_test(room, endpoint.id)
    receiver.status = 200
    for _ in range(12):
        await sends_test(room, endpoint.id)  # the others are taken
        receiver.status = 400
        await waits(room, timedelta(hours=27))
        receiver.status = 200
    assert await log(room, refused) == ("given_up", 10, "status", 400)
    assert await open_alerts(room) == []
    start = room.ctx.now() - timedelta(days=1)
    async with room.ctx.sessions.begin() as session:
        row = await endpoints.get(session, endpoint.id, lock=True)
        await replays.replay(session, row, refused, now=room.ctx.now())
        new = endpoints.rotate_secret(room.settings, row, now=room.ctx.now())
        with pytest.raises(NotFound):
            await replays.replay(session, row, "0" * 32, now=room.ctx.now())
    receiver.came.clear()
    await room.runs_due_jobs()
    assert (await log(room, refused))[0] == "delivered"
    (sent,) = receiver.came
    assert is_signed(*sent, secret)
    assert is_signed(*sent, new)
    await waits(room, timedelta(days=1))
    receiver.came.clear()
    gift = await room.gives(500)
    await room.runs_until_idle()
    await sends_events(room)
    (sent,) = receiver.came
    assert is_signed(*sent, new)
    assert not is_signed(*sent, secret)
    late, its_secret = await has_endpoint(room, other, name="New")
    until = room.ctx.now() + timedelta(minutes=1)

    async def replays_since(since: datetime) -> int:
        async with room.ctx.sessions.begin() as session:
            row = await endpoints.get(session, late.id, lock=True)
            return await replays.replay_range(
                session, row, since=since, until=until, now=room.ctx.now()
            )

    assert await replays_since(until) == 0
    assert await replays_since(start) == 1
    await room.runs_due_jobs()
    ours, theirs = messages(receiver, new)[0]["data"], messages(other, its_secret)[0]["data"]
    assert ours.pop("contribution") != theirs.pop("contribution")
    assert ours == theirs
    assert await replays_since(start) == 1
    donor_id = (await room.contribution(gift.id)).donor_id
    async with room.ctx.sessions.begin() as session:
        await erasure.erase_donors(session, [str(donor_id)], now=room.ctx.now())
    assert await room.count("outgoing_events WHERE contribution_id IS NOT NULL") == 0
    await room.runs_due_jobs()
    assert len(other.came) == 1


async def test_where_donors_are_in_danger_an_event_has_a_day_and_comes_after_it(
    database: str, tmp_path: Path, receiver: Receiver
) -> None:
    policy = POLICY.replace("\nrecurring", '\noutgoing_events = "by_day"\nrecurring')
    async with protected(database, tmp_path, policy) as room:
        _, secret = await has_endpoint(room, receiver)
        for card in ("4242424242424242", RUSSIAN):
            asked = await room.requests_contribution(500, declaration=True)
            await room.pays(asked.json()["checkout_url"], card)
            await room.runs_until_idle()
        assert await room.count("contributions WHERE protected") == 1
        await sends_events(room)
        await waits(room, timedelta(hours=11))
        assert receiver.came == []  # the day is not over
        await waits(room, timedelta(hours=2))
        (paid,) = messages(receiver, secret)
        assert paid == {
            "type": "contribution.paid",
            "timestamp": "2026-11-22T00:00:00Z",
            "data": {
                "amount": 500,
                "currency": "usd",
                "frequency": "once",
                "interval_unit": None,
                "interval_count": None,
            },
        }
        (tmp_path / "hidden").mkdir()
        hidden = policy_file(tmp_path / "hidden", POLICY)
        ctx = replace(
            room.ctx, settings=room.settings.model_copy(update={"donor_safety_policy": hidden})
        )
        await delivery.enqueue_due(ctx)
        assert await room.count("outgoing_events") == 0
        assert endpoints.offered_kinds(ctx.settings) == ("payout.paid", "period.closed")
        async with ctx.sessions.begin() as session:
            with pytest.raises(InvalidField):
                await endpoints.create(
                    session,
                    ctx.settings,
                    name="Chat",
                    url=receiver.url,
                    kinds=["contribution.paid"],
                    now=ctx.now(),
                )
