"""What the product says of a period wherever it says it: to programs and in files."""

import csv
import io
from collections import Counter, defaultdict

from tests.support import command_line
from tests.support.programs import Program

SUMS = ("payments", "gross", "fees", "refunds", "disputes", "net")


async def all_sums(program: Program, period: str) -> dict[str, dict[str, dict[str, int]]]:
    """What is said of a period: by place, currency and figure."""
    found = {"sources": await sums_of_sources(program, period)}
    for operation, more in (("overview", ()), ("transactions/totals", ("balance_change",))):
        lines = (await program.reads(operation, period=period))["totals"]
        found[operation] = {one["currency"]: {n: one[n] for n in (*SUMS, *more)} for one in lines}
    if period == "all":  # a command is asked by the real clock, which knows of no later period
        rows = await writes(program, "export", "transactions", "--period", "all")
        found["export transactions"] = sums_of_rows(rows, "settlement_currency", "balance_change")
        months = await writes(program, "report", "monthly", "--format", "csv")
        found["report monthly"] = sums_of_rows(months, "currency")
        return found
    report = (await program.reads("report", period=period))["report"]["currencies"]
    found["report"] = {
        one["currency"]: {name: one["total"][name] for name in SUMS}
        | {name: one["stripe_balance"][name] for name in ("opening", "closing")}
        for one in report
    }
    return found


def sums_of_rows(
    rows: list[dict[str, str]], currency: str, *more: str
) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for name in (*SUMS[1:], *more):
            found[row[currency]][name] += int(row[f"{name}_minor"] or 0)
    return {at: dict(sums) for at, sums in found.items()}


async def writes(program: Program, *words: str) -> list[dict[str, str]]:
    """The rows of the CSV that a command writes."""
    done = await command_line.run(program.room.settings, *words)
    assert done.exit_code == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout.decode("utf-8-sig"))))


async def sums_of_sources(program: Program, period: str) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in (await program.reads("sources", period=period))["campaigns"]:
        found[line["currency"]]["gross"] += line["first_payments"] + line["renewals"]
        for name in ("payments", "fees", "net"):
            found[line["currency"]][name] += line[name]
    return {currency: dict(sums) for currency, sums in found.items()}
