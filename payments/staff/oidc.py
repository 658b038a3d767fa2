"""The second door of colleagues: an account at the newsroom's own sign-in service, if one is set.

An account opens it only after its colleague tied it to themselves on the way in by a one-time link:
nobody becomes a colleague by having one, and what they may see stays ours to say. Of the account a
keyed hash is kept. An attempt lives in a cookie of the browser that began it, and all that it asks
back follows from one random number in there, so no other browser can finish it; it is spent when it
comes back, before anybody is asked. A page that begins one stores nothing.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import LinkSpent, NotSignedIn
from payments.core.settings import Settings
from payments.infra import db, signing
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime
from payments.staff import accounts, oidc_provider
from payments.staff.accounts import SESSION_LASTS, STEP_UP_LASTS, SignedIn, Staff
from payments.staff.oidc_provider import LEEWAY, Account, Issuer, SignOnRefused

ATTEMPT_LASTS = timedelta(minutes=10)
PURPOSE = "oidc attempt"
BACK = "/staff/sign-on/back"  # what the operator tells the issuer, after our address


class Aim(StrEnum):
    """What an account is asked for. An answer to one is none to another."""

    SIGN_IN = "sign in"
    CONFIRM = "confirm"
    TIE = "tie"


# A working day may pass before somebody who is signed in there is asked again; a fresh proof, and
# a tie that lasts, are given there and then.
ASKED = {
    Aim.SIGN_IN: {"max_age": str(int(SESSION_LASTS.total_seconds()))},
    Aim.CONFIRM: {"prompt": "login", "max_age": "0"},
    Aim.TIE: {"prompt": "login"},
}


class StaffAccount(db.Base):
    """The account elsewhere that opens the door for a colleague."""

    __tablename__ = "staff_accounts"

    staff_id: Mapped[db.OurId] = mapped_column(
        ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True
    )
    subject_hash: Mapped[bytes] = mapped_column(unique=True)
    tied_at: Mapped[db.Moment]
    used_at: Mapped[db.Moment | None]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One visit to the issuer, as the cookie has it. `bound` is the link or session it is for."""

    aim: Aim
    bound: str
    back: str
    begun_at: datetime
    seed: str

    @property
    def state(self) -> str:
        return self._follows("state")

    @property
    def nonce(self) -> str:
        return self._follows("nonce")

    @property
    def verifier(self) -> str:
        return self._follows("verifier")

    def _follows(self, what: str) -> str:
        return _written(hmac.digest(self.seed.encode(), what.encode(), hashlib.sha256))


# --- going there and coming back ------------------------------------------------------------------


def begin(aim: Aim, *, bound: str = "", back: str = "", now: datetime) -> Attempt:
    """A new attempt."""
    return Attempt(aim, bound, back, now, secrets.token_urlsafe(32))


def packed(settings: Settings, attempt: Attempt) -> str:
    """An attempt as the text of a cookie, which only we can write."""
    begun = int(attempt.begun_at.timestamp())
    what = [attempt.aim, attempt.bound, attempt.back, begun, attempt.seed]
    return signing.sign(settings.keys, PURPOSE, what, now=attempt.begun_at)


def unpacked(settings: Settings, cookie: str, *, now: datetime) -> Attempt:
    """The attempt of a cookie. Raises SignOnRefused for one that is not ours, or is too old."""
    try:
        what = signing.opened(settings.keys, PURPOSE, cookie, now=now, lasts=ATTEMPT_LASTS)
    except LinkSpent as error:
        raise SignOnRefused(
            "This sign-in was not begun in this browser, or too long ago. Please begin again.",
            "no-attempt",
        ) from error
    assert isinstance(what, list)
    aim, bound, back, begun, seed = what
    return Attempt(Aim(aim), bound, back, datetime.fromtimestamp(begun, UTC), seed)


async def entrance(rt: Runtime, there: Issuer, attempt: Attempt) -> str:
    """Where the browser goes to sign in. Raises IssuerAway."""
    asked = {
        "redirect_uri": rt.settings.base_url + BACK,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": _written(hashlib.sha256(attempt.verifier.encode()).digest()),
        "code_challenge_method": "S256",
        **ASKED[attempt.aim],
    }
    return await there.entrance(asked, now=rt.now())


async def account(rt: Runtime, there: Issuer, attempt: Attempt, said: Mapping[str, str]) -> Account:
    """Whose account answered an attempt, which is spent by it. Raises SignOnRefused, IssuerAway."""
    if not hmac.compare_digest(said.get("state", "").encode(), attempt.state.encode()):
        raise SignOnRefused(
            "This is not the answer to the sign-in that was begun here last. Please begin again.",
            "another-state",
        )
    async with rt.sessions.begin() as session:
        forget_at = attempt.begun_at + 2 * ATTEMPT_LASTS
        if not await accounts.answer_once(session, attempt.state.encode(), forget_at=forget_at):
            raise SignOnRefused("This was answered before. Please begin again.", "again")
    if said.get("iss", rt.settings.oidc_issuer) != rt.settings.oidc_issuer:
        raise SignOnRefused("This is the answer of another service. Nothing was done.", "mixed-up")
    if not said.get("code"):
        raise SignOnRefused(
            "The sign-in service let nobody in, or you went back. Nothing was done.", "not-let-in"
        )
    return await there.account(
        said["code"],
        verifier=attempt.verifier,
        nonce=attempt.nonce,
        redirect_uri=rt.settings.base_url + BACK,
        now=rt.now(),
    )


