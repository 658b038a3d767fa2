"""Who may call the finance API: a program with a token of the scope, so many times a minute.

`TokenOnly(scope)` is the guard of each handler. It reads no cookie. It refuses in this order: no
token that counts (401), too many calls (429), another scope (403), a parameter that the operation
does not have (422). `check_routes` refuses an application with an operation without it.
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import Message, Scope
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import accounting_zone
from payments.core.errors import InvalidField, PaymentsError
from payments.infra import audit_log
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.risk import buckets
from payments.staff import accounts, api_tokens
from payments.staff.accounts import Staff
from payments.staff.api_tokens import ApiToken, ScopeMissing, TokenRefused, TokenScope
from payments.web.finance_api.parameters import PARAMETERS
from payments.web.forms import AnyRequest
from payments.web.staff.guards import ExportGrant

AnyConnection = ASGIConnection[Any, Any, Any, Any]
API_PREFIX = "/api/finance"
CALLS_PER_WINDOW, WINDOW = 120, timedelta(minutes=1)
CALL_COST = WINDOW / CALLS_PER_WINDOW
MAX_DENIALS_PER_HOUR = 60  # lines in the audit log
CHALLENGES = {  # RFC 6750
    401: b'Bearer realm="finance"',
    403: b'Bearer realm="finance", error="insufficient_scope"',
}
STATE_CALL = "api_call"  # key of a request's state
PARAMETERS_OPTION = "parameters"  # key of a handler's options: the names of its parameters


class TooManyCalls(PaymentsError):
    """A token was used as often as it may be."""

    status = 429
    code = "too-many-calls"
    title = "Too many calls"

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(
            f"A token may call {CALLS_PER_WINDOW} times in {WINDOW.total_seconds():.0f} seconds."
        )
        self.retry_after = retry_after


class UnguardedOperation(Exception):
    """An operation of the finance API that does not say which scope it needs."""


@dataclass(slots=True)
class ApiCall:
    """A call whose token counts, and how much of its limit is used."""

    token: ApiToken
    colleague: Staff
    used: timedelta

    @property
    def headers(self) -> dict[str, str]:
        """The headers RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers)."""
        left = max(0, math.floor((WINDOW - self.used) / CALL_COST))
        seconds = math.ceil(self.used.total_seconds())
        return {
            "ratelimit-policy": f'"token";q={CALLS_PER_WINDOW};w={WINDOW.total_seconds():.0f}',
            "ratelimit": f'"token";r={left};t={seconds}',
        }


class TokenOnly:
    """Guard: a program with a token that has the scope, or any token where that is None. `cost` is
    how many calls one counts as.
    """

    def __init__(self, scope: TokenScope | None, *, cost: int = 1) -> None:
        self.scope = scope
        self.cost = cost

    async def __call__(self, connection: AnyConnection, handler: BaseRouteHandler) -> None:
        """Refuse whoever may not call. Raises TokenRefused, TooManyCalls, ScopeMissing and
        InvalidField.
        """
        if connection.scope.get("method") == "OPTIONS":
            return
        ctx: Context = connection.app.state.ctx
        token = _bearer_token(connection)
        async with ctx.sessions.begin() as session:
            row, colleague = await api_tokens.authenticate(session, token, now=ctx.now())
            key = buckets.keyed_hash(ctx, f"api token\0{row.id}")
            # What is refused uses up no more than the next call's place.
            found = await buckets.consume(
                session, ctx.now(), {key: self.cost * CALL_COST}, cap=WINDOW + CALL_COST
            )
            is_too_often = found[key] > WINDOW + CALL_COST / 2
            may_read = self.scope is None or row.has(self.scope)
            if not may_read and not is_too_often:
                await _record_denial(ctx, session, row, colleague, connection)
        call = ApiCall(row, colleague, min(found[key], WINDOW))
        connection.scope["state"][STATE_CALL] = call
        if is_too_often:
            raise TooManyCalls(found[key] - WINDOW)
        if not may_read:
            raise ScopeMissing(f"This needs a token with the scope {self.scope}.")
        async with ctx.sessions() as session:
            await accounting_zone.require(session, ctx.settings.accounting_zone)
        check_parameters(connection, handler.opt.get(PARAMETERS_OPTION, ()))


async def _record_denial(
    ctx: Context,
    session: AsyncSession,
    row: ApiToken,
    colleague: Staff,
    connection: AnyConnection,
) -> None:
    denials = await audit_log.count_actions(
        session,
        [AuditAction.ACCESS_DENIED],
        staff_id=colleague.id,
        since=ctx.now() - timedelta(hours=1),
    )
    if denials < MAX_DENIALS_PER_HOUR:
        route = f"{connection.scope.get('method')} {connection.scope['path_template']}"
        await accounts.record_action(
            session,
            AuditAction.ACCESS_DENIED,
            colleague,
            object_id=f"{route} by {row.label}",
            now=ctx.now(),
        )


def _bearer_token(connection: AnyConnection) -> str:
    """Return the token of the one Authorization header. Raises TokenRefused."""
    values = connection.headers.getall("authorization", [])
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenRefused("Send a token of this service: Authorization: Bearer rpf_…")
    return token.strip()


def check_parameters(connection: AnyConnection, names: tuple[str, ...]) -> None:
    """Raise InvalidField for a parameter that the operation does not have, is given twice or is
    empty: a filter with a typing error would otherwise filter nothing.
    """
    seen: set[str] = set()
    for name, value in connection.query_params.multi_items():
        if name not in names:
            known = ", ".join(names) if names else "none"
            raise InvalidField(
                f"There is no such parameter here. This operation takes: {known}.", field=name[:64]
            )
        if name in seen:
            raise InvalidField(f"{name}: give it once.", field=name)
        if not value:
            raise InvalidField(
                f"{name}: it is empty. Leave it out, or give it a value.", field=name
            )
        seen.add(name)


def export_grant(request: AnyRequest) -> ExportGrant:
    """Return the permission to send one file: `TokenOnly` let the call in that asks for it."""
    ctx: Context = request.app.state.ctx
    call: ApiCall = request.scope["state"][STATE_CALL]
    query = request.scope["query_string"].decode("latin-1")
    url = request.scope["path"] + (f"?{query}" if query else "")
    return ExportGrant(ctx, call.colleague, f"{url} by {call.token.label}")


# --- what answers say -----------------------------------------------------------------------------


async def add_headers(message: Message, scope: Scope) -> None:
    """Say in an answer of the API how much of the limit is left, or which token it asks for."""
    if message["type"] != "http.response.start" or not _is_ours(scope["path"]):
        return
    headers = list(message.get("headers", []))
    call: ApiCall | None = scope["state"].get(STATE_CALL)
    if call is not None:
        headers += [(name.encode(), value.encode()) for name, value in call.headers.items()]
    if message["status"] in CHALLENGES:
        headers.append((b"www-authenticate", CHALLENGES[message["status"]]))
    message["headers"] = headers


def _is_ours(path: str) -> bool:
    return f"{path}/".startswith(f"{API_PREFIX}/")


# --- what guards say ------------------------------------------------------------------------------


def find_guard(handler: BaseRouteHandler) -> TokenOnly | None:
    """Return the guard of an operation."""
    found = [guard for guard in handler.resolve_guards() if isinstance(guard, TokenOnly)]
    return found[-1] if found else None


def operations(app: Litestar) -> list[tuple[str, str, HTTPRouteHandler]]:
    """Return the method, path and handler of every operation of the API, by path."""
    found = [
        (method, route.path_format, handler)
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        for method in handler.http_methods
        if method != "OPTIONS" and _is_ours(route.path_format)
    ]
    return sorted(found, key=lambda one: one[:2])


def check_routes(app: Litestar) -> None:
    """Raise UnguardedOperation for an operation without its guard, or with a parameter that is
    described nowhere.
    """
    for method, path, handler in operations(app):
        if find_guard(handler) is None:
            raise UnguardedOperation(f"{method} {path} does not say which scope it needs.")
        for name in handler.opt.get(PARAMETERS_OPTION, ()):
            if name not in PARAMETERS:
                raise UnguardedOperation(
                    f"{method} {path} takes {name}, which is described nowhere."
                )
