"""A donor signs in by a link that their mailbox receives, in the browser that asked for it.

Every address gets the same answer. Opening a link changes nothing; the button behind it redeems the
link, and in another browser the code from the same mail does.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from litestar import Controller, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.email import normalise_email
from payments.core.errors import InvalidField, LinkInvalid, PaymentsError, Unauthenticated
from payments.core.settings import Settings
from payments.donors import donors, sign_in
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.outbox import MailKind
from payments.risk import form_limit
from payments.risk.rate_limit import ProofOfWorkRequired
from payments.risk.request_context import RequestContext
from payments.web import cookies, errors, rendering, request_locale, risk_check
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data, idempotency_key
from payments.web.security_headers import CLEAR_SITE_DATA

OVERVIEW_URL = "/manage/contributions"
BROWSER_ID_PATTERN = re.compile(r"[\w-]{43}")


@dataclass(frozen=True, slots=True)
class CurrentDonor:
    """The donor who asks."""

    donor_id: str


def session_cookie_name(settings: Settings) -> str:
    """Return the name of the cookie that holds a donor's session token."""
    return cookies.cookie_name(settings, "donor")


def browser_cookie_name(settings: Settings) -> str:
    """Return the name of the cookie that marks the browser which asked for a link."""
    return cookies.cookie_name(settings, "asked")


def donor_cookie(settings: Settings, name: str, value: str, *, max_age: timedelta) -> Cookie:
    """Return a cookie of a donor's. `strict` would be lost on the way from a mail or Stripe."""
    return cookies.host_cookie(settings, name, value, samesite="lax", max_age=max_age)


async def current_donor(ctx: NamedDependency[Context], request: AnyRequest) -> CurrentDonor:
    """Return the donor whose session the request carries. Raises Unauthenticated."""
    token = request.cookies.get(session_cookie_name(ctx.settings))
    async with ctx.sessions() as session:
        return CurrentDonor(await sign_in.current_donor(session, token, now=ctx.now()))


def on_unauthenticated(request: AnyRequest, _error: Unauthenticated) -> Response[str]:
    """Return the sign-in form, for a donor's page asked for without a session."""
    ctx: Context = request.app.state.ctx
    return rendering.render(ctx, "sign_in.html", status=401, signed_out=True, address="", error="")


def on_payments_error(request: AnyRequest, error: PaymentsError) -> Response[str]:
    """Return the page of a refusal, with a link back to the account."""
    ctx: Context = request.app.state.ctx
    page = rendering.render(
        ctx,
        "account_message.html",
        status=error.status,
        title=request_locale.translate(error.title),
        detail=request_locale.error_message(error),
    )
    return errors.with_retry_after(page, error)


def render_link_invalid(ctx: Context, error: LinkInvalid) -> Response[str]:
    """Return the page for a link that was used, is too old, was cut short, or was guessed."""
    return rendering.render(
        ctx,
        "sign_in_link_invalid.html",
        status=error.status,
        title=request_locale.translate(error.title),
        detail=request_locale.error_message(error),
    )


