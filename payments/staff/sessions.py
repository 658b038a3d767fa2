"""Sessions of colleagues: who is signed in, and how recently they proved who they are.

A session ends after eight hours, after a quarter of an hour without a request, and at once when its
colleague is removed, gets another role, loses a device, or their access ends. Signing in counts as
a proof of who they are; what moves money, takes data away or lets people in asks for one of the
last five minutes. A session token is 256 random bits, stored as its SHA-256. Each proof gives a new
one: a token that was seen before is worth nothing after it.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import PaymentsError, Unauthenticated
from payments.infra import db
from payments.infra.audit_log import AuditAction
from payments.staff import accounts
from payments.staff.accounts import Staff, StaffLink, token_sha256

SESSION_LIFETIME = timedelta(hours=8)
SESSION_IDLE_TIMEOUT = timedelta(minutes=15)
STEP_UP_LIFETIME = timedelta(minutes=5)


class StepUpRequired(PaymentsError):
    """A colleague has to prove once more who they are."""

    status = 403
    code = "step-up-required"
    title = "Please confirm that it is you"


class StaffSession(db.Base):
    """A colleague who is signed in. `authenticated_at` is when they last proved who they are."""

    __tablename__ = "staff_sessions"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Timestamp]
    last_seen_at: Mapped[db.Timestamp]
    authenticated_at: Mapped[db.Timestamp]


class UsedChallenge(db.Base):
    """A challenge to a passkey or to the identity provider that was answered: never again."""

    __tablename__ = "used_challenges"

    challenge_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at: Mapped[db.Timestamp]


@dataclass(frozen=True, slots=True)
class AuthenticatedStaff:
    """Who is signed in. `session_id` names their session and does not open it."""

    colleague: Staff
    authenticated_at: datetime
    session_id: str

    def is_recently_authenticated(self, now: datetime) -> bool:
        """Whether the last proof of who they are is recent enough for a step-up."""
        return now - self.authenticated_at < STEP_UP_LIFETIME


@dataclass(frozen=True, slots=True)
class OpenSession:
    """One browser in which a colleague is signed in."""

    started_at: datetime
    last_seen_at: datetime
    is_current: bool  # the one that asks


async def start(
    session: AsyncSession,
    colleague: Staff,
    *,
    method: str,
    replaces: str | None,
    authenticated_at: datetime | None = None,
    now: datetime,
) -> str:
    """Start a session and return its token. `method` is how they signed in, for the audit log.

    `replaces` is the token that the same browser holds, whose session ends. `authenticated_at` is
    when they proved who they are, now unless given.
    """
    replaced = StaffSession.token_sha256 == token_sha256(replaces or "")
    await session.execute(delete(StaffSession).where(replaced))
    token = secrets.token_urlsafe(32)
    session.add(
        StaffSession(
            token_sha256=token_sha256(token),
            staff_id=colleague.id,
            expires_at=now + SESSION_LIFETIME,
            last_seen_at=now,
            authenticated_at=authenticated_at or now,
        )
    )
    await accounts.record_action_on(
        session, AuditAction.SIGNED_IN, colleague, by=colleague, reason=method, now=now
    )
    return token


async def current(session: AsyncSession, token: str | None, *, now: datetime) -> AuthenticatedStaff:
    """Return whose session a token is, and count this as a request. Raises Unauthenticated."""
    return await _touch(session, token_sha256(token or ""), now=now)


async def resume(session: AsyncSession, session_id: str, *, now: datetime) -> AuthenticatedStaff:
    """Return the session of an `AuthenticatedStaff.session_id`. Raises Unauthenticated."""
    return await _touch(session, bytes.fromhex(session_id), now=now)


async def _touch(
    session: AsyncSession, stored_token: bytes, *, now: datetime
) -> AuthenticatedStaff:
    row = await session.scalar(
        update(StaffSession)
        .where(
            StaffSession.token_sha256 == stored_token,
            StaffSession.expires_at > now,
            StaffSession.last_seen_at > now - SESSION_IDLE_TIMEOUT,
        )
        .values(last_seen_at=now)
        .returning(StaffSession)
    )
    colleague = None if row is None else await session.get(Staff, row.staff_id)
    if row is None or colleague is None or not colleague.has_access(now):
        raise Unauthenticated("This page is for staff. Sign in to go on.")
    return AuthenticatedStaff(colleague, row.authenticated_at, row.token_sha256.hex())


async def record_step_up(
    session: AsyncSession,
    staff_session: AuthenticatedStaff,
    *,
    authenticated_at: datetime | None = None,
    now: datetime,
) -> str:
    """Record that a colleague proved once more who they are, now unless given.

    Returns the new token of their session. Raises Unauthenticated if it has ended meanwhile.
    """
    token = secrets.token_urlsafe(32)
    renewed = await session.scalar(
        update(StaffSession)
        .where(StaffSession.token_sha256 == bytes.fromhex(staff_session.session_id))
        .values(token_sha256=token_sha256(token), authenticated_at=authenticated_at or now)
        .returning(StaffSession.staff_id)
    )
    if renewed is None:
        raise Unauthenticated("This page is for staff. Sign in to go on.")
    colleague = staff_session.colleague
    await accounts.record_action_on(
        session, AuditAction.REAUTHENTICATED, colleague, by=colleague, now=now
    )
    return token


async def list_open(
    session: AsyncSession, staff_session: AuthenticatedStaff, *, now: datetime
) -> list[OpenSession]:
    """Return every session of a colleague that is open, the newest first."""
    query = select(StaffSession).where(
        StaffSession.staff_id == staff_session.colleague.id,
        StaffSession.expires_at > now,
        StaffSession.last_seen_at > now - SESSION_IDLE_TIMEOUT,
    )
    return [
        OpenSession(
            started_at=row.expires_at - SESSION_LIFETIME,
            last_seen_at=row.last_seen_at,
            is_current=row.token_sha256.hex() == staff_session.session_id,
        )
        for row in await session.scalars(query.order_by(StaffSession.expires_at.desc()))
    ]


async def end_others(
    session: AsyncSession, staff_session: AuthenticatedStaff, *, now: datetime
) -> None:
    """End every session of a colleague but this one."""
    colleague = staff_session.colleague
    await session.execute(
        delete(StaffSession).where(
            StaffSession.staff_id == colleague.id,
            StaffSession.token_sha256 != bytes.fromhex(staff_session.session_id),
        )
    )
    await accounts.record_action_on(
        session,
        AuditAction.SIGNED_OUT,
        colleague,
        by=colleague,
        reason="in every other browser",
        now=now,
    )


async def sign_out(session: AsyncSession, token: str, *, now: datetime) -> None:
    """End a session, if the token is one's."""
    staff_id = await session.scalar(
        delete(StaffSession)
        .where(StaffSession.token_sha256 == token_sha256(token))
        .returning(StaffSession.staff_id)
    )
    if staff_id is not None:
        colleague = await session.get_one(Staff, staff_id)
        await accounts.record_action_on(
            session, AuditAction.SIGNED_OUT, colleague, by=colleague, now=now
        )


