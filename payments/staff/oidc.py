"""Single sign-on of colleagues: an account at the newsroom's own OpenID Connect provider, if set.

An account signs in only the colleague who linked it to themselves by a one-time link; having an
account makes nobody a colleague, and roles stay ours. Of the account a keyed hash is stored.

An attempt lives in a signed cookie of the browser that started it: its state, nonce and PKCE
verifier are derived from one random seed in there, so no other browser can finish it and starting
one stores nothing. Its state is used up when it comes back, before the provider is asked.
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
from payments.staff import accounts, oidc_provider, sessions
from payments.staff.accounts import Staff
from payments.staff.oidc_provider import CLOCK_LEEWAY, ExternalAccount, OidcProvider, SsoRefused
from payments.staff.sessions import SESSION_LIFETIME, STEP_UP_LIFETIME

ATTEMPT_LIFETIME = timedelta(minutes=10)
ATTEMPT_COOKIE_PURPOSE = "sso attempt"
CALLBACK_PATH = "/staff/sign-on/back"  # registered with the provider, after our base URL


class SsoPurpose(StrEnum):
    """What an attempt is for. An account that signed in for one purpose is not used for another."""

    SIGN_IN = "sign in"
    STEP_UP = "step up"
    LINK = "link"


# Whoever signed in at the provider within a working day is not asked again; a step-up and a link
# that lasts ask for a new sign-in there.
AUTHORIZATION_PARAMS = {
    SsoPurpose.SIGN_IN: {"max_age": str(int(SESSION_LIFETIME.total_seconds()))},
    SsoPurpose.STEP_UP: {"prompt": "login", "max_age": "0"},
    SsoPurpose.LINK: {"prompt": "login"},
}


class StaffLinkedAccount(db.Base):
    """The account at the provider that signs a colleague in. One account, one colleague."""

    __tablename__ = "staff_linked_accounts"

    staff_id: Mapped[db.Id] = mapped_column(
        ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True
    )
    subject_hash: Mapped[bytes] = mapped_column(unique=True)
    linked_at: Mapped[db.Timestamp]
    last_used_at: Mapped[db.Timestamp | None]


@dataclass(frozen=True, slots=True)
class SsoAttempt:
    """One visit to the provider, as the cookie holds it.

    `bound_to` is the token of the link or the id of the session that it is for.
    """

    purpose: SsoPurpose
    bound_to: str
    return_path: str
    started_at: datetime
    seed: str

    @property
    def state(self) -> str:
        """The `state` parameter, which the callback must repeat."""
        return self._derive("state")

    @property
    def nonce(self) -> str:
        """The `nonce` claim that the ID token must hold."""
        return self._derive("nonce")

    @property
    def code_verifier(self) -> str:
        """The PKCE code verifier (RFC 7636)."""
        return self._derive("verifier")

    def _derive(self, label: str) -> str:
        return _base64url(hmac.digest(self.seed.encode(), label.encode(), hashlib.sha256))


# --- attempts -------------------------------------------------------------------------------------


def start_attempt(
    purpose: SsoPurpose, *, bound_to: str = "", return_path: str = "", now: datetime
) -> SsoAttempt:
    """Return a new attempt with a random seed."""
    return SsoAttempt(purpose, bound_to, return_path, now, secrets.token_urlsafe(32))


def encode_attempt(settings: Settings, attempt: SsoAttempt) -> str:
    """Return an attempt as the signed text of a cookie."""
    started_at = int(attempt.started_at.timestamp())
    payload = [attempt.purpose, attempt.bound_to, attempt.return_path, started_at, attempt.seed]
    return signing.sign_token(
        settings.hmac_keys, ATTEMPT_COOKIE_PURPOSE, payload, now=attempt.started_at
    )


def decode_attempt(settings: Settings, cookie: str, *, now: datetime) -> SsoAttempt:
    """Return the attempt of a cookie. Raises SsoRefused for one that is not ours or is too old."""
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
    """Return where the browser goes to sign in. Raises ProviderUnavailable."""
    params = {
        "redirect_uri": ctx.settings.base_url + CALLBACK_PATH,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": _base64url(hashlib.sha256(attempt.code_verifier.encode()).digest()),
        "code_challenge_method": "S256",
        **AUTHORIZATION_PARAMS[attempt.purpose],
    }
    return await oidc_provider.authorization_url(params, now=ctx.now())


async def redeem_callback(
    ctx: Context,
    oidc_provider: OidcProvider,
    attempt: SsoAttempt,
    callback_query: Mapping[str, str],
) -> ExternalAccount:
    """Return the account that an attempt was answered with, and use the attempt up.

    Raises SsoRefused, ProviderUnavailable.
    """
    if not hmac.compare_digest(callback_query.get("state", "").encode(), attempt.state.encode()):
        raise SsoRefused(
            "This is not the answer to the sign-in that was begun here last. Please begin again.",
            "state-mismatch",
        )
    async with ctx.sessions.begin() as session:
        expires_at = attempt.started_at + 2 * ATTEMPT_LIFETIME
        if not await sessions.consume_challenge(
            session, attempt.state.encode(), expires_at=expires_at
        ):
            raise SsoRefused("This was answered before. Please begin again.", "state-reused")
    if callback_query.get("iss", ctx.settings.oidc_issuer) != ctx.settings.oidc_issuer:
        raise SsoRefused(
            "This is the answer of another service. Nothing was done.", "callback-issuer-mismatch"
        )
    if not callback_query.get("code"):
        raise SsoRefused(
            "The sign-in service let nobody in, or you went back. Nothing was done.",
            "access-denied",
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
    """Return whose link or session an attempt is for, or None if it is nobody's any more."""
    try:
        match attempt:
            case SsoAttempt(purpose=SsoPurpose.LINK):
                return await accounts.get_by_link(session, attempt.bound_to, now=now)
            case SsoAttempt(purpose=SsoPurpose.STEP_UP):
                return (await sessions.resume(session, attempt.bound_to, now=now)).colleague
    except (LinkInvalid, Unauthenticated):
        pass
    return None


