"""Stripe's own command line client triggers every event that the product listens to."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from payments.sandbox import Sandbox, listen
from tests.support.outside_client import find_stripe_cli, run
from webhooks import registry

CLIENT = find_stripe_cli()

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.interop,
    pytest.mark.skipif(CLIENT is None, reason="Stripe's command line client was NOT run"),
]

# What the client has no trigger for: no card of its tests or call of the API leads there.
NO_TRIGGER = {
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.pending",
    "charge.updated",
    "customer.subscription.resumed",
    "payment_method.automatically_updated",
    "payout.canceled",
    "payout.failed",
    "payout.paid",
    "payout.reconciliation_completed",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
}
# Its trigger creates a connected account, and the sandbox's account has none.
NEEDS_CONNECT = {"account.updated"}


@pytest.fixture
async def live_sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox in which time passes: what follows a payment is there for the next request."""
    sandbox = Sandbox(live=True, check_contract=True, capture_delay=timedelta(0))
    async with listen(sandbox):
        yield sandbox


async def test_every_event_the_product_listens_to_is_triggered(
    live_sandbox: Sandbox, tmp_path: Path
) -> None:
    assert CLIENT is not None
    _, listed = await run(CLIENT, "trigger", "--help", home=tmp_path)
    known = set(re.findall(r"^ +([a-z0-9_]+(?:\.[a-z0-9_]+)+)$", listed, re.MULTILINE))
    assert set(registry.EVENT_TYPES) - known == NO_TRIGGER
    at_once = asyncio.Semaphore(4)

    async def trigger(event: str) -> str:
        async with at_once:
            address = ("--api-base", live_sandbox.url, "--api-key", "sk_test_" + "0" * 32)
            _, output = await run(CLIENT or "", "trigger", event, *address, home=tmp_path)
            return output

    events = sorted(set(registry.EVENT_TYPES) & known)
    outputs = await asyncio.gather(*(trigger(event) for event in events))

    failed = {e: o for e, o in zip(events, outputs, strict=True) if "Trigger succeeded" not in o}
    assert failed.keys() == NEEDS_CONNECT, failed
    await live_sandbox.advance(timedelta(days=20))
    emitted = {event["type"] for event in live_sandbox.account.store.of_kind("event")}
    assert set(events) - emitted == NEEDS_CONNECT
    assert live_sandbox.problems == []
