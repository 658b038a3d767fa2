"""What somebody is owed because of a state at Stripe, from whatever source we learn of that state.

Everything happens in one month in which no webhook arrives. Then one source is read: the webhooks
come late, the schedules sweep, the balance is imported, or an operator reconciles. Each mail, each
line of the history and each alert is there once, and no other source adds to it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from payments.accounting import daily_totals
from payments.infra import job_queue, stripe_account
from payments.ops import reconcile, worker
from payments.sandbox.account_settings import ACCOUNT_ID
from payments.sandbox.webhook_deliveries import Delivery
from tests.support import mail
from tests.support.donor import subscription_id_of
from tests.support.newsroom import Newsroom
from tests.support.past import begin_with
from webhooks import sweeps

pytestmark = pytest.mark.anyio

FAILS_LATER, REFUND_FAILS = "4000000000000341", "4000000000005126"
ASKS_AGAIN, FRAUD_WARNING, GOOD = "4000002760003184", "4000000000005423", "4242424242424242"
CARDS = {"payment_failed": FAILS_LATER, "lapsed": FAILS_LATER, "action_needed": ASKS_AGAIN}
BEFORE: dict[str, dict[str, object]] = {  # what donors know already
    "resumed": {"pause_collection": {"behavior": "void"}},
    "end_cancelled": {"cancel_at": "80"},  # days from now
    "end_moved": {"cancel_at": "80"},
}
DASHBOARD_CHANGES: dict[str, dict[str, object]] = {
    "paused": {"pause_collection": {"behavior": "void"}},
    "resumed": {"pause_collection": ""},
    "end_scheduled": {"cancel_at_period_end": True},
    "end_cancelled": {"cancel_at": ""},
    "end_moved": {"cancel_at": "90"},
    "day_changed": {"trial_end": "20"},
}
LATE = ("payment_failed", "action_needed")  # they begin later: their payment fails at the end
OWED_MAILS = (
    *("payment_failed", "action_needed", "lapsed", "cancelled"),
    *("paused", "resumed", "amount_changed", "frequency_changed", "day_changed"),
    *("end_scheduled", "end_cancelled", "end_moved"),
    *("card_changed", "needs_card"),
)
OWED_HISTORY = (
    *("amount", "cancelled", "card", "card", "day", "end_cancelled", "end_moved", "end_scheduled"),
    *("frequency", "lapsed", "paused", "resumed"),
)
OWED_ALERTS = ("dispute_opened", "fraud_warning", "payout_failed", "refund_failed")


class DarkMonth:
    """A newsroom whose webhooks do not arrive, and all that happened meanwhile."""

    def __init__(self, room: Newsroom) -> None:
        self.room = room
        self.withheld: list[Delivery] = []
        self.known: dict[str, list[object]] = {"mails": [], "history": []}
        self.sent = 0

    async def passes(self) -> None:
        """Make what donors know, then change it all at Stripe while no webhook arrives."""

        async def play(room: Newsroom) -> DarkMonth:
            month = DarkMonth(room)
            await month._passes()
            return month

        played = await begin_with(self.room, "dark month", play)
        self.withheld, self.known, self.sent = [*played.withheld], played.known, played.sent

    async def _passes(self) -> None:
        room, stripe = self.room, self.room.stripe_owner.v1
        subscriptions = {
            kind: await self.subscribes(kind) for kind in OWED_MAILS if kind not in LATE
        }
        for kind, params in BEFORE.items():
            self._changes(subscriptions[kind], params)
        await room.advances_time(timedelta(days=22))
        await room.runs_until_idle()
        subscriptions |= {kind: await self.subscribes(kind) for kind in LATE}
        charges = {card: await self._gives_once(card) for card in (GOOD, REFUND_FAILS)}
        self.known = {"mails": await self.mails(), "history": await self.history()}
        self.sent = len(room.mails())
        await room.advances_time(timedelta(days=30, hours=3))
        for kind, params in DASHBOARD_CHANGES.items():
            self._changes(subscriptions[kind], params)
        room.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{subscriptions['cancelled']}")
        await self._changes_price(subscriptions["amount_changed"], 900, "month")
        await self._changes_price(subscriptions["frequency_changed"], 6000, "year")
        await self._changes_card(subscriptions["card_changed"])
        needing = await stripe.subscriptions.retrieve_async(subscriptions["needs_card"])
        card = str(needing.default_payment_method)
        room.sandbox.dashboard_request("POST", f"/v1/payment_methods/{card}/detach")
        room.sandbox.dashboard_request("POST", "/v1/refunds", {"charge": charges[REFUND_FAILS]})
        room.sandbox.dispute(charges[GOOD])
        await room.pays((await self._asks()).json()["checkout_url"], FRAUD_WARNING)
        (payout, *_) = (await stripe.payouts.list_async({"limit": 1})).data
        room.sandbox.fail_payout(payout.id)
        await room.advances_time(timedelta(days=3))
        self.withhold()

    def _changes(self, subscription_id: str, params: dict[str, object]) -> None:
        """Change a subscription in the dashboard."""
        for name, days in params.items():
            if isinstance(days, str) and days.isdecimal():
                moment = self.room.clock.current + timedelta(days=int(days))
                params = {name: int(moment.timestamp())}
        if {"cancel_at", "trial_end"} & set(params):
            params = {**params, "proration_behavior": "none"}
        self.room.sandbox.dashboard_request("POST", f"/v1/subscriptions/{subscription_id}", params)

    async def _asks(self, frequency: str = "once"):  # type: ignore[no-untyped-def]  # noqa: ANN202 - httpx's
        return await self.room.requests_contribution(500, frequency)

    async def subscribes(self, kind: str) -> str:
        card = CARDS.get(kind, GOOD)
        asked = await self._asks("monthly")
        await self.room.pays(asked.json()["checkout_url"], card, email=f"{kind}@example.org")
        await self.room.runs_until_idle()
        gift = await self.room.contribution(asked.json()["id"])
        return await subscription_id_of(self.room, gift)

    async def _gives_once(self, card: str) -> str:
        await self.room.pays((await self._asks()).json()["checkout_url"], card)
        await self.room.runs_until_idle()
        ((charge,),) = await self.room.rows(
            "SELECT stripe_charge_id FROM charges ORDER BY charged_at DESC, synced_at DESC LIMIT 1"
        )
        return str(charge)

    async def _changes_price(self, subscription_id: str, amount: int, interval: str) -> None:
        fetched = await self.room.stripe_owner.v1.subscriptions.retrieve_async(subscription_id)
        item = fetched["items"].data[0]
        price = {
            "currency": "usd",
            "unit_amount": amount,
            "product": str(item.price.product),
            "recurring": {"interval": interval},
        }
        params: dict[str, object] = {
            "items": [{"id": item.id, "price_data": price}],
            "proration_behavior": "none",
        }
        if interval == "year":  # the month that is paid for runs to its end
            params["trial_end"] = item.current_period_end
        self._changes(subscription_id, params)

    async def _changes_card(self, subscription_id: str) -> None:
        fetched = await self.room.stripe_owner.v1.subscriptions.retrieve_async(subscription_id)
        card = self.room.sandbox.dashboard_request(
            "POST",
            "/v1/payment_methods/pm_card_mastercard/attach",
            {"customer": str(fetched.customer)},
        )
        self._changes(subscription_id, {"default_payment_method": card["id"]})

    def withhold(self) -> None:
        """Let something between Stripe and us answer 200 and keep the webhooks for itself."""
        taken = self.room.sandbox.take_deliveries()
        for delivery in taken:
            self.room.sandbox.acknowledge(delivery)
        self.withheld += taken

    async def webhooks(self) -> None:
        """All webhooks arrive, late."""
        self.withhold()
        now = self.room.sandbox.sign_again
        await self.room.deliver([now(delivery) for delivery in self.withheld])
        await self.room.runs_until_idle()

    async def sweeps(self) -> None:
        """The schedules run, and none of Stripe's events is to be had."""
        for _ in range(2):
            await self.room.runs_sweeps()
            await self.room.runs_due_jobs()
        self.withhold()

    async def imports(self) -> None:
        """The balance is imported."""
        await daily_totals.import_and_refresh(self.room.ctx)
        self.withhold()

    async def reconciles(self) -> None:
        """An operator compares everything with Stripe, and repairs it."""
        await reconcile.run(self.room.ctx, days=60, repair=True)
        await self.room.runs_due_jobs()
        self.withhold()

    async def mails(self) -> list[object]:
        return [row[0] for row in await self.room.rows("SELECT kind FROM outbox_mails ORDER BY 1")]

    async def history(self) -> list[object]:
        rows = await self.room.rows("SELECT kind FROM subscription_changes ORDER BY 1")
        return [row[0] for row in rows]

    async def alerts(self) -> list[object]:
        return [row[0] for row in await self.room.rows("SELECT kind FROM alerts ORDER BY 1")]


