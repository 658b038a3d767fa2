"""What happens here is sent to other programs of the newsroom: made once, delivered surely."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.support.events import (
    Receiver,
    has_endpoint,
    is_signed,
    kinds,
    messages,
    sends_events,
)
from tests.support.newsletter import lower_case_headers
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.open()
    yield made
    await made.aclose()


async def test_webhooks_in_any_order_and_doubled_make_one_signed_event_of_each_fact(
    newsroom: Newsroom, receiver: Receiver
) -> None:
    await newsroom.gives(700, "once")  # before there is an endpoint
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(minutes=1))
    _, secret = await has_endpoint(newsroom, receiver)
    gift = await newsroom.gives(500, "monthly")
    webhooks = newsroom.sandbox.take_deliveries()
    for delivery in (*reversed(webhooks), *webhooks):
        await newsroom.deliver([delivery])
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
    for private in (gift.id, gift.donor_id, "cus_", "sub_", "ch_", "pi_", "reader@", "campaign"):
        assert str(private) not in sent
    ((headers, body), _) = receiver.came
    assert not is_signed(headers, body.replace(b"500", b"501"), secret)
    assert not is_signed(lower_case_headers(headers) | {"webhook-id": "evt_x"}, body, secret)
