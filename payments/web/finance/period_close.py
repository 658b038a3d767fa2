"""Period close: which months are closed, what keeps the next from it, and the packs.

The list is quick. The checklist runs every integrity check, so that each month has a page of its
own, with the button that closes it and, for the last closed month, the form that reopens it.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from payments.accounting import close_pack, late_entries, period_close
from payments.accounting.close_pack import NoSigningKey
from payments.accounting.late_entries import LateEntryRow
from payments.accounting.period_close import PeriodClosing, PeriodNotReady
from payments.accounting.reports import period, stripe_balance
from payments.accounting.reports.stripe_balance import BalanceMonth
from payments.core.calendar import first_of_month, months_before, next_month
from payments.core.errors import InvalidField, PaymentsError
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.exports import spooled_file
from payments.web.finance.formats import (
    format_count,
    format_datetime,
    format_minute,
    format_money,
    format_month,
    format_signed,
)
from payments.web.finance.tables import EMPTY_CELL, Cell, Table, table, transactions_cell
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, count_parameter, form_data
from payments.web.staff.downloads import stream_file
from payments.web.staff.guards import EXPORT, ExportGrant, StepUp

PERIODS_URL = "/finance/periods"
MONTHS_SHOWN = 120
MONTH_STEP_UP = StepUp(form_url=f"{PERIODS_URL}/{{month}}")
BALANCE_LABELS = {
    "gross": "Gifts",
    "fees": "Fees",
    "refunds": "Refunds",
    "disputes": "Disputes",
    "other": "Other income, after its fees and what went back",
    "fx": "Converted from and to other currencies",
    "reserved": "Set aside by Stripe, and released",
    "bank": "To the bank and from it",
    "suspense": "In suspense",
    "unexplained": "A difference nobody could explain",
}


class PeriodClosePages(Controller):
    """The list of months, the page of one, and its pack."""

    path = PERIODS_URL
    include_in_schema = False

    @get()
    async def list_months(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show the months, newest first, and the late entries of those that are closed."""
        next_month_to_close = await period_close.next_to_close(ctx)
        async with ctx.sessions() as session:
            first = await period_close.first_ledger_month(session, ctx.settings.accounting_zoneinfo)
            closings = await period_close.list_closings(session)
            late, more = await late_entries.list_late_entries(
                session, offset=count_parameter(request, "late_after")
            )
        return await layout.render(
            ctx,
            "finance_periods.html",
            colleague,
            request=request,
            title="Periods",
            active_url=PERIODS_URL,
            months=_months_table(ctx, first, next_month_to_close, closings),
            packs=_packs_table(ctx, closings),
            late_entries=_late_entries_table(
                ctx, late, is_whole=not (more or request.query_params.get("late_after"))
            ),
            next_url=f"{PERIODS_URL}?late_after={more}#late" if more else "",
            next_to_close=None
            if next_month_to_close is None
            else {
                "url": _month_url(next_month_to_close),
                "month": format_month(next_month_to_close),
            },
        )

    @get("/{month:str}")
    async def show_month(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Response[str]:
        """Show a month: the checklist before it is closed, or its closing and its pack."""
        first = parse_month(ctx, month)
        return await _render_month(ctx, colleague, first, done=request.query_params.get("done", ""))

    @post("/{month:str}/close", request_max_body_size=SMALL_FORM_BYTES, guards=[MONTH_STEP_UP])
    async def close(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Response[Any]:
        """Close the month and build its pack."""
        first = parse_month(ctx, month)
        try:
            close_pack.signing_key(ctx.settings)
            closing = await period_close.close(ctx, first, by=colleague.name, staff_id=colleague.id)
            await close_pack.build(ctx, closing)
        except (PeriodNotReady, NoSigningKey) as error:
            return await _render_month(ctx, colleague, first, error=error)
        return Redirect(f"{_month_url(first)}?done=closed", status_code=303)

    @post("/{month:str}/reopen", request_max_body_size=SMALL_FORM_BYTES, guards=[MONTH_STEP_UP])
    async def reopen(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        month: FromPath[str],
    ) -> Response[Any]:
        """Reopen the last closed month."""
        first = parse_month(ctx, month)
        reason = (await form_data(request)).get("reason", "")
        try:
            await period_close.reopen(
                ctx, first, reason=reason, by=colleague.name, staff_id=colleague.id
            )
        except InvalidField as error:
            return await _render_month(ctx, colleague, first, error=error, entered_reason=reason)
        return Redirect(f"{_month_url(first)}?done=reopened", status_code=303)

    @get("/{month:str}/pack", guards=[EXPORT])
    async def download_pack(
        self,
        ctx: NamedDependency[Context],
        export_grant: NamedDependency[ExportGrant],
        month: FromPath[str],
    ) -> Stream:
        """Return the valid pack, the same bytes however often it is downloaded."""
        with spooled_file() as file:
            name = await close_pack.download(ctx, month, file)
        return await stream_file(export_grant, file, name, "application/zip")

    @get("/{month:str}/packs/{closing:str}", guards=[EXPORT])
    async def download_one_pack(
        self,
        ctx: NamedDependency[Context],
        export_grant: NamedDependency[ExportGrant],
        month: FromPath[str],
        closing: FromPath[str],
    ) -> Stream:
        """Return one of the packs of a month by its number, undone or not."""
        with spooled_file() as file:
            name = await close_pack.download(ctx, month, file, closing_id=closing)
        return await stream_file(export_grant, file, name, "application/zip")


def parse_month(ctx: Context, month: str) -> date:
    """Return the first day of the month of an address. Raises InvalidField."""
    return period.parse_month(month, name="month", today=filters.today(ctx))


def _month_url(first: date) -> str:
    return f"{PERIODS_URL}/{first:%Y-%m}"


# --- the list -------------------------------------------------------------------------------------


def _months_table(
    ctx: Context, first: date | None, next_to_close: date | None, closings: list[PeriodClosing]
) -> Table:
    closed = {closing.month: closing for closing in closings if closing.reopened_at is None}
    reopened = {closing.month for closing in closings if closing.reopened_at is not None}
    earliest, month = min(closed, default=None), first_of_month(filters.today(ctx))
    rows: list[Sequence[str | Cell]] = []
    while first is not None and month >= first and len(rows) < MONTHS_SHOWN:
        closing = closed.get(month)
        if closing is not None:
            status = "Closed"
            closed_at = f"{format_minute(ctx, closing.closed_at)}, {closing.closed_by}"
        else:
            status = _open_status(ctx, month, next_to_close, earliest, reopened=month in reopened)
            closed_at = EMPTY_CELL
        rows.append([Cell(format_month(month), _month_url(month)), status, closed_at])
        month = months_before(month, 1)
    columns = ["Month", "Status", "Closed"]
    return table("months", "Months, the newest first", columns, rows,
                 empty="Nothing moved yet, so there is no month to close.")  # fmt: skip


def _open_status(
    ctx: Context, month: date, next_to_close: date | None, earliest: date | None, *, reopened: bool
) -> str:
    if earliest is not None and month < earliest:
        return f"Closed with {format_month(earliest)}"
    if next_month(month) > filters.today(ctx):
        return "Open, not over"
    label = "Open again" if reopened else "Open"
    return f"{label}, next to close" if month == next_to_close else label


def _packs_table(ctx: Context, closings: Sequence[PeriodClosing]) -> Table:
    """Return every pack, those that were undone with the reason among them."""
    rows: list[Sequence[str | Cell]] = [
        [
            Cell(format_month(closing.month), _month_url(closing.month)),
            Cell(
                f"Pack {closing.id}" if closing.manifest_hash else f"Make pack {closing.id}",
                f"{_month_url(closing.month)}/packs/{closing.id}",
            ),
            _validity_cell(ctx, closing),
            f"{format_minute(ctx, closing.closed_at)}, {closing.closed_by}",
        ]
        for closing in closings
    ]
    columns = ["Month", "File", "Valid", "Closed"]
    return table("packs", "Packs: the signed files of closed months, the newest first", columns,
                 rows, empty="No month was closed yet, so there is no pack.")  # fmt: skip


def _validity_cell(ctx: Context, closing: PeriodClosing) -> Cell:
    if closing.reopened_at is None:
        return Cell("Yes")
    moment = format_minute(ctx, closing.reopened_at)
    reason = f"No: {closing.reopened_by} reopened the month {moment}: {closing.reopen_reason}"
    return Cell(reason, tone="bad")


def _late_entries_table(ctx: Context, entries: list[LateEntryRow], *, is_whole: bool) -> Table:
    zone = ctx.settings.accounting_zoneinfo
    rows: list[Sequence[str | Cell]] = [
        [
            transactions_cell(entry.balance_transaction),
            format_minute(ctx, entry.occurred_at),
            f"belongs to {format_month(entry.occurred_at.astimezone(zone))} by its time",
            format_month(entry.booked_on),
            f"{entry.debit} from {entry.credit}",
            format_money(entry.amount, entry.currency),
        ]
        for entry in entries
    ]
    columns = ["Movement", "Happened", "Belongs", "Booked in", "Accounts", "#Amount"]
    title = "Late entries: learned from Stripe after their month was closed"
    return table(
        "late",
        title,
        columns,
        rows,
        empty="No entry came too late for a closed month.",
        is_sortable=is_whole,
    )


# --- a month --------------------------------------------------------------------------------------

CONFIRMATIONS = {"closed": "It is closed.", "reopened": "It is open again."}


async def _render_month(
    ctx: Context,
    colleague: Staff,
    first: date,
    *,
    done: str = "",
    error: PaymentsError | None = None,
    entered_reason: str = "",
) -> Response[str]:
    async with ctx.sessions() as session:
        closings = [one for one in await period_close.list_closings(session) if one.month == first]
        last = await period_close.last_closed(session)
        balances = await stripe_balance.for_month(session, ctx.settings.accounting_zoneinfo, first)
    closing = next((one for one in closings if one.reopened_at is None), None)
    checklist = [] if closing else await period_close.checklist(ctx, first)
    is_reason_error = isinstance(error, InvalidField) and closing is not None
    response = await layout.render(
        ctx,
        "finance_period.html",
        colleague,
        title=f"{format_month(first)}: {'closed' if closing else 'open'}",
        active_url=PERIODS_URL,
        url=_month_url(first),
        month=format_month(first),
        confirmation=CONFIRMATIONS.get(done, ""),
        checklist=checklist,
        is_ready=bool(checklist) and all(item.passed for item in checklist),
        closing_facts=_closing_facts(ctx, closing) if closing else [],
        stripe_balance=_stripe_balance_table(
            balances, is_over=next_month(first) <= filters.today(ctx)
        ),
        is_last=closing is not None and last is not None and last.id == closing.id,
        packs=_packs_table(ctx, closings) if closings else None,
        error="" if error is None else error.detail,
        error_field="reason" if is_reason_error else "",
        entered_reason=entered_reason,
    )
    response.status_code = 200 if error is None else error.status
    return response


def _closing_facts(ctx: Context, closing: PeriodClosing) -> list[tuple[str, str]]:
    manifest = closing.manifest_hash
    return [
        ("Closed", f"{format_datetime(ctx, closing.closed_at)}, by {closing.closed_by}"),
        ("Accounting zone", closing.zone),
        ("Last row of the books", format_count(closing.last_seq)),
        ("Hash of that row", closing.chain_head.hex()),
        ("SHA-256 of the pack's manifest", manifest.hex() if manifest else "not made yet"),
        ("What was proved", f"{len(closing.checklist)} points, each held"),
    ]


def _stripe_balance_table(balances: Sequence[BalanceMonth], *, is_over: bool) -> Table:
    """Return the opening balance, all that moved it and the closing one, by currency."""
    caption = "What Stripe held for us"
    if not balances:
        return table("stripe-balance", caption, [], [], empty="Stripe held nothing.")
    opening = [format_money(one.opening, one.currency) for one in balances]
    movements = [
        [label, *(format_signed(getattr(one, name), one.currency) for one in balances)]
        for name, label in BALANCE_LABELS.items()
        if any(getattr(one, name) for one in balances)
    ]
    closing = [format_money(one.closing, one.currency) for one in balances]
    return table(
        "stripe-balance",
        caption,
        ["Stripe's balance", *(f"#{one.currency.upper()}" for one in balances)],
        [["When the month began", *opening], *movements],
        footer=[["When it ended" if is_over else "Now", *closing]],
    )
