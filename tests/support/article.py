"""An article of a newsroom's own site, with the widget in it, as a browser gets it."""

from playwright.async_api import BrowserContext, Page, Route

from tests.support.browser import Site

STRICT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def article_html(snippet: str, *, lang: str = "en", direction: str = "ltr", head: str = "") -> str:
    """The page of an article that ends in a snippet."""
    return (
        f'<!doctype html><html lang="{lang}" dir="{direction}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" '
        f'content="light dark"><title>A story</title>{head}</head><body><main><h1>A story</h1>'
        f"{snippet}<p>The end.</p></main></body></html>"
    )


async def open_article(
    site: Site, visitor: BrowserContext, html: str, *, policy: str | None = STRICT_POLICY
) -> Page:
    """Open an article under the content policy of its site, in the visitor's page if there is one:
    a new page costs three times as much.
    """

    async def answer(route: Route) -> None:
        headers = {"content-type": "text/html"}
        if policy is not None:
            headers["content-security-policy"] = policy
        await route.fulfill(body=html, headers=headers)

    await visitor.unroute(f"{site.url}/story")
    await visitor.route(f"{site.url}/story", answer)
    page = visitor.pages[0] if visitor.pages else await visitor.new_page()
    await page.goto(f"{site.url}/story")
    return page


async def button_text(page: Page) -> str:
    """The button's text, without the marks that isolate an amount's direction."""
    text = await page.locator("donate-form [part=button]").inner_text()
    return text.translate(dict.fromkeys((0x2068, 0x2069, 0x200E)))
