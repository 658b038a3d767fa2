"""A donor signs in by a link that their mailbox receives, in the browser that asked for it.

Every address gets the same answer. A link is opened by a GET, which changes nothing, and spent by
the button behind it; in another browser the code from the mail is typed.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from litestar import Controller, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import InvalidField, LinkSpent, NotSignedIn, PaymentsError
from payments.core.settings import Settings
from payments.donors import sign_in
from payments.infra.context import Runtime
from payments.mail import outbox
from payments.mail.outbox import MessageKind
from payments.web import locale, origins, templates
from payments.web.forms import SMALL, AnyRequest, typed

INSIDE = "/manage/contributions"
BROWSER = re.compile(r"[\w-]{43}")


class ForeignForm(PaymentsError):
    """A form under /manage that was not sent from a page of ours."""

    status = 403
    code = "foreign-form"
    title = "This did not come from our own page"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The donor who asks."""

    donor_id: str


def session_cookie(settings: Settings) -> str:
    """`__Host-` needs https, which the demo on this machine has not."""
    return "__Host-donor" if settings.secure else "donor"


def browser_cookie(settings: Settings) -> str:
    """It knows the browser that asked for a link, for as long as the link is good."""
    return "__Host-asked" if settings.secure else "asked"


def cookie(settings: Settings, name: str, value: str, *, lasts: timedelta) -> Cookie:
    return Cookie(
        key=name,
        value=value,
        path="/",
        httponly=True,
        secure=settings.secure,
        samesite="lax",  # strict would be lost on the way from a mail, and back from Stripe's page
        max_age=int(lasts.total_seconds()),
    )


def from_our_own_page(
    connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler
) -> None:
    """Refuse a form that another site made a donor's browser send.

    Our own pages say no-referrer, so a browser gives their origin as "null": Sec-Fetch-Site decides
    where there is one. An older browser is held by the cookie's SameSite alone.
    """
    if connection.scope.get("method") in ("GET", "HEAD", "OPTIONS"):
        return
    rt: Runtime = connection.app.state.rt
    site = connection.headers.get("sec-fetch-site")
    ours = site == "same-origin"
    if site is None:
        ours = connection.headers.get("origin") in (
            origins.origin(rt.settings, connection),
            "null",
        )
    if not ours:
        raise ForeignForm("Nothing was changed. Please open the page again and use its button.")


async def signed_in(rt: NamedDependency[Runtime], request: AnyRequest) -> SignedIn:
    """The donor who asks, or NotSignedIn. A dependency of every page of theirs."""
    token = request.cookies.get(session_cookie(rt.settings))
    async with rt.sessions() as session:
        return SignedIn(await sign_in.who(session, token, now=rt.now()))


def sign_in_again(request: AnyRequest, _error: NotSignedIn) -> Response[str]:
    """A page of a donor's, asked for by nobody we know: the way in."""
    rt: Runtime = request.app.state.rt
    return templates.page(rt, "sign_in.html", status=401, signed_out=True, address="", error="")


def refused(request: AnyRequest, error: PaymentsError) -> Response[str]:
    """One of our own refusals, with the way back."""
    rt: Runtime = request.app.state.rt
    return templates.page(
        rt,
        "manage_message.html",
        status=error.status,
        title=locale.say(error.title),
        detail=locale.told(error),
    )


def spent(rt: Runtime, error: LinkSpent) -> Response[str]:
    """The one page for a link that was used, is too old, was cut short, or was guessed."""
    return templates.page(
        rt,
        "sign_in_spent.html",
        status=error.status,
        title=locale.say(error.title),
        detail=locale.told(error),
    )


