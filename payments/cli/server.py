"""The commands that run a program or prepare one: serve, work, migrate, sandbox, demo."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payments.cli.common import (
    EXIT_PROBLEMS,
    echo_stderr,
    expected_errors,
    load_settings,
    refuse_other_account,
    run_with_context,
)

if TYPE_CHECKING:
    from payments.infra.context import Context


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes.")
def serve(host: str, port: int, workers: int) -> None:
    """Serve readers, Stripe's webhooks and finance."""
    from granian.constants import Interfaces
    from granian.server import Server

    from payments.core import settings

    try:
        settings.require_serving_settings(load_settings())
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None
    run_with_context(refuse_other_account)
    echo_stderr(f"Serving on http://{host}:{port}")
    Server(
        "payments.web.app:create_worker_app",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        log_access=False,
        log_enabled=False,
    ).serve()


@click.command()
@click.option("--concurrency", type=click.IntRange(min=1), help="Jobs at once; 8 if not given.")
def work(concurrency: int | None) -> None:
    """Do the background work: sync objects of Stripe, import the balance, run the schedules."""
    import signal

    from payments.ops import worker

    async def run(ctx: "Context") -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await worker.run_until_stopped(
            ctx, stop=stop, concurrency=concurrency or worker.CONCURRENCY
        )

    echo_stderr("Working. Ctrl-C stops after the jobs in hand.")
    run_with_context(run, asks_stripe=True)


@click.command()
@click.option("--check", is_flag=True, help="Only say what is missing; exit 4 if anything is.")
def migrate(check: bool) -> None:
    """Bring the database to the newest schema."""
    from payments.infra import migrate as schema

    url = load_settings().database_url.get_secret_value()
    try:
        with expected_errors():
            revisions = schema.pending_revisions(url) if check else schema.upgrade(url)
    except schema.MigrationBlocked as error:
        raise click.ClickException(str(error)) from None
    if check:
        click.echo("\n".join(revisions) if revisions else "The schema is up to date.")
        sys.exit(EXIT_PROBLEMS if revisions else 0)
    echo_stderr(f"Applied {', '.join(revisions)}." if revisions else "The schema is up to date.")


def _check_keys(
    _context: click.Context, _option: click.Parameter, keys: tuple[str, ...]
) -> tuple[str, ...]:
    from payments.sandbox import Sandbox
    from payments.sandbox.api_keys import add_from_option

    account = Sandbox().account
    for key in keys:
        try:
            add_from_option(account, key)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return keys


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=12111, show_default=True)
@click.option(
    "--key", "keys", multiple=True, metavar="SECRET[:PERMISSION,…]", callback=_check_keys,
    help="Take only these API keys: sk_test_… or rk_test_…:charge_read,invoice_write.",
)  # fmt: skip
@click.option(
    "--state", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Keep everything in this file, and resume from it.",
)  # fmt: skip
@click.option("--seed", type=int, help="Make the same ids for the same calls.")
def sandbox(
    host: str, port: int, keys: tuple[str, ...], state: Path | None, seed: int | None
) -> None:
    """Run the stand-in for Stripe by itself."""
    from payments.sandbox.server import RunOptions, run_forever
    from payments.sandbox.state_file import StateFileError

    async def run() -> None:
        options = RunOptions(keys, state, seed)
        running = asyncio.create_task(run_forever(port, host, _echo_address, options))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        await running

    try:
        asyncio.run(run())
    except (StateFileError, OSError) as error:  # OSError: no such folder, a port in use
        raise click.ClickException(str(error)) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        echo_stderr("Stopped.")


async def _echo_address(url: str) -> None:
    echo_stderr(f"A stand-in for Stripe on {url}. No real money moves.")


@click.command()
@click.option("--port", default=8000, show_default=True)
def demo(port: int) -> None:
    """Everything at once on this machine, with a year of history, to click through."""
    from payments.ops.demo import runner

    runner.run(port=port)
