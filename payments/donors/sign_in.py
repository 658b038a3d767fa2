"""Sign-in of donors: a link by mail, without a password.

A link is requested in a browser and works once, for ten minutes, in that browser; in another the
code of the mail is typed. Requests are stored for known and unknown addresses alike, and mailed
only to donors, so that nobody learns who gives. Of a token or code only a hash is stored.
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence
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
CODE_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # no letter that looks like a digit
CODE_LENGTH = 10
MAX_CODE_ATTEMPTS = 5
# How many links may be sent within a period, to one address and in all.
LINK_LIMITS_PER_ADDRESS = ((3, timedelta(hours=1)), (10, timedelta(days=1)))
LINK_LIMIT_TOTAL = (300, timedelta(hours=1))
LINK_COUNT_LOCK_KEY = 0x6C696E6B73  # "links" in ASCII


class SignInLink(db.Base):
    """A request for a link, of a known or an unknown address."""

    __tablename__ = "sign_in_links"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes] = mapped_column(index=True)
    browser_hash: Mapped[bytes]
    token_hash: Mapped[bytes | None] = mapped_column(unique=True)  # set when the mail is composed
    code_hash: Mapped[bytes | None]
    code_attempts: Mapped[int]
    requested_at: Mapped[db.Timestamp] = mapped_column(index=True)
    expires_at: Mapped[db.Timestamp]


class DonorSession(db.Base):
    """A donor who is signed in, in one browser."""

    __tablename__ = "donor_sessions"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    donor_id: Mapped[db.Id] = mapped_column(ForeignKey("donors.id", ondelete="CASCADE"))
    expires_at: Mapped[db.Timestamp]


@dataclass(frozen=True, slots=True)
class SignInCredentials:
    """The two credentials of one mail: a token for the requesting browser, a code for another."""

    token: str
    code: str


async def request_link(
    session: AsyncSession, settings: Settings, *, address: str, browser_secret: str, now: datetime
) -> str:
    """Store a request for a link, a donor's or not. Returns its id. Raises InvalidField.

    The same work is done for every address, so that timing does not tell who gives.
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
    """Store a request that staff makes for a donor. Returns its id; None if they were erased.

    No browser is known, so the code of the mail is typed in any.
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
    """Return the credentials for the mail of a request, the same each time; None if none is sent.

    None is sent to an address nobody gave with, nor over the limit of links to one address or in
    all; the latter raises an alert.
    """
    row = await session.get(SignInLink, link_id, with_for_update=True)
    if row is None or row.expires_at <= now:
        return None
    if row.token_hash is not None:
        derived = [_derive_credentials(key, row.id) for key in settings.hmac_keys]
        return next((one for one in derived if _sha256(one.token) == row.token_hash), None)
    donor = await session.scalar(select(Donor).where(Donor.address_hash == row.address_hash))
    if donor is None or await _is_over_link_limit(session, row.address_hash, now=now):
        return None
    credentials = _derive_credentials(settings.hmac_keys[0], row.id)
    row.token_hash = _sha256(credentials.token)
    row.code_hash = _sha256(f"{row.id}:{credentials.code}")
    return credentials


def _derive_credentials(key: bytes, link_id: str) -> SignInCredentials:
    """Derive the credentials of a request from its id and a secret key.

    So a mail that is composed again is the same mail, and the database alone yields none.
    """
    (token,) = signing.hmac_digests([key], "sign-in link", link_id)
    (digest,) = signing.hmac_digests([key], "sign-in code", link_id)
    number, code = int.from_bytes(digest, "big"), ""
    for _ in range(CODE_LENGTH):
        number, index = divmod(number, len(CODE_ALPHABET))
        code += CODE_ALPHABET[index]
    return SignInCredentials(base64.urlsafe_b64encode(token).rstrip(b"=").decode(), code)


async def _is_over_link_limit(session: AsyncSession, address_hash: bytes, *, now: datetime) -> bool:
    """Whether no more links are sent, to this address or to any.

    Requests from one network are limited elsewhere (`risk.rate_limit`).
    """
    await db.advisory_lock(session, LINK_COUNT_LOCK_KEY)
    sent = select(func.count()).where(SignInLink.token_hash.is_not(None))
    for limit, period in LINK_LIMITS_PER_ADDRESS:
        to_address = sent.where(
            SignInLink.address_hash == address_hash, SignInLink.requested_at > now - period
        )
        if (await session.scalar(to_address) or 0) >= limit:
            return True
    limit, period = LINK_LIMIT_TOTAL
    if (await session.scalar(sent.where(SignInLink.requested_at > now - period)) or 0) < limit:
        return False
    await alerts.raise_alert(
        session, AlertKind.SIGN_IN_LINK_LIMIT_REACHED, object_id=f"{now:%Y-%m-%dT%H}", now=now
    )
    return True


async def require_valid_link(session: AsyncSession, token: str, *, now: datetime) -> None:
    """Raise LinkInvalid for a link that was used or has expired. Looking does not use it up."""
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
    """Use a link in the browser that requested it. Returns the token of a new session.

    None in another browser, where the code is needed. Raises LinkInvalid.
    """
    row = await _get_valid_link(session, token, now=now)
    if row.browser_hash != _sha256(browser_secret):
        return None
    return await _start_session(session, row, now=now)


async def redeem_code(session: AsyncSession, *, token: str, code: str, now: datetime) -> str | None:
    """Use a link in any browser, with the code of its mail. Returns the token of a new session.

    None for a wrong code; after `MAX_CODE_ATTEMPTS` the link is invalid. Raises LinkInvalid.
    """
    row = await _get_valid_link(session, token, now=now)
    typed_code = "".join(code.upper().split()).replace("-", "")
    if row.code_hash != _sha256(f"{row.id}:{typed_code}"):
        row.code_attempts += 1
        return None
    return await _start_session(session, row, now=now)


async def _start_session(session: AsyncSession, row: SignInLink, *, now: datetime) -> str:
    """Start a session and use the link up."""
    donor_id = await session.scalar(select(Donor.id).where(Donor.address_hash == row.address_hash))
    if donor_id is None:
        raise LinkInvalid(
            "It was used, has expired, or is not complete. You can ask for a new one."
        )
    row.expires_at = now  # the row stays for a day, for the limit
    token = secrets.token_urlsafe(32)
    session.add(
        DonorSession(
            token_hash=_sha256(token), donor_id=donor_id, expires_at=now + SESSION_LIFETIME
        )
    )
    return token


async def current_donor(session: AsyncSession, token: str | None, *, now: datetime) -> str:
    """Return the id of the donor whose session this is. Raises Unauthenticated."""
    donor_id = await session.scalar(
        select(DonorSession.donor_id).where(
            DonorSession.token_hash == _sha256(token or ""), DonorSession.expires_at > now
        )
    )
    if donor_id is None:
        raise Unauthenticated("Please ask for a link to your contributions.")
    return donor_id


async def has_signed_in_since(
    session: AsyncSession, donor_id: str, moment: datetime, *, now: datetime
) -> bool:
    """Whether a donor has a session that began since a moment: then the address was proved.

    A session that has ended is not remembered.
    """
    query = select(DonorSession.token_hash).where(
        DonorSession.donor_id == donor_id,
        DonorSession.expires_at > now,
        DonorSession.expires_at >= moment + SESSION_LIFETIME,
    )
    return await session.scalar(query.limit(1)) is not None


async def sign_out(session: AsyncSession, token: str) -> None:
    """End a session, if there is one of this token."""
    await session.execute(delete(DonorSession).where(DonorSession.token_hash == _sha256(token)))


async def end_access(session: AsyncSession, donor_id: str) -> None:
    """End every session of a donor, and every link that was sent to their mailbox."""
    await delete_links(session, [donor_id])
    await session.execute(delete(DonorSession).where(DonorSession.donor_id == donor_id))


async def delete_links(session: AsyncSession, donor_ids: Sequence[str]) -> None:
    """Delete every link that donors requested. Their sessions are deleted with the donors."""
    own_hashes = select(Donor.address_hash).where(Donor.id.in_(donor_ids))
    await session.execute(delete(SignInLink).where(SignInLink.address_hash.in_(own_hashes)))


async def purge_expired(session: AsyncSession, now: datetime) -> None:
    """Delete expired sessions, and links that neither work nor count towards a limit."""
    longest = max(period for _, period in LINK_LIMITS_PER_ADDRESS)
    never_sent = SignInLink.token_hash.is_(None) & (
        SignInLink.expires_at < now - timedelta(hours=1)
    )
    await session.execute(
        delete(SignInLink).where(never_sent | (SignInLink.requested_at < now - longest))
    )
    await session.execute(delete(DonorSession).where(DonorSession.expires_at <= now))


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
