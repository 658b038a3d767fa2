"""Refunds: money given back, whole or in part; Stripe keeps its fee."""

from payments.sandbox import balance, charges, currencies, listing
from payments.sandbox import params as read
from payments.sandbox.account import Account
from payments.sandbox.errors import invalid, missing, not_found
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj

_FILTERS = {"charge": listing.same("charge"), "payment_intent": listing.same("payment_intent")}

_ON_CARD = {"card": {"reference_status": "pending", "type": "refund"}, "type": "card"}

resource("refund", "/v1/refunds", _FILTERS)


@route("GET", "/v1/charges/{}/refunds")
def of_charge(call: Call) -> Obj:
    params = {**call.params, "charge": call.subject("charge")["id"]}
    return listing.page(call.account.store, "refund", call.path, params, _FILTERS)


@route("POST", "/v1/refunds")
def create(call: Call) -> Obj:
    account, params = call.account, call.params
    charge = _charge(account, params)
    left = charge["amount"] - charge["amount_refunded"]
    amount = read.integer(params, "amount")
    amount = left if amount is None else amount
    if not charge["paid"]:
        raise invalid("This charge has not been paid.", code="charge_not_refundable")
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise invalid(message, code="charge_already_refunded")
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise invalid(message, "amount", "amount_too_large")
    return make(account, charge, amount, params)


@route("POST", "/v1/refunds/{}")
def update(call: Call) -> Obj:
    refund = call.subject("refund")
    metadata = read.merge_metadata(refund["metadata"], call.params)
    call.account.update(refund, "refund.updated", metadata=metadata)
    return refund


def make(account: Account, charge: Obj, amount: int, params: Obj) -> Obj:
    """Give back part or all of a charge."""
    charges.capture(account, charge["id"])
    is_card = charge["id"].startswith("ch_")
    refund = account.make(
        "re" if is_card else "pyr",
        "refund",
        {
            "amount": amount,
            "balance_transaction": None,
            "charge": charge["id"],
            "currency": charge["currency"],
            "customer": charge["customer"],
            "customer_account": None,
            "destination_details": _ON_CARD if is_card else {"type": "sepa_bank_transfer"},
            "metadata": read.metadata(params),
            "payment_intent": charge["payment_intent"],
            "payment_method": charge["payment_method"],
            "reason": read.text(params, "reason"),
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "succeeded",
            "transfer_reversal": None,
        },
    )
    del refund["livemode"]
    account.store.link("refund", "charge", charge["id"], refund["id"])
    account.store.link("refund", "payment_intent", charge["payment_intent"], refund["id"])
    refund["balance_transaction"] = _move(account, charge, refund)["id"]
    refunded = charge["amount_refunded"] + amount
    charge["amount_refunded"] = refunded
    charge["refunded"] = refunded == charge["amount"]
    account.emit("refund.created", refund)
    account.emit("charge.refunded", charge)
    return refund


def _move(account: Account, charge: Obj, refund: Obj) -> Obj:
    amount, rate = currencies.settle(refund["amount"], refund["currency"])
    paid_in = account.store.objects[charge["balance_transaction"]]
    return balance.record(
        account,
        {
            "type": "refund" if refund["id"].startswith("re_") else "payment_refund",
            "reporting_category": "refund",
            "amount": -amount,
            "currency": paid_in["currency"],
            "exchange_rate": rate,
            "source": refund["id"],
            "description": f"REFUND FOR CHARGE ({charge['description'] or charge['id']})",
            "available_on": max(paid_in["available_on"], account.clock.stamp()),
        },
    )


def _charge(account: Account, params: Obj) -> Obj:
    charge_id, intent_id = read.text(params, "charge"), read.text(params, "payment_intent")
    if intent_id is not None:
        intent = account.store.find("payment_intent", intent_id)
        if intent is None:
            raise not_found("payment_intent", intent_id, "payment_intent")
        charge_id = intent["latest_charge"]
        if charge_id is None:
            raise invalid("This PaymentIntent does not have a successful charge to refund.")
    if charge_id is None:
        raise missing("charge")
    charge = account.store.find("charge", charge_id)
    if charge is None:
        raise not_found("charge", charge_id, "charge")
    return charge
