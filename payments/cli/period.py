"""`payments period`: close a month, reopen it, download its pack, and verify a pack offline."""

import json
import re
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
    run_on_books,
    run_with_context,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payments.accounting.accounting_zone import AccountingZone
    from payments.accounting.pack_verification import PackCheck
    from payments.accounting.period_close import ChecklistItem, PeriodClosing
    from payments.infra.context import Context


def _validate_keys(
    _ctx: click.Context, _option: click.Parameter, keys: tuple[str, ...]
) -> tuple[str, ...]:
    if not all(re.fullmatch(r"[0-9a-fA-F]{64}", key) for key in keys):
        raise click.BadParameter("a key has 64 hexadecimal digits.")
    return tuple(key.lower() for key in keys)


@click.group()
def period() -> None:
    """Months: what is closed, closing the next, and the packs of those that are."""


@period.command("list")
@json_option
def period_list(as_json: bool) -> None:
    """Say which months were closed, the newest first, and which of the packs are valid."""
    from payments.accounting import period_close as months

    async def read(ctx: "Context") -> "list[PeriodClosing]":
        async with ctx.sessions() as session:
            return await months.list_closings(session)

    closings = [
        {
            "month": f"{closing.month:%Y-%m}",
            "closing": closing.id,
            "closed_at": f"{closing.closed_at:%Y-%m-%dT%H:%M:%SZ}",
            "closed_by": closing.closed_by,
            "manifest": closing.manifest_hash.hex() if closing.manifest_hash else None,
            "reopened": closing.reopen_reason,
        }
        for closing in run_on_books(read)
    ]
    if as_json:
        click.echo(json.dumps(closings))
        return
    for closing in closings:
        state = f"undone: {closing['reopened']}" if closing["reopened"] else "valid"
        click.echo(
            f"{closing['month']}  pack {closing['closing']}  closed {closing['closed_at']}"
            f" by {closing['closed_by']}  {state}"
        )


@period.command("checklist")
@click.argument("month", required=False)
def period_checklist(month: str | None) -> None:
    """Go through the list before a month is closed: the next, or the one named. Exit 4 if not."""
    from payments.accounting import period_close as months

    async def read(ctx: "Context") -> "list[ChecklistItem]":
        first = _first_day(ctx, month) if month else await months.next_to_close(ctx)
        return [] if first is None else await months.checklist(ctx, first)

    items = run_on_books(read)
    if not items:
        echo_stderr("No month is over that could be closed.")
    for item in items:
        mark = "ok      " if item.passed else "PROBLEM "
        click.echo(f"{mark} {item.description}" + (f": {item.detail}" if item.detail else ""))
    if any(not item.passed for item in items):
        sys.exit(EXIT_PROBLEMS)


@period.command("close")
@click.argument("month")
def period_close(month: str) -> None:
    """Close a month such as 2026-10, and make its pack."""
    from payments.accounting import close_pack
    from payments.accounting import period_close as months
    from payments.infra import audit_log

    async def close(ctx: "Context") -> "PeriodClosing":
        close_pack.signing_key(ctx.settings)
        closing = await months.close(ctx, _first_day(ctx, month), by=audit_log.CLI_ACTOR)
        await close_pack.build(ctx, closing)
        return closing

    closing = run_on_books(close)
    click.echo(f"{month} is closed, up to row {closing.last_seq} of the books.")


@period.command("reopen")
@click.argument("month")
@click.option("--reason", required=True, help="Stored for good; names no donor.")
def period_reopen(month: str, reason: str) -> None:
    """Open the last closed month again."""
    from payments.accounting import period_close as months
    from payments.infra import audit_log

    run_on_books(
        lambda ctx: months.reopen(
            ctx, _first_day(ctx, month), reason=reason, by=audit_log.CLI_ACTOR
        )
    )
    click.echo(f"{month} is open again.")


