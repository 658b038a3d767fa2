"""<donate-form> on another site's page, under the strictest content security policy."""

# ruff: noqa: RUF001 - digits of another script look like what they are not

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import BrowserContext, Page

from payments.core import i18n
from payments.core.settings import Settings
from payments.giving import campaigns
from payments.risk.risk_level import RiskLevel
from payments.web.donate import embed
from tests.support.article import article_html, button_text, open_article
from tests.support.browser import (
    NARROW,
    WIDE,
    Site,
    axe_violations,
    in_each_light,
    overflow,
    screenshot,
)
from tests.support.campaigns import TESTED
from tests.support.risk import set_risk_level
from tests.support.safety_policy import POLICY as POLICY_FILE
from tests.support.safety_policy import policy_file

pytestmark = pytest.mark.anyio

ARABIC = ("ar-EG", "rtl")
# Every text in the shadow root, with the contrast to what is painted behind it.
CONTRAST = """
() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = color; pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let n = node; n; n = n.parentElement ?? n.getRootNode().host) {
      const paint = rgba(getComputedStyle(n).backgroundColor);
      if (paint[3] == 255) return paint;
    }
    return [255, 255, 255];
  };
  const root = document.querySelector("donate-form").shadowRoot, found = [];
  for (const node of root.querySelectorAll("*")) {
    const own = [...node.childNodes].some((n) => n.nodeType == 3 && n.data.trim());
    if (!own || !node.checkVisibility()) continue;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(behind(node))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.textContent.trim()]);
  }
  return found;
}
"""


async def story(
    site: Site,
    visitor: BrowserContext,
    *,
    ui_locale: str = "en",
    page_language: tuple[str, str] | None = None,
    attributes: str = "",
    settings: Settings | None = None,
    **options: Any,  # noqa: ANN401 - those of embed_snippet
) -> Page:
    """Open an article with the snippet at its end.

    `page_language` is the language and direction of an article that differs from the widget's.
    """
    settings = settings or site.room.settings
    snippet = embed.embed_snippet(settings, locale=ui_locale, article="a-story", **options)
    lang, direction = page_language or (ui_locale, "ltr")
    original = f'lang="{ui_locale}" dir="{i18n.text_direction(ui_locale)}"'
    assert original in snippet
    snippet = snippet.replace(original, f'lang="{lang}" dir="{direction}" {attributes}', 1)
    html = article_html(snippet, lang=lang, direction=direction)
    return await open_article(site, visitor, html)


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


async def test_it_can_be_read_and_used_in_any_light_width_and_direction(site: Site) -> None:
    for size in (NARROW, WIDE):
        async with site.visitor(viewport=size) as visitor:
            for ui_locale, language in (("en", None), ("ru", None), ("ar", ARABIC)):
                page = await story(site, visitor, ui_locale=ui_locale, page_language=language)
                await page.locator("donate-form").get_by_role("radio").last.check()
                await page.locator("donate-form [part=button]").click()
                await page.locator("donate-form [role=alert]").wait_for()
                async for light in in_each_light(page):
                    case = (size, light, ui_locale, language)
                    assert await overflow(page) <= 0, case
                    first = (size, ui_locale, language) == (NARROW, "en", None)
                    assert await axe_violations(page, light, colours=first) == [], case
                    contrasts = await page.evaluate(CONTRAST)
                    assert len(contrasts) > 18, case
                    assert [one for one in contrasts if one[0] < 4.5] == [], case


async def test_its_choices_are_large_enough_for_a_finger(site: Site) -> None:
    async with site.visitor(viewport=NARROW) as visitor:
        page = await story(site, visitor)
        for choice in await page.locator("donate-form label.choice").all():
            box = await choice.bounding_box()
            assert box is not None
            assert box["height"] >= 44
        for link in await page.locator("donate-form .link").all():
            box = await link.bounding_box()
            assert box is not None
            assert box["height"] >= 24


