"""The sandbox: an account, its API, its clock and its deliveries, on a port.

A test drives it: time stands until `advance`, events wait until `deliver_pending`. Live, a ticker
does both by itself. Nothing is real: no money, no mail, no network but the webhooks it sends.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from payments.sandbox import (
    account_settings,
    balance_adjustments,
    dashboard,
    disputes,
    invoices,
    payment_methods,
    payouts,
    refunds,
    sepa_debit,
    webhook_deliveries,
)
from payments.sandbox.account import BillingSettings, StripeAccount
from payments.sandbox.api import Api, IdempotentResult, LoggedRequest
from payments.sandbox.clock import BillingClock, WallClock, utc_now
from payments.sandbox.faults import Faults
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.webhook_deliveries import Delivery, DeliveryTransport

TICK_SECONDS = 0.2
MAX_CONCURRENT_DELIVERIES = 8
_YIELD_EVERY = 64


class Sandbox:
    """A stand-in for Stripe, with one account."""

    def __init__(
        self,
        *,
        wall: WallClock = utc_now,
        deliver: DeliveryTransport | None = None,
        live: bool = False,
        check_contract: bool = False,
        capture_delay: timedelta = timedelta(seconds=1),
        seed: int = 0,
        billing: BillingSettings | None = None,
    ) -> None:
        self.clock = BillingClock(wall)
        self.account = StripeAccount(self.clock, seed=seed, capture_delay=capture_delay)
        self.account.billing = billing or self.account.billing
        self.account.on_event = self._on_event
        self.problems: list[str] = []
        self.api = Api(self.account, check_contract=check_contract, problems=self.problems)
        self.faults = Faults()
        self.live = live
        self._deliver = deliver or webhook_deliveries.send
        self._unacknowledged: dict[str, JsonObject] = {}
        self._sending: dict[str, JsonObject] = {}
        self._advance_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._checks_contract = True

    @property
    def url(self) -> str:
        return self.account.base_url

    @property
    def billing(self) -> BillingSettings:
        """How subscriptions are collected; set what should be otherwise."""
        return self.account.billing

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every API request served, oldest first, as far back as is remembered."""
        return list(self.api.request_log)

    # -- on a port ----------------------------------------------------------------------------

    def set_base_url(self, host: str, port: int) -> None:
        """Set the address that the URLs in answers start with, those already given too."""
        shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104 - only compared
        self.account.base_url = f"http://{shown}:{port}"
        for session in self.account.store.of_kind("checkout.session"):
            if session["status"] == "open":
                session["url"] = f"{self.url}/c/pay/{session['id']}"
        for invoice in self.account.store.of_kind("invoice"):
            if invoice["hosted_invoice_url"]:
                invoice["hosted_invoice_url"] = invoices.hosted_url(self.account, invoice)

    # -- time ---------------------------------------------------------------------------------

    async def advance(self, by: timedelta | None = None, to: datetime | None = None) -> None:
        """Turn billing time forward, running all that falls due on the way, in its order."""
        target = to if to is not None else self.clock.now() + (by or timedelta(0))
        if target < self.clock.now():
            raise ValueError("time only goes forward")
        await self._run_until(target)
        self.clock.advance_to(target)

    async def run_due(self) -> None:
        """Run all that is due by now."""
        await self._run_until(self.clock.now())

    async def advance_to_captures(self) -> None:
        """Advance just enough that every charge made so far has its balance transaction."""
        due = [item.due_at for item in self.account.billing_tasks.tasks if item.name == "capture"]
        if due:
            latest = datetime.fromtimestamp(max(due), self.clock.now().tzinfo)
            await self.advance(to=max(latest, self.clock.now()))

    async def _run_until(self, target: datetime) -> None:
        done = 0
        async with self._advance_lock:
            while (item := self.account.pop_due_task(target.timestamp())) is not None:
                self.clock.advance_to(datetime.fromtimestamp(item.due_at, target.tzinfo))
                self.account.run_task(item)
                done += 1
                if done % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)

    async def run_live(self) -> None:
        """Run what is due and send deliveries, as soon as there are any, until cancelled."""
        sending: set[asyncio.Task[None]] = set()
        gate = asyncio.Semaphore(MAX_CONCURRENT_DELIVERIES)
        try:
            while True:
                self._wake.clear()
                await self.run_due()
                for entry in webhook_deliveries.pop_due(self.account):
                    task = asyncio.create_task(self._send(entry, gate))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), TICK_SECONDS)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    def set_billing(self, **fields: JsonValue) -> None:
        """Set some of `billing`: `retry_days`, `after_retries`, `upcoming_days`, …"""
        self.account.billing = replace(self.account.billing, **fields)

    # -- what others do -----------------------------------------------------------------------

    def dashboard_request(
        self, method: str, path: str, params: JsonObject | None = None
    ) -> JsonObject:
        """Someone does in Stripe's dashboard what this request would do; raises Refusal."""
        return dashboard.perform(self.account, method, path, params or {})

    def set_default_in_portal(
        self, customer_id: str, payment_method_id: str, *, on_subscriptions: bool = False
    ) -> str:
        """The donor chooses a card in Stripe's portal; `pm_card_visa` makes one. Gives its id."""
        chosen = dashboard.set_default_payment_method(
            self.account, customer_id, payment_method_id, on_subscriptions=on_subscriptions
        )
        return str(chosen["id"])

    def fail_card(self, payment_method_id: str, code: str = "generic_decline") -> None:
        """From now on the bank refuses this card, with one of `cards.DECLINES`."""
        payment_methods.set_decline(self.account, payment_method_id, code)

    def restore_card(self, payment_method_id: str) -> None:
        """From now on the bank says again what this test card's number says."""
        payment_methods.clear_decline(self.account, payment_method_id)

    def update_card_by_network(
        self, payment_method_id: str, *, exp_month: int, exp_year: int, last4: str | None = None
    ) -> None:
        """The donor's bank has sent a new card, and the network tells Stripe."""
        payment_methods.update_by_network(
            self.account, payment_method_id, exp_month=exp_month, exp_year=exp_year, last4=last4
        )

    def revoke_mandate(self, payment_method_id: str) -> None:
        """A donor takes back the leave to debit their account."""
        sepa_debit.revoke_mandate(
            self.account, payment_methods.get(self.account, payment_method_id)
        )

    # -- what banks, networks and Stripe do with the money ------------------------------------

    def dispute(
        self,
        charge_id: str,
        *,
        amount: int | None = None,
        reason: str = "fraudulent",
        inquiry: bool = False,
    ) -> str:
        """The donor's bank disputes a payment, or a part of it, or only asks. Gives its id."""
        made = disputes.make(self.account, charge_id, amount=amount, reason=reason, inquiry=inquiry)
        return str(made["id"])

    def escalate_dispute(self, dispute_id: str) -> None:
        """An inquiry becomes a dispute that takes the money."""
        disputes.escalate(self.account, dispute_id)

    def decide_dispute(self, dispute_id: str, *, won: bool, refund_fee: bool = False) -> None:
        """The bank has decided."""
        disputes.decide(self.account, dispute_id, won=won, refund_fee=refund_fee)

    def create_fraud_warning(
        self, charge_id: str, fraud_type: str = "made_with_stolen_card"
    ) -> str:
        """The card network warns that a payment may not have been the owner's. Gives its id."""
        return str(disputes.create_fraud_warning(self.account, charge_id, fraud_type)["id"])

    def fail_refund(self, refund_id: str, reason: str = "expired_or_canceled_card") -> None:
        """The donor's bank does not take a refund."""
        refunds.fail(self.account, refund_id, reason)

    def update_account(self, **chosen: str) -> None:
        """The account's owner changes what is shown of it: `statement_descriptor`, and so on."""
        account_settings.update(self.account, **chosen)

    def fail_payout(self, payout_id: str, code: str = "account_closed") -> None:
        """Our bank does not take a payout, or sends it back."""
        payouts.fail(self.account, payout_id, code)

    def delay_reconciliation(self, seconds: float) -> None:
        """From now on the list of a payout is final only this long after it was paid."""
        self.account.state["reconciles_after"] = seconds

    def set_weekly_payouts(self, weekday: int) -> None:
        """From now on money goes to the bank on one day of the week only; 0 is Monday."""
        self.account.state["pays_out_on"] = range(7)[weekday]

    def allow_negative_payouts(self, *, enabled: bool = True) -> None:
        """From now on a balance below nothing is taken from the bank: a negative payout."""
        self.account.state["debits_bank"] = enabled

    def set_minimum_balance(self, amount: int, currency: str = "usd") -> None:
        """From now on payouts leave this much in the balance."""
        self.account.state.setdefault("minimum_balance", {})[currency] = amount

    def charge_fee(
        self, kind: str, amount: int, currency: str = "usd", *, at: datetime | None = None
    ) -> str:
        """Stripe takes a fee of its own: `billing`, `radar`, `fx` or `tax`. Gives the id.

        With a moment that has passed it is a fee of then, told only now.
        """
        return str(balance_adjustments.charge_fee(self.account, kind, amount, currency, at)["id"])

    def hold_reserve(self, amount: int, currency: str = "usd") -> str:
        """Stripe sets money aside. Gives the id."""
        return str(balance_adjustments.hold_reserve(self.account, amount, currency)["id"])

    def release_reserve(self, amount: int, currency: str = "usd") -> str:
        """Stripe lets go of money it had set aside. Gives the id."""
        return str(balance_adjustments.release_reserve(self.account, amount, currency)["id"])

    def create_adjustment(self, amount: int, currency: str = "usd", description: str = "") -> str:
        """Stripe puts something right and says only in words what. Gives the id."""
        return str(
            balance_adjustments.create_adjustment(self.account, amount, currency, description)["id"]
        )

    def convert_balance(self, amount: int, currency: str, target: str) -> list[str]:
        """Part of the balance becomes another currency. Gives both ids."""
        made = balance_adjustments.convert(self.account, amount, currency, target)
        return [str(row["id"]) for row in made]

    def set_rate(self, currency: str, in_usd: str) -> None:
        """From now on a unit of a currency is worth so many dollars."""
        self.account.state.setdefault("rates", {})[currency] = in_usd

    def delay_captures(self, seconds: float) -> None:
        """From now on a charge's fee, and `charge.updated`, are known this much later."""
        self.account.capture_delay = timedelta(seconds=seconds)

    # -- deliveries ---------------------------------------------------------------------------

    def take_deliveries(self, *, copies: int = 1, seed: int | None = None) -> list[Delivery]:
        """Take out what is due, signed now; undelivered until `acknowledge` says otherwise.

        Each comes as many times as `copies`; with a seed, in an order of its own.
        """
        entries = webhook_deliveries.pop_due(self.account)
        self._unacknowledged.update((entry["id"], entry) for entry in entries)
        several = webhook_deliveries.duplicate_and_shuffle(entries, copies, seed)
        return [webhook_deliveries.sign_delivery(self.account, entry) for entry in several]

    def sign_again(
        self, delivery: Delivery, *, at: datetime | None = None, secret: str | None = None
    ) -> Delivery:
        """The same delivery signed at another time, or with a secret that is not the endpoint's."""
        keys = (
            [secret]
            if secret
            else webhook_deliveries.signing_secrets(self.account, delivery.endpoint_id)
        )
        stamp = int((at or self.clock.wall_now()).timestamp())
        signed = {
            "Stripe-Signature": webhook_deliveries.signature(
                delivery.body, keys[0], stamp, *keys[1:]
            )
        }
        return replace(delivery, headers={**delivery.headers, **signed})

    def roll_secret(self, endpoint_id: str, *, overlap_hours: float = 24) -> str:
        """Give an endpoint a new secret; both sign until the overlap is over, by the wall."""
        return webhook_deliveries.roll_secret(
            self.account, endpoint_id, timedelta(hours=overlap_hours)
        )

    def set_endpoint_version(self, endpoint_id: str, api_version: str) -> None:
        """Have an endpoint told of everything as an older API version had it."""
        self.account.store.objects[endpoint_id]["api_version"] = api_version

    def emit_event(self, event_type: str, object_id: str, **fields: JsonValue) -> str:
        """Tell of an object what no version we know has: a new event type, a new word in a field.

        The object itself stays as it is, and the contract is not asked. Gives the event's id.
        """
        row = {**self.account.store.objects[object_id], **fields}
        self._checks_contract = False
        try:
            return str(self.account.emit(event_type, row)["id"])
        finally:
            self._checks_contract = True

    def acknowledge(self, delivery: Delivery, status: int = 200) -> None:
        """Say how a taken delivery was answered; anything but a 2xx has it tried again."""
        entry = self._unacknowledged.pop(delivery.id, None)
        if entry is not None:
            webhook_deliveries.record_response(self.account, entry, status)

    async def deliver_pending(
        self, *, concurrency: int = 1, copies: int = 1, seed: int | None = None
    ) -> int:
        """Deliver all that is due, and what that leads to; how many left."""
        gate, sent = asyncio.Semaphore(concurrency), 0
        while due := webhook_deliveries.pop_due(self.account):
            entries = webhook_deliveries.duplicate_and_shuffle(due, copies, seed)
            sent += len(entries)
            await asyncio.gather(*(self._send(entry, gate) for entry in entries))
        return sent

    def redeliver(self, event_id: str) -> None:
        """Queue an event once more."""
        webhook_deliveries.requeue_by_id(self.account, event_id)
        self._wake.set()

    async def _send(self, entry: JsonObject, gate: asyncio.Semaphore) -> None:
        self._sending[entry["id"]] = entry
        async with gate:
            delivery = webhook_deliveries.sign_delivery(self.account, entry)
            try:
                status: int | None = await self._deliver(delivery)
            except Exception:  # noqa: BLE001 - whatever goes wrong, the delivery has failed
                status = None
            self._sending.pop(entry["id"], None)
            webhook_deliveries.record_response(self.account, entry, status)

    def _on_event(self, event: JsonObject) -> None:
        webhook_deliveries.enqueue(self.account, event)
        if self._checks_contract:
            self.api.check_event(event)
        self._wake.set()

    # -- saving -------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write everything down as JSON."""
        kept = {key: [k.path, k.params, k.expires_at, k.status, k.body.decode()]
                for key, k in self.api.idempotent_results.items()}  # fmt: skip
        sending = list(self._sending.values())  # not known to have arrived: sent again
        saved = {"account": self.account.dump(), "kept": kept, "sending": sending}
        Path(path).write_bytes(msgspec.json.encode(saved))

    def load(self, path: str | Path) -> None:
        """Go on from what was written down."""
        saved = msgspec.json.decode(Path(path).read_bytes())
        self.account.restore(saved["account"])
        webhook_deliveries.queued(self.account).extend(saved["sending"])
        self.api.idempotent_results.clear()
        for key, (route, params, until, status, body) in saved["kept"].items():
            self.api.idempotent_results[key] = IdempotentResult(
                route, params, until, status, body.encode()
            )
