"""Terms: what a campaign says and suggests, as a file holds it, read strictly.

    [[campaigns]]
    id = "spring"                    # as in its links: /donate?campaign=spring
    enabled = true
    currency = "eur"                 # what the form opens in; the newsroom's own if not given
    starts_on = 2026-03-01           # the days are of the accounting zone, the last included
    ends_on = 2026-03-31
    default_frequency = "monthly"
    judged_after = 30                # days after which a variant is judged by what was kept; or 90

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
from payments.core.money import Money

MESSAGE_MOST = 600  # characters in one language
PRESETS_MOST = 6
VARIANTS_LEAST, VARIANTS_MOST = 2, 4
FREQUENCIES = tuple(money.PRESETS)
# "reminder" is what a gift by a reminder's link says; "new" is a page of the staff.
RESERVED = frozenset({"new", "reminder"})
BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

WANTED = {
    "id": "is 1 to 64 lower-case letters, digits and hyphens",
    "name": "is 1 to 16 lower-case letters and digits",
    "default_frequency": "is once, monthly or annual",
    "judged_after": "is 30 or 90",
    "preselect": "is true or false",
    "message": "is a table of languages and texts",
    "presets": "is, for once, monthly or annual and a currency, a list of whole minor units",
    "defaults": "is, for once, monthly or annual and a currency, whole minor units",
    "enabled": "is true or false",
    "starts_on": "is a day such as 2026-03-01",
    "ends_on": "is a day such as 2026-03-31",
}

Id = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9-]*\Z", max_length=64)]
Name = Annotated[str, Meta(pattern=r"\A[a-z0-9]{1,16}\Z")]
Often = Literal["once", "monthly", "annual"]
Where = tuple[str | int, ...]


class InvalidCampaign(InvalidField):
    """The terms of a campaign are not usable. `where` leads to what is wrong."""

    code = "invalid-campaign"
    title = "The campaign is not valid"

    def __init__(self, where: Where, says: str) -> None:
        field = _dotted(where)
        super().__init__(f"{field}: {says}. Nothing was changed.", field=field)
        self.where = where
        self.says = says


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a reader is told and suggested. What is empty is as without a campaign."""

    message: dict[str, str] = {}
    presets: dict[Often, dict[str, tuple[int, ...]]] = {}
    defaults: dict[Often, dict[str, int]] = {}
    default_frequency: Often | None = None
    preselect: bool | None = None  # false: no amount is ticked

    def said_in(self, spoken: str) -> tuple[str, str] | None:
        """The message for a reader of a language and the language it is in; English rather than
        none.
        """
        for one in (spoken, i18n.SOURCE):
            if one in self.message:
                return self.message[one], one
        return None

    def amounts(self, currency: str, frequency: str) -> tuple[Money, ...]:
        """What is suggested."""
        own = self.presets.get(frequency, {}).get(currency)  # type: ignore[call-overload]  # a word
        if own is None:
            return money.presets(currency, frequency)
        return tuple(Money(amount, currency) for amount in own)

    def ticked(self, currency: str, frequency: str) -> Money | None:
        """Which of them is ticked at first, if one is."""
        if self.preselect is False:
            return None
        amounts = self.amounts(currency, frequency)
        own = self.defaults.get(frequency, {}).get(currency)  # type: ignore[call-overload]  # a word
        return amounts[min(1, len(amounts) - 1)] if own is None else Money(own, currency)


