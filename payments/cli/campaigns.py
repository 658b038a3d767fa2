"""The operator's campaigns: a file in, the same file out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from payments.cli.common import INPUT_FILE, echo_stderr, json_option, run_with_context

if TYPE_CHECKING:
    from payments.giving.campaigns import Campaign, SaveResult
    from payments.infra.context import Context


@click.group()
def campaigns() -> None:
    """What readers of a link are told and suggested, and its variants."""


@campaigns.command("apply")
@click.argument("file", type=INPUT_FILE)
@click.option("--dry-run", is_flag=True, help="Say what would change.")
@json_option
def campaigns_apply(file: Path, *, dry_run: bool, as_json: bool) -> None:
    """Make or change every campaign of FILE (TOML, or JSON by its name), or none of them.

    Campaigns the file does not name stay as they are.
    """
    from payments.giving import campaigns

    data, is_json = file.read_bytes(), file.suffix == ".json"

    async def load(ctx: "Context") -> "dict[str, SaveResult]":
        return await campaigns.apply_file(ctx, data, json=is_json, dry_run=dry_run)

    done = run_with_context(load)
    if as_json:
        click.echo(json.dumps(done))
    else:
        for name, change in done.items():
            click.echo(f"{name}: {change}")
    if dry_run:
        echo_stderr("Nothing was changed: this was a dry run.")


@campaigns.command("show")
@click.argument("campaign", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as `apply` takes it.")
def campaigns_show(campaign: str | None, *, as_json: bool) -> None:
    """Print all campaigns, or one."""
    from payments.core import campaign_schema
    from payments.giving import campaigns

    async def read(ctx: "Context") -> "list[Campaign]":
        async with ctx.sessions() as session:
            if campaign is not None:
                return [await campaigns.get(session, campaign)]
            return await campaigns.list_all(session)

    found = run_with_context(read)
    if as_json:
        shapes: list[dict[str, Any]] = [
            campaign_schema.to_dict(one.parsed_config()) for one in found
        ]
        click.echo(json.dumps({"campaigns": shapes}, ensure_ascii=False, indent=2))
        return
    for one in found:
        terms = one.parsed_config()
        names = f"  variants {', '.join(v.name for v in terms.variants)}" if terms.variants else ""
        days = f"{terms.starts_on or ''}..{terms.ends_on or ''}"
        click.echo(f"{one.id}  {'on' if terms.enabled else 'off'}  {days}{names}")


def find_campaign(campaign: str) -> "Campaign | None":
    """A campaign for a snippet; None, with a word of it, where the newsroom has no such."""
    from payments.giving import campaigns

    async def read(ctx: "Context") -> "Campaign | None":
        async with ctx.sessions() as session:
            return await session.get(campaigns.Campaign, campaign)

    try:
        found = run_with_context(read)
    except click.ClickException as error:
        echo_stderr(f"{error.message} The snippet says what it says without a campaign.")
        return None
    if found is None:
        echo_stderr(f"There is no campaign {campaign}: the snippet says what it says without one.")
    return found
