"""What a donor paid: a list, a receipt for each payment, and a statement for each year.

A receipt has no name on it, because we hold none; it has a line to write one on. Days and years are
those of the zone of receipts.
"""

from datetime import datetime

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core.errors import NotFound
from payments.giving import donor_payments, payment_mail
from payments.infra.context import Context
from payments.web import rendering, request_locale
from payments.web.account import paging, view_models
from payments.web.account.sign_in import CurrentDonor
from payments.web.forms import AnyRequest

VALID_YEARS = range(2000, 2100)


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
        async with ctx.sessions() as session:
            payment = await donor_payments.get_owned(session, donor.donor_id, reference)
        return rendering.render(
            ctx,
            "receipt.html",
            issuer=_issuer(ctx),
            payment=view_models.payment_view(ctx, payment),
            printed=_today_text(ctx),
        )

    @get("/statements/{year:str}")
    async def yearly_statement(
        self,
        ctx: NamedDependency[Context],
        donor: NamedDependency[CurrentDonor],
        year: FromPath[str],
    ) -> Response[str]:
        """Show the payments of a year and their sum, to print."""
        since, until = _year_bounds(ctx, year)
        async with ctx.sessions() as session:
            payments = await donor_payments.list_for_donor(
                session, donor.donor_id, since=since, until=until
            )
        if not payments:
            raise NotFound("There are no payments in this year.")
        return rendering.render(
            ctx,
            "yearly_statement.html",
            issuer=_issuer(ctx),
            year=str(since.year),
            payments=[view_models.payment_view(ctx, payment) for payment in reversed(payments)],
            totals=[
                {"currency": one.currency.upper(), "amount": request_locale.format_amount(one)}
                for one in donor_payments.totals(payments)
            ],
            has_returns=any(payment.amounts.returned.amount for payment in payments),
            zone=ctx.settings.receipt_zoneinfo.key,
            printed=_today_text(ctx),
        )


def _issuer(ctx: Context) -> dict[str, str]:
    """Return who received the payments, as receipts name it."""
    settings = ctx.settings
    return {
        "entity": settings.receipt_entity,
        "address": settings.brand_address,
        "tax_line": settings.receipt_tax_line,
    }


def _today_text(ctx: Context) -> str:
    return view_models.format_date(ctx, ctx.now())


def _year_bounds(ctx: Context, text: str) -> tuple[datetime, datetime]:
    """Return the first instant of a year and of the next, as finance counts it. Raises NotFound."""
    if text not in {str(year) for year in VALID_YEARS}:
        raise NotFound("There are no payments in this year.")
    return payment_mail.year_bounds(ctx, int(text))
