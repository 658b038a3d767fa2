"""The address vault: addresses encrypted each under a key of its own, which can be destroyed.

The database holds the ciphertext (AES-256-GCM-SIV, RFC 8452, with its table, column and row as
associated data). The key is a file of its own in the key directory, wrapped by a key that is
derived from the operator's secret keys. To read an address takes the row, its file and a secret
key. Unlinking the file destroys the address in the database and in every copy of it.

Keys are files because a key in the database would be in yesterday's dump, and a key that many rows
share could not be destroyed for one of them. The price: the directory must be left out of backups
and snapshots, every web and worker process must see the same one (several hosts share a volume),
and when it is lost, so are its addresses. A disk may retain the bytes of an unlinked file for a
while; they are wrapped, so they are of no use without a secret key.

A key that was destroyed leaves its name behind, as an empty file in the folder `destroyed`. A key
that is not there without that, or that no secret key of this process opens, is not destroyed: the
folder may be another one, or a new secret key may not be here yet. Nothing follows from it but an
alert (KeyUnreadable).
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from email_validator import EmailNotValidError, validate_email

from payments.core.email import normalise_email
from payments.core.errors import InvalidField, PaymentsError
from payments.core.identifiers import is_row_id
from payments.core.settings import Settings
from payments.donors import donors

NONCE_BYTES = 12
DESTROYED = "destroyed"  # the folder of the names of keys that are gone
TOMBSTONE_RETENTION = timedelta(days=400)  # longer than backups are retained
ORPHANED_KEY_AGE = timedelta(hours=2)  # a key without a row is younger only while it is written


class KeyStoreMissing(PaymentsError):
    """No key directory is set, so no address can be stored."""

    status = 503
    code = "key-store-missing"
    title = "E-mail reminders are not available here"


class KeyUnreadable(Exception):
    """The key of an address was not destroyed, and this process cannot read it now."""


@dataclass(frozen=True, slots=True)
class AssociatedData:
    """Where a ciphertext is stored. Moved to another place it does not decrypt."""

    table: str
    column: str
    row_id: str

    @property
    def encoded(self) -> bytes:
        """The bytes that are authenticated with the ciphertext."""
        return f"{self.table}.{self.column}.{self.row_id}".encode()


def validated_email(address: str) -> str:
    """Return the normal form of an address that can be written to. Raises InvalidField.

    Letters beyond ASCII before the @ are refused: not every mail server can carry them.
    """
    try:
        normal = normalise_email(address)
        validate_email(normal, check_deliverability=False, allow_smtputf8=False)
    except (InvalidField, EmailNotValidError):
        raise _invalid_address() from None
    return normal


def _invalid_address() -> InvalidField:
    return InvalidField(
        "Please check the e-mail address. It should look like name@example.org.", field="address"
    )


async def address_hashes(settings: Settings, address: str) -> list[bytes]:
    """Return the keyed hashes of an address, the newest key's first. Raises InvalidField.

    They are those by which a donor is known: a donor's reminders can be listed and erased, and are
    not sent once they gave.
    """
    return await donors.address_hashes(settings, validated_email(address))


def has_key_store(settings: Settings) -> bool:
    """Whether a key directory is set."""
    return settings.address_key_dir != ""


def encrypt(settings: Settings, associated_data: AssociatedData, address: str) -> bytes:
    """Encrypt an address under a new key, which replaces any other. Raises KeyStoreMissing."""
    key = AESGCMSIV.generate_key(bit_length=256)
    row_id = associated_data.row_id
    _write_atomically(_key_path(settings, row_id), _wrap_key(settings.hmac_keys[0], key, row_id))
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCMSIV(key).encrypt(
        nonce, validated_email(address).encode(), associated_data.encoded
    )


def decrypt(
    settings: Settings, associated_data: AssociatedData, ciphertext: bytes | None
) -> str | None:
    """Return the address; None if its key is destroyed, or the ciphertext belongs elsewhere.

    Raises KeyUnreadable, after which the address must stay as it is.
    """
    if ciphertext is None or (key := _load_key(settings, associated_data.row_id)) is None:
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
    """Destroy the key of a row, if there is one. Its address cannot be decrypted any more."""
    path = _key_path(settings, row_id)
    try:
        _overwrite_in_place(path, secrets.token_bytes(NONCE_BYTES + 32 + 16))
    except FileNotFoundError:
        return
    tombstone = _tombstone(settings, row_id)
    tombstone.parent.mkdir(mode=0o700, exist_ok=True)
    tombstone.touch(mode=0o600)
    path.unlink(missing_ok=True)


def forget_destroyed(settings: Settings, *, now: float) -> None:
    """Remove the names of keys that were destroyed so long ago that no backup has their rows.

    `now` is a Unix time by the clock of the file system.
    """
    if not has_key_store(settings):
        return
    written_before = now - TOMBSTONE_RETENTION.total_seconds()
    for path in Path(settings.address_key_dir, DESTROYED).glob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < written_before:
                path.unlink()


def rewrap_keys(settings: Settings) -> int:
    """Wrap every key with the newest secret key, after a rotation. Returns how many were not.

    A key is overwritten in place, so that one destroyed meanwhile is not written anew.
    """
    rewrapped = 0
    newest, *older = settings.hmac_keys
    for path in _key_paths(settings) if older else ():
        with contextlib.suppress(FileNotFoundError):
            wrapped = path.read_bytes()
            if _unwrap_key(newest, wrapped, path.name) is not None:
                continue
            for secret in older:
                if (key := _unwrap_key(secret, wrapped, path.name)) is not None:
                    _overwrite_in_place(path, _wrap_key(newest, key, path.name))
                    rewrapped += 1
    return rewrapped


def old_keys(settings: Settings, *, now: float) -> list[str]:
    """Return the row ids of keys so old that they are orphaned if no row needs them.

    `now` is a Unix time by the clock of the file system.
    """
    written_before = now - ORPHANED_KEY_AGE.total_seconds()
    row_ids = []
    for path in _key_paths(settings):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < written_before:
                row_ids.append(path.name)
    return row_ids


def _load_key(settings: Settings, row_id: str) -> bytes | None:
    try:
        wrapped = _key_path(settings, row_id).read_bytes()
    except FileNotFoundError:
        if _tombstone(settings, row_id).exists():
            return None
        raise KeyUnreadable from None
    for secret in settings.hmac_keys:
        if (key := _unwrap_key(secret, wrapped, row_id)) is not None:
            return key
    if _tombstone(settings, row_id).exists():
        return None
    raise KeyUnreadable


def _wrap_key(secret: bytes, key: bytes, row_id: str) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCMSIV(_wrapping_key(secret)).encrypt(
        nonce, key, _key_associated_data(row_id)
    )


def _unwrap_key(secret: bytes, wrapped: bytes, row_id: str) -> bytes | None:
    try:
        return AESGCMSIV(_wrapping_key(secret)).decrypt(
            wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _key_associated_data(row_id)
        )
    except (InvalidTag, ValueError):
        return None


def _key_associated_data(row_id: str) -> bytes:
    return f"key.{row_id}".encode()


def _wrapping_key(secret: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=b"payments address keys").derive(secret)


def _key_path(settings: Settings, row_id: str) -> Path:
    if not has_key_store(settings):
        raise KeyStoreMissing("This newsroom can't store addresses safely yet. Nothing was stored.")
    assert is_row_id(row_id)
    return Path(settings.address_key_dir, row_id[:2], row_id)


def _tombstone(settings: Settings, row_id: str) -> Path:
    return Path(settings.address_key_dir, DESTROYED, row_id)


def _key_paths(settings: Settings) -> Iterator[Path]:
    if has_key_store(settings):
        yield from (p for p in Path(settings.address_key_dir).glob("??/*") if is_row_id(p.name))


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file, on the disk when this returns, readable by its owner alone."""
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
    """Overwrite the bytes of a file. Raises FileNotFoundError rather than make one."""
    with open(os.open(path, os.O_WRONLY), "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
