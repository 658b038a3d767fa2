"""What every answer says to a browser: keep nothing, tell nobody, load nothing from elsewhere."""

import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from litestar.types import Message, Scope

from payments.core.settings import STRIPE_API, Settings

STRIPE_CHECKOUT = "https://checkout.stripe.com"
# Where Tor Browser may go over to the onion service: nothing is begun there that would be lost.
ONION_PATHS = ("/", "/donate", "/remind", "/safety")
DEFAULT_RETRY_AFTER = {429: b"3600", 503: b"60"}  # seconds, where an answer does not know better


def content_security_policy(settings: Settings) -> str:
    """The content security policy: our own styles, our own forms, and Stripe's page to pay on."""
    checkout = STRIPE_CHECKOUT
    if settings.stripe_api_base != STRIPE_API:
        parts = urlsplit(settings.stripe_api_base)
        checkout = f"{parts.scheme}://{parts.netloc}"
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        f"form-action 'self' {checkout}; frame-ancestors 'none'"
    )


def policy_with_script(settings: Settings) -> str:
    """The policy of a page that runs a script of ours, from a file of ours, and builds no markup
    from text.
    """
    return f"{content_security_policy(settings)}; script-src 'self'; require-trusted-types-for 'script'"


def request_id(scope: Scope) -> str:
    """A random name for one request, for the person who asks about it and the log that knows it."""
    made: str = scope["state"].setdefault("request_id", secrets.token_hex(8))
    return made


def header_hook(settings: Settings) -> Callable[[Message, Scope], Awaitable[None]]:
    """A hook that adds the headers to every answer, errors included."""
    fixed = {
        "content-security-policy": content_security_policy(settings),
        "referrer-policy": "no-referrer",
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
        own = {name.lower() for name, _ in headers}
        headers += [pair for pair in always if pair[0] not in own]
        headers.append((b"x-request-id", request_id(scope).encode()))
        if message["status"] in DEFAULT_RETRY_AFTER and b"retry-after" not in own:
            headers.append((b"retry-after", DEFAULT_RETRY_AFTER[message["status"]]))
        if onion and scope["path"] in ONION_PATHS and message["status"] == 200:
            headers.append((b"onion-location", onion.encode() + _request_target(scope)))
        if b"cache-control" not in own:
            headers.append((b"cache-control", b"no-store"))
        message["headers"] = headers

    return write


def _request_target(scope: Scope) -> bytes:
    """The path and the query of a request, as they came."""
    query: bytes = scope["query_string"]
    return scope["path"].encode() + (b"?" + query if query else b"")
