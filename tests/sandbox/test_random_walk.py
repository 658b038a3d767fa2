"""Random actions break neither the contract nor the balance."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Literal, cast

import pytest
import stripe
from stripe.params import SubscriptionUpdateParams

from payments import sandbox as sandboxes
from payments.sandbox import cards, checkout, invoices, sepa_debit, subscription_pauses
from payments.sandbox.form_encoding import JsonValue
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

CURRENCIES = ("usd", "eur", "gbp", "cad", "jpy", "huf")
ACTIONS = 250


class Walk:
    """A run of random actions, the same for the same seed."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop = shop
        self.random = random.Random(seed)
        self.sessions: list[stripe.checkout.Session] = []

    async def step(self) -> None:
        actions: list[Callable[[], Awaitable[object]]] = [
            self.opens, self.opens, self.pays, self.pays, self.refunds, self.waits, self.waits,
            self.cancels, self.expires, self.loses_a_card, self.amends, self.amends, self.pauses,
            self.resumes, self.breaks_a_card, self.mends_a_card, self.pays_an_invoice,
            self.saves_a_card, self.debits,
        ]  # fmt: skip
        # Cards are declined and things come too late: that is part of the walk.
        with suppress(stripe.CardError, stripe.InvalidRequestError):
            await self.random.choice(actions)()

    async def opens(self) -> None:
        interval = self.random.choice([None, "month", "year", "week"])
        currency = self.random.choice(CURRENCIES)
        amount = self.random.randint(200, 400) * 100
        creation = {"customer_creation": "always"} if not interval else {}
        self.sessions.append(await self.shop.checkout(amount, currency, interval, **creation))

    async def pays(self) -> None:
        if self.sessions:
            card = self.random.choice(["4242424242424242", *cards.BY_NUMBER])
            await self.shop.pays(self.random.choice(self.sessions), card)

    async def refunds(self) -> None:
        charges = (await self.shop.client.v1.charges.list_async({"limit": 100})).data
        if charges:
            charge = self.random.choice(charges)
            amount = self.random.randint(1, charge.amount)
            await self.shop.client.v1.refunds.create_async({"charge": charge.id, "amount": amount})

    async def waits(self) -> None:
        length = self.random.choice([timedelta(minutes=2), timedelta(days=1), timedelta(days=20)])
        await self.shop.sandbox.advance(length)

    async def cancels(self) -> None:
        running = (await self.shop.client.v1.subscriptions.list_async()).data
        if running:
            await self.shop.client.v1.subscriptions.cancel_async(self.random.choice(running).id)

    async def amends(self) -> None:
        """Something about a subscription becomes something else."""
        subscription = await self.subscription()
        item, now = subscription["items"].data[0], int(self.shop.sandbox.clock.now().timestamp())
        data = {
            "currency": subscription.currency,
            "product": item.price.product,
            "unit_amount": self.random.randint(200, 400) * 100,
            "recurring": {"interval": self.random.choice(["month", "year"])},
        }
        behavior = self.random.choice(subscription_pauses.PAUSE_COLLECTION_BEHAVIORS)
        change: dict[str, JsonValue] = self.random.choice(
            [
                {"items": [{"id": item.id, "price_data": data}]},
                {"items": [{"id": item.id, "price_data": data}],
                 "payment_behavior": "error_if_incomplete"},
                {"trial_end": now + self.random.randint(1, 90) * 86400},
                {"trial_end": "now"},
                {"cancel_at": now + self.random.randint(1, 90) * 86400},
                {"cancel_at": ""},
                {"cancel_at_period_end": self.random.random() < 0.5},
                {"billing_cycle_anchor": {"type": "now"}},
                {"pause_collection": {"behavior": behavior}},
                {"pause_collection": ""},
            ]
        )  # fmt: skip
        params = cast("SubscriptionUpdateParams", {"proration_behavior": "none", **change})
        await self.shop.client.v1.subscriptions.update_async(subscription.id, params)

    async def pauses(self) -> None:
        subscription = await self.subscription()
        await self.shop.client.v1.subscriptions.pause_async(
            subscription.id, {"bill_for": {"unused_time_from": {"type": "none"}}}
        )

    async def resumes(self) -> None:
        listed = await self.shop.client.v1.subscriptions.list_async({"status": "paused"})
        behaviors: list[Literal["resume_on_payment_attempt", "resume_on_payment_success"]] = [
            "resume_on_payment_attempt",
            "resume_on_payment_success",
        ]
        for subscription in listed.data:
            await self.shop.client.v1.subscriptions.resume_async(
                subscription.id, {"payment_behavior": self.random.choice(behaviors)}
            )

    async def breaks_a_card(self) -> None:
        method = (await self.subscription()).default_payment_method
        self.shop.sandbox.fail_card(str(method), self.random.choice(list(cards.DECLINES)))

    async def mends_a_card(self) -> None:
        method = (await self.subscription()).default_payment_method
        self.shop.sandbox.restore_card(str(method))

    async def pays_an_invoice(self) -> None:
        listed = await self.shop.client.v1.invoices.list_async({"status": "open"})
        if listed.data:
            invoice = self.random.choice(listed.data)
            if self.random.random() < 0.5:
                await sandboxes.pay(str(invoice.hosted_invoice_url))
            else:
                await self.shop.client.v1.invoices.pay_async(invoice.id)

    async def saves_a_card(self) -> None:
        subscription = await self.subscription()
        session = await self.shop.setup_session(str(subscription.customer))
        await self.shop.pays(session, self.random.choice(list(cards.BY_NUMBER)))

    async def debits(self) -> None:
        interval = self.random.choice([None, "month"])
        session = await self.shop.checkout(500, "eur", interval)
        await sandboxes.pay(str(session.url), iban=self.random.choice(list(sepa_debit.BY_IBAN)))

    async def subscription(self) -> stripe.Subscription:
        """One that still runs; when none does, one is begun."""
        running = (await self.shop.client.v1.subscriptions.list_async({"limit": 100})).data
        return self.random.choice(running) if running else await self.shop.subscribes()

    async def expires(self) -> None:
        self.shop.wall.advance(timedelta(hours=1))
        await self.shop.sandbox.run_due()

    async def loses_a_card(self) -> None:
        running = (await self.shop.client.v1.subscriptions.list_async()).data
        if running:
            card = str(self.random.choice(running).default_payment_method)
            await self.shop.client.v1.payment_methods.detach_async(card)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_random_walk_keeps_the_contract_and_the_books(shop: Shop, seed: int) -> None:
    walk = Walk(shop, seed)
    for _ in range(ACTIONS):
        await walk.step()
    await shop.sandbox.advance_to_captures()

    rows = await shop.transactions()
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.currency] = sums.get(row.currency, 0) + row.net
    assert {c: amount for c, amount in sums.items() if amount} == await shop.balance()
    async for payout in (await shop.client.v1.payouts.list_async()).auto_paging_iter():
        paid = await shop.transactions(payout=payout.id)
        assert sum(row.net for row in paid if row.type != "payout") == payout.amount
    store = shop.sandbox.account.store
    for subscription in store.of_kind("subscription"):
        item = subscription["items"]["data"][0]
        assert item["current_period_start"] < item["current_period_end"]
        if subscription["status"] in ("active", "trialing"):
            assert item["current_period_end"] > shop.sandbox.clock.timestamp(), "it has renewed"
    for invoice in store.of_kind("invoice"):
        is_manual = invoices.subscription_of(shop.sandbox.account, invoice) is None
        is_paid = invoice["status"] == "paid"
        assert is_paid is (invoice["amount_remaining"] == 0) or is_manual
    captured = [c for c in store.of_kind("charge") if c["paid"]]
    assert all(charge["balance_transaction"] for charge in captured)
    assert all(charge["amount_refunded"] <= charge["amount"] for charge in captured)
    complete = [s for s in store.of_kind(checkout.OBJECT_NAME) if s["status"] == "complete"]
    by_card = [session for session in complete if session["payment_method_types"] == ["card"]]
    assert all(session["payment_status"] != "unpaid" for session in by_card)
    assert rows
    assert complete
