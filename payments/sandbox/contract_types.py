"""From a type of the stripe SDK to a function that finds what is wrong with a value.

Each class is compiled once, when its first object comes by; from then on a check only looks things
up. It returns its problems, each beginning with its path below the value: ".amount: expected ...".

Since 15.4 the SDK writes its enums open, `Literal[...] | str`. Here they are closed: a typo in a
status is what we are looking for.
"""

import ast
import functools
import importlib
import inspect
import json
import re
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from stripe._list_object import ListObject
from stripe._object_classes import get_object_class
from stripe._request_options import RequestOptions
from stripe._search_result_object import SearchResultObject
from stripe._stripe_object import StripeObject, UntypedStripeObject

Json: TypeAlias = Any  # what a peer sent: to find out what it is, is the work of this module
TypeExpression: TypeAlias = (
    Any  # a type expression (class, string, Union, ...): Python has no name for that
)
Problems: TypeAlias = Sequence[str]
Check: TypeAlias = Callable[[Json], Problems]

NO_PROBLEMS: Problems = ()
UNION_ORIGINS = (typing.Union, types.UnionType)


def compile_type(annotation: TypeExpression, module: str, *, form_encoded: bool) -> Check:
    """The check for one annotation; on the wire of a form every number and boolean is a string."""
    kind = resolve(annotation, module)
    origin, args = _origin(kind), typing.get_args(kind)
    if origin in UNION_ORIGINS:
        return _union(_options(args, module), module, form_encoded=form_encoded)
    if origin is typing.Literal:
        return _literal(args, form_encoded=form_encoded)
    if origin in _SCALARS:
        return _scalar(origin, form_encoded=form_encoded)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](
            compile_type(args[-1] if args else Any, module, form_encoded=form_encoded)
        )
    if _is_params(origin) or _is_resource(origin):
        return compile_class(origin, form_encoded=form_encoded)
    if kind is Any or isinstance(kind, typing.TypeVar):
        return _accept_any
    raise TypeError(f"{module} has a type the contract cannot read: {kind!r}")


def compile_class(cls: type, *, form_encoded: bool) -> Check:
    """The check of a class. Its fields are read at the first use, for classes name each other."""

    def check(value: Json) -> Problems:
        if not isinstance(value, dict):
            return [f": expected {cls.__qualname__}, got {short_repr(value)}"]
        fields = _fields(cls, form_encoded)
        problems = []
        for key, entry in value.items():
            fits = fields.checks.get(key)
            if fits is None:
                problems.append(f".{key}: not in {cls.__qualname__}")
            elif found := fits(entry):
                problems += [f".{key}{bad}" for bad in found]
        required = fields.required
        if value.get("deleted") is True:  # of what was deleted, its id and kind are told
            required &= {"id", "object"}
        missing = sorted(required.difference(value))
        return problems + [f".{key}: missing, {cls.__qualname__} has it" for key in missing]

    return check


def check_by_object_name(value: Json) -> Problems:
    """Judge an object by the class its own `object` field names; a list by what each entry says."""
    name = value.get("object") if isinstance(value, dict) else None
    if name == "list":
        return _page(check_by_object_name)(value)
    check = _check_of_object_name(name) if isinstance(name, str) else None
    return check(value) if check else [f": unknown object type {short_repr(name)}"]


@functools.cache
def _check_of_object_name(name: str) -> Check | None:
    cls = get_object_class("V1", name)
    return None if cls is StripeObject else compile_class(cls, form_encoded=False)


# ------------------------------------------------------------------ single values


def _accept_any(_value: Json) -> Problems:
    return NO_PROBLEMS


def _scalar(kind: type | None, *, form_encoded: bool) -> Check:
    noun, is_json, is_form = _SCALARS[kind]
    fits = is_form if form_encoded else is_json

    def check(value: Json) -> Problems:
        return NO_PROBLEMS if fits(value) else [f": expected {noun}, got {short_repr(value)}"]

    return check


def _literal(allowed: Sequence[Json], *, form_encoded: bool) -> Check:
    words = {json.dumps(word).strip('"') if form_encoded else word for word in allowed}
    kinds = {type(word) for word in words}  # so that 1 is not taken for true
    listed = ", ".join(sorted(map(repr, words)))

    def check(value: Json) -> Problems:
        fits = type(value) in kinds and value in words
        return NO_PROBLEMS if fits else [f": {short_repr(value)} is not one of {listed}"]

    return check


