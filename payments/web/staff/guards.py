"""Who may open a staff page, said by guards on its handler or its router.

`StaffOnly(roles)` lets in a colleague who is signed in and has one of the roles, and `readers`
besides for what only reads: of whatever is added to a router of the books, a GET is open to an
auditor and nothing else is. `StepUp()` asks besides for a proof of who they are in the last five
minutes: for what moves money, takes data away or lets people in. `EXPORT` is a step-up that also
hands the handler an `ExportGrant`, without which no file can be sent; sending one leaves a line in
the audit log.

The session is read once, by `StaffOnly`; the dependencies `staff_session` and `colleague` return
what it found. `check_routes` refuses an application with a staff route that has no such guard.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import HTTPRoute

from payments.accounting import accounting_zone
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.staff import sessions
from payments.staff.accounts import PermissionDenied, Role, Staff, record_action
from payments.staff.sessions import AuthenticatedStaff, StepUpRequired
from payments.web.csrf import SAFE_METHODS
from payments.web.forms import AnyRequest
from payments.web.paths import STAFF_PREFIXES
from payments.web.staff import cookies

AnyConnection = ASGIConnection[Any, Any, Any, Any]
GuardType = TypeVar("GuardType")
ALL_ROLES = frozenset(Role)
FINANCE_ROLES = frozenset({Role.FINANCE, Role.ADMIN})
SUPPORT_ROLES = frozenset({Role.SUPPORT, Role.ADMIN})
ADMIN_ROLES = frozenset({Role.ADMIN})
AUDITOR_ROLES = frozenset({Role.AUDITOR})
BOOKS_READERS = FINANCE_ROLES | AUDITOR_ROLES
STAFF_DEPENDENCIES = frozenset({"staff_session", "colleague", "export_grant"})
# Where a session begins and ends. Nothing here shows or changes anything but that.
OPEN_ROUTES = frozenset(
    {
        "GET /staff/sign-in",
        "POST /staff/sign-in",
        "POST /staff/leave",
        "GET /staff/enter/{token}",
        "POST /staff/enter/{token}",
        "GET /staff/sign-on",
        "GET /staff/sign-on/back",
        "GET /staff/enter/{token}/sign-on",
    }
)
STATE_SESSION, STATE_GRANT = "staff_session", "export_grant"  # keys of a request's state


class UnguardedRoute(Exception):
    """A route of the staff pages that does not say who may open it."""


class StaffOnly:
    """Guard: a colleague who is signed in and has one of the roles.

    `readers` are roles that are let in for a safe method only. Raises Unauthenticated, or
    PermissionDenied, which is in the audit log.
    """

    def __init__(self, roles: frozenset[Role], *, readers: frozenset[Role] = frozenset()) -> None:
        self.roles, self.readers = roles, readers

    def roles_for(self, method: str) -> frozenset[Role]:
        """Return the roles that are let in for a method of HTTP."""
        return self.roles | self.readers if method in SAFE_METHODS else self.roles

    async def __call__(self, connection: AnyConnection, _handler: BaseRouteHandler) -> None:
        """Refuse whoever is not signed in or has another role. Raises PermissionDenied."""
        if _asks_for_methods(connection):
            return
        ctx: Context = connection.app.state.ctx
        token = connection.cookies.get(cookies.session_cookie_name(ctx.settings))
        async with ctx.sessions.begin() as session:
            staff_session = await sessions.current(session, token, now=ctx.now())
        colleague = staff_session.colleague
        method = str(connection.scope.get("method"))
        if colleague.role not in self.roles_for(method):
            route = f"{method} {connection.scope['path_template']}"
            await _record(ctx, colleague, AuditAction.ACCESS_DENIED, route)
            if colleague.role in self.readers:
                raise PermissionDenied(f"The role {colleague.role} changes nothing here.")
            raise PermissionDenied(f"The role {colleague.role} does not open this page.")
        connection.scope["state"][STATE_SESSION] = staff_session


BOOKS = StaffOnly(FINANCE_ROLES, readers=AUDITOR_ROLES)


async def same_zone_as_books(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
    """Guard, after `StaffOnly`: the books are counted in the zone of this process.

    Raises AnotherZone.
    """
    if _asks_for_methods(connection):
        return
    ctx: Context = connection.app.state.ctx
    async with ctx.sessions() as session:
        await accounting_zone.require(session, ctx.settings.accounting_zone)


class StepUp:
    """Guard, after `StaffOnly`: a proof of who they are in the last minutes.

    `form_url` is where the form of a POST stands, if not at its own URL; it may name parameters of
    the path. Raises StepUpRequired.
    """

    def __init__(self, form_url: str = "") -> None:
        self.form_url = form_url

    async def __call__(self, connection: AnyConnection, _handler: BaseRouteHandler) -> None:
        """Refuse whoever has not proved lately who they are. Raises StepUpRequired."""
        if _asks_for_methods(connection):
            return
        ctx: Context = connection.app.state.ctx
        if not _session_of(connection).is_recently_authenticated(ctx.now()):
            raise StepUpRequired("Nothing was done. Confirm that it is you, and try again.")


class Export(StepUp):
    """Guard: who may export. A step-up for taking data away. Gives the handler an `ExportGrant`."""

    async def __call__(self, connection: AnyConnection, handler: BaseRouteHandler) -> None:
        """Refuse as a step-up does, and grant the export of this one file."""
        await super().__call__(connection, handler)
        if _asks_for_methods(connection):
            return
        ctx: Context = connection.app.state.ctx
        query = connection.scope["query_string"].decode("latin-1")
        url = connection.scope["path"] + (f"?{query}" if query else "")
        grant = ExportGrant(ctx, _session_of(connection).colleague, url)
        connection.scope["state"][STATE_GRANT] = grant


EXPORT = Export()


@dataclass(frozen=True, slots=True)
class ExportGrant:
    """The permission to send one file of the books. Only the `EXPORT` guard makes one, and for a
    program's token that of the finance API.
    """

    ctx: Context
    colleague: Staff
    url: str

    async def record(self) -> None:
        """Append the export to the audit log, just before its file is sent."""
        await _record(self.ctx, self.colleague, AuditAction.DATA_EXPORTED, self.url)


def _asks_for_methods(connection: AnyConnection) -> bool:
    """Whether a request gets the list of methods of a path and nothing else."""
    return connection.scope.get("method") == "OPTIONS"


async def _record(ctx: Context, colleague: Staff, action: AuditAction, object_id: str) -> None:
    async with ctx.sessions.begin() as session:
        await record_action(session, action, colleague, object_id=object_id, now=ctx.now())


# --- dependencies ---------------------------------------------------------------------------------


def _session_of(connection: AnyConnection) -> AuthenticatedStaff:
    staff_session: AuthenticatedStaff = connection.scope["state"][STATE_SESSION]
    return staff_session


def current_session(request: AnyRequest) -> AuthenticatedStaff:
    """Dependency: the session that `StaffOnly` let in."""
    return _session_of(request)


def current_colleague(staff_session: NamedDependency[AuthenticatedStaff]) -> Staff:
    """Dependency: the colleague whose session it is."""
    return staff_session.colleague


def current_export_grant(request: AnyRequest) -> ExportGrant:
    """Dependency: the permission that the `EXPORT` guard gave."""
    grant: ExportGrant = request.scope["state"][STATE_GRANT]
    return grant


# --- what guards say ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Who may open a route, and whether it asks for a recent proof or is an export."""

    route: str  # `GET /finance/transactions`
    roles: frozenset[Role]  # none: open to anybody
    needs_step_up: bool = False
    is_export: bool = False

    def __str__(self) -> str:
        names = ", ".join(sorted(self.roles)) or "anybody"
        extra = ", export" if self.is_export else ", step-up" if self.needs_step_up else ""
        return f"{self.route}: {names}{extra}"


