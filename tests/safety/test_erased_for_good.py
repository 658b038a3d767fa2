"""Who was erased stays erased: no late event, sweep or repair brings a number of Stripe's back that
leads to them, and what could still be charged is cancelled.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
)
from sqlalchemy.dialects.postgresql import INET, JSONB, UUID
from sqlalchemy.types import TypeEngine

from payments.infra import db, job_queue
from payments.ops import reconcile
from payments.risk.emergency_stops import StopGroup, StopMode
from payments.safety import emergency_stop, global_erasure, identifying_columns
from payments.web import app
from tests.support import command_line, dumps
from tests.support.donor import SAME_ORIGIN_HEADERS, open_donor_browser
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.safety_policy import RUSSIAN, protected
from tests.support.stripe_dashboard import subscribe, update, with_card

assert app  # it imports every noun, so that each table is known
pytestmark = pytest.mark.anyio

# All that leads to a person by one call of Stripe's API, but for what the books are made of.
TELLING = ("cus_", "sub_", "pm_", "cs_", "pi_", "seti_", "in_", "src_", "card_")


def telling_ids(room: Newsroom) -> Iterator[str]:
    """The ids of Stripe's objects that lead to a person."""
    return (id_ for id_ in room.sandbox.account.store.objects if id_.startswith(TELLING))


async def found_in_dump(room: Newsroom) -> set[str]:
    """Which of those stand anywhere in the database, with the lines they stand in."""
    dump = dumps.rows(room).decode(errors="replace").splitlines()
    ids = list(telling_ids(room))
    assert {id_.partition("_")[0] for id_ in ids} >= {"cus", "sub", "pm", "cs", "pi", "in"}
    return {line for line in dump if any(id_ in line for id_ in ids)}


def test_every_column_that_could_identify_somebody_has_its_end() -> None:
    classes = (identifying_columns.GONE, identifying_columns.BOOKS, identifying_columns.OTHERS)
    assert sorted(identifying_columns.columns_in(*classes)) == sorted(
        identifying_columns.candidates(db.Base.metadata)
    )


async def test_the_database_takes_no_samples_of_what_leads_to_a_person(database: str) -> None:
    async with open_newsroom(database) as room:
        rows = await room.rows(
            "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attstattarget = 0"
        )
    tables = db.Base.metadata.tables
    telling = {
        (table, column)
        for table, column in identifying_columns.columns_in(identifying_columns.GONE)
        if isinstance(
            type_ := tables[table].columns[column].type, String | LargeBinary | JSON | ARRAY
        )
        and getattr(type_, "length", None) != identifying_columns.MIN_ID_LENGTH  # ids of our own
    }
    jobs = {("procrastinate_jobs", name) for name in ("lock", "queueing_lock", "args")}
    also = {("alerts", "object_id"), ("contributions", "article")}
    assert set(rows) == telling | jobs | also


def test_whatever_is_no_number_or_word_of_ours_could_identify_somebody() -> None:
    metadata = MetaData()
    could: list[TypeEngine[Any]] = [ARRAY(LargeBinary), ARRAY(String), UUID(), INET(), JSONB()]
    could += [String(64), Interval()]
    could_not: list[TypeEngine[Any]] = [Boolean(), Integer(), Numeric(), String(8)]
    could_not += [ARRAY(String(8)), ARRAY(Integer)]
    for name, types in (("could", could), ("could_not", could_not)):
        Table(name, metadata, *(Column(str(at), type_) for at, type_ in enumerate(types)))
    expected = [("could", str(at)) for at in range(len(could))]
    assert list(identifying_columns.candidates(metadata)) == expected


