"""Failures told to whoever asked: problem+json (RFC 9457) to programs, a page to people.

A sentence never carries what was sent: an answer may be logged or shared.
"""

import http
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from payments.errors import DatabaseUnavailable, PaymentsError
from payments.runtime import Runtime
from payments.web import pages
from payments.web.headers import request_id

log = structlog.get_logger("payments.web")
PROGRAMS = ("/api/", "/webhooks/", "/health/", "/metrics", "/schema")
GIVING = ("/donate", "/api/contributions")
UNCHARGED = "Nothing was charged."
AnyRequest = Request[Any, Any, Any]  # no user, no auth, litestar's own state


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field at fault, by its JSON Pointer."""

    pointer: str
    code: str
    message: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An RFC 9457 problem."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: tuple[Fault, ...] = ()


def expected(request: AnyRequest, error: PaymentsError) -> Response[Any]:
    """One of our own refusals."""
    faults: tuple[Fault, ...] = ()
    if error.field is not None:
        pointer = "/" + error.field.replace("~", "~0").replace("/", "~1")
        faults = (Fault(pointer, error.code, error.detail),)
    return _answer(
        request, error.status, code=error.code, title=error.title, says=error.detail, faults=faults
    )


def refused(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """A refusal of the framework: no such page, wrong method, unreadable JSON."""
    title = http.HTTPStatus(error.status_code).phrase
    says = {
        400: "The request could not be read.",
        404: "There is nothing at this address.",
        405: "This address does not take that method.",
        413: "The request is larger than it may be.",
        415: "This content type is not taken here.",
    }.get(error.status_code, title)
    answer = _answer(
        request, error.status_code, code=title.lower().replace(" ", "-"), title=title, says=says
    )
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def away(request: AnyRequest, error: Exception) -> Response[Any]:
    """The database did not answer, or has no connection to spare."""
    log.error("database_away", exc_info=error, request_id=request_id(request.scope))
    return expected(request, DatabaseUnavailable("Please try again in a while."))


def unexpected(request: AnyRequest, error: Exception) -> Response[Any]:
    """A bug. The log gets its class and place, never its words."""
    log.error("unexpected_error", exc_info=error, request_id=request_id(request.scope))
    return _answer(
        request,
        500,
        code="internal-error",
        title="Something went wrong on our side",
        says="We have been told. Please try again in a while.",
    )


def _answer(
    request: AnyRequest,
    status: int,
    *,
    code: str,
    title: str,
    says: str,
    faults: tuple[Fault, ...] = (),
) -> Response[Any]:
    path = request.scope["path"]
    silent = path.startswith(GIVING) and request.method != "GET" and UNCHARGED not in says
    rt: Runtime | None = request.app.state.get("rt")
    if rt is None or path.startswith(PROGRAMS):
        problem = Problem(
            type=f"urn:reader-payments:problem:{code}",
            title=title,
            status=status,
            detail=f"{says} {UNCHARGED}" if silent else says,
            instance=f"urn:request:{request_id(request.scope)}",
            errors=faults,
        )
        return Response(
            msgspec.json.encode(problem), status_code=status, media_type="application/problem+json"
        )
    return pages.page(
        rt,
        "error.html",
        status=status,
        title=title,
        detail=says,
        money=UNCHARGED if silent else "",
        request_id=request_id(request.scope),
    )


HANDLERS: dict[int | type[Exception], Any] = {  # litestar's own type is this loose
    PaymentsError: expected,
    HTTPException: refused,
    OperationalError: away,
    InterfaceError: away,
    PoolTimeout: away,
    Exception: unexpected,
}
