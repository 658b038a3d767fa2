"""The JSON bodies of control routes, checked against the signature of what they call.

An argument may be a time in ISO 8601 where the signature has a `datetime`.
"""

import functools
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from payments.sandbox.form_encoding import JsonObject

Callee = Callable[..., Any]  # Any: whatever it takes and returns


class InputError(ValueError):
    """A request that a control route does not take; `field` is the argument at fault, or None."""

    def __init__(self, message: str, field: str | None = None, *, status: int = 400) -> None:
        super().__init__(message)
        self.field = field
        self.status = status

    @property
    def body(self) -> JsonObject:
        """The answer that says so."""
        return {"error": {"message": str(self), "field": self.field}}


def from_error(error: Exception) -> InputError:
    """Return the input error for what a called function raised; `scopes: …` names its argument."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    named = re.match(r"(\w+): |.*unexpected keyword argument '(\w+)'", text)
    return InputError(text, next(filter(None, named.groups()), None) if named else None)


def parse(body: bytes, function: Callee) -> JsonObject:
    """Return the keyword arguments for a function that a JSON body holds.

    Raises InputError for a body that is not an object, for a missing or unknown argument, and for
    a value of another type.
    """
    try:
        raw = msgspec.json.decode(body or b"{}")
    except msgspec.DecodeError:
        raise InputError("The body is not JSON.") from None
    if not isinstance(raw, dict):
        raise InputError("The body is not a JSON object.")
    model, takes_others = _model(inspect.unwrap(getattr(function, "__func__", function)))
    known = set(model.__struct_fields__)
    others = {name: value for name, value in raw.items() if name not in known}
    if others and not takes_others:
        name = sorted(others)[0]
        raise InputError(f"No such argument: {name}; there are {', '.join(sorted(known))}.", name)
    try:
        model_value = msgspec.convert({n: v for n, v in raw.items() if n in known}, model)
    except msgspec.ValidationError as error:
        named = re.search(r"required field `(\w+)`|at `\$\.(\w+)", str(error))
        field = next(filter(None, named.groups()), None) if named else None
        raise InputError(str(error).replace("Object missing", "Missing"), field) from None
    return {**{name: getattr(model_value, name) for name in raw if name in known}, **others}


def describe(function: Callee) -> JsonObject:
    """Return what a function does and its arguments, those with a default marked as optional."""
    parameters = inspect.signature(function).parameters.values()
    return {
        "does": inspect.getdoc(function) or "",
        "arguments": {
            parameter.name: ("optional " if parameter.default is not parameter.empty else "")
            + inspect.formatannotation(parameter.annotation)
            for parameter in parameters
            if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD
        },
    }


@functools.cache
def _model(function: Callee) -> tuple[type[msgspec.Struct], bool]:
    """Return a struct of a function's arguments, and whether it takes others besides."""
    hints = typing.get_type_hints(function)
    fields: list[Any] = []  # Any: the three forms of a field that defstruct takes
    takes_others = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_others = True
        elif parameter.name != "self":
            hint = hints[parameter.name]
            if parameter.default is parameter.empty:
                fields.append((parameter.name, hint))
            else:
                fields.append((parameter.name, hint, parameter.default))
    return msgspec.defstruct("Arguments", fields, kw_only=True), takes_others
