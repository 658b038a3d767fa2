"""Parsing of request parameters.

Decoded forms hold text only. Each function here parses one parameter and raises an ApiError, a 400
that names the parameter, when its text is not valid.
"""

import re
from collections.abc import Iterator
from typing import Final

from payments.sandbox.errors import invalid_request, missing_param, unsupported
from payments.sandbox.form_encoding import JsonObject, JsonValue

MAX_EMAIL_LENGTH: Final = 512
MAX_DESCRIPTOR_LENGTH: Final = 22
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_WEB_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/]+\S*", re.IGNORECASE)
EMPTY_ADDRESS: Final[JsonObject] = dict.fromkeys(
    ("city", "country", "line1", "line2", "postal_code", "state")
)


def text(params: JsonObject, name: str) -> str | None:
    """Return a text parameter; None when it is absent or empty."""
    value = params.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise invalid_request(f"Invalid string: {name}", name)
    return value


def required(params: JsonObject, name: str) -> str:
    """Return a text parameter, which must not be absent or empty."""
    value = text(params, name)
    if value is None:
        raise missing_param(name)
    return value


def limited_text(
    params: JsonObject, name: str, max_length: int, *, param: str | None = None
) -> str | None:
    """Return a text of at most so many characters; None when it is absent or empty.

    `param` is its path when it is nested.
    """
    value = text(params, name)
    if value is not None and len(value) > max_length:
        message = f"Invalid string: {value[:20]}…; must be at most {max_length} characters"
        raise invalid_request(message, param or name)
    return value


def email(params: JsonObject, name: str = "email", *, param: str | None = None) -> str | None:
    """Return an e-mail address; None when it is absent. `param` is its path when it is nested."""
    value = limited_text(params, name, MAX_EMAIL_LENGTH, param=param)
    if value is not None and not _EMAIL.fullmatch(value):
        raise invalid_request(f"Invalid email address: {value}", param or name, "email_invalid")
    return value


def statement_descriptor(
    params: JsonObject, name: str, min_length: int, *, param: str | None = None
) -> str | None:
    """Return what banks print on statements, or a part of it; None when it is absent.

    `param` is its path when it is nested. https://docs.stripe.com/get-started/account/statement-descriptors
    """
    path = param or name
    value = limited_text(params, name, MAX_DESCRIPTOR_LENGTH, param=path)
    if value is None:
        return None
    if len(value) < min_length:
        raise invalid_request(f"The {name} must be at least {min_length} characters.", path)
    if not value.isascii() or set(value) & set("<>\\'\"*"):
        message = f"The {name} can have Latin characters only, and none of <>\\'\"*."
        raise invalid_request(message, path)
    if not any(character.isalpha() for character in value):
        raise invalid_request(f"The {name} must contain at least one letter.", path)
    return value


def web_address(params: JsonObject, name: str, *, param: str | None = None) -> str | None:
    """Return an address that begins with a scheme and a host; None when it is absent.

    `param` is its path when it is nested.
    """
    value = text(params, name)
    if value is not None and not re.fullmatch(
        r"[a-z][a-z0-9+.-]*://[^\s/]+\S*", value, re.IGNORECASE
    ):
        message = "Not a valid URL: URLs must begin with a scheme such as https://."
        raise invalid_request(message, param or name, "url_invalid")
    return value


def integer(params: JsonObject, name: str) -> int | None:
    """Return an integer parameter; None when it is absent."""
    value = text(params, name)
    if value is None:
        return None
    if not re.fullmatch(r"-?\d{1,15}", value):
        raise invalid_request(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def positive_integer(params: JsonObject, name: str, *, param: str | None = None) -> int | None:
    """Return an integer parameter of at least 1; None when it is absent.

    `param` is its path when it is nested; errors name it.
    """
    value = integer(params, name)
    if value is not None and value < 1:
        message = "Invalid positive integer"
        raise invalid_request(message, param or name, "parameter_invalid_integer")
    return value


def required_integer(params: JsonObject, name: str) -> int:
    """Return an integer parameter, which must not be absent."""
    value = integer(params, name)
    if value is None:
        raise missing_param(name)
    return value


def future_timestamp(params: JsonObject, name: str, now: int, *, param: str | None = None) -> int:
    """Return a Unix time later than `now`. `param` is its path when it is nested."""
    value = integer(params, name)
    if value is None or value <= now:
        raise invalid_request("Invalid timestamp: must be in the future.", param or name)
    return value


def flag(params: JsonObject, name: str, *, default: bool = False) -> bool:
    """Return a parameter that is `true` or `false`, or the default when it is absent."""
    value = text(params, name)
    if value is None:
        return default
    if value not in ("true", "false"):
        raise invalid_request(f"Invalid boolean: {value}", name)
    return value == "true"


def nested_object(params: JsonObject, name: str) -> JsonObject:
    """Return a nested object; an empty one when it is absent."""
    value = params.get(name)
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise invalid_request(f"Invalid object: {name}", name)
    return value


def array(params: JsonObject, name: str) -> list[JsonValue]:
    """Return an array; an empty one when it is absent."""
    value = params.get(name)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise invalid_request(f"Invalid array: {name}", name)
    return value


def one_of(
    params: JsonObject, name: str, allowed: tuple[str, ...], default: str | None
) -> str | None:
    """Return a parameter with one of the allowed values, or the default when it is absent."""
    value = text(params, name)
    if value is None:
        return default
    if value not in allowed:
        raise invalid_request(f"Invalid {name}: must be one of {', '.join(allowed)}", name)
    return value


def address(params: JsonObject, name: str = "address") -> JsonObject:
    """Return a postal address with all of its fields."""
    return {**EMPTY_ADDRESS, **nested_object(params, name)}


def supported(
    params: JsonObject, name: str, values: tuple[str, ...], *, param: str | None = None
) -> str | None:
    """Return a parameter of whose values the sandbox does only these; None when it is absent.

    `param` is its path when it is nested. Any other value is refused, rather than ignored.
    """
    value = text(params, name)
    if value is not None and value not in values:
        raise unsupported(f"{param or name}={value}")
    return value


def merge_metadata(current: dict[str, str], params: JsonObject) -> dict[str, str]:
    """Return the updated metadata: keys are added; `""` unsets a key or, alone, all of them."""
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
    """Return the metadata of a new object."""
    return merge_metadata({}, params)


def _checked_metadata(pairs: JsonObject) -> Iterator[tuple[str, str]]:
    # https://docs.stripe.com/metadata
    for key, value in pairs.items():
        if not isinstance(value, str):
            raise invalid_request("Metadata values must be strings.", f"metadata[{key}]")
        if len(key) > 40 or len(value) > 500:
            message = "Metadata keys can have up to 40 characters and values up to 500."
            raise invalid_request(message, f"metadata[{key}]")
        yield key, value
