"""`payments export`: transactions, payouts, refunds, recurring revenue, journals … as files.

Data goes to stdout or a file, progress to stderr. The period is the last complete month unless
another is named; `all` is everything.
"""

import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from payments.accounting.exports.journal_format import JournalFormat
from payments.accounting.reports.period import FORMS as PERIOD_FORMS
from payments.cli.common import (
    EXIT_PROBLEMS,
    OUTPUT_FILE,
    echo_stderr,
    output_file,
    parse_period,
    progress_of,
    run_on_books,
)
from payments.core.frequency import BOOKED_FREQUENCIES
from payments.ledger.posting_rules import TransactionType

if TYPE_CHECKING:
    from payments.accounting.reports.period import Period
    from payments.accounting.reports.transaction_filters import Filters
    from payments.infra.context import Context

_period_option = click.option(
    "--period", default="", help=f"{PERIOD_FORMS}. The last month if not given."
)
_currency_option = click.option("--currency", default="", help="Only this settlement currency.")
_output_option = click.option("--output", type=OUTPUT_FILE, help="A file instead of stdout.")


@click.group()
def export() -> None:
    """Take the books away: transactions, payouts, refunds, disputes, the audit log, journals."""


@export.command("transactions")
@_period_option
@click.option("--type", "type_", default="", help=f"One of {', '.join(TransactionType)}.")
@click.option("--frequency", default="", help=f"One of {', '.join(BOOKED_FREQUENCIES)}.")
@_currency_option
@click.option("--account", default="", help="One of our accounts, such as income:monthly.")
@click.option("--campaign", default="", help="Gifts that began with this campaign.")
@click.option("--format", "output_format", type=click.Choice(["csv", "xlsx"]), default="csv")
@_output_option
def export_transactions(
    period: str, output_format: str, output: Path | None, **filter_text: str
) -> None:
    """One row for each balance transaction, with no person in it.

    A workbook of a million lines takes minutes, and sets some gigabytes aside in TMPDIR.
    """
    from payments.accounting.exports import files

    if output_format == "xlsx" and output is None:
        raise click.UsageError("--format xlsx needs --output: a workbook is not for a terminal.")
    filter_text["type"] = filter_text.pop("type_")

    async def write(ctx: "Context") -> None:
        filters = _parse_filters(ctx, period, filter_text)
        count = await files.count_rows(ctx, filters)
        steps = count * (1 + files.XLSX_COST_FACTOR) if output_format == "xlsx" else count
        with progress_of(steps, "Transactions") as on_progress, output_file(output) as out:
            if output_format == "xlsx":
                await files.write_ledger_xlsx(ctx, filters, out, on_progress=on_progress)
            else:
                await files.write_transactions_csv(ctx, filters, out, on_progress=on_progress)

    run_on_books(write)


@export.command("journal")
@click.option(
    "--format",
    "output_format",
    type=click.Choice([str(one) for one in JournalFormat]),
    required=True,
)
@_period_option
@_currency_option
@_output_option
@click.option("--check", is_flag=True, help="Only prove that debits equal credits; exit 4 if not.")
def export_journal(
    output_format: str, period: str, currency: str, output: Path | None, *, check: bool
) -> None:
    """Journals and bank statements for an accounting program, under the names of the account map.

    Several files are an archive. Nothing is written that the program would refuse.
    """
    from payments.accounting.exports import files

    journal_format = JournalFormat(output_format)

    async def write(ctx: "Context") -> dict[str, tuple[int, int]]:
        export_period, currency_code = _parse_period(ctx, period), _parse_currency(currency)
        totals = await files.journal_totals(
            ctx, journal_format, export_period, currency=currency_code
        )
        if not check and _is_balanced(totals):
            with output_file(output) as out:
                await files.write_journal(
                    ctx, journal_format, export_period, out, currency=currency_code
                )
        return totals

    totals = run_on_books(write)
    if check:
        click.echo(files.totals_as_json(totals))
    if not _is_balanced(totals):
        echo_stderr("Debits do not equal credits. Nothing was written. Run payments verify-ledger.")
        sys.exit(EXIT_PROBLEMS)


@export.command("deferred")
@click.option(
    "--format",
    "output_format",
    type=click.Choice([str(one) for one in JournalFormat if not one.is_statement]),
    default="csv",
    show_default=True,
)
@_period_option
@_currency_option
@_output_option
def export_deferred(output_format: str, period: str, currency: str, output: Path | None) -> None:
    """Deferred income by month: what was paid for several months, earned in each of them.

    As figures (csv), or as a journal for an accounting program; of months that are over.
    """
    from payments.accounting.exports import files
    from payments.accounting.reports import accrual

    async def write(ctx: "Context") -> None:
        chosen, code = _parse_period(ctx, period), _parse_currency(currency)
        async with ctx.sessions() as session:
            months = await accrual.months_begun(
                session, ctx.settings.accounting_zoneinfo, chosen, today=_today(ctx), over=True
            )
        if months.since == months.until:
            raise click.UsageError("--period: no month of it is over.")
        with output_file(output) as out:
            await files.write_deferred(
                ctx, JournalFormat(output_format), months, out, currency=code
            )

    run_on_books(write)


