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

CLI_ACTOR = "the command line"  # who has a shell needs no name here
ANONYMOUS_ACTOR = "somebody"  # who was not let in
MAX_REASON_LENGTH = 200
MAX_ANONYMOUS_PER_HOUR = (
    60  # failures of strangers that are kept of one hour: no flood fills the disk
)


class AuditAction(StrEnum):
    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGNED_OUT = "signed_out"
    REAUTHENTICATED = "reauthenticated"  # who they are, once more
    REAUTHENTICATION_FAILED = "reauthentication_failed"
    ACCESS_DENIED = "access_denied"  # their role does not open it
    COLLEAGUE_INVITED = "colleague_invited"
    STAFF_LINK_CREATED = "staff_link_created"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    ACCOUNT_LINKED = "account_linked"
    ACCOUNT_UNLINKED = "account_unlinked"
    ROLE_CHANGED = "role_changed"
    COLLEAGUE_REMOVED = "colleague_removed"
    DATA_EXPORTED = "data_exported"
    ALERT_CLOSED = "alert_closed"
    PERIOD_CLOSED = "period_closed"
    PERIOD_REOPENED = "period_reopened"
    REFUND_REQUESTED = "refund_requested"
    DONOR_SEARCHED = "donor_searched"
    DONOR_VIEWED = "donor_viewed"
    CANCELLATION_REQUESTED = "cancellation_requested"
    PAUSE_REQUESTED = "pause_requested"
    SKIP_REQUESTED = "skip_requested"
    RESUME_REQUESTED = "resume_requested"
    DONOR_LINK_SENT = "donor_link_sent"
    ERASURE_REQUESTED = "erasure_requested"
    CAMPAIGN_CREATED = "campaign_created"
    CAMPAIGN_CHANGED = "campaign_changed"


class AuditEntry(db.Base):
    """One deed. `name` is what the colleague was called then."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        CheckConstraint("action ~ '^[a-z_]+$'", name="action_is_a_word"),
        Index("ix_audit_entries_name", "name", "seq"),
        Index("ix_audit_entries_action", "action", "seq"),
        Index("ix_audit_entries_recorded_at", "recorded_at"),
    )

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    recorded_at: Mapped[db.Timestamp]
    staff_id: Mapped[db.Id | None]  # null: the command line, or somebody
    name: Mapped[str] = mapped_column(String(80))
    action: Mapped[str] = mapped_column(String(40))
    object_id: Mapped[str] = mapped_column(String(255))
    reason: Mapped[str] = mapped_column(String(MAX_REASON_LENGTH))


async def record(
    session: AsyncSession,
    action: StrEnum,
    *,
    staff_id: str | None = None,
    name: str = CLI_ACTOR,
    object_id: str = "",
    reason: str = "",
    now: datetime,
) -> None:
    """Append one deed. A noun of its own may bring words of its own."""
    session.add(
        AuditEntry(
            recorded_at=now,
            staff_id=staff_id,
            name=name,
            action=action,
            object_id=object_id[:255],
            reason=reason,
        )
    )
    await session.flush()


async def record_anonymous(
    session: AsyncSession, action: AuditAction, *, object_id: str, now: datetime
) -> None:
    """Append what somebody tried who is no colleague, unless it happens all the time."""
    query = select(func.count()).where(
        AuditEntry.name == ANONYMOUS_ACTOR, AuditEntry.recorded_at > now - timedelta(hours=1)
    )
    if (await session.scalar(query) or 0) < MAX_ANONYMOUS_PER_HOUR:
        await record(session, action, name=ANONYMOUS_ACTOR, object_id=object_id, now=now)


def validate_reason(value: str) -> str:
    """A reason as it is kept. Raises InvalidField for none, a long one, or one that names a donor.

    What is written here can never be taken back.
    """
    words = " ".join(value.split())
    if not words:
        raise InvalidField("Say why, in a few words. Nothing was done.", field="reason")
    if len(words) > MAX_REASON_LENGTH or not words.isprintable():
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


async def list_entries(
    session: AsyncSession,
    *,
    name: str | None = None,
    action: str | None = None,
    before_seq: int | None = None,
    limit: int = 100,
) -> Sequence[AuditEntry]:
    """Entries, the newest first; `before` is the last of the page that was read."""
    query = select(AuditEntry).order_by(AuditEntry.seq.desc()).limit(limit)
    if name is not None:
        query = query.where(AuditEntry.name == name)
    if action is not None:
        query = query.where(AuditEntry.action == action)
    if before_seq is not None:
        query = query.where(AuditEntry.seq < before_seq)
    return list(await session.scalars(query))


async def count_actions(
    session: AsyncSession, actions: Sequence[AuditAction], *, staff_id: str, since: datetime
) -> int:
    """How often a colleague did any of these since then."""
    query = select(func.count()).where(
        AuditEntry.staff_id == staff_id,
        AuditEntry.action.in_(actions),
        AuditEntry.recorded_at > since,
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
