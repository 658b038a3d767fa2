"""The operator's door. Data on stdout, words on stderr; 0 ok, 1 failed, 2 usage, 4 found problems.

Each command imports what it needs when it runs: the web framework alone takes seconds, and
`payments --help` should not.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import date
from typing import TYPE_CHECKING, TypeVar

import click

from payments.cli import campaigns, emergency_stop, export, period, staff

if TYPE_CHECKING:
    from payments.accounting.reports.monthly import MonthlyTotal
    from payments.core.settings import Settings
    from payments.infra.context import Context

Result = TypeVar("Result")
EXIT_PROBLEMS = 4
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def echo_stderr(text: str) -> None:
    """Words for the operator."""
    click.echo(text, err=True)


def _load_settings() -> "Settings":
    from payments.core import settings

    try:
        return settings.load()
    except settings.SettingsError as error:
        raise click.ClickException(f"The settings are not usable.\n{error}") from None


def _run_with_context(action: Callable[["Context"], Awaitable[Result]]) -> Result:
    """Run a verb on an open runtime, and tell an expected failure in one line."""
    from sqlalchemy.exc import OperationalError

    from payments.core.errors import PaymentsError
    from payments.infra import context, logs

    chosen = _load_settings()
    logs.configure("warning")

    async def run() -> Result:
        budget = chosen.stripe_requests_per_second
        async with context.open_context(chosen, pool_size=4, requests_per_second=budget) as ctx:
            return await action(ctx)

    try:
        return asyncio.run(run())
    except PaymentsError as error:
        raise click.ClickException(error.detail) from None
    except OperationalError:
        raise click.ClickException("The database of PAYMENTS_DATABASE_URL is away.") from None


run_with_context = _run_with_context  # for the commands that have a file of their own


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reader-payments")
def main() -> None:
    """Donations and payments for a newsroom."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes.")
def serve(host: str, port: int, workers: int) -> None:
    """Serve readers, Stripe's webhooks and finance."""
    from granian.constants import Interfaces
    from granian.server import Server

    from payments.core import settings

    try:
        settings.require_serving_settings(_load_settings())
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None
    echo_stderr(f"Serving on http://{host}:{port}")
    Server(
        "payments.web.app:create_worker_app",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        log_access=False,
        log_enabled=False,
    ).serve()


@main.command()
@click.option("--concurrency", default=8, show_default=True, help="Jobs at once.")
def work(concurrency: int) -> None:
    """Do the background work: sync what Stripe tells of, import the balance, sweep."""
    import signal

    from payments.ops import worker

    async def run(ctx: "Context") -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await worker.run_until_stopped(ctx, stop=stop, concurrency=concurrency)

    echo_stderr("Working. Ctrl-C stops after the jobs in hand.")
    _run_with_context(run)


@main.command()
@click.option("--check", is_flag=True, help="Only say what is missing; exit 4 if anything is.")
def migrate(check: bool) -> None:
    """Bring the database to the newest schema."""
    from payments.infra import migrate as schema

    url = _load_settings().database_url.get_secret_value()
    try:
        revisions = schema.pending_revisions(url) if check else schema.upgrade(url)
    except schema.MigrationBlocked as error:
        raise click.ClickException(str(error)) from None
    if check:
        click.echo("\n".join(revisions) if revisions else "The schema is up to date.")
        sys.exit(EXIT_PROBLEMS if revisions else 0)
    echo_stderr(f"Applied {', '.join(revisions)}." if revisions else "The schema is up to date.")


