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
    """Keys for links, for finding donors, and for signing mails."""


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
    placeholders = len(new_settings.missing(text))
    click.echo(
        f"Wrote {output}. Replace {new_settings.PLACEHOLDER} in its {placeholders} lines; "
        "`payments config` reads it and says what is missing.",
        err=True,
    )


@keys.command("dkim")
@click.argument("domain")
@click.argument("selector")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Make a new key, in this new file, which only its owner may read.",
)
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Print the record of the key in this file instead.",
)
def keys_dkim(domain: str, selector: str, output: Path | None, key: Path | None) -> None:
    """Make a key that signs mails (DKIM), and print the record that DNS must have for it.

    DOMAIN is that of PAYMENTS_MAIL_FROM. SELECTOR is any name, and stands in every mail. To roll
    the key choose another selector: the old record must stay while old mails are on their way.
    """
    from payments.core import mail_settings, new_settings
    from payments.mail import dkim_signature

    if (output is None) == (key is None):
        raise click.UsageError("Give --output for a new key, or --key for the record of one.")
    try:
        domain = mail_settings.validate_dkim_domain(domain)
        selector = mail_settings.validate_dns_name(selector)
        if key is not None:
            mail_settings.validate_dkim_key_file(str(key))
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    file = key or output
    assert file is not None
    if output is not None:
        try:
            new_settings.write_private(output, dkim_signature.new_key())
        except FileExistsError:
            raise click.ClickException(f"{output} is there already. Nothing was written.") from None
    record = dkim_signature.public_record(file.read_bytes())
    click.echo(dkim_signature.zone_line(selector, domain, record))
    click.echo(
        "Publish this record, wait until it is seen everywhere, then set "
        f"PAYMENTS_DKIM_DOMAIN={domain}, PAYMENTS_DKIM_SELECTOR={selector} and "
        f"PAYMENTS_DKIM_KEY_FILE={file.absolute()}. `payments doctor` looks whether DNS has it.",
        err=True,
    )
