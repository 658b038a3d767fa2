"""Staff: who may see the books, who may act for a donor, and for how long. No password anywhere.

A colleague comes in by a passkey (`passkeys`), by a one-time link from the command line, or, where
the operator set one, by the newsroom's own sign-in service (`oidc`). Tokens are 256 random bits,
kept only as their SHA-256; a link is spent by a POST, so that a program that opens it to look does
not use it up. A session ends after eight hours, after a quarter of an hour without a request, and
at once when its colleague is removed or given another role. Coming in counts as a fresh proof of
who they are; what moves money or takes data away asks for one every five minutes. Each deed here is
in the audit.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, String, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import InvalidField, LinkInvalid, NotFound, PaymentsError, Unauthenticated
from payments.core.identifiers import is_row_id, new_row_id
from payments.infra import audit_log, db
from payments.infra.audit_log import AuditAction

INVITATION_LIFETIME = timedelta(hours=1)
LINK_LIFETIME = timedelta(minutes=10)
SESSION_LIFETIME = timedelta(hours=8)
SESSION_IDLE_TIMEOUT = timedelta(minutes=15)
STEP_UP_LIFETIME = timedelta(minutes=5)
NAME_MAX_LENGTH = 80


class PermissionDenied(PaymentsError):
    """A colleague whose role does not open this."""

    status = 403
    code = "permission-denied"
    title = "This is not open to your role"


class StepUpRequired(PaymentsError):
    """A colleague has to prove once more who they are."""

    status = 403
    code = "step-up-required"
    title = "Please confirm that it is you"


class Role(StrEnum):
    FINANCE = "finance"  # reads money and no person
    SUPPORT = "support"  # acts for one donor at a time
    ADMIN = "admin"  # both, and says who else


class Staff(db.Base):
    """A colleague. `name` is what colleagues call them. Who has left stays for the audit."""

    __tablename__ = "staff"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX_LENGTH), unique=True)
    role: Mapped[Role] = mapped_column(db.enum_column(Role, "role_is_known"))
    created_at: Mapped[db.Timestamp]
    removed_at: Mapped[db.Timestamp | None]


class StaffLink(db.Base):
    """A way in, once."""

    __tablename__ = "staff_links"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Timestamp]


class StaffSession(db.Base):
    """A colleague who is signed in. `proved_at` is when they last proved who they are."""

    __tablename__ = "staff_sessions"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Timestamp]
    last_seen_at: Mapped[db.Timestamp]
    authenticated_at: Mapped[db.Timestamp]


class UsedChallenge(db.Base):
    """A question of ours, to a passkey or an account elsewhere, that was answered: not again."""

    __tablename__ = "used_challenges"

    challenge_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at: Mapped[db.Timestamp]


@dataclass(frozen=True, slots=True)
class AuthenticatedStaff:
    """Who asks, and how fresh the proof of it is. `session` names their session and opens none."""

    colleague: Staff
    authenticated_at: datetime
    session_id: str

    def is_recently_authenticated(self, now: datetime) -> bool:
        return now - self.authenticated_at < STEP_UP_LIFETIME


# --- inviting -------------------------------------------------------------------------------------


async def invite(
    session: AsyncSession, name: str, *, role: Role, now: datetime, by: Staff | None = None
) -> str:
    """A one-time link's token for a colleague, who is made if new. Good for an hour.

    Raises InvalidField for a name that is none, or is that of a colleague with another role.
    """
    person = await _find_by_name(session, validate_name(name))
    if person is None:
        person = Staff(id=new_row_id(), name=name, role=role, created_at=now)
        session.add(person)
    elif person.removed_at is not None:
        person.role, person.removed_at = role, None
    elif person.role is not role:
        raise InvalidField(
            f"{name} has the role {person.role}. Change the role first. Nobody was invited.",
            field="role",
        )
    await session.flush()
    await _record_action_on(
        session, AuditAction.COLLEAGUE_INVITED, person, by=by, reason=role.value, now=now
    )
    return _store_link(session, person, now + INVITATION_LIFETIME)


async def create_link(session: AsyncSession, name: str, *, now: datetime) -> str:
    """A one-time link's token for a colleague who is here. Good for ten minutes."""
    person = await get_by_name(session, name)
    await _record_action_on(session, AuditAction.STAFF_LINK_CREATED, person, by=None, now=now)
    return _store_link(session, person, now + LINK_LIFETIME)


def _store_link(session: AsyncSession, colleague: Staff, expires_at: datetime) -> str:
    token = secrets.token_urlsafe(32)
    session.add(
        StaffLink(token_sha256=_token_sha256(token), staff_id=colleague.id, expires_at=expires_at)
    )
    return token


