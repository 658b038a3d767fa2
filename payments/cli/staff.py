"""The operator's colleagues. The first of them comes in by a link that is printed here."""

import json
from datetime import datetime
from typing import TYPE_CHECKING

import click

from payments.cli.common import echo_stderr, json_option, run_with_context

if TYPE_CHECKING:
    from payments.infra.context import Context

ROLE_CHOICE = click.Choice(["finance", "support", "admin", "auditor"])
UNTIL = click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The last day of their access, in the accounting time zone. It ends by itself.",
)


@click.group()
def staff() -> None:
    """Colleagues and what they may see."""


@staff.command("invite")
@click.argument("name")
@click.option("--role", type=ROLE_CHOICE, default="finance", show_default=True)
@UNTIL
@click.option(
    "--revoke-existing",
    is_flag=True,
    help="A device is lost: revoke all their sessions, links and passkeys first.",
)
def staff_invite(name: str, role: str, until: datetime | None, revoke_existing: bool) -> None:
    """Print a one-time link for a colleague, good for an hour. On its page a passkey is made."""
    from payments.staff import accounts, administration

    async def invite(ctx: "Context") -> str:
        async with ctx.sessions.begin() as session:
            if revoke_existing:
                colleague = await accounts.get_by_name(session, name)
                await administration.revoke_credentials(session, colleague, now=ctx.now())
            token = await accounts.invite(
                session,
                name,
                role=accounts.Role(role),
                access_ends_at=_access_end(ctx, until),
                now=ctx.now(),
            )
        return f"{ctx.settings.base_url}/staff/enter/{token}"

    click.echo(run_with_context(invite))


@staff.command("link")
@click.argument("name")
def staff_link(name: str) -> None:
    """Print a one-time link for a colleague without a passkey at hand, good for ten minutes."""
    from payments.staff import accounts

    async def link(ctx: "Context") -> str:
        async with ctx.sessions.begin() as session:
            token = await accounts.create_link(session, name, now=ctx.now())
        return f"{ctx.settings.base_url}/staff/enter/{token}"

    click.echo(run_with_context(link))


@staff.command("set-role")
@click.argument("name")
@click.argument("role", type=ROLE_CHOICE)
def staff_set_role(name: str, role: str) -> None:
    """Give a colleague another role, and sign them out."""
    from payments.staff import accounts, administration

    async def change(ctx: "Context") -> None:
        async with ctx.sessions.begin() as session:
            colleague = await accounts.get_by_name(session, name)
            await administration.change_role(session, colleague, accounts.Role(role), now=ctx.now())

    run_with_context(change)
    echo_stderr(f"{name} has the role {role}.")


@staff.command("set-end")
@click.argument("name")
@UNTIL
def staff_set_end(name: str, until: datetime | None) -> None:
    """Say until which day a colleague is let in. Without --until their access has no end."""
    from payments.staff import accounts, administration

    async def change(ctx: "Context") -> None:
        async with ctx.sessions.begin() as session:
            colleague = await accounts.get_by_name(session, name)
            end = _access_end(ctx, until)
            await administration.set_access_end(session, colleague, end, now=ctx.now())

    run_with_context(change)
    echo_stderr(f"{name} is let in " + (f"until {until:%Y-%m-%d}." if until else "without an end."))


def _access_end(ctx: "Context", until: datetime | None) -> datetime | None:
    from payments.staff import accounts

    zone = ctx.settings.accounting_zoneinfo
    return None if until is None else accounts.access_end(until.date(), zone, now=ctx.now())


@staff.command("remove")
@click.argument("name")
def staff_remove(name: str) -> None:
    """Let a colleague in no more: ends their sessions, links and passkeys."""
    from payments.staff import accounts, administration

    async def remove(ctx: "Context") -> None:
        async with ctx.sessions.begin() as session:
            colleague = await accounts.get_by_name(session, name)
            await administration.revoke_credentials(session, colleague, now=ctx.now())
            await administration.remove(session, colleague, now=ctx.now())

    run_with_context(remove)
    echo_stderr(f"{name} is removed. What they did stays in the audit.")


@staff.command("sign-out-everybody")
def staff_sign_out_everybody() -> None:
    """End every session and link of every colleague; passkeys stay."""
    from payments.staff import administration

    async def sign_out(ctx: "Context") -> int:
        async with ctx.sessions.begin() as session:
            return await administration.sign_out_everybody(session, now=ctx.now())

    echo_stderr(f"Sessions ended: {run_with_context(sign_out)}. Everybody signs in anew.")


@staff.command("list")
@json_option
def staff_list(as_json: bool) -> None:
    """Print who may come in, and as what."""
    from payments.staff import accounts

    async def read(ctx: "Context") -> list[dict[str, str | None]]:
        async with ctx.sessions() as session:
            active = await accounts.list_active(session)
        zone = ctx.settings.accounting_zoneinfo
        return [
            {
                "name": colleague.name,
                "role": colleague.role.value,
                "until": None if (day := accounts.last_day(colleague, zone)) is None else str(day),
            }
            for colleague in active
        ]

    rows = run_with_context(read)
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            until = f" (until {row['until']})" if row["until"] else ""
            click.echo(f"{row['role']:8} {row['name']}{until}")
