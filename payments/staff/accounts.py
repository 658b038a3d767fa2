"""Accounts of colleagues: a name, a role, and one-time links to sign in by.

A colleague who was removed stays as a row, because the audit log names them. A link is 256 random
bits, stored as its SHA-256; a POST redeems it, so that a program which opens links does not use it
up.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy import ForeignKey, String, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import lookalike_names
from payments.core.errors import InvalidField, LinkInvalid, NotFound, PaymentsError
from payments.core.identifiers import is_row_id, new_row_id
from payments.infra import audit_log, db
from payments.infra.audit_log import AuditAction

INVITATION_LIFETIME = timedelta(hours=1)
LINK_LIFETIME = timedelta(minutes=10)
NAME_MAX_LENGTH = 80  # characters
MAX_ACCESS = timedelta(days=3660)  # an end of access that far ahead is a typing error
LINK_INVALID = "This link was used, has expired, or never was. Ask for a new one."


class PermissionDenied(PaymentsError):
    """The role of a colleague does not allow this."""

    status = 403
    code = "permission-denied"
    title = "This is not open to your role"


class Role(StrEnum):
    """What a colleague may do. A colleague has exactly one role."""

    FINANCE = "finance"  # reads money and no person
    SUPPORT = "support"  # acts for one donor at a time
    ADMIN = "admin"  # both, and administers colleagues
    AUDITOR = "auditor"  # reads what finance reads, and changes nothing


class Staff(db.Base):
    """A colleague. `name` is what colleagues call them and is unique, also after a removal.

    `access_ends_at` is when they are let in no more, as an auditor after the audit; None for never.
    """

    __tablename__ = "staff"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX_LENGTH), unique=True)
    role: Mapped[Role] = mapped_column(db.enum_column(Role, "role_is_known"))
    created_at: Mapped[db.Timestamp]
    removed_at: Mapped[db.Timestamp | None]
    access_ends_at: Mapped[db.Timestamp | None]

    def has_access(self, now: datetime) -> bool:
        """Whether they are let in: not removed, and their access has not ended."""
        has_ended = self.access_ends_at is not None and self.access_ends_at <= now
        return self.removed_at is None and not has_ended


class StaffLink(db.Base):
    """A one-time sign-in link. Redeeming it deletes the row."""

    __tablename__ = "staff_links"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Timestamp]


# --- colleagues -----------------------------------------------------------------------------------


def validate_name(name: str) -> str:
    """Return a name that is readable and nobody else's in the audit log. Raises InvalidField."""
    if not 1 <= len(name) <= NAME_MAX_LENGTH or not name.isprintable() or name != name.strip():
        raise InvalidField("A name has 1 to 80 printable characters.", field="name")
    if (problem := lookalike_names.problem(name)) is not None:
        raise InvalidField(problem, field="name")
    if lookalike_names.skeleton(name) in map(
        lookalike_names.skeleton, (audit_log.CLI_ACTOR, audit_log.ANONYMOUS_ACTOR)
    ):
        raise InvalidField("This name stands for somebody else in the audit.", field="name")
    return name


async def get(session: AsyncSession, staff_id: str) -> Staff:
    """Return a colleague who was not removed, by id. Raises NotFound."""
    colleague = await session.get(Staff, staff_id) if is_row_id(staff_id) else None
    if colleague is None or colleague.removed_at is not None:
        raise NotFound("There is no such colleague.")
    return colleague


async def get_by_name(session: AsyncSession, name: str) -> Staff:
    """Return a colleague who was not removed, by name. Raises NotFound."""
    colleague = await _find_by_name(session, name)
    if colleague is None or colleague.removed_at is not None:
        raise NotFound("There is no colleague of that name.")
    return colleague


async def _find_by_name(session: AsyncSession, name: str) -> Staff | None:
    colleague: Staff | None = await session.scalar(select(Staff).where(Staff.name == name))
    return colleague


async def _refuse_lookalike(session: AsyncSession, name: str) -> None:
    """Raise InvalidField for a new name that looks like one in the audit log."""
    for other in await session.scalars(select(Staff.name).order_by(Staff.name)):
        if lookalike_names.skeleton(other) == lookalike_names.skeleton(name):
            raise InvalidField(
                "This looks like the name of a colleague, who is in the audit log. Nobody was "
                "invited.",
                field="name",
            )


async def list_active(session: AsyncSession) -> Sequence[Staff]:
    """Return the colleagues who were not removed, by name."""
    query = select(Staff).where(Staff.removed_at.is_(None)).order_by(Staff.name)
    return list(await session.scalars(query))


def access_end(last_day: date, zone: ZoneInfo, *, now: datetime) -> datetime:
    """Return when an access ends whose last day is given: the midnight after it, in a zone.

    Raises InvalidField for a day that is over or too far ahead.
    """
    today = now.astimezone(zone).date()
    if not today <= last_day <= today + MAX_ACCESS:
        raise InvalidField(
            "The last day of access is today or later, and within ten years. Nothing was changed.",
            field="until",
        )
    return datetime.combine(last_day + timedelta(days=1), time(), zone)


