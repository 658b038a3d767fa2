"""What a backup of a newsroom's database holds: every row of every table."""

import subprocess

import psycopg
from sqlalchemy.engine import make_url

from payments.infra.embedded_postgres import find_bin_dirs
from tests.support.newsroom import Newsroom


def dump(room: Newsroom) -> bytes:
    """A dump by PostgreSQL's own program, and every cell as text."""
    programs = [folder / "pg_dump" for folder in find_bin_dirs() if (folder / "pg_dump").exists()]
    made = b"".join(
        subprocess.run([program, _url(room)], capture_output=True, check=True).stdout
        for program in programs[:1]
    )
    made += rows(room)
    with psycopg.connect(_url(room), autocommit=True) as connection:
        connection.execute("CHECKPOINT")  # what is in memory is on the disk then
    return made


def rows(room: Newsroom) -> bytes:
    """Every row of every table as text, a line each."""
    found = b""
    with psycopg.connect(_url(room), autocommit=True) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        ).fetchall()
        assert len(tables) > 40
        for (table,) in tables:
            with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copied:
                found += b"".join(bytes(block) for block in copied)
    return found


def _url(room: Newsroom) -> str:
    url = make_url(room.settings.database_url.get_secret_value())
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