async def revoke_access(session: AsyncSession, colleague: Staff) -> None:
    """Delete every session of a colleague, and every link that would start one."""
    await session.execute(delete(StaffSession).where(StaffSession.staff_id == colleague.id))
    await session.execute(delete(StaffLink).where(StaffLink.staff_id == colleague.id))


async def revoke_all(session: AsyncSession) -> int:
    """Delete every session, and every link that would start one. Returns how many sessions."""
    ended = await session.execute(delete(StaffSession).returning(StaffSession.staff_id))
    await session.execute(delete(StaffLink))
    return len(ended.all())


async def consume_challenge(
    session: AsyncSession, challenge: bytes, *, expires_at: datetime
) -> bool:
    """Use a challenge up. Returns False for one that was answered before.

    `expires_at` is when it is too old to be answered anyway, so that its row may go.
    """
    digest = await session.scalar(
        insert(UsedChallenge)
        .values(challenge_sha256=hashlib.sha256(challenge).digest(), expires_at=expires_at)
        .on_conflict_do_nothing()
        .returning(UsedChallenge.challenge_sha256)
    )
    return digest is not None


async def purge_expired(session: AsyncSession, now: datetime) -> None:
    """Delete links and sessions that have expired, and challenges too old to be answered."""
    await session.execute(delete(UsedChallenge).where(UsedChallenge.expires_at <= now))
    await session.execute(delete(StaffLink).where(StaffLink.expires_at <= now))
    has_expired = StaffSession.expires_at <= now
    is_idle = StaffSession.last_seen_at <= now - SESSION_IDLE_TIMEOUT
    await session.execute(delete(StaffSession).where(has_expired | is_idle))
