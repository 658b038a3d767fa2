"""The form of a campaign: a config as fields of text, and fields as a config.

Amounts are typed in major units, a line for each currency, with a star before the one that is
preselected: `usd: 5 *10 25`. A line `usd: only *10` preselects one of the usual amounts and changes
none. A goal and a ceiling are a line too: `eur: 50000`. An error names its field, and nothing typed
is lost.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from payments.core import amount_input, campaign_parser, i18n, message_markup, money
from payments.core.campaign_parser import MAX_VARIANTS, FieldPath, InvalidCampaign
from payments.core.campaign_schema import FREQUENCIES, LOCALISED_TEXTS, CampaignConfig, FormOptions
from payments.core.money import Money
from payments.web.forms import parse_count

VARIANT_PREFIXES = tuple(f"v{number}_" for number in range(1, MAX_VARIANTS + 1))
PRESELECT_CHOICES = {"": None, "yes": True, "no": False}
EVALUATION_DAYS = ("30", "90")
MATCHING_FIELDS: Mapping[str | int, str] = {
    "sponsor": "sponsor",
    "percent": "percent",
    "starts_on": "matching_starts_on",
    "ends_on": "matching_ends_on",
}
AMOUNTS_MAX_LENGTH = 4000  # characters
FormFields = Mapping[str, str]


def field_names() -> frozenset[str]:
    """Return the name of every field of the form."""
    own = {
        "id",
        "version",
        "enabled",
        "currency",
        "currencies",
        "followed_by",
        "starts_on",
        "ends_on",
        "evaluate_after_days",
        "goal",
        "sponsor",
        "percent",
        "ceiling",
        "matching_starts_on",
        "matching_ends_on",
        "then",
    }
    options = {"default_frequency", "preselect"}
    options |= {f"{name}_{locale}" for name in LOCALISED_TEXTS for locale in i18n.SUPPORTED_LOCALES}
    options |= {f"amounts_{frequency}" for frequency in FREQUENCIES}
    of_variants = {f"{prefix}{name}" for prefix in VARIANT_PREFIXES for name in options | {"name"}}
    return frozenset(own | options | of_variants)


def fields_of_config(config: CampaignConfig, *, version: int) -> dict[str, str]:
    """Return the fields of a stored campaign. `version` detects another's change in between."""
    fields = {
        "id": config.id,
        "version": str(version),
        "enabled": "yes" if config.enabled else "",
        "currency": config.currency or "",
        "currencies": " ".join(config.currencies),
        "followed_by": config.followed_by or "",
        "starts_on": "" if config.starts_on is None else config.starts_on.isoformat(),
        "ends_on": "" if config.ends_on is None else config.ends_on.isoformat(),
        "evaluate_after_days": str(config.evaluate_after_days),
        **_fields_of_goal(config),
        **_fields_of_options("", config),
    }
    for prefix, variant in zip(VARIANT_PREFIXES, config.variants, strict=False):
        fields |= {f"{prefix}name": variant.name, **_fields_of_options(prefix, variant)}
    return fields


def languages_with_texts(fields: FormFields) -> list[str]:
    """Return the languages that these fields have a text in."""
    return [
        locale
        for locale in i18n.SUPPORTED_LOCALES
        if any(
            fields.get(f"{prefix}{name}_{locale}")
            for prefix in ("", *VARIANT_PREFIXES)
            for name in LOCALISED_TEXTS
        )
    ]


def _fields_of_goal(config: CampaignConfig) -> dict[str, str]:
    goal, matching = config.goal, config.matching
    fields = {} if goal is None else {"goal": _amount_line(goal.amount, goal.currency)}
    if matching is None:
        return fields
    return {
        **fields,
        "sponsor": matching.sponsor,
        "percent": str(matching.percent),
        "ceiling": _amount_line(matching.ceiling, matching.currency),
        "matching_starts_on": "" if matching.starts_on is None else matching.starts_on.isoformat(),
        "matching_ends_on": matching.ends_on.isoformat(),
    }


def _amount_line(amount: int, code: str) -> str:
    return f"{code}: {_major_units(amount, code)}"


