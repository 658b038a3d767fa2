"""Lines: one for each movement of the Stripe balance that is posted, as finance looks for them and
takes them away. A page of them is found by its place, never by counting, so the last is as quick
as the first.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import daily_totals
from payments.accounting.reports.monthly import SUMS_SQL
from payments.accounting.reports.period import (
    ALL_TIME,
    LATE_ENTRIES_JOIN_SQL,
    Period,
    booked_before,
    booked_from,
)
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.identifiers import ROW_ID_PATTERN, SLUG_HELP, SLUG_PATTERN
from payments.ledger.posting_rules import LedgerAccount

PAGE_SIZE = 50
TRANSACTION_TYPES = (
    "charge",
    "refund",
    "refund_failure",
    "dispute",
    "dispute_reversal",
    "fee",
    "adjustment",
    "payout",
    "payout_reversal",
    "fx",
)
TYPE_SQL = """
    CASE WHEN b.type IN ('charge', 'payment') THEN 'charge'
         WHEN b.type IN ('refund', 'payment_refund') THEN 'refund'
         WHEN b.type = 'refund_failure' THEN 'refund_failure'
         WHEN b.type IN ('stripe_fee', 'stripe_fx_fee', 'tax_fee') THEN 'fee'
         WHEN b.type = 'payout' THEN 'payout'
         WHEN b.type IN ('payout_failure', 'payout_cancel') THEN 'payout_reversal'
         WHEN b.type <> 'adjustment' THEN 'adjustment'
         WHEN b.reporting_category IN ('refund_failure', 'dispute', 'dispute_reversal', 'fee')
           THEN b.reporting_category
         WHEN b.exchange_rate IS NOT NULL THEN 'fx'
         ELSE 'adjustment' END
"""
# The commonest types by themselves, so that the planner knows how many there are of each.
_TYPE_CONDITIONS = {
    "charge": "b.type IN ('charge', 'payment')",
    "refund": "b.type IN ('refund', 'payment_refund')",
    "payout": "b.type = 'payout'",
}
# The first row of a transaction tells what it is; what it is about follows from its charge.
FROM_SQL = f"""
      FROM balance_transactions b
      JOIN LATERAL (
          SELECT seq, debit, credit, contribution_id FROM ledger_entries
           WHERE balance_transaction = b.id ORDER BY seq LIMIT 1) e ON true
      {LATE_ENTRIES_JOIN_SQL}
      LEFT JOIN charges c ON c.stripe_charge_id = b.charge
      LEFT JOIN payment_intent_links i USING (stripe_payment_intent_id)
      LEFT JOIN contributions n ON n.id = e.contribution_id
