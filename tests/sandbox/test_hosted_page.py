"""The hosted page, as a browser without JavaScript gets it."""

import re

import aiohttp
import pytest

from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

GOOD = {
    "email": "reader@example.org",
    "card": "4242 4242 4242 4242",
    "expiry": "08/34",
    "cvc": "123",
    "name": "A Reader",
}


async def get(url: str | None) -> tuple[int, str, dict[str, str]]:
    assert url is not None
    async with aiohttp.ClientSession() as browser, browser.get(url) as response:
        return response.status, await response.text(), dict(response.headers)


async def send(url: str | None, form: dict[str, str]) -> tuple[int, str]:
    assert url is not None
    async with (
        aiohttp.ClientSession() as browser,
        browser.post(url, data=form, allow_redirects=False) as response,
    ):
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("amount", "currency", "interval", "button"),
    [
        (500, "usd", None, "Pay $5.00"),
        (500, "usd", "month", "Subscribe: $5.00 a month"),
        (123_456, "eur", "year", "Subscribe: €1,234.56 a year"),
        (500, "jpy", None, "Pay ¥500"),
    ],
)
async def test_the_page_says_what_will_be_paid_and_how_often(
    shop: Shop, amount: int, currency: str, interval: str | None, button: str
) -> None:
    session = await shop.checkout(amount, currency, interval)

    status, html, _ = await get(session.url)

    assert status == 200
    assert f'<button type="submit">{button}</button>' in html
    assert "no real money moves" in html
    assert "A gift" in html


async def test_the_shops_own_words_and_language_are_used(shop: Shop) -> None:
    session = await shop.checkout(
        500, "eur", locale="de", custom_text={"submit": {"message": "You can stop any time."}}
    )

    _, html, _ = await get(session.url)

    assert "Pay 5,00\xa0€" in html
    assert "You can stop any time." in html


async def test_the_page_loads_nothing_from_elsewhere_and_tells_nobody_where_it_was(
    shop: Shop,
) -> None:
    session = await shop.checkout(500)

    _, html, headers = await get(session.url)

    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self' https://shop.example"
    )
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "<script" not in html
    assert set(re.findall(r'(?:src|href)="([^"#]+)"', html)) == {
        "/c/static/page.css",
        "https://shop.example/donate",
    }
    status, style, _ = await get(shop.sandbox.url + "/c/static/page.css")
    assert status == 200
    assert "prefers-color-scheme: dark" in style


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("card", "4242 4242 4242 4241"),
        ("card", "4111 1111 1111 1111"),
        ("card", ""),
        ("expiry", "08/20"),
        ("expiry", "13/34"),
        ("expiry", "soon"),
        ("cvc", "12"),
        ("name", " "),
    ],
)
async def test_a_mistake_is_named_at_its_field_and_in_the_summary(
    shop: Shop, field: str, value: str
) -> None:
    session = await shop.checkout(500)

    status, html = await send(session.url, {**GOOD, field: value})

    assert status == 422
    assert f'<a href="#{field}">' in html
    assert f'id="{field}-error"' in html
    assert html.count('aria-invalid="true"') == 1
    assert "<title>Error: " in html
    assert (await shop.client.v1.charges.list_async()).data == []


async def test_what_was_typed_is_shown_again_but_never_the_card(shop: Shop) -> None:
    session = await shop.checkout(500)

    _, html = await send(session.url, {**GOOD, "card": "4000000000000002", "name": "<b>Ada</b>"})

    assert 'value="reader@example.org"' in html
    assert "&lt;b&gt;Ada&lt;/b&gt;" in html
    assert 'name="card" value=""' in html
    assert 'name="cvc" value=""' in html


async def test_an_address_the_shop_gave_cannot_be_changed(shop: Shop) -> None:
    session = await shop.checkout(500, customer_email="known@example.org")
    _, html, _ = await get(session.url)
    assert "readonly" in html

    await send(session.url, {**GOOD, "email": "other@example.org"})

    paid = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert paid.customer_details is not None
    assert paid.customer_details.email == "known@example.org"


async def test_an_expiry_may_be_written_with_or_without_a_slash(shop: Shop) -> None:
    for written in ("08/34", "0834", "8 / 2034"):
        session = await shop.checkout(500)
        assert (await send(session.url, {**GOOD, "expiry": written}))[0] == 303
    methods = shop.sandbox.account.store.of_kind("payment_method")
    assert {(m["card"]["exp_month"], m["card"]["exp_year"]) for m in methods} == {(8, 2034)}


async def test_a_page_that_was_never_opened_is_not_found(shop: Shop) -> None:
    status, html, _ = await get(f"{shop.sandbox.url}/c/pay/cs_test_nothing")
    assert status == 404
    assert "no such Checkout page" in html


async def test_the_banks_question_is_asked_again_to_those_who_come_back(shop: Shop) -> None:
    session = await shop.checkout(500)
    await send(session.url, {**GOOD, "card": "4000002760003184"})

    status, html, _ = await get(session.url)

    assert status == 200
    assert "Is it you?" in html
    assert "Complete authentication" in html
