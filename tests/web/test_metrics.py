"""What an operator's Prometheus reads: of all processes, of nobody in particular."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from payments.core.money import GIFT_LIMITS
from payments.giving.charges import ChargeStatus
from payments.infra.alerts import AlertKind
from payments.infra.metrics import StripeOutcome, WebhookOutcome
from payments.ops import worker
from payments.web.operator_metrics import QUESTIONS
from tests.support.database_owner import as_owner
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.past import has_given
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio

TOKEN = secret_named("metrics")
ROOT = Path(__file__).parents[2]
METRICS_DOC, DEPLOY = ROOT / "docs" / "metrics.md", ROOT / "deploy"


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database, metrics_token=TOKEN) as room:
        yield room


async def test_metrics_count_and_name_nobody(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 2800)
    await newsroom.web.post("/webhooks/stripe", content=b"{}")
    await newsroom.web.get(f"/thanks/{gift.id}?poll=a-secret")
    await newsroom.gives(500)
    await newsroom.deliver(newsroom.sandbox.take_deliveries())  # jobs wait
    url = newsroom.settings.database_url.get_secret_value()
    with as_owner(url) as owner:  # one that has said nothing for an hour
        owner.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour')"
        )
    answer = await newsroom.web.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.headers["content-type"].startswith("text/plain")
    families = {one.name: one for one in text_string_to_metric_families(answer.text)}
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    closed = {
        "outcome": {*map(str, WebhookOutcome), *map(str, StripeOutcome)},
        "status": {"todo", "doing", "succeeded", "failed", "cancelled", "aborting", "aborted",
                   "pending", "sent", "dropped", "undeliverable", *map(str, ChargeStatus)},
        "kind": {*worker.JOB_HANDLERS, "schedule", *map(str, AlertKind)},
        "currency": set(GIFT_LIMITS),
    }  # fmt: skip
    for family in families.values():
        for sample in family.samples:
            for name, value in sample.labels.items():
                if family.name.startswith("payments_") and name != "le":
                    assert value in closed[name], sample
    assert values["payments_webhooks_total", ("outcome", "enqueued")] > 0
    assert values["payments_stripe_request_seconds_count", ("outcome", "ok")] > 0
    assert values["payments_jobs", ("status", "todo")] > 0
    assert values["payments_jobs_due", ("kind", "charge")] > 0
    assert values["payments_jobs_due_seconds", ("kind", "charge")] >= 0
    assert values[("payments_workers",)] == 0
    assert 3_599 < values[("payments_worker_heartbeat_seconds",)] < 4_000
    assert values[("payments_event_received_seconds",)] == 0
    assert gift.id not in answer.text
    assert "a-secret" not in answer.text
    documented = set(re.findall(r"`(payments_\w+)`", METRICS_DOC.read_text()))
    ours = {name for name in families if name.startswith("payments_")}
    assert {name for name in ours if not name.endswith("_created")} <= documented
    known = {one.name for one in QUESTIONS} | {
        "payments_webhooks",
        "payments_stripe_request_seconds",
    }
    assert documented == known
    for file in ("prometheus-rules.yml", "grafana-board.json"):
        used = set(re.findall(r"payments_\w+", (DEPLOY / file).read_text()))
        assert used, file
        assert {re.sub(r"_(total|count|sum|bucket)$", "", name) for name in used} <= known, file


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer " + "b" * 32, "Basic " + TOKEN, TOKEN[:-1]])
async def test_metrics_are_not_for_everybody(newsroom: Newsroom, sent: str) -> None:
    answer = await newsroom.web.get("/metrics", headers={"authorization": sent})
    assert answer.status_code == 404
    assert "payments_" not in answer.text
