"""Stripe's wire format: requests are forms with brackets in their names, responses are JSON."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

JsonObject = dict[str, Any]  # Any: JSON as Stripe has it; contract.py checks its shapes
JsonValue = Any  # a parameter: text, an object or an array

MAX_DEPTH: Final = 20
MAX_FIELDS: Final = 2000
_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_MAP_NAME: Final = "metadata"  # the one map whose keys the caller chooses, and may be numbers


class FormError(ValueError):
    """A form that is not UTF-8, contradicts itself, or is larger or deeper than it may be."""


def decode_form(text: str) -> JsonObject:
    """Decode `a[b]=1&c[0][d]=2&e[]=3` to nested dicts and lists; every leaf is text.

    `a[0][b]=1` and `a[][b]=1` are equal; `metadata[2026]` is the key of a map. Raises FormError.
    """
    try:
        text.encode()
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeError as error:
        raise FormError("Invalid UTF-8 in the request's parameters.") from error
    except ValueError as error:
        raise FormError(f"A request may have up to {MAX_FIELDS} parameters.") from error
    root: JsonObject = {}
    for name, value in pairs:
        _put(root, name, value)
    return {name: _with_arrays(value, name) for name, value in root.items()}


def _put(root: JsonObject, name: str, value: str) -> None:
    if "\0" in name or "\0" in value:
        raise FormError("Parameters may not contain a null byte.")
    match = _NAME.fullmatch(name)
    if match is None:
        raise FormError(f"Invalid parameter name: {name[:80]}")
    path = [match[1], *match[2].removeprefix("[").removesuffix("]").split("][")]
    path = path if match[2] else path[:1]
    if len(path) > MAX_DEPTH:
        raise FormError(f"{match[1]} is nested too deeply.")
    node: Any = root
    for index, step in enumerate(path[:-1], 1):
        node = node.setdefault(_key(node, step, path[index:]), {})
        if not isinstance(node, dict):
            raise FormError(f"{match[1]} is both a value and an object.")
    last = _key(node, path[-1])
    if isinstance(node.get(last), dict):
        raise FormError(f"{match[1]} is both a value and an object.")
    node[last] = value


def _key(node: Mapping[str, Any], step: str, below: Sequence[str] = ()) -> str:
    """Return the index of `a[]`: a new element, unless the last one still lacks what is below."""
    if step:
        return step
    last = node.get(str(len(node) - 1))
    is_open = below and isinstance(last, dict) and not _has(last, below)
    return str(len(node) - 1) if is_open else str(len(node))


def _has(node: object, path: Sequence[str]) -> bool:
    for step in path:
        if not step:  # another array below takes any number
            return False
        if not isinstance(node, dict) or step not in node:
            return False
        node = node[step]
    return True


def _with_arrays(node: JsonValue, name: str) -> JsonValue:
    """Turn objects whose keys are indexes into arrays, apart from maps."""
    if not isinstance(node, dict):
        return node
    if name != _MAP_NAME and all(key.isdecimal() for key in node):
        return [_with_arrays(node[key], "") for key in sorted(node, key=int)]
    return {key: _with_arrays(value, key) for key, value in node.items()}
