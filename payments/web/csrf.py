"""Cross-site request forgery: a form counts only if a page of ours sent it.

One rule for donors and for staff, a guard on every router whose pages read a session cookie. A
browser that sends `Sec-Fetch-Site` must say `same-origin`; one that does not (Safari before 16.4)
must send the `Origin` that the request itself came to, which our Referrer-Policy of `same-origin`
makes it do. A request with neither header, or with `Origin: null`, is refused.

Handlers that change something and read no session are listed in `EXEMPT_ROUTES`, each with the
reason. `check_routes` refuses an application with a handler that is neither guarded nor listed.
"""

from collections.abc import Iterator
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import HTTPRoute

from payments.core.errors import PaymentsError
from payments.infra.context import Context
from payments.web import origins

AnyConnection = ASGIConnection[Any, Any, Any, Any]
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
NO_SESSION = "reads no session: whoever sends it could send it from anywhere"
SIGNED_LINK = "whoever holds the link may send it, and the cookies of the browser are not read"
PROGRAM = "called by programs, which hold a token or a signature"
EXEMPT_ROUTES = {
    "/donate": NO_SESSION,
    "/remind": "reads the donor's session, which saves a confirmation, only if `is_same_origin`",
    "/remind/with": NO_SESSION,
    "/remind/calendar": NO_SESSION,
    "/remind/confirm/{signed}": SIGNED_LINK,
    "/remind/stop/{code}": SIGNED_LINK,
    "/remind/never/{signed}": SIGNED_LINK,
    "/remind/reactivate/{code}": SIGNED_LINK,
    "/newsletter": NO_SESSION,
    "/mailbox/confirm/{signed}": SIGNED_LINK,
    "/mailbox/never/{signed}": SIGNED_LINK,
    "/stop/{signed}": SIGNED_LINK,
    "/fix/{signed}": SIGNED_LINK,
    "/api/contributions": PROGRAM,
    "/api/reminders": PROGRAM,
    "/api/reminders/cancel": PROGRAM,
    "/api/reminders/reactivate": PROGRAM,
    "/api/newsletter": PROGRAM,
    "/webhooks/mail": PROGRAM,
    "/webhooks/stripe": PROGRAM,
}


class CrossSiteForm(PaymentsError):
    """A form that was not sent from a page of ours."""

    status = 403
    code = "cross-site-form"
    title = "This request did not come from our own page"


class UnguardedRoute(Exception):
    """A handler that changes something, is not guarded, and is not listed as exempt."""


def is_same_origin(connection: AnyConnection) -> bool:
    """Whether a browser says that a page of ours sent this request."""
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    ctx: Context = connection.app.state.ctx
    return connection.headers.get("origin") == origins.request_origin(ctx.settings, connection)


async def require_same_origin(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
    """Guard: refuse a form that another site made a browser send. Raises CrossSiteForm."""
    if connection.scope.get("method") not in SAFE_METHODS and not is_same_origin(connection):
        raise CrossSiteForm("Nothing was changed. Please open the page again and use its button.")


def may_start_navigation(connection: AnyConnection) -> bool:
    """Whether a GET that starts something, such as a sign-in elsewhere, was the person's own doing.

    True for our own pages, a bookmark or a typed address, and for browsers that do not say.
    """
    return connection.headers.get("sec-fetch-site") in (None, "same-origin", "none")


def unsafe_routes(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Yield the path and handler of every route of a method that may change something."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if set(handler.http_methods) - set(SAFE_METHODS):
                    yield route.path_format, handler


def is_guarded(handler: BaseRouteHandler) -> bool:
    """Whether forms of other sites are refused before a handler is called."""
    return require_same_origin in handler.resolve_guards()


def check_routes(app: Litestar) -> None:
    """Raise UnguardedRoute for each changing handler that is neither guarded nor exempt."""
    missing = [
        path
        for path, handler in unsafe_routes(app)
        if not is_guarded(handler) and path not in EXEMPT_ROUTES
    ]
    if missing:
        raise UnguardedRoute(f"No guard against forms of other sites: {', '.join(missing)}")