@period.command("zone")
@click.argument("zone", required=False)
@click.option("--reason", help="Stored for good; names no donor.")
def period_zone(zone: str | None, reason: str | None) -> None:
    """Say in which time zone the books are counted, or change it while no month is closed."""
    from payments.accounting import accounting_zone
    from payments.infra import audit_log

    async def act(ctx: "Context") -> "Sequence[AccountingZone]":
        if zone is not None:
            await accounting_zone.change(ctx, zone, reason=reason or "", by=audit_log.CLI_ACTOR)
        async with ctx.sessions() as session:
            return await accounting_zone.history(session)

    for one in run_with_context(act):
        because = f": {one.reason}" if one.reason else ""
        click.echo(f"{one.recorded_at:%Y-%m-%d}  {one.zone}  by {one.recorded_by}{because}")
    if zone is not None:
        echo_stderr(f"Set PAYMENTS_ACCOUNTING_ZONE={zone} and start every process again.")


@period.command("export")
@click.argument("month")
@click.option("--output", type=OUTPUT_FILE)
@click.option("--closing", help="The number of the pack, for one that was undone.")
def period_export(month: str, output: Path | None, closing: str | None) -> None:
    """Take the pack of a closed month away; it is the same however often that is done."""
    from payments.accounting import close_pack
    from payments.infra import audit_log

    async def read(ctx: "Context") -> str:
        with output_file(output) as out:
            name = await close_pack.download(ctx, month, out, closing_id=closing)
        async with ctx.sessions.begin() as session:
            exported = audit_log.AuditAction.DATA_EXPORTED
            await audit_log.record(session, exported, object_id=name, now=ctx.now())
        return name

    name = run_on_books(read)
    if output is not None:
        echo_stderr(f"{output}: {name}, {output.stat().st_size} bytes")


@period.command("verify")
@click.argument("packs", type=INPUT_FILE, nargs=-1, required=True)
@click.option(
    "--key",
    "keys",
    multiple=True,
    callback=_validate_keys,
    help="The public key you keep: 64 hexadecimal digits. Again for a second key.",
)
@click.option("--previous", type=INPUT_FILE, help="One more pack: that of the closing before.")
def period_verify(packs: tuple[Path, ...], keys: tuple[str, ...], previous: Path | None) -> None:
    """Check packs offline, in any order. Exit 4 if anything in one is not as it was signed."""
    from payments.accounting import pack_verification

    paths, checked = [*packs, *([previous] if previous else [])], []
    for path in paths:
        try:
            checked.append(pack_verification.check_file(path, keys=keys))
        except OSError as error:
            raise click.ClickException(f"{path} cannot be read: {error.strerror}.") from None
        if len(paths) > 1:
            click.echo(path.name)
        _print_checks(checked[-1].checks)
    chain = []
    if len(paths) > 1:
        chain = pack_verification.check_chain(
            checked[: len(packs)], keys=keys, previous=checked[-1] if previous else None
        )
        click.echo("All of them")
        _print_checks(chain)
    if not keys:
        echo_stderr("Without --key anybody may have signed this: `payments period key` prints it.")
    if any(check.problem for check in [*chain, *(one for pack in checked for one in pack.checks)]):
        sys.exit(EXIT_PROBLEMS)


@period.command("key")
def period_key() -> None:
    """Print the public key that packs are checked with. The accountant keeps it."""
    from payments.accounting import close_pack

    async def read(ctx: "Context") -> str:
        return close_pack.public_key(ctx.settings)

    click.echo(run_on_books(read))


def _print_checks(checks: "Sequence[PackCheck]") -> None:
    for check in checks:
        mark = "PROBLEM" if check.problem else "ok     "
        click.echo(f"{mark}  {check.description}" + (f": {check.problem}" if check.problem else ""))


def _first_day(ctx: "Context", month: str) -> date:
    from payments.accounting.reports.period import parse_month

    today = ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()
    return parse_month(month, name="month", today=today)
