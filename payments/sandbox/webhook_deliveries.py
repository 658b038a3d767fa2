"""Webhook deliveries: the queue, signatures and retries.

Each enabled endpoint that subscribes to an event gets a delivery of its own, signed with wall time
whenever it is sent. A delivery not answered 2xx is retried with exponential backoff for three days.
The queue is JSON in the account's state, so it is saved with the rest.
https://docs.stripe.com/webhooks#delivery-behaviors
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
    """One HTTP request to an endpoint, signed."""

    id: str
    url: str
    event_id: str
    event_type: str
    headers: dict[str, str]
    body: bytes
    endpoint_id: str = ""


DeliveryTransport = Callable[[Delivery], Awaitable[int]]


async def send(delivery: Delivery) -> int:
    """Send a delivery. Returns the response's status; redirects are not followed."""
    async with (
        aiohttp.ClientSession(timeout=DELIVERY_TIMEOUT) as client,
        client.post(
            delivery.url, data=delivery.body, headers=delivery.headers, allow_redirects=False
        ) as response,
    ):
        return response.status


def enqueue(account: StripeAccount, event: JsonObject) -> None:
    """Queue a new event for every endpoint that subscribes to it."""
    for endpoint in account.store.of_kind(WEBHOOK_ENDPOINT):
        if endpoint["status"] == "enabled" and subscribes_to(endpoint, event["type"]):
            event["pending_webhooks"] += 1
            unacknowledged_endpoints(account, event["id"], create=True).append(endpoint["id"])
            _add_to_queue(account, event, endpoint["id"])


def requeue(account: StripeAccount, event: JsonObject, endpoint_id: str | None = None) -> None:
    """Queue an event again, for one endpoint or for every one that subscribes to it."""
    for endpoint in account.store.of_kind(WEBHOOK_ENDPOINT):
        is_recipient = (
            endpoint["id"] == endpoint_id if endpoint_id else subscribes_to(endpoint, event["type"])
        )
        if is_recipient and endpoint["status"] == "enabled":
            _add_to_queue(account, event, endpoint["id"])


def subscribes_to(endpoint: JsonObject, event_type: str) -> bool:
    """Return whether an endpoint subscribes to an event type."""
    return "*" in endpoint["enabled_events"] or event_type in endpoint["enabled_events"]


def unacknowledged_endpoints(
    account: StripeAccount, event_id: str, *, create: bool = False
) -> list[str]:
    """Return the ids of the endpoints that have not yet answered 2xx for an event.

    With `create` callers change the list.
    """
    if not create and event_id not in account.store.facts:
        return []
    endpoint_ids: list[str] = account.store.private(event_id).setdefault("unacknowledged", [])
    return endpoint_ids


def queued(account: StripeAccount) -> list[JsonObject]:
    """Return the queue of entries (endpoint, event, attempt, due time); callers change it."""
    entries: list[JsonObject] = account.state.setdefault("queued_deliveries", [])
    return entries


def pop_due(account: StripeAccount) -> list[JsonObject]:
    """Remove the due entries from the queue; the caller sends the deliverable ones returned."""
    now = account.clock.now().timestamp()
    entries = queued(account)
    due = [entry for entry in entries if entry["due_at"] <= now]
    entries[:] = [entry for entry in entries if entry["due_at"] > now]
    return [entry for entry in due if _is_deliverable(account, entry)]


def sign_delivery(account: StripeAccount, entry: JsonObject) -> Delivery:
    """Return a queued entry as the request to send, signed now."""
    event = account.store.objects[entry["event"]]
    endpoint = account.store.objects[entry["endpoint"]]
    version = endpoint["api_version"] or event["api_version"]
    body = msgspec.json.encode(api_versions.render_event(account.store, event, version))
    secret, *older_secrets = signing_secrets(account, endpoint["id"])
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signature(body, secret, account.clock.wall_timestamp(), *older_secrets),
    }
    return Delivery(
        entry["id"], endpoint["url"], event["id"], event["type"], headers, body, endpoint["id"]
    )


