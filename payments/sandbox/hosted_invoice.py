"""The invoice's own page: where a donor pays what is owed, with another card, or confirms a charge.

The card typed here pays this invoice. It is not kept, and becomes nobody's default.
"""

from payments.sandbox import collecting, hosted_page, invoices, payment_intents, typed
from payments.sandbox.account import MERCHANT, Account
from payments.sandbox.hosted_page import Page
from payments.sandbox.payment_intents import Presence
from payments.sandbox.wire import Obj

_PAYABLE = ("open", "uncollectible")
_WORDS = {"open": "not paid yet", "void": "no longer owed", "uncollectible": "not paid"}


def show(account: Account, token: str) -> Page:
    """The page of an invoice, whatever has become of it."""
    invoice = _invoice(account, token)
    return _page(account, invoice, {}, {}, 200) if invoice else _unknown()


def submit(account: Account, token: str, form: dict[str, str]) -> Page:
    """Pay with what was typed."""
    invoice = _invoice(account, token)
    if invoice is None or not _is_payable(account, invoice):
        return show(account, token)
    debit = invoice["currency"] == "eur"
    read = typed.read(account, form, invoice["customer_email"], debit=debit)
    if isinstance(read, dict):
        return _page(account, invoice, form, read, 422)
    method = read.as_method(account)
    decline = invoices.collect(account, invoice, method, counts=False, presence=Presence.CHECKOUT)
    if decline is invoices.ACTION_NEEDED:
        return Page(303, location=f"/i/{token}/authenticate")
    if decline is not None:
        account.emit("invoice.payment_failed", invoice)
        return _page(account, invoice, form, typed.at_its_field(decline), 402)
    return _done(account, invoice, token)


def question(account: Account, token: str) -> Page:
    """The bank's question: is it you?"""
    invoice = _invoice(account, token)
    if invoice is None or not _is_asked(account, invoice):
        return Page(303, location=f"/i/{token}")
    return hosted_page.ask(f"the payment of {_amount(invoice)}", hosted_page.policy(None))


def answer(account: Account, token: str, form: dict[str, str]) -> Page:
    """The donor has answered the bank."""
    invoice = _invoice(account, token)
    if invoice is None or not _is_asked(account, invoice):
        return Page(303, location=f"/i/{token}")
    intent = invoices.intent_of(account, invoice)
    passed = form.get("answer") == "complete"
    decline = payment_intents.authenticate(account, intent, passed=passed)
    if decline is not None:
        account.emit("invoice.payment_failed", invoice)
        return _page(account, invoice, {}, typed.at_its_field(decline), 402)
    invoices.settle(account, invoice)
    return _done(account, invoice, token)


def _done(account: Account, invoice: Obj, token: str) -> Page:
    if invoice["status"] == "paid":
        collecting.recovered(account, invoice)
    return Page(303, location=f"/i/{token}")


def _invoice(account: Account, token: str) -> Obj | None:
    for invoice_id in account.store.linked("invoice", "page", token):
        return account.store.find("invoice", invoice_id)
    return None


def _is_payable(account: Account, invoice: Obj) -> bool:
    if invoice["status"] not in _PAYABLE:
        return False
    return bool(invoices.intent_of(account, invoice)["status"] != "processing")


def _is_asked(account: Account, invoice: Obj) -> bool:
    if not _is_payable(account, invoice):
        return False
    return bool(invoices.intent_of(account, invoice)["status"] == "requires_action")


def _amount(invoice: Obj) -> str:
    return hosted_page.money(invoice["amount_due"], invoice["currency"])


def _page(
    account: Account, invoice: Obj, form: dict[str, str], errors: dict[str, str], status: int
) -> Page:
    path = f"/i/{account.store.private(invoice['id'])['page']}"
    asked, payable = _is_asked(account, invoice), _is_payable(account, invoice)
    html = hosted_page.template("invoice.html").render(
        action=path,
        amount=_amount(invoice),
        button=f"Pay {_amount(invoice)}",
        debit=invoice["currency"] == "eur",
        lines=invoice["lines"]["data"],
        merchant=MERCHANT,
        note=None,
        number=invoice["number"],
        payable=payable,
        question=f"{path}/authenticate" if asked else None,
        status=_WORDS.get(invoice["status"], invoice["status"]),
        **hosted_page.form_parts(account, form, errors, invoice["customer_email"]),
    )
    return Page(status, html, headers=hosted_page.policy(None))


def _unknown() -> Page:
    return hosted_page.plain("Page not found", "There is no such invoice.", 404)
