"""What a backup of a newsroom's database holds: every row of every table."""

import subprocess

import psycopg
from sqlalchemy.engine import make_url

from payments.infra.embedded_postgres import find_bin_dirs
from tests.support.newsroom import Newsroom


def dump(room: Newsroom) -> bytes:
    """A dump by PostgreSQL's own program, and every cell as text."""
    url = make_url(room.settings.database_url.get_secret_value())
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    programs = [folder / "pg_dump" for folder in find_bin_dirs() if (folder / "pg_dump").exists()]
    made = b"".join(
        subprocess.run([program, plain], capture_output=True, check=True).stdout
        for program in programs[:1]
    )
    with psycopg.connect(plain, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        ).fetchall()
        assert len(tables) > 40
        for (table,) in tables:
            with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as rows:
                made += b"".join(bytes(block) for block in rows)
        connection.execute("CHECKPOINT")
    return made


async def dumped(room: Newsroom) -> bytes:
    """Every row of every table as text, without a program of its own."""
    tables = await room.rows(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    )
    found = b""
    for (name,) in tables:
        rows = await room.rows(f"SELECT t::text FROM {name} AS t")  # noqa: S608 - the catalogue's own
        found += b"\n".join(str(row).encode() for row in rows)
    return found
