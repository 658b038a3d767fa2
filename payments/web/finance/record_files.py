"""Refunds, disputes and the audit log as files, with the filters of their pages."""

from collections.abc import Mapping

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.response import Stream

from payments.accounting.exports import record_files
from payments.accounting.exports.files import export_filename
from payments.accounting.exports.record_files import RecordFilters, RecordKind
from payments.infra.context import Context
from payments.web.finance import filters
from payments.web.finance.exports import spooled_file
from payments.web.forms import AnyRequest
from payments.web.staff.downloads import stream_file
from payments.web.staff.guards import EXPORT, ExportGrant


class RecordFilePages(Controller):
    """The three files."""

    path = "/finance"
    include_in_schema = False

    @get("/refunds.csv", guards=[EXPORT])
    async def refunds_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """Return the refunds of a period, oldest first."""
        return await _send(ctx, export_grant, RecordKind.REFUNDS, request.query_params)

    @get("/disputes.csv", guards=[EXPORT])
    async def disputes_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """Return the disputes that were opened in a period, oldest first."""
        return await _send(ctx, export_grant, RecordKind.DISPUTES, request.query_params)

    @get("/audit.csv", guards=[EXPORT])
    async def audit_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Stream:
        """Return the entries of the audit log of a period, oldest first."""
        return await _send(ctx, export_grant, RecordKind.AUDIT, request.query_params)


async def _send(
    ctx: Context, grant: ExportGrant, kind: RecordKind, params: Mapping[str, str]
) -> Stream:
    chosen = RecordFilters(
        filters.period_or_default(ctx, params)[1],
        currency=filters.filter_value(params, "currency"),
        who=params.get("who") or None,
        what=params.get("what") or None,
    )
    with spooled_file() as file:
        async with ctx.sessions() as session:
            async for chunk in record_files.stream_csv(ctx, session, kind, chosen):
                file.write(chunk)
    zone = ctx.settings.accounting_zoneinfo
    return await stream_file(
        grant, file, export_filename(kind, chosen.describe(), zone, ".csv"), "text/csv"
    )
