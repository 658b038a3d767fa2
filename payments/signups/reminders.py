"""Reminders: a reader is not ready to give today and asks to be written to, at most twice.

A reminder is a row with a day and a time zone. It is signed up for; confirmed, by a button behind a
link that only the mailbox has, or because its owner is signed in; sent; and closed. Its address is
encrypted under a key of its own, which is destroyed with the last mail, when the reminder is
cancelled, or when it is not confirmed in time. An address has at most one reminder that will be
sent.

Signing up does the same work and gives the same answer for every address; the worker decides later
what may be sent to whom (`reminder_sender`). Signing up never reactivates a cancelled reminder:
only the code of a mail does, with the address the mail went to.
"""

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import calendar
from payments.core.frequency import Frequency
from payments.core.identifiers import new_row_id
from payments.core.money import Money
from payments.core.settings import Settings
from payments.donors import donors
from payments.donors.donors import Donor
from payments.infra import db, job_queue
from payments.infra.context import Context
from payments.signups import address_vault, reminder_schedule, reminder_stats, signup, suppression
from payments.signups.reminder_schedule import ReminderSchedule
from payments.signups.reminder_stats import ReminderStep
from payments.signups.signup import CONFIRMATION_LIFETIME, Signup
from payments.signups.suppression import SuppressionReason

# One job sends them all, after every mail to somebody who is known.
CONFIRMATIONS_JOB = f"{job_queue.AFTER_OTHERS_PREFIX}reminder_confirmations"
ALL_CONFIRMATIONS = "all"
REMINDER_JOB = "reminder"  # the object type of one reminder's job


class ReminderState(StrEnum):
    """How far a reminder has come."""

    UNCONFIRMED = "unconfirmed"
    CHECKOUT_OPEN = "checkout_open"  # scheduled if its donor does not finish at Stripe
    SCHEDULED = "scheduled"  # it will be sent
    SENT = "sent"
    CANCELLED = "cancelled"
    DONATED = "donated"
    MISSED = "missed"
    SUPPRESSED = "suppressed"
    SUPERSEDED = "superseded"  # by another of the same address
    KEY_LOST = "key_lost"


ACTIVE_STATES = (ReminderState.UNCONFIRMED, ReminderState.CHECKOUT_OPEN, ReminderState.SCHEDULED)


class Reminder(Signup):
    """One reminder. `slot` is how many of its `slots` days are over, sent or not."""

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
            "(state IN ('unconfirmed', 'checkout_open', 'scheduled'))"
            " = (address_ciphertext IS NOT NULL)",
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

    state: Mapped[ReminderState] = mapped_column(db.enum_column(ReminderState, "state_is_known"))
    verified: Mapped[bool]  # somebody has shown that the mailbox is theirs
    zone: Mapped[str] = mapped_column(String(64))
    frequency: Mapped[Frequency | None] = mapped_column(
        db.enum_column(Frequency, "frequency_is_known")
    )
    amount: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(String(3))
    signed_up_on: Mapped[date]  # in its time zone
    first_send_on: Mapped[date]
    interval_months: Mapped[int | None]  # null for one day, and a second a week later if 2 slots
    slots: Mapped[int]
    slot: Mapped[int]
    sent_count: Mapped[int]
    due_on: Mapped[date | None]
    contribution_id: Mapped[db.Id | None] = mapped_column(
        ForeignKey("contributions.id"), unique=True
    )
    enqueued_at: Mapped[db.Timestamp | None]

    def send_date(self, slot: int) -> date:
        """Return the day of a slot."""
        return reminder_schedule.send_date(
            self.signed_up_on, self.first_send_on, self.interval_months, slot
        )

    @property
    def intended_contribution(self) -> tuple[Frequency, Money] | None:
        """The frequency and amount the reader had in mind, if any."""
        if self.frequency is None or self.amount is None or self.currency is None:
            return None
        return self.frequency, Money(self.amount, self.currency)


# --- signing up -----------------------------------------------------------------------------------