async def test_with_the_keyboard_alone_a_reader_gets_to_the_form_filled_in(site: Site) -> None:
    async with site.visitor() as visitor:
        page = await story(site, visitor)
        assert await button_text(page) == "Continue with $5 a month"
        await page.keyboard.press("Tab")
        await page.keyboard.press("ArrowRight")
        assert await button_text(page) == "Continue with $50 a year"
        await page.keyboard.press("Tab")
        for _ in range(3):  # past the last suggestion to an amount of one's own
            await page.keyboard.press("ArrowRight")
        await page.keyboard.press("Tab")
        await page.keyboard.type("33,50")
        assert await button_text(page) == "Continue with $33.50 a year"
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/donate?*")
        assert query(page) == {
            "frequency": "annual", "amount": "3350", "currency": "usd", "article": "a-story",
            "lang": "en",
        }  # fmt: skip
        assert await page.locator("#other_annual").input_value() == "33.50"


async def test_an_amount_that_can_be_read_twice_is_asked_about(site: Site) -> None:
    async with site.visitor() as visitor:
        page = await story(site, visitor)
        await page.get_by_label("Other amount", exact=True).check()
        own = page.locator("donate-form #own")
        await own.fill("1.250")
        assert await button_text(page) == "Continue"
        await page.locator("donate-form [part=button]").click()
        question = await page.locator("donate-form [role=alert]").inner_text()
        assert "1,250" in question
        assert "1.25" in question
        assert await own.get_attribute("aria-invalid") == "true"
        assert urlsplit(page.url).path == "/story"
        await page.locator("donate-form [role=alert] button").first.click()
        assert await button_text(page) == "Continue with $1,250 a month"
        await own.fill("1,50")
        await page.locator("donate-form [part=button]").click()
        assert "From" in await page.locator("donate-form [role=alert]").inner_text()


async def test_digits_of_another_script_are_digits(site: Site) -> None:
    async with site.visitor(viewport=NARROW) as visitor:
        page = await story(site, visitor, page_language=ARABIC)
        assert await button_text(page) == "Continue with \u200f5\u00a0US$ a month"
        await page.get_by_label("Other amount", exact=True).check()
        await page.locator("donate-form #own").fill("١٢٫٥٠")
        await page.locator("donate-form [part=button]").click()
        await page.wait_for_url("**/donate?*")
        assert query(page)["amount"] == "1250"


async def test_whoever_says_not_now_is_not_asked_again_and_nothing_else_is_stored(
    site: Site,
) -> None:
    async with site.visitor() as visitor:
        page = await story(site, visitor)
        await page.get_by_role("button", name="Not now").click()
        assert not await page.locator("donate-form").is_visible()
        await page.reload()
        assert not await page.locator("donate-form").is_visible()
        assert await page.evaluate("Object.keys(localStorage)") == ["donate-form"]
        assert await visitor.cookies() == []
        await page.evaluate("localStorage.setItem('donate-form', Date.now() - 1)")
        await page.reload()
        assert await page.locator("donate-form").is_visible()


async def test_a_supporter_the_page_knows_of_is_not_asked(site: Site) -> None:
    async with site.visitor() as visitor:
        page = await story(site, visitor, attributes="supporter")
        assert not await page.locator("donate-form").is_visible()


async def test_the_page_hears_of_it_and_may_step_in(site: Site) -> None:
    async with site.visitor() as visitor:
        page = await story(site, visitor)
        await page.evaluate(
            """() => {
              window.heard = [];
              for (const name of ["choose", "submit", "remind"])
                document.addEventListener(`donate-form:${name}`, (event) => {
                  window.heard.push([name, event.detail?.amount ?? null]);
                  event.preventDefault();
                });
            }"""
        )
        await page.locator("donate-form [name=much][value='1000']").check()
        await page.locator("donate-form [part=button]").click()
        later = page.get_by_role("link", name="Not ready to support today? Remind me later")
        await later.click()
        link = await later.get_attribute("href")
        assert link is not None
        assert link.startswith(f"{site.url}/remind?frequency=monthly&amount=1000&currency=usd")
        heard = await page.evaluate("window.heard")
        assert heard == [["choose", 1000], ["submit", 1000], ["remind", None]]
        assert urlsplit(page.url).path == "/story"


