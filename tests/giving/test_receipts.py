"""Receipts and yearly statements: each payment, in each currency, in the newsroom's own days."""

import re
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image
from pypdf import PageObject, PdfReader

from payments.accounting.reports import transaction_filters
from payments.accounting.reports.period import ALL_TIME
from payments.core.settings import Settings
from payments.giving import donor_payments
from payments.web.app import create_app
from tests.support.donor import (
    SAME_ORIGIN_HEADERS,
    Donor,
    months_pass,
    open_donor_browser,
)
from tests.support.mail import execute
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom

pytestmark = pytest.mark.anyio
MOVE_REFUNDS = """
    UPDATE refunds SET stripe_charge_id = (SELECT stripe_charge_id FROM disputes)
"""


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
    abroad_too = {"receipt_zone": "Europe/Amsterdam", "receipt_entity": "新聞 B.V."}
    values = {**settings.model_dump(), **abroad_too}
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
                payments = await abroad.opens("/manage/payments")
                (link,) = set(re.findall(r'"(/manage/receipts/[0-9a-f]{16})"', payments.html))
                receipt = await abroad.opens(link)
                overview = await abroad.opens("/manage/contributions")
                # the font of papers has not every letter of who received it
                for address in ("/manage/statements/2027/pdf", f"{link}/pdf"):
                    await abroad.opens(address, status=404)
    for one in (page, receipt):
        assert "Days are counted in Europe/Amsterdam. Made on 1 January 2027." in one.text
        assert "/pdf" not in one.html
        assert "新聞 B.V." in one.text
    assert "1 January 2027" in overview.text
    assert "31 December 2026" not in overview.text


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


async def test_what_went_back_is_taken_off_wherever_a_sum_is_shown_as_given(donor: Donor) -> None:
    room = donor.room
    refunded = await donor.gives(750, "once")
    partly = await donor.gives(2000, "once")
    monthly = await donor.gives(4000, "monthly")
    charges = await charges_by_amount(room)
    for amount, of in ((750, 750), (500, 2000)):
        await room.stripe_owner.v1.refunds.create_async({"charge": charges[of], "amount": amount})
    dispute = room.sandbox.dispute(charges[4000])
    await room.runs_until_idle()
    assert "This gift was refunded" in await room.thanks(refunded.id)
    assert "Gift $20.00 once Refunded $5.00" in await room.thanks(partly.id)

    await donor.signs_in()
    overview = (await donor.opens("/manage/contributions")).text
    assert "$0.00 Paid $7.50 Refunded $7.50" in overview
    assert "$15.00 Paid $20.00 Refunded $5.00" in overview
    payments = await donor.opens("/manage/payments")
    assert "$0.00 Paid $40.00 Returned by the bank $40.00" in payments.text
    receipts = [
        (await donor.opens(link)).text
        for link in sorted(set(re.findall(r'"(/manage/receipts/[0-9a-f]{16})"', payments.html)))
    ]
    for says in (
        "Paid $7.50 Refunded $7.50 Amount $0.00 (USD)",
        "Receipt Received by The Example Paid $20.00 Refunded $5.00 Amount $15.00 (USD)",
        "Paid $40.00 Returned by the bank $40.00 Amount $0.00 (USD)",
    ):
        assert sum(says in text for text in receipts) == 1, receipts
    assert sum("so this page is not a receipt" in text for text in receipts) == 2
    statement = await donor.opens("/manage/statements/2026")
    assert "In all $15.00 (USD)" in statement.text
    assert ["Total (USD)", "$15.00"] in statement.cells
    columns = ("amount", "refunded", "taken_back_by_bank", "given")
    data = (await donor.web.get("/manage/data/file.json")).json()["payments"]
    assert {tuple(one[name] for name in columns) for one in data} == {
        (750, 750, 0, 0),
        (2000, 500, 0, 1500),
        (4000, 0, 4000, 0),
    }

    room.sandbox.decide_dispute(dispute, won=True, refund_fee=False)
    await room.runs_until_idle()
    statement = await donor.opens("/manage/statements/2026")
    assert ["Total (USD)", "$55.00"] in statement.cells

    await months_pass(room, 1)
    # of a payment that is refunded and disputed no more goes back than was paid
    await execute(room, MOVE_REFUNDS)
    await execute(room, "UPDATE disputes SET is_withdrawn = true")
    async with room.ctx.sessions() as session:
        amounts = await donor_payments.amounts_by_contribution(session, [monthly.id])
    assert amounts[monthly.id].paid.amount == 8000
    assert amounts[monthly.id].given.amount == 4000


