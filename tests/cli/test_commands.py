"""The command line as an operator finds it: what there is, what each command needs, and one line
where something is not there.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from payments import cli
from payments.cli import main, staff
from payments.core.frequency import BOOKED_FREQUENCIES
from payments.core.settings import Settings
from payments.ledger.posting_rules import TransactionType
from payments.risk.emergency_stops import StopGroup, StopMode
from payments.staff.accounts import Role
from tests.support import command_line
from tests.support.secret_values import secret_named

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
UNREACHABLE = "postgresql+psycopg://nobody@127.0.0.1:9/none"
SETTINGS = {
    "PAYMENTS_DATABASE_URL": UNREACHABLE,
    "PAYMENTS_BASE_URL": "https://give.example.org",
    "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
    "PAYMENTS_SECRET_KEYS": secret_named("keys"),
}
CLI_ROOT = Path(cli.__file__).parent


def run(*words: str, **more: str) -> command_line.Finished:
    """`payments …` in a process of its own, with nothing in its environment but what is named."""
    environment = {name: value for name, value in os.environ.items() if "PAYMENTS_" not in name}
    return command_line.run_in({**environment, **SETTINGS, **more}, *words)


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += every_command(command, (*path, name))
    return found


@pytest.mark.parametrize("words", every_command(main), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0
    assert result.output.capitalize().startswith(f"Usage: main {' '.join(words)}".capitalize())


def test_help_imports_neither_the_web_framework_nor_the_database() -> None:
    loaded = "import sys, payments.cli; print([m for m in sys.modules if '.' not in m])"
    process = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    modules = set(ast.literal_eval(process.stdout))
    assert not modules & {"litestar", "sqlalchemy", "stripe", "pydantic", "procrastinate"}


def test_no_command_imports_the_package_that_assembles_them() -> None:
    for file in CLI_ROOT.glob("*.py"):
        if file.name == "__main__.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "payments.cli":
                assert file.name == "__init__.py", file.name


def test_choices_are_the_words_of_their_enums() -> None:
    stop = {option.name: option.type for option in main.commands["emergency-stop"].params}
    for choice, enum_class in (
        (staff.ROLE_CHOICE, Role),
        (stop["group"], StopGroup),
        (stop["mode"], StopMode),
    ):
        assert isinstance(choice, click.Choice)
        assert sorted(choice.choices) == sorted(enum_class)
    shown = CliRunner().invoke(main, ["export", "transactions", "--help"]).output
    for words in (TransactionType, BOOKED_FREQUENCIES):
        assert f"One of {', '.join(words)}." in " ".join(shown.split())


@pytest.mark.parametrize(
    "words",
    [
        "emergency-stop",
        "emergency-stop --group all",
        "emergency-stop --mode pause",
        "emergency-stop --group everybody --mode pause",
        "erase-identities --group all --mode pause",
        "erase-identities --dry-run",
        "erase-identities --resume",
        "work --concurrency 0",
        "reconcile --days 367",
        "period close",
        "check",
        "stop --group all --mode pause",
        "import",
        "reconcile --heal",
        "doctor --bank-line-seen",
    ],
)
def test_a_command_that_is_called_wrongly_does_nothing(words: str) -> None:
    assert CliRunner().invoke(main, words.split()).exit_code == 2


@pytest.mark.parametrize(
    "words", ["emergency-stop --group all --mode cancel", "erase-identities --force"]
)
def test_what_cannot_be_undone_is_asked_first(words: str) -> None:
    result = CliRunner().invoke(main, words.split(), input="n\n")
    assert result.exit_code == 1
    assert "Aborted!" in result.output


@pytest.mark.parametrize("words", ["migrate", "migrate --check", "verify-ledger", "report monthly"])
def test_a_database_that_is_away_is_one_line(words: str) -> None:
    process = run(*words.split())
    assert process.exit_code == 1
    assert process.stdout == b""
    assert process.stderr == "Error: The database of PAYMENTS_DATABASE_URL is away.\n"


def test_settings_that_are_not_usable_are_named() -> None:
    process = run("verify-ledger", PAYMENTS_NO_SUCH_SETTING="1")
    assert process.exit_code == 1
    assert "PAYMENTS_NO_SUCH_SETTING" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_new_key_is_one_the_settings_take() -> None:
    key = run("keys", "new").stdout.decode().strip()
    assert len(bytes.fromhex(key)) == 32
    printed = run("config", PAYMENTS_SECRET_KEYS=key)
    assert printed.exit_code == 0, printed.stderr
    assert "PAYMENTS_BASE_URL=https://give.example.org" in printed.stdout.decode()
    assert key not in printed.stdout.decode()


def test_a_whole_environment_is_written_and_says_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "payments.env"
    written = run("keys", "new", "--all", "--output", str(file))
    assert (written.exit_code, written.stdout) == (0, b"")
    assert file.stat().st_mode & 0o777 == 0o600
    given = dict(
        line.split("=", 1) for line in file.read_text().splitlines() if line[:1] not in ("#", "")
    )
    left = {name for name, value in given.items() if value == "replace_me"}
    needed = {"DATABASE_URL", "BASE_URL", "STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRETS"}
    assert left == {f"PAYMENTS_{name}" for name in needed}
    refused = run("config", **given)
    named = set(re.findall(r"^\s*(PAYMENTS_\w+):", refused.stderr, re.MULTILINE))
    assert named == left
    filled = {name: SETTINGS.get(name, value) for name, value in given.items() if name in left}
    filled["PAYMENTS_STRIPE_WEBHOOK_SECRETS"] = "whsec_" + secret_named("webhooks")
    assert run("config", **given | filled).exit_code == 0
    names = re.findall(r"^(?:# )?(PAYMENTS_\w+)=", file.read_text(), re.MULTILINE)
    assert names == [f"PAYMENTS_{name.upper()}" for name in Settings.model_fields]

    before = file.read_text()
    again = run("keys", "new", "--all", "--output", str(file))
    assert (again.exit_code, file.read_text()) == (1, before)
    assert "Nothing was written" in again.stderr
    assert run("keys", "new", "--output", str(tmp_path / "other")).exit_code == 2


def test_a_new_installation_is_written_whole_and_its_sql_makes_two_logins(tmp_path: Path) -> None:
    file = tmp_path / "payments.env"
    values = ("--base-url", "https://give.example.org", "--mail-from", "Us <post@example.net>")
    smtp = ("--smtp-url", "smtps://us:" + secret_named("smtp") + "@mail.example.net")
    for wrong in (
        ("--base-url", "give"),
        (*values, "--database", "a;b"),
        (*values, "--smtp-url", "x"),
        (*values, *smtp),
    ):
        refused = run("init", str(file), *wrong)
        assert refused.exit_code in (1, 2)
        assert not file.exists()
    made = run("init", str(file), *values, "--accounting-zone", "Europe/Amsterdam")
    assert made.exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    sourced = subprocess.run(
        ("sh", "-c", f"set -a; . {file}; env"), env={}, capture_output=True, text=True, check=True
    )
    given = dict(line.split("=", 1) for line in sourced.stdout.splitlines() if "PAYMENTS_" in line)
    assert given["PAYMENTS_MAIL_FROM"] == "Us <post@example.net>"
    assert given["PAYMENTS_ACCOUNTING_ZONE"] == "Europe/Amsterdam"
    left = {name for name, value in given.items() if value == "replace_me"}
    assert left == set(re.findall(r"^  (PAYMENTS_\w+)$", made.stderr, re.MULTILINE)) != set()
    # Passwords of the database stand in the SQL and the file, and nowhere else.
    sql = made.stdout.decode()
    passwords = re.findall(r"PASSWORD '([\w-]{32})'", sql)
    assert len(set(passwords)) == 2
    assert f"payments_service:{passwords[1]}@localhost/payments" in given["PAYMENTS_DATABASE_URL"]
    assert not any(password in made.stderr for password in passwords)
    documented = re.search(r"```sql\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    assert documented is not None
    plain = re.sub(r"'[^']*'", "…", "".join(sql.splitlines(keepends=True)[1:]))
    assert plain == re.sub(r"'[^']*'", "…", documented[1])
    assert run("init", str(file), *values).exit_code == 1
    assert subprocess.run(("sh", "-euc", f". {ROOT / '.env.example'}"), check=False).returncode == 0
