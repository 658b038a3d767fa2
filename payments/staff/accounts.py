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
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, String, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import InvalidField, LinkSpent, NotFound, NotSignedIn, PaymentsError
from payments.infra import audit_log, db
from payments.infra.audit_log import Deed

INVITE_LASTS = timedelta(hours=1)
LINK_LASTS = timedelta(minutes=10)
SESSION_LASTS = timedelta(hours=8)
IDLE_LASTS = timedelta(minutes=15)
STEP_UP_LASTS = timedelta(minutes=5)
NAME_MOST = 80
OUR_ID = re.compile(r"[0-9a-f]{32}")


class NotAllowed(PaymentsError):
    """A colleague whose role does not open this."""

    status = 403
    code = "not-allowed"
    title = "This is not open to your role"


class ConfirmFirst(PaymentsError):
    """A colleague has to prove once more who they are."""

    status = 403
    code = "confirm-first"
    title = "Please confirm that it is you"


class Role(StrEnum):
    FINANCE = "finance"  # reads money and no person
    SUPPORT = "support"  # acts for one donor at a time
    ADMIN = "admin"  # both, and says who else


class Staff(db.Base):
    """A colleague. `name` is what colleagues call them. Who has left stays for the audit."""

    __tablename__ = "staff"

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MOST), unique=True)
    role: Mapped[Role] = mapped_column(db.words(Role, "role_is_known"))
    created_at: Mapped[db.Moment]
    removed_at: Mapped[db.Moment | None]


class StaffLink(db.Base):
    """A way in, once."""

    __tablename__ = "staff_links"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.OurId] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Moment]


class StaffSession(db.Base):
    """A colleague who is signed in. `proved_at` is when they last proved who they are."""

    __tablename__ = "staff_sessions"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.OurId] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Moment]
    seen_at: Mapped[db.Moment]
    proved_at: Mapped[db.Moment]


class AnsweredChallenge(db.Base):
    """A question of ours, to a passkey or an account elsewhere, that was answered: not again."""

    __tablename__ = "answered_challenges"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    forget_at: Mapped[db.Moment]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who asks, and how fresh the proof of it is. `session` names their session and opens none."""

    person: Staff
    proved_at: datetime
    session: str

    def is_proved(self, now: datetime) -> bool:
        return now - self.proved_at < STEP_UP_LASTS


# --- inviting -------------------------------------------------------------------------------------


async def invite(
    session: AsyncSession, name: str, *, role: Role, now: datetime, by: Staff | None = None
) -> str:
    """A one-time link's token for a colleague, who is made if new. Good for an hour.

    Raises InvalidField for a name that is none, or is that of a colleague with another role.
    """
    person = await _named(session, check_name(name))
    if person is None:
        person = Staff(id=secrets.token_hex(16), name=name, role=role, created_at=now)
        session.add(person)
    elif person.removed_at is not None:
        person.role, person.removed_at = role, None
    elif person.role is not role:
        raise InvalidField(
            f"{name} has the role {person.role}. Change the role first. Nobody was invited.",
            field="role",
        )
    await session.flush()
    await _note(session, Deed.INVITED, person, by=by, reason=role.value, now=now)
    return _new_link(session, person, now + INVITE_LASTS)


async def link(session: AsyncSession, name: str, *, now: datetime) -> str:
    """A one-time link's token for a colleague who is here. Good for ten minutes."""
    person = await named(session, name)
    await _note(session, Deed.LINK_MADE, person, by=None, now=now)
    return _new_link(session, person, now + LINK_LASTS)


def _new_link(session: AsyncSession, person: Staff, expires_at: datetime) -> str:
    token = secrets.token_urlsafe(32)
    session.add(StaffLink(token_sha256=_digest(token), staff_id=person.id, expires_at=expires_at))
    return token


def check_name(name: str) -> str:
    """A name that can be told from others on a screen. Raises InvalidField."""
    if not 1 <= len(name) <= NAME_MOST or not name.isprintable() or name != name.strip():
        raise InvalidField("A name has 1 to 80 printable characters.", field="name")
    if name in (audit_log.OPERATOR, audit_log.SOMEBODY):
        raise InvalidField("This name stands for somebody else in the audit.", field="name")
    return name


