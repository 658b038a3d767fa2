"""What readers do in the demo: give, change their minds, ask to be reminded.

Each at a browser of their own. What they change they change behind a link from a mail.
"""

from payments.core import money
from payments.core.money import Money
from payments.giving.checkout_session import Frequency
from payments.ops.demo.browser import Browser, Page
from payments.ops.demo.people import DECLINED, GOOD, MONTHLY, STORIES, Supporter
from payments.ops.demo.year import Year
from payments.sandbox.reader import pay


async def gives(year: Year, person: Supporter) -> None:
    """Fill in the form of a link and pay, or think better of it on Stripe's page."""
    link = f"/donate?lang={person.lang}&campaign={person.campaign}&article={person.story}"
    async with year.browser() as browser:
        page = await browser.opens(f"{link}&currency={person.currency}")
        checkout = await _sends(browser, page, person.frequency, person.minor)
    if person.hesitates:
        return
    if person.mistypes:
        await pay(checkout, card=DECLINED, email=person.address)
    await pay(checkout, card=person.card, email=person.address)
    year.given.append(person)


async def _sends(browser: Browser, page: Page, frequency: Frequency, minor: int) -> str:
    """Choose in the form to give; gives the address of Stripe's page."""
    chosen = {"frequency": frequency, f"amount_{frequency}": str(minor)}
    answer = await browser.presses(page, "/donate", **chosen)
    return answer.headers["location"]


async def looks(year: Year, campaign: str) -> None:
    """Open a campaign's form, and give nothing."""
    async with year.browser() as browser:
        await browser.opens(f"/donate?campaign={campaign}&article={STORIES[0]}")


# --- a promise is changed -------------------------------------------------------------------------


async def _changes(year: Year, person: Supporter, what: str, **typed: str) -> str:
    """Sign in by a link, open the page of a change and press its button. Gives where it led."""
    year.done.add(person.number)
    async with year.browser() as browser:
        await browser.presses(await browser.opens("/manage"), "/manage", address=person.address)
        await year.works()
        link = browser.finds(person.address, "/manage/enter/")
        answer = await browser.presses(await browser.opens(link), link)
        page = await browser.opens(answer.headers["location"])
        action = f"{page.link('/manage/contributions/')}/{what}"
        answer = await browser.presses(await browser.opens(action), action, **typed)
        assert answer.status_code == 303, (what, answer.text)
    return answer.headers["location"]


async def raises(year: Year) -> None:
    person = year.somebody(MONTHLY)
    doubled = money.plain(Money(person.minor * 2, person.currency))
    await _changes(year, person, "amount", amount=doubled)


async def lowers(year: Year) -> None:
    person = year.somebody(MONTHLY, above=999)
    halved = money.plain(Money(person.minor // 2, person.currency))
    await _changes(year, person, "amount", amount=halved)


async def pauses(year: Year) -> None:
    await _changes(year, year.somebody(MONTHLY), "pause", months="2")


async def skips(year: Year) -> None:
    await _changes(year, year.somebody(MONTHLY), "skip")


async def goes_annual(year: Year) -> None:
    await _changes(year, year.somebody(MONTHLY), "frequency")


async def replaces_card(year: Year) -> None:
    page = await _changes(year, year.somebody(MONTHLY), "card")
    await pay(page, card="5555555555554444")


async def stops(year: Year) -> None:
    await _changes(year, year.somebody(MONTHLY, since=40), "stop")


async def mends(year: Year, person: Supporter) -> None:
    """A renewal failed; the link of the mail about it leads to another card."""
    await year.works()
    async with year.browser() as browser:
        link = browser.finds(person.address, "/fix/")
        answer = await browser.presses(await browser.opens(link), link)
    await pay(answer.headers["location"], card=GOOD, email=person.address)


# --- a reminder -----------------------------------------------------------------------------------


def _address(number: int) -> str:
    return f"later{number}@example.org"


async def asks_later(year: Year, number: int, **typed: str) -> None:
    """Not ready today: ask to be written to."""
    async with year.browser() as browser:
        page = await browser.opens("/remind?frequency=once&amount=1000&currency=eur")
        wanted = {"when": "week", "address": _address(number), **typed}
        await browser.presses(page, "/remind", **wanted)


async def confirms(year: Year, number: int) -> None:
    async with year.browser() as browser:
        link = browser.finds(_address(number), "/remind/confirm/")
        await browser.presses(await browser.opens(link), link)


async def comes_back(year: Year, number: int) -> None:
    """The mail leads back to the form as it was left."""
    async with year.browser() as browser:
        page = await browser.opens(browser.finds(_address(number), "/back/"))
        checkout = await _sends(browser, page, Frequency.ONCE, 1000)
    await pay(checkout, email=_address(number))
