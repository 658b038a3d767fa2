"""Payouts: what went to the bank, each with its proof line by line."""

from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.accounting.exports import csv_tables
from payments.accounting.exports.transactions import filename
from payments.accounting.reports import payouts
from payments.accounting.reports.payouts import Paid, Part
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, show, table, taken
from payments.web.finance.transactions import TYPES
from payments.web.forms import AnyRequest

PROOFS = {
    "proved": ("Equals its lines", "good"),
    "mismatch": ("Does not equal its lines", "bad"),
    "waiting": ("Stripe has not closed its list", ""),
    "none": ("Stripe does not say what is in it", ""),
}
STATUSES = {
    "pending": "Pending",
    "in_transit": "On its way",
    "paid": "Paid",
    "failed": "Failed",
    "canceled": "Cancelled",
}


class PayoutPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/payouts")
    async def page(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """The newest, or those before one."""
        currency = layout.word(request.query_params, "currency")
        async with rt.sessions() as session:
            found, more = await payouts.page(
                session, currency=currency, before=request.query_params.get("before") or None
            )
        more_url = f"/finance/payouts{layout.query(currency=currency, before=more)}"
        return await layout.page(
            rt,
            "finance_payouts.html",
            colleague,
            title="Payouts",
            here="/finance/payouts",
            currencies=layout.currencies(currency),
            table=_payouts(rt, found),
            next_url=more_url if more else "",
            export_url=f"/finance/payouts.csv{layout.query(currency=currency)}",
        )

    @get("/payouts/{payout_id:str}")
    async def one(
        self,
        rt: NamedDependency[Runtime],
        colleague: NamedDependency[Staff],
        payout_id: FromPath[str],
    ) -> Response[str]:
        """One payout: every line in it by Stripe's list and by our books."""
        async with rt.sessions() as session:
            paid, parts = await payouts.one(session, payout_id[:255])
        text, tone = PROOFS[paid.proof]
        return await layout.page(
            rt,
            "finance_payout.html",
            colleague,
            title=f"Payout of {show(paid.amount, paid.currency)}",
            here="/finance/payouts",
            proof={"text": text, "tone": tone},
            facts_of=_facts(rt, paid),
            table=_parts(rt, paid, parts),
        )

    @get("/payouts.csv")
    async def export(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[bytes]:
        """Every payout as a file, newest first."""
        assert colleague.role
        currency = layout.word(request.query_params, "currency")
        async with rt.sessions() as session:
            found = await payouts.all_of(session, currency=currency)
        words = f"period=all{f' currency={currency}' if currency else ''}"
        name = filename("payouts", words, rt.settings.zone, ".csv")
        return Response(
            csv_tables.payouts(found, exported_in=f"payouts {words}"),
            media_type="text/csv",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )


def _payouts(rt: Runtime, found: Sequence[Paid]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            f"{one.created_at.astimezone(rt.settings.zone):%Y-%m-%d}",
            f"{one.arrives_on:%Y-%m-%d}",
            Cell(one.id, f"/finance/payouts/{one.id}", code=True),
            Cell(STATUSES[one.status], tone="bad" if one.status == "failed" else ""),
            Cell(PROOFS[one.proof][0], tone=PROOFS[one.proof][1]),
            layout.whole(one.lines) if one.listed_at else layout.NOTHING,
            one.currency.upper(),
            show(one.amount, one.currency),
        ]
        for one in found
    ]
    columns = ["Made", "Arrives", "Payout", "Status", "Proof", "#Lines", "Currency", "#Amount"]
    return table("payouts", "Payouts, newest first", columns, rows, empty="There is no payout yet.")


def _facts(rt: Runtime, paid: Paid) -> list[tuple[str, str]]:
    facts = [
        ("Payout", paid.id),
        ("Status", STATUSES[paid.status] + (f": {paid.failure_code}" if paid.failure_code else "")),
        ("Made", layout.moment(rt, paid.created_at)),
        ("Arrives at the bank", layout.day(paid.arrives_on)),
        ("Kind", f"{'Automatic' if paid.automatic else 'Manual'}, {paid.method}"),
        ("Amount", f"{show(paid.amount, paid.currency)} {paid.currency.upper()}"),
    ]
    if paid.listed_at is not None:
        facts += [
            ("Lines by Stripe's list", layout.whole(paid.lines)),
            ("Their sum by Stripe's list", show(paid.theirs, paid.currency)),
            ("Their sum by our books", show(paid.ours, paid.currency)),
            ("Difference", show(paid.amount - paid.ours, paid.currency)),
        ]
    return facts


def _parts(rt: Runtime, paid: Paid, parts: Sequence[Part]) -> Table:
    rows = []
    for part in parts[: payouts.LINES]:
        gift: str | Cell = layout.NOTHING
        if part.contribution_id is not None:
            gift = Cell(part.contribution_id[:8], f"/finance/gifts/{part.contribution_id}",
                        code=True)  # fmt: skip
        rows.append([
            layout.NOTHING if part.occurred_at is None else layout.minute(rt, part.occurred_at),
            Cell("Not in our books", tone="bad") if part.type is None else TYPES[part.type],
            gift,
            Cell(part.id, f"/finance/lines?id={part.id}", code=True),
            layout.NOTHING if part.gross is None else show(part.gross, part.currency),
            layout.NOTHING if part.fee is None else taken(part.fee, part.currency),
            Cell(
                layout.NOTHING if part.ours is None else show(part.ours, part.currency),
                tone="" if part.agrees else "bad",
            ),
            show(part.theirs, part.currency),
        ])  # fmt: skip
    columns = ["When", "Type", "Gift", "Transaction", "#Gross", "#Fee", "#Net, our books",
               "#Net, Stripe's list"]  # fmt: skip
    cut = len(parts) > payouts.LINES
    caption = "What is in it" + (f", the first {payouts.LINES}" if cut else "")
    foot = [
        [
            *("Sum of all lines", "", "", "", "", ""),
            show(paid.ours, paid.currency),
            show(paid.theirs, paid.currency),
        ],
        [*("Payout", "", "", "", "", "", ""), show(paid.amount, paid.currency)],
    ]
    return table("parts", caption, columns, rows, foot=foot if rows else [],
                 empty="Stripe has not said what is in this payout.")  # fmt: skip
