"""Post, redirect, get: no page is the answer to a form, so Back and Reload never send one again.

A browser that sends a form is redirected to the page that answers it, with what was typed, which it
can come back to for ten minutes. One rule for every route: a page that a handler returns for a POST
is stored sealed (`infra.shown_pages`), and the browser keeps the key, in a cookie of this host. The
key of a page for somebody who is signed in is of their session too, and is lost with it. Until a
browser has shown that it takes cookies, the address has a ticket that opens the page once.

Answered at once, with nothing stored: programs, which do not ask for HTML; forms of other sites;
what is no route of ours, is refused for how it was sent, or fails on our side; and the link of a
mail, which does the same when it is sent again, from a browser without our cookie. So that works
without cookies, and with the one click of a mail program, which follows no redirect (RFC 8058).
"""

import re
import secrets
from collections import deque
from collections.abc import Callable
from datetime import datetime

from litestar import Litestar, Response, get
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.params import FromPath
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.types.asgi_types import HTTPResponseStartEvent, HTTPScope
from sqlalchemy.exc import SQLAlchemyError

from payments.core.errors import PaymentsError
from payments.core.i18n import gettext_noop
from payments.core.settings import Settings
from payments.infra import shown_pages
from payments.infra.context import Context
from payments.infra.shown_pages import Page
from payments.web import cookies, csrf, paths, request_locale
from payments.web.forms import AnyRequest

COOKIE = "shown"
SESSION_COOKIES = ("staff", "donor")
URL = "/shown"
SECRET = re.compile(r"[0-9A-Za-z_-]{43}")
PAGE_ID = re.compile(r"[0-9a-f]{32}")
EXPIRED = gettext_noop("It was the answer to a form. Opening it again changes nothing.")
SINGLE_HEADERS = {b"content-length", b"set-cookie"}
SENT_AT_ONCE = {404, 405, 413, 429}  # as are redirects and failures of ours
MAX_PAGES = 5_000  # of one process in the lifetime of a page


class PageExpired(PaymentsError):
    """The answer to a form that was sent too long ago, or by another browser."""

    status = 410
    code = "page-expired"
    title = "This page has expired"


class RecentPages:
    """When this process stored pages, so that a flood of forms fills no table."""

    def __init__(self) -> None:
        self.limit = MAX_PAGES
        self.stored_at: deque[datetime] = deque()

    def is_full(self, now: datetime) -> bool:
        """Whether as many pages are stored as may be."""
        while self.stored_at and self.stored_at[0] <= now - shown_pages.LIFETIME:
            self.stored_at.popleft()
        return len(self.stored_at) >= self.limit


class PostRedirectGet:
    """An application whose answers to forms are shown by GET."""

    def __init__(self, app: ASGIApp, owner: Litestar) -> None:
        """Wrap an application. `owner` has the context, once it is attached."""
        self.app = app
        self.owner = owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        ctx: Context | None = self.owner.state.get("ctx")
        if ctx is None or scope["type"] != ScopeType.HTTP or not _is_form_of_browser(scope):
            await self.app(scope, receive, send)
            return
        recent: RecentPages = self.owner.state["recent_pages"]
        secret = _browser_secret(ctx.settings, scope)
        if not csrf.is_same_origin(ASGIConnection(scope)) or recent.is_full(ctx.now()):
            await self.app(scope, receive, send)
            return
        answer = _Answer(send, may_hold=lambda: _has_own_page(scope, secret))
        await self.app(scope, receive, answer.send)
        if answer.start is None:
            return
        page = Page(answer.start["status"], tuple(answer.start["headers"]), bytes(answer.body))
        session = _session(ctx.settings, scope)
        takes_cookies = secret is not None or session != ""
        secret, ticket = secret or secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        binding = "" if _changes_session(ctx.settings, page) else session
        headers = tuple(pair for pair in page.headers if pair[0].lower() not in SINGLE_HEADERS)
        try:
            page_id = await shown_pages.store(
                ctx,
                Page(page.status, headers, page.body),
                secret=secret + binding,
                ticket="" if takes_cookies else ticket,
            )
        except (SQLAlchemyError, OSError):
            page_id = None  # the answer says that the database is away, or is sent as it is
        if page_id is None:
            await answer.pass_on()
            return
        recent.stored_at.append(ctx.now())
        url = f"{URL}/{page_id}" if takes_cookies else f"{URL}/{page_id}?once={ticket}"
        with request_locale.use_locale(scope):  # for the page that says that it has expired
            url = request_locale.localised_url(url)
        cookie = cookies.host_cookie(
            ctx.settings,
            cookies.cookie_name(ctx.settings, COOKIE),
            secret,
            samesite="lax",
            max_age=shown_pages.LIFETIME,
        )
        sent = [pair for pair in page.headers if pair[0].lower() == b"set-cookie"]
        await send(
            {
                "type": "http.response.start",
                "status": 303,
                "headers": [
                    (b"location", url.encode()),
                    (b"content-length", b"0"),
                    cookie.to_encoded_header(),
                    *sent,
                ],
            }
        )
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Answer:
    """What an application answers: a page is held back, anything else is passed on."""

    def __init__(self, send: Send, *, may_hold: Callable[[], bool]) -> None:
        self.pass_to = send
        self.may_hold = may_hold  # known once the request has its route
        self.start: HTTPResponseStartEvent | None = None
        self.body = bytearray()

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        if message["type"] == "http.response.start" and _is_page(message) and self.may_hold():
            self.start = message
        elif message["type"] == "http.response.body" and self.start is not None:
            self.body += message["body"]
        else:
            await self.pass_to(message)

    async def pass_on(self) -> None:
        """Send the page that was held back."""
        assert self.start is not None
        await self.pass_to(self.start)
        await self.pass_to(
            {"type": "http.response.body", "body": bytes(self.body), "more_body": False}
        )


