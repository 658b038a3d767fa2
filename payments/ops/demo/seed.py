"""A year of history for the demo, through the front door: the form, Stripe's page, webhooks, the
clock.

Nothing is written to a table. Supporters open `/donate` and pay on the stand-in's page, and
Stripe's webhooks bring what follows, while the clock is turned a day at a time. On some days,
counted in days before the present, something happens that finance should see.
"""

import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial

from payments.core.frequency import Frequency
from payments.core.settings import Settings
from payments.giving import campaign_totals
from payments.ops.demo import banks, colleagues, readers
from payments.ops.demo.simulation import ManualClock, Simulation, first_morning, open_simulation
from payments.ops.demo.supporters import (
    CARD_FAILS_ON_RENEWAL,
    COURT_CAMPAIGN,
    COURT_CAMPAIGN_STARTS_DAYS_AGO,
    Supporter,
    generate_supporters,
)
from payments.sandbox.sandbox import Sandbox

WORKER_RUN_INTERVAL_DAYS = 9
CAMPAIGN_VIEW_INTERVAL_DAYS = 6
CLOSED_MONTHS = 3
REMINDER_READERS = range(8)  # the numbers of those who ask for a reminder
CONFIRMED_READERS, DONATED_READERS = REMINDER_READERS[:7], REMINDER_READERS[:6]
RNG_SEED = 20261122
RECOVERED_SUPPORTER = Supporter(200, 304, Frequency.MONTHLY, "eur", 1000, CARD_FAILS_ON_RENEWAL)
LATE_RECOVERED_SUPPORTER = Supporter(201, 76, Frequency.MONTHLY, "usd", 1500, CARD_FAILS_ON_RENEWAL)
PAST_DUE_SUPPORTER = Supporter(202, 34, Frequency.MONTHLY, "eur", 700, CARD_FAILS_ON_RENEWAL)
DayCallback = Callable[[int, int], None]  # the day that passed, of so many
Step = Callable[[Simulation], Awaitable[None]]

STEPS_BY_DAYS_AGO: Mapping[int, tuple[Step, ...]] = {
    340: (readers.increase_amount,),
    RECOVERED_SUPPORTER.days_ago: (partial(readers.donate, supporter=RECOVERED_SUPPORTER),),
    LATE_RECOVERED_SUPPORTER.days_ago: (
        partial(readers.donate, supporter=LATE_RECOVERED_SUPPORTER),
    ),
    PAST_DUE_SUPPORTER.days_ago: (
        partial(readers.donate, supporter=PAST_DUE_SUPPORTER),
        banks.open_inquiry,
    ),
    RECOVERED_SUPPORTER.days_ago - 34: (
        partial(readers.fix_failed_renewal, supporter=RECOVERED_SUPPORTER),
    ),
    LATE_RECOVERED_SUPPORTER.days_ago - 34: (
        partial(readers.fix_failed_renewal, supporter=LATE_RECOVERED_SUPPORTER),
    ),
    325: (partial(colleagues.refund_contribution, currency="gbp", amount="5.00"),),
    310: (banks.decline_cards,),
    307: (banks.accept_cards,),
    300: (banks.open_dispute,),
    292: (readers.pause, banks.lose_dispute),
    255: (banks.hold_reserve,),
    240: (readers.cancel,),
    225: (banks.release_reserve,),
    210: (readers.decrease_amount,),
    200: (partial(colleagues.refund_contribution, currency="eur", amount="25.00"),),
    190: (banks.open_dispute, readers.replace_card),
    180: (banks.win_dispute,),
    150: (banks.convert_currency, readers.increase_amount),
    130: (banks.fail_refund,),
    120: (readers.skip, readers.cancel),
    110: (banks.decline_cards,),
    107: (banks.accept_cards,),
    95: (readers.switch_to_annual,),
    80: (readers.pause, partial(colleagues.refund_contribution, currency="usd", amount="3.50")),
    74: (banks.return_payout,),
    66: (banks.pay_out_instantly,),
    52: (readers.increase_amount, banks.decline_cards),
    49: (banks.accept_cards,),
    40: (banks.send_fraud_warning, readers.decrease_amount),
    31: (readers.cancel, banks.submit_evidence),
    18: (colleagues.close_alerts,),
    9: (banks.open_dispute,),
    8: (readers.pause,),
    5: (partial(readers.request_reminder, number=20),),
    4: (
        Simulation.run_worker,
        partial(readers.confirm_reminder, number=20),
        partial(colleagues.refund_contribution, currency="usd", amount="1.50"),
    ),
    1: (partial(readers.request_reminder, number=21),),
}