class Door(Controller):
    @get()
    async def ask(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[Any]:
        """The form that asks for a link; whoever is in already goes on."""
        try:
            await signed_in(rt, request)
        except NotSignedIn:
            return templates.page(rt, "sign_in.html", signed_out=False, address="", error="")
        return Redirect(locale.here(INSIDE), status_code=303)

    @post(request_max_body_size=SMALL)
    async def send(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[str]:
        """Note that a link is wanted. Nobody learns from the answer who gives."""
        address = (await typed(request)).get("address", "")
        browser = request.cookies.get(browser_cookie(rt.settings), "")
        if not BROWSER.fullmatch(browser):
            browser = secrets.token_urlsafe(32)
        try:
            await _note(rt, address, browser)
        except InvalidField as error:
            shown = {"signed_out": False, "address": address, "error": locale.told(error)}
            return templates.page(rt, "sign_in.html", status=error.status, **shown)
        answer = templates.page(rt, "sign_in_sent.html")
        name = browser_cookie(rt.settings)
        answer.set_cookie(cookie(rt.settings, name, browser, lasts=sign_in.LINK_LASTS))
        return answer

    @get("/enter/{token:str}")
    async def show(self, rt: NamedDependency[Runtime], token: FromPath[str]) -> Response[str]:
        """The button that spends a link. Programs that look into mails do not press it."""
        try:
            async with rt.sessions() as session:
                await sign_in.check_link(session, token, now=rt.now())
        except LinkSpent as error:
            return spent(rt, error)
        return templates.page(rt, "sign_in_enter.html", token=token)

    @post("/enter/{token:str}", request_max_body_size=SMALL)
    async def enter(
        self, rt: NamedDependency[Runtime], request: AnyRequest, token: FromPath[str]
    ) -> Response[Any]:
        """Spend the link in the browser that asked for it; in another, ask for the code."""
        browser = request.cookies.get(browser_cookie(rt.settings), "")
        try:
            async with rt.sessions.begin() as session:
                key = await sign_in.enter_by_link(
                    session, token=token, browser=browser, now=rt.now()
                )
        except LinkSpent as error:
            return spent(rt, error)
        if key is None:
            return templates.page(rt, "sign_in_code.html", token=token, wrong_code=False)
        return _begun(rt, key)

    @post("/enter/{token:str}/code", request_max_body_size=SMALL)
    async def enter_by_code(
        self, rt: NamedDependency[Runtime], request: AnyRequest, token: FromPath[str]
    ) -> Response[Any]:
        """Spend the link with the code of the same mail."""
        code = (await typed(request)).get("code", "")
        try:
            async with rt.sessions.begin() as session:
                key = await sign_in.enter_by_code(session, token=token, code=code, now=rt.now())
        except LinkSpent as error:
            return spent(rt, error)
        if key is None:
            return templates.page(rt, "sign_in_code.html", status=422, token=token, wrong_code=True)
        return _begun(rt, key)

    @post("/leave", request_max_body_size=SMALL)
    async def leave(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[Any]:
        """Sign out."""
        async with rt.sessions.begin() as session:
            await sign_in.leave(session, request.cookies.get(session_cookie(rt.settings), ""))
        return Redirect(locale.here("/manage"), status_code=303, cookies=[no_session(rt.settings)])


async def _note(rt: Runtime, address: str, browser: str) -> None:
    """The request and the mail that is owed for it, if the address is anybody's."""
    async with rt.sessions.begin() as session:
        asked = await sign_in.ask_for_link(
            session, rt.settings, address=address, browser=browser, now=rt.now()
        )
        await outbox.put(
            session,
            MessageKind.SIGN_IN,
            key=f"sign-in:{asked}",
            now=rt.now(),
            subject=asked,
            language=locale.spoken(),  # of the page they read, whatever their gifts were made in
        )


def no_session(settings: Settings) -> Cookie:
    """Takes the session's cookie away."""
    return cookie(settings, session_cookie(settings), "", lasts=timedelta())


def _begun(rt: Runtime, key: str) -> Redirect:
    name = session_cookie(rt.settings)
    made = cookie(rt.settings, name, key, lasts=sign_in.SESSION_LASTS)
    return Redirect(locale.here(INSIDE), status_code=303, cookies=[made])
