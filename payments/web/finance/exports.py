"""Files: the lines on the screen as CSV or XLSX, and journals for the accountant.

A file is made whole before the first byte leaves: what fails on the way is an error page, never
half a file, and a slow reader keeps no transaction open.
"""

import io
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.response import Stream

from payments.accounting.exports import files, journals, ledger_entries
from payments.accounting.exports import transactions_csv as exports_transactions
from payments.accounting.exports.journals import JournalFormat
from payments.accounting.reports import period
from payments.accounting.reports import transactions as reports_transactions
from payments.accounting.reports.period import Period
from payments.accounting.reports.transactions import Filters
from payments.core.calendar import months_before
from payments.core.errors import InvalidField
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Table, format_money, table
from payments.web.forms import AnyRequest
from payments.web.staff.downloads import stream_file
from payments.web.staff.guards import EXPORT, ExportGrant

MAX_SHEET_LINES = (
    100_000  # lines of a sheet asked for from a page; the command line makes larger ones
)
ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the zip format's own beginning: the bytes must not change
XLSX_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
JOURNAL_FORMATS = {
    JournalFormat.XERO: ("Xero manual journal (CSV)", ".csv"),
    JournalFormat.QBO: ("QuickBooks Online journal (CSV)", ".csv"),
    JournalFormat.BEANCOUNT: ("beancount", ".beancount"),
    JournalFormat.CSV: ("Any other program (CSV, each row of the books)", ".csv"),
}
OTHER_EXPORTS = {
    "payouts.csv": "Payouts with their proof (CSV)",
    "recurring.csv": "Recurring revenue, thirteen months (CSV)",
    "monthly.csv": "Months by frequency and currency (CSV)",
}


class ExportPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/exports")
    async def overview(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """What can be taken away, and whether the journals of a period balance."""
        asked = dict(request.query_params)
        today = layout.today(ctx)
        if not any(asked.get(name) for name in ("period", "from", "to")):
            asked["period"] = f"{months_before(today, 1):%Y-%m}"
        chosen = period.parse_period(asked, today=today)
        currency = layout.filter_value(asked, "currency")
        async with ctx.sessions() as session:
            made = await journals.build(
                session,
                ctx.settings.accounting_zoneinfo,
                chosen,
                currency=currency,
                accounts=journals.account_names(None),
            )
        kept = {name: asked.get(name, "") for name in ("period", "from", "to")}
        return await layout.render(
            ctx,
            "finance_exports.html",
            colleague,
            title=f"Exports, {chosen.label}",
            active_url="/finance/exports",
            until=chosen.until,
            asked=kept,
            currencies=layout.currency_options(currency),
            table=_journal_totals_table(journals.sum_by_currency(made)),
            files=_journal_links(kept, currency, [currency] if currency else sorted(journals.sum_by_currency(made))),
            others=[
                {"label": label, "url": f"/finance/{name}{layout.query_string(currency=currency)}"}
                for name, label in OTHER_EXPORTS.items()
            ],
            csv_url=f"/finance/lines.csv{layout.query_string(**kept, currency=currency)}",
            xlsx_url=f"/finance/lines.xlsx{layout.query_string(**kept, currency=currency)}",
        )  # fmt: skip

    @get("/lines.csv", guards=[EXPORT])
    async def transactions_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """The lines of the filters, oldest first."""
        filters = _parse_filters(ctx, request.query_params)
        async with ctx.sessions() as session:
            file = await _spool(
                exports_transactions.stream_csv(session, ctx.settings.accounting_zoneinfo, filters)
            )
        name = exports_transactions.export_filename(
            "ledger", filters.describe(), ctx.settings.accounting_zoneinfo, ".csv"
        )
        return await stream_file(export_grant, file, name, "text/csv; charset=utf-8")

    @get("/lines.xlsx", guards=[EXPORT])
    async def transactions_xlsx(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """The same as a workbook, whose last sheet says what it is of."""
        filters, zone = _parse_filters(ctx, request.query_params), ctx.settings.accounting_zoneinfo
        async with ctx.sessions() as session:
            count = await exports_transactions.count_rows(session, zone, filters)
        if count > MAX_SHEET_LINES:
            raise InvalidField(
                f"period: {count:,} lines are more than the {MAX_SHEET_LINES:,} of a sheet from this "
                "page. Choose a shorter period, or take the CSV.",
                field="period",
            )
        with spooled_file() as file:
            await files.write_ledger_xlsx(ctx, filters, file)
        name = exports_transactions.export_filename("ledger", filters.describe(), zone, ".xlsx")
        return await stream_file(export_grant, file, name, XLSX_MEDIA_TYPE)

    @get("/journal", guards=[EXPORT])
    async def journal(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """The books of a period for an accountant's program."""
        asked = request.query_params
        if asked.get("format") not in tuple(JournalFormat):
            raise InvalidField(f"format: one of {', '.join(JournalFormat)}.", field="format")
        kind = JournalFormat(asked["format"])
        chosen = period.parse_period(asked, today=layout.today(ctx))
        currency = layout.filter_value(asked, "currency")
        file, count = await _build_journal(ctx, kind, chosen, currency)
        words = Filters(chosen, currency=currency).describe()
        suffix = ".zip" if count > 1 else JOURNAL_FORMATS[kind][1]
        name = exports_transactions.export_filename(
            f"journal-{kind}", words, ctx.settings.accounting_zoneinfo, suffix
        )
        media_type = "application/zip" if count > 1 else "text/plain; charset=utf-8"
        return await stream_file(export_grant, file, name, media_type)


def _journal_links(
    params: Mapping[str, str], currency: str | None, codes: Sequence[str]
) -> list[dict[str, str]]:
    """The journals; of a program that takes one currency, one for each."""
    made = []
    for kind, (label, _) in JOURNAL_FORMATS.items():
        alone = kind in (JournalFormat.XERO, JournalFormat.QBO)
        for code in codes if alone else [currency]:
            url = "/finance/journal" + layout.query_string(format=kind, **params, currency=code)
            made.append({"label": f"{label}, {code.upper()}" if alone and code else label,
                         "url": url})  # fmt: skip
    return made


def _parse_filters(ctx: Context, params: Mapping[str, str]) -> Filters:
    return reports_transactions.parse_filters(
        params, period.parse_period(params, today=layout.today(ctx))
    )


async def _build_journal(
    ctx: Context, kind: JournalFormat, chosen: Period, currency: str | None
) -> tuple[IO[bytes], int]:
    """The file, or several in a zip, and how many there are."""
    words = Filters(chosen, currency=currency).describe()
    about = f"journal {words} zone={ctx.settings.accounting_zone}"
    async with ctx.sessions() as session:
        if kind is JournalFormat.CSV:
            rows = ledger_entries.stream_csv(
                session,
                ctx.settings.accounting_zoneinfo,
                chosen,
                currency=currency,
                exported_in=about,
            )
            return await _spool(rows), 1
        made = await journals.build(
            session,
            ctx.settings.accounting_zoneinfo,
            chosen,
            currency=currency,
            accounts=journals.account_names(None),
        )
    parts = journals.render(kind, made, description=about, is_complete=chosen.since is None)
    if len(parts) == 1:
        return io.BytesIO(parts[0]), 1
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as pack:
        for number, data in enumerate(parts, 1):
            pack.writestr(zipfile.ZipInfo(f"journal-{kind}-{number:02}.csv", ZIP_TIMESTAMP), data)
    packed.seek(0)
    return packed, len(parts)


async def _spool(chunks: AsyncIterator[bytes]) -> IO[bytes]:
    """All of it in a file, ready to be read."""
    with spooled_file() as file:
        async for chunk in chunks:
            file.write(chunk)
    return file


@contextmanager
def spooled_file() -> Iterator[IO[bytes]]:
    """A file without a name, to be sent when it is whole. `sent` closes it; here an error does."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has been sent
    try:
        yield file
    except BaseException:
        file.close()
        raise


def _journal_totals_table(sums: Mapping[str, tuple[int, int]]) -> Table:
    rows = [
        [
            code.upper(),
            format_money(debits, code),
            format_money(credits_, code),
            format_money(debits - credits_, code),
        ]
        for code, (debits, credits_) in sums.items()
    ]
    columns = ["Currency", "#Debits", "#Credits", "#Difference"]
    return table("journals", "Daily journals of this period", columns, rows,
                 empty="Nothing moved in this time.")  # fmt: skip
