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
from payments.infra.audit_log import Deed
from payments.staff import accounts, oidc
from payments.staff.accounts import Staff

CHALLENGE_LASTS = timedelta(minutes=10)
MADE = 24  # bytes of a challenge before its seal: eight of the time, the rest chance
MOST = 10  # passkeys of one colleague


class PasskeyRefused(PaymentsError):
    """An answer of a passkey that does not open anything. `staff_id` says whose key it was."""

    status = 403
    code = "passkey-refused"
    title = "The passkey was not accepted"

    def __init__(self, sentence: str, *, staff_id: str | None = None) -> None:
        super().__init__(sentence)
        self.staff_id = staff_id


class PasskeyCopied(PasskeyRefused):
    """A passkey whose count went back: it may have been copied."""


class Purpose(StrEnum):
    """What a challenge is for. An answer to one is none to another."""

    MAKE = "make a passkey"
    SIGN_IN = "sign in"
    CONFIRM = "confirm"


class StaffPasskey(db.Base):
    """The public half of one passkey."""

    __tablename__ = "staff_passkeys"

    credential_id: Mapped[bytes] = mapped_column(primary_key=True)
    staff_id: Mapped[db.OurId] = mapped_column(
        ForeignKey("staff.id", ondelete="CASCADE"), index=True
    )
    public_key: Mapped[bytes]
    answers: Mapped[int] = mapped_column(BigInteger)  # as its device counts them; many do not
    made_at: Mapped[db.Moment]
    used_at: Mapped[db.Moment | None]

    @property
    def name(self) -> str:
        """A name for a page and the audit, from which the key's id cannot be told."""
        return hashlib.sha256(self.credential_id).hexdigest()[:16]


def host(settings: Settings) -> str:
    """What a passkey is bound to."""
    name = urlsplit(settings.base_url).hostname
    assert name is not None
    return name


def are_possible(settings: Settings) -> bool:
    """Browsers bind a passkey to a name, never to a bare IP."""
    try:
        ipaddress.ip_address(host(settings))
    except ValueError:
        return True
    return False


# --- questions ------------------------------------------------------------------------------------


def ask_to_make(
    settings: Settings, person: Staff, known: Sequence[StaffPasskey], *, bound: str, now: datetime
) -> str:
    """What a page hands to its browser, as JSON, to have a passkey made. `bound` is the link or the
    session that may make it.
    """
    options = webauthn.generate_registration_options(
        rp_id=host(settings),
        rp_name=settings.publication,
        user_id=bytes.fromhex(person.id),
        user_name=person.name,
        challenge=_challenge(settings, Purpose.MAKE, bound, now),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_named(known),
    )
    return webauthn.options_to_json(options)


def ask(
    settings: Settings,
    purpose: Purpose,
    *,
    bound: str = "",
    known: Sequence[StaffPasskey] = (),
    now: datetime,
) -> str:
    """The same, to have one answer. Without `known` a person picks among theirs."""
    options = webauthn.generate_authentication_options(
        rp_id=host(settings),
        challenge=_challenge(settings, purpose, bound, now),
        allow_credentials=_named(known),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def _named(known: Sequence[StaffPasskey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=key.credential_id) for key in known]


def _challenge(settings: Settings, purpose: Purpose, bound: str, now: datetime) -> bytes:
    made = int(now.timestamp()).to_bytes(8, "big") + secrets.token_bytes(MADE - 8)
    return made + _seals(settings, purpose, bound, made)[0]


def _seals(settings: Settings, purpose: Purpose, bound: str, made: bytes) -> list[bytes]:
    return signing.keyed_hashes(settings.keys, f"passkey: {purpose}", f"{bound}:{made.hex()}")


# --- answers --------------------------------------------------------------------------------------


async def make(
    session: AsyncSession,
    settings: Settings,
    person: Staff,
    answer: str,
    *,
    bound: str,
    now: datetime,
) -> StaffPasskey:
    """Keep a passkey that was made for a colleague. Raises PasskeyRefused."""
    with _verifying(person.id):
        credential = parse_registration_credential_json(_read(answer))
        challenge = _asked(settings, Purpose.MAKE, bound, credential.response.client_data_json, now)
        made = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=host(settings),
            expected_origin=settings.base_url,
            require_user_verification=True,
        )
    await _spend(session, challenge, now=now)
    if len(await of(session, person.id)) >= MOST:
        raise PasskeyRefused("Ten passkeys are the most. Remove one first.", staff_id=person.id)
    kept: StaffPasskey | None = await session.scalar(
        insert(StaffPasskey)
        .values(
            credential_id=made.credential_id,
            staff_id=person.id,
            public_key=made.credential_public_key,
            answers=made.sign_count,
            made_at=now,
        )
        .on_conflict_do_nothing()
        .returning(StaffPasskey)
    )
    if kept is None:
        raise PasskeyRefused("This passkey is known already.", staff_id=person.id)
    await accounts.note(session, Deed.PASSKEY_ADDED, person, about=kept.name, now=now)
    return kept


