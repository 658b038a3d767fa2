"""CSV as PostgreSQL writes it: COPY, in chunks, from one snapshot of the database.

Nothing of a file is held here but a chunk, however long it is.
"""

import re
from collections.abc import AsyncIterator, Mapping
from zoneinfo import ZoneInfo

from psycopg import sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import statement_timeout
from payments.infra import db

CHUNK_BYTES = 64 * 1024


async def begin_snapshot(session: AsyncSession, zone: ZoneInfo) -> None:
    """Read from one snapshot, write local times in a zone, and take the time a large file needs.

    Must come first in the session's transaction.
    """
    await session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    await session.execute(text("SELECT set_config('timezone', :zone, true)"), {"zone": zone.key})
    await statement_timeout.extend(session)


async def copy_csv(
    session: AsyncSession, query: str, params: Mapping[str, object]
) -> AsyncIterator[bytes]:
    """Yield the rows of a query as RFC 4180 in UTF-8, with a head, in chunks of whole rows."""
    statement = _to_psycopg(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)")
    connection = await db.driver_connection(session)
    blocks, size = [], 0
    async with connection.cursor() as cursor, cursor.copy(statement, params) as copy:
        async for block in copy:
            blocks.append(bytes(block))
            size += len(block)
            if size >= CHUNK_BYTES:
                yield b"".join(blocks)
                blocks, size = [], 0
    if blocks:
        yield b"".join(blocks)


def _to_psycopg(statement: str) -> sql.SQL:
    """Return a statement with :names, as psycopg wants it."""
    escaped = statement.replace("%", "%%")
    return sql.SQL(re.sub(r"(?<![:\w]):([a-z_]+)", r"%(\1)s", escaped))
