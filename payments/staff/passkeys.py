"""Passkeys of colleagues: a key that never leaves its device, opened by a finger, a face or a PIN.

A passkey is made for our host alone, so a page that only looks like ours gets nothing from it. A
challenge is ours by its seal, good for ten minutes, for one purpose and one person, and answered
once; a page that shows one stores nothing. A device that counts its answers must count on: a count
that stands still or goes back means a copy, and opens nothing.
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
from sqlalchemy import BigInteger, ForeignKey, delete, select
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
from payments.infra import audit_log, db, signing
from payments.infra.audit_log import AuditAction
from payments.staff import accounts, oidc
from payments.staff.accounts import Staff

CHALLENGE_LIFETIME = timedelta(minutes=10)
NONCE_BYTES = 24  # bytes of a challenge before its seal: eight of the time, the rest chance
MAX_PASSKEYS = 10  # passkeys of one colleague


class PasskeyRefused(PaymentsError):
    """An answer of a passkey that does not open anything. `staff_id` says whose key it was."""

    status = 403
    code = "passkey-refused"
    title = "The passkey was not accepted"

    def __init__(self, message: str, *, staff_id: str | None = None) -> None:
        super().__init__(message)
        self.staff_id = staff_id


class PasskeyCloned(PasskeyRefused):
    """A passkey whose count went back: it may have been copied."""


class ChallengePurpose(StrEnum):
    """What a challenge is for. An answer to one is none to another."""

    REGISTER = "register"
    SIGN_IN = "sign in"
    STEP_UP = "step up"


class StaffPasskey(db.Base):
    """The public half of one passkey."""

    __tablename__ = "staff_passkeys"

    credential_id: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    public_key: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)  # as its device counts them; many do not
    registered_at: Mapped[db.Timestamp]
    last_used_at: Mapped[db.Timestamp | None]

    @property
    def fingerprint(self) -> str:
        """A name for a page and the audit, from which the key's id cannot be told."""
        return hashlib.sha256(self.credential_id).hexdigest()[:16]


def relying_party_id(settings: Settings) -> str:
    """What a passkey is bound to."""
    name = urlsplit(settings.base_url).hostname
    assert name is not None
    return name


def is_supported(settings: Settings) -> bool:
    """Browsers bind a passkey to a name, never to a bare IP."""
    try:
        ipaddress.ip_address(relying_party_id(settings))
    except ValueError:
        return True
    return False


# --- questions ------------------------------------------------------------------------------------


