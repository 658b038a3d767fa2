"""A donor signs in by a link that their mailbox receives.

Asked for in a browser, good for ten minutes, once, in that browser; in another, the code from the
mail is typed. Links are made for known and unknown addresses alike, and mailed only to donors.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import LinkInvalid, Unauthenticated
from payments.core.identifiers import new_row_id
from payments.core.settings import Settings
from payments.donors import donors
from payments.donors.donors import Donor
from payments.infra import alerts, db, signing
from payments.infra.alerts import AlertKind

LINK_LIFETIME = timedelta(minutes=10)
SESSION_LIFETIME = timedelta(minutes=30)
CODE_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
CODE_LENGTH = 10
MAX_CODE_ATTEMPTS = 5
# how many links within how long, to one mailbox and altogether
LINK_LIMITS_PER_ADDRESS = ((3, timedelta(hours=1)), (10, timedelta(days=1)))
LINK_LIMIT_TOTAL = (300, timedelta(hours=1))
LINK_COUNT_LOCK_KEY = 0x6C696E6B73  # "links": counted by one at a time


class SignInLink(db.Base):
    """A link that was asked for. Made for known and unknown addresses alike."""

    __tablename__ = "sign_in_links"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes] = mapped_column(index=True)
    browser_hash: Mapped[bytes]
    token_hash: Mapped[bytes | None] = mapped_column(unique=True)  # set when the mail is made
    code_hash: Mapped[bytes | None]
    code_attempts: Mapped[int]
    requested_at: Mapped[db.Timestamp] = mapped_column(index=True)
    expires_at: Mapped[db.Timestamp]


class DonorSession(db.Base):
    """A donor who is signed in."""

    __tablename__ = "donor_sessions"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    donor_id: Mapped[db.Id] = mapped_column(ForeignKey("donors.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Timestamp]


@dataclass(frozen=True, slots=True)
class SignInCredentials:
    """The two ways in of one mail: a link's token for the asking browser, a code for another."""

    token: str
    code: str


async def request_link(
    session: AsyncSession, settings: Settings, *, address: str, browser_secret: str, now: datetime
) -> str:
    """Note that a link was asked for, whoever's address it is. Gives the id of the request.

    The same work is done for every address, so that nobody learns who gives.
    """
    row = SignInLink(
        id=new_row_id(),
        address_hash=await donors.current_hash(session, settings, address),
        browser_hash=_sha256(browser_secret),
        code_attempts=0,
        requested_at=now,
        expires_at=now + LINK_LIFETIME,
    )
    session.add(row)
    return row.id


async def request_link_for_donor(
    session: AsyncSession, donor_id: str, *, now: datetime
) -> str | None:
    """The same for a donor who asked us in person: no browser is known, so the code of the mail is
    typed in whichever they have. None once they are erased.
    """
    address_hash = await session.scalar(select(Donor.address_hash).where(Donor.id == donor_id))
    if address_hash is None:
        return None
    row = SignInLink(
        id=new_row_id(),
        address_hash=address_hash,
        browser_hash=_sha256(secrets.token_urlsafe(32)),
        code_attempts=0,
        requested_at=now,
        expires_at=now + LINK_LIFETIME,
    )
    session.add(row)
    return row.id


async def issue_credentials(
    session: AsyncSession, settings: Settings, link_id: str, *, now: datetime
) -> SignInCredentials | None:
    """The two ways in for the mail of a request, or None: no mail. Asked again, the same two.

    None for an address nobody gave with, and when too many were asked for: by this address, or by
    everybody together, of which a person is told.
    """
    row = await session.get(SignInLink, link_id, with_for_update=True)
    if row is None or row.expires_at <= now:
        return None
    if row.token_hash is not None:
        made = [_derive_credentials(key, row.id) for key in settings.hmac_keys]
        return next((ways for ways in made if _sha256(ways.token) == row.token_hash), None)
    donor = await session.scalar(select(Donor).where(Donor.address_hash == row.address_hash))
    if donor is None or await _is_over_link_limit(session, row.address_hash, now=now):
        return None
    ways = _derive_credentials(settings.hmac_keys[0], row.id)
    row.token_hash, row.code_hash = _sha256(ways.token), _sha256(f"{row.id}:{ways.code}")
    return ways


def _derive_credentials(key: bytes, link_id: str) -> SignInCredentials:
    """They follow from the request, so a mail that is sent again is the same mail; and from a key
    of ours, so nobody makes them from what is in the database.
    """
    (token,) = signing.hmac_digests([key], "sign-in link", link_id)
    (code,) = signing.hmac_digests([key], "sign-in code", link_id)
    number, letters = int.from_bytes(code, "big"), ""
    for _ in range(CODE_LENGTH):
        number, letter = divmod(number, len(CODE_ALPHABET))
        letters += CODE_ALPHABET[letter]
    return SignInCredentials(base64.urlsafe_b64encode(token).rstrip(b"=").decode(), letters)


