"""Reminders: somebody is not ready to give today and asks to be written to, at most twice.

A reminder is a row with a day and a zone. It is asked for; proved, by a button behind a link that
only the mailbox has, or by a session its owner is in; sent; and over. The address is sealed under a
key of its own, and the key is destroyed with the last mail, when it is cancelled, or when two days
pass without proof. An address has at most one reminder that will be sent.

Signing up does the same work and gives the same answer for every address; what may be sent to
whom is decided later, by the worker (`reminding`). Signing up never revives a cancelled reminder.
Only the code of a mail does, with the address it was for.
"""

import secrets
from datetime import date, datetime, timedelta
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import calendar
from payments.core.errors import LinkSpent
from payments.core.money import Money
from payments.core.settings import Settings
from payments.donors.donors import Donor
from payments.giving.checkout_session import Frequency
from payments.infra import db, job_queue
from payments.infra.context import Runtime
from payments.signups import address_vault, reminder_schedule, reminder_stats
from payments.signups.address_vault import Cell, Unwanted
from payments.signups.reminder_schedule import Wish
from payments.signups.reminder_stats import Step

PROOF_LASTS = timedelta(hours=48)  # from the moment it was asked for
INVITING = ("reminders", "asked")  # the bell for those who wait for their confirmation
ONE = "reminder"  # the object type of one reminder's bell


class State(StrEnum):
    ASKED = "asked"  # nobody has proved that the mailbox is theirs
    WATCHING = "watching"  # of a reader at Checkout, in case they do not finish
    WAITING = "waiting"  # it will be sent
    SENT = "sent"
    CANCELLED = "cancelled"
    GAVE = "gave"
    LATE = "late"
    UNWANTED = "unwanted"  # the mailbox bounced, complained, or said never
    REPLACED = "replaced"  # by another of the same reader
    LOST = "lost"  # its key is gone


LIVE = (State.ASKED, State.WATCHING, State.WAITING)


class Reminder(db.Base):
    """One sign-up. The `turn` is how many of its days are behind it, sent or not."""

    __tablename__ = "reminders"
    __table_args__ = (
        CheckConstraint("months BETWEEN 1 AND 12", name="months_are_1_to_12"),
        CheckConstraint(
            "first_on > asked_on AND first_on <= asked_on + interval '1 year'",
            name="first_is_within_a_year",
        ),
        CheckConstraint("turns BETWEEN 1 AND 2", name="turns_are_1_or_2"),
        CheckConstraint("turn BETWEEN 0 AND turns AND mails <= turn", name="turn_is_counted"),
        CheckConstraint("(state = 'waiting') = (due_on IS NOT NULL)", name="due_if_waiting"),
        CheckConstraint(
            "(state IN ('asked', 'watching', 'waiting')) = (sealed IS NOT NULL)",
            name="sealed_while_live",
        ),
        CheckConstraint(
            "num_nonnulls(frequency, amount, currency) IN (0, 3)", name="gift_is_whole"
        ),
        CheckConstraint("amount > 0", name="amount_is_positive"),
        db.is_currency(),
        Index("ix_reminders_due", "due_on", "id", postgresql_where="state = 'waiting'"),
        Index(
            "uq_reminders_asked", "address_hash", unique=True, postgresql_where="state = 'asked'"
        ),
        Index(
            "uq_reminders_waiting",
            "address_hash",
            unique=True,
            postgresql_where="state = 'waiting'",
        ),
    )

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    state: Mapped[State] = mapped_column(db.words(State, "state_is_known"))
    address_hash: Mapped[bytes | None] = mapped_column(index=True)  # null once it is over
    sealed: Mapped[bytes | None]
    proved: Mapped[bool]
    crowded: Mapped[bool]  # its network asked for many: it waits behind the others
    tries: Mapped[int]
    language: Mapped[str] = mapped_column(String(8))
    zone: Mapped[str] = mapped_column(String(64))
    frequency: Mapped[Frequency | None] = mapped_column(db.words(Frequency, "frequency_is_known"))
    amount: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(String(3))
    asked_on: Mapped[date]  # the day it was there
    first_on: Mapped[date]
    months: Mapped[int | None]  # every so many; null for one day, and a week later if `turns` is 2
    turns: Mapped[int]
    turn: Mapped[int]
    mails: Mapped[int]
    due_on: Mapped[date | None]
    contribution_id: Mapped[db.OurId | None] = mapped_column(
        ForeignKey("contributions.id"), unique=True
    )
    asked_at: Mapped[db.Moment] = mapped_column(index=True)
    invited_at: Mapped[db.Moment | None]
    rung_at: Mapped[db.Moment | None]
    ended_at: Mapped[db.Moment | None]

    @property
    def cell(self) -> Cell:
        return Cell("reminders", "sealed", self.id)

    def day(self, turn: int) -> date:
        return reminder_schedule.day_of(self.asked_on, self.first_on, self.months, turn)

    @property
    def gift(self) -> tuple[Frequency, Money] | None:
        """What the reader had in mind."""
        if self.frequency is None or self.amount is None or self.currency is None:
            return None
        return self.frequency, Money(self.amount, self.currency)


