"""The books for programs: periods and their packs, late entries and corrections."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from payments.accounting import close_pack, corrections, late_entries, period_close
from payments.accounting.corrections import CorrectionView
from payments.accounting.period_close import PeriodClosing
from payments.accounting.reports import stripe_balance
from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import exports, filters
from payments.web.finance import period_close as period_pages
from payments.web.finance_api.access import API_PREFIX, TokenOnly, export_grant
from payments.web.finance_api.answers import (
    About,
    StripeBalance,
    about,
    month,
    refusals,
    shape,
    shape_all,
    utc,
)
from payments.web.finance_api.cursors import next_cursor, read_cursor
from payments.web.finance_api.parameters import PAGE_PARAMETERS, PERIOD_PARAMETERS, page_size
from payments.web.forms import AnyRequest
from payments.web.staff.downloads import stream_file

REPORTS = TokenOnly(TokenScope.REPORTS)
TRANSACTIONS = TokenOnly(TokenScope.TRANSACTIONS)
EXPORTS = TokenOnly(TokenScope.EXPORTS, cost=5)
CHECKLIST = TokenOnly(TokenScope.REPORTS, cost=10)  # of an open month every check is made anew


class ChecklistLine(msgspec.Struct, frozen=True):
    """A condition of closing a month, and whether it is met."""

    description: str
    passed: bool
    detail: str


class ClosingLine(msgspec.Struct, frozen=True):
    """A closing of a month, and perhaps its undoing. Hashes are in hexadecimal digits; that of the
    pack's manifest is null until the pack is made.
    """

    id: int
    month: str
    zone: str
    closed_at: datetime
    closed_by: str
    last_seq: int
    chain_head: str
    manifest_sha256: str | None
    reopened_at: datetime | None
    reopened_by: str | None
    reopen_reason: str | None


class Periods(msgspec.Struct, frozen=True):
    """The first month of the books, the month to close next where one is over, and every closing,
    newest first, those that were undone among them.
    """

    about: About
    first_month: str | None
    next_to_close: str | None
    closings: Sequence[ClosingLine]


class BalanceLine(StripeBalance, frozen=True):
    """What Stripe held in a currency."""

    currency: str


class MonthOfBooks(msgspec.Struct, frozen=True):
    """A month: its closings, the checklist while it is open, and Stripe's balance."""

    about: About
    month: str
    is_closed: bool
    closings: Sequence[ClosingLine]
    checklist: Sequence[ChecklistLine]
    stripe_balance: Sequence[BalanceLine]


class LateLine(msgspec.Struct, frozen=True):
    """A ledger entry that came after its month was closed, and the day it is booked on."""

    seq: int
    balance_transaction: str
    occurred_at: datetime
    booked_on: date
    debit: str
    credit: str
    amount: int
    currency: str


class LateEntries(msgspec.Struct, frozen=True):
    """A page of late entries, newest first."""

    about: About
    items: Sequence[LateLine]
    next_cursor: str | None


class CorrectionLine(msgspec.Struct, frozen=True):
    """An amount of one transaction, moved between accounts. `status` is booked, waiting, refused or
    withdrawn; `seq` is the ledger entry it became.
    """

    id: str
    status: str
    seq: int | None
    balance_transaction: str
    from_account: str
    to_account: str
    amount: int
    currency: str
    booked_on: date
    concerns_month: str | None
    reason: str
    proposed_at: datetime
    proposed_by: str
    decided_at: datetime | None
    decided_by: str | None
    decision_reason: str | None


class Corrections(msgspec.Struct, frozen=True):
    """A page of corrections, newest first."""

    about: About
    items: Sequence[CorrectionLine]
    next_cursor: str | None


class BooksApi(Controller):
    """What stands in the books."""

    path = API_PREFIX
    tags = ("Books",)

    @get(
        "/periods",
        operation_id="listPeriods",
        summary="Which months are closed",
        guards=[REPORTS],
        responses=refusals(),
    )
    async def periods(self, ctx: NamedDependency[Context]) -> Periods:
        """As on the page “Periods”."""
        to_close = await period_close.next_to_close(ctx)
        async with ctx.sessions() as session:
            first = await period_close.first_ledger_month(session, ctx.settings.accounting_zoneinfo)
            closings = await period_close.list_closings(session)
            said = await about(ctx, session)
        return Periods(
            about=said,
            first_month=None if first is None else month(first),
            next_to_close=None if to_close is None else month(to_close),
            closings=[_closing_line(one) for one in closings],
        )

    @get(
        "/periods/{of_month:str}",
        operation_id="getPeriod",
        summary="One month: its closing or its checklist, and Stripe's balance",
        guards=[CHECKLIST],
        responses=refusals(),
    )
    async def period(self, ctx: NamedDependency[Context], of_month: FromPath[str]) -> MonthOfBooks:
        """As on the page of a month such as 2026-10. It counts as ten calls."""
        first = period_pages.parse_month(ctx, of_month)
        async with ctx.sessions() as session:
            closings = [
                one for one in await period_close.list_closings(session) if one.month == first
            ]
            balances = await stripe_balance.for_month(
                session, ctx.settings.accounting_zoneinfo, first
            )
            said = await about(ctx, session)
        is_closed = any(one.reopened_at is None for one in closings)
        checklist = [] if is_closed else await period_close.checklist(ctx, first)
        return MonthOfBooks(
            about=said,
            month=month(first),
            is_closed=is_closed,
            closings=[_closing_line(one) for one in closings],
            checklist=shape_all(
                ChecklistLine, checklist, detail=lambda one: "" if one.passed else one.detail
            ),
            stripe_balance=shape_all(BalanceLine, balances),
        )

    @get(
        "/periods/{of_month:str}/pack",
        operation_id="downloadPack",
        summary="The pack of a closed month, a ZIP file",
        guards=[EXPORTS],
        media_type="application/zip",
        parameters=("closing",),
        responses=refusals(404, 409),
    )
    async def pack(
        self, ctx: NamedDependency[Context], request: AnyRequest, of_month: FromPath[str]
    ) -> Stream:
        """Return the same bytes however often it is downloaded. It counts as five calls."""
        with exports.spooled_file() as file:
            name = await close_pack.download(
                ctx, of_month, file, closing_id=request.query_params.get("closing")
            )
        return await stream_file(export_grant(request), file, name, "application/zip")

    @get(
        "/late-entries",
        operation_id="listLateEntries",
        summary="Entries that came after their month was closed",
        guards=[TRANSACTIONS],
        parameters=PAGE_PARAMETERS,
        responses=refusals(),
    )
    async def late(self, ctx: NamedDependency[Context], request: AnyRequest) -> LateEntries:
        """As on the page “Periods”."""
        place, size = read_cursor(ctx, request), page_size(request)
        async with ctx.sessions() as session:
            found, more = await late_entries.list_before(
                session, before_seq=None if place is None else int(place), size=size
            )
            said = await about(ctx, session)
        return LateEntries(said, shape_all(LateLine, found), next_cursor(ctx, request, more))

    @get(
        "/corrections",
        operation_id="listCorrections",
        summary="Corrections, newest first",
        guards=[TRANSACTIONS],
        parameters=(*PERIOD_PARAMETERS, *PAGE_PARAMETERS),
        responses=refusals(),
    )
    async def corrections(self, ctx: NamedDependency[Context], request: AnyRequest) -> Corrections:
        """As on the page “Corrections”: by the day on which they are booked."""
        _, of = filters.period_or_default(ctx, request.query_params)
        place, size = read_cursor(ctx, request), page_size(request)
        async with ctx.sessions() as session:
            found, more = await corrections.list_before(session, of, before=place, size=size)
            said = await about(ctx, session)
        items = [correction_line(one) for one in found]
        return Corrections(said, items, next_cursor(ctx, request, more))


def _closing_line(closing: PeriodClosing) -> ClosingLine:
    manifest = closing.manifest_hash
    return shape(
        ClosingLine,
        closing,
        month=month(closing.month),
        chain_head=closing.chain_head.hex(),
        manifest_sha256=None if manifest is None else manifest.hex(),
    )


def correction_line(view: CorrectionView) -> CorrectionLine:
    """Return a correction for an answer."""
    decision, concerns = view.decision, view.correction.concerns_month
    return shape(
        CorrectionLine,
        view.correction,
        status=str(view.status),
        seq=view.seq,
        concerns_month=None if concerns is None else month(concerns),
        decided_at=None if decision is None else utc(decision.decided_at),
        decided_by=None if decision is None else decision.decided_by,
        decision_reason=None if decision is None else decision.reason,
    )