async def _is_over_link_limit(session: AsyncSession, address_hash: bytes, *, now: datetime) -> bool:
    """Whether no more links are sent: to this mailbox, or at all.

    Whoever floods us from one network is the shield's business; here nothing is known of that.
    """
    await db.advisory_lock(session, LINK_COUNT_LOCK_KEY)
    sent = [SignInLink.token_hash.is_not(None), SignInLink.address_hash == address_hash]
    for most, within in LINK_LIMITS_PER_ADDRESS:
        query = select(func.count()).where(*sent, SignInLink.requested_at > now - within)
        if (await session.scalar(query) or 0) >= most:
            return True
    most, within = LINK_LIMIT_TOTAL
    query = select(func.count()).where(sent[0], SignInLink.requested_at > now - within)
    if (await session.scalar(query) or 0) < most:
        return False
    await alerts.raise_alert(
        session, AlertKind.SIGN_IN_LINK_LIMIT_REACHED, object_id=f"{now:%Y-%m-%dT%H}", now=now
    )
    return True


async def require_valid_link(session: AsyncSession, token: str, *, now: datetime) -> None:
    """Raise LinkSpent for a link that opens nothing any more. Looking does not spend it."""
    await _get_valid_link(session, token, now=now)


async def _get_valid_link(session: AsyncSession, token: str, *, now: datetime) -> SignInLink:
    row: SignInLink | None = await session.scalar(
        select(SignInLink)
        .where(
            SignInLink.token_hash == _sha256(token),
            SignInLink.expires_at > now,
            SignInLink.code_attempts < MAX_CODE_ATTEMPTS,
        )
        .with_for_update()
    )
    if row is None:
        raise LinkInvalid(
            "It was used, has expired, or is not complete. You can ask for a new one."
        )
    return row


async def redeem_link(
    session: AsyncSession, *, token: str, browser_secret: str, now: datetime
) -> str | None:
    """Spend a link in the browser that asked for it. Gives a session's token.

    None in another browser: the code is asked for there. Raises LinkSpent.
    """
    row = await _get_valid_link(session, token, now=now)
    if row.browser_hash != _sha256(browser_secret):
        return None
    return await _start_session(session, row, now=now)


async def redeem_code(session: AsyncSession, *, token: str, code: str, now: datetime) -> str | None:
    """Spend a link in another browser, with the code of the same mail. Gives a session's token.

    None for a wrong code; after five of them the link is spent. Raises LinkSpent.
    """
    row = await _get_valid_link(session, token, now=now)
    typed = "".join(code.upper().split()).replace("-", "")
    if row.code_hash != _sha256(f"{row.id}:{typed}"):
        row.code_attempts += 1
        return None
    return await _start_session(session, row, now=now)


async def _start_session(session: AsyncSession, row: SignInLink, *, now: datetime) -> str:
    """Begin a session and spend the link."""
    donor_id = await session.scalar(select(Donor.id).where(Donor.address_hash == row.address_hash))
    if donor_id is None:
        raise LinkInvalid(
            "It was used, has expired, or is not complete. You can ask for a new one."
        )
    row.expires_at = now  # spent; it is still counted for a day
    token = secrets.token_urlsafe(32)
    session.add(
        DonorSession(
            token_hash=_sha256(token), donor_id=donor_id, expires_at=now + SESSION_LIFETIME
        )
    )
    return token


async def current_donor(session: AsyncSession, token: str | None, *, now: datetime) -> str:
    """The id of the donor who holds this session. Raises NotSignedIn."""
    donor_id = await session.scalar(
        select(DonorSession.donor_id).where(
            DonorSession.token_hash == _sha256(token or ""), DonorSession.expires_at > now
        )
    )
    if donor_id is None:
        raise Unauthenticated("Please ask for a link to your contributions.")
    return donor_id


async def sign_out(session: AsyncSession, token: str) -> None:
    """End a session."""
    await session.execute(delete(DonorSession).where(DonorSession.token_hash == _sha256(token)))


async def delete_links(session: AsyncSession, donor_id: str) -> None:
    """Remove every link that a donor asked for. Their sessions go with the donor."""
    known = select(Donor.address_hash).where(Donor.id == donor_id).scalar_subquery()
    await session.execute(delete(SignInLink).where(SignInLink.address_hash == known))


async def purge_expired(session: AsyncSession, now: datetime) -> None:
    """Remove links and sessions that no longer open anything."""
    longest = max(within for _, within in LINK_LIMITS_PER_ADDRESS)
    never_sent = SignInLink.token_hash.is_(None) & (
        SignInLink.expires_at < now - timedelta(hours=1)
    )
    await session.execute(
        delete(SignInLink).where(never_sent | (SignInLink.requested_at < now - longest))
    )
    await session.execute(delete(DonorSession).where(DonorSession.expires_at <= now))


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
