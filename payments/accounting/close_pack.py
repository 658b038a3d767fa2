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
from payments.accounting.exports import csv_tables, journals, ledger_entries, transactions
from payments.accounting.exports import totals as exports_totals
from payments.accounting.exports.journals import Format, Journal
from payments.accounting.exports.totals import Sums
from payments.accounting.period_close import PeriodClosing
from payments.accounting.reports import payouts, period
from payments.accounting.reports.transactions import Filters
from payments.core.errors import PaymentsError
from payments.core.settings import Settings
from payments.infra.context import Runtime
from payments.ledger import hash_chain

FORM = "reader-payments period pack 1"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's own beginning: files say no time of their own
MOMENT = "%Y-%m-%dT%H:%M:%SZ"
LARGEST = 4 * 1024**3
PIECE = 1024**2
LEDGER, JOURNAL, ROWS = "ledger.csv", "journal.csv", "rows.csv"
# The rows of the chain since the closing before, whatever month they are of.
_ROWS = """
    COPY (
        SELECT seq, debit, credit, amount AS amount_minor, currency,
               to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS occurred_at,
               balance_transaction, contribution_id, encode(hash, 'hex') AS hash
          FROM ledger_entries WHERE seq > :after AND seq <= :through ORDER BY seq
    ) TO STDOUT (FORMAT csv, HEADER)
"""
_PIECE = text("SELECT substring(pack FROM :at FOR :size) FROM period_closings WHERE id = :id")


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
    if settings.signing_key is None:
        raise NoSigningKey(
            "PAYMENTS_SIGNING_KEY is not set; `payments keys new --signing` prints one. "
            "Nothing was closed."
        )
    return Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex(settings.signing_key.get_secret_value())
    )


def public_key(settings: Settings) -> str:
    """What the accountant keeps to check packs with, in hex."""
    return signing_key(settings).public_key().public_bytes_raw().hex()


async def keep(rt: Runtime, closing: PeriodClosing) -> None:
    """Make the pack of a closing, unless it is made already. What is made stays."""
    if closing.manifest_hash is not None:
        return
    key = signing_key(rt.settings)
    async with rt.sessions() as session:
        before = await period_close.before(session, closing)
    with TemporaryDirectory() as name:
        folder = Path(name)
        await _files(rt, closing, before, folder)
        said = _facts(closing, before, key.public_key().public_bytes_raw().hex())
        # Adding up, hashing and packing take seconds: pages are served meanwhile.
        manifest, pack = await asyncio.to_thread(_packed, folder, said, key)
    async with rt.sessions.begin() as session:
        await session.execute(
            update(PeriodClosing)
            .where(PeriodClosing.id == closing.id, PeriodClosing.pack.is_(None))
            .values(pack=pack, manifest_hash=hashlib.sha256(manifest).digest())
        )


async def read(rt: Runtime, month: str, out: IO[bytes], *, piece: int = PIECE) -> str:
    """Write the pack of a closed month such as 2026-10, the same bytes for ever. Gives the name of
    its file. A pack that a crash left unmade is made now. Raises InvalidField, NotFound,
    NoSigningKey.
    """
    today = rt.now().astimezone(rt.settings.zone).date()
    async with rt.sessions() as session:
        closing = await period_close.of(session, month, today=today)
    await keep(rt, closing)
    at, of = 1, {"id": closing.id, "size": piece}
    async with rt.sessions() as session:
        while some := await session.scalar(_PIECE, of | {"at": at}):
            out.write(some)
            at += len(some)
    assert at > 1
    return f"payments-{month}-closing-{closing.id}.zip"