def find_guard(handler: BaseRouteHandler, kind: type[GuardType]) -> GuardType | None:
    """Return the innermost guard of a kind that a handler has, on itself or on a layer above."""
    found = [guard for guard in handler.resolve_guards() if isinstance(guard, kind)]
    return found[-1] if found else None


def access_rules(app: Litestar) -> Iterator[AccessRule]:
    """Yield the rule of each route of the staff pages, ordered by path. Raises UnguardedRoute."""
    handlers = {
        (route.path_format, method): handler
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS" and _is_staff_route(route.path_format, handler)
    }
    for (path, method), handler in sorted(handlers.items(), key=lambda item: item[0]):
        yield _access_rule(f"{method} {path}", handler)


def _is_staff_route(path: str, handler: HTTPRouteHandler) -> bool:
    asks_for = STAFF_DEPENDENCIES & handler.parsed_fn_signature.parameters.keys()
    return bool(asks_for) or any(
        path == prefix or path.startswith(f"{prefix}/") for prefix in STAFF_PREFIXES
    )


def _access_rule(route: str, handler: HTTPRouteHandler) -> AccessRule:
    if route in OPEN_ROUTES:
        return AccessRule(route, frozenset())
    staff_only = find_guard(handler, StaffOnly)
    if staff_only is None:
        raise UnguardedRoute(f"{route} does not say which roles may open it.")
    is_export = find_guard(handler, Export) is not None
    if ("export_grant" in handler.parsed_fn_signature.parameters) is not is_export:
        raise UnguardedRoute(f"{route} exports without its guard, or has the guard for nothing.")
    needs_step_up = find_guard(handler, StepUp) is not None
    roles = staff_only.roles_for(route.partition(" ")[0])
    return AccessRule(route, roles, needs_step_up, is_export)


def check_routes(app: Litestar) -> None:
    """Raise UnguardedRoute unless every route of the staff pages says who may open it."""
    for _rule in access_rules(app):
        pass
