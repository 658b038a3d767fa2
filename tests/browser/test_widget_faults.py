"""Whatever a content system, an old browser or a policy makes of the widget: no empty place."""

import itertools
import json
import re

import pytest
from playwright.async_api import BrowserContext, Page, Route

from payments.giving import campaigns
from payments.web import widget_files
from payments.web.donate import embed
from tests.support.article import article_html, button_text, open_article
from tests.support.browser import (
    NARROW,
    Site,
    axe_violations,
    in_each_light,
    overflow,
    screenshot,
)
from tests.support.campaigns import FIRST_USERS_MESSAGE, apply_campaigns

pytestmark = pytest.mark.anyio

# What a reader sees in the place of the widget: the widget, the plain form, or nothing.
SEEN = """() => {
  const drawn = document.querySelector("donate-form")?.shadowRoot?.querySelector("section");
  const seen = (one) => !!one && one.checkVisibility() && one.getBoundingClientRect().height > 40;
  return { widget: seen(drawn), plain: seen(document.querySelector("form[action]")) };
}"""
WIDGET, PLAIN = {"widget": True, "plain": False}, {"widget": False, "plain": True}


def snippet_of(site: Site, **how: object) -> str:
    return embed.embed_snippet(site.room.settings, article="a-story", **how)  # type: ignore[arg-type]


async def is_seen(page: Page) -> dict[str, bool]:
    await page.wait_for_function("!!customElements.get('donate-form') || !document.scripts.length")
    seen: dict[str, bool] = await page.evaluate(SEEN)
    return seen


def curled(text: str, *, single: bool = False) -> str:
    """What a content system makes of straight quotes around attributes."""
    text = re.sub(r'="([^"]*)"', r"=”\1″", text)
    return text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") if single else text


async def test_whatever_a_content_system_makes_of_it_a_reader_sees_a_form(site: Site) -> None:
    whole = snippet_of(site)
    script, _, element = whole.partition("\n")
    opening = element[: element.index(">\n")]
    cases = [
        *[(whole.replace('lang="en"', f'lang="{tag}"', 1), WIDGET) for tag in
          ("en_US", "ru_RU.UTF-8", "de_CH@euro", "x", "english", "", "“en”")],
        (whole.replace(' lang="en" dir="ltr"', "", 1), WIDGET),
        (whole.replace('currency="usd"', 'currency="usdollar"', 1), PLAIN),
        (whole.replace('currency="usd"', 'currency="$"', 1), PLAIN),
        (whole.replace('currency="usd"', 'currency="”usd”"', 1), WIDGET),
        (whole.replace('currency="usd"', "", 1), PLAIN),
        (re.sub(r'base="([^"]*)"', r'base="“\1”"', whole), WIDGET),
        (re.sub(r'base="[^"]*"', 'base="javascript:alert(1)"', whole), PLAIN),
        (re.sub(r'base="[^"]*"', "", whole), PLAIN),
        (re.sub(r'min="\d+" max="\d+"', 'min="a" max="b"', whole), PLAIN),
        (re.sub(r'presets="[^"]*"', 'presets="?"', whole), WIDGET),
        (re.sub(r'frequency="\w+"', 'frequency="weekly"', whole), WIDGET),
        (re.sub(r'amount="\w+"', 'amount="lots"', whole), WIDGET),
        (re.sub(r"words='[^']*'", "words='{“often”:“How often?”}'", whole), PLAIN),
        (re.sub(r"words='[^']*'", """words='{"often":"?"}'""", whole), PLAIN),
        (re.sub(r"words='[^']*'", "", whole), PLAIN),
        (whole.replace("words=", "variants='[{“variant”' currencies='{' words=", 1), WIDGET),
        (script + re.sub(r"<donate-form[^>]*>", "<donate-form>", element), PLAIN),  # no attribute
        (script + curled(opening) + element[len(opening) :], WIDGET),
        (script + curled(opening, single=True) + element[len(opening) :], PLAIN),
        (f"<p>{whole}</p>", WIDGET),  # a parser ends the paragraph, and with it the widget, early
        (element, PLAIN),
        (whole.replace('type="module" ', "defer ", 1), WIDGET),
        (whole.replace('type="module" ', "async ", 1), WIDGET),
        (whole + script, WIDGET),
    ]  # fmt: skip
    async with site.visitor() as visitor:
        for html, expected in cases:
            page = await open_article(site, visitor, article_html(html))
            assert await is_seen(page) == expected, html[:700]


