"""Bodies that are sent to us: forms as text, and JSON of programs to the letter.

What is refused is named by its field. The framework would read JSON more kindly: "500" and 500.0
for 500, and a field that does not exist.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, HTTPException

from payments.core.errors import InvalidField

AnyRequest = Request[Any, Any, Any]  # no user, no auth, litestar's own state
SMALL_FORM_BYTES = 4096  # bytes of a form without long texts
# How msgspec names a field. What it found stands before the end, and may be anything that was sent.
UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`(?: - at `[^`]*`)?", re.DOTALL)
MISSING_FIELD = re.compile(r"Object missing required field `(\w+)`")
INVALID_FIELD = re.compile(r".*\.(\w+)[^`.]*`", re.DOTALL)


async def form_data(request: AnyRequest) -> dict[str, str]:
    """What a form holds, as text."""
    sent = await request.form()
    return {name: value for name, value in sent.items() if isinstance(value, str)}


def strict_json(
    kind: type[msgspec.Struct],
    field_help: Mapping[str, str],
    *,
    no_effect_message: str,
    precondition: Callable[[AnyRequest], object] | None = None,
) -> Callable[[AnyRequest], Awaitable[None]]:
    """Refuse what is not of this kind before the handler is called.

    `wanted` says what each field should be, `nothing` what did not happen. What `first` refuses is
    refused before the body is read.
    """
    decoder = msgspec.json.Decoder(kind)

    async def check(request: AnyRequest) -> None:
        if precondition is not None:
            precondition(request)
        if request.content_type[0] != "application/json":
            raise HTTPException(status_code=415)
        try:
            decoder.decode(await request.body())
        except msgspec.ValidationError as error:
            raise _validation_error(str(error), field_help, no_effect_message) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ClientException from error

    return check


def _validation_error(
    message: str, field_help: Mapping[str, str], no_effect_message: str
) -> InvalidField:
    """Names the field at fault, and says what it should be rather than what it was."""
    if (alien := UNKNOWN_FIELD.fullmatch(message)) is not None:
        return InvalidField(f"There is no such field. {no_effect_message}", field=alien[1][:64])
    named = MISSING_FIELD.match(message) or INVALID_FIELD.fullmatch(message)
    if named is None or named[1] not in field_help:
        return InvalidField(f"The body must be a JSON object. {no_effect_message}")
    return InvalidField(
        f"{named[1]} must be {field_help[named[1]]}. {no_effect_message}", field=named[1]
    )
