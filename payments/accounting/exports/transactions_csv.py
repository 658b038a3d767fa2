"""Transactions as CSV: one row for each balance transaction that is posted, and for each correction
in the books, oldest first.

PostgreSQL writes the bytes: what is formatted and made safe is formatted and made safe there. A
cell is empty, not zero, when its value is not known or not stored: we hold no country, card or
wallet.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.exports import csv_stream
from payments.accounting.exports.csv_cells import escape_formula_sql, major_units_sql
from payments.accounting.reports import figure_sql
from payments.accounting.reports.transaction_filters import (
    CORRECTION_TYPE,
    CORRECTIONS_SQL,
    TYPE_SQL,
    Filters,
)

_TIMESTAMP_FORMAT_SQL = '\'YYYY-MM-DD"T"HH24:MI:SS'  # the zone and the closing quote follow
_TAX_SQL = """(
    SELECT CAST(sum(CAST(part ->> 1 AS bigint)) AS bigint)
      FROM jsonb_array_elements(line.fees) AS part
     WHERE part ->> 0 = 'tax')"""
# Which payment of its contribution a charge is.
_SEQUENCE_SQL = """CASE WHEN line.type_of_line = 'charge' THEN (
    SELECT count(*)
      FROM ledger_entries payment
     WHERE payment.contribution_id = line.contribution_id
       AND payment.credit LIKE 'income:%'
       AND payment.seq <= line.seq) END"""
# What it is in the currency the donor was charged in: of a charge all, of a refund its share. Of a
# dispute that was converted it is not known.
_PRESENTMENT_AMOUNT_SQL = """
    CASE WHEN line.type_of_line = 'charge' THEN line.charged_amount
         WHEN line.charged_currency = line.currency THEN line.amount
         ELSE (SELECT CAST(sign(line.amount) AS bigint) * refund.amount
                 FROM refunds refund
                WHERE refund.stripe_refund_id = line.source) END"""
# The line of the charge that a refund or dispute is of.
_RELATES_TO_SQL = """
    CASE WHEN line.charge_transaction IS NOT NULL AND line.type_of_line <> 'charge' THEN (
    SELECT min(entry.seq)
      FROM ledger_entries entry
     WHERE entry.balance_transaction = line.charge_transaction) END"""
# What corrections left of a line that nobody knew: nothing, once the month is closed.
_STANDING_IN_SUSPENSE_SQL = """
    SELECT sum(CASE entry.debit WHEN 'suspense' THEN entry.amount ELSE -entry.amount END)
      FROM ledger_entries entry
     WHERE entry.balance_transaction = line.id
       AND 'suspense' IN (entry.debit, entry.credit)"""
COSTLY_COLUMNS_SQL = ", ".join([_SEQUENCE_SQL, _RELATES_TO_SQL])  # for the benchmark


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column and its expression. `kind` is how a sheet shows it: text, amount, whole or day."""

    name: str
    sql: str
    kind: str = "text"


def _amount_columns(name: str, minor_sql: str) -> tuple[ExportColumn, ExportColumn]:
    return (
        ExportColumn(name, major_units_sql(minor_sql, "line.currency"), "amount"),
        ExportColumn(f"{name}_minor", minor_sql, "whole"),
    )


