"""A new installation: its environment file, and what a database administrator has to run."""

from pathlib import Path

import click

from payments.cli.common import echo_stderr

LOGINS = ("payments_owner", "payments_service")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--base-url", required=True, help="Where readers will reach it: https://…")
@click.option(
    "--database-host", default="localhost", show_default=True, help="Of PostgreSQL, or host:port."
)
@click.option("--database", default="payments", show_default=True, help="Its name.")
@click.option("--mail-from", help='The neutral sender of mails: "Support <post@example.net>".')
@click.option("--smtp-url", help="Where mails are handed over, if without a password: smtp://host")
@click.option("--publication-name", help="What readers know you as.")
@click.option("--accounting-zone", help="Months are months of this time zone: Europe/Amsterdam")
def init(file: Path, base_url: str, database_host: str, database: str, **more: str | None) -> None:
    """Write a new environment FILE, and print the SQL that makes its database.

    FILE has every setting, with new secrets, and only its owner may read it. The SQL, with the
    passwords of two logins, goes to stdout: for whoever administers PostgreSQL.
    """
    from payments.core import new_settings

    if not database.replace("_", "a").isalnum() or not database.isascii():
        raise click.BadParameter("letters, digits and _ only", param_hint="--database")
    owner, service = (new_settings.new_password() for _ in LOGINS)
    at = f"{database_host}/{database}"
    given = {name: value for name, value in more.items() if value}
    _refuse_password(given.get("smtp_url", ""))
    given |= {
        "base_url": base_url,
        "database_url": f"postgresql://{LOGINS[1]}:{service}@{at}",
    }
    _refuse_wrong(given)
    text = new_settings.environment_file(given)
    try:
        new_settings.write_private(file, text)
    except FileExistsError:
        raise click.ClickException(
            f"{file} is there already, and a key that is overwritten is lost. Nothing was written."
        ) from None
    click.echo(_sql(database, owner, service), nl=False)
    echo_stderr(f"Wrote {file}. Still missing in it:")
    for name in new_settings.missing(text):
        echo_stderr(f"  {name}")
    echo_stderr(
        "Next: run the SQL above as an administrator of PostgreSQL; then, once, as the owner\n"
        f"  PAYMENTS_DATABASE_URL=postgresql://{LOGINS[0]}:PASSWORD@{at} payments migrate\n"
        "then with the settings of the file `payments stripe setup`, which prints the webhook's"
        " secret, and `payments doctor`."
    )


def _refuse_password(smtp_url: str) -> None:
    """Raise ClickException for a password in an argument: everybody on the machine can read it in
    the list of processes.
    """
    if "@" in smtp_url:
        raise click.ClickException(
            "Nothing was written. An argument with a password can be read by everybody on this"
            " machine: leave --smtp-url out, and write PAYMENTS_SMTP_URL into the file."
        )


def _refuse_wrong(given: dict[str, str]) -> None:
    """Raise ClickException for a value that the settings would refuse, by its setting's name."""
    from payments.core import settings

    checked = {f"PAYMENTS_{name.upper()}": value for name, value in given.items()}
    try:
        settings.load({**checked, "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0123456789abcdef" * 2})
    except settings.SettingsError as error:
        raise click.ClickException(f"Nothing was written.\n{error}") from None


def _sql(database: str, owner: str, service: str) -> str:
    return f"""\
-- A role that owns nothing, once for each server; the owner, who migrates; the service's login.
CREATE ROLE payments_app NOLOGIN;
CREATE ROLE {LOGINS[0]} LOGIN PASSWORD '{owner}';
GRANT payments_app TO {LOGINS[0]};
CREATE ROLE {LOGINS[1]} LOGIN PASSWORD '{service}';
GRANT payments_app TO {LOGINS[1]};
CREATE DATABASE {database} OWNER {LOGINS[0]};
REVOKE CONNECT ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT ON DATABASE {database} TO {LOGINS[1]};
"""
