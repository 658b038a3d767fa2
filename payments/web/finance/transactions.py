"""Ledger lines: looked for by anything that is in them, fifty to a page; and the story of one gift.
There is no person in either.
"""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.accounting.reports import gift_timeline, period, transactions
from payments.accounting.reports.gift_timeline import Gift, Moment
from payments.accounting.reports.period import Period
from payments.accounting.reports.transactions import Filters, Line, Total
from payments.core.errors import NotFound
from payments.giving.contributions import OUR_ID
from payments.infra.context import Runtime
from payments.ledger.posting_rules import Account
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, show, table, taken
from payments.web.forms import AnyRequest

UTC = ZoneInfo("UTC")
SHORT = 10  # characters of an id in a table of figures
NAMES = ("period", "from", "to", "type", "frequency", "currency", "account", "campaign", "id")
TYPES = {
    "charge": "Gift",
    "refund": "Refund",
    "refund_failure": "Refund came back",
    "dispute": "Dispute",
    "dispute_reversal": "Dispute won",
    "fee": "Stripe's fee",
    "adjustment": "Adjustment",
    "payout": "Payout",
    "payout_reversal": "Payout came back",
    "fx": "Conversion",
}
KINDS = {
    "decision": "Decision",
    "charge": "Charge",
    "posting": "Posting",
    "event": "Webhook",
    "mail": "Mail",
}


class LinePages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/lines")
    async def page(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """The newest lines of the filters, or those before a place."""
        asked = request.query_params
        filters = transactions.parse(asked, period.parse(asked, today=layout.today(rt)))
        before = transactions.cursor(asked["before"], UTC) if asked.get("before") else None
        async with rt.sessions() as session:
            found, more = await transactions.page(session, rt.settings.zone, filters, before=before)
            sums = await transactions.totals(session, rt.settings.zone, filters)
        kept = {name: asked.get(name, "") for name in NAMES}
        return await layout.page(
            rt,
            "finance_lines.html",
            colleague,
            title="Ledger lines",
            here="/finance/lines",
            asked=kept,
            choices=_choices(filters),
            totals=_totals(sums, filters.period),
            table=_lines(rt, found),
            first_url=f"/finance/lines{layout.query(**kept)}" if before else "",
            next_url=f"/finance/lines{layout.query(**kept, before=more)}" if more else "",
            csv_url=f"/finance/lines.csv{layout.query(**kept)}",
            xlsx_url=f"/finance/lines.xlsx{layout.query(**kept)}",
        )

    @get("/gifts/{contribution_id:str}")
    async def gift(
        self,
        rt: NamedDependency[Runtime],
        colleague: NamedDependency[Staff],
        contribution_id: FromPath[str],
    ) -> Response[str]:
        """What happened to one gift, in order."""
        if not OUR_ID.fullmatch(contribution_id):
            raise NotFound("There is no contribution with this id.")
        async with rt.sessions() as session:
            found, moments = await gift_timeline.read(session, contribution_id)
        return await layout.page(
            rt,
            "finance_gift.html",
            colleague,
            title="The story of a gift",
            here="/finance/lines",
            facts_of=_facts(rt, found),
            table=_story(rt, moments),
            cut=len(moments) > gift_timeline.LONGEST,
            lines_url=f"/finance/lines?id={found.id}",
        )


def _choices(filters: Filters) -> dict[str, list[dict[str, Any]]]:
    return {
        "type": layout.select([("", "All"), *TYPES.items()], filters.type or ""),
        "frequency": layout.frequencies(filters.frequency),
        "currency": layout.currencies(filters.currency),
        "account": layout.select(
            [("", "All"), *((str(account), str(account)) for account in Account)],
            filters.account or "",
        ),
    }


def _totals(sums: Sequence[Total], of: Period) -> Table:
    rows = [
        [
            one.currency.upper(),
            layout.whole(one.gifts),
            show(one.gross, one.currency),
            taken(one.fees, one.currency),
            taken(one.refunds, one.currency),
            taken(one.disputes, one.currency),
            show(one.net, one.currency),
        ]
        for one in sums
    ]
    columns = ["Currency", "#Payments", "#Gross", "#Fees", "#Refunds", "#Disputes", "#Net"]
    caption = "Totals of these filters" + ("" if of == period.ALL else f", {of.words}")
    return table("totals", caption, columns, rows, empty="No line matches these filters.")


def _lines(rt: Runtime, found: Sequence[Line]) -> Table:
    rows = []
    for line in found:
        amounts: list[str | Cell] = [
            show(line.gross, line.currency),
            taken(line.fee, line.currency),
            show(line.net, line.currency),
        ]
        gift: str | Cell = layout.NOTHING
        if line.contribution_id is not None:
            gift = Cell(line.contribution_id[:8], f"/finance/gifts/{line.contribution_id}",
                        code=True)  # fmt: skip
        rows.append([
            layout.minute(rt, line.occurred_at),
            TYPES[line.type],
            layout.frequency(line.frequency) if line.contribution_id else layout.NOTHING,
            line.campaign or layout.NOTHING,
            gift,
            Cell(_account(line), code=True),
            Cell(_short(line.id), f"/finance/lines?id={line.id}", code=True),
            line.currency.upper(),
            *amounts,
        ])  # fmt: skip
    columns = ["When", "Type", "Frequency", "Campaign", "Gift", "Account", "Transaction",
               "Currency", "#Gross", "#Fee", "#Net"]  # fmt: skip
    empty = "No line matches. Choose another period, or fewer filters."
    return table("lines", "Lines, newest first", columns, rows, empty=empty)


def _short(id_: str) -> str:
    """The end of an id tells it from others, and leaves room for the figures."""
    return id_ if len(id_) <= SHORT else f"\N{HORIZONTAL ELLIPSIS}{id_[-SHORT:]}"


def _account(line: Line) -> str:
    """The account at the other end of Stripe's balance."""
    return line.credit if line.debit.startswith("stripe:") else line.debit


def _facts(rt: Runtime, gift: Gift) -> list[tuple[str, str]]:
    facts = [
        ("Contribution", gift.id),
        ("Given", (f"{show(gift.amount, gift.currency)} {gift.currency.upper()}, "
                  f"{layout.frequency(gift.frequency).lower()}")),
        ("Status", gift.status),
        ("Started", layout.moment(rt, gift.created_at)),
        ("Campaign", gift.campaign or layout.NOTHING),
    ]  # fmt: skip
    if gift.subscription is not None:
        facts.append(("Promise", f"{gift.subscription}, {gift.promise}"))
    return facts


def _story(rt: Runtime, moments: Sequence[Moment]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            f"{one.at.astimezone(rt.settings.zone):%Y-%m-%d %H:%M:%S}",
            Cell(KINDS[one.kind], tone=f"kind-{one.kind}"),
            one.what.replace("_", " ") if one.kind in ("decision", "mail") else one.what,
            Cell(one.detail, f"/finance/refund/{one.detail}" if one.kind == "charge" else "",
                 code=True),
            "" if one.amount is None or one.currency is None
            else f"{show(one.amount, one.currency)} {one.currency.upper()}",
        ]
        for one in moments[: gift_timeline.LONGEST]
    ]  # fmt: skip
    columns = ["When", "Kind", "What", "Id", "#Amount"]
    return table("story", "What happened, oldest first", columns, rows)
