"""What a donor paid: a list, a receipt for each payment, and a statement for each year.

A receipt has no name on it, because we hold none; it has a line to write one on. Whoever asks for
it gets a PDF with the name that Stripe has: read there, printed, and stored nowhere. Days and years
are those of the zone of receipts.
"""

from datetime import datetime
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core.errors import InvalidField, NotFound
from payments.donors import donors
from payments.giving import donor_address, donor_payments, payment_mail
from payments.infra.context import Context
from payments.risk import account_limit
from payments.web import rendering, request_locale
from payments.web.account import paging, paper, receipt_papers, view_models
from payments.web.account.paper import Paper
from payments.web.account.sign_in import CurrentDonor
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest

VALID_YEARS = range(2000, 2100)
MAX_NAME = 100  # letters of a name on a paper


class ReceiptPages(Controller):
    """What a donor paid, to read and to print."""

    @get("/payments")
    async def list_payments(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        donor: NamedDependency[CurrentDonor],
    ) -> Response[str]:
        """Show a page of the payments, by year, the newest first."""
        page = paging.page_of(request)
        async with ctx.sessions() as session:
            found = await donor_payments.list_for_donor(
                session, donor.donor_id, limit=paging.PAGE_SIZE + 1, offset=page.offset
            )
        payments = found[: paging.PAGE_SIZE]
        by_year: dict[int, list[dict[str, str]]] = {}
        for payment in payments:
            year = payment.paid_at.astimezone(ctx.settings.receipt_zoneinfo).year
            by_year.setdefault(year, []).append(view_models.payment_view(ctx, payment))
        years = [{"year": str(year), "payments": views} for year, views in by_year.items()]
        pages = page.links("/manage/payments", found)
        return rendering.render(ctx, "account_payments.html", years=years, pages=pages)

    @get("/receipts/{reference:str}")
    async def receipt(
        self,
        ctx: NamedDependency[Context],
        donor: NamedDependency[CurrentDonor],
        reference: FromPath[str],
    ) -> Response[str]:
        """One payment, to print."""
        payment = await _load_payment(ctx, donor, reference)
        return rendering.render(
            ctx,
            "receipt.html",
            issuer=_issuer(ctx),
            payment=payment,
            zone=ctx.settings.receipt_zoneinfo.key,
            printed=_today_text(ctx),
            pdf_url=_pdf_url(ctx, payment["url"]),
        )

    @get("/receipts/{reference:str}/pdf")
    async def receipt_pdf(
        self,
        ctx: NamedDependency[Context],
        donor: NamedDependency[CurrentDonor],
        reference: FromPath[str],
    ) -> Response[bytes]:
        """One payment, as a PDF."""
        return await _receipt_pdf(ctx, donor, reference, has_name=False)

    @post("/receipts/{reference:str}/pdf", status_code=200, request_max_body_size=SMALL_FORM_BYTES)
    async def receipt_pdf_with_name(
        self,
        ctx: NamedDependency[Context],
        donor: NamedDependency[CurrentDonor],
        reference: FromPath[str],
    ) -> Response[bytes]:
        """Return one payment as a PDF with the donor's name, which is asked of Stripe for it."""
        return await _receipt_pdf(ctx, donor, reference, has_name=True)

    @get("/statements/{year:str}")
    async def yearly_statement(
        self,
        ctx: NamedDependency[Context],
        donor: NamedDependency[CurrentDonor],
        year: FromPath[str],
    ) -> Response[str]:
        """Show the payments of a year and their sum, to print."""
        statement = await _load_year(ctx, donor, year)
        return rendering.render(
            ctx,
            "yearly_statement.html",
            issuer=_issuer(ctx),
            **statement,
            zone=ctx.settings.receipt_zoneinfo.key,
            printed=_today_text(ctx),
            pdf_url=_pdf_url(ctx, f"/manage/statements/{statement['year']}"),
        )

    @get("/statements/{year:str}/pdf")
    async def yearly_statement_pdf(
        self,
        ctx: NamedDependency[Context],
        donor: NamedDependency[CurrentDonor],
        year: FromPath[str],
    ) -> Response[bytes]:
        """Return the payments of a year and their sum, as a PDF."""
        return await _statement_pdf(ctx, donor, year, has_name=False)

    @post("/statements/{year:str}/pdf", status_code=200, request_max_body_size=SMALL_FORM_BYTES)
    async def yearly_statement_pdf_with_name(
        self,
        ctx: NamedDependency[Context],
        donor: NamedDependency[CurrentDonor],
        year: FromPath[str],
    ) -> Response[bytes]:
        """Return a year's payments as a PDF with the donor's name, which is asked of Stripe."""
        return await _statement_pdf(ctx, donor, year, has_name=True)


