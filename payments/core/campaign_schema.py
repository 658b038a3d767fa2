"""Terms: what a campaign says and suggests, as a file holds it, read strictly.

    [[campaigns]]
    id = "spring"                    # as in its links: /donate?campaign=spring
    enabled = true
    currency = "eur"                 # what the form opens in; the newsroom's own if not given
    starts_on = 2026-03-01           # the days are of the accounting zone, the last included
    ends_on = 2026-03-31
    default_frequency = "monthly"
    evaluate_after_days = 30         # days after which a variant is judged by what was kept; or 90

    [campaigns.message]              # plain text: whatever looks like HTML is shown as it stands
    en = "Three reporters, one year, one story."
    ru = "Три репортёра, один год, одна история."

    [campaigns.presets.monthly]      # minor units, like every amount of ours
    eur = [300, 700, 1500]

    [campaigns.defaults.monthly]     # which of them is ticked; the second if not given
    eur = 300

    [[campaigns.variants]]           # two to four, or none; each changes some of the above
    name = "a"

    [[campaigns.variants]]
    name = "b"
    preselect = false                # no amount is ticked
    message.en = "Reporting takes a year. Reading takes an hour."

What is not given is what the newsroom has without a campaign. A refusal names the field and its
limit; nothing is guessed and nothing is taken by half.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from payments.core import i18n, money
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.identifiers import SLUG_REGEX
from payments.core.money import Money

MAX_MESSAGE_LENGTH = 600  # characters in one language
MAX_PRESETS = 6
MIN_VARIANTS, MAX_VARIANTS = 2, 4
FREQUENCIES = tuple(Frequency)
# "reminder" is what a gift by a reminder's link says; "new" is a page of the staff.
RESERVED_IDS = frozenset({"new", "reminder"})
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

FIELD_HELP = {
    "id": "is 1 to 64 lower-case letters, digits and hyphens",
    "name": "is 1 to 16 lower-case letters and digits",
    "default_frequency": "is once, monthly or annual",
    "evaluate_after_days": "is 30 or 90",
    "preselect": "is true or false",
    "message": "is a table of languages and texts",
    "presets": "is, for once, monthly or annual and a currency, a list of whole minor units",
    "defaults": "is, for once, monthly or annual and a currency, whole minor units",
    "enabled": "is true or false",
    "starts_on": "is a day such as 2026-03-01",
    "ends_on": "is a day such as 2026-03-31",
}

CampaignId = Annotated[str, Meta(pattern=rf"\A{SLUG_REGEX}\Z", max_length=64)]
VariantName = Annotated[str, Meta(pattern=r"\A[a-z0-9]{1,16}\Z")]
FieldPath = tuple[str | int, ...]


class InvalidCampaign(InvalidField):
    """The terms of a campaign are not usable. `where` leads to what is wrong."""

    code = "invalid-campaign"
    title = "The campaign is not valid"

    def __init__(self, path: FieldPath, problem: str) -> None:
        field = _dotted_path(path)
        super().__init__(f"{field}: {problem}. Nothing was changed.", field=field)
        self.path = path
        self.problem = problem


class FormOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a reader is told and suggested. What is empty is as without a campaign."""

    message: dict[str, str] = {}
    presets: dict[Frequency, dict[str, tuple[int, ...]]] = {}
    defaults: dict[Frequency, dict[str, int]] = {}
    default_frequency: Frequency | None = None
    preselect: bool | None = None  # false: no amount is ticked

    def message_for(self, locale: str) -> tuple[str, str] | None:
        """The message for a reader of a language and the language it is in; English rather than
        none.
        """
        for one in (locale, i18n.DEFAULT_LOCALE):
            if one in self.message:
                return self.message[one], one
        return None

    def suggested_amounts(self, currency: str, frequency: Frequency) -> tuple[Money, ...]:
        """What is suggested."""
        own = self.presets.get(frequency, {}).get(currency)
        if own is None:
            return money.suggested_amounts(currency, frequency)
        return tuple(Money(amount, currency) for amount in own)

    def preselected_amount(self, currency: str, frequency: Frequency) -> Money | None:
        """Which of them is ticked at first, if one is."""
        if self.preselect is False:
            return None
        amounts = self.suggested_amounts(currency, frequency)
        own = self.defaults.get(frequency, {}).get(currency)
        return amounts[min(1, len(amounts) - 1)] if own is None else Money(own, currency)


