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
from payments.core.campaign_schema import NOTHING_SAID, Offer
from payments.core.i18n import later
from payments.core.settings import Settings
from payments.giving import checkout_session
from payments.giving.campaigns import Embedded
from payments.giving.checkout_session import Frequency
from payments.infra.context import Runtime
from payments.risk import donor_notice
from payments.web import locale, security_headers, templates
from payments.web.donate import safety

SCRIPT = templates.HERE / "static" / "donate-form.js"
# What may lose its spaces: no text of the file has any of these.
SPARE = (
    *(" => ", " = ", " == ", " ?? ", " || ", " && ", " ? ", " : ", " + ", " - ", " < ", " > "),
    *("{ ", " }", ": ", ") {", "if (", "for (", " >= ", " <= ", " != ", "; "),
)
EVERYWHERE = {
    "access-control-allow-origin": "*",  # a script with a hash is asked for across origins
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "public, max-age=3600",
}
# As in donate-form.js, which holds them in English; a test compares.
WORDS = {
    "title": later("Support {publication}"),
    "often": later("How often?"),
    "once": later("Once"),
    "monthly": later("Monthly"),
    "annual": later("Annual"),
    "much": later("How much?"),
    "other": later("Other amount"),
    "range": later("From {min} to {max}"),
    "go": later("Continue"),
    "go_once": later("Continue with {amount}"),
    "go_monthly": later("Continue with {amount} a month"),
    "go_annual": later("Continue with {amount} a year"),
    "number": later("Please write an amount in digits, for example {example}"),
    "ambiguous": later("Did you mean {one} or {two}?"),
    "card": later("Card"),
    "bank": later("Bank"),
    "wallet": later("Wallet"),
    "pay": later("You will pay on Stripe's page."),
    "remind": later("Remind me later"),
    "snooze": later("Not now"),
    "giving": later("I already give"),
}
LINKED_FIRST = (Frequency.MONTHLY, Frequency.ONCE, Frequency.ANNUAL)
NOTHING = Embedded(NOTHING_SAID, MappingProxyType({}))
MESSAGE = later("Gifts from readers help keep this reporting going.")


@functools.cache
def script() -> bytes:
    """The widget as it is served."""
    lines = [line.strip() for line in SCRIPT.read_text(encoding="utf-8").splitlines()]
    text = "\n".join(line for line in lines if line and not line.startswith("//"))
    text = re.sub(r" ?/\*.*?\*/ ?", "", text)
    for spaced in SPARE:
        text = text.replace(spaced, spaced.replace(" ", ""))
    text = re.sub(r", (?!for )", ",", text)  # a sentence of ours goes on so, no code does
    return re.sub(r"(?<=[;,{}(])\n|\n(?=[})])", "", text).encode()


def integrity() -> str:
    """The hash by which a browser knows the file."""
    return f"sha384-{base64.b64encode(hashlib.sha384(script()).digest()).decode()}"


@get("/embed.js", include_in_schema=False)
async def embed_js() -> Response[bytes]:
    """The widget."""
    return Response(script(), media_type="text/javascript", headers=EVERYWHERE)


@get("/article", include_in_schema=False)
async def sample_article(rt: NamedDependency[Runtime]) -> Response[str]:
    """A story with the widget at its end, for the demo."""
    embed = snippet(rt.settings, base="", spoken=locale.spoken(), article="town-clock")
    answer = templates.page(rt, "article.html", embed=Markup(embed))  # noqa: S704 - escaped by its template
    answer.headers["content-security-policy"] = security_headers.with_script(rt.settings)
    return answer


# --- what a newsroom puts on its pages ------------------------------------------------------------


def snippet(
    settings: Settings,
    *,
    base: str | None = None,
    spoken: str = i18n.SOURCE,
    currency: str | None = None,
    campaign: str = "",
    article: str = "",
    plain: bool = False,
    says: Embedded = NOTHING,
) -> str:
    """HTML to copy: the widget with its form inside, or only links for mails and AMP.

    `says` is a campaign's. The widget draws one of its lots; without scripts its own offer is
    shown, and a variant drawn where the reader comes to the form.
    """
    offer, lots = says.offer, says.lots
    code = currency or settings.currency
    words = i18n.translations(spoken)
    said = {name: words.gettext(text) for name, text in WORDS.items()}
    notice = donor_notice.of(settings.policy, spoken)
    return (
        _templates()
        .get_template("embed_plain.html" if plain else "embed.html")
        .render(
            base=settings.base_url if base is None else base,
            integrity=integrity(),
            lang=i18n.tag(spoken),
            dir=i18n.direction(spoken),
            currency=code,
            campaign=campaign,
            article=article,
            publication=settings.publication,
            messages=_messages(offer, lots, spoken),
            notice=notice and notice.checkout,
            say={**said, "title": said["title"].replace("{publication}", settings.publication)},
            words="" if spoken == i18n.SOURCE else json.dumps(said, ensure_ascii=False),
            variants=json.dumps(
                [{"variant": lot, **_suggested(settings, code, one)} for lot, one in lots.items()]
            )
            if lots
            else "",
            **_suggested(settings, code, offer),
            **_amounts(settings, code, spoken, offer),
        )
    )


def _messages(offer: Offer, lots: Mapping[str, Offer], spoken: str) -> list[dict[str, Any]]:
    """What is said without scripts and, if they do not all say the same, with each lot."""
    said = [
        one.said_in(spoken) or (i18n.translations(spoken).gettext(MESSAGE), spoken)
        for one in (offer, *lots.values())
    ]
    if len(set(said)) == 1:
        del said[1:]
    return [
        {"text": text, "marks": {} if tongue == spoken else i18n.marked(tongue)}
        for text, tongue in said
    ]


def _suggested(settings: Settings, code: str, offer: Offer) -> dict[str, str]:
    """What is suggested, as attributes of the widget."""
    often = safety.chosen(settings, offer.default_frequency or "")
    ticked = offer.ticked(code, often)
    suggested = {f: offer.amounts(code, f) for f in safety.offered(settings)}
    return {
        "frequency": often.value,
        "amount": "none" if ticked is None else str(ticked.amount),
        "presets": ";".join(
            f"{f}:{','.join(str(gift.amount) for gift in gifts)}" for f, gifts in suggested.items()
        ),
    }


def _amounts(settings: Settings, code: str, spoken: str, offer: Offer) -> dict[str, Any]:
    """What is suggested, for the form and for links."""
    offered = safety.offered(settings)
    suggested = {f: offer.amounts(code, f) for f in offered}
    often = safety.chosen(settings, offer.default_frequency or "")
    lowest, highest = money.minimum(code), money.maximum(code, settings.maximum_gifts)
    return {
        "offered": [f.value for f in offered],
        "lowest": lowest.amount,
        "highest": highest.amount,
        "choices": [(gift.amount, money.format(gift, spoken)) for gift in suggested[often]],
        "links": [
            (
                f"{checkout_session.again_url(frequency, gift)}",
                words_for(frequency, money.format(gift, spoken), spoken),
            )
            for frequency in sorted(offered, key=LINKED_FIRST.index)
            for gift in (offer.ticked(code, frequency) or suggested[frequency][0],)
        ],
    }


def words_for(frequency: Frequency, amount: str, spoken: str) -> str:
    """What a button says that leads on with an amount."""
    text = i18n.translations(spoken).gettext(WORDS[f"go_{frequency}"])
    return text.replace("{amount}", amount)


@functools.cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(templates.HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
