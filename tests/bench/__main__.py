"""`make bench`: every bench on one embedded PostgreSQL that syncs each commit to disk; minutes."""

import signal
import sys

import click

from payments.infra import migrate
from payments.infra.embedded_postgres import temporary_postgres
from tests.bench import creation, intake, reports

BENCHES = {"intake": intake.report, "creation": creation.report, "reports": reports.report}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHES)))
def main(names: tuple[str, ...]) -> None:
    """Run the benches named, or all. Medians; a ratio is the median of each round's own."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every block ends its server
    with temporary_postgres(fsync=True) as database:
        migrate.upgrade(database)
        for name in names or BENCHES:
            for line in BENCHES[name](database):
                click.echo(line)


if __name__ == "__main__":
    main()
