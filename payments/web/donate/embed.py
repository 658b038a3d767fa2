"""The widget for other people's pages: one file, the snippet that calls it, and plain HTML for
where no script runs.

The snippet is a form that works by itself; the script makes more of it. Both lead to /donate with
the choice filled in, by GET: that page shows what the bank will show and whatever a donor must
read before paying, it is where the shield stands, and nothing is created by an address that can be
shared, bookmarked or opened twice. All the words of the snippet come from the catalogues, so a new
language is a catalogue here too.

What the newsroom decided is in the snippet and nowhere else, because the widget asks nobody: which
frequencies the policy leaves, what must be read before paying, and the variants of a campaign with
their lots, one of which the widget draws. So a snippet is copied anew when any of that changes; an
old one loses no gift and gets around nothing, for /donate goes by what is so now.

The file is served without its comments and spare spaces. Its hash is in the snippet: a page that
carries an old snippet beside a new file is left with the plain form, never with code nobody chose.
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
from payments.core.settings import Settings
from payments.giving import checkout_session
from payments.giving.campaigns import EmbeddedCampaign
from payments.infra.context import Context
from payments.risk import donor_notice
from payments.web import rendering, request_locale, security_headers
from payments.web.donate import safety

WIDGET_SOURCE = rendering.WEB_DIR / "static" / "donate-form.js"
# What may lose its spaces: no text of the file has any of these.
REMOVABLE_SPACES = (
    *(" => ", " = ", " == ", " ?? ", " || ", " && ", " ? ", " : ", " + ", " - ", " < ", " > "),
    *("{ ", " }", ": ", ") {", "if (", "for (", " >= ", " <= ", " != ", "; "),
)
CROSS_ORIGIN_HEADERS = {
    "access-control-allow-origin": "*",  # a script with a hash is asked for across origins
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "public, max-age=3600",
}
# As in donate-form.js, which holds them in English; a test compares.
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
    "number": gettext_noop("Please write an amount in digits, for example {example}"),
    "ambiguous": gettext_noop("Did you mean {one} or {two}?"),
    "card": gettext_noop("Card"),
    "bank": gettext_noop("Bank"),
    "wallet": gettext_noop("Wallet"),
    "pay": gettext_noop("You will pay on Stripe's page."),
    "remind": gettext_noop("Remind me later"),
    "snooze": gettext_noop("Not now"),
    "giving": gettext_noop("I already give"),
}
LINK_ORDER = (Frequency.MONTHLY, Frequency.ONCE, Frequency.ANNUAL)
NO_CAMPAIGN = EmbeddedCampaign(DEFAULT_OPTIONS, MappingProxyType({}))
DEFAULT_MESSAGE = gettext_noop("Gifts from readers help keep this reporting going.")


@functools.cache
def widget_script() -> bytes:
    """The widget as it is served."""
    lines = [line.strip() for line in WIDGET_SOURCE.read_text(encoding="utf-8").splitlines()]
    text = "\n".join(line for line in lines if line and not line.startswith("//"))
    text = re.sub(r" ?/\*.*?\*/ ?", "", text)
    for spaced in REMOVABLE_SPACES:
        text = text.replace(spaced, spaced.replace(" ", ""))
    text = re.sub(r", (?!for )", ",", text)  # a sentence of ours goes on so, no code does
    return re.sub(r"(?<=[;,{}(])\n|\n(?=[})])", "", text).encode()


def script_integrity() -> str:
    """The hash by which a browser knows the file."""
    return f"sha384-{base64.b64encode(hashlib.sha384(widget_script()).digest()).decode()}"


@get("/embed.js", include_in_schema=False)
async def serve_widget() -> Response[bytes]:
    """The widget."""
    return Response(widget_script(), media_type="text/javascript", headers=CROSS_ORIGIN_HEADERS)


@get("/article", include_in_schema=False)
async def sample_article(ctx: NamedDependency[Context]) -> Response[str]:
    """A story with the widget at its end, for the demo."""
    embed = embed_snippet(
        ctx.settings, base="", locale=request_locale.current(), article="town-clock"
    )
    answer = rendering.render(ctx, "demo_article.html", embed=Markup(embed))  # noqa: S704 - escaped by its template
    answer.headers["content-security-policy"] = security_headers.policy_with_script(ctx.settings)
    return answer


# --- what a newsroom puts on its pages ------------------------------------------------------------


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
    """HTML to copy: the widget with its form inside, or only links for mails and AMP.

    `says` is a campaign's. The widget draws one of its lots; without scripts its own offer is
    shown, and a variant drawn where the reader comes to the form.
    """
    offer, lots = embedded.options, embedded.options_by_variant_key
    code = currency or settings.default_currency
    words = i18n.translations(locale)
    said = {name: words.gettext(text) for name, text in WIDGET_TEXTS.items()}
    notice = donor_notice.notice_for(settings.safety_policy, locale)
    return (
        _embed_environment()
        .get_template("embed_plain.html" if plain else "embed.html")
        .render(
            base=settings.base_url if base is None else base,
            integrity=script_integrity(),
            lang=i18n.language_tag(locale),
            dir=i18n.text_direction(locale),
            currency=code,
            campaign=campaign,
            article=article,
            publication=settings.publication_name,
            messages=_messages_of_variants(offer, lots, locale),
            notice=notice and notice.checkout,
            say={
                **said,
                "title": said["title"].replace("{publication}", settings.publication_name),
            },
            words="" if locale == i18n.DEFAULT_LOCALE else json.dumps(said, ensure_ascii=False),
            variants=json.dumps(
                [
                    {"variant": lot, **_widget_attributes(settings, code, one)}
                    for lot, one in lots.items()
                ]
            )
            if lots
            else "",
            **_widget_attributes(settings, code, offer),
            **_form_amounts(settings, code, locale, offer),
        )
    )


def _messages_of_variants(
    options: FormOptions, variants: Mapping[str, FormOptions], locale: str
) -> list[dict[str, Any]]:
    """What is said without scripts and, if they do not all say the same, with each lot."""
    said = [
        one.message_for(locale) or (i18n.translations(locale).gettext(DEFAULT_MESSAGE), locale)
        for one in (options, *variants.values())
    ]
    if len(set(said)) == 1:
        del said[1:]
    return [
        {"text": text, "marks": {} if tongue == locale else i18n.html_lang_attrs(tongue)}
        for text, tongue in said
    ]


def _widget_attributes(settings: Settings, code: str, options: FormOptions) -> dict[str, str]:
    """What is suggested, as attributes of the widget."""
    often = safety.initial_frequency(settings, options.default_frequency or "")
    ticked = options.preselected_amount(code, often)
    suggested = {
        f: options.suggested_amounts(code, f) for f in safety.offered_frequencies(settings)
    }
    return {
        "frequency": often.value,
        "amount": "none" if ticked is None else str(ticked.amount),
        "presets": ";".join(
            f"{f}:{','.join(str(gift.amount) for gift in gifts)}" for f, gifts in suggested.items()
        ),
    }


def _form_amounts(
    settings: Settings, code: str, locale: str, options: FormOptions
) -> dict[str, Any]:
    """What is suggested, for the form and for links."""
    offered = safety.offered_frequencies(settings)
    suggested = {f: options.suggested_amounts(code, f) for f in offered}
    often = safety.initial_frequency(settings, options.default_frequency or "")
    lowest, highest = money.min_gift(code), settings.max_gift_for(code)
    return {
        "offered": [f.value for f in offered],
        "lowest": lowest.amount,
        "highest": highest.amount,
        "choices": [(gift.amount, money.format(gift, locale)) for gift in suggested[often]],
        "links": [
            (
                f"{checkout_session.prefilled_form_url(frequency, gift)}",
                continue_label(frequency, money.format(gift, locale), locale),
            )
            for frequency in sorted(offered, key=LINK_ORDER.index)
            for gift in (options.preselected_amount(code, frequency) or suggested[frequency][0],)
        ],
    }


def continue_label(frequency: Frequency, amount: str, locale: str) -> str:
    """What a button says that leads on with an amount."""
    text = i18n.translations(locale).gettext(WIDGET_TEXTS[f"go_{frequency}"])
    return text.replace("{amount}", amount)


@functools.cache
def _embed_environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(rendering.WEB_DIR / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