@main.command()
@click.option("--offline", is_flag=True, help="Do not ask Stripe for its balance.")
@json_option
def verify_ledger(offline: bool, as_json: bool) -> None:
    """Prove the books; exit 4 and name the rows where they do not hold."""
    from payments.accounting import integrity

    findings = _run_with_context(
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
            for row in finding.failures:
                click.echo(f"      {row}")
    sys.exit(0 if all(f.passed for f in findings) else EXIT_PROBLEMS)


@main.command()
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True)
@click.option("--heal", is_flag=True, help="Repair what differs, through the normal path.")
@json_option
def reconcile(days: int, repair: bool, as_json: bool) -> None:
    """List what Stripe has and we do not, or have otherwise; exit 4 if anything is left of it."""
    from dataclasses import asdict

    from payments.ops import reconcile as comparing

    outcome = _run_with_context(lambda ctx: comparing.run(ctx, days=days, repair=repair))
    if as_json:
        click.echo(json.dumps(asdict(outcome)))
    else:
        echo_stderr(
            f"Of the last {days} days, {len(outcome.before)} things are not here as at Stripe."
        )
        for found in outcome.before:
            state = "left  " if found in outcome.after else "healed"
            click.echo(
                f"{state if repair else 'found '} {found.kind} {found.id}: {found.description}"
            )
        if repair and outcome.before:
            echo_stderr(f"After the repair there are {len(outcome.after)}.")
    sys.exit(EXIT_PROBLEMS if outcome.after else 0)


@main.group()
def report() -> None:
    """Read the books."""


@report.command("monthly")
@click.option("--year", type=click.IntRange(2000, 2099), help="Only this year.")
@click.option("--currency", help="Only this settlement currency.")
@click.option("--format", "kind", type=click.Choice(["table", "csv", "json"]), default="table")
def report_monthly(year: int | None, currency: str | None, output_format: str) -> None:
    """Gross, fees, refunds and net by month, frequency and currency."""
    from payments.accounting.reports import monthly

    since = date(year, 1, 1) if year else None
    until = date(year + 1, 1, 1) if year else None

    async def read(ctx: "Context") -> "tuple[list[MonthlyTotal], str]":
        async with ctx.sessions() as session:
            lines = await monthly.by_month(
                session,
                ctx.settings.accounting_zoneinfo,
                since=since,
                until=until,
                currency=currency,
            )
        return lines, ctx.settings.accounting_zone

    lines, zone = _run_with_context(read)
    if output_format == "csv":
        click.echo(monthly.as_csv(lines), nl=False)
    elif output_format == "json":
        click.echo(json.dumps(monthly.as_rows(lines)))
    else:
        echo_stderr(f"All months in {zone}. Amounts in the currency that was settled.")
        click.echo(monthly.as_table(lines))


@report.command("rebuild")
def report_rebuild_totals() -> None:
    """Count the daily roll-up again from the rows, should `payments check` say it differs."""
    from payments.accounting import daily_totals

    echo_stderr(f"{_run_with_context(daily_totals.rebuild)} rows counted.")


main.add_command(campaigns.campaigns)
main.add_command(export.export)
main.add_command(period.period)
main.add_command(staff.staff)
main.add_command(emergency_stop.emergency_stop)


@main.group()
def keys() -> None:
    """Keys for links and for finding donors."""


@keys.command("new")
@click.option(
    "--signing", is_flag=True, help="For PAYMENTS_CLOSE_PACK_SIGNING_KEY, which signs months."
)
def keys_new(signing: bool) -> None:  # noqa: ARG001 - both are 32 random bytes
    """Print a new key for PAYMENTS_SECRET_KEYS; put it before the old ones to roll."""
    import secrets

    click.echo(secrets.token_hex(32))


@main.group()
def stripe() -> None:
    """What this service needs at Stripe."""


@stripe.command("setup")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def setup_stripe(dry_run: bool) -> None:
    """Make the Products and the webhook endpoint, once; run it again at will."""
    from payments.ops import stripe_setup as ops_stripe_setup

    for line in _run_with_context(lambda ctx: ops_stripe_setup.setup(ctx, dry_run=dry_run)):
        click.echo(line)


