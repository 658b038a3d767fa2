"""What the operator does with Stripe: set it up, import its balance, reconcile with it."""

import json
import sys

import click

from payments.cli.common import (
    EXIT_PROBLEMS,
    echo_stderr,
    json_option,
    run_with_context,
    yes_option,
)


@click.group()
def stripe() -> None:
    """Set up what this service needs at Stripe."""


@stripe.command("setup")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def stripe_setup(dry_run: bool) -> None:
    """Make the Products and the webhook endpoint, once; run it again at will."""
    from payments.ops import stripe_setup as setup

    for line in run_with_context(
        lambda ctx: setup.setup(ctx, dry_run=dry_run), asks_stripe=not dry_run
    ):
        click.echo(line)


@stripe.command("bind")
@click.option("--account", "account_id", required=True, help="The account of the key: acct_…")
def stripe_bind(account_id: str) -> None:
    """Say that this database belongs to the key's account from now on, whatever it was before."""
    from payments.infra import stripe_account

    click.echo(run_with_context(lambda ctx: stripe_account.bind(ctx, account_id)))


@stripe.command("adoption")
@click.option("--drop", is_flag=True, help="Forget those that do not fit: they are not gifts.")
@yes_option
def stripe_adoption(*, drop: bool, yes: bool) -> None:
    """Count the imported contributions that do not fit PAYMENTS_ADOPT; exit 4 if there are any."""
    from payments.giving import adoption_review

    left_out = run_with_context(adoption_review.find_left_out)
    echo_stderr(f"{len(left_out)} live contributions that were imported do not fit PAYMENTS_ADOPT.")
    if not left_out or not drop:
        sys.exit(EXIT_PROBLEMS if left_out else 0)
    if not yes:
        click.confirm(
            "Stripe goes on charging them. Take them from their donors' pages, for ever?",
            abort=True,
            err=True,
        )
    result = run_with_context(lambda ctx: adoption_review.drop(ctx, left_out))
    click.echo(f"{result.dropped} are dropped.")
    if result.not_cancelled:
        echo_stderr(
            f"{result.not_cancelled} stay: their donors have cancelled, and Stripe has not done it "
            "yet. Run this again."
        )
        sys.exit(EXIT_PROBLEMS)


@stripe.command("permissions")
@json_option
def permissions(as_json: bool) -> None:
    """List the permissions that a restricted key needs, and what each is for."""
    from payments.infra.stripe_permissions import PERMISSIONS

    if as_json:
        click.echo(
            json.dumps(
                [{"permission": p.name, "row": p.row, "access": p.access} for p in PERMISSIONS]
            )
        )
        return
    for one in PERMISSIONS:
        click.echo(f"{one.access:5}  {one.row:28} {one.reason}")


@click.command("import-balance")
def import_balance() -> None:
    """Import every balance transaction that is new at Stripe and post it."""
    from payments.accounting import daily_totals

    new_count = run_with_context(daily_totals.import_and_refresh, asks_stripe=True)
    click.echo(f"{new_count} new balance transactions.")


@click.command()
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True)
@click.option("--repair", is_flag=True, help="Repair what differs, through the normal path.")
@json_option
def reconcile(days: int, repair: bool, as_json: bool) -> None:
    """List what Stripe and we have otherwise, or only one of us; exit 4 if anything is left."""
    from dataclasses import asdict

    from payments.ops import reconcile as reconciliation

    result = run_with_context(lambda ctx: reconciliation.run(ctx, days=days, repair=repair))
    if as_json:
        click.echo(json.dumps(asdict(result)))
    else:
        echo_stderr(
            f"Of the last {days} days, {len(result.before)} objects are not here as at Stripe."
        )
        for difference in result.before:
            state = "found   "
            if repair:
                state = "left    " if difference in result.after else "repaired"
            click.echo(f"{state} {difference.kind} {difference.id}: {difference.description}")
        if repair and result.before:
            echo_stderr(f"After the repair there are {len(result.after)}.")
    sys.exit(EXIT_PROBLEMS if result.after else 0)
