"""The pack of a closed month: what the accountant files, and can check years later without us.

A zip with the ledger, the journals, the payouts, the rows of the books with their hashes, and a
manifest: the SHA-256 of every file, the totals, what was proved, the hash of the pack before, all
signed with Ed25519. It is made once, kept as it is and sent out as it is: however often a closed
month is asked for, the bytes are the same. `verify` needs a pack and nothing else.
"""

import asyncio
import base64
import csv
import hashlib
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any
from zoneinfo import ZoneInfo

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import text, update

from payments.accounting import period_close
from payments.accounting.exports import csv_tables, journals, ledger_entries, transactions_csv
from payments.accounting.exports import ledger_totals as exports_totals
from payments.accounting.exports.journals import Journal, JournalFormat
from payments.accounting.exports.ledger_totals import LedgerTotals
from payments.accounting.period_close import PeriodClosing
from payments.accounting.reports import payouts, period
from payments.accounting.reports.transactions import Filters
from payments.core.errors import PaymentsError
from payments.core.settings import Settings
from payments.infra.context import Context
from payments.ledger import hash_chain

FORMAT_NAME = "reader-payments period pack 1"
MANIFEST_FILE, SIGNATURE_FILE = "manifest.json", "manifest.sig"
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's own beginning: files say no time of their own
TIMESTAMP_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
MAX_UNPACKED_BYTES = 4 * 1024**3
CHUNK_SIZE = 1024**2
LEDGER_FILE, JOURNAL_FILE, ENTRIES_FILE = "ledger.csv", "journal.csv", "rows.csv"
# The rows of the chain since the closing before, whatever month they are of.
_ENTRIES_SQL = """
    COPY (
        SELECT seq, debit, credit, amount AS amount_minor, currency,
               to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS occurred_at,
               balance_transaction, contribution_id, encode(hash, 'hex') AS hash
          FROM ledger_entries WHERE seq > :after AND seq <= :through ORDER BY seq
    ) TO STDOUT (FORMAT csv, HEADER)
"""
_PACK_CHUNK = text("SELECT substring(pack FROM :at FOR :size) FROM period_closings WHERE id = :id")


class NotAPack(PaymentsError):
    """What was given to be checked is no pack of a month."""

    status = 422
    code = "not-a-pack"
    title = "This is not a pack of a closed month"


class NoSigningKey(PaymentsError):
    """Packs are signed, and there is no key to sign with."""

    status = 503
    code = "no-signing-key"
    title = "A month cannot be closed here yet"


# --- making it ------------------------------------------------------------------------------------


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The operator's key. Raises NoSigningKey."""
    if settings.close_pack_signing_key is None:
        raise NoSigningKey(
            "PAYMENTS_CLOSE_PACK_SIGNING_KEY is not set; `payments keys new --signing` prints one. "
            "Nothing was closed."
        )
    return Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex(settings.close_pack_signing_key.get_secret_value())
    )


def public_key(settings: Settings) -> str:
    """What the accountant keeps to check packs with, in hex."""
    return signing_key(settings).public_key().public_bytes_raw().hex()


async def build(ctx: Context, closing: PeriodClosing) -> None:
    """Make the pack of a closing, unless it is made already. What is made stays."""
    if closing.manifest_hash is not None:
        return
    key = signing_key(ctx.settings)
    async with ctx.sessions() as session:
        before = await period_close.previous(session, closing)
    with TemporaryDirectory() as name:
        folder = Path(name)
        await _write_files(ctx, closing, before, folder)
        said = _manifest_facts(closing, before, key.public_key().public_bytes_raw().hex())
        # Adding up, hashing and packing take seconds: pages are served meanwhile.
        manifest, pack = await asyncio.to_thread(_sign_and_zip, folder, said, key)
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(PeriodClosing)
            .where(PeriodClosing.id == closing.id, PeriodClosing.pack.is_(None))
            .values(pack=pack, manifest_hash=hashlib.sha256(manifest).digest())
        )


async def download(
    ctx: Context, month: str, out: IO[bytes], *, chunk_size: int = CHUNK_SIZE
) -> str:
    """Write the pack of a closed month such as 2026-10, the same bytes for ever. Gives the name of
    its file. A pack that a crash left unmade is made now. Raises InvalidField, NotFound,
    NoSigningKey.
    """
    today = ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()
    async with ctx.sessions() as session:
        closing = await period_close.get(session, month, today=today)
    await build(ctx, closing)
    at, of = 1, {"id": closing.id, "size": chunk_size}
    async with ctx.sessions() as session:
        while some := await session.scalar(_PACK_CHUNK, of | {"at": at}):
            out.write(some)
            at += len(some)
    assert at > 1
    return f"payments-{month}-closing-{closing.id}.zip"


