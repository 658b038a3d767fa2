"""Whatever readers decide and however workers die, nobody is reminded twice, or after a no."""

import itertools
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from payments.infra import job_queue
from payments.ops import worker
from payments.sandbox.hosted_page_client import pay
from payments.signups import reminder_sender
from tests.support.command_line import environment
from tests.support.newsroom import BASE_URL, Mail, Newsroom

pytestmark = pytest.mark.anyio
STEP = timedelta(hours=12)


@dataclass
class Life:
    """One mailbox: what its owner did, and when they last said no."""

    address: str
    read: int = 0  # of the mails to it
    row: str = ""  # of the last reminder, and its code
    code: str = ""
    cancelled: dict[str, datetime] = field(default_factory=dict)  # each row, until taken back
    never_at: datetime | None = None  # nothing takes that back
    gave_at: datetime | None = None
    confirmed: int = 0
    checked: int = 0


@dataclass
class Storm:
    """All mailboxes, and the workers."""

    room: Newsroom
    chance: random.Random
    clock: Path
    lives: list[Life]
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    marks: Counter[str] = field(default_factory=Counter)
    boxes: dict[str, list[Mail]] = field(default_factory=lambda: defaultdict(list))
    sorted_mails: int = 0

    def letters(self, life: Life) -> list[Mail]:
        new = self.room.mail_server.mails[self.sorted_mails :]
        self.sorted_mails += len(new)
        for mail in new:
            self.boxes[mail.to[0]].append(mail)
        return self.boxes[life.address]

    # what readers do

    async def something(self, life: Life) -> None:
        new = self.letters(life)[life.read :]
        life.read += len(new)
        for mail in new:
            await self.opens(life, mail)
        ways = [self.asks] * 3 + [self.cancels, self.takes_back, self.gives]
        if self.chance.random() < 0.25:
            await self.chance.choice(ways)(life)

    async def opens(self, life: Life, mail: Mail) -> None:
        links = [line for line in mail.part().splitlines() if line.startswith(BASE_URL)]
        for link in links:
            await self.room.web.get(link)  # a program looks at every link
        if "/remind/confirm/" in links[0] and self.chance.random() < 0.8:
            done = await self.room.web.post(links[0])
            life.confirmed += done.status_code == 200
            self.marks["confirmed"] += done.status_code == 200
        elif self.chance.random() < 0.03:
            done = await self.room.web.post(links[-1])
            assert done.status_code == 200
            life.never_at = self.room.clock()
            self.marks["never"] += 1
        for link in links:
            if "/remind/stop/" in link or "/remind/again/" in link:
                life.row, life.code = row_of(mail), link.rpartition("/")[2]

    async def asks(self, life: Life) -> None:
        day = self.room.clock().date() + timedelta(days=self.chance.randint(2, 6))
        body: dict[str, object] = {"on": day.isoformat(), "once_more": self.chance.random() < 0.5}
        if self.chance.random() < 0.2:
            body = {"every_months": 1}
        zones = ("Europe/Moscow", "America/St_Johns", "Pacific/Kiritimati", "UTC")
        body |= {"address": life.address, "zone": self.chance.choice(zones)}
        answer = await self.room.web.post("/api/reminders", json=body)
        assert (answer.status_code, answer.json()) == (202, {"status": "noted"})
        self.marks["asked"] += 1

    async def cancels(self, life: Life) -> None:
        if life.code:
            await self.room.web.post("/api/reminders/cancel", json={"code": life.code})
            life.cancelled.setdefault(life.row, self.room.clock())
            self.marks["cancelled"] += 1

    async def takes_back(self, life: Life) -> None:
        if life.row in life.cancelled:
            body = {"code": life.code, "address": life.address}
            await self.room.web.post("/api/reminders/reactivate", json=body)
            del life.cancelled[life.row]
            self.marks["taken back"] += 1

    async def gives(self, life: Life) -> None:
        if life.gave_at is None and self.chance.random() < 0.3:
            asked = await self.room.requests_contribution(500, "once")
            await pay(asked.json()["checkout_url"], email=life.address)
            await self.room.runs_until_idle()
            life.gave_at = self.room.clock()
            self.marks["gave"] += 1

    # what workers do

    @contextmanager
    def workers(self, number: int) -> Iterator[None]:
        with ExitStack() as stack:
            stack.callback(self.end_all)
            for _ in range(number):
                self.start()
            yield

    def start(self) -> None:
        self.processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.storm.reminder_worker", str(self.clock)],
                env=environment(self.room.settings),
                stderr=subprocess.DEVNULL,
            )
        )

    def kill_one(self) -> None:
        process = self.processes.pop(self.chance.randrange(len(self.processes)))
        process.kill()
        process.wait()
        self.marks["killed"] += 1

    def end_all(self) -> None:
        while self.processes:
            self.kill_one()

    async def work(self) -> None:
        await reminder_sender.enqueue_due(self.room.ctx)
        await reminder_sender.send_confirmations(self.room.ctx)
        await worker.run_due_jobs(self.room.ctx)
        if self.chance.random() < 0.3:  # what a dead worker held, and now and then a living one's
            async with self.room.ctx.sessions.begin() as session:
                await job_queue.requeue_abandoned(session, heartbeat_timeout=timedelta(seconds=2))

    async def turn(self) -> None:
        await self.room.advances_time(STEP)
        self.clock.write_text(self.room.clock().isoformat())


