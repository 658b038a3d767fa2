"""Columns that hold one of a few words, and how a step changes which.

What is allowed already is read from the database, so that a step says only what it adds.
"""

import re
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op


def allow(table: str, column: str, *words: str) -> None:
    """Let a column hold these words too."""
    _say_anew(table, column, [*_allowed(table, column), *words])


def forbid(table: str, column: str, *words: str) -> None:
    """Take words back, and with them the rows that hold one."""
    gone = _listed(words)
    op.execute(f"DELETE FROM {table} WHERE {column} IN ({gone})")  # noqa: S608 - words of ours
    _say_anew(table, column, [word for word in _allowed(table, column) if word not in words])


def _allowed(table: str, column: str) -> list[str]:
    found = op.get_bind().scalar(
        sa.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name"),
        {"name": _check(table, column)},
    )
    return re.findall(r"'(\w+)'", str(found))


def _say_anew(table: str, column: str, words: Sequence[str]) -> None:
    check = op.f(_check(table, column))
    op.drop_constraint(check, table, type_="check")
    op.create_check_constraint(check, table, sa.text(f"{column} IN ({_listed(words)})"))


def _check(table: str, column: str) -> str:
    return f"ck_{table}_{column}_is_known"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)
