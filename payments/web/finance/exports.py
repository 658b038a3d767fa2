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
from payments.accounting.exports import transactions as exports_transactions
from payments.accounting.exports.journals import Format
from payments.accounting.reports import period
from payments.accounting.reports import transactions as reports_transactions
from payments.accounting.reports.period import Period
from payments.accounting.reports.transactions import Filters
from payments.core.errors import InvalidField
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Table, show, table
from payments.web.forms import AnyRequest

SHEET_MOST = 100_000  # lines of a sheet asked for from a page; the command line makes larger ones
CHUNK = 64 * 1024
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's own beginning: the bytes must not change
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMATS = {
    Format.XERO: ("Xero manual journal (CSV)", ".csv"),
    Format.QBO: ("QuickBooks Online journal (CSV)", ".csv"),
    Format.BEANCOUNT: ("beancount", ".beancount"),
    Format.CSV: ("Any other program (CSV, each row of the books)", ".csv"),
}
OTHERS = {
    "payouts.csv": "Payouts with their proof (CSV)",
    "recurring.csv": "Recurring revenue, thirteen months (CSV)",
    "monthly.csv": "Months by frequency and currency (CSV)",
}


class DownloadPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/exports")
    async def page(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """What can be taken away, and whether the journals of a period balance."""
        asked = dict(request.query_params)
        today = layout.today(rt)
        if not any(asked.get(name) for name in ("period", "from", "to")):
            asked["period"] = f"{period.months_before(today, 1):%Y-%m}"
        chosen = period.parse(asked, today=today)
        currency = layout.word(asked, "currency")
        async with rt.sessions() as session:
            made = await journals.read(
                session, rt.settings.zone, chosen, currency=currency, accounts=journals.names(None)
            )
        kept = {name: asked.get(name, "") for name in ("period", "from", "to")}
        return await layout.page(
            rt,
            "finance_exports.html",
            colleague,
            title=f"Exports, {chosen.words}",
            here="/finance/exports",
            until=chosen.until,
            asked=kept,
            currencies=layout.currencies(currency),
            table=_balances(journals.totals(made)),
            files=_files(kept, currency, [currency] if currency else sorted(journals.totals(made))),
            others=[
                {"label": label, "url": f"/finance/{name}{layout.query(currency=currency)}"}
                for name, label in OTHERS.items()
            ],
            csv_url=f"/finance/lines.csv{layout.query(**kept, currency=currency)}",
            xlsx_url=f"/finance/lines.xlsx{layout.query(**kept, currency=currency)}",
        )  # fmt: skip

    @get("/lines.csv")
    async def csv(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Stream:
        """The lines of the filters, oldest first."""
        assert colleague.role
        filters = _filters(rt, request.query_params)
        async with rt.sessions() as session:
            file = await _kept(exports_transactions.as_csv(session, rt.settings.zone, filters))
        name = exports_transactions.filename("ledger", filters.words(), rt.settings.zone, ".csv")
        return sent(file, name, "text/csv; charset=utf-8")

    @get("/lines.xlsx")
    async def xlsx(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Stream:
        """The same as a workbook, whose last sheet says what it is of."""
        assert colleague.role
        filters, zone = _filters(rt, request.query_params), rt.settings.zone
        async with rt.sessions() as session:
            count = await exports_transactions.count(session, zone, filters)
        if count > SHEET_MOST:
            raise InvalidField(
                f"period: {count:,} lines are more than the {SHEET_MOST:,} of a sheet from this "
                "page. Choose a shorter period, or take the CSV.",
                field="period",
            )
        with unsent() as file:
            await files.ledger_xlsx(rt, filters, file)
        name = exports_transactions.filename("ledger", filters.words(), zone, ".xlsx")
        return sent(file, name, XLSX)

    @get("/journal")
    async def journal(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Stream:
        """The books of a period for an accountant's program."""
        assert colleague.role
        asked = request.query_params
        if asked.get("format") not in tuple(Format):
            raise InvalidField(f"format: one of {', '.join(Format)}.", field="format")
        kind = Format(asked["format"])
        chosen = period.parse(asked, today=layout.today(rt))
        currency = layout.word(asked, "currency")
        file, count = await _journal(rt, kind, chosen, currency)
        words = Filters(chosen, currency=currency).words()
        suffix = ".zip" if count > 1 else FORMATS[kind][1]
        name = exports_transactions.filename(f"journal-{kind}", words, rt.settings.zone, suffix)
        return sent(file, name, "application/zip" if count > 1 else "text/plain; charset=utf-8")


def _files(
    kept: Mapping[str, str], currency: str | None, codes: Sequence[str]
) -> list[dict[str, str]]:
    """The journals; of a program that takes one currency, one for each."""
    made = []
    for kind, (label, _) in FORMATS.items():
        alone = kind in (Format.XERO, Format.QBO)
        for code in codes if alone else [currency]:
            url = "/finance/journal" + layout.query(format=kind, **kept, currency=code)
            made.append({"label": f"{label}, {code.upper()}" if alone and code else label,
                         "url": url})  # fmt: skip
    return made


def _filters(rt: Runtime, asked: Mapping[str, str]) -> Filters:
    return reports_transactions.parse(asked, period.parse(asked, today=layout.today(rt)))


async def _journal(
    rt: Runtime, kind: Format, chosen: Period, currency: str | None
) -> tuple[IO[bytes], int]:
    """The file, or several in a zip, and how many there are."""
    words = Filters(chosen, currency=currency).words()
    about = f"journal {words} zone={rt.settings.accounting_zone}"
    async with rt.sessions() as session:
        if kind is Format.CSV:
            rows = ledger_entries.as_csv(
                session, rt.settings.zone, chosen, currency=currency, exported_in=about
            )
            return await _kept(rows), 1
        made = await journals.read(
            session, rt.settings.zone, chosen, currency=currency, accounts=journals.names(None)
        )
    parts = journals.files(kind, made, about=about, whole=chosen.since is None)
    if len(parts) == 1:
        return io.BytesIO(parts[0]), 1
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as pack:
        for number, data in enumerate(parts, 1):
            pack.writestr(zipfile.ZipInfo(f"journal-{kind}-{number:02}.csv", EPOCH), data)
    packed.seek(0)
    return packed, len(parts)


async def _kept(chunks: AsyncIterator[bytes]) -> IO[bytes]:
    """All of it in a file, ready to be read."""
    with unsent() as file:
        async for chunk in chunks:
            file.write(chunk)
    return file


@contextmanager
def unsent() -> Iterator[IO[bytes]]:
    """A file without a name, to be sent when it is whole. `sent` closes it; here an error does."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has been sent
    try:
        yield file
    except BaseException:
        file.close()
        raise


def sent(file: IO[bytes], name: str, media_type: str) -> Stream:
    """A file to be kept, in pieces, and closed when it has been sent."""

    async def read() -> AsyncIterator[bytes]:
        with file:
            while chunk := file.read(CHUNK):
                yield chunk

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "content-length": str(size),
    }
    return Stream(read(), media_type=media_type, headers=headers)


def _balances(sums: Mapping[str, tuple[int, int]]) -> Table:
    rows = [
        [
            code.upper(),
            show(debits, code),
            show(credits_, code),
            show(debits - credits_, code),
        ]
        for code, (debits, credits_) in sums.items()
    ]
    columns = ["Currency", "#Debits", "#Credits", "#Difference"]
    return table("journals", "Daily journals of this period", columns, rows,
                 empty="Nothing moved in this time.")  # fmt: skip
