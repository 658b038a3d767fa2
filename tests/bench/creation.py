"""Contributions created each second, with a Stripe that takes no time, beside the bare SDK call."""

from collections.abc import Iterator
from statistics import median

from tests.bench import servers
from tests.bench.load import LoadPlan, LoadResult

CONNECTIONS = (1, 64)
ROUNDS = 5
SECONDS = 2.0  # of each run


def report(database: str) -> Iterator[str]:
    """Run the rounds, and yield the lines of the table."""
    with servers.stripe() as stub, servers.ours(database, stripe_port=stub.port) as ours:
        sides = {"tests.bench.load": ours.port, "tests.bench.sdk": stub.port}
        runs: dict[tuple[int, str], list[LoadResult]] = {}
        for number in range(-1, ROUNDS):
            for connections in CONNECTIONS:
                for module in sorted(sides, reverse=number % 2 == 1):
                    plan = LoadPlan("contribution_requests", sides[module], connections, SECONDS)
                    result = servers.run(module, plan)
                    if number >= 0:  # the first round only warms up
                        runs.setdefault((connections, module), []).append(result)
        yield "creation   ours/s     SDK/s  ratio   p50 ms: ours     SDK   added    refused"
        for connections in CONNECTIONS:
            yield _line(connections, *(runs[connections, module] for module in sides))


def _line(connections: int, ours: list[LoadResult], sdk: list[LoadResult]) -> str:
    ratio = median(a.rate / b.rate for a, b in zip(ours, sdk, strict=True))
    our_ms, sdk_ms = (median(result.p50 for result in side) * 1000 for side in (ours, sdk))
    return (
        f"c={connections:<5}{median(result.rate for result in ours):10.0f}"
        f"{median(result.rate for result in sdk):10.0f}{ratio:7.2f}"
        f"{our_ms:15.1f}{sdk_ms:8.1f}{our_ms - sdk_ms:8.1f}"
        f"{sum(result.refused for result in ours):11}"
    )
