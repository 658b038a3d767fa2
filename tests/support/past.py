"""What many tests begin with is played once, and then written into each newsroom that is where that
one was: a new one, or one that began with something else.

Nothing tells the two apart: the same rows, the same account at Stripe, mails, webhooks and keys.
Only what a process alone knows (its log, its metrics) has not seen it.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import msgspec

from payments.giving.contributions import Contribution
from payments.sandbox import webhook_deliveries
from payments.sandbox.faults import Faults
from payments.sandbox.webhook_deliveries import Delivery
from tests.support import database
from tests.support.database import Connection
from tests.support.newsroom import Mail, MailServer, Newsroom
from tests.support.stripe_state import StripeState

T = TypeVar("T")

SEQUENCES_SQL = b"""
    SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename), last_value
      FROM pg_sequences WHERE last_value IS NOT NULL"""
TABLES_SQL = b"""
    SELECT quote_ident(relname) FROM pg_class
     WHERE relnamespace = CAST('public' AS regnamespace) AND relkind = 'r' ORDER BY 1"""


@dataclass(frozen=True)
class Past(Generic[T]):
    """What there was after something was played."""

    result: T
    stripe_url: str
    now: datetime
    rows: dict[str, bytes]  # of each table that differs, as COPY writes them
    sequences: dict[str, int]
    stripe: StripeState
    mails: tuple[Mail, ...]
    delivered: tuple[Delivery, ...]
    address_keys: dict[Path, bytes]


@dataclass(frozen=True)
class Present:
    """All there is in a newsroom: a digest of it all, and its tables as text."""

    digest: bytes
    tables: tuple[str | None, ...]


_seen: set[bytes] = set()  # the digests that newsrooms had before, or after what was played
_pasts: dict[tuple[bytes, str], Past[Any]] = {}  # by what there was before, and by name


async def begin_with(room: Newsroom, name: str, play: Callable[[Newsroom], Awaitable[T]]) -> T:
    """Let something have happened in a newsroom. Returns what `play` returns, which `name` names.

    It is played where no newsroom was like this one before, and written where it was played
    before, from the same beginning on. No beginning is like one in which something else happened:
    ids are drawn by chance.
    """
    url = room.settings.database_url.get_secret_value()
    cluster = database.cluster_of(url)
    if cluster is None or not _is_repeatable(room):
        return await play(room)
    connection = database.connection_of(url)
    before = _present(room, connection)
    if before.digest not in _seen:
        _seen.add(before.digest)
        return await play(room)
    past = _pasts.get((before.digest, name))
    if past is not None:
        _write(room, connection, past)
        return cast("T", past.result)
    result = await play(room)
    mails = room.mails()
    # An address of the stand-in for Stripe is another in each newsroom.
    if _is_repeatable(room) and not any(room.sandbox.url in mail.part() for mail in mails):
        after = _present(room, connection)
        _seen.add(after.digest)
        _pasts[before.digest, name] = _record(room, connection, result, before, after)
    return result


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


def _is_repeatable(room: Newsroom) -> bool:
    """Whether all that a newsroom is can be compared with another."""
    server, sandbox = room.mail_server, room.sandbox
    return (
        room.own_settings is not None
        and type(sandbox.faults) is Faults
        and not (room.web.cookies or sandbox.faults.pending or sandbox.problems)
        and not (sandbox._unacknowledged or sandbox._sending)
        and server.is_open
        and replace(server, port=0, _server=None, mails=[]) == MailServer()
    )


def _record(
    room: Newsroom, connection: Connection, result: T, before: Present, after: Present
) -> Past[T]:
    names = zip(_tables(connection), before.tables, after.tables, strict=True)
    return Past(
        result=result,
        stripe_url=room.sandbox.url,
        now=room.clock(),
        rows={name: _copied(connection, name) for name, old, new in names if old != new},
        sequences={str(n): int(v) for n, v in connection.execute(SEQUENCES_SQL)},
        stripe=StripeState.of(room.sandbox),
        mails=tuple(room.mails()),
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
    room.mail_server.mails[:] = past.mails
    room.delivered[:] = past.delivered
    for path in _files(Path(room.settings.address_key_dir)).keys() - past.address_keys.keys():
        Path(room.settings.address_key_dir, path).unlink()
    for path, key in past.address_keys.items():
        file = Path(room.settings.address_key_dir, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(key)


def _present(room: Newsroom, connection: Connection) -> Present:
    found = connection.execute(_present_sql(_tables(connection)), prepare=True).fetchone()
    assert found is not None
    tables = tuple(text and str(text).replace(room.sandbox.url, "") for text in found)
    webhook_deliveries.queued(room.sandbox.account)  # a list, where nothing was queued yet too
    saved = msgspec.json.encode(room.sandbox.account.dump(), enc_hook=str)
    stripe = saved.replace(room.sandbox.url.encode(), b"")
    others = (
        room.own_settings,
        room.donors_have_signed_in,
        room.clock(),
        len(room.sandbox.requests),
        len(room.delivered),
        [mail.raw for mail in room.mails()],
    )
    return Present(hashlib.sha256(repr((stripe, tables, others)).encode()).digest(), tables)


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
