"""What a donor paid: a list, a receipt for each payment, and a statement for each year.

A receipt has no name on it, for we hold none: there is a line to write it on.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments import charges
from payments.charges import Payment
from payments.errors import NotFound
from payments.money import Money
from payments.runtime import Runtime
from payments.web import pages, tongue
from payments.web.manage import words
from payments.web.manage.door import SignedIn

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
            by_year.setdefault(year, []).append(words.payment_facts(rt, payment))
        years = [{"year": str(year), "payments": lines} for year, lines in by_year.items()]
        return pages.page(rt, "manage_payments.html", years=years)

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
        return pages.page(
            rt, "receipt.html", payment=words.payment_facts(rt, payment), printed=_today(rt)
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
        return pages.page(
            rt,
            "statement.html",
            year=str(since.year),
            payments=[words.payment_facts(rt, payment) for payment in reversed(paid)],
            totals=_totals(paid),
            zone=rt.settings.accounting_zone,
            printed=_today(rt),
        )


def _today(rt: Runtime) -> str:
    return words.day(rt, rt.now())


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
        {"currency": code.upper(), "amount": tongue.amount(total)} for code, total in sums.items()
    ]
