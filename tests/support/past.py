"""A newsroom that already has a past: what many tests begin with is played once, in a newsroom of
its own, and then written into each in which nothing has happened yet.

Nothing tells the two apart: the same rows, the same account at Stripe, mails, webhooks and keys.
Only what a process alone knows (its log, its metrics) has not seen it.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from payments.giving.contributions import Contribution
from payments.sandbox.webhook_deliveries import Delivery
from tests.support import database
from tests.support.database import Connection
from tests.support.newsroom import NOON, Mail, MailServer, Newsroom, open_newsroom
from tests.support.stripe_state import StripeState

T = TypeVar("T")

SEQUENCES_SQL = b"""
    SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename), last_value
      FROM pg_sequences WHERE last_value IS NOT NULL"""
TABLES_SQL = b"""
    SELECT quote_ident(relname) FROM pg_class
     WHERE relnamespace = CAST('public' AS regnamespace) AND relkind = 'r' ORDER BY 1"""


@dataclass(frozen=True)
class Present:
    """All there is in a newsroom: its account at Stripe, and its tables as text."""

    stripe: bytes
    tables: tuple[object, ...]


@dataclass(frozen=True)
class Past(Generic[T]):
    """What there was before something was played, and what there was afterwards."""

    before: Present
    result: T
    stripe_url: str
    now: datetime
    rows: dict[str, bytes]  # of each table that differs, as COPY writes them
    sequences: dict[str, int]
    stripe: StripeState
    mails: tuple[Mail, ...]
    delivered: tuple[Delivery, ...]
    address_keys: dict[Path, bytes]


_pasts: dict[str, Past[Any] | None] = {}


async def begin_with(room: Newsroom, name: str, play: Callable[[Newsroom], Awaitable[T]]) -> T:
    """Let something have happened in a newsroom. Returns what `play` returns, which `name` names.

    It is played there itself if the newsroom has settings of its own, or is not new; and if what is
    played mails an address of the stand-in for Stripe, which is another in each newsroom.
    """
    url = room.settings.database_url.get_secret_value()
    cluster = database.cluster_of(url)
    if cluster is None or not _looks_new(room):
        return await play(room)
    connection = database.connection_of(url)
    if name not in _pasts:
        _pasts[name] = await _record(cluster, play)
    past = _pasts[name]
    if past is None or _present(room, connection) != past.before:
        return await play(room)
    _write(room, connection, past)
    return cast("T", past.result)


async def has_given(
    room: Newsroom,
    amount: int = 500,
    frequency: str = "once",
    currency: str = "usd",
    *,
    email: str = "reader@example.org",
) -> Contribution:
    """A reader has given, and Stripe's webhooks have arrived."""

    async def play(room: Newsroom) -> str:
        contribution = await room.gives(amount, frequency, currency, email=email)
        await room.runs_until_idle()
        return contribution.id

    name = repr(("reader", amount, frequency, currency, email))
    return await room.contribution(await begin_with(room, name, play))


def _looks_new(room: Newsroom) -> bool:
    """Whether a newsroom is as every other, apart from what is stored."""
    server = room.mail_server
    return (
        not (room.has_own_settings or room.web.cookies or room.sandbox.faults.pending)
        and room.donors_have_signed_in
        and room.clock() == NOON
        and server.is_open
        and replace(server, port=0, _server=None) == MailServer()
    )


async def _record(cluster: str, play: Callable[[Newsroom], Awaitable[T]]) -> Past[T] | None:
    with database.copy_database(cluster) as url:
        async with open_newsroom(url) as room:
            connection = database.connection_of(url)
            before = _present(room, connection)
            result = await play(room)
            assert room.sandbox.problems == []
            assert not room.web.cookies
            after = _present(room, connection)
            names = _tables(connection)
            rows = {
                name: _copied(connection, name)
                for name, old, new in zip(names, before.tables, after.tables, strict=True)
                if old != new
            }
            mails = tuple(room.mails())
            if any(room.sandbox.url in mail.part() for mail in mails):
                return None
            return Past(
                before=before,
                result=result,
                stripe_url=room.sandbox.url,
                now=room.clock(),
                rows=rows,
                sequences={str(n): int(v) for n, v in connection.execute(SEQUENCES_SQL)},
                stripe=StripeState.of(room.sandbox),
                mails=mails,
                delivered=tuple(room.delivered),
                address_keys=_files(Path(room.settings.address_key_dir)),
            )


def _write(room: Newsroom, connection: Connection, past: Past[T]) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger, no foreign key
        for table, rows in past.rows.items():
            cursor.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - from the catalogue
            with cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
                copy.write(rows.replace(past.stripe_url.encode(), room.sandbox.url.encode()))
        for sequence, value in past.sequences.items():
            cursor.execute("SELECT setval(CAST(%s AS regclass), %s)", [sequence, value])
    room.clock.current = past.now
    room.sandbox.api.request_log.clear()
    past.stripe.restore(room.sandbox)
    room.mail_server.mails.extend(past.mails)
    room.delivered.extend(past.delivered)
    for path, key in past.address_keys.items():
        file = Path(room.settings.address_key_dir, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(key)


def _present(room: Newsroom, connection: Connection) -> Present:
    stripe = json.dumps(room.sandbox.account.dump(), default=str)
    found = connection.execute(_present_sql(_tables(connection)), prepare=True).fetchone()
    assert found is not None
    return Present(stripe.replace(room.sandbox.url, "").encode(), found)


@cache
def _present_sql(tables: tuple[str, ...]) -> bytes:
    rows = (
        f"(SELECT string_agg(CAST(t AS text), ' ' ORDER BY CAST(t AS text)) FROM {table} t)"  # noqa: S608 - from the catalogue
        for table in tables
    )
    return f"SELECT {', '.join(rows)}".encode()


def _tables(connection: Connection) -> tuple[str, ...]:
    return tuple(str(name) for (name,) in connection.execute(TABLES_SQL))


def _copied(connection: Connection, table: str) -> bytes:
    with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as rows:
        return b"".join(bytes(block) for block in rows)


def _files(folder: Path) -> dict[Path, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder): file.read_bytes() for file in files}