@pytest.mark.parametrize(("draw", "variant"), [("0.1", "a-1w"), ("0.9", "b-1w")])
async def test_a_variant_is_drawn_in_the_browser_and_nothing_of_it_is_stored_there(
    site: Site, draw: str, variant: str
) -> None:
    await campaigns.apply_file(site.room.ctx, TESTED.encode())
    async with site.room.ctx.sessions() as session:
        embedded = (await campaigns.get(session, "tested")).as_embedded()
    async with site.visitor(viewport=NARROW) as visitor:
        await visitor.add_init_script(f"Math.random = () => {draw}")
        page = await story(site, visitor, campaign="tested", embedded=embedded)
        message = "As always." if variant == "a-1w" else "A new word."
        visible = page.locator("donate-form [slot]").filter(visible=True)
        assert await visible.all_inner_texts() == [message]
        assert await axe_violations(page) == []
        assert await overflow(page) <= 0
        if variant == "b-1w":  # nothing is ticked: the browser itself asks
            assert await button_text(page) == "Continue"
            await page.locator("donate-form [part=button]").click()
            assert urlsplit(page.url).path == "/story"
            missing = "donate-form [name=much]:invalid"
            assert await page.locator(missing).count() == 3
            await page.locator("donate-form [name=much][value='1400']").check()
        await screenshot(page, f"widget-{variant}")
        assert await page.evaluate("Object.keys(localStorage)") == []
        await page.locator("donate-form [part=button]").click()
        await page.wait_for_url("**/donate?*")
        assert query(page)["variant"] == variant
        assert await page.get_by_text(message).is_visible()
        assert await visitor.cookies() == []
    assert await site.room.count("campaign_impressions") == 0


async def test_where_donors_may_be_prosecuted_it_warns_before_the_amount_and_offers_once(
    site: Site, tmp_path: Path
) -> None:
    file = policy_file(tmp_path, POLICY_FILE.replace('"allowed"', '"refused"'))
    guarded = site.room.settings.model_copy(update={"donor_safety_policy": file})
    for size in (NARROW, WIDE):
        async with site.visitor(viewport=size) as visitor:
            for ui_locale, text in (("en", "Do not pay if you are"), ("ru", "Беларусь")):
                page = await story(site, visitor, ui_locale=ui_locale, settings=guarded)
                warning = await page.locator("donate-form").get_by_text(text).bounding_box()
                amounts = await page.locator("donate-form [part=amount]").bounding_box()
                assert warning is not None
                assert amounts is not None
                assert warning["y"] + warning["height"] <= amounts["y"]
                often = page.locator("donate-form [name=often]")
                assert [await one.input_value() for one in await often.all()] == ["once"]
                async for light in in_each_light(page):
                    first = (size, ui_locale) == (NARROW, "en")
                    assert await axe_violations(page, light, colours=first) == []
                    assert await overflow(page) <= 0
                    contrasts = await page.evaluate(CONTRAST)
                    assert [one for one in contrasts if one[0] < 4.5] == []
                    await screenshot(page, f"widget-guarded-{ui_locale}-{size['width']}-{light}")


async def test_without_scripts_its_form_does_the_same(site: Site) -> None:
    async with site.visitor(java_script_enabled=False) as visitor:
        page = await story(site, visitor, ui_locale="ru")
        await page.get_by_label("Один раз").check()
        await page.locator("#donate-own").fill("12,50")
        await page.get_by_role("button", name="Продолжить").click()
        await page.wait_for_url("**/donate?*")
        assert await page.locator("html").get_attribute("lang") == "ru"
        assert await page.locator("#other_once").input_value() == "12,50"


async def test_in_an_attack_the_browser_works_and_the_reader_only_waits(site: Site) -> None:
    await set_risk_level(site.room, RiskLevel.CHALLENGE)
    async with site.visitor() as visitor:
        page = await story(site, visitor)
        await page.locator("donate-form [part=button]").click()
        await page.wait_for_url("**/donate?*")
        await page.get_by_role("button", name="Continue").click()
        await page.wait_for_url(f"{site.room.sandbox.url}/**")
