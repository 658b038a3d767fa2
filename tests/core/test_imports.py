"""Who may import whom: the contracts hold, each of them notices what it forbids, and no two files
import each other by any way.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import payments

ROOT = Path(payments.__file__).parents[1]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
ROOMS = "Rooms import downwards, and every file stands in a room"
FRAMEWORK = "Only the doors know the web framework"
WEBHOOKS = "Webhooks stand above the rooms and below the other doors"
WEBHOOKS_FROM_ROOMS = "Only the other doors know the webhooks"
SANDBOX = "Only the operator's doors know the sandbox"
CIRCLES = "No circle between the files of a package"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with the packages, their contracts and nothing else."""
    for package in ("payments", "webhooks"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> tuple[int, str]:
    """Run the contracts of a folder over the packages in it."""
    done = subprocess.run(
        [LINT_IMPORTS, "--no-logo", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_contracts_hold(copied: Path) -> None:
    code, output = lint(copied)
    assert "6 kept, 0 broken" in output
    assert code == 0


# The contract that each of these lines breaks, and the file that it is added to.
FORBIDDEN = (
    # a room that imports a higher room, at the top of a file and inside a function
    (ROOMS, "payments/ledger/entries.py", "from payments.giving import charges"),
    (ROOMS, "payments/mail/render.py", "def f():\n    from payments.giving import charges"),
    # a room that imports its neighbour
    (ROOMS, "payments/mail/links.py", "from payments.ledger import entries"),
    # the sandbox that knows us
    (ROOMS, "payments/sandbox/clock.py", "from payments.core import calendar"),
    (ROOMS, "payments/sandbox/clock.py", "from payments.infra import db"),
    (WEBHOOKS_FROM_ROOMS, "payments/sandbox/clock.py", "import webhooks"),
    # a room that knows the web framework
    (FRAMEWORK, "payments/giving/checkout.py", "from litestar import Request"),
    (FRAMEWORK, "payments/core/money.py", "import litestar.exceptions"),
    # a room that knows a door, and a door that knows a higher one
    (ROOMS, "payments/giving/invoices.py", "from payments.web import app"),
    (WEBHOOKS_FROM_ROOMS, "payments/settlement/refunds.py", "from webhooks import intake"),
    (ROOMS, "payments/web/app.py", "from payments.ops import worker"),
    (WEBHOOKS, "webhooks/intake.py", "from payments.web import forms"),
    # the sandbox in production
    (SANDBOX, "payments/web/app.py", "from payments.sandbox import Sandbox"),
    (SANDBOX, "payments/infra/stripe_client.py", "from payments.sandbox import Sandbox"),
    (SANDBOX, "webhooks/intake.py", "from payments.sandbox import Sandbox"),
)


def appends(folder: Path, path: str, line: str) -> None:
    changed = folder / path
    changed.parent.mkdir(exist_ok=True)
    with changed.open("a") as file:
        file.write(f"\n\n{line}\n")


def test_each_forbidden_import_is_noticed_by_its_contract(copied: Path) -> None:
    for _, path, line in FORBIDDEN:
        appends(copied, path, line)
    code, output = lint(copied)
    assert code == 1
    noticed = set()
    for contract, path, line in FORBIDDEN:
        importer = path.removesuffix(".py").replace("/", ".")
        package, _, name = line.rpartition("from ")[2].removeprefix("import ").partition(" import ")
        imported = package if name in ("", "Request", "Sandbox") else f"{package}.{name}"
        imported = imported.removesuffix(".exceptions")  # of another's package the first name
        found = f"{importer} -> {imported} (l."
        assert found in broken_contracts(output)[contract], (contract, found)
        noticed.add(found)
    assert len(noticed) == len(FORBIDDEN)


def broken_contracts(output: str) -> dict[str, str]:
    """What the contracts that are broken have noticed, by their names."""
    pieces = re.split(r"\n(.+)\n-{4,}\n", output.partition("Broken contracts")[2])
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


@pytest.mark.parametrize(
    ("path", "line", "contract"),
    [
        # a file and a package outside any room
        ("payments/stray.py", "X = 1", ROOMS),
        ("payments/stray/__init__.py", "from payments.web import app", ROOMS),
        # two files of one room that import each other
        ("payments/core/errors.py", "from payments.core import money", CIRCLES),
        # two folders of the web that do, though no two of their files
        ("payments/web/risk_check.py", "from payments.web.donate import safety", CIRCLES),
    ],
)
def test_what_is_out_of_place_is_noticed(copied: Path, path: str, line: str, contract: str) -> None:
    appends(copied, path, line)
    code, output = lint(copied)
    assert f"{contract} BROKEN" in output
    assert code == 1


def circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """The groups of files of which each imports every other, directly or not."""
    found: list[set[str]] = []
    for name in sorted(graph.modules):
        if any(name in group for group in found):
            continue
        group = graph.find_upstream_modules(name) & graph.find_downstream_modules(name)
        if group:
            found.append(group | {name})
    return found


def test_no_two_files_import_each_other() -> None:
    """By any way, packages' own files and imports inside functions and for types included."""
    assert circles(grimp.build_graph("payments", "webhooks", cache_dir=None)) == []


def test_a_circle_through_a_package_is_noticed() -> None:
    graph = grimp.build_graph("payments", "webhooks", cache_dir=None)
    graph.add_import(importer="payments.cli.common", imported="payments.cli")
    (found,) = circles(graph)
    assert {"payments.cli", "payments.cli.common"} <= found


def test_the_map_of_the_package_imports_nothing() -> None:
    """No contract can see `payments` itself, and every import of a room runs it first."""
    tree = ast.parse(Path(payments.__file__).read_text())
    assert [type(node) for node in tree.body] == [ast.Expr]


def rooms() -> list[Path]:
    inside = (path.parent for path in (ROOT / "payments").glob("*/__init__.py"))
    return [*sorted(inside), ROOT / "webhooks"]


@pytest.mark.parametrize("room", rooms(), ids=lambda room: room.name)
def test_every_room_says_what_it_is_and_stands_on_the_map(room: Path) -> None:
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert docstring
    assert len(docstring.split()) >= 10
    assert any(line.split()[:1] == [room.name] for line in (payments.__doc__ or "").splitlines())
