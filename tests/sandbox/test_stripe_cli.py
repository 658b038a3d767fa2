"""Stripe's own command line client, used with the sandbox."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payments.sandbox import Sandbox, listen
from tests.support.newsroom import REAL_TIMEOUT_SECONDS
from tests.support.outside_client import find_stripe_cli
from tests.support.shop import ManualWallClock

KEY = "sk_test_" + "0" * 32
PINNED = ("--api-version", "2026-10-28.endive")
SUCCEEDED = "Trigger succeeded"
SUBSCRIPTION_EVENTS = (
    "customer.subscription.",
    "invoice.",
    "invoiceitem.",
    "payment_method.",
    "setup_intent.",
)


CLIENT = find_stripe_cli()

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        CLIENT is None,
        reason="Stripe's command line client was NOT run: it is not installed "
        "(npm install --no-save @stripe/cli, or set STRIPE_CLI)",
    ),
]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(wall=ManualWallClock(), check_contract=True)
    async with listen(sandbox):
        yield sandbox


async def run(sandbox: Sandbox, home: Path, *arguments: str) -> tuple[int, str]:
    """Run the client with a home of its own, so that it reads and leaves nothing elsewhere."""
    assert CLIENT is not None
    process = await asyncio.create_subprocess_exec(
        CLIENT,
        *arguments,
        "--api-base",
        sandbox.url,
        "--api-key",
        KEY,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), REAL_TIMEOUT_SECONDS)
    return process.returncode or 0, output.decode()


def event_types(sandbox: Sandbox) -> list[str]:
    return [event["type"] for event in sandbox.account.store.of_kind("event")]


@pytest.mark.parametrize("version", [(), PINNED], ids=["unpinned", "pinned"])
@pytest.mark.parametrize("event", ["checkout.session.completed", "customer.subscription.created"])
async def test_the_client_triggers_an_event(
    sandbox: Sandbox, tmp_path: Path, event: str, version: tuple[str, ...]
) -> None:
    code, output = await run(sandbox, tmp_path, "trigger", event, *version)

    assert "Trigger succeeded" in output
    assert code == 0
    assert event in event_types(sandbox)
    assert sandbox.problems == []


@pytest.mark.parametrize("event", ["payment_intent.succeeded", "charge.succeeded"])
async def test_the_client_triggers_what_its_own_fixtures_can_still_ask_for(
    sandbox: Sandbox, tmp_path: Path, event: str
) -> None:
    _, output = await run(sandbox, tmp_path, "trigger", event)
    assert "Trigger succeeded" in output
    assert event in event_types(sandbox)
    assert sandbox.problems == []

    _, output = await run(sandbox, tmp_path, "trigger", event, *PINNED)
    assert "payment_method_types_no_longer_supported" in output, (
        "its fixtures are older than endive"
    )


async def test_the_client_triggers_all_it_can_of_subscriptions_invoices_and_cards(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    _, output = await run(sandbox, tmp_path, "trigger", "--help")
    events = [
        line.strip() for line in output.splitlines() if line.strip().startswith(SUBSCRIPTION_EVENTS)
    ]
    assert len(events) > 20

    async def trigger(event: str) -> str:
        async with at_once:
            return (await run(sandbox, tmp_path, "trigger", event))[1]

    at_once = asyncio.Semaphore(4)
    answers = await asyncio.gather(*(trigger(event) for event in events))

    failed = {
        e: output for e, output in zip(events, answers, strict=True) if SUCCEEDED not in output
    }
    assert failed == {}
    assert set(events) - set(event_types(sandbox)) == set()
    assert sandbox.problems == []


async def test_the_client_resends_an_event(sandbox: Sandbox, tmp_path: Path) -> None:
    await run(sandbox, tmp_path, "trigger", "customer.created")
    event = next(iter(sandbox.account.store.of_kind("event")))

    code, output = await run(sandbox, tmp_path, "events", "resend", event["id"])

    assert code == 0
    assert event["id"] in output


async def test_the_client_is_refused_what_is_not_there(sandbox: Sandbox, tmp_path: Path) -> None:
    _, output = await run(sandbox, tmp_path, "get", "/v1/charges/ch_nothing")
    assert "No such charge" in output
