"""Visit every page of a running demo, as a reader, a donor and a colleague."""

import asyncio
import re
from dataclasses import dataclass

from playwright.async_api import BrowserContext, Page

from payments.core.frequency import MONTH
from payments.mail import render
from payments.mail.brand import Brand
from payments.mail.outbox import MailKind
from tests.pictures.camera import Camera
from tests.support.keyboard import STRIPES_FORM, waits_for_the_thanks
from tests.support.mail_examples import variables_of_mails

SUPPORTER = "reader40@example.org"  # of the demo: the same every month, from its first day on
BOTH = ("light", "dark")
CHANGES = ("amount", "frequency", "day", "fee", "end", "skip", "pause", "card", "stop")
FINANCE = (
    "", "/why", "/months", "/transactions", "/recurring", "/payouts", "/refunds", "/sources",
    "/exports", "/periods", "/reminders", "/audit",
)  # fmt: skip
LOST = {
    "not found": "/nothing-here",
    "link of the newsletter": "/mailbox/confirm/x",
    "link of a reminder": "/remind/confirm/x",
    "link to cancel": "/stop/x",
    "link of a card": "/fix/x",
    "link to sign in": "/manage/enter/x",
}
ATTEMPTS, PAUSE_SECONDS = 120, 0.5  # in which the demo's worker sends a mail


@dataclass(frozen=True)
class Demo:
    """A running demo: its address, and a colleague's link, which works once."""

    url: str
    staff_link: str
    camera: Camera

    async def visits(self, page: Page, sheet: str, pages: dict[str, str], **how: object) -> None:
        """Take the picture of each page, by its name."""
        for name, path in pages.items():
            await page.goto(self.url + path)
            await self.camera.take(page, sheet, name, **how)  # type: ignore[arg-type]

    async def newest_mail(self, page: Page, address: str, path: str) -> tuple[str, str]:
        """Wait for a mail with a link that begins with a path: that link, and the mail's page."""
        for _ in range(ATTEMPTS):
            await page.goto(f"{self.url}/dev/inbox?to={address}")
            links = await page.eval_on_selector_all("main a", "all => all.map(one => one.href)")
            for place, link in enumerate(links):
                if link.startswith(self.url + path):
                    shown = next(one for one in reversed(links[:place]) if "/dev/inbox/" in one)
                    return link, shown
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError(f"no mail to {address} with {path}")


async def presses(page: Page, selector: str) -> None:
    """Press a button and wait for the next page. What must be declared is declared."""
    if await page.locator("#declaration").count():
        await page.locator("#declaration").check()
    async with page.expect_navigation(wait_until="commit"):
        await page.locator(selector).first.click()


async def gives(demo: Demo, visitor: BrowserContext) -> None:
    """A reader comes from a story, gives every month and is thanked."""
    page, take = await visitor.new_page(), demo.camera.take
    home = {"front page": "/", "article": "/article", "donate": "/donate"}
    await demo.visits(page, "readers", home, lights=BOTH)
    for language in ("ar", "de"):
        pages = {f"{name}, {language}": f"{path}?lang={language}" for name, path in home.items()}
        await demo.visits(page, "readers", pages, widths=(320,))
    await page.goto(f"{demo.url}/donate?frequency=monthly&amount=1&lang=en")
    await presses(page, "form[method=post] button.wide")
    await take(page, "readers", "donate, too little")
    await page.goto(f"{demo.url}/donate?frequency=monthly&amount=1000")
    await presses(page, "form[method=post] button.wide")
    await take(page, "readers", "Stripe's stand-in")
    for name, value in STRIPES_FORM.items():
        await page.get_by_label(name).fill(value)
    await page.locator("form button").first.click()
    await page.wait_for_url(f"{demo.url}/thanks*")
    await waits_for_the_thanks(page)
    await take(page, "readers", "thanks", lights=BOTH)
    await demo.visits(page, "readers", {"thanks, ar": "/thanks?lang=ar"}, widths=(320,))
    await demo.visits(page, "readers", {"safety": "/safety?lang=en"})
    await demo.visits(page, "readers", LOST)


async def is_reminded(demo: Demo, visitor: BrowserContext) -> None:
    """A reader asks for a reminder and for the newsletter, and confirms both."""
    page, take = await visitor.new_page(), demo.camera.take
    address = "another-reader@example.org"
    await page.goto(f"{demo.url}/donate?frequency=monthly&amount=1000")
    await presses(page, "form .not-ready button, form [formaction*=remind]")
    await take(page, "readers", "remind", lights=BOTH)
    await page.locator("#address").fill(address)
    await presses(page, "main form button")
    await take(page, "readers", "remind, sent")
    link, mail = await demo.newest_mail(page, address, "/remind/confirm/")
    await demo.visits(
        page, "mails", {"reminder to confirm": mail.removeprefix(demo.url)}, widths=(320,)
    )
    await page.goto(link)
    await take(page, "readers", "remind, confirm")
    await presses(page, "main form button")
    await take(page, "readers", "remind, set")
    await demo.visits(page, "readers", {"newsletter": "/newsletter"}, lights=BOTH)
    await page.locator("main input[name=address]").fill(address)
    await presses(page, "main form button.button")
    await take(page, "readers", "newsletter, not agreed")
    await page.locator("main input[type=checkbox]").check()
    await presses(page, "main form button.button")
    await take(page, "readers", "newsletter, sent")
    link, mail = await demo.newest_mail(page, address, "/mailbox/confirm/")
    await demo.visits(
        page, "mails", {"newsletter to confirm": mail.removeprefix(demo.url)}, widths=(320,)
    )
    await page.goto(link)
    await take(page, "readers", "newsletter, confirm")
    await presses(page, "main form button")
    await take(page, "readers", "newsletter, confirmed")