class DonorSignInPages(Controller):
    """Signing in by a link from a mail, and out again."""

    @get()
    async def sign_in_form(
        self, ctx: NamedDependency[Context], request: AnyRequest
    ) -> Response[Any]:
        """Show the form that asks for a link. Whoever is signed in is led to the overview."""
        try:
            await current_donor(ctx, request)
        except Unauthenticated:
            return rendering.render(ctx, "sign_in.html", signed_out=False, address="", error="")
        return Redirect(request_locale.localised_url(OVERVIEW_URL), status_code=303)

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def request_link(
        self, ctx: NamedDependency[Context], request: AnyRequest
    ) -> Response[str]:
        """Request a link. The answer is the same whether or not the address is a donor's."""
        typed = await form_data(request)
        address, form_id = typed.get("address", ""), idempotency_key(typed)
        browser = request.cookies.get(browser_cookie_name(ctx.settings), "")
        if not BROWSER_ID_PATTERN.fullmatch(browser):
            browser = secrets.token_urlsafe(32)
        request_context = await risk_check.request_context_for_mail(
            ctx, request, typed, form_id, form_limit.SIGN_IN
        )
        try:
            await _request_link(ctx, request_context, address, browser)
        except ProofOfWorkRequired as error:
            return await risk_check.render_challenge(
                ctx, request_context, typed, form_id, error, action="/manage"
            )
        except InvalidField as error:
            return rendering.render(
                ctx,
                "sign_in.html",
                status=error.status,
                signed_out=False,
                address=address,
                error=request_locale.error_message(error),
            )
        response = rendering.render(ctx, "sign_in_sent.html")
        name = browser_cookie_name(ctx.settings)
        response.set_cookie(
            donor_cookie(ctx.settings, name, browser, max_age=sign_in.LINK_LIFETIME)
        )
        return response

    @get("/enter/{token:str}")
    async def link_page(self, ctx: NamedDependency[Context], token: FromPath[str]) -> Response[str]:
        """Show the button that redeems a link. Programs that open links do not press it."""
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
        """Redeem the link in the browser that asked for it; in another, ask for the code."""
        browser = request.cookies.get(browser_cookie_name(ctx.settings), "")
        try:
            async with ctx.sessions.begin() as session:
                session_token = await sign_in.redeem_link(
                    session, token=token, browser_secret=browser, now=ctx.now()
                )
        except LinkInvalid as error:
            return render_link_invalid(ctx, error)
        if session_token is None:
            return rendering.render(ctx, "sign_in_code.html", token=token, wrong_code=False)
        return await _start_session(ctx, request, session_token)

    @post("/enter/{token:str}/code", request_max_body_size=SMALL_FORM_BYTES)
    async def redeem_code(
        self, ctx: NamedDependency[Context], request: AnyRequest, token: FromPath[str]
    ) -> Response[Any]:
        """Redeem the link by the code of the same mail."""
        code = (await form_data(request)).get("code", "")
        try:
            async with ctx.sessions.begin() as session:
                session_token = await sign_in.redeem_code(
                    session, token=token, code=code, now=ctx.now()
                )
        except LinkInvalid as error:
            return render_link_invalid(ctx, error)
        if session_token is None:
            return rendering.render(
                ctx, "sign_in_code.html", status=422, token=token, wrong_code=True
            )
        return await _start_session(ctx, request, session_token)

    @post("/leave", request_max_body_size=SMALL_FORM_BYTES)
    async def sign_out(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """End the session, and the donor's sessions in other browsers."""
        async with ctx.sessions.begin() as session:
            await sign_in.sign_out(
                session, request.cookies.get(session_cookie_name(ctx.settings), "")
            )
        return Redirect(
            request_locale.localised_url("/manage"),
            status_code=303,
            cookies=[expired_session_cookie(ctx.settings)],
            headers=CLEAR_SITE_DATA,
        )


async def _request_link(
    ctx: Context, request_context: RequestContext, address: str, browser: str
) -> None:
    """Record the request and enqueue its mail, which is sent only if the address is a donor's.

    The mail is in the language of the page, whatever language they gave in. Raises InvalidField,
    ProofOfWorkRequired.
    """
    normalise_email(address)  # one that is none uses up nothing
    await form_limit.use_share(ctx, request_context)
    hashes = await donors.address_hashes(ctx.settings, address)
    async with ctx.sessions.begin() as session:
        link_id = sign_in.request_link(session, hashes, browser_secret=browser, now=ctx.now())
        await outbox.enqueue(
            session,
            MailKind.SIGN_IN,
            key=f"sign-in:{link_id}",
            now=ctx.now(),
            object_id=link_id,
            language=request_locale.current(),
        )


def expired_session_cookie(settings: Settings) -> Cookie:
    """Return the cookie that removes the session cookie."""
    return donor_cookie(settings, session_cookie_name(settings), "", max_age=timedelta())


async def _start_session(ctx: Context, request: AnyRequest, session_token: str) -> Redirect:
    """Give the browser a new session, in place of the one it holds."""
    name = session_cookie_name(ctx.settings)
    async with ctx.sessions.begin() as session:
        await sign_in.end_session(session, request.cookies.get(name, ""))
    cookie = donor_cookie(ctx.settings, name, session_token, max_age=sign_in.SESSION_LIFETIME)
    return Redirect(request_locale.localised_url(OVERVIEW_URL), status_code=303, cookies=[cookie])
