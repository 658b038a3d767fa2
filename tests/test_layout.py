"""Tests are on their own: what several need is in `tests/support`, where it has an owner."""

import ast
from collections.abc import Iterator
from pathlib import Path

import payments.sandbox

TESTS = Path(__file__).parent
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


def test_the_map_of_the_sandbox_has_a_line_for_each_file() -> None:
    lines = [line.split(maxsplit=1) for line in (payments.sandbox.__doc__ or "").splitlines()]
    mapped = [words[0] for words in lines[6:] if words]
    files = {file.stem for file in Path(payments.sandbox.__path__[0]).glob("*.py")}
    assert sorted(mapped) == sorted(files - {"__init__"})
    assert [words[0] for words in lines[6:] if len(words) == 1] == []
