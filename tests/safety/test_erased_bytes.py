"""Erased means gone from the disk: tables, indexes, statistics and the log that is written from
then on hold no byte of a number, hash or token that led to whoever was erased.
"""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg
import pytest
from sqlalchemy.engine import make_url

from payments.donors import donors
from payments.infra import logs
from payments.infra.embedded_postgres import temporary_postgres
from payments.ops import schedules
from payments.risk.emergency_stops import StopGroup, StopMode
from payments.safety import emergency_stop, global_erasure, stripe_worklist
from tests.support import command_line
from tests.support.database import migrated_cluster
from tests.support.donor import open_donor_browser
from tests.support.dumps import dump
from tests.support.newsroom import Newsroom, open_newsroom

pytestmark = pytest.mark.anyio

TELLING = ("cus_", "sub_", "pm_", "cs_", "pi_", "seti_", "in_")
OPEN_ALERTS = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL"
ERASED, STAYS = "erased@example.org", "stays@example.org"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A server of its own, so that all of its disk can be searched."""
    with temporary_postgres(fsync=False) as url, migrated_cluster(url):
        yield url


def home_of(room: Newsroom) -> Path:
    """The directory of a server, with its data and logs."""
    url = make_url(room.settings.database_url.get_secret_value())
    return Path(unquote(str(url.query["host"])))


def execute(room: Newsroom, *statements: str) -> list[Any]:
    """Run statements as the owner, each in a transaction of its own. Gives the last one's value."""
    url = make_url(room.settings.database_url.get_secret_value()).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return list(cursor.fetchone() or ()) if cursor.description else []


def tokens_mailed_to(room: Newsroom, *persons: str) -> set[bytes]:
    """What the links in persons' mails prove themselves with, and what a table holds of it."""
    texts = [mail.part() for mail in room.mails() if set(mail.to) & set(persons)]
    tokens = {token.encode() for text in texts for token in re.findall(r"/([\w.~-]{20,})", text)}
    assert tokens, "no mail has a link of its own"
    return tokens | {sha256(token).digest() for token in tokens}


async def secrets_of(room: Newsroom, *persons: str) -> set[bytes]:
    """The numbers at Stripe, the hashes and the tokens of persons, as bytes of a disk or a dump."""
    objects = room.sandbox.account.store.objects
    customers = {id_ for id_, one in objects.items() if one.get("email") in persons}
    numbers = {
        id_
        for id_, one in objects.items()
        if id_.startswith(TELLING) and (id_ in customers or one.get("customer") in customers)
    }
    for checkout in room.sandbox.account.store.of_kind("checkout.session"):  # also a guest's
        if (checkout.get("customer_details") or {}).get("email") in persons:
            numbers |= {checkout["id"], checkout["payment_intent"]} - {None}
    assert {id_.partition("_")[0] for id_ in numbers} >= {"cus", "sub", "pm", "cs", "pi", "in"}
    hashes = [one for name in persons for one in await donors.address_hashes(room.settings, name)]
    hashes += tokens_mailed_to(room, *persons)
    return {id_.encode() for id_ in numbers} | {
        written for value in hashes for written in (value, value.hex().encode())
    }


async def erased_at_stripe(room: Newsroom, *arguments: str) -> list[str]:
    """The numbers that the operator's command lists."""
    answer = await command_line.run(room.settings, "erased-at-stripe", "--json", *arguments)
    return [one["id"] for one in json.loads(answer.stdout)]


def found(room: Newsroom, needles: set[bytes]) -> dict[str, set[bytes]]:
    """Which stand in which tables, indexes and files, but for the log of what was before, and in a
    dump.
    """
    dumped = dump(room)  # it ends with a CHECKPOINT
    wal, end = execute(
        room, "SELECT file_name, file_offset FROM pg_walfile_name_offset(pg_current_wal_lsn())"
    )
    names = dict(
        execute(
            room,
            "SELECT json_object_agg(pg_relation_filenode(oid), relname) FROM pg_class"
            " WHERE pg_relation_filenode(oid) > 0",
        )[0]
    )
    hits = {"dump": here} if (here := {needle for needle in needles if needle in dumped}) else {}
    for path in sorted(home_of(room).rglob("*")):
        if not path.is_file() or ("pg_wal" in path.parts and path.name != wal):
            continue
        data = path.read_bytes()[: end if path.name == wal else None]
        if here := {needle for needle in needles if needle in data}:
            hits[names.get(path.name, str(path))] = here
    return hits


async def test_no_byte_is_left_of_one_who_was_erased_nor_then_of_everybody(
    database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug")
    async with open_newsroom(database) as room:
        for address in (ERASED, STAYS):
            for frequency in ("monthly", "once"):
                await room.gives(500, frequency, email=address)
                await room.runs_until_idle()
        async with open_donor_browser(room, ERASED) as donor:
            await donor.signs_in()
            session = sha256(donor.web.cookies["donor"].encode()).digest()
            needles = await secrets_of(room, ERASED) | {session}
            execute(room, "ANALYZE", "CHECKPOINT")
            assert set().union(*found(room, needles).values()) >= {session} | {
                needle for needle in needles if needle.startswith((b"cus_", b"sub_", b"cs_"))
            }
            room.clock.advance(timedelta(minutes=1))
            answer = await donor.opens_and_submits("/manage/data/erase")
            assert answer.status_code == 200
        await room.runs_until_idle()
        # For a few days Stripe's numbers stand by themselves, to be erased there too.
        listed = {one.encode() for one in await erased_at_stripe(room)}
        assert listed == {one for one in needles if one.startswith((b"cus_", b"cs_", b"pi_"))}
        assert await room.rows(OPEN_ALERTS) == [("erase_at_stripe", "erased-at-stripe")]
        done = next(one for one in sorted(listed) if one.startswith(b"cus_")).decode()
        assert set(await erased_at_stripe(room, "--done", done)) == {
            one.decode() for one in listed
        } - {done}
        room.clock.advance(stripe_worklist.RETENTION + timedelta(hours=1))
        await schedules.purge_expired(room.ctx)
        assert (await erased_at_stripe(room), await room.rows(OPEN_ALERTS)) == ([], [])
        room.clock.advance(donors.ERASURE_RETENTION + timedelta(days=1))
        await schedules.purge_expired(room.ctx)
        execute(room, "VACUUM FULL", "CHECKPOINT", "SELECT pg_switch_wal()")
        assert found(room, needles) == {}
        everybody = await secrets_of(room, ERASED, STAYS)
        assert found(room, everybody) != {}
        await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.CANCEL)
        await room.runs_until_idle()
        report = await global_erasure.erase_everyone(room.ctx, worklist_settled=True)
        assert report.vacuumed
        execute(room, "SELECT pg_switch_wal()")
        await room.runs_until_idle()
        assert found(room, everybody) == {}
        written = capfd.readouterr()
        assert not any(
            needle.decode("latin-1") in written.out + written.err for needle in everybody
        )
