"""The currency of the form, and a change of it: nothing is converted, and what was typed stays."""

from collections.abc import Mapping

from babel.numbers import get_currency_name

from payments.core import i18n, money
from payments.core.frequency import OFFERED_FREQUENCIES
from payments.web import request_locale

FIELD = "new_currency"


def is_changed(typed: Mapping[str, str]) -> bool:
    """Whether a form was sent with another currency chosen than its amounts are in."""
    chosen, current = typed.get(FIELD, ""), typed.get("currency", "")
    return {chosen, current} <= money.GIFT_LIMITS.keys() and chosen != current


def in_new_currency(typed: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a form in the currency that was chosen.

    A number that was typed stays as it is, in the new currency. A suggested amount is left out,
    because it is none of the new currency's.
    """
    suggested = {f"amount_{frequency}" for frequency in OFFERED_FREQUENCIES}
    changed = {
        name: value
        for name, value in typed.items()
        if name != FIELD and (name not in suggested or value == "other")
    }
    return {**changed, "currency": typed.get(FIELD, "")}


def currency_name(code: str) -> str:
    """Return the name of a currency: in English in the plural, which can stand by itself there."""
    locale = request_locale.current()
    return get_currency_name(code.upper(), 2 if locale == i18n.DEFAULT_LOCALE else None, locale)


def choices(current: str) -> list[dict[str, object]]:
    """Return the currencies to choose from."""
    return [
        {"code": code, "label": currency_name(code), "selected": code == current}
        for code in money.GIFT_LIMITS
    ]
