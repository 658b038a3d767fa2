"""Pack verification: whether the pack of a closed month is as it was signed.

It needs the pack and nothing else, neither database nor settings. The public key its signer is
known by, and the pack before it, make the proof stronger.
"""

import base64
import csv
import hashlib
import io
import itertools
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from payments.accounting.exports import transaction_totals
from payments.accounting.exports.transaction_totals import TransactionTotals
from payments.core.errors import PaymentsError
from payments.ledger import hash_chain

FORMAT_NAME = "reader-payments period pack 1"
MANIFEST_FILE, SIGNATURE_FILE = "manifest.json", "manifest.sig"
TRANSACTIONS_FILE, JOURNAL_FILE, ENTRIES_FILE = "transactions.csv", "journal.csv", "entries.csv"
CORRECTIONS_FILE = "corrections.csv"
MAX_UNPACKED_BYTES = 4 * 1024**3


class NotAPack(PaymentsError):
    """What was given to be checked is no pack of a month."""

    status = 422
    code = "not-a-pack"
    title = "This is not a pack of a closed month"


@dataclass(frozen=True, slots=True)
class PackCheck:
    """One check of a pack. `problem` is empty when it passed."""

    description: str
    problem: str = ""


def verify(
    pack: bytes, *, key: str | None = None, previous_pack: bytes | None = None
) -> list[PackCheck]:
    """Check a pack, and return every check. Raises NotAPack for something else.

    `key` is the public key of the signer in hex, `previous_pack` the pack of the closing before.
    """
    files = _unzip(pack)
    manifest = _load_manifest(files)
    checks = [
        _check_signature(files, manifest, key),
        _check_contents(files, manifest),
        _check_totals(files, manifest),
        _check_journal_balance(files),
        _check_chain(files, manifest),
        _check_corrections(files),
    ]
    if previous_pack is not None:
        previous_manifest = _sha256(_unzip(previous_pack)[MANIFEST_FILE])
        follows = manifest["previous_manifest"] == previous_manifest
        checks.append(
            PackCheck("It follows the pack before it", "" if follows else "it names another")
        )
    return checks


def sum_transactions(lines: Iterable[str]) -> TransactionTotals:
    """Add up the transactions of a pack by currency and type, in minor units."""
    totals: TransactionTotals = {}
    for _ in transaction_totals.accumulate(csv.reader(lines), totals):
        pass
    return totals


def _unzip(pack: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(pack)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
                raise NotAPack("This pack unfolds to more than any pack of ours would.")
            files = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise NotAPack(f"This is not a whole zip file: {type(error).__name__}.") from None
    if MANIFEST_FILE not in files or SIGNATURE_FILE not in files:
        raise NotAPack("This zip file has no signed manifest, so it is not a pack of a month.")
    return files


def _load_manifest(files: Mapping[str, bytes]) -> dict[str, Any]:  # what JSON holds
    try:
        manifest = json.loads(files[MANIFEST_FILE])
        if manifest["format"] != FORMAT_NAME:
            raise NotAPack(f"This pack is of a form unknown here; known is: {FORMAT_NAME}.")
    except (ValueError, KeyError, TypeError):
        raise NotAPack("The manifest of this pack cannot be read.") from None
    assert isinstance(manifest, dict)
    return manifest


def _check_signature(
    files: Mapping[str, bytes], manifest: Mapping[str, Any], key: str | None
) -> PackCheck:
    description = f"The manifest is signed by its own key, {manifest.get('public_key')}"
    if key:
        description = "The manifest is signed by the key that is known"
    try:
        signer = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key or manifest["public_key"]))
        signer.verify(base64.b64decode(files[SIGNATURE_FILE], validate=False), files[MANIFEST_FILE])
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return PackCheck(description, "the signature is not of this manifest and this key")
    return PackCheck(description)


