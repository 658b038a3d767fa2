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

# What a browser says when a page of ours, which says no-referrer, sends its form.
SAME_ORIGIN_HEADERS = {"origin": "null", "sec-fetch-site": "same-origin"}


@dataclass
class Page(HTMLParser):
    """A page as it was opened: the forms it sends, filled in as they came, and its links."""

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
        named = {name: value or "" for name, value in attrs}
        name = named.get("name", "")
        if tag == "form":
            self._form = {}
            if named.get("method") == "post":
                self.forms[urlsplit(named.get("action") or self.url).path] = self._form
        elif tag == "a":
            self.links.append(named.get("href", ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and (self._select not in self._form or "selected" in named):
            self._form[self._select] = named.get("value", "")
        elif tag == "input" and name and _is_submitted(named):
            self._form[name] = named.get("value", "")

    def first_link(self, prefix: str) -> str:
        """The first of its links that begins so."""
        return next(one for one in self.links if one.startswith(prefix))


def _is_submitted(attributes: dict[str, str]) -> bool:
    return attributes.get("type") not in ("radio", "checkbox") or "checked" in attributes


@dataclass
class Browser:
    """One person at a browser of their own, with the mailbox they can look into."""

    client: httpx.AsyncClient
    inbox: str

    async def get(self, url: str) -> Page:
        answer = await self.client.get(url)
        assert answer.status_code == 200, (url, answer.status_code)
        return Page(answer.text, url)

    async def submit(self, page: Page, action: str, **fields: str) -> httpx.Response:
        """Fill in a form of a page and press its button."""
        sent = {**page.forms[action], **fields}
        answer = await self.client.post(action, data=sent, headers=SAME_ORIGIN_HEADERS)
        assert answer.status_code in (200, 303), (action, answer.status_code)
        return answer

    def find_mail_link(self, email: str, path: str) -> str:
        """The link to a path of ours in the newest mail to an address that has one."""
        box = mailbox.Maildir(self.inbox)
        found = []
        for key in box.keys():  # noqa: SIM118 - no mapping
            raw = box.get_bytes(key)
            if email.encode() not in raw:
                continue
            mail = BytesParser(policy=policy.default).parsebytes(raw)
            if link := _link_in_mail(mail, path):
                found.append((parsedate_to_datetime(mail["Date"]), link))
        return max(found)[1]


def _link_in_mail(mail: EmailMessage, path: str) -> str:
    body = mail.get_body(("plain",))
    text = "" if body is None else body.get_content().replace("\r\n", "\n")
    link = re.search(rf"^https?://[^/\s]+({re.escape(path)}\S+)$", text, re.MULTILINE)
    return "" if link is None else link[1]


@asynccontextmanager
async def open_browser(app: Litestar, base_url: str, inbox: str) -> AsyncIterator[Browser]:
    """Somebody sits down at a browser that has no cookies of ours."""
    asgi = cast("Any", app)  # litestar and httpx type the same protocol differently
    transport = httpx.ASGITransport(app=asgi)
    async with httpx.AsyncClient(transport=transport, base_url=base_url, trust_env=False) as web:
        yield Browser(web, inbox)
