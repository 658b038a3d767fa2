"""The close pack: the files of a closed month that the accountant stores, signed.

A zip with the transactions, the journals, the payouts, the ledger entries with their hashes, the
corrections among them with who made them and why, and a manifest: the SHA-256 of every file, the
totals, the checklist, the hash of the pack before, all signed with Ed25519. It is built once and
stored: however often it is downloaded, the bytes are the same. `pack_verification` checks it,
without a database.
"""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import pack_manifest, pack_verification, period_close
from payments.accounting.correction_checks import CORRECTION_DIGEST_SQL, JOIN_CORRECTIONS_SQL
from payments.accounting.exports import (
    account_map,
    csv_stream,
    csv_tables,
    journals,
    ledger_entries,
    program_files,
    transactions_csv,
)
from payments.accounting.exports.csv_cells import escape_formula_sql
from payments.accounting.exports.journal_format import JournalFormat
from payments.accounting.exports.journals import ProgramRefuses
from payments.accounting.exports.program_rules import Names
from payments.accounting.pack_archive import ArchiveWriter
from payments.accounting.pack_manifest import (
    CORRECTIONS_FILE,
    ENTRIES_FILE,
    JOURNAL_FILE,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    TRANSACTIONS_FILE,
    ChecklistPoint,
    Manifest,
    UndoneClosing,
)
from payments.accounting.period_close import PeriodClosing
from payments.accounting.reports import payouts, period
from payments.accounting.reports.period import Period
from payments.accounting.reports.transaction_filters import Filters
from payments.core.errors import PaymentsError
from payments.core.settings import Settings
from payments.infra.context import Context
from payments.ledger import hash_chain

CHUNK_BYTES = 1024**2
ACCOUNT_MAP_FILE, LEFT_OUT_FILE = "account-map.csv", "journals-left-out.txt"
# The entries of the chain since the closing before, whatever month they are of.
_ENTRIES_SQL = f"""
    SELECT e.seq, e.debit, e.credit, e.amount AS amount_minor, e.currency,
           to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS occurred_at,
           e.balance_transaction, e.contribution_id, e.posting_version,
           CASE WHEN e.correction_id IS NOT NULL
                THEN encode({CORRECTION_DIGEST_SQL}, 'hex') END AS correction,
           encode(e.hash, 'hex') AS hash
      FROM ledger_entries e{JOIN_CORRECTIONS_SQL}
     WHERE e.seq > :after
       AND e.seq <= :through
     ORDER BY e.seq
"""  # noqa: S608 - constants only
# Who moved what between two accounts, and why: the corrections among those entries.
_CORRECTIONS_SQL = f"""
    SELECT e.seq, correction.id, correction.balance_transaction, correction.from_account,
           correction.debit, correction.credit, correction.amount AS amount_minor,
           correction.currency, correction.booked_on, correction.concerns_month,
           CASE WHEN correction.needs_approval THEN 'two' ELSE 'alone' END AS decided,
           {escape_formula_sql("correction.reason")} AS reason,
           to_char(correction.proposed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
               AS proposed_at,
           {escape_formula_sql("correction.proposed_by")} AS proposed_by,
           decision.outcome,
           to_char(decision.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
               AS decided_at,
           {escape_formula_sql("decision.decided_by")} AS decided_by
      FROM ledger_entries e{JOIN_CORRECTIONS_SQL}
     WHERE e.correction_id IS NOT NULL
       AND e.seq > :after
       AND e.seq <= :through
     ORDER BY e.seq
"""  # noqa: S608 - constants only
_PACK_CHUNK = text(
    "SELECT substring(pack FROM :start FOR :size) FROM period_closings WHERE id = :id"
)


