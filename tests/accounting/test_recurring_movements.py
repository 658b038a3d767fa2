"""Recurring revenue by period of service: each movement has its cause, and a donor whose payments
were all made never churns, wherever the end of a month falls.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import httpx
import pytest

from payments.accounting.mrr_rollforward import MRR_MOVEMENTS, MrrMonth
from payments.accounting.reports import recurring_figures
from payments.core.money import Money
from payments.giving import cancellations, subscription_changes
from payments.giving.change_log import Actor
from payments.giving.contributions import Contribution
from payments.web.finance.recurring import MOVEMENT_LABELS
from tests.support import recurring_by_stripe
from tests.support.colleague import sees, signs_in
from tests.support.figures import amount_in
from tests.support.newsroom import OWNER_KEY, Newsroom
from tests.support.page import Page
from tests.support.snapshot import Snapshot, restore_newsroom, take_snapshot
from tests.support.stripe_dashboard import subscribe, update, with_card

pytestmark = pytest.mark.anyio

MONTHS = [date(2026, 12, 1), *(date(2027, month, 1) for month in range(1, 7))]

ROOT = Path(__file__).parents[2]
PEOPLE = ("contributions", "supporters", "lost")
MOVED = r'data-label="Why"[^>]*>([^<]*)</td>.*?<bdi>([^<]*)</bdi>'
COLUMNS = ("opening", *MRR_MOVEMENTS, "closing", *PEOPLE)


@pytest.fixture(scope="module")
def seven_months(cluster: str) -> Iterator[Snapshot]:
    with take_snapshot(cluster, gives_for_seven_months, accounting_zone="Europe/Amsterdam") as one:
        yield one


@pytest.fixture
async def room(cluster: str, seven_months: Snapshot) -> AsyncIterator[Newsroom]:
    async with restore_newsroom(cluster, seven_months) as room:
        yield room


async def gives_for_seven_months(room: Newsroom) -> None:
    """One donor for each movement; and one whose periods begin an hour before midnight on the last
    of a month in winter, and half an hour after midnight on the first in summer.
    """
    room.clock.current = datetime(2026, 12, 31, 22, 30, tzinfo=UTC)
    await room.advances_time(timedelta(0))
    await begins(room, "midnight", 1000)
    await until(room, 1, 10)
    fails = await begins(room, "fails", 900)
    stops = await begins(room, "stops", 700)
    raises = await begins(room, "raises", 500)
    switches = await begins(room, "switches", 1000)
    for _ in range(2):
        await begins(room, "two", 300)
    await begins(room, "annual", 12_100, frequency="annual")
    customer, card = with_card(room, "weekly@example.org")
    subscribe(room, customer, card, 100, product=product_of(room), interval="week")
    await until(room, 1, 28)
    late = await begins(room, "late", 600)
    await subscription_changes.skip(room.ctx, await subscription_of(room, fails), actor=Actor.DONOR)
    await until(room, 2, 9)
    await changes(room, raises, 800)
    await until(room, 2, 20)
    await cancellations.cancel(room.ctx, await subscription_of(room, stops), actor=Actor.DONOR)
    room.sandbox.fail_card(await card_of(room, late))
    await until(room, 2, 28, 14)
    await until(room, 3, 1)
    room.sandbox.restore_card(await card_of(room, late))
    await until(room, 3, 5)
    await begins(room, "switches", 1100, "eur")
    await cancellations.cancel(room.ctx, await subscription_of(room, switches), actor=Actor.DONOR)
    await refunds_one(room, 300)
    await until(room, 4, 9)
    room.sandbox.fail_card(await card_of(room, fails))
    await changes(room, raises, 400)
    await until(room, 4, 12)
    await subscription_changes.pause(
        room.ctx, await subscription_of(room, late), 1, actor=Actor.DONOR
    )
    await until(room, 5, 6)
    await begins(room, "stops", 750)
    await until(room, 6, 20)
    await until(room, 7, 2)
    await room.runs_sweeps()


async def begins(
    room: Newsroom, who: str, amount: int, currency: str = "usd", *, frequency: str = "monthly"
) -> Contribution:
    gift = await room.gives(amount, frequency, currency, email=f"{who}@example.org")
    await room.runs_until_idle()
    return gift


async def until(room: Newsroom, month: int, day: int, hour: int = 12) -> None:
    """Time passes, and what is due meanwhile is charged and reported."""
    await room.advances_time(datetime(2027, month, day, hour, tzinfo=UTC) - room.clock())
    await room.runs_until_idle()


async def subscription_of(room: Newsroom, gift: Contribution) -> str:
    ((id_,),) = await room.rows(
        "SELECT stripe_subscription_id FROM subscriptions WHERE contribution_id = :id", id=gift.id
    )
    return str(id_)


async def card_of(room: Newsroom, gift: Contribution) -> str:
    ((card,),) = await room.rows(
        "SELECT stripe_payment_method_id FROM subscriptions WHERE contribution_id = :id", id=gift.id
    )
    return str(card)


def product_of(room: Newsroom) -> str:
    price = next(iter(room.sandbox.account.store.of_kind("price")))
    return str(price["product"])


async def changes(room: Newsroom, gift: Contribution, amount: int) -> None:
    id_ = await subscription_of(room, gift)
    await subscription_changes.change_amount(room.ctx, id_, Money(amount, "usd"), actor=Actor.DONOR)
    await room.runs_until_idle()


async def refunds_one(room: Newsroom, amount: int) -> None:
    """A whole payment goes back, which ends nothing."""
    ((charge,), *_) = await room.rows(
        "SELECT stripe_charge_id FROM charges WHERE amount = :amount ORDER BY charged_at DESC",
        amount=amount,
    )
    update(room, "/v1/refunds", charge=charge)


async def figures_of(room: Newsroom) -> dict[tuple[str, str], dict[str, int]]:
    """The file that the page offers, without zeroes."""
    cookie = await signs_in(room)
    file = (await sees(room, cookie, "/finance/recurring.csv")).text
    return {
        (row["month"], row["currency"]): {
            name: value
            for name in COLUMNS
            if (value := int(row[name if name in PEOPLE else f"{name}_minor"]))
        }
        for row in csv.DictReader(io.StringIO(file))
    }


async def test_each_movement_has_the_cause_of_what_happened_to_its_payment(room: Newsroom) -> None:
    found = await figures_of(room)
    moved = {
        (month, currency, name): amount
        for (month, currency), figures in found.items()
        for name, amount in figures.items()
        if name in MRR_MOVEMENTS
    }
    assert moved == {
        ("2026-12", "usd", "new"): 1000,
        ("2027-01", "usd", "new"): 5742,
        ("2027-02", "usd", "paused"): -900,  # skipped one, and pays the next
        ("2027-02", "usd", "expansion"): 300,
        ("2027-03", "usd", "reactivation"): 900,
        ("2027-03", "usd", "churn_voluntary"): -700,
        ("2027-03", "usd", "fx"): -1000,  # gives in another currency from then on
        ("2027-03", "eur", "fx"): 1100,
        ("2027-04", "usd", "churn_involuntary"): -900,  # whose skip is long over
        ("2027-04", "usd", "contraction"): -400,
        ("2027-04", "usd", "paused"): -600,
        ("2027-05", "usd", "reactivation"): 1350,  # after the pause, and anew after an end
    }


def by_stripe(url: str, months: list[date], zone: ZoneInfo) -> recurring_by_stripe.Figures:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {OWNER_KEY}"}) as stripe:
        gifts = recurring_by_stripe.gifts_at_stripe(stripe)
    return recurring_by_stripe.roll_forward(gifts, months, zone)


async def test_stripes_own_objects_say_the_same(room: Newsroom) -> None:
    found = await figures_of(room)
    months = MONTHS, room.settings.accounting_zoneinfo
    expected = await anyio.to_thread.run_sync(by_stripe, room.sandbox.url, *months)
    assert found == expected
    await room.proves_itself()


async def test_each_figure_is_defined_where_it_is_read(room: Newsroom) -> None:
    docs = " ".join((ROOT / "docs" / "recurring.md").read_text().replace("**", "").split())
    cookie = await signs_in(room)
    page = Page((await sees(room, cookie, "/finance/recurring?currency=usd")).text)
    for word, meaning in recurring_figures.DEFINITIONS.items():
        assert f"{word}: {meaning}" in docs
        assert f"{word} {meaning}".casefold() in page.text.casefold()
    await each_month_leads_to_what_moved(room, cookie)
    # 1000 + 433 1/3 ... at the end of June, of nine people and ten contributions
    assert re.search(r"USD \$[\d.]+ \$[\d.]+ \d \d+ \$[\d.]+ 0 % too few to say", page.text)


async def each_month_leads_to_what_moved(room: Newsroom, cookie: str) -> None:
    """Compare each movement of a month with the contributions behind it, each rounded."""
    for (month, currency), figures in (await figures_of(room)).items():
        address = f"/finance/recurring?currency={currency}&month={month}"
        answer = await sees(room, cookie, address)
        shown = answer.text.partition('id="moved">')[2].partition("</table>")[0]
        sums: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for label, amount in re.findall(MOVED, shown):
            sums[label] += round(amount_in(amount) * 100)
            counts[label] += 1
        for name, label in MOVEMENT_LABELS.items():
            off_by = abs(sums[label] - figures.get(name, 0))
            assert off_by <= counts[label] / 2, address
    refused = await sees(room, cookie, "/finance/recurring?currency=usd&month=2027-07")
    assert refused.status_code == 422  # it is not over


def a_year(*, supporters: int, lost: int, churn: int = -100) -> list[MrrMonth]:
    """Twelve months that close with 100.00 and lose as much each, newest first."""
    nothing = dict.fromkeys(MRR_MOVEMENTS, 0)
    moved = nothing | {"churn_voluntary": churn, "new": -churn}
    return [
        MrrMonth(date(2026, 12 - age, 1), "usd", 10_000, closing=10_000, contributions=80,
                 supporters=supporters, lost=lost if age == 0 else 0, **moved)
        for age in range(12)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("year", "value"),
    [
        (a_year(supporters=50, lost=10, churn=-1000), 2000),  # 2.00 a month, for ten months
        (a_year(supporters=50, lost=10, churn=-1), 12_000),  # for no more than sixty
        (a_year(supporters=49, lost=10), None),
        (a_year(supporters=50, lost=9), None),
        (a_year(supporters=50, lost=10)[:11], None),
    ],
)
def test_a_lifetime_is_not_guessed_from_few(year: list[MrrMonth], value: int | None) -> None:
    (figures,) = recurring_figures.newest(year)
    assert figures.lifetime_value == value
    assert (figures.arr, figures.average_contribution) == (120_000, 125)