async def test_the_language_of_the_page_in_any_spelling_is_no_error(site: Site) -> None:
    without = snippet_of(site).replace(' lang="en" dir="ltr"', "", 1)
    async with site.visitor() as visitor:
        for tag in ("en_US", "x", "", "pt_BR.UTF-8"):
            page = await open_article(site, visitor, article_html(without, lang=tag))
            assert await is_seen(page) == WIDGET, tag


async def test_an_attribute_changed_to_nonsense_leaves_what_was_drawn(site: Site) -> None:
    async with site.visitor() as visitor:
        page = await open_article(site, visitor, article_html(snippet_of(site)))
        for name, value in (("currency", "nothing"), ("words", "{"), ("lang", "_"), ("words", "")):
            await page.evaluate(
                "(pair) => document.querySelector('donate-form').setAttribute(...pair)",
                [name, value],
            )
            assert await is_seen(page) == WIDGET, name


# --- browsers of the last five years --------------------------------------------------------------

LOOK = """() => {
  const root = document.querySelector("donate-form").shadowRoot;
  const look = (node) => {
    const { backgroundColor, color, borderTopStyle, borderTopWidth, borderTopColor }
      = getComputedStyle(node);
    const border = borderTopStyle == "none" ? 0 : parseFloat(borderTopWidth);
    return { background: backgroundColor, color, border, edge: borderTopColor };
  };
  return { ticked: look(root.querySelector("[name=often]:checked + span")),
    other: look(root.querySelector("[name=often]:not(:checked) + span")),
    button: look(root.querySelector("form>button")), section: look(root.querySelector("section")) };
}"""
FEATURES = ("light-dark(", "color-mix(", ":focus-visible", "::slotted", "accent-color", "@supports")


async def without(visitor: BrowserContext, feature: str) -> None:
    """Serve the widget as a browser reads it that does not know a feature of CSS."""
    name = widget_files.built().current
    file = widget_files.script(name).decode()
    assert feature in file
    # A name nobody knows: the rule is dropped, and a query about it answers no.
    spoilt = file.replace(feature, feature[:2] + "unknown-" + feature[2:])

    async def answer(route: Route) -> None:
        await route.fulfill(body=spoilt, headers={"content-type": "text/javascript"})

    await visitor.route(f"**/embed/{name}.js", answer)


async def test_without_a_feature_of_css_what_is_ticked_differs_and_borders_show(
    site: Site,
) -> None:
    html = article_html(re.sub(r' integrity="[^"]*"', "", snippet_of(site)))
    async with site.visitor() as visitor:
        for feature in FEATURES:
            await without(visitor, feature)
            page = await open_article(site, visitor, html)
            assert await is_seen(page) == WIDGET, feature
            seen = []
            async for light in in_each_light(page):
                look = await page.evaluate(LOOK)
                seen.append(look)
                case = (feature, light)
                assert look["ticked"]["background"] != look["other"]["background"], case
                assert look["ticked"]["color"] != look["other"]["color"], case
                assert look["button"]["background"] not in (
                    "rgba(0, 0, 0, 0)", look["section"]["background"]), case  # fmt: skip
                for part in look.values():
                    assert part["border"] >= 1, (case, part)
                edge = look["other"]["edge"]
                assert edge not in ("rgba(0, 0, 0, 0)", look["other"]["background"]), case
                await page.locator("donate-form").evaluate(
                    "(widget) => widget.style.setProperty('--donate-accent', '#123456')"
                )
                look = await page.evaluate(LOOK)
                assert look["button"]["background"] == "rgb(18, 52, 86)", case
                await page.locator("donate-form").evaluate(
                    "(widget) => widget.style.removeProperty('--donate-accent')"
                )
            assert seen[0]["section"] != seen[1]["section"], "the dark was not drawn"


@pytest.mark.parametrize(("policy", "seen"), [(None, WIDGET), ("style-src 'self'", PLAIN)])
async def test_without_constructed_sheets_it_is_styled_where_allowed_else_plain(
    site: Site, policy: str | None, seen: dict[str, bool]
) -> None:
    async with site.visitor() as visitor:
        await visitor.add_init_script("window.CSSStyleSheet = undefined")
        page = await open_article(site, visitor, article_html(snippet_of(site)), policy=policy)
        assert await is_seen(page) == seen
    site.page_errors[:] = [one for one in site.page_errors if "inline style" not in one]


# --- what the reader chose ------------------------------------------------------------------------