# --- linked accounts ------------------------------------------------------------------------------


async def sign_in(
    session: AsyncSession,
    settings: Settings,
    external_account: ExternalAccount,
    *,
    replaces: str | None,
    now: datetime,
) -> tuple[Staff, str]:
    """Start a session for the colleague of an account, in place of the browser's own.

    Returns both, the session by its token.

    It counts as a proof of the time at which they signed in at the provider, and as none if the
    provider does not say when. Raises SsoRefused.
    """
    colleague = await _colleague_of_account(session, settings, external_account, now=now)
    authenticated_at = external_account.authenticated_at or now - STEP_UP_LIFETIME
    if now - authenticated_at > SESSION_LIFETIME + CLOCK_LEEWAY:
        raise SsoRefused(
            "You signed in at the sign-in service too long ago. Sign out there, and begin again.",
            "authentication-too-old",
        )
    method = f"by {oidc_provider.provider_name(settings)}"
    return colleague, await sessions.start(
        session,
        colleague,
        method=method,
        replaces=replaces,
        authenticated_at=authenticated_at,
        now=now,
    )


async def step_up(
    session: AsyncSession,
    settings: Settings,
    attempt: SsoAttempt,
    external_account: ExternalAccount,
    *,
    now: datetime,
) -> tuple[Staff, str]:
    """Take an account as a recent proof of who is signed in.

    Returns the colleague, and the new token of their session. Raises SsoRefused, Unauthenticated.
    """
    staff_session = await sessions.resume(session, attempt.bound_to, now=now)
    colleague = await _colleague_of_account(session, settings, external_account, now=now)
    if colleague.id != staff_session.colleague.id:
        raise SsoRefused("This is a colleague's account. Nothing was done.", "account-of-another")
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
            "not-reauthenticated",
        )
    token = await sessions.record_step_up(
        session, staff_session, authenticated_at=external_account.authenticated_at, now=now
    )
    return staff_session.colleague, token


async def link_account(
    session: AsyncSession,
    settings: Settings,
    colleague: Staff,
    external_account: ExternalAccount,
    *,
    now: datetime,
) -> None:
    """Link this account to a colleague, in place of any other. Raises SsoRefused."""
    hashes = _subject_hashes(settings, external_account)
    await delete_linked_account(session, colleague)
    by_older_key = select(StaffLinkedAccount).where(StaffLinkedAccount.subject_hash.in_(hashes[1:]))
    linked_id = await session.scalar(
        insert(StaffLinkedAccount)
        .values(staff_id=colleague.id, subject_hash=hashes[0], linked_at=now)
        .on_conflict_do_nothing()
        .returning(StaffLinkedAccount.staff_id)
    )
    if linked_id is None or await session.scalar(by_older_key) is not None:
        raise SsoRefused("This is a colleague's account. Nothing was done.", "account-of-another")
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
    colleague = None if row is None else await session.get(Staff, row.staff_id)
    if row is None or colleague is None or not colleague.has_access(now):
        raise SsoRefused(
            "This account opens nothing here. A colleague is invited first, and chooses the "
            "account on the page of their link.",
            "unknown-account",
        )
    row.subject_hash, row.last_used_at = hashes[0], now  # by the newest key from now on
    return colleague


def _subject_hashes(settings: Settings, external_account: ExternalAccount) -> list[bytes]:
    """Return the hashes by which an account may be stored, the newest key's first.

    A subject is unique only together with its issuer.
    """
    issuer_and_subject = f"{settings.oidc_issuer}\n{external_account.subject}"
    return signing.hmac_digests(settings.hmac_keys, "staff linked account", issuer_and_subject)


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


async def get_linked_account(session: AsyncSession, staff_id: str) -> StaffLinkedAccount | None:
    """Return a colleague's linked account, if there is one."""
    return await session.get(StaffLinkedAccount, staff_id)


async def unlink_account(session: AsyncSession, colleague: Staff, *, now: datetime) -> None:
    """Remove a colleague's own linked account, if there is one."""
    if await delete_linked_account(session, colleague):
        await accounts.record_action(session, AuditAction.ACCOUNT_UNLINKED, colleague, now=now)


async def delete_linked_account(session: AsyncSession, colleague: Staff) -> bool:
    """Delete a linked account without an entry of its own in the audit log.

    Returns whether there was one.
    """
    statement = delete(StaffLinkedAccount).where(StaffLinkedAccount.staff_id == colleague.id)
    return await session.scalar(statement.returning(StaffLinkedAccount.staff_id)) is not None
