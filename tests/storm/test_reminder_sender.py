"""Whatever readers decide and however workers die, nobody is reminded twice or after cancelling.

Workers are processes of their own, so how far each gets is up to the machine. Only what must be so
in any case is checked: what was sent, and what no kill can lose.
"""

import itertools
import random
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
from tests.support.command_line import Running, environment
from tests.support.newsroom import BASE_URL, Mail, Newsroom

pytestmark = pytest.mark.anyio
STEP = timedelta(hours=12)
WORKER_CONCURRENCY = 3  # of reminder_worker: a kill loses at most so many mails


@dataclass
class Reader:
    """One mailbox, and what its owner did."""

    address: str
    opened: int = 0  # how many of its mails they have opened
    checked: int = 0  # how many of its mails were checked
    reminder_id: str = ""  # of the last mail about a reminder
    code: str = ""  # in that mail's links
    cancelled_at: dict[str, datetime] = field(
        default_factory=dict
    )  # by reminder, until reactivated
    unsubscribed_at: datetime | None = None  # for good
    has_given: bool = False
    confirmations: int = 0


@dataclass
class Storm:
    """All readers, and the workers."""

    room: Newsroom
    random: random.Random
    clock_file: Path
    readers: list[Reader]
    processes: list[Running] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # of what was done
    mailboxes: dict[str, list[Mail]] = field(default_factory=lambda: defaultdict(list))
    sorted_mails: int = 0

    def mails_of(self, reader: Reader) -> list[Mail]:
        """The mails to a reader so far, in the order they arrived."""
        new = self.room.mail_server.mails[self.sorted_mails :]
        self.sorted_mails += len(new)
        for mail in new:
            self.mailboxes[mail.to[0]].append(mail)
        return self.mailboxes[reader.address]

    # what readers do

    async def acts(self, reader: Reader) -> None:
        """Opens new mails, and perhaps does something else that is possible."""
        await self.opens_mails(reader)
        actions = [self.asks] * 3
        if reader.code:
            actions.append(self.cancels)
        if reader.reminder_id in reader.cancelled_at:
            actions.append(self.reactivates)
        if not reader.has_given:
            actions.append(self.gives)
        if self.random.random() < 0.25:
            await self.random.choice(actions)(reader)

    async def opens_mails(self, reader: Reader) -> None:
        """Opens the mails that came since the last time."""
        new = self.mails_of(reader)[reader.opened :]
        reader.opened += len(new)
        for mail in new:
            await self.opens(reader, mail)

    async def opens(self, reader: Reader, mail: Mail) -> None:
        """Confirms mostly, unsubscribes seldom. A program has followed every link before."""
        links = links_in(mail)
        for link in links:
            await self.room.web.get(link)
        if "/remind/confirm/" in links[0] and self.random.random() < 0.8:
            await self.confirms(reader, links[0])
        elif self.random.random() < 0.03:
            response = await self.room.web.post(links[-1])
            assert response.status_code == 200
            reader.unsubscribed_at = self.room.clock()
            self.counts["unsubscribed"] += 1
        self.notes_code(reader, mail)

    async def confirms(self, reader: Reader, link: str) -> None:
        """Confirms a reminder, unless that is no longer possible."""
        response = await self.room.web.post(link)
        reader.confirmations += response.status_code == 200
        self.counts["confirmed"] += response.status_code == 200

    def notes_code(self, reader: Reader, mail: Mail) -> None:
        """Takes the code out of the links of a reminder."""
        for link in links_in(mail):
            if "/remind/stop/" in link or "/remind/again/" in link:
                reader.reminder_id, reader.code = reminder_id_of(mail), link.rpartition("/")[2]

    async def asks(self, reader: Reader) -> None:
        """Asks for a reminder, once or every month."""
        day = self.room.clock().date() + timedelta(days=self.random.randint(2, 6))
        once: dict[str, object] = {"on": day.isoformat(), "once_more": self.random.random() < 0.5}
        zones = ("Europe/Moscow", "America/St_Johns", "Pacific/Kiritimati", "UTC")
        schedule = {"every_months": 1} if self.random.random() < 0.2 else once
        await self.requests_reminder(reader, zone=self.random.choice(zones), **schedule)

    async def requests_reminder(self, reader: Reader, **schedule: object) -> None:
        """Sends the form of a reminder."""
        body = {"address": reader.address, **schedule}
        response = await self.room.web.post("/api/reminders", json=body)
        assert (response.status_code, response.json()) == (202, {"status": "noted"})
        self.counts["asked"] += 1

    async def cancels(self, reader: Reader) -> None:
        """Cancels the last reminder."""
        await self.room.web.post("/api/reminders/cancel", json={"code": reader.code})
        reader.cancelled_at.setdefault(reader.reminder_id, self.room.clock())
        self.counts["cancelled"] += 1

    async def reactivates(self, reader: Reader) -> None:
        """Undoes the cancellation of the last reminder."""
        body = {"code": reader.code, "address": reader.address}
        await self.room.web.post("/api/reminders/reactivate", json=body)
        del reader.cancelled_at[reader.reminder_id]
        self.counts["reactivated"] += 1

    async def gives(self, reader: Reader) -> None:
        """Gives once, after which no reminder may come; most decide otherwise."""
        if self.random.random() < 0.3:
            response = await self.room.requests_contribution(500, "once")
            await pay(response.json()["checkout_url"], email=reader.address)
            await self.room.runs_until_idle()
            reader.has_given = True
            self.counts["given"] += 1

    # what workers do

    @contextmanager
    def workers(self, number: int) -> Iterator[None]:
        """So many workers until the block ends."""
        with ExitStack() as stack:
            stack.callback(self.kill_all)
            for _ in range(number):
                self.start_worker()
            yield

    def start_worker(self) -> None:
        self.processes.append(
            Running(
                environment(self.room.settings),
                (str(self.clock_file),),
                program="tests.storm.reminder_worker",
            )
        )

    def kill_one(self) -> None:
        process = self.processes.pop(self.random.randrange(len(self.processes)))
        process.kill()
        process.wait()
        self.counts["killed"] += 1

    def kill_all(self) -> None:
        while self.processes:
            self.kill_one()

    async def work(self) -> None:
        """Does what a worker does, in this process."""
        await reminder_sender.enqueue_due(self.room.ctx)
        await reminder_sender.send_confirmations(self.room.ctx)
        await worker.run_due_jobs(self.room.ctx)

    async def requeue_abandoned(self, *, heartbeat_timeout: timedelta) -> None:
        """Requeues the jobs of dead workers, and now and then those of a slow one."""
        async with self.room.ctx.sessions.begin() as session:
            await job_queue.requeue_abandoned(session, heartbeat_timeout=heartbeat_timeout)

    async def advance(self) -> None:
        """Advances the clock of all workers by one step."""
        await self.room.advances_time(STEP)
        write_clock(self.clock_file, self.room.clock())


