"""Refunds, disputes and the audit log as CSV, oldest first. PostgreSQL writes the bytes.

`COLUMNS` says what each column is. No donor stands in them: a refund is known by its balance
transaction, never by its charge, and a donor whom a colleague looked up by the reference that the
transactions' file has too.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import sql_text
from payments.accounting.exports import csv_stream
from payments.accounting.exports.csv_cells import escape_formula_sql, major_units_sql
from payments.accounting.reports.period import Period
from payments.core.errors import InvalidField
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context


class RecordKind(StrEnum):
    """What a file has the rows of."""

    REFUNDS = "refunds"
    DISPUTES = "disputes"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its expression and what it says."""

    name: str
    sql: str
    meaning: str


@dataclass(frozen=True, slots=True)
class RecordFilters:
    """Which rows: of a period, and what else the page of that kind can be filtered by."""

    period: Period
    currency: str | None = None  # of refunds and disputes
    who: str | None = None  # of the audit log: the name of whoever did it
    what: str | None = None  # of the audit log: the action

    def describe(self) -> str:
        """Return the filters in one line, such as `period=2026-10 currency=usd`."""
        values = {"currency": self.currency, "who": self.who, "what": self.what}
        return " ".join([
            f"period={self.period.label}",
            *(f"{name}={value.replace(' ', '-')}" for name, value in values.items() if value),
        ])  # fmt: skip


def _times(column: str, meaning: str, sql: str) -> tuple[Column, Column]:
    form = '\'YYYY-MM-DD"T"HH24:MI:SS'
    return (
        Column(column, f"to_char({sql}, {form}TZH:TZM')", f"{meaning}, in the accounting zone"),
        Column(
            f"{column}_utc",
            f"to_char({sql} AT TIME ZONE 'UTC', {form}\"Z\"')",
            "the same moment in UTC",
        ),
    )


def _amounts(row: str) -> tuple[Column, ...]:
    return (
        Column("currency", f"{row}.currency", "what the donor was charged in"),
        Column("amount", major_units_sql(f"{row}.amount", f"{row}.currency"), "in major units"),
        Column("amount_minor", f"{row}.amount", "in the currency's smallest unit"),
    )


_CONTRIBUTION = Column("contribution_id", "link.contribution_id", "ours; empty for other income")
_EXPORTED_IN = Column("exported_in", ":exported_in", "what was asked for; the same in every row")
_LINK_SQL = """
      LEFT JOIN charges c ON c.stripe_charge_id = {row}.stripe_charge_id
      LEFT JOIN payment_intent_links link USING (stripe_payment_intent_id)"""
# Stripe's ids that stay with one person or one payment.
_PERSONAL_ID_SQL = "'(cus|sub|si|pm|src|card|seti|mandate|cs|in|ch|py|pi)_[A-Za-z0-9]{6,}'"
_OF_DONORS_SQL = sql_text.in_list(
    (
        AuditAction.DONOR_VIEWED,
        AuditAction.DONOR_LINK_SENT,
        AuditAction.ERASURE_REQUESTED,
        AuditAction.ERASURE_FAILED,
    )
)
_AUDIT_OBJECT_SQL = f"""
    CASE WHEN a.action IN {_OF_DONORS_SQL}
         THEN left(encode(sha256(convert_to('donor:' || a.object_id, 'UTF8')), 'hex'), 16)
         ELSE coalesce(
             (SELECT min(bt.id) FROM balance_transactions bt WHERE bt.source = a.object_id),
             regexp_replace(a.object_id, {_PERSONAL_ID_SQL}, '\\1_left_out', 'g')) END"""  # noqa: S608 - constants only

