"""Confirmation mails: the one mail that an address nobody has confirmed may get.

It goes to an address once in 90 days, and to no more addresses an hour in all than the setting
`confirmation_mails_per_hour` says: past that an alert is raised and the others wait, those of a
network that signed up many behind everybody else. Reminders and newsletter sign-ups share both
limits. A mail is sent at most once: its row is marked after the mail server has accepted the
recipient and before it is given the text.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Literal, Protocol, TypeVar

import structlog
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import calendar, i18n
from payments.core.settings import Settings
from payments.infra import alerts, db
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail import delivery, render, smtp
from payments.mail.delivery import Claim
from payments.mail.smtp import Envelope, SendResult
from payments.signups import address_vault, signup, suppression
from payments.signups.signup import CONFIRMATION_LIFETIME, Signup
from payments.signups.suppression import SuppressionReason

log = structlog.get_logger("payments.signups.confirmation")
CONFIRMATION_INTERVAL = timedelta(days=90)  # to one address
BATCH_SIZE = 10  # after so many, who came meanwhile and may go before others is looked for
DEPRIORITISED_DIVISOR = 2  # of the hourly limit: a crowd leaves the rest of the hour to others
ALERT_OBJECT_ID = "confirmations"  # there is one alert for all kinds
Row = TypeVar("Row", bound=Signup)


class ConfirmationMail(db.Base):
    """That an address nobody had confirmed was written to, by its keyed hash."""

    __tablename__ = "confirmation_mails"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    sent_at: Mapped[db.Timestamp] = mapped_column(index=True)


class SuppressAddress(Protocol):
    """Suppresses an address and ends the sign-ups of a kind that wait for it."""

    async def __call__(
        self,
        session: AsyncSession,
        settings: Settings,
        hashes: Sequence[bytes],
        reason: SuppressionReason,
        *,
        now: datetime,
    ) -> None:
        """Suppress the address with these hashes, in the caller's transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignupKind(Generic[Row]):
    """What differs between the kinds of sign-ups that are confirmed by mail."""

    table: type[Row]
    is_unconfirmed: ColumnElement[bool]
    template: Literal["reminder_confirm", "newsletter_confirm"]
    key_settings: Callable[[Settings], Settings]  # with the key directory of the table
    address_hashes: Callable[[Settings, str], Awaitable[list[bytes]]]
    # under which it may be suppressed as well
    other_hashes: Callable[[Settings, str], Awaitable[list[bytes]]] | None
    suppress_address: SuppressAddress
    confirm_link: Callable[[Context, str], str]  # of a row's id
    unsubscribe_link: Callable[[Context, bytes], str]  # of an address hash
    zone: Callable[[Context, Row], str]  # in which the mail names the day the link expires


# --- limits ---------------------------------------------------------------------------------------


async def may_send(session: AsyncSession, hashes: Sequence[bytes], *, now: datetime) -> bool:
    """Whether an unconfirmed address was not written to for long enough."""
    count = await session.scalar(
        select(func.count())
        .select_from(ConfirmationMail)
        .where(
            ConfirmationMail.address_hash.in_(hashes),
            ConfirmationMail.sent_at > now - CONFIRMATION_INTERVAL,
        )
    )
    return not count


async def reserve(session: AsyncSession, hashes: Sequence[bytes], *, now: datetime) -> bool:
    """Reserve the one mail that an unconfirmed address may get. Returns whether there was one."""
    if not await may_send(session, hashes, now=now):
        return False
    reserved_id = await session.scalar(
        insert(ConfirmationMail)
        .values(address_hash=hashes[0], sent_at=now)
        .on_conflict_do_update(
            index_elements=["address_hash"],
            set_={"sent_at": now},
            where=ConfirmationMail.sent_at <= now - CONFIRMATION_INTERVAL,
        )
        .returning(ConfirmationMail.address_hash)
    )
    return reserved_id is not None