class NoSigningKey(PaymentsError):
    """Packs are signed, and there is no key to sign with."""

    status = 503
    code = "no-signing-key"
    title = "A month cannot be closed here yet"


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """Return the operator's key. Raises NoSigningKey."""
    if settings.close_pack_signing_key is None:
        raise NoSigningKey(
            "PAYMENTS_CLOSE_PACK_SIGNING_KEY is not set; `payments keys new --signing` prints one. "
            "Nothing was closed."
        )
    return Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex(settings.close_pack_signing_key.get_secret_value())
    )


def public_key(settings: Settings) -> str:
    """Return the key that packs are verified with, in hex. Raises NoSigningKey."""
    return signing_key(settings).public_key().public_bytes_raw().hex()


async def build(ctx: Context, closing: PeriodClosing) -> None:
    """Build and store the pack of a closing, unless it is there already. Raises NoSigningKey.

    The packs before it that a crash left unbuilt are built first: it names the one before.
    """
    if closing.manifest_hash is not None:
        return
    key = signing_key(ctx.settings)
    async with ctx.sessions() as session:
        previous = await period_close.previous(session, closing)
    if previous is not None and previous.manifest_hash is None:
        await build(ctx, previous)
    async with ctx.sessions() as session:
        previous = await period_close.previous(session, closing)
        undone = await _undone_before(session, closing)
    with TemporaryDirectory() as name:
        folder = Path(name)
        await _write_files(ctx, closing, previous, folder)
        # Adding up, hashing and zipping take seconds: pages are served meanwhile.
        manifest, pack = await asyncio.to_thread(
            _sign_and_zip, folder, closing, previous, undone, key
        )
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(PeriodClosing)
            .where(PeriodClosing.id == closing.id, PeriodClosing.pack.is_(None))
            .values(pack=pack, manifest_hash=hashlib.sha256(manifest).digest())
        )


async def download(
    ctx: Context,
    month: str,
    out: IO[bytes],
    *,
    closing_id: str | None = None,
    chunk_size: int = CHUNK_BYTES,
) -> str:
    """Write the pack of a closed month such as 2026-10, and return the name of its file.

    It is the valid one, or that of a closing of this month by its number, undone or not. A pack
    that a crash left unbuilt is built now. Raises InvalidField, NotFound or NoSigningKey.
    """
    today = ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()
    async with ctx.sessions() as session:
        closing = await period_close.get(session, month, today=today, closing_id=closing_id)
    await build(ctx, closing)
    start, params = 1, {"id": closing.id, "size": chunk_size}  # SQL counts bytes from 1
    async with ctx.sessions() as session:
        while chunk := await session.scalar(_PACK_CHUNK, {**params, "start": start}):
            out.write(chunk)
            start += len(chunk)
    assert start > 1
    return f"payments-{month}-pack-{closing.id}.zip"


async def _write_files(
    ctx: Context, closing: PeriodClosing, previous: PeriodClosing | None, folder: Path
) -> None:
    """Write every file but the manifest. The month is closed: nothing changes meanwhile."""
    zone, month = ZoneInfo(closing.zone), period.month_period(closing.month)
    description = f"period={month.label} zone={closing.zone}"
    async with ctx.sessions() as session:
        rows = transactions_csv.stream_csv(session, zone, Filters(month))
        await _write_chunks(folder / TRANSACTIONS_FILE, rows)
    async with ctx.sessions() as session:
        rows = ledger_entries.stream_csv(session, zone, month, exported_in=f"journal {description}")
        await _write_chunks(folder / JOURNAL_FILE, rows)
    async with ctx.sessions() as session:
        await csv_stream.begin_snapshot(session, zone)
        after = previous.last_seq if previous is not None else 0
        params = {"after": after, "through": closing.last_seq}
        for name, query in ((ENTRIES_FILE, _ENTRIES_SQL), (CORRECTIONS_FILE, _CORRECTIONS_SQL)):
            rows = csv_stream.copy_csv(session, query, params)
            await _write_chunks(folder / name, rows)
    async with ctx.sessions() as session:
        names = await account_map.current_names(session, at=closing.closed_at)
        small_files = await _program_files(session, zone, month, names, f"journal {description}")
        payouts_made = await payouts.list_all(session, zone, month)
    small_files["payouts.csv"] = csv_tables.payouts_csv(
        payouts_made, exported_in=f"payouts {description}"
    )
    for name, data in small_files.items():
        await asyncio.to_thread((folder / name).write_bytes, data)


