"""The database's owner, past the service's role and, when tampering, past the triggers."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.engine import make_url

Connection = psycopg.Connection[tuple[object, ...]]


def driver_url(url: str) -> str:
    """A database URL as psycopg takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def as_owner(url: str) -> Iterator[Connection]:
    """A connection of the owner's, each statement at once."""
    with psycopg.connect(driver_url(url), autocommit=True) as connection:
        yield connection


@contextmanager
def tampering(url: str) -> Iterator[Connection]:
    """The owner, with triggers and foreign keys switched off."""
    with as_owner(url) as owner:
        owner.execute("SET session_replication_role = replica")
        yield owner
