"""Reminders: somebody is not ready to give today and asks to be written to, at most twice.

A reminder is a row with a day and a zone. It is asked for; proved, by a button behind a link that
only the mailbox has, or by a session its owner is in; sent; and over. The address is sealed under a
key of its own, and the key is destroyed with the last mail, when it is cancelled, or when two days
pass without proof. An address has at most one reminder that will be sent.

Signing up does the same work and gives the same answer for every address; what may be sent to
whom is decided later, by the worker (`reminding`). Signing up never revives a cancelled reminder.
Only the code of a mail does, with the address it was for.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import calendar
from payments.core.errors import LinkInvalid
from payments.core.frequency import Frequency
from payments.core.identifiers import new_row_id
from payments.core.money import Money
from payments.core.settings import Settings
from payments.donors.donors import Donor
from payments.infra import db, job_queue
from payments.infra.context import Context
from payments.signups import address_vault, reminder_schedule, reminder_stats
from payments.signups.address_vault import AssociatedData, SuppressionReason
from payments.signups.reminder_schedule import ReminderSchedule
from payments.signups.reminder_stats import ReminderStep

CONFIRMATION_LIFETIME = timedelta(hours=48)  # from the moment it was asked for
CONFIRMATIONS_JOB = ("reminders", "asked")  # the bell for those who wait for their confirmation
REMINDER_JOB = "reminder"  # the object type of one reminder's bell


class ReminderState(StrEnum):
    UNCONFIRMED = "unconfirmed"  # nobody has proved that the mailbox is theirs
    CHECKOUT_OPEN = "checkout_open"  # of a reader at Checkout, in case they do not finish
    SCHEDULED = "scheduled"  # it will be sent
    SENT = "sent"
    CANCELLED = "cancelled"
    DONATED = "donated"
    MISSED = "missed"
    SUPPRESSED = "suppressed"  # the mailbox bounced, complained, or said never
    SUPERSEDED = "superseded"  # by another of the same reader
    KEY_LOST = "key_lost"  # its key is gone


ACTIVE_STATES = (ReminderState.UNCONFIRMED, ReminderState.CHECKOUT_OPEN, ReminderState.SCHEDULED)


class Reminder(db.Base):
    """One sign-up. The `turn` is how many of its days are behind it, sent or not."""

    __tablename__ = "reminders"
    __table_args__ = (
        CheckConstraint("interval_months BETWEEN 1 AND 12", name="interval_is_1_to_12_months"),
        CheckConstraint(
            "first_send_on > signed_up_on AND first_send_on <= signed_up_on + interval '1 year'",
            name="first_send_is_within_a_year",
        ),
        CheckConstraint("slots BETWEEN 1 AND 2", name="slots_are_1_or_2"),
        CheckConstraint(
            "slot BETWEEN 0 AND slots AND sent_count <= slot", name="slot_is_within_slots"
        ),
        CheckConstraint("(state = 'scheduled') = (due_on IS NOT NULL)", name="due_if_scheduled"),
        CheckConstraint(
            "(state IN ('unconfirmed', 'checkout_open', 'scheduled')) = (address_ciphertext IS NOT NULL)",
            name="ciphertext_while_active",
        ),
        CheckConstraint(
            "num_nonnulls(frequency, amount, currency) IN (0, 3)", name="contribution_is_whole"
        ),
        CheckConstraint("amount > 0", name="amount_is_positive"),
        db.currency_check(),
        Index("ix_reminders_due", "due_on", "id", postgresql_where="state = 'scheduled'"),
        Index(
            "uq_reminders_unconfirmed",
            "address_hash",
            unique=True,
            postgresql_where="state = 'unconfirmed'",
        ),
        Index(
            "uq_reminders_scheduled",
            "address_hash",
            unique=True,
            postgresql_where="state = 'scheduled'",
        ),
    )

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    state: Mapped[ReminderState] = mapped_column(db.enum_column(ReminderState, "state_is_known"))
    address_hash: Mapped[bytes | None] = mapped_column(index=True)  # null once it is over
    address_ciphertext: Mapped[bytes | None]
    verified: Mapped[bool]
    deprioritised: Mapped[bool]  # its network asked for many: it waits behind the others
    attempts: Mapped[int]
    language: Mapped[str] = mapped_column(String(8))
    zone: Mapped[str] = mapped_column(String(64))
    frequency: Mapped[Frequency | None] = mapped_column(
        db.enum_column(Frequency, "frequency_is_known")
    )
    amount: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(String(3))
    signed_up_on: Mapped[date]  # the day it was there
    first_send_on: Mapped[date]
    interval_months: Mapped[
        int | None
    ]  # every so many; null for one day, and a week later if `turns` is 2
    slots: Mapped[int]
    slot: Mapped[int]
    sent_count: Mapped[int]
    due_on: Mapped[date | None]
    contribution_id: Mapped[db.Id | None] = mapped_column(
        ForeignKey("contributions.id"), unique=True
    )
    signed_up_at: Mapped[db.Timestamp] = mapped_column(index=True)
    confirmation_sent_at: Mapped[db.Timestamp | None]
    enqueued_at: Mapped[db.Timestamp | None]
    ended_at: Mapped[db.Timestamp | None]

    @property
    def associated_data(self) -> AssociatedData:
        return AssociatedData("reminders", "address_ciphertext", self.id)

    def send_date(self, slot: int) -> date:
        return reminder_schedule.send_date(
            self.signed_up_on, self.first_send_on, self.interval_months, slot
        )

    @property
    def intended_contribution(self) -> tuple[Frequency, Money] | None:
        """What the reader had in mind."""
        if self.frequency is None or self.amount is None or self.currency is None:
            return None
        return self.frequency, Money(self.amount, self.currency)


# --- asking ---------------------------------------------------------------------------------------


async def sign_up(
    session: AsyncSession,
    settings: Settings,
    schedule: ReminderSchedule,
    *,
    address: str,
    deprioritised: bool = False,
    now: datetime,
) -> None:
    """Note a wish whose mailbox is to be proved. The same work for every address.

    Of several for one address that nobody has proved, the last wish counts.
    """
    known = address_vault.address_hashes(settings, address)
    await lock_address(session, known[0])
    before = await session.scalar(
        select(Reminder.id).where(
            Reminder.address_hash.in_(known), Reminder.state == ReminderState.UNCONFIRMED
        )
    )
    row_id = before or new_row_id()
    values = row_values(settings, row_id, schedule, address, now=now) | {
        "deprioritised": deprioritised
    }
    again = {
        name: values[name] for name in ("address_ciphertext", "signed_up_on", *_SCHEDULE_COLUMNS)
    }
    await session.execute(
        insert(Reminder)
        .values(**values, state=ReminderState.UNCONFIRMED, address_hash=known[0])
        .on_conflict_do_update(index_elements=["id"], set_=again)
    )
    await reminder_stats.record_step(session, settings, ReminderStep.SIGNED_UP, now=now)
    await job_queue.enqueue_sync(session, *CONFIRMATIONS_JOB)


async def sign_up_verified(
    session: AsyncSession,
    settings: Settings,
    schedule: ReminderSchedule,
    *,
    address: str,
    now: datetime,
) -> None:
    """A wish of somebody who has just proved that the mailbox is theirs: it needs nothing more."""
    known = address_vault.address_hashes(settings, address)
    await lock_address(session, known[0])
    await _close_all(session, settings, known, ReminderState.SUPERSEDED, now=now)
    row_id = new_row_id()
    values = row_values(settings, row_id, schedule, address, now=now)
    values |= {"state": ReminderState.SCHEDULED, "verified": True, "due_on": schedule.first_send_on}
    await session.execute(insert(Reminder).values(**values, address_hash=known[0]))
    await reminder_stats.record_step(session, settings, ReminderStep.SIGNED_UP, now=now)
    await reminder_stats.record_step(session, settings, ReminderStep.CONFIRMED, now=now)


_SCHEDULE_COLUMNS = (
    "zone",
    "first_send_on",
    "interval_months",
    "slots",
    "frequency",
    "amount",
    "currency",
    "language",
)


def row_values(
    settings: Settings, row_id: str, schedule: ReminderSchedule, address: str, *, now: datetime
) -> dict[str, object]:
    return {
        "id": row_id,
        "address_ciphertext": address_vault.encrypt(
            settings, AssociatedData("reminders", "address_ciphertext", row_id), address
        ),
        "verified": False,
        "deprioritised": False,
        "attempts": 0,
        "slot": 0,
        "sent_count": 0,
        "signed_up_on": schedule.signed_up_on,
        "signed_up_at": now,
        "zone": schedule.zone,
        "first_send_on": schedule.first_send_on,
        "interval_months": schedule.interval_months,
        "slots": schedule.slots,
        "frequency": schedule.frequency,
        "amount": None if schedule.amount is None else schedule.amount.amount,
        "currency": None if schedule.amount is None else schedule.amount.currency,
        "language": schedule.language,
    }


async def lock_address(session: AsyncSession, address_hash: bytes) -> None:
    """One at a time for an address, until this transaction ends."""
    await db.advisory_lock(session, address_hash)


# --- what its reader decides ----------------------------------------------------------------------


async def get(session: AsyncSession, reminder_id: str) -> Reminder | None:
    return await session.get(Reminder, reminder_id)


async def get_confirmable(session: AsyncSession, reminder_id: str, *, now: datetime) -> Reminder:
    """A reminder whose proof is awaited, or was given. Raises LinkSpent for any other."""
    row = await get(session, reminder_id)
    waits = (
        row is not None
        and row.state is ReminderState.UNCONFIRMED
        and now - row.signed_up_at <= CONFIRMATION_LIFETIME
    )
    if row is None or not (waits or (row.verified and row.state is ReminderState.SCHEDULED)):
        raise LinkInvalid("It has expired, or is not complete. You can ask again.")
    return row


async def confirm(ctx: Context, reminder_id: str) -> Reminder:
    """Its reader has proved the mailbox. It takes the place of an earlier one. Raises LinkSpent."""
    async with ctx.sessions.begin() as session:
        row = await get_confirmable(session, reminder_id, now=ctx.now())
        if row.state is ReminderState.SCHEDULED or row.address_hash is None:
            return row
        known = [row.address_hash]
        await lock_address(session, row.address_hash)
        held = await session.get(
            Reminder, reminder_id, with_for_update=True, populate_existing=True
        )
        if held is None or held.state is not ReminderState.UNCONFIRMED:  # ended while we waited
            raise LinkInvalid("It has expired, or is not complete. You can ask again.")
        await _close_all(
            session, ctx.settings, known, ReminderState.SUPERSEDED, now=ctx.now(), except_id=row.id
        )
        row.state, row.verified, row.due_on = ReminderState.SCHEDULED, True, row.first_send_on
        await reminder_stats.record_step(
            session, ctx.settings, ReminderStep.CONFIRMED, now=ctx.now()
        )
    return row


async def cancel(
    session: AsyncSession, settings: Settings, reminder_id: str, *, now: datetime
) -> None:
    """Send nothing more, and destroy the address. One that is over stays as it is."""
    row = await session.get(Reminder, reminder_id, with_for_update=True)
    if row is not None and row.state in ACTIVE_STATES:
        close(settings, row, ReminderState.CANCELLED, now=now)


async def reactivate(
    session: AsyncSession,
    settings: Settings,
    reminder_id: str,
    *,
    address_hash: bytes,
    address: str,
    now: datetime,
) -> bool:
    """Take a cancellation back. `owner` is the hash that the code of a mail carries.

    Gives whether it is on again: the address must be the one it was for, the reminder cancelled,
    and a day of it still ahead.
    """
    known = address_vault.address_hashes(settings, address)
    await lock_address(session, known[0])
    row = await session.get(Reminder, reminder_id, with_for_update=True)
    if address_hash not in known or row is None or row.state is not ReminderState.CANCELLED:
        return False
    today = calendar.local_date(now, row.zone)
    while row.slot < row.slots:
        if (due := row.send_date(row.slot)) > today:
            break
        row.slot += 1
    else:
        return False
    await _close_all(session, settings, known, ReminderState.SUPERSEDED, now=now)
    row.address_ciphertext = address_vault.encrypt(settings, row.associated_data, address)
    row.address_hash, row.verified, row.ended_at = known[0], True, None
    row.state, row.due_on = ReminderState.SCHEDULED, due
    return True


async def unsubscribe_all(
    session: AsyncSession, settings: Settings, address_hash: bytes, *, now: datetime
) -> None:
    """Its owner wants no mail of this kind again, whatever anybody types."""
    await suppress_address(
        session, settings, [address_hash], SuppressionReason.UNSUBSCRIBED, now=now
    )


async def suppress_address(
    session: AsyncSession,
    settings: Settings,
    hashes: list[bytes],
    reason: SuppressionReason,
    *,
    now: datetime,
) -> None:
    """Suppress an address and end what waits for it."""
    await address_vault.suppress(session, hashes[0], reason, now=now)
    await _close_all(session, settings, hashes, ReminderState.SUPPRESSED, now=now)


async def cancel_for_donor(
    session: AsyncSession, settings: Settings, donor_id: str, *, now: datetime
) -> None:
    """A donor is erased, and with them what they asked for."""
    donor = await session.get(Donor, donor_id)
    if donor is not None:
        await _close_all(session, settings, [donor.address_hash], ReminderState.CANCELLED, now=now)


async def is_address_of_donor(session: AsyncSession, hashes: list[bytes], donor_id: str) -> bool:
    """Whether an address is a donor's own."""
    query = select(Donor.id).where(Donor.id == donor_id, Donor.address_hash.in_(hashes))
    return await session.scalar(query) is not None


async def list_for_donor(session: AsyncSession, donor_id: str) -> list[Reminder]:
    """What is held of a donor's reminders, the newest first."""
    query = select(Reminder).join(Donor, Donor.address_hash == Reminder.address_hash)
    query = query.where(Donor.id == donor_id).order_by(Reminder.signed_up_at.desc()).limit(10)
    return list(await session.scalars(query))


def close(settings: Settings, row: Reminder, state: ReminderState, *, now: datetime) -> None:
    """It is over: first the key is destroyed, then the row forgets whose it was."""
    address_vault.destroy_key(settings, row.id)
    row.state, row.address_ciphertext, row.address_hash = state, None, None
    row.due_on, row.contribution_id, row.ended_at = None, None, now


async def _close_all(
    session: AsyncSession,
    settings: Settings,
    hashes: list[bytes],
    state: ReminderState,
    *,
    now: datetime,
    except_id: str = "",
) -> None:
    query = select(Reminder).where(Reminder.address_hash.in_(hashes), Reminder.id != except_id)
    for row in await session.scalars(query.order_by(Reminder.id).with_for_update()):
        close(settings, row, state, now=now)
    await session.flush()  # before another takes its place
