"""Who hammers at the door is slowed and then stopped, readers are not, and no address is kept."""

import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import altcha
import httpx
import pytest

from payments import breaker, shield
from payments.app import create_app
from payments.shield import Level
from tests.newsroom import BASE, Newsroom, opened
from tests.page import Page

pytestmark = pytest.mark.anyio

DECLINED = "4000000000000002"
HOME = "198.51.100.7"


@asynccontextmanager
async def guarded(database: str, **more: object) -> AsyncIterator[Newsroom]:
    """A newsroom with the limits of production."""
    async with opened(database, **{"shield_gifts": 3, "shield_declines": 20, **more}) as room:
        yield room
        assert await room.wrong_books() == []


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with guarded(database) as room:
        yield room


async def form(room: Newsroom) -> Page:
    """The form, read for a while."""
    page = Page((await room.web.get("/donate")).text)
    room.clock.turn(timedelta(seconds=10))
    return page


async def sends(room: Newsroom, page: Page, ip: str = HOME, **changes: str) -> httpx.Response:
    """A reader at an address sends what a page holds."""
    sent = page.form("/donate").filled(**changes)
    return await room.web.post("/donate", data=sent, headers={"x-forwarded-for": ip})


async def gives(room: Newsroom, ip: str = HOME, **changes: str) -> httpx.Response:
    return await sends(room, await form(room), ip, **changes)


async def asks(room: Newsroom, ip: str = HOME, amount: int = 500, **more: object) -> httpx.Response:
    """A program asks on behalf of an address."""
    body = {"amount": amount, "frequency": "once", "currency": "usd", **more}
    headers = {"Idempotency-Key": uuid4().hex, "x-forwarded-for": ip}
    return await room.web.post("/api/contributions", json=body, headers=headers)


def solved(challenge: dict[str, Any]) -> str:
    """The work of a challenge, done."""
    given = altcha.Challenge.from_dict(challenge)
    solution = altcha.solve_challenge(given)
    assert solution is not None
    return altcha.Payload(given, solution).to_base64()


def work_of(page: httpx.Response) -> dict[str, Any]:
    """The challenge of a waiting page."""
    (found,) = [named for _, named in Page(page.text).attributes if "data-challenge" in named]
    return dict(json.loads(found["data-challenge"]))


def seconds_of(page: httpx.Response) -> int:
    found = re.search(r"Please wait (\d+) seconds", page.text)
    assert found is not None, page.text
    return int(found[1])


async def raised(room: Newsroom, level: Level) -> None:
    """The breaker has decided."""
    now = room.clock()
    async with room.rt.sessions.begin() as session:
        state = await shield.state_to_change(session, now)
        state.elevated_until = now + timedelta(days=30)
        state.paused_until = now + timedelta(days=30) if level is Level.PAUSED else now


# --- calm -----------------------------------------------------------------------------------------


async def test_a_reader_of_a_calm_day_meets_nothing(newsroom: Newsroom) -> None:
    assert [(await gives(newsroom)).status_code for _ in range(3)] == [303] * 3


async def test_past_its_limit_a_network_works_for_a_gift_and_is_refused_in_the_end(
    newsroom: Newsroom,
) -> None:
    for _ in range(3):
        assert (await asks(newsroom)).status_code == 201
    told = await asks(newsroom)
    assert told.status_code == 428
    assert told.json()["detail"].endswith("Nothing was charged.")
    for _ in range(9):
        challenge = (await newsroom.web.get("/api/challenge")).json()
        assert (await asks(newsroom, proof=solved(challenge))).status_code == 201
    challenge = (await newsroom.web.get("/api/challenge")).json()
    told = await asks(newsroom, proof=solved(challenge))
    assert told.status_code == 429
    assert told.json()["detail"].endswith("Nothing was charged.")
    assert await newsroom.count("contributions") == 12


async def test_neighbours_share_a_limit_and_strangers_do_not(newsroom: Newsroom) -> None:
    for ip in ("198.51.100.1", "198.51.100.200", "::ffff:198.51.100.9"):
        assert (await asks(newsroom, ip)).status_code == 201
    assert (await asks(newsroom, "198.51.100.77")).status_code == 428
    assert (await asks(newsroom, "198.51.101.1")).status_code == 201
    for ip in ("2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:ff::9"):
        assert (await asks(newsroom, ip)).status_code == 201
    assert (await asks(newsroom, "2001:db8:0:7f::1")).status_code == 428
    assert (await asks(newsroom, "2001:db8:0:100::1")).status_code == 201


