"""Disputes: a donor's bank takes the money back, or asks about it first; and early fraud warnings.

A dispute takes its amount and a fee out of the balance at once. It waits for evidence until a day;
then, or when the bank has read it, it is won and the amount comes back, or lost. An inquiry takes
nothing and may become a dispute. Evidence that reads `winning_evidence` or `losing_evidence`
decides at once, as in Stripe's own test mode.
"""

from datetime import UTC, timedelta
from typing import Final

from payments.sandbox import balance, charges, currencies, listing, payment_methods
from payments.sandbox import params as read
from payments.sandbox.account import Account, when_due
from payments.sandbox.errors import invalid
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj

ANSWER_WITHIN: Final = timedelta(days=14)
INQUIRY_LASTS: Final = timedelta(days=120)
ASKED: Final = ("warning_needs_response", "warning_under_review")
_FILES: Final = (
    "access_activity_log", "billing_address", "cancellation_policy",
    "cancellation_policy_disclosure", "cancellation_rebuttal", "customer_communication",
    "customer_email_address", "customer_name", "customer_purchase_ip", "customer_signature",
    "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id",
    "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address",
    "shipping_carrier", "shipping_date", "shipping_documentation", "shipping_tracking_number",
    "uncategorized_file", "uncategorized_text",
)  # fmt: skip
_FILTERS: Final = {
    "charge": listing.same("charge"),
    "payment_intent": listing.same("payment_intent"),
}

resource("dispute", "/v1/disputes", _FILTERS)
resource("radar.early_fraud_warning", "/v1/radar/early_fraud_warnings", _FILTERS)


# --- what the donor's bank does -------------------------------------------------------------------


@when_due("bank_disputes")
def dispute_by_card(account: Account, charge_id: str) -> None:
    """What the test card's number says."""
    charge = account.store.objects[charge_id]
    card = payment_methods.card_of(account, account.store.objects[charge["payment_method"]])
    make(account, charge_id, reason=card.disputed or "general", inquiry=card.inquiry)


def make(
    account: Account,
    charge_id: str,
    *,
    amount: int | None = None,
    reason: str = "fraudulent",
    inquiry: bool = False,
) -> Obj:
    """The donor's bank disputes a charge, or a part of it."""
    charge = account.store.objects[charge_id]
    amount = charge["amount"] if amount is None else amount
    if not charge["paid"] or not 1 <= amount <= charge["amount"]:
        raise invalid("Only what was paid can be disputed.")
    charges.capture(account, charge_id)
    dispute = account.make("dp", "dispute", _fields(account, charge, amount, reason, inquiry))
    account.store.link("dispute", "charge", charge_id, dispute["id"])
    account.store.link("dispute", "payment_intent", charge["payment_intent"], dispute["id"])
    charge["disputed"] = True
    account.emit("charge.dispute.created", dispute)
    account.at(dispute["evidence_details"]["due_by"], "dispute_is_due", dispute["id"])
    if inquiry:
        account.later(INQUIRY_LASTS, "inquiry_ends", dispute["id"])
    else:
        _withdraw(account, dispute)
    answered(account, charge_id)
    return dispute


def escalate(account: Account, dispute_id: str) -> None:
    """An inquiry becomes a dispute that takes the money."""
    dispute = account.store.objects[dispute_id]
    if dispute["status"] not in ASKED:
        raise invalid("Only an inquiry that is open can become a dispute.")
    details = {**dispute["evidence_details"], "due_by": _due_by(account)}
    card = {**dispute["payment_method_details"]["card"], "case_type": "chargeback"}
    account.update(
        dispute,
        "charge.dispute.updated",
        status="needs_response",
        is_charge_refundable=False,
        evidence_details=details,
        payment_method_details={"card": card, "type": "card"},
    )
    account.at(details["due_by"], "dispute_is_due", dispute_id)
    _withdraw(account, dispute)


def decide(
    account: Account, dispute_id: str, *, won: bool, gives_back_the_fee: bool = False
) -> None:
    """The bank has decided. A dispute that was lost can still be won on appeal."""
    dispute = account.store.objects[dispute_id]
    is_inquiry = dispute["status"].startswith("warning_")
    if dispute["status"] in ("won", "warning_closed"):
        raise invalid("This dispute is closed.")
    word = "warning_closed" if is_inquiry else "won" if won else "lost"
    account.change(dispute, status=word)
    account.emit("charge.dispute.closed", dispute)
    if won and not is_inquiry:
        _reinstate(account, dispute, with_fee=gives_back_the_fee)


@when_due("dispute_is_due")
def fall_due(account: Account, dispute_id: str) -> None:
    """Nobody has answered: it is lost."""
    dispute = account.store.objects[dispute_id]
    details = dispute["evidence_details"]
    is_open = dispute["status"] in ("needs_response", "warning_needs_response")
    if not is_open or details["due_by"] > account.clock.stamp():
        return
    details = {**details, "past_due": True}
    account.update(dispute, "charge.dispute.updated", evidence_details=details)
    if dispute["status"] == "needs_response":
        decide(account, dispute_id, won=False)


@when_due("inquiry_ends")
def end_inquiry(account: Account, dispute_id: str) -> None:
    dispute = account.store.objects[dispute_id]
    if dispute["status"] in ASKED:
        decide(account, dispute_id, won=True)


