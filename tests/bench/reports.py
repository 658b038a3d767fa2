"""Reports and exports: does a page stay as quick when the ledger grows tenfold, what does it cost
beside the bare daily totals, and how much of PostgreSQL's own rate does a file reach?

The larger ledger has a million payments, or five with `PAYMENTS_BENCH_GIFTS=5000000`. Memory is the
peak of a process that does nothing but one export.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from statistics import median
from uuid import uuid4
from zoneinfo import ZoneInfo

import psycopg
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from payments.accounting import cohort_retention, daily_totals, payment_recovery
from payments.accounting.exports import files, transactions_csv
from payments.accounting.reports import monthly, recurring, sources, transactions, variance
from payments.accounting.reports.period import ALL_TIME, Period, month_period
from payments.accounting.reports.transaction_filters import Filters
from payments.core.calendar import months_before
from payments.core.settings import Settings
from payments.infra import db, migrate
from payments.infra.context import Context
from tests.bench import generated_ledger
from tests.support.database_owner import driver_url

LARGE = int(os.environ.get("PAYMENTS_BENCH_GIFTS", "1000000"))
SMALL = LARGE // 10
SHEET_PERIOD = Period(date(2026, 8, 1), date(2026, 10, 11))  # 100,000 lines of the larger ledger
# A file of a million lines, or of all where there are fewer: so many months of two years.
FILE_PERIOD = (
    Period(months_before(date(2026, 12, 1), -(-24_000_000 // LARGE))) if LARGE > 10**6 else ALL_TIME
)
ROUNDS, FILE_ROUNDS = 7, 3
NOT_FROM_TOTALS = ("sources, a month", "sources, the year", "why net changed")
ZONE = ZoneInfo("Europe/Berlin")
MONTH = date(2026, 10, 1)
UTC = ZoneInfo("UTC")
Question = Callable[[AsyncSession], Awaitable[object]]


def report(database: str) -> Iterator[str]:
    """Ask both ledgers the same questions, then export the larger. Yields lines to print."""
    with (
        _generated_database(database, SMALL) as small,
        _generated_database(database, LARGE) as large,
    ):
        yield f"reports            {SMALL:>9,}   {LARGE:>9,} gifts   growth   (ms, medians)"
        times = {name: asyncio.run(_ask(name)) for name in (small, large)}
        for name in times[small]:
            a, b = times[small][name], times[large][name]
            yield f"{name:<18}{a:10.1f}{b:12.1f}{b / a:15.2f}"
        for name in ("overview", "one month"):
            beside = [times[url][name] / times[url][f"{name}, bare"] for url in (small, large)]
            yield f"{name} beside the bare daily totals: {beside[0]:.2f} and {beside[1]:.2f}"
        yield from _files(large)


@contextmanager
def _generated_database(cluster: str, gifts: int) -> Iterator[str]:
    """A database with that many payments and their daily totals. Yields its URL."""
    name = f"bench_{uuid4().hex}"
    _run(cluster, f"CREATE DATABASE {name}")
    url = make_url(cluster).set(database=name).render_as_string(hide_password=False)
    try:
        migrate.upgrade(url)
        begun = time.perf_counter()
        generated_ledger.generate(url, gifts)
        generated = time.perf_counter()
        added = asyncio.run(_refresh_totals(url))
        took = time.perf_counter() - generated
        print(  # noqa: T201 - minutes pass
            f"{gifts:,} payments generated in {generated - begun:.0f} s,"
            f" {added:,} entries added to the totals in {took:.0f} s",
            file=sys.stderr,
        )
        _run(url, "VACUUM ANALYZE")
        yield url
    finally:
        _run(cluster, f"DROP DATABASE {name} WITH (FORCE)")


def _run(url: str, statement: str) -> None:
    with psycopg.connect(driver_url(url), autocommit=True) as connection:
        connection.execute(statement.encode())


async def _refresh_totals(url: str) -> int:
    engine = db.create_engine(url, pool_size=2)
    try:
        return await daily_totals.refresh(_runtime(url, engine))
    finally:
        await engine.dispose()


def _runtime(url: str, engine: AsyncEngine) -> Context:
    settings = Settings.model_construct(
        database_url=SecretStr(url), accounting_zone=ZONE.key, base_url=""
    )
    return Context(settings, engine, db.create_session_factory(engine), None, db.utc_now)  # type: ignore[arg-type]  # Stripe is not asked


async def _ask(url: str) -> dict[str, float]:
    """Milliseconds for each question, the median of some rounds."""
    october = Filters(month_period(MONTH))
    of_monthly = Filters(month_period(MONTH), frequency="monthly", currency="eur")

    async def deep(session: AsyncSession) -> object:
        place = transactions.parse_cursor("1735700000.txn_1")  # the first month of two years
        return await transactions.list_page(session, ZONE, Filters(), before=place)

    since, until = date(2025, 10, 1), date(2026, 11, 1)

    async def recurring_page(session: AsyncSession) -> object:
        return (
            await recurring.mrr_by_month(session, ZONE, since=since, until=until),
            await cohort_retention.list_cohorts(session, ZONE, since=since, until=until),
            await payment_recovery.by_month(session, ZONE, since=since, until=until),
            await recurring.at_risk(session, today=date(2026, 10, 31)),
            await recurring.committed_mrr(session),
        )

    first, year = date(2024, 12, 1), Period(date(2026, 1, 1), date(2027, 1, 1))
    questions: dict[str, Question] = {
        "overview": lambda s: monthly.by_month(s, ZONE, since=first),
        "overview, bare": lambda s: _bare_months(s, first, date(2027, 1, 1)),
        "one month": lambda s: monthly.by_month(s, ZONE, since=MONTH, until=date(2026, 11, 1)),
        "one month, bare": lambda s: _bare_months(s, MONTH, date(2026, 11, 1)),
        "newest lines": lambda s: transactions.list_page(s, ZONE, Filters()),
        "filtered lines": lambda s: transactions.list_page(s, ZONE, of_monthly),
        "earliest lines": deep,
        "their totals": lambda s: transactions.totals(s, ZONE, october),
        "recurring page": recurring_page,
        "roll-forward": lambda s: recurring.mrr_by_month(s, ZONE, since=since, until=until),
        "sources, a month": lambda s: sources.by_campaign(s, ZONE, month_period(MONTH)),
        "sources, the year": lambda s: sources.by_campaign(s, ZONE, year),
        "why net changed": lambda s: variance.net_variance(
            s,
            ZONE,
            currency="usd",
            earlier=month_period(date(2026, 9, 1)),
            later=month_period(MONTH),
        ),
    }
    engine = db.create_engine(url, pool_size=2)
    times = {}
    try:
        for name, question in questions.items():
            took = []
            for _ in range(2 if name in NOT_FROM_TOTALS else ROUNDS):
                async with db.create_session_factory(engine)() as session:
                    begun = time.perf_counter()
                    await question(session)
                    took.append(time.perf_counter() - begun)
            times[name] = median(took) * 1000
    finally:
        await engine.dispose()
    return times


async def _bare_months(session: AsyncSession, since: date, until: date) -> object:
    """The months of the stored totals alone, as PostgreSQL adds them up."""
    query = f"""
        SELECT date_trunc('month', day) AS month, frequency, currency, {monthly.SUMS_SQL}
          FROM daily_totals WHERE day >= :since AND day < :until GROUP BY 1, 2, 3 ORDER BY 1 DESC
    """  # noqa: S608 - constants only
    return list(await session.execute(text(query), {"since": since, "until": until}))


# --- files ----------------------------------------------------------------------------------------


def _files(url: str) -> Iterator[str]:
    runs: dict[str, list[dict[str, float]]] = {"bare": [], "csv": []}
    for _ in range(FILE_ROUNDS):
        for kind, results in runs.items():
            results.append(_run_in_subprocess(kind, url))
    bare, ours = runs["bare"], runs["csv"]
    ratio = median(a["rate"] / b["rate"] for a, b in zip(ours, bare, strict=True))
    yield (
        f"CSV of {ours[0]['rows']:,.0f} lines: {median(r['rate'] for r in ours):,.0f} lines/s, "
        f"bare COPY of the same columns {median(r['rate'] for r in bare):,.0f}, ratio {ratio:.2f}; "
        f"peak {max(r['peak'] for r in ours):.0f} MiB"
    )
    for kind in ("sheet", "xlsx"):
        run = _run_in_subprocess(kind, url)
        yield (
            f"XLSX of {run['rows']:,.0f} lines: {run['seconds']:.0f} s, peak {run['peak']:.0f} MiB"
        )


def _run_in_subprocess(kind: str, url: str) -> dict[str, float]:
    """One export in a process of its own."""
    completed = subprocess.run(
        [sys.executable, "-m", __name__, kind, url], check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, float] = json.loads(completed.stdout)
    return result


def _bare(url: str) -> int:
    """The same columns of the same rows in the same order, as COPY writes them by itself: no text
    is formatted and none is made safe.
    """
    columns = """
        line.seq, line.occurred_at, line.type, line.reporting_category, line.frequency,
        line.campaign, line.charged_currency, line.charged_amount, line.currency,
        line.amount, line.fee, line.net, line.fees, line.exchange_rate, line.available_on,
        payout.stripe_payout_id, payout.arrives_on, line.contribution_id, line.donor_id,
        line.charge, line.id, line.debit, line.credit
    """
    rows, params = transactions_csv.build_query(Filters(FILE_PERIOD), UTC)
    lines, rest = rows[: rows.index("\n    SELECT ")], rows[rows.index("      FROM lines line") :]
    columns += f", {transactions_csv.COSTLY_COLUMNS_SQL}"
    query = f"COPY ({lines} SELECT {columns} {rest}) TO STDOUT (FORMAT csv)"
    for name, value in params.items():
        query = query.replace(f":{name}", f"'{value}'")
    count = 0
    with (
        psycopg.connect(driver_url(url)) as connection,
        connection.cursor() as cursor,
        cursor.copy(query.encode()) as copy,
    ):
        for _ in copy:
            count += 1
    return count


async def _csv(url: str) -> int:
    engine, count = db.create_engine(url, pool_size=1), 0
    async with db.create_session_factory(engine)() as session:
        async for chunk in transactions_csv.stream_csv(session, ZONE, Filters(FILE_PERIOD)):
            count += chunk.count(b"\n")
    await engine.dispose()
    return count - 1


async def _xlsx(url: str, filters: Filters) -> tuple[int, int]:
    """Rows, and the peak of the process that wrote the sheet, in KiB."""
    engine, count, peak = db.create_engine(url, pool_size=1), 0, 0

    def on_progress(rows: int) -> None:
        nonlocal count, peak
        count, peak = count + rows, max(peak, _child_peak_kib())

    with tempfile.TemporaryFile() as out:
        await files.write_ledger_xlsx(_runtime(url, engine), filters, out, on_progress=on_progress)
    await engine.dispose()
    return count // (1 + files.XLSX_COST_FACTOR), peak


def _child_peak_kib() -> int:
    """The peak of the process under this one. The system's own sum would count what that one held
    while it was still a copy of this.
    """
    peak = 0
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            peak += int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])
    return peak


def _main(kind: str, url: str) -> None:
    begun, beside = time.perf_counter(), 0
    if kind == "bare":
        rows = _bare(url)
    elif kind == "csv":
        rows = asyncio.run(_csv(url))
    else:
        filters = Filters(SHEET_PERIOD if kind == "sheet" else FILE_PERIOD)
        rows, beside = asyncio.run(_xlsx(url, filters))
    took = time.perf_counter() - begun
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + beside) / 1024
    result = {"rows": rows, "seconds": took, "rate": rows / took, "peak": peak}
    print(json.dumps(result))  # noqa: T201 - for the parent process


if __name__ == "__main__":
    _main(*sys.argv[1:])
