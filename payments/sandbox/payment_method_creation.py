"""The creation of payment methods through the API, from a test number or a token."""

from payments.sandbox import payment_method_params as described
from payments.sandbox import payment_methods
from payments.sandbox import request_params as read
from payments.sandbox.declared_params import within
from payments.sandbox.errors import unsupported
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route


@route(
    "POST",
    "/v1/payment_methods",
    reads=(
        *payment_methods.BILLING_DETAILS, "allow_redisplay", "metadata", "sepa_debit.iban", "type",
        *within("card", names=("cvc", "exp_month", "exp_year", "number", "token")),
    ),
)  # fmt: skip
def create(call: Call) -> JsonObject:
    """Create a card or a SEPA debit, from a test number or a token."""
    account, params = call.account, call.params
    type_ = read.required(params, "type")
    payer = read.nested_object(params, "billing_details")
    if type_ == "sepa_debit":
        debit_params = read.nested_object(params, "sepa_debit")
        iban = read.required(debit_params, "iban").replace(" ", "").upper()
        method = payment_methods.make_sepa_debit(account, described.bank_account(iban), payer)
        return _with_common_fields(method, params)
    if type_ != "card":
        raise unsupported(f"type={type_}")
    card_params = read.nested_object(params, "card")
    if "token" in card_params:
        method = payment_methods.make(
            account, described.card_of_token(card_params["token"], "card[token]"), payer
        )
    else:
        method = payment_methods.make(account, described.card_of_number(card_params), payer)
        method["card"] |= described.expiry(account, card_params, {})
        if described.cvc(card_params) is None:
            method["card"]["checks"]["cvc_check"] = None
    return _with_common_fields(method, params)


def _with_common_fields(method: JsonObject, params: JsonObject) -> JsonObject:
    method["metadata"] = read.metadata(params)
    method["allow_redisplay"] = read.text(params, "allow_redisplay") or "unspecified"
    return method