async def sign_up(
    session: AsyncSession,
    settings: Settings,
    schedule: ReminderSchedule,
    *,
    address: str,
    hashes: Sequence[bytes],
    deprioritised: bool = False,
    now: datetime,
) -> None:
    """Store a reminder whose address, with these hashes, is to be confirmed. The same work for
    every address.

    Of several of one address that nobody has confirmed, the last is stored. Raises InvalidField,
    KeyStoreMissing.
    """
    await db.advisory_lock(session, hashes[0])
    unconfirmed_id = await session.scalar(
        select(Reminder.id).where(
            Reminder.address_hash.in_(hashes), Reminder.state == ReminderState.UNCONFIRMED
        )
    )
    row_id = unconfirmed_id or new_row_id()
    values = row_values(settings, row_id, schedule, address, now=now)
    updated = ("address_ciphertext", "signed_up_on", *_SCHEDULE_COLUMNS)
    await session.execute(
        insert(Reminder)
        .values(
            **values | {"deprioritised": deprioritised},
            state=ReminderState.UNCONFIRMED,
            address_hash=hashes[0],
        )
        .on_conflict_do_update(index_elements=["id"], set_={name: values[name] for name in updated})
    )
    await reminder_stats.record_step(session, settings, ReminderStep.SIGNED_UP, now=now)
    await job_queue.enqueue_sync(session, CONFIRMATIONS_JOB, ALL_CONFIRMATIONS)


