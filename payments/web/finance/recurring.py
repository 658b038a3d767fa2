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
from payments.accounting.exports.transactions import filename
from payments.accounting.mrr_rollforward import Forward
from payments.accounting.payment_recovery import Recovery
from payments.accounting.reports import period, recurring
from payments.accounting.reports.recurring import AtRisk
from payments.core import money
from payments.core.money import Money
from payments.infra import charts
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, show, table
from payments.web.forms import AnyRequest

MONTHS = 13
AGES = 12
SHADES = 5
AT_RISK = 100
LABELS = {
    "new": "New",
    "returned": "Returned",
    "raised": "Raised",
    "lowered": "Lowered",
    "paused": "Paused",
    "stopped": "Stopped",
    "failed": "Failed",
    "fx": "FX",
}
REASONS = {
    "past_due": "A payment failed and is tried again",
    "needs_card": "There is nothing to charge",
    "card_expires": "The card expires",
}


class RecurringPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/recurring")
    async def page(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Of the months that are over."""
        currency = layout.word(request.query_params, "currency")
        zone, (since, until) = rt.settings.zone, _span(rt)
        async with rt.sessions() as session:
            forward = await recurring.forward(
                session, zone, since=since, until=until, currency=currency
            )
            born = await cohort_retention.read(
                session, zone, since=since, until=until, currency=currency
            )
            mended = await payment_recovery.read(session, zone, since=since, until=until)
            soon = layout.today(rt) + timedelta(days=recurring.EXPIRING)
            at_risk = await recurring.at_risk(session, soon=soon)
            promised = await recurring.promised(session)
        codes = sorted({line.currency for line in forward})
        return await layout.page(
            rt,
            "finance_recurring.html",
            colleague,
            title="Recurring",
            here="/finance/recurring",
            currencies=layout.currencies(currency),
            promised=_promised(promised),
            forwards=[await _forward([f for f in forward if f.currency == c]) for c in codes],
            cohorts=_cohorts(born),
            mended=_mended(mended),
            at_risk=_at_risk(at_risk),
            export_url=f"/finance/recurring.csv{layout.query(currency=currency)}",
        )

    @get("/recurring.csv")
    async def export(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[bytes]:
        """The roll-forward as a file."""
        assert colleague.role
        currency = layout.word(request.query_params, "currency")
        since, until = _span(rt)
        async with rt.sessions() as session:
            forward = await recurring.forward(
                session, rt.settings.zone, since=since, until=until, currency=currency
            )
        words = f"period={since}..{until}" + (f" currency={currency}" if currency else "")
        name = filename("recurring", words, rt.settings.zone, ".csv")
        about = f"recurring {words} zone={rt.settings.accounting_zone}"
        return Response(
            csv_tables.recurring(forward, exported_in=about),
            media_type="text/csv",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )


def _span(rt: Runtime) -> tuple[date, date]:
    """Thirteen whole months, the last of them over."""
    until = layout.today(rt).replace(day=1)
    return period.months_before(until, MONTHS), until


def _promised(promised: Sequence[tuple[str, int, int]]) -> Table:
    rows = [
        [code.upper(), layout.whole(count), show(amount, code)] for code, count, amount in promised
    ]
    columns = ["Currency donors chose", "#Living promises", "#Worth each month"]
    return table("promised", "Promised now", columns, rows, empty="There is no living promise.")


async def _forward(lines: Sequence[Forward]) -> dict[str, Any]:
    """The roll-forward of one currency, newest month first, and its closing in bars."""
    code = lines[0].currency
    rows: list[list[str | Cell]] = [
        [
            Cell(
                layout.month(line.month),
                "/finance/lines" + layout.query(period=f"{line.month:%Y-%m}", currency=code),
            ),
            show(line.opening, code),
            *(_moved(getattr(line, name), code) for name in mrr_rollforward.MOVEMENTS),
            show(line.closing, code),
            layout.whole(line.givers),
        ]
        for line in lines
    ]
    columns = ["Month", "#Opening", *(f"#{LABELS[name]}" for name in mrr_rollforward.MOVEMENTS),
               "#Closing", "#Promises"]  # fmt: skip
    name = f"Monthly recurring revenue, {code.upper()}"
    newest = lines[0]
    by = newest.closing - newest.opening
    moved = layout.signed(by, code) if by else "unchanged"
    at_end = f"{show(newest.closing, code)} at the end of {layout.month(newest.month)}"
    says = f"{at_end}, {moved} in that month."
    points: list[charts.Point] = [
        {
            "month": f"{line.month:%b %y}",
            "series": "Closing",
            "place": 0,
            "value": float(money.plain(Money(line.closing, code))),
        }
        for line in reversed(lines)
    ]
    spec = charts.stacked(points, series=["Closing"], unit=code.upper())
    return {
        "id": f"mrr-{code}",
        "title": name,
        "says": says,
        "svg": await charts.svg(spec, name=name, says=says),
        "table": table(f"t-mrr-{code}", f"How it moved, {code.upper()}", columns, rows),
    }


def _moved(minor: int, currency: str) -> str:
    return layout.signed(minor, currency) if minor else layout.NOTHING


def _cohorts(born: Sequence[Cohort]) -> Table:
    """Shaded by class and said in numbers: the shade is never the only sign."""
    rows: list[list[str | Cell]] = []
    for cohort in born:
        size = cohort.paid[0]
        row: list[str | Cell] = [layout.month(cohort.month), layout.whole(size)]
        for age in range(1, AGES + 1):
            if age >= len(cohort.paid):
                row.append("")
                continue
            paid = cohort.paid[age]
            shade = -(-paid * SHADES // size)
            row.append(Cell(layout.share(paid, size), tone=f"heat heat-{shade}"))
        rows.append(row)
    columns = ["First paid in", "#Promises", *(f"#+{age}" for age in range(1, AGES + 1))]
    return table(
        "cohorts",
        "Monthly promises that still paid so many months later",
        columns,
        rows,
        empty="No monthly promise first paid in a month that is over.",
    )


def _mended(mended: Sequence[Recovery]) -> Table:
    rows = [
        [
            layout.month(one.month),
            one.currency.upper(),
            layout.whole(one.failed),
            layout.whole(one.recovered),
            layout.share(one.recovered, one.failed),
            show(one.recovered_amount, one.currency),
            show(one.amount - one.recovered_amount, one.currency),
        ]
        for one in mended
    ]
    columns = ["First failed in", "Currency", "#Failed", "#Paid later", "#Share", "#Paid later",
               "#Not paid"]  # fmt: skip
    empty = "No renewal has failed."
    return table("mended", "Renewals that failed, and were paid later", columns, rows, empty=empty)


def _at_risk(at_risk: Sequence[AtRisk]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            Cell(one.contribution_id[:8], f"/finance/gifts/{one.contribution_id}", code=True),
            Cell(REASONS[one.reason], tone="bad" if one.reason != "card_expires" else ""),
            layout.frequency(one.frequency),
            layout.NOTHING if one.renews_at is None else one.renews_at.strftime("%Y-%m-%d"),
            layout.NOTHING if one.card_expires_on is None else f"{one.card_expires_on:%Y-%m}",
            one.currency.upper(),
            show(one.amount, one.currency),
        ]
        for one in at_risk[:AT_RISK]
    ]
    columns = ["Gift", "Why", "Frequency", "Next charge", "Card until", "Currency", "#Amount"]
    caption = "Promises at risk" + (f", the first {AT_RISK}" if len(at_risk) > AT_RISK else "")
    return table("at-risk", caption, columns, rows, empty="No promise is at risk.")