class VariantConfig(FormOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of the offers that are compared: what it does not say is the campaign's."""

    name: VariantName


class CampaignConfig(FormOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of one campaign."""

    id: CampaignId
    enabled: bool = True
    currency: str | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    evaluate_after_days: Literal[30, 90] = 30
    variants: tuple[VariantConfig, ...] = ()

    def is_running(self, today: date) -> bool:
        """Whether readers are shown it on this day."""
        begun = self.starts_on is None or self.starts_on <= today
        return self.enabled and begun and (self.ends_on is None or today <= self.ends_on)

    def options_for_variant(self, name: str | None) -> FormOptions:
        """What a reader of one variant sees, or of none."""
        for variant in self.variants:
            if variant.name == name:
                return _with_variant(self, variant)
        return self

    def experiment_config(self) -> "CampaignConfig":
        """What of this the figures of its variants depend on."""
        return msgspec.structs.replace(self, enabled=True, starts_on=None, ends_on=None)


DEFAULT_OPTIONS = FormOptions()


class _CampaignFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    campaigns: tuple[CampaignConfig, ...]


def parse_file(
    data: bytes, *, json: bool, max_gift: Mapping[str, int]
) -> tuple[CampaignConfig, ...]:
    """The campaigns of a file, checked. Raises InvalidCampaign."""
    try:
        decode = msgspec.json.decode if json else msgspec.toml.decode
        file = decode(data, type=_CampaignFile)
    except msgspec.ValidationError as error:
        raise _validation_error(str(error)) from None
    except (msgspec.DecodeError, ValueError):
        raise InvalidCampaign((), f"the file is not {'JSON' if json else 'TOML'}") from None
    seen: set[str] = set()
    for place, terms in enumerate(file.campaigns):
        if terms.id in seen:
            raise InvalidCampaign(("campaigns", place, "id"), f"{terms.id} is there twice")
        seen.add(terms.id)
        validate(terms, max_gift=max_gift, path=("campaigns", place))
    return file.campaigns


def from_form(form: object, *, max_gift: Mapping[str, int]) -> CampaignConfig:
    """One campaign from what a form holds, checked. Raises InvalidCampaign."""
    try:
        terms = msgspec.convert(form, CampaignConfig)
    except msgspec.ValidationError as error:
        raise _validation_error(str(error)) from None
    validate(terms, max_gift=max_gift)
    return terms


def to_dict(terms: CampaignConfig) -> dict[str, Any]:  # of JSON's own kinds
    """The terms as they are kept and shown, without what says nothing."""
    return _drop_empty(msgspec.to_builtins(terms))


def _drop_empty(shape: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in shape.items() if value not in (None, {}, [], ())}
    if "variants" in kept:
        kept["variants"] = [_drop_empty(variant) for variant in kept["variants"]]
    return kept


# --- what is checked ------------------------------------------------------------------------------


def validate(terms: CampaignConfig, *, max_gift: Mapping[str, int], path: FieldPath = ()) -> None:
    """Raise InvalidCampaign for what no form could show or no reader could give."""
    if terms.id in RESERVED_IDS:
        raise InvalidCampaign((*path, "id"), f"{terms.id} is a name we use ourselves")
    if terms.currency is not None:
        _validate_currency((*path, "currency"), terms.currency)
    if terms.starts_on and terms.ends_on and terms.ends_on < terms.starts_on:
        raise InvalidCampaign((*path, "ends_on"), f"is before starts_on, {terms.starts_on}")
    _validate_options(terms, terms, max_gift=max_gift, path=path)
    names = [variant.name for variant in terms.variants]
    if names and not MIN_VARIANTS <= len(names) <= MAX_VARIANTS:
        says = f"is none, or {MIN_VARIANTS} to {MAX_VARIANTS}; here {len(names)}"
        raise InvalidCampaign((*path, "variants"), says)
    for place, variant in enumerate(terms.variants):
        here = (*path, "variants", place)
        if variant.name in names[:place]:
            raise InvalidCampaign((*here, "name"), f"{variant.name} is there twice")
        _validate_options(variant, _with_variant(terms, variant), max_gift=max_gift, path=here)


def _validate_options(
    options: FormOptions, effective: FormOptions, *, max_gift: Mapping[str, int], path: FieldPath
) -> None:
    """Check what an offer says itself, and that what it ticks is among what is then suggested."""
    for spoken, text in options.message.items():
        _validate_message((*path, "message", spoken), spoken, text)
    for frequency, currency, amounts in _flatten(options.presets):
        where = (*path, "presets", frequency, currency)
        _validate_currency(where, currency)
        _validate_presets(where, amounts, currency, max_gift)
    for frequency, currency, _ in _flatten(options.defaults):
        _validate_currency((*path, "defaults", frequency, currency), currency)
    for frequency, currency, amount in _flatten(effective.defaults):
        if Money(amount, currency) not in effective.suggested_amounts(currency, frequency):
            where = (*path, "defaults", frequency, currency)
            raise InvalidCampaign(where, f"{amount} is not one of the amounts suggested")


def _flatten(
    table: Mapping[Frequency, Mapping[str, Any]],
) -> Iterator[tuple[Frequency, str, Any]]:
    for frequency, by_currency in table.items():
        for currency, value in by_currency.items():
            yield frequency, currency, value


def _validate_message(path: FieldPath, locale: str, text: str) -> None:
    if locale not in i18n.SUPPORTED_LOCALES:
        raise InvalidCampaign(path, f"is not one of {', '.join(i18n.SUPPORTED_LOCALES)}")
    if not 1 <= len(text.strip()) <= len(text) <= MAX_MESSAGE_LENGTH:
        raise InvalidCampaign(path, f"has 1 to {MAX_MESSAGE_LENGTH} characters; here {len(text)}")
    for character in text:
        category = unicodedata.category(character)
        if category in ("Cc", "Cn", "Co", "Cs", "Zl", "Zp") or character in BIDI_CONTROLS:
            says = f"is plain text on one line; it has U+{ord(character):04X}"
            raise InvalidCampaign(path, says)


def _validate_currency(path: FieldPath, code: str) -> None:
    if code not in money.GIFT_LIMITS:
        raise InvalidCampaign(path, f"is not one of {', '.join(money.GIFT_LIMITS)}")


def _validate_presets(
    path: FieldPath, amounts: tuple[int, ...], currency: str, max_gift: Mapping[str, int]
) -> None:
    if not 1 <= len(amounts) <= MAX_PRESETS:
        raise InvalidCampaign(path, f"has 1 to {MAX_PRESETS} amounts; here {len(amounts)}")
    least, most = money.min_gift(currency), money.max_gift(currency, max_gift)
    for amount in amounts:
        told = _describe_amount(amount, currency)
        if amount < least.amount:
            least_told = _describe_amount(least.amount, currency)
            raise InvalidCampaign(path, f"{told} is below the smallest gift, {least_told}")
        if amount > most.amount:
            most_told = _describe_amount(most.amount, currency)
            raise InvalidCampaign(path, f"{told} is above the largest gift, {most_told}")
        if amount % money.smallest_unit(currency):
            raise InvalidCampaign(
                path, f"{amount} is no multiple of {money.smallest_unit(currency)}"
            )
    for before, after in itertools.pairwise(amounts):
        if after <= before:
            raise InvalidCampaign(path, f"each is more than the one before; {after} is not")


def _describe_amount(amount: int, currency: str) -> str:
    """For whoever wrote minor units in a file, and whoever wrote major ones in a form."""
    return f"{amount} ({Money(amount, currency)})"


def _with_variant(terms: CampaignConfig, variant: VariantConfig) -> FormOptions:
    """The campaign's offer, with what a variant says instead."""
    return FormOptions(
        message={**terms.message, **variant.message},
        presets=_merge_by_frequency(terms.presets, variant.presets),
        defaults=_merge_by_frequency(terms.defaults, variant.defaults),
        default_frequency=variant.default_frequency or terms.default_frequency,
        preselect=terms.preselect if variant.preselect is None else variant.preselect,
    )


def _merge_by_frequency(below: Mapping[Any, Any], above: Mapping[Any, Any]) -> dict[Any, Any]:
    """By frequency, then currency."""
    return {
        frequency: {**below.get(frequency, {}), **above.get(frequency, {})}
        for frequency in FREQUENCIES
        if frequency in below or frequency in above
    }


# --- what a refusal says --------------------------------------------------------------------------


def _validation_error(decoder_message: str) -> InvalidCampaign:
    """What the decoder says, with the place first."""
    says, _, path = decoder_message.partition(" - at ")
    path = path.partition("$")[2].partition("[...]")[0]  # the decoder names no key of a table
    where = tuple(int(part) if part.isdigit() else part for part in re.findall(r"\w+", path))
    known = FIELD_HELP.get(str(where[-1])) if where else None
    return InvalidCampaign(where, known or says[:1].lower() + says[1:])


def _dotted_path(path: FieldPath) -> str:
    said = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)
    return said.removeprefix(".") or "file"
