"""Reads campaigns from TOML, JSON or a form, and validates them.

An error names the field and its limit. Nothing is guessed, and a file is taken whole or not at all.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from payments.core import i18n, message_markup, money
from payments.core.campaign_goal import MAX_AMOUNT
from payments.core.campaign_schema import CampaignConfig, FormOptions, merge_variant
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.message_markup import InvalidMarkup
from payments.core.money import Money

# Characters in one language, and whether a text is written in paragraphs (message_markup).
TEXT_LIMITS = {
    "message": (3000, True),
    "headline": (120, False),
    "button": (40, False),
    "thanks": (1000, True),
}
MAX_PRESETS = 6
MAX_SPONSOR_LENGTH = 80
MIN_VARIANTS, MAX_VARIANTS = 2, 4
# "reminder" marks the contributions that come from a reminder; "new" is a page of the staff.
RESERVED_IDS = frozenset({"new", "reminder"})

FIELD_HELP = {
    "id": "is 1 to 64 lower-case letters, digits and hyphens",
    "name": "is 1 to 16 lower-case letters and digits",
    "default_frequency": "is once, monthly or annual",
    "evaluate_after_days": "is 30 or 90",
    "preselect": "is true or false",
    **dict.fromkeys(TEXT_LIMITS, "is a table of languages and texts"),
    "presets": "is, for once, monthly or annual and a currency, a list of whole minor units",
    "defaults": "is, for once, monthly or annual and a currency, whole minor units",
    "enabled": "is true or false",
    "currencies": "is a list of currencies",
    "followed_by": "is the id of the campaign that follows",
    "starts_on": "is a day such as 2026-03-01",
    "ends_on": "is a day such as 2026-03-31",
    "goal": "is an amount in minor units and its currency",
    "amount": f"is whole minor units, 1 to {MAX_AMOUNT:,}",
    "ceiling": f"is whole minor units, 1 to {MAX_AMOUNT:,}",
    "percent": "is a whole number, 1 to 1,000",
    "matching": "is a sponsor, a ceiling in minor units, its currency and the last day, ends_on",
}

FieldPath = tuple[str | int, ...]


class InvalidCampaign(InvalidField):
    """A campaign is not valid. `path` leads to the field, and `problem` says what is wrong."""

    code = "invalid-campaign"
    title = "The campaign is not valid"

    def __init__(self, path: FieldPath, problem: str) -> None:
        field = _dotted_path(path)
        super().__init__(f"{field}: {problem}. Nothing was changed.", field=field)
        self.path = path
        self.problem = problem


class _CampaignFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    campaigns: tuple[CampaignConfig, ...]


def parse_file(
    data: bytes, *, json: bool, max_gift: Mapping[str, int]
) -> tuple[CampaignConfig, ...]:
    """Return the campaigns of a TOML or JSON file. Raises InvalidCampaign.

    `max_gift` are the newsroom's own limits, in minor units by currency.
    """
    try:
        decode = msgspec.json.decode if json else msgspec.toml.decode
        file = decode(data, type=_CampaignFile)
    except msgspec.ValidationError as error:
        raise _from_decoder(str(error)) from None
    except (msgspec.DecodeError, ValueError):
        raise InvalidCampaign((), f"the file is not {'JSON' if json else 'TOML'}") from None
    ids: set[str] = set()
    for index, config in enumerate(file.campaigns):
        if config.id in ids:
            raise InvalidCampaign(("campaigns", index, "id"), f"{config.id} is there twice")
        ids.add(config.id)
        validate(config, max_gift=max_gift, path=("campaigns", index))
    return file.campaigns


def from_form(form: object, *, max_gift: Mapping[str, int]) -> CampaignConfig:
    """Return a campaign from the fields of a form. Raises InvalidCampaign."""
    try:
        config = msgspec.convert(form, CampaignConfig)
    except msgspec.ValidationError as error:
        raise _from_decoder(str(error)) from None
    validate(config, max_gift=max_gift)
    return config


# --- validation -----------------------------------------------------------------------------------


def validate(config: CampaignConfig, *, max_gift: Mapping[str, int], path: FieldPath = ()) -> None:
    """Raise InvalidCampaign for what no form can show or no reader can give."""
    if config.id in RESERVED_IDS:
        raise InvalidCampaign((*path, "id"), f"{config.id} is a name we use ourselves")
    if config.currency is not None:
        _validate_currency((*path, "currency"), config.currency)
    for index, code in enumerate(config.currencies):
        _validate_currency((*path, "currencies", index), code)
        if code in config.currencies[:index]:
            raise InvalidCampaign((*path, "currencies"), f"{code} is there twice")
    if config.followed_by == config.id:
        raise InvalidCampaign(
            (*path, "followed_by"), "is another campaign; it cannot follow itself"
        )
    if config.starts_on and config.ends_on and config.ends_on < config.starts_on:
        raise InvalidCampaign((*path, "ends_on"), f"is before starts_on, {config.starts_on}")
    _validate_goal(config, path)
    _validate_options(config, config, max_gift=max_gift, path=path)
    names = [variant.name for variant in config.variants]
    if names and not MIN_VARIANTS <= len(names) <= MAX_VARIANTS:
        problem = f"is none, or {MIN_VARIANTS} to {MAX_VARIANTS}; here {len(names)}"
        raise InvalidCampaign((*path, "variants"), problem)
    for index, variant in enumerate(config.variants):
        variant_path = (*path, "variants", index)
        if variant.name in names[:index]:
            raise InvalidCampaign((*variant_path, "name"), f"{variant.name} is there twice")
        _validate_options(
            variant, merge_variant(config, variant), max_gift=max_gift, path=variant_path
        )


def _validate_goal(config: CampaignConfig, path: FieldPath) -> None:
    goal, matching = config.goal, config.matching
    if goal is not None:
        _validate_currency((*path, "goal", "currency"), goal.currency)
    if matching is None:
        return
    path = (*path, "matching")
    _validate_currency((*path, "currency"), matching.currency)
    if goal is not None and goal.currency != matching.currency:
        raise InvalidCampaign((*path, "currency"), f"is that of the goal, {goal.currency}")
    if matching.starts_on is not None and matching.ends_on < matching.starts_on:
        raise InvalidCampaign((*path, "ends_on"), f"is before starts_on, {matching.starts_on}")
    if config.ends_on is not None and matching.ends_on > config.ends_on:
        raise InvalidCampaign((*path, "ends_on"), f"is after the campaign's, {config.ends_on}")
    _validate_length((*path, "sponsor"), matching.sponsor, MAX_SPONSOR_LENGTH)
    try:
        message_markup.refuse_controls(matching.sponsor, line_ends=False)
    except InvalidMarkup as error:
        raise InvalidCampaign((*path, "sponsor"), str(error)) from None


def _validate_options(
    options: FormOptions, effective: FormOptions, *, max_gift: Mapping[str, int], path: FieldPath
) -> None:
    """Validate the options that a campaign or variant sets, and its defaults against what is
    suggested.

    `effective` are the options with what a variant takes from its campaign.
    """
    texts_by_name: dict[str, Mapping[str, str]] = {
        "message": options.message,
        "headline": options.headline,
        "button": options.button,
        "thanks": options.thanks,
    }
    for name, texts in texts_by_name.items():
        for locale, text in texts.items():
            _validate_text((*path, name, locale), locale, text, *TEXT_LIMITS[name])
    for frequency, currency, amounts in _flatten(options.presets):
        presets_path = (*path, "presets", frequency, currency)
        _validate_currency(presets_path, currency)
        _validate_presets(presets_path, amounts, currency, max_gift)
    for frequency, currency, _ in _flatten(options.defaults):
        _validate_currency((*path, "defaults", frequency, currency), currency)
    for frequency, currency, amount in _flatten(effective.defaults):
        if Money(amount, currency) not in effective.suggested_amounts(currency, frequency):
            problem = f"{amount} is not one of the amounts suggested"
            raise InvalidCampaign((*path, "defaults", frequency, currency), problem)


def _flatten(
    table: Mapping[Frequency, Mapping[str, Any]],
) -> Iterator[tuple[Frequency, str, Any]]:
    for frequency, by_currency in table.items():
        for currency, value in by_currency.items():
            yield frequency, currency, value


def _validate_text(
    path: FieldPath, locale: str, text: str, limit: int, in_paragraphs: bool
) -> None:
    if locale not in i18n.SUPPORTED_LOCALES:
        raise InvalidCampaign(path, f"is not one of {', '.join(i18n.SUPPORTED_LOCALES)}")
    _validate_length(path, text, limit)
    try:
        if in_paragraphs:
            message_markup.parse(text)
        else:
            message_markup.refuse_controls(text, line_ends=False)
    except InvalidMarkup as error:
        raise InvalidCampaign(path, str(error)) from None


def _validate_length(path: FieldPath, text: str, limit: int) -> None:
    if not text.strip() or len(text) > limit:
        raise InvalidCampaign(path, f"has 1 to {limit:,} characters; here {len(text):,}")


def _validate_currency(path: FieldPath, code: str) -> None:
    if code not in money.GIFT_LIMITS:
        raise InvalidCampaign(path, f"is not one of {', '.join(money.GIFT_LIMITS)}")


def _validate_presets(
    path: FieldPath, amounts: tuple[int, ...], currency: str, max_gift: Mapping[str, int]
) -> None:
    if not 1 <= len(amounts) <= MAX_PRESETS:
        raise InvalidCampaign(path, f"has 1 to {MAX_PRESETS} amounts; here {len(amounts)}")
    lowest, highest = money.min_gift(currency), money.max_gift(currency, max_gift)
    step = money.smallest_unit(currency)
    for amount in amounts:
        described = _describe_amount(amount, currency)
        if amount < lowest.amount:
            limit = _describe_amount(lowest.amount, currency)
            raise InvalidCampaign(path, f"{described} is below the smallest gift, {limit}")
        if amount > highest.amount:
            limit = _describe_amount(highest.amount, currency)
            raise InvalidCampaign(path, f"{described} is above the largest gift, {limit}")
        if amount % step:
            raise InvalidCampaign(path, f"{amount} is no multiple of {step}")
    for before, after in itertools.pairwise(amounts):
        if after <= before:
            raise InvalidCampaign(path, f"each is more than the one before; {after} is not")


def _describe_amount(amount: int, currency: str) -> str:
    """Return the minor units that a file has with the major units that a form has."""
    return f"{amount} ({Money(amount, currency)})"


# --- error messages -------------------------------------------------------------------------------


def _from_decoder(message: str) -> InvalidCampaign:
    """Return the error of msgspec's message, in our words where FIELD_HELP has the field."""
    problem, _, location = message.partition(" - at ")
    # msgspec does not name the key of a table, so the path ends before it.
    location = location.partition("$")[2].partition("[...]")[0]
    path = tuple(int(part) if part.isdigit() else part for part in re.findall(r"\w+", location))
    help_text = FIELD_HELP.get(str(path[-1])) if path else None
    return InvalidCampaign(path, help_text or problem[:1].lower() + problem[1:])


def _dotted_path(path: FieldPath) -> str:
    """Return a path as `campaigns[0].variants[1].name`."""
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return dotted.removeprefix(".") or "file"