def validate_name(name: str) -> str:
    """A name that can be told from others on a screen. Raises InvalidField."""
    if not 1 <= len(name) <= NAME_MAX_LENGTH or not name.isprintable() or name != name.strip():
        raise InvalidField("A name has 1 to 80 printable characters.", field="name")
    if name in (audit_log.CLI_ACTOR, audit_log.ANONYMOUS_ACTOR):
        raise InvalidField("This name stands for somebody else in the audit.", field="name")
    return name


async def get_by_name(session: AsyncSession, name: str) -> Staff:
    """A colleague who is here. Raises NotFound."""
    person = await _find_by_name(session, name)
    if person is None or person.removed_at is not None:
        raise NotFound("There is no colleague of that name.")
    return person


async def get(session: AsyncSession, staff_id: str) -> Staff:
    """A colleague who is here, by id. Raises NotFound."""
    person = await session.get(Staff, staff_id) if is_row_id(staff_id) else None
    if person is None or person.removed_at is not None:
        raise NotFound("There is no such colleague.")
    return person


async def list_active(session: AsyncSession, *, limit: int = 500) -> Sequence[Staff]:
    """All who are here, by name."""
    query = select(Staff).where(Staff.removed_at.is_(None)).order_by(Staff.name).limit(limit)
    return list(await session.scalars(query))


# --- changing and leaving for good ----------------------------------------------------------------


async def change_role(
    session: AsyncSession, colleague: Staff, role: Role, *, now: datetime, by: Staff | None = None
) -> None:
    """Give a colleague another role, which they take up by signing in anew."""
    if colleague.role is role:
        return
    words = f"{colleague.role} to {role}"
    colleague.role = role
    await revoke_access(session, colleague)
    await _record_action_on(
        session, AuditAction.ROLE_CHANGED, colleague, by=by, reason=words, now=now
    )


async def remove(
    session: AsyncSession, colleague: Staff, *, now: datetime, by: Staff | None = None
) -> None:
    """Let nobody in under this name any more. Their deeds stay in the audit."""
    colleague.removed_at = now
    await revoke_access(session, colleague)
    await _record_action_on(session, AuditAction.COLLEAGUE_REMOVED, colleague, by=by, now=now)


async def revoke_access(session: AsyncSession, colleague: Staff) -> None:
    """End every session of a colleague, and every link that would begin one."""
    await session.execute(delete(StaffSession).where(StaffSession.staff_id == colleague.id))
    await session.execute(delete(StaffLink).where(StaffLink.staff_id == colleague.id))


# --- coming in ------------------------------------------------------------------------------------


async def get_by_link(session: AsyncSession, token: str, *, now: datetime) -> Staff:
    """Whom a link is for, without spending it. Raises LinkSpent."""
    person = await session.scalar(
        select(Staff)
        .join(StaffLink, StaffLink.staff_id == Staff.id)
        .where(
            StaffLink.token_sha256 == _token_sha256(token),
            StaffLink.expires_at > now,
            Staff.removed_at.is_(None),
        )
    )
    if person is None:
        raise LinkInvalid("This link was used, has expired, or never was. Ask for a new one.")
    return person


async def redeem_link(session: AsyncSession, token: str, *, now: datetime) -> Staff:
    """Use a link up. Gives whom it was for. Raises LinkSpent."""
    staff_id = await session.scalar(
        delete(StaffLink)
        .where(StaffLink.token_sha256 == _token_sha256(token), StaffLink.expires_at > now)
        .returning(StaffLink.staff_id)
    )
    person = None if staff_id is None else await session.get(Staff, staff_id)
    if person is None or person.removed_at is not None:
        raise LinkInvalid("This link was used, has expired, or never was. Ask for a new one.")
    return person


async def consume_challenge(
    session: AsyncSession, challenge: bytes, *, expires_at: datetime
) -> bool:
    """Use a question of ours up. Gives whether it was answered for the first time."""
    spent = await session.scalar(
        insert(UsedChallenge)
        .values(challenge_sha256=hashlib.sha256(challenge).digest(), expires_at=expires_at)
        .on_conflict_do_nothing()
        .returning(UsedChallenge.challenge_sha256)
    )
    return spent is not None


