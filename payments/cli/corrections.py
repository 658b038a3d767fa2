"""`payments corrections list`: what colleagues corrected in the books, and what waits."""

import json
from typing import TYPE_CHECKING

import click

from payments.cli.common import json_option, run_with_context

if TYPE_CHECKING:
    from payments.accounting.corrections import CorrectionView
    from payments.infra.context import Context


@click.group()
def corrections() -> None:
    """Corrections of the books. They are made on the pages of finance."""


@corrections.command("list")
@json_option
def list_corrections(as_json: bool) -> None:
    """List every correction, the newest first: who moved what, why, and what was decided."""
    from payments.accounting import corrections as rules

    async def read(ctx: "Context") -> "list[CorrectionView]":
        found: list[CorrectionView] = []
        more: int | None = 0
        async with ctx.sessions() as session:
            while more is not None:
                page, more = await rules.list_page(session, offset=more)
                found += page
        return found

    rows = [_as_row(view) for view in run_with_context(read)]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        decided = f", decided by {row['decided_by']}" if row["decided_by"] else ""
        click.echo(
            f"{row['booked_on']}  {row['balance_transaction']}  {row['amount_minor']}"
            f" {row['currency']}  {row['from']} to {row['to']}  {row['status']}"
            f"  {row['proposed_by']}{decided}: {row['reason']}"
        )


def _as_row(view: "CorrectionView") -> dict[str, object]:
    correction, decision = view.correction, view.decision
    concerns = correction.concerns_month
    return {
        "id": correction.id,
        "balance_transaction": correction.balance_transaction,
        "from": correction.from_account,
        "to": str(correction.to_account),
        "amount_minor": correction.amount,
        "currency": correction.currency,
        "booked_on": correction.booked_on.isoformat(),
        "concerns_month": f"{concerns:%Y-%m}" if concerns else None,
        "status": view.status,
        "reason": correction.reason,
        "proposed_by": correction.proposed_by,
        "proposed_at": f"{correction.proposed_at:%Y-%m-%dT%H:%M:%SZ}",
        "decided_by": decision.decided_by if decision else None,
        "decided_at": f"{decision.decided_at:%Y-%m-%dT%H:%M:%SZ}" if decision else None,
    }
