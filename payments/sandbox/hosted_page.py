"""The hosted Checkout page: plain HTML that needs no JavaScript and no other host.

Each page says that no money moves. A refused form is shown again with what was entered, apart from
the card.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import jinja2
from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency

from payments.sandbox import (
    cards,
    checkout,
    checkout_payment,
    currencies,
    custom_amounts,
    payment_form,
    payment_links,
    sepa_debit,
)
from payments.sandbox.account import StripeAccount
from payments.sandbox.form_encoding import JsonObject

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


@dataclass(frozen=True)
class PageResponse:
    """A page, or, with a `location`, a redirect."""

    status: int
    html: str = ""
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def get_template(name: str) -> jinja2.Template:
    """Return a template of the sandbox."""
    return _TEMPLATES.get_template(name)


def show(account: StripeAccount, session_id: str) -> PageResponse:
    """Show a session, whatever its status."""
    session = _session(account, session_id)
    if session is None:
        return message_page("Page not found", "There is no such Checkout page.", 404)
    closed_page = _closed_page(account, session)
    if closed_page is not None:
        return closed_page
    if checkout_payment.is_authenticating(account, session):
        return PageResponse(303, location=_authentication_url(session))
    return _payment_page(account, session, {}, {}, 200)


def submit(account: StripeAccount, session_id: str, form: dict[str, str]) -> PageResponse:
    """Pay the session with the submitted form."""
    session = _session(account, session_id)
    if session is None or session["status"] != "open":
        return show(account, session_id)
    takes_debit = "sepa_debit" in session["payment_method_types"]
    known_email = _known_email(account, session)
    parsed = payment_form.parse(account, form, known_email, takes_debit=takes_debit)
    price = _custom_price(account, session)
    chosen = custom_amounts.parse(price, form.get("amount", "")) if price else 0
    errors = parsed if isinstance(parsed, dict) else {}
    if isinstance(chosen, str):
        errors = {"amount": chosen, **errors}
    if errors or isinstance(parsed, dict) or isinstance(chosen, str):
        return _payment_page(account, session, form, errors, 422)
    if price:
        checkout.set_custom_amount(account, session, chosen)
    method = parsed.create_payment_method(account)
    decline = checkout_payment.pay(account, session, method, parsed.payer)
    if decline is not None:
        return _payment_page(account, session, form, payment_form.decline_errors(decline), 402)
    if checkout_payment.is_authenticating(account, session):
        return PageResponse(303, location=_authentication_url(session))
    return PageResponse(303, location=success_url(session))


def show_authentication(account: StripeAccount, session_id: str) -> PageResponse:
    """Show the 3-D Secure page."""
    session = _session(account, session_id)
    if session is None or not checkout_payment.is_authenticating(account, session):
        return show(account, session_id)
    purpose = (
        "that this card may be saved"
        if session["mode"] == "setup"
        else f"the payment of {_amount_text(session)}"
    )
    return authentication_page(purpose, content_security_policy(session["success_url"]))


def authentication_page(purpose: str, headers: dict[str, str]) -> PageResponse:
    """Return the 3-D Secure page, which asks to confirm `purpose`."""
    html = get_template("authenticate.html").render(purpose=purpose)
    return PageResponse(200, html, headers=headers)


def submit_authentication(
    account: StripeAccount, session_id: str, form: dict[str, str]
) -> PageResponse:
    """Complete or fail 3-D Secure, as the submitted form says."""
    session = _session(account, session_id)
    if session is None or not checkout_payment.is_authenticating(account, session):
        return show(account, session_id)
    passed = form.get("answer") == "complete"
    decline = checkout_payment.authenticate(account, session, passed=passed)
    if decline is not None:
        return _payment_page(account, session, {}, payment_form.decline_errors(decline), 402)
    return PageResponse(303, location=success_url(session))


def recover(account: StripeAccount, session_id: str) -> PageResponse:
    """Follow a recovery link: redirect to a new session like the one that expired."""
    session = checkout.recover(account, session_id)
    if session is None:
        return message_page("This link leads nowhere", "There is no page to recover here.", 404)
    return PageResponse(303, location=str(session["url"]))


def open_link(account: StripeAccount, link_id: str, query: Mapping[str, str]) -> PageResponse:
    """Open a payment link: redirect to a new session, unless the link is not active."""
    link = account.store.get(payment_links.OBJECT_NAME, link_id)
    if link is None:
        return message_page("Page not found", "There is no such payment link.", 404)
    if not link["active"]:
        text = link["inactive_message"] or payment_links.INACTIVE_TEXT
        return message_page("This link has been deactivated", text, 410)
    session = payment_links.open_session(account, link, query)
    return PageResponse(303, location=str(session["url"]))


def success_url(session: JsonObject) -> str:
    """Return the address to which a completed session leads: the shop's, or its own page."""
    if session["success_url"] is None:
        return f"/c/pay/{session['id']}"
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _session(account: StripeAccount, session_id: str) -> JsonObject | None:
    session = account.store.get(checkout.OBJECT_NAME, session_id)
    if session and session["expires_at"] <= account.clock.wall_timestamp():
        checkout.expire(account, session_id)
    return session


