"""Passkeys of colleagues: WebAuthn credentials, with user verification required.

A passkey is bound to our host, so a page of another host gets nothing from it. A challenge carries
its time and a MAC over its purpose and whom it is for, so showing one stores nothing; it is valid
for ten minutes and answered once. An authenticator that counts its signatures must count upwards
(https://www.w3.org/TR/webauthn-3/#sctn-sign-counter): otherwise the passkey may have been cloned,
and is refused.
"""

import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

import webauthn
from sqlalchemy import BigInteger, ForeignKey, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from webauthn.helpers import (
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from payments.core.errors import PaymentsError
from payments.core.settings import Settings
from payments.infra import db, signing
from payments.infra.audit_log import AuditAction
from payments.staff import accounts, sessions
from payments.staff.accounts import Staff

CHALLENGE_LIFETIME = timedelta(minutes=10)
CLOCK_SKEW = timedelta(minutes=1)  # between our own processes
TIMESTAMP_BYTES = 8
NONCE_BYTES = 24  # of a challenge before its MAC: the timestamp, the rest random
MAX_PASSKEYS = 10  # of one colleague


class PasskeyRefused(PaymentsError):
    """A passkey's response that is not accepted. `staff_id` is whose passkey it is, if known."""

    status = 403
    code = "passkey-refused"
    title = "The passkey was not accepted"

    def __init__(self, message: str, *, staff_id: str | None = None) -> None:
        super().__init__(message)
        self.staff_id = staff_id


class PasskeyCloned(PasskeyRefused):
    """A passkey whose signature count did not go up: it may have been cloned."""


class ChallengePurpose(StrEnum):
    """What a challenge is for. A response to one purpose is not accepted for another."""

    REGISTER = "register"
    SIGN_IN = "sign in"
    STEP_UP = "step up"


class StaffPasskey(db.Base):
    """The public half of one passkey."""

    __tablename__ = "staff_passkeys"

    credential_id: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    public_key: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)  # zero for authenticators without one
    registered_at: Mapped[db.Timestamp]
    last_used_at: Mapped[db.Timestamp | None]

    @property
    def fingerprint(self) -> str:
        """A short name for pages and the audit log, which does not reveal the credential's id."""
        return hashlib.sha256(self.credential_id).hexdigest()[:16]


def relying_party_id(settings: Settings) -> str:
    """Return the host that passkeys are bound to."""
    host = urlsplit(settings.base_url).hostname
    assert host is not None
    return host


def is_supported(settings: Settings) -> bool:
    """Whether passkeys work on this host. A browser binds one to a name, never to an IP address."""
    try:
        ipaddress.ip_address(relying_party_id(settings))
    except ValueError:
        return True
    return False


# --- challenges -----------------------------------------------------------------------------------


def registration_options(
    settings: Settings,
    colleague: Staff,
    existing: Sequence[StaffPasskey],
    *,
    bound_to: str,
    now: datetime,
) -> str:
    """Return the options for navigator.credentials.create(), as JSON.

    `bound_to` names the link or the session that may register the passkey.
    """
    options = webauthn.generate_registration_options(
        rp_id=relying_party_id(settings),
        rp_name=settings.publication_name,
        user_id=bytes.fromhex(colleague.id),
        user_name=colleague.name,
        challenge=_new_challenge(settings, ChallengePurpose.REGISTER, bound_to, now),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_descriptors(existing),
    )
    return webauthn.options_to_json(options)


def authentication_options(
    settings: Settings,
    purpose: ChallengePurpose,
    *,
    bound_to: str = "",
    existing: Sequence[StaffPasskey] = (),
    now: datetime,
) -> str:
    """Return the options for navigator.credentials.get(), as JSON.

    Only the `existing` passkeys may answer; without any, the person picks among those of this host.
    """
    options = webauthn.generate_authentication_options(
        rp_id=relying_party_id(settings),
        challenge=_new_challenge(settings, purpose, bound_to, now),
        allow_credentials=_descriptors(existing),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def _descriptors(existing: Sequence[StaffPasskey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=passkey.credential_id) for passkey in existing]


def _new_challenge(
    settings: Settings, purpose: ChallengePurpose, bound_to: str, now: datetime
) -> bytes:
    timestamp = int(now.timestamp()).to_bytes(TIMESTAMP_BYTES, "big")
    nonce = timestamp + secrets.token_bytes(NONCE_BYTES - TIMESTAMP_BYTES)
    return nonce + _challenge_macs(settings, purpose, bound_to, nonce)[0]


def _challenge_macs(
    settings: Settings, purpose: ChallengePurpose, bound_to: str, nonce: bytes
) -> list[bytes]:
    return signing.hmac_digests(
        settings.hmac_keys, f"passkey: {purpose}", f"{bound_to}:{nonce.hex()}"
    )


# --- responses ------------------------------------------------------------------------------------


async def register(
    session: AsyncSession,
    settings: Settings,
    colleague: Staff,
    credential_json: str,
    *,
    bound_to: str,
    now: datetime,
) -> StaffPasskey:
    """Verify and store a new passkey of a colleague. Raises PasskeyRefused."""
    with _refusing_malformed(colleague.id):
        credential = parse_registration_credential_json(_parse_json(credential_json))
        challenge = _verify_challenge(
            settings, ChallengePurpose.REGISTER, bound_to, credential.response.client_data_json, now
        )
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=relying_party_id(settings),
            expected_origin=settings.base_url,
            require_user_verification=True,
        )
    await _consume_challenge(session, challenge, now=now)
    if len(await list_for(session, colleague.id)) >= MAX_PASSKEYS:
        raise PasskeyRefused("Ten passkeys are the most. Remove one first.", staff_id=colleague.id)
    passkey: StaffPasskey | None = await session.scalar(
        insert(StaffPasskey)
        .values(
            credential_id=verified.credential_id,
            staff_id=colleague.id,
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            registered_at=now,
        )
        .on_conflict_do_nothing()
        .returning(StaffPasskey)
    )
    if passkey is None:
        raise PasskeyRefused("This passkey is known already.", staff_id=colleague.id)
    await accounts.record_action(
        session, AuditAction.PASSKEY_ADDED, colleague, object_id=passkey.fingerprint, now=now
    )
    return passkey


