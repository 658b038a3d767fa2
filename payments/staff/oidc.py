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
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.core.errors import LinkInvalid, Unauthenticated
from payments.core.settings import Settings
from payments.infra import db, signing
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.staff import accounts, oidc_provider
from payments.staff.accounts import SESSION_LIFETIME, STEP_UP_LIFETIME, AuthenticatedStaff, Staff
from payments.staff.oidc_provider import CLOCK_LEEWAY, ExternalAccount, OidcProvider, SsoRefused

ATTEMPT_LIFETIME = timedelta(minutes=10)
ATTEMPT_COOKIE_PURPOSE = "oidc attempt"
CALLBACK_PATH = "/staff/sign-on/back"  # what the operator tells the issuer, after our address


class SsoPurpose(StrEnum):
    """What an account is asked for. An answer to one is none to another."""

    SIGN_IN = "sign in"
    STEP_UP = "step up"
    LINK = "link"


# A working day may pass before somebody who is signed in there is asked again; a fresh proof, and
# a tie that lasts, are given there and then.
AUTHORIZATION_PARAMS = {
    SsoPurpose.SIGN_IN: {"max_age": str(int(SESSION_LIFETIME.total_seconds()))},
    SsoPurpose.STEP_UP: {"prompt": "login", "max_age": "0"},
    SsoPurpose.LINK: {"prompt": "login"},
}


class StaffLinkedAccount(db.Base):
    """The account elsewhere that opens the door for a colleague."""

    __tablename__ = "staff_linked_accounts"

    staff_id: Mapped[db.Id] = mapped_column(
        ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True
    )
    subject_hash: Mapped[bytes] = mapped_column(unique=True)
    linked_at: Mapped[db.Timestamp]
    last_used_at: Mapped[db.Timestamp | None]


@dataclass(frozen=True, slots=True)
class SsoAttempt:
    """One visit to the issuer, as the cookie has it. `bound` is the link or session it is for."""

    purpose: SsoPurpose
    bound_to: str
    return_path: str
    started_at: datetime
    seed: str

    @property
    def state(self) -> str:
        return self._derive("state")

    @property
    def nonce(self) -> str:
        return self._derive("nonce")

    @property
    def code_verifier(self) -> str:
        return self._derive("verifier")

    def _derive(self, label: str) -> str:
        return _base64url(hmac.digest(self.seed.encode(), label.encode(), hashlib.sha256))


# --- going there and coming back ------------------------------------------------------------------


def start_attempt(
    purpose: SsoPurpose, *, bound_to: str = "", return_path: str = "", now: datetime
) -> SsoAttempt:
    """A new attempt."""
    return SsoAttempt(purpose, bound_to, return_path, now, secrets.token_urlsafe(32))


def encode_attempt(settings: Settings, attempt: SsoAttempt) -> str:
    """An attempt as the text of a cookie, which only we can write."""
    begun = int(attempt.started_at.timestamp())
    what = [attempt.purpose, attempt.bound_to, attempt.return_path, begun, attempt.seed]
    return signing.sign_token(
        settings.hmac_keys, ATTEMPT_COOKIE_PURPOSE, what, now=attempt.started_at
    )


def decode_attempt(settings: Settings, cookie: str, *, now: datetime) -> SsoAttempt:
    """The attempt of a cookie. Raises SignOnRefused for one that is not ours, or is too old."""
    try:
        purpose, bound_to, return_path, started_at, seed = signing.verify_token(
            settings.hmac_keys,
            ATTEMPT_COOKIE_PURPOSE,
            cookie,
            tuple[SsoPurpose, str, str, int, str],
            now=now,
            max_age=ATTEMPT_LIFETIME,
        )
    except LinkInvalid as error:
        raise SsoRefused(
            "This sign-in was not begun in this browser, or too long ago. Please begin again.",
            "no-attempt",
        ) from error
    return SsoAttempt(purpose, bound_to, return_path, from_unix(started_at), seed)