def _is_null(value: Json) -> bool:
    return value is None


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _is_boolean(value: Json) -> bool:
    return isinstance(value, bool)


def _is_integer(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_form_boolean(value: Json) -> bool:
    return value in ("true", "false")


def _is_form_integer(value: Json) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"-?[0-9]+", value))


def _is_form_number(value: Json) -> bool:
    try:
        return isinstance(value, str) and Decimal(value).is_finite()
    except InvalidOperation:
        return False


# What it is called, how it looks in JSON, how in a form. Decimals are strings in JSON too.
_SCALARS: dict[type | None, tuple[str, Callable[[Json], bool], Callable[[Json], bool]]] = {
    str: ("a string", _is_text, _is_text),
    bool: ("a boolean", _is_boolean, _is_form_boolean),
    int: ("an integer", _is_integer, _is_form_integer),
    float: ("a number", _is_number, _is_form_number),
    Decimal: ("a decimal in a string", _is_form_number, _is_form_number),
    None: ("null", _is_null, _is_null),
}


# ------------------------------------------------------------------ arrays, maps and pages


def _array(item: Check) -> Check:
    def check(value: Json) -> Problems:
        if not isinstance(value, list):
            return [f": expected an array, got {short_repr(value)}"]
        return [f"[{index}]{bad}" for index, entry in enumerate(value) for bad in item(entry)]

    return check


def _map(item: Check) -> Check:
    def check(value: Json) -> Problems:
        if not isinstance(value, dict):
            return [f": expected an object, got {short_repr(value)}"]
        return [f".{key}{bad}" for key, entry in value.items() for bad in item(entry)]

    return check


def _page(item: Check, name: str = "list", extra: frozenset[str] = frozenset()) -> Check:
    required = frozenset({"object", "data", "has_more", "url"})
    entries, flag = _array(item), _scalar(bool, form_encoded=False)

    def check(value: Json) -> Problems:
        if not isinstance(value, dict) or value.get("object") != name:
            return [f": expected a {name} object, got {short_repr(value)}"]
        problems = [f".{key}: missing, a {name} has it" for key in sorted(required - set(value))]
        problems += [f".{key}: not in a {name}" for key in value if key not in required | extra]
        problems += [f".data{bad}" for bad in entries(value.get("data", []))]
        problems += [f".has_more{bad}" for bad in flag(value.get("has_more", False))]
        # The SDK refuses to follow a list whose url could lead to another host.
        if not re.match(r"/(?!/)", str(value.get("url", "/"))):
            problems.append(f".url: expected a path, got {short_repr(value['url'])}")
        return problems

    return check


def _search_page(item: Check) -> Check:
    return _page(item, "search_result", frozenset({"next_page", "total_count"}))


_CONTAINERS: dict[TypeExpression, Callable[[Check], Check]] = {
    list: _array,
    dict: _map,
    Mapping: _map,
    UntypedStripeObject: _map,
    ListObject: _page,
    SearchResultObject: _search_page,
}


# ------------------------------------------------------------------ unions


def _union(options: Sequence[TypeExpression], module: str, *, form_encoded: bool) -> Check:
    """One of several. The value's JSON shape, then its `object` field, choose whom to believe."""
    nullable = type(None) in options
    by_shape: dict[str, list[Check]] = {}
    by_name: dict[str, Check] = {}
    for option in options:
        if option is type(None):
            continue
        check = compile_type(option, module, form_encoded=form_encoded)
        by_shape.setdefault(_shape_of_type(option), []).append(check)
        if _is_resource(option):
            by_name[getattr(option, "OBJECT_NAME", "")] = check
    every = [check for checks in by_shape.values() for check in checks]

    def check_any(value: Json) -> Problems:
        if value is None:
            return NO_PROBLEMS if nullable else [": null is not allowed"]
        if isinstance(value, dict) and (named := by_name.get(str(value.get("object")))):
            return named(value)
        fewest: Problems | None = None
        for fits in by_shape.get(_shape_of_value(value), every):
            problems = fits(value)
            if not problems:
                return NO_PROBLEMS
            fewest = problems if fewest is None else min(fewest, problems, key=len)
        return fewest or [f": nothing fits {short_repr(value)}"]

    return check_any


