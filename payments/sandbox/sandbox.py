"""The sandbox: one account with its API, clock, faults and webhook deliveries.

In tests nothing happens by itself: tasks run in `advance` and `run_due`, webhooks are sent by
`deliver_pending`. A live sandbox does both continually.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from payments.sandbox import account_settings, api_keys, state_file, webhook_deliveries
from payments.sandbox.account import BillingSettings, StripeAccount
from payments.sandbox.api import Api, IdempotentResult, LoggedRequest
from payments.sandbox.clock import BillingClock, WallClock, utc_now
from payments.sandbox.faults import Faults
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.simulations import SimulatedActions
from payments.sandbox.webhook_deliveries import Delivery, DeliveryTransport

UNTOUCHED_BY_RESET = (account_settings.STATE_KEY, api_keys.KEYS, api_keys.KNOWN_KEYS_ONLY)
TICK_SECONDS = 0.2
PAGES = ("c", "i", "l", "mandates", "r", "receipts")  # where the paths of the sandbox's pages begin
MAX_CONCURRENT_DELIVERIES = 8
_YIELD_EVERY_TASKS = 64  # how many tasks run before other coroutines get their turn


class Sandbox(SimulatedActions):
    """A stand-in for Stripe, with one account.

    `wall` is the wall clock; `deliver` sends webhooks, over HTTP by default; `live` runs due tasks
    and deliveries continually; `check_contract` records in `problems` what the SDK's types do not
    allow; `capture_delay` is the time from a charge to its balance transaction; ids follow from
    `seed`; `settings` are the account's, as `update_account` takes them.
    """

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
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.clock = BillingClock(wall)
        self.account = StripeAccount(self.clock, seed=seed, capture_delay=capture_delay)
        self.account.billing = billing or self.account.billing
        self.account.state[account_settings.STATE_KEY] = dict(settings or {})
        self.account.on_event = self._on_event
        self.problems: list[str] = []
        self.api = Api(self.account, check_contract=check_contract, problems=self.problems)
        self.faults = Faults(self.clock)
        self.live = live
        self._deliver = deliver or webhook_deliveries.send
        self._unacknowledged: dict[str, JsonObject] = {}
        self._sending: dict[str, JsonObject] = {}
        self._advance_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._checks_events = True
        self.changes = 0  # how often something may have changed

    @property
    def url(self) -> str:
        """The address at which the sandbox listens."""
        return self.account.base_url

    @property
    def billing(self) -> BillingSettings:
        """How subscriptions are collected; tests may change it."""
        return self.account.billing

    @property
    def requests(self) -> list[LoggedRequest]:
        """The latest API requests, REQUEST_LOG_SIZE at most, oldest first."""
        return list(self.api.request_log)

    # -- addresses ----------------------------------------------------------------------------

    def set_base_url(self, host: str, port: int) -> None:
        """Set the address with which the URLs of objects begin, of those already created too."""
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 - only compared
            host = "127.0.0.1"
        self._move_urls(f"http://{host}:{port}")

    def _move_urls(self, base_url: str) -> None:
        """Let every URL of a page of the sandbox begin with this address, except in past events."""
        old = tuple(f"{self.account.base_url}/{page}/" for page in PAGES)
        length, objects = len(self.account.base_url), self.account.store.objects

        def moved(value: JsonValue) -> JsonValue:
            if isinstance(value, str):
                return base_url + value[length:] if value.startswith(old) else value
            if isinstance(value, dict):
                return {name: moved(each) for name, each in value.items()}
            return [moved(each) for each in value] if isinstance(value, list) else value

        for row in objects.values() if base_url != self.account.base_url else ():
            if row["object"] != "event":
                row.update(moved(row))
        self.account.base_url = base_url

    # -- time ---------------------------------------------------------------------------------

    async def advance(self, by: timedelta | None = None, to: datetime | None = None) -> None:
        """Advance billing time, running the tasks that fall due on the way in their order.

        Raises ValueError for a moment that has passed.
        """
        target = to if to is not None else self.clock.now() + (by or timedelta(0))
        if target < self.clock.now():
            raise ValueError("time only goes forward")
        await self._run_until(target)
        self.clock.advance_to(target)

    async def run_due(self) -> None:
        """Run the tasks that are due."""
        await self._run_until(self.clock.now())

    async def advance_to_captures(self) -> None:
        """Advance billing time until every charge made so far has its balance transaction."""
        tasks = self.account.billing_tasks.tasks
        due_times = [task.due_at for task in tasks if task.name == "capture_charge"]
        if due_times:
            latest = datetime.fromtimestamp(max(due_times), self.clock.now().tzinfo)
            await self.advance(to=max(latest, self.clock.now()))

    async def _run_until(self, target: datetime) -> None:
        count = 0
        async with self._advance_lock:
            while (task := self.account.pop_due_task(target.timestamp())) is not None:
                self.clock.advance_to(datetime.fromtimestamp(task.due_at, target.tzinfo))
                self.account.run_task(task)
                self.changes += 1
                count += 1
                if count % _YIELD_EVERY_TASKS == 0:
                    await asyncio.sleep(0)

    async def run_live(self) -> None:
        """Run due tasks and send due deliveries until cancelled."""
        sending: set[asyncio.Task[None]] = set()
        semaphore = asyncio.Semaphore(MAX_CONCURRENT_DELIVERIES)
        try:
            while True:
                self._wake.clear()
                await self.run_due()
                for entry in webhook_deliveries.pop_due(self.account):
                    task = asyncio.create_task(self._send(entry, semaphore))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), TICK_SECONDS)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    # -- deliveries ---------------------------------------------------------------------------

    def take_deliveries(self, *, copies: int = 1, seed: int | None = None) -> list[Delivery]:
        """Remove the due deliveries from the queue and return them signed; `acknowledge` them then.

        Each comes as many times as `copies`; with a seed, in a random order.
        """
        entries = webhook_deliveries.pop_due(self.account)
        self._unacknowledged.update((entry["id"], entry) for entry in entries)
        entries = webhook_deliveries.duplicate_and_shuffle(entries, copies, seed)
        return [webhook_deliveries.sign_delivery(self.account, entry) for entry in entries]

    def sign_again(
        self, delivery: Delivery, *, at: datetime | None = None, secret: str | None = None
    ) -> Delivery:
        """Return the delivery signed at another time or with another secret."""
        keys = [secret] if secret else []
        keys = keys or webhook_deliveries.signing_secrets(self.account, delivery.endpoint_id)
        timestamp = int((at or self.clock.wall_now()).timestamp())
        signature = webhook_deliveries.signature(delivery.body, keys[0], timestamp, *keys[1:])
        return replace(delivery, headers={**delivery.headers, "Stripe-Signature": signature})

    def emit_event(self, event_type: str, object_id: str, **fields: JsonValue) -> str:
        """Emit an event that no known API version has: a new type, or a new value of a field.

        The object itself is not changed, and the event is not checked. Returns the event's id.
        """
        row = {**self.account.store.objects[object_id], **fields}
        self._checks_events = False
        try:
            return str(self.account.emit(event_type, row)["id"])
        finally:
            self._checks_events = True

    def acknowledge(self, delivery: Delivery, status: int = 200) -> None:
        """Record how a taken delivery was answered; unless it was 2xx, a retry is queued."""
        entry = self._unacknowledged.pop(delivery.id, None)
        if entry is not None:
            webhook_deliveries.record_response(self.account, entry, status)

    async def deliver_pending(
        self, *, concurrency: int = 1, copies: int = 1, seed: int | None = None
    ) -> int:
        """Send the due deliveries and those that they cause. Returns how many were sent."""
        semaphore, sent = asyncio.Semaphore(concurrency), 0
        while due := webhook_deliveries.pop_due(self.account):
            entries = webhook_deliveries.duplicate_and_shuffle(due, copies, seed)
            sent += len(entries)
            await asyncio.gather(*(self._send(entry, semaphore) for entry in entries))
        return sent

    def redeliver(self, event_id: str) -> None:
        """Queue an event again. Raises ApiError for an unknown id."""
        webhook_deliveries.requeue_by_id(self.account, event_id)
        self._wake.set()

    async def _send(self, entry: JsonObject, semaphore: asyncio.Semaphore) -> None:
        self._sending[entry["id"]] = entry
        async with semaphore:
            delivery = webhook_deliveries.sign_delivery(self.account, entry)
            try:
                status: int | None = await self._deliver(delivery)
            except Exception:  # noqa: BLE001 - whatever went wrong, the delivery failed
                status = None
            if self._sending.pop(entry["id"], None) is not None:  # it was not reset meanwhile
                webhook_deliveries.record_response(self.account, entry, status)
                self.changes += 1

    def _on_event(self, event: JsonObject) -> None:
        webhook_deliveries.enqueue(self.account, event)
        self.changes += 1
        if self._checks_events:
            self.api.check_event(event)
        self._wake.set()

    # -- saving -------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Save everything to a JSON file, apart from faults and the log of requests."""
        results = {key: [result.path, result.params, result.expires_at, result.status,
                         result.body.decode()]
                   for key, result in self.api.idempotent_results.items()}  # fmt: skip
        # Perhaps not delivered: sent again after loading.
        sending = [*self._sending.values(), *self._unacknowledged.values()]
        state_file.write(
            path,
            {"account": self.account.dump(), "idempotent_results": results, "sending": sending},
        )

    def load(self, path: str | Path) -> None:
        """Replace everything with what `save` wrote. Raises StateFileError."""
        self._restore(state_file.read(path))

    def reset(self, seed: int | None = None) -> None:
        """Begin anew, as an account in which nothing has happened.

        API keys and the account's settings stay. Ids follow from the present seed or a new one.
        """
        state = self.account.state
        keys = {name: state[name] for name in UNTOUCHED_BY_RESET if name in state}
        seed = self.account.store.seed if seed is None else seed
        empty = StripeAccount(BillingClock(), seed=seed, capture_delay=self.account.capture_delay)
        empty.state = keys
        self.faults.clear()
        self.problems.clear()
        self.api.request_log.clear()
        self._unacknowledged.clear()
        self._sending.clear()
        self._restore({"account": empty.dump(), "idempotent_results": {}, "sending": []})

    async def save_continuously(self, path: str | Path) -> None:
        """Save to a file a moment after each change, until cancelled.

        A large state is saved less often: at most a tenth of the time goes into it.
        """
        saved_changes, seconds = self.changes, 0.0
        while True:
            await asyncio.sleep(max(state_file.SAVE_SECONDS, 9 * seconds))
            if self.changes != saved_changes:
                saved_changes, started_at = self.changes, time.monotonic()
                self.save(path)
                seconds = time.monotonic() - started_at

    def _restore(self, saved: JsonObject) -> None:
        base_url = self.url
        self.account.restore(saved["account"])
        self._move_urls(base_url)
        webhook_deliveries.queued(self.account).extend(saved["sending"])
        self.api.idempotent_results.clear()
        for key, result in saved["idempotent_results"].items():
            request_path, params, expires_at, status, body = result
            self.api.idempotent_results[key] = IdempotentResult(
                request_path, params, expires_at, status, body.encode()
            )
        self.changes += 1
