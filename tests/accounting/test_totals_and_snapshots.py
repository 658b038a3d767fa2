"""Daily totals and month snapshots equal the ledger: whatever was added, whenever, and by the days
of whichever zone.
"""

import csv
import io
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any, cast
from zoneinfo import ZoneInfo

import httpx
import pytest
from stripe.params import RefundCreateParams

from payments.accounting import (
    accounting_zone,
    cohort_retention,
    daily_totals,
    integrity,
    mrr_rollforward,
    payment_recovery,
    period_close,
)
from payments.accounting.accounting_zone import AccountingZone
from payments.accounting.payment_recovery import RecoveryMonth
from payments.accounting.reports import period_totals, sources, variance
from payments.accounting.reports.period import month_period
from payments.core.calendar import months_before, next_month
from payments.core.errors import InvalidField
from payments.infra.context import open_context
from payments.ops import doctor
from payments.web.app import create_app
from tests.support.app_pool import lend_app
from tests.support.colleague import sees, signs_in
from tests.support.database_owner import as_owner
from tests.support.newsroom import BASE_URL, Newsroom
from tests.support.page import Page
from tests.support.past import has_given

pytestmark = pytest.mark.anyio

ZONES = ("UTC", "Europe/Amsterdam", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati")
Sums = Counter[tuple[str, str, str]]  # (month, frequency, currency) -> gross in minor units


@asynccontextmanager
async def counting_in(room: Newsroom, zone: str) -> AsyncIterator[httpx.AsyncClient]:
    """The same ledger, counted from now in another zone and served by its days."""
    await count_books_in(room, zone)
    settings = room.settings.model_copy(update={"accounting_zone": zone})
    async with open_context(settings, now=room.clock) as ctx, AsyncExitStack() as stack:
        app = stack.enter_context(lend_app(ctx))
        transport = httpx.ASGITransport(app=cast("Any", app))
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as web:
            yield web
    await count_books_in(room, room.settings.accounting_zone)


async def count_books_in(room: Newsroom, zone: str) -> None:
    """Record a zone as if no month were closed."""
    async with room.ctx.sessions.begin() as session:
        session.add(AccountingZone(zone=zone, recorded_at=room.clock(), recorded_by="a test"))


async def by_ledger(room: Newsroom, zone: ZoneInfo) -> Sums:
    sums: Sums = Counter()
    for account, currency, amount, at, late in await room.rows(
        "SELECT credit, currency, amount, occurred_at, booked_on FROM ledger_entries"
        "  LEFT JOIN late_entries USING (seq) WHERE credit LIKE 'income:%'"
    ):
        assert isinstance(at, datetime)
        assert isinstance(amount, int)
        month = late if isinstance(late, date) else at.astimezone(zone)
        sums[f"{month:%Y-%m}", str(account).partition(":")[2], str(currency)] += amount
    return sums


async def by_charges(room: Newsroom, zone: ZoneInfo, late: Mapping[str, date]) -> Sums:
    """What donors were charged, on the day that Stripe moved it or, where it was reported too late,
    on the day it is known to be booked; with no look at the ledger.
    """
    sums: Sums = Counter()
    for frequency, currency, amount, at, moved in await room.rows(
        "SELECT i.frequency, c.currency, c.amount, b.occurred_at, b.id FROM charges c"
        " JOIN payment_intent_links i USING (stripe_payment_intent_id)"
        " JOIN balance_transactions b ON b.id = c.balance_transaction"
        " WHERE c.status = 'succeeded'"
    ):
        assert isinstance(at, datetime)
        assert isinstance(amount, int)
        month = late.get(str(moved), at.astimezone(zone))
        sums[f"{month:%Y-%m}", str(frequency), str(currency)] += amount
    return sums


def by_page(text: str) -> Sums:
    sums: Sums = Counter()
    for row in csv.DictReader(io.StringIO(text)):
        if row["frequency"] != "none":
            sums[row["month"], row["frequency"], row["currency"]] += int(row["gross_minor"])
    return sums


async def by_sources(room: Newsroom, zone: ZoneInfo, months: Collection[date]) -> Sums:
    """What campaigns brought, of all frequencies together."""
    sums: Sums = Counter()
    async with room.ctx.sessions() as session:
        for month in months:
            lines = await sources.by_campaign(session, zone, month_period(month))
            overview = await period_totals.by_currency(session, zone, month_period(month))
            shown = {
                one.currency: (one.first_payments + one.renewals, one.fees, one.reversals, one.net)
                for one in sources.sum_by_currency(lines)
            }
            assert shown == {  # to the cent, whatever belongs to no campaign or to no contribution
                code: (one.gross, one.fees, one.refunds + one.disputes, one.net)
                for code, one in overview.items()
            }
            for one in lines:
                sums[f"{month:%Y-%m}", "all", one.currency] += one.first_payments + one.renewals
    return sums


async def reports_late(room: Newsroom, opens: date) -> dict[str, date]:
    """Finance closes the month before, and then Stripe tells of gifts that fell into it: which
    transactions they are, and where they are booked.
    """
    await room.runs_sweeps()
    await period_close.close(room.ctx, months_before(opens, 1), by="Ada")
    known = {row["id"] for row in room.sandbox.account.store.of_kind("balance_transaction")}
    for amount, frequency in ((901, "once"), (902, "monthly"), (903, "annual")):
        await room.gives(amount, frequency)
    await room.sandbox.advance_to_captures()
    late = {}
    begins = datetime(opens.year, opens.month, 1, tzinfo=room.settings.accounting_zoneinfo)
    for row in room.sandbox.account.store.of_kind("balance_transaction"):
        if row["id"] not in known:
            row["created"] = int(begins.timestamp()) - 1
            late[row["id"]] = opens
    await room.runs_until_idle()
    return late


@pytest.mark.parametrize("ends_of_a_zone", [1, pytest.param(2, marks=pytest.mark.storm)])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.storm)])
async def test_ledger_charges_and_page_agree_for_every_frequency_month_and_currency(
    newsroom: Newsroom, seed: int, ends_of_a_zone: int
) -> None:
    chance = random.Random(seed)
    ends = sorted(
        datetime(2026, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        for zone in ZONES
        for month in chance.sample(range(2, 13), ends_of_a_zone)
    )
    newsroom.clock.current = ends[0] - timedelta(days=40)
    await newsroom.advances_time(timedelta(0))
    for end in ends:
        for second in (-1, 0):  # the last of a month and the first of the next
            moment = end + timedelta(seconds=second)
            await newsroom.advances_time(max(moment - newsroom.clock(), timedelta(0)))
            frequency = chance.choice(["once", "once", "monthly", "annual"])
            currency = chance.choice(["usd", "eur", "gbp"])
            await has_given(newsroom, chance.randrange(200, 90_000), frequency, currency)
    late = await reports_late(newsroom, ends[len(ends) // 2].date().replace(day=1))
    assert len(late) == 3
    await newsroom.runs_sweeps()
    cookie = await signs_in(newsroom)
    for name in ZONES:
        zone = ZoneInfo(name)
        ledger = await by_ledger(newsroom, zone)
        assert len(ledger) > 10
        assert ledger == await by_charges(newsroom, zone, late)
        async with counting_in(newsroom, name) as web:
            page = await web.get("/finance/monthly.csv", headers={"cookie": cookie})
        assert by_page(page.text) == ledger, name
        months = sorted({date.fromisoformat(f"{month}-01") for month, _, _ in ledger})
        of_all: Sums = Counter()
        for (month, _, currency), amount in ledger.items():
            of_all[month, "all", currency] += amount
        assert await by_sources(newsroom, zone, months) == of_all, name
        if zone == newsroom.settings.accounting_zoneinfo or name == "Pacific/Kiritimati":
            since = months_before(months[0], 1)  # of what a payment of its first days may be for
            await recurring_agrees(newsroom, zone, since, next_month(months[-1]))
    assert await newsroom.count("late_entries") == 2 * len(late)  # the gift and its fee


# --- what comes in again --------------------------------------------------------------------------


async def recurring_agrees(room: Newsroom, zone: ZoneInfo, since: date, until: date) -> None:
    """The roll-forward, the cohorts and why net changed are what a reader of the rows would say."""
    closing, paid = await by_hand(room, zone, until)
    async with room.ctx.sessions() as session:
        forward = await mrr_rollforward.by_month(session, zone, since=since, until=until)
        assert forward == await mrr_rollforward.compute(session, zone, since=since, until=until)
        born = await cohort_retention.list_cohorts(session, zone, since=since, until=until)
        month = since
        while (later := next_month(month)) < until:
            found = await variance.net_variance(
                session,
                zone,
                currency="usd",
                earlier=month_period(month),
                later=month_period(later),
            )
            assert variance.VarianceCause.OTHER not in {part.cause for part in found.components}
            month = later
    assert Counter({(one.month, one.currency): one.closing for one in forward}) == closing
    for one in forward:
        moved = sum(getattr(one, name) for name in mrr_rollforward.MRR_MOVEMENTS)
        assert one.opening + moved == one.closing
        assert one.opening == closing[months_before(one.month, 1), one.currency]
    lived = {cohort.first_paid_month: cohort.payers_by_age for cohort in born}
    assert lived.keys() == {min(months) for months in paid.values()}
    for month, counts in lived.items():
        cohort = [months for months in paid.values() if min(months) == month]
        for age, count in enumerate(counts):
            assert count == sum(months_before(month, -age) in months for months in cohort)


async def by_hand(
    room: Newsroom, zone: ZoneInfo, until: date
) -> tuple[Counter[tuple[date, str]], dict[str, set[date]]]:
    """What recurring revenue each month closed with, and the months that contributions paid for."""
    carried: dict[tuple[date, str], dict[str, Fraction]] = defaultdict(dict)
    paid: dict[str, set[date]] = defaultdict(set)
    for account, owner, currency, amount, starts, ends in await room.rows(
        "SELECT e.credit, e.contribution_id, e.currency, e.amount, service_starts_at,"
        "       service_ends_at"
        "  FROM ledger_entries e JOIN charges USING (balance_transaction)"
        "  JOIN payment_intent_links USING (stripe_payment_intent_id)"
        " WHERE credit IN ('income:monthly', 'income:annual') ORDER BY service_starts_at"
    ):
        assert isinstance(starts, datetime)
        assert isinstance(ends, datetime)
        assert isinstance(amount, int)
        share = Fraction(amount, 1 if account == "income:monthly" else 12)
        month = starts.astimezone(zone).date().replace(day=1)
        while end_of(month, zone) <= ends:
            carried[month, str(currency)][str(owner)] = share
            if account == "income:monthly":
                paid[str(owner)].add(month)
            month = next_month(month)
        is_waiting = end_of(month, zone) < ends + timedelta(days=3)  # the next is not charged yet
        if is_waiting and str(owner) in carried[months_before(month, 1), str(currency)]:
            carried[month, str(currency)][str(owner)] = share
    sums = {place: round(sum(one.values())) for place, one in carried.items() if place[0] < until}
    return Counter(sums), paid


def end_of(month: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(next_month(month), time(), zone)


async def recovered(room: Newsroom) -> list[RecoveryMonth]:
    async with room.ctx.sessions() as session:
        return await payment_recovery.by_month(
            session,
            room.settings.accounting_zoneinfo,
            since=date(2026, 11, 1),
            until=date(2027, 1, 1),
        )


async def test_a_renewal_that_is_paid_a_month_later_is_recovered_in_the_month_it_failed_in(
    newsroom: Newsroom,
) -> None:
    newsroom.clock.current = datetime(2026, 11, 26, 12, tzinfo=UTC)
    await newsroom.advances_time(timedelta(0))
    gift = await newsroom.gives(700, "monthly")
    await has_given(newsroom, 500, "monthly")
    ((card,),) = await newsroom.rows(
        "SELECT stripe_payment_method_id FROM subscriptions WHERE contribution_id = :id", id=gift.id
    )
    newsroom.sandbox.fail_card(str(card))
    for day in (27, 28, 30, 33, 38):
        await newsroom.advances_time(datetime(2026, 12, 1, 13, tzinfo=UTC) + timedelta(days=day - 1)
                             - newsroom.clock())  # fmt: skip
        await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    snapshots = (
        "SELECT kind, figures FROM month_snapshots WHERE kind = 'payment_recovery' AND month = '{}'"
    )
    december = snapshots.format("2026-12-01")
    assert await recovered(newsroom) == [RecoveryMonth(date(2026, 12, 1), "usd", 1, 0, 700, 0)]
    assert await newsroom.rows(december) != []
    newsroom.sandbox.restore_card(str(card))
    await newsroom.advances_time(timedelta(days=3))
    await newsroom.runs_until_idle()
    assert await newsroom.rows(december) == []  # it is forgotten, and read from the rows
    assert await newsroom.rows(snapshots.format("2026-11-01")) != []
    assert await recovered(newsroom) == [RecoveryMonth(date(2026, 12, 1), "usd", 1, 1, 700, 700)]
    await newsroom.runs_sweeps()
    assert await newsroom.rows(december) != []
    assert await recovered(newsroom) == [RecoveryMonth(date(2026, 12, 1), "usd", 1, 1, 700, 700)]


async def wrong_after(room: Newsroom, statement: str) -> dict[str, tuple[str, ...]]:
    """What the checks report when somebody has changed what is stored. It is rebuilt after."""
    with as_owner(room.settings.database_url.get_secret_value()) as owner:
        owner.execute(statement.encode())
    found = {f.check_name: f.failures for f in await integrity.run_checks(room.ctx) if not f.passed}
    await daily_totals.rebuild(room.ctx)
    assert all(f.passed for f in await integrity.run_checks(room.ctx))
    return found


@pytest.fixture
async def over(newsroom: Newsroom) -> Newsroom:
    """Two months that are over, with a gift that comes again."""
    await has_given(newsroom, 700, "monthly")
    for _ in range(2):
        await newsroom.advances_time(timedelta(days=31))
        await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    return newsroom


async def test_a_closing_that_was_tampered_with_is_named_and_what_follows_from_it(
    over: Newsroom,
) -> None:
    set_ = "UPDATE month_snapshots SET figures = jsonb_set(figures, '{0,%s}', '701')"
    found = await wrong_after(
        over, set_ % "closing" + " WHERE kind = 'mrr_rollforward' AND month = '2026-11-01'"
    )
    assert found["mrr_rollforward"] == (
        "2026-11 usd: opening 0, moved 700, closing 701",
        "2026-12 usd: opening 700, the month before closed with 701",
    )
    stored, computed = found["month_snapshots"]
    assert stored.startswith(
        "mrr_rollforward 2026-11: stored churn_involuntary 0, churn_voluntary 0, closing 701, "
    )
    assert computed.startswith(
        "mrr_rollforward 2026-11: the rows say churn_involuntary 0, churn_voluntary 0,"
        " closing 700, "
    )
    assert found.keys() == {"mrr_rollforward", "month_snapshots"}
    of_december = " WHERE kind = 'mrr_rollforward' AND month = '2026-12-01'"
    found = await wrong_after(over, set_ % "fx" + of_december)
    assert found["mrr_rollforward"] == ("2026-12 usd: opening 700, moved 701, closing 700",)


async def test_a_month_that_was_emptied_or_a_cohort_that_grew_is_named(over: Newsroom) -> None:
    empty = "UPDATE month_snapshots SET figures = '[]' WHERE kind = 'mrr_rollforward'"
    found = await wrong_after(over, f"{empty} AND month = '2026-11-01'")
    assert found["mrr_rollforward"] == ("2026-12 usd: opening 700, the month before closed with 0",)
    grown = "UPDATE month_snapshots SET figures = jsonb_set(figures, '{0,payers}', '2')"
    found = await wrong_after(
        over, f"{grown} WHERE kind = 'cohort_retention' AND month = '2026-12-01'"
    )
    assert found == {
        "month_snapshots": (
            "cohort_retention 2026-12: stored currency usd, first_paid_month 2026-11-01, payers 2",
            (
                "cohort_retention 2026-12:"
                " the rows say currency usd, first_paid_month 2026-11-01, payers 1"
            ),
        )
    }
    found = await wrong_after(
        over,
        'UPDATE month_snapshots SET figures = \'[{"currency": "usd", "failed": 1}]\''
        " WHERE kind = 'payment_recovery' AND month = '2026-12-01'",
    )
    assert found == {
        "month_snapshots": ("payment_recovery 2026-12: stored currency usd, failed 1",)
    }


async def test_a_cent_moved_from_one_month_to_another_is_named(over: Newsroom) -> None:
    found = await wrong_after(
        over,
        "UPDATE daily_totals SET day = day + 31 WHERE credit = 'income:monthly'"
        " AND day < '2026-12-01'",
    )
    assert found["balance_rollforward"] == (
        "2026-11 usd: opening 0, moved -700, closing 0",  # it was paid out
        "2026-12 usd: opening 0, moved 700, closing 0",
    )
    assert "daily_totals" in found


# --- refreshing -----------------------------------------------------------------------------------


async def gross(room: Newsroom, cookie: str) -> Sums:
    return by_page((await sees(room, cookie, "/finance/monthly.csv")).text)


async def test_a_gift_is_in_the_report_before_it_is_in_the_roll_up(newsroom: Newsroom) -> None:
    cookie = await signs_in(newsroom)
    await has_given(newsroom, 2500)
    await newsroom.runs_sweeps()
    assert await newsroom.count("daily_totals") == 2
    await has_given(newsroom, 700)
    ((last_seq, newest),) = await newsroom.rows(
        "SELECT (SELECT last_seq FROM daily_totals_positions), max(seq) FROM ledger_entries"
    )
    assert cast("int", last_seq) < cast("int", newest)
    assert await gross(newsroom, cookie) == Counter({("2026-11", "once", "usd"): 3200})
    assert await daily_totals.refresh(newsroom.ctx) == cast("int", newest) - cast("int", last_seq)
    assert await daily_totals.refresh(newsroom.ctx) == 0
    assert await gross(newsroom, cookie) == Counter({("2026-11", "once", "usd"): 3200})


async def test_the_zone_of_the_books_is_changed_by_a_recorded_act_alone(
    newsroom: Newsroom,
) -> None:
    newsroom.clock.current = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    await has_given(newsroom, 2500)
    await newsroom.runs_sweeps()
    before = await newsroom.rows("SELECT DISTINCT day::text FROM daily_totals")
    assert before == [("2026-11-30",)]
    settings = newsroom.settings.model_copy(update={"accounting_zone": "Europe/Amsterdam"})
    app = create_app(settings, now=newsroom.clock)
    cookie = await signs_in(newsroom)
    words = (
        "The books are counted in UTC, and this process was started with PAYMENTS_ACCOUNTING_ZONE"
    )
    async with app.lifespan():
        with pytest.raises(accounting_zone.AnotherZone, match=words):
            await daily_totals.refresh(app.state.ctx)
        (finding,) = await doctor.CHECKS["zone"](app.state.ctx)
        assert not finding.ok
        transport = httpx.ASGITransport(app=cast("Any", app))
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as web:
            for place in ("/finance", "/finance/monthly.csv", "/finance/deferred"):
                refused = await web.get(place, headers={"cookie": cookie})
                assert refused.status_code == 409, place
                assert words in Page(refused.text).text, place
            assert (await web.get("/donate")).status_code == 200  # readers go on giving
        assert await newsroom.rows("SELECT DISTINCT day::text FROM daily_totals") == before
        for zone, reason, refusal in (
            ("Europe/Berlim", "Moved", "is no time zone"),
            ("UTC", "Moved", "counted in UTC already"),
            ("Europe/Amsterdam", "", "Say why"),
        ):
            with pytest.raises(InvalidField, match=refusal):
                await accounting_zone.change(newsroom.ctx, zone, reason=reason, by="Ada")
        await accounting_zone.change(newsroom.ctx, "Europe/Amsterdam", reason="Moved", by="Ada")
        assert await daily_totals.refresh(app.state.ctx) == 2
        (finding,) = await doctor.CHECKS["zone"](app.state.ctx)
        assert finding.ok
    assert await newsroom.rows("SELECT zone, recorded_by, reason FROM accounting_zones") == [
        ("UTC", "payments", None), ("Europe/Amsterdam", "Ada", "Moved"),
    ]  # fmt: skip
    with pytest.raises(accounting_zone.AnotherZone):  # who goes on with the old one
        await daily_totals.refresh(newsroom.ctx)
    assert await newsroom.rows(
        "SELECT name, object_id, reason FROM audit_entries WHERE action = 'accounting_zone_changed'"
    ) == [("Ada", "UTC to Europe/Amsterdam", "Moved")]
    await accounting_zone.change(newsroom.ctx, "UTC", reason="Back", by="Ada")
    assert await newsroom.rows("SELECT DISTINCT day::text FROM daily_totals") == [("2026-12-01",)]
    assert await newsroom.rows("SELECT zone FROM daily_totals_positions") == [("Europe/Amsterdam",)]


async def test_a_contribution_that_pays_twice_in_a_month_is_one_giver(newsroom: Newsroom) -> None:
    newsroom.clock.current = datetime(2027, 1, 1, 12, tzinfo=UTC)
    await newsroom.gives(700, "monthly")
    await has_given(newsroom, 2500)
    for _ in range(2):
        await newsroom.advances_time(timedelta(days=30, hours=6))
        await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    months = await newsroom.rows(
        "SELECT to_char(day, 'MM'), sum(entries)::int, sum(payers)::int,"
        " sum(first_time_payers)::int"
        " FROM daily_totals WHERE credit LIKE 'income:%' GROUP BY 1 ORDER BY 1"
    )
    assert months[0] == ("01", 2, 2, 2)
    assert all(payers == 1 and new == 0 for _, _, payers, new in months[1:])


async def test_daily_totals_that_were_tampered_with_are_named_and_repaired(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 2500)
    await newsroom.runs_sweeps()
    with as_owner(newsroom.settings.database_url.get_secret_value()) as owner:
        owner.execute("UPDATE daily_totals SET amount = amount + 1 WHERE credit = 'income:once'")
    wrong = [f for f in await integrity.run_checks(newsroom.ctx) if not f.passed]
    assert {f.check_name: f.failures for f in wrong} == {
        "daily_totals": (
            "2026-11-22 once usd stripe:balance income:once: rolled up 2501 in 1, rows 2500 in 1",
        ),
        "balance_rollforward": ("2026-11 usd: opening 0, moved 2398, closing 2397",),
    }
    assert await daily_totals.rebuild(newsroom.ctx) == 2
    assert all(f.passed for f in await integrity.run_checks(newsroom.ctx))


async def test_a_refund_is_rolled_up_with_the_frequency_of_its_gift(newsroom: Newsroom) -> None:
    await has_given(newsroom, 700, "monthly")
    ((intent,),) = await newsroom.rows("SELECT stripe_payment_intent_id FROM charges")
    refund: RefundCreateParams = {"payment_intent": str(intent), "amount": 100}
    await newsroom.stripe_owner.v1.refunds.create_async(refund)
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    assert await newsroom.rows(
        "SELECT frequency, amount::int FROM daily_totals WHERE debit = 'refunds'"
    ) == [("monthly", 100)]
