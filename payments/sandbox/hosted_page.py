"""The hosted page: what the donor sees and sends at a session's address.

Plain HTML that works without JavaScript and asks nothing of any other host. It says plainly that
no money moves, and takes Stripe's test cards only, so that nobody's real card is ever typed to any
effect. The card is never shown again; what else was typed is.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import jinja2
from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency

from payments.sandbox import cards, checkout, currencies, paying
from payments.sandbox.account import Account
from payments.sandbox.cards import Card, Decline
from payments.sandbox.paying import Payer
from payments.sandbox.wire import Obj

FIELDS: Final = ("email", "card", "expiry", "cvc", "name")

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_FIELD_OF: Final = {
    "expired_card": "expiry",
    "incorrect_cvc": "cvc",
}


@dataclass(frozen=True)
class Page:
    """A page to show, or, with a location, a place to go."""

    status: int
    html: str = ""
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Typed:
    """What the form held, as far as it can be used."""

    payer: Payer
    card: Card | None
    month: int = 0
    year: int = 0


def template(name: str) -> jinja2.Template:
    """One of the sandbox's pages."""
    return _PAGES.get_template(name)


def show(account: Account, session_id: str) -> Page:
    """The page of a session, whatever has become of it."""
    session = _session(account, session_id)
    if session is None:
        return _plain("Page not found", "There is no such Checkout page.", 404)
    closed = _closed(account, session)
    if closed is not None:
        return closed
    if paying.is_authenticating(account, session):
        return Page(303, location=_question_url(session))
    return _form(account, session, {}, {}, 200)


def submit(account: Account, session_id: str, form: dict[str, str]) -> Page:
    """Pay with what was typed."""
    session = _session(account, session_id)
    if session is None or session["status"] != "open":
        return show(account, session_id)
    errors: dict[str, str] = {}
    typed = _read(account, session, form, errors)
    if errors or typed.card is None:
        return _form(account, session, form, errors, 422)
    method = paying.card_method(account, typed.card, typed.payer)
    method["card"] |= {"exp_month": typed.month, "exp_year": typed.year}
    decline = paying.pay(account, session, method, typed.payer)
    if decline is not None:
        return _declined(account, session, form, decline)
    if paying.is_authenticating(account, session):
        return Page(303, location=_question_url(session))
    return Page(303, location=success_url(session))


def question(account: Account, session_id: str) -> Page:
    """The bank's question: is it you?"""
    session = _session(account, session_id)
    if session is None or not paying.is_authenticating(account, session):
        return show(account, session_id)
    html = template("authenticate.html").render(amount=_amount(session, session))
    return Page(200, html, headers=_policy(session))


def answer(account: Account, session_id: str, form: dict[str, str]) -> Page:
    """The donor has answered the bank."""
    session = _session(account, session_id)
    if session is None or not paying.is_authenticating(account, session):
        return show(account, session_id)
    passed = form.get("answer") == "complete"
    decline = paying.authenticate(account, session, passed=passed)
    if decline is not None:
        return _declined(account, session, {}, decline)
    return Page(303, location=success_url(session))


def success_url(session: Obj) -> str:
    """Where the donor goes once the session is complete."""
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _session(account: Account, session_id: str) -> Obj | None:
    session = account.store.find(checkout.KIND, session_id)
    if session and session["expires_at"] <= account.clock.wall_stamp():
        checkout.expire(account, session_id)
    return session


def _closed(account: Account, session: Obj) -> Page | None:
    if session["status"] == "complete":
        amount = in_words(account, session)
        text = f"Your payment of {amount} has been made. There is nothing more to pay here."
        return _plain("This payment is complete", text, 200, success_url(session))
    if session["status"] == "expired":
        text = "This Checkout page has expired. Nothing was charged."
        return _plain("This page has expired", text, 410, session["cancel_url"])
    return None