async def authenticate(
    session: AsyncSession,
    settings: Settings,
    purpose: ChallengePurpose,
    credential_json: str,
    *,
    bound_to: str = "",
    now: datetime,
) -> Staff:
    """Return whose passkey signed the challenge, and count the signature. Raises PasskeyRefused."""
    with _refusing_malformed(None):
        credential = parse_authentication_credential_json(_parse_json(credential_json))
        challenge = _verify_challenge(
            settings, purpose, bound_to, credential.response.client_data_json, now
        )
    passkey = await session.get(StaffPasskey, credential.raw_id, with_for_update=True)
    colleague = None if passkey is None else await session.get(Staff, passkey.staff_id)
    if passkey is None or colleague is None or not colleague.has_access(now):
        raise PasskeyRefused("This passkey is not known here, or was removed.")
    with _refusing_malformed(colleague.id):
        # The library raises the same error for a count that went back as for any other failure, so
        # it is given a count of zero, and the count is compared below.
        verified = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=relying_party_id(settings),
            expected_origin=settings.base_url,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    new_count = verified.new_sign_count
    if (passkey.sign_count or new_count) and new_count <= passkey.sign_count:
        raise PasskeyCloned(
            "This passkey counts backwards, so it may have been copied. It opens nothing. "
            "Ask an administrator for a new invitation.",
            staff_id=passkey.staff_id,
        )
    await _consume_challenge(session, challenge, now=now)
    passkey.sign_count, passkey.last_used_at = new_count, now
    return colleague


@contextmanager
def _refusing_malformed(staff_id: str | None) -> Iterator[None]:
    """Turn whatever the parsers raise for a malformed response into one PasskeyRefused."""
    try:
        yield
    except PasskeyRefused:
        raise
    except Exception as error:
        raise PasskeyRefused(
            "The answer of your browser could not be verified. Please try again.",
            staff_id=staff_id,
        ) from error


def _parse_json(credential_json: str) -> dict[str, object]:
    credential = json.loads(credential_json)
    if not isinstance(credential, dict):
        raise TypeError("a credential is an object")
    return credential


def _verify_challenge(
    settings: Settings, purpose: ChallengePurpose, bound_to: str, client_data: bytes, now: datetime
) -> bytes:
    """Return the challenge that was signed, if it is ours, for this, and recent.

    Raises PasskeyRefused.
    """
    challenge = parse_client_data_json(client_data).challenge
    nonce, mac = challenge[:NONCE_BYTES], challenge[NONCE_BYTES:]
    if not any(
        hmac.compare_digest(mac, expected)
        for expected in _challenge_macs(settings, purpose, bound_to, nonce)
    ):
        raise PasskeyRefused("This was not asked by us, or for something else. Please try again.")
    made_at = int.from_bytes(nonce[:TIMESTAMP_BYTES], "big")
    age = timedelta(seconds=now.timestamp() - made_at)
    if not -CLOCK_SKEW <= age <= CHALLENGE_LIFETIME:
        raise PasskeyRefused("The page was open for too long. Please try again.")
    return challenge


async def _consume_challenge(session: AsyncSession, challenge: bytes, *, now: datetime) -> None:
    if not await sessions.consume_challenge(
        session, challenge, expires_at=now + 2 * CHALLENGE_LIFETIME
    ):
        raise PasskeyRefused("This was answered before. Please try again.")


# --- a colleague's own ----------------------------------------------------------------------------


async def list_for(session: AsyncSession, staff_id: str) -> Sequence[StaffPasskey]:
    """Return a colleague's passkeys, the oldest first."""
    query = select(StaffPasskey).where(StaffPasskey.staff_id == staff_id)
    query = query.order_by(StaffPasskey.registered_at, StaffPasskey.credential_id).limit(
        MAX_PASSKEYS + 1
    )
    return list(await session.scalars(query))


async def remove(
    session: AsyncSession, colleague: Staff, fingerprint: str, *, now: datetime
) -> None:
    """Delete one of a colleague's passkeys, if it is there."""
    for passkey in await list_for(session, colleague.id):
        if passkey.fingerprint == fingerprint:
            await session.delete(passkey)
            await accounts.record_action(
                session, AuditAction.PASSKEY_REMOVED, colleague, object_id=fingerprint, now=now
            )
