"""Lists for programs: transactions, one contribution and payouts.

Ids only: nothing in them is about a person.
"""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.accounting.reports import (
    contribution_timeline,
    payouts,
    transaction_filters,
    transactions,
)
from payments.accounting.reports.transaction_filters import Filters
from payments.core.errors import NotFound
from payments.core.identifiers import is_row_id
from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import filters
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import About, about, refusals, shape, shape_all
from payments.web.finance_api.cursors import next_cursor, read_count, read_cursor
from payments.web.finance_api.parameters import PAGE_PARAMETERS, PERIOD_PARAMETERS, page_size
from payments.web.forms import AnyRequest

FILTER_PARAMETERS = (
    *PERIOD_PARAMETERS, "type", "frequency", "currency", "account", "campaign", "id", "amount",
)  # fmt: skip


class TransactionLine(msgspec.Struct, frozen=True):
    """A movement of Stripe's balance. `balance_change` = `amount` - `fee`, in the currency that was
    settled; `presentment_amount` is what the donor was charged.
    """

    id: str
    type: str
    occurred_at: datetime
    currency: str
    amount: int
    fee: int
    balance_change: int
    presentment_amount: int | None
    presentment_currency: str | None
    frequency: str
    campaign: str | None
    contribution_id: str | None
    charge: str | None
    debit: str
    credit: str


class Transactions(msgspec.Struct, frozen=True):
    """A page of transactions, newest first."""

    about: About
    items: Sequence[TransactionLine]
    next_cursor: str | None


class TransactionSum(msgspec.Struct, frozen=True):
    """Sums of contributions, or of other income, in one currency. `balance_change` = `net` +
    `other_movements`, which are payouts, conversions and whatever else is no part of net.
    """

    currency: str
    is_other_income: bool
    payments: int
    gross: int
    fees: int
    refunds: int
    disputes: int
    net: int
    other_movements: int
    balance_change: int


class BookedCorrection(msgspec.Struct, frozen=True):
    """A correction among the lines of the filters: it moves no balance at Stripe."""

    transaction_id: str
    booked_at: datetime
    currency: str
    debit: str
    credit: str
    amount: int


class TransactionTotals(msgspec.Struct, frozen=True):
    """The sums of every line of the filters, corrections among them."""

    about: About
    totals: Sequence[TransactionSum]
    corrections: Sequence[BookedCorrection]


class TimelineLine(msgspec.Struct, frozen=True):
    """One thing that happened: a decision, charge, posting, event or mail."""

    at: datetime
    kind: str
    description: str
    detail: str
    amount: int | None
    currency: str | None


class Timeline(msgspec.Struct, frozen=True):
    """A contribution, without who gave it, and a page of what happened to it, oldest first."""

    about: About
    id: str
    created_at: datetime
    interval_unit: str | None
    interval_count: int | None
    amount: int | None
    currency: str
    status: str
    campaign: str | None
    subscription_status: str | None
    items: Sequence[TimelineLine]
    next_cursor: str | None


class PayoutLine(msgspec.Struct, frozen=True):
    """A payout. `listed_net` is the sum of its items by Stripe's list, `recorded_net` by our books;
    `match_status` is matched, mismatch, awaiting_list or not_applicable.
    """

    id: str
    status: str
    amount: int
    currency: str
    automatic: bool
    method: str
    created_at: datetime
    arrives_on: date
    failure_code: str | None
    transactions_listed_at: datetime | None
    item_count: int
    listed_net: int
    recorded_net: int
    match_status: str


class Payouts(msgspec.Struct, frozen=True):
    """A page of payouts, newest first."""

    about: About
    items: Sequence[PayoutLine]
    next_cursor: str | None


class PayoutItemLine(msgspec.Struct, frozen=True):
    """An item of a payout; what we have of it is null where we have nothing."""

    id: str
    type: str | None
    occurred_at: datetime | None
    contribution_id: str | None
    gross: int | None
    fee: int | None
    listed_net: int
    recorded_net: int | None
    currency: str
    matches: bool


class PayoutDetail(msgspec.Struct, frozen=True):
    """A payout and a page of its items."""

    about: About
    payout: PayoutLine
    items: Sequence[PayoutItemLine]
    next_cursor: str | None


