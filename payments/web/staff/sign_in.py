"""How colleagues sign in and out: by a passkey, or by a one-time link whose button redeems it.

The page of an invitation registers a passkey and redeems the link in one request. Without
JavaScript, or without a passkey at hand, a link from the command line does all that a passkey does.
A refused sign-in is in the audit log as well.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import LinkInvalid, Unauthenticated
from payments.infra import alerts, audit_log
from payments.infra.alerts import AlertKind
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.staff import accounts, oidc_provider, passkeys, sessions
from payments.staff.accounts import Staff
from payments.staff.passkeys import ChallengePurpose, PasskeyCloned, PasskeyRefused
from payments.staff.sessions import AuthenticatedStaff
from payments.web import rendering
from payments.web.csrf import require_same_origin
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data
from payments.web.security_headers import CLEAR_SITE_DATA
from payments.web.staff import auth, cookies, layout
from payments.web.staff.guards import ALL_ROLES, StaffOnly

PASSKEY_FORM_BYTES = 16 * 1024  # of a form with a credential in it
LINK_STILL_VALID = "The link is still good: open it again."


class StaffSignInPages(Controller):
    """Signing in by a passkey or a one-time link, and out again."""

    path = "/staff"
    include_in_schema = False
    guards = [require_same_origin]  # noqa: RUF012 - litestar's own

    @get("/sign-in")
    async def sign_in_form(
        self, ctx: NamedDependency[Context], request: AnyRequest
    ) -> Response[Any]:
        """Show the sign-in page. Whoever is signed in already goes on."""
        return_url = auth.safe_return_url(request.query_params.get("back", ""))
        try:
            async with ctx.sessions.begin() as session:
                staff_session = await sessions.current(
                    session, _own_token(ctx, request), now=ctx.now()
                )
        except Unauthenticated:
            return auth.render_sign_in(ctx, return_url)
        return _redirect(staff_session.colleague, return_url)

    @post("/sign-in", request_max_body_size=PASSKEY_FORM_BYTES)
    async def sign_in(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """Start a session by a passkey."""
        fields = await form_data(request)
        return_url = auth.safe_return_url(fields.get("back", ""))
        try:
            async with ctx.sessions.begin() as session:
                colleague = await passkeys.authenticate(
                    session,
                    ctx.settings,
                    ChallengePurpose.SIGN_IN,
                    fields.get("answer", ""),
                    now=ctx.now(),
                )
                token = await sessions.start(
                    session,
                    colleague,
                    method="by a passkey",
                    replaces=_own_token(ctx, request),
                    now=ctx.now(),
                )
        except PasskeyRefused as error:
            await _record_refusal(ctx, error, AuditAction.SIGN_IN_FAILED)
            return auth.render_sign_in(ctx, return_url, status=error.status, error=error.detail)
        return _redirect_with_session(ctx, colleague, token, return_url)

    @get("/enter/{token:str}")
    async def link_page(self, ctx: NamedDependency[Context], token: FromPath[str]) -> Response[str]:
        """Whom a link is for, and the ways to redeem it."""
        try:
            async with ctx.sessions() as session:
                colleague = await accounts.get_by_link(session, token, now=ctx.now())
                existing = await passkeys.list_for(session, colleague.id)
        except LinkInvalid as error:
            return _render_link_invalid(ctx, error)
        options = ""
        if passkeys.is_supported(ctx.settings):
            options = passkeys.registration_options(
                ctx.settings, colleague, existing, bound_to=f"link {token}", now=ctx.now()
            )
        page = rendering.render(
            ctx,
            "staff_redeem_link.html",
            token=token,
            name=colleague.name,
            options=options,
            issuer=oidc_provider.provider_name(ctx.settings),
        )
        return layout.allow_script(ctx, page)

    @post("/enter/{token:str}", request_max_body_size=PASSKEY_FORM_BYTES)
    async def redeem_link(
        self, ctx: NamedDependency[Context], request: AnyRequest, token: FromPath[str]
    ) -> Response[Any]:
        """Redeem a link and start a session; register a passkey, if the form has one."""
        credential = (await form_data(request)).get("answer", "")
        try:
            colleague, session_token = await _redeem_link(
                ctx, token, credential, replaces=_own_token(ctx, request)
            )
        except LinkInvalid as error:
            async with ctx.sessions.begin() as session:
                await audit_log.record_anonymous(
                    session, AuditAction.SIGN_IN_FAILED, object_id="a link", now=ctx.now()
                )
            return _render_link_invalid(ctx, error)
        except PasskeyRefused as error:
            await _record_refusal(ctx, error, AuditAction.SIGN_IN_FAILED)
            return rendering.render(
                ctx,
                "staff_message.html",
                status=error.status,
                title=error.title,
                detail=f"{error.detail} {LINK_STILL_VALID}",
            )
        return _redirect_with_session(ctx, colleague, session_token, "")

    @get("/confirm", guards=[StaffOnly(ALL_ROLES)])
    async def step_up_form(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        staff_session: NamedDependency[AuthenticatedStaff],
    ) -> Response[Any]:
        """Show the page that asks for a recent proof. Whoever gave one already goes on."""
        return_url = auth.safe_return_url(request.query_params.get("back", ""))
        if staff_session.is_recently_authenticated(ctx.now()):
            return _redirect(staff_session.colleague, return_url)
        return await auth.render_step_up(ctx, staff_session, return_url)

    @post("/confirm", request_max_body_size=PASSKEY_FORM_BYTES, guards=[StaffOnly(ALL_ROLES)])
    async def step_up(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        staff_session: NamedDependency[AuthenticatedStaff],
    ) -> Response[Any]:
        """Record a recent proof, if the passkey is that of whoever is signed in."""
        fields = await form_data(request)
        return_url = auth.safe_return_url(fields.get("back", ""))
        try:
            token = await _verify_step_up(ctx, staff_session, fields.get("answer", ""))
        except PasskeyRefused as error:
            await _record_refusal(ctx, error, AuditAction.REAUTHENTICATION_FAILED)
            return await auth.render_step_up(
                ctx, staff_session, return_url, status=error.status, error=error.detail
            )
        return _redirect_with_session(ctx, staff_session.colleague, token, return_url)

    @post("/leave", request_max_body_size=SMALL_FORM_BYTES)
    async def sign_out(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """End the session, if there is one."""
        async with ctx.sessions.begin() as session:
            await sessions.sign_out(session, _own_token(ctx, request) or "", now=ctx.now())
        expired = cookies.session_cookie(ctx.settings, "", max_age=cookies.EXPIRED)
        return Redirect(
            "/staff/sign-in", status_code=303, cookies=[expired], headers=CLEAR_SITE_DATA
        )


def _own_token(ctx: Context, request: AnyRequest) -> str | None:
    """Return the session token that the browser holds, if it holds one."""
    token: str | None = request.cookies.get(cookies.session_cookie_name(ctx.settings))
    return token


async def _redeem_link(
    ctx: Context, token: str, credential: str, *, replaces: str | None
) -> tuple[Staff, str]:
    """Return whom a link was for, and the token of their new session."""
    async with ctx.sessions.begin() as session:
        colleague = await accounts.redeem_link(session, token, now=ctx.now())
        if credential:
            await passkeys.register(
                session,
                ctx.settings,
                colleague,
                credential,
                bound_to=f"link {token}",
                now=ctx.now(),
            )
        return colleague, await sessions.start(
            session, colleague, method="by a one-time link", replaces=replaces, now=ctx.now()
        )


async def _verify_step_up(ctx: Context, staff_session: AuthenticatedStaff, credential: str) -> str:
    """Return the new token of a session, renewed by a passkey. Raises PasskeyRefused."""
    async with ctx.sessions.begin() as session:
        colleague = await passkeys.authenticate(
            session,
            ctx.settings,
            ChallengePurpose.STEP_UP,
            credential,
            bound_to=staff_session.session_id,
            now=ctx.now(),
        )
        if colleague.id != staff_session.colleague.id:
            raise PasskeyRefused("This is a colleague's passkey.", staff_id=colleague.id)
        return await sessions.record_step_up(session, staff_session, now=ctx.now())


async def _record_refusal(ctx: Context, error: PasskeyRefused, action: AuditAction) -> None:
    """Record a refused passkey in the audit log, and raise an alert if it may be cloned."""
    async with ctx.sessions.begin() as session:
        if error.staff_id is None:
            await audit_log.record_anonymous(session, action, object_id="a passkey", now=ctx.now())
            return
        colleague = await session.get_one(Staff, error.staff_id)
        await accounts.record_action(
            session, action, colleague, reason=error.detail[:200], now=ctx.now()
        )
        if isinstance(error, PasskeyCloned):
            await alerts.raise_alert(
                session, AlertKind.PASSKEY_CLONED, object_id=error.staff_id, now=ctx.now()
            )


def _redirect(colleague: Staff, return_url: str) -> Redirect:
    return Redirect(return_url or layout.HOME_URLS[colleague.role], status_code=303)


def _redirect_with_session(
    ctx: Context, colleague: Staff, session_token: str, return_url: str
) -> Redirect:
    response = _redirect(colleague, return_url)
    response.cookies.append(cookies.session_cookie(ctx.settings, session_token))
    return response


def _render_link_invalid(ctx: Context, error: LinkInvalid) -> Response[str]:
    return rendering.render(
        ctx, "staff_message.html", status=error.status, title=error.title, detail=error.detail
    )
