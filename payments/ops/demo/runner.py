"""The running demo: starts everything, seeds the history, prints the links, and ends it all."""

import asyncio
import contextlib
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import click
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox

from payments.accounting import integrity
from payments.core import new_settings
from payments.core.brand_settings import DonorMails
from payments.core.settings import Settings
from payments.infra import context, demo_clock, migrate, stripe_permissions
from payments.infra.context import Context
from payments.infra.demo_clock import DemoClock
from payments.infra.embedded_postgres import EmbeddedPostgresFailed, temporary_postgres
from payments.ops import schedules, stripe_setup
from payments.ops.demo import seed
from payments.ops.demo.simulation import ManualClock
from payments.safety import descriptor_review
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.server import listen
from payments.staff import accounts
from payments.staff.accounts import Role

STARTUP_TIMEOUT_SECONDS = 60.0
TERMINATE_TIMEOUT_SECONDS = 10
READY_POLL_SECONDS = 0.1
CLOCK_STEP_SECONDS = 1.0
EACH_DAY = ("send_reminders", "notify_payments", "notify_renewals_and_expiring_cards")
POLICY = """\
protected_countries = ["RU", "BY"]
recurring = "allowed"
campaign_progress = "shown"
forbidden_descriptor_words = ["lamp", "лампа"]
"""
STRIPE_ACCOUNT = {
    "business_name": "Lindenau Media",
    "display_name": "Lindenau",
    "statement_descriptor": "LINDENAU MEDIA",
    "url": "https://lindenau.example",
    "support_url": "https://help.lindenau.example",
}
DEMO_STRIPE_KEY = "rk_test_" + "demo" * 6  # with the permissions that the service needs
STRIPE_REQUESTS_PER_SECOND = 100  # nobody else uses this Stripe

SettingValues = Mapping[str, str]  # by the names of the settings' fields
echo_stderr = partial(click.echo, err=True)


def run(*, port: int, mails: DonorMails = DonorMails.NEUTRAL) -> None:
    """Run the demo until Ctrl-C. The service takes the port, or any free one.

    Its donors are protected, unless the newsroom writes to them in its own name.
    """
    started_at = time.monotonic()
    try:
        with temporary_postgres(fsync=False) as url, tempfile.TemporaryDirectory() as folder:
            echo_stderr("PostgreSQL is running.")
            migrate.upgrade(url)
            with mail_server(Path(folder) / "inbox") as smtp_url:
                asyncio.run(_run_demo(url, smtp_url, Path(folder), port, mails, started_at))
    except EmbeddedPostgresFailed as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        pass
    echo_stderr("Everything has ended. Nothing is left of it.")


@contextmanager
def mail_server(inbox: Path) -> Iterator[str]:
    """Run a mail server that delivers every mail to one folder. Yields its URL."""
    port = _free_port(0)
    server = Controller(Mailbox(inbox), hostname="127.0.0.1", port=port)
    server.start()
    try:
        yield f"smtp://127.0.0.1:{port}"
    finally:
        server.stop()


async def _run_demo(
    database_url: str, smtp_url: str, folder: Path, port: int, mails: DonorMails, started_at: float
) -> None:
    stripe_port = _free_port(port + 1)
    sandbox_file = folder / "stripe.json"
    values = setting_values(database_url, smtp_url, folder, _free_port(port))
    values = await _seed_history(values | {"donor_mails": mails}, sandbox_file, stripe_port)
    if mails is not DonorMails.FULL:
        values |= protection(folder)
    settings = Settings.model_validate(values)
    environment_file = folder / "demo.env"
    new_settings.write_private(environment_file, environment_text(values))
    clock = demo_clock.find(settings)
    assert clock is not None
    sandbox = Sandbox(live=True, wall=clock)
    sandbox.load(sandbox_file)
    async with listen(sandbox, port=stripe_port):
        with _service_processes(values, folder):
            await _wait_until_ready(settings.base_url)
            async with context.open_context(settings) as ctx:
                links = await _entry_links(ctx, sandbox, environment_file)
                echo_stderr(f"Ready after {time.monotonic() - started_at:.0f} s.\n")
                click.echo(links)
                echo_stderr("\nCtrl-C ends everything.")
                moving = asyncio.create_task(_move_clock(ctx, clock))
                await _wait_for_signal()
                moving.cancel()


def protection(folder: Path) -> dict[str, str]:
    """Return the settings by which donors are protected, and write the policy that they name."""
    policy = folder / "protection.toml"
    policy.write_text(POLICY, encoding="utf-8")
    return {"donor_safety_policy": str(policy)}


def environment_text(values: SettingValues) -> str:
    """Return the settings as lines that a shell reads."""
    return "".join(
        f"export PAYMENTS_{name.upper()}={shlex.quote(value)}\n" for name, value in values.items()
    )


async def _move_clock(ctx: Context, clock: DemoClock) -> None:
    """Move the clock to where it is asked to be, a day at a time, until this is cancelled.

    After each day those schedules run that write to readers: elsewhere they go by the real time.
    In the end all run.
    """
    has_moved = False
    while True:
        is_moving = clock.move()
        await asyncio.sleep(CLOCK_STEP_SECONDS)  # Stripe's stand-in and the worker do what is due
        if is_moving or has_moved:
            for schedule in schedules.SCHEDULES:
                if is_moving and schedule.name not in EACH_DAY:
                    continue
                with contextlib.suppress(Exception):  # the worker runs it again, and reports it
                    await schedules.run(ctx, schedule)
        has_moved = is_moving


