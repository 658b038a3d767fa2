"""`payments accounts`: the account map, as a file: taken out, put in again, and its versions."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from payments.cli.common import (
    INPUT_FILE,
    OUTPUT_FILE,
    echo_stderr,
    output_file,
    run_with_context,
)

if TYPE_CHECKING:
    from payments.accounting.exports.account_map import AccountMapVersion
    from payments.infra.context import Context


@click.group()
def accounts() -> None:
    """Name our accounts as your accounting programs call them."""


@accounts.command("export")
@click.option("--version", type=click.IntRange(min=1), help="An earlier one; the current if not.")
@click.option("--output", type=OUTPUT_FILE, help="A file instead of stdout.")
def accounts_export(version: int | None, output: Path | None) -> None:
    """Write the account map: a line for each account, a column for each program."""
    from payments.accounting.exports import account_map

    async def read(ctx: "Context") -> bytes:
        async with ctx.sessions() as session:
            if version is None:
                return account_map.to_csv(await account_map.current_names(session))
            found = await account_map.get_version(session, version)
        if found is None:
            raise click.ClickException(f"There is no version {version}.")
        return account_map.to_csv(account_map.with_defaults(found.names))

    data = run_with_context(read)
    with output_file(output) as out:
        out.write(data)


@accounts.command("import")
@click.argument("file", type=INPUT_FILE)
def accounts_import(file: Path) -> None:
    """Save a file of that form as the current account map, if every program accepts its names."""
    from payments.accounting.exports import account_map
    from payments.infra import audit_log

    data = file.read_bytes()

    async def save(ctx: "Context") -> int:
        return await account_map.save(ctx, account_map.from_csv(data), by=audit_log.CLI_ACTOR)

    echo_stderr(f"Version {run_with_context(save)} of the account map is the current one.")


@accounts.command("history")
def accounts_history() -> None:
    """List the versions of the account map, the newest first."""
    from payments.accounting.exports import account_map

    async def read(ctx: "Context") -> "list[AccountMapVersion]":
        async with ctx.sessions() as session:
            return await account_map.history(session)

    for one in run_with_context(read):
        click.echo(f"{one.id}  {one.saved_at:%Y-%m-%dT%H:%M:%SZ}  {one.saved_by}")
