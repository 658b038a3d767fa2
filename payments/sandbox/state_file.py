"""A sandbox's state in a file: written whole or not at all, and read only by the same version.

A live sandbox with a file saves itself a moment after each change and when it stops. What a crash
can lose is the last SAVE_SECONDS, or more of a state so large that saving it takes long.
"""

import fcntl
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from payments.sandbox.account import API_VERSION
from payments.sandbox.form_encoding import JsonObject

FORMAT: Final = 1  # raised when a saved state of before cannot be read any more
SAVE_SECONDS: Final = 0.5


class StateFileError(ValueError):
    """The file is not a sandbox's state, is one of another version, or is in use."""


def write(path: str | Path, state: JsonObject) -> None:
    """Replace a file by this state; a reader sees the old one or the new one."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.new")
    content = msgspec.json.encode({"format": FORMAT, "api_version": API_VERSION, **state})
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read(path: str | Path) -> JsonObject:
    """Return the state in a file. Raises StateFileError when it is not this version's."""
    content = Path(path).read_bytes()
    try:
        with _without_collector():  # it would look through all objects again and again
            state = msgspec.json.decode(content)
    except msgspec.DecodeError:
        raise StateFileError(f"{path} is not the state of a sandbox") from None
    if not isinstance(state, dict) or "format" not in state:
        raise StateFileError(f"{path} is not the state of a sandbox")
    found = (state["format"], state.get("api_version"))
    if found != (FORMAT, API_VERSION):
        message = f"{path} has format {found[0]} of API version {found[1]}; this sandbox reads "
        raise StateFileError(f"{message}format {FORMAT} of {API_VERSION}")
    return state


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold a file for this process alone. Raises StateFileError while another one has it."""
    beside = Path(path).with_name(f".{Path(path).name}.lock")
    with beside.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateFileError(f"{path} is in use by another sandbox") from None
        yield


@contextmanager
def _without_collector() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
