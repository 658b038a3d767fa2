"""The sandbox's web application: the API, the hosted pages, the index and the control routes.

Handlers translate requests and responses. Faults are applied here, where a response can be lost.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from payments.sandbox import (
    api_keys,
    control,
    documents,
    hosted_authentication_page,
    hosted_invoice_page,
    hosted_page,
    state_file,
)
from payments.sandbox.account import StripeAccount
from payments.sandbox.api import ApiRequest, ApiResponse
from payments.sandbox.faults import HTML_STATUSES, Fault
from payments.sandbox.hosted_page import PageResponse
from payments.sandbox.sandbox import Sandbox

STYLESHEET = (Path(__file__).parent / "templates" / "page.css").read_text()
_PRIVACY_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_SANDBOX_KEY: web.AppKey[Sandbox] = web.AppKey("sandbox", Sandbox)


@asynccontextmanager
async def listen(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve a sandbox until the block ends, and yield its URL; port 0 takes a free one."""
    runner = web.AppRunner(application(sandbox), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    sandbox.set_base_url(host, runner.addresses[0][1])
    ticker = asyncio.create_task(sandbox.run_live()) if sandbox.live else None
    try:
        yield sandbox.url
    finally:
        if ticker is not None:
            ticker.cancel()
            with suppress(asyncio.CancelledError):
                await ticker
        sandbox.faults.clear()
        await runner.cleanup()


@dataclass(frozen=True)
class RunOptions:
    """How a sandbox runs as a program of its own.

    `keys`, as `api_keys.add_from_option` reads them, are then the only ones that are taken. A state
    file is resumed when it exists; its ids go on from the seed they began with.
    """

    keys: Sequence[str] = ()
    state: Path | None = None
    seed: int | None = None


async def run_forever(
    port: int,
    host: str = "127.0.0.1",
    ready: Callable[[str], Awaitable[None]] | None = None,
    options: RunOptions = RunOptions(),
) -> None:
    """Serve a live sandbox until cancelled, as `payments sandbox` does.

    Raises StateFileError for a state file that cannot be resumed.
    """
    # The ids of two runs must not meet in one database.
    seed = secrets.randbits(32) if options.seed is None else options.seed
    sandbox = Sandbox(live=True, seed=seed)
    async with AsyncExitStack() as stack:
        if options.state is not None:
            stack.enter_context(state_file.locked(options.state))
            if options.state.exists():
                sandbox.load(options.state)
        for option in options.keys:
            api_keys.add_from_option(sandbox.account, option)
        url = await stack.enter_async_context(listen(sandbox, host, port))
        if options.state is not None:
            await stack.enter_async_context(_saved_to(sandbox, options.state))
        if ready is not None:
            await ready(url)
        await asyncio.Event().wait()


@asynccontextmanager
async def _saved_to(sandbox: Sandbox, path: Path) -> AsyncIterator[None]:
    """Save a sandbox to a file while the block runs, and when it ends."""
    sandbox.save(path)
    saving = asyncio.create_task(sandbox.save_continuously(path))
    try:
        yield
    finally:
        saving.cancel()
        with suppress(asyncio.CancelledError):
            await saving
        sandbox.save(path)


@web.middleware
async def _count_changes(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    finally:
        if request.method != "GET" or not request.path.startswith(("/_control", "/c/static")):
            request.app[_SANDBOX_KEY].changes += 1  # reading the API makes ids of requests


def application(sandbox: Sandbox) -> web.Application:
    """Return the web application of a sandbox."""
    app = web.Application(middlewares=[_count_changes])
    app[_SANDBOX_KEY] = sandbox
    app.router.add_route("*", "/v1/{rest:.*}", api)
    app.router.add_get("/c/static/page.css", stylesheet)
    app.router.add_get("/c/pay/{session}", pay_page)
    app.router.add_post("/c/pay/{session}", pay)
    app.router.add_get("/c/authenticate/{session}", authentication_page)
    app.router.add_post("/c/authenticate/{session}", submit_authentication)
    app.router.add_get("/l/{link}", payment_link)
    app.router.add_get("/r/{session}", recover)
    app.router.add_get("/c/3ds/{intent}", intent_authentication_page)
    app.router.add_post("/c/3ds/{intent}", submit_intent_authentication)
    app.router.add_get("/i/{token}", invoice_page)
    app.router.add_post("/i/{token}", pay_invoice)
    app.router.add_get("/i/{token}/pdf", invoice_pdf)
    app.router.add_get("/i/{token}/authenticate", invoice_authentication_page)
    app.router.add_post("/i/{token}/authenticate", submit_invoice_authentication)
    app.router.add_get("/receipts/{charge}", receipt)
    app.router.add_get("/mandates/{reference}", mandate)
    control.add_routes(app, sandbox)
    return app


async def api(http: web.Request) -> web.StreamResponse:
    """Answer an API request, with a fault if one is pending for it."""
    sandbox = http.app[_SANDBOX_KEY]
    try:
        body = (await http.read()).decode(errors="surrogateescape")  # refused when it is decoded
    except web.HTTPRequestEntityTooLarge:
        body = None
    query = http.rel_url.raw_query_string
    request = ApiRequest(http.method, http.path, query, body or "", http.headers)
    if body is None:
        error = {"type": "invalid_request_error", "message": "The request's body is too large."}
        return _response(sandbox.api.error_response(request, 413, error))
    if sandbox.live:
        await sandbox.run_due()  # the answer shows what has happened by now
    conflict = sandbox.api.conflict_response(request)
    if conflict is not None:
        return _response(conflict)
    if request.idempotency_key:
        sandbox.api.in_flight.add(request.idempotency_key)
    try:
        fault = sandbox.faults.take_matching(request.method, request.path)
        if fault is None:
            return _response(sandbox.api.handle(request))
        return await _respond_with_fault(sandbox, http, request, fault)
    finally:
        sandbox.api.in_flight.discard(request.idempotency_key or "")


async def _respond_with_fault(
    sandbox: Sandbox, http: web.Request, request: ApiRequest, fault: Fault
) -> web.StreamResponse:
    if fault.kind in ("drop_after", "hang_after"):
        response = sandbox.api.handle(request)
        if fault.kind == "drop_after":
            return _drop_connection(http)
        await sandbox.faults.hang(fault.seconds)
        return _response(response)
    if fault.kind == "hang_before":
        await sandbox.faults.hang(fault.seconds)
        return _response(sandbox.api.handle(request))
    if fault.kind == "drop_before":
        sandbox.api.error_response(request, 0, {})
        return _drop_connection(http)
    if fault.kind in HTML_STATUSES:
        status = HTML_STATUSES[fault.kind]
        sandbox.api.error_response(request, status, {})
        return web.Response(status=status, text="<h1>Bad gateway</h1>", content_type="text/html")
    return _response(sandbox.api.fault_response(request, fault))


def _response(response: ApiResponse) -> web.Response:
    return web.Response(status=response.status, body=response.body, headers=response.headers)


def _drop_connection(http: web.Request) -> web.Response:
    if http.transport is not None:
        http.transport.abort()
    return web.Response()


async def stylesheet(_http: web.Request) -> web.Response:
    """Answer the stylesheet of all pages."""
    return web.Response(text=STYLESHEET, content_type="text/css")


async def pay_page(http: web.Request) -> web.Response:
    """Show a Checkout page."""
    return _page_response(hosted_page.show(_account(http), http.match_info["session"]))


async def pay(http: web.Request) -> web.Response:
    """Pay on a Checkout page."""
    session_id, form = http.match_info["session"], await _form(http)
    return _page_response(hosted_page.submit(_account(http), session_id, form))


async def authentication_page(http: web.Request) -> web.Response:
    """Show the 3-D Secure page of a Checkout page."""
    return _page_response(
        hosted_page.show_authentication(_account(http), http.match_info["session"])
    )


async def submit_authentication(http: web.Request) -> web.Response:
    """Complete or fail 3-D Secure for a Checkout page."""
    session_id, form = http.match_info["session"], await _form(http)
    return _page_response(hosted_page.submit_authentication(_account(http), session_id, form))


async def intent_authentication_page(http: web.Request) -> web.Response:
    """Show the 3-D Secure page of an intent that the API confirmed."""
    return _page_response(
        hosted_authentication_page.show(_account(http), http.match_info["intent"])
    )


async def submit_intent_authentication(http: web.Request) -> web.Response:
    """Complete or fail 3-D Secure for an intent that the API confirmed."""
    intent_id, form = http.match_info["intent"], await _form(http)
    return _page_response(hosted_authentication_page.submit(_account(http), intent_id, form))


async def recover(http: web.Request) -> web.Response:
    """Follow the recovery link of an expired Checkout page."""
    return _page_response(hosted_page.recover(_account(http), http.match_info["session"]))


async def payment_link(http: web.Request) -> web.Response:
    """Open a payment link."""
    link_id = http.match_info["link"]
    return _page_response(hosted_page.open_link(_account(http), link_id, http.query))


async def invoice_page(http: web.Request) -> web.Response:
    """Show a hosted invoice page."""
    return _page_response(hosted_invoice_page.show(_account(http), http.match_info["token"]))


async def pay_invoice(http: web.Request) -> web.Response:
    """Pay on a hosted invoice page."""
    token, form = http.match_info["token"], await _form(http)
    return _page_response(hosted_invoice_page.submit(_account(http), token, form))


async def invoice_authentication_page(http: web.Request) -> web.Response:
    """Show the 3-D Secure page of an invoice."""
    return _page_response(
        hosted_invoice_page.show_authentication(_account(http), http.match_info["token"])
    )


async def submit_invoice_authentication(http: web.Request) -> web.Response:
    """Complete or fail 3-D Secure for an invoice."""
    token, form = http.match_info["token"], await _form(http)
    return _page_response(hosted_invoice_page.submit_authentication(_account(http), token, form))


async def invoice_pdf(http: web.Request) -> web.Response:
    """Answer an invoice as PDF."""
    pdf = documents.invoice_pdf(_account(http), http.match_info["token"])
    if pdf is None:
        raise web.HTTPNotFound
    return web.Response(body=pdf, content_type="application/pdf", headers=_PRIVACY_HEADERS)


async def receipt(http: web.Request) -> web.Response:
    """Show the receipt of a charge."""
    return _page_response(documents.show_receipt(_account(http), http.match_info["charge"]))


async def mandate(http: web.Request) -> web.Response:
    """Show a mandate."""
    return _page_response(documents.show_mandate(_account(http), http.match_info["reference"]))


def _account(http: web.Request) -> StripeAccount:
    return http.app[_SANDBOX_KEY].account


async def _form(http: web.Request) -> dict[str, str]:
    return {name: str(value) for name, value in (await http.post()).items()}


def _page_response(page: PageResponse) -> web.Response:
    headers = {**_PRIVACY_HEADERS, **page.headers}
    if page.location:
        return web.Response(status=page.status, headers={**headers, "Location": page.location})
    return web.Response(
        status=page.status, text=page.html, content_type="text/html", headers=headers
    )
