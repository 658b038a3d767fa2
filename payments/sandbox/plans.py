"""Plans: what recurring prices were called before there were prices, with the same ids."""

from typing import Final

from payments.sandbox import listing
from payments.sandbox.catalog import plan_of
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route

PATH: Final = "/v1/plans"
_FILTERS: Final = {"active": listing.equals("active"), "product": listing.equals("product")}


@route("GET", PATH, reads=listing.reads(_FILTERS))
def list_plans(call: Call) -> JsonObject:
    """List the recurring prices as plans."""
    filters = {**_FILTERS, "type": listing.equals("type")}
    params = call.params | {"type": "recurring"}
    page = listing.page(call.account.store, "price", PATH, params, filters)
    return {**page, "data": [plan_of(price) for price in page["data"]]}


@route("GET", PATH + "/{}")
def retrieve(call: Call) -> JsonObject:
    """Retrieve a recurring price as a plan."""
    price = call.account.store.get("price", call.id)
    if price is None or price["recurring"] is None:
        raise not_found("plan", call.id)
    return plan_of(price)
