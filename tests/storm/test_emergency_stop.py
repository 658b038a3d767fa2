"""The emergency stop ends each promise exactly once and writes to nobody, whatever Stripe answers
and however often the command is killed.
"""

import asyncio
import copy
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from payments.accounting import integrity
from payments.core.errors import PaymentsError
from payments.core.settings import Settings
from payments.giving import subscription_changes
from payments.giving.change_log import Actor
from payments.infra import db
from payments.infra.context import Context
from payments.risk.bulk_stops import StopGroup, StopMode
from payments.safety import emergency_stop
from payments.sandbox.faults import Fault, Faults
from tests.support.newsroom import Newsroom, open_newsroom

pytestmark = pytest.mark.anyio
RUSSIAN = "4000006430000009"
TROUBLE = ("drop_before", "drop_after", "status_500", "html_500", "rate_limited", "conflict_409")


TWIN_GIFTS = """
    INSERT INTO contributions (id, created_at, frequency, amount, currency, status, origin,
                               language, donor_id, outcome_known_at)
    SELECT lpad(to_hex(n), 32, '0'), created_at, c.frequency, c.amount, c.currency, c.status,
           origin, language, donor_id, outcome_known_at
      FROM contributions c JOIN subscriptions s ON s.contribution_id = c.id,
           generate_series(1, :last) n
     WHERE s.stripe_subscription_id = :first
"""
TWIN_SUBSCRIPTIONS = """
    INSERT INTO subscriptions
    SELECT (jsonb_populate_record(s, jsonb_build_object(
               'stripe_subscription_id',
               s.stripe_subscription_id || 'x' || lpad(CAST(n AS text), 5, '0'),
               'contribution_id', lpad(to_hex(n), 32, '0')))).*
      FROM subscriptions s, generate_series(1, :last) n
     WHERE s.stripe_subscription_id = :first
"""


