"""Webhooks that are refused, or meant for others: nothing is lost, or fetched for nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest

from payments.giving import payment_methods
from payments.giving.change_log import Actor
from payments.ops import schedules
from payments.ops.schedules import SCHEDULES
from payments.sandbox.webhook_deliveries import Delivery
from tests.support.donor import subscription_id_of
from tests.support.newsroom import BASE_URL, Newsroom
from tests.support.past import has_given
from webhooks import arrival, sweeps

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


async def open_alerts(room: Newsroom) -> list[tuple[object, ...]]:
    return await room.rows("SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY id")


def signed_wrongly(room: Newsroom, delivery: Delivery, how: str) -> Delivery:
    if how == "secret":
        return room.sandbox.sign_again(delivery, secret="whsec_" + "1" * 32)
    return room.sandbox.sign_again(delivery, at=room.clock() - timedelta(minutes=10))


@pytest.mark.parametrize("how", ["secret", "clock"])
async def test_an_hour_without_a_webhook_that_is_accepted_calls_a_person_once(
    newsroom: Newsroom, how: str
) -> None:
    await has_given(newsroom, 500)
    gift = await newsroom.gives(700)
    opened = []
    for _ in range(8):  # in a quarter of an hour each
        await newsroom.sandbox.advance_to_captures()
        refused = [signed_wrongly(newsroom, one, how) for one in newsroom.sandbox.take_deliveries()]
        assert set(await newsroom.deliver(refused)) <= {400}
        await newsroom.advances_time(HOUR / 4)
        await newsroom.runs_sweeps()
        opened.append(await arrival.refresh_alert(newsroom.ctx))
    assert opened[0] is False
    assert opened[-1] is True
    assert await open_alerts(newsroom) == [("webhooks_missing", "webhook_endpoint")]
    assert (await newsroom.contribution(gift.id)).status == "paid"  # nothing is lost

    await newsroom.gives(900)
    await newsroom.runs_until_idle()  # signed as it should be
    assert await arrival.refresh_alert(newsroom.ctx) is False
    assert await open_alerts(newsroom) == []


async def test_whoever_posts_forged_webhooks_calls_nobody(newsroom: Newsroom) -> None:
    await newsroom.gives(500)
    await newsroom.sandbox.advance_to_captures()
    deliveries = newsroom.sandbox.take_deliveries()
    await newsroom.deliver(deliveries)
    for _ in range(3):
        await newsroom.advances_time(HOUR)
        forged = [signed_wrongly(newsroom, one, "secret") for one in deliveries]
        assert {
            (
                await newsroom.web.post("/webhooks/stripe", content=one.body, headers=one.headers)
            ).status_code
            for one in forged
        } == {400}
        assert await arrival.refresh_alert(newsroom.ctx) is False
    await newsroom.runs_due_jobs()


@pytest.mark.parametrize("how", ["deleted", "of the other mode"])
async def test_an_endpoint_that_gets_nothing_of_ours_calls_a_person_too(
    newsroom: Newsroom, how: str
) -> None:
    await has_given(newsroom, 500)
    if how == "deleted":  # Stripe sends nothing, and has nothing that it could not deliver
        (endpoint,) = newsroom.sandbox.account.store.of_kind("webhook_endpoint")
        newsroom.sandbox.dashboard_request("DELETE", f"/v1/webhook_endpoints/{endpoint['id']}", {})
    gift = await newsroom.gives(700)
    await newsroom.sandbox.advance_to_captures()
    for delivery in newsroom.sandbox.take_deliveries():
        body = delivery.body.replace(b'"livemode": false', b'"livemode": true')
        body = body.replace(b'"livemode":false', b'"livemode":true')
        other_mode = newsroom.sandbox.sign_again(replace(delivery, body=body))
        assert await newsroom.deliver([other_mode]) == [200]  # and delivered, for Stripe
    asked = len(newsroom.sandbox.requests)
    assert await arrival.refresh_alert(newsroom.ctx) is False
    assert len(newsroom.sandbox.requests) == asked  # nobody is asked within the hour
    await newsroom.advances_time(HOUR * 1.5)
    for _ in range(2):
        assert await arrival.refresh_alert(newsroom.ctx) is True
    assert await open_alerts(newsroom) == [("webhooks_missing", "webhook_endpoint")]
    await newsroom.runs_due_jobs()  # what they were about is looked at
    assert (await newsroom.contribution(gift.id)).status == "paid"


async def test_an_event_that_another_endpoint_did_not_take_is_not_fetched_again(
    newsroom: Newsroom,
) -> None:
    newsroom.sandbox.dashboard_request(
        "POST",
        "/v1/webhook_endpoints",
        {"url": "https://old.example.org/stripe", "enabled_events": ["*"]},
    )
    for amount in (500, 600):
        await newsroom.gives(amount, "monthly")
    for _ in range(6):
        await newsroom.sandbox.advance_to_captures()
        for delivery in newsroom.sandbox.take_deliveries():
            if delivery.url.startswith(BASE_URL):
                await newsroom.deliver([delivery])
            else:
                newsroom.sandbox.acknowledge(delivery, 404)
        await newsroom.runs_due_jobs()
    for _ in range(2):
        assert await sweeps.sync_undelivered(newsroom.ctx) == 0
        assert await arrival.refresh_alert(newsroom.ctx) is False
        await newsroom.advances_time(timedelta(minutes=20))
    newsroom.sandbox.take_deliveries()


async def test_a_card_given_on_stripes_page_is_found_without_its_webhook(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 500, "monthly")
    asked = len(newsroom.sandbox.requests)
    await sweeps.sync_new(newsroom.ctx)
    assert "/v1/setup_intents" not in {r.path for r in list(newsroom.sandbox.requests)[asked:]}
    ((before,),) = await newsroom.rows("SELECT stripe_payment_method_id FROM subscriptions")
    subscription_id = await subscription_id_of(newsroom)
    pages = [
        await payment_methods.start_card_update(
            newsroom.ctx, subscription_id, actor=Actor.DONOR, return_path="/manage"
        )
        for _ in range(2)  # one is left
    ]
    await newsroom.pays(pages[0])
    for delivery in newsroom.sandbox.take_deliveries():
        newsroom.sandbox.acknowledge(delivery, 200)  # and lost by whoever answered
    assert await sweeps.sync_new(newsroom.ctx) == 1
    await newsroom.runs_due_jobs()
    ((after,),) = await newsroom.rows("SELECT stripe_payment_method_id FROM subscriptions")
    assert after != before
    assert await sweeps.sync_new(newsroom.ctx) == 0  # once


async def test_an_import_that_stands_still_for_an_hour_calls_a_person(newsroom: Newsroom) -> None:
    (check,) = (one for one in SCHEDULES if one.name == "check_import")
    (importing,) = (one for one in SCHEDULES if one.name == "import_balance")
    await schedules.run(newsroom.ctx, importing)
    for passed, expected in ((HOUR * 0.9, []), (HOUR, [("import_stalled", "import_balance")])):
        await newsroom.advances_time(passed)
        await schedules.run(newsroom.ctx, check)
        assert await open_alerts(newsroom) == expected
    await schedules.run(newsroom.ctx, importing)
    await schedules.run(newsroom.ctx, check)
    assert await open_alerts(newsroom) == []
