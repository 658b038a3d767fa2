"""Refunds: money given back, whole or in part; Stripe keeps its fee. One may fail days later."""

from datetime import timedelta

from payments.sandbox import balance, charges, listing, payment_methods
from payments.sandbox import params as read
from payments.sandbox.account import VERBS, Account, when_due
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
    if charge["disputed"] and not _is_only_asked_about(account, charge):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise invalid(message, code="charge_disputed")
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
    method = account.store.objects[charge["payment_method"]]
    behaviour = payment_methods.card_of(account, method).refund if is_card else None
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
            "status": "pending" if behaviour == "pending" else "succeeded",
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
    if behaviour == "pending":
        account.later(timedelta(days=1), "refund_arrives", refund["id"])
    elif behaviour == "fails":
        account.later(timedelta(days=2), "refund_fails", refund["id"])
    VERBS["refunded"](account, charge["id"])
    return refund


@when_due("refund_arrives")
def arrive(account: Account, refund_id: str) -> None:
    refund = account.store.objects[refund_id]
    if refund["status"] == "pending":
        account.update(refund, "refund.updated", status="succeeded")


@when_due("refund_fails")
def fail_by_card(account: Account, refund_id: str) -> None:
    """What the test card's number says."""
    fail(account, refund_id, "expired_or_canceled_card")


def fail(account: Account, refund_id: str, reason: str) -> None:
    """The donor's bank does not take it: the money is back in the balance."""
    refund = account.store.objects[refund_id]
    if refund["status"] not in ("pending", "succeeded"):
        raise invalid(f"Refund {refund_id} is {refund['status']}; it cannot fail.")
    took = account.store.objects[refund["balance_transaction"]]
    back = balance.record(
        account,
        {
            "type": "refund_failure",
            "amount": -took["amount"],
            "currency": took["currency"],
            "exchange_rate": took["exchange_rate"],
            "source": refund_id,
            "description": "REFUND FAILURE",
        },
    )
    charge = account.store.objects[refund["charge"]]
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    refund["failure_balance_transaction"] = back["id"]
    previous = account.change(refund, status="failed", failure_reason=reason)
    account.emit("refund.failed", refund)
    account.emit("refund.updated", refund, previous)


def _is_only_asked_about(account: Account, charge: Obj) -> bool:
    ids = account.store.linked("dispute", "charge", charge["id"])
    return all(account.store.objects[i]["is_charge_refundable"] for i in ids)


def _move(account: Account, charge: Obj, refund: Obj) -> Obj:
    amount, rate = balance.settled(account, refund["amount"], refund["currency"])
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