async def chosen(page: Page) -> list[str]:
    widget = page.locator("donate-form")
    return [
        await widget.locator("[name=often]:checked").input_value(),
        await widget.locator("[name=much]:checked").input_value(),
        await widget.locator("#own").input_value(),
        await button_text(page),
    ]


async def test_moved_or_drawn_again_it_keeps_what_the_reader_chose(site: Site) -> None:
    async with site.visitor() as visitor:
        page = await open_article(site, visitor, article_html(snippet_of(site)))
        await page.locator("donate-form [name=often][value=once]").check()
        await page.locator("donate-form [name=much][value=other]").check()
        await page.locator("donate-form #own").fill("33")
        before = await chosen(page)
        assert before == ["once", "other", "33", "Continue with $33"]
        for what in (
            "document.body.append(widget)",
            "box.append(widget); document.body.prepend(box)",
            "widget.remove(); main.append(widget)",
            "widget.setAttribute('words', widget.getAttribute('words'))",
            "widget.setAttribute('lang', 'en-GB')",
            "main.append(frame); frame.contentDocument.body.append(widget); main.append(widget)",
        ):
            await page.evaluate(
                "{ const [widget, main] = ['donate-form', 'main'].map((one) => "
                "document.querySelector(one)); const [box, frame] = ['div', 'iframe'].map((one) => "
                f"document.createElement(one)); {what} }}"
            )
            assert await is_seen(page) == WIDGET, what
            assert [one.replace("US", "") for one in await chosen(page)] == before, what
        await page.locator("donate-form").get_by_role("button", name="Not now").click()
        await page.evaluate(
            "localStorage.clear(); document.body.append(document.querySelector('donate-form'))"
        )
        assert await is_seen(page) == {"widget": False, "plain": False}  # the reader said so


async def test_what_is_ticked_in_the_plain_form_is_ticked_when_the_script_comes(site: Site) -> None:
    script, _, element = snippet_of(site).partition("\n")
    async with site.visitor() as visitor:
        page = await open_article(site, visitor, article_html(element), policy=None)
        await page.locator("#donate-once").check()
        await page.locator("#donate-own").fill("12")
        source = re.search(r'src="([^"]+)"', script)
        assert source is not None
        await page.add_script_tag(url=source[1], type="module")
        assert await is_seen(page) == WIDGET
        assert (await chosen(page))[::2] == ["once", "12"]


# --- the policies of the page ---------------------------------------------------------------------

SELF = "default-src 'none'; script-src 'self'"
POLICIES = {
    "strict": f"{SELF}; base-uri 'none'",
    "forms to itself": f"{SELF}; form-action https://news.example",
    "no form": f"{SELF}; form-action 'none'",
    "trusted types": f"{SELF}; require-trusted-types-for 'script'; trusted-types 'none'",
    "script by hash": "default-src 'none'; script-src '{integrity}'",
}


async def test_under_every_policy_its_button_leads_on(site: Site) -> None:
    integrity = widget_files.integrity(widget_files.built().current)
    async with site.visitor() as visitor:
        for name, press in itertools.product(POLICIES, ("click", "Enter")):
            policy = POLICIES[name].replace("{integrity}", integrity)
            page = await open_article(site, visitor, article_html(snippet_of(site)), policy=policy)
            assert await is_seen(page) == WIDGET, name
            await page.locator("donate-form [name=often][value=once]").check()
            await page.locator("donate-form [name=much][value=other]").check()
            await page.locator("donate-form #own").fill("30")
            if press == "click":
                await page.locator("donate-form [part=button]").click()
            else:
                await page.keyboard.press("Enter")
            await page.wait_for_url("**/donate?*frequency=once&amount=3000&currency=usd*")


async def test_where_no_script_may_run_and_no_form_be_sent_a_link_leads_on(site: Site) -> None:
    policy = "default-src 'none'; script-src 'none'; form-action 'none'"
    async with site.visitor() as visitor:
        page = await open_article(site, visitor, article_html(snippet_of(site)), policy=policy)
        assert (await page.evaluate(SEEN)) == PLAIN
        await page.get_by_role("link", name="Open the donation page").click()
        await page.wait_for_url("**/donate?lang=en")
    assert all("violates" in one for one in site.page_errors)
    site.page_errors.clear()


