"""Receipts and yearly statements: each payment, in each currency, in the newsroom's own days."""

import re
from datetime import timedelta

import httpx
import pytest

from payments.core.settings import Settings
from payments.web.app import create_app
from tests.support.donor import (
    Donor,
    months_pass,
    open_donor_browser,
)
from tests.support.newsroom import BASE_URL, Newsroom

pytestmark = pytest.mark.anyio


async def test_each_payment_has_a_receipt_with_a_line_for_the_name(donor: Donor) -> None:
    await donor.gives(500)
    await donor.gives(2500, "once", "eur")
    await months_pass(donor.room, 1)
    await donor.signs_in()
    page = await donor.opens("/manage/payments")
    receipts = re.findall(r'"(/manage/receipts/[0-9a-f]{16})"', page.html)
    assert len(set(receipts)) == 3
    texts = [(await donor.opens(link)).text for link in receipts]
    for says in ("$5.00 (USD) On 22 December 2026 Contribution Monthly Reference",
                 "€25.00 (EUR) On 22 November 2026 Contribution Once Reference"):  # fmt: skip
        assert sum(says in text for text in texts) == 1
    for text, link in zip(texts, receipts, strict=True):
        assert "Received by The Example" in text
        assert "Name to be filled in by hand" in text
        reference = link.rpartition("/")[2].upper()
        assert " ".join(re.findall("....", reference)) in text


async def test_a_year_ends_where_finance_ends_it(newsroom: Newsroom) -> None:
    settings = newsroom.settings
    values = {**settings.model_dump(), "accounting_zone": "Europe/Amsterdam"}
    app = create_app(Settings.model_validate(values), now=newsroom.clock)
    newsroom.clock.advance(timedelta(days=39, hours=11, minutes=30))  # 31 December, 23:30 UTC
    async with open_donor_browser(newsroom) as donor:
        await donor.gives(500, "once")
        await donor.signs_in()
        assert "$5.00" in (await donor.opens("/manage/statements/2026")).text
        async with app.lifespan():
            transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # litestar's ASGI
            async with httpx.AsyncClient(
                transport=transport, base_url=BASE_URL, cookies=donor.web.cookies
            ) as web:
                abroad = Donor(newsroom, web)
                await abroad.opens("/manage/statements/2026", status=404)
                page = await abroad.opens("/manage/statements/2027")
    assert "1 January 2027" in page.text
    assert "Days are counted in Europe/Amsterdam" in page.text


async def test_a_statement_adds_each_currency_by_itself(donor: Donor) -> None:
    await donor.gives(500)
    await donor.gives(2500, "once", "eur")
    await donor.gives(1000, "once")
    await donor.signs_in()
    page = await donor.opens("/manage/statements/2026")
    assert ["Total (USD)", "$15.00"] in page.cells
    assert ["Total (EUR)", "€25.00"] in page.cells
    assert "Name to be filled in by hand" in page.text
    for year in ("2025", "1999", "20266", "x", "-2026"):
        await donor.opens(f"/manage/statements/{year}", status=404)