"""  # noqa: S608 - our own words
_CURRENCY = re.compile(r"[a-z]{3}")
_ID_CONDITIONS = (  # what an id looks like -> where it is looked for
    (re.compile(r"txn_[A-Za-z0-9_]{1,250}"), "b.id = :id"),
    (re.compile(r"(ch|py)_[A-Za-z0-9_]{1,250}"), "b.charge = :id"),
    (
        re.compile(r"pi_[A-Za-z0-9_]{1,250}"),
        "b.charge IN (SELECT stripe_charge_id FROM charges WHERE stripe_payment_intent_id = :id)",
    ),
    (
        re.compile(r"sub_[A-Za-z0-9_]{1,250}"),
        (
            "b.id IN (SELECT balance_transaction FROM ledger_entries WHERE contribution_id IN"
            " (SELECT contribution_id FROM subscriptions WHERE stripe_subscription_id = :id))"
        ),
    ),
    (
        ROW_ID_PATTERN,
        "b.id IN (SELECT balance_transaction FROM ledger_entries WHERE contribution_id = :id)",
    ),
    (
        re.compile(r"[0-9a-f]{16}"),
        (
            "b.charge IN (SELECT stripe_charge_id FROM charges WHERE"
            " left(encode(sha256(convert_to(stripe_charge_id, 'UTF8')), 'hex'), 16) = :id)"
        ),
    ),
    (re.compile(r"(po|re|pyr|dp|du|trr|fee)_[A-Za-z0-9_]{1,250}"), "b.source = :id"),
)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which lines. Everything that is set must hold."""

    period: Period = ALL_TIME
    type: str | None = None
    frequency: str | None = None
    currency: str | None = None
    account: str | None = None
    campaign: str | None = None
    id: str | None = None

    def describe(self) -> str:
        """The filters in one line, for a file and its name: period=2026-10 currency=usd."""
        said = [f"period={self.period.label}"]
        for name in ("type", "frequency", "currency", "account", "campaign", "id"):
            if (value := getattr(self, name)) is not None:
                said.append(f"{name}={value}")
        return " ".join(said)

    def conditions(self, zone: ZoneInfo) -> tuple[str, dict[str, Any]]:  # parameters of any type
        """The conditions, and their parameters. Only what is set is in them."""
        parts: list[str] = []
        params: dict[str, Any] = {}  # of any type
        if self.period.since is not None:
            parts.append(booked_from("b.occurred_at"))
            params |= {"since": self.period.since, "zone": zone.key}
        if self.period.until is not None:
            parts.append(booked_before("b.occurred_at"))
            params |= {"until": self.period.until, "zone": zone.key}
        for name, condition in (
            ("type", _TYPE_CONDITIONS.get(self.type or "", f"{TYPE_SQL} = :type")),
            (
                "frequency",
                "i.frequency IS NULL"
                if self.frequency == daily_totals.NO_FREQUENCY
                else "i.frequency = :frequency",
            ),
            ("currency", "b.currency = :currency"),
            ("campaign", "n.campaign = :campaign"),
            (
                "account",
                (
                    "EXISTS (SELECT FROM ledger_entries x WHERE x.balance_transaction = b.id"
                    " AND :account IN (x.debit, x.credit))"
                ),
            ),
            ("id", _id_condition(self.id or "")),
        ):
            if (value := getattr(self, name)) is not None:
                parts.append(condition)
                params[name] = value
        return (" AND ".join(parts) or "true"), params


def _id_condition(object_id: str) -> str:
    return next((place for shape, place in _ID_CONDITIONS if shape.fullmatch(object_id)), "false")


def parse_filters(query: Mapping[str, str], period: Period) -> Filters:
    """The filters of an address. Raises InvalidField for what makes no sense, or contradicts."""
    values = {name: query[name] for name in FILTER_RULES if query.get(name)}
    for name, value in values.items():
        allowed, words = FILTER_RULES[name]
        if not (value in allowed if isinstance(allowed, tuple) else allowed.fullmatch(value)):
            raise InvalidField(f"{name}: {words}.", field=name)
    if "id" in values and _id_condition(values["id"]) == "false":
        raise InvalidField(f"id: {FILTER_RULES['id'][1]}.", field="id")
    income = values.get("account", "").partition("income:")[2]
    if income and values.get("frequency", income) != income:
        raise InvalidField(
            f"account: income:{income} has no line that is {values['frequency']}.", field="account"
        )
    if values.get("frequency") == daily_totals.NO_FREQUENCY and "campaign" in values:
        raise InvalidField(
            "campaign: what belongs to no contribution has no campaign.", field="campaign"
        )
    return Filters(period, **values)