def last_day(colleague: Staff, zone: ZoneInfo) -> date | None:
    """Return the last day of a colleague's access in a zone, None where it has no end."""
    end = colleague.access_ends_at
    return None if end is None else (end - timedelta(microseconds=1)).astimezone(zone).date()


# --- one-time links -------------------------------------------------------------------------------


async def invite(
    session: AsyncSession,
    name: str,
    *,
    role: Role,
    access_ends_at: datetime | None = None,
    now: datetime,
    by: Staff | None = None,
) -> str:
    """Return the token of an invitation link, valid for an hour. Creates the colleague if new.

    A colleague who was removed is back with the given role and end. `by` is None on the command
    line. Raises InvalidField for a bad name, one that looks like a colleague's, also a former
    one's, or the name of a colleague with another role, another end or whose access has ended.
    """
    colleague = await _find_by_name(session, validate_name(name))
    if colleague is None:
        await _refuse_lookalike(session, name)
        colleague = Staff(
            id=new_row_id(), name=name, role=role, created_at=now, access_ends_at=access_ends_at
        )
        session.add(colleague)
    elif colleague.removed_at is not None:
        colleague.role, colleague.removed_at = role, None
        colleague.access_ends_at = access_ends_at
    elif colleague.role is not role:
        raise InvalidField(
            f"{name} has the role {colleague.role}. Change the role first. Nobody was invited.",
            field="role",
        )
    elif access_ends_at not in (None, colleague.access_ends_at) or not colleague.has_access(now):
        raise InvalidField(
            f"{name} has another last day. Change that first. Nobody was invited.", field="until"
        )
    await session.flush()
    await record_action_on(
        session, AuditAction.COLLEAGUE_INVITED, colleague, by=by, reason=role.value, now=now
    )
    return _store_link(session, colleague, now + INVITATION_LIFETIME)


async def create_link(session: AsyncSession, name: str, *, now: datetime) -> str:
    """Return the token of a sign-in link for a colleague, valid for ten minutes.

    Only the command line creates one. Raises NotFound, and InvalidField where their access ended.
    """
    colleague = await get_by_name(session, name)
    if not colleague.has_access(now):
        raise InvalidField(f"The access of {name} has ended. Give it another end.", field="name")
    await record_action_on(session, AuditAction.STAFF_LINK_CREATED, colleague, by=None, now=now)
    return _store_link(session, colleague, now + LINK_LIFETIME)


def _store_link(session: AsyncSession, colleague: Staff, expires_at: datetime) -> str:
    token = secrets.token_urlsafe(32)
    session.add(
        StaffLink(token_sha256=token_sha256(token), staff_id=colleague.id, expires_at=expires_at)
    )
    return token


async def get_by_link(session: AsyncSession, token: str, *, now: datetime) -> Staff:
    """Return whom a link is for, without redeeming it. Raises LinkInvalid."""
    colleague = await session.scalar(
        select(Staff)
        .join(StaffLink, StaffLink.staff_id == Staff.id)
        .where(
            StaffLink.token_sha256 == token_sha256(token),
            StaffLink.expires_at > now,
        )
    )
    if colleague is None or not colleague.has_access(now):
        raise LinkInvalid(LINK_INVALID)
    return colleague


async def redeem_link(session: AsyncSession, token: str, *, now: datetime) -> Staff:
    """Use a link up and return whom it was for. Raises LinkInvalid."""
    staff_id = await session.scalar(
        delete(StaffLink)
        .where(StaffLink.token_sha256 == token_sha256(token), StaffLink.expires_at > now)
        .returning(StaffLink.staff_id)
    )
    colleague = None if staff_id is None else await session.get(Staff, staff_id)
    if colleague is None or not colleague.has_access(now):
        raise LinkInvalid(LINK_INVALID)
    return colleague


def token_sha256(token: str) -> bytes:
    """Return the form in which a token of a link or a session is stored."""
    return hashlib.sha256(token.encode()).digest()


# --- audit ----------------------------------------------------------------------------------------


async def record_action(
    session: AsyncSession,
    action: StrEnum,
    by: Staff,
    *,
    object_id: str = "",
    reason: str = "",
    now: datetime,
) -> None:
    """Append an action of a colleague to the audit log, in the transaction of the action."""
    await audit_log.record(
        session, action, staff_id=by.id, name=by.name, object_id=object_id, reason=reason, now=now
    )


async def record_action_on(
    session: AsyncSession,
    action: AuditAction,
    subject_colleague: Staff,
    *,
    by: Staff | None,
    reason: str = "",
    now: datetime,
) -> None:
    """Append an action on a colleague. `by` is None on the command line, or the colleague alone."""
    object_id = "" if by is subject_colleague else subject_colleague.name
    if by is None:
        await audit_log.record(session, action, object_id=object_id, reason=reason, now=now)
    else:
        await record_action(session, action, by, object_id=object_id, reason=reason, now=now)
