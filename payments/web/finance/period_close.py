"""Periods: which months are closed, what stands in the way of the next, and the packs.

The list is quick; the checklist proves the books anew, so it has a page of its own for each month,
with the button that closes it and, for the last closed month, the form that opens it again.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from payments.accounting import close_pack, period_close
from payments.accounting.close_pack import NoSigningKey
from payments.accounting.period_close import Late, PeriodClosing, PeriodNotReady
from payments.accounting.reports import period, stripe_balance
from payments.accounting.reports.period import next_month
from payments.accounting.reports.stripe_balance import Held
from payments.core.errors import InvalidField, PaymentsError
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.exports import sent, unsent
from payments.web.finance.layout import Cell, Table, minute, moment, show, table
from payments.web.forms import SMALL, AnyRequest, typed

HERE = "/finance/periods"
MOST = 120  # months of the list
SHORT = 16  # digits of a hash, where the whole stands elsewhere
MOVED = {
    "gross": "Gifts",
    "fees": "Fees",
    "refunds": "Refunds",
    "disputes": "Disputes",
    "fx": "Converted from and to other currencies",
    "set_aside": "Set aside by Stripe, and released",
    "bank": "To the bank and from it",
    "suspense": "In suspense",
}


class PeriodPages(Controller):
    path = HERE
    include_in_schema = False

    @get()
    async def every(
        self, rt: NamedDependency[Runtime], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """The months, the newest first, and what came too late for those that are closed."""
        turn = await period_close.next_to_close(rt)
        async with rt.sessions() as session:
            first = await period_close.first_month(session, rt.settings.zone)
            closings = await period_close.closed(session)
            late = await period_close.late(session)
        return await layout.page(
            rt,
            "finance_periods.html",
            colleague,
            title="Periods",
            here=HERE,
            table=_months(rt, first, turn, closings),
            late=_late(rt, late),
            turn=None if turn is None else {"url": _url(turn), "month": layout.month(turn)},
        )

    @get("/{month:str}")
    async def one(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Response[str]:
        """A month: the checklist before it is closed, or its closing and its pack."""
        first = _first(rt, month)
        return await _page(rt, colleague, first, said=request.query_params.get("said", ""))

    @post("/{month:str}/close", request_max_body_size=SMALL)
    async def close(
        self,
        rt: NamedDependency[Runtime],
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Response[Any]:
        """Close it and make its pack."""
        first = _first(rt, month)
        try:
            close_pack.signing_key(rt.settings)
            closing = await period_close.close(rt, first, by=colleague.name, staff_id=colleague.id)
            await close_pack.keep(rt, closing)
        except (PeriodNotReady, NoSigningKey) as error:
            return await _page(rt, colleague, first, error=error)
        return Redirect(f"{_url(first)}?said=closed", status_code=303)

    @post("/{month:str}/reopen", request_max_body_size=SMALL)
    async def reopen(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Response[Any]:
        """Open the last closed month again."""
        first, why = _first(rt, month), (await typed(request)).get("reason", "")
        try:
            await period_close.reopen(rt, first, why=why, by=colleague.name, staff_id=colleague.id)
        except InvalidField as error:
            return await _page(rt, colleague, first, error=error, typed_why=why)
        return Redirect(f"{_url(first)}?said=open", status_code=303)

    @get("/{month:str}/pack")
    async def pack(
        self,
        rt: NamedDependency[Runtime],
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Stream:
        """The pack, the same bytes however often it is taken away."""
        assert colleague.role
        with unsent() as file:
            name = await close_pack.read(rt, month, file)
        return sent(file, name, "application/zip")


def _first(rt: Runtime, month: str) -> date:
    return period.month(month, name="month", today=layout.today(rt))


def _url(first: date) -> str:
    return f"{HERE}/{first:%Y-%m}"


# --- the list -------------------------------------------------------------------------------------


def _months(
    rt: Runtime, first: date | None, turn: date | None, closings: list[PeriodClosing]
) -> Table:
    of = {one.month: one for one in closings if one.reopened_at is None}
    undone = {one.month for one in closings if one.reopened_at is not None}
    earliest, month = min(of, default=None), layout.today(rt).replace(day=1)
    rows: list[Sequence[str | Cell]] = []
    while first is not None and month >= first and len(rows) < MOST:
        closing = of.get(month)
        if closing is not None:
            status, when = "Closed", f"{minute(rt, closing.closed_at)}, {closing.closed_by}"
        else:
            when = layout.NOTHING
            status = _open(rt, month, turn, earliest, again=month in undone)
        rows.append([Cell(layout.month(month), _url(month)), status, when, *_pack(closing)])
        month = period.months_before(month, 1)
    columns = ["Month", "Status", "Closed", "Manifest, SHA-256", "Pack"]
    return table("months", "Months, the newest first", columns, rows,
                 empty="Nothing moved yet, so there is no month to close.")  # fmt: skip


def _open(
    rt: Runtime, month: date, turn: date | None, earliest: date | None, *, again: bool
) -> str:
    if earliest is not None and month < earliest:
        return f"Closed with {layout.month(earliest)}"
    if next_month(month) > layout.today(rt):
        return "Open, not over"
    words = "Open again" if again else "Open"
    return f"{words}, next to close" if month == turn else words


def _pack(closing: PeriodClosing | None) -> tuple[Cell, Cell]:
    if closing is None:
        return Cell(layout.NOTHING), Cell(layout.NOTHING)
    url = f"{_url(closing.month)}/pack"
    if closing.manifest_hash is None:
        return Cell("not made yet"), Cell("Make and download", url)
    short = f"{closing.manifest_hash.hex()[:SHORT]}\N{HORIZONTAL ELLIPSIS}"
    return Cell(short, code=True), Cell("Download", url)


def _late(rt: Runtime, late: list[Late]) -> Table:
    rows: list[Sequence[str | Cell]] = [
        [
            Cell(
                one.balance_transaction, f"/finance/lines?id={one.balance_transaction}", code=True
            ),
            minute(rt, one.occurred_at),
            f"belongs to {layout.month(one.occurred_at.astimezone(rt.settings.zone))} by its time",
            layout.month(one.booked_on),
            f"{one.debit} from {one.credit}",
            show(one.amount, one.currency),
        ]
        for one in late
    ]
    columns = ["Movement", "Happened", "Belongs", "Booked in", "Accounts", "#Amount"]
    return table("late", "Late lines: told by Stripe after their month was closed", columns, rows,
                 empty="No line came too late for a closed month.")  # fmt: skip


# --- a month --------------------------------------------------------------------------------------

SAID = {"closed": "It is closed.", "open": "It is open again."}


async def _page(
    rt: Runtime,
    person: Staff,
    first: date,
    *,
    said: str = "",
    error: PaymentsError | None = None,
    typed_why: str = "",
) -> Response[str]:
    async with rt.sessions() as session:
        closings = [one for one in await period_close.closed(session) if one.month == first]
        last = await period_close.last(session)
        at_stripe = await stripe_balance.of_month(session, rt.settings.zone, first)
    closing = next((one for one in closings if one.reopened_at is None), None)
    points = [] if closing else await period_close.checklist(rt, first)
    made = await layout.page(
        rt,
        "finance_period.html",
        person,
        title=f"{layout.month(first)}: {'closed' if closing else 'open'}",
        here=HERE,
        url=_url(first),
        month=layout.month(first),
        said=SAID.get(said, ""),
        points=points,
        ready=bool(points) and all(point.holds for point in points),
        facts_of=_facts(rt, closing) if closing else [],
        held=_held(at_stripe, is_over=next_month(first) <= layout.today(rt)),
        is_last=closing is not None and last is not None and last.id == closing.id,
        undone=[_undone(rt, one) for one in closings if one.reopened_at is not None],
        error="" if error is None else error.detail,
        field="reason" if isinstance(error, InvalidField) and closing else "",
        why=typed_why,
    )
    made.status_code = 200 if error is None else error.status
    return made


def _facts(rt: Runtime, closing: PeriodClosing) -> list[tuple[str, str]]:
    manifest = closing.manifest_hash
    return [
        ("Closed", f"{moment(rt, closing.closed_at)}, by {closing.closed_by}"),
        ("Accounting zone", closing.zone),
        ("Last row of the books", layout.whole(closing.ledger_through)),
        ("Hash of that row", closing.chain_head.hex()),
        ("SHA-256 of the pack's manifest", manifest.hex() if manifest else "not made yet"),
        ("What was proved", f"{len(closing.proofs)} points, each held"),
    ]


def _held(found: Sequence[Held], *, is_over: bool) -> Table:
    """The opening balance, all that moved it, and the closing one; a column for each currency."""
    caption = "What Stripe held for us"
    if not found:
        return table("held", caption, [], [], empty="Stripe held nothing.")
    moved = [
        [words, *(layout.signed(getattr(one, name), one.currency) for one in found)]
        for name, words in MOVED.items()
        if any(getattr(one, name) for one in found)
    ]
    return table(
        "held",
        caption,
        ["Stripe's balance", *(f"#{one.currency.upper()}" for one in found)],
        [["When the month began", *(show(one.opening, one.currency) for one in found)], *moved],
        foot=[
            [
                "When it ended" if is_over else "Now",
                *(show(one.closing, one.currency) for one in found),
            ]
        ],
    )


def _undone(rt: Runtime, closing: PeriodClosing) -> str:
    assert closing.reopened_at is not None
    return (
        f"Closed on {moment(rt, closing.closed_at)} by {closing.closed_by}, opened again on "
        f"{moment(rt, closing.reopened_at)} by {closing.reopened_by}: {closing.reopened_why}"
    )
