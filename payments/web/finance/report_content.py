"""What the contribution report says, for its page and its PDF: the same words in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from payments.accounting.contribution_report import ContributionReport, CurrencyReport
from payments.accounting.reports.monthly import MonthlyTotal
from payments.accounting.reports.period import Period
from payments.core import i18n
from payments.infra.context import Context
from payments.web.account.paper import Paper, Section
from payments.web.finance.formats import (
    format_count,
    format_date,
    format_datetime,
    format_deduction,
    format_money,
    format_month,
    format_signed,
    frequency_label,
)
from payments.web.finance.period_close import BALANCE_LABELS
from payments.web.finance.tables import Table, table

PROVISIONAL = "Provisional: not every month of it is closed, so its figures may still change."
FINAL = "Final: every month of it is closed, so its figures do not change."
DEFINITIONS = (
    ("Payments", "How many times money of a contribution arrived."),
    ("Gross", "What contributions brought before anything was taken off."),
    (
        "Fees",
        "What Stripe took: for payments, disputes, its billing and conversions, and tax on it.",
    ),
    ("Refunds", "What we gave back, less refunds that failed and whose money came back."),
    ("Disputes", "What donors' banks took back, less what they returned."),
    ("Net", "Gross less fees, refunds and disputes."),
    (
        "Stripe's own fees",
        "Fees that belong to no payment, such as those of Stripe's billing.",
    ),
    ("Other income", "What the Stripe account takes for something else; in no total of gifts."),
    (
        "Contributions that paid",
        "One-time gifts and recurring contributions that paid, each counted once a month.",
    ),
    (
        "Balance at Stripe",
        "What Stripe held for us and pays out: what it was, all that moved it, and what it is.",
    ),
    (
        "To the bank and from it",
        "Payouts on the day they leave Stripe's balance, less those that came back, and top-ups.",
    ),
)


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Texts and tables, ready to print."""

    title: str
    state: str  # FINAL or PROVISIONAL
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table]
    definitions: Table
    notes: Sequence[str]


def build(ctx: Context, report: ContributionReport) -> ReportContent:
    """Return what the page and the PDF of a report say."""
    tables = [one for currency in report.currencies for one in _tables(report, currency)]
    return ReportContent(
        title=f"Contribution report, {Period(report.since, report.until).words}",
        state=PROVISIONAL if report.is_provisional else FINAL,
        facts=_facts(ctx, report),
        tables=tables or [table("none", "Figures", [], [], empty="No money moved in this time.")],
        definitions=table("definitions", "What the words mean", ["Word", "Meaning"], DEFINITIONS),
        notes=[
            "Amounts are in the currency that was settled. Currencies are never added together.",
            "It holds no person. Who took it away, and when, is in the audit log.",
        ],
    )


def paper(ctx: Context, report: ContributionReport) -> Paper:
    """Return the same to print. The day of making is the books', so that it is the same again."""
    content, settings = build(ctx, report), ctx.settings
    midnight = datetime.combine(report.since, time(), UTC)
    return Paper(
        title=content.title,
        issuer=settings.publication_name,
        colour=settings.brand_color,
        logo=settings.brand_logo_png,
        language=i18n.DEFAULT_LOCALE,
        made_at=report.dated or midnight,
        facts=content.facts,
        notes=content.notes,
        sections=[_section(one) for one in (*content.tables, content.definitions)],
    )


def _section(of: Table) -> Section:
    if not of.rows:
        return Section(of.caption, ["", ""], [[of.empty, ""]])
    return Section(
        heading=of.caption,
        columns=[column.label for column in of.columns],
        rows=[[cell.text for cell in row] for row in of.rows],
        footer=[[cell.text for cell in row] for row in of.footer],
        numeric=of.columns[-1].numeric,
    )


def _facts(ctx: Context, report: ContributionReport) -> list[tuple[str, str]]:
    last = report.until - timedelta(days=1)
    facts = [
        ("Days", f"{format_date(report.since)} to {format_date(last)}"),
        ("Zone of the books", report.zone),
        ("State", PROVISIONAL if report.is_provisional else FINAL),
    ]
    for closing in report.closings:
        closed_at = format_datetime(ctx, closing.closed_at)
        facts.append(
            (f"{format_month(closing.month)} closed", f"{closed_at}, by {closing.closed_by}")
        )
    if report.late_entries:
        count = format_count(report.late_entries)
        facts.append(("Late entries", f"{count} of months that were closed before, counted here"))
    if report.position is not None:
        position = report.position
        facts.append(
            ("Last row of the books", f"{format_count(position.seq)}, hash {position.hash[:16]}…")
        )
    return facts


