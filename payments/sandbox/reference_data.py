"""What is the same in every Stripe account and never changes: tax codes and country specs.

Of Stripe's hundreds of tax codes these are the general ones, of its countries the account's own.
"""

from typing import Final

from payments.sandbox import currencies, listing
from payments.sandbox.declared_params import PAGE
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route

_NO_FIELDS: Final[JsonObject] = {"additional": [], "minimum": []}
COUNTRY_SPECS: Final[list[JsonObject]] = [
    {
        "id": "US",
        "object": "country_spec",
        "default_currency": "usd",
        "supported_bank_account_currencies": {"usd": ["US"]},
        "supported_payment_currencies": sorted(currencies.known()),
        "supported_payment_methods": ["ach", "card", "stripe"],
        "supported_transfer_countries": ["US"],
        "verification_fields": {"company": _NO_FIELDS, "individual": _NO_FIELDS},
    }
]

_TAX_CODE_NAMES: Final = {  # https://docs.stripe.com/tax/tax-codes
    "txcd_00000000": "Nontaxable",
    "txcd_10000000": "General - Electronically Supplied Services",
    "txcd_20030000": "General - Services",
    "txcd_90000001": "Cash Donation",
    "txcd_99999999": "General - Tangible Goods",
}
TAX_CODES: Final[list[JsonObject]] = [
    {"id": code, "object": "tax_code", "description": f"{name}.", "name": name}
    for code, name in _TAX_CODE_NAMES.items()
]


def _add_routes(path: str, rows: list[JsonObject]) -> None:
    by_id = {row["id"]: row for row in rows}

    def list_all(call: Call) -> JsonObject:
        return listing.page_of_rows(rows, path, call.params)

    def retrieve(call: Call) -> JsonObject:
        if call.id not in by_id:
            raise not_found(str(rows[0]["object"]), call.id)
        return by_id[call.id]

    route("GET", path, reads=PAGE)(list_all)
    route("GET", f"{path}/{{}}")(retrieve)


_add_routes("/v1/country_specs", COUNTRY_SPECS)
_add_routes("/v1/tax_codes", TAX_CODES)
