"""Early fraud warnings: a card network reports that a charge may be fraudulent.

A warning is actionable until its charge is refunded or disputed.
"""

from payments.sandbox import listing
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import add_list_and_retrieve_routes

OBJECT_NAME = "radar.early_fraud_warning"

add_list_and_retrieve_routes(
    OBJECT_NAME,
    "/v1/radar/early_fraud_warnings",
    {"charge": listing.equals("charge"), "payment_intent": listing.equals("payment_intent")},
)


@when_due("create_fraud_warning")
def create_from_test_card(account: StripeAccount, charge_id: str) -> None:
    """Warn of a charge to a test card with an early fraud warning."""
    create(account, charge_id, "made_with_stolen_card")


def create(account: StripeAccount, charge_id: str, fraud_type: str) -> JsonObject:
    """Warn of a charge. `fraud_type` is one of Stripe's, such as `made_with_stolen_card`."""
    charge = account.store.objects[charge_id]
    warning = account.create_object(
        "issfr",
        OBJECT_NAME,
        {
            "actionable": not (charge["refunded"] or charge["disputed"]),
            "charge": charge_id,
            "fraud_type": fraud_type,
            "payment_intent": charge["payment_intent"],
        },
    )
    account.store.link(OBJECT_NAME, "charge", charge_id, warning["id"])
    account.store.link(OBJECT_NAME, "payment_intent", charge["payment_intent"], warning["id"])
    account.emit("radar.early_fraud_warning.created", warning)
    return warning


def close(account: StripeAccount, charge_id: str) -> None:
    """Make the warnings of a refunded or disputed charge no longer actionable."""
    charge = account.store.objects[charge_id]
    if not (charge["refunded"] or charge["disputed"]):
        return
    for warning_id in account.store.linked(OBJECT_NAME, "charge", charge_id):
        warning = account.store.objects[warning_id]
        account.update_and_emit(warning, "radar.early_fraud_warning.updated", actionable=False)
