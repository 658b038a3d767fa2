"""Compiles a type of the stripe SDK to a check: a function that returns the problems of a value.

Each class is compiled once, when its first object is checked. A problem begins with its path below
the value: ".amount: expected ...".

Since 15.4 the SDK writes its enums open, `Literal[...] | str`. Here they are closed, so that a typo
in a status is a problem.
"""

import functools
import inspect
import json
import re
import reprlib
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

from payments.sandbox.contract_annotations import TypeExpression, origin_of, resolve

Json: TypeAlias = Any  # what a peer sent: this module finds out what it is
Problems: TypeAlias = Sequence[str]
Check: TypeAlias = Callable[[Json], Problems]

NO_PROBLEMS: Problems = ()
UNION_ORIGINS = (typing.Union, types.UnionType)


def compile_type(annotation: TypeExpression, module: str, *, form_encoded: bool) -> Check:
    """Return the check of one annotation; in a form every number and boolean is a string.

    Raises TypeError for an annotation of an unknown kind.
    """
    kind = resolve(annotation, module)
    origin, args = origin_of(kind), typing.get_args(kind)
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
    if _is_params(origin) or is_resource(origin):
        return compile_class(origin, form_encoded=form_encoded)
    if kind is Any or isinstance(kind, typing.TypeVar):
        return _accept_any
    raise TypeError(f"{module} has a type the contract cannot read: {kind!r}")


def compile_class(cls: type, *, form_encoded: bool) -> Check:
    """Return the check of a class. Its fields are read at first use: classes name each other."""

    def check(value: Json) -> Problems:
        if not isinstance(value, dict):
            return [f": expected {cls.__qualname__}, got {short_repr(value)}"]
        fields = _fields(cls, form_encoded)
        problems = []
        for key, entry in value.items():
            check_field = fields.checks.get(key)
            if check_field is None:
                problems.append(f".{key}: not in {cls.__qualname__}")
            elif field_problems := check_field(entry):
                problems += [f".{key}{problem}" for problem in field_problems]
        required = fields.required
        if value.get("deleted") is True:  # a deleted object has only its id and object name
            required &= {"id", "object"}
        missing = sorted(required.difference(value))
        return problems + [f".{key}: missing, {cls.__qualname__} has it" for key in missing]

    return check


def check_by_object_name(value: Json) -> Problems:
    """Check an object by the class that its `object` field names, a list entry by entry."""
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
    values = {json.dumps(each).strip('"') if form_encoded else each for each in allowed}
    types_of_values = {type(each) for each in values}  # so that 1 is not taken for true
    listed = ", ".join(sorted(map(repr, values)))

    def check(value: Json) -> Problems:
        fits = type(value) in types_of_values and value in values
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


# A type's name in problems, its test in JSON and its test in a form. Decimals are strings in both.
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
        return [
            f"[{index}]{problem}" for index, entry in enumerate(value) for problem in item(entry)
        ]

    return check


def _map(item: Check) -> Check:
    def check(value: Json) -> Problems:
        if not isinstance(value, dict):
            return [f": expected an object, got {short_repr(value)}"]
        return [f".{key}{problem}" for key, entry in value.items() for problem in item(entry)]

    return check


def _page(item: Check, name: str = "list", extra: frozenset[str] = frozenset()) -> Check:
    required = frozenset({"object", "data", "has_more", "url"})
    check_entries, check_flag = _array(item), _scalar(bool, form_encoded=False)

    def check(value: Json) -> Problems:
        if not isinstance(value, dict) or value.get("object") != name:
            return [f": expected a {name} object, got {short_repr(value)}"]
        problems = [f".{key}: missing, a {name} has it" for key in sorted(required - set(value))]
        problems += [f".{key}: not in a {name}" for key in value if key not in required | extra]
        problems += [f".data{problem}" for problem in check_entries(value.get("data", []))]
        has_more = value.get("has_more", False)
        problems += [f".has_more{problem}" for problem in check_flag(has_more)]
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
    """Return the check of a union: the value's `object` field or JSON shape selects a member."""
    nullable = type(None) in options
    by_shape: dict[str, list[Check]] = {}
    by_name: dict[str, Check] = {}
    for option in options:
        if option is type(None):
            continue
        check = compile_type(option, module, form_encoded=form_encoded)
        by_shape.setdefault(_shape_of_type(option), []).append(check)
        if is_resource(option):
            by_name[getattr(option, "OBJECT_NAME", "")] = check
    every = [check for checks in by_shape.values() for check in checks]

    def check_any(value: Json) -> Problems:
        if value is None:
            return NO_PROBLEMS if nullable else [": null is not allowed"]
        if isinstance(value, dict) and (check := by_name.get(str(value.get("object")))):
            return check(value)
        fewest: Problems | None = None
        for check in by_shape.get(_shape_of_value(value), every):
            problems = check(value)
            if not problems:
                return NO_PROBLEMS
            fewest = problems if fewest is None else min(fewest, problems, key=len)
        return fewest or [f": nothing fits {short_repr(value)}"]

    return check_any


