"""The contribution report of a month or of any days: a page, and the same as a PDF."""

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.accounting import contribution_report, report_mail
from payments.accounting.contribution_report import ContributionReport
from payments.accounting.exports.files import export_filename
from payments.accounting.reports.period import Period
from payments.core.calendar import months_before
from payments.core.errors import NotFound
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.mail import smtp
from payments.staff import accounts
from payments.staff.accounts import Staff
from payments.web.account import paper
from payments.web.finance import filters, layout, report_content
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data, query_string
from payments.web.staff.downloads import attachment
from payments.web.staff.guards import EXPORT, ExportGrant, StepUp

REPORT_URL = "/finance/report"
MAIL_STEP_UP = StepUp(form_url=REPORT_URL)
PDF_MEDIA_TYPE = "application/pdf"


class ReportPages(Controller):
    """The page of the report, and its PDF."""

    path = REPORT_URL
    include_in_schema = False

    @get()
    async def show_report(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show the report of a period, last month unless asked."""
        params, chosen = chosen_period(ctx, request)
        content = report_content.build(ctx, await load(ctx, chosen))
        async with ctx.sessions() as session:
            address = await report_mail.address_of(ctx, session, colleague.id)
        return await layout.render(
            ctx,
            "finance_report.html",
            colleague,
            request=request,
            title=content.title,
            active_url=REPORT_URL,
            until=chosen.until,
            picker=filters.period_picker(ctx, params),
            content=content,
            definitions=report_content.DEFINITIONS,
            mail_address=address or "",
            is_mailed=smtp.is_configured(ctx.settings),
            send_day=report_mail.SEND_DAY,
            pdf_url=f"{REPORT_URL}.pdf{query_string(**params)}" if is_printable(ctx) else "",
        )

    @post("/mail", request_max_body_size=SMALL_FORM_BYTES, guards=[MAIL_STEP_UP])
    async def change_mail(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Redirect:
        """Send the monthly mail to the address of the form, or to nobody where it has none."""
        address = (await form_data(request)).get("address", "").strip()
        async with ctx.sessions.begin() as session:
            if address:
                await report_mail.subscribe(ctx, session, colleague, address)
            else:
                await report_mail.unsubscribe(session, colleague.id)
            await accounts.record_action(
                session,
                AuditAction.REPORT_MAIL_ASKED if address else AuditAction.REPORT_MAIL_ENDED,
                colleague,
                now=ctx.now(),
            )
        return Redirect(f"{REPORT_URL}#mail", status_code=303)


class ReportFile(Controller):
    """The PDF."""

    path = f"{REPORT_URL}.pdf"
    include_in_schema = False

    @get(guards=[EXPORT])
    async def report_pdf(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Response[bytes]:
        """Return the report of a period as a PDF."""
        _, chosen = chosen_period(ctx, request)
        name, content = await make_pdf(ctx, chosen)
        return await attachment(export_grant, content, name, media_type=PDF_MEDIA_TYPE)


def chosen_period(ctx: Context, request: AnyRequest) -> tuple[dict[str, str], Period]:
    """Return the parameters of the period and the period, last month unless asked."""
    last_month = f"{months_before(filters.today(ctx), 1):%Y-%m}"
    return filters.period_or_default(ctx, request.query_params, last_month)


async def load(ctx: Context, chosen: Period) -> ContributionReport:
    """Return the figures of a period. Raises InvalidField for one that is open at an end."""
    async with ctx.sessions() as session:
        return await contribution_report.build(session, ctx.settings.accounting_zoneinfo, chosen)


def is_printable(ctx: Context) -> bool:
    """Whether the font of papers has each letter of the newsroom's name."""
    return paper.is_offered(ctx.settings.publication_name)


async def make_pdf(ctx: Context, chosen: Period) -> tuple[str, bytes]:
    """Return the file's name and its bytes. Raises NotFound where the font lacks a letter."""
    if not is_printable(ctx):
        raise NotFound(
            "The font of our papers lacks a letter of the newsroom's name. Print the page instead."
        )
    made = await paper.render(report_content.paper(ctx, await load(ctx, chosen)))
    zone = ctx.settings.accounting_zoneinfo
    return export_filename("report", f"period={chosen.label}", zone, ".pdf"), made
