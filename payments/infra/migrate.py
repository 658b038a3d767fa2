"""Brings a database to the newest migration, and says whether one is there. Runs as the owner."""

from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

import migrations


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, wherever this package is installed."""
    made = Config()
    made.set_main_option("script_location", str(Path(migrations.__file__).parent))
    made.attributes["connection"] = connection
    return made


def upgrade(url: str, revision: str = "head") -> None:
    """Apply what is missing, each revision in a transaction of its own."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            command.upgrade(alembic_config(connection), revision)
    finally:
        engine.dispose()


def downgrade(url: str, revision: str) -> None:
    """Undo down to a revision."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            command.downgrade(alembic_config(connection), revision)
    finally:
        engine.dispose()


@lru_cache
def head_revision() -> str:
    """The revision this code expects."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None
    return head


def pending_revisions(url: str) -> list[str]:
    """The revisions a database does not have yet, oldest first."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            at = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    scripts = ScriptDirectory.from_config(alembic_config())
    return [step.revision for step in scripts.iterate_revisions("head", at or "base")][::-1]