async def left_in_columns(room: Newsroom) -> dict[tuple[str, str], list[str]]:
    """What stands in the columns that an erasure of everybody empties, and is not random."""
    found = {}
    for table, column in identifying_columns.columns_in(identifying_columns.GONE):
        rows = await room.rows(f"SELECT {column}::text FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608 - our own names
        values = [str(value) for (value,) in rows]
        own_ids: tuple[str, ...] = ("anonymised",)
        if column == "stripe_payment_intent_id":
            own_ids += ("ch_",)  # a charge that is linked by its own id
        if left := [one for one in values if not one.startswith(own_ids)]:
            found[table, column] = left
    return found


async def everything_happens_again(room: Newsroom) -> None:
    """Stripe sends new events about all there is, the sweeps run, and an operator repairs."""
    for id_, stored in list(room.sandbox.account.store.objects.items()):
        if id_.startswith(("sub_", "cus_", "pi_")) and stored.get("status") != "canceled":
            kind = {"sub_": "subscriptions", "cus_": "customers", "pi_": "payment_intents"}
            update(room, f"/v1/{kind[id_.partition('_')[0] + '_']}/{id_}", description="touched")
    await room.runs_until_idle()
    await room.runs_sweeps()
    await room.runs_until_idle()
    await reconcile.run(room.ctx, days=60, repair=True)
    await room.runs_until_idle()


async def gives(room: Newsroom, frequency: str, email: str, card: str = "4242424242424242") -> str:
    asked = (await room.requests_contribution(500, frequency, declaration=True)).json()
    await room.pays(asked["checkout_url"], card, email=email)
    return str(asked["id"])


async def test_after_the_erasure_of_everybody_nothing_leads_back(
    database: str, tmp_path: Path
) -> None:
    async with protected(database, tmp_path, adopt="all") as room:
        await gives(room, "once", "once@example.org")
        await gives(room, "monthly", "monthly@example.org")
        await gives(room, "annual", "quarantined@example.org", RUSSIAN)
        customer, card = with_card(room, "adopted@example.org")
        subscribe(room, customer, card, 1500, product="letters")
        await room.runs_until_idle()
        await gives(room, "monthly", "late@example.org")  # its events have not come
        late = room.sandbox.take_deliveries()
        await room.runs_sweeps()
        contributions = await room.rows("SELECT id FROM contributions ORDER BY 1")
        assert len(contributions) == 5
        room.clock.advance(timedelta(minutes=1))
        await emergency_stop.execute(room.ctx, StopGroup.ALL, StopMode.CANCEL)
        await room.runs_due_jobs()
        late += room.sandbox.take_deliveries()  # the ends
        room.clock.advance(timedelta(minutes=10))
        listed = await command_line.run(room.settings, "erase-identities", "--worklist", "--json")
        stored = {id_ for id_ in telling_ids(room) if id_.startswith(("cus_", "cs_", "pi_"))}
        dump = dumps.rows(room).decode(errors="replace")
        assert {one["id"] for one in json.loads(listed.stdout)} == {
            id_ for id_ in stored if id_ in dump
        }
        with pytest.raises(global_erasure.StripeWorklistOpen):
            await global_erasure.erase_everyone(room.ctx, worklist_settled=False)
        typed = {"email": "gone@nowhere"}  # what answers a form may repeat it
        form = {"accept": "text/html", **SAME_ORIGIN_HEADERS}
        assert (await room.web.post("/remind", data=typed, headers=form)).status_code == 303
        assert await room.count("donors") > 0 < await room.count("shown_pages")
        await global_erasure.erase_everyone(room.ctx, worklist_settled=True)
        assert await room.count("shown_pages") == 0
        assert await found_in_dump(room) == set()
        listed = await command_line.run(room.settings, "erase-identities", "--worklist", "--json")
        assert json.loads(listed.stdout) == []
        assert await left_in_columns(room) == {}
        before = await room.rows("SELECT kind, object_id FROM alerts ORDER BY 1, 2")
        await room.deliver(late)
        await everything_happens_again(room)
        assert await found_in_dump(room) == set()
        assert await room.rows("SELECT id FROM contributions ORDER BY 1") == contributions
        assert await room.rows("SELECT kind, object_id FROM alerts ORDER BY 1, 2") == before
        assert await room.count("donors") == 0
        assert await left_in_columns(room) == {}
        assert await room.count("charges") == 5
        assert (await reconcile.run(room.ctx, days=60)).before == ()
        shown = await command_line.run(room.settings, "reconcile", "--days", "60", "--json")
        assert json.loads(shown.stdout)["before"] == []


async def test_what_is_live_at_the_erasure_is_cancelled_and_then_nothing_of_it_is_left(
    database: str, tmp_path: Path
) -> None:
    async with protected(database, tmp_path, adopt="all") as room:
        await gives(room, "monthly", "known@example.org")
        await room.runs_until_idle()
        await gives(room, "monthly", "unknown@example.org")
        customer, card = with_card(room, "adopted@example.org")
        subscribe(room, customer, card, 1500, product="letters")
        room.sandbox.take_deliveries()  # lost
        room.clock.advance(timedelta(minutes=10))
        await global_erasure.erase_everyone(room.ctx, force=True, worklist_settled=True)
        (known,) = await room.rows("SELECT stripe_subscription_id FROM subscriptions")
        for line in await found_in_dump(room):  # by this alone it can be cancelled
            assert str(known[0]) in line
        await everything_happens_again(room)
        await everything_happens_again(room)
        statuses = {one["status"] for one in room.sandbox.account.store.of_kind("subscription")}
        assert statuses == {"canceled"}
        assert await found_in_dump(room) == set()
        assert room.mails() == []
        await room.advances_time(timedelta(days=40))
        await room.runs_until_idle()
        assert await room.count("charges") == 3


async def fails_for_good(room: Newsroom, invoice_id: str) -> None:
    """Have the sync of an invoice fail until no attempt is left."""
    room.sandbox.faults.add("GET", f"/v1/invoices/{invoice_id}", "status_500", remaining=9)
    async with room.ctx.sessions.begin() as session:
        attempt = job_queue.MAX_ATTEMPTS
        await job_queue.enqueue_sync(session, "invoice", invoice_id, attempt=attempt)
    await room.runs_due_jobs()
    room.sandbox.faults.clear()
    failed = await room.rows("SELECT object_id FROM alerts WHERE kind = 'retries_exhausted'")
    assert failed == [(invoice_id,)]


async def test_after_one_donors_own_erasure_and_a_quarantine_nothing_leads_back_to_them(
    database: str, tmp_path: Path
) -> None:
    async with protected(database, tmp_path) as room:
        await gives(room, "annual", "quarantined@example.org", RUSSIAN)
        for frequency in ("once", "monthly"):
            await gives(room, frequency, "reader@example.org")
        await room.runs_until_idle()
        async with open_donor_browser(room, "reader@example.org") as donor:
            await donor.signs_in()
            await fails_for_good(room, [*room.sandbox.account.store.of_kind("invoice")][-1]["id"])
            await gives(room, "once", "reader@example.org")  # its events come late
            late = room.sandbox.take_deliveries()
            room.clock.advance(timedelta(minutes=1))
            answer = await donor.opens_and_submits("/manage/data/erase")
            assert answer.status_code == 200
        contributions = await room.rows("SELECT id FROM contributions ORDER BY 1")
        await room.deliver(late)
        await everything_happens_again(room)
        listed = await command_line.run(room.settings, "erased-at-stripe", "--json")
        done = [word for one in json.loads(listed.stdout) for word in ("--done", one["id"])]
        assert len(done) == 2 * await room.count("erased_at_stripe") > 0
        listed = await command_line.run(room.settings, "erased-at-stripe", "--json", *done)
        assert json.loads(listed.stdout) == []
        assert await found_in_dump(room) == set()
        assert await room.rows("SELECT id FROM contributions ORDER BY 1") == contributions
        assert (await reconcile.run(room.ctx, days=60)).before == ()
        await gives(room, "once", "another@example.org")  # who was not erased is found
        await room.runs_until_idle()
        assert await found_in_dump(room) != set()
