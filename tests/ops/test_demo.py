"""The demo's history: whoever opens it, on whatever day, finds all that the product has."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from payments.accounting import integrity
from payments.core.frequency import Frequency
from payments.infra.context import Context
from payments.ops.demo import banks, colleagues, readers, runner, seed
from payments.ops.demo.browser import Browser, open_browser
from payments.ops.demo.simulation import ManualClock, first_morning
from payments.ops.demo.supporters import Supporter
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.server import listen
from payments.staff import accounts
from payments.staff.accounts import Role
from payments.web.app import create_app
from tests.support.newsroom import NOON, set_up_stripe, settings_for
from tests.support.page import Page

AWKWARD = [
    datetime(2026, 11, 1, 5, tzinfo=UTC),  # before anybody is at work on the first of a month
    datetime(2026, 11, 1, 9, tzinfo=UTC),
    datetime(2027, 1, 1, 0, tzinfo=UTC),
    datetime(2028, 2, 29, 23, 59, tzinfo=UTC),
    datetime(2027, 3, 31, 12, tzinfo=UTC),
]


@pytest.mark.parametrize("end", AWKWARD, ids=lambda end: f"{end:%Y-%m-%d-%H}")
def test_the_demo_fits_between_its_days_whenever_it_is_started(end: datetime) -> None:
    plan = seed.plan_steps(end)
    first = first_morning(end)
    assert first.day == 1
    assert 395 <= seed.day_count(end) <= 430
    assert first.date() < min(plan)
    assert max(plan) <= end.date()
    closings = [
        day
        for day, acts in plan.items()
        for act in acts
        if isinstance(act, partial) and act.func is colleagues.close_month
    ]
    assert len(closings) == 3
    assert all(day.day == 1 for day in closings)
    assert banks.post_late_fee in plan[max(closings)]
    assert max(closings) + timedelta(days=32) > end.date()


# --- the pages ------------------------------------------------------------------------------------

# When those of the half year begin to give, in days before its end. Each step that changes a
# contribution takes one who has given for a while.
BEGINNINGS = (200, 195, 165, 162, 120, 104, 74, 73, 72, 30)
OF_CAMPAIGNS = (("usd", "newsroom-fund"), ("eur", "court-file"))  # enough of each to be shown
EARLIER_STEPS: dict[int, tuple[seed.Step, ...]] = {  # which the year has before
    172: (banks.open_dispute, banks.hold_reserve),
    168: (banks.lose_dispute, readers.replace_card),
    160: (banks.release_reserve,),
}


ONCE_IS_ENOUGH: set[object] = {  # of what the year has again and again, the last time
    *(banks.accept_cards, banks.decline_cards, colleagues.refund_contribution),
    *(readers.cancel, readers.increase_amount, readers.pause, readers.view_campaign),
}


def half_a_year(end: datetime) -> seed.Plan:
    """What happens in the demo's last months, and earlier of what happens no more in them."""
    first, steps = first_morning(end, months_before=6), seed.plan_steps(end)
    for days_ago, earlier in EARLIER_STEPS.items():
        steps[end.date() - timedelta(days=days_ago)] += earlier
    steps[end.date() - timedelta(days=190)].remove(readers.replace_card)
    supporters = [Supporter(len(BEGINNINGS), 100, Frequency.ONCE, "gbp", 1000)]
    for number, days_ago in enumerate(BEGINNINGS):
        currency, campaign = OF_CAMPAIGNS[number % 2]
        supporters.append(
            Supporter(number, days_ago, Frequency.MONTHLY, currency, 1000, campaign=campaign)
        )
    later: set[object] = set()
    once: dict[date, list[seed.Step]] = {}
    for day in sorted((day for day in steps if day > first.date()), reverse=True):
        once[day] = [act for act in steps[day] if kind_of(act) not in later & ONCE_IS_ENOUGH]
        later |= {kind_of(act) for act in steps[day]}
    return seed.Plan(first, supporters, once)


def kind_of(act: seed.Step) -> object:
    return act.func if isinstance(act, partial) else act


def kinds(plan: seed.Plan) -> set[object]:
    """What happens, however often and to whom."""
    days = (acts for day, acts in plan.steps.items() if day >= plan.first.date())
    return {kind_of(act) for acts in days for act in acts}


def test_all_that_happens_in_the_year_happens_in_the_half_year_too() -> None:
    assert kinds(half_a_year(NOON)) == kinds(seed.plan_year(NOON))


async def reads(browser: Browser, address: str) -> Page:
    return Page((await browser.get(address)).html)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "plan", [half_a_year, pytest.param(seed.plan_year, marks=pytest.mark.storm)]
)
async def test_a_colleague_finds_all_that_finance_has(
    database: str, tmp_path: Path, plan: Callable[[datetime], seed.Plan]
) -> None:
    clock = ManualClock(NOON)
    sandbox = Sandbox(wall=clock, check_contract=True)
    inbox = tmp_path / "inbox"
    with runner.mail_server(inbox) as smtp_url:
        async with listen(sandbox) as stripe_url:
            more = {"smtp_url": smtp_url, "demo_inbox_dir": str(inbox), "environment": "demo"}
            more |= {
                "address_key_dir": str(tmp_path / "keys"),
                "mail_from": "post@lindenau.example",
            }
            settings = await set_up_stripe(settings_for(database, stripe_url, **more))
            await seed.seed_history(
                settings, sandbox, clock, on_day=lambda _day, _of: None, plan=plan(NOON)
            )
            assert clock.current == NOON
            app = create_app(settings, now=clock)
            async with app.lifespan(), open_browser(app, settings.base_url, str(inbox)) as browser:
                await _looks_through(browser, app.state.ctx)
    assert sandbox.problems == []


async def _looks_through(browser: Browser, ctx: Context) -> None:
    assert [found.check_name for found in await integrity.run_checks(ctx) if not found.passed] == []
    async with ctx.sessions.begin() as session:
        link = f"/staff/enter/{await accounts.invite(session, 'Ada', role=Role.FINANCE, now=NOON)}"
    await browser.submit(await browser.get(link), link)
    overview = await reads(browser, "/finance")
    assert {"EUR", "GBP", "USD"} <= set(overview.text.split())
    words = (await reads(browser, "/finance/refunds")).text
    for status in ("Waits for our answer", "Inquiry, answered", "Won", "Lost", "Did not arrive"):
        assert status in words
    assert "days left" in words
    words = (await reads(browser, "/finance/payouts")).text
    assert "Failed" in words
    assert "Does not equal" not in words
    funnel = (await reads(browser, "/finance/reminders")).cells
    assert ["October 2026", "8", "7", "7", "6", "0", "0", "6", "€60.00"] in funnel
    sources = {row[0] for row in (await reads(browser, "/finance/sources")).cells if row}
    assert {"newsroom-fund", "court-file"} <= sources
    months = (await reads(browser, "/finance/periods")).cells
    assert [row[1] for row in months].count("Closed") == 3
    assert any("belongs to October 2026 by its time" in row for row in months)
    recurring = await reads(browser, "/finance/recurring")
    assert "A payment failed and will be retried" in recurring.text
    assert len(re.findall("What you found", (await reads(browser, "/staff/alerts")).text)) == 1
