"""Whatever readers, the newsroom and time do, the contract is kept and the books agree."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import pytest
import stripe

from payments.sandbox import cards, checkout
from tests.sandbox.conftest import Shop

pytestmark = pytest.mark.anyio

CURRENCIES = ("usd", "eur", "gbp", "cad", "jpy", "huf")
ACTIONS = 150


class Walk:
    """A run of random actions, the same for the same seed."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop = shop
        self.random = random.Random(seed)  # noqa: S311 - a test's dice, not a secret
        self.sessions: list[stripe.checkout.Session] = []

    async def step(self) -> None:
        actions: list[Callable[[], Awaitable[object]]] = [
            self.opens, self.opens, self.pays, self.pays, self.refunds, self.waits, self.waits,
            self.cancels, self.expires, self.loses_a_card,
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

    async def expires(self) -> None:
        self.shop.wall.turn(timedelta(hours=1))
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
    await shop.sandbox.settle()

    rows = await shop.transactions()
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.currency] = sums.get(row.currency, 0) + row.net
    assert {c: amount for c, amount in sums.items() if amount} == await shop.balance()
    async for payout in (await shop.client.v1.payouts.list_async()).auto_paging_iter():
        paid = await shop.transactions(payout=payout.id)
        assert sum(row.net for row in paid if row.type != "payout") == payout.amount
    store = shop.sandbox.account.store
    captured = [c for c in store.of_kind("charge") if c["paid"]]
    assert all(charge["balance_transaction"] for charge in captured)
    assert all(charge["amount_refunded"] <= charge["amount"] for charge in captured)
    complete = [s for s in store.of_kind(checkout.KIND) if s["status"] == "complete"]
    assert all(session["payment_status"] == "paid" for session in complete)
    assert rows
    assert complete
