"""The sandbox: an account, its API, its clock and its deliveries, on a port.

A test drives it: time stands until `advance`, events wait until `deliver_pending`. Live, a ticker
does both by itself. Nothing is real: no money, no mail, no network but the webhooks it sends.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from aiohttp import web

from payments.sandbox import outbox
from payments.sandbox.account import Account
from payments.sandbox.api import Api, Kept, RequestSeen
from payments.sandbox.clock import Clock, Wall, utc_now
from payments.sandbox.faults import Faults
from payments.sandbox.outbox import Deliver, Delivery
from payments.sandbox.wire import Obj

TICK = 0.2
AT_ONCE = 8
_BREATHE_EVERY = 64


class Sandbox:
    """A stand-in for Stripe, with one account."""

    def __init__(
        self,
        *,
        wall: Wall = utc_now,
        deliver: Deliver | None = None,
        live: bool = False,
        check_contract: bool = False,
        capture_delay: timedelta = timedelta(seconds=1),
        seed: int = 0,
    ) -> None:
        self.clock = Clock(wall)
        self.account = Account(self.clock, seed=seed, capture_delay=capture_delay)
        self.account.on_event = self._on_event
        self.problems: list[str] = []
        self.api = Api(self.account, check_contract=check_contract, problems=self.problems)
        self.faults = Faults()
        self.live = live
        self._deliver = deliver or outbox.post
        self._taken: dict[str, Obj] = {}
        self._sending: dict[str, Obj] = {}
        self._turning = asyncio.Lock()
        self._wake = asyncio.Event()

    @property
    def url(self) -> str:
        return self.account.base_url

    @property
    def requests(self) -> list[RequestSeen]:
        """Every API request served, oldest first, as far back as is remembered."""
        return list(self.api.seen)

    # -- on a port ----------------------------------------------------------------------------

    @asynccontextmanager
    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Serve until the block ends; port 0 takes a free one."""
        from payments.sandbox.server import application  # noqa: PLC0415 - the doors know the sandbox

        runner = web.AppRunner(application(self), access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        self._at(host, runner.addresses[0][1])
        ticker = asyncio.create_task(self._tick()) if self.live else None
        try:
            yield self.url
        finally:
            if ticker is not None:
                ticker.cancel()
                with suppress(asyncio.CancelledError):
                    await ticker
            self.faults.clear()
            await runner.cleanup()

    def _at(self, host: str, port: int) -> None:
        shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104 - only compared
        self.account.base_url = f"http://{shown}:{port}"
        for session in self.account.store.of_kind("checkout.session"):
            if session["status"] == "open":
                session["url"] = f"{self.url}/c/pay/{session['id']}"

    # -- time ---------------------------------------------------------------------------------

    async def advance(self, by: timedelta | None = None, to: datetime | None = None) -> None:
        """Turn billing time forward, running all that falls due on the way, in its order."""
        target = to if to is not None else self.clock.now() + (by or timedelta(0))
        if target < self.clock.now():
            raise ValueError("time only goes forward")
        await self._run_until(target)
        self.clock.reach(target)

    async def run_due(self) -> None:
        """Run all that is due by now."""
        await self._run_until(self.clock.now())

    async def settle(self) -> None:
        """Advance just enough that every charge made so far has its balance transaction."""
        due = [item.due for item in self.account.agenda.items if item.verb == "capture"]
        if due:
            latest = datetime.fromtimestamp(max(due), self.clock.now().tzinfo)
            await self.advance(to=max(latest, self.clock.now()))

    async def _run_until(self, target: datetime) -> None:
        done = 0
        async with self._turning:
            while (item := self.account.next_due(target.timestamp())) is not None:
                self.clock.reach(datetime.fromtimestamp(item.due, target.tzinfo))
                self.account.run(item)
                done += 1
                if done % _BREATHE_EVERY == 0:
                    await asyncio.sleep(0)

    async def _tick(self) -> None:
        """Live: run what is due and deliver, as soon as there is something to."""
        sending: set[asyncio.Task[None]] = set()
        gate = asyncio.Semaphore(AT_ONCE)
        try:
            while True:
                self._wake.clear()
                await self.run_due()
                for entry in outbox.take_due(self.account):
                    task = asyncio.create_task(self._send(entry, gate))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), TICK)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    # -- deliveries ---------------------------------------------------------------------------

    def take_deliveries(self) -> list[Delivery]:
        """Take out what is due, signed now; undelivered until `acknowledge` says otherwise."""
        entries = outbox.take_due(self.account)
        self._taken.update((entry["id"], entry) for entry in entries)
        return [outbox.sign(self.account, entry) for entry in entries]

    def acknowledge(self, delivery: Delivery, status: int = 200) -> None:
        """Say how a taken delivery was answered; anything but a 2xx has it tried again."""
        entry = self._taken.pop(delivery.id, None)
        if entry is not None:
            outbox.answered(self.account, entry, status)

    async def deliver_pending(self, *, at_once: int = 1) -> int:
        """Deliver all that is due, and what that leads to; how many left."""
        gate, sent = asyncio.Semaphore(at_once), 0
        while entries := outbox.take_due(self.account):
            sent += len(entries)
            await asyncio.gather(*(self._send(entry, gate) for entry in entries))
        return sent

    def redeliver(self, event_id: str) -> None:
        """Queue an event once more."""
        outbox.redeliver(self.account, event_id)
        self._wake.set()

    async def _send(self, entry: Obj, gate: asyncio.Semaphore) -> None:
        self._sending[entry["id"]] = entry
        async with gate:
            delivery = outbox.sign(self.account, entry)
            try:
                status: int | None = await self._deliver(delivery)
            except Exception:  # noqa: BLE001 - whatever goes wrong, the delivery has failed
                status = None
            del self._sending[entry["id"]]
            outbox.answered(self.account, entry, status)

    def _on_event(self, event: Obj) -> None:
        outbox.put(self.account, event)
        self.api.check_event(event)
        self._wake.set()

    # -- saving -------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write everything down as JSON."""
        kept = {key: [k.path, k.params, k.until, k.status, k.body.decode()]
                for key, k in self.api.kept.items()}  # fmt: skip
        sending = list(self._sending.values())  # not known to have arrived: sent again
        saved = {"account": self.account.dump(), "kept": kept, "sending": sending}
        Path(path).write_bytes(msgspec.json.encode(saved))

    def load(self, path: str | Path) -> None:
        """Go on from what was written down."""
        saved = msgspec.json.decode(Path(path).read_bytes())
        self.account.restore(saved["account"])
        outbox.pending(self.account).extend(saved["sending"])
        self.api.kept.clear()
        for key, (route, params, until, status, body) in saved["kept"].items():
            self.api.kept[key] = Kept(route, params, until, status, body.encode())


async def run_forever(
    port: int, host: str = "127.0.0.1", ready: Callable[[str], Awaitable[None]] | None = None
) -> None:
    """`payments sandbox`: live, until cancelled."""
    import secrets  # noqa: PLC0415 - only here: ids of two runs must not meet in one database

    sandbox = Sandbox(live=True, seed=secrets.randbits(32))
    async with sandbox.listen(host, port) as url:
        if ready is not None:
            await ready(url)
        await asyncio.Event().wait()