def registration_options(
    settings: Settings,
    colleague: Staff,
    existing: Sequence[StaffPasskey],
    *,
    bound_to: str,
    now: datetime,
) -> str:
    """What a page hands to its browser, as JSON, to have a passkey made. `bound` is the link or the
    session that may make it.
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
    """The same, to have one answer. Without `known` a person picks among theirs."""
    options = webauthn.generate_authentication_options(
        rp_id=relying_party_id(settings),
        challenge=_new_challenge(settings, purpose, bound_to, now),
        allow_credentials=_descriptors(existing),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def _descriptors(existing: Sequence[StaffPasskey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=key.credential_id) for key in existing]


def _new_challenge(
    settings: Settings, purpose: ChallengePurpose, bound_to: str, now: datetime
) -> bytes:
    made = int(now.timestamp()).to_bytes(8, "big") + secrets.token_bytes(NONCE_BYTES - 8)
    return made + _challenge_macs(settings, purpose, bound_to, made)[0]


def _challenge_macs(
    settings: Settings, purpose: ChallengePurpose, bound_to: str, nonce: bytes
) -> list[bytes]:
    return signing.hmac_digests(
        settings.hmac_keys, f"passkey: {purpose}", f"{bound_to}:{nonce.hex()}"
    )


# --- answers --------------------------------------------------------------------------------------


async def register(
    session: AsyncSession,
    settings: Settings,
    colleague: Staff,
    credential_json: str,
    *,
    bound_to: str,
    now: datetime,
) -> StaffPasskey:
    """Keep a passkey that was made for a colleague. Raises PasskeyRefused."""
    with _refusing_malformed(colleague.id):
        credential = parse_registration_credential_json(_parse_json(credential_json))
        challenge = _verify_challenge(
            settings, ChallengePurpose.REGISTER, bound_to, credential.response.client_data_json, now
        )
        made = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=relying_party_id(settings),
            expected_origin=settings.base_url,
            require_user_verification=True,
        )
    await _consume_challenge(session, challenge, now=now)
    if len(await list_for(session, colleague.id)) >= MAX_PASSKEYS:
        raise PasskeyRefused("Ten passkeys are the most. Remove one first.", staff_id=colleague.id)
    kept: StaffPasskey | None = await session.scalar(
        insert(StaffPasskey)
        .values(
            credential_id=made.credential_id,
            staff_id=colleague.id,
            public_key=made.credential_public_key,
            sign_count=made.sign_count,
            registered_at=now,
        )
        .on_conflict_do_nothing()
        .returning(StaffPasskey)
    )
    if kept is None:
        raise PasskeyRefused("This passkey is known already.", staff_id=colleague.id)
    await accounts.record_action(
        session, AuditAction.PASSKEY_ADDED, colleague, object_id=kept.fingerprint, now=now
    )
    return kept


async def authenticate(
    session: AsyncSession,
    settings: Settings,
    purpose: ChallengePurpose,
    credential_json: str,
    *,
    bound_to: str = "",
    now: datetime,
) -> Staff:
    """Whose passkey answered. Raises PasskeyRefused."""
    with _refusing_malformed(None):
        credential = parse_authentication_credential_json(_parse_json(credential_json))
        challenge = _verify_challenge(
            settings, purpose, bound_to, credential.response.client_data_json, now
        )
    key = await session.get(StaffPasskey, credential.raw_id, with_for_update=True)
    person = None if key is None else await session.get(Staff, key.staff_id)
    if key is None or person is None or person.removed_at is not None:
        raise PasskeyRefused("This passkey is not known here, or was removed.")
    with _refusing_malformed(person.id):
        # The library tells a count that went back in the words of any other failure, so it is
        # asked about all the rest, and the count is looked at here.
        verified = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=relying_party_id(settings),
            expected_origin=settings.base_url,
            credential_public_key=key.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    if (key.sign_count or verified.new_sign_count) and verified.new_sign_count <= key.sign_count:
        raise PasskeyCloned(
            "This passkey counts backwards, so it may have been copied. It opens nothing. "
            "Ask an administrator for a new invitation.",
            staff_id=key.staff_id,
        )
    await _consume_challenge(session, challenge, now=now)
    key.sign_count, key.last_used_at = verified.new_sign_count, now
    return person


@contextmanager
def _refusing_malformed(staff_id: str | None) -> Iterator[None]:
    """Whatever is odd about an answer is one refusal: its parsers stumble in many ways."""
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
    found = json.loads(credential_json)
    if not isinstance(found, dict):
        raise TypeError("an answer is an object")
    return found


def _verify_challenge(
    settings: Settings, purpose: ChallengePurpose, bound_to: str, client_data: bytes, now: datetime
) -> bytes:
    """The challenge that was answered, if we made it, for this, not long ago."""
    challenge = parse_client_data_json(client_data).challenge
    made, seal = challenge[:NONCE_BYTES], challenge[NONCE_BYTES:]
    if not any(
        hmac.compare_digest(seal, ours)
        for ours in _challenge_macs(settings, purpose, bound_to, made)
    ):
        raise PasskeyRefused("This was not asked by us, or for something else. Please try again.")
    age = now.timestamp() - int.from_bytes(made[:8], "big")
    if not -60 <= age <= CHALLENGE_LIFETIME.total_seconds():
        raise PasskeyRefused("The page was open for too long. Please try again.")
    return challenge


async def _consume_challenge(session: AsyncSession, challenge: bytes, *, now: datetime) -> None:
    if not await accounts.consume_challenge(
        session, challenge, expires_at=now + 2 * CHALLENGE_LIFETIME
    ):
        raise PasskeyRefused("This was answered before. Please try again.")


# --- those that are there -------------------------------------------------------------------------


async def list_for(session: AsyncSession, staff_id: str) -> Sequence[StaffPasskey]:
    """A colleague's passkeys, the oldest first."""
    query = select(StaffPasskey).where(StaffPasskey.staff_id == staff_id)
    query = query.order_by(StaffPasskey.registered_at, StaffPasskey.credential_id).limit(
        MAX_PASSKEYS + 1
    )
    return list(await session.scalars(query))


async def remove(
    session: AsyncSession, colleague: Staff, fingerprint: str, *, now: datetime
) -> None:
    """Remove one of a colleague's own, if it is there."""
    for key in await list_for(session, colleague.id):
        if key.fingerprint == fingerprint:
            await session.delete(key)
            await accounts.record_action(
                session, AuditAction.PASSKEY_REMOVED, colleague, object_id=fingerprint, now=now
            )


async def revoke_all(
    session: AsyncSession, colleague: Staff, *, by: Staff | None = None, now: datetime
) -> None:
    """A device is lost: its passkeys and an account elsewhere that it may be signed in to open
    nothing any more, and nobody is signed in by them.
    """
    await oidc.delete_linked_account(session, colleague)
    await session.execute(delete(StaffPasskey).where(StaffPasskey.staff_id == colleague.id))
    await accounts.revoke_access(session, colleague)
    about = f"all of {colleague.name}"
    if by is None:
        await audit_log.record(session, AuditAction.PASSKEY_REMOVED, object_id=about, now=now)
    else:
        await accounts.record_action(
            session, AuditAction.PASSKEY_REMOVED, by, object_id=about, now=now
        )
