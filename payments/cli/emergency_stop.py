"""The operator's emergency stop: what it asks, what it prints, and nothing else."""

import json
import sys

import click

from payments.cli.common import (
    EXIT_PROBLEMS,
    echo_stderr,
    json_option,
    progress,
    run_with_context,
    yes_option,
)


@click.command("emergency-stop")
@click.option(
    "--group", type=click.Choice(["protected", "all"]), required=True, help="Which subscriptions."
)
@click.option(
    "--mode",
    type=click.Choice(["pause", "cancel"]),
    required=True,
    help="What becomes of them.",
)
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--resume", is_flag=True, help="Finish a stop that was cut short.")
@yes_option
@json_option
def emergency_stop(
    group: str, mode: str, *, dry_run: bool, resume: bool, yes: bool, as_json: bool
) -> None:
    """Cancel or pause subscriptions and write to nobody; exit 4 if any of them is left."""
    if dry_run:
        preview(group, mode, as_json=as_json)
        return
    if not yes:
        click.confirm(f"{mode} {group}: go ahead?", abort=True, err=True)
    if not execute(group, mode, resume=resume, as_json=as_json):
        sys.exit(EXIT_PROBLEMS)


def preview(group: str, mode: str, *, as_json: bool) -> None:
    """Print how many subscriptions a stop would touch."""
    from payments.risk.bulk_stops import StopGroup, StopMode
    from payments.safety import emergency_stop

    count = run_with_context(
        lambda ctx: emergency_stop.preview(ctx, StopGroup(group), StopMode(mode))
    )
    click.echo(
        json.dumps({"subscriptions": count}) if as_json else f"{count} subscriptions. No change."
    )


def execute(group: str, mode: str, *, resume: bool, as_json: bool) -> bool:
    """Stop a group and print the report. Returns whether nothing is left."""
    from payments.risk.bulk_stops import StopGroup, StopMode
    from payments.safety import emergency_stop

    with progress("Subscriptions") as report_progress:
        report = run_with_context(
            lambda ctx: emergency_stop.execute(
                ctx, StopGroup(group), StopMode(mode), resume=resume, progress=report_progress
            ),
            asks_stripe=True,
        )
    if as_json:
        click.echo(json.dumps(emergency_stop.to_json(report)))
    else:
        click.echo(
            f"{report.subscriptions} subscriptions: {report.done} {mode}d, "
            f"{report.already_ended} had ended before, {len(report.unfinished)} left. "
            "Nobody was written to."
        )
        for subscription_id in report.unfinished:
            click.echo(subscription_id)
    if report.unfinished:
        echo_stderr("Run it again with --resume, or see to these at Stripe.")
    return not report.unfinished
