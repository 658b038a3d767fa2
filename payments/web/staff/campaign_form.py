"""The form of a campaign: every field a piece of text, there and back.

Amounts are written as people write them, a line for each currency, with a star before the one that
is ticked: `usd: 5 *10 25`. What is refused is told beside its field, and nothing typed is lost.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from payments.core import amount_input, campaign_schema, i18n, money
from payments.core.campaign_schema import (
    FREQUENCIES,
    VARIANTS_MOST,
    InvalidCampaign,
    Offer,
    Terms,
    Where,
)
from payments.core.money import Money

VARIANTS = tuple(f"v{number}_" for number in range(1, VARIANTS_MOST + 1))
PRESELECT = {"": None, "yes": True, "no": False}
JUDGED = ("30", "90")
LINES_MOST = 4000  # characters of a field with amounts
Typed = Mapping[str, str]


def names() -> frozenset[str]:
    """Every field of the form."""
    own = {"id", "version", "enabled", "currency", "starts_on", "ends_on", "judged_after", "then"}
    parts = {"default_frequency", "preselect"}
    parts |= {f"message_{spoken}" for spoken in i18n.LANGUAGES}
    parts |= {f"amounts_{frequency}" for frequency in FREQUENCIES}
    return frozenset(own | parts | {f"{at}{part}" for at in VARIANTS for part in parts | {"name"}})


def typed_of(terms: Terms, *, version: int) -> dict[str, str]:
    """What the form holds when nothing was typed yet."""
    typed = {
        "id": terms.id,
        "version": str(version),
        "enabled": "yes" if terms.enabled else "",
        "currency": terms.currency or "",
        "starts_on": "" if terms.starts_on is None else terms.starts_on.isoformat(),
        "ends_on": "" if terms.ends_on is None else terms.ends_on.isoformat(),
        "judged_after": str(terms.judged_after),
        **_typed_offer("", terms),
    }
    for at, variant in zip(VARIANTS, terms.variants, strict=False):
        typed |= {f"{at}name": variant.name, **_typed_offer(at, variant)}
    return typed


def _typed_offer(at: str, offer: Offer) -> dict[str, str]:
    words = {value: word for word, value in PRESELECT.items()}
    return {
        f"{at}default_frequency": offer.default_frequency or "",
        f"{at}preselect": words[offer.preselect],
        **{f"{at}message_{spoken}": text for spoken, text in offer.message.items()},
        **{f"{at}amounts_{often}": _lines(offer, often) for often in FREQUENCIES},
    }


def _lines(offer: Offer, often: str) -> str:
    """The amounts of one frequency as they are typed. A default alone is a line with a star."""
    presets: Mapping[str, tuple[int, ...]] = dict(offer.presets).get(often, {})  # type: ignore[call-overload]  # a word
    defaults: Mapping[str, int] = dict(offer.defaults).get(often, {})  # type: ignore[call-overload]  # a word
    lines = []
    for code in [*presets, *(code for code in defaults if code not in presets)]:
        ticked = defaults.get(code)
        offered = presets.get(code, () if ticked is None else (ticked,))
        only = "" if code in presets else "only "
        said = " ".join(("*" if one == ticked else "") + _major(one, code) for one in offered)
        lines.append(f"{code}: {only}{said}")
    return "\n".join(lines)


def _major(amount: int, code: str) -> str:
    return re.sub(r"\.0+$", "", money.plain(Money(amount, code)))


# --- reading --------------------------------------------------------------------------------------


def read(typed: Typed, *, maximums: Mapping[str, int]) -> Terms:
    """What was typed, as terms. Raises InvalidCampaign."""
    if unknown := sorted(set(typed) - names()):
        raise InvalidCampaign((), f"the form has no field “{unknown[0][:40]}”")
    judged = typed.get("judged_after", JUDGED[0])
    shape = {
        "id": typed.get("id", "").strip(),
        "enabled": typed.get("enabled") == "yes",
        "currency": typed.get("currency") or None,
        "starts_on": _day(typed, "starts_on"),
        "ends_on": _day(typed, "ends_on"),
        "judged_after": int(judged) if judged in JUDGED else judged,
        "variants": [
            {"name": typed.get(f"{at}name", "").strip(), **_offer(typed, at)}
            for at in VARIANTS
            if _is_used(typed, at)
        ],
        **_offer(typed, ""),
    }
    return campaign_schema.of(shape, maximums=maximums)


def field_of(error: InvalidCampaign, typed: Typed) -> str:
    """Which field of the form is at fault."""
    where: Where = error.where
    at = ""
    if where[:1] == ("variants",):
        used = [at for at in VARIANTS if _is_used(typed, at)]
        if len(where) == 1 or not isinstance(where[1], int):
            return f"{VARIANTS[0]}name"
        at, where = used[where[1]], where[2:]
    match where:
        case ("message", str(spoken), *_):
            return f"{at}message_{spoken}"
        case ("presets" | "defaults", str(often), *_):
            return f"{at}amounts_{often}"
        case (str(name), *_):
            return f"{at}{name}"
        case _:
            return "main"


def _is_used(typed: Typed, at: str) -> bool:
    return any(value.strip() for name, value in typed.items() if name.startswith(at))


def _offer(typed: Typed, at: str) -> dict[str, Any]:  # the shape of an Offer
    said = {spoken: _text(typed, f"{at}message_{spoken}") for spoken in i18n.LANGUAGES}
    place: Where = ()
    if at:
        used = [one for one in VARIANTS if _is_used(typed, one)]
        place = ("variants", used.index(at))
    presets: dict[str, dict[str, list[int]]] = {}
    defaults: dict[str, dict[str, int]] = {}
    for often in FREQUENCIES:
        for line in typed.get(f"{at}amounts_{often}", "")[:LINES_MOST].splitlines():
            if line.strip():
                where = (*place, "presets", often)
                code, offered, ticked, only = _line(line, where)
                if code in presets.get(often, {}) or code in defaults.get(often, {}):
                    raise InvalidCampaign(where, f"{code} is there twice")
                if not only:
                    presets.setdefault(often, {})[code] = offered
                if ticked is not None:
                    defaults.setdefault(often, {})[code] = ticked
    preselect = typed.get(f"{at}preselect", "")
    return {
        "message": {spoken: text for spoken, text in said.items() if text},
        "presets": presets,
        "defaults": defaults,
        "default_frequency": typed.get(f"{at}default_frequency") or None,
        "preselect": PRESELECT.get(preselect),
    }


def _text(typed: Typed, name: str) -> str:
    """A message; a line break that a browser or a person put into it is a space."""
    return re.sub(r"[\r\n\t ]+", " ", typed.get(name, "")).strip()


def _line(line: str, where: Where) -> tuple[str, list[int], int | None, bool]:
    """A currency, its amounts, the one with a star, and whether the star alone is meant."""
    code, colon, rest = line.partition(":")
    code = code.strip().lower()
    words = rest.split()
    only = words[:1] == ["only"]
    if not colon or not words[int(only) :]:
        raise InvalidCampaign(where, "write a line for each currency, such as “usd: 5 *10 25”")
    if code not in money.BOUNDS:
        raise InvalidCampaign(where, f"{code[:10]} is not one of {', '.join(money.BOUNDS)}")
    offered: list[int] = []
    ticked = None
    for word in words[int(only) :]:
        try:
            amount = amount_input.parse(word.lstrip("*").rstrip(","), code).amount
        except money.InvalidAmount as error:
            raise InvalidCampaign(
                where, f"“{word[:20]}”: {error.detail.removesuffix(' Nothing was charged.')}"
            ) from None
        if word.startswith("*"):
            if ticked is not None:
                raise InvalidCampaign(where, f"{code} has two stars; one amount is ticked")
            ticked = amount
        offered.append(amount)
    return code, offered, ticked, only


def _day(typed: Typed, name: str) -> date | None:
    text = typed.get(name, "").strip()
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidCampaign((name,), "is a day such as 2026-03-01") from None
