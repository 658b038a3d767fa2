"""Logs: JSON lines on stderr with fixed event names and an allow-list of fields.

An error is logged by its class and place, never by its message, which may quote what a reader sent.
Of other libraries' records only logger, level and error class are logged, from warnings up.
"""

import contextlib
import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

ALLOWED_FIELDS = frozenset({
    "event", "level", "logger", "timestamp", "request_id", "object_type", "attempt", "error",
    "at", "count", "outcome",
})  # fmt: skip
SAFE_VALUE = re.compile(r"[\w<>:.+-]{1,120}", re.ASCII)
EventDict = MutableMapping[str, Any]  # structlog's own type


def _replace_exception(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace an exception by its class and the place where it was raised."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["error"] = type(error).__qualname__
        frames = traceback.extract_tb(error.__traceback__)
        if frames:
            event["at"] = f"{Path(frames[-1].filename).stem}.{frames[-1].name}:{frames[-1].lineno}"
    return event


def _drop_unlisted_fields(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Drop every field that is not allowed, or whose value is neither a number nor a word.

    A sentence, an e-mail address or an amount is no word.
    """
    allowed = {
        name: value
        for name, value in event.items()
        if name in ALLOWED_FIELDS and (isinstance(value, int) or SAFE_VALUE.fullmatch(str(value)))
    }
    return {"event": "unnamed", **allowed}


class _LibraryHandler(logging.Handler):
    """Logs the records of other libraries without their messages."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        log = structlog.get_logger(record.name)
        log.log(record.levelno, "library_message", logger=record.name, exc_info=error)


class _StderrLogger:
    """Writes to the stderr of now: the one at start-up may be closed by the time.

    A line that cannot be written, to a full disk or a closed pipe, is lost, and nothing else is.
    """

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warn = warning = error = exception = critical = fatal = log = msg


def configure(level: str = "info") -> None:
    """Set up the logs of a process. May be called again, with another level."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _replace_exception,
            _drop_unlisted_fields,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_names: _StderrLogger(),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_LibraryHandler()], level=logging.WARNING, force=True)
    # procrastinate's messages quote the arguments of jobs; the worker logs failures itself.
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