async def named(session: AsyncSession, name: str) -> Staff:
    """A colleague who is here. Raises NotFound."""
    person = await _named(session, name)
    if person is None or person.removed_at is not None:
        raise NotFound("There is no colleague of that name.")
    return person


async def find(session: AsyncSession, staff_id: str) -> Staff:
    """A colleague who is here, by id. Raises NotFound."""
    person = await session.get(Staff, staff_id) if OUR_ID.fullmatch(staff_id) else None
    if person is None or person.removed_at is not None:
        raise NotFound("There is no such colleague.")
    return person


async def everybody(session: AsyncSession, *, limit: int = 500) -> Sequence[Staff]:
    """All who are here, by name."""
    query = select(Staff).where(Staff.removed_at.is_(None)).order_by(Staff.name).limit(limit)
    return list(await session.scalars(query))


# --- changing and leaving for good ----------------------------------------------------------------


async def change_role(
    session: AsyncSession, person: Staff, role: Role, *, now: datetime, by: Staff | None = None
) -> None:
    """Give a colleague another role, which they take up by signing in anew."""
    if person.role is role:
        return
    words = f"{person.role} to {role}"
    person.role = role
    await end_all(session, person)
    await _note(session, Deed.ROLE_CHANGED, person, by=by, reason=words, now=now)


async def remove(
    session: AsyncSession, person: Staff, *, now: datetime, by: Staff | None = None
) -> None:
    """Let nobody in under this name any more. Their deeds stay in the audit."""
    person.removed_at = now
    await end_all(session, person)
    await _note(session, Deed.REMOVED, person, by=by, now=now)


async def end_all(session: AsyncSession, person: Staff) -> None:
    """End every session of a colleague, and every link that would begin one."""
    await session.execute(delete(StaffSession).where(StaffSession.staff_id == person.id))
    await session.execute(delete(StaffLink).where(StaffLink.staff_id == person.id))


# --- coming in ------------------------------------------------------------------------------------


async def invited(session: AsyncSession, token: str, *, now: datetime) -> Staff:
    """Whom a link is for, without spending it. Raises LinkSpent."""
    person = await session.scalar(
        select(Staff)
        .join(StaffLink, StaffLink.staff_id == Staff.id)
        .where(
            StaffLink.token_sha256 == _digest(token),
            StaffLink.expires_at > now,
            Staff.removed_at.is_(None),
        )
    )
    if person is None:
        raise LinkSpent("This link was used, has expired, or never was. Ask for a new one.")
    return person


async def spend(session: AsyncSession, token: str, *, now: datetime) -> Staff:
    """Use a link up. Gives whom it was for. Raises LinkSpent."""
    staff_id = await session.scalar(
        delete(StaffLink)
        .where(StaffLink.token_sha256 == _digest(token), StaffLink.expires_at > now)
        .returning(StaffLink.staff_id)
    )
    person = None if staff_id is None else await session.get(Staff, staff_id)
    if person is None or person.removed_at is not None:
        raise LinkSpent("This link was used, has expired, or never was. Ask for a new one.")
    return person


async def answer_once(session: AsyncSession, challenge: bytes, *, forget_at: datetime) -> bool:
    """Use a question of ours up. Gives whether it was answered for the first time."""
    spent = await session.scalar(
        insert(AnsweredChallenge)
        .values(digest=hashlib.sha256(challenge).digest(), forget_at=forget_at)
        .on_conflict_do_nothing()
        .returning(AnsweredChallenge.digest)
    )
    return spent is not None


async def begin(
    session: AsyncSession,
    person: Staff,
    *,
    how: str,
    proved_at: datetime | None = None,
    now: datetime,
) -> str:
    """Begin a session for somebody who proved who they are, now or then. Gives its token."""
    token = secrets.token_urlsafe(32)
    session.add(
        StaffSession(
            token_sha256=_digest(token),
            staff_id=person.id,
            expires_at=now + SESSION_LASTS,
            seen_at=now,
            proved_at=proved_at or now,
        )
    )
    await _note(session, Deed.SIGNED_IN, person, by=person, reason=how, now=now)
    return token


