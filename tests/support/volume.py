"""Thousands of rows, made in one statement each: what a busy newsroom has after years."""

import re

from sqlalchemy import text

from tests.support.newsroom import Newsroom
from tests.support.page import Page

_COLUMNS = """
    SELECT column_name
      FROM information_schema.columns
     WHERE table_name = :table
       AND is_generated = 'NEVER'
       AND is_identity = 'NO'
       AND coalesce(column_default, '') NOT LIKE 'nextval%'
"""


async def copies(room: Newsroom, table: str, count: int, **changed: str) -> None:
    """Copy the first row of a table so many times. `changed` gives SQL for columns: `n` counts the
    copies, `t` is the row.
    """
    columns = [str(name) for (name,) in await room.rows(_COLUMNS, table=table)]
    values = ", ".join(changed.get(name, f"t.{name}") for name in columns)
    async with room.ctx.sessions.begin() as session:
        await session.execute(
            text(
                f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 - names of a test
                f" SELECT {values} FROM (SELECT * FROM {table} ORDER BY ctid LIMIT 1) t,"
                f" generate_series(1, {count}) n"
            )
        )


def link_to(page: Page, words: str) -> str | None:
    """Return the address of the link with these words, if the page has it."""
    found = re.search(rf'<a (?:rel="next" )?href="([^"]+)">{re.escape(words)}</a>', page.html)
    return None if found is None else found.group(1).replace("&amp;", "&")
