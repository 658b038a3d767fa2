"""SQL texts: a text may hold fragments by their names, and no fragment holds another.

So whoever reads a report opens one more file at most, and can put the text together by hand.
"""

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import payments

ROOT = Path(payments.__file__).parents[1]
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WHERE|CASE|JOIN|FROM|AND|IN)\b")
OURS = ("payments.", "webhooks.")
MAX_DEPTH = 1
Scope = dict[str, ast.expr | ast.FunctionDef]


@cache
def tree_of(module: str) -> ast.Module:
    """A module of ours; an empty one for the name of anything else."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    return ast.parse(path.read_text(encoding="utf-8") if path.exists() else "")


@cache
def scope_of(module: str) -> Scope:
    """What stands at the top of a module: values by their names, and functions."""
    return scope_in(tree_of(module))


def scope_in(tree: ast.Module) -> Scope:
    names: Scope = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                names[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                names[name] = value
            case ast.FunctionDef(name=name):
                names[name] = node
    return names


@cache
def imports_of(module: str) -> dict[str, tuple[str, str | None]]:
    """What a module imports of ours: the local name -> the module, and the name in it."""
    found: dict[str, tuple[str, str | None]] = {}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(OURS):
            for alias in node.names:
                as_module = f"{node.module}.{alias.name}"
                is_module = (ROOT / f"{as_module.replace('.', '/')}.py").exists()
                found[alias.asname or alias.name] = (
                    (as_module, None) if is_module else (node.module, alias.name)
                )
    return found


def depth(node: ast.AST, module: str, scope: Scope, seen: frozenset[str] = frozenset()) -> int:
    """How many fragments of SQL lie within each other: 0 for one of words alone, -1 for no SQL.

    A name is followed to what it stands for at the top of a module, a call to what is returned.
    """

    def deepest(parts: Iterable[ast.AST]) -> int:
        return max((depth(part, module, scope, seen) for part in parts), default=-1)

    match node:
        case ast.Constant(value=str(text)):
            found = 0 if SQL.search(text) else -1
        case ast.JoinedStr(values=values):
            inner = deepest(part.value for part in values if isinstance(part, ast.FormattedValue))
            words = deepest(part for part in values if isinstance(part, ast.Constant))
            found = max(words, inner + 1 if inner >= 0 else -1)
        case ast.Call(func=ast.Attribute(value=text, attr="format"), keywords=keywords):
            inner = deepest(keyword.value for keyword in keywords)
            found = max(deepest([text]), inner + 1 if inner >= 0 else -1)
        case ast.FunctionDef():
            returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
            found = deepest(value for value in returned if value)
        case ast.Name(id=name):
            found = depth_of_name(name, module, scope, seen)
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            other, inner_name = imports_of(module).get(owner, ("", "no module"))
            is_ours = inner_name is None
            found = depth_of_name(name, other, scope_of(other), seen) if is_ours else -1
        case _:
            found = deepest(ast.iter_child_nodes(node))
    return found


def depth_of_name(name: str, module: str, scope: Scope, seen: frozenset[str]) -> int:
    place = f"{module}.{name}"
    if place in seen:
        return -1
    if name in scope:
        return depth(scope[name], module, scope, seen | {place})
    other, inner = imports_of(module).get(name, ("", None))
    return depth_of_name(inner, other, scope_of(other), seen | {place}) if inner else -1


def nested_texts(module: str) -> list[str]:
    """The places of a module where a fragment of SQL holds one that holds another."""
    return [
        f"{module}, line {node.lineno}: {deep} deep"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.JoinedStr | ast.Call)
        and (deep := depth(node, module, scope_of(module))) > MAX_DEPTH
    ]


def test_a_text_of_sql_holds_fragments_and_no_fragment_holds_another() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("payments", "webhooks")
        for path in sorted((ROOT / package).rglob("*.py"))
        if "sandbox" not in path.parts and path.name != "__init__.py"
    ]
    assert len(modules) > 200
    assert [place for module in modules for place in nested_texts(module)] == []


def test_a_fragment_in_a_fragment_is_found() -> None:
    scope = scope_in(
        ast.parse("""
BOOKED_SQL = "WHERE e.booked_on >= :since"
WORDS = ", ".join(["'once'", "'monthly'"])
LIST_SQL = f"frequency IN ({WORDS})"
ONE = f"SELECT 1 FROM e {BOOKED_SQL} AND {LIST_SQL}"
TWO = f"SELECT 2 FROM ({ONE}) AS days"
THREE = text(f"{newer(BOOKED_SQL)} UNION ALL SELECT 4")
FOUR = "SELECT 5 FROM ({chosen})".format(chosen=ONE)
def newer(condition):
    return f"SELECT 3 FROM days WHERE {condition} AND {LIST_SQL}"
""")
    )
    assert {name: depth(node, "", scope) for name, node in scope.items()} == {
        "BOOKED_SQL": 0, "WORDS": -1, "LIST_SQL": 0, "ONE": 1, "TWO": 2, "THREE": 2, "FOUR": 2,
        "newer": 1,
    }  # fmt: skip
