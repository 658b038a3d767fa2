"""Security headers of every response: no caching, no referrer to other sites, nothing loaded from
elsewhere. A response that refuses somebody leaves a line in the log, without who or what was sent.

The Referrer-Policy is `same-origin` and not `no-referrer`, under which browsers send `Origin: null`
with our own forms: without Sec-Fetch-Site they would look like forms of other sites
(https://fetch.spec.whatwg.org/#append-a-request-origin-header).
"""

import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import structlog
from litestar.types import Message, Scope

from payments.core.settings import STRIPE_API, Settings

log = structlog.get_logger("payments.web")
REFUSALS = frozenset({401, 403, 429})  # no session, not allowed, too often
# What a browser forgets when somebody signs out. Cookies are removed one by one: the header would
# remove those of the newsroom's whole domain.
CLEAR_SITE_DATA = {"clear-site-data": '"cache", "storage"'}
STRIPE_CHECKOUT = "https://checkout.stripe.com"
# Where Tor Browser may switch to the onion service: pages that hold no unfinished form.
ONION_PATHS = ("/", "/donate", "/remind", "/safety")
DEFAULT_RETRY_AFTER = {429: b"3600", 503: b"60"}  # seconds, where a response sets none


def content_security_policy(settings: Settings) -> str:
    """Return the policy of a page: our own styles and forms, and Stripe's page to pay on."""
    checkout = STRIPE_CHECKOUT
    if settings.stripe_api_base != STRIPE_API:
        parts = urlsplit(settings.stripe_api_base)
        checkout = f"{parts.scheme}://{parts.netloc}"
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        f"form-action 'self' {checkout}; frame-ancestors 'none'"
    )


def policy_with_script(settings: Settings) -> str:
    """Return the policy of a page that runs our own script, which builds no markup from text."""
    policy = content_security_policy(settings)
    return f"{policy}; script-src 'self'; require-trusted-types-for 'script'"


def request_id(scope: Scope) -> str:
    """Return the random id of a request, which its error page and its log lines name."""
    request_id_: str = scope["state"].setdefault("request_id", secrets.token_hex(8))
    return request_id_


def header_hook(settings: Settings) -> Callable[[Message, Scope], Awaitable[None]]:
    """Return a hook that adds the headers to every response, errors included."""
    fixed = {
        "content-security-policy": content_security_policy(settings),
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    }
    if settings.uses_https:
        fixed["strict-transport-security"] = "max-age=63072000; includeSubDomains"
    always = [(name.encode(), value.encode()) for name, value in fixed.items()]
    onion = settings.onion_origin

    async def write(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        headers = list(message.get("headers", []))
        present = {name.lower() for name, _ in headers}
        headers += [pair for pair in always if pair[0] not in present]
        headers.append((b"x-request-id", request_id(scope).encode()))
        if message["status"] in DEFAULT_RETRY_AFTER and b"retry-after" not in present:
            headers.append((b"retry-after", DEFAULT_RETRY_AFTER[message["status"]]))
        if onion and scope["path"] in ONION_PATHS and message["status"] == 200:
            headers.append((b"onion-location", onion.encode() + _request_target(scope)))
        if b"cache-control" not in present:
            headers.append((b"cache-control", b"no-store"))
        message["headers"] = headers
        if message["status"] in REFUSALS:
            handler = scope.get("route_handler")
            log.info(
                "request_refused",
                outcome=message["status"],
                at=getattr(handler, "handler_name", ""),
                request_id=request_id(scope),
            )

    return write


def _request_target(scope: Scope) -> bytes:
    """Return the path and the query of a request."""
    query: bytes = scope["query_string"]
    return scope["path"].encode() + (b"?" + query if query else b"")
