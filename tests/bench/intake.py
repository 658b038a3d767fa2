"""Intake: events a second, kept and rung for, beside an endpoint that only checks signatures."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import psycopg
from sqlalchemy.engine import make_url

from tests.bench import servers
from tests.bench.load import LoadPlan, LoadResult
from tests.bench.servers import Server

CONNECTIONS = (1, 16, 64)
ROUNDS = 5
SECONDS = 2.0


@dataclass(frozen=True)
class IntakeRun:
    """One side's turn: what was seen, CPU in all, and what the database has that is new."""

    seen: LoadResult
    cpu: float
    database_cpu: float
    stored: int

    @property
    def lost(self) -> int:
        return self.seen.done - self.stored


def report(database: str) -> Iterator[str]:
    """Run the rounds, then give the table's lines."""
    with servers.ours(database) as ours, servers.bare() as bare:
        runs: dict[tuple[int, int], list[IntakeRun]] = {}
        for number in range(-1, ROUNDS):
            for connections in CONNECTIONS:
                for server in (ours, bare) if number % 2 else (bare, ours):
                    run = _run(server, connections, database)
                    if number >= 0:  # the first round only warms
                        runs.setdefault((connections, server.pid), []).append(run)
        yield "intake     ours/s    bare/s  ratio  CPU ms/event ours  database  bare  refused  lost"
        for connections in CONNECTIONS:
            yield _line(connections, runs[connections, ours.pid], runs[connections, bare.pid])


def _run(server: Server, connections: int, database: str) -> IntakeRun:
    postgres = servers.postmaster(database)
    before = (servers.cpu_seconds(server.pid), servers.cpu_seconds(postgres), _stored(database))
    seen = servers.run("tests.bench.load", LoadPlan("events", server.port, connections, SECONDS))
    return IntakeRun(
        seen,
        cpu=servers.cpu_seconds(server.pid) - before[0],
        database_cpu=servers.cpu_seconds(postgres) - before[1],
        stored=_stored(database) - before[2],
    )


def _stored(database: str) -> int:
    plain = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        row = connection.execute("SELECT count(*) FROM stripe_events").fetchone()
    assert row is not None
    return int(row[0])


def _line(connections: int, ours: list[IntakeRun], bare: list[IntakeRun]) -> str:
    ratio = median(a.seen.rate / b.seen.rate for a, b in zip(ours, bare, strict=True))
    cpu = median(run.cpu / run.seen.done for run in ours) * 1000
    database_cpu = median(run.database_cpu / run.seen.done for run in ours) * 1000
    bare_cpu = median(run.cpu / run.seen.done for run in bare) * 1000
    return (
        f"c={connections:<5}{median(run.seen.rate for run in ours):10.0f}"
        f"{median(run.seen.rate for run in bare):10.0f}{ratio:7.2f}"
        f"{cpu:19.2f}{database_cpu:10.2f}{bare_cpu:6.2f}"
        f"{sum(run.seen.refused for run in (*ours, *bare)):9}{sum(run.lost for run in ours):6}"
    )
