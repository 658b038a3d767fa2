"""Recurring revenue: its roll-forward, how long promises last, which failures were mended, and
which promises are in danger. Ids only.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting import cohort_retention, mrr_rollforward, payment_recovery
from payments.accounting.cohort_retention import Cohort
from payments.accounting.exports import csv_tables
from payments.accounting.exports.transactions_csv import export_filename
from payments.accounting.mrr_rollforward import MrrMonth
from payments.accounting.payment_recovery import RecoveryMonth
from payments.accounting.reports import recurring
from payments.accounting.reports.recurring import AtRiskSubscription
from payments.core import money
from payments.core.calendar import months_before
from payments.core.money import Money
from payments.infra import charts
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, format_money, table
from payments.web.forms import AnyRequest
from payments.web.staff.downloads import attachment
from payments.web.staff.guards import EXPORT, ExportGrant

MONTHS_SHOWN = 13
COHORT_AGES = 12
HEAT_SHADES = 5
AT_RISK_SHOWN = 100
MOVEMENT_LABELS = {
    "new": "New",
    "returned": "Returned",
    "raised": "Raised",
    "lowered": "Lowered",
    "paused": "Paused",
    "stopped": "Stopped",
    "failed": "Failed",
    "fx": "FX",
}
RISK_LABELS = {
    "past_due": "A payment failed and is tried again",
    "needs_card": "There is nothing to charge",
    "card_expires": "The card expires",
}


class RecurringPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/recurring")
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Of the months that are over."""
        currency = layout.filter_value(request.query_params, "currency")
        zone, (since, until) = ctx.settings.accounting_zoneinfo, _months_shown(ctx)
        async with ctx.sessions() as session:
            forward = await recurring.mrr_by_month(
                session, zone, since=since, until=until, currency=currency
            )
            born = await cohort_retention.list_cohorts(
                session, zone, since=since, until=until, currency=currency
            )
            mended = await payment_recovery.by_month(session, zone, since=since, until=until)
            soon = layout.today(ctx) + timedelta(days=recurring.CARD_EXPIRING_DAYS)
            at_risk = await recurring.at_risk(session, expiring_before=soon)
            promised = await recurring.committed_mrr(session)
        codes = sorted({line.currency for line in forward})
        return await layout.render(
            ctx,
            "finance_recurring.html",
            colleague,
            title="Recurring",
            active_url="/finance/recurring",
            currencies=layout.currency_options(currency),
            promised=_committed_table(promised),
            forwards=[
                await _rollforward_chart([f for f in forward if f.currency == c]) for c in codes
            ],
            cohorts=_cohorts_table(born),
            mended=_recoveries_table(mended),
            at_risk=_at_risk_table(at_risk),
            export_url=f"/finance/recurring.csv{layout.query_string(currency=currency)}",
        )

    @get("/recurring.csv", guards=[EXPORT])
    async def recurring_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Response[bytes]:
        """The roll-forward as a file."""
        currency = layout.filter_value(request.query_params, "currency")
        since, until = _months_shown(ctx)
        async with ctx.sessions() as session:
            forward = await recurring.mrr_by_month(
                session,
                ctx.settings.accounting_zoneinfo,
                since=since,
                until=until,
                currency=currency,
            )
        words = f"period={since}..{until}" + (f" currency={currency}" if currency else "")
        name = export_filename("recurring", words, ctx.settings.accounting_zoneinfo, ".csv")
        about = f"recurring {words} zone={ctx.settings.accounting_zone}"
        return await attachment(
            export_grant,
            csv_tables.recurring_csv(forward, exported_in=about),
            name,
            media_type="text/csv",
        )


def _months_shown(ctx: Context) -> tuple[date, date]:
    """Thirteen whole months, the last of them over."""
    until = layout.today(ctx).replace(day=1)
    return months_before(until, MONTHS_SHOWN), until


def _committed_table(committed: Sequence[tuple[str, int, int]]) -> Table:
    rows = [
        [code.upper(), layout.format_count(count), format_money(amount, code)]
        for code, count, amount in committed
    ]
    columns = ["Currency donors chose", "#Living promises", "#Worth each month"]
    return table("promised", "Promised now", columns, rows, empty="There is no living promise.")


