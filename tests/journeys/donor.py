"""A donor at a browser of their own: cookies, no JavaScript, and a mailbox to look into."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from payments.giving.contributions import Contribution
from payments.sandbox.reader import pay
from tests.newsroom import BASE, Mail, Newsroom
from tests.page import Page

READER = "reader@example.org"
OTHER = "other@example.org"
# What a browser says when a page of ours, which says no-referrer, sends its form.
FROM_OUR_PAGE = {"origin": "null", "sec-fetch-site": "same-origin"}


@dataclass
class Donor:
    """One browser, and the mailbox of whoever sits at it."""

    room: Newsroom
    web: httpx.AsyncClient
    address: str = READER

    async def gives(
        self, amount: int = 500, frequency: str = "monthly", currency: str = "usd"
    ) -> Contribution:
        """Gives, pays with the address, and Stripe's word of it has come."""
        asked = await self.room.asks(amount, frequency, currency)
        paid = await pay(asked.json()["checkout_url"], email=self.address)
        assert paid.redirect_url is not None
        await self.room.settles()
        return await self.room.contribution(asked.json()["id"])

    async def opens(self, address: str, status: int = 200) -> Page:
        """Follow an address of ours."""
        answer = await self.web.get(address)
        assert answer.status_code == status, (address, answer.status_code, answer.text)
        return whole(answer)

    async def presses(self, page: Page, action: str, **changes: str) -> httpx.Response:
        """Change what a form holds and press its button."""
        sent = page.form(action).filled(**changes)
        return await self.web.post(action, data=sent, headers=FROM_OUR_PAGE)

    async def web_press(self, page: Page, action: str) -> httpx.Response:
        """Press the button of a page that asks for no session, as any program could."""
        return await self.web.post(action, data=page.form(action).filled())

    async def changes(self, action: str, **changes: str) -> httpx.Response:
        """Open the page of a change and press its button."""
        return await self.presses(await self.opens(action), action, **changes)

    async def lands(self, answer: httpx.Response) -> Page:
        """Where a button leads."""
        assert answer.status_code == 303, (answer.status_code, answer.text)
        return await self.opens(answer.headers["location"])

    async def asks(self) -> Mail:
        """Ask for a link, and find it in the mailbox."""
        self.web.cookies.pop("donor", None)  # whoever is in is not asked
        answer = await self.changes("/manage", address=self.address)
        assert answer.status_code == 200
        await self.room.works()
        mail = self.room.mails()[-1]
        assert mail.to == [self.address]
        return mail

    async def signs_in(self) -> Page:
        """The whole way in, to the first page behind the door."""
        link = found(await self.asks(), "/manage/enter/")
        return await self.lands(await self.changes(link))


def found(mail: Mail, path: str) -> str:
    """The link in a mail that begins with a path of ours, without our address."""
    (link,) = re.findall(rf"{re.escape(BASE + path)}[\w.-]+", mail.part())
    return str(link).removeprefix(BASE)


def code_in(mail: Mail) -> str:
    """The code in a mail."""
    (code,) = re.findall(r"code: (\S+)", mail.part())
    return str(code)


def whole(answer: httpx.Response) -> Page:
    """A page, if nothing is wrong with it as a page."""
    page = Page(answer.text)
    assert page.faults == [], answer.url
    assert [tag for tag, _ in page.attributes].count("h1") == 1, answer.url
    return page


@asynccontextmanager
async def at_a_browser(room: Newsroom, address: str = READER) -> AsyncIterator[Donor]:
    """Somebody sits down at a browser that has no cookies of ours."""
    # the application of the newsroom, and a jar of its own
    async with httpx.AsyncClient(transport=room.web._transport, base_url=BASE) as web:
        yield Donor(room, web, address)