@main.command()
@click.option("--lang", default="en", show_default=True, help="A language there is a catalogue of.")
@click.option("--currency", help="Instead of PAYMENTS_DEFAULT_CURRENCY.")
@click.option("--campaign", default="", help="Its id, as in the links of the campaign.")
@click.option("--article", default="", help="The id of the story.")
@click.option("--plain", is_flag=True, help="Links only, for newsletters and AMP.")
def embed(lang: str, currency: str | None, campaign: str, article: str, plain: bool) -> None:
    """Print the HTML that asks for support on your pages, with the hash of its script."""
    from payments.core import i18n, money
    from payments.core.identifiers import is_slug
    from payments.web.donate import embed as widget

    if lang not in i18n.SUPPORTED_LOCALES:
        raise click.UsageError(f"--lang is one of {', '.join(i18n.SUPPORTED_LOCALES)}.")
    if currency is not None and currency not in money.GIFT_LIMITS:
        raise click.UsageError(f"--currency is one of {', '.join(money.GIFT_LIMITS)}.")
    for name, value in (("campaign", campaign), ("article", article)):
        if value and not is_slug(value):
            raise click.UsageError(f"--{name} is lower-case letters, digits and hyphens.")
    made = campaigns.find_campaign(campaign) if campaign else None
    click.echo(
        widget.embed_snippet(
            _load_settings(),
            locale=lang,
            currency=currency or (made.parsed_config().currency if made else None),
            campaign=campaign,
            article=article,
            plain=plain,
            embedded=made.as_embedded() if made else widget.NO_CAMPAIGN,
        )
    )


@main.command()
@json_option
@click.option("--bank-line-seen", is_flag=True, help="Write down that a real bank line is right.")
def doctor(as_json: bool, bank_line_seen: bool) -> None:
    """Look at Stripe, mail, keys, clock and database; exit 4 if something is not as it must be."""
    from payments.ops import doctor as examiner
    from payments.safety import descriptor_review

    if bank_line_seen:
        _run_with_context(descriptor_review.record_review)
        echo_stderr("Written down. The doctor will ask again in 100 days.")
        return
    found = _run_with_context(examiner.run_checks)
    if as_json:
        click.echo(
            json.dumps([{"name": f.name, "ok": f.ok, "description": f.description} for f in found])
        )
    else:
        for one in found:
            click.echo(f"{'ok     ' if one.ok else 'PROBLEM'} {one.name}: {one.description}")
    sys.exit(0 if all(one.ok for one in found) else EXIT_PROBLEMS)


@main.command("import")
def import_balance() -> None:
    """Import every balance transaction that is new at Stripe and post it."""
    from payments.accounting import daily_totals

    click.echo(f"{_run_with_context(daily_totals.import_and_refresh)} new balance transactions.")


@main.group("newsletter")
def newsletter_group() -> None:
    """Confirmed addresses on their way to the newsroom's mailing system."""


@newsletter_group.command()
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@json_option
def retry(dry_run: bool, as_json: bool) -> None:
    """Try again with the addresses that nobody took for three days, before they are shredded."""
    from payments.signups import newsletter_delivery

    async def run(ctx: "Context") -> tuple[int, dict[str, int]]:
        return await newsletter_delivery.retry_stuck(
            ctx, dry_run=dry_run
        ), await newsletter_delivery.state_counts(ctx)

    tried, counts = _run_with_context(run)
    if as_json:
        click.echo(json.dumps({"tried_again": 0 if dry_run else tried, **counts}))
        return
    echo_stderr(
        f"{tried} would be tried again." if dry_run else f"{tried} are tried again by the worker."
    )
    click.echo("\n".join(f"{state}: {count}" for state, count in counts.items()))


@main.command()
def config() -> None:
    """Print the settings in force, secrets masked."""
    for name, value in _load_settings():
        click.echo(f"PAYMENTS_{name.upper()}={value}")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=12111, show_default=True)
def sandbox(host: str, port: int) -> None:
    """Run the stand-in for Stripe by itself."""
    from payments.sandbox.sandbox import run_forever

    echo_stderr(f"A stand-in for Stripe on http://{host}:{port}. No real money moves.")
    try:
        asyncio.run(run_forever(host=host, port=port))
    except KeyboardInterrupt:
        echo_stderr("Stopped.")


@main.command()
@click.option("--port", default=8000, show_default=True)
def demo(port: int) -> None:
    """Everything at once on this machine, with a year of history, to click through."""
    from payments.ops.demo import runner

    runner.run(port=port)


if __name__ == "__main__":
    main()
