"""Whoever sends too much is slowed, then stopped; readers are not, and no address is stored."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, cast

import httpx
import pytest
from sqlalchemy.engine import make_url

from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.risk import rate_limit
from payments.risk.risk_level import RiskLevel
from payments.web.app import create_app
from tests.support.newsroom import BASE_URL, Newsroom, respellings
from tests.support.page import Page
from tests.support.risk import (
    DECLINED,
    HOME,
    asks,
    form,
    gives,
    open_with_limits,
    seconds_of,
    sends,
    set_risk_level,
    solved,
    tries,
    work_of,
)

pytestmark = pytest.mark.anyio

TRUSTED = (ip_network("127.0.0.1"),)
DECLINES = 8  # the setting: fewer than in production, and the same rules


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_with_limits(database, card_testing_declines=DECLINES) as room:
        yield room


# --- the normal level -----------------------------------------------------------------------------


async def test_a_reader_of_a_calm_day_meets_nothing(newsroom: Newsroom) -> None:
    assert [(await gives(newsroom)).status_code for _ in range(3)] == [303] * 3


async def test_past_its_limit_a_network_works_for_a_gift_and_is_refused_in_the_end(
    newsroom: Newsroom,
) -> None:
    for _ in range(3):
        assert (await asks(newsroom)).status_code == 201
    refusal = await asks(newsroom)
    assert refusal.status_code == 428
    assert refusal.json()["detail"].endswith("Nothing was charged.")
    for _ in range(9):
        challenge = (await newsroom.web.get("/api/challenge")).json()
        assert (await asks(newsroom, proof=solved(challenge))).status_code == 201
    challenge = (await newsroom.web.get("/api/challenge")).json()
    refusal = await asks(newsroom, proof=solved(challenge))
    assert refusal.status_code == 429
    assert refusal.json()["detail"].endswith("Nothing was charged.")
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
    newsroom.clock.advance(timedelta(seconds=199))
    assert (await asks(newsroom)).status_code == 428
    newsroom.clock.advance(timedelta(seconds=2))
    assert (await asks(newsroom)).status_code == 201
    for _ in range(6):
        newsroom.clock.advance(timedelta(minutes=10))
        await asks(newsroom)
    newsroom.clock.advance(timedelta(minutes=10))
    assert (await asks(newsroom)).status_code == 428  # ten a day, however slowly
    newsroom.clock.advance(timedelta(days=1))
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


@pytest.mark.parametrize("rendered_at", ["", "x", "another's"])
async def test_a_form_without_its_own_time_counts_as_three(
    newsroom: Newsroom, rendered_at: str
) -> None:
    other = (await form(newsroom)).form("/donate").submission()["rendered_at"]
    page = await form(newsroom)
    changes = {"rendered_at": other if rendered_at == "another's" else rendered_at}
    assert (await sends(newsroom, page, **changes)).status_code == 303
    assert (await gives(newsroom)).status_code == 428


async def test_what_fills_in_the_trap_has_to_work(newsroom: Newsroom) -> None:
    page = await form(newsroom)
    refusal = await sends(newsroom, page, website="https://spam.example")
    assert refusal.status_code == 428
    assert await newsroom.count("contributions") == 0
    assert (await gives(newsroom)).status_code == 303


async def test_a_stranger_cannot_say_where_they_are(database: str) -> None:
    async with open_with_limits(database, trusted_proxies="10.0.0.0/8") as room:
        for number in range(3):  # the socket's own address is no proxy's
            assert (await asks(room, f"203.0.{number}.1")).status_code == 201
        assert (await asks(room, "203.0.9.1")).status_code == 428


async def test_what_a_client_says_stands_left_of_what_our_proxies_saw(database: str) -> None:
    async with open_with_limits(database, trusted_proxies="127.0.0.1,10.0.0.0/8") as room:
        for number in range(2):
            forged = f"192.0.{number}.1, 203.0.113.5, 10.1.1.1"
            assert (await asks(room, forged)).status_code == 201
        assert (await asks(room, "192.0.77.1, 203.0.113.9:443, 10.2.2.2")).status_code == 201
        assert (await asks(room, "203.0.113.5")).status_code == 428
        assert (await asks(room, "203.0.113.5, [2001:db8::1]:443")).status_code == 201


# --- the challenge level --------------------------------------------------------------------------


async def test_with_a_script_a_reader_works_and_goes_on(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    refusal = await gives(newsroom, frequency="once", amount_once="2500")
    assert refusal.status_code == 428
    assert (
        "script-src 'self'; require-trusted-types-for 'script'"
        in refusal.headers["content-security-policy"]
    )
    page = Page(refusal.text)
    assert page.problems == []
    answer = await sends(newsroom, page, proof=solved(work_of(refusal)))
    assert answer.status_code == 303
    price = newsroom.sandbox.requests[-1].params["line_items"][0]["price_data"]
    assert int(price["unit_amount"]) == 2500


async def test_without_a_script_a_reader_waits_and_goes_on(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    refusal = await gives(newsroom, frequency="monthly", amount_monthly="1000")
    assert seconds_of(refusal) == 20
    newsroom.clock.advance(timedelta(seconds=5))
    again = await sends(newsroom, Page(refusal.text))  # too early: its place in the queue stays
    assert again.status_code == 428
    assert seconds_of(again) == 15
    newsroom.clock.advance(timedelta(seconds=15))
    assert (await sends(newsroom, Page(again.text))).status_code == 303


async def test_a_proof_and_a_ticket_let_in_one_gift(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    refusal = await gives(newsroom)
    proof = solved(work_of(refusal))
    assert (await sends(newsroom, Page(refusal.text), proof=proof)).status_code == 303
    more = {"frequency": "once", "amount_once": "5000"}
    assert (await sends(newsroom, Page(refusal.text), proof=proof, **more)).status_code == 428
    newsroom.clock.advance(timedelta(minutes=1))
    assert (await sends(newsroom, Page(refusal.text), **more)).status_code == 303
    more = {"frequency": "once", "amount_once": "2500"}
    refusal = await sends(newsroom, Page(refusal.text), **more)
    assert refusal.status_code == 428
    assert seconds_of(refusal) > 20
    assert await newsroom.count("contributions") == 2


async def test_a_spent_ticket_lets_nobody_in_however_it_is_spelled(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    waiting = Page((await gives(newsroom)).text)
    newsroom.clock.advance(timedelta(minutes=1))
    assert (await sends(newsroom, waiting)).status_code == 303
    (ticket,) = [one.value for one in waiting.form("/donate").fields if one.name == "ticket"]
    assert ticket is not None
    for number, respelled in enumerate(respellings(ticket)):
        more = {"frequency": "once", "amount_once": str(2500 * (number + 1)), "ticket": respelled}
        assert (await sends(newsroom, waiting, **more)).status_code == 428, respelled
    assert await newsroom.count("contributions") == 1


async def test_each_ticket_of_a_network_waits_twice_as_long(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    waits = [seconds_of(await gives(newsroom)) for _ in range(7)]
    assert waits == sorted(waits)
    assert 20 == waits[0] < 40 <= waits[1] < 80 <= waits[2]
    assert waits[6] >= 900
    assert seconds_of(await gives(newsroom, "203.0.113.1")) < 40  # a stranger hardly waits longer


@pytest.mark.parametrize("trick", ["expired", "spliced", "another's", "guessed", "words", "future"])
async def test_a_proof_that_is_none_lets_nobody_in(newsroom: Newsroom, trick: str) -> None:
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    refusal = await gives(newsroom)
    challenge = work_of(refusal)
    proof = solved(challenge)
    if trick == "expired":
        newsroom.clock.advance(timedelta(minutes=10, seconds=1))
        refusal = await gives(newsroom)  # without a ticket whose turn has come
    elif trick == "future":
        newsroom.clock.advance(timedelta(minutes=-11))
    elif trick == "another's":
        refusal = await gives(newsroom)
    else:
        whole = json.loads(base64.b64decode(proof))
        if trick == "spliced":
            whole["challenge"]["parameters"]["data"]["until"] += 3600
        elif trick == "guessed":
            whole["solution"]["counter"] += 1
        else:
            whole = {"challenge": {"parameters": [], "signature": 7}, "solution": None}
        proof = base64.b64encode(json.dumps(whole).encode()).decode()
    assert (await sends(newsroom, Page(refusal.text), proof=proof)).status_code == 428
    assert await newsroom.count("contributions") == 0


async def test_a_program_cannot_use_the_proof_of_a_form(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    proof = solved(work_of(await gives(newsroom)))
    assert (await asks(newsroom, proof=proof)).status_code == 428
    challenge = (await newsroom.web.get("/api/challenge")).json()
    proof = solved(challenge)
    assert (await asks(newsroom, proof=proof)).status_code == 201
    assert (await asks(newsroom, proof=proof)).status_code == 428


# --- who tried before -----------------------------------------------------------------------------


async def works(room: Newsroom, ip: str = HOME, amount: int = 500) -> httpx.Response:
    """A program that does the work at once."""
    proof = solved((await room.web.get("/api/challenge")).json())
    return await asks(room, ip, amount, proof=proof)


async def returns(room: Newsroom, answer: httpx.Response, ip: str = HOME) -> None:
    """Back from Stripe's page, after Stripe's events about the gift have come."""
    await room.runs_until_idle()
    headers = {"x-forwarded-for": ip, "cookie": f"gift={answer.json()['id']}"}
    assert "Reference" in (await room.web.get("/thanks", headers=headers)).text


async def test_in_an_attack_a_network_that_tried_before_has_less_room_each_time(
    newsroom: Newsroom,
) -> None:
    await set_risk_level(newsroom, RiskLevel.RESTRICTED)
    assert (await works(newsroom)).status_code == 201
    assert (await works(newsroom)).status_code == 201  # half of what is left for the others
    for number in range(3):  # strangers who try twice leave room for those who do
        assert [(await works(newsroom, f"203.0.{number}.1")).status_code for _ in range(2)] == [
            201
        ] * 2
    refusal = await works(newsroom)
    assert refusal.status_code == 429
    assert (await works(newsroom, "192.0.2.1")).status_code == 201  # who never tried goes on
    newsroom.clock.advance(timedelta(seconds=int(refusal.headers["retry-after"])))
    assert (await works(newsroom, "198.51.100.9")).status_code == 429  # a try more, less room
    newsroom.clock.advance(timedelta(hours=4))
    assert (await works(newsroom)).status_code == 201


async def test_who_only_asks_and_does_no_work_has_tried_too(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.RESTRICTED)
    for _ in range(12):
        assert (await asks(newsroom)).status_code == 428
    assert (await works(newsroom)).status_code == 201  # when nobody else asks for the room
    assert (await works(newsroom)).status_code == 429
    assert (await works(newsroom, "203.0.113.1")).status_code == 201


@pytest.mark.parametrize("paid", [True, False])
async def test_a_gift_that_is_paid_gives_its_network_back_what_it_took(
    newsroom: Newsroom, paid: bool
) -> None:
    await set_risk_level(newsroom, RiskLevel.RESTRICTED)
    for number in range(4):  # strangers who try twice take the room that others have
        for _ in range(2):
            assert (await works(newsroom, f"203.0.{number}.1")).status_code == 201
    answers = []
    for _ in range(3):
        answers.append(answer := await works(newsroom))
        if paid:
            await newsroom.pays(answer.json()["checkout_url"])
            await returns(newsroom, answer)
    assert [answer.status_code for answer in answers] == ([201] * 3 if paid else [201, 429, 429])


@pytest.mark.parametrize("trick", ["unpaid", "declined", "twice", "elsewhere"])
async def test_nothing_is_given_back_for_a_gift_that_is_not_paid_or_was_thanked_for(
    newsroom: Newsroom, trick: str
) -> None:
    await set_risk_level(newsroom, RiskLevel.RESTRICTED)
    answer = await works(newsroom, "203.0.113.1" if trick == "elsewhere" else HOME)
    if trick == "declined":
        await newsroom.pays(answer.json()["checkout_url"], DECLINED)
    elif trick != "unpaid":
        await newsroom.pays(answer.json()["checkout_url"])
    for _ in range(12):
        await asks(newsroom)
    for _ in range(12):
        await returns(newsroom, answer)
    assert [(await works(newsroom)).status_code for _ in range(2)] == [201, 429]


async def test_a_reader_who_gives_more_because_they_are_asked_to_has_tried_once(
    newsroom: Newsroom,
) -> None:
    await set_risk_level(newsroom, RiskLevel.RESTRICTED)
    page = await gives(newsroom, frequency="once", amount_once="200")
    assert page.status_code == 503
    refusal = await sends(newsroom, Page(page.text), frequency="once", amount_once="500")
    assert seconds_of(refusal) == 20
    newsroom.clock.advance(timedelta(seconds=5))
    assert seconds_of(await sends(newsroom, Page(refusal.text))) == 15
    newsroom.clock.advance(timedelta(seconds=15))
    assert (await sends(newsroom, Page(refusal.text))).status_code == 303
    assert seconds_of(await gives(newsroom)) == 40


async def test_a_ticket_of_one_network_is_a_try_of_the_network_it_is_taken_to(
    newsroom: Newsroom,
) -> None:
    await set_risk_level(newsroom, RiskLevel.RESTRICTED)
    tickets = [Page((await gives(newsroom, f"203.{n}.113.1")).text) for n in range(2)]
    newsroom.clock.advance(timedelta(minutes=1))
    assert [(await sends(newsroom, page)).status_code for page in tickets] == [303] * 2
    assert seconds_of(await gives(newsroom)) == 80  # its third


async def test_midnight_makes_no_new_network_of_one_that_has_just_tried(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.RESTRICTED)
    newsroom.clock.advance(timedelta(hours=11, minutes=50))
    for _ in range(12):
        await asks(newsroom)
    newsroom.clock.advance(timedelta(minutes=20))
    assert [(await works(newsroom)).status_code for _ in range(2)] == [201, 429]


async def test_the_networks_of_one_provider_are_not_all_new(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.RESTRICTED)
    answers = [(await works(newsroom, f"10.1.{n}.1")).status_code for n in range(32)]
    assert answers[:20] == [201] * 20
    assert 429 in answers
    assert (await works(newsroom, "10.2.0.1")).status_code == 201


async def test_all_new_networks_together_start_so_many_unpaid_gifts(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    first = [await works(newsroom, f"10.{n}.0.1") for n in range(60)]
    assert {answer.status_code for answer in first} == {201}
    refusal = await works(newsroom, "192.0.2.1")
    assert refusal.status_code == 503
    assert refusal.json()["type"].endswith(":unpaid-gifts-limited")
    assert refusal.headers["retry-after"] == "30"
    await newsroom.pays(first[0].json()["checkout_url"])
    await returns(newsroom, first[0], "10.0.0.1")
    answers = [(await works(newsroom, f"11.{n}.0.1")).status_code for n in range(3)]
    assert answers == [201, 201, 503]  # who paid has given room to two
    newsroom.clock.advance(timedelta(seconds=30))
    assert (await works(newsroom, "11.2.0.1")).status_code == 201


async def test_more_care_asks_for_more_work(newsroom: Newsroom) -> None:
    costs = {}
    for at in (RiskLevel.CHALLENGE, RiskLevel.RESTRICTED):
        await set_risk_level(newsroom, at)
        costs[at] = (await newsroom.web.get("/api/challenge")).json()["parameters"]["cost"]
    assert costs == {RiskLevel.CHALLENGE: 1, RiskLevel.RESTRICTED: 4}


# --- when to try again ----------------------------------------------------------------------------


async def test_a_network_gets_retry_after_for_its_next_contribution(newsroom: Newsroom) -> None:
    for _ in range(12):
        assert (await works(newsroom)).status_code == 201
    refusal = await asks(newsroom)
    assert refusal.status_code == 429
    left = int(refusal.headers["retry-after"])
    assert left == 200  # three in ten minutes
    newsroom.clock.advance(timedelta(seconds=left - 2))
    assert (await works(newsroom)).status_code == 429
    newsroom.clock.advance(timedelta(seconds=2))
    assert (await works(newsroom)).status_code == 201
    page = await gives(newsroom)
    assert page.status_code == 429
    assert int(page.headers["retry-after"]) == 190  # ten seconds were spent on the form
    assert "Nothing was charged. Please try again in 4 minutes." in Page(page.text).alerts[0]


async def test_a_pause_says_when_it_ends(newsroom: Newsroom) -> None:
    await tries(newsroom, DECLINES, declined=DECLINES)
    newsroom.clock.advance(timedelta(minutes=5))
    refusal = await asks(newsroom, amount=200)
    assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "600")
    page = await gives(newsroom, frequency="once", amount_once="200")
    assert (page.status_code, page.headers["retry-after"]) == (503, "590")
    assert "amount_once-wrong" in page.text  # beside the amounts, and the summary leads there
    assert Page(page.text).problems == []
    assert "Nothing was charged. Please try again in 10 minutes." in Page(page.text).alerts[0]
    sent = (await form(newsroom)).form("/donate").submission(frequency="once", amount_once="200")
    page = await newsroom.web.post("/donate?lang=ru", data={**sent, "locale": "ru"})
    assert "Деньги не списаны. Попробуйте, пожалуйста, снова через 10 минут." in page.text


async def test_stripe_away_is_a_matter_of_seconds(newsroom: Newsroom) -> None:
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", "status_500", remaining=3)
    refusal = await asks(newsroom)
    assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "30")
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", "status_500", remaining=3)
    page = await gives(newsroom)
    assert (page.status_code, page.headers["retry-after"]) == (503, "30")
    assert "Nothing was charged. Please try again in 1 minute." in Page(page.text).alerts[0]


async def test_with_the_database_away_every_door_says_when_to_knock_again(
    newsroom: Newsroom,
) -> None:
    url = make_url(newsroom.settings.database_url.get_secret_value())
    nowhere = url.set(database="nowhere").render_as_string(hide_password=False)
    values = {**newsroom.settings.model_dump(), "database_url": nowhere}
    app = create_app(type(newsroom.settings).model_validate(values), now=newsroom.clock)
    async with app.lifespan():
        transport = httpx.ASGITransport(app=cast("Any", app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as web:
            away = replace(newsroom, web=web)
            answers = [await asks(away), await gives(away)]
            answers += [await web.get(path) for path in ("/health/ready", "/finance", "/manage")]
    for answer in answers:
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) in range(1, 3601), answer.url
    assert [answer.status_code for answer in answers[:4]] == [503] * 4
    assert answers[0].headers["retry-after"] == "30"
    text = Page(answers[1].text).text
    assert "Please try again in 1 minute." in text
    assert "Nothing was charged." in text


async def test_what_time_does_not_mend_is_not_to_be_tried_again(newsroom: Newsroom) -> None:
    await set_risk_level(newsroom, RiskLevel.CHALLENGE)
    answers = [
        await newsroom.web.post("/api/contributions", content=b"{"),  # no key
        await asks(newsroom, amount=1),
        await asks(newsroom),
        await gives(newsroom, frequency="once", amount_once="1"),
        await gives(newsroom),
        await newsroom.web.get("/nowhere"),
        await newsroom.web.post("/webhooks/stripe", content=b"{}"),
    ]
    assert [answer.status_code for answer in answers] == [400, 422, 428, 422, 428, 404, 400]
    assert not any("retry-after" in answer.headers for answer in answers)


# --- what is stored -------------------------------------------------------------------------------


async def test_no_address_is_stored_and_the_hash_of_a_day_says_nothing_the_next(
    newsroom: Newsroom,
) -> None:
    await asks(newsroom, "203.0.113.77")
    keys = "SELECT key FROM rate_limit_buckets"
    first = set(await newsroom.rows(keys))
    for (table,) in await newsroom.rows(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    ):
        query = f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%203.0.113%'"  # noqa: S608 - our tables
        assert await newsroom.rows(query) == [(0,)], table
    assert await newsroom.rows(
        "SELECT relname FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r' ORDER BY 1"
    ) == [("daily_salts",), ("rate_limit_buckets",), ("shown_pages",)]
    await newsroom.advances_time(timedelta(days=1))
    await asks(newsroom, "203.0.113.77")
    second = set(await newsroom.rows(keys)) - first
    assert (len(first), len(second)) == (5, 5)
    async with newsroom.ctx.sessions.begin() as session:
        await rate_limit.purge_expired(session, newsroom.clock())
    assert await newsroom.rows("SELECT day FROM daily_salts") == [(newsroom.clock().date(),)]
    await asks(newsroom, "203.0.113.77")
    assert set(await newsroom.rows(keys)) == second, "the salt of today is the same"
    await newsroom.advances_time(timedelta(days=1))
    async with newsroom.ctx.sessions.begin() as session:
        await rate_limit.purge_expired(session, newsroom.clock())
    assert await newsroom.count("rate_limit_buckets") == 0


async def test_limits_hold_across_processes(newsroom: Newsroom) -> None:
    other = create_app(newsroom.settings, now=newsroom.clock)
    async with other.lifespan():
        transport = httpx.ASGITransport(app=cast("Any", other))  # typed differently by the two
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as web:
            elsewhere = replace(newsroom, web=web)
            assert [(await asks(newsroom)).status_code for _ in range(2)] == [201] * 2
            assert [(await asks(elsewhere)).status_code for _ in range(2)] == [201, 428]
            # So do proofs, which are spent in one and no good in the other, and tries.
            await set_risk_level(newsroom, RiskLevel.RESTRICTED)
            proof = solved((await web.get("/api/challenge")).json())
            stranger = "203.0.113.1"
            assert (await asks(newsroom, stranger, proof=proof)).status_code == 201
            assert (await asks(elsewhere, stranger, proof=proof)).status_code == 428
            for _ in range(12):
                await asks(newsroom, "192.0.2.1")
            answers = [(await works(elsewhere, "192.0.2.1")).status_code for _ in range(2)]
            assert answers == [201, 429]


async def test_with_the_store_away_nothing_is_created(newsroom: Newsroom) -> None:
    async with newsroom.ctx.sessions.begin() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("SET LOCAL ROLE NONE")
        await connection.exec_driver_sql("REVOKE ALL ON rate_limit_buckets FROM payments_app")
    refusal = await asks(newsroom)
    assert refusal.status_code >= 500
    assert "Nothing was charged." in refusal.json()["detail"]
    assert await newsroom.count("contributions") == 0
    assert not any("checkout/sessions" in seen.path for seen in newsroom.sandbox.requests)


# --- behind a proxy that nobody named -------------------------------------------------------------


async def test_readers_hidden_behind_a_proxy_are_limited_together_and_an_alert_says_so(
    database: str,
) -> None:
    """A proxy that is not trusted says nothing: no reader can be another, and an alert is open."""
    async with open_with_limits(
        database, base_url="https://support.example", trusted_proxies=""
    ) as room:
        for number in range(3):
            assert (await gives(room, f"198.51.100.{number}")).status_code == 303
        alerts_open = "SELECT kind, object_id FROM alerts"
        assert await room.rows(alerts_open) == []
        for forged in ("203.0.113.9", "203.0.113.10"):
            assert (await gives(room, forged)).status_code == 428
        assert await room.rows(alerts_open) == [("readers_hidden", "PAYMENTS_TRUSTED_PROXIES")]
        object.__setattr__(room.ctx.settings, "trusted_proxies", TRUSTED)
        async with room.ctx.sessions.begin() as session:
            await alerts.close_kind(session, AlertKind.READERS_HIDDEN, now=room.ctx.now())
        for _ in range(4):  # readers of the onion service have addresses of their own
            circuit = await gives(room, "fc00:dead:beef:4dad::5")
        assert circuit.status_code == 428
        assert await room.rows(f"{alerts_open} WHERE closed_at IS NULL") == []
