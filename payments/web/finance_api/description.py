"""The OpenAPI description of the finance API: made from its handlers, and given to a program with
any token. The public description at /schema does not name these operations.
"""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Router, get
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.types import ControllerRouterHandler

from payments.web.finance_api import access
from payments.web.finance_api.answers import refusals
from payments.web.finance_api.parameters import PARAMETERS

OPENAPI_URL = f"{access.API_PREFIX}/openapi.json"
INTRODUCTION = (
    "Every figure of the finance pages. Amounts are whole numbers of minor units of the currency"
    " beside them, times are UTC (RFC 3339), months and days are of the accounting zone, which each"
    " answer names. Errors are problem details (RFC 9457) that name the field. Nothing here is"
    " about a person, and nothing changes anything."
)
RATE_LIMIT_HEADERS = {
    "RateLimit-Policy": {
        "description": "How many calls a token may make in how many seconds.",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "How many calls are left, and in how many seconds all are there again.",
        "schema": {"type": "string"},
    },
}


def describe(handlers: Sequence[ControllerRouterHandler]) -> dict[str, Any]:
    """Return the description of these handlers."""
    app = Litestar(
        [Router("/", route_handlers=handlers, include_in_schema=True)],
        dependencies={"ctx": Provide(lambda: None, sync_to_thread=False)},
        openapi_config=OpenAPIConfig(
            title="reader-payments: finance",
            version="1.0.0",
            description=INTRODUCTION,
            use_handler_docstrings=True,
        ),
        logging_config=None,
    )
    document = app.openapi_schema.to_schema()
    for method, path, handler in access.operations(app):
        operation = document["paths"][path][method.lower()]
        guard = access.find_guard(handler)
        assert guard is not None
        operation["security"] = [{"token": [] if guard.scope is None else [str(guard.scope)]}]
        operation.setdefault("parameters", []).extend(
            {"name": name, "in": "query", "required": False, **PARAMETERS[name]}
            for name in handler.opt.get(access.PARAMETERS_OPTION, ())
        )
        if media_types := handler.opt.get("media_types"):
            operation["responses"]["200"]["content"] = {
                name: {"schema": {}} for name in media_types
            }
        for status, response in operation["responses"].items():
            response.setdefault("headers", {}).update(_headers_of(status))
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return document


def _headers_of(status: str) -> dict[str, Any]:
    """Return the description of the headers of an answer with a status."""
    if status == "401":
        return {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}
    retry = {}
    if status in ("429", "503"):
        retry["Retry-After"] = {
            "description": "Seconds after which the same may be asked again.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        }
    return {**retry, **RATE_LIMIT_HEADERS}


def make_handler(handlers: Sequence[ControllerRouterHandler]) -> ControllerRouterHandler:
    """Return the handler that gives the description of these handlers and of itself."""
    made: list[dict[str, Any]] = []

    @get(
        OPENAPI_URL,
        operation_id="getDescription",
        summary="This description",
        tags=["Description"],
        guards=[access.TokenOnly(None)],
        responses=refusals(),
        sync_to_thread=False,
    )
    def describe_api() -> dict[str, Any]:
        """Whatever the scopes of the token are."""
        if not made:
            made.append(describe([*handlers, describe_api]))
        return made[0]

    return describe_api
