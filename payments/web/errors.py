"""Failures told to whoever asked: problem+json (RFC 9457) to programs, a page to people.

A sentence never carries what was sent: an answer may be logged or shared.
"""

import http
from math import ceil
from typing import Any

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from payments.core.errors import DatabaseUnavailable, PaymentsError
from payments.core.i18n import later
from payments.infra.context import Runtime
from payments.web import locale, templates
from payments.web.forms import AnyRequest
from payments.web.security_headers import request_id

log = structlog.get_logger("payments.web")
PROGRAMS = ("/api/", "/webhooks/", "/health/", "/metrics", "/schema")
GIVING = ("/donate", "/api/contributions")
UNCHARGED = later("Nothing was charged.")
RETRY_AFTER = {
    "description": "Seconds after which the same may be asked again.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
RETRIED = {"429", "503"}
REFUSALS = {  # of the framework
    400: (later("Bad Request"), later("The request could not be read.")),
    404: (later("Not Found"), later("There is nothing at this address.")),
    405: (later("Method Not Allowed"), later("This address does not take that method.")),
    413: (later("The request is too large"), later("The request is larger than it may be.")),
    415: (later("Unsupported Media Type"), later("This content type is not taken here.")),
}


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


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """How an operation's refusals are described to programs."""
    return {
        status: ResponseSpec(
            Problem,
            generate_examples=False,
            description=http.HTTPStatus(status).phrase,
            media_type="application/problem+json",
        )
        for status in statuses
    }


def expected(request: AnyRequest, error: PaymentsError) -> Response[Any]:
    """One of our own refusals."""
    faults: tuple[Fault, ...] = ()
    if error.field is not None:
        pointer = "/" + error.field.replace("~", "~0").replace("/", "~1")
        faults = (Fault(pointer, error.code, error.detail),)
    return _answer(request, error, error.status, code=error.code, title=error.title, faults=faults)


def refused(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """A refusal of the framework: no such page, wrong method, unreadable JSON."""
    phrase = http.HTTPStatus(error.status_code).phrase
    title, sentence = REFUSALS.get(error.status_code, (phrase, phrase))
    answer = _answer(
        request,
        PaymentsError(sentence),
        error.status_code,
        code=phrase.lower().replace(" ", "-"),
        title=title,
    )
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def away(request: AnyRequest, error: Exception) -> Response[Any]:
    """The database did not answer, or has no connection to spare."""
    log.error("database_away", exc_info=error, request_id=request_id(request.scope))
    return expected(request, DatabaseUnavailable("Our records cannot be reached right now."))


def unexpected(request: AnyRequest, error: Exception) -> Response[Any]:
    """A bug. The log gets its class and place, never its words."""
    log.error("unexpected_error", exc_info=error, request_id=request_id(request.scope))
    return _answer(
        request,
        PaymentsError("We have been told. Please try again in a while."),
        500,
        code="internal-error",
        title=later("Something went wrong on our side"),
    )


def _answer(
    request: AnyRequest,
    error: PaymentsError,
    status: int,
    *,
    code: str,
    title: str,
    faults: tuple[Fault, ...] = (),
) -> Response[Any]:
    path = request.scope["path"]
    silent = path.startswith(GIVING) and request.method != "GET" and UNCHARGED not in error.detail
    rt: Runtime | None = request.app.state.get("rt")
    if rt is None or path.startswith(PROGRAMS):
        problem = Problem(
            type=f"urn:reader-payments:problem:{code}",
            title=title,
            status=status,
            detail=f"{error.detail} {UNCHARGED}" if silent else error.detail,
            instance=f"urn:request:{request_id(request.scope)}",
            errors=faults,
        )
        answer = Response[Any](
            msgspec.json.encode(problem), status_code=status, media_type="application/problem+json"
        )
        return with_when(answer, error)
    # An address that does not exist is refused before the language is settled.
    with locale.heard(request.scope):
        answer = templates.page(
            rt,
            "error.html",
            status=status,
            title=locale.say(title),
            detail=locale.told(error),
            money=locale.say(UNCHARGED) if silent else "",
            when=locale.again(error.again_in) if error.again_in else "",
            request_id=request_id(request.scope),
        )
        return with_when(answer, error)


def told(error: PaymentsError) -> str:
    """The sentence of a refusal, and when to try again if that is known."""
    says = locale.told(error)
    return f"{says} {locale.again(error.again_in)}" if error.again_in else says


def with_when(answer: Response[Any], error: PaymentsError) -> Response[Any]:
    """The answer to a refusal, with the time after which the same may be asked again."""
    if error.again_in is not None:
        answer.headers["retry-after"] = str(max(ceil(error.again_in.total_seconds()), 1))
    return answer


class Description(JsonRenderPlugin):
    """The OpenAPI description, which the framework cannot tell of the headers of a refusal."""

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        for methods in openapi_schema["paths"].values():
            for operation in methods.values():
                for status in RETRIED & operation["responses"].keys():
                    operation["responses"][status]["headers"] = {"Retry-After": RETRY_AFTER}
        return super().render(request, openapi_schema)


HANDLERS: dict[int | type[Exception], Any] = {  # litestar's own type is this loose
    PaymentsError: expected,
    HTTPException: refused,
    OperationalError: away,
    InterfaceError: away,
    PoolTimeout: away,
    Exception: unexpected,
}