class Variant(Offer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of the offers that are compared: what it does not say is the campaign's."""

    name: Name


class Terms(Offer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of one campaign."""

    id: Id
    enabled: bool = True
    currency: str | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    judged_after: Literal[30, 90] = 30
    variants: tuple[Variant, ...] = ()

    def is_running(self, today: date) -> bool:
        """Whether readers are shown it on this day."""
        begun = self.starts_on is None or self.starts_on <= today
        return self.enabled and begun and (self.ends_on is None or today <= self.ends_on)

    def seen(self, name: str | None) -> Offer:
        """What a reader of one variant sees, or of none."""
        for variant in self.variants:
            if variant.name == name:
                return _over(self, variant)
        return self

    def tested(self) -> "Terms":
        """What of this the figures of its variants depend on."""
        return msgspec.structs.replace(self, enabled=True, starts_on=None, ends_on=None)


NOTHING_SAID = Offer()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    campaigns: tuple[Terms, ...]


def read(data: bytes, *, json: bool, maximums: Mapping[str, int]) -> tuple[Terms, ...]:
    """The campaigns of a file, checked. Raises InvalidCampaign."""
    try:
        decode = msgspec.json.decode if json else msgspec.toml.decode
        file = decode(data, type=_File)
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    except (msgspec.DecodeError, ValueError):
        raise InvalidCampaign((), f"the file is not {'JSON' if json else 'TOML'}") from None
    seen: set[str] = set()
    for place, terms in enumerate(file.campaigns):
        if terms.id in seen:
            raise InvalidCampaign(("campaigns", place, "id"), f"{terms.id} is there twice")
        seen.add(terms.id)
        check(terms, maximums=maximums, at=("campaigns", place))
    return file.campaigns


def of(shape: object, *, maximums: Mapping[str, int]) -> Terms:
    """One campaign from what a form holds, checked. Raises InvalidCampaign."""
    try:
        terms = msgspec.convert(shape, Terms)
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    check(terms, maximums=maximums)
    return terms


def plain(terms: Terms) -> dict[str, Any]:  # of JSON's own kinds
    """The terms as they are kept and shown, without what says nothing."""
    return _without_nothing(msgspec.to_builtins(terms))


def _without_nothing(shape: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in shape.items() if value not in (None, {}, [], ())}
    if "variants" in kept:
        kept["variants"] = [_without_nothing(variant) for variant in kept["variants"]]
    return kept


# --- what is checked ------------------------------------------------------------------------------


def check(terms: Terms, *, maximums: Mapping[str, int], at: Where = ()) -> None:
    """Raise InvalidCampaign for what no form could show or no reader could give."""
    if terms.id in RESERVED:
        raise InvalidCampaign((*at, "id"), f"{terms.id} is a name we use ourselves")
    if terms.currency is not None:
        _currency((*at, "currency"), terms.currency)
    if terms.starts_on and terms.ends_on and terms.ends_on < terms.starts_on:
        raise InvalidCampaign((*at, "ends_on"), f"is before starts_on, {terms.starts_on}")
    _offer(terms, terms, maximums=maximums, at=at)
    names = [variant.name for variant in terms.variants]
    if names and not VARIANTS_LEAST <= len(names) <= VARIANTS_MOST:
        says = f"is none, or {VARIANTS_LEAST} to {VARIANTS_MOST}; here {len(names)}"
        raise InvalidCampaign((*at, "variants"), says)
    for place, variant in enumerate(terms.variants):
        here = (*at, "variants", place)
        if variant.name in names[:place]:
            raise InvalidCampaign((*here, "name"), f"{variant.name} is there twice")
        _offer(variant, _over(terms, variant), maximums=maximums, at=here)


def _offer(own: Offer, whole: Offer, *, maximums: Mapping[str, int], at: Where) -> None:
    """Check what an offer says itself, and that what it ticks is among what is then suggested."""
    for spoken, text in own.message.items():
        _message((*at, "message", spoken), spoken, text)
    for frequency, currency, amounts in _each(own.presets):
        where = (*at, "presets", frequency, currency)
        _currency(where, currency)
        _presets(where, amounts, currency, maximums)
    for frequency, currency, _ in _each(own.defaults):
        _currency((*at, "defaults", frequency, currency), currency)
    for frequency, currency, amount in _each(whole.defaults):
        if Money(amount, currency) not in whole.amounts(currency, frequency):
            where = (*at, "defaults", frequency, currency)
            raise InvalidCampaign(where, f"{amount} is not one of the amounts suggested")


def _each(table: Mapping[Any, Mapping[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    for frequency, by_currency in table.items():
        for currency, value in by_currency.items():
            yield frequency, currency, value


def _message(where: Where, spoken: str, text: str) -> None:
    if spoken not in i18n.LANGUAGES:
        raise InvalidCampaign(where, f"is not one of {', '.join(i18n.LANGUAGES)}")
    if not 1 <= len(text.strip()) <= len(text) <= MESSAGE_MOST:
        raise InvalidCampaign(where, f"has 1 to {MESSAGE_MOST} characters; here {len(text)}")
    for character in text:
        category = unicodedata.category(character)
        if category in ("Cc", "Cn", "Co", "Cs", "Zl", "Zp") or character in BIDI:
            says = f"is plain text on one line; it has U+{ord(character):04X}"
            raise InvalidCampaign(where, says)


def _currency(where: Where, code: str) -> None:
    if code not in money.BOUNDS:
        raise InvalidCampaign(where, f"is not one of {', '.join(money.BOUNDS)}")


def _presets(
    where: Where, amounts: tuple[int, ...], currency: str, maximums: Mapping[str, int]
) -> None:
    if not 1 <= len(amounts) <= PRESETS_MOST:
        raise InvalidCampaign(where, f"has 1 to {PRESETS_MOST} amounts; here {len(amounts)}")
    least, most = money.minimum(currency), money.maximum(currency, maximums)
    for amount in amounts:
        told = _told(amount, currency)
        if amount < least.amount:
            least_told = _told(least.amount, currency)
            raise InvalidCampaign(where, f"{told} is below the smallest gift, {least_told}")
        if amount > most.amount:
            most_told = _told(most.amount, currency)
            raise InvalidCampaign(where, f"{told} is above the largest gift, {most_told}")
        if amount % money.step(currency):
            raise InvalidCampaign(where, f"{amount} is no multiple of {money.step(currency)}")
    for before, after in itertools.pairwise(amounts):
        if after <= before:
            raise InvalidCampaign(where, f"each is more than the one before; {after} is not")


def _told(amount: int, currency: str) -> str:
    """For whoever wrote minor units in a file, and whoever wrote major ones in a form."""
    return f"{amount} ({Money(amount, currency)})"


def _over(terms: Terms, variant: Variant) -> Offer:
    """The campaign's offer, with what a variant says instead."""
    return Offer(
        message={**terms.message, **variant.message},
        presets=_merged(terms.presets, variant.presets),
        defaults=_merged(terms.defaults, variant.defaults),
        default_frequency=variant.default_frequency or terms.default_frequency,
        preselect=terms.preselect if variant.preselect is None else variant.preselect,
    )


def _merged(below: Mapping[Any, Any], above: Mapping[Any, Any]) -> dict[Any, Any]:
    """By frequency, then currency."""
    return {
        frequency: {**below.get(frequency, {}), **above.get(frequency, {})}
        for frequency in FREQUENCIES
        if frequency in below or frequency in above
    }


# --- what a refusal says --------------------------------------------------------------------------


def _misfit(found: str) -> InvalidCampaign:
    """What the decoder says, with the place first."""
    says, _, path = found.partition(" - at ")
    path = path.partition("$")[2].partition("[...]")[0]  # the decoder names no key of a table
    where = tuple(int(part) if part.isdigit() else part for part in re.findall(r"\w+", path))
    known = WANTED.get(str(where[-1])) if where else None
    return InvalidCampaign(where, known or says[:1].lower() + says[1:])


def _dotted(where: Where) -> str:
    said = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in where)
    return said.removeprefix(".") or "file"
