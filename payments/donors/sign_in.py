"""A donor signs in by a link that their mailbox receives.

Asked for in a browser, good for ten minutes, once, in that browser; in another, the code from the
mail is typed. Links are made for known and unknown addresses alike, and mailed only to donors.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import LinkSpent, NotSignedIn
from payments.core.settings import Settings
from payments.donors import donors
from payments.donors.donors import Donor
from payments.infra import alerts, db, signing
from payments.infra.alerts import AlarmKind

LINK_LASTS = timedelta(minutes=10)
SESSION_LASTS = timedelta(minutes=30)
CODE_LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
CODE_LENGTH = 10
CODE_TRIES = 5
# how many links within how long, to one mailbox and altogether
LINKS_TO_ONE = ((3, timedelta(hours=1)), (10, timedelta(days=1)))
LINKS_TO_ALL = (300, timedelta(hours=1))
LINKS_LOCK = 0x6C696E6B73  # "links": counted by one at a time


class SignIn(db.Base):
    """A link that was asked for. Made for known and unknown addresses alike."""

    __tablename__ = "sign_ins"

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes] = mapped_column(index=True)
    browser_hash: Mapped[bytes]
    token_hash: Mapped[bytes | None] = mapped_column(unique=True)  # set when the mail is made
    code_hash: Mapped[bytes | None]
    tries: Mapped[int]
    asked_at: Mapped[db.Moment] = mapped_column(index=True)
    expires_at: Mapped[db.Moment]


class DonorSession(db.Base):
    """A donor who is signed in."""

    __tablename__ = "donor_sessions"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    donor_id: Mapped[db.OurId] = mapped_column(ForeignKey("donors.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Moment]


@dataclass(frozen=True, slots=True)
class Ways:
    """The two ways in of one mail: a link's token for the asking browser, a code for another."""

    token: str
    code: str


async def ask_for_link(
    session: AsyncSession, settings: Settings, *, address: str, browser: str, now: datetime
) -> str:
    """Note that a link was asked for, whoever's address it is. Gives the id of the request.

    The same work is done for every address, so that nobody learns who gives.
    """
    row = SignIn(
        id=secrets.token_hex(16),
        address_hash=await donors.newest_hash(session, settings, address),
        browser_hash=_digest(browser),
        tries=0,
        asked_at=now,
        expires_at=now + LINK_LASTS,
    )
    session.add(row)
    return row.id


async def ask_for_link_of(session: AsyncSession, donor_id: str, *, now: datetime) -> str | None:
    """The same for a donor who asked us in person: no browser is known, so the code of the mail is
    typed in whichever they have. None once they are erased.
    """
    address_hash = await session.scalar(select(Donor.address_hash).where(Donor.id == donor_id))
    if address_hash is None:
        return None
    row = SignIn(
        id=secrets.token_hex(16),
        address_hash=address_hash,
        browser_hash=_digest(secrets.token_urlsafe(32)),
        tries=0,
        asked_at=now,
        expires_at=now + LINK_LASTS,
    )
    session.add(row)
    return row.id


async def make_ways(
    session: AsyncSession, settings: Settings, sign_in_id: str, *, now: datetime
) -> Ways | None:
    """The two ways in for the mail of a request, or None: no mail. Asked again, the same two.

    None for an address nobody gave with, and when too many were asked for: by this address, or by
    everybody together, of which a person is told.
    """
    row = await session.get(SignIn, sign_in_id, with_for_update=True)
    if row is None or row.expires_at <= now:
        return None
    if row.token_hash is not None:
        made = [_ways(key, row.id) for key in settings.keys]
        return next((ways for ways in made if _digest(ways.token) == row.token_hash), None)
    donor = await session.scalar(select(Donor).where(Donor.address_hash == row.address_hash))
    if donor is None or await _is_too_often(session, row.address_hash, now=now):
        return None
    ways = _ways(settings.keys[0], row.id)
    row.token_hash, row.code_hash = _digest(ways.token), _digest(f"{row.id}:{ways.code}")
    return ways


def _ways(key: bytes, sign_in_id: str) -> Ways:
    """They follow from the request, so a mail that is sent again is the same mail; and from a key
    of ours, so nobody makes them from what is in the database.
    """
    (token,) = signing.keyed_hashes([key], "sign-in link", sign_in_id)
    (code,) = signing.keyed_hashes([key], "sign-in code", sign_in_id)
    number, letters = int.from_bytes(code, "big"), ""
    for _ in range(CODE_LENGTH):
        number, letter = divmod(number, len(CODE_LETTERS))
        letters += CODE_LETTERS[letter]
    return Ways(base64.urlsafe_b64encode(token).rstrip(b"=").decode(), letters)


