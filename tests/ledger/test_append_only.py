"""The ledger is append-only: what neither the service nor the database's owner can change."""

from datetime import UTC, datetime

import pytest
from psycopg import errors

from payments.infra import service_role
from tests.support.database_owner import Connection
from tests.support.ledger import every_row_of

APPEND_ONLY = {
    "balance_transactions": ("id", "amount"),
    "ledger_entries": ("seq", "amount"),
    "stripe_events": ("id", "type"),
}
CHANGES = [
    "UPDATE {table} SET {column} = {column}",
    "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE FROM {table}",
    "DELETE FROM {table} WHERE false",
    "TRUNCATE {table} CASCADE",
    (
        "INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE"
        " SET {column} = EXCLUDED.{column}"
    ),
    "MERGE INTO {table} t USING {table} s ON t.{key} = s.{key} WHEN MATCHED THEN DELETE",
    (
        "MERGE INTO {table} t USING {table} s ON t.{key} = s.{key} WHEN MATCHED THEN"
        " UPDATE SET {column} = s.{column}"
    ),
    "WITH gone AS (DELETE FROM {table} RETURNING *) SELECT count(*) FROM gone",
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_neither_the_service_nor_the_owner_can_change_ledger_rows(
    owner: Connection, table: str, change: str
) -> None:
    key, column = APPEND_ONLY[table]
    statement = change.format(table=table, key=key, column=column).encode()
    before = owner.execute(every_row_of(table).encode()).fetchall()
    assert before
    refused = pytest.raises(errors.RestrictViolation, match=f"{table} is append-only")
    with refused, owner.transaction():
        owner.execute(statement)
    owner.execute(f"SET LOCAL ROLE {service_role.APP_ROLE}".encode())
    with pytest.raises(errors.InsufficientPrivilege), owner.transaction():
        owner.execute(statement)
    assert owner.execute(every_row_of(table).encode()).fetchall() == before


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON ledger_entries",
        "DROP TABLE ledger_entries",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS ''",
        "CREATE RULE r AS ON INSERT TO ledger_entries DO INSTEAD NOTHING",
        "CREATE TRIGGER t BEFORE INSERT ON ledger_entries EXECUTE FUNCTION refuse_change()",
        "TRUNCATE contributions CASCADE",
        "DELETE FROM contributions",
        "DELETE FROM alembic_version",
    ],
)
def test_the_service_cannot_loosen_what_keeps_the_books(owner: Connection, statement: str) -> None:
    owner.execute(f"SET LOCAL ROLE {service_role.APP_ROLE}".encode())
    with pytest.raises((errors.InsufficientPrivilege, errors.ForeignKeyViolation)):
        owner.execute(statement.encode())


def test_emptying_a_table_beneath_the_books_does_not_empty_the_books(
    owner: Connection,
) -> None:
    with pytest.raises(errors.RestrictViolation):
        owner.execute("TRUNCATE contributions CASCADE")


NOW, DIGEST = datetime(2026, 11, 22, tzinfo=UTC), bytes(32)


@pytest.mark.parametrize(
    ("debit", "credit", "amount", "currency", "moment", "digest"),
    [
        ("stripe:balance", "income:once", 1, "usd", NOW, DIGEST),  # there already
        ("stripe:balance", "suspense", 0, "usd", NOW, DIGEST),
        ("stripe:balance", "suspense", -5, "usd", NOW, DIGEST),
        ("suspense", "suspense", 1, "usd", NOW, DIGEST),
        ("stripe:balance", "petty cash", 1, "usd", NOW, DIGEST),
        ("stripe:balance", "suspense", 1, "USD", NOW, DIGEST),
        ("stripe:balance", "suspense", 1, "usd", None, DIGEST),
        ("stripe:balance", "suspense", 1, "usd", NOW, bytes(31)),
        ("stripe:balance", "suspense", 1, "usd", NOW, None),
    ],
)
def test_the_schema_takes_no_row_that_cannot_be(
    owner: Connection,
    debit: str,
    credit: str,
    amount: int,
    currency: str,
    moment: datetime | None,
    digest: bytes | None,
) -> None:
    bt = owner.execute(
        "SELECT balance_transaction FROM ledger_entries WHERE credit = 'income:once'"
    ).fetchone()
    assert bt is not None
    insert = "INSERT INTO ledger_entries VALUES (%s, %s, %s, %s, %s, %s, %s, NULL, 1, NULL, %s)"
    owner.execute(f"SET LOCAL ROLE {service_role.APP_ROLE}".encode())
    owner.execute(insert, [998, "stripe:balance", "disputes", 1, "usd", NOW, bt[0], DIGEST])
    row = [999, debit, credit, amount, currency, moment, bt[0], digest]
    with pytest.raises(errors.IntegrityError):
        owner.execute(insert, row)