def _tables(report: ContributionReport, one: CurrencyReport) -> list[Table]:
    code = one.currency
    return [
        _by_frequency_table(one),
        table(
            f"last-year-{code}",
            f"{code.upper()}: beside the same days a year earlier",
            ["Figure", "#This period", "#A year earlier", "#Difference"],
            _last_year_rows(one),
        ),
        _balance_table(report, one),
        table(
            f"counts-{code}",
            f"{code.upper()}: how many",
            ["What", "#Count", "#Amount"],
            _count_rows(one),
        ),
    ]


def _by_frequency_table(one: CurrencyReport) -> Table:
    columns = ["Frequency", "#Payments", "#Gross", "#Fees", "#Refunds", "#Disputes", "#Net"]
    footer = [_total_row("All contributions", one.total)]
    if one.other_income is not None:
        footer.append(_total_row("Other income, in no total", one.other_income))
    return table(
        f"contributions-{one.currency}",
        f"{one.currency.upper()}: contributions by frequency",
        columns,
        [_total_row(frequency_label(total.frequency), total) for total in one.by_frequency],
        footer=footer,
        empty="No contribution moved money.",
    )


def _total_row(label: str, total: MonthlyTotal) -> list[str]:
    currency = total.currency
    return [
        label,
        format_count(total.payments),
        format_money(total.gross, currency),
        format_deduction(total.fees, currency),
        format_deduction(total.refunds, currency),
        format_deduction(total.disputes, currency),
        format_money(total.net, currency),
    ]


def _last_year_rows(one: CurrencyReport) -> list[list[str]]:
    code, now, then = one.currency, one.total, one.last_year
    rows = [
        [
            "Payments",
            format_count(now.payments),
            format_count(then.payments),
            ("+" if now.payments > then.payments else "")
            + format_count(now.payments - then.payments),
        ]
    ]
    for name, sign in (("gross", 1), ("fees", -1), ("refunds", -1), ("disputes", -1), ("net", 1)):
        amounts = [sign * int(getattr(total, name)) for total in (now, then)]
        rows.append(
            [
                name.capitalize(),
                *(format_money(amount, code) for amount in amounts),
                format_signed(amounts[0] - amounts[1], code),
            ]
        )
    return rows


def _balance_table(report: ContributionReport, one: CurrencyReport) -> Table:
    code, balance = one.currency, one.balance
    last = report.until - timedelta(days=1)
    rows = [
        [f"Opening, before {format_date(report.since)}", format_money(balance.opening, code)],
        *(
            [label, format_signed(getattr(balance, name), code)]
            for name, label in BALANCE_LABELS.items()
            if getattr(balance, name)
        ),
    ]
    if one.corrected:
        listed = ", ".join(
            f"{name} {format_signed(amount, code)}" for name, amount in one.corrected.items()
        )
        rows.append([f"Of corrections, which move no money: {listed}", format_money(0, code)])
    return table(
        f"balance-{code}",
        f"{code.upper()}: the balance at Stripe; the lines add up to its closing",
        ["Balance at Stripe", "#Amount"],
        rows,
        footer=[[f"Closing, after {format_date(last)}", format_money(balance.closing, code)]],
    )


def _count_rows(one: CurrencyReport) -> list[list[str]]:
    code, counts, total = one.currency, one.counts, one.total
    rows = [
        ("Contributions that paid", total.payers, ""),
        ("Of them, for the first time", total.first_time_payers, ""),
        ("Refunds", counts.refunds, ""),
        ("Refunds that failed", counts.refunds_failed, ""),
        ("Disputes that took money", counts.disputes, ""),
        ("Disputes whose money came back", counts.disputes_reversed, ""),
        ("Payouts", counts.payouts, format_money(counts.payouts_amount, code)),
        (
            "Payouts that came back",
            counts.payouts_failed,
            format_money(counts.payouts_failed_amount, code),
        ),
    ]
    return [[label, format_count(count), amount] for label, count, amount in rows]
