"""Files for accounting programs: the same bytes for a page, a command and a pack.

A file that its program would refuse is not made: ProgramRefuses says what is missing or too long.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.exports import (
    ZIP_TIMESTAMP,
    csv_journals,
    datev,
    deferred_journals,
    journals,
    plain_text,
    program_rules,
    statements,
)
from payments.accounting.exports.journal_format import JournalFormat, Program
from payments.accounting.exports.journals import Journal, ProgramRefuses
from payments.accounting.exports.program_rules import PROGRAM_LABELS, Names
from payments.accounting.reports.period import Period
from payments.core.errors import InvalidField

ProgramFiles = Mapping[str, bytes]  # by name
_EMPTY = "Nothing moved in this period, so there is nothing to write."


async def make(
    session: AsyncSession,
    zone: ZoneInfo,
    journal_format: JournalFormat,
    period: Period,
    names: Names,
    *,
    currency: str | None,
    description: str,
    deferred: bool = False,
) -> ProgramFiles:
    """Return the files of a period for a program, by name. Not for JournalFormat.CSV.

    `deferred` is the journal of deferred income instead, of a period of whole months. Raises
    InvalidField where several currencies moved and the program takes one, ProgramRefuses.
    """
    program = journal_format.program
    if program is not None and not journal_format.is_statement:
        _ensure_settings(names, program)
    if journal_format.is_statement and deferred:
        raise InvalidField(
            "format: a bank statement has no deferred income. Choose a journal.", field="format"
        )
    if journal_format.is_statement:
        lines = await statements.list_lines(session, zone, period, currency=currency)
        code = _only_currency(journal_format, {line.currency for line in lines})
        return _named(journal_format, period, code, statements.render(journal_format, lines, names))
    assert program is not None
    build = deferred_journals.build if deferred else journals.build
    built = journals.rename(await build(session, zone, period, currency=currency), names, program)
    if program is Program.PLAIN:
        before = {}
        if period.since is not None:
            read = deferred_journals.balances_before if deferred else journals.balances_before
            before = await read(session, zone, period.since, currency=currency)
        return _plain_text(
            journal_format, period, built, names,
            before=before, description=description, prefix="deferred-" if deferred else "",
        )  # fmt: skip
    code = _only_currency(journal_format, {journal.currency for journal in built})
    write = {Program.XERO: csv_journals.xero, Program.QBO: csv_journals.qbo,
             Program.DATEV: datev.datev}[program]  # fmt: skip
    return _named(journal_format, period, code, write(built, names))


def to_one_file(files: ProgramFiles) -> tuple[str, bytes]:
    """Return the only file, or all in an archive, and its name's ending."""
    if len(files) == 1:
        ((name, data),) = files.items()
        return "." + name.rpartition(".")[2], data
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIMESTAMP), data)
    return ".zip", packed.getvalue()


def _plain_text(
    journal_format: JournalFormat,
    period: Period,
    built: Sequence[Journal],
    names: Names,
    *,
    before: plain_text.Balances,
    description: str,
    prefix: str,
) -> ProgramFiles:
    if not built:
        raise ProgramRefuses(_EMPTY)
    after_last = built[-1].day + timedelta(days=1)
    return plain_text.plain_text(
        journal_format,
        built,
        names,
        before=before,
        until=period.until or after_last,
        description=description,
        prefix=prefix,
    )


def _ensure_settings(names: Names, program: Program) -> None:
    missing = program_rules.missing_settings(names, program)
    if missing:
        raise ProgramRefuses(
            f"{PROGRAM_LABELS[program]}: the account map has no {', '.join(missing)}. "
            "Nothing was written. Finance sets it on the page Accounts."
        )


def _only_currency(journal_format: JournalFormat, codes: set[str]) -> str:
    if not codes:
        raise ProgramRefuses(_EMPTY)
    if len(codes) > 1:
        raise InvalidField(
            f"currency: a file of {journal_format.label} is of one currency. "
            f"Choose one of {', '.join(sorted(codes))}.",
            field="currency",
        )
    return codes.copy().pop()


def _named(
    journal_format: JournalFormat, period: Period, currency: str, parts: Sequence[bytes]
) -> ProgramFiles:
    """Return the files by names that say what they are of; DATEV wants its own beginning."""
    prefix = "EXTF_Buchungsstapel" if journal_format is JournalFormat.DATEV else journal_format
    label = period.label.replace(" ", "-")
    return {
        f"{prefix}_{label}_{currency}_{number:02}.csv": data for number, data in enumerate(parts, 1)
    }
