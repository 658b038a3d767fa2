"""Which permission of a restricted key a request needs.

A permission is a resource and an access: `charge_read`. Stripe's errors write it `rak_charge_read`;
its dashboard has a row per resource with None, Read and Write, and some rows cover two resources
(`DASHBOARD_ROWS`). Write implies read.

Where Stripe documents no permission of a route, it has that of the object it belongs to; these are
marked "unverified" below. So is the word for refunds: the dashboard has one row for charges and
refunds, and public code names `rak_refund_write` and `rak_charge_write`. Payment Links are
`payment_links` in Stripe's own list, though links to its dashboard are seen with `payment_link`.
Unverified too is that what a request makes on the way, such as the price of `price_data`, needs no
permission of its own.
"""

import functools
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from payments.sandbox.form_encoding import JsonValue

# The resource of a route: the longest beginning of its path that stands here.
ROUTE_RESOURCES: Final = {
    "/v1/account": "accounts_kyc_basic",
    "/v1/accounts": "connected_account",
    "/v1/application_fees": "application_fee",
    "/v1/balance": "balance",
    "/v1/balance_transactions": "balance_transaction_source",
    "/v1/billing": "billing",  # unverified
    "/v1/billing_portal": "customer_portal",
    "/v1/charges": "charge",
    "/v1/charges/{}/refunds": "refund",
    "/v1/checkout/sessions": "checkout_session",
    "/v1/country_specs": "accounts_kyc_basic",  # unverified: the same for all
    "/v1/coupons": "coupon",
    "/v1/credit_notes": "credit_note",
    "/v1/customers": "customer",
    "/v1/customers/{}/payment_methods": "payment_method",
    "/v1/customers/{}/subscriptions": "subscription",
    "/v1/disputes": "dispute",
    "/v1/entitlements": "entitlement",  # unverified
    "/v1/events": "event",
    "/v1/file_links": "file",
    "/v1/files": "file",
    "/v1/identity": "identity_product",  # unverified
    "/v1/invoice_payments": "invoice",
    "/v1/invoice_rendering_templates": "invoice",  # unverified
    "/v1/invoiceitems": "invoice",
    "/v1/invoices": "invoice",
    "/v1/issuing": "issuing",  # unverified: one for each kind of object there
    "/v1/mandates": "mandate",
    "/v1/payment_intents": "payment_intent",
    "/v1/payment_links": "payment_links",
    "/v1/payment_method_configurations": "payment_method_configuration",  # unverified
    "/v1/payment_method_domains": "payment_method_domain",  # unverified
    "/v1/payment_methods": "payment_method",
    "/v1/payment_pages": "checkout_session",  # undocumented, as the next and `events/{}/retry`
    "/v1/payouts": "payout",
    "/v1/plans": "plan",
    "/v1/prices": "plan",
    "/v1/products": "product",
    "/v1/promotion_codes": "promotion_code",
    "/v1/quotes": "quote",
    "/v1/radar/early_fraud_warnings": "charge",  # unverified
    "/v1/refunds": "refund",
    "/v1/reporting": "report_runs_and_report_types",  # unverified
    "/v1/reviews": "review",
    "/v1/setup_attempts": "setup_intent",
    "/v1/setup_intents": "setup_intent",
    "/v1/shipping_rates": "shipping_rate",
    "/v1/sigma": "scheduled_query_run",  # unverified
    "/v1/sources": "source",
    "/v1/stripecli": "stripecli_session",
    "/v1/subscription_items": "subscription",
    "/v1/subscription_schedules": "subscription",
    "/v1/subscriptions": "subscription",
    "/v1/tax_codes": "product",  # unverified: the same for all
    "/v1/tax_ids": "customer",  # unverified
    "/v1/tax_rates": "tax_rate",
    "/v1/test_helpers": "billing_clock",
    "/v1/tokens": "token",
    "/v1/topups": "top_up",
    "/v1/transfers": "transfer",
    "/v1/webhook_endpoints": "webhook",
}

# The resource of an object that a request expands; objects that are not here have no permission of
# their own and go with the object that shows them.
OBJECT_RESOURCES: Final = {
    "account": "connected_account",
    "application_fee": "application_fee",
    "balance_transaction": "balance_transaction_source",
    "charge": "charge",
    "checkout.session": "checkout_session",
    "coupon": "coupon",
    "credit_note": "credit_note",
    "customer": "customer",
    "dispute": "dispute",
    "event": "event",
    "file": "file",
    "invoice": "invoice",
    "mandate": "mandate",
    "payment_intent": "payment_intent",
    "payment_link": "payment_links",
    "payment_method": "payment_method",
    "payout": "payout",
    "plan": "plan",
    "price": "plan",
    "product": "product",
    "promotion_code": "promotion_code",
    "quote": "quote",
    "refund": "refund",
    "review": "review",
    "setup_attempt": "setup_intent",
    "setup_intent": "setup_intent",
    "shipping_rate": "shipping_rate",
    "subscription": "subscription",
    "subscription_schedule": "subscription",
    "tax_rate": "tax_rate",
    "test_helpers.test_clock": "billing_clock",
    "topup": "top_up",
    "transfer": "transfer",
}

# Fields whose object may be of a dozen kinds: one permission covers them all.
_RESOURCES_OF_MIXED_FIELDS: Final[dict[tuple[str, str], Sequence[str]]] = {
    ("balance_transaction", "source"): ("balance_transaction_source",),
}

# What a permission on a resource allows to read besides (docs.stripe.com/security/permissions).
IMPLIED_READS: Final = {
    "checkout_session": ("mandate", "payment_intent", "payment_links", "product", "setup_intent"),
    "balance_transaction_source": ("application_fee", "balance", "transfer"),
}

# The rows of Stripe's dashboard that are not called as their resource is.
DASHBOARD_ROWS: Final = {
    "accounts_kyc_basic": "Account (KYC basics)",
    "balance_transaction_source": "Balance transaction sources",
    "billing_clock": "Test clocks",
    "charge": "Charges and Refunds",
    "file": "Files",
    "payment_links": "Payment Links",
    "plan": "Prices",
    "refund": "Charges and Refunds",
    "webhook": "Webhook Endpoints",
}

RESOURCES: Final = frozenset({*ROUTE_RESOURCES.values(), *OBJECT_RESOURCES.values()})
ACCESSES: Final = ("read", "write")


def of_route(method: str, template: str) -> str:
    """Return the permission that a route needs, such as `charge_read`.

    Raises LookupError for a route that `ROUTE_RESOURCES` does not cover.
    """
    access = "read" if method == "GET" else "write"
    parts = template.rstrip("/").split("/")
    for length in range(len(parts), 1, -1):
        resource = ROUTE_RESOURCES.get("/".join(parts[:length]))
        if resource is not None:
            return f"{resource}_{access}"
    raise LookupError(f"{method} {template} needs a permission in ROUTE_RESOURCES")


@functools.lru_cache(maxsize=4096)
def of_expansion(method: str, template: str, path: str) -> tuple[str, ...]:
    """Return the permissions needed to expand a path in a route's response, sorted.

    They follow from the SDK's types, so a request is refused before it is carried out. A path that
    the types do not know needs none: expanding it fails for another reason.
    """
    contract, expansions = (
        import_module(f"payments.sandbox.{name}") for name in ("contract", "contract_expansion")
    )  # late: they read the whole SDK
    endpoint = contract.find_endpoint(method, template.replace("{}", "x"))
    if endpoint is None:
        return ()
    needed: set[str] = set()
    steps = tuple(path.split("."))
    for field in expansions.expanded_fields(endpoint.returns, endpoint.module, steps):
        resources = _RESOURCES_OF_MIXED_FIELDS.get((field.owner, field.name))
        if resources is None:
            resources = [OBJECT_RESOURCES[k] for k in field.kinds if k in OBJECT_RESOURCES]
        needed.update(f"{resource}_read" for resource in resources)
    return tuple(sorted(needed))


def of_expansions(method: str, template: str, paths: list[JsonValue]) -> tuple[str, ...]:
    """Return the permissions needed to expand all these paths, sorted."""
    texts = [path for path in paths if isinstance(path, str)]
    return tuple(sorted({need for path in texts for need in of_expansion(method, template, path)}))


def allows(scopes: dict[str, str], permission: str) -> bool:
    """Return whether a key with these scopes, `{resource: access}`, has a permission."""
    resource, _, access = permission.rpartition("_")
    if scopes.get(resource) in (access, "write"):
        return True
    return access == "read" and any(resource in IMPLIED_READS.get(held, ()) for held in scopes)


def that_grant(permission: str) -> list[str]:
    """Return a permission and those that imply it, sorted, as Stripe's errors list them."""
    resource, _, access = permission.rpartition("_")
    implying = [each for each, implied in IMPLIED_READS.items() if resource in implied]
    return sorted([permission, *(f"{each}_read" for each in implying if access == "read")])
