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
from payments.accounting.period_close import LateEntryRow, PeriodClosing, PeriodNotReady
from payments.accounting.reports import period, stripe_balance
from payments.accounting.reports.stripe_balance import BalanceMonth
from payments.core.calendar import months_before, next_month
from payments.core.errors import InvalidField, PaymentsError
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.exports import spooled_file
from payments.web.finance.layout import (
    Cell,
    Table,
    format_datetime,
    format_minute,
    format_money,
    table,
)
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data
from payments.web.staff.downloads import stream_file
from payments.web.staff.guards import EXPORT, ExportGrant, StepUp

PERIODS_URL = "/finance/periods"
MONTH_STEP_UP = StepUp(form_url=f"{PERIODS_URL}/{{month}}")
MONTHS_SHOWN = 120  # months of the list
HASH_DIGITS_SHOWN = 16  # digits of a hash, where the whole stands elsewhere
BALANCE_LABELS = {
    "gross": "Gifts",
    "fees": "Fees",
    "refunds": "Refunds",
    "disputes": "Disputes",
    "fx": "Converted from and to other currencies",
    "set_aside": "Set aside by Stripe, and released",
    "bank": "To the bank and from it",
    "suspense": "In suspense",
}


class PeriodClosePages(Controller):
    path = PERIODS_URL
    include_in_schema = False

    @get()
    async def list_months(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """The months, the newest first, and what came too late for those that are closed."""
        turn = await period_close.next_to_close(ctx)
        async with ctx.sessions() as session:
            first = await period_close.first_ledger_month(session, ctx.settings.accounting_zoneinfo)
            closings = await period_close.list_closings(session)
            late = await period_close.list_late_entries(session)
        return await layout.render(
            ctx,
            "finance_periods.html",
            colleague,
            title="Periods",
            active_url=PERIODS_URL,
            table=_months_table(ctx, first, turn, closings),
            late=_late_entries_table(ctx, late),
            turn=None
            if turn is None
            else {"url": _month_url(turn), "month": layout.format_month(turn)},
        )

    @get("/{month:str}")
    async def show_month(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Response[str]:
        """A month: the checklist before it is closed, or its closing and its pack."""
        first = _parse_month(ctx, month)
        return await _render_month(
            ctx, colleague, first, confirmation=request.query_params.get("said", "")
        )

    @post("/{month:str}/close", request_max_body_size=SMALL_FORM_BYTES, guards=[MONTH_STEP_UP])
    async def close(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Response[Any]:
        """Close it and make its pack."""
        first = _parse_month(ctx, month)
        try:
            close_pack.signing_key(ctx.settings)
            closing = await period_close.close(ctx, first, by=colleague.name, staff_id=colleague.id)
            await close_pack.build(ctx, closing)
        except (PeriodNotReady, NoSigningKey) as error:
            return await _render_month(ctx, colleague, first, error=error)
        return Redirect(f"{_month_url(first)}?said=closed", status_code=303)

    @post("/{month:str}/reopen", request_max_body_size=SMALL_FORM_BYTES, guards=[MONTH_STEP_UP])
    async def reopen(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Response[Any]:
        """Open the last closed month again."""
        first, why = _parse_month(ctx, month), (await form_data(request)).get("reason", "")
        try:
            await period_close.reopen(
                ctx, first, reason=why, by=colleague.name, staff_id=colleague.id
            )
        except InvalidField as error:
            return await _render_month(ctx, colleague, first, error=error, entered_reason=why)
        return Redirect(f"{_month_url(first)}?said=open", status_code=303)

    @get("/{month:str}/pack", guards=[EXPORT])
    async def download_pack(
        self,
        ctx: NamedDependency[Context],
        export_grant: NamedDependency[ExportGrant],
        month: FromPath[str],
    ) -> Stream:
        """The pack, the same bytes however often it is taken away."""
        with spooled_file() as file:
            name = await close_pack.download(ctx, month, file)
        return await stream_file(export_grant, file, name, "application/zip")


def _parse_month(ctx: Context, month: str) -> date:
    return period.parse_month(month, name="month", today=layout.today(ctx))


def _month_url(first: date) -> str:
    return f"{PERIODS_URL}/{first:%Y-%m}"


# --- the list -------------------------------------------------------------------------------------


def _months_table(
    ctx: Context, first: date | None, next_to_close: date | None, closings: list[PeriodClosing]
) -> Table:
    of = {one.month: one for one in closings if one.reopened_at is None}
    undone = {one.month for one in closings if one.reopened_at is not None}
    earliest, month = min(of, default=None), layout.today(ctx).replace(day=1)
    rows: list[Sequence[str | Cell]] = []
    while first is not None and month >= first and len(rows) < MONTHS_SHOWN:
        closing = of.get(month)
        if closing is not None:
            status, when = "Closed", f"{format_minute(ctx, closing.closed_at)}, {closing.closed_by}"
        else:
            when = layout.EMPTY_CELL
            status = _open_status(ctx, month, next_to_close, earliest, reopened=month in undone)
        rows.append(
            [
                Cell(layout.format_month(month), _month_url(month)),
                status,
                when,
                *_pack_cells(closing),
            ]
        )
        month = months_before(month, 1)
    columns = ["Month", "Status", "Closed", "Manifest, SHA-256", "Pack"]
    return table("months", "Months, the newest first", columns, rows,
                 empty="Nothing moved yet, so there is no month to close.")  # fmt: skip


def _open_status(
    ctx: Context, month: date, next_to_close: date | None, earliest: date | None, *, reopened: bool
) -> str:
    if earliest is not None and month < earliest:
        return f"Closed with {layout.format_month(earliest)}"
    if next_month(month) > layout.today(ctx):
        return "Open, not over"
    words = "Open again" if reopened else "Open"
    return f"{words}, next to close" if month == next_to_close else words


def _pack_cells(closing: PeriodClosing | None) -> tuple[Cell, Cell]:
    if closing is None:
        return Cell(layout.EMPTY_CELL), Cell(layout.EMPTY_CELL)
    url = f"{_month_url(closing.month)}/pack"
    if closing.manifest_hash is None:
        return Cell("not made yet"), Cell("Make and download", url)
    short = f"{closing.manifest_hash.hex()[:HASH_DIGITS_SHOWN]}\N{HORIZONTAL ELLIPSIS}"
    return Cell(short, code=True), Cell("Download", url)


def _late_entries_table(ctx: Context, entries: list[LateEntryRow]) -> Table:
    rows: list[Sequence[str | Cell]] = [
        [
            Cell(
                one.balance_transaction, f"/finance/lines?id={one.balance_transaction}", code=True
            ),
            format_minute(ctx, one.occurred_at),
            f"belongs to {layout.format_month(one.occurred_at.astimezone(ctx.settings.accounting_zoneinfo))} by its time",
            layout.format_month(one.booked_on),
            f"{one.debit} from {one.credit}",
            format_money(one.amount, one.currency),
        ]
        for one in entries
    ]
    columns = ["Movement", "Happened", "Belongs", "Booked in", "Accounts", "#Amount"]
    return table("late", "Late lines: told by Stripe after their month was closed", columns, rows,
                 empty="No line came too late for a closed month.")  # fmt: skip


# --- a month --------------------------------------------------------------------------------------

CONFIRMATIONS = {"closed": "It is closed.", "open": "It is open again."}


async def _render_month(
    ctx: Context,
    person: Staff,
    first: date,
    *,
    confirmation: str = "",
    error: PaymentsError | None = None,
    entered_reason: str = "",
) -> Response[str]:
    async with ctx.sessions() as session:
        closings = [one for one in await period_close.list_closings(session) if one.month == first]
        last = await period_close.last_closed(session)
        at_stripe = await stripe_balance.for_month(session, ctx.settings.accounting_zoneinfo, first)
    closing = next((one for one in closings if one.reopened_at is None), None)
    points = [] if closing else await period_close.checklist(ctx, first)
    made = await layout.render(
        ctx,
        "finance_period.html",
        person,
        title=f"{layout.format_month(first)}: {'closed' if closing else 'open'}",
        active_url=PERIODS_URL,
        url=_month_url(first),
        month=layout.format_month(first),
        said=CONFIRMATIONS.get(confirmation, ""),
        points=points,
        ready=bool(points) and all(point.passed for point in points),
        facts_of=_closing_facts(ctx, closing) if closing else [],
        held=_stripe_balance_table(at_stripe, is_over=next_month(first) <= layout.today(ctx)),
        is_last=closing is not None and last is not None and last.id == closing.id,
        undone=[_reopening_sentence(ctx, one) for one in closings if one.reopened_at is not None],
        error="" if error is None else error.detail,
        field="reason" if isinstance(error, InvalidField) and closing else "",
        why=entered_reason,
    )
    made.status_code = 200 if error is None else error.status
    return made


def _closing_facts(ctx: Context, closing: PeriodClosing) -> list[tuple[str, str]]:
    manifest = closing.manifest_hash
    return [
        ("Closed", f"{format_datetime(ctx, closing.closed_at)}, by {closing.closed_by}"),
        ("Accounting zone", closing.zone),
        ("Last row of the books", layout.format_count(closing.last_seq)),
        ("Hash of that row", closing.chain_head.hex()),
        ("SHA-256 of the pack's manifest", manifest.hex() if manifest else "not made yet"),
        ("What was proved", f"{len(closing.checklist)} points, each held"),
    ]


def _stripe_balance_table(found: Sequence[BalanceMonth], *, is_over: bool) -> Table:
    """The opening balance, all that moved it, and the closing one; a column for each currency."""
    caption = "What Stripe held for us"
    if not found:
        return table("held", caption, [], [], empty="Stripe held nothing.")
    moved = [
        [words, *(layout.format_signed(getattr(one, name), one.currency) for one in found)]
        for name, words in BALANCE_LABELS.items()
        if any(getattr(one, name) for one in found)
    ]
    return table(
        "held",
        caption,
        ["Stripe's balance", *(f"#{one.currency.upper()}" for one in found)],
        [
            ["When the month began", *(format_money(one.opening, one.currency) for one in found)],
            *moved,
        ],
        footer=[
            [
                "When it ended" if is_over else "Now",
                *(format_money(one.closing, one.currency) for one in found),
            ]
        ],
    )


def _reopening_sentence(ctx: Context, closing: PeriodClosing) -> str:
    assert closing.reopened_at is not None
    return (
        f"Closed on {format_datetime(ctx, closing.closed_at)} by {closing.closed_by}, opened again on "
        f"{format_datetime(ctx, closing.reopened_at)} by {closing.reopened_by}: {closing.reopen_reason}"
    )
