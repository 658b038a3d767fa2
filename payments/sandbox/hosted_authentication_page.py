"""The 3-D Secure page of an intent that the API confirmed, outside Checkout and invoice pages."""

from urllib.parse import urlencode

from payments.sandbox import hosted_page, payment_intents, setup_intents
from payments.sandbox.account import TASK_HANDLERS, StripeAccount
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.hosted_page import PageResponse


def show(account: StripeAccount, intent_id: str) -> PageResponse:
    """Ask to confirm an intent that requires authentication."""
    intent = _intent(account, intent_id)
    if intent is None:
        text = "There is nothing to confirm here."
        return hosted_page.message_page("Nothing to confirm", text, 404)
    purpose = "that this card may be saved"
    if intent["object"] == "payment_intent":
        amount = hosted_page.format_amount(intent["amount"], intent["currency"])
        purpose = f"the payment of {amount}"
    policy = hosted_page.content_security_policy(_return_url(account, intent))
    return hosted_page.authentication_page(purpose, policy)


def submit(account: StripeAccount, intent_id: str, form: dict[str, str]) -> PageResponse:
    """Complete or fail the authentication, and return to the shop if it said where."""
    intent = _intent(account, intent_id)
    if intent is None:
        return show(account, intent_id)
    passed, return_url = form.get("answer") == "complete", _return_url(account, intent)
    authenticate = (
        payment_intents.authenticate
        if intent["object"] == "payment_intent"
        else setup_intents.authenticate
    )
    decline = authenticate(account, intent, passed=passed)
    invoice_id = account.store.private(intent_id).get("invoice")
    if invoice_id is not None and intent["status"] == "succeeded":
        TASK_HANDLERS["mark_invoice_paid"](account, invoice_id)
    if return_url is None:
        text = "Thank you." if decline is None else decline.message
        return hosted_page.message_page("Authentication is done", text, 200)
    kind = intent["object"]
    status = "succeeded" if decline is None else "failed"
    query = {kind: intent_id, f"{kind}_client_secret": intent["client_secret"],
             "redirect_status": status}  # fmt: skip
    separator = "&" if "?" in return_url else "?"
    return PageResponse(303, location=f"{return_url}{separator}{urlencode(query)}")


def _intent(account: StripeAccount, intent_id: str) -> JsonObject | None:
    """Return an intent that awaits authentication, unless a Checkout Session awaits it."""
    store = account.store
    intent = store.get("payment_intent", intent_id) or store.get("setup_intent", intent_id)
    if intent is None or intent["status"] != "requires_action":
        return None
    return None if store.private(intent_id).get("session") else intent


def _return_url(account: StripeAccount, intent: JsonObject) -> str | None:
    url: str | None = account.store.private(intent["id"]).get("return_url")
    return url