async def test_a_receipt_and_a_statement_are_papers_that_say_what_their_pages_say(
    database: str, tmp_path: Path
) -> None:
    brand = {
        "publication_name": "Новый курьер",
        "receipt_entity": "Stichting Example",
        "brand_address": "1 Canal Street, Amsterdam",
        "receipt_tax_line": "No goods or services were provided.",
        "receipt_number_prefix": "NL-",
        "brand_logo": str(tmp_path / "wide.png"),
    }
    Image.new("RGB", (3000, 100)).save(tmp_path / "wide.png")
    async with open_newsroom(database, **brand) as room, open_donor_browser(room) as donor:
        await donor.gives(750, "once")
        await donor.gives(2000, "once")
        charges = await charges_by_amount(room)
        await room.stripe_owner.v1.refunds.create_async({"charge": charges[2000], "amount": 500})
        await room.runs_until_idle()
        await donor.signs_in()
        page = await donor.opens("/manage/payments?lang=ru")
        links = sorted(set(re.findall(r'"(/manage/receipts/[0-9a-f]{16})', page.html)))
        texts = {link: (await donor.opens(f"{link}?lang=en")).text for link in links}
        (link,) = (link for link, text in texts.items() if "$20.00" in text)
        receipt = await read_pdf(donor, f"{link}/pdf?lang=en")
        for says in (
            "Новый курьер",
            "Received by Stichting Example",
            "Address 1 Canal Street, Amsterdam",
            "Tax No goods or services were provided.",
            "Paid $20.00 Refunded $5.00 Amount $15.00 (USD) On 22 November 2026",
            "Amounts returned by this day are deducted.",
        ):
            assert says in receipt, receipt
        printed = re.search(r"Reference (NL-[0-9A-F ]{19}) Name", receipt)
        assert printed is not None
        assert "stored" not in receipt
        for typed in (printed[1], printed[1].removeprefix("NL-"), link.rpartition("/")[2]):
            found = transaction_filters.parse_filters({"id": typed}, ALL_TIME)
            assert found.id == link.rpartition("/")[2]
        await assert_a_name_is_printed_for_who_asks(donor, link)
        answer = await donor.web.get(f"{link}/pdf")
        assert is_logo_within_its_margins(PdfReader(BytesIO(answer.content)).pages[0])
        statement = await read_pdf(donor, "/manage/statements/2026/pdf?lang=ru")
        for says in (
            "Справка за 2026 год",
            "Итого 22,50 $ (USD)",
            "Оплачено Возвращено Сумма",
            "20,00 $ 5,00 $ 15,00 $",
            "(USD) 22,50 $",
        ):
            assert says in statement, statement
        arabic = await read_pdf(donor, f"{link}/pdf?lang=ar")
        for says in ("1 Canal Street, Amsterdam", "15.00", "US$", "إيصال", "الجهة المستلِمة"):
            assert says in arabic, arabic
        page = await donor.opens(f"{link}?lang=ar")  # the number stays before the street
        assert "<bdi>1 Canal Street, Amsterdam</bdi>" in page.html
        assert "<bdi>No goods or services were provided.</bdi>" in page.html
        await donor.opens("/manage/receipts/0123456789abcdef/pdf", status=404)
        await donor.opens("/manage/statements/2025/pdf", status=404)


