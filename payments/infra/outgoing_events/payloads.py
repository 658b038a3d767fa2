"""The message of an event: what leaves this service, and what does not.

The same event has the same bytes and the same `webhook-id` for an endpoint at each attempt. It
names nobody: of a contribution it has a pseudonym that this endpoint alone gets, and which ends
with the endpoint. Where a donor safety policy applies there is none, and no time but the day.
"""

import hashlib
import hmac
from datetime import datetime

import msgspec
from standardwebhooks import Webhook

from payments.core.safety_policy import Policy
from payments.infra.outgoing_events.endpoints import Sealed
from payments.infra.outgoing_events.tables import OutgoingEvent

PSEUDONYM_BYTES = 16


def message_id(event_id: str) -> str:
    """Return the `webhook-id` of an event, by which a receiver knows it again."""
    return f"evt_{event_id}"


def body_of(event: OutgoingEvent, opened: Sealed, policy: Policy | None) -> bytes:
    """Return the body of an event's message for an endpoint, as JSON."""
    at, data = event.occurred_at.replace(microsecond=0), dict(event.figures)
    if event.contribution_id is not None:
        if policy is None:
            data = {"contribution": pseudonym(opened, event.contribution_id)} | data
        else:
            at = at.replace(hour=0, minute=0, second=0)
    return msgspec.json.encode({"type": event.kind.value, "timestamp": at, "data": data})


def pseudonym(opened: Sealed, contribution_id: str) -> str:
    """Return what an endpoint calls a contribution, so that it knows its events belong together."""
    digest = hmac.new(opened.pseudonym_key, contribution_id.encode(), hashlib.sha256)
    return digest.digest()[:PSEUDONYM_BYTES].hex()


def headers_of(event_id: str, body: bytes, opened: Sealed, *, now: datetime) -> dict[str, str]:
    """Return the headers of one attempt, signed at that time (https://www.standardwebhooks.com)."""
    name, text = message_id(event_id), body.decode()
    signatures = [Webhook(secret).sign(name, now, text) for secret in opened.signing_secrets(now)]
    return {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "reader-payments",
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
