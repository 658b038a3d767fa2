"""The doors: the API for programs, the hosted page for donors, the index for the curious.

Everything here translates: a request into a call, an answer into a response. Faults are played
here, since only the door can lose an answer.
"""

from pathlib import Path

from aiohttp import web

from payments.sandbox import control, hosted_invoice, hosted_page
from payments.sandbox.api import BROKEN, Answer, Request
from payments.sandbox.faults import Fault
from payments.sandbox.hosted_page import Page
from payments.sandbox.sandbox import Sandbox

STYLE = (Path(__file__).parent / "templates" / "page.css").read_text()
_PRIVATE = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff"}  # fmt: skip
_BOXES: web.AppKey[Sandbox] = web.AppKey("sandbox", Sandbox)


def application(sandbox: Sandbox) -> web.Application:
    """The sandbox as a web application."""
    app = web.Application()
    app[_BOXES] = sandbox
    app.router.add_route("*", "/v1/{rest:.*}", api)
    app.router.add_get("/c/static/page.css", style)
    app.router.add_get("/c/pay/{session}", pay_page)
    app.router.add_post("/c/pay/{session}", pay)
    app.router.add_get("/c/authenticate/{session}", question_page)
    app.router.add_post("/c/authenticate/{session}", answer_question)
    app.router.add_get("/r/{session}", recover)
    app.router.add_get("/i/{token}", invoice_page)
    app.router.add_post("/i/{token}", pay_invoice)
    app.router.add_get("/i/{token}/authenticate", invoice_question_page)
    app.router.add_post("/i/{token}/authenticate", answer_invoice_question)
    control.add_routes(app, sandbox)
    return app


async def api(http: web.Request) -> web.StreamResponse:
    sandbox = http.app[_BOXES]
    request = Request(
        http.method, http.path, http.rel_url.raw_query_string, await http.text(), http.headers
    )
    busy = sandbox.api.busy(request)
    if busy is not None:
        return _response(busy)
    if request.key:
        sandbox.api.in_flight.add(request.key)
    try:
        fault = sandbox.faults.take(request.method, request.path)
        if fault is None:
            return _response(sandbox.api.answer(request))
        return await _befallen(sandbox, http, request, fault)
    finally:
        sandbox.api.in_flight.discard(request.key or "")


async def _befallen(
    sandbox: Sandbox, http: web.Request, request: Request, fault: Fault
) -> web.StreamResponse:
    """Serve a request that a fault befalls."""
    if fault.kind in ("drop_after", "hang_after"):
        answer = sandbox.api.answer(request)
        if fault.kind == "drop_after":
            return _dropped(http)
        await sandbox.faults.hang()
        return _response(answer)
    if fault.kind == "hang_before":
        await sandbox.faults.hang()
        return _response(sandbox.api.answer(request))
    if fault.kind == "drop_before":
        sandbox.api.trouble(request, 0, {})
        return _dropped(http)
    if fault.kind == "html_500":
        sandbox.api.trouble(request, 500, {})
        return web.Response(status=500, text="<h1>Bad gateway</h1>", content_type="text/html")
    return _troubled(sandbox, request, fault)


def _troubled(sandbox: Sandbox, request: Request, fault: Fault) -> web.Response:
    if fault.kind == "rate_limited":
        error = {"type": "invalid_request_error", "code": "rate_limit",
                 "message": "Request rate limit exceeded."}  # fmt: skip
        response = _response(sandbox.api.trouble(request, 429, error))
        if "should_retry" in fault.options:
            response.headers["Stripe-Should-Retry"] = str(fault.options["should_retry"]).lower()
        return response
    if fault.kind == "conflict_409":
        error = {"type": "invalid_request_error", "code": "lock_timeout",
                 "message": "This object cannot be accessed right now."}  # fmt: skip
        return _response(sandbox.api.trouble(request, 409, error))
    return _response(sandbox.api.trouble(request, 500, BROKEN))


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


def _dropped(http: web.Request) -> web.Response:
    """Hang up without a word."""
    if http.transport is not None:
        http.transport.abort()
    return web.Response()


async def style(_http: web.Request) -> web.Response:
    return web.Response(text=STYLE, content_type="text/css")


async def pay_page(http: web.Request) -> web.Response:
    return _page(hosted_page.show(http.app[_BOXES].account, http.match_info["session"]))


async def pay(http: web.Request) -> web.Response:
    session_id, form = http.match_info["session"], await _form(http)
    return _page(hosted_page.submit(http.app[_BOXES].account, session_id, form))


async def question_page(http: web.Request) -> web.Response:
    return _page(hosted_page.question(http.app[_BOXES].account, http.match_info["session"]))


async def answer_question(http: web.Request) -> web.Response:
    session_id, form = http.match_info["session"], await _form(http)
    return _page(hosted_page.answer(http.app[_BOXES].account, session_id, form))


async def recover(http: web.Request) -> web.Response:
    return _page(hosted_page.recover(http.app[_BOXES].account, http.match_info["session"]))


async def invoice_page(http: web.Request) -> web.Response:
    return _page(hosted_invoice.show(http.app[_BOXES].account, http.match_info["token"]))


async def pay_invoice(http: web.Request) -> web.Response:
    token, form = http.match_info["token"], await _form(http)
    return _page(hosted_invoice.submit(http.app[_BOXES].account, token, form))


async def invoice_question_page(http: web.Request) -> web.Response:
    return _page(hosted_invoice.question(http.app[_BOXES].account, http.match_info["token"]))


async def answer_invoice_question(http: web.Request) -> web.Response:
    token, form = http.match_info["token"], await _form(http)
    return _page(hosted_invoice.answer(http.app[_BOXES].account, token, form))


async def _form(http: web.Request) -> dict[str, str]:
    return {name: str(value) for name, value in (await http.post()).items()}


def _page(page: Page) -> web.Response:
    headers = {**_PRIVATE, **page.headers}
    if page.location:
        return web.Response(status=page.status, headers={**headers, "Location": page.location})
    return web.Response(
        status=page.status, text=page.html, content_type="text/html", headers=headers
    )
