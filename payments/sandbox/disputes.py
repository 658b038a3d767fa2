"""Disputes: a card holder's bank takes a charge back, or inquires about it first.

A dispute withdraws its amount and a fee from the balance at once. Evidence may be submitted until
its due date. A dispute that is won returns the amount; without evidence it is lost. An inquiry
withdraws nothing and may escalate to a dispute. The evidence `winning_evidence` or
`losing_evidence` decides at once, as in Stripe's test mode.
https://docs.stripe.com/disputes/how-disputes-work
"""

from datetime import UTC, timedelta
from typing import Final

from payments.sandbox import (
    balance,
    charges,
    currencies,
    fraud_warnings,
    listing,
    payment_methods,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.declared_params import within
from payments.sandbox.errors import invalid_request
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

MAX_FIELD_CHARACTERS: Final = 20_000
MAX_EVIDENCE_CHARACTERS: Final = 150_000  # of all fields together
EVIDENCE_PERIOD: Final = timedelta(days=14)
INQUIRY_PERIOD: Final = timedelta(days=120)
OPEN_INQUIRY_STATUSES: Final = ("warning_needs_response", "warning_under_review")
_EVIDENCE_FIELDS: Final = (
    "access_activity_log", "billing_address", "cancellation_policy",
    "cancellation_policy_disclosure", "cancellation_rebuttal", "customer_communication",
    "customer_email_address", "customer_name", "customer_purchase_ip", "customer_signature",
    "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id",
    "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address",
    "shipping_carrier", "shipping_date", "shipping_documentation", "shipping_tracking_number",
    "uncategorized_file", "uncategorized_text",
)  # fmt: skip

add_list_and_retrieve_routes(
    "dispute",
    "/v1/disputes",
    {"charge": listing.equals("charge"), "payment_intent": listing.equals("payment_intent")},
)


# --- by the card holder's bank --------------------------------------------------------------------


@when_due("create_dispute")
def create_from_test_card(account: StripeAccount, charge_id: str) -> None:
    """Dispute a charge to a test card with a dispute reason."""
    charge = account.store.objects[charge_id]
    card = payment_methods.sandbox_card_of(account, account.store.objects[charge["payment_method"]])
    make(account, charge_id, reason=card.dispute_reason or "general", inquiry=card.inquiry_only)


def make(
    account: StripeAccount,
    charge_id: str,
    *,
    amount: int | None = None,
    reason: str = "fraudulent",
    inquiry: bool = False,
) -> JsonObject:
    """Dispute a paid charge, or `amount` of it in minor units; `inquiry` withdraws nothing."""
    charge = account.store.objects[charge_id]
    amount = charge["amount"] if amount is None else amount
    if not charge["paid"] or not 1 <= amount <= charge["amount"]:
        raise invalid_request("Only what was paid can be disputed.")
    charges.capture(account, charge_id)
    dispute = account.create_object(
        "dp", "dispute", _fields(account, charge, amount, reason, inquiry)
    )
    account.store.link("dispute", "charge", charge_id, dispute["id"])
    account.store.link("dispute", "payment_intent", charge["payment_intent"], dispute["id"])
    charge["disputed"] = True
    account.emit("charge.dispute.created", dispute)
    due_by = dispute["evidence_details"]["due_by"]
    account.schedule_at(due_by, "expire_evidence_period", dispute["id"])
    if inquiry:
        account.schedule_in(INQUIRY_PERIOD, "end_inquiry", dispute["id"])
    else:
        _withdraw_funds(account, dispute)
    fraud_warnings.close(account, charge_id)
    return dispute


def escalate(account: StripeAccount, dispute_id: str) -> None:
    """Escalate an open inquiry to a dispute, which withdraws the funds."""
    dispute = account.store.objects[dispute_id]
    if dispute["status"] not in OPEN_INQUIRY_STATUSES:
        raise invalid_request("Only an inquiry that is open can become a dispute.")
    details = {**dispute["evidence_details"], "due_by": _due_by(account)}
    card = {**dispute["payment_method_details"]["card"], "case_type": "chargeback"}
    account.update_and_emit(
        dispute,
        "charge.dispute.updated",
        status="needs_response",
        is_charge_refundable=False,
        evidence_details=details,
        payment_method_details={"card": card, "type": "card"},
    )
    account.schedule_at(details["due_by"], "expire_evidence_period", dispute_id)
    _withdraw_funds(account, dispute)


def decide(account: StripeAccount, dispute_id: str, *, won: bool, refund_fee: bool = False) -> None:
    """Close a dispute or inquiry. A dispute that was lost can still be won, on appeal."""
    dispute = account.store.objects[dispute_id]
    is_inquiry = dispute["status"].startswith("warning_")
    if dispute["status"] in ("won", "warning_closed"):
        raise invalid_request("This dispute is closed.")
    status = "warning_closed" if is_inquiry else "won" if won else "lost"
    account.set_fields(dispute, status=status)
    account.emit("charge.dispute.closed", dispute)
    if won and not is_inquiry:
        _reinstate_funds(account, dispute, refund_fee=refund_fee)


@when_due("expire_evidence_period")
def expire_evidence_period(account: StripeAccount, dispute_id: str) -> None:
    """Lose a dispute for which no evidence was submitted by its due date."""
    dispute = account.store.objects[dispute_id]
    details = dispute["evidence_details"]
    is_open = dispute["status"] in ("needs_response", "warning_needs_response")
    if not is_open or details["due_by"] > account.clock.timestamp():
        return
    details = {**details, "past_due": True}
    account.update_and_emit(dispute, "charge.dispute.updated", evidence_details=details)
    if dispute["status"] == "needs_response":
        decide(account, dispute_id, won=False)


@when_due("end_inquiry")
def end_inquiry(account: StripeAccount, dispute_id: str) -> None:
    """Close an inquiry that has not escalated."""
    dispute = account.store.objects[dispute_id]
    if dispute["status"] in OPEN_INQUIRY_STATUSES:
        decide(account, dispute_id, won=True)


# --- by the account owner -------------------------------------------------------------------------


@route(
    "POST",
    "/v1/disputes/{}",
    reads=(*within("evidence", names=_EVIDENCE_FIELDS), "metadata", "submit"),
)
def update(call: Call) -> JsonObject:
    """Update metadata and evidence; evidence is submitted, once, unless `submit=false`."""
    account, params, dispute = call.account, call.params, call.get_object("dispute")
    changes: JsonObject = {"metadata": read.merge_metadata(dispute["metadata"], params)}
    evidence = {name: text or None for name, text in read.nested_object(params, "evidence").items()}
    if evidence:
        _require_open(call, dispute)
        _require_lengths({**dispute["evidence"], **evidence})
        changes["evidence"] = {**dispute["evidence"], **evidence}
    has_evidence = bool(evidence) or dispute["evidence_details"]["has_evidence"]
    submits = read.flag(params, "submit", default=bool(evidence)) and has_evidence
    if submits:
        _require_open(call, dispute)
    details = dispute["evidence_details"]
    changes["evidence_details"] = {
        **details,
        "has_evidence": has_evidence,
        "submission_count": details["submission_count"] + submits,
        "submission_method": "manual" if submits else details["submission_method"],
    }
    if submits:
        changes["status"] = dispute["status"].replace("needs_response", "under_review")
    account.update_and_emit(dispute, "charge.dispute.updated", **changes)
    text = evidence.get("uncategorized_text")
    if submits and text in ("winning_evidence", "losing_evidence"):
        decide(account, dispute["id"], won=text == "winning_evidence")
    return dispute


def _require_open(call: Call, dispute: JsonObject) -> None:
    """Refuse evidence of a dispute that was answered or closed, or whose due date has passed."""
    if dispute["status"] not in ("needs_response", "warning_needs_response"):
        raise invalid_request("This dispute is no longer open for evidence.", "evidence")
    if dispute["evidence_details"]["due_by"] <= call.account.clock.timestamp():
        raise invalid_request("The evidence was due before.", "evidence")


def _require_lengths(evidence: JsonObject) -> None:
    texts = {name: text for name, text in evidence.items() if isinstance(text, str)}
    for name, text in texts.items():
        if len(text) > MAX_FIELD_CHARACTERS:
            raise invalid_request(
                f"Evidence has at most {MAX_FIELD_CHARACTERS} characters a field.",
                f"evidence[{name}]",
            )
    if sum(map(len, texts.values())) > MAX_EVIDENCE_CHARACTERS:
        raise invalid_request(
            f"Evidence has at most {MAX_EVIDENCE_CHARACTERS} characters.", "evidence"
        )


@route("POST", "/v1/disputes/{}/close")
def close(call: Call) -> JsonObject:
    """Accept a dispute: it is lost. An inquiry ends, as the fixtures of Stripe's client expect."""
    dispute = call.get_object("dispute")
    if dispute["status"] not in ("needs_response", "under_review", "warning_needs_response"):
        raise invalid_request("This dispute is already closed.")
    decide(call.account, dispute["id"], won=False)
    return dispute


# --- funds ----------------------------------------------------------------------------------------


def _withdraw_funds(account: StripeAccount, dispute: JsonObject) -> None:
    amount, rate = balance.to_settlement(account, dispute["amount"], dispute["currency"])
    row = balance.create_transaction(
        account,
        {
            "type": "adjustment",
            "reporting_category": "dispute",
            "amount": -amount,
            "currency": currencies.settlement_currency(dispute["currency"]),
            "fee": currencies.DISPUTE_FEE,
            "exchange_rate": rate,
            "source": dispute["id"],
            "description": f"Chargeback withdrawal for {dispute['charge']}",
        },
    )
    dispute["balance_transactions"].append(dict(row))
    account.emit("charge.dispute.funds_withdrawn", dispute)


def _reinstate_funds(account: StripeAccount, dispute: JsonObject, *, refund_fee: bool) -> None:
    amount, rate = balance.to_settlement(account, dispute["amount"], dispute["currency"])
    row = balance.create_transaction(
        account,
        {
            "type": "adjustment",
            "reporting_category": "dispute_reversal",
            "amount": amount,
            "currency": currencies.settlement_currency(dispute["currency"]),
            "fee": -currencies.DISPUTE_FEE if refund_fee else 0,
            "exchange_rate": rate,
            "source": dispute["id"],
            "description": f"Chargeback reversal for {dispute['charge']}",
        },
    )
    dispute["balance_transactions"].append(dict(row))
    account.emit("charge.dispute.funds_reinstated", dispute)


def _due_by(account: StripeAccount) -> int:
    day = (account.clock.now() + EVIDENCE_PERIOD).astimezone(UTC)
    return int(day.replace(hour=23, minute=59, second=59, microsecond=0).timestamp())


def _fields(
    account: StripeAccount, charge: JsonObject, amount: int, reason: str, inquiry: bool
) -> JsonObject:
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
        "evidence": {**dict.fromkeys(_EVIDENCE_FIELDS), "enhanced_evidence": {}},
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
