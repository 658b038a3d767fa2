"""What every sign-up has: an address, encrypted under a key of its own, that is to be confirmed.

Reminders and newsletter sign-ups are tables of their own with these columns. A sign-up that is over
holds nothing by which anybody could be known: its key is destroyed, its ciphertext and hash are
null.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import LinkInvalid
from payments.core.settings import Settings
from payments.infra import alerts, db, retries
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.signups import address_vault
from payments.signups.address_vault import AssociatedData

log = structlog.get_logger("payments.signups.signup")
CONFIRMATION_LIFETIME = timedelta(hours=48)  # from the sign-up: of the row, and of its link
UNSUBSCRIBE_LINK_LIFETIME = timedelta(days=400)
KEY_STORE = "key_store"  # what the alert is about
KEY_BATCH_SIZE = 1000


class Signup(db.Base):
    """One sign-up. Its table is its subclass's."""

    __abstract__ = True

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes | None] = mapped_column(index=True)
    address_ciphertext: Mapped[bytes | None]
    language: Mapped[str] = mapped_column(String(8))
    deprioritised: Mapped[bool]  # its network signed up many: it waits behind the others
    attempts: Mapped[int]  # that failed
    signed_up_at: Mapped[db.Timestamp] = mapped_column(index=True)
    confirmation_sent_at: Mapped[db.Timestamp | None]
    ended_at: Mapped[db.Timestamp | None]

    @property
    def associated_data(self) -> AssociatedData:
        """What its ciphertext is bound to."""
        return associated_data(type(self), self.id)


def associated_data(table: type[Signup], row_id: str) -> AssociatedData:
    """Return what the ciphertext of a row is bound to."""
    return AssociatedData(table.__tablename__, "address_ciphertext", row_id)


def confirmation_link_invalid() -> LinkInvalid:
    """Return the error of a confirmation link whose sign-up can no longer be confirmed."""
    return LinkInvalid("It has expired or is incomplete. You can ask again.")


async def destroy_keys(
    session: AsyncSession,
    key_settings: Settings,
    row_ids: Iterable[str],
    *,
    schedule: str,
    now: datetime,
) -> set[str]:
    """Destroy the keys of rows. Returns the rows whose keys are destroyed.

    One whose key the key store does not give up has an alert; it must stay until `schedule` has
    destroyed its key.
    """
    destroyed, refused = set[str](), set[str]()
    for row_id in row_ids:
        try:
            address_vault.destroy_key(key_settings, row_id)
        except OSError:
            log.warning("key_not_destroyed", exc_info=True)
            refused.add(row_id)
        else:
            destroyed.add(row_id)
    kind = AlertKind.OBJECT_FAILED
    await alerts.close_all(session, kind, object_ids=sorted(destroyed), now=now)
    for row_id in sorted(refused):
        await alerts.raise_alert(
            session, kind, object_id=row_id, job=retries.schedule_job(schedule), now=now
        )
    return destroyed


async def note_key_store(session: AsyncSession, *, is_readable: bool, now: datetime) -> None:
    """Open the alert that an address cannot be read here, or close it."""
    change = alerts.close if is_readable else alerts.raise_alert
    await change(session, AlertKind.ADDRESS_KEYS_UNREADABLE, object_id=KEY_STORE, now=now)


async def destroy_orphaned_keys(
    ctx: Context, table: type[Signup], key_settings: Settings, *, file_time: float, schedule: str
) -> None:
    """Destroy keys that a crash left without a row that needs them.

    `key_settings` name the key directory of the table; `file_time` is now, by the clock of its file
    system; `schedule` is what does it once more.
    """
    address_vault.forget_destroyed(key_settings, now=file_time)
    old_keys = address_vault.old_keys(key_settings, now=file_time)
    for start in range(0, len(old_keys), KEY_BATCH_SIZE):
        batch = old_keys[start : start + KEY_BATCH_SIZE]
        query = select(table.id).where(table.id.in_(batch), table.address_ciphertext.is_not(None))
        async with ctx.sessions() as session:
            needed = set(await session.scalars(query))
        async with ctx.sessions.begin() as session:
            await destroy_keys(
                session, key_settings, set(batch) - needed, schedule=schedule, now=ctx.now()
            )
