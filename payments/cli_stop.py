"""The operator's door for the emergency stop: what it prints, and nothing else."""

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click

from payments import retention, stopping
from payments.runtime import Runtime
from payments.stopping import Report
from payments.stops import Group, Mode

Opened = Callable[[Callable[[Runtime], Awaitable[Any]]], Any]  # whatever the verb gives
WIDTH = 30


def stop(
    opened: Opened, group: str, mode: str, *, dry_run: bool, resume: bool, as_json: bool
) -> bool:
    """Stop a group and tell of it. Gives whether nothing is left."""
    if dry_run:
        count: int = opened(lambda rt: stopping.preview(rt, Group(group), Mode(mode)))
        click.echo(json.dumps({"promises": count}) if as_json else f"{count} promises. No change.")
        return True
    report: Report = opened(
        lambda rt: stopping.run(rt, Group(group), Mode(mode), resume=resume, progress=_bar)
    )
    if sys.stderr.isatty():
        click.echo(err=True)
    if as_json:
        click.echo(json.dumps(stopping.as_rows(report)))
    else:
        click.echo(
            f"{report.promises} promises: {report.done} {mode}d, {report.gone} had ended before, "
            f"{len(report.left)} left. Nobody was written to."
        )
        for one in report.left:
            click.echo(one)
    if report.left:
        click.echo("Run it again with --resume, or see to these at Stripe.", err=True)
    return not report.left


def _bar(done: int, total: int) -> None:
    """A bar where somebody looks, a line now and then where nobody does."""
    if sys.stderr.isatty():
        filled = WIDTH * done // max(total, 1)
        click.echo(f"\r[{'#' * filled:{WIDTH}}] {done}/{total}", nl=False, err=True)
    elif done == total or done % 500 == 0:
        click.echo(f"{done}/{total}", err=True)


def shred(opened: Opened, *, anyway: bool, as_json: bool) -> None:
    """Destroy identities and say what is left for a person to do."""
    done: retention.Shredded = opened(lambda rt: retention.shred(rt, anyway=anyway))
    if as_json:
        click.echo(
            json.dumps(
                {
                    "donors": done.donors,
                    "reminders": done.reminders,
                    "keys": done.keys,
                    "promises_left": done.promises_left,
                    "wiped": done.wiped,
                }
            )
        )
    else:
        click.echo(
            f"Destroyed: {done.donors} donors, {done.reminders} reminders, {done.keys} keys. "
            "The books are whole: `payments check`."
        )
    if not done.wiped:
        click.echo("The tables were not written anew: run VACUUM FULL as their owner.", err=True)
    click.echo(
        "Now: new PAYMENTS_SECRET_KEYS (`payments keys new`); destroy old backups and archived "
        "write-ahead logs; Stripe still holds its own records.",
        err=True,
    )