async def enter(session: AsyncSession, token: str, *, now: datetime) -> str:
    """Spend a link. Gives the token of a new session. Raises LinkSpent."""
    person = await spend(session, token, now=now)
    return await begin(session, person, how="by a one-time link", now=now)


async def who(session: AsyncSession, token: str | None, *, now: datetime) -> SignedIn:
    """Who holds this session, which goes on for it. Raises NotSignedIn."""
    return await _who(session, _digest(token or ""), now=now)


async def resumed(session: AsyncSession, named: str, *, now: datetime) -> SignedIn:
    """The same for `SignedIn.session`, of which we said before whose it is. Raises NotSignedIn."""
    return await _who(session, bytes.fromhex(named), now=now)


async def _who(session: AsyncSession, digest: bytes, *, now: datetime) -> SignedIn:
    row = await session.scalar(
        update(StaffSession)
        .where(
            StaffSession.token_sha256 == digest,
            StaffSession.expires_at > now,
            StaffSession.seen_at > now - IDLE_LASTS,
        )
        .values(seen_at=now)
        .returning(StaffSession)
    )
    person = None if row is None else await session.get(Staff, row.staff_id)
    if row is None or person is None or person.removed_at is not None:
        raise NotSignedIn("This page is for staff. Sign in to go on.")
    return SignedIn(person, row.proved_at, row.token_sha256.hex())


async def confirm(
    session: AsyncSession, asking: SignedIn, *, proved_at: datetime | None = None, now: datetime
) -> None:
    """Note that who asks proved it once more, now or a moment ago."""
    await session.execute(
        update(StaffSession)
        .where(StaffSession.token_sha256 == bytes.fromhex(asking.session))
        .values(proved_at=proved_at or now)
    )
    await _note(session, Deed.CONFIRMED, asking.person, by=asking.person, now=now)


async def leave(session: AsyncSession, token: str, *, now: datetime) -> None:
    """End a session."""
    staff_id = await session.scalar(
        delete(StaffSession)
        .where(StaffSession.token_sha256 == _digest(token))
        .returning(StaffSession.staff_id)
    )
    if staff_id is not None:
        person = await session.get_one(Staff, staff_id)
        await _note(session, Deed.SIGNED_OUT, person, by=person, now=now)


async def forget_expired(session: AsyncSession, now: datetime) -> None:
    """Remove links and sessions that open nothing any more, and questions too old to answer."""
    await session.execute(delete(AnsweredChallenge).where(AnsweredChallenge.forget_at <= now))
    await session.execute(delete(StaffLink).where(StaffLink.expires_at <= now))
    ended = (StaffSession.expires_at <= now) | (StaffSession.seen_at <= now - IDLE_LASTS)
    await session.execute(delete(StaffSession).where(ended))


async def note(
    session: AsyncSession,
    deed: StrEnum,
    by: Staff,
    *,
    about: str = "",
    reason: str = "",
    now: datetime,
) -> None:
    """Append a deed of a colleague to the audit, in the transaction of the deed."""
    await audit_log.note(
        session, deed, staff_id=by.id, name=by.name, about=about, reason=reason, now=now
    )


async def _note(
    session: AsyncSession,
    deed: Deed,
    about: Staff,
    *,
    by: Staff | None,
    reason: str = "",
    now: datetime,
) -> None:
    """The same about a colleague; without a name it was done on the command line."""
    what = "" if by is about else about.name
    if by is None:
        await audit_log.note(session, deed, about=what, reason=reason, now=now)
    else:
        await note(session, deed, by, about=what, reason=reason, now=now)


async def _named(session: AsyncSession, name: str) -> Staff | None:
    found: Staff | None = await session.scalar(select(Staff).where(Staff.name == name))
    return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
