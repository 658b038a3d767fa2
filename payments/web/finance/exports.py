"""Exports: the transactions on the screen as CSV or XLSX, and journals for the accountant.

A file is made whole before its first byte is sent: a failure on the way is an error page, never
half a file, and a slow reader keeps no transaction open.
"""

import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.response import Stream

from payments.accounting.exports import (
    account_map,
    files,
    journals,
    program_rules,
    transactions_csv,
)
from payments.accounting.exports.journal_format import JournalFormat
from payments.accounting.exports.program_rules import Names
from payments.accounting.reports import transaction_filters
from payments.accounting.reports.transaction_filters import Filters
from payments.core.calendar import months_before
from payments.core.errors import InvalidField
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import format_money
from payments.web.finance.tables import Table, table
from payments.web.forms import AnyRequest, query_string
from payments.web.staff.downloads import stream_file
from payments.web.staff.guards import EXPORT, ExportGrant

MAX_SHEET_ROWS = 100_000  # of a sheet from a page; the command line makes larger ones
XLSX_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
RECORD_FILES = {
    "refunds.csv": "Refunds (CSV)",
    "disputes.csv": "Disputes (CSV)",
    "audit.csv": "Audit: what colleagues did (CSV)",
}
OTHER_EXPORTS = {
    "payouts.csv": "Payouts with their proof (CSV)",
    "recurring.csv": "Recurring revenue, thirteen months (CSV)",
    "monthly.csv": "Months by frequency and currency (CSV)",
}


