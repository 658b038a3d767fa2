"""The operator's settings: the ones in force, and new keys for them."""

from pathlib import Path

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
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Print every setting, with a new secret wherever one is ours to make.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --all: write them to this new file, which only its owner may read.",
)
def keys_new(signing: bool, everything: bool, output: Path | None) -> None:
    """Print a new key for PAYMENTS_SECRET_KEYS; put it before the old ones to roll."""
    from payments.core import new_settings

    if output is not None and not everything:
        raise click.UsageError("--output is for --all.")
    if not everything:
        click.echo(new_settings.new_key())
        return
    if signing:
        raise click.UsageError("--all has a signing key already.")
    text = new_settings.environment_file()
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        new_settings.write_private(output, text)
    except FileExistsError:
        raise click.ClickException(
            f"{output} is there already, and a key that is overwritten is lost. Nothing was "
            "written."
        ) from None
    placeholders = text.count(f"={new_settings.PLACEHOLDER}")
    click.echo(
        f"Wrote {output}. Replace {new_settings.PLACEHOLDER} in its {placeholders} lines; "
        "`payments config` reads it and says what is missing.",
        err=True,
    )
