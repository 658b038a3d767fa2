"""The operator's look at the books: the proof of the ledger, and totals by month."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payments.accounting.reports.period import FORMS as PERIOD_FORMS
from payments.cli.common import (
    EXIT_PROBLEMS,
    OUTPUT_FILE,
    echo_stderr,
    json_option,
    output_file,
    parse_period,
    run_on_books,
)

if TYPE_CHECKING:
    from payments.accounting.reports.monthly import MonthlyTotal
    from payments.infra.context import Context


@click.command("verify-ledger")
@click.option("--offline", is_flag=True, help="Do not ask Stripe for its balance.")
@json_option
def verify_ledger(offline: bool, as_json: bool) -> None:
    """Prove the books; exit 4 and name the rows where they do not hold."""
    from payments.accounting import integrity

    findings = run_on_books(
        lambda ctx: (
            integrity.run_checks(ctx, with_stripe=False, replay=True)
            if offline
            else integrity.run_and_alert(ctx, replay=True)
        )
    )
    if as_json:
        click.echo(
            json.dumps(
                [
                    {"check_name": f.check_name, "passed": f.passed, "failures": list(f.failures)}
                    for f in findings
                ]
            )
        )
    else:
        for finding in findings:
            click.echo(f"{'ok   ' if finding.passed else 'WRONG'} {finding.description}")
            for failure in finding.failures:
                click.echo(f"      {failure}")
    sys.exit(0 if all(f.passed for f in findings) else EXIT_PROBLEMS)


@click.group()
def report() -> None:
    """Read the books."""


@report.command("monthly")
@click.option("--period", default="all", show_default=True, help=f"{PERIOD_FORMS}.")
@click.option("--currency", help="Only this settlement currency.")
@click.option(
    "--format", "output_format", type=click.Choice(["table", "csv", "json"]), default="table"
)
def report_monthly(period: str, currency: str | None, output_format: str) -> None:
    """Gross, fees, refunds and net by month, frequency and currency. `other` is no contribution."""
    from payments.accounting.reports import monthly, other_income

    async def read(ctx: "Context") -> "tuple[list[MonthlyTotal], str]":
        chosen = parse_period(ctx, period)
        async with ctx.sessions() as session:
            totals = await other_income.beside_contributions(
                session,
                ctx.settings.accounting_zoneinfo,
                since=chosen.since,
                until=chosen.until,
                currency=currency,
            )
        return totals, ctx.settings.accounting_zone

    totals, zone = run_on_books(read)
    if output_format == "csv":
        click.echo(monthly.as_csv(totals), nl=False)
    elif output_format == "json":
        click.echo(json.dumps(monthly.as_rows(totals)))
    else:
        echo_stderr(f"All months in {zone}. Amounts in the currency that was settled.")
        click.echo(monthly.as_table(totals))


@report.command("contributions")
@click.option("--period", required=True, help=f"{PERIOD_FORMS}.")
@click.option("--format", "output_format", type=click.Choice(["pdf", "json"]), default="pdf")
@click.option("--output", type=OUTPUT_FILE, help="A file instead of stdout.")
def report_contributions(period: str, output_format: str, output: Path | None) -> None:
    """Write the contribution report of a period: what its page and its PDF say.

    The same period over the same books gives the same bytes.
    """
    from payments.accounting import contribution_report
    from payments.web.finance import report as report_pages

    if output_format == "pdf" and output is None and sys.stdout.isatty():
        raise click.UsageError("A PDF is not for a terminal: name a file with --output.")

    async def make(ctx: "Context") -> bytes:
        chosen = parse_period(ctx, period)
        if output_format == "pdf":
            return (await report_pages.make_pdf(ctx, chosen))[1]
        async with ctx.sessions() as session:
            built = await contribution_report.build(
                session, ctx.settings.accounting_zoneinfo, chosen
            )
        return json.dumps(built.to_plain(), indent=1).encode() + b"\n"

    data = run_on_books(make)
    with output_file(output) as out:
        out.write(data)


@report.command("rebuild-totals")
def report_rebuild_totals() -> None:
    """Count the daily totals again from the rows, should `payments verify-ledger` find them
    different.
    """
    from payments.accounting import daily_totals

    echo_stderr(f"{run_on_books(daily_totals.rebuild)} rows counted.")