class ExportPages(Controller):
    """The page of exports, the transactions as files, and the journals."""

    path = "/finance"
    include_in_schema = False

    @get("/exports")
    async def overview(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show what of a period, last month unless asked, can be exported, and if it balances."""
        last_month = f"{months_before(filters.today(ctx), 1):%Y-%m}"
        params, chosen = filters.period_or_default(ctx, request.query_params, last_month)
        currency = filters.filter_value(request.query_params, "currency")
        async with ctx.sessions() as session:
            names = await account_map.current_names(session)
            built = await journals.build(
                session,
                ctx.settings.accounting_zoneinfo,
                chosen,
                currency=currency,
            )
        totals = journals.sum_by_currency(built)
        query = query_string(**params, currency=currency)
        return await layout.render(
            ctx,
            "finance_exports.html",
            colleague,
            request=request,
            title=f"Exports, {chosen.words}",
            active_url="/finance/exports",
            until=chosen.until,
            picker=filters.period_picker(ctx, params),
            currencies=filters.currency_options(currency),
            table=_journal_totals_table(totals),
            journals=_journal_links(
                params, currency, [currency] if currency else sorted(totals), names
            ),
            other_exports=[
                {"label": label, "url": f"/finance/{name}{query_string(currency=currency)}"}
                for name, label in OTHER_EXPORTS.items()
            ],
            record_files=[
                {"label": label, "url": f"/finance/{name}{_record_query(name, params, currency)}"}
                for name, label in RECORD_FILES.items()
            ],
            csv_url=f"/finance/transactions.csv{query}",
            xlsx_url=f"/finance/transactions.xlsx{query}",
        )

    @get("/transactions.csv", guards=[EXPORT])
    async def transactions_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """Return the transactions of the filters, oldest first."""
        chosen = _parse_filters(ctx, request.query_params)
        async with ctx.sessions() as session:
            file = await _spool(
                transactions_csv.stream_csv(session, ctx.settings.accounting_zoneinfo, chosen)
            )
        name = files.export_filename(
            "transactions", chosen.describe(), ctx.settings.accounting_zoneinfo, ".csv"
        )
        return await stream_file(export_grant, file, name, "text/csv")

    @get("/transactions.xlsx", guards=[EXPORT])
    async def transactions_xlsx(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """Return the same as a workbook, whose last sheet says what it is of."""
        chosen = _parse_filters(ctx, request.query_params)
        zone = ctx.settings.accounting_zoneinfo
        async with ctx.sessions() as session:
            count = await transactions_csv.count_rows(session, zone, chosen)
        if count > MAX_SHEET_ROWS:
            raise InvalidField(
                f"period: {count:,} transactions are more than the {MAX_SHEET_ROWS:,} of a sheet"
                " from this page. Choose a shorter period, or take the CSV.",
                field="period",
            )
        with spooled_file() as file:
            await files.write_ledger_xlsx(ctx, chosen, file)
        name = files.export_filename("transactions", chosen.describe(), zone, ".xlsx")
        return await stream_file(export_grant, file, name, XLSX_MEDIA_TYPE)

    @get("/journal", guards=[EXPORT])
    async def journal(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """Return the journals of a period in the format of an accountant's program."""
        file, name, media_type = await journal_file(ctx, request.query_params)
        return await stream_file(export_grant, file, name, media_type)


async def journal_file(ctx: Context, query: Mapping[str, str]) -> tuple[IO[bytes], str, str]:
    """Return the journals that an address asks for, whole, with their name and media type.

    Raises InvalidField, and what `files.write_journal` raises.
    """
    if query.get("format") not in tuple(JournalFormat):
        raise InvalidField(f"format: one of {', '.join(JournalFormat)}.", field="format")
    journal_format = JournalFormat(query["format"])
    _, chosen = filters.period_or_default(ctx, query)
    currency = filters.filter_value(query, "currency")
    with spooled_file() as file:
        suffix = await files.write_journal(ctx, journal_format, chosen, file, currency=currency)
    name = files.export_filename(
        f"journal-{journal_format}",
        Filters(chosen, currency=currency).describe(),
        ctx.settings.accounting_zoneinfo,
        suffix,
    )
    if journal_format is JournalFormat.DATEV:
        name = f"EXTF_{name}"
    return file, name, "application/zip" if suffix == ".zip" else "text/plain"


def _journal_links(
    params: Mapping[str, str], currency: str | None, codes: Sequence[str], names: Names
) -> list[dict[str, str]]:
    """Return the journals; of a program that takes one currency, one for each.

    A program that the account map says nothing of leads there.
    """
    links = []
    for journal_format in JournalFormat:
        program = None if journal_format.is_statement else journal_format.program
        if program is not None and program_rules.missing_settings(names, program):
            label = f"{journal_format.label}: name its accounts first"
            links.append({"label": label, "url": "/finance/accounts"})
            continue
        takes_one = journal_format.takes_one_currency
        for code in codes if takes_one else [currency]:
            query = query_string(format=journal_format, **params, currency=code)
            label = journal_format.label
            links.append(
                {
                    "label": f"{label}, {code.upper()}" if takes_one and code else label,
                    "url": f"/finance/journal{query}",
                }
            )
    return links


def _record_query(name: str, params: Mapping[str, str], currency: str | None) -> str:
    """Return the query of a file of records: the audit log knows no currency."""
    return query_string(**params, currency=None if name == "audit.csv" else currency)


def _parse_filters(ctx: Context, params: Mapping[str, str]) -> Filters:
    _, period = filters.period_or_default(ctx, params)
    return transaction_filters.parse_filters(params, period)


async def _spool(chunks: AsyncIterator[bytes]) -> IO[bytes]:
    """Write all chunks to a file, ready to be read."""
    with spooled_file() as file:
        async for chunk in chunks:
            file.write(chunk)
    return file


@contextmanager
def spooled_file() -> Iterator[IO[bytes]]:
    """Open a temporary file to be sent when it is whole.

    `stream_file` closes it; here only an error does.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has been sent
    try:
        yield file
    except BaseException:
        file.close()
        raise


def _journal_totals_table(totals: Mapping[str, tuple[int, int]]) -> Table:
    rows = [
        [
            code.upper(),
            format_money(debits, code),
            format_money(credits_, code),
            format_money(debits - credits_, code),
        ]
        for code, (debits, credits_) in totals.items()
    ]
    columns = ["Currency", "#Debits", "#Credits", "#Difference"]
    return table("journals", "Daily journals of this period", columns, rows,
                 empty="Nothing moved in this time.")  # fmt: skip
