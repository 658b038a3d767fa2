"""The operator's colleagues: the first of them comes in by a link that is printed here."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from payments.infra.context import Context

ROLE_CHOICE = click.Choice(["finance", "support", "admin"])


@click.group()
def staff() -> None:
    """Colleagues and what they may see."""


@staff.command("invite")
@click.argument("name")
@click.option("--role", type=ROLE_CHOICE, default="finance", show_default=True)
@click.option("--replace", is_flag=True, help="A device is lost: end all their ways in first.")
def staff_invite(name: str, role: str, revoke_existing: bool) -> None:
    """Print a one-time link for a colleague, good for an hour. On its page a passkey is made."""
    from payments.cli import run_with_context
    from payments.staff import accounts as people
    from payments.staff import passkeys

    async def invite(ctx: "Context") -> str:
        async with ctx.sessions.begin() as session:
            if revoke_existing:
                person = await people.get_by_name(session, name)
                await passkeys.revoke_all(session, person, now=ctx.now())
            token = await people.invite(session, name, role=people.Role(role), now=ctx.now())
        return f"{ctx.settings.base_url}/staff/enter/{token}"

    click.echo(run_with_context(invite))


@staff.command("link")
@click.argument("name")
def staff_link(name: str) -> None:
    """Print a one-time link for a colleague without a passkey at hand, good for ten minutes."""
    from payments.cli import run_with_context
    from payments.staff import accounts as people

    async def link(ctx: "Context") -> str:
        async with ctx.sessions.begin() as session:
            token = await people.create_link(session, name, now=ctx.now())
        return f"{ctx.settings.base_url}/staff/enter/{token}"

    click.echo(run_with_context(link))


@staff.command("role")
@click.argument("name")
@click.argument("role", type=ROLE_CHOICE)
def staff_set_role(name: str, role: str) -> None:
    """Give a colleague another role, and sign them out."""
    from payments.cli import run_with_context
    from payments.staff import accounts as people

    async def change(ctx: "Context") -> None:
        async with ctx.sessions.begin() as session:
            person = await people.get_by_name(session, name)
            await people.change_role(session, person, people.Role(role), now=ctx.now())

    run_with_context(change)
    click.echo(f"{name} has the role {role}.", err=True)


@staff.command("remove")
@click.argument("name")
def staff_remove(name: str) -> None:
    """Let a colleague in no more: ends their sessions, links and passkeys."""
    from payments.cli import run_with_context
    from payments.staff import accounts as people
    from payments.staff import passkeys

    async def remove(ctx: "Context") -> None:
        async with ctx.sessions.begin() as session:
            person = await people.get_by_name(session, name)
            await passkeys.revoke_all(session, person, now=ctx.now())
            await people.remove(session, person, now=ctx.now())

    run_with_context(remove)
    click.echo(f"{name} is removed. What they did stays in the audit.", err=True)


@staff.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def staff_list(as_json: bool) -> None:
    """Print who may come in, and as what."""
    from payments.cli import run_with_context
    from payments.staff import accounts as people

    async def listed(ctx: "Context") -> list[tuple[str, str]]:
        async with ctx.sessions() as session:
            return [(one.name, one.role.value) for one in await people.list_active(session)]

    found = run_with_context(listed)
    if as_json:
        click.echo(json.dumps([{"name": name, "role": role} for name, role in found]))
    else:
        for name, role in found:
            click.echo(f"{role:8} {name}")
