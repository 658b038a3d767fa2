"""Webhook events taken each second, beside an endpoint that only verifies their signatures."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import psycopg

from tests.bench import servers
from tests.bench.load import LoadPlan, LoadResult
from tests.bench.servers import Server
from tests.support.database_owner import driver_url

CONNECTIONS = (1, 16, 64)
ROUNDS = 5
SECONDS = 2.0  # of each run


@dataclass(frozen=True)
class IntakeRun:
    """One run against one side: its result, CPU seconds, and the events that were stored."""

    result: LoadResult
    cpu_seconds: float
    database_cpu_seconds: float
    stored: int

    @property
    def lost(self) -> int:
        """How many events were answered and not stored."""
        return self.result.done - self.stored


def report(database: str) -> Iterator[str]:
    """Run the rounds, and yield the lines of the table."""
    with servers.ours(database) as ours, servers.bare() as bare:
        runs: dict[tuple[int, int], list[IntakeRun]] = {}
        for number in range(-1, ROUNDS):
            for connections in CONNECTIONS:
                for server in (ours, bare) if number % 2 else (bare, ours):
                    run = _run(server, connections, database)
                    if number >= 0:  # the first round only warms up
                        runs.setdefault((connections, server.pid), []).append(run)
        yield "intake     ours/s    bare/s  ratio  CPU ms/event ours  database  bare  refused  lost"
        for connections in CONNECTIONS:
            yield _line(connections, runs[connections, ours.pid], runs[connections, bare.pid])


def _run(server: Server, connections: int, database: str) -> IntakeRun:
    postgres = servers.postmaster(database)
    before = (servers.cpu_seconds(server.pid), servers.cpu_seconds(postgres), _stored(database))
    plan = LoadPlan("webhook_requests", server.port, connections, SECONDS)
    result = servers.run("tests.bench.load", plan)
    return IntakeRun(
        result,
        cpu_seconds=servers.cpu_seconds(server.pid) - before[0],
        database_cpu_seconds=servers.cpu_seconds(postgres) - before[1],
        stored=_stored(database) - before[2],
    )


def _stored(database: str) -> int:
    with psycopg.connect(driver_url(database)) as connection:
        row = connection.execute("SELECT count(*) FROM stripe_events").fetchone()
    assert row is not None
    return int(row[0])


def _line(connections: int, ours: list[IntakeRun], bare: list[IntakeRun]) -> str:
    ratio = median(a.result.rate / b.result.rate for a, b in zip(ours, bare, strict=True))
    cpu_ms = median(run.cpu_seconds / run.result.done for run in ours) * 1000
    database_cpu_ms = median(run.database_cpu_seconds / run.result.done for run in ours) * 1000
    bare_cpu_ms = median(run.cpu_seconds / run.result.done for run in bare) * 1000
    return (
        f"c={connections:<5}{median(run.result.rate for run in ours):10.0f}"
        f"{median(run.result.rate for run in bare):10.0f}{ratio:7.2f}"
        f"{cpu_ms:19.2f}{database_cpu_ms:10.2f}{bare_cpu_ms:6.2f}"
        f"{sum(run.result.refused for run in (*ours, *bare)):9}{sum(run.lost for run in ours):6}"
    )
