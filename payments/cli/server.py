"""The commands that run a program or prepare one: serve, work, migrate, sandbox, demo."""

import asyncio
import sys
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
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that answer readers.",
)
@click.option(
    "--webhook-port",
    type=click.IntRange(min=1, max=65535),
    help="A port for Stripe's webhooks alone, with a process of its own.",
)
@click.option(
    "--timeout",
    type=click.IntRange(min=1, max=300),
    default=10,
    show_default=True,
    help="Seconds for a request's header, for its body, and between two requests.",
)
@click.option(
    "--connections-per-client",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="How many connections one client may hold in one process. Trusted proxies may hold any.",
)
def serve(
    host: str,
    port: int,
    workers: int,
    webhook_port: int | None,
    timeout: int,
    connections_per_client: int,
) -> None:
    """Serve readers, Stripe's webhooks and finance."""
    _count_together()
    from payments.core import settings
    from payments.web import serving

    try:
        settings.require_serving_settings(load_settings())
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None
    if webhook_port == port:
        raise click.UsageError("--webhook-port must be another port than --port.")
    run_with_context(refuse_other_account)
    connections = serving.raise_file_limit()
    if connections < serving.FEW_CONNECTIONS:
        echo_stderr(
            f"Only {connections} connections fit into the limit of open files. Raise it to"
            f" {serving.MAX_FILES}: ulimit -Hn, or LimitNOFILE= of systemd."
        )
    door = serving.Door(host, port, workers, connections_per_client, timeout)
    if webhook_port is None:
        echo_stderr(f"Serving on http://{host}:{port}")
        serving.listen(door, connections=connections)
        return
    echo_stderr(f"Serving on http://{host}:{port}, webhooks also on http://{host}:{webhook_port}")
    with serving.listening_beside(door.for_webhooks(webhook_port), connections=connections):
        serving.listen(door, connections=connections)


def _count_together() -> None:
    """Let all processes of this command count as one in `/metrics`, unless an operator named a
    folder that other commands share.
    """
    import atexit
    import os
    import shutil
    import tempfile

    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        return
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="payments-metrics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


@click.command()
@click.option("--concurrency", type=click.IntRange(min=1), help="Jobs at once; 8 if not given.")
def work(concurrency: int | None) -> None:
    """Do the background work: sync objects of Stripe, import the balance, run the schedules."""
    import signal

    from payments.ops import worker

    async def run(ctx: "Context") -> None:
        echo_stderr("Working. Ctrl-C stops after the jobs in hand.")
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await worker.run_until_stopped(
            ctx, stop=stop, concurrency=concurrency or worker.CONCURRENCY
        )

    run_with_context(run, asks_stripe=True)


@click.command()
@click.option("--check", is_flag=True, help="Only say what is missing; exit 4 if anything is.")
def migrate(check: bool) -> None:
    """Bring the database to the newest schema."""
    from payments.infra import migrate as schema
    from payments.infra import service_role

    url = load_settings().database_url.get_secret_value()
    try:
        with expected_errors():
            revisions = schema.pending_revisions(url) if check else schema.upgrade(url)
    except (schema.MigrationBlocked, service_role.RoleMissing) as error:
        raise click.ClickException(str(error)) from None
    if check:
        click.echo("\n".join(revisions) if revisions else "The schema is up to date.")
        sys.exit(EXIT_PROBLEMS if revisions else 0)
    echo_stderr(f"Applied {', '.join(revisions)}." if revisions else "The schema is up to date.")


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def sandbox(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Run the stand-in for Stripe by itself."""
    from payments.sandbox import __main__ as program

    sys.exit(program.main(arguments, context.command_path))


@click.command()
@click.option("--port", default=8000, show_default=True)
@click.option(
    "--mails",
    type=click.Choice(["full", "neutral", "none"]),
    default="neutral",
    show_default=True,
    help="What donors are written. In full, the newsroom writes in its own name and protects"
    " nobody; otherwise donors are protected.",
)
def demo(port: int, mails: str) -> None:
    """Everything at once on this machine, with a year of history, to click through."""
    from payments.core.brand_settings import DonorMails
    from payments.ops.demo import runner

    runner.run(port=port, mails=DonorMails(mails))
