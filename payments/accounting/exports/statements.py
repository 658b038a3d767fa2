"""Bank statements of the balance at Stripe, one for each currency: what came in and went out on
each day, by what it was and the payout it is in, and each payout as the transfer to the bank.

For programs that keep the balance at Stripe as a bank account of its own. The lines add up to what
the balance moved in the period; those of one payout, to nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import booking_day, sql_text
from payments.accounting.exports.csv_cells import to_csv
from payments.accounting.exports.csv_journals import DATE_FORMATS
from payments.accounting.exports.journal_format import JournalFormat, Program
from payments.accounting.exports.program_amounts import two_decimals
from payments.accounting.exports.program_rules import Names, setting
from payments.accounting.reports.period import Period
from payments.ledger.posting_rules import LedgerAccount

XERO_MAX_LINES = 1000
QBO_MAX_LINES = 1000
PAYEE = "Stripe"
# What a line says, by the other account. No digits: QuickBooks refuses them in a description.
LABELS = {
    LedgerAccount.STRIPE: "Balance at Stripe",
    LedgerAccount.INCOME_ONCE: "Contributions given once",
    LedgerAccount.INCOME_MONTHLY: "Monthly contributions",
    LedgerAccount.INCOME_ANNUAL: "Annual contributions",
    LedgerAccount.INCOME_PERIODIC: "Contributions at other intervals",
    LedgerAccount.OTHER_INCOME: "Other income",
    LedgerAccount.OTHER_REFUNDS: "Refunds of other income",
    LedgerAccount.OTHER_DISPUTES: "Disputes of other income",
    LedgerAccount.OTHER_FEES: "Fees of other income",
    LedgerAccount.REFUNDS: "Refunds",
    LedgerAccount.DISPUTES: "Disputes",
    LedgerAccount.PROCESSING: "Processing fees",
    LedgerAccount.DISPUTE_FEES: "Dispute fees",
    LedgerAccount.BILLING: "Billing and other fees",
    LedgerAccount.TAX: "Tax on fees",
    LedgerAccount.FX: "Conversion fees",
    LedgerAccount.CLEARING: "Conversion between currencies",
    LedgerAccount.IN_TRANSIT: "Payout to the bank",
    LedgerAccount.BANK: "Top-up from the bank",
    LedgerAccount.RESERVED: "Reserved by Stripe",
    LedgerAccount.PREFUNDING: "Prefunding at Stripe",
    LedgerAccount.ISSUING: "Issuing at Stripe",
    LedgerAccount.HELD: "Held by Stripe",
    LedgerAccount.SUSPENSE: "Not yet explained",
    LedgerAccount.UNEXPLAINED: "Accepted without an explanation",
}


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line, in minor units: above zero what came in. `reference` is a payout, or the day's."""

    day: date
    amount: int
    currency: str
    label: str
    reference: str


async def list_lines(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, currency: str | None = None
) -> list[StatementLine]:
    """Return the lines of a period, oldest first."""
    conditions, params = sql_text.where(
        [
            ("since", booking_day.BOOKED_FROM_SQL, period.since),
            ("until", booking_day.BOOKED_BEFORE_SQL, period.until),
            ("currency", "e.currency = :currency", currency),
        ],
        {"zone": zone.key},
    )
    query = f"""
    WITH moved AS (
         SELECT CAST(booked_at(e.occurred_at, e.booked_on, :zone) AS date) AS day,
                e.currency,
                CASE e.debit WHEN :stripe THEN e.credit ELSE e.debit END AS account,
                CASE e.debit WHEN :stripe THEN e.amount ELSE -e.amount END AS amount,
                coalesce(
                    (SELECT max(item.stripe_payout_id)
                       FROM payout_transactions item
                      WHERE item.balance_transaction = e.balance_transaction),
                    (SELECT max(payout.stripe_payout_id)
                       FROM payouts payout
                      WHERE e.balance_transaction IN (payout.balance_transaction,
                                                      payout.failure_balance_transaction)),
                    '') AS payout
           FROM booked_entries e
          WHERE :stripe IN (e.debit, e.credit)
            AND {conditions})
    SELECT day, currency, account, payout, CAST(sum(amount) AS bigint) AS amount
      FROM moved
     GROUP BY day, currency, account, payout
    HAVING sum(amount) <> 0
     ORDER BY day, currency, account, payout
    """  # noqa: S608 - constants only
    rows = await session.execute(text(query), {**params, "stripe": LedgerAccount.STRIPE.value})
    return [
        StatementLine(
            row.day,
            row.amount,
            row.currency,
            LABELS[LedgerAccount(row.account)],
            row.payout or f"RP-{row.day:%Y%m%d}-{row.currency.upper()}",
        )
        for row in rows
    ]


def render(
    journal_format: JournalFormat, lines: Sequence[StatementLine], names: Names
) -> list[bytes]:
    """Return the files of lines of one currency. Raises ProgramRefuses."""
    if journal_format is JournalFormat.XERO_STATEMENT:
        return [
            to_csv(
                ["Date", "Amount", "Payee", "Description", "Reference"],
                (
                    [f"{line.day:%d/%m/%Y}", two_decimals(line.amount, line.currency), PAYEE,
                     line.label, line.reference]
                    for line in part
                ),
            )
            for part in _parts(lines, XERO_MAX_LINES)
        ]  # fmt: skip
    dates = DATE_FORMATS[setting(names, Program.QBO, "dates")]
    return [
        to_csv(
            ["Date", "Description", "Amount"],
            (
                [line.day.strftime(dates), line.label, two_decimals(line.amount, line.currency)]
                for line in part
            ),
        )
        for part in _parts(lines, QBO_MAX_LINES)
    ]


def _parts(lines: Sequence[StatementLine], most: int) -> list[Sequence[StatementLine]]:
    return [lines[start : start + most] for start in range(0, len(lines), most)]
