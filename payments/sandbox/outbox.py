"""The outbox: webhook deliveries that are waiting, and what became of them.

Each enabled endpoint that asked for an event gets a delivery of its own. It is signed afresh each
time it leaves, with the wall's time. Anything but a 2xx is tried again, later each time, for three
days; then it is left. Everything here is JSON in the account's facts, so it is saved with the rest.
"""

import hashlib
import hmac
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import aiohttp
import msgspec

from payments.sandbox import versions
from payments.sandbox.account import ENDPOINT, Account
from payments.sandbox.errors import not_found
from payments.sandbox.wire import Obj

FIRST_RETRY: Final = timedelta(seconds=10)
GIVE_UP_AFTER: Final = timedelta(days=3)
PATIENCE: Final = aiohttp.ClientTimeout(total=20)


@dataclass(frozen=True)
class Delivery:
    """One HTTP request to an endpoint, signed and ready."""

    id: str
    url: str
    event_id: str
    event_type: str
    headers: dict[str, str]
    body: bytes
    endpoint_id: str = ""


Deliver = Callable[[Delivery], Awaitable[int]]


async def post(delivery: Delivery) -> int:
    """Send a delivery as Stripe does: redirects count as failures."""
    async with (
        aiohttp.ClientSession(timeout=PATIENCE) as client,
        client.post(
            delivery.url, data=delivery.body, headers=delivery.headers, allow_redirects=False
        ) as response,
    ):
        return response.status


def put(account: Account, event: Obj) -> None:
    """Queue a new event for everyone who asked for it."""
    for endpoint in account.store.of_kind(ENDPOINT):
        if endpoint["status"] == "enabled" and wants(endpoint, event["type"]):
            event["pending_webhooks"] += 1
            waiting_for(account, event["id"], keep=True).append(endpoint["id"])
            _queue(account, event, endpoint["id"])


def send_again(account: Account, event: Obj, endpoint_id: str | None = None) -> None:
    """Queue an event once more, whatever became of it."""
    for endpoint in account.store.of_kind(ENDPOINT):
        chosen = endpoint["id"] == endpoint_id if endpoint_id else wants(endpoint, event["type"])
        if chosen and endpoint["status"] == "enabled":
            _queue(account, event, endpoint["id"])


def wants(endpoint: Obj, event_type: str) -> bool:
    return "*" in endpoint["enabled_events"] or event_type in endpoint["enabled_events"]


def waiting_for(account: Account, event_id: str, *, keep: bool = False) -> list[str]:
    """The endpoints that have not yet answered 2xx for an event."""
    if not keep and event_id not in account.store.facts:
        return []
    waiting: list[str] = account.store.private(event_id).setdefault("waiting", [])
    return waiting


def pending(account: Account) -> list[Obj]:
    """What is queued: its endpoint, event, attempt and when it is due."""
    entries: list[Obj] = account.facts.setdefault("outbox", [])
    return entries


def take_due(account: Account) -> list[Obj]:
    """Take out what is due; whoever takes it sends it."""
    now = account.clock.now().timestamp()
    entries = pending(account)
    due = [entry for entry in entries if entry["due"] <= now]
    entries[:] = [entry for entry in entries if entry["due"] > now]
    return [entry for entry in due if _still_wanted(account, entry)]


def sign(account: Account, entry: Obj) -> Delivery:
    """A queued entry as the request that leaves, signed now."""
    event = account.store.objects[entry["event"]]
    endpoint = account.store.objects[entry["endpoint"]]
    version = endpoint["api_version"] or event["api_version"]
    body = msgspec.json.encode(versions.rendered(account.store, event, version))
    secret, *before = secrets(account, endpoint["id"])
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signature(body, secret, account.clock.wall_stamp(), *before),
    }
    return Delivery(
        entry["id"], endpoint["url"], event["id"], event["type"], headers, body, endpoint["id"]
    )


def signature(body: bytes, secret: str, timestamp: int, *more_secrets: str) -> str:
    """The Stripe-Signature header: HMAC-SHA256 over the time and the body, with every secret."""
    signed, keys = b"%d.%s" % (timestamp, body), (secret, *more_secrets)
    parts = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys]
    return ",".join([f"t={timestamp}", *(f"v1={part}" for part in parts)])


def secrets(account: Account, endpoint_id: str) -> list[str]:
    """What an endpoint's deliveries are signed with: the secret, and for a while the one before."""
    private = account.store.private(endpoint_id)
    if private.get("rolled_until", 0) > account.clock.wall_stamp():
        return [private["secret"], private["secret_before"]]
    return [private["secret"]]


def roll(account: Account, endpoint_id: str, overlap: timedelta) -> str:
    """A new secret for an endpoint; the old one signs too until the overlap is over."""
    if account.store.find(ENDPOINT, endpoint_id) is None:
        raise not_found(ENDPOINT, endpoint_id)
    private = account.store.private(endpoint_id)
    private["secret_before"], private["secret"] = private["secret"], new_secret(account)
    private["rolled_until"] = account.clock.wall_stamp() + int(overlap.total_seconds())
    return str(private["secret"])


def new_secret(account: Account) -> str:
    return "whsec_" + account.store.mint("x", 32)[2:]


def disordered(entries: list[Obj], copies: int, seed: int | None) -> list[Obj]:
    """The same deliveries, each more than once, or in another order."""
    several = [entry for entry in entries for _ in range(copies)]
    if seed is not None:
        random.Random(seed).shuffle(several)  # noqa: S311 - a test's dice, not a secret
    return several


def answered(account: Account, entry: Obj, status: int | None) -> None:
    """Record an endpoint's answer; None when there was none."""
    event = account.store.objects.get(entry["event"])
    if event is None:
        return
    attempts = account.store.private(event["id"]).setdefault("attempts", [])
    attempts.append({"endpoint": entry["endpoint"], "status": status})
    if status is not None and 200 <= status < 300:
        waiting = waiting_for(account, event["id"])
        if entry["endpoint"] in waiting:
            waiting.remove(entry["endpoint"])
            event["pending_webhooks"] = len(waiting)
        return
    now = account.clock.now().timestamp()
    due = now + FIRST_RETRY.total_seconds() * 2 ** entry["attempt"]
    if due - entry["first"] <= GIVE_UP_AFTER.total_seconds():
        pending(account).append({**entry, "attempt": entry["attempt"] + 1, "due": due})


def redeliver(account: Account, event_id: str) -> None:
    """Queue an event again by its id."""
    event = account.store.find("event", event_id)
    if event is None:
        raise not_found("event", event_id)
    send_again(account, event)


def _queue(account: Account, event: Obj, endpoint_id: str) -> None:
    now = account.clock.now().timestamp()
    entry = {"id": account.store.mint("dlv", 16), "endpoint": endpoint_id, "event": event["id"],
             "attempt": 0, "first": now, "due": now}  # fmt: skip
    pending(account).append(entry)


def _still_wanted(account: Account, entry: Obj) -> bool:
    endpoint = account.store.find(ENDPOINT, entry["endpoint"])
    known = account.store.find("event", entry["event"]) is not None
    return known and endpoint is not None and endpoint["status"] == "enabled"