async def _receipt_pdf(
    ctx: Context, donor: CurrentDonor, reference: str, *, has_name: bool
) -> Response[bytes]:
    payment = await _load_payment(ctx, donor, reference)
    _require_pdf(ctx)
    name = await _name_at_stripe(ctx, donor) if has_name else ""
    return await _pdf_response(
        receipt_papers.receipt(ctx, payment, name), f"receipt-{payment['reference']}.pdf"
    )


async def _statement_pdf(
    ctx: Context, donor: CurrentDonor, year: str, *, has_name: bool
) -> Response[bytes]:
    statement = await _load_year(ctx, donor, year)
    _require_pdf(ctx)
    name = await _name_at_stripe(ctx, donor) if has_name else ""
    return await _pdf_response(
        receipt_papers.statement(ctx, statement, name), f"statement-{statement['year']}.pdf"
    )


async def _name_at_stripe(ctx: Context, donor: CurrentDonor) -> str:
    """Return the name that Stripe has of a donor, to print once. Raises InvalidField where it has
    none that can be printed, TooManyChanges, StripeUnavailable.
    """
    await account_limit.use(ctx, donor.donor_id)
    async with ctx.sessions() as session:
        found = await donors.get_or_none(session, donor.donor_id)
    name = None if found is None else await donor_address.name_of_donor(ctx, found)
    name = " ".join((name or "").split())[:MAX_NAME]
    if not name or not receipt_papers.can_print(name):
        raise InvalidField(
            "Our payment provider has no name of yours that we can print. "
            "Please write it on the receipt by hand."
        )
    return name


async def _load_payment(ctx: Context, donor: CurrentDonor, reference: str) -> dict[str, str]:
    """Return a donor's own payment as it is shown. Raises NotFound."""
    async with ctx.sessions() as session:
        payment = await donor_payments.get_owned(session, donor.donor_id, reference)
    return view_models.payment_view(ctx, payment)


async def _load_year(ctx: Context, donor: CurrentDonor, year: str) -> dict[str, Any]:
    """Return what a donor paid in a year, as it is shown. Raises NotFound."""
    since, until = _year_bounds(ctx, year)
    async with ctx.sessions() as session:
        payments = await donor_payments.list_for_donor(
            session, donor.donor_id, since=since, until=until
        )
    if not payments:
        raise NotFound("There are no payments in this year.")
    return {
        "year": str(since.year),
        "payments": [view_models.payment_view(ctx, payment) for payment in reversed(payments)],
        "totals": [
            {"currency": one.currency.upper(), "amount": request_locale.format_amount(one)}
            for one in donor_payments.totals(payments)
        ],
        "has_returns": any(payment.amounts.returned.amount for payment in payments),
    }


def _pdf_url(ctx: Context, page_url: str) -> str:
    """Return where a page is as a PDF; empty where there is none."""
    return f"{page_url}/pdf" if receipt_papers.are_offered(ctx) else ""


def _require_pdf(ctx: Context) -> None:
    if not receipt_papers.are_offered(ctx):
        raise NotFound("There is nothing at this address.")


async def _pdf_response(content: Paper, name: str) -> Response[bytes]:
    return Response(
        await paper.render(content),
        media_type="application/pdf",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _issuer(ctx: Context) -> dict[str, str]:
    """Return who received the payments, as receipts name it."""
    settings = ctx.settings
    return {
        "entity": settings.receipt_entity or settings.publication_name,
        "address": settings.brand_address,
        "tax_line": settings.receipt_tax_line,
    }


def _today_text(ctx: Context) -> str:
    return view_models.format_receipt_date(ctx, ctx.now())


def _year_bounds(ctx: Context, text: str) -> tuple[datetime, datetime]:
    """Return the first instant of a year and of the next, as receipts count. Raises NotFound."""
    if text not in {str(year) for year in VALID_YEARS}:
        raise NotFound("There are no payments in this year.")
    return payment_mail.year_bounds(ctx, int(text))
