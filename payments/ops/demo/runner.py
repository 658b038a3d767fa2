"""The running demo: starts everything, seeds the history, prints the links, and ends it all."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import click
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from pydantic import SecretStr

from payments.accounting import integrity
from payments.core.settings import Settings
from payments.infra import context, migrate
from payments.infra.embedded_postgres import EmbeddedPostgresFailed, temporary_postgres
from payments.ops import stripe_setup
from payments.ops.demo import seed
from payments.ops.demo.simulation import ManualClock
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.server import listen
from payments.staff import accounts
from payments.staff.accounts import Role

STARTUP_TIMEOUT_SECONDS = 60.0
TERMINATE_TIMEOUT_SECONDS = 10
READY_POLL_SECONDS = 0.1
DEMO_STRIPE_KEY = "sk_test_" + "demo" * 6
STRIPE_REQUESTS_PER_SECOND = 100  # nobody else uses this Stripe

echo_stderr = partial(click.echo, err=True)


def run(*, port: int) -> None:
    """Runs the demo until Ctrl-C. The service takes the port, or any free one."""
    started_at = time.monotonic()
    try:
        with temporary_postgres(fsync=False) as url, tempfile.TemporaryDirectory() as folder:
            echo_stderr("PostgreSQL is running.")
            migrate.upgrade(url)
            with mail_server(Path(folder) / "inbox") as smtp_url:
                asyncio.run(_run_demo(url, smtp_url, Path(folder), port, started_at))
    except EmbeddedPostgresFailed as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        pass
    echo_stderr("Everything has ended. Nothing was kept.")


@contextmanager
def mail_server(inbox: Path) -> Iterator[str]:
    """Runs a mail server that delivers every mail to one folder. Yields its URL."""
    port = _free_port(0)
    server = Controller(Mailbox(inbox), hostname="127.0.0.1", port=port)
    server.start()
    try:
        yield f"smtp://127.0.0.1:{port}"
    finally:
        server.stop()


async def _run_demo(url: str, smtp_url: str, folder: Path, port: int, started_at: float) -> None:
    stripe_port = _free_port(port + 1)
    state = folder / "stripe.json"
    mail = {
        "smtp_url": smtp_url,
        "mail_from": "Support <post@lindenau.example>",
        "demo_inbox_dir": str(folder / "inbox"),
        "address_key_dir": str(folder / "keys"),
        "newsletter_file": str(folder / "newsletter.jsonl"),
        "privacy_url": "https://example.org/privacy",
        "privacy_version": "2026-05-01",
    }
    settings = await _seed_history(url, mail, state, _free_port(port), stripe_port)
    sandbox = Sandbox(live=True)
    sandbox.load(state)
    async with listen(sandbox, port=stripe_port):
        with _service_processes(settings, folder):
            await _wait_until_ready(settings.base_url)
            async with _entry_links(settings, sandbox) as links:
                echo_stderr(f"Ready after {time.monotonic() - started_at:.0f} s.\n")
                click.echo(links)
                echo_stderr("\nCtrl-C ends everything.")
                await _wait_for_signal()


async def _seed_history(
    url: str, mail: Mapping[str, str], state: Path, port: int, stripe_port: int
) -> Settings:
    """Seeds the history and saves the sandbox. Returns the settings the service goes on with."""
    clock = ManualClock(seed.current_second())
    sandbox = Sandbox(wall=clock)
    async with listen(sandbox, port=stripe_port) as stripe_url:
        settings = Settings.model_validate(
            {
                "database_url": url,
                "base_url": f"http://127.0.0.1:{port}",
                "stripe_api_key": DEMO_STRIPE_KEY,
                "stripe_api_base": stripe_url,
                "stripe_requests_per_second": STRIPE_REQUESTS_PER_SECOND,
                "secret_keys": secrets.token_hex(32),
                "close_pack_signing_key": secrets.token_hex(32),
                "publication_name": "The Lindenau Lamp",
                "statement_descriptor": "LINDENAU MEDIA",
                "accounting_zone": "Europe/Berlin",
                "environment": "demo",
                "stripe_fees": "eur=150+25,usd=290+30",
                "rate_limit_gifts": 1_000_000,  # one address plays all donors
                "card_testing_declines": 1_000_000,
                "log_level": "error",
                **mail,
            }
        )
        async with context.open_context(settings) as ctx:
            lines = await stripe_setup.setup(ctx)
        secret = SecretStr(next(line for line in lines if "SECRETS=" in line).partition("=")[2])
        settings = settings.model_copy(update={"stripe_webhook_secrets": (secret,)})
        with click.progressbar(
            length=seed.day_count(clock.current),
            label="A year of supporters, through the front door",
            file=sys.stderr,
        ) as bar:
            await seed.seed_history(
                settings, sandbox, clock, on_day=lambda _day, _days: bar.update(1)
            )
        sandbox.save(state)
    return settings


@contextmanager
def _service_processes(settings: Settings, folder: Path) -> Iterator[None]:
    """Runs the service and its worker in processes of their own, as an operator would."""
    environment = {**os.environ, **settings_to_environment(settings)}
    port = settings.base_url.rpartition(":")[2]
    commands = (["serve", "--port", port], ["work"])
    with (folder / "service.log").open("wb") as log, contextlib.ExitStack() as stack:
        for command in commands:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-m", "payments.cli", *command],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=False,
            )
            stack.callback(_terminate, process)
        yield


def settings_to_environment(settings: Settings) -> dict[str, str]:
    """Returns the settings as environment variables for another process."""
    values = {
        "database_url": settings.database_url.get_secret_value(),
        "stripe_api_key": settings.stripe_api_key.get_secret_value(),
        "stripe_webhook_secrets": ",".join(
            secret.get_secret_value() for secret in settings.stripe_webhook_secrets
        ),
        "secret_keys": ",".join(key.get_secret_value() for key in settings.secret_keys),
    }
    if settings.close_pack_signing_key is not None:
        values["close_pack_signing_key"] = settings.close_pack_signing_key.get_secret_value()
    if settings.smtp_url is not None:
        values["smtp_url"] = settings.smtp_url.get_secret_value()
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if name not in values and isinstance(value, str | int):
            values[name] = str(value)
    return {f"PAYMENTS_{name.upper()}": value for name, value in values.items()}


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(TERMINATE_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _wait_until_ready(base_url: str) -> None:
    """Waits until the service is ready. Raises ClickException when it is not in time."""
    deadline = time.monotonic() + STARTUP_TIMEOUT_SECONDS
    async with aiohttp.ClientSession() as web:
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError):
                async with web.get(f"{base_url}/health/ready") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(READY_POLL_SECONDS)
    raise click.ClickException("The service did not start.")


@asynccontextmanager
async def _entry_links(settings: Settings, sandbox: Sandbox) -> AsyncIterator[str]:
    """Yields the links to open, with one-time links for colleagues."""
    async with context.open_context(settings) as ctx:
        await integrity.run_and_alert(ctx)
        async with ctx.sessions.begin() as session:
            finance_token = await accounts.invite(session, "Demo", role=Role.FINANCE, now=ctx.now())
            support_token = await accounts.invite(
                session, "Help desk", role=Role.SUPPORT, now=ctx.now()
            )
        base = settings.base_url
        yield "\n".join(
            (
                f"  Sample article      {base}/article",
                f"  Donate              {base}/donate",
                f"  Change a gift       {base}/manage   (as one of the addresses in the mails)",
                f"  Finance (one time)  {base}/staff/enter/{finance_token}",
                f"  Support (one time)  {base}/staff/enter/{support_token}",
                f"  Mails sent          {base}/dev/inbox",
                f"  Stripe's stand-in   {sandbox.url}/",
                "",
                "  Card 4242 4242 4242 4242 pays, 4000 0000 0000 0002 is declined,",
                "  4000 0027 6000 3184 asks for 3-D Secure. No real money moves.",
            )
        )


async def _wait_for_signal() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _free_port(preferred: int) -> int:
    """Returns the preferred port of this machine, or any other that is free."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            free_port: int = probe.getsockname()[1]
            return free_port
    raise click.ClickException("There is no free port on this machine.")
