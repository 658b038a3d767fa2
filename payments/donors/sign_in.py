"""Sign-in of donors: a link by mail, without a password.

A link is requested in a browser and works once, for ten minutes, in that browser; in another the
code of the mail is typed. Requests are stored for known and unknown addresses alike, and mailed
only to donors, so that nobody learns who gives. Of a token or code only a hash is stored.

What others ask for never keeps a donor's own mail away: requests are limited by the network they
come from (`risk.rate_limit`), and a mailbox that was sent several links lately gets the next ones
as one mail every few minutes, with the newest of them. Any of these mails lets its reader in, by
its code.
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, LargeBinary, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY
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
# So many links are sent to one address within an hour as they are asked for; later ones are merged
# into one mail in `MERGE_INTERVAL`, which is shorter than a link lives.
LINKS_AT_ONCE, COUNTED_FOR = 3, timedelta(hours=1)
MERGE_INTERVAL = timedelta(minutes=5)
LINKS_BEFORE_ALERT = 300  # within `COUNTED_FOR`, to all addresses


class SignInLink(db.Base):
    """A request for a link, of a known or an unknown address."""

    __tablename__ = "sign_in_links"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes] = mapped_column(index=True)
    # of the same address, under keys that were replaced: until the mail is composed
    older_hashes: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary))
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


class LinkPostponed(Exception):
    """The mailbox was sent several links lately: the next leaves after `delay`."""

    def __init__(self, delay: timedelta) -> None:
        super().__init__("The mailbox was sent several links lately.")
        self.delay = delay


def request_link(
    session: AsyncSession, hashes: Sequence[bytes], *, browser_secret: str, now: datetime
) -> str:
    """Store a request for a link, of a donor or not, by the hashes of their address: the newest
    key's first. Returns its id.

    Nothing is looked up, so that neither timing nor a lock tells who gives: the worker decides.
    """
    newest, *older = hashes
    row = _new_link(newest, older, browser_secret=browser_secret, now=now)
    session.add(row)
    return row.id


def _new_link(
    address_hash: bytes, older_hashes: Sequence[bytes], *, browser_secret: str, now: datetime
) -> SignInLink:
    return SignInLink(
        id=new_row_id(),
        address_hash=address_hash,
        older_hashes=list(older_hashes),
        browser_hash=_sha256(browser_secret),
        code_attempts=0,
        requested_at=now,
        expires_at=now + LINK_LIFETIME,
    )


async def request_link_for_donor(
    session: AsyncSession, donor_id: str, *, now: datetime
) -> str | None:
    """Store a request that staff makes for a donor. Returns its id; None if they were erased.

    No browser is known, so the code of the mail is typed in any.
    """
    address_hash = await session.scalar(select(Donor.address_hash).where(Donor.id == donor_id))
    if address_hash is None:
        return None
    row = _new_link(address_hash, [], browser_secret=secrets.token_urlsafe(32), now=now)
    session.add(row)
    return row.id


async def donor_of_link(session: AsyncSession, link_id: str) -> Donor | None:
    """Return the donor who has the address of a request, known by the newest key from now on.

    None for an address nobody gave with: then nothing is left of the request.
    """
    row = await session.get(SignInLink, link_id, with_for_update=True)
    if row is None:
        return None
    donor = await donors.find_by_hashes(session, [row.address_hash, *row.older_hashes])
    if donor is None:
        await session.delete(row)
        return None
    donor.address_hash, row.older_hashes = row.address_hash, []
    return donor


async def issue_credentials(
    session: AsyncSession, settings: Settings, link_id: str, *, now: datetime
) -> SignInCredentials | None:
    """Return the credentials for the mail of a donor's request, the same each time.

    None if it has expired, or was merged into a mail that waits. Raises LinkPostponed where it is
    the mail that waits. Over `LINKS_BEFORE_ALERT` an alert is raised; nothing is held back.
    """
    row = await session.get(SignInLink, link_id, with_for_update=True)
    if row is None or row.expires_at <= now:
        return None
    if row.token_hash is not None:
        derived = [_derive_credentials(key, row.id) for key in settings.hmac_keys]
        return next((one for one in derived if _sha256(one.token) == row.token_hash), None)
    await db.advisory_lock(session, row.address_hash)
    if delay := await _time_until_next_link(session, row.address_hash, now=now):
        if await _is_merged(session, row, now=now):
            return None
        raise LinkPostponed(delay)
    credentials = _derive_credentials(settings.hmac_keys[0], row.id)
    row.token_hash = _sha256(credentials.token)
    row.code_hash = _sha256(f"{row.id}:{credentials.code}")
    row.expires_at = now + LINK_LIFETIME
    await _alert_if_many(session, now=now)
    return credentials


async def _time_until_next_link(
    session: AsyncSession, address_hash: bytes, *, now: datetime
) -> timedelta:
    """Return how long the next link to an address waits: not at all, unless it was sent several."""
    query = select(SignInLink.expires_at).where(
        SignInLink.address_hash == address_hash,
        SignInLink.token_hash.is_not(None),
        SignInLink.requested_at > now - COUNTED_FOR,
    )
    expiries = list(await session.scalars(query.order_by(SignInLink.expires_at.desc()).limit(100)))
    if len(expiries) < LINKS_AT_ONCE:
        return timedelta(0)
    last_sent_at = expiries[0] - LINK_LIFETIME  # earlier than that for a link that was used
    return max(last_sent_at + MERGE_INTERVAL - now, timedelta(0))


async def _is_merged(session: AsyncSession, row: SignInLink, *, now: datetime) -> bool:
    """Merge a request into one of the same address whose mail waits, if there is one.

    That mail then is for the browser that asked last.
    """
    query = select(SignInLink).where(
        SignInLink.address_hash == row.address_hash,
        SignInLink.id != row.id,
        SignInLink.token_hash.is_(None),
        SignInLink.requested_at > now - MERGE_INTERVAL,
        SignInLink.requested_at <= row.requested_at,
    )
    query = query.order_by(SignInLink.requested_at, SignInLink.id).limit(1)
    waiting = await session.scalar(query.with_for_update(skip_locked=True))
    if waiting is None:
        return False
    waiting.browser_hash, waiting.expires_at = row.browser_hash, row.expires_at
    await session.delete(row)
    return True


def _derive_credentials(key: bytes, link_id: str) -> SignInCredentials:
    """Derive the credentials of a request from its id and a secret key.

    So a mail that is composed again is the same mail, and the database alone yields none.
    """
    (token,) = signing.hmac_digests([key], "sign-in link", link_id)
    (digest,) = signing.hmac_digests([key], "sign-in code", link_id)
    encoded = base64.urlsafe_b64encode(token).rstrip(b"=").decode()
    return SignInCredentials(encoded, code_of(digest))


def code_of(digest: bytes) -> str:
    """Return the code that a mail carries for a secret digest."""
    number, code = int.from_bytes(digest, "big"), ""
    for _ in range(CODE_LENGTH):
        number, index = divmod(number, len(CODE_ALPHABET))
        code += CODE_ALPHABET[index]
    return code


def printed_code(code: str) -> str:
    """Return a code in two groups, as mails show it."""
    return f"{code[: CODE_LENGTH // 2]}-{code[CODE_LENGTH // 2 :]}"


def typed_code(text: str) -> str:
    """Return a code as it was mailed: spaces, hyphens, and the marks of direction that come along
    from a mail are no part of it.
    """
    return "".join(filter(str.isalnum, text.upper()))


async def _alert_if_many(session: AsyncSession, *, now: datetime) -> None:
    """Raise an alert where very many links are sent: somebody may be looking for donors."""
    sent = select(func.count()).where(
        SignInLink.token_hash.is_not(None), SignInLink.requested_at > now - COUNTED_FOR
    )
    if (await session.scalar(sent) or 0) >= LINKS_BEFORE_ALERT:
        await alerts.raise_alert(
            session, AlertKind.SIGN_IN_LINK_LIMIT_REACHED, object_id=f"{now:%Y-%m-%dT%H}", now=now
        )


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
            "It has been used, has expired or is incomplete. You can ask for a new one."
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
    if row.code_hash != _sha256(f"{row.id}:{typed_code(code)}"):
        row.code_attempts += 1
        return None
    return await _start_session(session, row, now=now)


async def _start_session(session: AsyncSession, row: SignInLink, *, now: datetime) -> str:
    """Start a session and use the link up."""
    donor_id = await session.scalar(select(Donor.id).where(Donor.address_hash == row.address_hash))
    if donor_id is None:
        raise LinkInvalid(
            "It has been used, has expired or is incomplete. You can ask for a new one."
        )
    await donors.prove_mailbox(session, [row.address_hash])
    row.expires_at = now  # the row stays for an hour, to be counted
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
    """End every session of the donor whose session this is, in other browsers too."""
    own = select(DonorSession.donor_id).where(DonorSession.token_hash == _sha256(token))
    await session.execute(delete(DonorSession).where(DonorSession.donor_id.in_(own)))


async def end_session(session: AsyncSession, token: str) -> None:
    """End the one session of this token, if there is one."""
    await session.execute(delete(DonorSession).where(DonorSession.token_hash == _sha256(token)))


async def end_access(session: AsyncSession, donor_id: str) -> None:
    """End every session of a donor, and every link that was sent to their mailbox."""
    await delete_links(session, [donor_id])
    await session.execute(delete(DonorSession).where(DonorSession.donor_id == donor_id))


async def delete_links(session: AsyncSession, donor_ids: Sequence[str]) -> None:
    """Delete every link that donors requested. Their sessions are deleted with the donors."""
    own_hashes = list(
        await session.scalars(
            select(Donor.address_hash).where(
                Donor.id.in_(donor_ids), Donor.address_hash.is_not(None)
            )
        )
    )
    await session.execute(
        delete(SignInLink).where(
            SignInLink.address_hash.in_(own_hashes) | SignInLink.older_hashes.overlap(own_hashes)
        )
    )


async def purge_expired(session: AsyncSession, now: datetime) -> None:
    """Delete expired sessions, and links that neither work nor are counted."""
    is_over = (SignInLink.requested_at < now - COUNTED_FOR) & (SignInLink.expires_at <= now)
    await session.execute(delete(SignInLink).where(is_over))
    await session.execute(delete(DonorSession).where(DonorSession.expires_at <= now))


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
