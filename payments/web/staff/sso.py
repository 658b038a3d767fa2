"""A colleague's way in by an account at the newsroom's own sign-in service, where one is set.

There by a link, never by a form: no other site has to be allowed as the target of our forms. Back
by a redirect of another site, on which a browser sends no cookie that is `strict`: so the attempt
has a cookie of its own, `lax` and short, and what became of it is a page of ours from which the
browser goes on by itself. Whatever did not open the door is in the audit.
"""

from typing import Any

import structlog
from litestar import Controller, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import LinkInvalid, PaymentsError, Unauthenticated
from payments.core.settings import Settings
from payments.infra import audit_log
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.staff import accounts, oidc, oidc_provider
from payments.staff.accounts import AuthenticatedStaff, Staff
from payments.staff.oidc import SsoAttempt, SsoPurpose
from payments.staff.oidc_provider import (
    ExternalAccount,
    OidcProvider,
    ProviderUnavailable,
    SsoFailed,
)
from payments.web import rendering
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest
from payments.web.staff import auth

log = structlog.get_logger("payments.sign_on")
OWN_FETCH_SITES = (
    None,
    "same-origin",
    "none",
)  # who may send a browser off: our own page, or a bookmark


class StaffSsoPages(Controller):
    path = "/staff"
    include_in_schema = False

    @get("/sign-on")
    async def start_sign_in(
        self,
        ctx: NamedDependency[Context],
        oidc_provider: NamedDependency[OidcProvider],
        request: AnyRequest,
    ) -> Response[Any]:
        """Off to the issuer, to sign in."""
        back = auth.safe_return_url(request.query_params.get("back", ""))
        if request.headers.get("sec-fetch-site") not in OWN_FETCH_SITES:
            return auth.render_sign_in(ctx, back)
        return await _redirect_to_provider(
            ctx,
            oidc_provider,
            oidc.start_attempt(SsoPurpose.SIGN_IN, return_path=back, now=ctx.now()),
        )

    @get("/enter/{token:str}/sign-on")
    async def start_linking(
        self,
        ctx: NamedDependency[Context],
        oidc_provider: NamedDependency[OidcProvider],
        request: AnyRequest,
        token: FromPath[str],
    ) -> Response[Any]:
        """The same, to tie an account to whom a link is for. The link is spent on the way back."""
        if request.headers.get("sec-fetch-site") not in OWN_FETCH_SITES:
            return Redirect(f"/staff/enter/{token}", status_code=303)
        try:
            async with ctx.sessions() as session:
                await accounts.get_by_link(session, token, now=ctx.now())
        except LinkInvalid as error:
            return _render_failed(ctx, None, error)
        return await _redirect_to_provider(
            ctx, oidc_provider, oidc.start_attempt(SsoPurpose.LINK, bound_to=token, now=ctx.now())
        )

    @get("/confirm/sign-on")
    async def start_step_up(
        self,
        ctx: NamedDependency[Context],
        oidc_provider: NamedDependency[OidcProvider],
        request: AnyRequest,
        staff_session: NamedDependency[AuthenticatedStaff],
    ) -> Response[Any]:
        """The same, for a fresh proof of whoever is signed in."""
        back = auth.safe_return_url(request.query_params.get("back", ""))
        attempt = oidc.start_attempt(
            SsoPurpose.STEP_UP, bound_to=staff_session.session_id, return_path=back, now=ctx.now()
        )
        return await _redirect_to_provider(ctx, oidc_provider, attempt)

    @get("/sign-on/back")
    async def callback(
        self,
        ctx: NamedDependency[Context],
        oidc_provider: NamedDependency[OidcProvider],
        request: AnyRequest,
    ) -> Response[Any]:
        """What the issuer sends a browser back with: a code for whoever signed in, or nothing."""
        cookie = request.cookies.get(_attempt_cookie_name(ctx.settings), "")
        attempt = None
        try:
            attempt = oidc.decode_attempt(ctx.settings, cookie, now=ctx.now())
            found = await oidc.redeem_callback(ctx, oidc_provider, attempt, request.query_params)
            made = await _complete(ctx, attempt, found)
        except (SsoFailed, LinkInvalid, Unauthenticated) as error:
            await _record_refusal(ctx, attempt, error)
            made = _render_failed(ctx, attempt, error)
        made.cookies.append(_attempt_cookie(ctx.settings, "", max_age=-1))
        return made

    @post("/sign-on/remove", request_max_body_size=SMALL_FORM_BYTES)
    async def unlink(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[Any]:
        """Let one's own account open the door no more."""
        async with ctx.sessions.begin() as session:
            await oidc.unlink_account(session, colleague, now=ctx.now())
        return Redirect("/staff", status_code=303)


async def _redirect_to_provider(
    ctx: Context, oidc_provider: OidcProvider, attempt: SsoAttempt
) -> Response[Any]:
    try:
        address = await oidc.authorization_url(ctx, oidc_provider, attempt)
    except ProviderUnavailable as error:
        return _render_failed(ctx, attempt, error)
    cookie = _attempt_cookie(ctx.settings, oidc.encode_attempt(ctx.settings, attempt))
    return Redirect(address, status_code=303, cookies=[cookie])


async def _complete(ctx: Context, attempt: SsoAttempt, found: ExternalAccount) -> Response[Any]:
    """What an account opens, for what it was asked, in one transaction."""
    settings, now = ctx.settings, ctx.now()
    async with ctx.sessions.begin() as session:
        if attempt.purpose is SsoPurpose.STEP_UP:
            asking = await oidc.step_up(session, settings, attempt, found, now=now)
            return _render_continue(
                ctx,
                "Confirmed",
                attempt.return_path or auth.HOME_URL_OF_ROLE[asking.colleague.role],
            )
        if attempt.purpose is SsoPurpose.LINK:
            person = await accounts.redeem_link(session, attempt.bound_to, now=now)
            await oidc.link_account(session, settings, person, found, now=now)
            key = await accounts.start_session(
                session, person, method="by a one-time link", now=now
            )
        else:
            person, key = await oidc.sign_in(session, settings, found, now=now)
    made = _render_continue(
        ctx, "Signed in", attempt.return_path or auth.HOME_URL_OF_ROLE[person.role]
    )
    made.cookies.append(auth.session_cookie(settings, key))
    return made


async def _record_refusal(ctx: Context, attempt: SsoAttempt | None, error: PaymentsError) -> None:
    """Write down what was not let in, under the name of whose session or link it was."""
    why = error.outcome if isinstance(error, SsoFailed) else error.code
    log.warning("sign_on_refused", outcome=why)
    confirming = attempt is not None and attempt.purpose is SsoPurpose.STEP_UP
    deed = AuditAction.REAUTHENTICATION_FAILED if confirming else AuditAction.SIGN_IN_FAILED
    about = f"{oidc_provider.provider_name(ctx.settings)}: {why}"
    async with ctx.sessions.begin() as session:
        person = await oidc.colleague_of_attempt(session, attempt, now=ctx.now())
        if person is None:
            await audit_log.record_anonymous(session, deed, object_id=about, now=ctx.now())
        else:
            await accounts.record_action(session, deed, person, object_id=about, now=ctx.now())


def _render_continue(ctx: Context, title: str, next_url: str) -> Response[str]:
    """A page of ours, from which a browser sends its `strict` cookies again."""
    return rendering.render(
        ctx,
        "staff_sso_result.html",
        title=title,
        detail="",
        onward=next_url,
        label="Go on",
        by_itself=True,
    )


def _render_failed(ctx: Context, attempt: SsoAttempt | None, error: PaymentsError) -> Response[str]:
    """What went wrong, and where to begin again."""
    onward, label = "/staff/sign-in", "To the sign-in page"
    if (
        attempt is not None
        and attempt.purpose is SsoPurpose.LINK
        and not isinstance(error, LinkInvalid)
    ):
        onward, label = f"/staff/enter/{attempt.bound_to}", "The link is still good: open it again"
    elif (
        attempt is not None
        and attempt.purpose is SsoPurpose.STEP_UP
        and not isinstance(error, Unauthenticated)
    ):
        onward, label = (
            f"/staff/confirm?{auth.query_string(back=attempt.return_path)}",
            "Try another way",
        )
    elif attempt is not None:
        onward = f"/staff/sign-in?{auth.query_string(back=attempt.return_path)}"
    return rendering.render(
        ctx,
        "staff_sso_result.html",
        status=error.status,
        title=error.title,
        detail=error.detail,
        onward=onward,
        label=label,
        by_itself=False,
    )


def _attempt_cookie_name(settings: Settings) -> str:
    return "__Host-sign-on" if settings.uses_https else "sign-on"


def _attempt_cookie(settings: Settings, value: str, *, max_age: int | None = None) -> Cookie:
    """It has to come along on the way back, from another site: `lax`, and for minutes."""
    return Cookie(
        key=_attempt_cookie_name(settings),
        value=value,
        path="/",
        httponly=True,
        secure=settings.uses_https,
        samesite="lax",
        max_age=int(oidc.ATTEMPT_LIFETIME.total_seconds()) if max_age is None else max_age,
    )
