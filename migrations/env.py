"""Alembic's environment: runs each revision as the owner of the schema, in its own transaction.

`payments migrate` brings a connection; `alembic revision --autogenerate` opens one here.
"""

import os

from alembic import context
from sqlalchemy import Connection

from migrations import models
from payments.infra import migrate
from payments.infra.db import Base

models.load_all()


def is_ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
    """Whether Alembic compares this object: the tables of the job engine are not ours."""
    return not (kind == "table" and (name or "").startswith("procrastinate_"))


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=is_ours,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with migrate.exclusive_connection(os.environ["PAYMENTS_DATABASE_URL"]) as connection:
        run(connection)