async def sign_up_verified(
    session: AsyncSession,
    settings: Settings,
    schedule: ReminderSchedule,
    *,
    address: str,
    hashes: Sequence[bytes],
    now: datetime,
) -> str:
    """Schedule a reminder of somebody who has just shown that the mailbox is theirs.

    It supersedes every other of the address, which has these hashes. Returns its id. Raises
    InvalidField, KeyStoreMissing.
    """
    await db.advisory_lock(session, hashes[0])
    await _close_all(session, settings, hashes, ReminderState.SUPERSEDED, now=now)
    row_id = new_row_id()
    values = row_values(settings, row_id, schedule, address, now=now)
    values |= {"state": ReminderState.SCHEDULED, "verified": True, "due_on": schedule.first_send_on}
    await session.execute(insert(Reminder).values(**values, address_hash=hashes[0]))
    await reminder_stats.record_step(session, settings, ReminderStep.SIGNED_UP, now=now)
    await reminder_stats.record_step(session, settings, ReminderStep.CONFIRMED, now=now)
    return row_id


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
    """Return the columns of a new row, and encrypt its address. Raises KeyStoreMissing."""
    return {
        "id": row_id,
        "address_ciphertext": address_vault.encrypt(
            settings, signup.associated_data(Reminder, row_id), address
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


# --- what its owner decides -----------------------------------------------------------------------


async def get(session: AsyncSession, reminder_id: str) -> Reminder | None:
    """Return a reminder, in whatever state."""
    return await session.get(Reminder, reminder_id)


async def get_confirmable(session: AsyncSession, reminder_id: str, *, now: datetime) -> Reminder:
    """Return a reminder that can be confirmed, or that was. Raises LinkInvalid for any other."""
    row = await get(session, reminder_id)
    is_waiting = (
        row is not None
        and row.state is ReminderState.UNCONFIRMED
        and now - row.signed_up_at <= CONFIRMATION_LIFETIME
    )
    if row is None or not (is_waiting or (row.verified and row.state is ReminderState.SCHEDULED)):
        raise signup.confirmation_link_invalid()
    return row


async def confirm(ctx: Context, reminder_id: str) -> Reminder:
    """Schedule a reminder whose owner has opened its link. Twice is once.

    It supersedes every other of the address. Raises LinkInvalid.
    """
    async with ctx.sessions.begin() as session:
        row = await get_confirmable(session, reminder_id, now=ctx.now())
        if row.state is ReminderState.SCHEDULED or row.address_hash is None:
            return row
        hashes = [row.address_hash]
        await db.advisory_lock(session, row.address_hash)
        locked = await session.get(
            Reminder, reminder_id, with_for_update=True, populate_existing=True
        )
        if locked is None or locked.state is not ReminderState.UNCONFIRMED:  # it ended meanwhile
            raise signup.confirmation_link_invalid()
        await _close_all(
            session, ctx.settings, hashes, ReminderState.SUPERSEDED, now=ctx.now(), except_id=row.id
        )
        row.state, row.verified, row.due_on = ReminderState.SCHEDULED, True, row.first_send_on
        await donors.prove_mailbox(session, hashes)
        await reminder_stats.record_step(
            session, ctx.settings, ReminderStep.CONFIRMED, now=ctx.now()
        )
    return row


async def cancel(
    session: AsyncSession, settings: Settings, reminder_id: str, *, now: datetime
) -> None:
    """Cancel a reminder and destroy its address. One that is over stays as it is."""
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
    hashes: Sequence[bytes],
    now: datetime,
) -> bool:
    """Schedule a cancelled reminder again. `address_hash` is the one in the code of its mail.

    Returns whether it was: the address, with these hashes, must be the one the mail went to, the
    reminder cancelled, and one of its days still to come. Raises InvalidField.
    """
    await db.advisory_lock(session, hashes[0])
    row = await session.get(Reminder, reminder_id, with_for_update=True)
    if address_hash not in hashes or row is None or row.state is not ReminderState.CANCELLED:
        return False
    today = calendar.local_date(now, row.zone)
    while row.slot < row.slots:
        if (due_on := row.send_date(row.slot)) > today:
            break
        row.slot += 1
    else:
        return False
    await _close_all(session, settings, hashes, ReminderState.SUPERSEDED, now=now)
    row.address_ciphertext = address_vault.encrypt(settings, row.associated_data, address)
    row.address_hash, row.verified, row.ended_at = hashes[0], True, None
    row.state, row.due_on = ReminderState.SCHEDULED, due_on
    return True


async def suppress_address(
    session: AsyncSession,
    settings: Settings,
    hashes: Sequence[bytes],
    reason: SuppressionReason,
    *,
    now: datetime,
) -> None:
    """Suppress an address, and close every reminder of it."""
    await suppression.suppress(session, hashes[0], reason, now=now)
    await _close_all(session, settings, hashes, ReminderState.SUPPRESSED, now=now)


# --- donors ---------------------------------------------------------------------------------------


async def cancel_for_donor(
    session: AsyncSession, settings: Settings, donor_id: str, *, now: datetime
) -> None:
    """Cancel every reminder of a donor's address, before they are erased."""
    donor = await session.get(Donor, donor_id)
    if donor is not None and donor.address_hash is not None:
        await _close_all(session, settings, [donor.address_hash], ReminderState.CANCELLED, now=now)


async def is_address_of_donor(
    session: AsyncSession, hashes: Sequence[bytes], donor_id: str
) -> bool:
    """Whether an address is a donor's own."""
    query = select(Donor.id).where(Donor.id == donor_id, Donor.address_hash.in_(hashes))
    return await session.scalar(query) is not None


async def list_for_donor(session: AsyncSession, donor_id: str) -> list[Reminder]:
    """Return all active reminders of a donor's address, the newest first."""
    query = select(Reminder).join(Donor, Donor.address_hash == Reminder.address_hash)
    query = query.where(Donor.id == donor_id).order_by(Reminder.signed_up_at.desc())
    return list(await session.scalars(query))


# --- closing --------------------------------------------------------------------------------------


def close(settings: Settings, row: Reminder, state: ReminderState, *, now: datetime) -> None:
    """End a reminder: destroy its key first, then remove all that could lead to its owner."""
    address_vault.destroy_key(settings, row.id)
    row.state, row.address_ciphertext, row.address_hash = state, None, None
    row.due_on, row.contribution_id, row.ended_at = None, None, now


async def _close_all(
    session: AsyncSession,
    settings: Settings,
    hashes: Sequence[bytes],
    state: ReminderState,
    *,
    now: datetime,
    except_id: str = "",
) -> None:
    query = select(Reminder).where(Reminder.address_hash.in_(hashes), Reminder.id != except_id)
    for row in await session.scalars(query.order_by(Reminder.id).with_for_update()):
        close(settings, row, state, now=now)
    await session.flush()  # a unique index allows one scheduled reminder of an address
