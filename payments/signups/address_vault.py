"""Addresses we must keep for a while: sealed, each under a key of its own that can be destroyed.

The database holds the sealed address (AES-256-GCM-SIV, bound to its table, column and row). The key
that opens it is a file of its own in the key store, wrapped by a key made from the operator's
secret keys. Three things are needed to read an address: the row, its file and a secret key.
Destroying is unlinking the file. A copy of the database, however old, then yields nothing.

Why files: a key inside the database would be in yesterday's dump, and a key that many rows share
could not be destroyed for one of them. The price: the store must be left out of backups and
snapshots, every web and worker process must see the same one (several hosts share a volume), and if
it is lost, so are the addresses in it: their reminders are not sent. A disk may keep the bytes of
an unlinked file for a while; they are wrapped, so they open nothing without a secret key.

The normal form of an address: no invisible characters, NFKC, no case, the domain in IDNA. Dots and
plus signs stay. Letters beyond ASCII before the @ are refused: not every mail server can carry
them.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from email_validator import EmailNotValidError, validate_email
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.email import normalise_email
from payments.core.errors import InvalidField, PaymentsError
from payments.core.identifiers import is_row_id
from payments.core.settings import Settings
from payments.donors import donors
from payments.infra import db

NONCE_BYTES = 12
ORPHANED_KEY_AGE = timedelta(
    hours=2
)  # a key older than this whose row is nowhere was left by a crash
CONFIRMATION_INTERVAL = timedelta(days=90)  # to an address that nobody has proved to be theirs


class KeyStoreMissing(PaymentsError):
    """Addresses cannot be kept here, so nothing by mail can be promised."""

    status = 503
    code = "key-store-missing"
    title = "Reminders by mail are not available here"


@dataclass(frozen=True, slots=True)
class AssociatedData:
    """Where a sealed address stands. Moved anywhere else it does not open."""

    table: str
    column: str
    row_id: str

    @property
    def encoded(self) -> bytes:
        return f"{self.table}.{self.column}.{self.row_id}".encode()


# --- the normal form ------------------------------------------------------------------------------


def validated_email(address: str) -> str:
    """The one form of a mailbox, however it is typed. Raises InvalidField, which names no part."""
    try:
        form = normalise_email(address)
        validate_email(form, check_deliverability=False, allow_smtputf8=False)
    except (InvalidField, EmailNotValidError):
        raise _invalid_address() from None
    return form


def _invalid_address() -> InvalidField:
    return InvalidField(
        "Please check the e-mail address. It should look like name@example.org.", field="address"
    )


def address_hashes(settings: Settings, address: str) -> list[bytes]:
    """The keyed hashes of an address, the newest key's first: the same by which a donor is known,
    so that what is held about one person can be told, erased, and left unsaid once they gave.
    """
    return donors.address_hashes(settings, validated_email(address))


# --- sealed under a key of its own ----------------------------------------------------------------


def has_key_store(settings: Settings) -> bool:
    """Whether there is a place for keys."""
    return settings.address_key_dir != ""


def encrypt(settings: Settings, associated_data: AssociatedData, address: str) -> bytes:
    """Seal an address under a new key. A key that the row had before is gone."""
    key = AESGCMSIV.generate_key(bit_length=256)
    _write_atomically(
        _key_path(settings, associated_data.row_id),
        _wrap_for_row(settings.hmac_keys[0], key, associated_data),
    )
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCMSIV(key).encrypt(
        nonce, validated_email(address).encode(), associated_data.encoded
    )


def decrypt(
    settings: Settings, associated_data: AssociatedData, ciphertext: bytes | None
) -> str | None:
    """The address of a cell; None once its key is destroyed, or if it is not this cell's."""
    if ciphertext is None or (key := _load_key(settings, associated_data)) is None:
        return None
    try:
        return (
            AESGCMSIV(key)
            .decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], associated_data.encoded)
            .decode()
        )
    except (InvalidTag, ValueError):
        return None


def destroy_key(settings: Settings, row_id: str) -> None:
    """Destroy the key of a row. Nothing opens its address any more, here or in any copy."""
    with contextlib.suppress(FileNotFoundError):
        _overwrite_in_place(_key_path(settings, row_id), secrets.token_bytes(NONCE_BYTES + 32 + 16))
    _key_path(settings, row_id).unlink(missing_ok=True)


def rewrap_keys(settings: Settings) -> int:
    """After a roll of the secret keys: wrap every key with the newest. Gives how many were not.

    A key is written over in place, so that one destroyed meanwhile is not brought back.
    """
    done = 0
    newest, *older = settings.hmac_keys
    for path in _key_paths(settings) if older else ():
        with contextlib.suppress(FileNotFoundError):
            wrapped = path.read_bytes()
            cell_name = _key_associated_data(path.name)
            if _unwrap_key(newest, wrapped, cell_name) is not None:
                continue
            for secret in older:
                if (key := _unwrap_key(secret, wrapped, cell_name)) is not None:
                    _overwrite_in_place(path, _wrap_key(newest, key, cell_name))
                    done += 1
    return done


def orphaned_keys(settings: Settings, *, now: float) -> list[str]:
    """The rows whose keys are old enough that a crash may have left them. `now` is a file's time,
    which no test turns.
    """
    old = now - ORPHANED_KEY_AGE.total_seconds()
    found = []
    for path in _key_paths(settings):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < old:
                found.append(path.name)
    return found


def _load_key(settings: Settings, associated_data: AssociatedData) -> bytes | None:
    try:
        wrapped = _key_path(settings, associated_data.row_id).read_bytes()
    except FileNotFoundError:
        return None
    for secret in settings.hmac_keys:
        if (
            key := _unwrap_key(secret, wrapped, _key_associated_data(associated_data.row_id))
        ) is not None:
            return key
    return None


