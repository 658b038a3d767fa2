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

from payments.core.errors import InvalidField, LinkInvalid, PaymentsError, Unauthenticated
from payments.core.settings import Settings
from payments.donors import sign_in
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.outbox import MailKind
from payments.web import origins, rendering, request_locale
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data

OVERVIEW_URL = "/manage/contributions"
BROWSER_ID_PATTERN = re.compile(r"[\w-]{43}")


class CrossSiteForm(PaymentsError):
    """A form under /manage that was not sent from a page of ours."""

    status = 403
    code = "cross-site-form"
    title = "This did not come from our own page"


@dataclass(frozen=True, slots=True)
class CurrentDonor:
    """The donor who asks."""

    donor_id: str


def session_cookie_name(settings: Settings) -> str:
    """`__Host-` needs https, which the demo on this machine has not."""
    return "__Host-donor" if settings.uses_https else "donor"


def browser_cookie_name(settings: Settings) -> str:
    """It knows the browser that asked for a link, for as long as the link is good."""
    return "__Host-asked" if settings.uses_https else "asked"


def donor_cookie(settings: Settings, name: str, value: str, *, max_age: timedelta) -> Cookie:
    return Cookie(
        key=name,
        value=value,
        path="/",
        httponly=True,
        secure=settings.uses_https,
        samesite="lax",  # strict would be lost on the way from a mail, and back from Stripe's page
        max_age=int(max_age.total_seconds()),
    )


def require_same_origin(
    connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler
) -> None:
    """Refuse a form that another site made a donor's browser send.

    Our own pages say no-referrer, so a browser gives their origin as "null": Sec-Fetch-Site decides
    where there is one. An older browser is held by the cookie's SameSite alone.
    """
    if connection.scope.get("method") in ("GET", "HEAD", "OPTIONS"):
        return
    ctx: Context = connection.app.state.ctx
    site = connection.headers.get("sec-fetch-site")
    ours = site == "same-origin"
    if site is None:
        ours = connection.headers.get("origin") in (
            origins.request_origin(ctx.settings, connection),
            "null",
        )
    if not ours:
        raise CrossSiteForm("Nothing was changed. Please open the page again and use its button.")


async def current_donor(ctx: NamedDependency[Context], request: AnyRequest) -> CurrentDonor:
    """The donor who asks, or NotSignedIn. A dependency of every page of theirs."""
    token = request.cookies.get(session_cookie_name(ctx.settings))
    async with ctx.sessions() as session:
        return CurrentDonor(await sign_in.current_donor(session, token, now=ctx.now()))


def on_unauthenticated(request: AnyRequest, _error: Unauthenticated) -> Response[str]:
    """A page of a donor's, asked for by nobody we know: the way in."""
    ctx: Context = request.app.state.ctx
    return rendering.render(ctx, "sign_in.html", status=401, signed_out=True, address="", error="")


def on_payments_error(request: AnyRequest, error: PaymentsError) -> Response[str]:
    """One of our own refusals, with the way back."""
    ctx: Context = request.app.state.ctx
    return rendering.render(
        ctx,
        "account_message.html",
        status=error.status,
        title=request_locale.translate(error.title),
        detail=request_locale.error_message(error),
    )


def render_link_invalid(ctx: Context, error: LinkInvalid) -> Response[str]:
    """The one page for a link that was used, is too old, was cut short, or was guessed."""
    return rendering.render(
        ctx,
        "sign_in_link_invalid.html",
        status=error.status,
        title=request_locale.translate(error.title),
        detail=request_locale.error_message(error),
    )


