"""A shop with a sandbox of its own, used through Stripe's SDK."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
import stripe

from payments import sandbox as sandboxes
from payments.sandbox import Sandbox, listen
from payments.sandbox.form_encoding import JsonValue

START = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)


@dataclass
class ManualWallClock:
    """A wall clock that only the test turns."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        """Advance wall time."""
        self.now += by


@dataclass
class Shop:
    """A shop that uses the sandbox through the SDK, and a customer who pays there."""

    sandbox: Sandbox
    client: stripe.StripeClient
    wall: ManualWallClock
    products: dict[str, str] = field(default_factory=dict)

    async def product(self, name: str = "A gift") -> str:
        """The id of the product of this name."""
        if name not in self.products:
            product = await self.client.v1.products.create_async({"name": name})
            self.products[name] = product.id
        return self.products[name]

    async def checkout(
        self,
        amount: int = 500,
        currency: str = "usd",
        interval: str | None = None,
        **extra: JsonValue,
    ) -> stripe.checkout.Session:
        """An open session to pay once, or each interval."""
        price: dict[str, object] = {
            "currency": currency,
            "unit_amount": amount,
            "product": await self.product(),
        }
        if interval:
            price["recurring"] = {"interval": interval}
        params: dict[str, object] = {
            "mode": "subscription" if interval else "payment",
            "line_items": [{"quantity": 1, "price_data": price}],
            "success_url": "https://shop.example/thanks?s={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://shop.example/donate",
            **extra,
        }
        # The contract checks these parameters, and better than their type could.
        return await self.client.v1.checkout.sessions.create_async(params)  # type: ignore[arg-type]

    async def pays(
        self, session: stripe.checkout.Session, card: str = "4242424242424242"
    ) -> sandboxes.PageResult:
        """Pays on a session's page."""
        assert session.url
        return await sandboxes.pay(session.url, card)

    async def gives(
        self, amount: int = 500, interval: str | None = None, card: str = "4242424242424242"
    ) -> stripe.checkout.Session:
        """Opens a session, pays it, and returns it as it then is."""
        session = await self.checkout(amount, interval=interval)
        await self.pays(session, card)
        return await self.client.v1.checkout.sessions.retrieve_async(session.id)

    async def subscribes(
        self, amount: int = 500, interval: str = "month", card: str = "4242424242424242"
    ) -> stripe.Subscription:
        """Subscribes on a session's page."""
        session = await self.gives(amount, interval, card)
        assert isinstance(session.subscription, str)
        return await self.client.v1.subscriptions.retrieve_async(session.subscription)

    async def setup_session(self, customer: str, **extra: JsonValue) -> stripe.checkout.Session:
        """An open session on which a customer saves a card."""
        params: dict[str, object] = {
            "mode": "setup",
            "customer": customer,
            "currency": "usd",
            "success_url": "https://shop.example/saved",
            "cancel_url": "https://shop.example/donate",
            **extra,
        }
        return await self.client.v1.checkout.sessions.create_async(params)  # type: ignore[arg-type]  # as above

    async def post(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, JsonValue]]:
        """Post a form without the SDK; the status and the body."""
        headers = {"Authorization": "Bearer sk_test_x"}
        async with (
            aiohttp.ClientSession() as client,
            client.post(self.sandbox.url + path, data=form, headers=headers) as response,
        ):
            return response.status, await response.json()

    async def events(self) -> list[str]:
        """The types of all events, oldest first."""
        listed = await self.client.v1.events.list_async({"limit": 100})
        types = [str(event.type) async for event in listed.auto_paging_iter()]
        return types[::-1]

    async def latest_event(self) -> str:
        """The id of the newest event."""
        return (await self.client.v1.events.list_async({"limit": 1})).data[0].id

    async def events_since(self, event_id: str) -> list[str]:
        """The types of the events after one, apart from payouts'."""
        listed = await self.client.v1.events.list_async({"limit": 100})
        types: list[str] = []
        async for event in listed.auto_paging_iter():
            if event.id == event_id:
                break
            types.append(str(event.type))
        return [name for name in types[::-1] if not name.startswith("payout")]

    async def subscription(self, subscription_id: str) -> stripe.Subscription:
        """A subscription as it is now."""
        return await self.client.v1.subscriptions.retrieve_async(subscription_id)

    async def latest_invoice(self, subscription_id: str) -> stripe.Invoice:
        """A subscription's newest invoice."""
        listed = await self.client.v1.invoices.list_async({"subscription": subscription_id})
        return listed.data[0]

    async def latest_previous_attributes(
        self, event_type: str = "customer.subscription.updated"
    ) -> dict[str, object]:
        """The previous attributes of the newest event of a type."""
        event = (await self.client.v1.events.list_async({"type": event_type, "limit": 1})).data[0]
        assert event.data.previous_attributes is not None
        previous: dict[str, object] = event.data.previous_attributes.to_dict()
        return previous

    async def paid_amounts(self) -> list[int]:
        """The amounts of all charges that succeeded, oldest first."""
        listed = await self.client.v1.charges.list_async({"limit": 100})
        charges = [charge async for charge in listed.auto_paging_iter() if charge.paid]
        return [charge.amount for charge in charges[::-1]]

    async def advance(self, days: float) -> None:
        """Advance billing time."""
        await self.sandbox.advance(timedelta(days=days))

    async def balance(self) -> dict[str, int]:
        """The balance by currency, in minor units, apart from currencies with none."""
        balance = (await self.client.v1.balance.retrieve_async()).to_dict()
        sums: dict[str, int] = {}
        for part in [*balance["available"], *balance["pending"]]:
            sums[part["currency"]] = sums.get(part["currency"], 0) + part["amount"]
        return {currency: amount for currency, amount in sums.items() if amount}

    async def transactions(self, payout: str | None = None) -> list[stripe.BalanceTransaction]:
        """Balance transactions, all or a payout's, newest first."""
        service = self.client.v1.balance_transactions
        if payout is None:
            listed = await service.list_async({"limit": 100})
        else:
            listed = await service.list_async({"limit": 100, "payout": payout})
        return [row async for row in listed.auto_paging_iter()]


