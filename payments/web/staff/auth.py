"""Who may open which page of the staff: one table of roles, and the one dependency that reads it.

A page for staff takes the `colleague`, and with it come the role its address asks for, a proof that
is fresh enough for what moves money or takes data away, the check that a form was sent from a page
of ours, and the audit's line of whoever was turned away. An address under none of these rules is
opened by nobody.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.core.errors import Unauthenticated
from payments.core.settings import Settings
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.staff import accounts, oidc, oidc_provider, passkeys
from payments.staff.accounts import (
    AuthenticatedStaff,
    PermissionDenied,
    Role,
    Staff,
    StepUpRequired,
)
from payments.staff.passkeys import ChallengePurpose
from payments.web import rendering, security_headers
from payments.web.account.sign_in import CrossSiteForm
from payments.web.forms import AnyRequest

RETURN_URL_PATTERN = re.compile(r"/(?:finance|support|staff)(?:[/?][\w./?=&%+:,~-]*)?", re.ASCII)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Which roles open the addresses that begin so. `proved`: with a proof of the last minutes."""

    url_prefix: str
    roles: frozenset[Role]
    step_up: bool = False
    action: AuditAction | None = None  # written down for each time it is opened
    form_url: str = ""  # where its form is, if not at its own address


ALL_ROLES = frozenset(Role)
FINANCE_ROLES = frozenset({Role.FINANCE, Role.ADMIN})
SUPPORT_ROLES = frozenset({Role.SUPPORT, Role.ADMIN})
ADMIN_ROLES = frozenset({Role.ADMIN})
# What of the books is taken away, by the end of its address.
EXPORT_SUFFIXES = (".csv", ".xlsx", ".zip", "/journal", "/pack")
EXPORT_RULE = AccessRule("/finance", FINANCE_ROLES, step_up=True, action=AuditAction.DATA_EXPORTED)
# The first that fits decides.
ACCESS_RULES = (
    AccessRule("/finance/refund", FINANCE_ROLES, step_up=True),
    AccessRule(
        "/finance/periods/{month}/close", FINANCE_ROLES, step_up=True, form_url="/finance/periods"
    ),
    AccessRule(
        "/finance/periods/{month}/reopen", FINANCE_ROLES, step_up=True, form_url="/finance/periods"
    ),
    AccessRule("/finance", FINANCE_ROLES),
    AccessRule("/support/{case_id}/erase", SUPPORT_ROLES, step_up=True),
    AccessRule("/support", SUPPORT_ROLES),
    AccessRule("/staff/colleagues", ADMIN_ROLES, step_up=True, form_url="/staff/colleagues"),
    AccessRule("/staff/passkeys", ALL_ROLES, step_up=True, form_url="/staff"),
    AccessRule("/staff/sign-on", ALL_ROLES, step_up=True, form_url="/staff"),
    AccessRule("/staff/alarms", FINANCE_ROLES),
    AccessRule("/staff/campaigns", FINANCE_ROLES),
    AccessRule("/staff", ALL_ROLES),
)
HOME_URL_OF_ROLE = {Role.FINANCE: "/finance", Role.SUPPORT: "/support", Role.ADMIN: "/finance"}
NAVIGATION = (  # of the pages that are not of the books alone
    ("/finance", "Books"),
    ("/support", "Donors"),
    ("/staff/campaigns", "Campaigns"),
    ("/staff/alarms", "Alarms"),
    ("/finance/audit", "Audit"),
    ("/staff/colleagues", "Colleagues"),
    ("/staff", "You"),
)


def rule_for_route(template: str) -> AccessRule | None:
    """The rule for a route, by its address as the application has it."""
    template = re.sub(r":[a-z]+}", "}", template)
    if template.startswith("/finance/") and template.endswith(EXPORT_SUFFIXES):
        return EXPORT_RULE
    for rule in ACCESS_RULES:
        if template == rule.url_prefix or template.startswith(f"{rule.url_prefix}/"):
            return rule
    return None


async def current_session(ctx: NamedDependency[Context], request: AnyRequest) -> AuthenticatedStaff:
    """The colleague who asks, if their role opens this address, by a fresh proof where it must be.

    Raises NotSignedIn, NotAllowed, ConfirmFirst, ForeignForm.
    """
    require_same_origin(ctx, request)
    token = request.cookies.get(session_cookie_name(ctx.settings))
    async with ctx.sessions.begin() as session:
        found = await accounts.current(session, token, now=ctx.now())
    template = request.scope["path_template"]
    rule = rule_for_route(template)
    if rule is None or found.colleague.role not in rule.roles:
        await _record(
            ctx, found.colleague, AuditAction.ACCESS_DENIED, f"{request.method} {template}"
        )
        raise PermissionDenied(f"The role {found.colleague.role} does not open this page.")
    if rule.step_up and not found.is_recently_authenticated(ctx.now()):
        raise StepUpRequired("Nothing was done. Confirm that it is you, and try again.")
    if rule.action is not None:
        await _record(ctx, found.colleague, rule.action, requested_url(request))
    return found


async def current_colleague(staff_session: NamedDependency[AuthenticatedStaff]) -> Staff:
    """The colleague who asks. A dependency of every page for staff."""
    return staff_session.colleague