async def whose_attempt(
    session: AsyncSession, attempt: Attempt | None, *, now: datetime
) -> Staff | None:
    """Whose link or session an attempt is for, if it is still somebody's."""
    try:
        match attempt:
            case Attempt(aim=Aim.TIE):
                return await accounts.invited(session, attempt.bound, now=now)
            case Attempt(aim=Aim.CONFIRM):
                return (await accounts.resumed(session, attempt.bound, now=now)).person
    except (LinkSpent, NotSignedIn):
        pass
    return None


# --- what an account opens ------------------------------------------------------------------------


async def sign_in(
    session: AsyncSession, settings: Settings, found: Account, *, now: datetime
) -> tuple[Staff, str]:
    """Begin a session for the colleague of an account: as fresh a proof as was given there, and
    none where nothing is said of when. Raises SignOnRefused.
    """
    person = await _whose(session, settings, found, now=now)
    proved_at = found.proved_at or now - STEP_UP_LASTS
    if now - proved_at > SESSION_LASTS + LEEWAY:
        raise SignOnRefused(
            "You signed in at the sign-in service too long ago. Sign out there, and begin again.",
            "long-ago",
        )
    how = f"by {oidc_provider.name(settings)}"
    return person, await accounts.begin(session, person, how=how, proved_at=proved_at, now=now)


async def confirm(
    session: AsyncSession,
    settings: Settings,
    attempt: Attempt,
    found: Account,
    *,
    now: datetime,
) -> SignedIn:
    """Take an account as a fresh proof of who asks. Raises SignOnRefused, NotSignedIn."""
    asking = await accounts.resumed(session, attempt.bound, now=now)
    person = await _whose(session, settings, found, now=now)
    if person.id != asking.person.id:
        raise SignOnRefused("This is a colleague's account. Nothing was done.", "a-colleagues")
    if found.proved_at is None:
        raise SignOnRefused(
            "The sign-in service does not say when you proved who you are, so it cannot stand for "
            "a fresh proof. Use a passkey or a one-time link. Nothing was done.",
            "no-auth-time",
        )
    if found.proved_at < attempt.begun_at - LEEWAY:
        raise SignOnRefused(
            "The sign-in service did not ask you again who you are. Use a passkey or a one-time "
            "link. Nothing was done.",
            "not-asked-again",
        )
    await accounts.confirm(session, asking, proved_at=found.proved_at, now=now)
    return asking


async def tie(
    session: AsyncSession, settings: Settings, person: Staff, found: Account, *, now: datetime
) -> None:
    """Let this account, and no other, open the door for a colleague. Raises SignOnRefused."""
    hashes = _hashes(settings, found)
    await forget(session, person)
    older = select(StaffAccount).where(StaffAccount.subject_hash.in_(hashes[1:]))
    tied = await session.scalar(
        insert(StaffAccount)
        .values(staff_id=person.id, subject_hash=hashes[0], tied_at=now)
        .on_conflict_do_nothing()
        .returning(StaffAccount.staff_id)
    )
    if tied is None or await session.scalar(older) is not None:
        raise SignOnRefused("This is a colleague's account. Nothing was done.", "a-colleagues")
    await accounts.note(
        session, Deed.ACCOUNT_TIED, person, about=oidc_provider.name(settings), now=now
    )


async def _whose(
    session: AsyncSession, settings: Settings, found: Account, *, now: datetime
) -> Staff:
    hashes = _hashes(settings, found)
    row = await session.scalar(
        select(StaffAccount).where(StaffAccount.subject_hash.in_(hashes)).with_for_update()
    )
    person = None if row is None else await session.get(Staff, row.staff_id)
    if row is None or person is None or person.removed_at is not None:
        raise SignOnRefused(
            "This account opens nothing here. A colleague is invited first, and chooses the "
            "account on the page of their link.",
            "unknown-account",
        )
    row.subject_hash, row.used_at = hashes[0], now  # by the newest key from now on
    return person


def _hashes(settings: Settings, found: Account) -> list[bytes]:
    """Under which an account may be known. A subject says something only beside its issuer."""
    whole = f"{settings.oidc_issuer}\n{found.subject}"
    return signing.keyed_hashes(settings.keys, "staff account", whole)


def _written(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


# --- those that are there -------------------------------------------------------------------------


async def of(session: AsyncSession, staff_id: str) -> StaffAccount | None:
    """The account of a colleague, if they tied one."""
    return await session.get(StaffAccount, staff_id)


async def untie(session: AsyncSession, person: Staff, *, now: datetime) -> None:
    """Let a colleague's account open nothing any more, by themselves."""
    if await forget(session, person):
        await accounts.note(session, Deed.ACCOUNT_UNTIED, person, now=now)


async def forget(session: AsyncSession, person: Staff) -> bool:
    """The same, as a part of something that is written down itself. Gives whether there was one."""
    gone = delete(StaffAccount).where(StaffAccount.staff_id == person.id)
    return await session.scalar(gone.returning(StaffAccount.staff_id)) is not None