async def release(session: AsyncSession, hashes: Sequence[bytes]) -> None:
    """Give back a reserved mail that the mail server refused."""
    await session.execute(delete(ConfirmationMail).where(ConfirmationMail.address_hash.in_(hashes)))


async def is_delayed(
    session: AsyncSession, settings: Settings, now: datetime, *, divisor: int = 1
) -> bool:
    """Whether the hourly limit, divided by `divisor`, is reached: further mails wait."""
    sent_last_hour = await session.scalar(
        select(func.count())
        .select_from(ConfirmationMail)
        .where(ConfirmationMail.sent_at > now - timedelta(hours=1))
    )
    return (sent_last_hour or 0) >= settings.confirmation_mails_per_hour // divisor


async def alert_if_delayed(ctx: Context, *, divisor: int = 1) -> bool:
    """Return whether the hourly limit is reached, and raise an alert if it is."""
    async with ctx.sessions.begin() as session:
        if not await is_delayed(session, ctx.settings, ctx.now(), divisor=divisor):
            return False
        await alerts.raise_alert(
            session, AlertKind.CONFIRMATION_LIMIT_REACHED, object_id=ALERT_OBJECT_ID, now=ctx.now()
        )
    return True


async def purge_expired(session: AsyncSession, settings: Settings, *, now: datetime) -> None:
    """Delete what no longer limits anything, and close the alert once mails are sent again."""
    await session.execute(
        delete(ConfirmationMail).where(ConfirmationMail.sent_at <= now - CONFIRMATION_INTERVAL)
    )
    if not await is_delayed(session, settings, now):
        await alerts.close(
            session, AlertKind.CONFIRMATION_LIMIT_REACHED, object_id=ALERT_OBJECT_ID, now=now
        )


# --- sending --------------------------------------------------------------------------------------


async def send_confirmations(ctx: Context, kind: SignupKind[Row]) -> int:
    """Send the confirmations of a kind that wait, as far as the limits allow. Returns how many."""
    if not smtp.is_configured(ctx.settings):
        return 0
    sent = 0
    while batch := await _next_unconfirmed(ctx, kind):
        sent_before = sent
        for row_id, deprioritised in batch:
            divisor = DEPRIORITISED_DIVISOR if deprioritised else 1
            if await alert_if_delayed(ctx, divisor=divisor):
                return sent
            sent += await _try_send(ctx, kind, row_id)
        if sent == sent_before:  # nothing but rows that fail, or may not be written to
            break
    return sent


async def _next_unconfirmed(ctx: Context, kind: SignupKind[Row]) -> list[tuple[str, bool]]:
    """Return ids, and whether each is deprioritised: those come last, and failed ones before."""
    table = kind.table
    query = (
        select(table.id, table.deprioritised)
        .where(kind.is_unconfirmed, table.confirmation_sent_at.is_(None))
        .order_by(table.deprioritised, table.attempts, table.signed_up_at, table.id)
        .limit(BATCH_SIZE)
    )
    async with ctx.sessions() as session:
        return [(row_id, deprioritised) for row_id, deprioritised in await session.execute(query)]


async def _try_send(ctx: Context, kind: SignupKind[Row], row_id: str) -> bool:
    """Send one confirmation. Returns whether it was sent; an error does not stop the others."""
    try:
        return await _send(ctx, kind, row_id)
    except Exception:  # whatever is wrong with one row, the next is somebody else's
        log.warning("confirmation_failed", exc_info=True)
    table = kind.table
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(table).where(table.id == row_id).values(attempts=table.attempts + 1)
        )
    return False


