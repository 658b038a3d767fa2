"""Deferred income: cash beside accrual, what is still to be earned, and the journal of it."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.response import Stream

from payments.accounting.deferred_income import DeferredMonth
from payments.accounting.exports import account_map, files, program_rules
from payments.accounting.exports.journal_format import JournalFormat
from payments.accounting.exports.program_rules import Names
from payments.accounting.reports import accrual, period
from payments.accounting.reports.accrual import AccrualMonth
from payments.accounting.reports.transaction_filters import Filters
from payments.core.errors import InvalidField
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.exports import spooled_file
from payments.web.finance.formats import format_deduction, format_money, format_month
from payments.web.finance.tables import Cell, Table, table
from payments.web.forms import AnyRequest, query_string
from payments.web.staff.downloads import stream_file
from payments.web.staff.guards import EXPORT, ExportGrant

DEFERRED_URL = "/finance/deferred"
JOURNAL_FORMATS = tuple(one for one in JournalFormat if not one.is_statement)


class DeferredPages(Controller):
    """The page of deferred income, and its journal."""

    path = DEFERRED_URL
    include_in_schema = False

    @get()
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Cash and accrual of the months of a period, this fiscal year unless asked."""
        today, zone = filters.today(ctx), ctx.settings.accounting_zoneinfo
        params, chosen = filters.period_or_default(ctx, request.query_params, this_fiscal_year(ctx))
        currency = filters.filter_value(request.query_params, "currency")
        async with ctx.sessions() as session:
            months = await accrual.months_begun(session, zone, chosen, today=today)
            found = await accrual.by_month(session, zone, months, currency=currency)
            to_come = await accrual.still_to_be_earned(
                session, zone, today=today, currency=currency
            )
            names = await account_map.current_names(session)
        by_currency = {
            code: list(group) for code, group in groupby(found, key=lambda one: one.currency)
        }
        return await layout.render(
            ctx,
            "finance_deferred.html",
            colleague,
            request=request,
            title=f"Deferred income, {months.words}",
            active_url=DEFERRED_URL,
            until=months.until,
            picker=filters.period_picker(ctx, params),
            currencies=filters.currency_options(currency),
            tables=[
                made
                for code, of_currency in by_currency.items()
                for made in (
                    _accrual_table(of_currency, code),
                    _deferred_table(of_currency, code),
                )
            ],
            to_come=_to_come_table(to_come),
            journals=_journal_links(params, currency, sorted(by_currency), names),
        )

    @get("/journal", guards=[EXPORT])
    async def journal(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """Return the journal of the months of a period that are over."""
        query, zone = request.query_params, ctx.settings.accounting_zoneinfo
        if query.get("format") not in JOURNAL_FORMATS:
            raise InvalidField(f"format: one of {', '.join(JOURNAL_FORMATS)}.", field="format")
        journal_format = JournalFormat(query["format"])
        _, chosen = filters.period_or_default(ctx, query)
        currency = filters.filter_value(query, "currency")
        async with ctx.sessions() as session:
            months = await accrual.months_begun(
                session, zone, chosen, today=filters.today(ctx), over=True
            )
        if months.since == months.until:
            raise InvalidField(
                "period: no month of it is over, and the journal is of months that are.",
                field="period",
            )
        with spooled_file() as file:
            suffix = await files.write_deferred(
                ctx, journal_format, months, file, currency=currency
            )
        name = files.export_filename(
            f"deferred-{journal_format}",
            Filters(months, currency=currency).describe(),
            zone,
            suffix,
        )
        if journal_format is JournalFormat.DATEV:
            name = f"EXTF_{name}"
        media_type = {".zip": "application/zip", ".csv": "text/csv"}.get(suffix, "text/plain")
        return await stream_file(export_grant, file, name, media_type)


def this_fiscal_year(ctx: Context) -> str:
    """Return the name of the fiscal year it is, such as 2026 or FY2027."""
    first_month = ctx.settings.fiscal_year_start
    year = period.fiscal_year_of(filters.today(ctx), first_month)
    return f"FY{year}" if first_month > 1 else str(year)


def _accrual_table(months: Sequence[AccrualMonth], currency: str) -> Table:
    rows: list[list[str | Cell]] = [
        [
            Cell(
                format_month(one.month),
                "/finance/transactions"
                + query_string(period=f"{one.month:%Y-%m}", currency=currency)
                if one.gross or one.net
                else "",
            ),
            format_money(one.gross, currency),
            format_deduction(one.deferred.received, currency),
            format_money(one.deferred.released, currency),
            format_money(one.earned, currency),
            format_money(one.net, currency),
            format_money(one.net_earned, currency),
        ]
        for one in months
    ]
    total = [
        sum(amounts)
        for amounts in zip(
            *(
                (one.gross, -one.deferred.received, one.deferred.released, one.earned, one.net,
                 one.net_earned)
                for one in months
            ),
            strict=True,
        )
    ]  # fmt: skip
    columns = ["Month", "#Gross", "#Of it paid for several months",
               "#Earned of such payments", "#Gross earned", "#Net",
               "#Net earned"]  # fmt: skip
    return table(
        f"accrual-{currency}",
        f"As received and as earned, {currency.upper()}",
        columns,
        rows,
        footer=[["Total", *(format_money(amount, currency) for amount in total)]],
    )


def _deferred_table(months: Sequence[AccrualMonth], currency: str) -> Table:
    rows = [
        [
            format_month(one.month),
            format_money(one.deferred.opening, currency),
            format_money(one.deferred.received, currency),
            format_deduction(one.deferred.released, currency),
            format_deduction(one.deferred.refunded, currency),
            format_deduction(one.deferred.disputed, currency),
            format_money(one.deferred.closing, currency),
        ]
        for one in months
    ]
    columns = ["Month", "#Still to be earned before", "#Received", "#Earned", "#Refunded",
               "#Disputed", "#Still to be earned after"]  # fmt: skip
    return table(f"deferred-{currency}", f"Deferred income, {currency.upper()}", columns, rows)


def _to_come_table(months: Sequence[DeferredMonth]) -> Table:
    rows = [
        [
            format_month(one.month),
            one.currency.upper(),
            format_money(one.released, one.currency),
            format_money(one.closing, one.currency),
        ]
        for one in months
        if one.opening or one.released
    ]
    columns = ["Month", "Currency", "#Will be earned", "#Left after it"]
    return table("to-come", "Still to be earned of what was received until now", columns, rows,
                 empty="Nothing was paid for months to come.")  # fmt: skip


def _journal_links(
    params: Mapping[str, str], currency: str | None, codes: Sequence[str], names: Names
) -> list[dict[str, str]]:
    """Return a link for each program; of one that takes one currency, for each currency.

    A program whose account map lacks a setting leads there.
    """
    links = []
    for journal_format in JOURNAL_FORMATS:
        program, label = journal_format.program, journal_format.label
        if journal_format is JournalFormat.CSV:
            label = "Any other program (CSV, the figures of each month)"
        if program is not None and (
            program_rules.missing_settings(names, program)
            or program_rules.DEFERRED_INCOME not in names[program]
        ):
            label += ": name its accounts first"
            links.append({"label": label, "url": "/finance/accounts"})
            continue
        takes_one = journal_format.takes_one_currency and currency is None
        for code in codes if takes_one else [currency]:
            query = query_string(format=journal_format, **params, currency=code)
            links.append(
                {
                    "label": f"{label}, {code.upper()}" if takes_one and code else label,
                    "url": f"{DEFERRED_URL}/journal{query}",
                }
            )
    return links
