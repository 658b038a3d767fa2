"""What may happen to a subscription: through its donor, in Stripe's dashboard, at the bank.

Each event takes a live subscription as Stripe has it and returns its name, or None where it cannot
happen to this one.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.giving import cancellations, subscription_changes
from payments.giving.change_log import Actor
from tests.support.donor import card_page_of
from tests.support.newsroom import Newsroom

Subscription = dict[str, Any]
RandomEvent = Callable[[Subscription], Awaitable[str | None]]


@dataclass
class RandomEvents:
    """The events of one newsroom's subscriptions, in random order, none left out."""

    room: Newsroom
    random: random.Random
    deck: list[RandomEvent] = field(default_factory=list)

    async def next_event(self, live: list[Subscription]) -> str | None:
        """Let the next event happen to a subscription to which it can. Returns its name."""
        if not self.deck:
            self.deck = self._shuffled()
        event = self.deck.pop()
        for subscription in self.random.sample(live, len(live)):
            name = await event(subscription)
            if name is not None:
                return name
        return None

    def _shuffled(self) -> list[RandomEvent]:
        events: list[RandomEvent] = [
            self._attaches, self._card_is_updated, self._is_reissued, self._detaches,
            self._changes_the_default, self._default_is_set_on_subscription, self._replaces,
            self._raises, self._turns_annual, self._skips, self._pauses, self._resumes,
            self._stops, self._is_stopped, self._is_ending, self._end_is_undone,
            self._begins_to_fail, self._begins_to_fail, self._card_works_again,
        ]  # fmt: skip
        self.random.shuffle(events)
        return events

    # cards

    async def _attaches(self, subscription: Subscription) -> str | None:
        self._new_card(subscription)
        return "card attached"

    async def _card_is_updated(self, subscription: Subscription) -> str | None:
        card = self._card_of(subscription)
        if card is None:
            return None
        params = {"card": {"exp_month": 1 + self.random.randrange(12), "exp_year": 2040}}
        self._in_dashboard("POST", f"/v1/payment_methods/{card}", params)
        return "card updated"

    async def _is_reissued(self, subscription: Subscription) -> str | None:
        card = self._card_of(subscription)
        if card is None:
            return None
        month = 1 + self.random.randrange(12)
        self.room.sandbox.update_card_by_network(card, exp_month=month, exp_year=2041)
        return "card updated by the network"

    async def _detaches(self, subscription: Subscription) -> str | None:
        card = self._card_of(subscription)
        if card is None:
            return None
        self._in_dashboard("POST", f"/v1/payment_methods/{card}/detach")
        return "card detached"

    async def _changes_the_default(self, subscription: Subscription) -> str | None:
        card = self._new_card(subscription)
        params = {"invoice_settings": {"default_payment_method": card}}
        self._in_dashboard("POST", f"/v1/customers/{subscription['customer']}", params)
        return "customer's default changed"

    async def _default_is_set_on_subscription(self, subscription: Subscription) -> str | None:
        card = self._new_card(subscription)
        self._in_dashboard("POST", self._path(subscription), {"default_payment_method": card})
        return "subscription's default changed"

    async def _replaces(self, subscription: Subscription) -> str | None:
        page_url = await card_page_of(self.room, subscription["id"])
        await self.room.pays(page_url)
        return "card replaced by its donor"

    # through the donor

    async def _raises(self, subscription: Subscription) -> str | None:
        price = subscription["items"]["data"][0]["price"]
        amount = int(price["unit_amount"]) + 100 * self.random.randint(1, 5)
        money = Money(amount, price["currency"])
        await subscription_changes.change_amount(
            self.room.ctx, subscription["id"], money, actor=Actor.DONOR
        )
        return "amount changed"

    async def _turns_annual(self, subscription: Subscription) -> str | None:
        price = subscription["items"]["data"][0]["price"]
        if price["recurring"]["interval"] == "year":
            return None
        money = Money(int(price["unit_amount"]) * 10, price["currency"])
        await subscription_changes.change_frequency(
            self.room.ctx, subscription["id"], Frequency.ANNUAL, money, actor=Actor.DONOR
        )
        return "frequency changed"

    async def _skips(self, subscription: Subscription) -> str | None:
        await subscription_changes.skip(self.room.ctx, subscription["id"], actor=Actor.DONOR)
        return "skipped"

    async def _pauses(self, subscription: Subscription) -> str | None:
        months = self.random.choice((1, 2, 3, None))
        await subscription_changes.pause(
            self.room.ctx, subscription["id"], months, actor=Actor.DONOR
        )
        return "paused"

    async def _resumes(self, subscription: Subscription) -> str | None:
        if subscription["pause_collection"] is None:
            return None
        await subscription_changes.resume(self.room.ctx, subscription["id"], actor=Actor.DONOR)
        return "resumed"

    async def _stops(self, subscription: Subscription) -> str | None:
        await cancellations.cancel(self.room.ctx, subscription["id"], actor=Actor.DONOR)
        return "stopped by its donor"

    # in the dashboard and at the bank

    async def _is_stopped(self, subscription: Subscription) -> str | None:
        self._in_dashboard("DELETE", self._path(subscription))
        return "stopped in the dashboard"

    async def _is_ending(self, subscription: Subscription) -> str | None:
        self._in_dashboard("POST", self._path(subscription), {"cancel_at_period_end": True})
        return "to end with its period"

    async def _end_is_undone(self, subscription: Subscription) -> str | None:
        if not subscription["cancel_at_period_end"]:
            return None
        self._in_dashboard("POST", self._path(subscription), {"cancel_at_period_end": False})
        return "not to end after all"

    async def _begins_to_fail(self, subscription: Subscription) -> str | None:
        card = self._card_of(subscription)
        if card is None:
            return None
        codes = ("insufficient_funds", "generic_decline", "authentication_required")
        self.room.sandbox.fail_card(card, self.random.choice(codes))
        return "card begins to fail"

    async def _card_works_again(self, subscription: Subscription) -> str | None:
        card = self._card_of(subscription)
        if card is None:
            return None
        self.room.sandbox.restore_card(card)
        return "card works again"

    # helpers

    def _in_dashboard(self, method: str, path: str, params: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - as the sandbox has it
        return self.room.sandbox.dashboard_request(method, path, params)

    def _new_card(self, subscription: Subscription) -> str:
        method = self._in_dashboard(
            "POST", "/v1/payment_methods", {"type": "card", "card": {"token": "tok_visa"}}
        )
        params = {"customer": subscription["customer"]}
        self._in_dashboard("POST", f"/v1/payment_methods/{method['id']}/attach", params)
        return str(method["id"])

    def _path(self, subscription: Subscription) -> str:
        return f"/v1/subscriptions/{subscription['id']}"

    def _card_of(self, subscription: Subscription) -> str | None:
        card = subscription["default_payment_method"]
        return None if card is None else str(card)
