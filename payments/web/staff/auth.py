"""The pages that ask a colleague who they are, and where they go on from there.

A page asked for without a session answers with the sign-in page; one that needs a recent proof
redirects to the step-up page. Both lead back to a URL of ours or to the colleague's home page.
"""

import re
from typing import Any

from litestar import Response
from litestar.response import Redirect
from litestar.routes import HTTPRoute

from payments.core.errors import Unauthenticated
from payments.infra.context import Context
from payments.staff import oidc, oidc_provider, passkeys
from payments.staff.passkeys import ChallengePurpose
from payments.staff.sessions import AuthenticatedStaff, StepUpRequired
from payments.web import rendering
from payments.web.csrf import SAFE_METHODS
from payments.web.forms import AnyRequest, query_string
from payments.web.staff import guards, layout
from payments.web.staff.guards import StepUp

RETURN_URL_PATTERN = re.compile(r"/(?:finance|support|staff)(?:[/?][\w./?=&%+:,~-]*)?", re.ASCII)
MAX_RETURN_URL_LENGTH = 1000


def render_sign_in(
    ctx: Context, return_url: str, *, status: int = 200, error: str = ""
) -> Response[str]:
    """Return the sign-in page, with a new challenge for a passkey where they are supported."""
    options = ""
    if passkeys.is_supported(ctx.settings):
        options = passkeys.authentication_options(
            ctx.settings, ChallengePurpose.SIGN_IN, now=ctx.now()
        )
    page = rendering.render(
        ctx,
        "staff_sign_in.html",
        status=status,
        options=options,
        issuer=oidc_provider.provider_name(ctx.settings),
        query=query_string(back=return_url),
        back=return_url,
        error=error,
    )
    return layout.allow_script(ctx, page)


async def render_step_up(
    ctx: Context,
    staff_session: AuthenticatedStaff,
    return_url: str,
    *,
    status: int = 200,
    error: str = "",
) -> Response[str]:
    """Return the page where a colleague proves once more who they are."""
    colleague = staff_session.colleague
    async with ctx.sessions() as session:
        existing = await passkeys.list_for(session, colleague.id)
        account = await oidc.get_linked_account(session, colleague.id)
    options = ""
    if existing and passkeys.is_supported(ctx.settings):
        options = passkeys.authentication_options(
            ctx.settings,
            ChallengePurpose.STEP_UP,
            bound_to=staff_session.session_id,
            existing=existing,
            now=ctx.now(),
        )
    page = layout.render(
        ctx,
        "staff_step_up.html",
        colleague,
        active_url="",
        status=status,
        options=options,
        issuer=oidc_provider.provider_name(ctx.settings) if account is not None else "",
        query=query_string(back=return_url),
        back=return_url,
        error=error,
    )
    return layout.allow_script(ctx, page)


def on_unauthenticated(request: AnyRequest, _error: Unauthenticated) -> Response[str]:
    """Return the sign-in page for a staff page asked for without a session."""
    ctx: Context = request.app.state.ctx
    return render_sign_in(ctx, return_url_of(request), status=401)


def on_step_up_required(request: AnyRequest, _error: StepUpRequired) -> Response[Any]:
    """Redirect to the step-up page, which leads back."""
    query = query_string(back=return_url_of(request))
    return Redirect(f"/staff/confirm{query}", status_code=303)


def return_url_of(request: AnyRequest) -> str:
    """Return where to go on after a request: its own page, or the page that its form is on.

    Where a form has no page of its own, and its guard names none, that is the nearest one above.
    """
    path: str = request.scope["path"]
    if request.method in SAFE_METHODS:
        query = request.scope["query_string"].decode("latin-1")
        return safe_return_url(f"{path}?{query}" if query else path)
    step_up = guards.find_guard(request.route_handler, StepUp)
    if step_up is not None and step_up.form_url:
        return safe_return_url(step_up.form_url.format(**request.path_params))
    pages = {
        route.path_format
        for route in request.app.routes
        if isinstance(route, HTTPRoute) and "GET" in route.methods
    }
    template: str = request.scope["path_template"]
    while template and template not in pages:
        template, path = template.rpartition("/")[0], path.rpartition("/")[0]
    return safe_return_url(path)


def safe_return_url(url: str) -> str:
    """Return a URL of the staff pages unchanged, and an empty text for any other."""
    is_ours = RETURN_URL_PATTERN.fullmatch(url) and len(url) <= MAX_RETURN_URL_LENGTH
    return url if is_ours else ""