def _form(
    account: Account,
    session: Obj,
    form: dict[str, str],
    errors: dict[str, str],
    status: int,
) -> Page:
    customer = account.store.find("customer", session["customer"])
    locked = session["customer_email"] or (customer and customer["email"])
    typed = {"email": locked or form.get("email", ""), "name": form.get("name", "")}
    custom = session["custom_text"]
    html = template("pay.html").render(
        session=session,
        merchant=session["branding_settings"]["display_name"],
        items=checkout.items_of(account, session),
        amount=in_words(account, session),
        button=_button(account, session),
        note=(custom["submit"] or {}).get("message"),
        typed=typed,
        locked=bool(locked),
        errors={name: errors[name] for name in FIELDS if name in errors},
        cards=cards.CARDS,
        year=account.clock.now().year + 8,
    )
    return Page(status, html, headers=_policy(session))


def _read(account: Account, session: Obj, form: dict[str, str], errors: dict[str, str]) -> Typed:
    customer = account.store.find("customer", session["customer"])
    email = session["customer_email"] or (customer and customer["email"]) or form.get("email", "")
    email = email.strip()
    if not _EMAIL.fullmatch(email):
        errors["email"] = "Enter an e-mail address, such as name@example.com."
    card = _card(form.get("card", ""), errors)
    month, year = _expiry(account, form.get("expiry", ""), errors)
    if not re.fullmatch(r"\d{3,4}", form.get("cvc", "").strip()):
        errors["cvc"] = "Enter the security code: the three or four digits on your card."
    name = form.get("name", "").strip()
    if not name:
        errors["name"] = "Enter the name on your card."
    return Typed(Payer(email, name), card, month, year)


def _card(typed: str, errors: dict[str, str]) -> Card | None:
    number = re.sub(r"[\s-]", "", typed)
    card = cards.BY_NUMBER.get(number)
    if not number:
        errors["card"] = "Enter your card number."
    elif not number.isdigit() or not cards.passes_luhn(number):
        errors["card"] = "Your card number is not valid. Check the digits."
    elif card is None:
        errors["card"] = "This stand-in takes Stripe's test cards only. See the list below."
    return card


def _expiry(account: Account, typed: str, errors: dict[str, str]) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d{1,2})\s*/?\s*(\d{2}|\d{4})\s*", typed)
    month, year = (int(found[1]), int(found[2]) % 100 + 2000) if found else (0, 0)
    if not 1 <= month <= 12:
        errors["expiry"] = "Enter the expiry date as month and year, such as 08/34."
        return 0, 0
    today = account.clock.now().astimezone(UTC)
    if (year, month) < (today.year, today.month):
        errors["expiry"] = "Your card's expiry date is in the past."
    return month, year


def _declined(account: Account, session: Obj, form: dict[str, str], decline: Decline) -> Page:
    where = _FIELD_OF.get(decline.code, "card")
    message = f"{decline.message} Nothing was charged."
    return _form(account, session, form, {where: message}, 402)


def in_words(account: Account, session: Obj) -> str:
    """The amount and how often: `$5.00`, `$5.00 a month`."""
    recurring = checkout.items_of(account, session)[0]["price"]["recurring"]
    amount = _amount(session, session)
    if recurring is None:
        return amount
    interval, count = recurring["interval"], recurring["interval_count"]
    return f"{amount} a {interval}" if count == 1 else f"{amount} every {count} {interval}s"


def _button(account: Account, session: Obj) -> str:
    words = in_words(account, session)
    return f"Subscribe: {words}" if session["mode"] == "subscription" else f"Pay {words}"


def _amount(priced: Obj, session: Obj) -> str:
    currency = priced["currency"]
    amount = Decimal(priced["amount_total"]).scaleb(-currencies.exponent(currency))
    return str(format_currency(amount, currency.upper(), locale=_locale(session["locale"])))


def _locale(name: str | None) -> Locale:
    try:
        return Locale.parse(name or "en", sep="-")
    except (ValueError, UnknownLocaleError):
        return Locale("en", "US")


def _question_url(session: Obj) -> str:
    return f"/c/authenticate/{session['id']}"


def _plain(title: str, text: str, status: int, link: str | None = None) -> Page:
    html = template("plain.html").render(title=title, text=text, link=link)
    return Page(status, html, headers=_policy(None))


def _policy(session: Obj | None) -> dict[str, str]:
    """Nothing from elsewhere; the form may lead on to the shop, which browsers check too."""
    shop = ""
    if session is not None:
        parts = urlsplit(session["success_url"])
        shop = f" {parts.scheme}://{parts.netloc}"
    policy = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action 'self'{shop}"
    )
    return {"Content-Security-Policy": policy}
