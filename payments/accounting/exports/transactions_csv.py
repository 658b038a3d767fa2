"""The ledger as a table: one row for each movement of the Stripe balance, oldest first.

PostgreSQL writes the bytes: what is formatted and made safe is formatted and made safe there, and
nothing of it is held here. A cell is empty, not nought, when its value is not known or not kept:
we hold no country, card or wallet.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.exports import FORMULA_PREFIXES
from payments.accounting.reports.transactions import FROM_SQL, TYPE_SQL, Filters
from payments.core import money
from payments.infra import db

CHUNK_SIZE = 64 * 1024
EXPORT_STATEMENT_TIMEOUT = "30min"  # for a whole file


def escape_formula_sql(column: str) -> str:
    """A text that no spreadsheet runs."""
    return f"CASE WHEN left({column}, 1) IN ({_FORMULA_PREFIXES_SQL}) THEN '''' || {column} ELSE {column} END"


_FORMULA_PREFIXES_SQL = ", ".join(f"U&'\\{ord(character):04x}'" for character in FORMULA_PREFIXES)


def major_units_sql(amount: str, currency: str) -> str:
    """An amount in major units, with all its decimals: numeric keeps the scale of the factor."""
    cases = " ".join(
        f"WHEN '{code}' THEN {Decimal(1).scaleb(-digits)}"
        for code in sorted(money.GIFT_LIMITS)
        if (digits := money.exponent(code)) != 2
    )
    factor = f"CASE {currency} {cases} ELSE 0.01 END" if cases else "0.01"
    return f"({amount}) * {factor}"


_IS_CHARGE_SQL = "b.type IN ('charge', 'payment')"
_TIMESTAMP_FORMAT_SQL = '\'YYYY-MM-DD"T"HH24:MI:SS'
_TAX_SQL = """(SELECT CAST(sum(CAST(part ->> 1 AS bigint)) AS bigint)
             FROM jsonb_array_elements(b.fees) AS part WHERE part ->> 0 = 'tax')"""
_SEQUENCE_SQL = f"""CASE WHEN {_IS_CHARGE_SQL} THEN (
    SELECT count(*) FROM ledger_entries x
     WHERE x.contribution_id = e.contribution_id AND x.credit LIKE 'income:%'
       AND x.seq <= e.seq) END"""  # noqa: S608 - our own words
# What the donor's own currency has of it: of a charge all, of a refund its share. Of a dispute that
# was converted it is not known.
_PRESENTMENT_AMOUNT_SQL = f"""
    CASE WHEN {_IS_CHARGE_SQL} THEN c.amount WHEN c.currency = b.currency THEN b.amount
         ELSE (SELECT CAST(sign(b.amount) AS bigint) * r.amount FROM refunds r
                WHERE r.stripe_refund_id = b.source) END"""  # noqa: S608 - our own words
_RELATES_TO_SQL = f"""CASE WHEN c.balance_transaction IS NOT NULL AND NOT {_IS_CHARGE_SQL} THEN (
    SELECT min(x.seq) FROM ledger_entries x
     WHERE x.balance_transaction = c.balance_transaction) END"""  # noqa: S608 - our own words

COSTLY_COLUMNS_SQL = (
    f"{_SEQUENCE_SQL}, {_RELATES_TO_SQL}"  # what costs the database something, for the bench
)


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """`kind` is how a sheet shows it: text, amount, whole or day."""

    name: str
    sql: str
    kind: str = "text"


COLUMNS = (
    ExportColumn("line_id", "e.seq", "whole"),
    ExportColumn(
        "period",
        "CASE WHEN late.booked_on IS NULL THEN to_char(b.occurred_at, 'YYYY-MM')"
        " ELSE to_char(late.booked_on, 'YYYY-MM') END",
    ),
    ExportColumn("occurred_at", f"to_char(b.occurred_at, {_TIMESTAMP_FORMAT_SQL}TZH:TZM')"),
    ExportColumn(
        "occurred_at_utc",
        f"to_char(b.occurred_at AT TIME ZONE 'UTC', {_TIMESTAMP_FORMAT_SQL}\"Z\"')",
    ),
    ExportColumn("type", TYPE_SQL),
    ExportColumn(
        "status", "CASE WHEN 'suspense' IN (e.debit, e.credit) THEN 'suspense' ELSE 'posted' END"
    ),
    ExportColumn("frequency", "coalesce(i.frequency, 'none')"),
    ExportColumn("sequence", _SEQUENCE_SQL, "whole"),
    ExportColumn("campaign", escape_formula_sql("n.campaign")),
    ExportColumn("source", "NULL"),
    ExportColumn("country", "NULL"),
    ExportColumn("presentment_currency", "c.currency"),
    ExportColumn(
        "presentment_amount", major_units_sql(_PRESENTMENT_AMOUNT_SQL, "c.currency"), "amount"
    ),
    ExportColumn("presentment_amount_minor", _PRESENTMENT_AMOUNT_SQL, "whole"),
    ExportColumn("settlement_currency", "b.currency"),
    ExportColumn("gross", major_units_sql("b.amount", "b.currency"), "amount"),
    ExportColumn("gross_minor", "b.amount", "whole"),
    ExportColumn("fee", major_units_sql("b.fee", "b.currency"), "amount"),
    ExportColumn("fee_minor", "b.fee", "whole"),
    ExportColumn("fee_tax", major_units_sql(_TAX_SQL, "b.currency"), "amount"),
    ExportColumn("fee_tax_minor", _TAX_SQL, "whole"),
    ExportColumn("net", major_units_sql("b.net", "b.currency"), "amount"),
    ExportColumn("net_minor", "b.net", "whole"),
    ExportColumn("exchange_rate", escape_formula_sql("b.exchange_rate")),
    ExportColumn("available_on", "to_char(b.available_on AT TIME ZONE 'UTC', 'YYYY-MM-DD')", "day"),
    ExportColumn("payout_id", escape_formula_sql("p.stripe_payout_id")),
    ExportColumn("payout_arrival_date", "to_char(p.arrives_on, 'YYYY-MM-DD')", "day"),
    ExportColumn("payment_method", "NULL"),
    ExportColumn("wallet", "NULL"),
    ExportColumn("contribution_id", "e.contribution_id"),
    ExportColumn(
        "recurring_id",
        "CASE WHEN i.frequency <> 'once' THEN e.contribution_id END",
    ),
    ExportColumn(
        "donor_ref",
        "left(encode(sha256(convert_to('donor:' || n.donor_id, 'UTF8')), 'hex'), 16)",
    ),
    ExportColumn("relates_to", _RELATES_TO_SQL, "whole"),
    ExportColumn(
        "receipt_no",
        f"CASE WHEN {_IS_CHARGE_SQL} THEN"
        " left(encode(sha256(convert_to(b.charge, 'UTF8')), 'hex'), 16) END",
    ),
    ExportColumn("provider_charge_id", escape_formula_sql("b.charge")),
    ExportColumn("provider_balance_transaction_id", escape_formula_sql("b.id")),
    ExportColumn("provider_invoice_id", "NULL"),
    ExportColumn(
        "ledger_account",  # the other end
        "CASE WHEN e.debit = 'stripe:balance' THEN e.credit"
        " WHEN e.credit = 'stripe:balance' THEN e.debit"
        " WHEN e.debit LIKE 'stripe:%' THEN e.credit ELSE e.debit END",
    ),
    ExportColumn("exported_in", ":exported_in"),
    ExportColumn("note", "CASE WHEN late.booked_on IS NOT NULL THEN 'late for a closed month' END"),
)
# A transaction is in the payout whose list has it; a payout's own transaction is the payout's.
_PAYOUT_JOIN_SQL = """
      LEFT JOIN LATERAL (
          SELECT stripe_payout_id FROM payout_transactions
           WHERE balance_transaction = b.id ORDER BY 1 LIMIT 1) t ON true
      LEFT JOIN payouts p
        ON p.stripe_payout_id = coalesce(t.stripe_payout_id, CASE WHEN b.type LIKE 'payout%'
                                                                  THEN b.source END)
