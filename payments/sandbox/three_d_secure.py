"""3-D Secure: where an intent that requires it leads, and the trace it leaves.

With a `return_url` the customer is sent to the sandbox's own page for it; without one it is up to
Stripe's script, which the sandbox does not have: `hosted_authentication_page` serves both.
https://docs.stripe.com/payments/3d-secure
"""

from typing import Final

from payments.sandbox.account import StripeAccount
from payments.sandbox.form_encoding import JsonObject

_STATE_KEY: Final = "three_d_secure"  # of an intent's private facts
_EXEMPTIONS: Final = {"exemption_indicator": None, "exemption_indicator_applied": None}


def page_url(account: StripeAccount, intent: JsonObject) -> str:
    """Return the address of the page on which an intent's authentication is done."""
    return f"{account.base_url}/c/3ds/{intent['id']}"


def next_action(account: StripeAccount, intent: JsonObject) -> JsonObject:
    """Return the `next_action` of an intent that requires authentication."""
    return_url = account.store.private(intent["id"]).get("return_url")
    if return_url is None:
        return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    redirect = {"return_url": return_url, "url": page_url(account, intent)}
    return {"type": "redirect_to_url", "redirect_to_url": redirect}


def record(account: StripeAccount, intent: JsonObject, *, passed: bool) -> None:
    """Record the outcome of an authentication, for the charge or attempt that follows it."""
    account.store.private(intent["id"])[_STATE_KEY] = {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05" if passed else "07",
        "result": "authenticated" if passed else "failed",
        "result_reason": None if passed else "rejected",
        "transaction_id": account.store.new_id("x", 36)[2:],
        "version": "2.2.0",
    }


def taken_outcome(account: StripeAccount, intent: JsonObject) -> JsonObject | None:
    """Return the recorded outcome once, as a setup attempt shows it; None without one."""
    outcome: JsonObject | None = account.store.private(intent["id"]).pop(_STATE_KEY, None)
    return outcome


def taken_for_charge(account: StripeAccount, intent: JsonObject) -> JsonObject | None:
    """Return the recorded outcome once, as a charge shows it; None without one."""
    outcome = taken_outcome(account, intent)
    return {**outcome, **_EXEMPTIONS} if outcome else None
