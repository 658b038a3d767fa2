"""A year of history for the demo, through the front door: the form, Stripe's page, webhooks, the
clock.

Nothing is written to a table. Supporters come to `/donate`, pay on the stand-in's page, and
Stripe's webhooks bring what follows, while the clock is turned a day at a time. On some days, told
in days before the present, something happens that finance should see.
"""

import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial

from payments.core.settings import Settings
from payments.giving.checkout_session import Frequency
from payments.ops.demo import banks, colleagues, readers
from payments.ops.demo.people import COURT, COURT_OPENS, FAILS_LATER, Supporter, supporters
from payments.ops.demo.year import Clock, Year, begins, lived
from payments.sandbox.sandbox import Sandbox

WORKS_EVERY, LOOKS_EVERY = 9, 6  # days
CLOSED = 3  # months
REMINDED = range(8)  # readers who ask for a reminder; one less confirms, and six give
CONFIRMED, CAME_BACK = REMINDED[:7], REMINDED[:6]
FAILING = Supporter(200, 304, Frequency.MONTHLY, "eur", 1000, FAILS_LATER)
FORGOTTEN = Supporter(201, 76, Frequency.MONTHLY, "usd", 1500, FAILS_LATER)
AT_RISK = Supporter(202, 34, Frequency.MONTHLY, "eur", 700, FAILS_LATER)  # tried again as we speak
Told = Callable[[int, int], None]
Act = Callable[[Year], Awaitable[None]]

STORY: Mapping[int, tuple[Act, ...]] = {
    340: (readers.raises,),
    FAILING.ago: (partial(readers.gives, person=FAILING),),
    FORGOTTEN.ago: (partial(readers.gives, person=FORGOTTEN),),
    AT_RISK.ago: (partial(readers.gives, person=AT_RISK), banks.asks_about),
    FAILING.ago - 34: (partial(readers.mends, person=FAILING),),
    FORGOTTEN.ago - 34: (partial(readers.mends, person=FORGOTTEN),),
    325: (partial(colleagues.refunds, currency="gbp", amount="5.00"),),
    310: (banks.refuses,),
    307: (banks.relents,),
    300: (banks.disputes,),
    292: (readers.pauses, banks.loses),
    255: (banks.sets_aside,),
    240: (readers.stops,),
    225: (banks.lets_go,),
    210: (readers.lowers,),
    200: (partial(colleagues.refunds, currency="eur", amount="25.00"),),
    190: (banks.disputes, readers.replaces_card),
    180: (banks.wins,),
    150: (banks.converts, readers.raises),
    130: (banks.refund_does_not_arrive,),
    120: (readers.skips, readers.stops),
    110: (banks.refuses,),
    107: (banks.relents,),
    95: (readers.goes_annual,),
    80: (readers.pauses, partial(colleagues.refunds, currency="usd", amount="3.50")),
    74: (banks.sends_back,),
    66: (banks.pays_by_hand,),
    52: (readers.raises, banks.refuses),
    49: (banks.relents,),
    40: (banks.warns, readers.lowers),
    31: (readers.stops, banks.answers),
    18: (colleagues.closes_alarms,),
    9: (banks.disputes,),
    8: (readers.pauses,),
    5: (partial(readers.asks_later, number=20),),
    4: (
        Year.works,
        partial(readers.confirms, number=20),
        partial(colleagues.refunds, currency="usd", amount="1.50"),
    ),
    1: (partial(readers.asks_later, number=21),),
}


async def a_year(settings: Settings, sandbox: Sandbox, clock: Clock, *, told: Told) -> None:
    """Live through the months up to the clock's present. `told` hears of each day that passed."""
    chance = random.Random(20261122)  # noqa: S311 - a story, not a secret
    days, acts = how_long(clock.at), plan(clock.at)
    coming = defaultdict(list)
    for person in supporters(chance):
        coming[person.ago].append(person)
    async with lived(settings, sandbox, clock) as year:
        sandbox.pay_out_weekly(0)
        await colleagues.begins_campaigns(year)
        while clock.at < year.end:
            await year.passes()
            for person in coming[year.ago]:
                await readers.gives(year, person)
            for act in acts[clock.at.date()]:
                await act(year)
            await year.passes()
            if year.ago % WORKS_EVERY == 0:
                await year.works()
            told(days - year.ago, days)
            clock.at = min(clock.at + timedelta(days=1), year.end)
        await year.imports()


def how_long(end: datetime) -> int:
    """How many days the story has."""
    return (end.date() - begins(end).date()).days


def plan(end: datetime) -> dict[date, list[Act]]:
    """Who does what on which day; by the calendar months are closed, and readers reminded."""
    days: dict[date, list[Act]] = defaultdict(list)
    for ago, acts in STORY.items():
        days[end.date() - timedelta(days=ago)] += acts
    for ago in range(2, COURT_OPENS, LOOKS_EVERY):
        days[end.date() - timedelta(days=ago)].append(partial(readers.looks, campaign=COURT))
    mornings = [begins(end, months=back) for back in range(CLOSED, -1, -1)]
    mornings = [morning for morning in mornings if morning < end][-CLOSED:]
    for morning in mornings:
        days[morning.date()].append(partial(colleagues.closes, over=morning))
    days[mornings[-1].date()].append(banks.tells_late)
    # All of it within one month, so that its numbers are large enough to be told.
    for after, act, numbers in (
        (3, readers.asks_later, REMINDED),
        (4, readers.confirms, CONFIRMED),
        (12, readers.comes_back, CAME_BACK),
    ):
        day = mornings[-2].date() + timedelta(days=after)
        days[day] += [Year.works, *(partial(act, number=number) for number in numbers)]
    return days


def now() -> datetime:
    """The present, in whole seconds as Stripe counts."""
    return datetime.now(UTC).replace(microsecond=0)
