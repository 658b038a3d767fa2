"""A newsroom in one process: the application, its worker, and a stand-in for Stripe, all by one
clock.

Everything goes through the front door: pages and API over HTTP, Stripe's SDK to the sandbox over
HTTP, signed webhooks back, jobs by the real engine. Nothing is patched and nothing sleeps: the
clock is turned and the jobs are drained.
"""

import asyncio
import contextlib
import re
import ssl
import string
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from aiosmtpd.smtp import SMTP, Envelope
from procrastinate import PsycopgConnector
from pydantic import SecretStr
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from stripe import StripeClient

from payments.accounting import daily_totals, integrity
from payments.core.settings import Settings
from payments.donors.donors import Donor
from payments.giving import campaigns
from payments.giving.contributions import Contribution
from payments.infra import stripe_account, stripe_client
from payments.infra.context import Context, context_on, open_context
from payments.ops import stripe_setup, worker
from payments.sandbox.hosted_page_client import pay
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.server import listen
from payments.sandbox.webhook_deliveries import Delivery
from tests.support import stripe_usage
from tests.support.app_pool import lend_app
from tests.support.connections import LastingConnection
from tests.support.database import lend_engine
from tests.support.locales import NEWSROOM_LOCALES
from tests.support.ports import reserve_port
from tests.support.secret_values import secret_named
from tests.support.stripe_state import StripeState
from webhooks import sweeps

BASE_URL = "http://127.0.0.1:8000"
REAL_TIMEOUT_SECONDS = 300  # of real time: longer than any load delays what does not hang
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
# A job enqueued by the last that ran is not always seen before the worker returns.
DUE_JOBS = """
    SELECT id
      FROM procrastinate_jobs AS due
     WHERE status = 'todo'
       AND queue_name = 'sync'
       AND coalesce(scheduled_at, now()) <= now()
       AND NOT EXISTS (SELECT FROM procrastinate_jobs AS other
                        WHERE other.lock = due.lock AND other.status = 'doing')
     LIMIT 1
"""  # but for those that wait for a worker that is not here
_ALL_SIGN_IN = update(Donor).where(~Donor.mailbox_proved).values(mailbox_proved=True)
OWNER_KEY = "sk_test_owner"
PLACEHOLDER_SECRET = "whsec_" + secret_named("webhooks")
STRIPE_ACCOUNT = {"business_name": "Example Media", "statement_descriptor": "EXAMPLE MEDIA"}


@dataclass
class ManualClock:
    """The time for everybody, until it is turned."""

    current: datetime = NOON

    def __call__(self) -> datetime:
        return self.current

    def advance(self, by: timedelta) -> None:
        self.current += by


@dataclass(frozen=True)
class Mail:
    """A mail as its reader's mailbox took it."""

    to: list[str]
    raw: bytes

    @property
    def parsed(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.default)

    @property
    def subject(self) -> str:
        return str(self.parsed["Subject"])

    def part(self, kind: str = "plain") -> str:
        """The words of one part: `plain` or `html`."""
        body = self.parsed.get_body((kind,))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")

    def link(self, path: str) -> str:
        """The link of this mail that begins with a path of ours, without our address."""
        found = re.findall(
            rf"^{re.escape(BASE_URL)}({re.escape(path)}\S*)$", self.part(), re.MULTILINE
        )
        assert len(found) == 1, found
        return str(found[0])