def _options(args: Sequence[TypeExpression], module: str) -> list[TypeExpression]:
    """The members of a union, nested ones unfolded, without the `str` that only opens an enum."""
    flat: list[TypeExpression] = []
    for option in (resolve(arg, module) for arg in args):
        nested = _origin(option) in UNION_ORIGINS
        flat += _options(typing.get_args(option), module) if nested else [option]
    words = [typing.get_args(kind) for kind in flat if _origin(kind) is typing.Literal]
    # `Literal[""] | str` is no enum: it is a text that may be unset.
    is_enum = any(word != ("",) for word in words)
    return [kind for kind in flat if kind is not str] if is_enum else flat


def _shape_of_type(option: TypeExpression) -> str:
    origin = _origin(option)
    if origin is list:
        return "array"
    is_object = origin in _CONTAINERS or _is_params(origin) or _is_resource(origin)
    return "object" if is_object else "value"


def _shape_of_value(value: Json) -> str:
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "value"


# ------------------------------------------------------------------ the fields of a class


@dataclass(frozen=True, slots=True)
class ClassFields:
    """What a class of the SDK may hold, and what it must."""

    checks: Mapping[str, Check]
    required: frozenset[str]


@functools.cache
def _fields(cls: type, form_encoded: bool) -> ClassFields:
    hints = _params_hints(cls) if _is_params(cls) else _resource_hints(cls)
    kinds = {name: (resolve(hint, module), module) for name, (hint, module) in hints.items()}
    required = getattr(cls, "__required_keys__", None)
    if required is None:  # a resource says what may be missing by allowing null
        required = {n for n, (kind, _) in kinds.items() if type(None) not in typing.get_args(kind)}
    checks = {name: compile_type(*kind, form_encoded=form_encoded) for name, kind in kinds.items()}
    return ClassFields(checks, frozenset(required))


def _params_hints(cls: type) -> dict[str, tuple[TypeExpression, str]]:
    """A TypedDict repeats what it inherits; the options of a call (api_key, ...) are never sent."""
    options: frozenset[str] = frozenset()
    if RequestOptions in getattr(cls, "__orig_bases__", ()):
        options = frozenset(RequestOptions.__annotations__)
    hints = inspect.get_annotations(cls).items()
    return {name: (hint, cls.__module__) for name, hint in hints if name not in options}


def _resource_hints(cls: type) -> dict[str, tuple[TypeExpression, str]]:
    hints: dict[str, tuple[TypeExpression, str]] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, StripeObject) and base is not StripeObject:
            own = inspect.get_annotations(base).items()
            hints |= {name: (hint, base.__module__) for name, hint in own if _is_field(name, hint)}
    return hints


def _is_field(name: str, hint: TypeExpression) -> bool:
    return not name.startswith("_") and _origin(hint) is not typing.ClassVar


def _is_params(kind: TypeExpression) -> bool:
    return hasattr(kind, "__required_keys__")  # a TypedDict, typing's or typing_extensions'


def _is_resource(kind: TypeExpression) -> bool:
    return isinstance(kind, type) and issubclass(kind, StripeObject)


# ------------------------------------------------------------------ names


def resolve(annotation: TypeExpression, module: str) -> TypeExpression:
    """The type behind strings, forward references and NotRequired."""
    wrappers = (typing.NotRequired, typing.Required, typing.Annotated)
    while True:
        if isinstance(annotation, typing.ForwardRef):
            annotation = annotation.__forward_arg__
        if isinstance(annotation, str):
            names = _DeferredNames(module)
            annotation = eval(annotation, vars(sys.modules[module]), names)  # noqa: S307 - the SDK's own
        elif _origin(annotation) in wrappers:
            annotation = typing.get_args(annotation)[0]
        else:
            return annotation


def _origin(kind: TypeExpression) -> TypeExpression:
    """What stands before the brackets of a type, `list` in `list[str]`; the type itself without."""
    origin: TypeExpression = typing.get_origin(kind)
    return kind if origin is None else origin


class _DeferredNames(dict[str, TypeExpression]):
    """The names a module imports for type checkers only, each imported when it is asked for."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.imports = _deferred_imports(module)

    def __missing__(self, name: str) -> TypeExpression:
        module, original = self.imports[name]
        return getattr(importlib.import_module(module), original)


@functools.cache
def _deferred_imports(module: str) -> dict[str, tuple[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def short_repr(value: Json) -> str:
    """A value in a few words, whatever its size."""
    return reprlib.repr(value)
