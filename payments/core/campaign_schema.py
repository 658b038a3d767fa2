"""Campaigns as configuration: what a campaign's readers see and are suggested, and its variants.

    [[campaigns]]
    id = "spring"                    # as in its links: /donate?campaign=spring
    enabled = true
    currency = "eur"                 # what the form opens in; the newsroom's own if not given
    currencies = ["usd", "gbp"]      # others that a reader can choose in an article
    followed_by = "autumn"           # the campaign that readers of its links see after its end
    starts_on = 2026-03-01           # days of the accounting zone, the last included
    ends_on = 2026-03-31
    default_frequency = "monthly"
    evaluate_after_days = 30         # the age at which a contribution counts for its variant; or 90

    [campaigns.message]              # paragraphs, *emphasis*, [links](https://…): message_markup
    en = '''Three reporters, one year, one story.

    They *need* you.'''
    ru = "Три репортёра, один год, одна история."

    [campaigns.headline]             # one line each, by language; the newsroom's own if not given
    en = "Stand with our reporters"

    [campaigns.button]
    en = "Stand with us"

    [campaigns.thanks]               # written as the message is; under the thanks after a gift
    en = "You pay for a week of court reporting."

    [campaigns.goal]                 # what it is to bring, in minor units; see campaign_goal
    amount = 5000000
    currency = "eur"

    [campaigns.matching]             # what a sponsor adds to each gift, up to a ceiling
    sponsor = "The Example Foundation"
    percent = 100                    # of the gift
    ceiling = 2000000                # minor units, in the currency of the goal
    currency = "eur"
    ends_on = 2026-03-15             # and starts_on; the last day included

    [campaigns.presets.monthly]      # the suggested amounts, in minor units
    eur = [300, 700, 1500]

    [campaigns.defaults.monthly]     # the preselected amount; the second one if not given
    eur = 300

    [[campaigns.variants]]           # two to four, or none; each overrides some of the above
    name = "a"

    [[campaigns.variants]]
    name = "b"
    preselect = false                # no amount is preselected
    message.en = "Reporting takes a year. Reading takes an hour."

What is not given is as without a campaign. `campaign_parser` reads and validates it.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from payments.core import i18n, money
from payments.core.campaign_goal import Goal, Matching
from payments.core.frequency import OFFERED_FREQUENCIES, Frequency
from payments.core.identifiers import SLUG_REGEX
from payments.core.money import Money

FREQUENCIES = OFFERED_FREQUENCIES

CampaignId = Annotated[str, Meta(pattern=rf"\A{SLUG_REGEX}\Z", max_length=64)]
VariantName = Annotated[str, Meta(pattern=r"\A[a-z0-9]{1,16}\Z")]


class FormOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the donation form shows and suggests. An empty field is as without a campaign."""

    message: dict[str, str] = {}  # by locale, as message_markup reads it
    headline: dict[str, str] = {}  # by locale
    button: dict[str, str] = {}  # by locale
    thanks: dict[str, str] = {}  # by locale, as message_markup reads it
    presets: dict[Frequency, dict[str, tuple[int, ...]]] = {}  # by currency, in minor units
    defaults: dict[Frequency, dict[str, int]] = {}  # by currency, in minor units
    default_frequency: Frequency | None = None
    preselect: bool | None = None  # false: no amount is preselected

    def message_for(self, locale: str) -> tuple[str, str] | None:
        """Return the message in a locale and that locale, or the English one; None without one."""
        return text_for(self.message, locale)

    def suggested_amounts(self, currency: str, frequency: Frequency) -> tuple[Money, ...]:
        """Return the suggested amounts, ascending. Raises UnknownCurrency."""
        amounts = self.presets.get(frequency, {}).get(currency)
        if amounts is None:
            return money.suggested_amounts(currency, frequency)
        return tuple(Money(amount, currency) for amount in amounts)

    def preselected_amount(self, currency: str, frequency: Frequency) -> Money | None:
        """Return the suggested amount that is preselected; None where none is."""
        if self.preselect is False:
            return None
        amount = self.defaults.get(frequency, {}).get(currency)
        if amount is not None:
            return Money(amount, currency)
        suggested = self.suggested_amounts(currency, frequency)
        return suggested[min(1, len(suggested) - 1)]


