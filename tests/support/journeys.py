"""What readers do from end to end with the keyboard alone, whichever browser they have.

Each journey is given a look: what is checked of every page on its way.
"""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Page

from payments.core import i18n
from payments.signups import reminder_sender
from tests.support import keyboard
from tests.support.browser import Site
from tests.support.reminders import DAY, READER, keys

# A page, its language, and the name of its picture.
Look = Callable[[Page, str, str], Awaitable[None]]
TYPED_DATE, DATE = "12122026", "2026-12-12"  # the same in every order of day and month


async def gives_from_a_story(site: Site, page: Page, locale: str, look: Look) -> None:
    """Give once, from the end of a story to the thanks."""
    say = i18n.translations(locale).gettext
    await page.goto(f"{site.url}/article")
    await look(page, locale, "article")
    await keyboard.reaches(page, say("Monthly"))
    await page.keyboard.press("ArrowLeft")
    await keyboard.presses(page, say("Continue"))
    assert urlsplit(page.url).path == "/donate"
    query = parse_qs(urlsplit(page.url).query)
    assert (query["frequency"], query["article"]) == (["once"], ["town-clock"])
    await look(page, locale, "donate")
    assert await page.locator("input[name=frequency][value=once]").is_checked()
    await keyboard.reaches(page, "$")  # the suggestion that is ticked
    await page.keyboard.press("ArrowRight")
    ticked = page.locator("input[name=amount_once]:checked")
    amount = await ticked.get_attribute("value")
    assert amount is not None
    assert amount.isdecimal()
    await keyboard.presses(page, say("Continue to secure payment"))
    assert page.url.startswith(site.room.sandbox.url)
    await keyboard.pays_at_stripe(page, site)
    await look(page, locale, "thanks-waiting")
    await site.room.runs_until_idle()
    await keyboard.waits_for_the_thanks(page)
    assert await page.inner_text("h1") == say("Thank you")
    await look(page, locale, "thanks")
    assert await site.room.rows("SELECT amount, frequency FROM contributions") == [
        (int(amount), "once")
    ]


async def gives_monthly(site: Site, page: Page) -> None:
    """Give every month, from the donation page to the thanks."""
    await page.goto(f"{site.url}/donate?frequency=once")
    await keyboard.reaches(page, "Once")
    await page.keyboard.press("ArrowRight")  # monthly
    await keyboard.presses(page, "Continue")
    await keyboard.pays_at_stripe(page, site)
    await site.room.runs_until_idle()
    await keyboard.waits_for_the_thanks(page)
    assert "Thank you" in await page.inner_text("h1")


async def skips_and_cancels(site: Site, page: Page) -> None:
    """Sign in, skip a payment of the monthly contribution, and cancel it."""
    await keyboard.signs_in(site, page)
    await keyboard.presses(page, "every month")
    await keyboard.presses(page, "Skip the next payment")
    await keyboard.presses(page, "Skip the payment")
    assert "skipped" in await page.inner_text("main")
    await keyboard.presses(page, "Cancel this contribution")
    await keyboard.presses(page, "Cancel my contribution")
    assert "Nothing more will be charged" in await page.inner_text("main")
    await site.room.runs_until_idle()
    assert await site.room.rows("SELECT status FROM subscriptions") == [("canceled",)]


async def works(site: Site) -> None:
    """Run what the worker runs each minute."""
    await reminder_sender.enqueue_due(site.room.ctx)
    await reminder_sender.send_confirmations(site.room.ctx)
    await site.room.runs_due_jobs()


def link(site: Site, path: str) -> str:
    """The one link of the newest mail whose path begins so."""
    mail = site.room.mails()[-1]
    assert mail.to == [READER]
    (address,) = set(re.findall(rf"{re.escape(site.url + path)}[\w.?=&-]+", mail.part()))
    return str(address)


async def asks_for_a_reminder(site: Site, page: Page, locale: str, look: Look) -> None:
    """Go from the form, every month, to the page of reminders."""
    say = i18n.translations(locale).gettext
    await page.goto(f"{site.url}/donate?frequency=monthly&amount=1000")
    await keyboard.reaches(page, say("Remind me later"))
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    await look(page, locale, "remind")
    assert "10" in await page.inner_text("main .lede")


async def is_reminded(site: Site, page: Page, locale: str, look: Look) -> None:
    """Ask for a reminder, confirm it, get it, come back by it, and stop it."""
    say = i18n.translations(locale).gettext
    await asks_for_a_reminder(site, page, locale, look)
    await keyboard.reaches(page, say("In a week: %(day)s").partition("%")[0])
    for _ in range(3):  # past the 1st and a month, to a day of their own
        await page.keyboard.press("ArrowDown")
    await keyboard.reaches(page, say("The day"))
    await page.keyboard.type(TYPED_DATE)
    assert await page.input_value("#on") == DATE
    await keyboard.reaches(page, say("E-mail address"))
    await page.keyboard.type(READER)
    await keyboard.reaches(page, say("Once more a week later, if I haven't given by then"))
    await page.keyboard.press("Space")
    await keyboard.presses(page, say("E-mail me a reminder"))
    assert await page.inner_text("h1") == say("Check your e-mail")
    await look(page, locale, "remind-asked")
    await works(site)
    await page.goto(link(site, "/remind/confirm/"))
    await look(page, locale, "remind-confirm")
    assert await site.room.rows("SELECT state FROM reminders") == [("unconfirmed",)]
    await keyboard.presses(page, say("Yes, remind me"))
    assert await page.inner_text("h1") == say("We will remind you")
    await look(page, locale, "remind-set")
    await site.room.advances_time(20 * DAY)
    await works(site)
    await comes_back(site, page, locale, look)
    await stops(site, page, locale, look)


async def comes_back(site: Site, page: Page, locale: str, look: Look) -> None:
    """The link of the reminder leads to the form as it was left."""
    assert len(site.room.mails()) == 2
    await page.goto(link(site, "/back/"))
    await look(page, locale, "back")
    assert await page.locator("input[name=frequency][value=monthly]").is_checked()
    assert await page.locator("input[name=amount_monthly][value='1000']").is_checked()
    await keyboard.presses(page, i18n.translations(locale).gettext("Continue to secure payment"))
    assert page.url.startswith(site.room.sandbox.url)


async def stops(site: Site, page: Page, locale: str, look: Look) -> None:
    """Cancel the reminder by its link; nothing more is sent or stored."""
    say = i18n.translations(locale).gettext
    await page.goto(link(site, "/remind/stop/"))
    await look(page, locale, "remind-stop")
    await keyboard.presses(page, say("Cancel it now"))
    assert await page.inner_text("h1") == say("No more reminders")
    await look(page, locale, "remind-stopped")
    await site.room.advances_time(8 * DAY)
    await works(site)
    assert len(site.room.mails()) == 2
    assert keys(site.room) == []
