"""The URL of a database, as libpq reads it."""

from urllib.parse import parse_qsl, urlsplit

SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")


def as_libpq(url: str) -> str:
    """Return a database's URL with the scheme that libpq knows."""
    return f"postgresql://{url.partition('://')[2]}"


def validate(url: str) -> str:
    """Return a database's URL. Raises ValueError, without the URL, which holds a password."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError("must start with postgresql://")
    named = [value for name, value in parse_qsl(urlsplit(url).query) if name == "host"]
    if len(named) > 1 or any(":" in host and not host.startswith("/") for host in named):
        raise ValueError("must name several hosts as postgresql://user@one:5432,two:5432/name")
    return url