@asynccontextmanager
async def open_shop(sandbox: Sandbox, wall: ManualWallClock) -> AsyncIterator[Shop]:
    """Let the sandbox listen, and open a shop that uses it."""
    async with listen(sandbox) as url:
        http = stripe.AIOHTTPClient()
        client = stripe.StripeClient(
            "sk_test_sandbox",
            base_addresses={"api": url, "files": url, "connect": url, "meter_events": url},
            max_network_retries=0,
            http_client=http,
        )
        try:
            yield Shop(sandbox, client, wall)
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped


async def identity_holds(shop: Shop) -> bool:
    """Return whether the balance is the sum of all transactions, in every currency."""
    sums: dict[str, int] = {}
    for row in await shop.transactions():
        assert row.net == row.amount - row.fee
        assert row.fee == sum(detail.amount for detail in row.fee_details)
        sums[row.currency] = sums.get(row.currency, 0) + row.net
    return {c: amount for c, amount in sums.items() if amount} == await shop.balance()


async def paid(shop: Shop, amount: int = 1000, card: str = "4242424242424242") -> stripe.Charge:
    """A charge with its balance transaction."""
    await shop.gives(amount, card=card)
    await shop.sandbox.advance_to_captures()
    return (await shop.client.v1.charges.list_async({"limit": 1})).data[0]


async def refunded(shop: Shop, charge: stripe.Charge, amount: int | None = None) -> stripe.Refund:
    """A refund of a charge, or of a part of it."""
    params: stripe.params.RefundCreateParams = {"charge": charge.id}
    if amount is not None:
        params["amount"] = amount
    return await shop.client.v1.refunds.create_async(params)