# --- asking ---------------------------------------------------------------------------------------


async def ask(
    session: AsyncSession,
    settings: Settings,
    wanted: Wish,
    *,
    address: str,
    crowded: bool = False,
    now: datetime,
) -> None:
    """Note a wish whose mailbox is to be proved. The same work for every address.

    Of several for one address that nobody has proved, the last wish counts.
    """
    known = address_vault.hashes(settings, address)
    await alone(session, known[0])
    before = await session.scalar(
        select(Reminder.id).where(Reminder.address_hash.in_(known), Reminder.state == State.ASKED)
    )
    row_id = before or secrets.token_hex(16)
    values = new_row(settings, row_id, wanted, address, now=now) | {"crowded": crowded}
    again = {name: values[name] for name in ("sealed", "asked_on", *_WISHED)}
    await session.execute(
        insert(Reminder)
        .values(**values, state=State.ASKED, address_hash=known[0])
        .on_conflict_do_update(index_elements=["id"], set_=again)
    )
    await reminder_stats.count(session, settings, Step.ASKED, now=now)
    await job_queue.ring(session, *INVITING)


async def ask_proved(
    session: AsyncSession, settings: Settings, wanted: Wish, *, address: str, now: datetime
) -> None:
    """A wish of somebody who has just proved that the mailbox is theirs: it needs nothing more."""
    known = address_vault.hashes(settings, address)
    await alone(session, known[0])
    await _end_all(session, settings, known, State.REPLACED, now=now)
    row_id = secrets.token_hex(16)
    values = new_row(settings, row_id, wanted, address, now=now)
    values |= {"state": State.WAITING, "proved": True, "due_on": wanted.first_on}
    await session.execute(insert(Reminder).values(**values, address_hash=known[0]))
    await reminder_stats.count(session, settings, Step.ASKED, now=now)
    await reminder_stats.count(session, settings, Step.CONFIRMED, now=now)


_WISHED = ("zone", "first_on", "months", "turns", "frequency", "amount", "currency", "language")


def new_row(
    settings: Settings, row_id: str, wanted: Wish, address: str, *, now: datetime
) -> dict[str, object]:
    return {
        "id": row_id,
        "sealed": address_vault.seal(settings, Cell("reminders", "sealed", row_id), address),
        "proved": False,
        "crowded": False,
        "tries": 0,
        "turn": 0,
        "mails": 0,
        "asked_on": wanted.asked_on,
        "asked_at": now,
        "zone": wanted.zone,
        "first_on": wanted.first_on,
        "months": wanted.months,
        "turns": wanted.turns,
        "frequency": wanted.frequency,
        "amount": None if wanted.gift is None else wanted.gift.amount,
        "currency": None if wanted.gift is None else wanted.gift.currency,
        "language": wanted.language,
    }


async def alone(session: AsyncSession, address_hash: bytes) -> None:
    """One at a time for an address, until this transaction ends."""
    number = int.from_bytes(address_hash[:8], signed=True)
    await session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


# --- what its reader decides ----------------------------------------------------------------------


async def find(session: AsyncSession, reminder_id: str) -> Reminder | None:
    return await session.get(Reminder, reminder_id)


async def to_prove(session: AsyncSession, reminder_id: str, *, now: datetime) -> Reminder:
    """A reminder whose proof is awaited, or was given. Raises LinkSpent for any other."""
    row = await find(session, reminder_id)
    waits = row is not None and row.state is State.ASKED and now - row.asked_at <= PROOF_LASTS
    if row is None or not (waits or (row.proved and row.state is State.WAITING)):
        raise LinkSpent("It has expired, or is not complete. You can ask again.")
    return row


