"""Reading a request's parameters.

Everything that arrives is text, so each verb reads its parameters through these, which answer 400
naming the parameter when the text does not fit.
"""

import re
from collections.abc import Iterator
from typing import Final

from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject, JsonValue

EMPTY_ADDRESS: Final[JsonObject] = dict.fromkeys(
    ("city", "country", "line1", "line2", "postal_code", "state")
)


def text(params: JsonObject, name: str) -> str | None:
    """A text parameter; None when absent or emptied."""
    value = params.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise invalid_request(f"Invalid string: {name}", name)
    return value


def required(params: JsonObject, name: str) -> str:
    """A text parameter that must be there."""
    value = text(params, name)
    if value is None:
        raise missing_param(name)
    return value


def integer(params: JsonObject, name: str) -> int | None:
    """A whole number; None when absent."""
    value = text(params, name)
    if value is None:
        return None
    if not re.fullmatch(r"-?\d{1,15}", value):
        raise invalid_request(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def flag(params: JsonObject, name: str, *, default: bool = False) -> bool:
    """`true` or `false`."""
    value = text(params, name)
    if value is None:
        return default
    if value not in ("true", "false"):
        raise invalid_request(f"Invalid boolean: {value}", name)
    return value == "true"


def nested_object(params: JsonObject, name: str) -> JsonObject:
    """A nested object; empty when absent."""
    value = params.get(name)
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise invalid_request(f"Invalid object: {name}", name)
    return value


def array(params: JsonObject, name: str) -> list[JsonValue]:
    """An array; empty when absent."""
    value = params.get(name)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise invalid_request(f"Invalid array: {name}", name)
    return value


def one_of(
    params: JsonObject, name: str, allowed: tuple[str, ...], default: str | None
) -> str | None:
    """One of a few words."""
    value = text(params, name)
    if value is None:
        return default
    if value not in allowed:
        raise invalid_request(f"Invalid {name}: must be one of {', '.join(allowed)}", name)
    return value


def address(params: JsonObject, name: str = "address") -> JsonObject:
    """A postal address, with every line it could have."""
    return {**EMPTY_ADDRESS, **nested_object(params, name)}


def refuse_unsupported(params: JsonObject, *names: str) -> None:
    """400 for what Stripe can do and this stand-in cannot: better said than ignored."""
    for name in names:
        if name in params:
            raise invalid_request(
                f"The sandbox does not do {name} yet.", name, "sandbox_unsupported"
            )


def merge_metadata(current: dict[str, str], params: JsonObject) -> dict[str, str]:
    """What `metadata` becomes: keys are added, `""` unsets one key or, alone, all of them."""
    if "metadata" not in params:
        return current
    if params["metadata"] == "":
        return {}
    merged = dict(current)
    for key, value in _checked_metadata(nested_object(params, "metadata")):
        if value == "":
            merged.pop(key, None)
        else:
            merged[key] = value
    if len(merged) > 50:
        raise invalid_request("Metadata can have at most 50 keys.", "metadata")
    return merged


def metadata(params: JsonObject) -> dict[str, str]:
    """The metadata of a new object."""
    return merge_metadata({}, params)


def _checked_metadata(given: JsonObject) -> Iterator[tuple[str, str]]:
    for key, value in given.items():
        if not isinstance(value, str):
            raise invalid_request("Metadata values must be strings.", f"metadata[{key}]")
        if len(key) > 40 or len(value) > 500:
            message = "Metadata keys can have up to 40 characters and values up to 500."
            raise invalid_request(message, f"metadata[{key}]")
        yield key, value