def _options(args: Sequence[TypeExpression], module: str) -> list[TypeExpression]:
    """Return a union's members, nested unions flattened, without the `str` that opens an enum."""
    flat: list[TypeExpression] = []
    for option in (resolve(arg, module) for arg in args):
        nested = origin_of(option) in UNION_ORIGINS
        flat += _options(typing.get_args(option), module) if nested else [option]
    literals = [typing.get_args(kind) for kind in flat if origin_of(kind) is typing.Literal]
    # `Literal[""] | str` is no enum: it is a text that may be unset.
    is_enum = any(values != ("",) for values in literals)
    return [kind for kind in flat if kind is not str] if is_enum else flat


def _shape_of_type(option: TypeExpression) -> str:
    origin = origin_of(option)
    if origin is list:
        return "array"
    is_object = origin in _CONTAINERS or _is_params(origin) or is_resource(origin)
    return "object" if is_object else "value"


def _shape_of_value(value: Json) -> str:
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "value"


# ------------------------------------------------------------------ the fields of a class


@dataclass(frozen=True, slots=True)
class ClassFields:
    """The checks of the fields of an SDK class, and which of them are required."""

    checks: Mapping[str, Check]
    required: frozenset[str]


@functools.cache
def _fields(cls: type, form_encoded: bool) -> ClassFields:
    hints = _params_hints(cls) if _is_params(cls) else resource_hints(cls)
    kinds = {name: (resolve(hint, module), module) for name, (hint, module) in hints.items()}
    required = getattr(cls, "__required_keys__", None)
    if required is None:  # a resource says what may be missing by allowing null
        required = {n for n, (kind, _) in kinds.items() if type(None) not in typing.get_args(kind)}
    checks = {name: compile_type(*kind, form_encoded=form_encoded) for name, kind in kinds.items()}
    return ClassFields(checks, frozenset(required))


def _params_hints(cls: type) -> dict[str, tuple[TypeExpression, str]]:
    """Return a TypedDict's fields without the options of a call (api_key, ...), which are not sent.

    A TypedDict repeats the fields that it inherits.
    """
    options: frozenset[str] = frozenset()
    if RequestOptions in getattr(cls, "__orig_bases__", ()):
        options = frozenset(RequestOptions.__annotations__)
    hints = inspect.get_annotations(cls).items()
    return {name: (hint, cls.__module__) for name, hint in hints if name not in options}


@functools.cache
def resource_hints(cls: type) -> dict[str, tuple[TypeExpression, str]]:
    """Return the type of each field of a resource, with the module that wrote it."""
    hints: dict[str, tuple[TypeExpression, str]] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, StripeObject) and base is not StripeObject:
            annotations = inspect.get_annotations(base).items()
            module = base.__module__
            hints |= {name: (hint, module) for name, hint in annotations if _is_field(name, hint)}
    return hints


def _is_field(name: str, hint: TypeExpression) -> bool:
    return not name.startswith("_") and origin_of(hint) is not typing.ClassVar


def _is_params(kind: TypeExpression) -> bool:
    return hasattr(kind, "__required_keys__")  # a TypedDict, typing's or typing_extensions'


def is_resource(kind: TypeExpression) -> bool:
    """Return whether a type is one of the SDK's classes of what is in responses."""
    return isinstance(kind, type) and issubclass(kind, StripeObject)


def short_repr(value: Json) -> str:
    """Return a value's repr, shortened whatever its size."""
    return reprlib.repr(value)
