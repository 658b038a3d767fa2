"""Each query that is cut, and each list of Stripe, with the reason why nothing is lost by it.

What a limit cuts off, nobody sees: a sum over it is wrong, and a decision on it too. So each place
has its reason in `limits.txt`, and a new one fails here until somebody has thought about it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
REVIEWED = Path(__file__).with_name("limits.txt")
SQL_LIMIT = re.compile(r"\bLIMIT\b")


def places() -> Iterator[str]:
    """Yield `file name`, the function or constant, of each cut query and list of Stripe."""
    for package in ("payments", "webhooks"):
        for file in sorted((ROOT / package).rglob("*.py")):
            path = file.relative_to(ROOT).as_posix()
            if not path.startswith("payments/sandbox/"):
                for name, node in _named(ast.parse(file.read_text())):
                    if any(_cuts(inner) for inner in ast.walk(node)):
                        yield f"{path} {name}"


def _named(module: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield what stands at the top of a file, and the methods of its classes, with its name."""
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield from (
                (f"{node.name}.{inner.name}", inner)
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            )
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                yield target.id, node


def _cuts(node: ast.AST) -> bool:
    """Whether this is `.limit(…)`, `.list_async(…)` or SQL with LIMIT."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("limit", "list_async") and bool(node.args)
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and SQL_LIMIT.search(node.value) is not None
    )


def reviewed() -> dict[str, str]:
    lines = REVIEWED.read_text().splitlines()
    pairs = [line.partition(": ") for line in lines if line and not line.startswith("#")]
    return {place: reason for place, _, reason in pairs}


def test_each_limit_has_a_reason_and_each_reason_a_limit() -> None:
    reasons = reviewed()
    assert sorted(reasons) == sorted(set(places())), "write who comes back for the rest: limits.txt"
    assert [place for place, reason in reasons.items() if len(reason.split()) < 3] == []


def test_a_limit_is_found_in_each_of_its_forms() -> None:
    for code in (
        "async def f():\n    return await s.scalars(query.limit(10))",
        "async def f():\n    return await service.list_async({'limit': 100})",
        'SQL = text("SELECT id\\n  FROM charges\\n LIMIT 200")',
        'SQL = f"SELECT id FROM charges LIMIT {size}"',
    ):
        ((_, node),) = _named(ast.parse(code))
        assert any(_cuts(inner) for inner in ast.walk(node)), code
    ((_, node),) = _named(ast.parse("def f():\n    return rate.limited('no limit')"))
    assert not any(_cuts(inner) for inner in ast.walk(node))