def _fields_of_options(prefix: str, options: FormOptions) -> dict[str, str]:
    preselect_values = {choice: value for value, choice in PRESELECT_CHOICES.items()}
    return {
        f"{prefix}default_frequency": options.default_frequency or "",
        f"{prefix}preselect": preselect_values[options.preselect],
        **{
            f"{prefix}{name}_{locale}": text
            for name in LOCALISED_TEXTS
            for locale, text in getattr(options, name).items()
        },
        **{
            f"{prefix}amounts_{frequency}": _amount_lines(options, frequency)
            for frequency in FREQUENCIES
        },
    }


def _amount_lines(options: FormOptions, frequency: str) -> str:
    """Return the amounts of one frequency as they are typed, a line for each currency."""
    presets: Mapping[str, tuple[int, ...]] = dict(options.presets).get(frequency, {})  # type: ignore[call-overload]  # a word
    defaults: Mapping[str, int] = dict(options.defaults).get(frequency, {})  # type: ignore[call-overload]  # a word
    lines = []
    for code in [*presets, *(code for code in defaults if code not in presets)]:
        preselected = defaults.get(code)
        amounts = presets.get(code, () if preselected is None else (preselected,))
        only = "" if code in presets else "only "
        typed_amounts = (
            ("*" if amount == preselected else "") + _major_units(amount, code)
            for amount in amounts
        )
        lines.append(f"{code}: {only}{' '.join(typed_amounts)}")
    return "\n".join(lines)


def _major_units(amount: int, code: str) -> str:
    return re.sub(r"\.0+$", "", money.to_decimal_string(Money(amount, code)))


# --- from fields to a config ----------------------------------------------------------------------


def parse_config(typed: FormFields, *, maximums: Mapping[str, int]) -> CampaignConfig:
    """Return the config that was typed. `maximums` are the largest amounts, by currency.

    Raises InvalidCampaign.
    """
    if unknown := sorted(set(typed) - field_names()):
        raise InvalidCampaign((), f"the form has no field “{unknown[0][:40]}”")
    days = typed.get("evaluate_after_days", EVALUATION_DAYS[0])
    fields = {
        "id": typed.get("id", "").strip(),
        "enabled": typed.get("enabled") == "yes",
        "currency": typed.get("currency") or None,
        "currencies": typed.get("currencies", "").lower().replace(",", " ").split(),
        "followed_by": typed.get("followed_by", "").strip() or None,
        "starts_on": _parse_date(typed, "starts_on"),
        "ends_on": _parse_date(typed, "ends_on"),
        "evaluate_after_days": int(days) if days in EVALUATION_DAYS else days,
        "goal": _parse_goal(typed),
        "matching": _parse_matching(typed),
        "variants": [
            {"name": typed.get(f"{prefix}name", "").strip(), **_parse_options(typed, prefix)}
            for prefix in _used_prefixes(typed)
        ],
        **_parse_options(typed, ""),
    }
    return campaign_parser.from_form(fields, max_gift=maximums)


def _parse_goal(typed: FormFields) -> dict[str, Any] | None:
    line = typed.get("goal", "")
    return _parse_total(line, ("goal",), "amount") if line.strip() else None


def _parse_matching(typed: FormFields) -> dict[str, Any] | None:
    names = ("sponsor", "percent", "ceiling", "matching_starts_on", "matching_ends_on")
    if not any(typed.get(name, "").strip() for name in names):
        return None
    percent = typed.get("percent", "").strip() or "100"
    percent_number = parse_count(percent)
    ends_on = _parse_date(typed, "matching_ends_on")
    if ends_on is None:
        raise InvalidCampaign(("matching", "ends_on"), "is the last day of the matching")
    return {
        "sponsor": typed.get("sponsor", "").strip(),
        "percent": percent if percent_number is None else percent_number,
        **_parse_total(typed.get("ceiling", ""), ("matching", "ceiling"), "ceiling"),
        "starts_on": _parse_date(typed, "matching_starts_on"),
        "ends_on": ends_on,
    }


def _parse_total(line: str, path: FieldPath, name: str) -> dict[str, Any]:
    """Return an amount in minor units and its currency, from a line such as `eur: 50000`."""
    code, amounts, preselected, only = _parse_amount_line(line[:AMOUNTS_MAX_LENGTH], path)
    if len(amounts) != 1 or preselected is not None or only:
        raise InvalidCampaign(path, "is a currency and one amount, such as “eur: 50000”")
    return {name: amounts[0], "currency": code}