async def _files(
    rt: Runtime, closing: PeriodClosing, before: PeriodClosing | None, folder: Path
) -> None:
    """Every file but the manifest. The month is closed: nothing moves under our hands."""
    zone, of = ZoneInfo(closing.zone), period.month_of(closing.month)
    words = f"period={of.words} zone={closing.zone}"
    async with rt.sessions() as session:
        await _written(folder / LEDGER, transactions.as_csv(session, zone, Filters(of)))
    async with rt.sessions() as session:
        rows = ledger_entries.as_csv(session, zone, of, exported_in=f"journal {words}")
        await _written(folder / JOURNAL, rows)
    async with rt.sessions() as session:
        after = before.ledger_through if before else 0
        await transactions.settle(session, zone)
        frozen = {"after": after, "through": closing.ledger_through}
        await _written(folder / ROWS, transactions.copied(session, _ROWS, frozen))
    async with rt.sessions() as session:
        made = await journals.read(session, zone, of, accounts=journals.names(None))
        paid = await payouts.all_of(session)
    of_month = [one for one in paid if of.has(one.created_at.astimezone(zone).date())]
    small = _programs(made, words)
    small["payouts.csv"] = csv_tables.payouts(of_month, exported_in=f"payouts {words}")
    for name, data in small.items():
        await asyncio.to_thread((folder / name).write_bytes, data)


def _programs(made: Sequence[Journal], words: str) -> dict[str, bytes]:
    """The journals for accountants' programs: those of one currency, a file for each."""
    about = f"journal {words}"
    files = {"journal.beancount": journals.files(Format.BEANCOUNT, made, about=about)[0]}
    for code in sorted({journal.currency for journal in made}):
        of_code = [journal for journal in made if journal.currency == code]
        for kind in (Format.XERO, Format.QBO):
            for number, data in enumerate(journals.files(kind, of_code, about=about), 1):
                files[f"journal-{kind}-{code}-{number:02}.csv"] = data
    return files


async def _written(path: Path, chunks: AsyncIterator[bytes]) -> None:
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in chunks:
            file.write(chunk)


def _facts(closing: PeriodClosing, before: PeriodClosing | None, key: str) -> dict[str, object]:
    """What the manifest says that is in no file."""
    earlier = before.manifest_hash if before is not None else None
    return {
        "form": FORM,
        "month": f"{closing.month:%Y-%m}",
        "zone": closing.zone,
        "closing": closing.id,
        "closed_at": closing.closed_at.astimezone(UTC).strftime(MOMENT),
        "ledger_through": closing.ledger_through,
        "chain_before": (before.chain_head if before is not None else hash_chain.FIRST).hex(),
        "chain_head": closing.chain_head.hex(),
        "manifest_before": earlier.hex() if earlier is not None else None,
        "proofs": closing.proofs,
        "public_key": key,
    }


def _packed(
    folder: Path, facts: Mapping[str, object], key: Ed25519PrivateKey
) -> tuple[bytes, bytes]:
    """The manifest of the files in a folder, and all of it as a zip."""
    with (folder / LEDGER).open(encoding="utf-8", newline="") as lines:
        totals = _totals(lines)
    digests = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    said = {**facts, "totals": totals, "files": digests}
    manifest = json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    (folder / MANIFEST).write_bytes(manifest)
    (folder / SIGNATURE).write_bytes(base64.b64encode(key.sign(manifest)) + b"\n")
    paths, packed = sorted(folder.iterdir()), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as pack:
        for path in paths:
            part = zipfile.ZipInfo(path.name, EPOCH)
            part.compress_type = zipfile.ZIP_DEFLATED
            part.file_size = path.stat().st_size  # so that a large one is announced as large
            with path.open("rb") as source, pack.open(part, "w") as target:
                shutil.copyfileobj(source, target, PIECE)
    return manifest, packed.getvalue()


def _totals(lines: Iterable[str]) -> Sums:
    """What the ledger's lines add up to by currency and type, in minor units."""
    found: Sums = {}
    for _ in exports_totals.added(csv.reader(lines), found):
        pass
    return found


# --- checking it ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked of a pack. `wrong` is empty when it holds."""

    says: str
    wrong: str = ""