@dataclass
class MailServer:
    """A mail server on this machine that accepts every mail, unless a test says otherwise."""

    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    rejections: dict[str, str] = field(default_factory=dict)  # by mailbox: the reply to RCPT
    refusal: str = ""  # the reply to everybody's RCPT
    content_refusal: str = ""  # the reply to everybody's DATA
    delay: float = 0.0  # seconds that it takes for a mail
    lost_responses: int = 0  # how many mails are accepted without a reply
    tls: ssl.SSLContext | None = None  # of a server that speaks TLS from the first byte
    options: dict[str, Any] = field(default_factory=dict)  # aiosmtpd's own
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    async def open(self) -> None:
        """Listen, at the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, hostname="post.example", loop=loop, **self.options),
            "127.0.0.1",
            self.port,
            ssl=self.tls,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening: nobody can connect."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: object, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if refusal := self.rejections.get(address, self.refusal):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: SMTP, _session: object, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        if self.content_refusal:
            return self.content_refusal
        if self.delay:
            await asyncio.sleep(self.delay)
        self.mails.append(Mail(list(envelope.rcpt_tos), envelope.content))
        if self.lost_responses:
            self.lost_responses -= 1
            cast("asyncio.WriteTransport", server.transport).abort()
        return "250 OK"


def without_tokens(text: str) -> str:
    """A text without our address and without ids and signatures, which spell any word by chance."""
    return re.sub(r"[\w-]{24,}", "", text.replace(BASE_URL, ""), flags=re.ASCII)


def forgeries(signed: str) -> list[str]:
    """Something signed by us, ending with its signature, with a letter of that one changed."""
    middle = len(signed) - 20
    other = "a" if signed[middle] != "a" else "b"
    return [signed[:middle] + other + signed[middle + 1 :], signed[:-1], f"{signed}x"]


def respellings(signed: str) -> list[str]:
    """The same signature in other letters: its last has bits to spare, and `~` is skipped."""
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    last = letters[letters.index(signed[-1]) ^ 1]
    return [signed[:-1] + last, f"{signed[:-20]}~{signed[-20:]}", f"{signed}="]


@dataclass
class Newsroom:
    """All that a test may touch."""

    clock: ManualClock
    sandbox: Sandbox
    ctx: Context
    web: httpx.AsyncClient
    settings: Settings
    mail_server: MailServer
    worker_connector: PsycopgConnector
    stripe_owner: StripeClient  # as the dashboard: its key may do everything, ours may not
    delivered: list[Delivery] = field(default_factory=list)
    donors_have_signed_in: bool = True  # each, once: their mailboxes are proved
    own_settings: str | None = None  # that differ from other tests', None where nobody knows them

    # readers

    async def requests_contribution(
        self,
        amount: object = 500,
        frequency: object = "once",
        currency: object = "usd",
        *,
        key: str | None = None,
        **more: object,
    ) -> httpx.Response:
        """A program asks for a contribution."""
        body = {"amount": amount, "frequency": frequency, "currency": currency, **more}
        headers = {"Idempotency-Key": key or uuid4().hex}
        return await self.web.post("/api/contributions", json=body, headers=headers)

    async def gives(
        self,
        amount: int = 500,
        frequency: str = "once",
        currency: str = "usd",
        *,
        email: str = "reader@example.org",
    ) -> Contribution:
        """A reader gives and pays; Stripe's webhooks are not delivered yet."""
        asked = await self.requests_contribution(amount, frequency, currency)
        assert asked.status_code == 201, asked.text
        await self.pays(asked.json()["checkout_url"], email=email)
        return await self.contribution(asked.json()["id"])

    async def pays(
        self,
        checkout_url: str,
        card: str = "4242424242424242",
        *,
        email: str = "reader@example.org",
        name: str = "A Reader",
    ) -> str | None:
        """A reader pays on Stripe's page. Returns where the page redirects to, if it does."""
        return (await pay(checkout_url, card=card, email=email, name=name)).redirect_url

    async def thanks(self, contribution_id: str) -> str:
        """What the thank-you page says, as one line of text."""
        page = await self.web.get(f"/thanks/{contribution_id}", follow_redirects=True)
        return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())

    async def creates_campaigns(self, *ids: str) -> None:
        """Colleagues have made these campaigns."""
        file = "".join(f'[[campaigns]]\nid = "{one}"\n' for one in ids)
        await campaigns.apply_file(self.ctx, file.encode())

    # Stripe

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[int]:
        """Stripe's webhooks arrive, in this order."""
        answers = []
        for delivery in deliveries:
            answer = await self.web.post(
                urlsplit(delivery.url).path, content=delivery.body, headers=delivery.headers
            )
            self.sandbox.acknowledge(delivery, answer.status_code)
            answers.append(answer.status_code)
            self.delivered.append(delivery)
        return answers

    async def runs_until_idle(self) -> None:
        """Captures happen, webhooks arrive, jobs are done, until nothing is left to do."""
        for _ in range(20):
            await self.sandbox.advance_to_captures()
            waiting = self.sandbox.take_deliveries()
            await self.deliver(waiting)
            await self.runs_due_jobs()
            if not waiting and not await self.rows(DUE_JOBS):
                return
        raise AssertionError("it never became quiet")

    async def runs_due_jobs(self) -> None:
        """The worker does every job that is due."""
        await worker.run_due_jobs(self.ctx, connector=self.worker_connector)
        if self.donors_have_signed_in:
            async with self._statement_at_once() as connection:
                await connection.execute(_ALL_SIGN_IN)

    async def advances_time(self, by: timedelta) -> None:
        """Time passes, for us and for Stripe."""
        self.clock.advance(by)
        await self.sandbox.run_due()

    async def runs_sweeps(self) -> None:
        """What the schedules do."""
        await sweeps.sync_undelivered(self.ctx)
        await sweeps.sync_overdue(self.ctx)
        await sweeps.sync_new(self.ctx)
        for _ in range(2):  # a sync may enqueue further syncs
            await self.runs_due_jobs()
        await daily_totals.import_and_refresh(self.ctx)

    # mail

    def mails(self) -> list[Mail]:
        """What donors found in their mailboxes, oldest first."""
        return list(self.mail_server.mails)

    def newest_mail(self, path: str) -> Mail:
        """The newest mail with a link to a path of ours. Mails of one moment come in any order."""
        return next(mail for mail in reversed(self.mails()) if path in mail.part())

    # our own records

    async def contribution(self, contribution_id: str) -> Contribution:
        async with self.ctx.sessions() as session:
            return await session.get_one(Contribution, contribution_id)

    async def rows(self, query: str, **params: object) -> list[tuple[object, ...]]:
        async with self._statement_at_once() as connection:
            return [tuple(row) for row in await connection.execute(text(query), params)]

    def _statement_at_once(self) -> AsyncConnection:
        """A connection for one statement, without a transaction around it."""
        return self.ctx.engine.execution_options(isolation_level="AUTOCOMMIT").connect()

    async def count(self, table: str) -> int:
        found = await self.rows(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name from a test
        assert isinstance(found[0][0], int)
        return found[0][0]

    async def failed_integrity_checks(self) -> list[str]:
        """Import, run the integrity checks, and return those that fail."""
        await daily_totals.import_and_refresh(self.ctx)
        findings = await integrity.run_checks(self.ctx)
        return [f"{f.check_name}: {'; '.join(f.failures)}" for f in findings if not f.passed]

    async def proves_itself(self) -> None:
        """Assert that the books hold and that every request and event obeyed Stripe's contract."""
        await self.runs_until_idle()
        assert self.sandbox.problems == []
        assert await self.failed_integrity_checks() == []

    def stripe_get_count(self) -> int:
        """How many times Stripe was asked for an object."""
        return sum(1 for seen in self.sandbox.requests if seen.method == "GET")


def settings_for(database: str, stripe_url: str, **more: object) -> Settings:
    values: dict[str, object] = {
        "database_url": database,
        "base_url": BASE_URL,
        "stripe_api_key": "sk_test_" + "0" * 24,
        "stripe_webhook_secrets": PLACEHOLDER_SECRET,
        "secret_keys": secret_named("keys"),
        "close_pack_signing_key": secret_named("close packs"),
        "stripe_api_base": stripe_url,
        "publication_name": "The Example",
        "statement_descriptor": "EXAMPLE MEDIA",
        "environment": "test",
        "locales": NEWSROOM_LOCALES,
        "trusted_proxies": "127.0.0.1,::1",
        # All readers of the tests share one IP address; tests/risk lowers these limits.
        "rate_limit_gifts": 1_000_000,
        "card_testing_declines": 1_000_000,
        **more,
    }
    return Settings.model_validate(values)


async def set_up_stripe(settings: Settings) -> Settings:
    """Run `payments stripe setup`. Returns the settings with the secret that it printed."""
    async with open_context(settings) as ctx:
        lines = await stripe_setup.setup(ctx)
    printed = next(line for line in lines if line.startswith("PAYMENTS_STRIPE_WEBHOOK_SECRETS="))
    secret = SecretStr(printed.partition("=")[2])
    return settings.model_copy(update={"stripe_webhook_secrets": (secret,)})


@asynccontextmanager
async def open_newsroom(database: str, **more: object) -> AsyncIterator[Newsroom]:
    """Open a newsroom with everything running, at noon, whose Stripe account is set up."""
    clock = ManualClock()
    sandbox = Sandbox(wall=clock, check_contract=True, settings=STRIPE_ACCOUNT)
    async with open_services(sandbox, database, more) as (given, mail_server):
        settings = await _set_up_stripe_or_repeat(given, sandbox)
        async with serve_settings(settings, clock, sandbox, mail_server) as room:
            room.own_settings = repr(sorted(more.items()))
            await stripe_account.ensure_bound(room.ctx)
            yield room


@asynccontextmanager
async def open_services(
    sandbox: Sandbox, database: str, more: dict[str, object]
) -> AsyncIterator[tuple[Settings, MailServer]]:
    """Open Stripe and a mail server at ports of this machine. Yield settings that name them."""
    with reserve_port() as mail_port, TemporaryDirectory() as keys:
        mail_server = MailServer(mail_port)
        await mail_server.open()
        async with contextlib.aclosing(mail_server), listen(sandbox) as stripe_url:
            given = {
                "smtp_url": mail_server.url,
                "mail_from": "Support <post@lindenau.example>",
                "address_key_dir": keys,
                "stripe_api_key": stripe_usage.add_newsroom_key(sandbox),
                **more,
            }
            yield settings_for(database, stripe_url, **given), mail_server
            stripe_usage.record(sandbox)


@asynccontextmanager
async def serve_settings(
    settings: Settings, clock: ManualClock, sandbox: Sandbox, mail_server: MailServer
) -> AsyncIterator[Newsroom]:
    """Open the application and its worker, on services that are open."""
    async with (
        lend_engine(settings.database_url.get_secret_value()) as engine,
        context_on(engine, settings, now=clock) as ctx,
        stripe_client.connect(
            settings.model_copy(update={"stripe_api_key": SecretStr(OWNER_KEY)})
        ) as owner,
    ):
        with lend_app(ctx) as app:
            asgi = cast("Any", app)  # litestar and httpx type the same protocol differently
            transport = httpx.ASGITransport(app=asgi, raise_app_exceptions=False)
            async with (
                worker.open_connector(ctx, LastingConnection) as connector,
                httpx.AsyncClient(transport=transport, base_url=settings.base_url) as web,
            ):
                yield Newsroom(clock, sandbox, ctx, web, settings, mail_server, connector, owner)


# What `payments stripe setup` did, by the settings it was done with.
_stripe_setups: dict[str, tuple[StripeState, tuple[SecretStr, ...]]] = {}
PLACES = ("database_url", "stripe_api_base", "smtp_url", "address_key_dir")


async def _set_up_stripe_or_repeat(settings: Settings, sandbox: Sandbox) -> Settings:
    """Do as `set_up_stripe`. In a new account its outcome is always the same: it is done once."""
    key = repr(sorted((name, repr(value)) for name, value in settings if name not in PLACES))
    if key not in _stripe_setups:
        settings = await set_up_stripe(settings)
        _stripe_setups[key] = StripeState.of(sandbox), settings.stripe_webhook_secrets
        return settings
    state, secrets = _stripe_setups[key]
    state.restore(sandbox)
    return settings.model_copy(update={"stripe_webhook_secrets": secrets})