async def authorization_url(ctx: Context, oidc_provider: OidcProvider, attempt: SsoAttempt) -> str:
    """Where the browser goes to sign in. Raises IssuerAway."""
    asked = {
        "redirect_uri": ctx.settings.base_url + CALLBACK_PATH,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": _base64url(hashlib.sha256(attempt.code_verifier.encode()).digest()),
        "code_challenge_method": "S256",
        **AUTHORIZATION_PARAMS[attempt.purpose],
    }
    return await oidc_provider.authorization_url(asked, now=ctx.now())


async def redeem_callback(
    ctx: Context,
    oidc_provider: OidcProvider,
    attempt: SsoAttempt,
    callback_query: Mapping[str, str],
) -> ExternalAccount:
    """Whose account answered an attempt, which is spent by it. Raises SignOnRefused, IssuerAway."""
    if not hmac.compare_digest(callback_query.get("state", "").encode(), attempt.state.encode()):
        raise SsoRefused(
            "This is not the answer to the sign-in that was begun here last. Please begin again.",
            "another-state",
        )
    async with ctx.sessions.begin() as session:
        forget_at = attempt.started_at + 2 * ATTEMPT_LIFETIME
        if not await accounts.consume_challenge(
            session, attempt.state.encode(), expires_at=forget_at
        ):
            raise SsoRefused("This was answered before. Please begin again.", "again")
    if callback_query.get("iss", ctx.settings.oidc_issuer) != ctx.settings.oidc_issuer:
        raise SsoRefused("This is the answer of another service. Nothing was done.", "mixed-up")
    if not callback_query.get("code"):
        raise SsoRefused(
            "The sign-in service let nobody in, or you went back. Nothing was done.", "not-let-in"
        )
    return await oidc_provider.exchange_code(
        callback_query["code"],
        code_verifier=attempt.code_verifier,
        nonce=attempt.nonce,
        redirect_uri=ctx.settings.base_url + CALLBACK_PATH,
        now=ctx.now(),
    )


async def colleague_of_attempt(
    session: AsyncSession, attempt: SsoAttempt | None, *, now: datetime
) -> Staff | None:
    """Whose link or session an attempt is for, if it is still somebody's."""
    try:
        match attempt:
            case SsoAttempt(purpose=SsoPurpose.LINK):
                return await accounts.get_by_link(session, attempt.bound_to, now=now)
            case SsoAttempt(purpose=SsoPurpose.STEP_UP):
                return (await accounts.resume_session(session, attempt.bound_to, now=now)).colleague
    except (LinkInvalid, Unauthenticated):
        pass
    return None


# --- what an account opens ------------------------------------------------------------------------


async def sign_in(
    session: AsyncSession, settings: Settings, external_account: ExternalAccount, *, now: datetime
) -> tuple[Staff, str]:
    """Begin a session for the colleague of an account: as fresh a proof as was given there, and
    none where nothing is said of when. Raises SignOnRefused.
    """
    person = await _colleague_of_account(session, settings, external_account, now=now)
    proved_at = external_account.authenticated_at or now - STEP_UP_LIFETIME
    if now - proved_at > SESSION_LIFETIME + CLOCK_LEEWAY:
        raise SsoRefused(
            "You signed in at the sign-in service too long ago. Sign out there, and begin again.",
            "long-ago",
        )
    how = f"by {oidc_provider.provider_name(settings)}"
    return person, await accounts.start_session(
        session, person, method=how, authenticated_at=proved_at, now=now
    )


