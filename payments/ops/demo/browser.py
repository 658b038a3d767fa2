"""A browser without JavaScript for the demo's readers and colleagues: pages, forms, a mailbox."""

import mailbox
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from litestar import Litestar

# What a browser sends with a form of one of our own pages.
SAME_ORIGIN_HEADERS = {"sec-fetch-site": "same-origin"}


@dataclass
class Page(HTMLParser):
    """An opened page: its forms by action, each with the values of its fields, and its links."""

    html: str
    url: str
    forms: dict[str, dict[str, str]] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._form: dict[str, str] = {}
        self._select = ""
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a form, and what is in its fields."""
        attributes = {name: value or "" for name, value in attrs}
        name = attributes.get("name", "")
        if tag == "form":
            self._form = {}
            if attributes.get("method") == "post":
                self.forms[urlsplit(attributes.get("action") or self.url).path] = self._form
        elif tag == "a":
            self.links.append(attributes.get("href", ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and (self._select not in self._form or "selected" in attributes):
            self._form[self._select] = attributes.get("value", "")
        elif tag == "input" and name and _is_submitted(attributes):
            self._form[name] = attributes.get("value", "")

    def first_link(self, prefix: str) -> str:
        """Return the first link that begins with the prefix."""
        return next(link for link in self.links if link.startswith(prefix))


def _is_submitted(attributes: dict[str, str]) -> bool:
    return attributes.get("type") not in ("radio", "checkbox") or "checked" in attributes


@dataclass
class Browser:
    """One person's browser, with its own cookies and the folder their mails arrive in."""

    client: httpx.AsyncClient
    inbox: str

    async def get(self, url: str) -> Page:
        """Open a page, which must be answered with 200."""
        response = await self.client.get(url)
        assert response.status_code == 200, (url, response.status_code)
        return Page(response.text, url)

    async def submit(self, page: Page, action: str, **fields: str) -> httpx.Response:
        """Submit a form of the page with these fields changed. Redirects are not followed."""
        data = {**page.forms[action], **fields}
        response = await self.client.post(action, data=data, headers=SAME_ORIGIN_HEADERS)
        assert response.status_code in (200, 303), (action, response.status_code)
        return response

    def find_mail_link(self, email: str, path: str) -> str:
        """Return the path of the newest link below `path` in the mails to an address."""
        maildir = mailbox.Maildir(self.inbox)
        links = []
        for key in maildir.keys():  # noqa: SIM118 - a Maildir iterates over messages
            raw = maildir.get_bytes(key)
            if email.encode() not in raw:
                continue
            mail = BytesParser(policy=policy.default).parsebytes(raw)
            if link := _link_in_mail(mail, path):
                links.append((parsedate_to_datetime(mail["Date"]), link))
        return max(links)[1]


def _link_in_mail(mail: EmailMessage, path: str) -> str:
    body = mail.get_body(("plain",))
    text = "" if body is None else body.get_content().replace("\r\n", "\n")
    link = re.search(rf"^https?://[^/\s]+({re.escape(path)}\S+)$", text, re.MULTILINE)
    return "" if link is None else link[1]


@asynccontextmanager
async def asgi_client(app: Litestar, base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of the application in this process, with no cookies."""
    asgi = cast("Any", app)  # litestar and httpx type the same protocol differently
    transport = httpx.ASGITransport(app=asgi)
    async with httpx.AsyncClient(transport=transport, base_url=base_url, trust_env=False) as client:
        yield client


@asynccontextmanager
async def open_browser(app: Litestar, base_url: str, inbox: str) -> AsyncIterator[Browser]:
    """Yield a browser with no cookies, whose mails arrive in a folder."""
    async with asgi_client(app, base_url) as client:
        yield Browser(client, inbox)
