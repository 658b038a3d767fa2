"""A donor at a browser of their own: cookies, no JavaScript, and a mailbox to look into."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from http.cookiejar import Cookie

import httpx

from payments.giving import debts, payment_methods
from payments.giving.change_log import Actor
from payments.giving.contributions import Contribution
from payments.sandbox.hosted_page_client import pay
from tests.support.newsroom import BASE_URL, Mail, Newsroom
from tests.support.page import Page
from tests.support.past import begin_with

READER_EMAIL = "reader@example.org"
OTHER_EMAIL = "other@example.org"
# What a browser sends with a form of one of our own pages.
SAME_ORIGIN_HEADERS = {"sec-fetch-site": "same-origin"}
_PLAIN_HEADERS = httpx.AsyncClient(
    transport=httpx.MockTransport(lambda _: httpx.Response(200))
).headers


@dataclass
class Donor:
    """One donor: their browser, and the mailbox of their address."""

    room: Newsroom
    web: httpx.AsyncClient
    address: str = READER_EMAIL
    is_plain: bool = False  # whether the browser is as any other

    async def gives(
        self,
        amount: int = 500,
        frequency: str = "monthly",
        currency: str = "usd",
        *,
        iban: str = "",
    ) -> Contribution:
        """Give, pay with the address, and let Stripe's webhooks arrive."""

        async def play(room: Newsroom) -> str:
            asked = await room.requests_contribution(amount, frequency, currency)
            page, address = asked.json()["checkout_url"], self.address
            paid = await pay(page, email=address, name="A Reader", iban=iban)
            assert paid.redirect_url is not None
            await room.runs_until_idle()
            return str(asked.json()["id"])

        name = repr(("donor", amount, frequency, currency, iban, self.address))
        return await self.room.contribution(await begin_with(self.room, name, play))

    async def opens(self, address: str, status: int = 200) -> Page:
        """Follow an address of ours."""
        answer = await self.web.get(address)
        assert answer.status_code == status, (address, answer.status_code, answer.text)
        return well_formed_page(answer)

    async def submits(self, page: Page, action: str, **changes: str) -> httpx.Response:
        """Change what a form holds and press its button."""
        sent = page.form(action).submission(**changes)
        return await self.web.post(action, data=sent, headers=SAME_ORIGIN_HEADERS)

    async def submits_without_session(self, page: Page, action: str) -> httpx.Response:
        """Press the button of a page that asks for no session, as any program could."""
        return await self.web.post(action, data=page.form(action).submission())

    async def opens_and_submits(self, action: str, **changes: str) -> httpx.Response:
        """Open the page of a change and press its button."""
        return await self.submits(await self.opens(action), action, **changes)

    async def follows_redirect(self, answer: httpx.Response) -> Page:
        """Follow the redirect that answers a form."""
        assert answer.status_code == 303, (answer.status_code, answer.text)
        return await self.opens(answer.headers["location"])

    async def requests_sign_in_link(self) -> Mail:
        """Ask for a link, and find it in the mailbox."""
        self.web.cookies.pop("donor", None)  # somebody signed in sees no form
        answer = await self.opens_and_submits("/manage", address=self.address)
        assert answer.status_code == 200
        await self.room.runs_due_jobs()
        mail = self.room.newest_mail("/manage/enter/")
        assert mail.to == [self.address]
        return mail

    async def signs_in(self) -> Page:
        """Sign in by a mailed link. Returns the first page of the account."""
        if not self.is_plain or self.web.cookies or self.web.headers != _PLAIN_HEADERS:
            return await self._signs_in()

        async def play(_room: Newsroom) -> tuple[str, list[Cookie]]:
            page = await self._signs_in()
            return page.html, [
                _with_expiry_moved(one, -time.time()) for one in self.web.cookies.jar
            ]

        html, cookies = await begin_with(self.room, repr(("signs in", self.address)), play)
        for cookie in cookies:
            self.web.cookies.jar.set_cookie(_with_expiry_moved(cookie, time.time()))
        return Page(html)

    async def _signs_in(self) -> Page:
        link = link_in(await self.requests_sign_in_link(), "/manage/enter/")
        return await self.follows_redirect(await self.opens_and_submits(link))