# --- what the account's owner does ----------------------------------------------------------------


@route("POST", "/v1/disputes/{}")
def update(call: Call) -> Obj:
    """Evidence, handed in unless `submit=false`; each bank reads what was handed in once."""
    account, params, dispute = call.account, call.params, call.subject("dispute")
    changes: Obj = {"metadata": read.merge_metadata(dispute["metadata"], params)}
    given = {name: text for name, text in read.table(params, "evidence").items() if name in _FILES}
    if given:
        changes["evidence"] = {**dispute["evidence"], **given}
    hands_in = bool(given) and read.flag(params, "submit", default=True)
    if hands_in and dispute["status"] not in ("needs_response", "warning_needs_response"):
        raise invalid("This dispute is no longer open for evidence.", "evidence")
    details = dispute["evidence_details"]
    changes["evidence_details"] = {
        **details,
        "has_evidence": details["has_evidence"] or bool(given),
        "submission_count": details["submission_count"] + hands_in,
        "submission_method": "manual" if hands_in else details["submission_method"],
    }
    if hands_in:
        changes["status"] = dispute["status"].replace("needs_response", "under_review")
    account.update(dispute, "charge.dispute.updated", **changes)
    if hands_in and given.get("uncategorized_text") in ("winning_evidence", "losing_evidence"):
        decide(account, dispute["id"], won=given["uncategorized_text"] == "winning_evidence")
    return dispute


@route("POST", "/v1/disputes/{}/close")
def close(call: Call) -> Obj:
    """Give in."""
    dispute = call.subject("dispute")
    if dispute["status"] not in ("needs_response", "under_review"):
        raise invalid("This dispute is already closed.")
    decide(call.account, dispute["id"], won=False)
    return dispute


# --- warnings -------------------------------------------------------------------------------------


@when_due("network_warns")
def warn_by_card(account: Account, charge_id: str) -> None:
    """What the test card's number says."""
    warn(account, charge_id, "made_with_stolen_card")


def warn(account: Account, charge_id: str, fraud_type: str) -> Obj:
    """The card network says that a charge may not have been the owner's."""
    charge = account.store.objects[charge_id]
    warning = account.make(
        "issfr",
        "radar.early_fraud_warning",
        {
            "actionable": not (charge["refunded"] or charge["disputed"]),
            "charge": charge_id,
            "fraud_type": fraud_type,
            "payment_intent": charge["payment_intent"],
        },
    )
    account.store.link(warning["object"], "charge", charge_id, warning["id"])
    account.store.link(warning["object"], "payment_intent", charge["payment_intent"], warning["id"])
    account.emit("radar.early_fraud_warning.created", warning)
    return warning


@when_due("refunded")
def answered(account: Account, charge_id: str) -> None:
    """A charge was refunded or disputed: there is nothing left to do about a warning."""
    charge = account.store.objects[charge_id]
    if not (charge["refunded"] or charge["disputed"]):
        return
    for warning_id in account.store.linked("radar.early_fraud_warning", "charge", charge_id):
        warning = account.store.objects[warning_id]
        account.update(warning, "radar.early_fraud_warning.updated", actionable=False)


# --- the money ------------------------------------------------------------------------------------


def _withdraw(account: Account, dispute: Obj) -> None:
    amount, rate = balance.settled(account, dispute["amount"], dispute["currency"])
    row = balance.record(
        account,
        {
            "type": "adjustment",
            "reporting_category": "dispute",
            "amount": -amount,
            "currency": currencies.settles_in(dispute["currency"]),
            "fee": currencies.DISPUTE_FEE,
            "exchange_rate": rate,
            "source": dispute["id"],
            "description": f"Chargeback withdrawal for {dispute['charge']}",
        },
    )
    dispute["balance_transactions"].append(dict(row))
    account.emit("charge.dispute.funds_withdrawn", dispute)


def _reinstate(account: Account, dispute: Obj, *, with_fee: bool) -> None:
    amount, rate = balance.settled(account, dispute["amount"], dispute["currency"])
    row = balance.record(
        account,
        {
            "type": "adjustment",
            "reporting_category": "dispute_reversal",
            "amount": amount,
            "currency": currencies.settles_in(dispute["currency"]),
            "fee": -currencies.DISPUTE_FEE if with_fee else 0,
            "exchange_rate": rate,
            "source": dispute["id"],
            "description": f"Chargeback reversal for {dispute['charge']}",
        },
    )
    dispute["balance_transactions"].append(dict(row))
    account.emit("charge.dispute.funds_reinstated", dispute)


def _due_by(account: Account) -> int:
    day = (account.clock.now() + ANSWER_WITHIN).astimezone(UTC)
    return int(day.replace(hour=23, minute=59, second=59, microsecond=0).timestamp())


def _fields(account: Account, charge: Obj, amount: int, reason: str, inquiry: bool) -> Obj:
    brand = charge["payment_method_details"].get("card", {}).get("brand", "visa")
    card = {
        "brand": brand,
        "case_type": "inquiry" if inquiry else "chargeback",
        "network": brand,
        "network_reason_code": "10.4",
    }
    return {
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_FILES), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": _due_by(account),
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": inquiry,
        "metadata": {},
        "network_reason_code": "10.4",
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {"card": card, "type": "card"},
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }
