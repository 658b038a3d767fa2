"""The collections in which the sandbox's account has nothing: their lists are empty and true.

Programs that copy a whole account ask for each of them. Creating what belongs there is not
supported, and what is not supported by any list, such as Treasury, has no route at all.
"""

from typing import Final, NamedTuple

from payments.sandbox import listing
from payments.sandbox.declared_params import PAGE
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route


class Collection(NamedTuple):
    """A collection that stays empty; `parent` is the object that the `{}` of its path names."""

    object_name: str
    path: str
    parent: str | None = None
    filters: tuple[str, ...] = ()
    by_created: bool = True


COLLECTIONS: Final = (
    Collection("account", "/v1/accounts"),  # connected ones: its own is at /v1/account
    Collection("application_fee", "/v1/application_fees", filters=("charge",)),
    Collection("billing.alert", "/v1/billing/alerts", by_created=False),
    Collection("billing.meter", "/v1/billing/meters", filters=("status",), by_created=False),
    Collection("billing_portal.configuration", "/v1/billing_portal/configurations",
               filters=("active", "is_default"), by_created=False),
    Collection("coupon", "/v1/coupons"),
    Collection("credit_note", "/v1/credit_notes", filters=("customer", "invoice")),
    Collection("entitlements.feature", "/v1/entitlements/features", filters=("archived",),
               by_created=False),
    Collection("file", "/v1/files", filters=("purpose",)),
    Collection("file_link", "/v1/file_links", filters=("file",)),
    Collection("identity.verification_report", "/v1/identity/verification_reports"),
    Collection("identity.verification_session", "/v1/identity/verification_sessions",
               filters=("status",)),
    Collection("invoice_rendering_template", "/v1/invoice_rendering_templates", by_created=False),
    Collection("issuing.authorization", "/v1/issuing/authorizations"),
    Collection("issuing.card", "/v1/issuing/cards"),
    Collection("issuing.cardholder", "/v1/issuing/cardholders"),
    Collection("issuing.dispute", "/v1/issuing/disputes"),
    Collection("issuing.transaction", "/v1/issuing/transactions"),
    Collection("payment_method_domain", "/v1/payment_method_domains", by_created=False),
    Collection("promotion_code", "/v1/promotion_codes", filters=("active", "code", "coupon")),
    Collection("quote", "/v1/quotes", filters=("customer", "status"), by_created=False),
    Collection("reporting.report_run", "/v1/reporting/report_runs"),
    Collection("review", "/v1/reviews"),
    Collection("scheduled_query_run", "/v1/sigma/scheduled_query_runs", by_created=False),
    Collection("shipping_rate", "/v1/shipping_rates", filters=("active", "currency")),
    Collection("tax_id", "/v1/tax_ids", by_created=False),
    Collection("tax_rate", "/v1/tax_rates", filters=("active", "inclusive")),
    Collection("test_helpers.test_clock", "/v1/test_helpers/test_clocks", by_created=False),
    Collection("transfer", "/v1/transfers", filters=("destination", "transfer_group")),
    Collection("fee_refund", "/v1/application_fees/{}/refunds", "application_fee",
               by_created=False),
    Collection("credit_note_line_item", "/v1/credit_notes/{}/lines", "credit_note",
               by_created=False),
    Collection("customer_balance_transaction", "/v1/customers/{}/balance_transactions", "customer"),
    Collection("customer_cash_balance_transaction", "/v1/customers/{}/cash_balance_transactions",
               "customer", by_created=False),
    Collection("tax_id", "/v1/customers/{}/tax_ids", "customer", by_created=False),
    Collection("product_feature", "/v1/products/{}/features", "product", by_created=False),
    Collection("item", "/v1/quotes/{}/line_items", "quote", by_created=False),
    Collection("transfer_reversal", "/v1/transfers/{}/reversals", "transfer", by_created=False),
)  # fmt: skip

# An empty list whose objects cannot be retrieved one by one
_ONLY_LISTED: Final = ("credit_note_line_item", "item")


def _add_routes(collection: Collection) -> None:
    filters: listing.Filters = dict.fromkeys(collection.filters, listing.matches_nothing)

    def list_none(call: Call) -> JsonObject:
        path = collection.path.format(*call.ids)
        name, params = collection.object_name, call.params
        page = listing.page(call.account.store, name, path, params, filters)
        if collection.parent is not None:
            call.get_object(collection.parent)
        return page

    def refuse(call: Call) -> JsonObject:
        if collection.parent is not None:
            call.get_object(collection.parent)
        raise not_found(collection.object_name, call.ids[-1])

    reads = listing.reads(filters, by_created=collection.by_created)
    route("GET", collection.path, reads=reads)(list_none)
    if collection.object_name not in _ONLY_LISTED:
        route("GET", f"{collection.path}/{{}}")(refuse)


for _collection in COLLECTIONS:
    _add_routes(_collection)


@route("GET", "/v1/entitlements/active_entitlements", reads=(*PAGE, "customer"))
def list_active_entitlements(call: Call) -> JsonObject:
    """List what a customer may use: nothing."""
    filters: listing.Filters = {"customer": listing.matches_nothing}
    path = "/v1/entitlements/active_entitlements"
    name = "entitlements.active_entitlement"
    return listing.page(call.account.store, name, path, call.params, filters)