class DonorSignInPages(Controller):
    @get()
    async def sign_in_form(
        self, ctx: NamedDependency[Context], request: AnyRequest
    ) -> Response[Any]:
        """The form that asks for a link; whoever is in already goes on."""
        try:
            await current_donor(ctx, request)
        except Unauthenticated:
            return rendering.render(ctx, "sign_in.html", signed_out=False, address="", error="")
        return Redirect(request_locale.localised_url(OVERVIEW_URL), status_code=303)

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def request_link(
        self, ctx: NamedDependency[Context], request: AnyRequest
    ) -> Response[str]:
        """Note that a link is wanted. Nobody learns from the answer who gives."""
        address = (await form_data(request)).get("address", "")
        browser = request.cookies.get(browser_cookie_name(ctx.settings), "")
        if not BROWSER_ID_PATTERN.fullmatch(browser):
            browser = secrets.token_urlsafe(32)
        try:
            await _request_link(ctx, address, browser)
        except InvalidField as error:
            shown = {
                "signed_out": False,
                "address": address,
                "error": request_locale.error_message(error),
            }
            return rendering.render(ctx, "sign_in.html", status=error.status, **shown)
        answer = rendering.render(ctx, "sign_in_sent.html")
        name = browser_cookie_name(ctx.settings)
        answer.set_cookie(donor_cookie(ctx.settings, name, browser, max_age=sign_in.LINK_LIFETIME))
        return answer

    @get("/enter/{token:str}")
    async def link_page(self, ctx: NamedDependency[Context], token: FromPath[str]) -> Response[str]:
        """The button that spends a link. Programs that look into mails do not press it."""
        try:
            async with ctx.sessions() as session:
                await sign_in.require_valid_link(session, token, now=ctx.now())
        except LinkInvalid as error:
            return render_link_invalid(ctx, error)
        return rendering.render(ctx, "sign_in_redeem_link.html", token=token)

    @post("/enter/{token:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def redeem_link(
        self, ctx: NamedDependency[Context], request: AnyRequest, token: FromPath[str]
    ) -> Response[Any]:
        """Spend the link in the browser that asked for it; in another, ask for the code."""
        browser = request.cookies.get(browser_cookie_name(ctx.settings), "")
        try:
            async with ctx.sessions.begin() as session:
                key = await sign_in.redeem_link(
                    session, token=token, browser_secret=browser, now=ctx.now()
                )
        except LinkInvalid as error:
            return render_link_invalid(ctx, error)
        if key is None:
            return rendering.render(ctx, "sign_in_code.html", token=token, wrong_code=False)
        return _start_session(ctx, key)

    @post("/enter/{token:str}/code", request_max_body_size=SMALL_FORM_BYTES)
    async def redeem_code(
        self, ctx: NamedDependency[Context], request: AnyRequest, token: FromPath[str]
    ) -> Response[Any]:
        """Spend the link with the code of the same mail."""
        code = (await form_data(request)).get("code", "")
        try:
            async with ctx.sessions.begin() as session:
                key = await sign_in.redeem_code(session, token=token, code=code, now=ctx.now())
        except LinkInvalid as error:
            return render_link_invalid(ctx, error)
        if key is None:
            return rendering.render(
                ctx, "sign_in_code.html", status=422, token=token, wrong_code=True
            )
        return _start_session(ctx, key)

    @post("/leave", request_max_body_size=SMALL_FORM_BYTES)
    async def sign_out(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """Sign out."""
        async with ctx.sessions.begin() as session:
            await sign_in.sign_out(
                session, request.cookies.get(session_cookie_name(ctx.settings), "")
            )
        return Redirect(
            request_locale.localised_url("/manage"),
            status_code=303,
            cookies=[expired_session_cookie(ctx.settings)],
        )


async def _request_link(ctx: Context, address: str, browser: str) -> None:
    """The request and the mail that is owed for it, if the address is anybody's."""
    async with ctx.sessions.begin() as session:
        asked = await sign_in.request_link(
            session, ctx.settings, address=address, browser_secret=browser, now=ctx.now()
        )
        await outbox.enqueue(
            session,
            MailKind.SIGN_IN,
            key=f"sign-in:{asked}",
            now=ctx.now(),
            object_id=asked,
            language=request_locale.current(),  # of the page they read, whatever their gifts were made in
        )


def expired_session_cookie(settings: Settings) -> Cookie:
    """Takes the session's cookie away."""
    return donor_cookie(settings, session_cookie_name(settings), "", max_age=timedelta())


def _start_session(ctx: Context, session_token: str) -> Redirect:
    name = session_cookie_name(ctx.settings)
    made = donor_cookie(ctx.settings, name, session_token, max_age=sign_in.SESSION_LIFETIME)
    return Redirect(request_locale.localised_url(OVERVIEW_URL), status_code=303, cookies=[made])