async def test_a_limit_is_given_back_with_time(newsroom: Newsroom) -> None:
    for _ in range(3):
        await asks(newsroom)
    newsroom.clock.turn(timedelta(seconds=199))
    assert (await asks(newsroom)).status_code == 428
    newsroom.clock.turn(timedelta(seconds=2))
    assert (await asks(newsroom)).status_code == 201
    for _ in range(6):
        newsroom.clock.turn(timedelta(minutes=10))
        await asks(newsroom)
    newsroom.clock.turn(timedelta(minutes=10))
    assert (await asks(newsroom)).status_code == 428  # ten a day, however slowly
    newsroom.clock.turn(timedelta(days=1))
    assert (await asks(newsroom)).status_code == 201


async def test_the_same_request_again_costs_nothing(newsroom: Newsroom) -> None:
    page = await form(newsroom)
    answers = [await sends(newsroom, page) for _ in range(6)]
    assert {answer.headers["location"] for answer in answers} == {answers[0].headers["location"]}
    assert (await asks(newsroom)).status_code == 201


async def test_a_form_sent_in_a_blink_counts_as_three(newsroom: Newsroom) -> None:
    page = Page((await newsroom.web.get("/donate")).text)
    assert (await sends(newsroom, page)).status_code == 303
    assert (await gives(newsroom)).status_code == 428


@pytest.mark.parametrize("made", ["", "x", "another's"])
async def test_a_form_without_its_own_time_counts_as_three(newsroom: Newsroom, made: str) -> None:
    other = (await form(newsroom)).form("/donate").filled()["made"]
    page = await form(newsroom)
    changes = {"made": other if made == "another's" else made}
    assert (await sends(newsroom, page, **changes)).status_code == 303
    assert (await gives(newsroom)).status_code == 428


async def test_what_fills_in_the_trap_has_to_work(newsroom: Newsroom) -> None:
    page = await form(newsroom)
    told = await sends(newsroom, page, website="https://spam.example")
    assert told.status_code == 428
    assert await newsroom.count("contributions") == 0
    assert (await gives(newsroom)).status_code == 303


async def test_a_stranger_cannot_say_where_they_are(database: str) -> None:
    async with guarded(database, trusted_proxies="10.0.0.0/8") as room:
        for number in range(3):  # the socket's own address is no proxy's
            assert (await asks(room, f"203.0.{number}.1")).status_code == 201
        assert (await asks(room, "203.0.9.1")).status_code == 428


async def test_what_a_client_says_stands_left_of_what_our_proxies_saw(database: str) -> None:
    async with guarded(database, trusted_proxies="127.0.0.1,10.0.0.0/8") as room:
        for number in range(2):
            forged = f"192.0.{number}.1, 203.0.113.5, 10.1.1.1"
            assert (await asks(room, forged)).status_code == 201
        assert (await asks(room, "192.0.77.1, 203.0.113.9:443, 10.2.2.2")).status_code == 201
        assert (await asks(room, "203.0.113.5")).status_code == 428
        assert (await asks(room, "203.0.113.5, [2001:db8::1]:443")).status_code == 201


# --- elevated -------------------------------------------------------------------------------------


async def test_with_a_script_a_reader_works_and_goes_on(newsroom: Newsroom) -> None:
    await raised(newsroom, Level.ELEVATED)
    told = await gives(newsroom, frequency="once", amount_once="2500")
    assert told.status_code == 428
    assert (
        "script-src 'self'; require-trusted-types-for 'script'"
        in told.headers["content-security-policy"]
    )
    page = Page(told.text)
    assert page.faults == []
    answer = await sends(newsroom, page, proof=solved(work_of(told)))
    assert answer.status_code == 303
    price = newsroom.sandbox.requests[-1].params["line_items"][0]["price_data"]
    assert int(price["unit_amount"]) == 2500


async def test_without_a_script_a_reader_waits_and_goes_on(newsroom: Newsroom) -> None:
    await raised(newsroom, Level.ELEVATED)
    told = await gives(newsroom, frequency="monthly", amount_monthly="1000")
    assert seconds_of(told) == 20
    newsroom.clock.turn(timedelta(seconds=5))
    again = await sends(newsroom, Page(told.text))  # too early: the place is kept
    assert again.status_code == 428
    assert seconds_of(again) == 15
    newsroom.clock.turn(timedelta(seconds=15))
    assert (await sends(newsroom, Page(again.text))).status_code == 303


async def test_a_proof_and_a_ticket_let_in_one_gift(newsroom: Newsroom) -> None:
    await raised(newsroom, Level.ELEVATED)
    told = await gives(newsroom)
    proof = solved(work_of(told))
    assert (await sends(newsroom, Page(told.text), proof=proof)).status_code == 303
    more = {"frequency": "once", "amount_once": "5000"}
    assert (await sends(newsroom, Page(told.text), proof=proof, **more)).status_code == 428
    newsroom.clock.turn(timedelta(minutes=1))
    assert (await sends(newsroom, Page(told.text), **more)).status_code == 303
    more = {"frequency": "once", "amount_once": "2500"}
    told = await sends(newsroom, Page(told.text), **more)
    assert told.status_code == 428
    assert seconds_of(told) > 20
    assert await newsroom.count("contributions") == 2


