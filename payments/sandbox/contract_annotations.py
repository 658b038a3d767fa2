"""The annotations of the stripe SDK, resolved to the types they name.

The SDK annotates with strings and imports most names under `if TYPE_CHECKING`, so neither exists at
run time: the imports are read from its source.
"""

import ast
import functools
import importlib
import inspect
import sys
import typing
from typing import Any, TypeAlias

TypeExpression: TypeAlias = Any  # a class, string, Union, ...: Python has no name for all of these


def resolve(annotation: TypeExpression, module: str) -> TypeExpression:
    """Return the type behind strings, forward references and NotRequired."""
    wrappers = (typing.NotRequired, typing.Required, typing.Annotated)
    while True:
        if isinstance(annotation, typing.ForwardRef):
            annotation = annotation.__forward_arg__
        if isinstance(annotation, str):
            names = _DeferredNames(module)
            annotation = eval(annotation, vars(sys.modules[module]), names)  # noqa: S307 - the SDK's own
        elif origin_of(annotation) in wrappers:
            annotation = typing.get_args(annotation)[0]
        else:
            return annotation


def origin_of(kind: TypeExpression) -> TypeExpression:
    """Return what stands before a type's brackets, `list` in `list[str]`, or the type itself."""
    origin: TypeExpression = typing.get_origin(kind)
    return kind if origin is None else origin


class _DeferredNames(dict[str, TypeExpression]):
    """The names that a module imports for type checkers only, each imported at its first use."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.imports = _deferred_imports(module)

    def __missing__(self, name: str) -> TypeExpression:
        module, original = self.imports[name]
        return getattr(importlib.import_module(module), original)


@functools.cache
def _deferred_imports(module: str) -> dict[str, tuple[str, str]]:
    """Map each name imported under an `if` of a module to its module and name there."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
