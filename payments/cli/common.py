"""What the commands share: an open context, exit codes, options, output files and progress.

Data goes to stdout, words for the operator to stderr. A command exits with 0 when it is done, with
1 when it failed, with 2 when it was called wrongly, and with `EXIT_PROBLEMS` when what it checked
is not in order.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import click

if TYPE_CHECKING:
    from payments.accounting.reports.period import Period
    from payments.core.settings import Settings
    from payments.infra.context import Context

Result = TypeVar("Result")
ReportProgress = Callable[[int, int], None]  # done, total

EXIT_PROBLEMS = 4
CONNECTION_POOL_SIZE = 4
ACCOUNT_TIMEOUT_SECONDS = 5.0  # a command does not wait longer to learn whose its key is
REDRAW_INTERVAL_SECONDS = 0.1  # of the bar on a terminal
LOG_INTERVAL_SECONDS = 10.0  # between two lines where stderr is no terminal

INPUT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def echo_stderr(text: str = "") -> None:
    """Write a line for the operator to stderr."""
    click.echo(text, err=True)


def load_settings() -> "Settings":
    """Return the settings of the environment. Raises ClickException where they are not usable."""
    from payments.core import settings

    try:
        return settings.load()
    except settings.SettingsError as error:
        raise click.ClickException(f"The settings are not usable.\n{error}") from None


@contextmanager
def expected_errors() -> Iterator[None]:
    """End the command with one line and exit code 1 where the block fails as may be expected.

    Of several failures together, as of isolated steps, the first counts.
    """
    from sqlalchemy.exc import InterfaceError, OperationalError
    from sqlalchemy.exc import TimeoutError as PoolTimeout
    from stripe import StripeError

    from payments.core.errors import PaymentsError, StripeUnavailable
    from payments.infra import connections, db, stripe_client

    try:
        try:
            yield
        except ExceptionGroup as group:
            first: Exception = group
            while isinstance(first, ExceptionGroup):
                first = first.exceptions[0]
            raise first from group
    except (PaymentsError, StripeError) as error:
        ours = stripe_client.as_payments_error(error) if isinstance(error, StripeError) else error
        detail = ours.operator_detail if isinstance(ours, StripeUnavailable) else None
        raise click.ClickException(detail or ours.detail) from None
    except connections.DatabaseRefused as error:
        raise click.ClickException(str(error)) from None
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        if not db.is_away(error):
            raise click.ClickException(
                "The database did not finish one statement: something else held its rows, or it "
                "took too long. Please run the command again."
            ) from None
        raise click.ClickException("The database of PAYMENTS_DATABASE_URL is away.") from None


def run_with_context(
    action: Callable[["Context"], Awaitable[Result]], *, asks_stripe: bool = False
) -> Result:
    """Open a context by the settings of the environment, await the action and return its result.

    An action that asks Stripe is refused with a key of another account than the database's. An
    expected failure ends the command with one line.
    """
    import uvloop

    from payments.infra import context, logs

    settings = load_settings()
    logs.configure("warning")

    async def run() -> Result:
        await refuse_unfit_database(settings)
        async with context.open_context(
            settings,
            pool_size=CONNECTION_POOL_SIZE,
            requests_per_second=settings.stripe_requests_per_second,
        ) as ctx:
            if asks_stripe:
                await refuse_other_account(ctx)
            return await action(ctx)

    with expected_errors():
        return uvloop.run(run())


async def refuse_unfit_database(settings: "Settings") -> None:
    """Raise DatabaseRefused where the service must not work with its database as it is set up.

    Where the database does not answer, nothing is refused: what follows says so itself.
    """
    import psycopg

    from payments.infra import connections

    try:
        await connections.refuse_unfit(settings.database_url.get_secret_value())
    except connections.DatabaseRefused:
        raise
    except (psycopg.Error, OSError):
        return


async def refuse_other_account(ctx: "Context") -> None:
    """Raise WrongStripeAccount for a key of another account than the database's.

    Where Stripe or the database does not answer, nothing is refused: what follows says so itself.
    """
    from contextlib import suppress

    from sqlalchemy.exc import SQLAlchemyError
    from stripe import StripeError

    from payments.core.errors import StripeUnavailable
    from payments.infra import stripe_account

    with suppress(StripeUnavailable, StripeError, SQLAlchemyError, TimeoutError):
        async with asyncio.timeout(ACCOUNT_TIMEOUT_SECONDS):
            await stripe_account.ensure_bound(ctx)


def run_on_books(action: "Callable[[Context], Awaitable[Result]]") -> Result:
    """Run an action that reads or counts the books, if they are counted in this process's zone."""

    async def checked(ctx: "Context") -> Result:
        from payments.accounting import accounting_zone

        async with ctx.sessions() as session:
            await accounting_zone.require(session, ctx.settings.accounting_zone)
        return await action(ctx)

    return run_with_context(checked)


def parse_period(ctx: "Context", text: str) -> "Period":
    """Return the period that a command was given. Raises InvalidField."""
    from payments.accounting.reports import period

    return period.parse_period(
        {"period": text},
        today=ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date(),
        fiscal_year_start=ctx.settings.fiscal_year_start,
    )


@contextmanager
def output_file(output: Path | None) -> Iterator[BinaryIO]:
    """Open the file, or stdout where there is none. An existing file is replaced only by a whole
    new one, which its owner alone may read.
    """
    if output is None:
        yield sys.stdout.buffer
        return
    if output.exists() and not output.is_file():  # a pipe or a device
        with output.open("wb") as out:
            yield out
        return
    part = output.with_name(f".{output.name}.part")
    try:
        with open_private(part) as out:
            yield out
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def open_private(path: Path) -> BinaryIO:
    """Open a new file, in place of any other or of a link, that its owner alone may read."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    return open(os.open(path, flags, 0o600), "wb")  # noqa: PTH123 - of a descriptor


@contextmanager
def progress(label: str) -> Iterator[ReportProgress]:
    """Yield `report(done, total)`, which shows on stderr how far the block is.

    A bar on a terminal; elsewhere the label and, every few seconds, a line.
    """
    on_terminal = sys.stderr.isatty()
    interval = REDRAW_INTERVAL_SECONDS if on_terminal else LOG_INTERVAL_SECONDS
    last, shown_at = (0, 0), time.monotonic()
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def draw(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        def report(done: int, total: int) -> None:
            nonlocal last, shown_at
            last, now = (done, total), time.monotonic()
            if now - shown_at < interval:
                return
            shown_at = now
            if on_terminal:
                draw(done, total)
            else:
                echo_stderr(f"{done}/{total}")

        yield report
        if on_terminal:
            draw(*last)


@contextmanager
def progress_of(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Yield `advance(count)`, which shows on stderr that so many more of the total are done."""
    done = 0
    with progress(label) as report:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            report(done, total)

        yield advance
