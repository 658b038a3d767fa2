"""How colleagues sign in by their account at the newsroom's own OpenID Connect provider, if set.

The way there is a link, not a form, so our form-action policy need not allow another site. The way
back is another site's redirect, on which a browser sends no `strict` cookie: so an attempt has a
`lax` cookie of its own, and the callback answers with a page of ours from which the browser goes on
by itself. A refused attempt is in the audit log.
"""

from typing import Any

import structlog
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import LinkInvalid, PaymentsError, Unauthenticated
from payments.infra import audit_log
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.staff import accounts, oidc, oidc_provider, sessions
from payments.staff.accounts import Staff
from payments.staff.oidc import SsoAttempt, SsoPurpose
from payments.staff.oidc_provider import (
    ExternalAccount,
    OidcProvider,
    ProviderUnavailable,
    SsoFailed,
)
from payments.staff.sessions import AuthenticatedStaff
from payments.web import rendering
from payments.web.csrf import may_start_navigation, require_same_origin
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, query_string
from payments.web.staff import auth, cookies, layout
from payments.web.staff.guards import ALL_ROLES, StaffOnly, StepUp

log = structlog.get_logger("payments.staff.sso")


class StaffSsoPages(Controller):
    """Signing in by an account at the newsroom's own provider."""

    path = "/staff"
    include_in_schema = False
    guards = [require_same_origin]  # noqa: RUF012 - litestar's own

    @get("/sign-on")
    async def start_sign_in(
        self,
        ctx: NamedDependency[Context],
        oidc_provider: NamedDependency[OidcProvider],
        request: AnyRequest,
    ) -> Response[Any]:
        """Redirect to the provider to sign in. Another site's link gets the sign-in page."""
        return_url = auth.safe_return_url(request.query_params.get("back", ""))
        if not may_start_navigation(request):
            return auth.render_sign_in(ctx, return_url)
        attempt = oidc.start_attempt(SsoPurpose.SIGN_IN, return_path=return_url, now=ctx.now())
        return await _redirect_to_provider(ctx, oidc_provider, attempt)

    @get("/enter/{token:str}/sign-on")
    async def start_linking(
        self,
        ctx: NamedDependency[Context],
        oidc_provider: NamedDependency[OidcProvider],
        request: AnyRequest,
        token: FromPath[str],
    ) -> Response[Any]:
        """Redirect to the provider to link an account. The callback redeems the one-time link."""
        if not may_start_navigation(request):
            return Redirect(f"/staff/enter/{token}", status_code=303)
        try:
            async with ctx.sessions() as session:
                await accounts.get_by_link(session, token, now=ctx.now())
        except LinkInvalid as error:
            return _render_failed(ctx, None, error)
        attempt = oidc.start_attempt(SsoPurpose.LINK, bound_to=token, now=ctx.now())
        return await _redirect_to_provider(ctx, oidc_provider, attempt)

    @get("/confirm/sign-on", guards=[StaffOnly(ALL_ROLES)])
    async def start_step_up(
        self,
        ctx: NamedDependency[Context],
        oidc_provider: NamedDependency[OidcProvider],
        request: AnyRequest,
        staff_session: NamedDependency[AuthenticatedStaff],
    ) -> Response[Any]:
        """Redirect to the provider for a recent proof of whoever is signed in."""
        attempt = oidc.start_attempt(
            SsoPurpose.STEP_UP,
            bound_to=staff_session.session_id,
            return_path=auth.safe_return_url(request.query_params.get("back", "")),
            now=ctx.now(),
        )
        return await _redirect_to_provider(ctx, oidc_provider, attempt)

    @get("/sign-on/back")
    async def callback(
        self,
        ctx: NamedDependency[Context],
        oidc_provider: NamedDependency[OidcProvider],
        request: AnyRequest,
    ) -> Response[Any]:
        """Complete the attempt that the provider sent the browser back for."""
        cookie = request.cookies.get(cookies.attempt_cookie_name(ctx.settings), "")
        attempt = None
        try:
            attempt = oidc.decode_attempt(ctx.settings, cookie, now=ctx.now())
            account = await oidc.redeem_callback(ctx, oidc_provider, attempt, request.query_params)
            replaces = request.cookies.get(cookies.session_cookie_name(ctx.settings))
            response = await _complete(ctx, attempt, account, replaces)
        except (SsoFailed, LinkInvalid, Unauthenticated) as error:
            await _record_refusal(ctx, attempt, error)
            response = _render_failed(ctx, attempt, error)
        expired = cookies.attempt_cookie(ctx.settings, "", max_age=cookies.EXPIRED)
        response.cookies.append(expired)
        return response

    @post(
        "/sign-on/remove",
        request_max_body_size=SMALL_FORM_BYTES,
        guards=[StaffOnly(ALL_ROLES), StepUp(form_url="/staff")],
    )
    async def unlink(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[Any]:
        """Unlink one's own account."""
        async with ctx.sessions.begin() as session:
            await oidc.unlink_account(session, colleague, now=ctx.now())
        return Redirect("/staff", status_code=303)


async def _redirect_to_provider(
    ctx: Context, oidc_provider: OidcProvider, attempt: SsoAttempt
) -> Response[Any]:
    try:
        url = await oidc.authorization_url(ctx, oidc_provider, attempt)
    except ProviderUnavailable as error:
        return _render_failed(ctx, attempt, error)
    cookie = cookies.attempt_cookie(ctx.settings, oidc.encode_attempt(ctx.settings, attempt))
    return Redirect(url, status_code=303, cookies=[cookie])


async def _complete(
    ctx: Context, attempt: SsoAttempt, account: ExternalAccount, replaces: str | None
) -> Response[Any]:
    """Do what the attempt was for, in one transaction. The session has a new token afterwards."""
    settings, now, title = ctx.settings, ctx.now(), "Signed in"
    async with ctx.sessions.begin() as session:
        if attempt.purpose is SsoPurpose.STEP_UP:
            title = "Confirmed"
            colleague, token = await oidc.step_up(session, settings, attempt, account, now=now)
        elif attempt.purpose is SsoPurpose.LINK:
            colleague = await accounts.redeem_link(session, attempt.bound_to, now=now)
            await oidc.link_account(session, settings, colleague, account, now=now)
            token = await sessions.start(
                session, colleague, method="by a one-time link", replaces=replaces, now=now
            )
        else:
            colleague, token = await oidc.sign_in(
                session, settings, account, replaces=replaces, now=now
            )
    response = _render_continue(ctx, title, attempt, colleague)
    response.cookies.append(cookies.session_cookie(settings, token))
    return response


async def _record_refusal(ctx: Context, attempt: SsoAttempt | None, error: PaymentsError) -> None:
    """Record a refused attempt under the name of whose session or link it was, if anybody's."""
    outcome = error.outcome if isinstance(error, SsoFailed) else error.code
    log.warning("sso_refused", outcome=outcome)
    is_step_up = attempt is not None and attempt.purpose is SsoPurpose.STEP_UP
    action = AuditAction.REAUTHENTICATION_FAILED if is_step_up else AuditAction.SIGN_IN_FAILED
    object_id = f"{oidc_provider.provider_name(ctx.settings)}: {outcome}"
    async with ctx.sessions.begin() as session:
        colleague = await oidc.colleague_of_attempt(session, attempt, now=ctx.now())
        if colleague is None:
            await audit_log.record_anonymous(session, action, object_id=object_id, now=ctx.now())
        else:
            await accounts.record_action(
                session, action, colleague, object_id=object_id, now=ctx.now()
            )


def _render_continue(
    ctx: Context, title: str, attempt: SsoAttempt, colleague: Staff
) -> Response[str]:
    """Return a page of ours, from which a browser sends its `strict` cookies again."""
    return rendering.render(
        ctx,
        "staff_sso_result.html",
        title=title,
        detail="",
        next_url=attempt.return_path or layout.HOME_URLS[colleague.role],
        label="Go on",
        auto_continue=True,
    )


def _render_failed(ctx: Context, attempt: SsoAttempt | None, error: PaymentsError) -> Response[str]:
    """Return the page that says what went wrong, with a link to where to begin again."""
    next_url, label = _retry_link(attempt, error)
    return rendering.render(
        ctx,
        "staff_sso_result.html",
        status=error.status,
        title=error.title,
        detail=error.detail,
        next_url=next_url,
        label=label,
        auto_continue=False,
    )


def _retry_link(attempt: SsoAttempt | None, error: PaymentsError) -> tuple[str, str]:
    """Return the URL and the label of the way to try again."""
    if attempt is None:
        return "/staff/sign-in", "To the sign-in page"
    query = query_string(back=attempt.return_path)
    if attempt.purpose is SsoPurpose.LINK and not isinstance(error, LinkInvalid):
        return f"/staff/enter/{attempt.bound_to}", "The link is still good: open it again"
    if attempt.purpose is SsoPurpose.STEP_UP and not isinstance(error, Unauthenticated):
        return f"/staff/confirm{query}", "Try another way"
    return f"/staff/sign-in{query}", "To the sign-in page"
