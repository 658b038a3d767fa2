"""The pack of a closed month: what the accountant files, and can check years later without us.

A zip with the ledger, the journals, the payouts, the rows of the books with their hashes, and a
manifest: the SHA-256 of every file, the totals, what was proved, the hash of the pack before, all
signed with Ed25519. It is made once, kept as it is and sent out as it is: however often a closed
month is asked for, the bytes are the same. `verify` needs a pack and nothing else.
"""

import base64
import csv
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments import periods
from payments.errors import PaymentsError
from payments.exports import entries, journals, ledger, tables
from payments.exports.journals import Format, Journal
from payments.ledger import chain
from payments.periods import PeriodClosing
from payments.reports import payouts, period
from payments.reports.lines import Filters
from payments.runtime import Runtime
from payments.settings import Settings

FORM = "reader-payments period pack 1"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's own beginning: files say no time of their own
MOMENT = "%Y-%m-%dT%H:%M:%SZ"
LARGEST = 4 * 1024**3
ROWS = "rows.csv"
COLUMNS = ("seq", "debit", "credit", "amount_minor", "currency", "occurred_at",
           "balance_transaction", "contribution_id", "hash")  # fmt: skip
_ROWS = text(
    """
    SELECT seq, debit, credit, amount, currency, occurred_at, balance_transaction,
           contribution_id, hash
      FROM ledger_entries WHERE seq > :after AND seq <= :through ORDER BY seq
    """
)


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
        before = await periods.before(session, closing)
    files = await _files(rt, closing, before)
    manifest = _manifest(closing, before, files, key.public_key().public_bytes_raw().hex())
    files |= {MANIFEST: manifest, SIGNATURE: base64.b64encode(key.sign(manifest)) + b"\n"}
    async with rt.sessions.begin() as session:
        await session.execute(
            update(PeriodClosing)
            .where(PeriodClosing.id == closing.id, PeriodClosing.pack.is_(None))
            .values(pack=_zipped(files), manifest_hash=hashlib.sha256(manifest).digest())
        )


async def read(rt: Runtime, month: str) -> tuple[str, bytes]:
    """The pack of a closed month such as 2026-10: its file's name and its bytes, the same for ever.

    A pack that a crash left unmade is made now. Raises InvalidField, NotFound, NoSigningKey.
    """
    today = rt.now().astimezone(rt.settings.zone).date()
    async with rt.sessions() as session:
        closing = await periods.of(session, month, today=today)
    await keep(rt, closing)
    async with rt.sessions() as session:
        pack = await session.scalar(
            select(PeriodClosing.pack).where(PeriodClosing.id == closing.id)
        )
    assert pack is not None
    return f"payments-{month}-closing-{closing.id}.zip", pack


async def _files(
    rt: Runtime, closing: PeriodClosing, before: PeriodClosing | None
) -> dict[str, bytes]:
    """Every file but the manifest, by name. The month is closed: nothing moves under our hands."""
    zone, of = ZoneInfo(closing.zone), period.month_of(closing.month)
    words = f"period={of.words} zone={closing.zone}"
    async with rt.sessions() as session:
        lines = await _whole(ledger.as_csv(session, zone, Filters(of)))
    async with rt.sessions() as session:
        rows = entries.as_csv(session, zone, of, exported_in=f"journal {words}")
        journal = await _whole(rows)
    async with rt.sessions() as session:
        made = await journals.read(session, zone, of, accounts=journals.names(None))
        paid = await payouts.all_of(session)
        frozen = await _rows(session, closing, before)
    of_month = [one for one in paid if of.has(one.created_at.astimezone(zone).date())]
    return {
        "ledger.csv": lines,
        "journal.csv": journal,
        "payouts.csv": tables.payouts(of_month, exported_in=f"payouts {words}"),
        ROWS: frozen,
        **_programs(made, words),
    }


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


async def _whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def _rows(
    session: AsyncSession, closing: PeriodClosing, before: PeriodClosing | None
) -> bytes:
    """The rows of the chain since the closing before, whatever month they are of."""
    found = await session.execute(
        _ROWS,
        {"after": before.ledger_through if before else 0, "through": closing.ledger_through},
    )
    out = io.StringIO()
    write = csv.writer(out)
    write.writerow(COLUMNS)
    for row in found:
        moment = row.occurred_at.astimezone(UTC).strftime(MOMENT)
        write.writerow([
            row.seq, row.debit, row.credit, row.amount, row.currency, moment,
            row.balance_transaction, row.contribution_id or "", row.hash.hex(),
        ])  # fmt: skip
    return out.getvalue().encode()


def _manifest(
    closing: PeriodClosing, before: PeriodClosing | None, files: Mapping[str, bytes], key: str
) -> bytes:
    earlier = before.manifest_hash if before is not None else None
    said = {
        "form": FORM,
        "month": f"{closing.month:%Y-%m}",
        "zone": closing.zone,
        "closing": closing.id,
        "closed_at": closing.closed_at.astimezone(UTC).strftime(MOMENT),
        "ledger_through": closing.ledger_through,
        "chain_before": (before.chain_head if before is not None else chain.FIRST).hex(),
        "chain_head": closing.chain_head.hex(),
        "manifest_before": earlier.hex() if earlier is not None else None,
        "proofs": closing.proofs,
        "totals": _totals(files["ledger.csv"]),
        "files": {name: _digest(data) for name, data in sorted(files.items())},
        "public_key": key,
    }
    return json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _totals(lines: bytes) -> dict[str, dict[str, dict[str, int]]]:
    """What the ledger's lines sum up to by currency and type, in minor units."""
    sums: dict[str, dict[str, dict[str, int]]] = {}
    for row in _table(lines):
        of_currency = sums.setdefault(row["settlement_currency"], {})
        of = of_currency.setdefault(row["type"], {"lines": 0, "gross": 0, "fee": 0, "net": 0})
        of["lines"] += 1
        for name in ("gross", "fee", "net"):
            of[name] += int(row[f"{name}_minor"])
    return sums


def _zipped(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in sorted(files.items()):
            pack.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


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
        found = _totals(files["ledger.csv"])
    except (KeyError, ValueError, TypeError):
        return Check(says, "ledger.csv cannot be read")
    return Check(says, "" if found == manifest["totals"] else f"they sum up to {found}")


def _balance(files: Mapping[str, bytes]) -> Check:
    says = "The journal's debits equal its credits"
    sums: dict[str, Decimal] = {}
    try:
        for row in _table(files["journal.csv"]):
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
            last = chain.link(last, _frozen(row))
            if last.hex() != row["hash"]:
                return Check(says, f"row {row['seq']}")
    except (KeyError, ValueError, AssertionError):
        return Check(says, f"{ROWS} cannot be read")
    return Check(says, "" if last.hex() == manifest["chain_head"] else "it ends in another hash")


def _frozen(row: Mapping[str, str]) -> bytes:
    return chain.row_bytes(
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