@dataclass(frozen=True)
class Plan:
    """From which moment on a history is, who begins to give in it, and what else happens."""

    first: datetime
    supporters: Sequence[Supporter]
    steps: Mapping[date, Sequence[Step]]


def plan_year(end: datetime) -> Plan:
    """Return all that happens in the year and a month before `end`."""
    rng = random.Random(RNG_SEED)  # noqa: S311 - no secret
    return Plan(first_morning(end), generate_supporters(rng), plan_steps(end))


async def seed_history(
    settings: Settings,
    sandbox: Sandbox,
    clock: ManualClock,
    *,
    on_day: DayCallback,
    plan: Plan | None = None,
) -> None:
    """Simulate what is planned up to the clock's present, by default the whole year. `on_day` is
    called after each day.
    """
    plan = plan or plan_year(clock.current)
    days = (clock.current.date() - plan.first.date()).days
    supporters_by_days_ago = defaultdict(list)
    for supporter in plan.supporters:
        supporters_by_days_ago[supporter.days_ago].append(supporter)
    async with open_simulation(settings, sandbox, clock, first=plan.first) as sim:
        sandbox.set_weekly_payouts(0)
        await colleagues.apply_campaigns(sim)
        while clock.current < sim.end:
            await sim.deliver_webhooks()
            for supporter in supporters_by_days_ago[sim.days_ago]:
                await readers.donate(sim, supporter)
            for step in plan.steps.get(clock.current.date(), ()):
                await step(sim)
            await sim.deliver_webhooks()
            if sim.days_ago % WORKER_RUN_INTERVAL_DAYS == 0:
                await sim.run_worker()
            on_day(days - sim.days_ago, days)
            clock.current = min(clock.current + timedelta(days=1), sim.end)
        await sim.import_balance()
        await campaign_totals.count_all(sim.ctx)


def day_count(end: datetime) -> int:
    """Return how many days the history before `end` has."""
    return (end.date() - first_morning(end).date()).days


def plan_steps(end: datetime) -> dict[date, list[Step]]:
    """Return the steps of each day. Months are closed, and readers reminded, by the calendar."""
    steps: dict[date, list[Step]] = defaultdict(list)
    for days_ago, day_steps in STEPS_BY_DAYS_AGO.items():
        steps[end.date() - timedelta(days=days_ago)] += day_steps
    for days_ago in range(2, COURT_CAMPAIGN_STARTS_DAYS_AGO, CAMPAIGN_VIEW_INTERVAL_DAYS):
        steps[end.date() - timedelta(days=days_ago)].append(
            partial(readers.view_campaign, campaign=COURT_CAMPAIGN)
        )
    mornings = [first_morning(end, months_before=count) for count in range(CLOSED_MONTHS, -1, -1)]
    mornings = [morning for morning in mornings if morning < end][-CLOSED_MONTHS:]
    for morning in mornings:
        steps[morning.date()].append(partial(colleagues.close_month, morning_after=morning))
    steps[mornings[-1].date()].append(banks.post_late_fee)
    # All within one month, so that its numbers are large enough to be shown.
    for days_later, step, numbers in (
        (3, readers.request_reminder, REMINDER_READERS),
        (4, readers.confirm_reminder, CONFIRMED_READERS),
        (12, readers.donate_from_reminder, DONATED_READERS),
    ):
        day = mornings[-2].date() + timedelta(days=days_later)
        steps[day] += [
            Simulation.run_worker,
            *(partial(step, number=number) for number in numbers),
        ]
    return steps


def current_second() -> datetime:
    """Return the present in UTC, in whole seconds as Stripe counts."""
    return datetime.now(UTC).replace(microsecond=0)
