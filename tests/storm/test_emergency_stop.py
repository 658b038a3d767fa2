"""The emergency stop ends each subscription exactly once and sends no mail, whatever Stripe answers
and however often the command is killed.
"""

import asyncio
import copy
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from payments.accounting import integrity
from payments.core.errors import PaymentsError
from payments.giving import subscription_changes
from payments.giving.change_log import Actor
from payments.giving.subscriptions import Subscription
from payments.infra import db
from payments.infra.context import Context
from payments.risk.emergency_stops import StopGroup, StopMode
from payments.safety import emergency_stop
from payments.sandbox.clock import BillingClock
from payments.sandbox.faults import Fault, Faults
from tests.support import command_line
from tests.support.command_line import Finished, Running
from tests.support.newsroom import Newsroom, open_newsroom

pytestmark = pytest.mark.anyio
RUSSIAN_CARD = "4000006430000009"
FAULT_KINDS = (
    "drop_before",
    "drop_after",
    "status_500",
    "html_500",
    "rate_limited",
    "conflict_409",
)

COPIED_CONTRIBUTIONS = """
    INSERT INTO contributions (id, created_at, interval_unit, interval_count, amount, currency,
                               status, origin, language, donor_id, outcome_known_at)
    SELECT lpad(to_hex(n), 32, '0'), created_at, c.interval_unit, c.interval_count, c.amount,
           c.currency, c.status,
           origin, language, donor_id, outcome_known_at
      FROM contributions c JOIN subscriptions s ON s.contribution_id = c.id,
           generate_series(1, :last) n
     WHERE s.stripe_subscription_id = :first
"""
OTHER_COLUMNS_SQL = ", ".join(
    column.name
    for column in Subscription.__table__.columns
    if column.computed is None and column.name not in ("stripe_subscription_id", "contribution_id")
)
COPIED_SUBSCRIPTIONS = f"""
    INSERT INTO subscriptions (stripe_subscription_id, contribution_id, {OTHER_COLUMNS_SQL})
    SELECT s.stripe_subscription_id || 'x' || lpad(CAST(n AS text), 5, '0'),
           lpad(to_hex(n), 32, '0'), {OTHER_COLUMNS_SQL}
      FROM subscriptions s, generate_series(1, :last) n
     WHERE s.stripe_subscription_id = :first
"""  # noqa: S608 - our own columns


class RandomFaults(Faults):
    """Faults of one change to a subscription in twenty; a test can wait for the n-th change."""

    def __init__(self, clock: BillingClock, seed: int) -> None:
        super().__init__(clock)
        self.random = random.Random(seed)
        self.count = self.awaited_count = 0
        self.reached = asyncio.Event()

    def take_matching(self, method: str, path: str) -> Fault | None:
        if method == "GET" or "/subscriptions/" not in path:
            return None
        self.count += 1
        if self.count == self.awaited_count:
            self.reached.set()
        if self.random.random() >= 0.05:
            return None
        self.add(method, ".", self.random.choice(FAULT_KINDS))
        return super().take_matching(method, path)

    async def wait_for_more(self, count: int) -> None:
        """Wait until there were so many changes more."""
        self.awaited_count, self.reached = self.count + count, asyncio.Event()
        await self.reached.wait()


STOP = ("emergency-stop", "--group", "all", "--mode", "cancel", "--yes", "--json")


async def start_stop(room: Newsroom, *options: str) -> Running:
    """Start `payments emergency-stop` for all subscriptions."""
    rate = {"PAYMENTS_STRIPE_REQUESTS_PER_SECOND": "100"}
    return await command_line.start(room.settings, *STOP, *options, **rate)


async def run_stop(room: Newsroom, *options: str) -> tuple[int, dict[str, object]]:
    """Run `payments emergency-stop` for all subscriptions: its exit code and its report."""
    done = await asyncio.to_thread((await start_stop(room, *options)).wait)
    assert done.stdout, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return done.exit_code, report


async def erase_identities(room: Newsroom) -> Finished:
    """Run `payments erase-identities`."""
    return await command_line.run(
        room.settings, "erase-identities", "--leave-at-stripe", "--yes", "--json"
    )