async def test_each_ticket_of_a_network_waits_twice_as_long(newsroom: Newsroom) -> None:
    await raised(newsroom, Level.ELEVATED)
    waits = [seconds_of(await gives(newsroom)) for _ in range(7)]
    assert waits == sorted(waits)
    assert 20 == waits[0] < 40 <= waits[1] < 80 <= waits[2]
    assert waits[6] >= 900
    assert seconds_of(await gives(newsroom, "203.0.113.1")) < 40  # a stranger hardly waits longer


@pytest.mark.parametrize("trick", ["expired", "spliced", "another's", "guessed", "words", "future"])
async def test_a_proof_that_is_none_lets_nobody_in(newsroom: Newsroom, trick: str) -> None:
    await raised(newsroom, Level.ELEVATED)
    told = await gives(newsroom)
    challenge = work_of(told)
    proof = solved(challenge)
    if trick == "expired":
        newsroom.clock.turn(timedelta(minutes=10, seconds=1))
        told = await gives(newsroom)  # without a ticket whose turn has come
    elif trick == "future":
        newsroom.clock.turn(timedelta(minutes=-11))
    elif trick == "another's":
        told = await gives(newsroom)
    else:
        whole = json.loads(base64.b64decode(proof))
        if trick == "spliced":
            whole["challenge"]["parameters"]["data"]["until"] += 3600
        elif trick == "guessed":
            whole["solution"]["counter"] += 1
        else:
            whole = {"challenge": {"parameters": [], "signature": 7}, "solution": None}
        proof = base64.b64encode(json.dumps(whole).encode()).decode()
    assert (await sends(newsroom, Page(told.text), proof=proof)).status_code == 428
    assert await newsroom.count("contributions") == 0


async def test_a_program_cannot_use_the_proof_of_a_form(newsroom: Newsroom) -> None:
    await raised(newsroom, Level.ELEVATED)
    proof = solved(work_of(await gives(newsroom)))
    assert (await asks(newsroom, proof=proof)).status_code == 428
    challenge = (await newsroom.web.get("/api/challenge")).json()
    proof = solved(challenge)
    assert (await asks(newsroom, proof=proof)).status_code == 201
    assert (await asks(newsroom, proof=proof)).status_code == 428


# --- the breaker ----------------------------------------------------------------------------------


async def tries(room: Newsroom, count: int, *, declined: int, first: int = 0) -> None:
    """So many readers pay with a card, and so many of the cards are declined."""
    for number in range(count):
        asked = await asks(room, f"10.{first}.{number}.1", amount=2000)
        assert asked.status_code == 201, asked.text
        card = DECLINED if number < declined else "4242424242424242"
        await room.pays(asked.json()["checkout_url"], card)
    await room.settles()


async def test_many_declined_cards_raise_the_level_and_call_a_person(newsroom: Newsroom) -> None:
    await tries(newsroom, 20, declined=8)
    assert (await asks(newsroom)).status_code == 428
    assert await newsroom.rows("SELECT kind, closed_at FROM alarms") == [("card_testing", None)]
    await newsroom.turns(timedelta(minutes=61))
    assert (await asks(newsroom)).status_code == 201
    await breaker.keep_watch(newsroom.rt)
    assert await newsroom.rows("SELECT kind FROM alarms WHERE closed_at IS NULL") == []


async def test_an_ordinary_share_of_declined_cards_changes_nothing(newsroom: Newsroom) -> None:
    await tries(newsroom, 24, declined=6)
    assert (await asks(newsroom)).status_code == 201


async def test_mostly_declined_cards_pause_small_gifts_and_no_others(newsroom: Newsroom) -> None:
    await tries(newsroom, 20, declined=15)
    told = await asks(newsroom, amount=499)
    assert told.status_code == 503
    assert "5.00 USD" in told.json()["detail"]
    assert told.json()["detail"].endswith("Nothing was charged.")
    page = await gives(newsroom, frequency="monthly", amount_monthly="200")
    assert page.status_code == 503
    assert "Nothing was charged." in page.text
    proof = solved((await newsroom.web.get("/api/challenge")).json())
    assert (await asks(newsroom, "203.0.113.4", amount=500, proof=proof)).status_code == 201
    await newsroom.turns(timedelta(minutes=15))
    proof = solved((await newsroom.web.get("/api/challenge")).json())
    assert (await asks(newsroom, "203.0.113.5", amount=200, proof=proof)).status_code == 201


