"""A-01: an hour of card testing is replayed against the door, with honest donors among the bots.

Ten thousand attempts come from five hundred networks. Most are scripts that replay the form; one
in seven takes a ticket and waits for its turn; one in twenty does the work. Each gets a declined
card if it gets to Stripe at all. Two hundred readers give meanwhile, a third of them without
JavaScript, some with the smallest amounts. The smaller replay has a tenth of all of it.
"""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx
import pytest

from payments import breaker, worker
from tests.newsroom import Newsroom
from tests.page import Page
from tests.test_shield import DECLINED, guarded, seconds_of, solved, work_of

pytestmark = pytest.mark.anyio

HOUR, STEP, OPENING = timedelta(hours=1), timedelta(seconds=15), timedelta(minutes=5)


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with guarded(database) as room:
        yield room


@dataclass
class Visitor:
    """A bot or a reader, on their way."""

    ip: str
    amount: str
    works: bool  # does what the page asks of a browser
    waits: bool  # comes back when its turn has come
    is_bot: bool
    form: str = ""  # a reader's own, which they look at for a moment
    page: str = ""  # what they were last shown instead of the payment


@dataclass
class Attack:
    """The hour: who comes when, and what becomes of them."""

    room: Newsroom
    dice: random.Random
    form: str = ""
    due: list[tuple[datetime, int, Visitor]] = field(default_factory=list)
    bots_through: list[datetime] = field(default_factory=list)
    bots_tried: int = 0
    came: int = 0
    paid: int = 0
    numbers: int = 0

    def invite(self, when: datetime, visitor: Visitor) -> None:
        self.numbers += 1
        self.due.append((when, self.numbers, visitor))

    def plan(self, attempts: int, networks: int, readers: int) -> None:
        """Who comes within the hour."""
        start = self.room.clock()
        for number in range(attempts):
            network = number % networks
            kind = self.dice.random()
            wide = f"{20 + network % 80}.{network // 80}"
            bot = Visitor(
                ip=f"{wide}.{network % 250}.{self.dice.randrange(256)}",
                amount=self.dice.choice(["200", "200", "200", "500"]),
                works=kind < 0.05,
                waits=0.05 <= kind < 0.2,
                is_bot=True,
            )
            self.invite(start + HOUR * (number / attempts), bot)
        for number in range(readers):
            scripted = self.dice.random() < 0.67
            reader = Visitor(
                ip=f"{110 + number % 80}.{number // 80}.{number % 200}.7",
                amount=self.dice.choice(["200", "500", "500", "1000", "2500"]),
                works=scripted,
                waits=not scripted,
                is_bot=False,
            )
            self.invite(start + HOUR * self.dice.random(), reader)

    async def live(self) -> None:
        """The hour, and a while for those who were asked to wait."""
        end = self.room.clock() + HOUR * 1.5
        begun, seen = self.room.clock(), 0
        while self.room.clock() < end and self.due:
            self.due.sort(key=lambda one: one[:2])
            now = self.room.clock()
            ready = [visitor for when, _, visitor in self.due if when <= now]
            self.due = self.due[len(ready) :]
            for visitor in ready:
                await self.comes(visitor)
            await self.room.turns(STEP)
            await self.room.deliver(self.room.sandbox.take_deliveries())
            await worker.drain(self.room.rt)
            if (minutes := int((now - begun) / timedelta(minutes=5))) > seen:
                seen = minutes
                await breaker.keep_watch(self.room.rt)

    async def comes(self, visitor: Visitor) -> None:
        """One attempt: the form, or the page that asked for work or patience."""
        if not visitor.is_bot and not visitor.form:
            visitor.form = (await self.room.web.get("/donate")).text
            self.invite(self.room.clock() + STEP, visitor)
            return
        fresh = not visitor.page
        page = Page(visitor.page or visitor.form or self.form)
        changes = {"frequency": "once", "amount_once": visitor.amount} if fresh else {}
        self.bots_tried += visitor.is_bot and fresh
        self.came += not visitor.is_bot and fresh
        sent = page.form("/donate").filled(**changes)
        if fresh and visitor.is_bot:
            sent["intent"] = f"{self.dice.getrandbits(128):032x}"
        answer = await self.posts(visitor, sent)
        if answer.status_code == 428 and visitor.works:
            proof = solved(work_of(answer))
            sent = Page(answer.text).form("/donate").filled(proof=proof)
            answer = await self.posts(visitor, sent)
        if answer.status_code == 303:
            await self.arrives(visitor, answer.headers["location"])
        elif answer.status_code == 428 and visitor.waits:
            visitor.page = answer.text
            wait = timedelta(seconds=seconds_of(answer) + 1)
            self.invite(self.room.clock() + wait, visitor)
        elif answer.status_code == 503 and not visitor.is_bot:
            # The page says that we take $5 or more for some minutes.
            visitor.page, visitor.amount = "", "500"
            self.came -= 1
            self.invite(self.room.clock() + STEP, visitor)

    async def posts(self, visitor: Visitor, sent: dict[str, str]) -> httpx.Response:
        headers = {"x-forwarded-for": visitor.ip}
        return await self.room.web.post("/donate", data=sent, headers=headers)

    async def arrives(self, visitor: Visitor, checkout: str) -> None:
        """At Stripe's page, with a card that is good or is not."""
        await self.room.pays(checkout, DECLINED if visitor.is_bot else "4242424242424242")
        if visitor.is_bot:
            self.bots_through.append(self.room.clock())
        else:
            self.paid += 1


async def replayed(room: Newsroom, attempts: int, networks: int, readers: int) -> Attack:
    attack = Attack(room, random.Random(7))
    attack.form = (await room.web.get("/donate")).text
    room.clock.turn(timedelta(minutes=1))
    begun = room.clock()
    attack.plan(attempts, networks, readers)
    await attack.live()
    late = sum(1 for at in attack.bots_through if at > begun + OPENING)
    print(f"{attack.bots_tried} bots: {len(attack.bots_through)} through, {late} after 5 minutes;"  # noqa: T201
          f" {attack.came} readers: {attack.paid} paid")  # fmt: skip
    assert attack.bots_tried == attempts
    assert attack.came == readers
    assert late <= 40 * attempts / 10_000 + 10
    assert attack.paid >= 0.99 * readers
    return attack


async def test_a_small_attack_is_stopped_and_the_readers_pay(newsroom: Newsroom) -> None:
    await replayed(newsroom, attempts=600, networks=60, readers=12)


@pytest.mark.storm
async def test_an_hour_of_ten_thousand_attempts_is_stopped_and_the_readers_pay(
    newsroom: Newsroom,
) -> None:
    attack = await replayed(newsroom, attempts=10_000, networks=500, readers=200)
    late = [at for at in attack.bots_through if at > attack.bots_through[0] + OPENING]
    assert len(late) <= 40
