"""Journals for programs: what accounts are called, the sums of a period, and its files."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.response import Stream

from payments.accounting.exports import account_map, journals
from payments.core.calendar import months_before
from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import exports, filters
from payments.web.finance_api.access import API_PREFIX, TokenOnly, export_grant
from payments.web.finance_api.answers import About, Days, about, days, refusals, shape_all
from payments.web.finance_api.parameters import PERIOD_PARAMETERS
from payments.web.forms import AnyRequest
from payments.web.staff.downloads import stream_file

REPORTS = TokenOnly(TokenScope.REPORTS)
EXPORTS = TokenOnly(TokenScope.EXPORTS, cost=5)


class AccountMapLine(msgspec.Struct, frozen=True):
    """A version of the account map, without its names."""

    version: int
    saved_at: datetime
    saved_by: str


class AccountMap(msgspec.Struct, frozen=True):
    """What each account is called in each accounting program, and the versions of that."""

    about: About
    names: Mapping[str, Mapping[str, str]]
    versions: Sequence[AccountMapLine]


class JournalSum(msgspec.Struct, frozen=True):
    """The sums of the daily journals of a currency; `difference` is zero."""

    currency: str
    debits: int
    credits: int
    difference: int


class Journals(msgspec.Struct, frozen=True):
    """The sums of what can be exported of a period."""

    about: About
    period: Days
    totals: Sequence[JournalSum]


class JournalsApi(Controller):
    """What the accounting programs get."""

    path = API_PREFIX
    tags = ("Journals",)

    @get(
        "/accounts",
        operation_id="getAccountMap",
        summary="What accounts are called in accounting programs",
        guards=[REPORTS],
        responses=refusals(),
    )
    async def accounts(self, ctx: NamedDependency[Context]) -> AccountMap:
        """As on the page “Accounts”."""
        async with ctx.sessions() as session:
            names = await account_map.current_names(session)
            versions = await account_map.history(session)
            said = await about(ctx, session)
        by_program = {str(program): dict(its) for program, its in names.items()}
        return AccountMap(
            said, by_program, shape_all(AccountMapLine, versions, version=lambda v: v.id)
        )

    @get(
        "/exports",
        operation_id="getJournals",
        summary="The sums of the journals of a period",
        guards=[REPORTS],
        parameters=(*PERIOD_PARAMETERS, "currency"),
        responses=refusals(),
    )
    async def exports(self, ctx: NamedDependency[Context], request: AnyRequest) -> Journals:
        """As on the page “Exports”: of last month, unless another period is asked for."""
        last_month = f"{months_before(filters.today(ctx), 1):%Y-%m}"
        _, of = filters.period_or_default(ctx, request.query_params, last_month)
        currency = filters.filter_value(request.query_params, "currency")
        async with ctx.sessions() as session:
            built = await journals.build(
                session, ctx.settings.accounting_zoneinfo, of, currency=currency
            )
            said = await about(ctx, session)
        return Journals(
            said,
            days(of),
            [
                JournalSum(code, debits, credits_, debits - credits_)
                for code, (debits, credits_) in journals.sum_by_currency(built).items()
            ],
        )

    @get(
        "/journal",
        operation_id="downloadJournal",
        summary="The journals of a period, as a file of an accounting program",
        guards=[EXPORTS],
        media_types=("text/plain", "application/zip"),
        parameters=(*PERIOD_PARAMETERS, "currency", "format"),
        responses=refusals(409),
    )
    async def journal(self, ctx: NamedDependency[Context], request: AnyRequest) -> Stream:
        """Return the file of the page “Exports”. It counts as five calls."""
        file, name, media_type = await exports.journal_file(ctx, request.query_params)
        return await stream_file(export_grant(request), file, name, media_type)
