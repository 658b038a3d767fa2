"""The account's own object, `GET /v1/account`, with what its owner set in the dashboard.

Banks print its statement descriptor; pages and receipts show its name and its support address.
"""

from typing import Final

from payments.sandbox.account import MERCHANT, StripeAccount
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route

ACCOUNT_ID: Final = "acct_1SandboxAccount00"
DEFAULT_STATEMENT_DESCRIPTOR: Final = "EXAMPLE SHOP"
STATE_KEY: Final = (
    "account_settings"  # the key of `StripeAccount.state` that holds changed settings
)


@route("GET", "/v1/account")
def retrieve(call: Call) -> JsonObject:
    """GET /v1/account."""
    return account_object(call.account)


def account_object(account: StripeAccount) -> JsonObject:
    """Return the account object: defaults, and over them what the owner set."""
    settings = account.state.get(STATE_KEY, {})
    return {
        "id": ACCOUNT_ID,
        "object": "account",
        "business_profile": {
            "annual_revenue": None,
            "estimated_worker_count": None,
            "mcc": None,
            "minority_owned_business_designation": None,
            "monthly_estimated_revenue": None,
            "name": settings.get("business_name", MERCHANT),
            "product_description": None,
            "specified_commercial_transactions_act_url": None,
            "support_address": None,
            "support_email": settings.get("support_email"),
            "support_phone": None,
            "support_url": settings.get("support_url", "https://help.shop.example"),
            "url": settings.get("url", "https://shop.example"),
        },
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "US",
        "created": 1_700_000_000,
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "metadata": {},
        "payouts_enabled": True,
        "settings": _settings_object(settings),
        "type": "standard",
    }


def update(account: StripeAccount, **settings: str) -> None:
    """Change settings as the owner does in the dashboard, and emit `account.updated`."""
    account.state[STATE_KEY] = {**account.state.get(STATE_KEY, {}), **settings}
    account.emit("account.updated", account_object(account), {})


def merchant_name(account: StripeAccount) -> str:
    """Return the name that pages and receipts show."""
    return str(account.state.get(STATE_KEY, {}).get("display_name", MERCHANT))


def calculated_statement_descriptor(account: StripeAccount, suffix: str | None) -> str:
    """Return what a card holder's statement says of a charge."""
    settings = account.state.get(STATE_KEY, {})
    if suffix:
        return f"{_statement_descriptor_prefix(settings)}* {suffix}"[:22]
    return str(settings.get("statement_descriptor", DEFAULT_STATEMENT_DESCRIPTOR))


def _statement_descriptor_prefix(settings: JsonObject) -> str:
    return str(settings.get("statement_descriptor_prefix", "EXAMPLE"))


def _settings_object(settings: JsonObject) -> JsonObject:
    return {
        "bacs_debit_payments": {"display_name": None, "service_user_number": None},
        "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
        "card_issuing": {"tos_acceptance": {"date": None, "ip": None}},
        "card_payments": {
            "decline_on": {"avs_failure": False, "cvc_failure": False},
            "statement_descriptor_prefix": _statement_descriptor_prefix(settings),
            "statement_descriptor_prefix_kana": None,
            "statement_descriptor_prefix_kanji": None,
        },
        "dashboard": {
            "display_name": settings.get("display_name", MERCHANT),
            "timezone": "Etc/UTC",
        },
        "payments": {
            "statement_descriptor": settings.get(
                "statement_descriptor", DEFAULT_STATEMENT_DESCRIPTOR
            ),
            "statement_descriptor_kana": None,
            "statement_descriptor_kanji": None,
            "statement_descriptor_prefix_kana": None,
            "statement_descriptor_prefix_kanji": None,
        },
        "payouts": {
            "debit_negative_balances": True,
            "schedule": {"delay_days": 2, "interval": "daily"},
            "statement_descriptor": None,
        },
        "sepa_debit_payments": {},
    }
