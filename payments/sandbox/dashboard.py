"""Changes made in Stripe's dashboard or customer portal rather than through the API.

They do what the API would do, under the same checks, but their events name no idempotency key and
they are not in the request log.
"""

from collections.abc import Mapping, Sequence

from payments.sandbox import payment_methods, request_checks, routes
from payments.sandbox.account import API_VERSION, StripeAccount
from payments.sandbox.api_versions import RequestVersion
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject, JsonValue


def perform(
    account: StripeAccount, method: str, path: str, params: Mapping[str, JsonValue]
) -> JsonObject:
    """Do in the dashboard what an API request would do. Returns the response's object.

    Raises ApiError when Stripe would refuse, ValueError for an unknown route.
    """
    route = routes.find(method, path)
    if route is None:
        raise ValueError(f"no such route: {method} {path}")
    form = _as_form_values(params)
    try:
        request_checks.check_params(route, path, form, RequestVersion(API_VERSION))
    except request_checks.ContractError as error:
        raise error.refusal from error
    call = routes.Call(account, path, form, route.ids_in(path))
    before = account.current_request
    account.current_request = {"id": account.store.new_id("req", 14), "idempotency_key": None}
    try:
        with account.all_or_nothing():
            return route.handler(call)
    finally:
        account.current_request = before


def set_default_payment_method(
    account: StripeAccount, customer_id: str, method_id: str, *, on_subscriptions: bool = False
) -> JsonObject:
    """Choose a card in the customer portal: it is attached and becomes the customer's default.

    Whether Stripe's portal also sets it on subscriptions is not known, so both can be simulated.
    """
    customer = account.store.get("customer", customer_id)
    if customer is None:
        raise not_found("customer", customer_id, "customer")
    method = payment_methods.find_or_create(account, method_id)
    payment_methods.attach(account, method, customer)
    settings = {**customer["invoice_settings"], "default_payment_method": method["id"]}
    account.update_and_emit(customer, "customer.updated", invoice_settings=settings)
    if on_subscriptions:
        ids = account.store.linked("subscription", "customer", customer_id)
        for subscription in account.store.existing(ids):
            if subscription["default_payment_method"] is not None:
                fields = {"default_payment_method": method["id"]}
                account.update_and_emit(subscription, "customer.subscription.updated", **fields)
    return method


def _as_form_values(value: JsonValue) -> JsonValue:
    """Return parameters as a decoded form has them: every leaf is text."""
    if isinstance(value, Mapping):
        return {name: _as_form_values(part) for name, part in value.items() if part is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_as_form_values(part) for part in value]
    return str(value).lower() if isinstance(value, bool) else str(value)
