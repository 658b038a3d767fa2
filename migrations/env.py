"""Runs the migrations as the owner of the schema, in one transaction each."""

import os

from alembic import context
from sqlalchemy import Connection, create_engine

import payments.alarms
import payments.balance
import payments.books
import payments.charges
import payments.contributions
import payments.donors
import payments.history
import payments.ledger
import payments.outbox
import payments.payouts
import payments.staff
import payments.subscriptions
import webhooks.intake
from payments.db import Base

# Importing a noun adds its tables.
assert payments
assert webhooks


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
