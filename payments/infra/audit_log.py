"""The audit log: which colleague did or saw what, about which id, why, and when.

An entry is appended in the transaction of its action, or before Stripe is asked for it, so that no
action is without its entry. What is asked of Stripe is called a request, and how it ended is an
entry of its own. Rows never change: a trigger refuses it, and the service's role may
only append and read. Of a donor it holds nothing but a row id, which leads to nobody once the donor
is erased. It holds no address and no IP address.
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
from payments.infra import db, service_role

CLI_ACTOR = "the command line"  # whoever has a shell has no name here
STRIPE_ACTOR = "Stripe"  # whose answer an outcome is
ANONYMOUS_ACTOR = "somebody"  # whoever is not signed in
MAX_REASON_LENGTH = 200  # characters
MAX_ANONYMOUS_PER_HOUR = 60  # entries: a flood of failed sign-ins does not fill the disk
CARD_NUMBER_PATTERN = re.compile(r"\d(?:[ -]?\d){11}")  # twelve digits: the shortest card number


class AuditAction(StrEnum):
    """What a colleague did. A room may record actions of its own enum."""

    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGNED_OUT = "signed_out"
    REAUTHENTICATED = "reauthenticated"  # again, before a sensitive action
    REAUTHENTICATION_FAILED = "reauthentication_failed"
    ACCESS_DENIED = "access_denied"  # to a page that is not of their role
    COLLEAGUE_INVITED = "colleague_invited"
    STAFF_LINK_CREATED = "staff_link_created"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    ACCOUNT_LINKED = "account_linked"
    ACCOUNT_UNLINKED = "account_unlinked"
    ROLE_CHANGED = "role_changed"
    ACCESS_END_CHANGED = "access_end_changed"
    COLLEAGUE_REMOVED = "colleague_removed"
    DATA_EXPORTED = "data_exported"
    API_TOKEN_CREATED = "api_token_created"  # noqa: S105 - an action
    API_TOKEN_USED = "api_token_used"  # noqa: S105 - for the first time on a day
    API_TOKEN_REVOKED = "api_token_revoked"  # noqa: S105 - an action
    EVENT_ENDPOINT_CREATED = "event_endpoint_created"
    EVENT_ENDPOINT_CHANGED = "event_endpoint_changed"  # and its secret, and turning it off or on
    EVENT_ENDPOINT_DELETED = "event_endpoint_deleted"
    EVENTS_REPLAYED = "events_replayed"  # and tests
    ALERT_CLOSED = "alert_closed"
    ALERT_RETRIED = "alert_retried"
    ACCOUNT_MAP_CHANGED = "account_map_changed"
    ACCOUNTING_ZONE_CHANGED = "accounting_zone_changed"
    PERIOD_CLOSED = "period_closed"
    PERIOD_REOPENED = "period_reopened"
    CORRECTION_BOOKED = "correction_booked"  # by one colleague, up to the limit
    CORRECTION_PROPOSED = "correction_proposed"
    CORRECTION_APPROVED = "correction_approved"
    CORRECTION_REFUSED = "correction_refused"
    CORRECTION_WITHDRAWN = "correction_withdrawn"
    REFUND_REQUESTED = "refund_requested"  # by one colleague, up to the limit
    REFUND_SUCCEEDED = "refund_succeeded"  # at Stripe, after a colleague asked for it
    REFUND_REJECTED = "refund_rejected"  # Stripe would not; nothing was refunded
    REFUND_FAILED = "refund_failed"  # it did not arrive; the money is back
    REFUND_PROPOSED = "refund_proposed"
    REFUND_APPROVED = "refund_approved"
    REFUND_REFUSED = "refund_refused"
    REFUND_WITHDRAWN = "refund_withdrawn"
    REFUND_EXPIRED = "refund_expired"
    EVIDENCE_STAGED = "evidence_staged"  # of a dispute, at Stripe
    EVIDENCE_SENT = "evidence_sent"  # to the donor's bank
    DISPUTE_ACCEPTED = "dispute_accepted"  # given up
    DISPUTE_ANSWER_FAILED = "dispute_answer_failed"  # refused, or Stripe did not say
    REPORT_MAIL_ASKED = "report_mail_asked"  # monthly, to an address of their own
    REPORT_MAIL_ENDED = "report_mail_ended"
    REPORT_MAILED = "report_mailed"
    REPORT_MAIL_STOPPED = "report_mail_stopped"  # there is no such mailbox
    DONOR_SEARCHED = "donor_searched"
    DONOR_VIEWED = "donor_viewed"
    CANCELLATION_REQUESTED = "cancellation_requested"
    PAUSE_REQUESTED = "pause_requested"
    SKIP_REQUESTED = "skip_requested"
    RESUME_REQUESTED = "resume_requested"
    REQUEST_FAILED = "request_failed"  # the one that the reason names, asked for just before
    DONOR_LINK_SENT = "donor_link_sent"
    ERASURE_REQUESTED = "erasure_requested"
    ERASURE_FAILED = "erasure_failed"
    CAMPAIGN_CREATED = "campaign_created"
    CAMPAIGN_CHANGED = "campaign_changed"
    STRIPE_ACCOUNT_BOUND = "stripe_account_bound"
    ADOPTION_DROPPED = "adoption_dropped"


class AuditEntry(db.Base):
    """One action. `name` is the colleague's name at that time."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        CheckConstraint("action ~ '^[a-z_]+$'", name="action_is_a_word"),
        Index("ix_audit_entries_name", "name", "seq"),
        Index("ix_audit_entries_action", "action", "seq"),
        Index("ix_audit_entries_recorded_at", "recorded_at"),
    )

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    recorded_at: Mapped[db.Timestamp]
    staff_id: Mapped[db.Id | None]  # null: the command line, or somebody who is not signed in
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
    """Append an entry. `action` is an AuditAction or a value of a room's own enum.

    `object_id` is cut to 255 characters; `reason` must have passed `validate_reason`.
    """
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
    """Append what somebody tried who is not signed in, up to MAX_ANONYMOUS_PER_HOUR."""
    query = select(func.count()).where(
        AuditEntry.name == ANONYMOUS_ACTOR, AuditEntry.recorded_at > now - timedelta(hours=1)
    )
    if (await session.scalar(query) or 0) < MAX_ANONYMOUS_PER_HOUR:
        await record(session, action, name=ANONYMOUS_ACTOR, object_id=object_id, now=now)


