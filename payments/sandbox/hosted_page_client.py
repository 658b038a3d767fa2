"""A client of the hosted pages that behaves as a browser without JavaScript.

It fetches a page, submits its form, completes 3-D Secure if asked, and never follows a redirect to
another host.
"""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp

PAGE_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_MAX_STEPS = 4


@dataclass(frozen=True)
class PageResult:
    """The last response: a redirect to the shop, or a page, perhaps with an error."""

    status: int
    redirect_url: str | None = None
    error_text: str | None = None


async def pay(
    checkout_url: str,
    card: str = "4242424242424242",
    *,
    email: str = "payer@example.org",
    name: str = "A Payer",
    complete_3ds: bool = True,
    iban: str = "",
    amount: str = "",
) -> PageResult:
    """Submit a Checkout page or invoice page once; with an IBAN, as a debit instead of a card.

    `amount` is what is chosen where the page asks for it, such as `12.50`.

    A decline is returned as `error_text`, the errors that the page shows.
    """
    values = {"amount": amount, "email": email, "name": name, "iban": iban}
    if not iban:
        values |= {"card": card, "expiry": "12/49", "cvc": "123"}
    answer = {"answer": "complete" if complete_3ds else "fail"}
    async with aiohttp.ClientSession(timeout=PAGE_TIMEOUT) as browser:
        page = await _get(browser, checkout_url)
        if page.location and _is_same_host(page.location, checkout_url):  # a recovery link leads on
            page = await _get(browser, page.location)
        for _ in range(_MAX_STEPS):
            if page.form is None or (page.posted and page.errors):
                break
            form = answer if "answer" in page.buttons else page.fill(values)
            page = await _post(browser, urljoin(page.url, page.form), form)
            while page.location and _is_same_host(page.location, checkout_url):
                page = await _get(browser, page.location, posted=page.posted)
            if page.location:
                return PageResult(page.status, page.location)
        return PageResult(page.status, None, "\n".join(page.errors) or None)


async def confirm_invoice_payment(invoice_url: str, *, complete_3ds: bool = True) -> PageResult:
    """Complete or fail 3-D Secure for an invoice that was charged while the customer was absent."""
    answer = {"answer": "complete" if complete_3ds else "fail"}
    async with aiohttp.ClientSession(timeout=PAGE_TIMEOUT) as browser:
        page = await _get(browser, f"{invoice_url}/authenticate")
        if "answer" not in page.buttons:
            return PageResult(page.status, page.location, "There is nothing to confirm.")
        page = await _post(browser, page.url, answer)
        if page.location:
            page = await _get(browser, page.location, posted=True)
        return PageResult(page.status, None, "\n".join(page.errors) or None)


async def follow_cancel_link(checkout_url: str) -> str | None:
    """Return the address of a page's cancel link, or None when it has none."""
    async with aiohttp.ClientSession(timeout=PAGE_TIMEOUT) as browser:
        return (await _get(browser, checkout_url)).cancel_url


@dataclass
class _ParsedPage:
    url: str
    status: int
    location: str | None
    posted: bool = False
    form: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    buttons: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    cancel_url: str | None = None

    def fill(self, values: dict[str, str]) -> dict[str, str]:
        return {name: value or values.get(name, "") for name, value in self.inputs.items()}


class _PageParser(HTMLParser):
    """Collects a page's form, fields, buttons, errors and cancel link."""

    def __init__(self, page: _ParsedPage) -> None:
        super().__init__()
        self.page = page
        self._in_error = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.page.form = values.get("action", self.page.url)
        elif tag == "input":
            self.page.inputs[values["name"]] = values.get("value", "")
        elif tag == "button" and "name" in values:
            self.page.buttons.add(values["name"])
        elif tag == "a" and values.get("class") == "back":
            self.page.cancel_url = values["href"]
        elif tag == "p" and values.get("class") == "error":
            self._in_error = True

    def handle_data(self, data: str) -> None:
        if self._in_error:
            self.page.errors.append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self._in_error = False


async def _get(browser: aiohttp.ClientSession, url: str, *, posted: bool = False) -> _ParsedPage:
    async with browser.get(url, allow_redirects=False) as response:
        return await _parse(response, posted=posted)


async def _post(browser: aiohttp.ClientSession, url: str, form: dict[str, str]) -> _ParsedPage:
    async with browser.post(url, data=form, allow_redirects=False) as response:
        return await _parse(response, posted=True)


async def _parse(response: aiohttp.ClientResponse, *, posted: bool) -> _ParsedPage:
    url, location = str(response.url), response.headers.get("Location")
    if location:
        location = urljoin(url, location)
    page = _ParsedPage(url, response.status, location, posted)
    _PageParser(page).feed(await response.text())
    return page


def _is_same_host(url: str, checkout_url: str) -> bool:
    return urlsplit(url).netloc == urlsplit(checkout_url).netloc