async def _send(ctx: Context, kind: SignupKind[Row], row_id: str) -> bool:
    key_settings = kind.key_settings(ctx.settings)
    async with ctx.sessions.begin() as session:
        row = await _lock_unconfirmed(session, kind, row_id)
        if row is None:
            return False
        try:
            address = address_vault.decrypt(
                key_settings, row.associated_data, row.address_ciphertext
            )
        except address_vault.KeyUnreadable:
            await signup.note_key_store(session, is_readable=False, now=ctx.now())
            return False
        if address is None:
            await _remove(session, key_settings, row)
            return False
    hashes = await kind.address_hashes(ctx.settings, address)  # slow: nothing is locked meanwhile
    others = await kind.other_hashes(ctx.settings, address) if kind.other_hashes else []
    async with ctx.sessions.begin() as session:
        row = await _lock_unconfirmed(session, kind, row_id)
        if row is None:
            return False
        if not await _may_write_to(ctx, session, hashes, others):
            await _remove(session, key_settings, row)
            return False
    mail = render.render(
        kind.template, row.language, _template_context(ctx, kind, row, address_hash=hashes[0])
    )
    envelope = Envelope(f"{row_id}.0", address, row.language, written_at=ctx.now())

    async def mark_sent() -> bool:
        return await _mark_sent(ctx, kind, row_id, hashes)

    async def unmark() -> None:
        await _unmark(ctx, kind, row_id, hashes)

    result = await delivery.send_at_most_once(ctx, mail, envelope, Claim(mark_sent, unmark))
    if result is SendResult.NO_SUCH_MAILBOX:
        async with ctx.sessions.begin() as session:
            await kind.suppress_address(
                session, ctx.settings, hashes, SuppressionReason.BOUNCED, now=ctx.now()
            )
    return result is SendResult.ACCEPTED


async def _remove(session: AsyncSession, key_settings: Settings, row: Row) -> None:
    """Delete a sign-up with its key: it cannot be confirmed, so nothing of it is stored."""
    address_vault.destroy_key(key_settings, row.id)
    await session.delete(row)


async def _lock_unconfirmed(
    session: AsyncSession, kind: SignupKind[Row], row_id: str
) -> Row | None:
    """Return a row, with its address locked; None if it was confirmed or is over by now."""
    row_before = await session.get(kind.table, row_id)
    if row_before is None or row_before.address_hash is None:
        return None
    await db.advisory_lock(session, row_before.address_hash)
    row: Row | None = await session.scalar(
        select(kind.table)
        .where(kind.table.id == row_id, kind.is_unconfirmed)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return row


async def _may_write_to(
    ctx: Context, session: AsyncSession, hashes: Sequence[bytes], others: Sequence[bytes]
) -> bool:
    """Whether an address, by its hashes, is not suppressed, and was not written to lately."""
    now = ctx.now()
    if await suppression.is_suppressed(session, [*hashes, *others], now=now):
        return False
    return await may_send(session, hashes, now=now)


async def _mark_sent(
    ctx: Context, kind: SignupKind[Row], row_id: str, hashes: Sequence[bytes]
) -> bool:
    """Mark a row and its address as written to. Returns whether nobody else did."""
    table = kind.table
    async with ctx.sessions.begin() as session:
        marked = await session.scalar(
            update(table)
            .where(table.id == row_id, kind.is_unconfirmed, table.confirmation_sent_at.is_(None))
            .values(confirmation_sent_at=ctx.now())
            .returning(table.id)
        )
        return marked is not None and await reserve(session, hashes, now=ctx.now())


async def _unmark(
    ctx: Context, kind: SignupKind[Row], row_id: str, hashes: Sequence[bytes]
) -> None:
    """Undo the mark of a mail that the server refused: it is sent another time."""
    table = kind.table
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(table)
            .where(table.id == row_id, kind.is_unconfirmed)
            .values(confirmation_sent_at=None)
        )
        await release(session, hashes)


def _template_context(
    ctx: Context, kind: SignupKind[Row], row: Row, *, address_hash: bytes
) -> dict[str, object]:
    expires_on = calendar.local_date(row.signed_up_at + CONFIRMATION_LIFETIME, kind.zone(ctx, row))
    return {
        "until": i18n.format_day(expires_on, row.language),
        "confirm_link": kind.confirm_link(ctx, row.id),
        "unsubscribe_link": kind.unsubscribe_link(ctx, address_hash),
    }
