"""The operator's colleagues: the first of them comes in by a link that is printed here."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from payments.infra.context import Runtime

ROLES = click.Choice(["finance", "support", "admin"])


@click.group()
def staff() -> None:
    """Colleagues and what they may see."""


@staff.command("invite")
@click.argument("name")
@click.option("--role", type=ROLES, default="finance", show_default=True)
@click.option("--replace", is_flag=True, help="A device is lost: end all their ways in first.")
def staff_invite(name: str, role: str, replace: bool) -> None:
    """Print a one-time link for a colleague, good for an hour. On its page a passkey is made."""
    from payments.cli import run_with
    from payments.staff import accounts as people
    from payments.staff import passkeys

    async def invite(rt: "Runtime") -> str:
        async with rt.sessions.begin() as session:
            if replace:
                person = await people.named(session, name)
                await passkeys.revoke_all(session, person, now=rt.now())
            token = await people.invite(session, name, role=people.Role(role), now=rt.now())
        return f"{rt.settings.base_url}/staff/enter/{token}"

    click.echo(run_with(invite))


@staff.command("link")
@click.argument("name")
def staff_link(name: str) -> None:
    """Print a one-time link for a colleague without a passkey at hand, good for ten minutes."""
    from payments.cli import run_with
    from payments.staff import accounts as people

    async def link(rt: "Runtime") -> str:
        async with rt.sessions.begin() as session:
            token = await people.link(session, name, now=rt.now())
        return f"{rt.settings.base_url}/staff/enter/{token}"

    click.echo(run_with(link))


@staff.command("role")
@click.argument("name")
@click.argument("role", type=ROLES)
def staff_role(name: str, role: str) -> None:
    """Give a colleague another role, and sign them out."""
    from payments.cli import run_with
    from payments.staff import accounts as people

    async def change(rt: "Runtime") -> None:
        async with rt.sessions.begin() as session:
            person = await people.named(session, name)
            await people.change_role(session, person, people.Role(role), now=rt.now())

    run_with(change)
    click.echo(f"{name} has the role {role}.", err=True)


@staff.command("remove")
@click.argument("name")
def staff_remove(name: str) -> None:
    """Let a colleague in no more: ends their sessions, links and passkeys."""
    from payments.cli import run_with
    from payments.staff import accounts as people
    from payments.staff import passkeys

    async def remove(rt: "Runtime") -> None:
        async with rt.sessions.begin() as session:
            person = await people.named(session, name)
            await passkeys.revoke_all(session, person, now=rt.now())
            await people.remove(session, person, now=rt.now())

    run_with(remove)
    click.echo(f"{name} is removed. What they did stays in the audit.", err=True)


@staff.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def staff_list(as_json: bool) -> None:
    """Print who may come in, and as what."""
    from payments.cli import run_with
    from payments.staff import accounts as people

    async def listed(rt: "Runtime") -> list[tuple[str, str]]:
        async with rt.sessions() as session:
            return [(one.name, one.role.value) for one in await people.everybody(session)]

    found = run_with(listed)
    if as_json:
        click.echo(json.dumps([{"name": name, "role": role} for name, role in found]))
    else:
        for name, role in found:
            click.echo(f"{role:8} {name}")
