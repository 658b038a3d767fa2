"""The lines of invoices, and the fields of a new one."""

from typing import Final

from payments.sandbox import listing, pricing
from payments.sandbox.account import StripeAccount
from payments.sandbox.form_encoding import JsonObject


def lines_for_period(
    account: StripeAccount,
    invoice: JsonObject,
    subscription: JsonObject,
    pending: list[JsonObject],
) -> JsonObject:
    """Return the `lines` of a subscription's invoice.

    There is one for each of its items, for the present period or the trial, and one for each
    pending invoice item.
    """
    lines = [
        _period_line(account, invoice, subscription, item) for item in subscription["items"]["data"]
    ]
    lines += [_item_line(account, invoice, item) for item in pending]
    return _line_list(invoice, lines)


def _period_line(
    account: StripeAccount, invoice: JsonObject, subscription: JsonObject, item: JsonObject
) -> JsonObject:
    price, is_trial = item["price"], subscription["status"] == "trialing"
    amount = 0 if is_trial else pricing.amount(account, price, item["quantity"])
    product = account.store.objects.get(price["product"], {"name": "Subscription"})
    description = f"{item['quantity']} × {product['name']} (per {price['recurring']['interval']})"  # noqa: RUF001 - as Stripe writes it
    if is_trial:
        description = f"Trial period for {product['name']}"
    return _line(account, invoice, amount, description) | {
        "metadata": dict(subscription["metadata"]),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": item["quantity"],
        "quantity_decimal": str(item["quantity"]),
        "subscription": subscription["id"],
    }


def lines_for_items(
    account: StripeAccount, invoice: JsonObject, items: list[JsonObject]
) -> JsonObject:
    """Return the `lines` of a manual invoice, one for each invoice item."""
    return _line_list(invoice, [_item_line(account, invoice, item) for item in items])


def _item_line(account: StripeAccount, invoice: JsonObject, item: JsonObject) -> JsonObject:
    return _line(account, invoice, item["amount"], item["description"]) | {
        "metadata": dict(item["metadata"]),
        "parent": {
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": False,
                "proration_details": None,
                "subscription": None,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "period": dict(item["period"]),
        "quantity": 1,
        "quantity_decimal": "1",
    }


def _line(
    account: StripeAccount, invoice: JsonObject, amount: int, description: str | None
) -> JsonObject:
    return {
        "id": account.store.new_id("il"),
        "object": "line_item",
        "amount": amount,
        "currency": invoice["currency"],
        "description": description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "pretax_credit_amounts": [],
        "pricing": None,
        "subscription": None,
        "subtotal": amount,
        "taxes": [],
    }


def _line_list(invoice: JsonObject, lines: list[JsonObject]) -> JsonObject:
    return listing.list_object(lines, f"/v1/invoices/{invoice['id']}/lines")


def default_fields(customer: JsonObject, amount: int, currency: str) -> JsonObject:
    """Return the fields of a draft for an amount in minor units."""
    return {
        **dict.fromkeys(_NULL_FIELDS),
        "account_country": "US",
        "amount_due": amount,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": amount,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "collection_method": "charge_automatically",
        "currency": currency,
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self"},
        "metadata": {},
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_discount_amounts": [],
        "total_excluding_tax": amount,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


_NULL_FIELDS: Final = (
    "account_tax_ids", "application", "automatically_finalizes_at", "billing_reason",
    "custom_fields", "customer_account", "customer_shipping", "default_payment_method",
    "default_source", "description", "due_date", "effective_at", "ending_balance", "footer",
    "from_invoice", "hosted_invoice_url", "invoice_pdf", "last_finalization_error",
    "latest_revision", "next_payment_attempt", "number", "on_behalf_of", "receipt_number",
    "rendering", "shipping_cost", "shipping_details", "statement_descriptor", "status_details",
    "test_clock", "threshold_reason", "webhooks_delivered_at",
)  # fmt: skip
