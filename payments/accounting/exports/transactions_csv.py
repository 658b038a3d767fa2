"""Transactions as CSV: one row for each balance transaction that is posted, oldest first.

PostgreSQL writes the bytes: what is formatted and made safe is formatted and made safe there. A
cell is empty, not zero, when its value is not known or not stored: we hold no country, card or
wallet.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import booking_day
from payments.accounting.exports import csv_stream
from payments.accounting.exports.csv_cells import escape_formula_sql, major_units_sql
from payments.accounting.reports.transaction_filters import (
    FROM_SQL,
    IS_CHARGE_SQL,
    TYPE_SQL,
    Filters,
    receipt_number_sql,
)

_TIMESTAMP_FORMAT_SQL = '\'YYYY-MM-DD"T"HH24:MI:SS'  # the zone and the closing quote follow
_TAX_SQL = """(
    SELECT CAST(sum(CAST(part ->> 1 AS bigint)) AS bigint)
      FROM jsonb_array_elements(bt.fees) AS part
     WHERE part ->> 0 = 'tax')"""
# Which payment of its contribution a charge is.
_SEQUENCE_SQL = f"""CASE WHEN {IS_CHARGE_SQL} THEN (
    SELECT count(*)
      FROM ledger_entries payment
     WHERE payment.contribution_id = e.contribution_id
       AND payment.credit LIKE 'income:%'
       AND payment.seq <= e.seq) END"""  # noqa: S608 - constants only
# What it is in the currency the donor was charged in: of a charge all, of a refund its share. Of a
# dispute that was converted it is not known.
_PRESENTMENT_AMOUNT_SQL = f"""
    CASE WHEN {IS_CHARGE_SQL} THEN c.amount
         WHEN c.currency = bt.currency THEN bt.amount
         ELSE (SELECT CAST(sign(bt.amount) AS bigint) * refund.amount
                 FROM refunds refund
                WHERE refund.stripe_refund_id = bt.source) END"""  # noqa: S608 - constants only
# The line of the charge that a refund or dispute is of.
_RELATES_TO_SQL = f"""CASE WHEN c.balance_transaction IS NOT NULL AND NOT {IS_CHARGE_SQL} THEN (
    SELECT min(entry.seq)
      FROM ledger_entries entry
     WHERE entry.balance_transaction = c.balance_transaction) END"""  # noqa: S608 - constants only
COSTLY_COLUMNS_SQL = f"{_SEQUENCE_SQL}, {_RELATES_TO_SQL}"  # for the benchmark, which adds no text


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column and its expression. `kind` is how a sheet shows it: text, amount, whole or day."""

    name: str
    sql: str
    kind: str = "text"


