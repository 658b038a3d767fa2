"""Refunds, full and partial. Stripe's fee is not refunded. A refund may fail days later."""

from datetime import timedelta

from payments.sandbox import balance, charges, fraud_warnings, listing, payment_methods
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.errors import invalid_request, missing_param, not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

_FILTERS = {"charge": listing.equals("charge"), "payment_intent": listing.equals("payment_intent")}

_CARD_DESTINATION = {"card": {"reference_status": "pending", "type": "refund"}, "type": "card"}

add_list_and_retrieve_routes("refund", "/v1/refunds", _FILTERS)


@route("GET", "/v1/charges/{}/refunds", reads=listing.reads())
def list_of_charge(call: Call) -> JsonObject:
    """List a charge's refunds."""
    params = call.params | {"charge": call.get_object("charge")["id"]}
    return listing.page(call.account.store, "refund", call.path, params, _FILTERS)


@route("POST", "/v1/refunds", reads=("amount", "charge", "metadata", "payment_intent", "reason"))
def create(call: Call) -> JsonObject:
    """Refund a charge, or `amount` of it."""
    account, params = call.account, call.params
    charge = _charge_in(account, params)
    refundable = charge["amount"] - charge["amount_refunded"]
    amount = read.positive_integer(params, "amount")
    amount = refundable if amount is None else amount
    if charge["disputed"] and not _has_only_inquiries(account, charge):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise invalid_request(message, code="charge_disputed")
    if not charge["paid"]:
        raise invalid_request("This charge has not been paid.", code="charge_not_refundable")
    if refundable == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise invalid_request(message, code="charge_already_refunded")
    if amount > refundable:
        message = (
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({refundable})"
        )
        raise invalid_request(message, "amount", "amount_too_large")
    return make(account, charge, amount, params)


@route("POST", "/v1/refunds/{}", reads=("metadata",))
def update(call: Call) -> JsonObject:
    """Update a refund's metadata."""
    refund = call.get_object("refund")
    metadata = read.merge_metadata(refund["metadata"], call.params)
    call.account.update_and_emit(refund, "refund.updated", metadata=metadata)
    return refund


def make(account: StripeAccount, charge: JsonObject, amount: int, params: JsonObject) -> JsonObject:
    """Refund an amount of a charge, in minor units."""
    charges.capture(account, charge["id"])
    is_card = charge["id"].startswith("ch_")
    method = account.store.objects[charge["payment_method"]]
    outcome = payment_methods.sandbox_card_of(account, method).refund_outcome if is_card else None
    refund = account.create_object(
        "re" if is_card else "pyr",
        "refund",
        {
            "amount": amount,
            "balance_transaction": None,
            "charge": charge["id"],
            "currency": charge["currency"],
            "customer": charge["customer"],
            "customer_account": None,
            "destination_details": _CARD_DESTINATION if is_card else {"type": "sepa_bank_transfer"},
            "metadata": read.metadata(params),
            "payment_intent": charge["payment_intent"],
            "payment_method": charge["payment_method"],
            "reason": read.text(params, "reason"),
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "pending" if outcome == "pending" else "succeeded",
            "transfer_reversal": None,
        },
    )
    del refund["livemode"]
    account.store.link("refund", "charge", charge["id"], refund["id"])
    account.store.link("refund", "payment_intent", charge["payment_intent"], refund["id"])
    refund["balance_transaction"] = _create_transaction(account, charge, refund)["id"]
    refunded = charge["amount_refunded"] + amount
    charge["amount_refunded"] = refunded
    charge["refunded"] = refunded == charge["amount"]
    account.emit("refund.created", refund)
    account.emit("charge.refunded", charge)
    if outcome == "pending":
        account.schedule_in(timedelta(days=1), "complete_refund", refund["id"])
    elif outcome == "fails":
        account.schedule_in(timedelta(days=2), "fail_refund", refund["id"])
    fraud_warnings.close(account, charge["id"])
    return refund


@when_due("complete_refund")
def complete(account: StripeAccount, refund_id: str) -> None:
    """Complete a pending refund."""
    refund = account.store.objects[refund_id]
    if refund["status"] == "pending":
        account.update_and_emit(refund, "refund.updated", status="succeeded")


@when_due("fail_refund")
def fail_from_test_card(account: StripeAccount, refund_id: str) -> None:
    """Fail a refund to a test card whose refunds fail."""
    fail(account, refund_id, "expired_or_canceled_card")


def fail(account: StripeAccount, refund_id: str, reason: str) -> None:
    """Fail a refund; its amount returns to the balance. `reason` is `failure_reason`."""
    refund = account.store.objects[refund_id]
    if refund["status"] not in ("pending", "succeeded"):
        raise invalid_request(f"Refund {refund_id} is {refund['status']}; it cannot fail.")
    refund_row = account.store.objects[refund["balance_transaction"]]
    row = balance.create_transaction(
        account,
        {
            "type": "refund_failure",
            "amount": -refund_row["amount"],
            "currency": refund_row["currency"],
            "exchange_rate": refund_row["exchange_rate"],
            "source": refund_id,
            "description": "REFUND FAILURE",
        },
    )
    charge = account.store.objects[refund["charge"]]
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    refund["failure_balance_transaction"] = row["id"]
    previous = account.set_fields(refund, status="failed", failure_reason=reason)
    account.emit("refund.failed", refund)
    account.emit("refund.updated", refund, previous)


def _has_only_inquiries(account: StripeAccount, charge: JsonObject) -> bool:
    ids = account.store.linked("dispute", "charge", charge["id"])
    return all(account.store.objects[i]["is_charge_refundable"] for i in ids)


def _create_transaction(
    account: StripeAccount, charge: JsonObject, refund: JsonObject
) -> JsonObject:
    amount, rate = balance.to_settlement(account, refund["amount"], refund["currency"])
    charge_row = account.store.objects[charge["balance_transaction"]]
    return balance.create_transaction(
        account,
        {
            "type": "refund" if refund["id"].startswith("re_") else "payment_refund",
            "reporting_category": "refund",
            "amount": -amount,
            "currency": charge_row["currency"],
            "exchange_rate": rate,
            "source": refund["id"],
            "description": f"REFUND FOR CHARGE ({charge['description'] or charge['id']})",
            "available_on": max(charge_row["available_on"], account.clock.timestamp()),
        },
    )


def _charge_in(account: StripeAccount, params: JsonObject) -> JsonObject:
    charge_id, intent_id = read.text(params, "charge"), read.text(params, "payment_intent")
    if intent_id is not None:
        intent = account.store.get("payment_intent", intent_id)
        if intent is None:
            raise not_found("payment_intent", intent_id, "payment_intent")
        charge_id = intent["latest_charge"]
        if charge_id is None:
            raise invalid_request("This PaymentIntent does not have a successful charge to refund.")
    if charge_id is None:
        raise missing_param("charge")
    charge = account.store.get("charge", charge_id)
    if charge is None:
        raise not_found("charge", charge_id, "charge")
    return charge
