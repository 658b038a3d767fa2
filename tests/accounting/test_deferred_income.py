"""What is paid for several months counts in each of them: recomputed from Stripe's own objects,
read over HTTP, with nothing of the accounting.
"""

import calendar
import csv
import io
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from payments.accounting import deferred_income
from payments.core.money import MINUS
from payments.staff.accounts import Role
from tests.support.accounting_programs import check_beancount
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.snapshot import Snapshot, restore_newsroom, take_snapshot
from tests.support.stripe_dashboard import subscribe, with_card

pytestmark = pytest.mark.anyio

ZONE = "Asia/Kolkata"
# amount, interval, count
PAID = ((10001, "year", 1), (2999, "month", 3), (7777, "day", 90),
        (12000, "year", 1), (100000, "year", 2), (800, "month", 2))  # fmt: skip
LATE = 2500  # for three months that begin on the last evening of a month
FIRST, LAST = date(2027, 1, 1), date(2030, 1, 1)


@pytest.fixture(scope="module")
def ten_months(cluster: str) -> Iterator[Snapshot]:
    with take_snapshot(cluster, pays_for_several_months, accounting_zone=ZONE) as taken:
        yield taken


@pytest.fixture
async def room(cluster: str, ten_months: Snapshot) -> AsyncIterator[Newsroom]:
    async with restore_newsroom(cluster, ten_months) as room:
        yield room
        await room.proves_itself()


async def pays_for_several_months(room: Newsroom) -> None:
    """Subscriptions at many intervals begin when it is February in India and January in UTC."""
    await room.advances_time(datetime(2027, 1, 31, 17, 45, tzinfo=UTC) - room.clock())
    customer, card = with_card(room, "late@example.org")  # charged again when it is May in India
    product = "reader_payments_monthly"
    subscribe(room, customer, card, LATE, product=product, interval="month", count=3)
    await room.advances_time(timedelta(hours=2, minutes=15))
    for number, (amount, interval, count) in enumerate(PAID):
        customer, card = with_card(room, f"{number}@example.org")
        product = "reader_payments_annual" if interval == "year" else "reader_payments_monthly"
        subscribe(room, customer, card, amount, product=product, interval=interval, count=count)
    await room.runs_until_idle()
    gifts = [one for one in room.sandbox.account.store.of_kind("charge") if one["paid"]]
    by_amount = {one["amount"]: one["id"] for one in gifts}
    room.sandbox.dispute(by_amount[800])
    await passes(room, 93)
    await refunds(room, by_amount[10001], 3333)
    await refunds(room, by_amount[2999], 2999)  # all of it, after its service is over
    await passes(room, 62)
    won = room.sandbox.dispute(by_amount[100000])
    await passes(room, 31)
    room.sandbox.decide_dispute(won, won=True)
    await refunds(room, by_amount[12000], 12000)
    await passes(room, 31)
    await room.runs_sweeps()


async def passes(room: Newsroom, days: int) -> None:
    await room.advances_time(timedelta(days=days))
    await room.runs_until_idle()


async def refunds(room: Newsroom, charge: str, amount: int) -> None:
    await room.stripe_owner.v1.refunds.create_async({"charge": charge, "amount": amount})


# --- the same from Stripe's objects ---------------------------------------------------------------