async def step_up(
    session: AsyncSession,
    settings: Settings,
    attempt: SsoAttempt,
    external_account: ExternalAccount,
    *,
    now: datetime,
) -> AuthenticatedStaff:
    """Take an account as a fresh proof of who asks. Raises SignOnRefused, NotSignedIn."""
    asking = await accounts.resume_session(session, attempt.bound_to, now=now)
    person = await _colleague_of_account(session, settings, external_account, now=now)
    if person.id != asking.colleague.id:
        raise SsoRefused("This is a colleague's account. Nothing was done.", "a-colleagues")
    if external_account.authenticated_at is None:
        raise SsoRefused(
            "The sign-in service does not say when you proved who you are, so it cannot stand for "
            "a fresh proof. Use a passkey or a one-time link. Nothing was done.",
            "no-auth-time",
        )
    if external_account.authenticated_at < attempt.started_at - CLOCK_LEEWAY:
        raise SsoRefused(
            "The sign-in service did not ask you again who you are. Use a passkey or a one-time "
            "link. Nothing was done.",
            "not-asked-again",
        )
    await accounts.record_step_up(
        session, asking, authenticated_at=external_account.authenticated_at, now=now
    )
    return asking


async def link_account(
    session: AsyncSession,
    settings: Settings,
    colleague: Staff,
    external_account: ExternalAccount,
    *,
    now: datetime,
) -> None:
    """Let this account, and no other, open the door for a colleague. Raises SignOnRefused."""
    hashes = _subject_hashes(settings, external_account)
    await delete_linked_account(session, colleague)
    older = select(StaffLinkedAccount).where(StaffLinkedAccount.subject_hash.in_(hashes[1:]))
    tied = await session.scalar(
        insert(StaffLinkedAccount)
        .values(staff_id=colleague.id, subject_hash=hashes[0], linked_at=now)
        .on_conflict_do_nothing()
        .returning(StaffLinkedAccount.staff_id)
    )
    if tied is None or await session.scalar(older) is not None:
        raise SsoRefused("This is a colleague's account. Nothing was done.", "a-colleagues")
    await accounts.record_action(
        session,
        AuditAction.ACCOUNT_LINKED,
        colleague,
        object_id=oidc_provider.provider_name(settings),
        now=now,
    )


async def _colleague_of_account(
    session: AsyncSession, settings: Settings, external_account: ExternalAccount, *, now: datetime
) -> Staff:
    hashes = _subject_hashes(settings, external_account)
    row = await session.scalar(
        select(StaffLinkedAccount)
        .where(StaffLinkedAccount.subject_hash.in_(hashes))
        .with_for_update()
    )
    person = None if row is None else await session.get(Staff, row.staff_id)
    if row is None or person is None or person.removed_at is not None:
        raise SsoRefused(
            "This account opens nothing here. A colleague is invited first, and chooses the "
            "account on the page of their link.",
            "unknown-account",
        )
    row.subject_hash, row.last_used_at = hashes[0], now  # by the newest key from now on
    return person


def _subject_hashes(settings: Settings, external_account: ExternalAccount) -> list[bytes]:
    """Under which an account may be known. A subject says something only beside its issuer."""
    whole = f"{settings.oidc_issuer}\n{external_account.subject}"
    return signing.hmac_digests(settings.hmac_keys, "staff account", whole)


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


# --- those that are there -------------------------------------------------------------------------


async def get_linked_account(session: AsyncSession, staff_id: str) -> StaffLinkedAccount | None:
    """The account of a colleague, if they tied one."""
    return await session.get(StaffLinkedAccount, staff_id)


async def unlink_account(session: AsyncSession, colleague: Staff, *, now: datetime) -> None:
    """Let a colleague's account open nothing any more, by themselves."""
    if await delete_linked_account(session, colleague):
        await accounts.record_action(session, AuditAction.ACCOUNT_UNLINKED, colleague, now=now)


async def delete_linked_account(session: AsyncSession, colleague: Staff) -> bool:
    """The same, as a part of something that is written down itself. Gives whether there was one."""
    gone = delete(StaffLinkedAccount).where(StaffLinkedAccount.staff_id == colleague.id)
    return await session.scalar(gone.returning(StaffLinkedAccount.staff_id)) is not None