def _closed_page(account: StripeAccount, session: JsonObject) -> PageResponse | None:
    if session["status"] == "complete" and session["mode"] == "setup":
        text = "Your card has been saved. Nothing was charged."
        return message_page("This is done", text, 200, success_url(session))
    if session["status"] == "complete":
        amount = amount_and_interval(account, session)
        text = f"Your payment of {amount} has been made. There is nothing more to pay here."
        link = session["success_url"] and success_url(session)
        return message_page("This payment is complete", text, 200, link)
    if session["status"] == "expired":
        text = "This Checkout page has expired. Nothing was charged."
        return message_page("This page has expired", text, 410, session["cancel_url"])
    return None


def _payment_page(
    account: StripeAccount,
    session: JsonObject,
    form: dict[str, str],
    errors: dict[str, str],
    status: int,
) -> PageResponse:
    known_email = _known_email(account, session)
    custom_text = session["custom_text"]
    html = get_template("pay.html").render(
        merchant=session["branding_settings"]["display_name"],
        items=checkout.line_items_of(account, session),
        action=f"/c/pay/{session['id']}",
        amount=amount_and_interval(account, session),
        back=session["cancel_url"],
        button=_button_label(account, session),
        debit="sepa_debit" in session["payment_method_types"],
        note=(custom_text["submit"] or {}).get("message"),
        **(
            form_context(account, form, errors, known_email)
            | {"chooses_amount": _custom_price(account, session) is not None}
        ),
    )
    return PageResponse(status, html, headers=content_security_policy(session["success_url"]))


def form_context(
    account: StripeAccount, form: dict[str, str], errors: dict[str, str], known_email: str | None
) -> JsonObject:
    """Return the template variables of the payment form; a known e-mail address is read-only."""
    return {
        "values": {
            "amount": form.get("amount", ""),
            "email": known_email or form.get("email", ""),
            "name": form.get("name", ""),
        },
        "chooses_amount": False,
        "email_locked": bool(known_email),
        "errors": {name: errors[name] for name in payment_form.FORM_FIELDS if name in errors},
        "cards": cards.CARDS,
        "bank_accounts": sepa_debit.BANK_ACCOUNTS,
        "year": account.clock.now().year + 8,
    }


def _custom_price(account: StripeAccount, session: JsonObject) -> JsonObject | None:
    """Return the price whose amount the payer chooses, or None."""
    prices = [item["price"] for item in checkout.line_items_of(account, session)]
    return next((price for price in prices if price["custom_unit_amount"]), None)


def _known_email(account: StripeAccount, session: JsonObject) -> str | None:
    customer = account.store.get("customer", session["customer"])
    email = session["customer_email"] or (customer and customer["email"])
    return str(email) if email else None


def amount_and_interval(account: StripeAccount, session: JsonObject) -> str:
    """Return the amount and how often: `$5.00`, `$5.00 a month`; in setup mode `Save your card`."""
    if session["mode"] == "setup":
        return "Save your card"
    recurring = checkout.line_items_of(account, session)[0]["price"]["recurring"]
    if session["status"] == "open" and _custom_price(account, session):
        return "what you choose"
    amount = _amount_text(session)
    if recurring is None:
        return amount
    interval, count = recurring["interval"], recurring["interval_count"]
    return f"{amount} a {interval}" if count == 1 else f"{amount} every {count} {interval}s"


def _button_label(account: StripeAccount, session: JsonObject) -> str:
    amount = amount_and_interval(account, session)
    if session["mode"] == "setup":
        return amount
    return f"Subscribe: {amount}" if session["mode"] == "subscription" else f"Pay {amount}"


def _amount_text(session: JsonObject) -> str:
    return format_amount(session["amount_total"], session["currency"], session["locale"])


def format_amount(amount: int, currency: str, locale: str | None = None) -> str:
    """Format minor units for a locale; English when it is None or unknown."""
    units = Decimal(amount).scaleb(-currencies.exponent(currency))
    return str(format_currency(units, currency.upper(), locale=_locale(locale)))


def _locale(name: str | None) -> Locale:
    try:
        return Locale.parse(name or "en", sep="-")
    except (ValueError, UnknownLocaleError):
        return Locale("en", "US")


def _authentication_url(session: JsonObject) -> str:
    return f"/c/authenticate/{session['id']}"


def message_page(title: str, text: str, status: int, link: str | None = None) -> PageResponse:
    """Return a page with a message and, with `link`, a way back to the shop."""
    html = get_template("plain.html").render(title=title, text=text, link=link)
    return PageResponse(status, html, headers=content_security_policy(None))


def content_security_policy(shop_url: str | None) -> dict[str, str]:
    """Return the header that allows own styles only, and forms that may redirect to the shop.

    Browsers apply `form-action` to the redirect that answers a form too.
    """
    shop_origin = ""
    if shop_url is not None:
        parts = urlsplit(shop_url)
        shop_origin = f" {parts.scheme}://{parts.netloc}"
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self'{shop_origin}"
    )
    return {"Content-Security-Policy": policy}