async def assert_a_name_is_printed_for_who_asks(donor: Donor, link: str) -> None:
    """It is Stripe's, of this donor, and of no other file; what cannot be printed is said."""
    room, action = donor.room, f"{link}/pdf?lang=en"
    assert (await donor.web.post(action)).status_code == 403  # a form of another site
    page = await donor.opens(f"{link}?lang=en")
    assert "store it nowhere" in page.text
    for address, name in ((link, "receipt"), ("/manage/statements/2026", "statement")):
        answer = await donor.web.post(f"{address}/pdf?lang=en", headers=SAME_ORIGIN_HEADERS)
        words = words_of_pdf(answer)
        assert "Name A Reader" in words, name
        assert "we have not stored it" in words
    assert "A Reader" not in await read_pdf(donor, f"{link}/pdf?lang=en")
    sessions = [one for id_, one in room.sandbox.account.store.objects.items() if id_[:3] == "cs_"]
    for unprintable in (None, "", "新聞"):
        for one in sessions:
            one["customer_details"]["name"] = unprintable
        answer = await donor.web.post(action, headers=SAME_ORIGIN_HEADERS)
        assert answer.status_code == 422
        assert "has no name of yours that we can print" in answer.text
    for one in sessions:
        one["customer_details"] |= {"name": "A Reader", "email": "somebody@example.org"}
    answer = await donor.web.post(action, headers=SAME_ORIGIN_HEADERS)
    assert answer.status_code == 422  # Stripe has another person there by now


def is_logo_within_its_margins(page: PageObject) -> bool:
    """Whether the one image of a page ends before its right margin."""
    contents = page.get_contents()
    assert contents is not None
    drawn = re.search(rb"q ([\d.]+) 0 0 ([\d.]+) ([\d.]+) [\d.]+ cm /I1 Do", contents.get_data())
    assert drawn is not None
    width, height, left = map(float, drawn.groups())
    assert width / height == pytest.approx(30, rel=0.01)
    return left + width < float(page.mediabox.width) - left / 2


async def read_pdf(donor: Donor, address: str) -> str:
    """The words of a PDF at an address."""
    return words_of_pdf(await donor.web.get(address))


def words_of_pdf(answer: httpx.Response) -> str:
    """The words of a PDF, as another library reads them."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    disposition = answer.headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="(receipt|statement)-[0-9a-f]+\.pdf"', disposition)
    pages = PdfReader(BytesIO(answer.content)).pages
    words = " ".join(page.extract_text() for page in pages)
    return " ".join(words.split())


async def test_a_refund_that_failed_and_an_inquiry_take_nothing_off(donor: Donor) -> None:
    room = donor.room
    await donor.gives(750, "once")
    await donor.gives(2000, "once")
    charges = await charges_by_amount(room)
    await room.stripe_owner.v1.refunds.create_async({"charge": charges[750]})
    inquiry = room.sandbox.dispute(charges[2000], inquiry=True)
    await room.runs_until_idle()
    await donor.signs_in()
    assert ["Total (USD)", "$20.00"] in (await donor.opens("/manage/statements/2026")).cells
    [[refund]] = await room.rows("SELECT stripe_refund_id FROM refunds")
    room.sandbox.fail_refund(str(refund))
    await room.runs_until_idle()
    assert ["Total (USD)", "$27.50"] in (await donor.opens("/manage/statements/2026")).cells
    room.sandbox.escalate_dispute(inquiry)
    await room.runs_until_idle()
    assert ["Total (USD)", "$7.50"] in (await donor.opens("/manage/statements/2026")).cells


async def charges_by_amount(room: Newsroom) -> dict[int, str]:
    """The payments at Stripe, by their amounts."""
    rows = await room.rows("SELECT amount, stripe_charge_id FROM charges")
    return {int(str(amount)): str(charge) for amount, charge in rows}
