"""The audit: which colleague did or saw what, about which id, why, and when. Rows never change.

Appended to in the same transaction as the deed, or before Stripe is asked for it, so no deed is
there without its entry. A trigger refuses every change, and the service's role was given none.
Nothing here is about a donor but an id of ours, which leads to nobody once the donor is erased;
nowhere is an address or an IP.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, String, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import InvalidField
from payments.infra import db

OPERATOR = "the command line"  # who has a shell needs no name here
SOMEBODY = "somebody"  # who was not let in
REASON_MOST = 200
STRANGERS_MOST = 60  # failures of strangers that are kept of one hour: no flood fills the disk


class Deed(StrEnum):
    SIGNED_IN = "signed_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    SIGNED_OUT = "signed_out"
    CONFIRMED = "confirmed"  # who they are, once more
    CONFIRM_REFUSED = "confirm_refused"
    TURNED_AWAY = "turned_away"  # their role does not open it
    INVITED = "invited"
    LINK_MADE = "link_made"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    ACCOUNT_TIED = "account_tied"
    ACCOUNT_UNTIED = "account_untied"
    ROLE_CHANGED = "role_changed"
    REMOVED = "removed"
    EXPORTED = "exported"
    ALARM_CLOSED = "alarm_closed"
    PERIOD_CLOSED = "period_closed"
    PERIOD_REOPENED = "period_reopened"
    REFUND_ASKED = "refund_asked"
    DONOR_SOUGHT = "donor_sought"
    DONOR_VIEWED = "donor_viewed"
    STOP_ASKED = "stop_asked"
    PAUSE_ASKED = "pause_asked"
    SKIP_ASKED = "skip_asked"
    RESUME_ASKED = "resume_asked"
    LINK_SENT = "link_sent"
    ERASURE_ASKED = "erasure_asked"
    CAMPAIGN_MADE = "campaign_made"
    CAMPAIGN_CHANGED = "campaign_changed"


class AuditEntry(db.Base):
    """One deed. `name` is what the colleague was called then."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        CheckConstraint("deed ~ '^[a-z_]+$'", name="deed_is_a_word"),
        Index("ix_audit_entries_name", "name", "seq"),
        Index("ix_audit_entries_deed", "deed", "seq"),
        Index("ix_audit_entries_at", "at"),
    )

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[db.Moment]
    staff_id: Mapped[db.OurId | None]  # null: the command line, or somebody
    name: Mapped[str] = mapped_column(String(80))
    deed: Mapped[str] = mapped_column(String(40))
    about: Mapped[str] = mapped_column(String(255))
    reason: Mapped[str] = mapped_column(String(REASON_MOST))


async def note(
    session: AsyncSession,
    deed: StrEnum,
    *,
    staff_id: str | None = None,
    name: str = OPERATOR,
    about: str = "",
    reason: str = "",
    now: datetime,
) -> None:
    """Append one deed. A noun of its own may bring words of its own."""
    session.add(
        AuditEntry(
            at=now, staff_id=staff_id, name=name, deed=deed, about=about[:255], reason=reason
        )
    )
    await session.flush()


async def note_stranger(session: AsyncSession, deed: Deed, *, about: str, now: datetime) -> None:
    """Append what somebody tried who is no colleague, unless it happens all the time."""
    query = select(func.count()).where(
        AuditEntry.name == SOMEBODY, AuditEntry.at > now - timedelta(hours=1)
    )
    if (await session.scalar(query) or 0) < STRANGERS_MOST:
        await note(session, deed, name=SOMEBODY, about=about, now=now)


def reason(typed: str) -> str:
    """A reason as it is kept. Raises InvalidField for none, a long one, or one that names a donor.

    What is written here can never be taken back.
    """
    words = " ".join(typed.split())
    if not words:
        raise InvalidField("Say why, in a few words. Nothing was done.", field="reason")
    if len(words) > REASON_MOST or not words.isprintable():
        raise InvalidField(
            "A reason has at most 200 characters on one line. Nothing was done.", field="reason"
        )
    if "@" in unicodedata.normalize("NFKC", words) or re.search(r"\d(?:[ -]?\d){11}", words):
        raise InvalidField(
            "A reason is kept for good, so it may hold no address and no card number. "
            "Nothing was done.",
            field="reason",
        )
    return words


async def read(
    session: AsyncSession,
    *,
    name: str | None = None,
    deed: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> Sequence[AuditEntry]:
    """Entries, the newest first; `before` is the last of the page that was read."""
    query = select(AuditEntry).order_by(AuditEntry.seq.desc()).limit(limit)
    if name is not None:
        query = query.where(AuditEntry.name == name)
    if deed is not None:
        query = query.where(AuditEntry.deed == deed)
    if before is not None:
        query = query.where(AuditEntry.seq < before)
    return list(await session.scalars(query))


async def how_often(
    session: AsyncSession, deeds: Sequence[Deed], *, staff_id: str, since: datetime
) -> int:
    """How often a colleague did any of these since then."""
    query = select(func.count()).where(
        AuditEntry.staff_id == staff_id, AuditEntry.deed.in_(deeds), AuditEntry.at > since
    )
    return await session.scalar(query) or 0


async def is_append_only(session: AsyncSession) -> bool:
    """Whether the trigger stands, and the service's role may only read and append."""
    found = await session.scalar(
        text(
            "SELECT NOT has_table_privilege(:role, 'audit_entries', 'UPDATE, DELETE, TRUNCATE')"
            "   AND EXISTS (SELECT FROM pg_trigger WHERE tgname = 'append_only'"
            "        AND tgrelid = 'audit_entries'::regclass AND tgenabled IN ('O', 'A'))"
        ),
        {"role": db.APP_ROLE},
    )
    return bool(found)