async def _write_files(
    ctx: Context, closing: PeriodClosing, previous: PeriodClosing | None, folder: Path
) -> None:
    """Every file but the manifest. The month is closed: nothing moves under our hands."""
    zone, of = ZoneInfo(closing.zone), period.month_period(closing.month)
    words = f"period={of.label} zone={closing.zone}"
    async with ctx.sessions() as session:
        await _write_chunks(
            folder / LEDGER_FILE, transactions_csv.stream_csv(session, zone, Filters(of))
        )
    async with ctx.sessions() as session:
        rows = ledger_entries.stream_csv(session, zone, of, exported_in=f"journal {words}")
        await _write_chunks(folder / JOURNAL_FILE, rows)
    async with ctx.sessions() as session:
        after = previous.last_seq if previous else 0
        await transactions_csv.begin_snapshot(session, zone)
        frozen = {"after": after, "through": closing.last_seq}
        await _write_chunks(
            folder / ENTRIES_FILE, transactions_csv.copy_out(session, _ENTRIES_SQL, frozen)
        )
    async with ctx.sessions() as session:
        made = await journals.build(session, zone, of, accounts=journals.account_names(None))
        paid = await payouts.list_all(session)
    of_month = [one for one in paid if of.contains(one.created_at.astimezone(zone).date())]
    small = _program_journals(made, words)
    small["payouts.csv"] = csv_tables.payouts_csv(of_month, exported_in=f"payouts {words}")
    for name, data in small.items():
        await asyncio.to_thread((folder / name).write_bytes, data)


def _program_journals(made: Sequence[Journal], label: str) -> dict[str, bytes]:
    """The journals for accountants' programs: those of one currency, a file for each."""
    about = f"journal {label}"
    files = {
        "journal.beancount": journals.render(JournalFormat.BEANCOUNT, made, description=about)[0]
    }
    for code in sorted({journal.currency for journal in made}):
        of_code = [journal for journal in made if journal.currency == code]
        for kind in (JournalFormat.XERO, JournalFormat.QBO):
            for number, data in enumerate(journals.render(kind, of_code, description=about), 1):
                files[f"journal-{kind}-{code}-{number:02}.csv"] = data
    return files


async def _write_chunks(path: Path, chunks: AsyncIterator[bytes]) -> None:
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in chunks:
            file.write(chunk)


def _manifest_facts(
    closing: PeriodClosing, previous: PeriodClosing | None, key: str
) -> dict[str, object]:
    """What the manifest says that is in no file."""
    earlier = previous.manifest_hash if previous is not None else None
    return {
        "form": FORMAT_NAME,
        "month": f"{closing.month:%Y-%m}",
        "zone": closing.zone,
        "closing": closing.id,
        "closed_at": closing.closed_at.astimezone(UTC).strftime(TIMESTAMP_FORMAT),
        "last_seq": closing.last_seq,
        "chain_before": (
            previous.chain_head if previous is not None else hash_chain.GENESIS_HASH
        ).hex(),
        "chain_head": closing.chain_head.hex(),
        "manifest_before": earlier.hex() if earlier is not None else None,
        "checklist": closing.checklist,
        "public_key": key,
    }


def _sign_and_zip(
    folder: Path, facts: Mapping[str, object], key: Ed25519PrivateKey
) -> tuple[bytes, bytes]:
    """The manifest of the files in a folder, and all of it as a zip."""
    with (folder / LEDGER_FILE).open(encoding="utf-8", newline="") as lines:
        totals = _sum_ledger(lines)
    digests = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    said = {**facts, "totals": totals, "files": digests}
    manifest = json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    (folder / MANIFEST_FILE).write_bytes(manifest)
    (folder / SIGNATURE_FILE).write_bytes(base64.b64encode(key.sign(manifest)) + b"\n")
    paths, packed = sorted(folder.iterdir()), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as pack:
        for path in paths:
            part = zipfile.ZipInfo(path.name, ZIP_EPOCH)
            part.compress_type = zipfile.ZIP_DEFLATED
            part.file_size = path.stat().st_size  # so that a large one is announced as large
            with path.open("rb") as source, pack.open(part, "w") as target:
                shutil.copyfileobj(source, target, CHUNK_SIZE)
    return manifest, packed.getvalue()


def _sum_ledger(lines: Iterable[str]) -> LedgerTotals:
    """What the ledger's lines add up to by currency and type, in minor units."""
    found: LedgerTotals = {}
    for _ in exports_totals.accumulate(csv.reader(lines), found):
        pass
    return found


# --- checking it ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PackCheck:
    """One thing that was checked of a pack. `wrong` is empty when it holds."""

    description: str
    problem: str = ""


