"""The widget for a newsroom's own pages: a script, the snippet that loads it, and plain HTML for
where no script runs.

The snippet is a form that works without the script, which enhances it. Both lead to /donate by GET,
with the choice filled in: that page shows what the bank will show and the donor notice, it is where
requests are limited, and nothing is created by a URL that can be shared, bookmarked or opened
twice. All texts of the snippet come from the catalogues.

The script makes no request, so what it has to know is in the snippet: the texts, the frequencies
the policy allows, the donor notice, and the variants of a campaign, one of which it draws at
random. A snippet is copied anew when any of that changes. An old one loses no contribution and
circumvents nothing, for /donate applies the current rules.

The snippet names a built file by its hash and carries the hash (Subresource Integrity); every file
that was released stays (`widget_files`). /embed.js is the newest one.
"""

import functools
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from markupsafe import Markup

from payments.core import amount_input, i18n, message_markup, money
from payments.core.campaign_schema import DEFAULT_OPTIONS, FormOptions, text_for
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.core.settings import Settings
from payments.giving import checkout_session
from payments.giving.campaigns import EmbeddedCampaign
from payments.infra.context import Context
from payments.risk import donor_notice
from payments.web import rendering, request_locale, security_headers, widget_files
from payments.web.donate import campaign_script, safety, widget_facts
from payments.web.forms import AnyRequest

NEWEST_CACHE_CONTROL = "public, max-age=300"
HASHED_CACHE_CONTROL = "public, max-age=31536000, immutable"
LINK_ORDER = (Frequency.MONTHLY, Frequency.ONCE, Frequency.ANNUAL)
NO_CAMPAIGN = EmbeddedCampaign(DEFAULT_OPTIONS, MappingProxyType({}))


@get("/embed.js", include_in_schema=False)
async def serve_newest_widget(request: AnyRequest) -> Response[bytes]:
    """Return the newest file, for a snippet without a hash."""
    name = widget_files.built().current
    return widget_files.script_response(request, name, NEWEST_CACHE_CONTROL)


@get("/embed/{file_name:str}", include_in_schema=False)
async def serve_widget(
    ctx: NamedDependency[Context], request: AnyRequest, file_name: FromPath[str]
) -> Response[bytes]:
    """Return a file that was ever released, by its hash, or the script of a campaign by its id and
    a language. Raises NotFoundException.
    """
    name, _, suffix = file_name.rpartition(".")
    if name in widget_files.names() and suffix == "js":
        return widget_files.script_response(request, name, HASHED_CACHE_CONTROL)
    named = campaign_script.parse_name(file_name, ctx.settings.offered_locales)
    if named is None:
        raise NotFoundException
    body, cache_control = await campaign_script.script(ctx, *named)
    return widget_files.compressed_response(request, body, cache_control)


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


def embed_snippet(  # noqa: PLR0913 - the options of the command
    settings: Settings,
    *,
    base: str | None = None,
    locale: str = i18n.DEFAULT_LOCALE,
    currency: str | None = None,
    campaign: str = "",
    article: str = "",
    plain: bool = False,
    live: bool = False,
    embedded: EmbeddedCampaign = NO_CAMPAIGN,
) -> str:
    """Return HTML to copy: the widget with its form inside or, if `plain`, only links.

    If `live`, the widget is brought by the campaign's own script and says what the campaign says
    now; else by a file with a hash, and it says what this snippet says.

    Links are for mails and AMP. Of a campaign's variants the script draws one. Without a script the
    campaign's own options are shown, and /donate draws a variant.
    """
    options, variants = embedded.options, embedded.options_by_variant_key
    currency = currency or settings.default_currency
    translations = i18n.translations(locale)
    texts = {name: translations.gettext(text) for name, text in widget_facts.WIDGET_TEXTS.items()}
    title = widget_facts.title(settings, locale)
    notice = donor_notice.notice_for(settings.safety_policy, locale)
    return (
        _embed_environment()
        .get_template("embed_plain.html" if plain else "embed.html")
        .render(
            base=settings.base_url if base is None else base,
            script=widget_files.built().current,
            integrity=widget_files.integrity(widget_files.built().current),
            lang=i18n.language_tag(locale),
            dir=i18n.text_direction(locale),
            currency=currency,
            campaign=campaign,
            article=article,
            signs=" ".join(amount_input.CURRENCY_SYMBOLS[currency]),
            messages=_messages_of_variants(options, variants, locale),
            notice=notice and notice.checkout,
            texts={**texts, "title": title},
            colors=widget_facts.colors(settings),
            **_campaign_texts(options, locale),
            words=_json_attribute(widget_facts.words(locale)),
            live=f"{settings.base_url if base is None else base}"
            f"{campaign_script.address(campaign, locale)}"
            if live
            else "",
            variants=_variants_attribute(settings, currency, locale, variants),
            **widget_facts.suggestions(settings, currency, options),
            **_form_context(settings, currency, locale, options),
        )
    )


def _variants_attribute(
    settings: Settings, currency: str, locale: str, variants: Mapping[str, FormOptions]
) -> str:
    """Return the attributes that each variant sets on the widget, as JSON; empty without any."""
    attributes = [
        {
            "variant": key,
            **widget_facts.suggestions(settings, currency, options),
            **{fact: text for fact, text in _campaign_texts(options, locale).items() if text},
        }
        for key, options in variants.items()
    ]
    return _json_attribute(attributes) if attributes else ""


def _json_attribute(value: object) -> Markup:
    """Return a value as JSON for an attribute between single quotes, which leave it readable."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    escapes = {"&": "&amp;", "'": "&#39;", "<": "&lt;", ">": "&gt;"}
    return Markup("".join(escapes.get(one, one) for one in text))  # noqa: S704 - escaped just now


def _campaign_texts(options: FormOptions, locale: str) -> dict[str, str]:
    """Return the headline and the button's text of a campaign; empty where it sets none."""
    headline = text_for(options.headline, locale)
    button = text_for(options.button, locale)
    return {"heading": headline[0] if headline else "", "go": button[0] if button else ""}


def _messages_of_variants(
    options: FormOptions, variants: Mapping[str, FormOptions], locale: str
) -> list[dict[str, Any]]:
    """Return the campaign's own message and, where it differs, each variant's with its slot."""
    default = widget_facts.default_message(locale)
    own = options.message_for(locale) or default
    by_slot = {"message": own} | {
        key: message
        for key, variant in variants.items()
        if (message := variant.message_for(locale) or default) != own
    }
    return [
        {
            "slot": slot,
            "html": message_markup.to_html(message_markup.parse(text)),
            "lang_attrs": {} if language == locale else i18n.html_lang_attrs(language),
        }
        for slot, (text, language) in by_slot.items()
    ]


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
    text = i18n.translations(locale).gettext(widget_facts.WIDGET_TEXTS[f"go_{frequency}"])
    return text.replace("{amount}", amount)


@functools.cache
def _embed_environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(rendering.WEB_DIR / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
