"""Forms and request bodies: forms of pages as text, and JSON of programs, decoded strictly.

A refusal names its field. The framework alone would read JSON leniently: "500" and 500.0 for 500,
and fields that do not exist.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from litestar import Request
from litestar.datastructures import UploadFile
from litestar.exceptions import ClientException, HTTPException

from payments.core.errors import InvalidField
from payments.core.identifiers import row_id_or_new

AnyRequest = Request[Any, Any, Any]  # no user, no auth, litestar's own state
SMALL_FORM_BYTES = 4096  # bytes of a form without long texts
UNTIL_RESUMED = "open"  # the length of a pause without an end
# How msgspec names a field. What it found comes first, and may be anything that was sent.
UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`(?: - at `[^`]*`)?", re.DOTALL)
MISSING_FIELD = re.compile(r"Object missing required field `(\w+)`")
INVALID_FIELD = re.compile(r".*\.(\w+)[^`.]*`", re.DOTALL)


async def form_data(request: AnyRequest) -> dict[str, str]:
    """Return the fields of a form. Files are left out; of a repeated field the last one counts.

    Raises ClientException for what no browser sends: a part in an unknown or wrong charset.
    """
    try:
        fields = await request.form()
    except (UnicodeError, LookupError) as error:  # the framework decodes a part as it says it is
        raise ClientException from error
    return {name: value for name, value in fields.items() if isinstance(value, str)}


async def form_file(request: AnyRequest, name: str) -> bytes:
    """Return the file that a form was sent with; empty where none was chosen.

    Raises ClientException as `form_data` does.
    """
    try:
        field = (await request.form()).get(name)
    except (UnicodeError, LookupError) as error:
        raise ClientException from error
    return await field.read() if isinstance(field, UploadFile) else b""


def idempotency_key(fields: Mapping[str, str]) -> str:
    """Return the random id of one rendering of a form, so that sending it twice is sending it once.

    A new id where the form carries none.
    """
    return row_id_or_new(fields.get("intent", ""))


def pause_months(fields: Mapping[str, str]) -> int | None:
    """Return the months of a pause, None for one until the donor resumes. Raises InvalidField."""
    text = fields.get("months", "")
    if text == UNTIL_RESUMED:
        return None
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise InvalidField("Choose how long. Nothing was changed.", field="months")
    return int(text)


def parse_count(text: str) -> int | None:
    """Return a number of one to nine digits, None for anything else."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def count_parameter(request: AnyRequest, name: str) -> int:
    """Return a parameter of an address that counts lines, 0 without it. Raises InvalidField."""
    count = parse_count(request.query_params.get(name) or "0")
    if count is None:
        raise InvalidField(f"{name}: follow the link of a page.", field=name)
    return count


def select_options(choices: Sequence[tuple[str, str]], chosen: str) -> list[dict[str, object]]:
    """Return the options of a select, given as pairs of value and label."""
    return [
        {"value": value, "label": label, "selected": value == chosen} for value, label in choices
    ]


def query_string(**filters: object) -> str:
    """Return the query of a URL from the filters that are set, with its `?`; empty for none."""
    query = urlencode({name: value for name, value in filters.items() if value})
    return f"?{query}" if query else ""


def strict_json(
    kind: type[msgspec.Struct],
    field_help: Mapping[str, str],
    *,
    no_effect_message: str,
    precondition: Callable[[AnyRequest], object] | None = None,
) -> Callable[[AnyRequest], Awaitable[None]]:
    """Return a `before_request` hook that refuses a body that is not of this struct.

    `field_help` says what each field must be, `no_effect_message` what did not happen. What
    `precondition` raises is raised before the body is read.
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
    """Return the error that names the field at fault and says what it must be, not what it was."""
    if (unknown := UNKNOWN_FIELD.fullmatch(message)) is not None:
        return InvalidField(f"There is no such field. {no_effect_message}", field=unknown[1][:64])
    known = MISSING_FIELD.match(message) or INVALID_FIELD.fullmatch(message)
    if known is None or known[1] not in field_help:
        return InvalidField(f"The body must be a JSON object. {no_effect_message}")
    return InvalidField(
        f"{known[1]} must be {field_help[known[1]]}. {no_effect_message}", field=known[1]
    )
