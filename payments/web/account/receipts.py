"""What a donor paid: a list, a receipt for each payment, and a statement for each year.

A receipt has no name on it, for we hold none: there is a line to write it on.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core.errors import NotFound
from payments.core.money import Money
from payments.giving import charges
from payments.giving.charges import Payment
from payments.infra.context import Runtime
from payments.web import locale, templates
from payments.web.account import view_models
from payments.web.account.sign_in import SignedIn

YEARS = range(2000, 2100)


class Receipts(Controller):
    @get("/payments")
    async def all(
        self, rt: NamedDependency[Runtime], donor: NamedDependency[SignedIn]
    ) -> Response[str]:
        """Every payment, by year."""
        async with rt.sessions() as session:
            paid = await charges.of_donor(session, donor.donor_id)
        by_year: dict[int, list[dict[str, str]]] = {}
        for payment in paid:
            year = payment.paid_at.astimezone(rt.settings.zone).year
            by_year.setdefault(year, []).append(view_models.payment_facts(rt, payment))
        years = [{"year": str(year), "payments": lines} for year, lines in by_year.items()]
        return templates.page(rt, "manage_payments.html", years=years)

    @get("/receipts/{reference:str}")
    async def receipt(
        self,
        rt: NamedDependency[Runtime],
        donor: NamedDependency[SignedIn],
        reference: FromPath[str],
    ) -> Response[str]:
        """One payment, to print."""
        async with rt.sessions() as session:
            payment = await charges.owned(session, donor.donor_id, reference)
        return templates.page(
            rt, "receipt.html", payment=view_models.payment_facts(rt, payment), printed=_today(rt)
        )

    @get("/statements/{year:str}")
    async def statement(
        self, rt: NamedDependency[Runtime], donor: NamedDependency[SignedIn], year: FromPath[str]
    ) -> Response[str]:
        """The payments of a year and their sum, to print."""
        since, until = _year(rt, year)
        async with rt.sessions() as session:
            paid = await charges.of_donor(session, donor.donor_id, since=since, until=until)
        if not paid:
            raise NotFound("There are no payments in this year.")
        return templates.page(
            rt,
            "statement.html",
            year=str(since.year),
            payments=[view_models.payment_facts(rt, payment) for payment in reversed(paid)],
            totals=_totals(paid),
            zone=rt.settings.accounting_zone,
            printed=_today(rt),
        )


def _today(rt: Runtime) -> str:
    return view_models.day(rt, rt.now())


def _year(rt: Runtime, text: str) -> tuple[datetime, datetime]:
    """From when until when a year is, as finance counts it."""
    if text not in {str(year) for year in YEARS}:
        raise NotFound("There are no payments in this year.")
    zone = rt.settings.zone
    return datetime(int(text), 1, 1, tzinfo=zone), datetime(int(text) + 1, 1, 1, tzinfo=zone)


def _totals(paid: Sequence[Payment]) -> list[dict[str, Any]]:
    """The sum in each currency: two currencies are never added."""
    sums: dict[str, Money] = {}
    for payment in paid:
        before = sums.get(payment.money.currency, Money(0, payment.money.currency))
        sums[payment.money.currency] = before + payment.money
    return [
        {"currency": code.upper(), "amount": locale.amount(total)} for code, total in sums.items()
    ]