async def add_subscriptions(room: Newsroom, count: int) -> None:
    """So many subscriptions, copies of the first one at Stripe and in our records."""
    await room.gives(500, "monthly")
    await room.runs_until_idle()
    store = room.sandbox.account.store
    (first,) = store.of_kind("subscription")
    params = {"last": count - 1, "first": first["id"]}
    async with room.ctx.sessions.begin() as session:
        await session.execute(text(COPIED_CONTRIBUTIONS), params)
        await session.execute(text(COPIED_SUBSCRIPTIONS), params)
    for number in range(1, count):
        subscription = copy.deepcopy(first)
        subscription["id"] = f"{first['id']}x{number:05d}"
        store.add(subscription)
        private = copy.deepcopy(store.private(first["id"]))
        store.private(subscription["id"]).update(private)


def cancellation_counts(room: Newsroom) -> Counter[str]:
    """How often Stripe cancelled each subscription."""
    return Counter(
        request.path
        for request in room.sandbox.requests
        if request.method == "DELETE" and request.status == 200
    )


@pytest.fixture
async def room(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database) as room:
        yield room


async def stops_all(room: Newsroom, count: int) -> None:
    """Stop so many subscriptions, through faults and three kills."""
    await add_subscriptions(room, count)
    faults = room.sandbox.faults = RandomFaults(room.sandbox.clock, seed=count)
    exit_code, preview = await run_stop(room, "--dry-run")
    assert (exit_code, preview["subscriptions"]) == (0, count)
    assert faults.count == 0
    for turn in range(3):
        process = await start_stop(room, *(["--resume"] if turn else []))
        await faults.wait_for_more(count // 5)
        process.kill()
        assert (await asyncio.to_thread(process.wait)).exit_code == -signal.SIGKILL
    exit_code, report = await run_stop(room, "--resume")
    assert (exit_code, report["subscriptions"], report["unfinished"]) == (0, count, [])
    counts = cancellation_counts(room)
    assert len(counts) == count
    assert set(counts.values()) == {1}
    statuses = {s["status"] for s in room.sandbox.account.store.of_kind("subscription")}
    assert statuses == {"canceled"}
    assert await room.count("outbox_mails") == 0
    assert room.mails() == []


async def test_each_of_many_subscriptions_ends_once_through_faults_and_three_kills(
    room: Newsroom,
) -> None:
    await stops_all(room, 60)
    room.sandbox.faults.clear()
    await room.runs_until_idle()
    statuses = await room.rows("SELECT status, count(*) FROM subscriptions GROUP BY 1")
    assert statuses == [("canceled", 60)]
    await room.advances_time(timedelta(days=40))
    await room.runs_until_idle()
    assert room.mails() == []
    assert await room.count("charges") == 1


@pytest.mark.storm
async def test_ten_thousand_subscriptions_end_once_each_through_faults_and_three_kills(
    room: Newsroom,
) -> None:
    await stops_all(room, 10_000)


# --- groups and modes -----------------------------------------------------------------------------


def with_policy(room: Newsroom, folder: Path) -> Context:
    """The context of a newsroom whose donor safety policy protects Russia."""
    file = folder / "policy.toml"
    file.write_text('protected_countries = ["RU"]\nforbidden_descriptor_words = ["Example"]\n')
    settings = room.settings.model_copy(update={"donor_safety_policy": str(file)})
    return replace(room.ctx, settings=settings)


async def test_only_subscriptions_with_a_protected_card_are_cancelled(
    room: Newsroom, tmp_path: Path
) -> None:
    for card in (RUSSIAN_CARD, "4242424242424242"):
        response = await room.requests_contribution(500, "monthly")
        await room.pays(response.json()["checkout_url"], card, email=f"{card}@example.org")
        await room.runs_until_idle()
    ctx = with_policy(room, tmp_path)
    preview = await emergency_stop.preview(ctx, StopGroup.PROTECTED, StopMode.CANCEL)
    assert preview.counts["subscriptions"] == 1
    report = await emergency_stop.execute(ctx, StopGroup.PROTECTED, StopMode.CANCEL)
    assert (report.subscriptions, report.done, report.unfinished) == (1, 1, ())
    await room.runs_until_idle()
    rows = await room.rows("SELECT status FROM subscriptions ORDER BY status")
    assert rows == [("active",), ("canceled",)]
    assert room.mails() == []


async def test_a_pause_charges_nobody_and_can_be_taken_back(room: Newsroom) -> None:
    contribution = await room.gives(500, "monthly")
    await room.runs_until_idle()
    report = await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.PAUSE)
    assert (report.done, report.unfinished) == (1, ())
    await room.runs_until_idle()
    await room.advances_time(timedelta(days=70))
    await room.runs_until_idle()
    assert await room.count("charges") == 1
    ((subscription_id, is_paused),) = await room.rows(
        "SELECT stripe_subscription_id, is_paused FROM subscriptions"
    )
    assert is_paused
    assert room.mails() == []
    await emergency_stop.lift(room.ctx, StopGroup.ALL, StopMode.PAUSE)
    await subscription_changes.resume(room.ctx, str(subscription_id), actor=Actor.STAFF)
    await room.advances_time(timedelta(days=40))
    await room.runs_until_idle()
    assert await room.count("charges") == 2
    assert (await room.contribution(contribution.id)).status == "paid"