Source = Callable[[DarkMonth], Awaitable[None]]
SOURCES: dict[str, Source] = {
    "webhooks": DarkMonth.webhooks,
    "sweeps": DarkMonth.sweeps,
    "reconciles": DarkMonth.reconciles,
}


@pytest.mark.parametrize("first", SOURCES)
async def test_each_source_reports_once_what_is_owed_and_no_other_does_again(
    newsroom: Newsroom, first: str
) -> None:
    month = DarkMonth(newsroom)
    await month.passes()
    assert await month.alerts() == []
    for source in (first, *(name for name in SOURCES if name != first)):
        await SOURCES[source](month)
        mailed = Counter(await month.mails()) - Counter(month.known["mails"])
        assert mailed == Counter(OWED_MAILS), source
        logged = Counter(await month.history()) - Counter(month.known["history"])
        assert logged == Counter(OWED_HISTORY), source
        assert Counter(await month.alerts()) == Counter(OWED_ALERTS), source
    assert len(newsroom.mails()) - month.sent == len(OWED_MAILS)


async def test_a_worker_that_is_stopped_again_and_again_tells_it_once_all_the_same(
    newsroom: Newsroom,
) -> None:
    month = DarkMonth(newsroom)
    await month.passes()
    await sweeps.sync_overdue(newsroom.ctx)
    await sweeps.sync_new(newsroom.ctx)
    stopped = 0
    for seconds in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8):
        try:
            async with asyncio.timeout(seconds):
                await worker.run_due_jobs(newsroom.ctx)
        except TimeoutError:
            stopped += 1
        async with newsroom.ctx.sessions.begin() as session:
            await job_queue.requeue_abandoned(session, heartbeat_timeout=timedelta())
        await mail.execute(
            newsroom, "UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'"
        )
    assert stopped
    for source in SOURCES.values():
        await source(month)
    mailed = Counter(await month.mails()) - Counter(month.known["mails"])
    assert mailed == Counter(OWED_MAILS)
    logged = Counter(await month.history()) - Counter(month.known["history"])
    assert logged == Counter(OWED_HISTORY)
    assert Counter(await month.alerts()) == Counter(OWED_ALERTS)
    ids = {sent.parsed["Message-ID"] for sent in newsroom.mails()[month.sent :]}
    assert len(ids) == len(OWED_MAILS)  # one that was sent twice is the same one