class RandomFaults(Faults):
    """One request in twenty goes wrong; somebody may wait for the n-th."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance, self.count, self.wanted = random.Random(seed), 0, 0
        self.here = asyncio.Event()

    def take_matching(self, method: str, path: str) -> Fault | None:
        if method == "GET" or "/subscriptions/" not in path:
            return None
        self.count += 1
        if self.count == self.wanted:
            self.here.set()
        if self.chance.random() >= 0.05:
            return None
        self.add(method, ".", self.chance.choice(TROUBLE))
        return super().take_matching(method, path)

    async def reaches(self, count: int) -> None:
        self.wanted, self.here = self.count + count, asyncio.Event()
        await self.here.wait()


@dataclass
class Command:
    """`payments emergency-stop`, run as an operator does."""

    room: Newsroom

    name: str = "emergency-stop"

    async def starts(self, *more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "payments.cli", self.name, "--yes", "--json", *more,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environ(self.room.settings)},
        )  # fmt: skip

    async def runs(self, *more: str) -> tuple[int, dict[str, object]]:
        process = await self.starts(*more)
        out, err = await process.communicate()
        assert process.returncode is not None
        assert out, err.decode()
        found: dict[str, object] = json.loads(out)
        return process.returncode, found


def environ(settings: Settings) -> dict[str, str]:
    given = {
        "database_url": settings.database_url.get_secret_value(),
        "base_url": settings.base_url,
        "stripe_api_key": settings.stripe_api_key.get_secret_value(),
        "stripe_api_base": settings.stripe_api_base,
        "secret_keys": settings.secret_keys[0].get_secret_value(),
        "stripe_requests_per_second": "100",
        "donor_safety_policy": settings.donor_safety_policy,
        "address_key_dir": settings.address_key_dir,
    }
    return {f"PAYMENTS_{name.upper()}": value for name, value in given.items() if value}


async def many(room: Newsroom, count: int) -> None:
    """So many promises like the first one: at Stripe, and in our records."""
    await room.gives(500, "monthly")
    await room.runs_until_idle()
    store = room.sandbox.account.store
    (first,) = store.of_kind("subscription")
    await many_rows(room, count, first["id"])
    for number in range(1, count):
        twin = copy.deepcopy(first)
        twin["id"] = f"{first['id']}x{number:05d}"
        store.add(twin)
        store.private(twin["id"]).update(copy.deepcopy(store.private(first["id"])))


async def many_rows(room: Newsroom, count: int, first: str) -> None:
    given = {"last": count - 1, "first": first}
    async with room.ctx.sessions.begin() as session:
        await session.execute(text(TWIN_GIFTS), given)
        await session.execute(text(TWIN_SUBSCRIPTIONS), given)


def ended(room: Newsroom) -> Counter[str]:
    """How often Stripe ended each promise."""
    seen = room.sandbox.requests
    return Counter(s.path for s in seen if s.method == "DELETE" and s.status == 200)


@pytest.fixture
async def room(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database) as made:
        yield made


async def stops_all(room: Newsroom, count: int) -> None:
    """Stop so many, through trouble and three kills."""
    await many(room, count)
    troubled = room.sandbox.faults = RandomFaults(seed=count)
    command = Command(room)
    assert await command.runs("--group", "all", "--mode", "cancel", "--dry-run") == (
        0,
        {"subscriptions": count},
    )
    assert troubled.count == 0
    for turn in range(3):
        more = ["--resume"] if turn else []
        process = await command.starts("--group", "all", "--mode", "cancel", *more)
        await troubled.reaches(count // 5)
        process.kill()
        await process.communicate()
    code, report = await command.runs("--group", "all", "--mode", "cancel", "--resume")
    assert (code, report["promises"], report["left"]) == (0, count, [])
    times = ended(room)
    assert len(times) == count
    assert set(times.values()) == {1}
    states = {s["status"] for s in room.sandbox.account.store.of_kind("subscription")}
    assert states == {"canceled"}
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
    """The law changed over night."""
    file = folder / "protection.toml"
    file.write_text('protected_countries = ["RU"]\nforbidden_words = ["Example"]\n')
    changed = room.settings.model_copy(update={"donor_safety_policy": str(file)})
    return replace(room.ctx, settings=changed)


async def test_only_subscriptions_with_a_protected_card_are_cancelled(
    room: Newsroom, tmp_path: Path
) -> None:
    for card in (RUSSIAN, "4242424242424242"):
        asked = await room.requests_contribution(500, "monthly")
        await room.pays(asked.json()["checkout_url"], card, email=f"{card}@example.org")
        await room.runs_until_idle()
    ctx = with_policy(room, tmp_path)
    assert await emergency_stop.preview(ctx, StopGroup.PROTECTED, StopMode.CANCEL) == 1
    report = await emergency_stop.execute(ctx, StopGroup.PROTECTED, StopMode.CANCEL)
    assert (report.subscriptions, report.done, report.unfinished) == (1, 1, ())
    await room.runs_until_idle()
    rows = await room.rows("SELECT status FROM subscriptions ORDER BY status")
    assert rows == [("active",), ("canceled",)]
    assert room.mails() == []


async def test_a_pause_charges_nobody_and_can_be_taken_back(room: Newsroom) -> None:
    gift = await room.gives(500, "monthly")
    await room.runs_until_idle()
    report = await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.PAUSE)
    assert (report.done, report.unfinished) == (1, ())
    await room.runs_until_idle()
    await room.advances_time(timedelta(days=70))
    await room.runs_until_idle()
    assert await room.count("charges") == 1
    ((promise, pauses),) = await room.rows(
        "SELECT stripe_subscription_id, is_paused FROM subscriptions"
    )
    assert pauses
    assert room.mails() == []
    await subscription_changes.resume(room.ctx, str(promise), actor=Actor.STAFF)
    await room.advances_time(timedelta(days=40))
    await room.runs_until_idle()
    assert await room.count("charges") == 2
    assert (await room.contribution(gift.id)).status == "paid"


async def test_a_stop_is_not_begun_twice_and_nothing_is_resumed_that_never_was(
    room: Newsroom,
) -> None:
    with pytest.raises(PaymentsError, match="waits to be finished"):
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
    assert (
        await room.requests_contribution(500, "monthly")
    ).status_code == 503  # none begins meanwhile
    assert (await room.requests_contribution(500, "once")).status_code == 201
    room.sandbox.faults.clear()
    assert (
        await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.CANCEL, resume=True)
    ).unfinished == ()


# --- shredding ------------------------------------------------------------------------------------


async def test_erasing_identities_forgets_everybody_and_the_ledger_verifies(room: Newsroom) -> None:
    await room.gives(500, "once")
    await room.gives(700, "monthly")
    await room.runs_until_idle()
    asked = {"address": "later@example.org", "on": "2026-12-24"}
    assert (await room.web.post("/api/reminders", json=asked)).status_code in (201, 202)
    assert stored_keys(room)
    await room.failed_integrity_checks()
    before = await room.rows("SELECT debit, credit, sum(amount) FROM ledger_entries GROUP BY 1, 2")
    code, refused = await refusal(Command(room, "erase-identities"))
    assert code == 1
    assert "1 promises are still charged" in refused
    assert await room.count("donors") == 1
    await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.CANCEL)
    await room.runs_until_idle()
    code, done = await Command(room, "erase-identities").runs()
    assert (code, done["donors"], done["live_subscriptions"]) == (0, 1, 0)
    assert done["vacuumed"]
    for table in who_is_who():
        assert await room.count(table) == 0, table
    assert stored_keys(room) == []
    assert await room.rows("SELECT DISTINCT stripe_customer_id FROM subscriptions") == [
        ("forgotten",)
    ]
    assert all(finding.passed for finding in await integrity.run_checks(room.ctx))
    after = await room.rows("SELECT debit, credit, sum(amount) FROM ledger_entries GROUP BY 1, 2")
    assert sorted(map(str, after)) == sorted(map(str, before))
    for delivery in list(room.delivered):  # Stripe says it all again
        await room.deliver([delivery])
    await room.runs_until_idle()
    assert await room.count("donors") == 0


def stored_keys(room: Newsroom) -> list[Path]:
    return [path for path in Path(room.settings.address_key_dir).rglob("*") if path.is_file()]


def who_is_who() -> list[str]:
    """Every table by which somebody could be known."""
    telling = {"address_hash", "sealed", "donor_id"}
    tables = db.Base.metadata.tables.values()
    named = [t.name for t in tables if telling & {column.name for column in t.columns}]
    assert len(named) > 8
    return ["outbox_mails", *(name for name in named if name != "contributions")]


async def refusal(command: Command, *more: str) -> tuple[int, str]:
    process = await command.starts(*more)
    _out, err = await process.communicate()
    return process.returncode or 0, err.decode()
