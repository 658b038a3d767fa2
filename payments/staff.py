"""Staff: who may see the books. A one-time link from the command line, then a short session; no
password.

Tokens are 256 random bits, kept only as their SHA-256. A link is spent by a POST, so that a mail
scanner that opens it does not use it up.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, String, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments import db
from payments.errors import LinkSpent, NotSignedIn

LINK_LASTS = timedelta(hours=1)
SESSION_LASTS = timedelta(hours=8)


class Role(StrEnum):
    FINANCE = "finance"
    ADMIN = "admin"


class Staff(db.Base):
    """A colleague. `name` is what colleagues call them."""

    __tablename__ = "staff"

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    role: Mapped[Role] = mapped_column(db.words(Role, "role_is_known"))
    created_at: Mapped[db.Moment]


class StaffLink(db.Base):
    """A way in, once."""

    __tablename__ = "staff_links"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.OurId] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Moment]


class StaffSession(db.Base):
    """A colleague who is signed in."""

    __tablename__ = "staff_sessions"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.OurId] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Moment]


async def invite(session: AsyncSession, name: str, *, role: Role, now: datetime) -> str:
    """A one-time link's token for a colleague, who is made if new. Good for an hour."""
    person = await session.scalar(select(Staff).where(Staff.name == name))
    if person is None:
        person = Staff(id=secrets.token_hex(16), name=name, role=role, created_at=now)
        session.add(person)
        await session.flush()
    token = secrets.token_urlsafe(32)
    session.add(
        StaffLink(token_sha256=_digest(token), staff_id=person.id, expires_at=now + LINK_LASTS)
    )
    return token


async def invited(session: AsyncSession, token: str, *, now: datetime) -> Staff:
    """Whom a link is for, without spending it. Raises LinkSpent."""
    person = await session.scalar(
        select(Staff)
        .join(StaffLink, StaffLink.staff_id == Staff.id)
        .where(StaffLink.token_sha256 == _digest(token), StaffLink.expires_at > now)
    )
    if person is None:
        raise LinkSpent("This link was used, has expired, or never was. Ask for a new one.")
    return person


async def enter(session: AsyncSession, token: str, *, now: datetime) -> str:
    """Spend a link. Gives the token of a new session. Raises LinkSpent."""
    staff_id = await session.scalar(
        delete(StaffLink)
        .where(StaffLink.token_sha256 == _digest(token), StaffLink.expires_at > now)
        .returning(StaffLink.staff_id)
    )
    if staff_id is None:
        raise LinkSpent("This link was used, has expired, or never was. Ask for a new one.")
    session_token = secrets.token_urlsafe(32)
    session.add(
        StaffSession(
            token_sha256=_digest(session_token), staff_id=staff_id, expires_at=now + SESSION_LASTS
        )
    )
    return session_token


async def who(session: AsyncSession, token: str | None, *, now: datetime) -> Staff:
    """Who holds this session. Raises NotSignedIn."""
    person = await session.scalar(
        select(Staff)
        .join(StaffSession, StaffSession.staff_id == Staff.id)
        .where(StaffSession.token_sha256 == _digest(token or ""), StaffSession.expires_at > now)
    )
    if person is None:
        raise NotSignedIn("This page is for staff. Ask an administrator for a link.")
    return person


async def leave(session: AsyncSession, token: str) -> None:
    """End a session."""
    await session.execute(delete(StaffSession).where(StaffSession.token_sha256 == _digest(token)))


async def forget_expired(session: AsyncSession, now: datetime) -> None:
    """Remove links and sessions that no longer open anything."""
    await session.execute(delete(StaffLink).where(StaffLink.expires_at <= now))
    await session.execute(delete(StaffSession).where(StaffSession.expires_at <= now))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
