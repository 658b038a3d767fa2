"""What the widget is given: its texts, and what a campaign suggests in it."""

from payments.core import i18n
from payments.core.campaign_schema import FormOptions
from payments.core.i18n import gettext_noop
from payments.core.settings import Settings
from payments.web.donate import safety

WIDGET_TEXTS = {
    "title": gettext_noop("Support {publication}"),
    "page": gettext_noop("Open the donation page"),
    "currency": gettext_noop("Currency"),
    "often": gettext_noop("How often?"),
    "once": gettext_noop("Once"),
    "monthly": gettext_noop("Monthly"),
    "annual": gettext_noop("Annual"),
    "much": gettext_noop("How much?"),
    "other": gettext_noop("Other amount"),
    "range": gettext_noop("From {min} to {max}"),
    "go": gettext_noop("Continue"),
    "go_once": gettext_noop("Continue with {amount}"),
    "go_monthly": gettext_noop("Continue with {amount} a month"),
    "go_annual": gettext_noop("Continue with {amount} a year"),
    "number": gettext_noop("Please enter an amount in digits, for example {example}"),
    "ambiguous": gettext_noop("Did you mean {one} or {two}?"),
    "pay": gettext_noop("You will pay on Stripe's page."),
    "remind": gettext_noop("Not ready to support today? Remind me later"),
    "snooze": gettext_noop("Not now"),
    "giving": gettext_noop("I already support you"),
}
ONLY_IN_PLAIN_HTML = ("title", "page")  # texts that the script does not print
DEFAULT_MESSAGE = gettext_noop("Gifts from readers help keep this reporting going.")


def words(locale: str) -> dict[str, str]:
    """Return the texts that the script prints, by their names in it."""
    translations = i18n.translations(locale)
    return {
        name: translations.gettext(text)
        for name, text in WIDGET_TEXTS.items()
        if name not in ONLY_IN_PLAIN_HTML
    }


def title(settings: Settings, locale: str) -> str:
    """Return the heading without a campaign's headline."""
    text = i18n.translations(locale).gettext(WIDGET_TEXTS["title"])
    return text.replace("{publication}", settings.publication_name)


def colors(settings: Settings) -> str:
    """Return the brand's colour in the light and in the dark; empty where it has none of its own.

    They are legible on the widget's own grounds and under its own text (`core/brand_colors`).
    """
    return f"{settings.brand_color} {settings.dark_color}" if settings.has_own_colors else ""


def offered_names(settings: Settings) -> list[str]:
    """Return the frequencies that are offered."""
    return [one.value for one in safety.offered_frequencies(settings)]


def default_message(locale: str) -> tuple[str, str]:
    """Return what is said without a campaign, and its locale."""
    return i18n.translations(locale).gettext(DEFAULT_MESSAGE), locale


def suggestions(settings: Settings, currency: str, options: FormOptions) -> dict[str, str]:
    """Return what is suggested and preselected, as attributes of the widget."""
    frequency = safety.initial_frequency(settings, options.default_frequency or "")
    preselected = options.preselected_amount(currency, frequency)
    suggested = {
        one: options.suggested_amounts(currency, one)
        for one in safety.offered_frequencies(settings)
    }
    return {
        "frequency": frequency.value,
        "amount": "none" if preselected is None else str(preselected.amount),
        "presets": ";".join(
            f"{one}:{','.join(str(amount.amount) for amount in amounts)}"
            for one, amounts in suggested.items()
        ),
    }