def signature(body: bytes, secret: str, timestamp: int, *more_secrets: str) -> str:
    """Return the Stripe-Signature header: HMAC-SHA256 over time and body, one for each secret.

    https://docs.stripe.com/webhooks#verify-manually
    """
    signed, keys = b"%d.%s" % (timestamp, body), (secret, *more_secrets)
    parts = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys]
    return ",".join([f"t={timestamp}", *(f"v1={part}" for part in parts)])


def signing_secrets(account: StripeAccount, endpoint_id: str) -> list[str]:
    """Return an endpoint's signing secrets: the present one and, after a roll, the previous one."""
    private = account.store.private(endpoint_id)
    if private.get("previous_secret_expires_at", 0) > account.clock.wall_timestamp():
        return [private["secret"], private["previous_secret"]]
    return [private["secret"]]


def roll_secret(account: StripeAccount, endpoint_id: str, overlap: timedelta) -> str:
    """Replace an endpoint's secret and return the new one; the old one signs too for `overlap`.

    Raises ApiError for an unknown endpoint.
    """
    if account.store.get(WEBHOOK_ENDPOINT, endpoint_id) is None:
        raise not_found(WEBHOOK_ENDPOINT, endpoint_id)
    private = account.store.private(endpoint_id)
    private["previous_secret"], private["secret"] = private["secret"], new_secret(account)
    expires_at = account.clock.wall_timestamp() + int(overlap.total_seconds())
    private["previous_secret_expires_at"] = expires_at
    return str(private["secret"])


def new_secret(account: StripeAccount) -> str:
    """Return a new signing secret."""
    return "whsec_" + account.store.new_id("x", 32)[2:]


def duplicate_and_shuffle(
    entries: list[JsonObject], copies: int, seed: int | None
) -> list[JsonObject]:
    """Return each entry as many times as `copies`, with a seed in a random order."""
    duplicated = [entry for entry in entries for _ in range(copies)]
    if seed is not None:
        random.Random(seed).shuffle(duplicated)  # noqa: S311 - reproducible, not secret
    return duplicated


def record_response(account: StripeAccount, entry: JsonObject, status: int | None) -> None:
    """Record an endpoint's answer, None for none, and queue a retry unless it was 2xx."""
    event = account.store.objects.get(entry["event"])
    if event is None:
        return
    attempts = account.store.private(event["id"]).setdefault("attempts", [])
    attempts.append({"endpoint": entry["endpoint"], "status": status})
    if status is not None and 200 <= status < 300:
        endpoint_ids = unacknowledged_endpoints(account, event["id"])
        if entry["endpoint"] in endpoint_ids:
            endpoint_ids.remove(entry["endpoint"])
            event["pending_webhooks"] = len(endpoint_ids)
        return
    now = account.clock.now().timestamp()
    due_at = now + FIRST_RETRY_DELAY.total_seconds() * 2 ** entry["attempt"]
    if due_at - entry["queued_at"] <= RETRY_PERIOD.total_seconds():
        queued(account).append({**entry, "attempt": entry["attempt"] + 1, "due_at": due_at})


def requeue_by_id(account: StripeAccount, event_id: str) -> None:
    """Queue an event again. Raises ApiError for an unknown id."""
    event = account.store.get("event", event_id)
    if event is None:
        raise not_found("event", event_id)
    requeue(account, event)


def _add_to_queue(account: StripeAccount, event: JsonObject, endpoint_id: str) -> None:
    now = account.clock.now().timestamp()
    entry = {"id": account.store.new_id("dlv", 16), "endpoint": endpoint_id, "event": event["id"],
             "attempt": 0, "queued_at": now, "due_at": now}  # fmt: skip
    queued(account).append(entry)


def _is_deliverable(account: StripeAccount, entry: JsonObject) -> bool:
    endpoint = account.store.get(WEBHOOK_ENDPOINT, entry["endpoint"])
    has_event = account.store.get("event", entry["event"]) is not None
    return has_event and endpoint is not None and endpoint["status"] == "enabled"
