"""The operator's months: close one, take its pack away, check a pack with nothing but itself."""

import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payments.cli.common import (
    EXIT_PROBLEMS,
    INPUT_FILE,
    OUTPUT_FILE,
    echo_stderr,
    json_option,
    output_file,
    run_with_context,
)

if TYPE_CHECKING:
    from payments.accounting.period_close import ChecklistItem, PeriodClosing
    from payments.infra.context import Context


@click.group()
def period() -> None:
    """Months: what is closed, closing the next, and the packs of those that are."""


@period.command("list")
@json_option
def period_list(as_json: bool) -> None:
    """Say which months are closed, the newest first."""
    from payments.accounting import period_close as accounting_period_close

    async def read(ctx: "Context") -> "list[PeriodClosing]":
        async with ctx.sessions() as session:
            return await accounting_period_close.list_closings(session)

    said = [
        {
            "month": f"{one.month:%Y-%m}",
            "closed_at": f"{one.closed_at:%Y-%m-%dT%H:%M:%SZ}",
            "closed_by": one.closed_by,
            "manifest": one.manifest_hash.hex() if one.manifest_hash else None,
            "reopened": one.reopen_reason,
        }
        for one in run_with_context(read)
    ]
    if as_json:
        click.echo(json.dumps(said))
        return
    for one in said:
        again = f"  opened again: {one['reopened']}" if one["reopened"] else ""
        click.echo(f"{one['month']}  closed {one['closed_at']} by {one['closed_by']}{again}")


@period.command("checklist")
@click.argument("month", required=False)
def period_checklist(month: str | None) -> None:
    """Go through the list before a month is closed: the next, or the one named. Exit 4 if not."""
    from payments.accounting import period_close as accounting_period_close

    async def look(ctx: "Context") -> "list[ChecklistItem]":
        first = (
            _first_day(ctx, month) if month else await accounting_period_close.next_to_close(ctx)
        )
        return [] if first is None else await accounting_period_close.checklist(ctx, first)

    points = run_with_context(look)
    if not points:
        echo_stderr("No month is over that could be closed.")
    for point in points:
        mark = "ok      " if point.passed else "PROBLEM "
        click.echo(f"{mark} {point.description}" + (f": {point.detail}" if point.detail else ""))
    if any(not point.passed for point in points):
        sys.exit(EXIT_PROBLEMS)


@period.command("close")
@click.argument("month")
def close_period(month: str) -> None:
    """Close a month such as 2026-10, and make its pack."""
    from payments.accounting import close_pack
    from payments.accounting import period_close as accounting_period_close
    from payments.infra import audit_log

    async def close(ctx: "Context") -> "PeriodClosing":
        close_pack.signing_key(ctx.settings)
        closing = await accounting_period_close.close(
            ctx, _first_day(ctx, month), by=audit_log.CLI_ACTOR
        )
        await close_pack.build(ctx, closing)
        return closing

    closing = run_with_context(close)
    click.echo(f"{month} is closed, up to row {closing.last_seq} of the books.")


@period.command("reopen")
@click.argument("month")
@click.option("--reason", required=True, help="Kept for good; names no donor.")
def period_reopen(month: str, reason: str) -> None:
    """Open the last closed month again."""
    from payments.accounting import period_close as accounting_period_close
    from payments.infra import audit_log

    run_with_context(
        lambda ctx: accounting_period_close.reopen(
            ctx, _first_day(ctx, month), reason=reason, by=audit_log.CLI_ACTOR
        )
    )
    click.echo(f"{month} is open again.")


@period.command("export")
@click.argument("month")
@click.option("--output", type=OUTPUT_FILE)
def period_export(month: str, output: Path | None) -> None:
    """Take the pack of a closed month away; it is the same however often that is done."""
    from payments.accounting import close_pack

    async def read(ctx: "Context") -> str:
        with output_file(output) as out:
            return await close_pack.download(ctx, month, out)

    name = run_with_context(read)
    if output is not None:
        echo_stderr(f"{output}: {name}, {output.stat().st_size} bytes")


@period.command("verify")
@click.argument("pack", type=INPUT_FILE)
@click.option("--key", help="The public key you keep: 64 hexadecimal digits.")
@click.option("--previous", type=INPUT_FILE, help="The pack of the closing before.")
def period_verify(pack: Path, key: str | None, previous: Path | None) -> None:
    """Check a pack offline. Exit 4 if anything in it is not as it was signed."""
    from payments.accounting import pack_verification
    from payments.core.errors import PaymentsError

    earlier = previous.read_bytes() if previous is not None else None
    try:
        checks = pack_verification.verify(pack.read_bytes(), key=key, previous_pack=earlier)
    except PaymentsError as error:
        raise click.ClickException(error.detail) from None
    for check in checks:
        click.echo(f"{'PROBLEM' if check.problem else 'ok     '}  {check.description}"
                   + (f": {check.problem}" if check.problem else ""))  # fmt: skip
    if any(check.problem for check in checks):
        sys.exit(EXIT_PROBLEMS)


@period.command("key")
def period_key() -> None:
    """Print the public key that packs are checked with. The accountant keeps it."""
    from payments.accounting import close_pack

    async def read(ctx: "Context") -> str:
        return close_pack.public_key(ctx.settings)

    click.echo(run_with_context(read))


def _first_day(ctx: "Context", month: str) -> date:
    from payments.accounting.reports.period import parse_month as parsed

    today = ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()
    return parsed(month, name="month", today=today)
