"""The country of an IP address, from a MaxMind database on this machine.

A hint for one page: it chooses whether a stronger notice is shown, and never refuses anybody, since
it is wrong behind a VPN. It is not stored, logged or counted.
"""

import functools

import maxminddb


class GeoipError(ValueError):
    """The file is not a database of countries."""


@functools.cache
def open_database(path: str) -> maxminddb.Reader:
    """Return the database in a file, opened once per process. Raises GeoipError."""
    try:
        return maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise GeoipError(f"cannot read {path}: {type(error).__name__}") from None


def country_code(path: str, address: str) -> str | None:
    """Return the ISO code of an address's country; None where there is no file or no answer."""
    if not path or not address:
        return None
    try:
        record = open_database(path).get(address)
    except (ValueError, maxminddb.InvalidDatabaseError):  # not an address, or a broken file
        return None
    match record:
        case {"country": {"iso_code": str(code)}}:
            return code
        case _:
            return None
