"""A campaign's own script: what the widget says now, so that no snippet has to be copied again.

It is small, is cached for five minutes, and loads the built file by its hash. What it brings takes
precedence over the attributes of the snippet, which may have been lost on the way into an article.
It names every currency that the campaign takes, so that a reader can choose, and nobody remembers
the choice. Without the database it says what is said without a campaign, for half a minute.
"""

import functools
import json
import re
from typing import Any

import msgspec

from payments.core import amount_input, i18n, message_markup, money
from payments.core.campaign_schema import DEFAULT_OPTIONS, FormOptions, text_for
from payments.core.identifiers import SLUG_REGEX
from payments.core.settings import Settings
from payments.giving import campaigns, offered_methods
from payments.giving.campaigns import Campaign
from payments.infra.context import Context
from payments.risk import donor_notice
from payments.web import widget_files
from payments.web.donate import goal_texts, widget_facts

DEVICES = {"apple_pay": "apple", "google_pay": "other"}  # that may have a wallet
CACHE_CONTROL = "public, max-age=300"
WITHOUT_DATABASE_CACHE_CONTROL = "public, max-age=30"
_FILE_NAME = re.compile(
    rf"(?:(?P<campaign>{SLUG_REGEX})\.)?(?P<tag>[A-Za-z]{{2,3}}(?:[-_][A-Za-z0-9]{{2,8}}){{0,3}})\.js"
)
_LOAD = (
    ";(globalThis.donateForm??=[]).unshift({facts});"
    "import({file}).then(()=>document.querySelectorAll('donate-form').forEach((one)=>one.refresh()),"
    "()=>{{}});\n"
)


def address(campaign_id: str, locale: str) -> str:
    """Return the path of a script, `/embed/spring.en.js` or, without a campaign, `/embed/en.js`."""
    name = f"{campaign_id}." if campaign_id else ""
    return f"/embed/{name}{i18n.language_tag(locale)}.js"


def parse_name(file_name: str, offered: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the campaign and the locale of a file's name; None for a name that is of none.

    A content system names the language in its own way, and may have one that is not offered: then
    it is the first that is.
    """
    match = _FILE_NAME.fullmatch(file_name)
    if match is None:
        return None
    return match["campaign"] or "", i18n.negotiate_locale(match["tag"], offered=offered)


async def script(ctx: Context, campaign_id: str, locale: str) -> tuple[bytes, str]:
    """Return the script of a campaign in a language, and how long it may be cached."""
    shown: Campaign | None = None
    cache_control = CACHE_CONTROL
    try:
        shown = await campaigns.shown_now(ctx, campaign_id)
    except campaigns.DATABASE_UNAVAILABLE_ERRORS:
        cache_control = WITHOUT_DATABASE_CACHE_CONTROL
    facts = _facts(ctx, campaign_id, shown, locale)
    taken = await offered_methods.brands(ctx)
    for code, of_currency in facts["currencies"].items():
        of_currency["methods"] = [_mark(brand) for brand in taken.get(code, taken[""])]
    file = f"{ctx.settings.base_url}/embed/{widget_files.built().current}.js"
    text = _LOAD.format(facts=_javascript(facts), file=_javascript(file))
    return text.encode(), cache_control


@functools.cache
def _marks() -> dict[str, dict[str, str]]:
    """Return the marks of brands: name, colour, and path in a square of 24 (simple-icons, CC0)."""
    marks: dict[str, dict[str, str]] = msgspec.json.decode(
        (widget_files.FOLDER / "marks.json").read_bytes()
    )
    return marks


def _mark(brand: str) -> list[Any]:
    """Return a brand as the widget's script builds it. A wallet says which device has it."""
    mark = _marks()[brand]
    attributes = {"class": "mark"}
    if device := DEVICES.get(brand):
        attributes["data-device"] = device
    path = ["path", {"d": mark["path"], "fill": mark["color"]}]
    drawing = (
        [["svg", {"viewBox": "0 0 24 24", "aria-hidden": "true"}, path]] if mark["path"] else []
    )
    return ["span", attributes, *drawing, mark["name"]]


def _javascript(value: object) -> str:
    """Return a value as JavaScript that can stand in a page as well."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _facts(ctx: Context, campaign_id: str, shown: Campaign | None, locale: str) -> dict[str, Any]:
    settings = ctx.settings
    config = None if shown is None else shown.parsed_config()
    options: FormOptions = config or DEFAULT_OPTIONS
    variants = {} if shown is None else shown.as_embedded().options_by_variant_key
    goal = goal_texts.goal_nodes(None if shown is None else shown.public_goal(ctx), locale)
    first = (config and config.currency) or settings.default_currency
    codes = [first, *(code for code in (config.currencies if config else ()) if code != first)]
    offered = widget_facts.offered_names(settings)
    facts = {
        "campaign": campaign_id,
        "shown": campaign_id if shown is None else shown.id,
        "lang": i18n.language_tag(locale),
        "dir": i18n.text_direction(locale),
        "base": settings.base_url,
        "words": widget_facts.words(locale),
        "heading": widget_facts.title(settings, locale),
        "offered": " ".join(offered),
        "colors": widget_facts.colors(settings),
        **_option_facts(settings, options, codes, locale),
    }
    if variants:
        facts["variants"] = [
            {"variant": key, **_option_facts(settings, variant, codes, locale)}
            for key, variant in variants.items()
        ]
    for one in (facts, *facts.get("variants", ())):
        one["message"] += goal
    return facts


def _option_facts(
    settings: Settings, options: FormOptions, codes: list[str], locale: str
) -> dict[str, Any]:
    """Return what a variant may change."""
    facts: dict[str, Any] = {
        "frequency": widget_facts.suggestions(settings, codes[0], options)["frequency"],
        "message": _message_nodes(settings, options, locale),
        "currencies": {code: _currency_facts(settings, code, options) for code in codes},
    }
    if headline := text_for(options.headline, locale):
        facts["heading"] = headline[0]
    if button := text_for(options.button, locale):
        facts["go"] = button[0]
    return facts


def _currency_facts(settings: Settings, code: str, options: FormOptions) -> dict[str, str | int]:
    suggested = widget_facts.suggestions(settings, code, options)
    return {
        "presets": suggested["presets"],
        "amount": suggested["amount"],
        "min": money.min_gift(code).amount,
        "max": settings.max_gift_for(code).amount,
        "signs": " ".join(amount_input.CURRENCY_SYMBOLS[code]),
    }


def _message_nodes(settings: Settings, options: FormOptions, locale: str) -> list[list[Any]]:
    """Return the message and the donor notice as the widget's script builds them."""
    text, language = options.message_for(locale) or widget_facts.default_message(locale)
    nodes = message_markup.to_nodes(message_markup.parse(text))
    if language != locale:
        nodes = [["div", i18n.html_lang_attrs(language), *nodes]]
    if notice := donor_notice.notice_for(settings.safety_policy, locale):
        nodes.append(["p", {}, ["strong", {}, notice.checkout]])
    return nodes
