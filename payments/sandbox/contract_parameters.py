"""The parameters of an endpoint, as the SDK's types know them, down to their leaves.

A leaf is written as `line_items[].price_data.unit_amount`: `.` leads into an object, `[]` into the
entries of an array. A map with keys of the caller's choice, such as `metadata`, is one leaf. An
object or array that may be unset with an empty text is a leaf besides those it holds.
"""

import functools
import inspect
import typing
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject

from payments.sandbox.contract import Endpoint
from payments.sandbox.contract_annotations import TypeExpression, origin_of, resolve
from payments.sandbox.contract_types import UNION_ORIGINS

_SAMPLES: dict[Any, str] = {str: "x", bool: "true", int: "1", float: "1.5", Decimal: "1.5"}


@functools.cache
def leaves_of(endpoint: Endpoint) -> Mapping[str, str]:
    """Return the endpoint's leaf parameters, each with one text that its type allows."""
    if endpoint.params is None:
        return {}
    found: dict[str, str] = {}
    _collect(endpoint.params, endpoint.module, "", found)
    return found


def form_name(leaf: str, key: str | None = None) -> str:
    """Return a leaf's name in a form: `items[].price` is sent as `items[0][price]`.

    Of a map, `key` is the key that is sent.
    """
    head, *rest = leaf.replace("[]", ".0").split(".")
    return "".join([head, *(f"[{step}]" for step in [*rest, *filter(None, [key])])])


def _collect(annotation: TypeExpression, module: str, path: str, found: dict[str, str]) -> None:
    kind = resolve(annotation, module)
    origin, args = origin_of(kind), typing.get_args(kind)
    if origin in UNION_ORIGINS:
        for option in args:
            if option is not type(None):
                _collect(option, module, path, found)
    elif hasattr(origin, "__required_keys__"):
        for name, hint in _fields_of(origin).items():
            _collect(hint, origin.__module__, f"{path}.{name}" if path else name, found)
    elif origin is list:
        _collect(args[0], module, f"{path}[]", found)
    elif origin in (dict, Mapping, UntypedStripeObject):
        found.setdefault(path, "")
    elif origin is typing.Literal:
        _add(found, path, str(args[0]))
    else:
        _add(found, path, _SAMPLES[origin])


def _add(found: dict[str, str], path: str, sample: str) -> None:
    """Add a leaf, or give it a better sample than the empty text or the `x` of an open enum."""
    if found.get(path, "") in ("", "x"):
        found[path] = sample


def _fields_of(params: type) -> dict[str, TypeExpression]:
    options: frozenset[str] = frozenset()
    if RequestOptions in getattr(params, "__orig_bases__", ()):
        options = frozenset(RequestOptions.__annotations__)
    hints = inspect.get_annotations(params)
    return {name: hint for name, hint in hints.items() if name not in options}
