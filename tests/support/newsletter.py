"""A newsroom with a newsletter, its own mailing system, and a reader who signs up."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

from payments.signups import (
    newsletter,
    newsletter_delivery,
)
from tests.support.donor import Donor, link_in, open_donor_browser
from tests.support.newsroom import (
    Mail,
    Newsroom,
    open_newsroom,
)
from tests.support.page import Page

READER = "reader@example.org"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY="
POLICY = {"privacy_url": "https://lindenau.example/privacy", "privacy_version": "2026-05-01"}


@dataclass
class MailingSystem:
    """The newsroom's own: accepts webhooks over HTTP, or answers with another `status`."""

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    silent: asyncio.Event | None = None  # set once a message came that is never answered
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/newsletter"

    async def open(self) -> None:
        """Be there, at the same port as before."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def aclose(self) -> None:
        """Be away: nobody can connect."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        self.came.append((dict(request.headers), await request.read()))
        if self.silent is not None:
            self.silent.set()
            await asyncio.Event().wait()
        return web.Response(status=self.status, headers=self.headers)

    @property
    def ids(self) -> list[str]:
        return [lower_case_headers(headers)["webhook-id"] for headers, _ in self.came]

    def verified_messages(self) -> list[dict[str, Any]]:
        """What it may believe: whatever is signed, each message once."""
        signer, known = Webhook(SECRET), dict[str, bytes]()
        for headers, body in self.came:
            sent = lower_case_headers(headers)
            at = datetime.fromtimestamp(int(sent["webhook-timestamp"]), UTC)
            signed = signer.sign(sent["webhook-id"], at, body.decode())
            assert sent["webhook-signature"] == signed
            assert known.setdefault(sent["webhook-id"], body) == body
        return [json.loads(body) for body in known.values()]


def lower_case_headers(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@asynccontextmanager
async def reading(database: str, mailing: MailingSystem, **more: object) -> AsyncIterator[Donor]:
    """A reader at a browser, of a newsroom whose mailing system is this."""
    ours = {"newsletter_webhook_url": mailing.url, "newsletter_webhook_secret": SECRET}
    async with (
        open_newsroom(database, **{**POLICY, **ours, **more}) as room,
        open_donor_browser(room) as browser,
    ):
        yield browser


async def signs_up(reader: Donor, address: str = READER, *, at: str = "/newsletter") -> Page:
    """Fill in the box, tick it, and send it."""
    page = await reader.opens(at)
    action = next(form.action for form in page.forms if form.action.startswith("/newsletter"))
    sent = page.form(action).submission(address=address, consent="yes")
    answer = await reader.web.post(action, data=sent)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def works(room: Newsroom) -> None:
    """What the worker does in a minute."""
    await newsletter.send_confirmations(room.ctx)
    await newsletter_delivery.enqueue_due(room.ctx)
    await room.runs_due_jobs()


async def passes(room: Newsroom, by: timedelta) -> None:
    await room.advances_time(by)
    await works(room)


async def presses(reader: Donor, link: str) -> Page:
    """Open what a mail leads to, and press the button there."""
    page = await reader.opens(link)
    answer = await reader.submits_without_session(page, link)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def confirms(reader: Donor, mail: Mail | None = None) -> Page:
    newest_first = reversed([mail] if mail else reader.room.mails())
    mail = next(one for one in newest_first if "/mailbox/confirm/" in one.part())
    return await presses(reader, link_in(mail, "/mailbox/confirm/"))


async def is_confirmed(reader: Donor, address: str = READER) -> None:
    """Signed up and confirmed; the worker has not got to it yet."""
    await signs_up(reader, address)
    await works(reader.room)
    await confirms(reader)


async def states(room: Newsroom) -> list[object]:
    rows = await room.rows("SELECT state FROM newsletter_signups ORDER BY signed_up_at, id")
    return [state for (state,) in rows]


def keys(room: Newsroom) -> list[Path]:
    store = Path(room.settings.address_key_dir)
    return [path for path in store.glob("**/??/*") if path.is_file()]


async def open_alerts(room: Newsroom) -> list[object]:
    rows = await room.rows("SELECT kind FROM alerts WHERE closed_at IS NULL ORDER BY id")
    return [kind for (kind,) in rows]


async def asks(room: Newsroom, **body: object):  # type: ignore[no-untyped-def]  # noqa: ANN201 - httpx's
    good = {"address": READER, "consent": True, "privacy_version": "2026-05-01"}
    sent = {name: value for name, value in (good | body).items() if value is not None}
    return await room.web.post("/api/newsletter", json=sent)
