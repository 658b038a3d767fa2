"""The operator's emergency stop: what it asks, what it prints, and nothing else."""

import json
import sys
from collections.abc import Mapping

import click

from payments.cli.common import (
    EXIT_PROBLEMS,
    echo_stderr,
    json_option,
    progress,
    run_with_context,
    yes_option,
)

# What the proof does not cover, by the group of a stop.
NOT_COVERED = {
    "all": (
        "Not covered: Payment Links (what one opens is closed, and what it charges is shown to "
        "you, as it comes); a debit that a bank already works on; and what another program "
        "charges by itself, without an invoice or a page of Stripe."
    ),
    "protected": (
        "Not covered: pages that are open and Payment Links (a protected card that pays there is "
        "quarantined); invoices that no subscription made; a debit that a bank already works on; "
        "and what another program charges by itself."
    ),
}
MODE_DONE = {"cancel": "cancelled", "pause": "paused"}


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
@click.option("--dry-run", is_flag=True, help="Only count what it would end.")
@click.option("--resume", is_flag=True, help="Go on with a stop that stands, and prove it again.")
@click.option("--lift", is_flag=True, help="End the stop: what is new is let through again.")
@yes_option
@json_option
def emergency_stop(
    group: str, mode: str, *, dry_run: bool, resume: bool, lift: bool, yes: bool, as_json: bool
) -> None:
    """Cancel or pause all that can be charged, write to nobody, and prove it by Stripe's lists;
    exit 4 if anything is left.
    """
    if dry_run:
        preview(group, mode, as_json=as_json)
        return
    if not yes:
        act = "lift the stop" if lift else mode
        click.confirm(f"{act} {group}: go ahead?", abort=True, err=True)
    if lift:
        lift_stop(group, mode)
    elif not execute(group, mode, resume=resume, as_json=as_json):
        sys.exit(EXIT_PROBLEMS)


def preview(group: str, mode: str, *, as_json: bool) -> None:
    """Print how much a stop would end."""
    from payments.risk.emergency_stops import StopGroup, StopMode
    from payments.safety import emergency_stop

    found = run_with_context(
        lambda ctx: emergency_stop.preview(ctx, StopGroup(group), StopMode(mode))
    )
    if as_json:
        click.echo(json.dumps({**found.counts, "unread": found.unread}))
    else:
        click.echo(f"{_in_words(found.counts)}. No change.")
    for name, reason in found.unread.items():
        echo_stderr(f"{name} could not be read: {reason}")
    if found.unread:
        sys.exit(EXIT_PROBLEMS)


def lift_stop(group: str, mode: str) -> None:
    """Lift a stop and say what that means."""
    from payments.risk.emergency_stops import StopGroup, StopMode
    from payments.safety import emergency_stop

    run_with_context(lambda ctx: emergency_stop.lift(ctx, StopGroup(group), StopMode(mode)))
    click.echo("The stop is lifted. What it ended stays ended; what it paused stays paused.")


def execute(group: str, mode: str, *, resume: bool, as_json: bool) -> bool:
    """Stop a group and print the report. Returns whether Stripe's lists hold nothing of it."""
    from payments.risk.emergency_stops import StopGroup, StopMode
    from payments.safety import emergency_stop

    with progress("Subscriptions") as report_progress:
        report = run_with_context(
            lambda ctx: emergency_stop.execute(
                ctx, StopGroup(group), StopMode(mode), resume=resume, progress=report_progress
            )
        )
    if as_json:
        click.echo(json.dumps(emergency_stop.to_json(report)))
    else:
        click.echo(
            f"{report.subscriptions} subscriptions: {report.done} {MODE_DONE[mode]}, "
            f"{report.already_ended} had ended before, {len(report.unfinished)} left. "
            "Nobody was written to."
        )
        click.echo(f"Ended besides: {_in_words(report.ended)}.")
        click.echo(f"Left by Stripe's lists: {_in_words(report.left)}.")
        click.echo(NOT_COVERED[group])
    for object_id, reason in report.refusals.items():
        echo_stderr(f"{object_id}: {reason}")
    if not report.is_proved:
        echo_stderr("Something is left. Run it again with --resume, or see to it at Stripe.")
    return report.is_proved


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()) or "nothing"