async def _program_files(
    session: AsyncSession, zone: ZoneInfo, month: Period, names: Names, description: str
) -> dict[str, bytes]:
    """Return the files for accounting programs, the account map they are named by, and which were
    left out because their program would refuse them.
    """
    files, left_out = {ACCOUNT_MAP_FILE: account_map.to_csv(names)}, []
    built = await journals.build(session, zone, month)
    currencies = sorted({journal.currency for journal in built})
    for journal_format in (one for one in JournalFormat if one is not JournalFormat.CSV):
        for currency in currencies if journal_format.takes_one_currency else [None]:
            try:
                made = await program_files.make(
                    session, zone, journal_format, month, names,
                    currency=currency, description=description,
                )  # fmt: skip
            except ProgramRefuses as error:
                left_out.append(f"{journal_format.label} {currency or ''}: {error.detail}")
                continue
            prefix = "" if journal_format.takes_one_currency else f"{journal_format}-"
            files |= {prefix + name: data for name, data in made.items()}
    if left_out:
        files[LEFT_OUT_FILE] = "".join(f"{line}\n" for line in left_out).encode()
    return files


async def _write_chunks(path: Path, chunks: AsyncIterator[bytes]) -> None:
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in chunks:
            file.write(chunk)


async def _undone_before(session: AsyncSession, closing: PeriodClosing) -> list[UndoneClosing]:
    """Return every earlier closing that was undone. None is undone later: that would need this one
    undone before it, and a closing is undone only once its pack is made.
    """
    return [
        UndoneClosing(
            closing=one.id,
            month=f"{one.month:%Y-%m}",
            reopened_at=hash_chain.timestamp(one.reopened_at),
            reopened_by=one.reopened_by or "",
            reason=one.reopen_reason or "",
        )
        for one in reversed(await period_close.list_closings(session))
        if one.id < closing.id and one.reopened_at is not None
    ]


def _sign_and_zip(
    folder: Path,
    closing: PeriodClosing,
    previous: PeriodClosing | None,
    undone: list[UndoneClosing],
    key: Ed25519PrivateKey,
) -> tuple[bytes, bytes]:
    """Archive a folder's files with their manifest, signed. Returns the manifest and the archive.

    Raises BrokenArchive for a file that an archive of ours does not hold.
    """
    out = io.BytesIO()
    archive, digests = ArchiveWriter(out), {}
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            archive.add(path.name, file)
    with (folder / TRANSACTIONS_FILE).open(encoding="utf-8", newline="") as lines:
        totals = pack_verification.sum_transactions(lines)
    previous_head = hash_chain.GENESIS_HASH if previous is None else previous.chain_head
    previous_manifest = None if previous is None else previous.manifest_hash
    manifest = Manifest(
        month=f"{closing.month:%Y-%m}",
        zone=closing.zone,
        closing=closing.id,
        closed_at=hash_chain.timestamp(closing.closed_at),
        last_seq=closing.last_seq,
        previous_chain_head=previous_head.hex(),
        chain_head=closing.chain_head.hex(),
        previous_manifest=None if previous_manifest is None else previous_manifest.hex(),
        undone=undone,
        checklist=[ChecklistPoint(**point) for point in closing.checklist],
        public_key=key.public_key().public_bytes_raw().hex(),
        totals=totals,
        files=digests,
        packed=archive.packed_files(),
    ).to_bytes()
    archive.add(MANIFEST_FILE, io.BytesIO(manifest))
    archive.add(SIGNATURE_FILE, io.BytesIO(pack_manifest.sign(manifest, key)))
    archive.finish()
    return manifest, out.getvalue()