def verify(
    pack: bytes, *, key: str | None = None, previous_pack: bytes | None = None
) -> list[PackCheck]:
    """Check a pack with nothing but itself: the key its signer is known by and the pack before make
    the proof stronger. Raises NotAPack for something else.
    """
    files = _unzip(pack)
    manifest = _load_manifest(files)
    checks = [
        _check_signature(files, manifest, key),
        _check_contents(files, manifest),
        _check_totals(files, manifest),
        _check_journal_balance(files),
        _check_chain(files, manifest),
    ]
    if previous_pack is not None:
        wrong = (
            ""
            if manifest["manifest_before"] == _sha256(_unzip(previous_pack)[MANIFEST_FILE])
            else ("it names another")
        )
        checks.append(PackCheck("It follows the pack before it", wrong))
    return checks


def _unzip(pack: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(pack)) as found:
            if sum(one.file_size for one in found.infolist()) > MAX_UNPACKED_BYTES:
                raise NotAPack("This pack unfolds to more than any pack of ours would.")
            files = {name: found.read(name) for name in found.namelist()}
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise NotAPack(f"This is not a whole zip file: {type(error).__name__}.") from None
    if MANIFEST_FILE not in files or SIGNATURE_FILE not in files:
        raise NotAPack("This zip file has no signed manifest, so it is not a pack of a month.")
    return files


def _load_manifest(files: Mapping[str, bytes]) -> dict[str, Any]:  # what JSON holds
    try:
        said = json.loads(files[MANIFEST_FILE])
        if said["form"] != FORMAT_NAME:
            raise NotAPack(f"This pack is of a form unknown here; known is: {FORMAT_NAME}.")
    except (ValueError, KeyError, TypeError):
        raise NotAPack("The manifest of this pack cannot be read.") from None
    assert isinstance(said, dict)
    return said


def _check_signature(
    files: Mapping[str, bytes], manifest: Mapping[str, Any], key: str | None
) -> PackCheck:
    says = (
        "The manifest is signed by the key that is known"
        if key
        else (f"The manifest is signed by its own key, {manifest.get('public_key')}")
    )
    try:
        signer = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key or manifest["public_key"]))
        signer.verify(base64.b64decode(files[SIGNATURE_FILE], validate=False), files[MANIFEST_FILE])
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return PackCheck(says, "the signature is not of this manifest and this key")
    return PackCheck(says)


def _check_contents(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> PackCheck:
    said = manifest["files"]
    wrong = [name for name in sorted(said) if _sha256(files.get(name, b"")) != said[name]]
    more = sorted(set(files) - set(said) - {MANIFEST_FILE, SIGNATURE_FILE})
    return PackCheck("Every file is the one that was signed", ", ".join([*wrong, *more]))


def _check_totals(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> PackCheck:
    says = "The ledger's lines sum up to what the manifest says"
    try:
        found = _sum_ledger(io.StringIO(files[LEDGER_FILE].decode(), newline=""))
    except (LookupError, ValueError, csv.Error):
        return PackCheck(says, "ledger.csv cannot be read")
    return PackCheck(says, "" if found == manifest["totals"] else f"they sum up to {found}")


def _check_journal_balance(files: Mapping[str, bytes]) -> PackCheck:
    says = "The journal's debits equal its credits"
    sums: dict[str, Decimal] = {}
    try:
        for row in _csv_rows(files[JOURNAL_FILE]):
            line = Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0)
            sums[row["currency"]] = sums.get(row["currency"], Decimal(0)) + line
    except (KeyError, ArithmeticError, UnicodeDecodeError):
        return PackCheck(says, "journal.csv cannot be read")
    wrong = [f"{code} {left}" for code, left in sorted(sums.items()) if left]
    return PackCheck(says, ", ".join(wrong))


def _check_chain(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> PackCheck:
    says = "The rows of the books follow one another to the hash that was signed"
    try:
        last = bytes.fromhex(manifest["chain_before"])
        for row in _csv_rows(files[ENTRIES_FILE]):
            last = hash_chain.next_hash(last, _entry_bytes(row))
            if last.hex() != row["hash"]:
                return PackCheck(says, f"row {row['seq']}")
    except (KeyError, ValueError, AssertionError):
        return PackCheck(says, f"{ENTRIES_FILE} cannot be read")
    return PackCheck(
        says, "" if last.hex() == manifest["chain_head"] else "it ends in another hash"
    )


def _entry_bytes(row: Mapping[str, str]) -> bytes:
    return hash_chain.row_bytes(
        int(row["seq"]),
        row["debit"],
        row["credit"],
        int(row["amount_minor"]),
        row["currency"],
        datetime.strptime(row["occurred_at"], TIMESTAMP_FORMAT).replace(tzinfo=UTC),
        row["balance_transaction"],
        row["contribution_id"] or None,
    )


def _csv_rows(data: bytes) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(data.decode(), newline=""))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