# What a line adds to the figures of the same names in the months.
MONTHS_FIGURES = {
    **{name: f"line.of_{name}" for name in ("gross", "fees", "refunds", "disputes")},
    "net": "line.of_gross - line.of_fees - line.of_refunds - line.of_disputes",
}
COLUMNS = (
    ExportColumn("line_id", "line.seq", "whole"),
    ExportColumn(
        "period",
        "to_char(booked_at(line.occurred_at, line.booked_on, :zone), 'YYYY-MM')",
    ),
    ExportColumn("occurred_at", f"to_char(line.occurred_at, {_TIMESTAMP_FORMAT_SQL}TZH:TZM')"),
    ExportColumn(
        "occurred_at_utc",
        f"to_char(line.occurred_at AT TIME ZONE 'UTC', {_TIMESTAMP_FORMAT_SQL}\"Z\"')",
    ),
    ExportColumn("type", "line.type_of_line"),
    ExportColumn(
        "status",
        "CASE WHEN line.type_of_line = 'correction'"
        " OR 'suspense' NOT IN (line.debit, line.credit) THEN 'posted'"
        f" WHEN ({_STANDING_IN_SUSPENSE_SQL}) = 0 THEN 'corrected' ELSE 'suspense' END",
    ),
    ExportColumn("frequency", "coalesce(line.frequency, 'none')"),
    ExportColumn(  # as ISO 8601 writes a duration: P1M, P3M, P1Y
        "interval", "'P' || line.interval_count || upper(left(line.interval_unit, 1))"
    ),
    ExportColumn("sequence", _SEQUENCE_SQL, "whole"),
    ExportColumn("campaign", escape_formula_sql("line.campaign")),
    ExportColumn("source", "NULL"),
    ExportColumn("country", "NULL"),
    ExportColumn("presentment_currency", "line.charged_currency"),
    ExportColumn(
        "presentment_amount",
        major_units_sql(_PRESENTMENT_AMOUNT_SQL, "line.charged_currency"),
        "amount",
    ),
    ExportColumn("presentment_amount_minor", _PRESENTMENT_AMOUNT_SQL, "whole"),
    ExportColumn("settlement_currency", "line.currency"),
    *_amount_columns("amount", "line.amount"),
    *_amount_columns("fee", "line.fee"),
    *_amount_columns("fee_tax", _TAX_SQL),
    *_amount_columns("balance_change", "line.net"),
    *(
        column
        for name, figure in MONTHS_FIGURES.items()
        for column in _amount_columns(name, figure)
    ),
    ExportColumn("exchange_rate", escape_formula_sql("line.exchange_rate")),
    ExportColumn(
        "available_on", "to_char(line.available_on AT TIME ZONE 'UTC', 'YYYY-MM-DD')", "day"
    ),
    ExportColumn("payout_id", escape_formula_sql("payout.stripe_payout_id")),
    ExportColumn("payout_arrival_date", "to_char(payout.arrives_on, 'YYYY-MM-DD')", "day"),
    ExportColumn("payment_method", "NULL"),
    ExportColumn("wallet", "NULL"),
    ExportColumn("contribution_id", "line.contribution_id"),
    ExportColumn(
        "recurring_id",
        "CASE WHEN line.frequency <> 'once' THEN line.contribution_id END",
    ),
    ExportColumn(
        "donor_ref",
        "left(encode(sha256(convert_to('donor:' || line.donor_id, 'UTF8')), 'hex'), 16)",
    ),
    ExportColumn("relates_to", _RELATES_TO_SQL, "whole"),
    ExportColumn(
        "receipt_no",
        "CASE WHEN line.type_of_line = 'charge' THEN receipt_number(line.charge) END",
    ),
    ExportColumn("provider_charge_id", "NULL"),
    ExportColumn("provider_balance_transaction_id", escape_formula_sql("line.id")),
    ExportColumn("provider_invoice_id", "NULL"),
    ExportColumn(
        "ledger_account",  # the contra account
        "CASE WHEN line.debit = 'stripe:balance' THEN line.credit"
        " WHEN line.credit = 'stripe:balance' THEN line.debit"
        " WHEN line.debit LIKE 'stripe:%' THEN line.credit ELSE line.debit END",
    ),
    ExportColumn("exported_in", ":exported_in"),
    ExportColumn("note", "CASE WHEN line.booked_on IS NOT NULL THEN 'late for a closed month' END"),
)
# A transaction is in the payout whose list has it; a payout's own transaction is the payout's.
_PAYOUT_JOIN_SQL = """
      LEFT JOIN LATERAL (
          SELECT stripe_payout_id
            FROM payout_transactions
           WHERE balance_transaction = line.id
           ORDER BY stripe_payout_id
           LIMIT 1) item ON true
      LEFT JOIN payouts payout
        ON payout.stripe_payout_id = coalesce(
               item.stripe_payout_id,
               CASE WHEN line.type LIKE 'payout%' THEN line.source END)
       AND line.type_of_line <> 'correction'
"""
_OF_FIGURES = f"of_figures({', '.join(f'of_{name}' for name in figure_sql.NAMES)})"


def describe_export(filters: Filters, zone: ZoneInfo) -> str:
    """Return what a file is of, in one line: it stands in every row of it."""
    return f"ledger {filters.describe()} zone={zone.key}"


def about_sheet(filters: Filters, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Return the lines of a workbook's last sheet, which says what the workbook is of."""
    return [
        (
            "what",
            "one line for each movement of the Stripe balance and each correction, oldest first",
        ),
        ("amount, fee", "what moved before Stripe's fee for it, and that fee"),
        ("balance_change", "the amount less the fee: by how much the balance at Stripe changed"),
        (
            "gross, fees, refunds, disputes, net",
            "what the line adds to these figures of the months",
        ),
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
    of_corrections, _ = filters.correction_conditions(zone)
    columns = ",\n           ".join(f'{column.sql} AS "{column.name}"' for column in COLUMNS)
    # A correction is its transaction, with what the correction moved in place of what it did.
    query = f"""
    WITH lines AS (
        SELECT bt.*, {TYPE_SQL} AS type_of_line, of_figures.*
          FROM posted_transactions bt
         CROSS JOIN LATERAL (
               SELECT{figure_sql.SUMS_SQL}
                 FROM ledger_entries
                WHERE balance_transaction = bt.id
                  AND correction_id IS NULL) {_OF_FIGURES}
         WHERE {conditions}
         UNION ALL
        SELECT corrected.*, '{CORRECTION_TYPE}', of_figures.*
          FROM {CORRECTIONS_SQL}
         CROSS JOIN LATERAL jsonb_populate_record(bt, jsonb_build_object(
               'seq', e.seq, 'occurred_at', e.occurred_at, 'booked_on', e.booked_on,
               'debit', e.debit, 'credit', e.credit, 'amount', 0, 'fee', 0, 'net', 0,
               'fees', CAST('[]' AS jsonb), 'source', NULL, 'charge_transaction', bt.id,
               'exchange_rate', NULL, 'charged_amount', NULL, 'charged_currency', NULL,
               'frequency', CASE WHEN {figure_sql.is_other_sql("e")} THEN 'other'
                                 ELSE bt.frequency END)) corrected
         CROSS JOIN LATERAL (
               SELECT{figure_sql.SUMS_SQL}
                 FROM (SELECT e.debit, e.credit, e.amount) AS its_entry) {_OF_FIGURES}
         WHERE {of_corrections}
    )
    SELECT {columns}
      FROM lines line
    {_PAYOUT_JOIN_SQL}
     ORDER BY line.occurred_at, line.id, line.seq
    """  # noqa: S608 - constants only; what was asked is a parameter
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
    of_corrections, _ = filters.correction_conditions(zone)
    query = f"""
    SELECT (SELECT count(*) FROM posted_transactions bt WHERE {conditions})
         + (SELECT count(*) FROM {CORRECTIONS_SQL} WHERE {of_corrections})
    """  # noqa: S608 - constants only; what was asked is a parameter
    count = await session.scalar(text(query), params)
    return int(count or 0)