async def start_session(
    session: AsyncSession,
    colleague: Staff,
    *,
    method: str,
    authenticated_at: datetime | None = None,
    now: datetime,
) -> str:
    """Begin a session for somebody who proved who they are, now or then. Gives its token."""
    token = secrets.token_urlsafe(32)
    session.add(
        StaffSession(
            token_sha256=_token_sha256(token),
            staff_id=colleague.id,
            expires_at=now + SESSION_LIFETIME,
            last_seen_at=now,
            authenticated_at=authenticated_at or now,
        )
    )
    await _record_action_on(
        session, AuditAction.SIGNED_IN, colleague, by=colleague, reason=method, now=now
    )
    return token


async def enter(session: AsyncSession, token: str, *, now: datetime) -> str:
    """Spend a link. Gives the token of a new session. Raises LinkSpent."""
    person = await redeem_link(session, token, now=now)
    return await start_session(session, person, method="by a one-time link", now=now)


async def current(session: AsyncSession, token: str | None, *, now: datetime) -> AuthenticatedStaff:
    """Who holds this session, which goes on for it. Raises NotSignedIn."""
    return await _touch_session(session, _token_sha256(token or ""), now=now)


async def resume_session(
    session: AsyncSession, session_id: str, *, now: datetime
) -> AuthenticatedStaff:
    """The same for `SignedIn.session`, of which we said before whose it is. Raises NotSignedIn."""
    return await _touch_session(session, bytes.fromhex(session_id), now=now)


async def _touch_session(
    session: AsyncSession, token_sha256: bytes, *, now: datetime
) -> AuthenticatedStaff:
    row = await session.scalar(
        update(StaffSession)
        .where(
            StaffSession.token_sha256 == token_sha256,
            StaffSession.expires_at > now,
            StaffSession.last_seen_at > now - SESSION_IDLE_TIMEOUT,
        )
        .values(last_seen_at=now)
        .returning(StaffSession)
    )
    person = None if row is None else await session.get(Staff, row.staff_id)
    if row is None or person is None or person.removed_at is not None:
        raise Unauthenticated("This page is for staff. Sign in to go on.")
    return AuthenticatedStaff(person, row.authenticated_at, row.token_sha256.hex())


async def record_step_up(
    session: AsyncSession,
    staff_session: AuthenticatedStaff,
    *,
    authenticated_at: datetime | None = None,
    now: datetime,
) -> None:
    """Note that who asks proved it once more, now or a moment ago."""
    await session.execute(
        update(StaffSession)
        .where(StaffSession.token_sha256 == bytes.fromhex(staff_session.session_id))
        .values(authenticated_at=authenticated_at or now)
    )
    await _record_action_on(
        session,
        AuditAction.REAUTHENTICATED,
        staff_session.colleague,
        by=staff_session.colleague,
        now=now,
    )


async def sign_out(session: AsyncSession, token: str, *, now: datetime) -> None:
    """End a session."""
    staff_id = await session.scalar(
        delete(StaffSession)
        .where(StaffSession.token_sha256 == _token_sha256(token))
        .returning(StaffSession.staff_id)
    )
    if staff_id is not None:
        person = await session.get_one(Staff, staff_id)
        await _record_action_on(session, AuditAction.SIGNED_OUT, person, by=person, now=now)


async def purge_expired(session: AsyncSession, now: datetime) -> None:
    """Remove links and sessions that open nothing any more, and questions too old to answer."""
    await session.execute(delete(UsedChallenge).where(UsedChallenge.expires_at <= now))
    await session.execute(delete(StaffLink).where(StaffLink.expires_at <= now))
    ended = (StaffSession.expires_at <= now) | (
        StaffSession.last_seen_at <= now - SESSION_IDLE_TIMEOUT
    )
    await session.execute(delete(StaffSession).where(ended))


async def record_action(
    session: AsyncSession,
    action: StrEnum,
    by: Staff,
    *,
    object_id: str = "",
    reason: str = "",
    now: datetime,
) -> None:
    """Append a deed of a colleague to the audit, in the transaction of the deed."""
    await audit_log.record(
        session, action, staff_id=by.id, name=by.name, object_id=object_id, reason=reason, now=now
    )


async def _record_action_on(
    session: AsyncSession,
    action: AuditAction,
    subject_colleague: Staff,
    *,
    by: Staff | None,
    reason: str = "",
    now: datetime,
) -> None:
    """The same about a colleague; without a name it was done on the command line."""
    what = "" if by is subject_colleague else subject_colleague.name
    if by is None:
        await audit_log.record(session, action, object_id=what, reason=reason, now=now)
    else:
        await record_action(session, action, by, object_id=what, reason=reason, now=now)


async def _find_by_name(session: AsyncSession, name: str) -> Staff | None:
    found: Staff | None = await session.scalar(select(Staff).where(Staff.name == name))
    return found


def _token_sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
