"""What `deploy/` holds fits the program: its commands, its settings, and few privileges."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml  # type: ignore[import-untyped]  # it has no types of its own

from payments.cli import main
from payments.core.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
SETTINGS = {f"PAYMENTS_{name.upper()}" for name in Settings.model_fields}


def parse(arguments: list[str]) -> None:
    """Have the command line read a command, and do nothing. Raises UsageError."""
    name, *rest = arguments
    command = main.commands[name]
    command.make_context(name, rest, parent=click.Context(main))


def test_a_command_that_there_is_not_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        parse(["serve", "--no-such-option"])


def test_each_unit_of_systemd_starts_a_command_that_there_is(tmp_path: Path) -> None:
    assert [unit.stem for unit in UNITS] == ["payments-serve", "payments-work"]
    for unit in UNITS:
        text = unit.read_text()
        [started] = re.findall(r"^ExecStart=/opt/payments/bin/payments (.*)$", text, re.MULTILINE)
        parse(shlex.split(started))
        assert {"User=payments", "NoNewPrivileges=yes", "ProtectSystem=strict"} < {
            *text.splitlines()
        }
        (tmp_path / unit.name).write_text(re.sub(r"/opt/payments/bin/payments", "/bin/true", text))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here: no unit was verified by it")
    verify = ("systemd-analyze", "verify", "--man=no", *map(str, tmp_path.glob("*.service")))
    found = subprocess.run(verify, capture_output=True, text=True, check=False).stderr
    assert [line for line in found.splitlines() if "payments" in line] == []


def test_containers_have_few_privileges_and_start_commands_that_there_are() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    [user] = [line for line in lines if line.startswith("USER ")]
    assert user == "USER 10001"
    [default] = [line.removeprefix("CMD ") for line in lines if line.startswith("CMD ")]
    parse(yaml.safe_load(default))
    copied = [
        line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line
    ]
    assert copied == ["requirements-production.lock", "dist/reader_payments-*.whl"]
    assert (DEPLOY.parent / copied[0]).exists()
    services = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]
    ours = {name: one for name, one in services.items() if one.get("image") == "reader-payments"}
    assert set(ours) == {"serve", "work", "migrate"}
    for one in ours.values():
        parse(one["command"])
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert set(one["environment"]) - SETTINGS == {"PROMETHEUS_MULTIPROC_DIR"}
        assert one["volumes"] == ["keys:/var/lib/payments/keys"]  # one folder for all
        assert "ports" not in one  # only the proxy is reached from outside


@pytest.mark.parametrize(
    "file", [one for one in DEPLOY.rglob("*") if one.is_file()], ids=lambda one: one.name
)
def test_each_setting_that_is_named_exists(file: Path) -> None:
    assert set(re.findall(r"\bPAYMENTS_[A-Z_]*[A-Z]\b", file.read_text())) <= SETTINGS