async def _record(ctx: Context, person: Staff, action: AuditAction, object_id: str) -> None:
    async with ctx.sessions.begin() as session:
        await accounts.record_action(session, action, person, object_id=object_id, now=ctx.now())


def require_same_origin(ctx: Context, request: AnyRequest) -> None:
    """Refuse a form that another site made a browser send; the cookie is `strict` besides.

    Our own pages say no-referrer, so a browser gives their origin as "null": Sec-Fetch-Site decides
    where there is one. What says neither is no browser, and is made to send nothing by anybody.
    """
    if request.method in SAFE_METHODS:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = site == "same-origin" if site is not None else origin in (None, ctx.settings.base_url)
    if not ours:
        raise CrossSiteForm("Nothing was done. Please open the page again and use its button.")


# --- cookies --------------------------------------------------------------------------------------


def session_cookie_name(settings: Settings) -> str:
    """`__Host-` needs https, which the demo on this machine has not."""
    return "__Host-staff" if settings.uses_https else "staff"


def session_cookie(
    settings: Settings, token: str, *, max_age: timedelta = accounts.SESSION_LIFETIME
) -> Cookie:
    return Cookie(
        key=session_cookie_name(settings),
        value=token,
        path="/",
        httponly=True,
        secure=settings.uses_https,
        samesite="strict",
        max_age=int(max_age.total_seconds()),
    )


# --- pages ----------------------------------------------------------------------------------------


def render(
    ctx: Context,
    template: str,
    person: Staff,
    *,
    active_url: str,
    status: int = 200,
    **context: object,
) -> Response[str]:
    """A page for a colleague, with the ways to all the others that their role opens."""
    nav = [
        {"url": url, "label": label, "here": url == active_url}
        for url, label in NAVIGATION
        if (rule := rule_for_route(url)) is not None and person.role in rule.roles
    ]
    return rendering.render(ctx, template, status=status, person=person.name, nav=nav, **context)


def allow_script(ctx: Context, response: Response[str]) -> Response[str]:
    """A page that asks the browser for a passkey."""
    response.headers["content-security-policy"] = security_headers.policy_with_script(ctx.settings)
    return response


def render_sign_in(
    ctx: Context, return_url: str, *, status: int = 200, error: str = ""
) -> Response[str]:
    """The way in. `back` is where to go from there."""
    options = ""
    if passkeys.is_supported(ctx.settings):
        options = passkeys.authentication_options(
            ctx.settings, ChallengePurpose.SIGN_IN, now=ctx.now()
        )
    return allow_script(
        ctx,
        rendering.render(
            ctx,
            "staff_sign_in.html",
            status=status,
            options=options,
            issuer=oidc_provider.provider_name(ctx.settings),
            query=query_string(back=return_url),
            back=return_url,
            error=error,
        ),
    )


async def render_step_up(
    ctx: Context,
    staff_session: AuthenticatedStaff,
    return_url: str,
    *,
    status: int = 200,
    error: str = "",
) -> Response[str]:
    """Where a colleague proves once more who they are."""
    async with ctx.sessions() as session:
        known = await passkeys.list_for(session, staff_session.colleague.id)
        account = await oidc.get_linked_account(session, staff_session.colleague.id)
    options = ""
    if known and passkeys.is_supported(ctx.settings):
        options = passkeys.authentication_options(
            ctx.settings,
            ChallengePurpose.STEP_UP,
            bound_to=staff_session.session_id,
            existing=known,
            now=ctx.now(),
        )
    made = render(
        ctx,
        "staff_step_up.html",
        staff_session.colleague,
        active_url="",
        status=status,
        options=options,
        issuer=oidc_provider.provider_name(ctx.settings) if account is not None else "",
        query=query_string(back=return_url),
        back=return_url,
        error=error,
    )
    return allow_script(ctx, made)


# --- refused --------------------------------------------------------------------------------------


def on_unauthenticated(request: AnyRequest, _error: Unauthenticated) -> Response[str]:
    """A page for staff, asked for by nobody we know: the way in, and back to the page."""
    ctx: Context = request.app.state.ctx
    return render_sign_in(ctx, return_url_of(request), status=401)


def on_step_up_required(request: AnyRequest, _error: StepUpRequired) -> Response[Any]:
    """Off to the page that asks for a passkey, and back."""
    return Redirect(f"/staff/confirm?{query_string(back=return_url_of(request))}", status_code=303)


def return_url_of(request: AnyRequest) -> str:
    """Where to go on after this was asked for: the page itself, or the one its form is on."""
    if request.method in SAFE_METHODS:
        return safe_return_url(requested_url(request))
    rule = rule_for_route(request.scope["path_template"])
    return safe_return_url((rule.form_url if rule else "") or request.scope["path"])


def safe_return_url(url: str) -> str:
    """An address of ours for staff, or nothing: nobody is led elsewhere."""
    return url if RETURN_URL_PATTERN.fullmatch(url) and len(url) <= 1000 else ""


def requested_url(request: AnyRequest) -> str:
    said = request.scope["query_string"].decode("latin-1")
    return request.scope["path"] + (f"?{said}" if said else "")


def query_string(**said: str) -> str:
    return urlencode({name: value for name, value in said.items() if value})


def select_options(choices: Sequence[tuple[str, str]], chosen: str) -> list[dict[str, object]]:
    """The options of a choice, ready to print."""
    return [{"value": v, "label": label, "selected": v == chosen} for v, label in choices]
