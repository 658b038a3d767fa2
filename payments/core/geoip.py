"""Where a request seems to come from: a hint, from a file on this machine, good for one page.

It only chooses whether a stronger notice is shown. It is never a reason to refuse, is wrong behind
a VPN, and leaves nothing: no row, no line in a log, no label of a metric.
"""

import functools

import maxminddb


class GeoipError(ValueError):
    """The file is not a database of countries."""


@functools.cache
def open_database(path: str) -> maxminddb.Reader:
    """The database in a file, kept open. Raises GeoError."""
    try:
        return maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise GeoipError(f"cannot read {path}: {type(error).__name__}") from None


def country_code(path: str, address: str) -> str | None:
    """The country of an address, by its code; None where there is no file or no answer."""
    if not path or not address:
        return None
    try:
        found = open_database(path).get(address)
    except (ValueError, maxminddb.InvalidDatabaseError):  # no address at all, or a broken file
        return None
    match found:
        case {"country": {"iso_code": str(code)}}:
            return code
        case _:
            return None