def field_of_error(error: InvalidCampaign, typed: FormFields) -> str:
    """Return the name of the field that an error is about, `main` if it is about none."""
    path: FieldPath = error.path
    prefix = ""
    if path[:1] == ("variants",):
        if len(path) == 1 or not isinstance(path[1], int):
            return f"{VARIANT_PREFIXES[0]}name"
        prefix, path = _used_prefixes(typed)[path[1]], path[2:]
    match path:
        case (("message" | "headline" | "button" | "thanks") as name, str(locale), *_):
            return f"{prefix}{name}_{locale}"
        case ("presets" | "defaults", str(frequency), *_):
            return f"{prefix}amounts_{frequency}"
        case ("matching", *rest):
            return MATCHING_FIELDS.get(rest[0] if rest else "", "ceiling")
        case (str(name), *_):
            return f"{prefix}{name}"
        case _:
            return "main"


def _used_prefixes(typed: FormFields) -> list[str]:
    """Return the prefixes of the variants that are filled in, in the order of the config."""
    return [prefix for prefix in VARIANT_PREFIXES if _is_filled_in(typed, prefix)]


def _is_filled_in(typed: FormFields, prefix: str) -> bool:
    return any(value.strip() for name, value in typed.items() if name.startswith(prefix))


def _parse_options(typed: FormFields, prefix: str) -> dict[str, Any]:  # the shape of FormOptions
    texts: dict[str, dict[str, str]] = {name: {} for name in LOCALISED_TEXTS}
    for name in LOCALISED_TEXTS:
        for locale in i18n.SUPPORTED_LOCALES:
            if text := message_markup.normalise(typed.get(f"{prefix}{name}_{locale}", "")):
                texts[name][locale] = text
    parent: FieldPath = ("variants", _used_prefixes(typed).index(prefix)) if prefix else ()
    presets: dict[str, dict[str, list[int]]] = {}
    defaults: dict[str, dict[str, int]] = {}
    for frequency in FREQUENCIES:
        text = typed.get(f"{prefix}amounts_{frequency}", "")[:AMOUNTS_MAX_LENGTH]
        path = (*parent, "presets", frequency)
        for line in filter(str.strip, text.splitlines()):
            code, amounts, preselected, only = _parse_amount_line(line, path)
            if code in presets.get(frequency, {}) or code in defaults.get(frequency, {}):
                raise InvalidCampaign(path, f"{code} is there twice")
            if not only:
                presets.setdefault(frequency, {})[code] = amounts
            if preselected is not None:
                defaults.setdefault(frequency, {})[code] = preselected
    preselect = typed.get(f"{prefix}preselect", "")
    return {
        **texts,
        "presets": presets,
        "defaults": defaults,
        "default_frequency": typed.get(f"{prefix}default_frequency") or None,
        "preselect": PRESELECT_CHOICES.get(preselect),
    }


def _parse_amount_line(line: str, path: FieldPath) -> tuple[str, list[int], int | None, bool]:
    """Return a currency, its amounts in minor units, the one with a star, and whether only the star
    counts. Raises InvalidCampaign, naming `path`.
    """
    code, colon, rest = line.partition(":")
    code = code.strip().lower()
    words = rest.split()
    only = words[:1] == ["only"]
    if not colon or not words[int(only) :]:
        raise InvalidCampaign(path, "write a line for each currency, such as “usd: 5 *10 25”")
    if code not in money.GIFT_LIMITS:
        raise InvalidCampaign(path, f"{code[:10]} is not one of {', '.join(money.GIFT_LIMITS)}")
    amounts: list[int] = []
    preselected = None
    for word in words[int(only) :]:
        try:
            amount = amount_input.parse_amount(word.lstrip("*").rstrip(","), code).amount
        except money.InvalidAmount as error:
            raise InvalidCampaign(
                path, f"“{word[:20]}”: {error.detail.removesuffix(' Nothing was charged.')}"
            ) from None
        if word.startswith("*"):
            if preselected is not None:
                raise InvalidCampaign(path, f"{code} has two stars; one amount is ticked")
            preselected = amount
        amounts.append(amount)
    return code, amounts, preselected, only


def _parse_date(typed: FormFields, name: str) -> date | None:
    text = typed.get(name, "").strip()
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidCampaign((name,), "is a day such as 2026-03-01") from None
