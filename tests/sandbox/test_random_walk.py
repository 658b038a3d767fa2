"""Random actions break neither the contract nor the balance."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Literal, cast

import pytest
import stripe
from stripe.params import (
    PriceCreateParams,
    SubscriptionCreateParams,
    SubscriptionUpdateParams,
)

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
            self.saves_a_card, self.debits, self.sells_otherwise, self.sells_otherwise,
            self.changes_items, self.changes_items, self.adds_to_the_next_invoice,
            self.opens_a_link,
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
        card = await self.card()
        if card:
            self.shop.sandbox.fail_card(card, self.random.choice(list(cards.DECLINES)))

    async def mends_a_card(self) -> None:
        card = await self.card()
        if card:
            self.shop.sandbox.restore_card(card)

    async def card(self) -> str | None:
        """The card of some subscription, or its customer's legacy source, if it has any."""
        subscription = await self.subscription()
        customer = await self.shop.client.v1.customers.retrieve_async(str(subscription.customer))
        found = subscription.default_payment_method or customer.default_source
        return str(found) if found else None

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

    async def sells_otherwise(self) -> None:
        """Somebody else's program subscribes a customer to one or two prices of any kind."""
        currency = self.random.choice(CURRENCIES)
        prices = [await self.price(currency) for _ in range(self.random.randint(1, 2))]
        customer = (await self.shop.client.v1.customers.create_async({})).id
        params: dict[str, object] = {
            "customer": customer,
            "items": [{"price": id_, "quantity": self.random.randint(0, 30)} for id_ in prices],
        }
        if self.random.random() < 0.5:
            self.shop.sandbox.save_legacy_card(customer, prefix=self.random.choice(["card", "src"]))
        if self.random.random() < 0.5:
            params["payment_behavior"] = "default_incomplete"
        if self.random.random() < 0.3:
            behavior = self.random.choice(["cancel", "pause", "create_invoice"])
            settings = {"end_behavior": {"missing_payment_method": behavior}}
            params |= {"trial_period_days": 9, "trial_settings": settings}
        await self.shop.client.v1.subscriptions.create_async(
            cast("SubscriptionCreateParams", params)
        )

    async def price(self, currency: str, interval: str | None = None) -> str:
        """A price per unit, of a fraction, in tiers or of packages."""
        tiers = [{"up_to": 9, "flat_amount": 20_000}, {"up_to": "inf", "unit_amount": 3000}]
        kinds: list[dict[str, object]] = [
            {"unit_amount": 20_000},
            {"unit_amount_decimal": "1234.5"},
            {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers},
            {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": tiers},
            {"unit_amount": 20_000, "transform_quantity": {"divide_by": 7, "round": "up"}},
        ]
        recurring = {"interval": interval or "week", "interval_count": 1 if interval else 3}
        params = {"currency": currency, "product": await self.shop.product(),
                  "recurring": recurring, **self.random.choice(kinds)}  # fmt: skip
        return (await self.shop.client.v1.prices.create_async(cast("PriceCreateParams", params))).id

    async def changes_items(self) -> None:
        subscription = await self.subscription()
        items = subscription["items"].data
        recurring = items[0].price.recurring
        assert recurring is not None
        change: dict[str, object] = self.random.choice(
            [
                {"price": await self.price(subscription.currency, recurring.interval)},
                {"id": self.random.choice(items).id, "quantity": self.random.randint(0, 5)},
                {"id": self.random.choice(items).id, "deleted": True},
            ]
        )
        params = {"items": [change], "proration_behavior": "none"}
        await self.shop.client.v1.subscriptions.update_async(
            subscription.id, cast("SubscriptionUpdateParams", params)
        )

    async def adds_to_the_next_invoice(self) -> None:
        subscription = await self.subscription()
        await self.shop.client.v1.invoice_items.create_async(
            {
                "customer": str(subscription.customer),
                "amount": self.random.choice([700, -400, -30_000]),
                "currency": subscription.currency,
            }
        )

    async def opens_a_link(self) -> None:
        price = await self.price(self.random.choice(CURRENCIES))
        link = await self.shop.client.v1.payment_links.create_async(
            {"line_items": [{"price": price, "quantity": 10}]}
        )
        await sandboxes.pay(link.url, self.random.choice(["4242424242424242", "4000000000000002"]))

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
        items = subscription["items"]["data"]
        assert len({(one["current_period_start"], one["current_period_end"]) for one in items}) == 1
        item = items[0]
        assert item["current_period_start"] < item["current_period_end"]
        if subscription["status"] in ("active", "trialing"):
            assert item["current_period_end"] > shop.sandbox.clock.timestamp(), "it has renewed"
    for invoice in store.of_kind("invoice"):
        assert sum(line["amount"] for line in invoice["lines"]["data"]) == invoice["total"]
        is_manual = invoices.subscription_of(shop.sandbox.account, invoice) is None
        if invoice["status"] in ("draft", "void", "uncollectible"):
            continue
        is_paid = invoice["status"] == "paid"
        assert is_paid is (invoice["amount_remaining"] == 0) or is_manual
    assert all(charge["amount"] > 0 for charge in store.of_kind("charge"))
    captured = [c for c in store.of_kind("charge") if c["paid"]]
    assert all(charge["balance_transaction"] for charge in captured)
    assert all(charge["amount_refunded"] <= charge["amount"] for charge in captured)
    complete = [s for s in store.of_kind(checkout.OBJECT_NAME) if s["status"] == "complete"]
    by_card = [session for session in complete if session["payment_method_types"] == ["card"]]
    assert all(session["payment_status"] != "unpaid" for session in by_card)
    assert rows
    assert complete