class MovementsApi(Controller):
    """Lists, by cursor."""

    path = API_PREFIX
    tags = ("Transactions",)
    guards = [TokenOnly(TokenScope.TRANSACTIONS)]  # noqa: RUF012 - litestar's own

    @get(
        "/transactions",
        operation_id="listTransactions",
        summary="Transactions, newest first",
        parameters=(*FILTER_PARAMETERS, *PAGE_PARAMETERS),
        responses=refusals(),
    )
    async def transactions(
        self, ctx: NamedDependency[Context], request: AnyRequest
    ) -> Transactions:
        """As on the page “Transactions”, with its filters."""
        chosen, size = _parse_filters(ctx, request), page_size(request)
        place = read_cursor(ctx, request)
        async with ctx.sessions() as session:
            page, more = await transactions.list_page(
                session,
                ctx.settings.accounting_zoneinfo,
                chosen,
                before=None if place is None else transactions.parse_cursor(place),
                size=size,
            )
            said = await about(ctx, session)
        return Transactions(said, shape_all(TransactionLine, page), next_cursor(ctx, request, more))

    @get(
        "/transactions/totals",
        operation_id="getTransactionTotals",
        summary="Sums of transactions, by currency",
        parameters=FILTER_PARAMETERS,
        responses=refusals(),
    )
    async def totals(self, ctx: NamedDependency[Context], request: AnyRequest) -> TransactionTotals:
        """Return the sums above the list on the page “Transactions”."""
        zone = ctx.settings.accounting_zoneinfo
        chosen = _parse_filters(ctx, request)
        async with ctx.sessions() as session:
            found = await transactions.totals(session, zone, chosen)
            booked = await transactions.list_corrections(session, zone, chosen)
            said = await about(ctx, session)
        return TransactionTotals(
            said, shape_all(TransactionSum, found), shape_all(BookedCorrection, booked)
        )

    @get(
        "/contributions/{contribution_id:str}",
        operation_id="getContributionTimeline",
        summary="What happened to one contribution",
        parameters=PAGE_PARAMETERS,
        responses=refusals(404),
    )
    async def contribution(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        contribution_id: FromPath[str],
    ) -> Timeline:
        """As on the page of a gift. It does not say who gave."""
        after, size = read_count(ctx, request), page_size(request)
        if not is_row_id(contribution_id):
            raise NotFound("There is no contribution with this id.")
        async with ctx.sessions() as session:
            found, events, more = await contribution_timeline.get(
                session, contribution_id, offset=after, size=size
            )
            said = await about(ctx, session)
        return shape(
            Timeline,
            found,
            about=said,
            items=shape_all(TimelineLine, events),
            next_cursor=next_cursor(ctx, request, more),
        )

    @get(
        "/payouts",
        operation_id="listPayouts",
        summary="Payouts, newest first",
        parameters=(*PERIOD_PARAMETERS, "currency", *PAGE_PARAMETERS),
        responses=refusals(),
    )
    async def payouts(self, ctx: NamedDependency[Context], request: AnyRequest) -> Payouts:
        """As on the page “Payouts”."""
        _, of = filters.period_or_default(ctx, request.query_params)
        currency = filters.filter_value(request.query_params, "currency")
        zone = ctx.settings.accounting_zoneinfo
        place, size = read_cursor(ctx, request), page_size(request)
        async with ctx.sessions() as session:
            page, more = await payouts.list_page(
                session, zone, of, currency=currency, before=place, size=size
            )
            said = await about(ctx, session)
        return Payouts(said, shape_all(PayoutLine, page), next_cursor(ctx, request, more))

    @get(
        "/payouts/{payout_id:str}",
        operation_id="getPayout",
        summary="A payout and its items",
        parameters=PAGE_PARAMETERS,
        responses=refusals(404),
    )
    async def payout(
        self, ctx: NamedDependency[Context], request: AnyRequest, payout_id: FromPath[str]
    ) -> PayoutDetail:
        """As on the page of a payout."""
        after, size = read_count(ctx, request), page_size(request)
        async with ctx.sessions() as session:
            found, items, more = await payouts.get(session, payout_id, offset=after, size=size)
            said = await about(ctx, session)
        return PayoutDetail(
            said,
            shape(PayoutLine, found),
            shape_all(PayoutItemLine, items),
            next_cursor(ctx, request, more),
        )


def _parse_filters(ctx: Context, request: AnyRequest) -> Filters:
    query = request.query_params
    _, of = filters.period_or_default(ctx, query)
    return transaction_filters.parse_filters(query, of)
