"""The fields of a new Checkout Session."""

from typing import Final

from payments.sandbox import request_params as read
from payments.sandbox.declared_params import within
from payments.sandbox.form_encoding import JsonObject

MAX_CUSTOM_TEXT: Final = 1200
_BRANDING: Final = (
    "background_color", "border_style", "button_color", "display_name", "font_family",
    "icon.file", "icon.type", "icon.url", "logo.file", "logo.type", "logo.url",
)  # fmt: skip
_TEXT_PLACES: Final = ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
PARAMS: Final = (
    *within("after_expiration.recovery", names=("allow_promotion_codes", "enabled")),
    *within("branding_settings", names=_BRANDING),
    *within("custom_text", names=(*_TEXT_PLACES, *(f"{name}.message" for name in _TEXT_PLACES))),
    "allowed_payment_method_types[]", "cancel_url", "client_reference_id", "customer_creation",
    "customer_email", "integration_identifier", "locale", "metadata", "origin_context",
    "submit_type", "success_url", "ui_mode", "wallet_options.link.display",
)  # fmt: skip


def default_fields(params: JsonObject, merchant: str) -> JsonObject:
    """Return the fields of an open session, apart from those that its line items determine."""
    mode = params["mode"]
    creation = read.text(params, "customer_creation")
    return {
        **dict.fromkeys(_NULL_FIELDS),
        "adaptive_pricing": {"enabled": False},
        "after_expiration": _after_expiration(params),
        "allowed_payment_method_types": read.array(params, "allowed_payment_method_types") or None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "branding_settings": _branding_settings(params, merchant),
        "cancel_url": read.text(params, "cancel_url"),
        "client_reference_id": read.text(params, "client_reference_id"),
        "custom_fields": [],
        "custom_text": _custom_text(params),
        "customer_creation": None if mode == "subscription" else creation or "if_required",
        "customer_email": read.email(params, "customer_email"),
        "integration_identifier": read.text(params, "integration_identifier"),
        "invoice_creation": _INVOICE_CREATION_DISABLED if mode == "payment" else None,
        "locale": read.text(params, "locale"),
        "metadata": read.metadata(params),
        "mode": mode,
        "origin_context": read.text(params, "origin_context"),
        "payment_method_collection": "if_required" if mode == "payment" else "always",
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "payment_status": "no_payment_required" if mode == "setup" else "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "submit_type": read.text(params, "submit_type"),
        "success_url": read.text(params, "success_url"),
        "total_details": None if mode == "setup" else dict(_ZERO_TOTALS),
        "ui_mode": "hosted_page",
        "wallet_options": _wallet_options(params),
    }


def _after_expiration(params: JsonObject) -> JsonObject | None:
    recovery = read.nested_object(read.nested_object(params, "after_expiration"), "recovery")
    if not recovery:
        return None
    return {
        "recovery": {
            "allow_promotion_codes": read.flag(recovery, "allow_promotion_codes"),
            "enabled": read.flag(recovery, "enabled"),
            "expires_at": None,
            "url": None,
        }
    }


def _wallet_options(params: JsonObject) -> JsonObject | None:
    link = read.nested_object(read.nested_object(params, "wallet_options"), "link")
    return {"link": dict(link)} if link else None


def _custom_text(params: JsonObject) -> JsonObject:
    texts = read.nested_object(params, "custom_text")
    return {place: _custom_message(texts, place) for place in _TEXT_PLACES}


def _custom_message(texts: JsonObject, place: str) -> JsonObject | None:
    text, param = read.nested_object(texts, place), f"custom_text[{place}][message]"
    message = read.limited_text(text, "message", MAX_CUSTOM_TEXT, param=param)
    return {"message": message} if message else None


def _branding_settings(params: JsonObject, merchant: str) -> JsonObject:
    defaults = {
        "background_color": "#ffffff",
        "border_style": "rounded",
        "button_color": "#0074d4",
        "display_name": merchant,
        "font_family": "default",
        "icon": None,
        "logo": None,
    }
    settings = read.nested_object(params, "branding_settings")
    return {**defaults, **settings, **{name: _image(settings, name) for name in ("icon", "logo")}}


def _image(settings: JsonObject, name: str) -> JsonObject | None:
    image = read.nested_object(settings, name)
    return {"file": None, "url": None, **image} if image else None


_ZERO_TOTALS: Final = {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}
_INVOICE_CREATION_DISABLED: Final[JsonObject] = {
    "enabled": False,
    "invoice_data": {
        "account_tax_ids": None,
        "custom_fields": None,
        "description": None,
        "footer": None,
        "issuer": None,
        "metadata": {},
        "rendering_options": None,
    },
}
_NULL_FIELDS: Final = (
    "allow_promotion_codes", "billing_address_collection", "client_secret",
    "collected_information", "consent", "consent_collection", "currency_conversion", "customer",
    "customer_account", "customer_details", "discounts", "invoice",
    "managed_payments", "payment_intent", "payment_link",
    "payment_method_configuration_details", "permissions", "recovered_from",
    "saved_payment_method_options", "setup_intent", "shipping_address_collection",
    "shipping_cost", "subscription", "url", )  # fmt: skip
