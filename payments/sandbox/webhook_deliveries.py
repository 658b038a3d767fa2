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

from payments.sandbox import api_versions
from payments.sandbox.account import WEBHOOK_ENDPOINT, StripeAccount
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject

FIRST_RETRY_DELAY: Final = timedelta(seconds=10)
RETRY_PERIOD: Final = timedelta(days=3)
DELIVERY_TIMEOUT: Final = aiohttp.ClientTimeout(total=20)


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


DeliveryTransport = Callable[[Delivery], Awaitable[int]]


async def send(delivery: Delivery) -> int:
    """Send a delivery as Stripe does: redirects count as failures."""
    async with (
        aiohttp.ClientSession(timeout=DELIVERY_TIMEOUT) as client,
        client.post(
            delivery.url, data=delivery.body, headers=delivery.headers, allow_redirects=False
        ) as response,
    ):
        return response.status


def enqueue(account: StripeAccount, event: JsonObject) -> None:
    """Queue a new event for everyone who asked for it."""
    for endpoint in account.store.of_kind(WEBHOOK_ENDPOINT):
        if endpoint["status"] == "enabled" and subscribes_to(endpoint, event["type"]):
            event["pending_webhooks"] += 1
            unacknowledged_endpoints(account, event["id"], create=True).append(endpoint["id"])
            _add_to_queue(account, event, endpoint["id"])


def requeue(account: StripeAccount, event: JsonObject, endpoint_id: str | None = None) -> None:
    """Queue an event once more, whatever became of it."""
    for endpoint in account.store.of_kind(WEBHOOK_ENDPOINT):
        chosen = (
            endpoint["id"] == endpoint_id if endpoint_id else subscribes_to(endpoint, event["type"])
        )
        if chosen and endpoint["status"] == "enabled":
            _add_to_queue(account, event, endpoint["id"])


def subscribes_to(endpoint: JsonObject, event_type: str) -> bool:
    return "*" in endpoint["enabled_events"] or event_type in endpoint["enabled_events"]


def unacknowledged_endpoints(
    account: StripeAccount, event_id: str, *, create: bool = False
) -> list[str]:
    """The endpoints that have not yet answered 2xx for an event."""
    if not create and event_id not in account.store.facts:
        return []
    waiting: list[str] = account.store.private(event_id).setdefault("waiting", [])
    return waiting


def queued(account: StripeAccount) -> list[JsonObject]:
    """What is queued: its endpoint, event, attempt and when it is due."""
    entries: list[JsonObject] = account.state.setdefault("outbox", [])
    return entries


def pop_due(account: StripeAccount) -> list[JsonObject]:
    """Take out what is due; whoever takes it sends it."""
    now = account.clock.now().timestamp()
    entries = queued(account)
    due = [entry for entry in entries if entry["due"] <= now]
    entries[:] = [entry for entry in entries if entry["due"] > now]
    return [entry for entry in due if _is_deliverable(account, entry)]


def sign_delivery(account: StripeAccount, entry: JsonObject) -> Delivery:
    """A queued entry as the request that leaves, signed now."""
    event = account.store.objects[entry["event"]]
    endpoint = account.store.objects[entry["endpoint"]]
    version = endpoint["api_version"] or event["api_version"]
    body = msgspec.json.encode(api_versions.render_event(account.store, event, version))
    secret, *before = signing_secrets(account, endpoint["id"])
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signature(body, secret, account.clock.wall_timestamp(), *before),
    }
    return Delivery(
        entry["id"], endpoint["url"], event["id"], event["type"], headers, body, endpoint["id"]
    )


def signature(body: bytes, secret: str, timestamp: int, *more_secrets: str) -> str:
    """The Stripe-Signature header: HMAC-SHA256 over the time and the body, with every secret."""
    signed, keys = b"%d.%s" % (timestamp, body), (secret, *more_secrets)
    parts = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys]
    return ",".join([f"t={timestamp}", *(f"v1={part}" for part in parts)])


def signing_secrets(account: StripeAccount, endpoint_id: str) -> list[str]:
    """What an endpoint's deliveries are signed with: the secret, and for a while the one before."""
    private = account.store.private(endpoint_id)
    if private.get("rolled_until", 0) > account.clock.wall_timestamp():
        return [private["secret"], private["secret_before"]]
    return [private["secret"]]


def roll_secret(account: StripeAccount, endpoint_id: str, overlap: timedelta) -> str:
    """A new secret for an endpoint; the old one signs too until the overlap is over."""
    if account.store.get(WEBHOOK_ENDPOINT, endpoint_id) is None:
        raise not_found(WEBHOOK_ENDPOINT, endpoint_id)
    private = account.store.private(endpoint_id)
    private["secret_before"], private["secret"] = private["secret"], new_secret(account)
    private["rolled_until"] = account.clock.wall_timestamp() + int(overlap.total_seconds())
    return str(private["secret"])


def new_secret(account: StripeAccount) -> str:
    return "whsec_" + account.store.new_id("x", 32)[2:]


def duplicate_and_shuffle(
    entries: list[JsonObject], copies: int, seed: int | None
) -> list[JsonObject]:
    """The same deliveries, each more than once, or in another order."""
    several = [entry for entry in entries for _ in range(copies)]
    if seed is not None:
        random.Random(seed).shuffle(several)  # noqa: S311 - a test's dice, not a secret
    return several


def record_response(account: StripeAccount, entry: JsonObject, status: int | None) -> None:
    """Record an endpoint's answer; None when there was none."""
    event = account.store.objects.get(entry["event"])
    if event is None:
        return
    attempts = account.store.private(event["id"]).setdefault("attempts", [])
    attempts.append({"endpoint": entry["endpoint"], "status": status})
    if status is not None and 200 <= status < 300:
        waiting = unacknowledged_endpoints(account, event["id"])
        if entry["endpoint"] in waiting:
            waiting.remove(entry["endpoint"])
            event["pending_webhooks"] = len(waiting)
        return
    now = account.clock.now().timestamp()
    due = now + FIRST_RETRY_DELAY.total_seconds() * 2 ** entry["attempt"]
    if due - entry["first"] <= RETRY_PERIOD.total_seconds():
        queued(account).append({**entry, "attempt": entry["attempt"] + 1, "due": due})


def requeue_by_id(account: StripeAccount, event_id: str) -> None:
    """Queue an event again by its id."""
    event = account.store.get("event", event_id)
    if event is None:
        raise not_found("event", event_id)
    requeue(account, event)


def _add_to_queue(account: StripeAccount, event: JsonObject, endpoint_id: str) -> None:
    now = account.clock.now().timestamp()
    entry = {"id": account.store.new_id("dlv", 16), "endpoint": endpoint_id, "event": event["id"],
             "attempt": 0, "first": now, "due": now}  # fmt: skip
    queued(account).append(entry)


def _is_deliverable(account: StripeAccount, entry: JsonObject) -> bool:
    endpoint = account.store.get(WEBHOOK_ENDPOINT, entry["endpoint"])
    known = account.store.get("event", entry["event"]) is not None
    return known and endpoint is not None and endpoint["status"] == "enabled"