COLUMNS = (
    ExportColumn("line_id", "e.seq", "whole"),
    ExportColumn(
        "period",
        f"to_char({booking_day.booked_at('bt.occurred_at')}, 'YYYY-MM')",
    ),
    ExportColumn("occurred_at", f"to_char(bt.occurred_at, {_TIMESTAMP_FORMAT_SQL}TZH:TZM')"),
    ExportColumn(
        "occurred_at_utc",
        f"to_char(bt.occurred_at AT TIME ZONE 'UTC', {_TIMESTAMP_FORMAT_SQL}\"Z\"')",
    ),
    ExportColumn("type", TYPE_SQL),
    ExportColumn(
        "status", "CASE WHEN 'suspense' IN (e.debit, e.credit) THEN 'suspense' ELSE 'posted' END"
    ),
    ExportColumn("frequency", "coalesce(link.frequency, 'none')"),
    ExportColumn(  # as ISO 8601 writes a duration: P1M, P3M, P1Y
        "interval", "'P' || link.interval_count || upper(left(link.interval_unit, 1))"
    ),
    ExportColumn("sequence", _SEQUENCE_SQL, "whole"),
    ExportColumn("campaign", escape_formula_sql("contribution.campaign")),
    ExportColumn("source", "NULL"),
    ExportColumn("country", "NULL"),
    ExportColumn("presentment_currency", "c.currency"),
    ExportColumn(
        "presentment_amount", major_units_sql(_PRESENTMENT_AMOUNT_SQL, "c.currency"), "amount"
    ),
    ExportColumn("presentment_amount_minor", _PRESENTMENT_AMOUNT_SQL, "whole"),
    ExportColumn("settlement_currency", "bt.currency"),
    ExportColumn("gross", major_units_sql("bt.amount", "bt.currency"), "amount"),
    ExportColumn("gross_minor", "bt.amount", "whole"),
    ExportColumn("fee", major_units_sql("bt.fee", "bt.currency"), "amount"),
    ExportColumn("fee_minor", "bt.fee", "whole"),
    ExportColumn("fee_tax", major_units_sql(_TAX_SQL, "bt.currency"), "amount"),
    ExportColumn("fee_tax_minor", _TAX_SQL, "whole"),
    ExportColumn("net", major_units_sql("bt.net", "bt.currency"), "amount"),
    ExportColumn("net_minor", "bt.net", "whole"),
    ExportColumn("exchange_rate", escape_formula_sql("bt.exchange_rate")),
    ExportColumn(
        "available_on", "to_char(bt.available_on AT TIME ZONE 'UTC', 'YYYY-MM-DD')", "day"
    ),
    ExportColumn("payout_id", escape_formula_sql("payout.stripe_payout_id")),
    ExportColumn("payout_arrival_date", "to_char(payout.arrives_on, 'YYYY-MM-DD')", "day"),
    ExportColumn("payment_method", "NULL"),
    ExportColumn("wallet", "NULL"),
    ExportColumn("contribution_id", "e.contribution_id"),
    ExportColumn(
        "recurring_id",
        "CASE WHEN link.frequency <> 'once' THEN e.contribution_id END",
    ),
    ExportColumn(
        "donor_ref",
        "left(encode(sha256(convert_to('donor:' || contribution.donor_id, 'UTF8')), 'hex'), 16)",
    ),
    ExportColumn("relates_to", _RELATES_TO_SQL, "whole"),
    ExportColumn(
        "receipt_no",
        f"CASE WHEN {IS_CHARGE_SQL} THEN {receipt_number_sql('bt.charge')} END",
    ),
    ExportColumn("provider_charge_id", escape_formula_sql("bt.charge")),
    ExportColumn("provider_balance_transaction_id", escape_formula_sql("bt.id")),
    ExportColumn("provider_invoice_id", "NULL"),
    ExportColumn(
        "ledger_account",  # the contra account
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
          SELECT stripe_payout_id
            FROM payout_transactions
           WHERE balance_transaction = bt.id
           ORDER BY stripe_payout_id
           LIMIT 1) item ON true
      LEFT JOIN payouts payout
        ON payout.stripe_payout_id = coalesce(
               item.stripe_payout_id,
               CASE WHEN bt.type LIKE 'payout%' THEN bt.source END)
"""


def describe_export(filters: Filters, zone: ZoneInfo) -> str:
    """Return what a file is of, in one line: it stands in every row of it."""
    return f"ledger {filters.describe()} zone={zone.key}"


def about_sheet(filters: Filters, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Return the lines of a workbook's last sheet, which says what the workbook is of."""
    return [
        ("what", "one line for each movement of the Stripe balance, oldest first"),
        *((name, value) for name, _, value in _split_filters(filters)),
        ("zone", zone.key),
        ("amounts", "major units of the currency beside them; *_minor in its smallest unit"),
        ("empty cells", "not known, or not stored: no person, country or card is held"),
    ]


def _split_filters(filters: Filters) -> list[tuple[str, str, str]]:
    return [part.partition("=") for part in filters.describe().split()]


def build_query(filters: Filters, zone: ZoneInfo) -> tuple[str, Mapping[str, object]]:
    """Return the query of the rows, oldest first, and its parameters."""
    conditions, params = filters.conditions(zone)
    columns = ",\n           ".join(f'{column.sql} AS "{column.name}"' for column in COLUMNS)
    query = f"""
    SELECT {columns}
    {FROM_SQL}
    {_PAYOUT_JOIN_SQL}
     WHERE {conditions}
     ORDER BY bt.occurred_at, bt.id
    """
    return query, {**params, "exported_in": describe_export(filters, zone)}


async def stream_csv(
    session: AsyncSession, zone: ZoneInfo, filters: Filters
) -> AsyncIterator[bytes]:
    """Yield the file as RFC 4180 in UTF-8, in chunks."""
    await csv_stream.begin_snapshot(session, zone)
    query, params = build_query(filters, zone)
    async for chunk in csv_stream.copy_csv(session, query, params):
        yield chunk


async def count_rows(session: AsyncSession, zone: ZoneInfo, filters: Filters) -> int:
    """Return how many rows the file will have."""
    conditions, params = filters.conditions(zone)
    count = await session.scalar(
        text(f"SELECT count(*) {FROM_SQL} WHERE {conditions}"),
        params,
    )
    return int(count or 0)
