"""stripe-node at our version: a shop's year, and each of its webhooks verified."""

import json
from pathlib import Path

import pytest

from payments.sandbox import Sandbox
from tests.support.outside_client import needs, run

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

JOURNEY = Path(__file__).with_name("journey.mjs")
CHECKS_AT_LEAST = 200


async def test_every_step_of_a_shops_year_is_answered_as_stripe_answers(
    sandbox: Sandbox, clients: Path, tmp_path: Path
) -> None:
    modules = needs(clients / "node_modules" / "stripe", "stripe-node").parent

    code, output = await run(
        "node", JOURNEY, home=tmp_path, STRIPE_NODE=str(modules), SANDBOX=sandbox.url
    )

    assert code == 0, output[-2000:]
    checks = [json.loads(line) for line in output.splitlines()]
    assert [each for each in checks if not each["ok"]] == []
    assert len(checks) >= CHECKS_AT_LEAST