@get(f"{URL}/{{page_id:str}}", include_in_schema=False)
async def shown_page(
    ctx: NamedDependency[Context], request: AnyRequest, page_id: FromPath[str]
) -> Response[bytes]:
    """Show the page that a form was answered with, to the browser that sent it."""
    secret = _browser_secret(ctx.settings, request.scope)
    if not PAGE_ID.fullmatch(page_id):
        raise PageExpired(EXPIRED)
    session = _session(ctx.settings, request.scope)
    ticket = request.query_params.get("once", "")
    page = await shown_pages.find(
        ctx,
        page_id,
        browser_secrets=() if secret is None else (secret + session, secret),
        ticket=ticket if SECRET.fullmatch(ticket) else "",
    )
    if page is None:
        raise PageExpired(EXPIRED)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in page.headers}
    media_type = headers.pop("content-type").partition(";")[0]
    return Response(page.body, status_code=page.status, media_type=media_type, headers=headers)


def _is_form_of_browser(scope: HTTPScope) -> bool:
    """Whether this is a form that a person sent: a browser that goes to a page asks for HTML."""
    if scope["method"] != "POST" or scope["path"].startswith((*paths.MACHINE_PREFIXES, "/api/")):
        return False
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def _is_page(start: HTTPResponseStartEvent) -> bool:
    is_html = any(
        name.lower() == b"content-type" and value.startswith(b"text/html")
        for name, value in start["headers"]
    )
    status = start["status"]
    return is_html and not 300 <= status < 400 and status < 500 and status not in SENT_AT_ONCE


def _has_own_page(scope: HTTPScope, secret: str | None) -> bool:
    """Whether an answer gets a page of its own: of a route of ours, and not of a mail's link if
    the browser has shown no cookie.
    """
    route = scope.get("path_template")
    return route is not None and (
        secret is not None or csrf.EXEMPT_ROUTES.get(route) != csrf.SIGNED_LINK
    )


def _browser_secret(settings: Settings, scope: Scope) -> str | None:
    secret = ASGIConnection(scope).cookies.get(cookies.cookie_name(settings, COOKIE), "")
    return secret if SECRET.fullmatch(secret) else None


def _session(settings: Settings, scope: Scope) -> str:
    """Return what is of a session only; empty for somebody who is not signed in."""
    found = ASGIConnection(scope).cookies
    return "".join(found.get(cookies.cookie_name(settings, name), "") for name in SESSION_COOKIES)


def _changes_session(settings: Settings, page: Page) -> bool:
    """Whether the response sets or removes the cookie of a session."""
    names = tuple(f"{cookies.cookie_name(settings, name)}=".encode() for name in SESSION_COOKIES)
    return any(
        name.lower() == b"set-cookie" and value.startswith(names) for name, value in page.headers
    )