async def test_a_renewal_that_fails_after_a_sweep_is_mailed_by_the_next(newsroom: Newsroom) -> None:
    month = DarkMonth(newsroom)
    await month.subscribes("payment_failed")
    await newsroom.advances_time(timedelta(days=30, minutes=10))
    await month.sweeps()  # the invoice is made, and not charged yet
    assert await month.mails() == []
    await newsroom.advances_time(timedelta(hours=3))
    await month.sweeps()
    assert await month.mails() == ["payment_failed"]
    asked = len(newsroom.sandbox.requests)
    await month.sweeps()
    again = {request.path for request in newsroom.sandbox.requests[asked:]}
    assert not any(path.startswith("/v1/subscriptions/") for path in again)  # and it is mailed once


def subscribes_elsewhere(room: Newsroom, name: str) -> tuple[str, str]:
    """Begin a subscription at Stripe by another program. Return its id and its card's."""
    act = room.sandbox.dashboard_request
    customer = act("POST", "/v1/customers", {"email": f"{name}@example.org"})["id"]
    card = act("POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": customer})["id"]
    price: dict[str, object] = {
        "currency": "usd",
        "unit_amount": 700,
        "product": "reader_payments_monthly",
        "recurring": {"interval": "month"},
    }
    made = act(
        "POST",
        "/v1/subscriptions",
        {"customer": customer, "default_payment_method": card, "items": [{"price_data": price}]},
    )
    return str(made["id"]), str(card)


async def gives_elsewhere(room: Newsroom, card: str) -> str:
    """Pay once on a page of Stripe that another program opened. Return the charge."""
    stripe = room.stripe_owner.v1
    page = await stripe.checkout.sessions.create_async(
        {
            "mode": "payment",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 500,
                        "product": "reader_payments_once",
                    },
                }
            ],
            "success_url": "https://example.org/thanks",
        }
    )
    assert page.url is not None
    await room.pays(page.url, card)
    return (await stripe.charges.list_async({"limit": 1})).data[0].id


async def test_the_history_of_an_account_is_imported_and_nobody_is_written_to(
    newsroom: Newsroom,
) -> None:
    room, month = newsroom, DarkMonth(newsroom)
    begun = room.clock.current
    subscriptions = {
        name: subscribes_elsewhere(room, name) for name in ("past_due", "ended", "paused", "well")
    }
    refunded = await gives_elsewhere(room, REFUND_FAILS)
    lost, asked = [await gives_elsewhere(room, GOOD) for _ in range(2)]
    room.sandbox.fail_card(subscriptions["past_due"][1], "insufficient_funds")
    await room.advances_time(timedelta(days=30, hours=3))
    room.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{subscriptions['ended'][0]}")
    room.sandbox.dashboard_request(
        "POST", f"/v1/subscriptions/{subscriptions['paused'][0]}", DASHBOARD_CHANGES["paused"]
    )
    room.sandbox.dashboard_request("POST", "/v1/refunds", {"charge": refunded})
    room.sandbox.decide_dispute(room.sandbox.dispute(lost), won=False)
    room.sandbox.dispute(asked)
    await room.advances_time(timedelta(days=4))
    (payout, *_) = (await room.stripe_owner.v1.payouts.list_async({"limit": 1})).data
    room.sandbox.fail_payout(payout.id)
    await room.advances_time(timedelta(hours=3))
    month.withhold()
    await stripe_account.bind(room.ctx, ACCOUNT_ID)  # here this service begins
    for source in (DarkMonth.imports, *SOURCES.values()):
        await source(month)
        assert await month.mails() == await month.history() == []
    assert await month.alerts() == ["dispute_opened"]  # it waits for an answer now
    ((first, last),) = await room.rows("SELECT min(created_at), max(created_at) FROM contributions")
    assert first == begun
    assert last == begun
    await room.advances_time(timedelta(days=30))
    await room.runs_until_idle()
    assert await month.mails() == ["lapsed"]  # what happens from now on is mailed
