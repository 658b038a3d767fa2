"""The account map: what each of our ledger accounts is called in the newsroom's accounting
programs, and what else a file for that program must say.

One table, edited in a page or as a file, and used by downloads, packs and commands alike. Every
version is a row that never changes: the newest is the current one, and a pack carries the version
that was current when its month was closed. A name that its program would refuse is not saved
(`program_rules`).
"""

import csv
import io
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Identity, String, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.accounting.exports import csv_cells, program_rules
from payments.accounting.exports.journal_format import Program
from payments.accounting.exports.program_rules import (
    MAPPED_ACCOUNTS,
    SETTING_PREFIX,
    SETTINGS,
    Names,
)
from payments.core.errors import InvalidField, PaymentsError
from payments.infra import audit_log, db
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context

MAX_FILE_BYTES = 64 * 1024
HISTORY_SHOWN = 100
_LOCK_KEY = 0x6163636D6170  # "accmap": whoever holds this advisory lock may save a version
_ROW_COLUMN = "account"
_ROWS = (
    *MAPPED_ACCOUNTS,
    *(SETTING_PREFIX + name for name in dict.fromkeys(name for _, name in SETTINGS)),
)


class MapChanged(PaymentsError):
    """Somebody saved another version meanwhile. Nothing was saved."""

    status = 409
    code = "account-map-changed"
    title = "The account map was changed meanwhile"


class AccountMapVersion(db.Base):
    """One version. `names` maps a program to the name of each account and setting that has one."""

    __tablename__ = "account_maps"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    saved_at: Mapped[db.Timestamp]
    saved_by: Mapped[str] = mapped_column(String(80))
    names: Mapped[dict[str, dict[str, str]]] = mapped_column(JSONB)


async def current(session: AsyncSession, *, at: datetime | None = None) -> AccountMapVersion | None:
    """Return the newest version, or the one that was current at a time; None before the first."""
    query = select(AccountMapVersion).order_by(AccountMapVersion.id.desc()).limit(1)
    if at is not None:
        query = query.where(AccountMapVersion.saved_at <= at)
    version: AccountMapVersion | None = await session.scalar(query)
    return version


async def current_names(session: AsyncSession, *, at: datetime | None = None) -> Names:
    """Return the names of every program, with the defaults of what was never saved."""
    version = await current(session, at=at)
    return with_defaults({} if version is None else version.names)


async def get_version(session: AsyncSession, version_id: int) -> AccountMapVersion | None:
    """Return one version."""
    return await session.get(AccountMapVersion, version_id)


async def history(session: AsyncSession) -> list[AccountMapVersion]:
    """Return the last HISTORY_SHOWN versions, the newest first."""
    query = select(AccountMapVersion).order_by(AccountMapVersion.id.desc()).limit(HISTORY_SHOWN)
    return list(await session.scalars(query))


async def save(
    ctx: Context,
    names: Mapping[str, Mapping[str, str]],
    *,
    by: str,
    staff_id: str | None = None,
    based_on: int | None = None,
) -> int:
    """Save a version, which is the current one from now on. Returns its number.

    `based_on` is the version that was edited, 0 for none; without it nothing is compared. Raises
    InvalidField with every name that its program would refuse, and MapChanged.
    """
    cleaned = {
        str(program): {
            key: " ".join(value.split())
            for key, value in names.get(program, {}).items()
            if value.strip()
        }
        for program in Program
    }
    problems = program_rules.problems(with_defaults(cleaned))
    if problems:
        raise InvalidField(" ".join([*problems, "Nothing was saved."]), field="accounts")
    async with ctx.sessions.begin() as session:
        await db.advisory_lock(session, _LOCK_KEY)
        before = await current(session)
        if based_on is not None and based_on != (0 if before is None else before.id):
            raise MapChanged(
                "Somebody saved another version of the account map since you opened this page."
                " Nothing was saved."
            )
        if before is not None and before.names == cleaned:
            return before.id
        version = AccountMapVersion(saved_at=ctx.now(), saved_by=by, names=cleaned)
        session.add(version)
        await session.flush()
        await audit_log.record(
            session, AuditAction.ACCOUNT_MAP_CHANGED, staff_id=staff_id, name=by,
            object_id=f"version {version.id}", now=ctx.now(),
        )  # fmt: skip
        return version.id


def with_defaults(names: Mapping[str, Mapping[str, str]]) -> Names:
    """Return the names of every program; what has none has the default, where there is one."""
    return {
        program: {**program_rules.DEFAULTS[program], **names.get(program, {})}
        for program in Program
    }


def to_csv(names: Names) -> bytes:
    """Return the map as a table: a row for each account and setting, a column for each program."""
    rows = ([row, *(names[program].get(row, "") for program in Program)] for row in _ROWS)
    return csv_cells.to_csv([_ROW_COLUMN, *Program], rows)


def from_csv(data: bytes) -> dict[str, dict[str, str]]:
    """Return the names of a file as `to_csv` writes it, or as a spreadsheet saves it again.

    Commas or semicolons, UTF-8 or Windows-1252. Raises InvalidField.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InvalidField("file: it is too large for an account map.", field="file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=";" if ";" in head else ",")
    try:
        columns, *rows = [[cell.strip() for cell in row] for row in reader if any(row)]
    except (ValueError, csv.Error):
        raise InvalidField("file: this is no table.", field="file") from None
    unknown = [name for name in columns[1:] if name not in tuple(Program)]
    if columns[0] != _ROW_COLUMN or unknown or len(set(columns)) < len(columns):
        raise InvalidField(
            f"file: the first line must be {','.join([_ROW_COLUMN, *Program])}.", field="file"
        )
    names: dict[str, dict[str, str]] = {program: {} for program in Program}
    seen: set[str] = set()
    for row in rows:
        if row[0] not in _ROWS or row[0] in seen or len(row) > len(columns):
            raise InvalidField(
                f'file: the line "{row[0][:40]}" is no account or setting, stands twice, or is too'
                f" long. The lines are {', '.join(_ROWS)}.",
                field="file",
            )
        seen.add(row[0])
        for program, cell in zip(columns[1:], row[1:], strict=False):
            if cell:
                names[program][row[0]] = cell
    return names
