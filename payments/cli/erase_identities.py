"""The operator's erasure of every identity, and at Stripe of who was erased here: what they ask,
what they print, and nothing else.
"""

import json
from typing import TYPE_CHECKING

import click

from payments.cli.common import echo_stderr, json_option, run_with_context, yes_option

if TYPE_CHECKING:
    from payments.infra.context import Context
    from payments.safety.stripe_worklist import WorklistItem


@click.command("erase-identities")
@click.option("--force", is_flag=True, help="Even while subscriptions are still charged.")
@click.option("--worklist", is_flag=True, help="Only list what is to be erased at Stripe.")
@click.option("--worklist-done", is_flag=True, help="What that lists is erased at Stripe.")
@click.option("--leave-at-stripe", is_flag=True, help="Leave it there: nobody can find it later.")
@yes_option
@json_option
def erase_identities(
    *,
    force: bool,
    worklist: bool,
    worklist_done: bool,
    leave_at_stripe: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase who every donor and reader is, for ever; the books stay whole."""
    from payments.safety import global_erasure

    if worklist:
        _print_worklist(as_json=as_json)
        return
    if not yes:
        click.confirm("Erase who everybody is, for ever?", abort=True, err=True)
    report = run_with_context(
        lambda ctx: global_erasure.erase_everyone(
            ctx, force=force, worklist_settled=worklist_done or leave_at_stripe
        )
    )
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
        echo_stderr(
            "Not all tables were written anew: run VACUUM FULL as their owner, once no backup and "
            "no console reads them."
        )
    echo_stderr(
        "Now: new PAYMENTS_SECRET_KEYS (`payments keys new`); destroy old backups and archived "
        "write-ahead logs. What the worklist named and was left at Stripe, Stripe still holds."
    )


@click.command("erased-at-stripe")
@click.option("--done", "done_ids", multiple=True, metavar="ID", help="This one is erased there.")
@json_option
def erased_at_stripe(*, done_ids: tuple[str, ...], as_json: bool) -> None:
    """List what is to be erased at Stripe of donors who were erased here; take off what is.

    After seven days nobody finds it any more.
    """
    from payments.safety import stripe_worklist

    async def run(ctx: "Context") -> "list[WorklistItem]":
        async with ctx.sessions.begin() as session:
            await stripe_worklist.forget_erased(session, done_ids, now=ctx.now())
            return await stripe_worklist.list_erased(session)

    _print_items(run_with_context(run), as_json=as_json)


def _print_worklist(*, as_json: bool) -> None:
    from payments.safety import stripe_worklist

    async def list_items(ctx: "Context") -> "list[WorklistItem]":
        async with ctx.sessions() as session:
            return await stripe_worklist.list_items(session)

    _print_items(run_with_context(list_items), as_json=as_json)


def _print_items(items: "list[WorklistItem]", *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([{"action": one.action, "id": one.object_id} for one in items]))
        return
    for one in items:
        click.echo(f"{one.action} {one.object_id}")
    echo_stderr(
        "delete: in Stripe's dashboard, by the customer. redact: by a redaction job of the "
        "dashboard where it is offered, else through Stripe's support."
    )
