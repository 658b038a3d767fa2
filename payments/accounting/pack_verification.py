"""Pack verification: whether packs of closed months are as signed, and follow one another.

It needs the packs and nothing else, neither database nor settings. A pack is made once more from
what it holds, and every byte compared. The public key its signer is known by, and the packs before
it, make the proof stronger. `docs/packs.md` has the form of a pack, and a program of its own that
verifies one.
"""

import csv
import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from payments.accounting import pack_archive, pack_manifest
from payments.accounting.exports import transaction_totals
from payments.accounting.exports.transaction_totals import TransactionTotals
from payments.accounting.pack_archive import MAX_PACK_BYTES, BrokenArchive, PackArchive
from payments.accounting.pack_manifest import (
    CORRECTIONS_FILE,
    ENTRIES_FILE,
    JOURNAL_FILE,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    TRANSACTIONS_FILE,
    Manifest,
)
from payments.ledger import hash_chain

_IS_A_PACK = "The file is a pack of a month, and holds nothing else"
# What reading a file may raise that somebody changed and signed himself.
_UNREADABLE = (LookupError, ValueError, TypeError, ArithmeticError, AttributeError, csv.Error)


@dataclass(frozen=True, slots=True)
class PackCheck:
    """One check of a pack. `problem` is empty when it passed."""

    description: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CheckedPack:
    """The checks of one pack, and what it says of itself where that can be read."""

    checks: Sequence[PackCheck]
    manifest: Manifest | None = None
    manifest_hash: str = ""  # SHA-256, in hex


def check_file(path: Path, *, keys: Collection[str] = ()) -> CheckedPack:
    """Run every check of the pack in a file. Raises OSError where that cannot be read."""
    with path.open("rb") as file:
        if path.stat().st_size <= MAX_PACK_BYTES:
            content = file.read(MAX_PACK_BYTES + 1)  # a pipe or a device has no size
            if len(content) <= MAX_PACK_BYTES:
                return check_pack(content, keys=keys)
    return CheckedPack([PackCheck(_IS_A_PACK, "it is larger than any pack")])


def check_pack(pack: bytes, *, keys: Collection[str] = ()) -> CheckedPack:
    """Run every check of one pack. `keys` are the public keys its signer is known by, in hex."""
    try:
        archive = pack_archive.read_archive(pack)
    except BrokenArchive as error:
        return CheckedPack([PackCheck(_IS_A_PACK, str(error))])
    checks = [PackCheck(_IS_A_PACK)]
    content = archive.read(MANIFEST_FILE)
    description = "Its manifest can be read, and in one way only"
    try:
        manifest = pack_manifest.parse(content)
    except ValueError as error:
        return CheckedPack([*checks, PackCheck(description, str(error))])
    checks += [
        PackCheck(description),
        _check_signature(archive, content, manifest, keys),
        _check_files(archive, manifest),
        *_check_figures(archive, manifest),
    ]
    return CheckedPack(checks, manifest, _sha256(content))


def check_chain(
    packs: Iterable[CheckedPack],
    *,
    keys: Collection[str] = (),
    previous: CheckedPack | None = None,
) -> list[PackCheck]:
    """Check that the packs follow one another without a gap, in whatever order they are given.

    `previous` is one more, which has to be before them. A pack that cannot be read is left out:
    its own check says so. Of a month that was closed again the earlier pack is undone, and the
    later one says by whom and why.
    """
    everything = [*packs, *([previous] if previous else [])]
    readable = [(one.manifest_hash, one.manifest) for one in everything if one.manifest is not None]
    ordered = sorted(readable, key=lambda pack: (pack[1].closing, pack[0]))
    undone = {
        each.closing: (each, by)
        for _, by in reversed(ordered)
        for each in by.undone
        if each.closing < by.closing
    }
    checks, valid_month = [], ""
    if previous is not None and previous.manifest not in (None, ordered[0][1]):
        checks.append(PackCheck(f"{_name(previous.manifest)} is before the others", "it is not"))
    for (before_hash, before), (_, after) in itertools.pairwise(ordered):
        problem = _break_between(before, before_hash, after, keys)
        checks.append(PackCheck(f"{_name(after)} follows {_name(before)}", problem))
    for _, manifest in ordered:
        if manifest.closing in undone:
            why, by = undone[manifest.closing]
            checks.append(
                PackCheck(
                    f"{_name(manifest)} is undone, says {_name(by)}: reopened {why.reopened_at}"
                    f" by {why.reopened_by}: {why.reason}"
                )
            )
            continue
        problem = "" if manifest.month > valid_month else f"so is {valid_month} before it"
        checks.append(PackCheck(f"{_name(manifest)} is undone by none of these packs", problem))
        valid_month = manifest.month
    return checks


def sum_transactions(lines: Iterable[str]) -> TransactionTotals:
    """Add up the transactions of a pack by currency and type, in minor units."""
    totals: TransactionTotals = {}
    for _ in transaction_totals.accumulate(csv.reader(lines), totals):
        pass
    return totals


# --- one pack -------------------------------------------------------------------------------------


