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
    """Texts, amounts and variants of the form that a campaign's links lead to."""


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

    async def apply(ctx: "Context") -> "dict[str, SaveResult]":
        return await campaigns.apply_file(ctx, data, json=is_json, dry_run=dry_run)

    results = run_with_context(apply)
    if as_json:
        click.echo(json.dumps(results))
    else:
        for campaign_id, result in results.items():
            click.echo(f"{campaign_id}: {result}")
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

    configs = [found.parsed_config() for found in run_with_context(read)]
    if as_json:
        file: dict[str, Any] = {"campaigns": [campaign_schema.to_dict(one) for one in configs]}
        click.echo(json.dumps(file, ensure_ascii=False, indent=2))
        return
    for config in configs:
        names = ", ".join(variant.name for variant in config.variants)
        variants = f"  variants {names}" if names else ""
        days = f"{config.starts_on or ''}..{config.ends_on or ''}"
        click.echo(f"{config.id}  {'on' if config.enabled else 'off'}  {days}{variants}")


def find_campaign(campaign: str) -> "Campaign | None":
    """Return a campaign, or None, with a line to stderr, where it or the database is not there."""
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
