"""The operator's erasure of every identity: what it asks, what it prints, and nothing else."""

import json

import click

from payments.cli.common import echo_stderr, json_option, run_with_context, yes_option


@click.command("erase-identities")
@click.option("--force", is_flag=True, help="Even while subscriptions are still charged.")
@yes_option
@json_option
def erase_identities(*, force: bool, yes: bool, as_json: bool) -> None:
    """Erase who every donor and reader is, for ever; the books stay whole."""
    from payments.safety import global_erasure

    if not yes:
        click.confirm("Erase who everybody is, for ever?", abort=True, err=True)
    report = run_with_context(lambda ctx: global_erasure.erase_everyone(ctx, force=force))
    if as_json:
        click.echo(
            json.dumps(
                {
                    "donors": report.donors,
                    "reminders": report.reminders,
                    "keys": report.keys,
                    "live_subscriptions": report.live_subscriptions,
                    "vacuumed": report.vacuumed,
                }
            )
        )
    else:
        click.echo(
            f"Erased: {report.donors} donors, {report.reminders} reminders, {report.keys} keys. "
            "The books are whole: `payments verify-ledger`."
        )
    if not report.vacuumed:
        echo_stderr("The tables were not written anew: run VACUUM FULL as their owner.")
    echo_stderr(
        "Now: new PAYMENTS_SECRET_KEYS (`payments keys new`); destroy old backups and archived "
        "write-ahead logs. Stripe still holds its own records: have it redact them."
    )
