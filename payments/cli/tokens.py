"""The tokens of programs: made for a colleague, listed and revoked."""

import json
from typing import TYPE_CHECKING

import click

from payments.cli.common import echo_stderr, json_option, run_with_context

if TYPE_CHECKING:
    from payments.infra.context import Context

SCOPES = ["read:reports", "read:transactions", "read:audit", "read:exports"]


@click.group()
def tokens() -> None:
    """Let programs read the books: a token for each."""


@tokens.command("create")
@click.argument("name")
@click.option("--colleague", required=True, help="Whose token it is; it ends with them.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES),
    help="What it may read; several times for several.",
)  # fmt: skip
@click.option("--days", type=int, default=90, show_default=True, help="After which it ends.")
def create(name: str, colleague: str, scopes: tuple[str, ...], days: int) -> None:
    """Print a token for a program. It is stored nowhere and printed once."""
    from payments.staff import accounts, api_tokens

    async def make(ctx: "Context") -> str:
        async with ctx.sessions.begin() as session:
            whose = await accounts.get_by_name(session, colleague)
            token, _ = await api_tokens.create(
                session, whose, name=name, scopes=scopes, days=days, now=ctx.now()
            )
        return token

    click.echo(run_with_context(make))


@tokens.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """Print the tokens that may be used, newest first."""
    from payments.staff import accounts, api_tokens

    async def read(ctx: "Context") -> list[dict[str, str | None]]:
        async with ctx.sessions() as session:
            names = {one.id: one.name for one in await accounts.list_active(session)}
            rows = await api_tokens.list_all(session)
        return [
            {
                "name": row.name,
                "begins_with": row.prefix,
                "colleague": names.get(row.staff_id, ""),
                "scopes": row.scopes,
                "ends": row.expires_at.isoformat(timespec="seconds"),
                "last_used_on": row.last_used_on.isoformat() if row.last_used_on else None,
            }
            for row in rows
            if row.is_live(ctx.now())
        ]

    found = run_with_context(read)
    if as_json:
        click.echo(json.dumps(found))
        return
    for one in found:
        used = f"last used on {one['last_used_on']}" if one["last_used_on"] else "never used"
        click.echo(
            f"{one['name']} ({one['begins_with']}), of {one['colleague']}: {one['scopes']};"
            f" ends {one['ends']}; {used}"
        )


@tokens.command("revoke")
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="End every token: one may have leaked.")
def revoke(name: str | None, every: bool) -> None:
    """End the token of a name, or all of them, at once."""
    from payments.staff import api_tokens

    if (name is None) is not every:
        raise click.UsageError("Give the name of a token, or --all.")

    async def end(ctx: "Context") -> int:
        async with ctx.sessions.begin() as session:
            if name is None:
                return await api_tokens.revoke_everybodys(session, now=ctx.now())
            row = await api_tokens.get_by_name(session, name, now=ctx.now())
            await api_tokens.revoke(session, row, now=ctx.now())
            return 1

    echo_stderr(f"Tokens ended: {run_with_context(end)}.")
