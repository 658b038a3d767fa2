"""The widget for a newsroom's own pages: a script, the snippet that loads it, and plain HTML for
where no script runs.

The snippet is a form that works without the script, which enhances it. Both lead to /donate by GET,
with the choice filled in: that page shows what the bank will show and the donor notice, it is where
requests are limited, and nothing is created by a URL that can be shared, bookmarked or opened
twice. All texts of the snippet come from the catalogues.

The script makes no request, so what it has to know is in the snippet: the frequencies the policy
allows, the donor notice, and the variants of a campaign, one of which it draws at random. A snippet
is copied anew when any of that changes. An old one loses no contribution and circumvents nothing,
for /donate applies the current rules.

The script is served without comments and superfluous spaces. The snippet carries its hash
(Subresource Integrity): a page with an old snippet and a new script falls back to the plain form.
"""

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response, get
from litestar.di import NamedDependency
from markupsafe import Markup

from payments.core import i18n, money
from payments.core.campaign_schema import DEFAULT_OPTIONS, FormOptions
from payments.core.frequency import Frequency
from payments.core.i18n import gettext_noop
from payments.core.money import Money
from payments.core.settings import Settings
from payments.giving import checkout_session
from payments.giving.campaigns import EmbeddedCampaign
from payments.infra.context import Context
from payments.risk import donor_notice
from payments.web import rendering, request_locale, security_headers
from payments.web.donate import safety

WIDGET_SOURCE = rendering.WEB_DIR / "static" / "donate-form.js"
# Parts of the script that can lose their spaces, because none of its texts contains them.
REMOVABLE_SPACES = (
    *(" => ", " = ", " == ", " ?? ", " || ", " && ", " ? ", " : ", " + ", " - ", " < ", " > "),
    *("{ ", " }", ": ", ") {", "if (", "for (", " >= ", " <= ", " != ", "; "),
)
CROSS_ORIGIN_HEADERS = {
    "access-control-allow-origin": "*",  # a script with a hash is fetched across origins
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "public, max-age=3600",
}
# The same in English as in donate-form.js; a test compares.
WIDGET_TEXTS = {
    "title": gettext_noop("Support {publication}"),
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
    "card": gettext_noop("Card"),
    "bank": gettext_noop("Bank"),
    "wallet": gettext_noop("Wallet"),
    "pay": gettext_noop("You will pay on Stripe's page."),
    "remind": gettext_noop("Remind me later"),
    "snooze": gettext_noop("Not now"),
    "giving": gettext_noop("I already support you"),
}
LINK_ORDER = (Frequency.MONTHLY, Frequency.ONCE, Frequency.ANNUAL)
NO_CAMPAIGN = EmbeddedCampaign(DEFAULT_OPTIONS, MappingProxyType({}))
DEFAULT_MESSAGE = gettext_noop("Gifts from readers help keep this reporting going.")


@functools.cache
def widget_script() -> bytes:
    """Return the script as it is served."""
    lines = [line.strip() for line in WIDGET_SOURCE.read_text(encoding="utf-8").splitlines()]
    text = "\n".join(line for line in lines if line and not line.startswith("//"))
    text = re.sub(r" ?/\*.*?\*/ ?", "", text)
    for part in REMOVABLE_SPACES:
        text = text.replace(part, part.replace(" ", ""))
    text = re.sub(r", (?!for )", ",", text)  # only a sentence continues with "for"
    return re.sub(r"(?<=[;,{}(])\n|\n(?=[})])", "", text).encode()


def script_integrity() -> str:
    """Return the hash of the script, as its `integrity` attribute has it."""
    return f"sha384-{base64.b64encode(hashlib.sha384(widget_script()).digest()).decode()}"


@get("/embed.js", include_in_schema=False)
async def serve_widget() -> Response[bytes]:
    """Return the script."""
    return Response(widget_script(), media_type="text/javascript", headers=CROSS_ORIGIN_HEADERS)


@get("/article", include_in_schema=False)
async def sample_article(ctx: NamedDependency[Context]) -> Response[str]:
    """Show an article with the widget at its end, for the demo."""
    snippet = embed_snippet(
        ctx.settings, base="", locale=request_locale.current(), article="town-clock"
    )
    trusted = Markup(snippet)  # noqa: S704 - escaped by its template
    response = rendering.render(ctx, "demo_article.html", embed=trusted)
    response.headers["content-security-policy"] = security_headers.policy_with_script(ctx.settings)
    return response


