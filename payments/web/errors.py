"""Error responses: problem+json (RFC 9457) for programs, a page for people.

A message never holds what was sent, because a response may be logged or shared.
"""

import http
from math import ceil
from typing import Any

import msgspec
import stripe
import structlog
from litestar import Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from payments.core.errors import DatabaseUnavailable, PaymentsError
from payments.core.i18n import gettext_noop
from payments.infra import stripe_client
from payments.infra.context import Context
from payments.web import paths, rendering, request_locale
from payments.web.forms import AnyRequest
from payments.web.security_headers import request_id

log = structlog.get_logger("payments.web")
PROBLEM_PREFIXES = (*paths.MACHINE_PREFIXES, "/api/", "/schema")  # errors there are RFC 9457
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
    404: (gettext_noop("Page not found"), gettext_noop("There is nothing at this address.")),
    405: (
        gettext_noop("Method Not Allowed"),
        gettext_noop("This address does not accept that method."),
    ),
    413: (
        gettext_noop("The request is too large"),
        gettext_noop("The request is larger than we accept."),
    ),
    415: (
        gettext_noop("Unsupported Media Type"),
        gettext_noop("This content type is not accepted here."),
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
    """Return the OpenAPI description of an operation's error responses."""
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
    """Return the response for one of our own errors, which names the field if there is one."""
    field_errors: tuple[FieldError, ...] = ()
    if error.field is not None:
        pointer = "/" + error.field.replace("~", "~0").replace("/", "~1")
        field_errors = (FieldError(pointer, error.code, error.detail),)
    return _error_response(
        request, error, error.status, code=error.code, title=error.title, field_errors=field_errors
    )


def on_stripe_error(request: AnyRequest, error: stripe.StripeError) -> Response[Any]:
    """Return the response for an error of Stripe's SDK that no room had an answer to."""
    ours = stripe_client.as_payments_error(error)
    log.warning("stripe_error", exc_info=error, request_id=request_id(request.scope))
    return on_payments_error(request, ours)


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Return the response for an error of the framework: no such page, wrong method, bad JSON."""
    phrase = http.HTTPStatus(error.status_code).phrase
    title, message = HTTP_ERROR_TEXTS.get(error.status_code, (phrase, phrase))
    response = _error_response(
        request,
        PaymentsError(message),
        error.status_code,
        code=phrase.lower().replace(" ", "-"),
        title=title,
    )
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def on_database_unavailable(request: AnyRequest, error: Exception) -> Response[Any]:
    """Return the response when the database does not answer or has no free connection."""
    log.error("database_unavailable", exc_info=error, request_id=request_id(request.scope))
    return on_payments_error(
        request, DatabaseUnavailable("Our records cannot be reached right now.")
    )


def on_unexpected_error(request: AnyRequest, error: Exception) -> Response[Any]:
    """Return the response for a bug. The log gets its class and place, never its message."""
    log.error("unexpected_error", exc_info=error, request_id=request_id(request.scope))
    return _error_response(
        request,
        PaymentsError("We have been notified. Please try again in a while."),
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
    must_say_not_charged = (
        path.startswith(GIVING_PREFIXES)
        and request.method != "GET"
        and NOT_CHARGED not in error.detail
    )
    ctx: Context | None = request.app.state.get("ctx")
    if ctx is None or path.startswith(PROBLEM_PREFIXES):
        problem = Problem(
            type=f"urn:reader-payments:problem:{code}",
            title=title,
            status=status,
            detail=f"{error.detail} {NOT_CHARGED}" if must_say_not_charged else error.detail,
            instance=f"urn:request:{request_id(request.scope)}",
            errors=field_errors,
        )
        response = Response[Any](
            msgspec.json.encode(problem), status_code=status, media_type="application/problem+json"
        )
        return with_retry_after(response, error)
    # A path that does not exist is refused before the middleware negotiates the language.
    with request_locale.use_locale(request.scope):
        page = rendering.render(
            ctx,
            "staff_error.html" if _is_staff_page(path) else "error.html",
            status=status,
            title=request_locale.translate(title),
            detail=request_locale.error_message(error),
            money=request_locale.translate(NOT_CHARGED) if must_say_not_charged else "",
            when=request_locale.retry_message(error.retry_after) if error.retry_after else "",
            request_id=request_id(request.scope),
        )
        return with_retry_after(page, error)


def _is_staff_page(path: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in paths.STAFF_PREFIXES)


def message_with_retry(error: PaymentsError) -> str:
    """Return the message of an error, and when to try again if that is known."""
    message = request_locale.error_message(error)
    if not error.retry_after:
        return message
    return f"{message} {request_locale.retry_message(error.retry_after)}"


def with_retry_after(response: Response[Any], error: PaymentsError) -> Response[Any]:
    """Add to an error response when the same may be asked again, if the error says so."""
    if error.retry_after is not None:
        response.headers["retry-after"] = str(max(ceil(error.retry_after.total_seconds()), 1))
    return response


class OpenApiRenderer(JsonRenderPlugin):
    """Renders the OpenAPI description, with the Retry-After header of error responses added."""

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        """Return the description as JSON."""
        for methods in openapi_schema["paths"].values():
            for operation in methods.values():
                for status in RETRYABLE_STATUSES & operation["responses"].keys():
                    operation["responses"][status]["headers"] = {"Retry-After": RETRY_AFTER_SCHEMA}
        return super().render(request, openapi_schema)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {  # litestar's own type is no stricter
    PaymentsError: on_payments_error,
    stripe.StripeError: on_stripe_error,
    HTTPException: on_http_error,
    OperationalError: on_database_unavailable,
    InterfaceError: on_database_unavailable,
    PoolTimeout: on_database_unavailable,
    Exception: on_unexpected_error,
}
