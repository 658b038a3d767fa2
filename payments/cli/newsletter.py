"""The operator's look at the newsletter's addresses."""

import json
from typing import TYPE_CHECKING

import click

from payments.cli.common import echo_stderr, json_option, run_with_context

if TYPE_CHECKING:
    from payments.infra.context import Context


@click.group()
def newsletter() -> None:
    """Look after confirmed addresses on their way to the newsroom's mailing system."""


@newsletter.command("retry")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@json_option
def newsletter_retry(dry_run: bool, as_json: bool) -> None:
    """Try again with the addresses that nobody took for three days, before they are erased."""
    from payments.signups import newsletter_delivery

    async def retry(ctx: "Context") -> tuple[int, dict[str, int]]:
        stuck = await newsletter_delivery.retry_stuck(ctx, dry_run=dry_run)
        return stuck, await newsletter_delivery.state_counts(ctx)

    stuck, counts = run_with_context(retry)
    if as_json:
        click.echo(json.dumps({"retried": 0 if dry_run else stuck, **counts}))
        return
    echo_stderr(
        f"{stuck} would be tried again." if dry_run else f"{stuck} are tried again by the worker."
    )
    click.echo("\n".join(f"{state}: {count}" for state, count in counts.items()))
