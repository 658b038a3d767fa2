"""Reading a request's parameters.

Everything that arrives is text, so each verb reads its parameters through these, which answer 400
naming the parameter when the text does not fit.
"""

import re
from collections.abc import Iterator
from typing import Final

from payments.sandbox.errors import invalid, missing
from payments.sandbox.wire import Obj, Value

NOWHERE: Final[Obj] = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def text(params: Obj, name: str) -> str | None:
    """A text parameter; None when absent or emptied."""
    value = params.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise invalid(f"Invalid string: {name}", name)
    return value


def required(params: Obj, name: str) -> str:
    """A text parameter that must be there."""
    value = text(params, name)
    if value is None:
        raise missing(name)
    return value


def integer(params: Obj, name: str) -> int | None:
    """A whole number; None when absent."""
    value = text(params, name)
    if value is None:
        return None
    if not re.fullmatch(r"-?\d{1,15}", value):
        raise invalid(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def flag(params: Obj, name: str, *, default: bool = False) -> bool:
    """`true` or `false`."""
    value = text(params, name)
    if value is None:
        return default
    if value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", name)
    return value == "true"


def table(params: Obj, name: str) -> Obj:
    """A nested object; empty when absent."""
    value = params.get(name)
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise invalid(f"Invalid object: {name}", name)
    return value


def rows(params: Obj, name: str) -> list[Value]:
    """An array; empty when absent."""
    value = params.get(name)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise invalid(f"Invalid array: {name}", name)
    return value


def one_of(params: Obj, name: str, allowed: tuple[str, ...], default: str | None) -> str | None:
    """One of a few words."""
    value = text(params, name)
    if value is None:
        return default
    if value not in allowed:
        raise invalid(f"Invalid {name}: must be one of {', '.join(allowed)}", name)
    return value


def address(params: Obj, name: str = "address") -> Obj:
    """A postal address, with every line it could have."""
    return {**NOWHERE, **table(params, name)}


def refuse(params: Obj, *names: str) -> None:
    """400 for what Stripe can do and this stand-in cannot: better said than ignored."""
    for name in names:
        if name in params:
            raise invalid(f"The sandbox does not do {name} yet.", name, "sandbox_unsupported")


def merge_metadata(current: dict[str, str], params: Obj) -> dict[str, str]:
    """What `metadata` becomes: keys are added, `""` unsets one key or, alone, all of them."""
    if "metadata" not in params:
        return current
    if params["metadata"] == "":
        return {}
    merged = dict(current)
    for key, value in _checked_metadata(table(params, "metadata")):
        if value == "":
            merged.pop(key, None)
        else:
            merged[key] = value
    if len(merged) > 50:
        raise invalid("Metadata can have at most 50 keys.", "metadata")
    return merged


def metadata(params: Obj) -> dict[str, str]:
    """The metadata of a new object."""
    return merge_metadata({}, params)


def _checked_metadata(given: Obj) -> Iterator[tuple[str, str]]:
    for key, value in given.items():
        if not isinstance(value, str):
            raise invalid("Metadata values must be strings.", f"metadata[{key}]")
        if len(key) > 40 or len(value) > 500:
            message = "Metadata keys can have up to 40 characters and values up to 500."
            raise invalid(message, f"metadata[{key}]")
        yield key, value
