"""Manual invoices: pending invoice items and the invoices that include them."""

from payments.sandbox import customers, invoice_lines, invoices, listing, subscriptions
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.catalog import currency_in
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route


def _is_pending(item: JsonObject, value: JsonValue) -> bool:
    return bool(item["invoice"] is None) is (value == "true")


add_list_and_retrieve_routes(
    "invoiceitem",
    "/v1/invoiceitems",
    {
        "customer": listing.equals("customer"),
        "invoice": listing.equals("invoice"),
        "pending": _is_pending,
    },
)


@route(
    "POST",
    "/v1/invoiceitems",
    reads=("amount", "currency", "customer", "description", "metadata"),
)
def create_item(call: Call) -> JsonObject:
    """Create an invoice item, pending until an invoice includes it."""
    account, params = call.account, call.params
    customer = customers.customer_in(account, params)
    if customer is None:
        raise missing_param("customer")
    amount, now = read.required_integer(params, "amount"), account.clock.timestamp()
    item = account.create_object(
        "ii",
        "invoiceitem",
        {
            "amount": amount,
            "currency": currency_in(params),
            "customer": customer["id"],
            "customer_account": None,
            "date": now,
            "description": read.text(params, "description"),
            "discountable": True,
            "discounts": [],
            "invoice": None,
            "metadata": read.metadata(params),
            "net_amount": amount,
            "parent": None,
            "period": {"end": now, "start": now},
            "pricing": None,
            "proration": False,
            "quantity": 1,
            "quantity_decimal": "1",
            "tax_rates": [],
            "test_clock": None,
        },
    )
    del item["created"]
    account.store.link("invoiceitem", "customer", customer["id"], item["id"])
    account.emit("invoiceitem.created", item)
    return item


@route("DELETE", "/v1/invoiceitems/{}")
def delete_item(call: Call) -> JsonObject:
    """Delete a pending invoice item."""
    account, item = call.account, call.get_object("invoiceitem")
    if item["invoice"]:
        raise invalid_request("You cannot delete an invoice item that is on an invoice.")
    account.emit("invoiceitem.deleted", item)
    return account.store.mark_deleted(item["id"])


@route(
    "POST",
    "/v1/invoices",
    reads=(
        "auto_advance", "collection_method", "currency", "customer", "days_until_due",
        "default_payment_method", "description", "metadata", "pending_invoice_items_behavior",
    ),
)  # fmt: skip
def create(call: Call) -> JsonObject:
    """Create a draft, empty or of the customer's pending items."""
    account, params = call.account, call.params
    customer = customers.customer_in(account, params)
    if customer is None:
        raise missing_param("customer")
    items = _pending_items(account, customer, params)
    currency = items[0]["currency"] if items else "usd"
    if "currency" in params:
        currency = currency_in(params)
    method_id = subscriptions.default_payment_method_in(account, customer["id"], params, currency)
    collection = _collection_in(account, params)
    total = sum(item["amount"] for item in items)
    invoice = invoices.make(account, customer, total, currency, "manual")
    for item in items:
        item["invoice"] = invoice["id"]
    invoice |= {
        **collection,
        "auto_advance": read.flag(params, "auto_advance"),
        "default_payment_method": method_id,
        "description": read.text(params, "description"),
        "lines": invoice_lines.lines_for_items(account, invoice, items),
        "metadata": read.metadata(params),
    }
    account.emit("invoice.created", invoice)
    if invoice["auto_advance"]:
        account.schedule_in(invoices.DRAFT_PERIOD, "finalize_invoice", invoice["id"])
    return invoice


@route(
    "POST",
    "/v1/invoices/{}",
    reads=("auto_advance", "default_payment_method", "description", "metadata"),
)
def update(call: Call) -> JsonObject:
    """Update an invoice; a draft with `auto_advance` is finalized an hour later."""
    account, invoice, params = call.account, call.get_object("invoice"), call.params
    changes: JsonObject = {"metadata": read.merge_metadata(invoice["metadata"], params)}
    if "description" in params:
        changes["description"] = read.text(params, "description")
    if "default_payment_method" in params:
        changes["default_payment_method"] = subscriptions.default_payment_method_in(
            account, invoice["customer"], params, invoice["currency"]
        )
    if "auto_advance" in params:
        changes["auto_advance"] = read.flag(params, "auto_advance")
        if changes["auto_advance"] and invoice["status"] == "draft":
            account.schedule_in(invoices.DRAFT_PERIOD, "finalize_invoice", invoice["id"])
    account.update_and_emit(invoice, "invoice.updated", **changes)
    return invoice


@route("DELETE", "/v1/invoices/{}")
def delete(call: Call) -> JsonObject:
    """Delete a draft that no subscription created; its items are pending again."""
    account, invoice = call.account, call.get_object("invoice")
    if invoice["status"] != "draft" or invoice["parent"]:
        raise invalid_request(
            "You can only delete draft invoices made by hand; void others instead."
        )
    for item in account.store.of_kind("invoiceitem"):
        if item["invoice"] == invoice["id"]:
            item["invoice"] = None
    account.emit("invoice.deleted", invoice)
    return account.store.mark_deleted(invoice["id"])


@route("POST", "/v1/invoices/{}/send")
def send(call: Call) -> JsonObject:
    """Send an open invoice, finalizing a draft first; only the event is emitted."""
    account, invoice = call.account, call.get_object("invoice")
    if invoice["status"] == "draft":
        invoices.finalize(account, invoice)
        invoices.create_intent(account, invoice)
    if invoice["status"] != "open":
        raise invalid_request(f"You can only send open invoices; this is {invoice['status']}.")
    account.emit("invoice.sent", invoice)
    return invoice


def _pending_items(
    account: StripeAccount, customer: JsonObject, params: JsonObject
) -> list[JsonObject]:
    """Return the customer's pending items, if the request includes them."""
    if params.get("pending_invoice_items_behavior", "exclude") != "include":
        return []
    ids = account.store.linked("invoiceitem", "customer", customer["id"])
    pending = [item for item in account.store.existing(ids) if item["invoice"] is None]
    if len({item["currency"] for item in pending}) > 1:
        raise invalid_request("All pending invoice items must have the same currency.")
    return pending


def _collection_in(account: StripeAccount, params: JsonObject) -> JsonObject:
    """Return how an invoice is collected: charged, or sent and due some days later."""
    methods = ("charge_automatically", "send_invoice")
    method = read.one_of(params, "collection_method", methods, methods[0])
    days = read.integer(params, "days_until_due")
    if method == "send_invoice" and days is None:
        message = "If invoice collection method is 'send_invoice' you must specify 'due_date' or "
        raise invalid_request(message + "'days_until_due'.", "days_until_due")
    if method != "send_invoice" and days is not None:
        message = "You can only set 'days_until_due' if 'collection_method' is 'send_invoice'."
        raise invalid_request(message, "days_until_due")
    if days is not None and days < 0:
        raise invalid_request("Invalid non-negative integer", "days_until_due")
    due_date = None if days is None else account.clock.timestamp() + days * 86400
    return {"collection_method": method, "due_date": due_date}