@export.command("payouts")
@click.option("--period", default="all", show_default=True, help=f"{PERIOD_FORMS}.")
@_currency_option
@_output_option
def export_payouts(period: str, currency: str, output: Path | None) -> None:
    """Payouts that were made in a period, with the sum of their lines, newest first."""
    from payments.accounting.exports import csv_tables
    from payments.accounting.reports import payouts

    async def write(ctx: "Context") -> bytes:
        chosen = _parse_filters(ctx, period, {"currency": currency})
        async with ctx.sessions() as session:
            all_payouts = await payouts.list_all(
                session, ctx.settings.accounting_zoneinfo, chosen.period, currency=chosen.currency
            )
        return csv_tables.payouts_csv(all_payouts, exported_in=f"payouts {chosen.describe()}")

    data = run_on_books(write)
    with output_file(output) as out:
        out.write(data)


def _record_command(kind_name: str, summary: str, *options: Callable[..., Any]) -> None:
    """Add the command that writes the file of one kind of records."""

    def write_file(period: str, output: Path | None, **filter_text: str) -> None:
        from payments.accounting.exports import record_files
        from payments.accounting.exports.record_files import RecordFilters, RecordKind

        kind = RecordKind(kind_name)

        async def write(ctx: "Context") -> None:
            currency = _parse_currency(filter_text.pop("currency", ""))
            given = {name: value for name, value in filter_text.items() if value}
            chosen = RecordFilters(_parse_period(ctx, period), currency=currency, **given)
            record_files.check_filters(kind, chosen)  # before an older file is replaced
            async with ctx.sessions() as session:
                with output_file(output) as out:
                    async for chunk in record_files.stream_csv(ctx, session, kind, chosen):
                        out.write(chunk)

        run_on_books(write)

    command: Callable[..., Any] = write_file
    for option in (_output_option, *options, _period_option):
        command = option(command)
    export.command(kind_name, help=summary)(command)


_record_command("refunds", "Refunds, oldest first.", _currency_option)
_record_command("disputes", "Disputes by when they were opened.", _currency_option)
_record_command(
    "audit",
    "What colleagues did and saw, oldest first; a donor stands there as in transactions.",
    click.option("--who", default="", help="Only what this colleague did."),
    click.option("--what", default="", help="Only this action, such as refund_requested."),
)


@export.command("recurring")
@click.option("--period", default="", help=f"{PERIOD_FORMS}. Without it, the last 13 months.")
@_currency_option
@_output_option
def export_recurring(period: str, currency: str, output: Path | None) -> None:
    """Write the roll-forward of monthly recurring revenue, of months that are over."""
    from payments.accounting.exports import csv_tables
    from payments.accounting.reports import recurring

    async def write(ctx: "Context") -> bytes:
        zone, today = ctx.settings.accounting_zoneinfo, _today(ctx)
        chosen = _parse_period(ctx, period or recurring.last_months(today).label)
        code = _parse_currency(currency)
        async with ctx.sessions() as session:
            since, until = await recurring.months_over(session, zone, chosen, today=today)
            if since == until:
                raise click.UsageError("--period: no month of it is over.")
            mrr_months = await recurring.mrr_by_month(
                session, zone, since=since, until=until, currency=code
            )
        description = f"period={since}..{until}" + (f" currency={currency}" if currency else "")
        exported_in = f"recurring {description} zone={ctx.settings.accounting_zone}"
        return csv_tables.recurring_csv(mrr_months, exported_in=exported_in)

    data = run_on_books(write)
    with output_file(output) as out:
        out.write(data)


# --- shared by the commands -----------------------------------------------------------------------


def _today(ctx: "Context") -> date:
    return ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()


def _is_balanced(totals: dict[str, tuple[int, int]]) -> bool:
    return all(debits == credits_ for debits, credits_ in totals.values())


def _parse_period(ctx: "Context", period_text: str) -> "Period":
    from payments.core.calendar import months_before

    return parse_period(ctx, period_text or f"{months_before(_today(ctx), 1):%Y-%m}")


def _parse_filters(ctx: "Context", period_text: str, filter_text: dict[str, str]) -> "Filters":
    from payments.accounting.reports import transaction_filters

    return transaction_filters.parse_filters(filter_text, _parse_period(ctx, period_text))


def _parse_currency(currency: str) -> str | None:
    from payments.accounting.reports import period, transaction_filters

    return transaction_filters.parse_filters({"currency": currency}, period.ALL_TIME).currency
