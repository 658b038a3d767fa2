"""The hosted page: what the donor sees and sends at a session's address.

Plain HTML that works without JavaScript and asks nothing of any other host. It says plainly that
no money moves. The card is never shown again; what else was typed is.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import jinja2
from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency

from payments.sandbox import cards, checkout, currencies, debits, paying, typed
from payments.sandbox.account import Account
from payments.sandbox.wire import Obj

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


@dataclass(frozen=True)
class Page:
    """A page to show, or, with a location, a place to go."""

    status: int
    html: str = ""
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def template(name: str) -> jinja2.Template:
    """One of the sandbox's pages."""
    return _PAGES.get_template(name)


def show(account: Account, session_id: str) -> Page:
    """The page of a session, whatever has become of it."""
    session = _session(account, session_id)
    if session is None:
        return plain("Page not found", "There is no such Checkout page.", 404)
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
    debit = "sepa_debit" in session["payment_method_types"]
    read = typed.read(account, form, _known_email(account, session), debit=debit)
    if isinstance(read, dict):
        return _form(account, session, form, read, 422)
    method = read.as_method(account)
    decline = paying.pay(account, session, method, read.payer)
    if decline is not None:
        return _form(account, session, form, typed.at_its_field(decline), 402)
    if paying.is_authenticating(account, session):
        return Page(303, location=_question_url(session))
    return Page(303, location=success_url(session))


def question(account: Account, session_id: str) -> Page:
    """The bank's question: is it you?"""
    session = _session(account, session_id)
    if session is None or not paying.is_authenticating(account, session):
        return show(account, session_id)
    what = (
        "that this card may be saved"
        if session["mode"] == "setup"
        else (f"the payment of {_amount(session)}")
    )
    return ask(what, policy(session["success_url"]))


def ask(what: str, headers: dict[str, str]) -> Page:
    """The page on which the bank asks."""
    return Page(200, template("authenticate.html").render(what=what), headers=headers)


def answer(account: Account, session_id: str, form: dict[str, str]) -> Page:
    """The donor has answered the bank."""
    session = _session(account, session_id)
    if session is None or not paying.is_authenticating(account, session):
        return show(account, session_id)
    passed = form.get("answer") == "complete"
    decline = paying.authenticate(account, session, passed=passed)
    if decline is not None:
        return _form(account, session, {}, typed.at_its_field(decline), 402)
    return Page(303, location=success_url(session))


def recover(account: Account, session_id: str) -> Page:
    """Where a recovery link leads: to a page like the one that expired."""
    session = checkout.recover(account, session_id)
    if session is None:
        return plain("This link leads nowhere", "There is no page to recover here.", 404)
    return Page(303, location=str(session["url"]))


def success_url(session: Obj) -> str:
    """Where the donor goes once the session is complete."""
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _session(account: Account, session_id: str) -> Obj | None:
    session = account.store.find(checkout.KIND, session_id)
    if session and session["expires_at"] <= account.clock.wall_stamp():
        checkout.expire(account, session_id)
    return session


def _closed(account: Account, session: Obj) -> Page | None:
    if session["status"] == "complete" and session["mode"] == "setup":
        text = "Your card has been saved. Nothing was charged."
        return plain("This is done", text, 200, success_url(session))
    if session["status"] == "complete":
        amount = in_words(account, session)
        text = f"Your payment of {amount} has been made. There is nothing more to pay here."
        return plain("This payment is complete", text, 200, success_url(session))
    if session["status"] == "expired":
        text = "This Checkout page has expired. Nothing was charged."
        return plain("This page has expired", text, 410, session["cancel_url"])
    return None


def _form(
    account: Account,
    session: Obj,
    form: dict[str, str],
    errors: dict[str, str],
    status: int,
) -> Page:
    locked = _known_email(account, session)
    custom = session["custom_text"]
    html = template("pay.html").render(
        merchant=session["branding_settings"]["display_name"],
        items=checkout.items_of(account, session),
        action=f"/c/pay/{session['id']}",
        amount=in_words(account, session),
        back=session["cancel_url"],
        button=_button(account, session),
        debit="sepa_debit" in session["payment_method_types"],
        note=(custom["submit"] or {}).get("message"),
        **form_parts(account, form, errors, locked),
    )
    return Page(status, html, headers=policy(session["success_url"]))


def form_parts(
    account: Account, form: dict[str, str], errors: dict[str, str], locked: str | None
) -> Obj:
    """What every page with a card form shows of it."""
    return {
        "typed": {"email": locked or form.get("email", ""), "name": form.get("name", "")},
        "locked": bool(locked),
        "errors": {name: errors[name] for name in typed.FIELDS if name in errors},
        "cards": cards.CARDS,
        "debits": debits.DEBITS,
        "year": account.clock.now().year + 8,
    }


def _known_email(account: Account, session: Obj) -> str | None:
    customer = account.store.find("customer", session["customer"])
    email = session["customer_email"] or (customer and customer["email"])
    return str(email) if email else None


def in_words(account: Account, session: Obj) -> str:
    """The amount and how often: `$5.00`, `$5.00 a month`; for a card to save, that."""
    if session["mode"] == "setup":
        return "Save your card"
    recurring = checkout.items_of(account, session)[0]["price"]["recurring"]
    amount = _amount(session)
    if recurring is None:
        return amount
    interval, count = recurring["interval"], recurring["interval_count"]
    return f"{amount} a {interval}" if count == 1 else f"{amount} every {count} {interval}s"


def _button(account: Account, session: Obj) -> str:
    words = in_words(account, session)
    if session["mode"] == "setup":
        return words
    return f"Subscribe: {words}" if session["mode"] == "subscription" else f"Pay {words}"


def _amount(session: Obj) -> str:
    return money(session["amount_total"], session["currency"], session["locale"])


def money(amount: int, currency: str, locale: str | None = None) -> str:
    """An amount in the donor's language."""
    whole = Decimal(amount).scaleb(-currencies.exponent(currency))
    return str(format_currency(whole, currency.upper(), locale=_locale(locale)))


def _locale(name: str | None) -> Locale:
    try:
        return Locale.parse(name or "en", sep="-")
    except (ValueError, UnknownLocaleError):
        return Locale("en", "US")


def _question_url(session: Obj) -> str:
    return f"/c/authenticate/{session['id']}"


def plain(title: str, text: str, status: int, link: str | None = None) -> Page:
    html = template("plain.html").render(title=title, text=text, link=link)
    return Page(status, html, headers=policy(None))


def policy(shop_url: str | None) -> dict[str, str]:
    """Nothing from elsewhere; the form may lead on to the shop, which browsers check too."""
    shop = ""
    if shop_url is not None:
        parts = urlsplit(shop_url)
        shop = f" {parts.scheme}://{parts.netloc}"
    allowed = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action 'self'{shop}"
    )
    return {"Content-Security-Policy": allowed}
