"""dj-stripe's own command copies everything of the demo's year, and loses nothing."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from payments.sandbox import Sandbox
from tests.support.outside_client import needs, run
from tests.support.rich_account import list_account

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

COPY = Path(__file__).with_name("copy_with_djstripe.py")
# Stripe refuses these too, or dj-stripe cannot store what Stripe sends (dj-stripe 2.11).
FAULTS_OF_ITS_OWN = {
    "Error listing TaxId: Received unknown parameter: id",
    "Error listing ActiveEntitlement: Missing required param: customer.",
    "Error syncing US: Object of type StripeObject is not JSON serializable",
}
# What it copies only where something else names it, or does not copy for the reasons above
NOT_COUNTED = {"card", "country_spec", "mandate", "product_feature", "source_transaction"}
# A proxy that is not there: nothing leaves this machine.
NO_NETWORK = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "", "NO_PROXY": "127.0.0.1"}


async def test_every_model_has_as_many_rows_as_the_api_lists(
    demo_year: Sandbox, clients: Path, tmp_path: Path
) -> None:
    python = needs(clients / "djstripe" / "bin" / "python", "dj-stripe")

    code, output = await run(python, COPY, demo_year.url, home=tmp_path, **NO_NETWORK)

    assert code == 0, output[-2000:]
    assert errors_in(output) == FAULTS_OF_ITS_OWN
    copied = json.loads(output.rpartition("COUNTS ")[2])
    listed = Counter(row["object"] for row in await list_account(demo_year.url))
    counted = copied.keys() - NOT_COUNTED
    assert {kind: copied[kind] for kind in counted} == {kind: listed[kind] for kind in counted}
    assert sum(copied.values()) > 2000
    assert len([kind for kind, count in copied.items() if count]) > 15


def errors_in(output: str) -> set[str]:
    """Return what the command says that failed, without the classes and numbers."""
    found = re.findall(r"(Error (?:listing|syncing) \w+): \w+\((?:message=)?'([^']+)'", output)
    return {f"{what}: {why}" for what, why in found}