async def test_a_stop_is_not_begun_twice_and_nothing_is_resumed_that_never_was(
    room: Newsroom,
) -> None:
    with pytest.raises(PaymentsError, match="No stop of this group stands"):
        await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.CANCEL, resume=True)
    with pytest.raises(PaymentsError, match="names no policy"):
        await emergency_stop.execute(room.ctx, StopGroup.PROTECTED, StopMode.CANCEL)
    await room.gives(500, "monthly")
    await room.runs_until_idle()
    room.sandbox.faults.add("DELETE", "/subscriptions/", "status_500", remaining=1000)
    report = await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.CANCEL)
    assert len(report.unfinished) == 1
    with pytest.raises(PaymentsError, match="Use --resume"):
        await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.CANCEL)
    meanwhile = await room.requests_contribution(500, "monthly")
    assert meanwhile.status_code == 503
    assert (await room.requests_contribution(500, "once")).status_code == 503
    room.sandbox.faults.clear()
    report = await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.CANCEL, resume=True)
    assert report.unfinished == ()


# --- erasure of identities ------------------------------------------------------------------------


async def test_erasing_identities_forgets_everybody_and_the_ledger_verifies(room: Newsroom) -> None:
    await room.gives(500, "once")
    await room.gives(700, "monthly")
    await room.runs_until_idle()
    reminder = {"address": "later@example.org", "on": "2026-12-24"}
    assert (await room.web.post("/api/reminders", json=reminder)).status_code in (201, 202)
    assert stored_keys(room)
    await room.failed_integrity_checks()
    before = await room.rows("SELECT debit, credit, sum(amount) FROM ledger_entries GROUP BY 1, 2")
    refused = await erase_identities(room)
    assert refused.exit_code == 1
    assert "1 subscriptions are still charged" in refused.stderr
    assert await room.count("donors") == 1
    await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.CANCEL)
    await room.runs_until_idle()
    erased = await erase_identities(room)
    assert erased.exit_code == 0, erased.stderr
    report = json.loads(erased.stdout)
    assert (report["donors"], report["live_subscriptions"], report["vacuumed"]) == (1, 0, True)
    for table in tables_with_identities():
        assert await room.count(table) == 0, table
    assert stored_keys(room) == []
    assert await room.rows("SELECT DISTINCT stripe_customer_id FROM subscriptions") == [
        ("anonymised",)
    ]
    assert all(finding.passed for finding in await integrity.run_checks(room.ctx))
    after = await room.rows("SELECT debit, credit, sum(amount) FROM ledger_entries GROUP BY 1, 2")
    assert sorted(map(str, after)) == sorted(map(str, before))
    for delivery in list(room.delivered):  # Stripe sends all webhooks again
        await room.deliver([delivery])
    await room.runs_until_idle()
    assert await room.count("donors") == 0


def stored_keys(room: Newsroom) -> list[Path]:
    """The files of the keys by which addresses are encrypted."""
    return [path for path in Path(room.settings.address_key_dir).glob("**/??/*") if path.is_file()]


def tables_with_identities() -> list[str]:
    """Every table whose rows could identify somebody, and which must be empty."""
    identifying = {"address_hash", "address_ciphertext", "donor_id"}
    tables = db.Base.metadata.tables.values()
    names = [t.name for t in tables if identifying & {column.name for column in t.columns}]
    assert len(names) > 8
    return ["outbox_mails", *(name for name in names if name != "contributions")]