# --- the snippet ----------------------------------------------------------------------------------


def embed_snippet(
    settings: Settings,
    *,
    base: str | None = None,
    locale: str = i18n.DEFAULT_LOCALE,
    currency: str | None = None,
    campaign: str = "",
    article: str = "",
    plain: bool = False,
    embedded: EmbeddedCampaign = NO_CAMPAIGN,
) -> str:
    """Return HTML to copy: the widget with its form inside or, if `plain`, only links.

    Links are for mails and AMP. Of a campaign's variants the script draws one. Without a script the
    campaign's own options are shown, and /donate draws a variant.
    """
    options, variants = embedded.options, embedded.options_by_variant_key
    currency = currency or settings.default_currency
    translations = i18n.translations(locale)
    texts = {name: translations.gettext(text) for name, text in WIDGET_TEXTS.items()}
    title = texts["title"].replace("{publication}", settings.publication_name)
    notice = donor_notice.notice_for(settings.safety_policy, locale)
    return (
        _embed_environment()
        .get_template("embed_plain.html" if plain else "embed.html")
        .render(
            base=settings.base_url if base is None else base,
            integrity=script_integrity(),
            lang=i18n.language_tag(locale),
            dir=i18n.text_direction(locale),
            currency=currency,
            campaign=campaign,
            article=article,
            publication=settings.publication_name,
            messages=_messages_of_variants(options, variants, locale),
            notice=notice and notice.checkout,
            texts={**texts, "title": title},
            words="" if locale == i18n.DEFAULT_LOCALE else json.dumps(texts, ensure_ascii=False),
            variants=_variants_attribute(settings, currency, variants),
            **_widget_attributes(settings, currency, options),
            **_form_context(settings, currency, locale, options),
        )
    )


def _variants_attribute(
    settings: Settings, currency: str, variants: Mapping[str, FormOptions]
) -> str:
    """Return the attributes that each variant sets on the widget, as JSON; empty without any."""
    attributes = [
        {"variant": key, **_widget_attributes(settings, currency, options)}
        for key, options in variants.items()
    ]
    return json.dumps(attributes) if attributes else ""


def _messages_of_variants(
    options: FormOptions, variants: Mapping[str, FormOptions], locale: str
) -> list[dict[str, Any]]:
    """Return the campaign's own message and, unless all are the same, each variant's."""
    default = (i18n.translations(locale).gettext(DEFAULT_MESSAGE), locale)
    messages = [one.message_for(locale) or default for one in (options, *variants.values())]
    if len(set(messages)) == 1:
        del messages[1:]
    return [
        {
            "text": text,
            "lang_attrs": {} if language == locale else i18n.html_lang_attrs(language),
        }
        for text, language in messages
    ]


def _widget_attributes(settings: Settings, currency: str, options: FormOptions) -> dict[str, str]:
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


def _form_context(
    settings: Settings, currency: str, locale: str, options: FormOptions
) -> dict[str, Any]:
    """Return what the form and the links print. Limits and values are in minor units."""
    offered = safety.offered_frequencies(settings)
    suggested = {one: options.suggested_amounts(currency, one) for one in offered}
    frequency = safety.initial_frequency(settings, options.default_frequency or "")
    return {
        "offered": [one.value for one in offered],
        "lowest": money.min_gift(currency).amount,
        "highest": settings.max_gift_for(currency).amount,
        "choices": [
            (amount.amount, money.format(amount, locale)) for amount in suggested[frequency]
        ],
        "links": [
            _link(one, options.preselected_amount(currency, one) or suggested[one][0], locale)
            for one in sorted(offered, key=LINK_ORDER.index)
        ],
    }


def _link(frequency: Frequency, amount: Money, locale: str) -> tuple[str, str]:
    """Return the path and the text of a link to the form, filled in."""
    path = checkout_session.prefilled_form_url(frequency, amount)
    return path, continue_label(frequency, money.format(amount, locale), locale)


def continue_label(frequency: Frequency, amount: str, locale: str) -> str:
    """Return the text of a button that goes on with an amount, which is ready to print."""
    text = i18n.translations(locale).gettext(WIDGET_TEXTS[f"go_{frequency}"])
    return text.replace("{amount}", amount)


@functools.cache
def _embed_environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(rendering.WEB_DIR / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