async def _is_too_often(session: AsyncSession, address_hash: bytes, *, now: datetime) -> bool:
    """Whether no more links are sent: to this mailbox, or at all.

    Whoever floods us from one network is the shield's business; here nothing is known of that.
    """
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LINKS_LOCK})
    sent = [SignIn.token_hash.is_not(None), SignIn.address_hash == address_hash]
    for most, within in LINKS_TO_ONE:
        query = select(func.count()).where(*sent, SignIn.asked_at > now - within)
        if (await session.scalar(query) or 0) >= most:
            return True
    most, within = LINKS_TO_ALL
    query = select(func.count()).where(sent[0], SignIn.asked_at > now - within)
    if (await session.scalar(query) or 0) < most:
        return False
    await alerts.sound(session, AlarmKind.MANY_LINKS, subject=f"{now:%Y-%m-%dT%H}", now=now)
    return True


async def check_link(session: AsyncSession, token: str, *, now: datetime) -> None:
    """Raise LinkSpent for a link that opens nothing any more. Looking does not spend it."""
    await _link(session, token, now=now)


async def _link(session: AsyncSession, token: str, *, now: datetime) -> SignIn:
    row: SignIn | None = await session.scalar(
        select(SignIn)
        .where(
            SignIn.token_hash == _digest(token),
            SignIn.expires_at > now,
            SignIn.tries < CODE_TRIES,
        )
        .with_for_update()
    )
    if row is None:
        raise LinkSpent("It was used, has expired, or is not complete. You can ask for a new one.")
    return row


async def enter_by_link(
    session: AsyncSession, *, token: str, browser: str, now: datetime
) -> str | None:
    """Spend a link in the browser that asked for it. Gives a session's token.

    None in another browser: the code is asked for there. Raises LinkSpent.
    """
    row = await _link(session, token, now=now)
    if row.browser_hash != _digest(browser):
        return None
    return await _begin(session, row, now=now)


async def enter_by_code(
    session: AsyncSession, *, token: str, code: str, now: datetime
) -> str | None:
    """Spend a link in another browser, with the code of the same mail. Gives a session's token.

    None for a wrong code; after five of them the link is spent. Raises LinkSpent.
    """
    row = await _link(session, token, now=now)
    typed = "".join(code.upper().split()).replace("-", "")
    if row.code_hash != _digest(f"{row.id}:{typed}"):
        row.tries += 1
        return None
    return await _begin(session, row, now=now)


async def _begin(session: AsyncSession, row: SignIn, *, now: datetime) -> str:
    """Begin a session and spend the link."""
    donor_id = await session.scalar(select(Donor.id).where(Donor.address_hash == row.address_hash))
    if donor_id is None:
        raise LinkSpent("It was used, has expired, or is not complete. You can ask for a new one.")
    row.expires_at = now  # spent; it is still counted for a day
    token = secrets.token_urlsafe(32)
    session.add(
        DonorSession(token_hash=_digest(token), donor_id=donor_id, expires_at=now + SESSION_LASTS)
    )
    return token


async def who(session: AsyncSession, token: str | None, *, now: datetime) -> str:
    """The id of the donor who holds this session. Raises NotSignedIn."""
    donor_id = await session.scalar(
        select(DonorSession.donor_id).where(
            DonorSession.token_hash == _digest(token or ""), DonorSession.expires_at > now
        )
    )
    if donor_id is None:
        raise NotSignedIn("Please ask for a link to your contributions.")
    return donor_id


async def leave(session: AsyncSession, token: str) -> None:
    """End a session."""
    await session.execute(delete(DonorSession).where(DonorSession.token_hash == _digest(token)))


async def forget(session: AsyncSession, donor_id: str) -> None:
    """Remove every link that a donor asked for. Their sessions go with the donor."""
    known = select(Donor.address_hash).where(Donor.id == donor_id).scalar_subquery()
    await session.execute(delete(SignIn).where(SignIn.address_hash == known))


async def forget_expired(session: AsyncSession, now: datetime) -> None:
    """Remove links and sessions that no longer open anything."""
    longest = max(within for _, within in LINKS_TO_ONE)
    never_sent = SignIn.token_hash.is_(None) & (SignIn.expires_at < now - timedelta(hours=1))
    await session.execute(delete(SignIn).where(never_sent | (SignIn.asked_at < now - longest)))
    await session.execute(delete(DonorSession).where(DonorSession.expires_at <= now))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