def write_clock(file: Path, now: datetime) -> None:
    """Write the clock's file at once: a worker never reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(now.isoformat())
    new.replace(file)


async def run_days(storm: Storm, *, days: int, workers: int, pause: range) -> None:
    """So many days, two steps each; there are no workers on the days of the pause."""
    with storm.workers(workers):
        for step in range(days * 2):
            await storm.advance()
            for reader in storm.readers:
                await storm.acts(reader)
                check(storm, reader)
            if step // 2 in pause:
                storm.kill_all()
                continue
            while len(storm.processes) < workers:
                storm.start_worker()
            await storm.work()
            if storm.random.random() < 0.3:
                await storm.requeue_abandoned(heartbeat_timeout=timedelta(seconds=2))
            if storm.processes and storm.random.random() < 0.3:
                storm.kill_one()
            if step % 4 == 0:
                await reminder_sender.purge(storm.room.ctx, file_time=0)


async def settle(storm: Storm) -> None:
    """Finish what the workers have left, and let a last reader take every step.

    In the days before it is up to the workers how far anybody gets, because each step takes a mail.
    """
    await storm.requeue_abandoned(heartbeat_timeout=timedelta(0))
    reader = Reader("last@example.org")
    day = storm.room.clock().date() + timedelta(days=3)
    await storm.requests_reminder(reader, on=day.isoformat(), once_more=True, zone="UTC")
    await storm.work()
    (confirmation,) = storm.mails_of(reader)
    await storm.confirms(reader, links_in(confirmation)[0])
    for _ in range(8):
        await storm.advance()
        await storm.work()
    _, reminder = storm.mails_of(reader)
    storm.notes_code(reader, reminder)
    await storm.cancels(reader)
    await storm.reactivates(reader)
    storm.readers.append(reader)
    for each in storm.readers:
        check(storm, each)


def links_in(mail: Mail) -> list[str]:
    return [line for line in mail.part().splitlines() if line.startswith(BASE_URL)]


def reminder_id_of(mail: Mail) -> str:
    return str(mail.parsed["Message-ID"])[1:33]


def is_reminder(mail: Mail) -> bool:
    """Whether it is a reminder rather than the confirmation before it."""
    return ".0@" not in str(mail.parsed["Message-ID"])


def check(storm: Storm, reader: Reader) -> None:
    """No reminder was sent after it was cancelled, and no mail after its reader unsubscribed."""
    for mail in storm.mails_of(reader)[reader.checked :]:
        reader.checked += 1
        sent_at = mail.parsed["Date"].datetime
        cancelled_at = reader.cancelled_at.get(reminder_id_of(mail))
        if is_reminder(mail) and cancelled_at is not None:
            assert sent_at <= cancelled_at, reader
        if reader.unsubscribed_at is not None:
            assert sent_at <= reader.unsubscribed_at, reader


def check_all(storm: Storm) -> None:
    """No mail was sent twice, no mailbox asked twice within 90 days, and reminders were sent."""
    ids = Counter(str(mail.parsed["Message-ID"]) for mail in storm.room.mails())
    assert [message_id for message_id, number in ids.items() if number > 1] == []
    mails_by_reminder = Counter(message_id[1:33] for message_id in ids if ".0@" not in message_id)
    assert not [row for row, number in mails_by_reminder.items() if number > 2]
    for reader in storm.readers:
        times = [
            mail.parsed["Date"].datetime for mail in storm.mails_of(reader) if not is_reminder(mail)
        ]
        pairs = itertools.pairwise(times)
        assert all(later - earlier >= timedelta(days=90) for earlier, later in pairs)
    confirmations = sum(reader.confirmations for reader in storm.readers)
    lost = WORKER_CONCURRENCY * storm.counts["killed"]
    reminded = len(mails_by_reminder)
    assert reminded + lost > confirmations / 3, (reminded, lost, confirmations)


async def run_storm(
    room: Newsroom, folder: Path, *, readers: int, days: int, workers: int, seed: int
) -> Storm:
    """A storm, checked at each step and at the end."""
    clock_file = folder / "clock"
    write_clock(clock_file, room.clock())
    people = [Reader(f"reader{number}@example.org") for number in range(readers)]
    storm = Storm(room, random.Random(seed), clock_file, people)
    await run_days(storm, days=days, workers=workers, pause=range(days // 2, days // 2 + 3))
    await settle(storm)
    check_all(storm)
    return storm


async def test_a_few_readers_with_a_worker_that_is_killed(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    storm = await run_storm(newsroom, tmp_path, readers=12, days=12, workers=1, seed=1)
    for action in ("asked", "confirmed", "cancelled", "reactivated", "killed"):
        assert storm.counts[action] > 0, action


@pytest.mark.storm
async def test_a_thousand_readers_with_two_workers_that_are_killed(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    storm = await run_storm(newsroom, tmp_path, readers=1000, days=34, workers=2, seed=2)
    assert storm.counts["killed"] > 10
