"""The account's bank accounts, one for each currency in which it is paid out, and itself by its id.

The bank account of a currency exists from its first payout on.
"""

from typing import Final

from payments.sandbox import listing
from payments.sandbox.account import StripeAccount
from payments.sandbox.account_settings import ACCOUNT_ID, account_object, merchant_name
from payments.sandbox.declared_params import PAGE
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route

BANK_ACCOUNT: Final = "bank_account"
_COUNTRIES: Final = {"eur": "DE", "gbp": "GB"}  # elsewhere US


def bank_account_of(account: StripeAccount, currency: str) -> JsonObject:
    """Return the bank account that payouts in a currency go to."""
    bank_account_id = f"ba_1Sandbox{currency.upper():0<17}"
    found = account.store.get(BANK_ACCOUNT, bank_account_id)
    if found is not None:
        return found
    return account.store.add(
        {
            "id": bank_account_id,
            "object": BANK_ACCOUNT,
            "account": ACCOUNT_ID,
            "account_holder_name": merchant_name(account),
            "account_holder_type": "company",
            "account_type": None,
            "available_payout_methods": ["standard", "instant"],
            "bank_name": "STRIPE TEST BANK",
            "country": _COUNTRIES.get(currency, "US"),
            "currency": currency,
            "default_for_currency": True,
            "fingerprint": f"Sandbox{currency.upper():0<9}",
            "last4": "6789",
            "metadata": {},
            "routing_number": "110000000" if currency not in _COUNTRIES else None,
            "status": "new",
        }
    )


@route("GET", "/v1/accounts/{}")
def retrieve_account(call: Call) -> JsonObject:
    """Retrieve the account itself by its id; no other is connected to it."""
    if call.id != ACCOUNT_ID:
        raise not_found("account", call.id)
    return account_object(call.account)


@route("GET", "/v1/accounts/{}/external_accounts", reads=(*PAGE, "object"))
def list_external_accounts(call: Call) -> JsonObject:
    """List the account's bank accounts; it has no debit cards."""
    retrieve_account(call)
    filters = {"object": listing.equals("object")}
    return listing.page(call.account.store, BANK_ACCOUNT, call.path, call.params, filters)


@route("GET", "/v1/accounts/{}/external_accounts/{}")
def retrieve_external_account(call: Call) -> JsonObject:
    """Retrieve one of the account's bank accounts."""
    retrieve_account(call)
    found = call.account.store.get(BANK_ACCOUNT, call.ids[1])
    if found is None:
        raise not_found("external_account", call.ids[1])
    return found