def setting_values(database_url: str, smtp_url: str, folder: Path, port: int) -> dict[str, str]:
    """Return all settings of the demo but those of its Stripe and of its donors' protection, and
    make the folder of its keys.
    """
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    return {
        "database_url": database_url,
        "base_url": f"http://127.0.0.1:{port}",
        "stripe_api_key": DEMO_STRIPE_KEY,
        "stripe_requests_per_second": str(STRIPE_REQUESTS_PER_SECOND),
        "stripe_fees": "eur=150+25,usd=290+30",
        "secret_keys": secrets.token_hex(32),
        "close_pack_signing_key": secrets.token_hex(32),
        "publication_name": "The Lindenau Lamp",
        "brand_color": "#7a3e00",
        "brand_address": "12 Mill Lane, Lindenau",
        "brand_legal_line": "Lindenau Media was made up for this demo",
        "receipt_entity": "Lindenau Media",
        "receipt_tax_line": "Nothing was given in return. This receipt is of a demo.",
        "statement_descriptor": "LINDENAU MEDIA",
        "accounting_zone": "Europe/Berlin",
        "smtp_url": smtp_url,
        "mail_from": "Support <post@lindenau.example>",
        "demo_inbox_dir": str(folder / "inbox"),
        "address_key_dir": str(keys),
        "newsletter_file": str(folder / "newsletter.jsonl"),
        "privacy_url": "https://example.org/privacy",
        "privacy_version": "2026-05-01",
        "rate_limit_gifts": "1000000",  # one address plays all donors
        "card_testing_declines": "1000000",
        "environment": "demo",
        "log_level": "error",
    }


async def _seed_history(
    values: dict[str, str], sandbox_file: Path, stripe_port: int
) -> dict[str, str]:
    """Seed the history and save the sandbox. Returns the settings with those of its Stripe."""
    clock = ManualClock(seed.current_second())
    sandbox = Sandbox(wall=clock, settings=STRIPE_ACCOUNT)
    sandbox.add_key(DEMO_STRIPE_KEY, scopes=dict(stripe_permissions.scopes()))
    async with listen(sandbox, port=stripe_port) as stripe_url:
        values = {**values, "stripe_api_base": stripe_url}
        async with context.open_context(Settings.model_validate(values)) as ctx:
            lines = await stripe_setup.setup(ctx)
        secret = next(line for line in lines if "SECRETS=" in line).partition("=")[2]
        values = {**values, "stripe_webhook_secrets": secret}
        with click.progressbar(
            length=seed.day_count(clock.current),
            label="A year of supporters, through the front door",
            file=sys.stderr,
        ) as bar:
            await seed.seed_history(
                Settings.model_validate(values),
                sandbox,
                clock,
                on_day=lambda _day, _days: bar.update(1),
            )
        sandbox.save(sandbox_file)
    return values


@contextmanager
def _service_processes(values: SettingValues, folder: Path) -> Iterator[None]:
    """Run the service and its worker in processes of their own, as an operator would."""
    settings = {f"PAYMENTS_{name.upper()}": value for name, value in values.items()}
    port = values["base_url"].rpartition(":")[2]
    commands = (["serve", "--port", port], ["work"])
    with (folder / "service.log").open("wb") as log, contextlib.ExitStack() as stack:
        for command in commands:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-m", "payments.cli", *command],
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
                start_new_session=False,
            )
            stack.callback(_terminate, process)
        yield


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(TERMINATE_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _wait_until_ready(base_url: str) -> None:
    """Wait until the service is ready. Raises ClickException when it is not in time."""
    deadline = time.monotonic() + STARTUP_TIMEOUT_SECONDS
    async with aiohttp.ClientSession() as web:
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError):
                async with web.get(f"{base_url}/health/ready") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(READY_POLL_SECONDS)
    raise click.ClickException("The service did not start.")


async def _entry_links(ctx: Context, sandbox: Sandbox, environment_file: Path) -> str:
    """Return the links to open, with one-time links for colleagues."""
    await integrity.run_and_alert(ctx)
    async with ctx.sessions.begin() as session:
        finance_token = await accounts.invite(session, "Demo", role=Role.FINANCE, now=ctx.now())
        support_token = await accounts.invite(
            session, "Help desk", role=Role.SUPPORT, now=ctx.now()
        )
    if ctx.settings.safety_policy is not None:
        await descriptor_review.record_review(ctx)
    base = ctx.settings.base_url
    return "\n".join(
        (
            f"  Sample article      {base}/article",
            f"  Donate              {base}/donate",
            f"  Change a gift       {base}/manage   (as one of the addresses in the mails)",
            f"  Finance (one time)  {base}/staff/enter/{finance_token}",
            f"  Support (one time)  {base}/staff/enter/{support_token}",
            f"  Mails, and a clock  {base}/dev/inbox   ({ctx.settings.donor_mails}, by --mails)",
            f"  Stripe's stand-in   {sandbox.url}/",
            f"  Commands            . {environment_file}; payments doctor",
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
    """Return the preferred port of this machine, or any other that is free."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            free_port: int = probe.getsockname()[1]
            return free_port
    raise click.ClickException("There is no free port on this machine.")
