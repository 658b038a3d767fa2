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
from payments.core.i18n import gettext_noop
from payments.infra.context import Context
from payments.web import rendering, request_locale
from payments.web.forms import AnyRequest
from payments.web.security_headers import request_id

log = structlog.get_logger("payments.web")
MACHINE_PREFIXES = ("/api/", "/webhooks/", "/health/", "/metrics", "/schema")
GIVING_PREFIXES = ("/donate", "/api/contributions")
NOT_CHARGED = gettext_noop("Nothing was charged.")
RETRY_AFTER_SCHEMA = {
    "description": "Seconds after which the same may be asked again.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
RETRYABLE_STATUSES = {"429", "503"}
HTTP_ERROR_TEXTS = {  # of the framework
    400: (gettext_noop("Bad Request"), gettext_noop("The request could not be read.")),
    404: (gettext_noop("Not Found"), gettext_noop("There is nothing at this address.")),
    405: (
        gettext_noop("Method Not Allowed"),
        gettext_noop("This address does not take that method."),
    ),
    413: (
        gettext_noop("The request is too large"),
        gettext_noop("The request is larger than it may be."),
    ),
    415: (
        gettext_noop("Unsupported Media Type"),
        gettext_noop("This content type is not taken here."),
    ),
}


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
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
    errors: tuple[FieldError, ...] = ()


def problem_responses(*statuses: int) -> dict[int, ResponseSpec]:
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


def on_payments_error(request: AnyRequest, error: PaymentsError) -> Response[Any]:
    """One of our own refusals."""
    faults: tuple[FieldError, ...] = ()
    if error.field is not None:
        pointer = "/" + error.field.replace("~", "~0").replace("/", "~1")
        faults = (FieldError(pointer, error.code, error.detail),)
    return _error_response(
        request, error, error.status, code=error.code, title=error.title, field_errors=faults
    )


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """A refusal of the framework: no such page, wrong method, unreadable JSON."""
    phrase = http.HTTPStatus(error.status_code).phrase
    title, sentence = HTTP_ERROR_TEXTS.get(error.status_code, (phrase, phrase))
    answer = _error_response(
        request,
        PaymentsError(sentence),
        error.status_code,
        code=phrase.lower().replace(" ", "-"),
        title=title,
    )
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def on_database_unavailable(request: AnyRequest, error: Exception) -> Response[Any]:
    """The database did not answer, or has no connection to spare."""
    log.error("database_away", exc_info=error, request_id=request_id(request.scope))
    return on_payments_error(
        request, DatabaseUnavailable("Our records cannot be reached right now.")
    )


def on_unexpected_error(request: AnyRequest, error: Exception) -> Response[Any]:
    """A bug. The log gets its class and place, never its words."""
    log.error("unexpected_error", exc_info=error, request_id=request_id(request.scope))
    return _error_response(
        request,
        PaymentsError("We have been told. Please try again in a while."),
        500,
        code="internal-error",
        title=gettext_noop("Something went wrong on our side"),
    )


def _error_response(
    request: AnyRequest,
    error: PaymentsError,
    status: int,
    *,
    code: str,
    title: str,
    field_errors: tuple[FieldError, ...] = (),
) -> Response[Any]:
    path = request.scope["path"]
    silent = (
        path.startswith(GIVING_PREFIXES)
        and request.method != "GET"
        and NOT_CHARGED not in error.detail
    )
    ctx: Context | None = request.app.state.get("ctx")
    if ctx is None or path.startswith(MACHINE_PREFIXES):
        problem = Problem(
            type=f"urn:reader-payments:problem:{code}",
            title=title,
            status=status,
            detail=f"{error.detail} {NOT_CHARGED}" if silent else error.detail,
            instance=f"urn:request:{request_id(request.scope)}",
            errors=field_errors,
        )
        answer = Response[Any](
            msgspec.json.encode(problem), status_code=status, media_type="application/problem+json"
        )
        return with_retry_after(answer, error)
    # An address that does not exist is refused before the language is settled.
    with request_locale.use_locale(request.scope):
        answer = rendering.render(
            ctx,
            "error.html",
            status=status,
            title=request_locale.translate(title),
            detail=request_locale.error_message(error),
            money=request_locale.translate(NOT_CHARGED) if silent else "",
            when=request_locale.retry_message(error.retry_after) if error.retry_after else "",
            request_id=request_id(request.scope),
        )
        return with_retry_after(answer, error)


def message_with_retry(error: PaymentsError) -> str:
    """The sentence of a refusal, and when to try again if that is known."""
    says = request_locale.error_message(error)
    return (
        f"{says} {request_locale.retry_message(error.retry_after)}" if error.retry_after else says
    )


def with_retry_after(response: Response[Any], error: PaymentsError) -> Response[Any]:
    """The answer to a refusal, with the time after which the same may be asked again."""
    if error.retry_after is not None:
        response.headers["retry-after"] = str(max(ceil(error.retry_after.total_seconds()), 1))
    return response


class OpenApiRenderer(JsonRenderPlugin):
    """The OpenAPI description, which the framework cannot tell of the headers of a refusal."""

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        for methods in openapi_schema["paths"].values():
            for operation in methods.values():
                for status in RETRYABLE_STATUSES & operation["responses"].keys():
                    operation["responses"][status]["headers"] = {"Retry-After": RETRY_AFTER_SCHEMA}
        return super().render(request, openapi_schema)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {  # litestar's own type is this loose
    PaymentsError: on_payments_error,
    HTTPException: on_http_error,
    OperationalError: on_database_unavailable,
    InterfaceError: on_database_unavailable,
    PoolTimeout: on_database_unavailable,
    Exception: on_unexpected_error,
}