COLUMNS = {
    RecordKind.REFUNDS: (
        Column("refund_id", escape_formula_sql("r.stripe_refund_id"),
               "Stripe's; empty while Stripe has not answered, or would not"),
        *_times("requested_at", "when it was asked for", "r.requested_at"),
        Column("status", "r.status", "Stripe's word, or requested and rejected of our own"),
        Column("reason", escape_formula_sql("r.reason"), "Stripe's word"),
        Column("requested_by", f"coalesce({escape_formula_sql('staff.name')}, 'at Stripe')",
               "the colleague, or `at Stripe`"),
        *_amounts("r"),
        Column("failure_reason", escape_formula_sql("r.failure_reason"), "Stripe's word"),
        _CONTRIBUTION,
        Column("balance_transaction", escape_formula_sql("r.balance_transaction"),
               "of the refund, as in the file of transactions"),
        Column("failure_balance_transaction", escape_formula_sql("r.failure_balance_transaction"),
               "of the money that came back, if it failed"),
        _EXPORTED_IN,
    ),
    RecordKind.DISPUTES: (
        Column("dispute_id", escape_formula_sql("d.stripe_dispute_id"), "Stripe's"),
        *_times("opened_at", "when it was opened", "d.opened_at"),
        Column("status", "d.status", "Stripe's word; warning_… is an inquiry and moves no money"),
        Column("reason", escape_formula_sql("d.reason"), "Stripe's word"),
        *_amounts("d"),
        _times("evidence_due_at", "until when it can be answered", "d.evidence_due_at")[0],
        Column("evidence_submitted", "CASE WHEN d.evidence_submitted THEN 'yes' ELSE 'no' END",
               "whether it was answered"),
        Column("withdrawn", "CASE WHEN d.is_withdrawn THEN 'yes' ELSE 'no' END",
               "whether its amount left the balance and has not come back"),
        _CONTRIBUTION,
        _EXPORTED_IN,
    ),
    RecordKind.AUDIT: (
        Column("entry", "a.seq", "its number; they go up, and none is ever changed"),
        *_times("recorded_at", "when", "a.recorded_at"),
        Column("who", escape_formula_sql("a.name"), "the colleague, by the name of that time"),
        Column("what", "a.action", "what was done or seen"),
        Column("about", escape_formula_sql(f"({_AUDIT_OBJECT_SQL})"),
               "an id, or the address of a file; a payment is its balance transaction, a donor the"
               " reference of the file of transactions"),
        Column("why", escape_formula_sql("a.reason"), "what was typed as the reason"),
        _EXPORTED_IN,
    ),
}  # fmt: skip
_ROWS_SQL = {  # the rows, the moment their period goes by, and their order
    RecordKind.REFUNDS: (
        f"refunds r LEFT JOIN staff ON staff.id = r.requested_by {_LINK_SQL.format(row='r')}",
        "r.requested_at",
        "r.requested_at, r.id",
    ),
    RecordKind.DISPUTES: (
        f"disputes d {_LINK_SQL.format(row='d')}",
        "d.opened_at",
        "d.opened_at, d.stripe_dispute_id",
    ),
    RecordKind.AUDIT: ("audit_entries a", "a.recorded_at", "a.seq"),
}
_CURRENCY_SQL = {RecordKind.REFUNDS: "r.currency", RecordKind.DISPUTES: "d.currency"}


def check_filters(kind: RecordKind, filters: RecordFilters) -> None:
    """Raise InvalidField for a filter that this kind does not have, or a value it cannot have."""
    is_audit = kind is RecordKind.AUDIT
    for name in ("currency",) if is_audit else ("who", "what"):
        if getattr(filters, name) is not None:
            raise InvalidField(f"{name}: {kind} cannot be filtered by it.", field=name)
    if filters.what is not None and filters.what not in tuple(AuditAction):
        raise InvalidField("what: one of the deeds of the list.", field="what")
    if filters.who is not None and not (filters.who.isprintable() and len(filters.who) <= 80):
        raise InvalidField("who: a name.", field="who")


async def stream_csv(
    ctx: Context, session: AsyncSession, kind: RecordKind, filters: RecordFilters
) -> AsyncIterator[bytes]:
    """Yield the file as RFC 4180 in UTF-8, in chunks. Raises as `check_filters` does."""
    check_filters(kind, filters)
    zone = ctx.settings.accounting_zoneinfo
    rows, moment, order = _ROWS_SQL[kind]
    conditions, params = sql_text.where(
        [
            ("since", sql_text.local_day_condition(moment, ">=", "since"), filters.period.since),
            ("until", sql_text.local_day_condition(moment, "<", "until"), filters.period.until),
            ("currency", f"{_CURRENCY_SQL.get(kind)} = :currency", filters.currency),
            ("who", "a.name = :who", filters.who),
            ("what", "a.action = :what", filters.what),
        ],
        {
            "zone": zone.key,
            "exported_in": f"{kind} {filters.describe()} zone={zone.key}",
        },
    )
    columns = ",\n           ".join(f'{column.sql} AS "{column.name}"' for column in COLUMNS[kind])
    query = f"""
    SELECT {columns}
      FROM {rows}
     WHERE {conditions}
     ORDER BY {order}
    """  # noqa: S608 - constants only; what was asked is a parameter
    await csv_stream.begin_snapshot(session, zone)
    async for chunk in csv_stream.copy_csv(session, query, params):
        yield chunk