async def confirm(rt: Runtime, reminder_id: str) -> Reminder:
    """Its reader has proved the mailbox. It takes the place of an earlier one. Raises LinkSpent."""
    async with rt.sessions.begin() as session:
        row = await to_prove(session, reminder_id, now=rt.now())
        if row.state is State.WAITING or row.address_hash is None:
            return row
        known = [row.address_hash]
        await alone(session, row.address_hash)
        held = await session.get(
            Reminder, reminder_id, with_for_update=True, populate_existing=True
        )
        if held is None or held.state is not State.ASKED:  # ended while we waited
            raise LinkSpent("It has expired, or is not complete. You can ask again.")
        await _end_all(session, rt.settings, known, State.REPLACED, now=rt.now(), but=row.id)
        row.state, row.proved, row.due_on = State.WAITING, True, row.first_on
        await reminder_stats.count(session, rt.settings, Step.CONFIRMED, now=rt.now())
    return row


async def cancel(
    session: AsyncSession, settings: Settings, reminder_id: str, *, now: datetime
) -> None:
    """Send nothing more, and destroy the address. One that is over stays as it is."""
    row = await session.get(Reminder, reminder_id, with_for_update=True)
    if row is not None and row.state in LIVE:
        end(settings, row, State.CANCELLED, now=now)


async def reactivate(
    session: AsyncSession,
    settings: Settings,
    reminder_id: str,
    *,
    owner: bytes,
    address: str,
    now: datetime,
) -> bool:
    """Take a cancellation back. `owner` is the hash that the code of a mail carries.

    Gives whether it is on again: the address must be the one it was for, the reminder cancelled,
    and a day of it still ahead.
    """
    known = address_vault.hashes(settings, address)
    await alone(session, known[0])
    row = await session.get(Reminder, reminder_id, with_for_update=True)
    if owner not in known or row is None or row.state is not State.CANCELLED:
        return False
    today = calendar.local_day(now, row.zone)
    while row.turn < row.turns:
        if (due := row.day(row.turn)) > today:
            break
        row.turn += 1
    else:
        return False
    await _end_all(session, settings, known, State.REPLACED, now=now)
    row.sealed = address_vault.seal(settings, row.cell, address)
    row.address_hash, row.proved, row.ended_at = known[0], True, None
    row.state, row.due_on = State.WAITING, due
    return True


async def never(session: AsyncSession, settings: Settings, owner: bytes, *, now: datetime) -> None:
    """Its owner wants no mail of this kind again, whatever anybody types."""
    await unwanted(session, settings, [owner], Unwanted.ASKED, now=now)


async def unwanted(
    session: AsyncSession,
    settings: Settings,
    known: list[bytes],
    reason: Unwanted,
    *,
    now: datetime,
) -> None:
    """Suppress an address and end what waits for it."""
    await address_vault.suppress(session, known[0], reason, now=now)
    await _end_all(session, settings, known, State.UNWANTED, now=now)


async def forget_donor(
    session: AsyncSession, settings: Settings, donor_id: str, *, now: datetime
) -> None:
    """A donor is erased, and with them what they asked for."""
    donor = await session.get(Donor, donor_id)
    if donor is not None:
        await _end_all(session, settings, [donor.address_hash], State.CANCELLED, now=now)


async def belongs_to(session: AsyncSession, known: list[bytes], donor_id: str) -> bool:
    """Whether an address is a donor's own."""
    query = select(Donor.id).where(Donor.id == donor_id, Donor.address_hash.in_(known))
    return await session.scalar(query) is not None


async def of_donor(session: AsyncSession, donor_id: str) -> list[Reminder]:
    """What is held of a donor's reminders, the newest first."""
    query = select(Reminder).join(Donor, Donor.address_hash == Reminder.address_hash)
    query = query.where(Donor.id == donor_id).order_by(Reminder.asked_at.desc()).limit(10)
    return list(await session.scalars(query))


def end(settings: Settings, row: Reminder, state: State, *, now: datetime) -> None:
    """It is over: first the key is destroyed, then the row forgets whose it was."""
    address_vault.destroy(settings, row.id)
    row.state, row.sealed, row.address_hash = state, None, None
    row.due_on, row.contribution_id, row.ended_at = None, None, now


async def _end_all(
    session: AsyncSession,
    settings: Settings,
    known: list[bytes],
    state: State,
    *,
    now: datetime,
    but: str = "",
) -> None:
    query = select(Reminder).where(Reminder.address_hash.in_(known), Reminder.id != but)
    for row in await session.scalars(query.order_by(Reminder.id).with_for_update()):
        end(settings, row, state, now=now)
    await session.flush()  # before another takes its place