def validate_reason(value: str) -> str:
    """Return a reason as it is stored, with single blanks.

    Raises InvalidField for none, for a long one, and for one that holds an e-mail address or a card
    number: what is written here can never be deleted.
    """
    reason = " ".join(value.split())
    if not reason:
        raise InvalidField("Say why, in a few words. Nothing was done.", field="reason")
    if len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        raise InvalidField(
            "A reason has at most 200 characters on one line. Nothing was done.", field="reason"
        )
    if "@" in unicodedata.normalize("NFKC", reason) or CARD_NUMBER_PATTERN.search(reason):
        raise InvalidField(
            "A reason is stored for good, so it may hold no address and no card number. "
            "Nothing was done.",
            field="reason",
        )
    return reason


async def list_entries(
    session: AsyncSession,
    *,
    name: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before_seq: int | None = None,
    limit: int = 100,
) -> Sequence[AuditEntry]:
    """Return entries, newest first, recorded from `since` up to and not including `until`.

    `before_seq` is the last one of the page before.
    """
    query = select(AuditEntry).order_by(AuditEntry.seq.desc()).limit(limit)
    if name is not None:
        query = query.where(AuditEntry.name == name)
    if action is not None:
        query = query.where(AuditEntry.action == action)
    if since is not None:
        query = query.where(AuditEntry.recorded_at >= since)
    if until is not None:
        query = query.where(AuditEntry.recorded_at < until)
    if before_seq is not None:
        query = query.where(AuditEntry.seq < before_seq)
    return list(await session.scalars(query))


async def count_actions(
    session: AsyncSession, actions: Sequence[AuditAction], *, staff_id: str, since: datetime
) -> int:
    """Return how often a colleague did any of these actions since a time."""
    query = select(func.count()).where(
        AuditEntry.staff_id == staff_id,
        AuditEntry.action.in_(actions),
        AuditEntry.recorded_at > since,
    )
    return await session.scalar(query) or 0


# A condition: the trigger is active, and the service's role may only read and append.
IS_APPEND_ONLY_SQL = f"""
    NOT has_table_privilege('{service_role.APP_ROLE}', 'audit_entries', 'UPDATE, DELETE, TRUNCATE')
    AND EXISTS (SELECT FROM pg_trigger
                 WHERE tgname = 'append_only'
                   AND tgrelid = 'audit_entries'::regclass
                   AND tgenabled IN ('O', 'A'))
"""


async def is_append_only(session: AsyncSession) -> bool:
    """Whether the trigger is active, and the service's role may only read and append."""
    return bool(await session.scalar(text(f"SELECT {IS_APPEND_ONLY_SQL}")))
