"""The operator's campaigns: a file in, the same file out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from payments.cli.common import INPUT_FILE, echo_stderr, json_option, run_with_context

if TYPE_CHECKING:
    from payments.giving.campaign_totals import SponsorClaim
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

    rows = run_with_context(read)
    configs = [row.parsed_config() for row in rows]
    if as_json:
        file: dict[str, Any] = {"campaigns": [campaign_schema.to_dict(one) for one in configs]}
        click.echo(json.dumps(file, ensure_ascii=False, indent=2))
        return
    for config, row in zip(configs, rows, strict=True):
        names = ", ".join(variant.name for variant in config.variants)
        variants = f"  variants {names}" if names else ""
        days = f"{config.starts_on or ''}..{config.ends_on or ''}"
        state = "on" if config.enabled else "off"
        click.echo(f"{config.id}  {state}  {days}{variants}{_goal_summary(row)}")


@campaigns.command("claims")
@json_option
def campaigns_claims(*, as_json: bool) -> None:
    """Print what is to be asked of each sponsor who matches gifts. None of it is in the books."""
    from payments.giving import campaign_totals

    async def read(ctx: "Context") -> "list[SponsorClaim]":
        async with ctx.sessions() as session:
            return await campaign_totals.list_claims(ctx, session)

    claims = run_with_context(read)
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "campaign": one.campaign,
                        "sponsor": one.matching.sponsor,
                        "currency": one.to_ask.currency,
                        "given": one.given.amount,
                        "to_ask": one.to_ask.amount,
                    }
                    for one in claims
                ],
                ensure_ascii=False,
            )
        )
        return
    for one in claims:
        click.echo(
            f"{one.campaign}  given {one.given}, to be asked of {one.matching.sponsor}: "
            f"{one.to_ask}, of at most {one.ceiling}"
        )


def _goal_summary(campaign: "Campaign") -> str:
    """Return the goal of a campaign, and how much of it readers read there is."""
    goal, progress = campaign.parsed_config().goal, campaign.parsed_progress()
    if goal is None:
        return ""
    step = 0 if progress is None or progress.goal != goal else progress.step
    return f"  goal {goal.money}, at least {step * 10}%"


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
