"""What a reader types that cannot be a gift comes back with the field named, and nothing lost."""

import re
import string
from decimal import Decimal

import pytest
from babel.numbers import format_currency
from hypothesis import given, settings
from hypothesis import strategies as st

from payments.core import money
from payments.core.money import Money
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.refusals import EVIL, complaint, has_an_end, refused, typed

pytestmark = pytest.mark.anyio


def as_read(limit: Money) -> str:
    """An amount as readers of English have it."""
    amount = Decimal(money.to_decimal_string(limit))
    said = format_currency(amount, limit.currency.upper(), locale="en")
    return re.sub(r"(?<=[A-Z]{3})(?=\d)", " ", said)


@refused
@pytest.mark.parametrize("currency", money.GIFT_LIMITS)
async def test_the_form_says_the_limit_and_keeps_what_was_typed(
    newsroom: Newsroom, currency: str
) -> None:
    coin = money.smallest_unit(currency)
    least, most = money.min_gift(currency), money.max_gift(currency)
    for amount, words in (
        (least.amount - coin, f"smallest amount is {as_read(least)}."),
        (most.amount + coin, f"largest amount is {as_read(most)}."),
    ):
        text = money.to_decimal_string(Money(amount, currency))
        answer = await typed(
            newsroom,
            f"?currency={currency}",
            frequency="annual",
            amount_annual="other",
            other_annual=text,
        )
        assert words in complaint(answer, "other_annual")
        fields = Page(answer.text).form("/donate").submission()
        assert (fields["frequency"], fields["currency"]) == ("annual", currency)
        assert (fields["amount_annual"], fields["other_annual"]) == ("other", text)


@refused
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("12,5o", "in digits"),
        ("five", "in digits"),
        ("-5", "in digits"),
        ("5 000 000 0", "in digits"),
        ("5²", "in digits"),
        ("", "in digits"),
        ("  ", "in digits"),
        ("9" * 200, "in digits"),
        ("\x00", "in digits"),
        ("0", "smallest amount is $2.00"),
        ("1.99", "smallest amount is $2.00"),
        ("10000.01", "largest amount is $10,000.00"),
        ("1" + "0" * 22, "largest amount is $10,000.00"),
        ("5.001", "multiple of $0.01"),
        ("5.005", "multiple of $0.01"),
        ("1.250", "Did you mean $1,250.00 or $1.25?"),
        ('"><script>alert(1)</script>', "in digits"),
        ("{{ 7 * 7 }}", "in digits"),
    ],
)
async def test_an_amount_nobody_can_read_comes_back_as_it_was_typed(
    newsroom: Newsroom, text: str, words: str
) -> None:
    answer = await typed(newsroom, frequency="once", amount_once="other", other_once=text)
    assert words in complaint(answer, "other_once")
    page = Page(answer.text)
    assert page.field("other_once")["value"] == text
    assert not any(tag == "script" for tag, _ in page.attributes)


@refused
@pytest.mark.parametrize(
    "amount",
    ["199", "0", "1000001", "9" * 12, "9" * 23, "-500", "5.00", "\N{ARABIC-INDIC DIGIT FIVE}"],
)
async def test_a_preset_nobody_offered_is_refused(newsroom: Newsroom, amount: str) -> None:
    complaint(await typed(newsroom, frequency="monthly", amount_monthly=amount), "amount_monthly")


@refused
async def test_a_fraction_of_the_smallest_coin_is_refused_in_the_form(newsroom: Newsroom) -> None:
    changes = {"frequency": "once", "amount_once": "other", "other_once": "5.001"}
    answer = await typed(newsroom, "?currency=kwd", **changes)
    assert "multiple of KWD 0.010" in complaint(answer, "other_once")
    answer = await typed(newsroom, "?currency=jpy", **{**changes, "other_once": "500.50"})
    assert "multiple of ¥1" in complaint(answer, "other_once")


@refused
@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("frequency", "weekly", "frequency"),
        ("frequency", "", "frequency"),
        ("currency", "xyz", "currency"),
        ("currency", "", "currency"),
    ],
)
async def test_the_form_names_the_field_that_makes_no_sense(
    newsroom: Newsroom, field: str, value: str, named: str
) -> None:
    complaint(await typed(newsroom, **{field: value}), named)


@refused
@pytest.mark.parametrize("field", ["return_url", "success_url", "price", "<b>", ""])
async def test_the_form_takes_no_field_it_did_not_offer(newsroom: Newsroom, field: str) -> None:
    form = Page((await newsroom.web.get("/donate")).text).form("/donate").submission()
    answer = await newsroom.web.post("/donate", data={**form, field: EVIL})
    complaint(answer, "main")
    assert "evil.example" not in answer.text


@refused
@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 422),
        ("text/plain", b"frequency=once", 422),
        ("application/x-www-form-urlencoded", b"", 422),
        ("application/x-www-form-urlencoded", b"\xff\xfe=%ff&=&&%", 422),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 3000), 422),
        ("application/x-www-form-urlencoded", b"campaign=" + b"a" * 17_000, 413),
        ("multipart/form-data", b"--x", 400),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a" * 17_000, 413),
    ],
)
async def test_a_form_that_cannot_be_read_gets_a_page_that_says_so(
    newsroom: Newsroom, content_type: str, body: bytes, status: int
) -> None:
    answer = await newsroom.web.post(
        "/donate", content=body, headers={"content-type": content_type}
    )
    assert answer.status_code == status
    page = Page(answer.text)
    assert page.problems == []
    assert "Nothing was charged." in page.text


async def test_after_a_mistake_the_mended_form_leads_to_the_payment(newsroom: Newsroom) -> None:
    refusal = await typed(newsroom, frequency="once", amount_once="other", other_once="1.99")
    mended = Page(refusal.text).form("/donate").submission(other_once="2,50")
    answer = await newsroom.web.post("/donate", data=mended)
    assert answer.status_code == 303
    assert newsroom.sandbox.requests[-1].params["line_items"][0]["price_data"]["unit_amount"] in (
        "250",
        250,
    )


# --- anything at all ------------------------------------------------------------------------------

anything = settings(max_examples=250)
words = st.text(max_size=20)
fields = st.sampled_from(
    [
        *("intent", "frequency", "currency", "campaign", "article", "locale", "amount_once"),
        *("variant", "again"),
        *("other_once", "amount_monthly", "other_monthly", "amount_annual", "other_annual"),
    ]
)
texts = st.sampled_from(["once", "monthly", "usd", "jpy", "500", "other", "12,50", "0" * 32]) | (
    st.text(max_size=30) | st.text(string.digits + ".,' ", max_size=12)
)


@anything
@given(form=st.dictionaries(fields | words, texts, max_size=8))
async def test_any_form_is_a_gift_or_a_refusal(newsroom: Newsroom, form: dict[str, str]) -> None:
    has_an_end(await newsroom.web.post("/donate", data=form))


@anything
@given(query=st.dictionaries(fields | words, texts, max_size=5))
async def test_any_link_to_the_form_shows_a_whole_form(
    newsroom: Newsroom, query: dict[str, str]
) -> None:
    answer = await newsroom.web.get("/donate", params=query)
    assert answer.status_code == 200
    assert Page(answer.text).problems == []
