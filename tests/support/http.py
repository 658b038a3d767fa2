"""What an application serves, read from itself, and what each of its answers has to say."""

import re
from typing import Any, cast

import httpx
from litestar import Litestar

from tests.support.newsroom import Newsroom

EVERY_PAGE = {
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
}


SCRIPTED = {"script-src": "'self'", "require-trusted-types-for": "'script'"}


def routes_of(app: Litestar) -> set[str]:
    """Every method of every path, as `GET /manage/data`."""
    return {
        f"{method} {route.path_format}"
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }


def app_of(room: Newsroom) -> Litestar:
    """The application that a newsroom serves."""
    app: Litestar = room.web._transport.app  # type: ignore[attr-defined]  # httpx's ASGI transport
    return app


def browser(app: Litestar, base_url: str) -> httpx.AsyncClient:
    """Open a browser on another application than the newsroom's own."""
    asgi = cast("Any", app)  # litestar and httpx type the same protocol differently
    transport = httpx.ASGITransport(app=asgi, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=base_url)


def safe(answer: httpx.Response, room: Newsroom) -> None:
    """Assert that an answer's headers protect whoever reads it."""
    headers = answer.headers
    assert {name: headers.get(name) for name in EVERY_PAGE} == EVERY_PAGE
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    own = {} if "script-src" not in policy else SCRIPTED
    assert policy == own | {
        "default-src": "'none'",
        "style-src": "'self'",
        "img-src": "'self'",
        "base-uri": "'none'",
        "form-action": f"'self' {room.sandbox.url}",
        "frame-ancestors": "'none'",
    }
    assert "payment=()" in headers["permissions-policy"]
    assert re.fullmatch("[0-9a-f]{16}", headers["x-request-id"])
    assert not {"server", "x-powered-by"} & set(headers)
    is_widget = answer.url.path.startswith("/embed")
    if not is_widget:
        assert "access-control-allow-origin" not in headers
    if answer.content:
        kind, _, parameters = headers["content-type"].partition(";")
        is_text = kind.startswith("text/")
        assert parameters.strip() == ("charset=utf-8" if is_text else ""), answer.url
    if is_widget and answer.status_code == 200:
        assert headers["cache-control"].startswith("public, max-age=")
    elif not answer.url.path.startswith(("/static/", "/brand/", "/favicon.ico")):
        assert headers["cache-control"] == "no-store"