def _wrap_for_row(secret: bytes, key: bytes, associated_data: AssociatedData) -> bytes:
    return _wrap_key(secret, key, _key_associated_data(associated_data.row_id))


def _key_associated_data(row_id: str) -> bytes:
    return f"key.{row_id}".encode()


def _wrap_key(secret: bytes, key: bytes, name: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCMSIV(_wrapping_key(secret)).encrypt(nonce, key, name)


def _unwrap_key(secret: bytes, wrapped: bytes, name: bytes) -> bytes | None:
    try:
        return AESGCMSIV(_wrapping_key(secret)).decrypt(
            wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], name
        )
    except (InvalidTag, ValueError):
        return None


def _wrapping_key(secret: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=b"payments address keys").derive(secret)


def _key_path(settings: Settings, row_id: str) -> Path:
    if not has_key_store(settings):
        raise KeyStoreMissing(
            "This newsroom cannot keep an address safely yet. Nothing was stored."
        )
    assert is_row_id(row_id)
    return Path(settings.address_key_dir, row_id[:2], row_id)


def _key_paths(settings: Settings) -> Iterator[Path]:
    if has_key_store(settings):
        yield from (p for p in Path(settings.address_key_dir).glob("??/*") if is_row_id(p.name))


def _write_atomically(path: Path, content: bytes) -> None:
    """Put a whole file in its place and on the disk, for its owner's eyes only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _overwrite_in_place(path: Path, content: bytes) -> None:
    """Write over the bytes of a file that is there. Never makes one."""
    with open(os.open(path, os.O_WRONLY), "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


# --- never to these -------------------------------------------------------------------------------


class SuppressionReason(StrEnum):
    """Why an address is not written to."""

    UNSUBSCRIBED = "unsubscribed"  # its owner said never
    COMPLAINED = "complained"
    BOUNCED = "bounced"


# A mailbox that was full or away may come back. What a person decided stands.
SUPPRESSION_LIFETIMES = {SuppressionReason.BOUNCED: timedelta(days=180)}


class SuppressedAddress(db.Base):
    """A mailbox that is not written to, by its keyed hash."""

    __tablename__ = "suppressed_addresses"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    reason: Mapped[SuppressionReason] = mapped_column(
        db.enum_column(SuppressionReason, "reason_is_known")
    )
    suppressed_at: Mapped[db.Timestamp]
    expires_at: Mapped[db.Timestamp | None]  # null: for good


class ConfirmationMail(db.Base):
    """That a mailbox nobody had proved was written to, by its keyed hash."""

    __tablename__ = "confirmation_mails"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    sent_at: Mapped[db.Timestamp] = mapped_column(index=True)


async def suppress(
    session: AsyncSession, address_hash: bytes, reason: SuppressionReason, *, now: datetime
) -> None:
    """Never write to this address again, or not for a while. A person's word outlasts a bounce."""
    lasts = SUPPRESSION_LIFETIMES.get(reason)
    values = {
        "reason": reason,
        "suppressed_at": now,
        "expires_at": None if lasts is None else now + lasts,
    }
    await session.execute(
        insert(SuppressedAddress)
        .values(address_hash=address_hash, **values)
        .on_conflict_do_update(
            index_elements=["address_hash"],
            set_=values,
            where=SuppressedAddress.expires_at.is_not(None),
        )
    )


async def is_suppressed(session: AsyncSession, hashes: Sequence[bytes], *, now: datetime) -> bool:
    """Whether an address is not to be written to. `known` are its hashes, under every key."""
    found = await session.scalar(
        select(func.count())
        .select_from(SuppressedAddress)
        .where(
            SuppressedAddress.address_hash.in_(hashes),
            SuppressedAddress.expires_at.is_(None) | (SuppressedAddress.expires_at > now),
        )
    )
    return bool(found)


async def may_send_confirmation(
    session: AsyncSession, hashes: Sequence[bytes], *, now: datetime
) -> bool:
    """Whether an unproved address was left alone for long enough."""
    found = await session.scalar(
        select(func.count())
        .select_from(ConfirmationMail)
        .where(
            ConfirmationMail.address_hash.in_(hashes),
            ConfirmationMail.sent_at > now - CONFIRMATION_INTERVAL,
        )
    )
    return not found


async def claim_confirmation(
    session: AsyncSession, hashes: Sequence[bytes], *, now: datetime
) -> bool:
    """Take the one mail that an unproved address may get, if it is still to be had."""
    if not await may_send_confirmation(session, hashes, now=now):
        return False
    claimed = await session.scalar(
        insert(ConfirmationMail)
        .values(address_hash=hashes[0], sent_at=now)
        .on_conflict_do_update(
            index_elements=["address_hash"],
            set_={"sent_at": now},
            where=ConfirmationMail.sent_at <= now - CONFIRMATION_INTERVAL,
        )
        .returning(ConfirmationMail.address_hash)
    )
    return claimed is not None


async def confirmations_sent_since(session: AsyncSession, since: datetime) -> int:
    """How many unproved addresses were written to."""
    found = await session.scalar(
        select(func.count()).select_from(ConfirmationMail).where(ConfirmationMail.sent_at > since)
    )
    return found or 0


async def purge_expired(session: AsyncSession, *, now: datetime) -> None:
    """What no longer decides anything."""
    await session.execute(
        delete(ConfirmationMail).where(ConfirmationMail.sent_at <= now - CONFIRMATION_INTERVAL)
    )
    await session.execute(delete(SuppressedAddress).where(SuppressedAddress.expires_at <= now))
