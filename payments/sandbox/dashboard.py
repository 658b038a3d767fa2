"""By hand: what people do at Stripe with no request of ours, in its dashboard or its portal.

The account's owner clicks in the dashboard, the donor in the customer portal. What happens is what
the API would do, under the same checks; only the events name no idempotency key, and no request is
counted as ours.
"""

from collections.abc import Mapping, Sequence

from payments.sandbox import payment_methods, routes
from payments.sandbox.account import Account
from payments.sandbox.errors import not_found
from payments.sandbox.wire import Obj, Value


def act(account: Account, method: str, path: str, params: Mapping[str, Value]) -> Obj:
    """Do in the dashboard what a request would do; a Refusal says why not."""
    found = routes.match(method, path)
    if found is None:
        raise ValueError(f"no such route: {method} {path}")
    verb, ids = found
    call = routes.Call(account, path, _as_sent(params), ids, pinned=True)
    before, account.request = account.request, {"id": None, "idempotency_key": None}
    account.request["id"] = account.store.mint("req", 14)
    try:
        return verb(call)
    finally:
        account.request = before


def set_default(
    account: Account, customer_id: str, method_id: str, *, on_subscriptions: bool = False
) -> Obj:
    """The donor chooses a card in the portal: saved, and the customer's default from now on.

    Whether Stripe's portal also sets it on subscriptions is not known; here both can be had.
    """
    customer = account.store.find("customer", customer_id)
    if customer is None:
        raise not_found("customer", customer_id, "customer")
    method = payment_methods.resolve(account, method_id)
    payment_methods.attach(account, method, customer)
    settings = {**customer["invoice_settings"], "default_payment_method": method["id"]}
    account.update(customer, "customer.updated", invoice_settings=settings)
    if on_subscriptions:
        ids = account.store.linked("subscription", "customer", customer_id)
        for subscription in account.store.living(ids):
            if subscription["default_payment_method"] is not None:
                fields = {"default_payment_method": method["id"]}
                account.update(subscription, "customer.subscription.updated", **fields)
    return method


def _as_sent(value: Value) -> Value:
    """Parameters as a form would have them: every leaf is text."""
    if isinstance(value, Mapping):
        return {name: _as_sent(part) for name, part in value.items() if part is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_as_sent(part) for part in value]
    return str(value).lower() if isinstance(value, bool) else str(value)