async def manages(demo: Demo, visitor: BrowserContext) -> None:
    """A donor signs in and looks at everything that can be changed."""
    page, take = await visitor.new_page(), demo.camera.take
    await demo.visits(page, "donors", {"sign in": "/manage"}, lights=BOTH)
    await page.locator("input[name=address]").fill(SUPPORTER)
    await presses(page, "main form button")
    await take(page, "donors", "sign in, sent")
    link, _ = await demo.newest_mail(page, SUPPORTER, "/manage/enter/")
    await page.goto(link)
    await take(page, "donors", "sign in, by the link")
    await presses(page, "main form button")
    await take(page, "donors", "contributions", lights=BOTH)
    path = await page.get_attribute(".subscriptions a", "href")
    assert path is not None
    path = re.sub(r"^https?://[^/]+|\?.*", "", path)
    await demo.visits(page, "donors", {"contribution": path}, lights=BOTH)
    await demo.visits(page, "donors", {name: f"{path}/{name}" for name in CHANGES})
    await demo.visits(page, "donors", {"payments": "/manage/payments"})
    papers = await page.eval_on_selector_all("main a", "all => all.map(one => one.pathname)")
    receipt = next(one for one in papers if "/receipts/" in one and not one.endswith("/pdf"))
    statement = next(one for one in papers if "/statements/" in one and not one.endswith("/pdf"))
    shown = {"receipt": receipt, "statement": statement}
    more = {"your data": "/manage/data", "erase": "/manage/data/erase"}
    await demo.visits(page, "donors", shown | more)
    for language in ("ar", "de"):
        pages = {"contributions": "/manage", "contribution": path, "day": f"{path}/day"} | shown
        pages = {f"{name}, {language}": f"{at}?lang={language}" for name, at in pages.items()}
        await demo.visits(page, "donors", pages, widths=(320,))


async def reads(demo: Demo, visitor: BrowserContext) -> None:
    """A mailbox holds each mail, neutral and in the newsroom's name, as a mail program shows it."""
    page = await visitor.new_page()
    lines = ("12 Mill Lane, Lindenau", "Lindenau Media was made up for this demo")
    brand = Brand("The Lindenau Lamp", "#7a3e00", "#f2b880", lines, None)
    for kind in MailKind:
        for name, of in ((f"{kind}", None), (f"{kind}, full", brand)):
            if of is not None and kind is MailKind.SIGN_IN:
                continue
            if of is None and kind in (MailKind.THANKS, MailKind.YEARLY_STATEMENT):
                continue
            await shows(demo, page, kind, name, "en", of)
    for locale in ("ar", "de"):
        await shows(demo, page, MailKind.THANKS, f"thanks, full, {locale}", locale, brand)
        await shows(demo, page, MailKind.RENEWS_SOON, f"renews_soon, {locale}", locale, None)
    await shows(demo, page, MailKind.THANKS, "thanks, full", "en", brand, light="dark")


async def shows(
    demo: Demo, page: Page, kind: MailKind, name: str, locale: str, brand: Brand | None,
    light: str = "light",
) -> None:  # fmt: skip
    """Take a mail's picture."""
    variables = variables_of_mails(locale, interval=MONTH, bare=False)
    await page.set_content(render.render(kind, locale, variables, brand).html)
    await demo.camera.take(page, "mails", name, widths=(320,), lights=(light,))


async def counts(demo: Demo, visitor: BrowserContext) -> None:
    """A colleague of finance looks at a year."""
    page = await visitor.new_page()
    await page.goto(demo.staff_link)
    await demo.camera.take(page, "finance", "sign in")
    await presses(page, "main form button:not([hidden])")
    pages = {path.strip("/") or "overview": f"/finance{path}" for path in FINANCE}
    await demo.visits(page, "finance", pages)
    await demo.visits(page, "finance", {"overview": "/finance"}, lights=("dark",))
    await page.goto(f"{demo.url}/finance/transactions")
    path = await page.locator('main a[href*="/finance/contributions/"]').first.get_attribute("href")
    assert path is not None
    shown = {"one contribution": path, "campaigns": "/staff/campaigns", "alerts": "/staff/alerts"}
    await demo.visits(page, "finance", shown)


TOUR = (gives, is_reminded, manages, reads, counts)