"""


def describe_export(filters: Filters, zone: ZoneInfo) -> str:
    """What a file is of, in one line: it stands in every row of it."""
    return f"ledger {filters.describe()} zone={zone.key}"


def about_sheet(filters: Filters, zone: ZoneInfo) -> list[tuple[str, str]]:
    """What the last sheet of a workbook says."""
    return [
        ("what", "one line for each movement of the Stripe balance, oldest first"),
        *((part.partition("=")[0], part.partition("=")[2]) for part in filters.describe().split()),
        ("zone", zone.key),
        ("amounts", "major units of the currency beside them; *_minor in its smallest unit"),
        ("empty cells", "not known, or not kept: no person, country or card is held"),
    ]


def export_filename(kind: str, filters_words: str, zone: ZoneInfo, suffix: str) -> str:
    """A name that says what is in the file: payments-ledger_2026-10_usd_Europe-Berlin.csv."""
    said = [part.partition("=")[2] for part in filters_words.split()]
    parts = [f"payments-{kind}", *said, zone.key]
    return re.sub(r"[^A-Za-z0-9_.-]", "-", "_".join(parts)) + suffix


def build_query(filters: Filters, zone: ZoneInfo) -> tuple[str, Mapping[str, Any]]:  # of any type
    """The rows, oldest first."""
    where, params = filters.conditions(zone)
    columns = ", ".join(f'{column.sql} AS "{column.name}"' for column in COLUMNS)
    rows = (
        f"SELECT {columns} {FROM_SQL} {_PAYOUT_JOIN_SQL} WHERE {where} ORDER BY b.occurred_at, b.id"
    )
    return rows, {**params, "exported_in": describe_export(filters, zone)}


async def stream_csv(
    session: AsyncSession, zone: ZoneInfo, filters: Filters
) -> AsyncIterator[bytes]:
    """The file as RFC 4180 in UTF-8, in pieces."""
    await begin_snapshot(session, zone)
    rows, params = build_query(filters, zone)
    async for chunk in copy_out(session, f"COPY ({rows}) TO STDOUT (FORMAT csv, HEADER)", params):
        yield chunk


async def copy_out(
    session: AsyncSession,
    statement: str,
    params: Mapping[str, Any],  # of any type
) -> AsyncIterator[bytes]:
    """What PostgreSQL writes, in larger pieces."""
    connection = await db.driver_connection(session)
    held, size = [], 0
    async with (
        connection.cursor() as cursor,
        cursor.copy(_to_psycopg(statement), params) as copy,
    ):
        async for block in copy:
            held.append(bytes(block))
            size += len(block)
            if size >= CHUNK_SIZE:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


async def count_rows(session: AsyncSession, zone: ZoneInfo, filters: Filters) -> int:
    """How many rows the file will have."""
    where, params = filters.conditions(zone)
    found = await session.scalar(
        text(f"SELECT count(*) {FROM_SQL} WHERE {where}"),
        params,
    )
    return int(found or 0)


async def begin_snapshot(session: AsyncSession, zone: ZoneInfo) -> None:
    """One snapshot, local times in the accounting zone, and the time a large file takes."""
    await session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    await session.execute(
        text(
            "SELECT set_config('timezone', :zone, true),"
            " set_config('statement_timeout', :patience, true)"
        ),
        {"zone": zone.key, "patience": EXPORT_STATEMENT_TIMEOUT},
    )


def _to_psycopg(statement: str) -> sql.SQL:
    """A statement with :names, as psycopg wants it."""
    escaped = statement.replace("%", "%%")
    return sql.SQL(re.sub(r"(?<![:\w]):([a-z_]+)", r"%(\1)s", escaped))