async def test_the_next_pause_takes_less_and_lasts_longer(newsroom: Newsroom) -> None:
    await tries(newsroom, 20, declined=20)
    await newsroom.turns(timedelta(minutes=16))
    for number in range(5):
        proof = solved((await newsroom.web.get("/api/challenge")).json())
        asked = await asks(newsroom, f"10.9.{number}.1", amount=200, proof=proof)
        await newsroom.pays(asked.json()["checkout_url"], DECLINED)
    await newsroom.settles()
    await newsroom.turns(timedelta(minutes=29))
    assert (await asks(newsroom, amount=200)).status_code == 503
    await newsroom.turns(timedelta(minutes=2))
    assert (await asks(newsroom, amount=200)).status_code == 428


async def test_declined_renewals_are_no_attack(newsroom: Newsroom) -> None:
    for number in range(22):
        asked = await asks(newsroom, f"10.0.{number}.1", amount=500, frequency="monthly")
        await newsroom.pays(asked.json()["checkout_url"], "4000000000000341")
    await newsroom.settles()
    await newsroom.turns(timedelta(days=31, hours=2))
    await newsroom.settles()
    rows = await newsroom.rows("SELECT count(*) FROM charges WHERE status = 'failed'")
    assert rows != [(0,)]
    assert (await asks(newsroom)).status_code == 201


async def test_a_session_in_which_card_after_card_is_tried_ends(newsroom: Newsroom) -> None:
    asked = (await asks(newsroom)).json()
    for _ in range(5):
        await newsroom.pays(asked["checkout_url"], DECLINED)
    await newsroom.settles()
    assert (await newsroom.contribution(asked["id"])).status == "expired"
    assert "Nothing was charged" in await newsroom.thanks(asked["id"])


async def test_a_donor_who_finds_the_right_card_is_left_alone(newsroom: Newsroom) -> None:
    asked = (await asks(newsroom)).json()
    for _ in range(4):
        await newsroom.pays(asked["checkout_url"], DECLINED)
    await newsroom.settles()
    await newsroom.pays(asked["checkout_url"])
    await newsroom.settles()
    assert (await newsroom.contribution(asked["id"])).status == "paid"


async def test_a_flood_that_nobody_pays_raises_the_level(newsroom: Newsroom) -> None:
    for number in range(61):
        assert (await asks(newsroom, f"10.1{number}.0.1")).status_code == 201
    await breaker.keep_watch(newsroom.rt)
    assert (await asks(newsroom)).status_code == 428


# --- what is kept ---------------------------------------------------------------------------------


async def test_no_address_is_kept_and_the_hash_of_a_day_says_nothing_the_next(
    newsroom: Newsroom,
) -> None:
    await asks(newsroom, "203.0.113.77")
    first = {row[0] for row in await newsroom.rows("SELECT key FROM shield_buckets")}
    assert len(first) == 3
    for (table,) in await newsroom.rows(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    ):
        query = f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%203.0.113%'"  # noqa: S608 - our tables
        assert await newsroom.rows(query) == [(0,)], table
    assert await newsroom.rows(
        "SELECT relpersistence::text FROM pg_class WHERE relname = 'shield_buckets'"
    ) == [("u",)]
    await newsroom.turns(timedelta(days=1))
    await asks(newsroom, "203.0.113.77")
    second = {row[0] for row in await newsroom.rows("SELECT key FROM shield_buckets")} - first
    assert len(second) == 3
    async with newsroom.rt.sessions.begin() as session:
        await shield.forget_expired(session, newsroom.clock())
    assert {row[0] for row in await newsroom.rows("SELECT key FROM shield_buckets")} == second
    await newsroom.turns(timedelta(days=1))
    async with newsroom.rt.sessions.begin() as session:
        await shield.forget_expired(session, newsroom.clock())
    assert await newsroom.count("shield_buckets") == 0


async def test_limits_hold_across_processes(newsroom: Newsroom) -> None:
    other = create_app(newsroom.settings, now=newsroom.clock)
    async with other.lifespan():
        transport = httpx.ASGITransport(app=cast("Any", other))  # typed differently by the two
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as web:
            elsewhere = replace(newsroom, web=web)
            assert [(await asks(newsroom)).status_code for _ in range(2)] == [201] * 2
            assert [(await asks(elsewhere)).status_code for _ in range(2)] == [201, 428]


async def test_with_the_store_away_nothing_is_created(newsroom: Newsroom) -> None:
    async with newsroom.rt.sessions.begin() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("SET LOCAL ROLE NONE")
        await connection.exec_driver_sql("REVOKE ALL ON shield_buckets FROM payments_app")
    told = await asks(newsroom)
    assert told.status_code >= 500
    assert "Nothing was charged." in told.json()["detail"]
    assert await newsroom.count("contributions") == 0
    assert not any("checkout/sessions" in seen.path for seen in newsroom.sandbox.requests)
