"""Every row of every table, as a backup has them."""

from tests.support.newsroom import Newsroom


async def dumped(room: Newsroom) -> bytes:
    """Every row of every table, as a backup has it."""
    tables = await room.rows(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    )
    found = b""
    for (name,) in tables:
        rows = await room.rows(f"SELECT t::text FROM {name} AS t")  # noqa: S608 - the catalogue's own
        found += b"\n".join(str(row).encode() for row in rows)
    return found