class VariantConfig(FormOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of the variants that are compared. An empty field is as in its campaign."""

    name: VariantName


class CampaignConfig(FormOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of one campaign."""

    id: CampaignId
    enabled: bool = True
    currency: str | None = None
    currencies: tuple[str, ...] = ()  # that the widget offers beside it
    followed_by: CampaignId | None = None  # the campaign that follows
    starts_on: date | None = None
    ends_on: date | None = None
    evaluate_after_days: Literal[30, 90] = 30
    goal: Goal | None = None
    matching: Matching | None = None
    variants: tuple[VariantConfig, ...] = ()

    def is_running(self, today: date) -> bool:
        """Whether readers see it on a day of the accounting zone."""
        has_started = self.starts_on is None or self.starts_on <= today
        return self.enabled and has_started and (self.ends_on is None or today <= self.ends_on)

    def is_over(self, today: date) -> bool:
        """Whether it has ended, on a day of the accounting zone."""
        return self.ends_on is not None and self.ends_on < today

    def options_for_variant(self, name: str | None) -> FormOptions:
        """Return what readers of a variant see; the campaign's own options for an unknown one."""
        for variant in self.variants:
            if variant.name == name:
                return merge_variant(self, variant)
        return self

    def experiment_config(self) -> "CampaignConfig":
        """Return the part on which the results of the variants depend."""
        return msgspec.structs.replace(
            self,
            enabled=True,
            starts_on=None,
            ends_on=None,
            followed_by=None,
            goal=None,
            matching=None,
        )


DEFAULT_OPTIONS = FormOptions()
LOCALISED_TEXTS = ("message", "headline", "button", "thanks")


def text_for(texts: Mapping[str, str], locale: str) -> tuple[str, str] | None:
    """Return a text in a locale and that locale, or the English one; None without one."""
    for candidate in (locale, i18n.DEFAULT_LOCALE):
        if candidate in texts:
            return texts[candidate], candidate
    return None


def merge_variant(config: CampaignConfig, variant: VariantConfig) -> FormOptions:
    """Return a campaign's options, overridden by those that a variant sets."""
    return FormOptions(
        message={**config.message, **variant.message},
        headline={**config.headline, **variant.headline},
        button={**config.button, **variant.button},
        thanks={**config.thanks, **variant.thanks},
        presets=_merge_by_frequency(config.presets, variant.presets),
        defaults=_merge_by_frequency(config.defaults, variant.defaults),
        default_frequency=variant.default_frequency or config.default_frequency,
        preselect=config.preselect if variant.preselect is None else variant.preselect,
    )


def _merge_by_frequency(base: Mapping[Any, Any], overrides: Mapping[Any, Any]) -> dict[Any, Any]:
    """Merge two tables by frequency and currency."""
    return {
        frequency: {**base.get(frequency, {}), **overrides.get(frequency, {})}
        for frequency in FREQUENCIES
        if frequency in base or frequency in overrides
    }


def to_dict(config: CampaignConfig) -> dict[str, Any]:  # JSON's own types
    """Return a campaign as it is stored and shown, without empty fields."""
    return _drop_empty(msgspec.to_builtins(config))


def _drop_empty(table: dict[str, Any]) -> dict[str, Any]:
    filled = {name: value for name, value in table.items() if value not in (None, {}, [], ())}
    if "variants" in filled:
        filled["variants"] = [_drop_empty(variant) for variant in filled["variants"]]
    if "matching" in filled:
        filled["matching"] = _drop_empty(filled["matching"])
    return filled