def _with_expiry_moved(cookie: Cookie, seconds: float) -> Cookie:
    """Copy a cookie: a jar lets it go by the machine's clock, not by the newsroom's."""
    moved = copy(cookie)
    if moved.expires is not None:
        moved.expires = round(moved.expires + seconds)
    return moved


def link_in(mail: Mail, path: str) -> str:
    """The link in a mail that begins with a path of ours, without our address."""
    (link,) = re.findall(rf"{re.escape(BASE_URL + path)}[\w.-]+", mail.part())
    return str(link).removeprefix(BASE_URL)


def newest_link(room: Newsroom, path: str) -> str:
    """The link that begins with a path of ours, in the newest mail that has one."""
    return link_in(room.newest_mail(path), path)


def code_in(mail: Mail) -> str:
    """The code in a mail."""
    (code,) = re.findall(r"code: (\S+)", mail.part())
    return str(code)


def well_formed_page(answer: httpx.Response) -> Page:
    """A page, if nothing is wrong with it as a page."""
    page = Page(answer.text)
    assert page.problems == [], answer.url
    assert [tag for tag, _ in page.attributes].count("h1") == 1, answer.url
    return page


@asynccontextmanager
async def open_donor_browser(room: Newsroom, address: str = READER_EMAIL) -> AsyncIterator[Donor]:
    """Open a browser of a donor, without cookies of ours."""
    # the application of the newsroom, and a jar of its own
    async with httpx.AsyncClient(transport=room.web._transport, base_url=BASE_URL) as web:
        yield Donor(room, web, address, is_plain=True)


def account_page(contribution: Contribution) -> str:
    """Return the path of the page on which a donor changes a contribution."""
    return f"/manage/contributions/{contribution.id}"


async def subscription_id_of(room: Newsroom, contribution: Contribution | None = None) -> str:
    """Return the Stripe id of a contribution's subscription, or of the only one there is."""
    ((id_,),) = await room.rows(
        "SELECT stripe_subscription_id FROM subscriptions"
        " WHERE contribution_id = CAST(:id AS text) OR CAST(:id AS text) IS NULL",
        id=None if contribution is None else contribution.id,
    )
    return str(id_)


async def card_page_of(room: Newsroom, subscription_id: str, *, actor: Actor = Actor.LINK) -> str:
    """Open Stripe's page for another card, having seen what it will be charged. Returns its
    address.
    """
    plan = await debts.plan_for(room.ctx, subscription_id)
    return await payment_methods.start_card_update(
        room.ctx, subscription_id, actor=actor, return_path="/manage", shown=plan.fingerprint
    )


def subscription_requests(room: Newsroom, method: str = "POST") -> list[str]:
    """Return the paths of the requests that changed subscriptions at Stripe."""
    return [
        request.path
        for request in room.sandbox.requests
        if request.method == method and request.path.startswith("/v1/subscriptions/")
    ]


async def successful_charges(room: Newsroom) -> list[tuple[object, ...]]:
    """Return the day and the amount of every successful charge, the first payments included."""
    return await room.rows(
        "SELECT to_char(charged_at, 'YYYY-MM-DD'), amount FROM charges"
        " WHERE status = 'succeeded' ORDER BY charged_at"
    )


async def months_pass(room: Newsroom, count: int) -> None:
    """Let months pass, and everything due in them happen."""

    async def play(room: Newsroom) -> None:
        for _ in range(count):
            await room.advances_time(timedelta(days=31))
            await room.runs_until_idle()

    await begin_with(room, repr(("months", count)), play)


async def payment_fails(donor: Donor) -> tuple[Contribution, str]:
    """Give monthly, and let the next charge fail. Returns the card update link of its mail too."""

    async def play(room: Newsroom) -> str:
        contribution = await replace(donor, room=room).gives(500)
        ((method,),) = await room.rows("SELECT stripe_payment_method_id FROM subscriptions")
        room.sandbox.fail_card(str(method), "insufficient_funds")
        await months_pass(room, 1)
        return contribution.id

    id_ = await begin_with(donor.room, repr(("payment fails", donor.address)), play)
    return await donor.room.contribution(id_), newest_link(donor.room, "/fix/")
