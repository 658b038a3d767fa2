"""Pack manifest: what a pack says of itself, and the signature under it.

JSON of one form: who reads it writes it once more and compares, so that no two programs can read
different things in it.
"""

import base64
import binascii
import json
from collections.abc import Iterable

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from payments.accounting.exports.transaction_totals import TransactionTotals

FORMAT_NAME = "reader-payments period pack 2"
MANIFEST_FILE, SIGNATURE_FILE = "manifest.json", "manifest.sig"
TRANSACTIONS_FILE, JOURNAL_FILE, ENTRIES_FILE = "transactions.csv", "journal.csv", "entries.csv"
CORRECTIONS_FILE = "corrections.csv"


class PackedFiles(msgspec.Struct, forbid_unknown_fields=True):
    """The bytes of the archive before the manifest: how many, and their SHA-256 in hex."""

    size: int
    sha256: str


class ChecklistPoint(msgspec.Struct, forbid_unknown_fields=True):
    """A condition of closing a month, and whether it was met."""

    description: str
    passed: bool


class UndoneClosing(msgspec.Struct, forbid_unknown_fields=True):
    """An earlier closing that was undone before this pack's. Times are UTC."""

    closing: int
    month: str
    reopened_at: str
    reopened_by: str
    reason: str


class Manifest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a pack says of itself. Hashes and the key are in hex, times UTC, totals minor units.

    `previous_manifest` is the SHA-256 of the manifest of the pack before, and null in the first.
    """

    format: str = FORMAT_NAME
    month: str
    zone: str
    closing: int
    closed_at: str
    last_seq: int
    previous_chain_head: str
    chain_head: str
    previous_manifest: str | None
    undone: list[UndoneClosing]
    checklist: list[ChecklistPoint]
    public_key: str
    totals: TransactionTotals
    files: dict[str, str]
    packed: PackedFiles

    def to_bytes(self) -> bytes:
        """Return it as JSON of the one form."""
        content = msgspec.to_builtins(self)
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def parse(data: bytes) -> Manifest:
    """Return the manifest that is written there. Raises ValueError, saying what it is not."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
        is_of_the_form = manifest.to_bytes() == data
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ValueError("it is not the JSON of a manifest") from None
    if manifest.format != FORMAT_NAME:
        raise ValueError(f"its form is unknown here; known is: {FORMAT_NAME}")
    if not is_of_the_form:
        raise ValueError("it is not written as it is written here")
    return manifest


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the file of the signature."""
    return base64.b64encode(key.sign(manifest)) + b"\n"


def find_signer(manifest: bytes, signature_file: bytes, keys: Iterable[str]) -> str | None:
    """Return which of the keys, in hex, the signature is of. Raises ValueError for no signature."""
    try:
        signature = base64.b64decode(signature_file, validate=False)
    except binascii.Error:
        raise ValueError("it has no signature") from None
    if base64.b64encode(signature) + b"\n" != signature_file:
        raise ValueError("its signature is not written as it is written here")
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, manifest)
        except (InvalidSignature, ValueError):
            continue
        return key
    return None
