"""Tests are on their own: what several need is in `tests/support`, where it has an owner."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
MAX_LINES, MAX_TEST_LINES = 400, 700
PACKAGES = [  # all but the whole, which has a map of its own
    file.parent.relative_to(ROOT)
    for top in ("payments", "webhooks")
    for file in sorted((ROOT / top).rglob("__init__.py"))
    if file.parent != ROOT / "payments"
]
MODULES = {
    ".".join(("tests", *file.relative_to(TESTS).with_suffix("").parts)): file
    for file in sorted(TESTS.rglob("*.py"))
}


def is_tests_own(module: str) -> bool:
    """Tell whether a module is nobody else's to import: it holds tests, or fixtures."""
    name = module.rpartition(".")[2]
    return name.startswith("test_") or name == "conftest"


def imported(module: str) -> Iterator[str]:
    """Yield the modules of ours that a module imports; `from package import name` may be one."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None] if node.level else []
            source = ".".join((*base, *([node.module] if node.module else [])))
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def test_no_test_module_imports_another() -> None:
    found = {
        f"{module} imports {other}"
        for module in MODULES
        for other in imported(module)
        if other in MODULES and is_tests_own(other)
    }
    assert found == set(), "move what both need to tests/support"


def test_support_imports_nothing_of_a_room() -> None:
    rooms = {"tests.support", "tests"}
    found = {
        f"{module} imports {other}"
        for module in MODULES
        if module.startswith("tests.support.")
        for other in imported(module)
        if other in MODULES and other.rpartition(".")[0] not in rooms
    }
    assert found == set()


def test_every_directory_of_tests_is_a_package() -> None:
    """Else two files of one name in two directories would be one module."""
    folders = {file.parent for file in MODULES.values()}
    assert [
        str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()
    ] == []


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_the_map_of_a_package_has_a_line_for_each_of_its_files(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    mapped = re.findall(r"^(\w+)  +\S", docstring, re.MULTILINE)
    files = {file.stem for file in (ROOT / package).glob("*.py")} - {"__init__"}
    folders = {folder.parent.name for folder in (ROOT / package).glob("*/__init__.py")}
    assert sorted(mapped) == sorted(files | folders)


def test_no_file_is_longer_than_a_noun() -> None:
    """Past the limit there are two of them: CONTRIBUTING.md says so."""
    limits = {"payments": MAX_LINES, "webhooks": MAX_LINES, "tests": MAX_TEST_LINES}
    lengths = {
        path.relative_to(ROOT).as_posix(): (len(path.read_text().splitlines()), limit)
        for folder, limit in limits.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert len(lengths) > 600
    too_long = {path: lines for path, (lines, limit) in lengths.items() if lines > limit}
    assert too_long == {}
