"""The demo's own settings: they are a problem to no check, and show what is special."""

import shlex
from pathlib import Path

import pytest
from pydantic import ValidationError

from payments.core.brand_settings import DonorMails
from payments.core.settings import Settings
from payments.ops.demo import runner
from payments.ops.schedules import SCHEDULES
from tests.support import command_line

NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:9/none"


def values_of(folder: Path) -> dict[str, str]:
    return runner.setting_values(NOWHERE, "smtp://127.0.0.1:9", folder, 8000)


def test_the_demo_protects_its_donors_or_writes_in_its_own_name(tmp_path: Path) -> None:
    values = values_of(tmp_path)
    for mails in DonorMails:
        made = Settings.model_validate(values | {"donor_mails": mails})
        assert made.has_own_colors
        assert set(made.stripe_fees) == {"eur", "usd"}  # the fee is offered
    protection = runner.protection(tmp_path)
    protected = Settings.model_validate(values | protection | {"donor_mails": "neutral"})
    assert protected.safety_policy is not None
    assert protected.safety_policy.protects("RU")
    with pytest.raises(ValidationError, match="must be neutral or none"):
        Settings.model_validate(values | protection | {"donor_mails": "full"})
    assert set(runner.EACH_DAY) < {schedule.name for schedule in SCHEDULES}


def test_a_command_runs_with_the_settings_that_the_demo_writes(tmp_path: Path) -> None:
    values = values_of(tmp_path) | runner.protection(tmp_path)
    text = runner.environment_text(values | {"support_contact": "it's $HOME"})
    given = dict(
        shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in text.splitlines()
    )
    assert given["PAYMENTS_SUPPORT_CONTACT"] == "it's $HOME"
    printed = command_line.run_in(given, "config")
    assert printed.exit_code == 0, printed.stderr
    assert f"PAYMENTS_BRAND_COLOR={values['brand_color']}" in printed.stdout.decode()
    # else the doctor says that others can read it
    assert Path(values["address_key_dir"]).stat().st_mode & 0o077 == 0