async def verify(
    session: AsyncSession,
    settings: Settings,
    purpose: Purpose,
    answer: str,
    *,
    bound: str = "",
    now: datetime,
) -> Staff:
    """Whose passkey answered. Raises PasskeyRefused."""
    with _verifying(None):
        credential = parse_authentication_credential_json(_read(answer))
        challenge = _asked(settings, purpose, bound, credential.response.client_data_json, now)
    key = await session.get(StaffPasskey, credential.raw_id, with_for_update=True)
    person = None if key is None else await session.get(Staff, key.staff_id)
    if key is None or person is None or person.removed_at is not None:
        raise PasskeyRefused("This passkey is not known here, or was removed.")
    with _verifying(person.id):
        # The library tells a count that went back in the words of any other failure, so it is
        # asked about all the rest, and the count is looked at here.
        verified = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=host(settings),
            expected_origin=settings.base_url,
            credential_public_key=key.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    if (key.answers or verified.new_sign_count) and verified.new_sign_count <= key.answers:
        raise PasskeyCopied(
            "This passkey counts backwards, so it may have been copied. It opens nothing. "
            "Ask an administrator for a new invitation.",
            staff_id=key.staff_id,
        )
    await _spend(session, challenge, now=now)
    key.answers, key.used_at = verified.new_sign_count, now
    return person


@contextmanager
def _verifying(staff_id: str | None) -> Iterator[None]:
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


def _read(answer: str) -> dict[str, object]:
    found = json.loads(answer)
    if not isinstance(found, dict):
        raise TypeError("an answer is an object")
    return found


def _asked(
    settings: Settings, purpose: Purpose, bound: str, client_data: bytes, now: datetime
) -> bytes:
    """The challenge that was answered, if we made it, for this, not long ago."""
    challenge = parse_client_data_json(client_data).challenge
    made, seal = challenge[:MADE], challenge[MADE:]
    if not any(hmac.compare_digest(seal, ours) for ours in _seals(settings, purpose, bound, made)):
        raise PasskeyRefused("This was not asked by us, or for something else. Please try again.")
    age = now.timestamp() - int.from_bytes(made[:8], "big")
    if not -60 <= age <= CHALLENGE_LASTS.total_seconds():
        raise PasskeyRefused("The page was open for too long. Please try again.")
    return challenge


async def _spend(session: AsyncSession, challenge: bytes, *, now: datetime) -> None:
    if not await accounts.answer_once(session, challenge, forget_at=now + 2 * CHALLENGE_LASTS):
        raise PasskeyRefused("This was answered before. Please try again.")


# --- those that are there -------------------------------------------------------------------------


async def of(session: AsyncSession, staff_id: str) -> Sequence[StaffPasskey]:
    """A colleague's passkeys, the oldest first."""
    query = select(StaffPasskey).where(StaffPasskey.staff_id == staff_id)
    query = query.order_by(StaffPasskey.made_at, StaffPasskey.credential_id).limit(MOST + 1)
    return list(await session.scalars(query))


async def remove(session: AsyncSession, person: Staff, name: str, *, now: datetime) -> None:
    """Remove one of a colleague's own, if it is there."""
    for key in await of(session, person.id):
        if key.name == name:
            await session.delete(key)
            await accounts.note(session, Deed.PASSKEY_REMOVED, person, about=name, now=now)


async def revoke_all(
    session: AsyncSession, person: Staff, *, by: Staff | None = None, now: datetime
) -> None:
    """A device is lost: its passkeys and an account elsewhere that it may be signed in to open
    nothing any more, and nobody is signed in by them.
    """
    await oidc.forget(session, person)
    await session.execute(delete(StaffPasskey).where(StaffPasskey.staff_id == person.id))
    await accounts.end_all(session, person)
    about = f"all of {person.name}"
    if by is None:
        await audit_log.note(session, Deed.PASSKEY_REMOVED, about=about, now=now)
    else:
        await accounts.note(session, Deed.PASSKEY_REMOVED, by, about=about, now=now)
