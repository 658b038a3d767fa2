"""Runs the migrations as the owner of the schema, in one transaction each."""

import os

from alembic import context
from sqlalchemy import Connection, create_engine

from migrations import models
from payments.infra.db import Base

models.load_all()


def ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
    """The job engine's tables are its own."""
    return not (kind == "table" and (name or "").startswith("procrastinate_"))


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=ours,
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
    engine = create_engine(os.environ["PAYMENTS_DATABASE_URL"])
    with engine.connect() as connection:
        run(connection)
    engine.dispose()