FILTER_RULES: Mapping[str, tuple[tuple[str, ...] | re.Pattern[str], str]] = {
    "type": (TRANSACTION_TYPES, "one of " + ", ".join(TRANSACTION_TYPES)),
    "frequency": ((*Frequency, daily_totals.NO_FREQUENCY), "once, monthly, annual or none"),
    "currency": (_CURRENCY, "three letters, such as usd"),
    "account": (tuple(LedgerAccount), "one of " + ", ".join(LedgerAccount)),
    "campaign": (SLUG_PATTERN, SLUG_HELP),
    "id": (
        re.compile(r"[A-Za-z0-9_]{1,255}"),
        (
            "a whole id: of a contribution, a transaction (txn_…), a charge (ch_…), a payment"
            " intent (pi_…), a promise (sub_…), a refund (re_…), a dispute (dp_…), a payout"
            " (po_…), or a receipt's number"
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Transaction:
    """One movement, in minor units of the settlement currency."""

    seq: int
    id: str
    type: str
    occurred_at: datetime
    currency: str
    gross: int
    fee: int
    net: int
    presentment_amount: int | None  # what the donor was shown
    presentment_currency: str | None
    frequency: str
    campaign: str | None
    contribution_id: str | None
    charge: str | None
    debit: str
    credit: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of a line in the list."""

    at: datetime
    id: str

    def __str__(self) -> str:
        return f"{int(self.at.timestamp())}.{self.id}"


_CURSOR = re.compile(r"([0-9]{1,11})\.(txn_[A-Za-z0-9_]{1,250})", re.ASCII)


def parse_cursor(value: str, utc: ZoneInfo) -> Cursor:
    """A cursor from an address. Raises InvalidField."""
    found = _CURSOR.fullmatch(value)
    if found is None:
        raise InvalidField(
            "before: follow the link of a page; this place is not one of ours.", field="before"
        )
    return Cursor(datetime.fromtimestamp(int(found[1]), utc), found[2])


async def list_page(
    session: AsyncSession,
    zone: ZoneInfo,
    filters: Filters,
    *,
    before: Cursor | None = None,
    size: int = PAGE_SIZE,
) -> tuple[Sequence[Transaction], Cursor | None]:
    """The newest lines, or those before a place, and the place where the next page begins."""
    where, params = filters.conditions(zone)
    if before is not None:
        where += " AND b.occurred_at <= :at AND (b.occurred_at, b.id) < (:at, :place)"
        params |= {"at": before.at, "place": before.id}
    rows = await session.execute(
        text(
            f"""
            SELECT e.seq, b.id, {TYPE_SQL} AS type, b.occurred_at, b.currency, b.amount, b.fee, b.net,
                   c.amount, c.currency, coalesce(i.frequency, 'none'), n.campaign,
                   e.contribution_id, b.charge, e.debit, e.credit
            {FROM_SQL}
             WHERE {where}
             ORDER BY b.occurred_at DESC, b.id DESC
             LIMIT {size + 1}
            """
        ),
        params,
    )
    found = [Transaction(*row) for row in rows]
    more = Cursor(found[size - 1].occurred_at, found[size - 1].id) if len(found) > size else None
    return found[:size], more


@dataclass(frozen=True, slots=True)
class TransactionTotal:
    """The sum of the lines of one currency."""

    currency: str
    payments: int
    gross: int
    fees: int
    refunds: int
    disputes: int

    @property
    def net(self) -> int:
        return self.gross - self.fees - self.refunds - self.disputes


async def totals(session: AsyncSession, zone: ZoneInfo, filters: Filters) -> list[TransactionTotal]:
    """The sums of every line of the filters, by currency. From the roll-up where it knows."""
    by_day = filters.type is filters.account is filters.campaign is filters.id is None
    query, params = _totals_by_day(filters, zone) if by_day else _totals_by_entry(filters, zone)
    rows = await session.execute(text(query), params)
    return [
        TransactionTotal(
            row.currency,
            *(int(value) for value in (row.gifts, row.gross, row.fees, row.refunds, row.disputes)),
        )
        for row in rows
    ]


def _totals_by_day(filters: Filters, zone: ZoneInfo) -> tuple[str, dict[str, Any]]:  # of any type
    parts, params = ["true"], {"zone": zone.key}
    for name, condition, value in (
        ("since", "day >= :since", filters.period.since),
        ("until", "day < :until", filters.period.until),
        ("currency", "currency = :currency", filters.currency),
        ("frequency", "frequency = :frequency", filters.frequency),
    ):
        if value is not None:
            parts.append(condition)
            params[name] = value  # type: ignore[assignment]  # any of them is a parameter
    query = f"""
        SELECT currency, {SUMS_SQL} FROM ({daily_totals.DAILY_TOTALS_SQL}) AS days WHERE {" AND ".join(parts)}
         GROUP BY 1 ORDER BY 1 LIMIT 200
    """  # noqa: S608 - our own words
    return query, params


def _totals_by_entry(filters: Filters, zone: ZoneInfo) -> tuple[str, dict[str, Any]]:  # of any type
    where, params = filters.conditions(zone)
    query = f"""
        WITH those AS (SELECT b.id {FROM_SQL} WHERE {where})
        SELECT r.currency, {SUMS_SQL}
          FROM (SELECT x.currency, x.debit, x.credit, x.amount, 1 AS entries,
                       0 AS payers, 0 AS first_time_payers
                  FROM those JOIN ledger_entries x ON x.balance_transaction = those.id) AS r
         GROUP BY 1 ORDER BY 1 LIMIT 200
    """  # noqa: S608 - our own words; what was asked is a parameter
    return query, params
