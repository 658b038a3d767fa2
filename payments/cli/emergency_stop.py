"""The operator's emergency stop: what it asks, what it prints, and nothing else."""

import json
import sys

import click

EXIT_PROBLEMS = 4
BAR_WIDTH = 30


@click.command()
@click.option("--group", type=click.Choice(["protected", "all"]), help="Which promises.")
@click.option("--mode", type=click.Choice(["pause", "cancel"]), help="What becomes of them.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--resume", is_flag=True, help="Finish a stop that was cut short.")
@click.option("--shred", is_flag=True, help="Destroy every identity; the books stay.")
@click.option("--anyway", is_flag=True, help="With --shred: though promises still live.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def emergency_stop(
    group: str | None,
    mode: str | None,
    dry_run: bool,
    resume: bool,
    shred: bool,
    anyway: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """The emergency stop: end or pause promises and write to nobody; or forget who everybody is."""
    if shred == (group is not None or mode is not None) or (group is None) != (mode is None):
        raise click.UsageError("Give --group and --mode, or --shred.")
    if shred and (dry_run or resume):
        raise click.UsageError("--shred is done at once: no --dry-run, no --resume.")
    if not (yes or dry_run):
        words = "Destroy who everybody is, for ever?" if shred else f"{mode} {group}: go ahead?"
        click.confirm(words, abort=True, err=True)
    if shred:
        erase_identities(force=anyway, as_json=as_json)
        return
    assert group is not None
    assert mode is not None
    done = _execute_stop(group, mode, dry_run=dry_run, resume=resume, as_json=as_json)
    sys.exit(0 if done else EXIT_PROBLEMS)


def _execute_stop(group: str, mode: str, *, dry_run: bool, resume: bool, as_json: bool) -> bool:
    """Stop a group and tell of it. Gives whether nothing is left."""
    from payments.cli import run_with_context
    from payments.risk.bulk_stops import StopGroup, StopMode
    from payments.safety import emergency_stop

    if dry_run:
        count = run_with_context(
            lambda ctx: emergency_stop.preview(ctx, StopGroup(group), StopMode(mode))
        )
        click.echo(json.dumps({"promises": count}) if as_json else f"{count} promises. No change.")
        return True
    report = run_with_context(
        lambda ctx: emergency_stop.execute(
            ctx, StopGroup(group), StopMode(mode), resume=resume, progress=_print_progress
        )
    )
    if sys.stderr.isatty():
        click.echo(err=True)
    if as_json:
        click.echo(json.dumps(emergency_stop.to_json(report)))
    else:
        click.echo(
            f"{report.subscriptions} promises: {report.done} {mode}d, {report.already_ended} had ended before, "
            f"{len(report.unfinished)} left. Nobody was written to."
        )
        for one in report.unfinished:
            click.echo(one)
    if report.unfinished:
        click.echo("Run it again with --resume, or see to these at Stripe.", err=True)
    return not report.unfinished


def _print_progress(done: int, total: int) -> None:
    """A bar where somebody looks, a line now and then where nobody does."""
    if sys.stderr.isatty():
        filled = BAR_WIDTH * done // max(total, 1)
        click.echo(f"\r[{'#' * filled:{BAR_WIDTH}}] {done}/{total}", nl=False, err=True)
    elif done == total or done % 500 == 0:
        click.echo(f"{done}/{total}", err=True)


def erase_identities(*, force: bool, as_json: bool) -> None:
    """Destroy identities and say what is left for a person to do."""
    from payments.cli import run_with_context
    from payments.safety import retention

    done = run_with_context(lambda ctx: retention.erase_everyone(ctx, force=force))
    if as_json:
        click.echo(
            json.dumps(
                {
                    "donors": done.donors,
                    "reminders": done.reminders,
                    "keys": done.keys,
                    "promises_left": done.live_subscriptions,
                    "wiped": done.vacuumed,
                }
            )
        )
    else:
        click.echo(
            f"Destroyed: {done.donors} donors, {done.reminders} reminders, {done.keys} keys. "
            "The books are whole: `payments check`."
        )
    if not done.vacuumed:
        click.echo("The tables were not written anew: run VACUUM FULL as their owner.", err=True)
    click.echo(
        "Now: new PAYMENTS_SECRET_KEYS (`payments keys new`); destroy old backups and archived "
        "write-ahead logs. Stripe still holds its own records: have it redact them.",
        err=True,
    )