def verify(pack: bytes, *, key: str | None = None, earlier: bytes | None = None) -> list[Check]:
    """Check a pack with nothing but itself: the key its signer is known by and the pack before make
    the proof stronger. Raises NotAPack for something else.
    """
    files = _unzipped(pack)
    manifest = _said(files)
    checks = [
        _signature(files, manifest, key),
        _contents(files, manifest),
        _sums(files, manifest),
        _balance(files),
        _links(files, manifest),
    ]
    if earlier is not None:
        wrong = (
            ""
            if manifest["manifest_before"] == _digest(_unzipped(earlier)[MANIFEST])
            else ("it names another")
        )
        checks.append(Check("It follows the pack before it", wrong))
    return checks


def _unzipped(pack: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(pack)) as found:
            if sum(one.file_size for one in found.infolist()) > LARGEST:
                raise NotAPack("This pack unfolds to more than any pack of ours would.")
            files = {name: found.read(name) for name in found.namelist()}
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise NotAPack(f"This is not a whole zip file: {type(error).__name__}.") from None
    if MANIFEST not in files or SIGNATURE not in files:
        raise NotAPack("This zip file has no signed manifest, so it is not a pack of a month.")
    return files


def _said(files: Mapping[str, bytes]) -> dict[str, Any]:  # what JSON holds
    try:
        said = json.loads(files[MANIFEST])
        if said["form"] != FORM:
            raise NotAPack(f"This pack is of a form unknown here; known is: {FORM}.")
    except (ValueError, KeyError, TypeError):
        raise NotAPack("The manifest of this pack cannot be read.") from None
    assert isinstance(said, dict)
    return said


def _signature(files: Mapping[str, bytes], manifest: Mapping[str, Any], key: str | None) -> Check:
    says = (
        "The manifest is signed by the key that is known"
        if key
        else (f"The manifest is signed by its own key, {manifest.get('public_key')}")
    )
    try:
        signer = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key or manifest["public_key"]))
        signer.verify(base64.b64decode(files[SIGNATURE], validate=False), files[MANIFEST])
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return Check(says, "the signature is not of this manifest and this key")
    return Check(says)


def _contents(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Check:
    said = manifest["files"]
    wrong = [name for name in sorted(said) if _digest(files.get(name, b"")) != said[name]]
    more = sorted(set(files) - set(said) - {MANIFEST, SIGNATURE})
    return Check("Every file is the one that was signed", ", ".join([*wrong, *more]))


def _sums(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Check:
    says = "The ledger's lines sum up to what the manifest says"
    try:
        found = _totals(io.StringIO(files[LEDGER].decode(), newline=""))
    except (LookupError, ValueError, csv.Error):
        return Check(says, "ledger.csv cannot be read")
    return Check(says, "" if found == manifest["totals"] else f"they sum up to {found}")


def _balance(files: Mapping[str, bytes]) -> Check:
    says = "The journal's debits equal its credits"
    sums: dict[str, Decimal] = {}
    try:
        for row in _table(files[JOURNAL]):
            line = Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0)
            sums[row["currency"]] = sums.get(row["currency"], Decimal(0)) + line
    except (KeyError, ArithmeticError, UnicodeDecodeError):
        return Check(says, "journal.csv cannot be read")
    wrong = [f"{code} {left}" for code, left in sorted(sums.items()) if left]
    return Check(says, ", ".join(wrong))


def _links(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Check:
    says = "The rows of the books follow one another to the hash that was signed"
    try:
        last = bytes.fromhex(manifest["chain_before"])
        for row in _table(files[ROWS]):
            last = hash_chain.link(last, _frozen(row))
            if last.hex() != row["hash"]:
                return Check(says, f"row {row['seq']}")
    except (KeyError, ValueError, AssertionError):
        return Check(says, f"{ROWS} cannot be read")
    return Check(says, "" if last.hex() == manifest["chain_head"] else "it ends in another hash")


def _frozen(row: Mapping[str, str]) -> bytes:
    return hash_chain.row_bytes(
        int(row["seq"]),
        row["debit"],
        row["credit"],
        int(row["amount_minor"]),
        row["currency"],
        datetime.strptime(row["occurred_at"], MOMENT).replace(tzinfo=UTC),
        row["balance_transaction"],
        row["contribution_id"] or None,
    )


def _table(data: bytes) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(data.decode(), newline=""))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