async def test_merged_into_another_file_or_put_in_place_later_it_is_drawn(site: Site) -> None:
    file = widget_files.script(widget_files.built().current).decode()
    _, _, element = snippet_of(site).partition("\n")
    merged = f"<script>var first = 1;\n{file}\n;const e = 2;\n{file}</script>"
    async with site.visitor() as visitor:
        for html in (merged + element, element + merged):
            page = await open_article(site, visitor, article_html(html), policy=None)
            assert await is_seen(page) == WIDGET
            for what in (
                "const html = main.innerHTML; main.innerHTML = ''; main.innerHTML = html",
                "main.replaceChildren(...[...main.children].map((one) => one.cloneNode(true)))",
            ):
                await page.evaluate(f"{{ const main = document.querySelector('main'); {what} }}")
                assert await is_seen(page) == WIDGET, what


async def test_a_form_of_the_page_after_the_widget_stays_where_it_is(site: Site) -> None:
    html = re.sub(r"(?s)<form.*</form>", "", snippet_of(site)) + '<form id="search"></form>'
    async with site.visitor() as visitor:
        page = await open_article(site, visitor, article_html(html))
        await page.locator("donate-form section").wait_for()
        assert await page.locator("main > #search").count() == 1


# --- a campaign's own script ----------------------------------------------------------------------

GOAL = {"amount": 5000000, "currency": "usd"}
ASKED = """
[[campaigns]]
id = "asked"
currencies = ["eur", "jpy"]
message.en = {message}
headline.en = "{headline}"
button.en = "Stand with us"
goal = {{amount = 5000000, currency = "usd"}}
matching = {{sponsor = "<b>Blue</b>", ceiling = 9000, currency = "usd", ends_on = 2099-12-31}}
"""


async def test_a_change_of_a_campaign_shows_in_articles_and_a_reader_chooses_the_currency(
    site: Site,
) -> None:
    snippet = snippet_of(site, campaign="asked", live=True)
    bare = re.sub(r"<donate-form[^>]*>", "<donate-form>", snippet)  # as a sanitiser leaves it
    message = json.dumps(FIRST_USERS_MESSAGE)
    for headline, html in (("First", snippet), ("Second", bare), ("Third", f"<p>{snippet}</p>")):
        await apply_campaigns(site.room, ASKED.format(message=message, headline=headline))
        async with site.room.ctx.sessions.begin() as session:
            campaign = await campaigns.get(session, "asked")
            campaign.progress = {"counted_on": "2026-11-22", "step": 3, "goal": GOAL}
        async with site.visitor(viewport=NARROW) as visitor:
            page = await open_article(site, visitor, article_html(html))
            widget = page.locator("donate-form")
            await widget.get_by_text(headline).wait_for()
            assert await is_seen(page) == WIDGET
            paragraphs = await widget.locator("section > p").all_inner_texts()
            assert paragraphs[:6] == FIRST_USERS_MESSAGE.split("\n\n")
            goal, matching, counted = (p.replace("\u2068", "").replace("\u2069", "") for p in
                                       paragraphs[6:9])  # fmt: skip
            assert goal == "Our goal is $50,000. At least 30% of it has been given so far."
            assert "<b>Blue</b> adds $1, up to $90 in total." in matching
            assert "Only gifts in USD count" in counted
            assert await widget.locator("progress").get_attribute("value") == "3"
            async for light in in_each_light(page):
                assert await overflow(page) <= 0
                assert await axe_violations(page) == []
                await screenshot(page, f"widget-first-user-320-{light}")
            assert await widget.locator("[part=methods] .mark").first.inner_text() == "Visa"
            assert await widget.get_by_text("Apple Pay").count() == 0  # this browser has none
            await page.set_viewport_size({"width": 1200, "height": 800})
            await screenshot(page, "widget-first-user-wide")
            await widget.locator("[name=often][value=once]").check()
            await widget.get_by_label("Currency").select_option("jpy")
            assert await widget.locator("[name=often]:checked").input_value() == "once"
            assert "¥" in await button_text(page)
            await widget.get_by_label("Currency").select_option("eur")
            label = await button_text(page)
            assert label.startswith("Stand with us · €")
            assert label.endswith(" · Once")
            await widget.locator("[part=button]").click()
            await page.wait_for_url("**/donate?*frequency=once*currency=eur*campaign=asked*")
            assert await page.locator("[name=frequency][value=once]").is_checked()
            await page.go_back()
            await widget.get_by_label("Currency").wait_for()
            assert await page.evaluate("Object.keys(localStorage)") == []
            assert await visitor.cookies() == []