def _check_contents(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> PackCheck:
    signed = manifest["files"]
    differing = [name for name in sorted(signed) if _sha256(files.get(name, b"")) != signed[name]]
    unsigned = sorted(set(files) - set(signed) - {MANIFEST_FILE, SIGNATURE_FILE})
    return PackCheck("Every file is the one that was signed", ", ".join([*differing, *unsigned]))


def _check_totals(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> PackCheck:
    description = "The transactions sum up to what the manifest says"
    try:
        totals = sum_transactions(io.StringIO(files[TRANSACTIONS_FILE].decode(), newline=""))
    except (LookupError, ValueError, csv.Error):
        return PackCheck(description, f"{TRANSACTIONS_FILE} cannot be read")
    problem = "" if totals == manifest["totals"] else f"they sum up to {totals}"
    return PackCheck(description, problem)


def _check_journal_balance(files: Mapping[str, bytes]) -> PackCheck:
    description = "The journal's debits equal its credits"
    balances: dict[str, Decimal] = {}
    try:
        for row in _csv_rows(files[JOURNAL_FILE]):
            amount = Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0)
            balances[row["currency"]] = balances.get(row["currency"], Decimal(0)) + amount
    except (KeyError, ArithmeticError, UnicodeDecodeError):
        return PackCheck(description, f"{JOURNAL_FILE} cannot be read")
    unbalanced = [f"{code} {balance}" for code, balance in sorted(balances.items()) if balance]
    return PackCheck(description, ", ".join(unbalanced))


def _check_chain(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> PackCheck:
    description = "The rows of the books follow one another to the hash that was signed"
    try:
        head = bytes.fromhex(manifest["previous_chain_head"])
        for row in _csv_rows(files[ENTRIES_FILE]):
            head = hash_chain.next_hash(head, _entry_bytes(row))
            if head.hex() != row["hash"]:
                return PackCheck(description, f"row {row['seq']}")
    except (KeyError, ValueError, AssertionError):
        return PackCheck(description, f"{ENTRIES_FILE} cannot be read")
    problem = "" if head.hex() == manifest["chain_head"] else "it ends in another hash"
    return PackCheck(description, problem)


def _check_corrections(files: Mapping[str, bytes]) -> PackCheck:
    description = "Every correction in the books says who made it and why, as it was made"
    try:
        booked = {row["seq"]: row["correction"] for row in _csv_rows(files[ENTRIES_FILE])}
        corrections = {row["seq"]: row for row in _csv_rows(files[CORRECTIONS_FILE])}
        for seq in sorted(booked.keys() | corrections.keys(), key=int):
            row, digest = corrections.get(seq), booked.get(seq)
            if bool(row) != bool(digest) or (row and digest not in _digests(row)):
                return PackCheck(description, f"row {seq}")
    except (KeyError, ValueError):
        return PackCheck(description, f"{CORRECTIONS_FILE} cannot be read")
    return PackCheck(description)


def _digests(row: Mapping[str, str]) -> set[str]:
    """Return the digests that a correction's row may have.

    A text that a spreadsheet would compute is written behind an apostrophe, which is not its own.
    """
    texts = ("reason", "proposed_by", "decided_by")
    forms = [{row[name], row[name].removeprefix("'")} for name in texts]
    digests = set()
    for reason, proposed_by, decided_by in itertools.product(*forms):
        parts = (
            "c1", row["id"], row["balance_transaction"], row["from_account"], row["debit"],
            row["credit"], row["amount_minor"], row["currency"], row["booked_on"],
            row["concerns_month"], row["decided"], _sha256(reason.encode()), row["proposed_at"],
            _sha256(proposed_by.encode()), row["outcome"], row["decided_at"],
            _sha256(decided_by.encode()) if decided_by else "",
        )  # fmt: skip
        digests.add(_sha256("|".join(parts).encode()))
    return digests


def _entry_bytes(row: Mapping[str, str]) -> bytes:
    return hash_chain.row_bytes(
        hash_chain.ChainedEntry(
            int(row["seq"]),
            row["debit"],
            row["credit"],
            int(row["amount_minor"]),
            row["currency"],
            datetime.strptime(row["occurred_at"], hash_chain.TIMESTAMP_FORMAT).replace(tzinfo=UTC),
            row["balance_transaction"],
            row["contribution_id"] or None,
            int(row["posting_version"]),
            bytes.fromhex(row["correction"]) or None,
        )
    )


def _csv_rows(data: bytes) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(data.decode(), newline=""))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
