"""Runs the benchmarks on one embedded PostgreSQL that syncs each commit to disk; takes minutes."""

import signal
import sys

import click

from payments.infra import migrate
from payments.infra.embedded_postgres import temporary_postgres
from tests.bench import creation, guesses, intake, reports

BENCHMARKS = {
    "intake": intake.report,
    "creation": creation.report,
    "reports": reports.report,
    "guesses": guesses.report,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
def main(names: tuple[str, ...]) -> None:
    """Run the named benchmarks, or all. Prints medians, of ratios the median of the rounds."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that each server is ended
    with temporary_postgres(fsync=True) as database:
        migrate.upgrade(database)
        for name in names or BENCHMARKS:
            for line in BENCHMARKS[name](database):
                click.echo(line)


if __name__ == "__main__":
    main()
