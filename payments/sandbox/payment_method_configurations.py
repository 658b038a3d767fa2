"""Payment method configurations: which methods the account's owner has switched on.

Checkout offers those that are available and on, where currency, country and device fit.
"""

from typing import Final

from payments.sandbox import listing
from payments.sandbox.account import StripeAccount
from payments.sandbox.declared_params import PAGE
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route

CONFIGURATION_ID: Final = "pmc_1SandboxDefault0000"
STATE_KEY: Final = "payment_methods"  # of `StripeAccount.state`: methods switched on or off by name
METHODS: Final = (
    "acss_debit", "affirm", "afterpay_clearpay", "alipay", "amazon_pay", "apple_pay", "bacs_debit",
    "bancontact", "blik", "card", "cartes_bancaires", "cashapp", "customer_balance", "eps",
    "giropay", "google_pay", "ideal", "klarna", "link", "multibanco", "p24", "sepa_debit", "sofort",
    "us_bank_account", "wechat_pay", "zip",
)  # fmt: skip
ON_AT_FIRST: Final = frozenset({"apple_pay", "card", "google_pay"})


@route("GET", "/v1/payment_method_configurations", reads=PAGE)
def list_configurations(call: Call) -> JsonObject:
    """List the account's one configuration."""
    rows = [configuration_object(call.account)]
    return listing.page_of_rows(rows, "/v1/payment_method_configurations", call.params)


@route("GET", "/v1/payment_method_configurations/{}")
def retrieve(call: Call) -> JsonObject:
    """GET /v1/payment_method_configurations/{id}."""
    if call.ids[0] != CONFIGURATION_ID:
        raise not_found("payment_method_configuration", call.ids[0])
    return configuration_object(call.account)


def configuration_object(account: StripeAccount) -> JsonObject:
    """Return the configuration, as the account's owner has switched it."""
    switched = account.state.get(STATE_KEY, {})
    configuration: JsonObject = {
        "id": CONFIGURATION_ID,
        "object": "payment_method_configuration",
        "active": True,
        "application": None,
        "is_default": True,
        "livemode": False,
        "name": "Default",
        "parent": None,
    }
    for method in METHODS:
        is_on = bool(switched.get(method, method in ON_AT_FIRST))
        value = "on" if is_on else "off"
        preference = {"overridable": None, "preference": value, "value": value}
        configuration[method] = {"available": is_on, "display_preference": preference}
    return configuration
