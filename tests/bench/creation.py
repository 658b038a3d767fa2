"""Creation: contributions a second with a Stripe that takes no time, beside the SDK's bare call."""

from collections.abc import Iterator
from statistics import median

from tests.bench import servers
from tests.bench.load import LoadPlan, LoadResult

CONNECTIONS = (1, 64)
ROUNDS = 5
SECONDS = 2.0


def report(database: str) -> Iterator[str]:
    """Run the rounds, then give the table's lines."""
    with servers.stripe() as stub, servers.ours(database, stripe_port=stub.port) as ours:
        sides = {"tests.bench.load": ours.port, "tests.bench.sdk": stub.port}
        runs: dict[tuple[int, str], list[LoadResult]] = {}
        for number in range(-1, ROUNDS):
            for connections in CONNECTIONS:
                for module in sorted(sides, reverse=number % 2 == 1):
                    plan = LoadPlan("asks", sides[module], connections, SECONDS)
                    seen = servers.run(module, plan)
                    if number >= 0:  # the first round only warms
                        runs.setdefault((connections, module), []).append(seen)
        yield "creation   ours/s     SDK/s  ratio   p50 ms: ours     SDK   added    refused"
        for connections in CONNECTIONS:
            yield _line(connections, *(runs[connections, module] for module in sides))


def _line(connections: int, ours: list[LoadResult], sdk: list[LoadResult]) -> str:
    ratio = median(a.rate / b.rate for a, b in zip(ours, sdk, strict=True))
    mine, its = (median(seen.p50 for seen in side) * 1000 for side in (ours, sdk))
    return (
        f"c={connections:<5}{median(seen.rate for seen in ours):10.0f}"
        f"{median(seen.rate for seen in sdk):10.0f}{ratio:7.2f}"
        f"{mine:15.1f}{its:8.1f}{mine - its:8.1f}{sum(seen.refused for seen in ours):11}"
    )
