"""The operator's months: close one, take its pack away, check a pack with nothing but itself."""

import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from payments.accounting.period_close import PeriodClosing, Point
    from payments.infra.context import Runtime

PROBLEMS = 4
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def period() -> None:
    """Months: what is closed, closing the next, and the packs of those that are."""


@period.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def period_list(as_json: bool) -> None:
    """Say which months are closed, the newest first."""
    from payments.accounting import period_close as accounting_period_close
    from payments.cli import run_with

    async def read(rt: "Runtime") -> "list[PeriodClosing]":
        async with rt.sessions() as session:
            return await accounting_period_close.closed(session)

    said = [
        {
            "month": f"{one.month:%Y-%m}",
            "closed_at": f"{one.closed_at:%Y-%m-%dT%H:%M:%SZ}",
            "closed_by": one.closed_by,
            "manifest": one.manifest_hash.hex() if one.manifest_hash else None,
            "reopened": one.reopened_why,
        }
        for one in run_with(read)
    ]
    if as_json:
        click.echo(json.dumps(said))
        return
    for one in said:
        again = f"  opened again: {one['reopened']}" if one["reopened"] else ""
        click.echo(f"{one['month']}  closed {one['closed_at']} by {one['closed_by']}{again}")


@period.command("check")
@click.argument("month", required=False)
def period_check(month: str | None) -> None:
    """Go through the list before a month is closed: the next, or the one named. Exit 4 if not."""
    from payments.accounting import period_close as accounting_period_close
    from payments.cli import run_with, say

    async def look(rt: "Runtime") -> "list[Point]":
        first = _first(rt, month) if month else await accounting_period_close.next_to_close(rt)
        return [] if first is None else await accounting_period_close.checklist(rt, first)

    points = run_with(look)
    if not points:
        say("No month is over that could be closed.")
    for point in points:
        mark = "ok      " if point.holds else "PROBLEM "
        click.echo(f"{mark} {point.says}" + (f": {point.detail}" if point.detail else ""))
    if any(not point.holds for point in points):
        sys.exit(PROBLEMS)


@period.command("close")
@click.argument("month")
def close_period(month: str) -> None:
    """Close a month such as 2026-10, and make its pack."""
    from payments.accounting import close_pack
    from payments.accounting import period_close as accounting_period_close
    from payments.cli import run_with
    from payments.infra import audit_log

    async def close(rt: "Runtime") -> "PeriodClosing":
        close_pack.signing_key(rt.settings)
        closing = await accounting_period_close.close(rt, _first(rt, month), by=audit_log.OPERATOR)
        await close_pack.keep(rt, closing)
        return closing

    closing = run_with(close)
    click.echo(f"{month} is closed, up to row {closing.ledger_through} of the books.")


@period.command("reopen")
@click.argument("month")
@click.option("--reason", required=True, help="Kept for good; names no donor.")
def period_reopen(month: str, reason: str) -> None:
    """Open the last closed month again."""
    from payments.accounting import period_close as accounting_period_close
    from payments.cli import run_with
    from payments.infra import audit_log

    run_with(
        lambda rt: accounting_period_close.reopen(
            rt, _first(rt, month), why=reason, by=audit_log.OPERATOR
        )
    )
    click.echo(f"{month} is open again.")


@period.command("pack")
@click.argument("month")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path))
def period_pack(month: str, output: Path | None) -> None:
    """Take the pack of a closed month away; it is the same however often that is done."""
    from payments.accounting import close_pack
    from payments.cli import run_with, say
    from payments.cli.export import opened

    async def read(rt: "Runtime") -> str:
        with opened(output) as out:
            return await close_pack.read(rt, month, out)

    name = run_with(read)
    if output is not None:
        say(f"{output}: {name}, {output.stat().st_size} bytes")


@period.command("verify")
@click.argument("pack", type=_file)
@click.option("--key", help="The public key you keep: 64 hexadecimal digits.")
@click.option("--previous", type=_file, help="The pack of the closing before.")
def period_verify(pack: Path, key: str | None, previous: Path | None) -> None:
    """Check a pack offline. Exit 4 if anything in it is not as it was signed."""
    from payments.accounting import close_pack
    from payments.core.errors import PaymentsError

    earlier = previous.read_bytes() if previous is not None else None
    try:
        checks = close_pack.verify(pack.read_bytes(), key=key, earlier=earlier)
    except PaymentsError as error:
        raise click.ClickException(error.detail) from None
    for check in checks:
        click.echo(f"{'PROBLEM' if check.wrong else 'ok     '}  {check.says}"
                   + (f": {check.wrong}" if check.wrong else ""))  # fmt: skip
    if any(check.wrong for check in checks):
        sys.exit(PROBLEMS)


@period.command("key")
def period_key() -> None:
    """Print the public key that packs are checked with. The accountant keeps it."""
    from payments.accounting import close_pack
    from payments.cli import run_with

    async def read(rt: "Runtime") -> str:
        return close_pack.public_key(rt.settings)

    click.echo(run_with(read))


def _first(rt: "Runtime", month: str) -> date:
    from payments.accounting.reports.period import month as parsed

    today = rt.now().astimezone(rt.settings.zone).date()
    return parsed(month, name="month", today=today)
