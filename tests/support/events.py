"""Another program of the newsroom, which takes its events, and checks them by itself."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from payments.infra.outgoing_events import delivery, endpoints
from payments.infra.outgoing_events.tables import OFFERED_KINDS, EventEndpoint
from tests.support.newsletter import MailingSystem, lower_case_headers
from tests.support.newsroom import Newsroom

Receiver = MailingSystem


@asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    """A program that takes what is sent to it."""
    made = Receiver()
    await made.open()
    try:
        yield made
    finally:
        await made.aclose()


async def has_endpoint(
    room: Newsroom, receiver: Receiver, *kinds: str, name: str = "Statistics"
) -> tuple[EventEndpoint, str]:
    """Events are sent to a program of the newsroom: of these kinds, or all. Gives its secret."""
    url = await endpoints.save_url(room.settings, receiver.url)
    async with room.ctx.sessions.begin() as session:
        return await endpoints.create(
            session,
            room.settings,
            name=name,
            url=url,
            kinds=kinds or [*OFFERED_KINDS],
            now=room.ctx.now(),
        )


async def sends_events(room: Newsroom) -> int:
    """What the worker does about events in a minute. Returns how many endpoints had some due."""
    due = await delivery.enqueue_due(room.ctx)
    await room.runs_due_jobs()
    return due


def is_signed(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """Whether one of the signatures is this secret's, by the specification and no code of ours."""
    sent = lower_case_headers(headers)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in sent["webhook-signature"].split(" ")


def messages(receiver: Receiver, secret: str) -> list[dict[str, Any]]:
    """What a program believes: whatever is signed, each event once, in the order it came."""
    known = dict[str, bytes]()
    for headers, body in receiver.came:
        assert is_signed(headers, body, secret)
        assert known.setdefault(lower_case_headers(headers)["webhook-id"], body) == body
    return [json.loads(body) for body in known.values()]


def kinds(receiver: Receiver, secret: str) -> list[str]:
    return sorted(str(message["type"]) for message in messages(receiver, secret))