async def _rollforward_chart(months: Sequence[MrrMonth]) -> dict[str, Any]:
    """The roll-forward of one currency, newest month first, and its closing in bars."""
    code = months[0].currency
    rows: list[list[str | Cell]] = [
        [
            Cell(
                layout.format_month(line.month),
                "/finance/lines" + layout.query_string(period=f"{line.month:%Y-%m}", currency=code),
            ),
            format_money(line.opening, code),
            *(
                _change_or_empty(getattr(line, name), code)
                for name in mrr_rollforward.MRR_MOVEMENTS
            ),
            format_money(line.closing, code),
            layout.format_count(line.payers),
        ]
        for line in months
    ]
    columns = ["Month", "#Opening", *(f"#{MOVEMENT_LABELS[name]}" for name in mrr_rollforward.MRR_MOVEMENTS),
               "#Closing", "#Promises"]  # fmt: skip
    name = f"Monthly recurring revenue, {code.upper()}"
    newest = months[0]
    by = newest.closing - newest.opening
    moved = layout.format_signed(by, code) if by else "unchanged"
    at_end = (
        f"{format_money(newest.closing, code)} at the end of {layout.format_month(newest.month)}"
    )
    says = f"{at_end}, {moved} in that month."
    points: list[charts.DataPoint] = [
        {
            "month": f"{line.month:%b %y}",
            "series": "Closing",
            "place": 0,
            "value": float(money.to_decimal_string(Money(line.closing, code))),
        }
        for line in reversed(months)
    ]
    spec = charts.stacked_bars(points, series=["Closing"], unit=code.upper())
    return {
        "id": f"mrr-{code}",
        "title": name,
        "says": says,
        "svg": await charts.render_svg(spec, title=name, description=says),
        "table": table(f"t-mrr-{code}", f"How it moved, {code.upper()}", columns, rows),
    }


def _change_or_empty(amount: int, currency: str) -> str:
    return layout.format_signed(amount, currency) if amount else layout.EMPTY_CELL


def _cohorts_table(cohorts: Sequence[Cohort]) -> Table:
    """Shaded by class and said in numbers: the shade is never the only sign."""
    rows: list[list[str | Cell]] = []
    for cohort in cohorts:
        size = cohort.payers_by_age[0]
        row: list[str | Cell] = [
            layout.format_month(cohort.first_paid_month),
            layout.format_count(size),
        ]
        for age in range(1, COHORT_AGES + 1):
            if age >= len(cohort.payers_by_age):
                row.append("")
                continue
            paid = cohort.payers_by_age[age]
            shade = -(-paid * HEAT_SHADES // size)
            row.append(Cell(layout.format_share(paid, size), tone=f"heat heat-{shade}"))
        rows.append(row)
    columns = ["First paid in", "#Promises", *(f"#+{age}" for age in range(1, COHORT_AGES + 1))]
    return table(
        "cohorts",
        "Monthly promises that still paid so many months later",
        columns,
        rows,
        empty="No monthly promise first paid in a month that is over.",
    )


def _recoveries_table(recoveries: Sequence[RecoveryMonth]) -> Table:
    rows = [
        [
            layout.format_month(one.month),
            one.currency.upper(),
            layout.format_count(one.failed),
            layout.format_count(one.recovered),
            layout.format_share(one.recovered, one.failed),
            format_money(one.recovered_amount, one.currency),
            format_money(one.amount - one.recovered_amount, one.currency),
        ]
        for one in recoveries
    ]
    columns = ["First failed in", "Currency", "#Failed", "#Paid later", "#Share", "#Paid later",
               "#Not paid"]  # fmt: skip
    empty = "No renewal has failed."
    return table("mended", "Renewals that failed, and were paid later", columns, rows, empty=empty)


def _at_risk_table(at_risk: Sequence[AtRiskSubscription]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            Cell(one.contribution_id[:8], f"/finance/gifts/{one.contribution_id}", code=True),
            Cell(RISK_LABELS[one.reason], tone="bad" if one.reason != "card_expires" else ""),
            layout.frequency_label(one.frequency),
            layout.EMPTY_CELL
            if one.current_period_end is None
            else one.current_period_end.strftime("%Y-%m-%d"),
            layout.EMPTY_CELL if one.card_expires_on is None else f"{one.card_expires_on:%Y-%m}",
            one.currency.upper(),
            format_money(one.amount, one.currency),
        ]
        for one in at_risk[:AT_RISK_SHOWN]
    ]
    columns = ["Gift", "Why", "Frequency", "Next charge", "Card until", "Currency", "#Amount"]
    caption = "Promises at risk" + (
        f", the first {AT_RISK_SHOWN}" if len(at_risk) > AT_RISK_SHOWN else ""
    )
    return table("at-risk", caption, columns, rows, empty="No promise is at risk.")