async def live(storm: Storm, *, days: int, workers: int, pause: range) -> None:
    """So many days, two steps each; nobody works on the days of the pause."""
    with storm.workers(workers):
        for step in range(days * 2):
            await storm.turn()
            for life in storm.lives:
                await storm.something(life)
                check(storm, life)
            if step // 2 in pause:
                storm.end_all()
                continue
            while len(storm.processes) < workers:
                storm.start()
            await storm.work()
            if storm.processes and storm.chance.random() < 0.3:
                storm.kill_one()
            if step % 4 == 0:
                await reminder_sender.purge(storm.room.ctx, file_time=0)


def row_of(mail: Mail) -> str:
    return str(mail.parsed["Message-ID"])[1:33]


def is_reminder(mail: Mail) -> bool:
    return ".0@" not in str(mail.parsed["Message-ID"])


def check(storm: Storm, life: Life) -> None:
    """No reminder came after a no, nor to anybody who had given since they asked."""
    for mail in storm.letters(life)[life.checked :]:
        life.checked += 1
        sent_at = mail.parsed["Date"].datetime
        if is_reminder(mail) and row_of(mail) in life.cancelled:
            assert sent_at <= life.cancelled[row_of(mail)], life
        if life.never_at is not None:
            assert sent_at <= life.never_at, life


def check_all(storm: Storm) -> None:
    ids = Counter(str(mail.parsed["Message-ID"]) for mail in storm.room.mails())
    assert [found for found, number in ids.items() if number > 1] == []
    per_row = Counter(name[1:33] for name in ids if ".0@" not in name)
    assert not [row for row, number in per_row.items() if number > 2]
    for life in storm.lives:
        times = [
            mail.parsed["Date"].datetime for mail in storm.letters(life) if not is_reminder(mail)
        ]
        pairs = itertools.pairwise(times)
        assert all(later - earlier >= timedelta(days=90) for earlier, later in pairs)
    confirmed = sum(life.confirmed for life in storm.lives)
    assert len(per_row) > confirmed / 3, (len(per_row), confirmed)


async def a_storm(
    room: Newsroom, folder: Path, *, lives: int, days: int, workers: int, seed: int
) -> Storm:
    clock = folder / "clock"
    clock.write_text(room.clock().isoformat())
    people = [Life(f"life{number}@example.org") for number in range(lives)]
    storm = Storm(room, random.Random(seed), clock, people)
    await live(storm, days=days, workers=workers, pause=range(days // 2, days // 2 + 3))
    check_all(storm)
    return storm


async def test_a_few_lives_with_two_workers_one_of_them_killed(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    storm = await a_storm(newsroom, tmp_path, lives=25, days=20, workers=1, seed=1)
    for mark in ("asked", "confirmed", "cancelled", "taken back", "killed"):
        assert storm.marks[mark] > 0, mark


@pytest.mark.storm
async def test_a_thousand_lives_with_two_workers_that_are_killed(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    storm = await a_storm(newsroom, tmp_path, lives=1000, days=34, workers=2, seed=2)
    assert storm.marks["killed"] > 10
