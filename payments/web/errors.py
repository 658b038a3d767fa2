"""Failures told to whoever asked: problem+json (RFC 9457) to programs, a page to people.

A sentence never carries what was sent: an answer may be logged or shared.
"""

import http
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from payments.errors import InvalidField, PaymentsError
from payments.runtime import Runtime
from payments.web import pages
from payments.web.headers import request_id

log = structlog.get_logger("payments.web")
PROGRAMS = ("/api/", "/webhooks/", "/health/", "/metrics", "/schema")
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
        faults = (Fault(f"/{error.field}", error.code, error.detail),)
    return _answer(
        request, error.status, code=error.code, title=error.title, says=error.detail, faults=faults
    )


def invalid(request: AnyRequest, error: ValidationException) -> Response[Any]:
    """A body or parameter of the wrong shape, as litestar found it."""
    found = error.extra if isinstance(error.extra, list) else []
    faults = tuple(
        Fault(f"/{item.get('key', '')}", InvalidField.code, str(item.get("message", "")))
        for item in found
        if isinstance(item, dict)
    )
    says = "; ".join(
        f"{fault.pointer.removeprefix('/')}: {fault.message}".removeprefix(": ") for fault in faults
    )
    says = f"{says or 'The request is not valid'}. {UNCHARGED}"
    status = 400 if error.status_code == 400 and not faults else InvalidField.status
    return _answer(
        request, status, code=InvalidField.code, title=InvalidField.title, says=says, faults=faults
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
    rt: Runtime | None = request.app.state.get("rt")
    if rt is None or path.startswith(PROGRAMS):
        problem = Problem(
            type=f"urn:reader-payments:problem:{code}",
            title=title,
            status=status,
            detail=says,
            instance=f"urn:request:{request_id(request.scope)}",
            errors=faults,
        )
        return Response(
            msgspec.json.encode(problem), status_code=status, media_type="application/problem+json"
        )
    about_money = path.startswith("/donate") and UNCHARGED not in says
    return pages.page(
        rt,
        "error.html",
        status=status,
        title=title,
        detail=says,
        money=UNCHARGED if about_money else "",
        request_id=request_id(request.scope),
    )


HANDLERS: dict[int | type[Exception], Any] = {  # litestar's own type is this loose
    PaymentsError: expected,
    ValidationException: invalid,
    HTTPException: refused,
    Exception: unexpected,
}