def _check_signature(
    archive: PackArchive, content: bytes, manifest: Manifest, keys: Collection[str]
) -> PackCheck:
    description = f"The manifest is signed by its own key, {manifest.public_key}"
    if keys:
        description = "The manifest is signed by a key that is known"
    try:
        signature = archive.read(SIGNATURE_FILE)
        signer = pack_manifest.find_signer(content, signature, keys or [manifest.public_key])
    except ValueError as error:
        return PackCheck(description, str(error))
    if signer is None:
        return PackCheck(description, "the signature is not of this manifest and this key")
    return PackCheck(description, "" if signer == manifest.public_key else "it names another key")


def _check_files(archive: PackArchive, manifest: Manifest) -> PackCheck:
    description = "Every file, and every byte it is packed in, is as it was signed"
    found = {name: one for name, one in archive.digests.items()
             if name not in pack_archive.LAST_FILES}  # fmt: skip
    differing = sorted(
        name for name in found | manifest.files if found.get(name) != manifest.files.get(name)
    )
    if not differing and archive.packed_files != manifest.packed:
        return PackCheck(description, "the files are packed in other bytes")
    return PackCheck(description, ", ".join(differing))


def _check_figures(archive: PackArchive, manifest: Manifest) -> Iterator[PackCheck]:
    """Yield whether what the files say agrees with the manifest, and with one another."""
    steps: list[tuple[str, str, Callable[[PackArchive, Manifest], str]]] = [
        ("The transactions sum up to what the manifest says", TRANSACTIONS_FILE, _totals_problem),
        ("The journal's debits equal its credits", JOURNAL_FILE, _balance_problem),
        (
            "The rows of the books follow one another to the hash that was signed",
            ENTRIES_FILE,
            _chain_problem,
        ),
        (
            "Every correction in the books says who made it and why, as it was made",
            CORRECTIONS_FILE,
            _corrections_problem,
        ),
    ]
    for description, name, find_problem in steps:
        try:
            problem = find_problem(archive, manifest)
        except _UNREADABLE:
            problem = f"{name} cannot be read"
        yield PackCheck(description, problem)


def _totals_problem(archive: PackArchive, manifest: Manifest) -> str:
    totals = sum_transactions(archive.lines(TRANSACTIONS_FILE))
    return "" if totals == manifest.totals else f"they sum up to {totals}"


def _balance_problem(archive: PackArchive, _manifest: Manifest) -> str:
    balances: dict[str, Decimal] = {}
    for row in _rows(archive, JOURNAL_FILE):
        amount = Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0)
        balances[row["currency"]] = balances.get(row["currency"], Decimal(0)) + amount
    return ", ".join(f"{code} {balance}" for code, balance in sorted(balances.items()) if balance)


def _chain_problem(archive: PackArchive, manifest: Manifest) -> str:
    head, last_seq = bytes.fromhex(manifest.previous_chain_head), ""
    if manifest.previous_manifest is None and head != hash_chain.GENESIS_HASH:
        return "there are rows before it, and no pack of them"
    for row in _rows(archive, ENTRIES_FILE):
        head, last_seq = hash_chain.next_hash(head, _entry_bytes(row)), row["seq"]
        if head.hex() != row["hash"]:
            return f"row {last_seq}"
    if head.hex() != manifest.chain_head:
        return "it ends in another hash"
    return "" if last_seq in ("", str(manifest.last_seq)) else "it ends in another row"


def _corrections_problem(archive: PackArchive, _manifest: Manifest) -> str:
    booked = {row["seq"]: row["correction"] for row in _rows(archive, ENTRIES_FILE)
              if row["correction"]}  # fmt: skip
    corrections = {row["seq"]: row for row in _rows(archive, CORRECTIONS_FILE)}
    for seq in sorted(booked.keys() | corrections.keys(), key=int):
        row = corrections.get(seq)
        if row is None or booked.get(seq) not in _digests(row):
            return f"row {seq}"
    return ""


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
    """Return the bytes of an entry that its hash covers, from the very texts of the file."""
    names = ("seq", "debit", "credit", "amount_minor", "currency", "occurred_at",
             "balance_transaction", "contribution_id", "posting_version", "correction")  # fmt: skip
    return hash_chain.join_parts([row[name] for name in names])


def _rows(archive: PackArchive, name: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(archive.lines(name))


# --- several packs --------------------------------------------------------------------------------


def _break_between(
    before: Manifest, before_hash: str, after: Manifest, keys: Collection[str]
) -> str:
    """Return what keeps a pack from following another, or nothing."""
    if after == before:
        return "it is given twice"
    if after.previous_manifest != before_hash:
        return "it names another pack before it: one is missing, or one was made anew"
    if (after.previous_chain_head, after.last_seq >= before.last_seq) != (before.chain_head, True):
        return "its rows do not go on where those of the other end"
    if after.public_key != before.public_key and not {after.public_key, before.public_key} <= {
        *keys
    }:
        return "they are signed by two keys, and not both are known"
    return ""


def _name(manifest: Manifest) -> str:
    return f"pack {manifest.closing} of {manifest.month}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
