"""The donor safety policy of a newsroom whose donors may be prosecuted: a TOML file.

    protected_countries = ["RU", "BY"]
    recurring = "refused"            # or "allowed": whether monthly and annual gifts are taken
    refunds = "none"                # or "auto": a refund is a second line at the donor's bank
    campaign_progress = "hidden"    # or "shown": how far a campaign's goal is reached, in tenths
    outgoing_events = "hidden"      # or "by_day": what other programs learn of a gift
    forbidden_descriptor_words = ["The Example", "example.news"]

    [texts.en]                      # instead of our own words, all six of them
    title = "…"
    who = "…"                       # who must not pay
    bank = "…"                      # what the bank sees
    later = "…"                     # that it may be used years later
    declaration = "…"               # what is ticked
    checkout = "…"                  # the same in short, on Stripe's page

It is read strictly: an unknown country, word or key stops the service at its start, because a
protection that is silently off is worse than none.
"""

import functools
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from babel import Locale, UnknownLocaleError
from msgspec import Meta

CountryCode = Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")]
DescriptorWord = Annotated[str, Meta(min_length=3, max_length=80)]
NoticeText = Annotated[str, Meta(min_length=10, max_length=900)]
STRIPE_CUSTOM_TEXT_MAX = 1200  # characters of a custom text at Checkout


class PolicyError(ValueError):
    """The file is not a policy. The message names the file and what is wrong with it."""


class RecurringRule(StrEnum):
    """Whether monthly and annual contributions are taken."""

    ALLOWED = "allowed"
    REFUSED = "refused"


class RefundRule(StrEnum):
    """What is done with a payment from a protected country."""

    NONE = "none"  # a person decides
    AUTO = "auto"  # it is refunded


class ProgressRule(StrEnum):
    """Whether readers read how far a campaign's goal is reached."""

    HIDDEN = "hidden"
    SHOWN = "shown"


class EventRule(StrEnum):
    """What other programs of the newsroom learn of a gift by our events."""

    HIDDEN = "hidden"  # nothing
    BY_DAY = "by_day"  # figures without a pseudonym, its day, once that day is over


class NoticeTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is shown before the amount, in one language."""

    title: NoticeText
    who: NoticeText
    bank: NoticeText
    later: NoticeText
    declaration: NoticeText
    checkout: NoticeText


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is protected, and how. Countries are ISO 3166 codes in upper case."""

    protected_countries: Annotated[tuple[CountryCode, ...], Meta(min_length=1, max_length=60)]
    recurring: RecurringRule = RecurringRule.REFUSED
    refunds: RefundRule = RefundRule.NONE
    campaign_progress: ProgressRule = ProgressRule.HIDDEN
    outgoing_events: EventRule = EventRule.HIDDEN
    forbidden_descriptor_words: Annotated[tuple[DescriptorWord, ...], Meta(max_length=100)] = ()
    texts: dict[str, NoticeTexts] = {}

    def protects(self, country: str | None) -> bool:
        """Whether a country is one whose residents must not be seen to pay. None is not."""
        return country in self.protected_countries


@functools.cache
def load(path: str) -> Policy:
    """Return the policy in a file, read once per process. Raises PolicyError."""
    try:
        policy = msgspec.toml.decode(Path(path).read_bytes(), type=Policy)
    except OSError as error:
        raise PolicyError(f"cannot read {path}: {type(error).__name__}") from None
    except msgspec.ValidationError as error:
        raise PolicyError(f"{path}: {error}") from None
    except (msgspec.DecodeError, ValueError):
        raise PolicyError(f"{path}: is not TOML") from None
    countries = Locale("en").territories
    for country in policy.protected_countries:
        if country not in countries:
            raise PolicyError(f"{path}: protected_countries: {country} is not a country's code")
    for language in policy.texts:
        try:
            Locale.parse(language)
        except (ValueError, UnknownLocaleError):
            raise PolicyError(f"{path}: texts: {language} is not a language") from None
    return policy
