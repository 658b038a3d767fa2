"""The operator's settings: the ones in force, and new keys for them."""

import click

from payments.cli.common import load_settings


@click.command()
def config() -> None:
    """Print the settings in force, secrets masked."""
    for name, value in load_settings():
        click.echo(f"PAYMENTS_{name.upper()}={value}")


@click.group()
def keys() -> None:
    """Keys for links and for finding donors."""


@keys.command("new")
@click.option(
    "--signing", is_flag=True, help="For PAYMENTS_CLOSE_PACK_SIGNING_KEY, which signs months."
)
def keys_new(signing: bool) -> None:  # noqa: ARG001 - both are 32 random bytes
    """Print a new key for PAYMENTS_SECRET_KEYS; put it before the old ones to roll."""
    import secrets

    click.echo(secrets.token_hex(32))
