"""The roll-up is the rows: whatever was folded, whenever, and by the days of whichever zone."""

import csv
import io
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url
from stripe.params import RefundCreateParams

from payments import books, rollup
from payments.app import create_app
from tests.journeys.test_staff import sees, signs_in
from tests.newsroom import BASE, Newsroom

pytestmark = pytest.mark.anyio

ZONES = ("UTC", "Europe/Amsterdam", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati")
Sums = Counter[tuple[str, str, str]]  # (month, frequency, currency) -> gross in minor units


@asynccontextmanager
async def counting_in(room: Newsroom, zone: str) -> AsyncIterator[httpx.AsyncClient]:
    """The same books, served by the days of another zone."""
    app = create_app(room.settings.model_copy(update={"accounting_zone": zone}), now=room.clock)
    async with app.lifespan():
        transport = httpx.ASGITransport(app=cast("Any", app))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as web:
            yield web


async def by_ledger(room: Newsroom, zone: ZoneInfo) -> Sums:
    sums: Sums = Counter()
    for account, currency, amount, at in await room.rows(
        "SELECT credit, currency, amount, occurred_at FROM ledger_entries"
        " WHERE credit LIKE 'income:%'"
    ):
        assert isinstance(at, datetime)
        assert isinstance(amount, int)
        frequency = str(account).partition(":")[2]
        sums[f"{at.astimezone(zone):%Y-%m}", frequency, str(currency)] += amount
    return sums


async def by_charges(room: Newsroom, zone: ZoneInfo) -> Sums:
    """What donors were charged, on the day that Stripe moved it, with no look at the books."""
    sums: Sums = Counter()
    for frequency, currency, amount, at in await room.rows(
        "SELECT i.frequency, c.currency, c.amount, b.occurred_at FROM charges c"
        " JOIN contribution_intents i USING (stripe_payment_intent_id)"
        " JOIN balance_transactions b ON b.id = c.balance_transaction"
        " WHERE c.status = 'succeeded'"
    ):
        assert isinstance(at, datetime)
        assert isinstance(amount, int)
        sums[f"{at.astimezone(zone):%Y-%m}", str(frequency), str(currency)] += amount
    return sums


def by_page(text: str) -> Sums:
    sums: Sums = Counter()
    for row in csv.DictReader(io.StringIO(text)):
        if row["frequency"] != "none":
            sums[row["month"], row["frequency"], row["currency"]] += int(row["gross_minor"])
    return sums


@pytest.mark.parametrize("seed", range(2))
async def test_ledger_charges_and_page_agree_for_every_frequency_month_and_currency(
    newsroom: Newsroom, seed: int
) -> None:
    chance = random.Random(seed)
    ends = sorted(
        datetime(2026, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        for zone in ZONES
        for month in chance.sample(range(2, 13), 2)
    )
    newsroom.clock.at = ends[0] - timedelta(days=40)
    await newsroom.turns(timedelta(0))
    for end in ends:
        for second in (-1, 0, 1):
            moment = end + timedelta(seconds=second)
            await newsroom.turns(max(moment - newsroom.clock(), timedelta(0)))
            frequency = chance.choice(["once", "once", "monthly", "annual"])
            currency = chance.choice(["usd", "eur", "gbp"])
            await newsroom.gives(chance.randrange(200, 90_000), frequency, currency)
        await newsroom.settles()
    await newsroom.sweeps()
    cookie = await signs_in(newsroom)
    for zone in ZONES:
        ledger = await by_ledger(newsroom, ZoneInfo(zone))
        assert len(ledger) > 10
        assert ledger == await by_charges(newsroom, ZoneInfo(zone))
        async with counting_in(newsroom, zone) as web:
            page = await web.get("/finance/monthly.csv", headers={"cookie": cookie})
        assert by_page(page.text) == ledger, zone


async def gross(room: Newsroom, cookie: str) -> Sums:
    return by_page((await sees(room, cookie, "/finance/monthly.csv")).text)


async def test_a_gift_is_in_the_report_before_it_is_in_the_roll_up(newsroom: Newsroom) -> None:
    cookie = await signs_in(newsroom)
    await newsroom.gives(2500)
    await newsroom.settles()
    await newsroom.sweeps()
    assert await newsroom.count("ledger_days") == 2
    await newsroom.gives(700)
    await newsroom.settles()
    ((folded, newest),) = await newsroom.rows(
        "SELECT (SELECT seq FROM rollup_marks), max(seq) FROM ledger_entries"
    )
    assert cast("int", folded) < cast("int", newest)
    assert await gross(newsroom, cookie) == Counter({("2026-11", "once", "usd"): 3200})
    assert await rollup.fold(newsroom.rt) == cast("int", newest) - cast("int", folded)
    assert await rollup.fold(newsroom.rt) == 0
    assert await gross(newsroom, cookie) == Counter({("2026-11", "once", "usd"): 3200})


async def test_a_zone_that_changes_is_counted_again(newsroom: Newsroom) -> None:
    newsroom.clock.at = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    await newsroom.gives(2500)
    await newsroom.settles()
    await newsroom.sweeps()
    before = await newsroom.rows("SELECT DISTINCT day::text FROM ledger_days")
    assert before == [("2026-11-30",)]
    settings = newsroom.settings.model_copy(update={"accounting_zone": "Europe/Amsterdam"})
    app = create_app(settings, now=newsroom.clock)
    async with app.lifespan():
        assert await rollup.fold(app.state.rt) == 2
    assert await newsroom.rows("SELECT DISTINCT day::text FROM ledger_days") == [("2026-12-01",)]
    assert await newsroom.rows("SELECT zone FROM rollup_marks") == [("Europe/Amsterdam",)]


async def test_a_contribution_that_pays_twice_in_a_month_is_one_giver(newsroom: Newsroom) -> None:
    newsroom.clock.at = datetime(2027, 1, 1, 12, tzinfo=UTC)
    await newsroom.gives(700, "monthly")
    await newsroom.gives(2500)
    await newsroom.settles()
    for _ in range(2):
        await newsroom.turns(timedelta(days=30, hours=6))
        await newsroom.settles()
    await newsroom.sweeps()
    months = await newsroom.rows(
        "SELECT to_char(day, 'MM'), sum(entries)::int, sum(givers)::int, sum(newcomers)::int"
        " FROM ledger_days WHERE credit LIKE 'income:%' GROUP BY 1 ORDER BY 1"
    )
    assert months[0] == ("01", 2, 2, 2)
    assert all(givers == 1 and new == 0 for _, _, givers, new in months[1:])


async def test_a_roll_up_that_was_tampered_with_is_named_and_mended(newsroom: Newsroom) -> None:
    await newsroom.gives(2500)
    await newsroom.settles()
    await newsroom.sweeps()
    plain = make_url(newsroom.settings.database_url.get_secret_value()).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False)) as owner:
        owner.execute("UPDATE ledger_days SET amount = amount + 1 WHERE credit = 'income:once'")
    wrong = [f for f in await books.check(newsroom.rt) if not f.holds]
    assert [f.identity for f in wrong] == ["rollup"]
    assert wrong[0].rows == (
        "2026-11-22 once usd stripe:balance income:once: rolled up 2501 in 1, rows 2500 in 1",
    )
    assert await rollup.rebuild(newsroom.rt) == 2
    assert all(f.holds for f in await books.check(newsroom.rt))


async def test_a_refund_is_rolled_up_with_the_frequency_of_its_gift(newsroom: Newsroom) -> None:
    await newsroom.gives(700, "monthly")
    await newsroom.settles()
    ((intent,),) = await newsroom.rows("SELECT stripe_payment_intent_id FROM charges")
    refund: RefundCreateParams = {"payment_intent": str(intent), "amount": 100}
    await newsroom.rt.stripe.v1.refunds.create_async(refund)
    await newsroom.settles()
    await newsroom.sweeps()
    assert await newsroom.rows(
        "SELECT frequency, amount::int FROM ledger_days WHERE debit = 'refunds'"
    ) == [("monthly", 100)]