@dataclass
class Paid:
    """A payment for several months, and what went back of it by month."""

    amount: int
    month: date
    shares_until: dict[date, tuple[int, int]]  # month -> how many parts are over, of how many
    is_by_day: bool
    returned: defaultdict[date, int] = field(default_factory=lambda: defaultdict(int))

    def deferred(self, month: date) -> int:
        """What is not earned at the end of a month."""
        if month < self.month:
            return 0
        left = self.amount - sum(amount for when, amount in self.returned.items() if when <= month)
        over, parts = self.shares_until[month]
        if over >= parts:
            return 0
        return left - (left * over // parts if self.is_by_day else left // parts * over)


def months() -> Iterator[date]:
    month = FIRST
    while month < LAST:
        yield month
        month = after(month)


def after(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


async def read_from_stripe(room: Newsroom) -> list[Paid]:
    stripe, zone = room.stripe_owner.v1, ZoneInfo(ZONE)
    intervals: dict[str, Any] = {}
    subscriptions = await stripe.subscriptions.list_async({"status": "all", "limit": 100})
    for one in subscriptions.data:
        recurring = one["items"].data[0].price.recurring
        intervals[str(one.customer)] = (recurring.interval, recurring.interval_count)
    services: dict[str, date] = {}
    invoices = await stripe.invoices.list_async({"limit": 100, "expand": ["data.payments"]})
    for invoice in invoices.data:
        (line,) = invoice.lines.data
        begins = datetime.fromtimestamp(line.period.start, UTC).astimezone(zone).date()
        for payment in invoice.payments.data if invoice.payments else []:
            services[str(payment.payment.payment_intent)] = begins
    moved = await stripe.balance_transactions.list_async({"limit": 100, "expand": ["data.source"]})
    found: dict[str, Paid] = {}
    returns: list[tuple[str, date, int]] = []
    movement: Any
    async for movement in moved.auto_paging_iter():
        day = datetime.fromtimestamp(movement.created, UTC).astimezone(zone).date()
        source, amount = movement.source, movement.amount
        if movement.type == "charge":
            interval, count = intervals[source.customer]
            parts = count * {"year": 12, "month": 1, "day": 1}[interval]
            over = shares(services[source.payment_intent], parts, interval == "day")
            found[source.id] = Paid(amount, day.replace(day=1), over, interval == "day")
        elif movement.reporting_category in ("refund", "dispute", "dispute_reversal"):
            returns.append((source.charge, day.replace(day=1), -amount))
    for charge, month, amount in returns:
        found[charge].returned[month] += amount
    return list(found.values())


def shares(day: date, parts: int, is_by_day: bool) -> dict[date, tuple[int, int]]:
    over = {}
    for month in months():
        last = month.replace(day=calendar.monthrange(month.year, month.month)[1])
        count = (last - day).days + 1
        if not is_by_day:
            count = (month.year - day.year) * 12 + month.month - day.month + 1
        over[month] = (max(0, min(parts, count)), parts)
    return over


async def test_every_month_is_what_stripes_own_objects_say(room: Newsroom) -> None:
    paid = await read_from_stripe(room)
    assert len(paid) >= 8
    assert sum(1 for one in paid if one.returned) == 5
    async with room.ctx.sessions() as session:
        rows = await deferred_income.by_month(session, ZoneInfo(ZONE), since=FIRST, until=LAST)
    assert {row.currency for row in rows} == {"usd"}
    before = 0
    for month in months():
        opening, received, released, refunded, disputed, closing = (
            sum(getattr(row, name) for row in rows if row.month == month)
            for name in deferred_income.AMOUNTS
        )
        assert closing == sum(one.deferred(month) for one in paid), month
        assert opening == before, month
        assert received == sum(one.amount for one in paid if one.month == month), month
        assert opening + received - released - refunded - disputed == closing, month
        before = closing
    assert before == 0  # all of it is earned or given back in the end
    assert any(row.disputed < 0 for row in rows), "won"
    (whole,) = (one for one in paid if one.amount == 12000 and one.returned)
    assert whole.month == date(2027, 2, 1)  # in UTC it was January
    late = sorted((one for one in paid if one.amount == LATE), key=lambda one: one.month)
    assert [one.month for one in late[:2]] == [date(2027, 1, 1), date(2027, 5, 1)]
    begun = [one.shares_until[one.month][0] for one in late[:2]]
    assert begun == [1, 2]  # what is charged in May is for a period that begins in April
    (part,) = (one for one in paid if one.amount == 10001)
    left = 10001 - 3333  # in whole cents, and the last month takes the rest
    at_the_end = [part.deferred(month) for month in months() if month >= date(2027, 6, 1)]
    assert at_the_end[:8] == [left - left // 12 * over for over in range(5, 12)] + [0]
    assert left // 12 * 12 < left


async def test_finance_reads_cash_beside_accrual_and_takes_the_journal_away(
    room: Newsroom, tmp_path: Path
) -> None:
    async with open_colleague_browser(room, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens("/finance/deferred?period=2027")
        assert page.problems == []
        # 10001, 2999, 7777, 12000, 100000 and 800, of which a share is earned at once
        earned = LATE // 3 + 833 + 999 + 7777 * 28 // 90 + 1000 + 100000 // 24
        (february,) = (row for row in page.cells if row[0] == "February 2027" and len(row) == 7
                       and row[1] == "$16.67")  # fmt: skip
        assert february[2] == "$1,335.77"
        assert february[3] == f"{MINUS}${earned / 100:.2f}"
        (row, *_) = (row for row in page.cells if row[0] == "February 2027")
        assert (row[1], row[4]) == ("$1,335.77", f"${earned / 100:.2f}")
        assert "Still to be earned of what was received" in page.text
        journal = "/finance/deferred/journal?period=2027&format="
        figures = csv.DictReader(io.StringIO((await ada.web.get(f"{journal}csv")).text))
        closings: defaultdict[str, int] = defaultdict(int)
        for line in figures:
            closings[line["month"]] += int(line["closing_minor"])
        assert len(closings) == 8
        assert max(closings) == "2027-08"  # September is not over
        taken = await ada.web.get(f"{journal}beancount")
        with zipfile.ZipFile(io.BytesIO(taken.content)) as packed:
            packed.extractall(tmp_path)
        assert await check_beancount(tmp_path, "deferred-main.beancount") == ""
        last = (tmp_path / "deferred-2027-08.beancount").read_text()
        left = f"{closings['2027-08'] / 100:.2f}"
        assert f"2027-09-01 balance Liabilities:Deferred-Income  -{left} USD" in last
        assert "RPD-20270831-USD" in last
        for address, words in (
            ("?period=2028", "2028 has not begun"),
            ("/journal?period=2027&format=xero-statement", "format: one of xero"),
            ("/journal?period=2027&format=xero&currency=usd", "has no setting:base_currency"),
            ("/journal?period=2027-09&format=csv", "no month of it is over"),
            ("/journal?format=csv&from=2027-05-01&to=2027-05-01", "No time lies between"),
        ):
            refused = await ada.web.get(f"/finance/deferred{address}")
            assert refused.status_code == 422, address
            assert words in Page(refused.text).text, address
