"""What cannot be a gift is refused in words, and nothing comes of it: no row, session or charge."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payments.core import money
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.refusals import (
    API,
    EVIL,
    GIFT,
    has_an_end,
    problem,
    refused,
    send,
    sessions,
    traces,
)

pytestmark = pytest.mark.anyio


# --- the amount -----------------------------------------------------------------------------------


@pytest.mark.parametrize("currency", money.GIFT_LIMITS)
async def test_the_least_and_the_most_of_a_currency_are_taken(
    newsroom: Newsroom, currency: str
) -> None:
    for limit in (money.min_gift(currency), money.max_gift(currency)):
        answer = await newsroom.requests_contribution(limit.amount, "monthly", currency)
        assert answer.status_code == 201, answer.text
        assert answer.json()["status"] == "open"


@refused
@pytest.mark.parametrize("currency", money.GIFT_LIMITS)
async def test_one_coin_less_or_more_is_refused_with_the_limit(
    newsroom: Newsroom, currency: str
) -> None:
    coin = money.smallest_unit(currency)
    least, most = money.min_gift(currency), money.max_gift(currency)
    below = await newsroom.requests_contribution(least.amount - coin, "once", currency)
    assert f"smallest amount is {least}." in problem(below, 422, "/amount")
    above = await newsroom.requests_contribution(most.amount + coin, "annual", currency)
    assert f"largest amount is {most}." in problem(above, 422, "/amount")


@refused
@pytest.mark.parametrize(
    "amount",
    ['"500"', '"five"', "500.0", "500.5", "5e2", "true", "null", "[500]", '{"minor":500}', '""'],
)
async def test_an_amount_that_is_not_a_whole_number_is_refused(
    newsroom: Newsroom, amount: str
) -> None:
    body = f'{{"amount": {amount}, "currency": "usd", "frequency": "once"}}'
    problem(await send(newsroom, body), 422, "/amount")


@refused
@pytest.mark.parametrize("amount", [0, -1, -500, 10**22, -(10**22), 10**300])
async def test_an_amount_no_reader_can_give_is_refused(newsroom: Newsroom, amount: int) -> None:
    problem(await newsroom.requests_contribution(amount), 422, "/amount")


@refused
async def test_a_fraction_of_the_smallest_coin_is_refused(newsroom: Newsroom) -> None:
    answer = await newsroom.requests_contribution(1005, "once", "kwd")
    assert "multiple of 0.010 KWD" in problem(answer, 422, "/amount")


# --- the other fields -----------------------------------------------------------------------------


@refused
@pytest.mark.parametrize("currency", ["xyz", "USD", "usd ", "", "btc", 840, None, ["usd"], "\x00"])
async def test_a_currency_that_is_not_ours_is_refused(newsroom: Newsroom, currency: object) -> None:
    problem(await newsroom.requests_contribution(500, "once", currency), 422, "/currency")


@refused
@pytest.mark.parametrize("frequency", ["weekly", "Once", "", None, 1, ["once"], "once\n"])
async def test_a_frequency_that_is_not_ours_is_refused(
    newsroom: Newsroom, frequency: object
) -> None:
    problem(await newsroom.requests_contribution(500, frequency), 422, "/frequency")


@refused
@pytest.mark.parametrize(
    "sent",
    [
        "at `$.zzz`",
        "a` - at `$.zzz`",
        "unknown field `zzz`",
        "missing required field `amount`",
        "` - at `$.amount",
    ],
)
async def test_what_was_sent_does_not_decide_which_field_is_named(
    newsroom: Newsroom, sent: str
) -> None:
    answer = await newsroom.requests_contribution(500, sent)
    assert "frequency must be" in problem(answer, 422, "/frequency")
    assert "zzz" not in answer.text


@refused
@pytest.mark.parametrize("field", ["amount", "currency", "frequency"])
async def test_a_missing_field_is_named(newsroom: Newsroom, field: str) -> None:
    body = {name: value for name, value in GIFT.items() if name != field}
    problem(await send(newsroom, json.dumps(body)), 422, f"/{field}")


@refused
@pytest.mark.parametrize(
    "field",
    ["return_url", "success_url", "cancel_url", "id", "status", "price", "email", "data", "a~b/c"],
)
async def test_a_field_we_do_not_know_is_named_and_its_value_is_not_repeated(
    newsroom: Newsroom, field: str
) -> None:
    answer = await send(newsroom, json.dumps({**GIFT, field: EVIL}))
    problem(answer, 422, "/" + field.replace("~", "~0").replace("/", "~1"))
    assert "evil.example" not in answer.text


@refused
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("campaign", "A campaign"),
        ("campaign", "x" * 65),
        ("campaign", "<script>"),
        ("campaign", ""),
        ("article", "../../etc/passwd"),
        ("article", "reader@example.org"),
        ("article", 7),
        ("locale", "english"),
        ("locale", "en_US"),
        ("locale", 5),
    ],
)
async def test_a_label_that_could_carry_something_else_is_refused(
    newsroom: Newsroom, field: str, value: object
) -> None:
    answer = await send(newsroom, json.dumps({**GIFT, field: value}))
    problem(answer, 422, f"/{field}")
    assert len(str(value)) < 5 or str(value) not in answer.text


async def test_a_language_stripe_does_not_speak_does_not_stop_a_gift(newsroom: Newsroom) -> None:
    answer = await newsroom.requests_contribution(locale="hy")
    assert answer.status_code == 201
    assert newsroom.sandbox.requests[-1].params["locale"] == "auto"


# --- the body and the address ---------------------------------------------------------------------


@refused
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"gift"',
        b"amount=500",
        b'{"amount": NaN}',
        b'{"amount": 1e999, "currency": "usd", "frequency": "once"}',
        b'{"amount": 500, "currency": "\xff", "frequency": "once"}',
        b'{"amount": 500, "currency": "\\ud800", "frequency": "once"}',
        b'{"amount": 500, "currency": "usd", "frequency": "once", "campaign": "\xed\xa0\x80"}',
        b"[" * 5000,
        b'{"campaign":' * 1200,
        b"\xef\xbb\xbf{}",
        b"\x00",
    ],
)
async def test_a_body_that_is_not_a_json_object_is_refused(newsroom: Newsroom, body: bytes) -> None:
    answer = await send(newsroom, body)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Nothing was charged." in answer.json()["detail"]


@refused
@pytest.mark.parametrize("size", [17_000, 70_000, 2_000_000])
async def test_a_body_larger_than_a_gift_needs_is_refused(newsroom: Newsroom, size: int) -> None:
    problem(await send(newsroom, json.dumps({**GIFT, "campaign": "a" * size})), 413)

    async def dripped() -> AsyncIterator[bytes]:
        for _ in range(size // 1000):
            yield b" " * 1000

    headers = {"content-type": "application/json", "idempotency-key": uuid4().hex}
    problem(await newsroom.web.post(API, content=dripped(), headers=headers), 413)


@refused
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", ""],
)
async def test_what_does_not_say_it_is_json_is_refused(
    newsroom: Newsroom, content_type: str
) -> None:
    problem(await send(newsroom, json.dumps(GIFT), content_type=content_type), 415)


@refused
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_another_method_is_refused_and_the_right_one_named(
    newsroom: Newsroom, method: str
) -> None:
    answer = await newsroom.web.request(method, API, json=GIFT)
    problem(answer, 405)
    assert "POST" in answer.headers["allow"]
    page = await newsroom.web.request(method, "/donate")
    assert page.status_code == 405
    assert set(page.headers["allow"].split(", ")) >= {"GET", "POST"}


@refused
async def test_an_address_that_is_not_there_is_refused(newsroom: Newsroom) -> None:
    answer = await newsroom.web.post("/api/payments", json=GIFT)
    assert (answer.status_code, answer.json()["title"]) == (404, "Page not found")
    page = await newsroom.web.post("/donations", data={"frequency": "once"})
    assert page.status_code == 404
    assert "There is nothing at this address" in Page(page.text).text


@refused
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "@"]
)
async def test_another_host_name_is_refused(newsroom: Newsroom, host: str) -> None:
    headers = {"host": host, "idempotency-key": uuid4().hex}
    for answer in (
        await newsroom.web.post(API, json=GIFT, headers=headers),
        await newsroom.web.post("/donate", data={"frequency": "once"}, headers=headers),
        await newsroom.web.get("/donate", headers=headers),
    ):
        assert answer.status_code == 400
        assert not host or host not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"


# --- the key --------------------------------------------------------------------------------------


RANDOM = uuid4().hex.encode()


@refused
@pytest.mark.parametrize(
    "keys",
    [[], [b""], [b"   "], [b'""'], [RANDOM * 8], [b"a" * 32], [b"order-17"], [RANDOM[:21]],
     [RANDOM + "ê".encode()], [RANDOM + b"\xff"], [RANDOM + b"\tb"], [RANDOM, RANDOM[::-1]],
     [RANDOM, RANDOM]],
)  # fmt: skip
async def test_without_one_proper_key_nothing_is_begun(
    newsroom: Newsroom, keys: list[bytes]
) -> None:
    headers = [(b"content-type", b"application/json")]
    headers += [(b"idempotency-key", key) for key in keys]
    answer = await newsroom.web.post(API, content=json.dumps(GIFT), headers=headers)
    problem(answer, 400, "/Idempotency-Key")


async def test_a_key_may_be_as_long_as_stripes_and_stand_in_quotes(newsroom: Newsroom) -> None:
    key = uuid4().hex + "k" * 223
    first = await newsroom.requests_contribution(key=key)
    assert first.status_code == 201
    assert (await newsroom.requests_contribution(key=f'"{key}"')).json() == first.json()


async def test_the_same_key_and_body_give_the_same_answer_and_one_session(
    newsroom: Newsroom,
) -> None:
    rows, there = await newsroom.count("contributions"), sessions(newsroom)
    key = uuid4().hex
    answers = [await newsroom.requests_contribution(700, "annual", key=key) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.text for answer in answers}) == 1
    assert await newsroom.count("contributions") == rows + 1
    assert len(sessions(newsroom) - there) == 1


async def test_whoever_has_anothers_key_gets_a_session_of_their_own(newsroom: Newsroom) -> None:
    """A program is known by its network and its site: one that calls again is still the same."""
    rows, there, key = await newsroom.count("contributions"), sessions(newsroom), uuid4().hex
    networks = ("203.0.113.7", "203.0.113.200", "198.51.100.7", "2001:db8::7")
    answers = [
        await send(newsroom, json.dumps(GIFT), idempotency_key=key, x_forwarded_for=ip)
        for ip in networks
    ]
    answers += [
        await send(newsroom, json.dumps(GIFT), idempotency_key=key, origin=site)
        for site in ("https://one.example", "https://other.example", "https://one.example")
    ]
    assert {answer.status_code for answer in answers} == {201}
    urls = [answer.json()["checkout_url"] for answer in answers]
    assert (urls[0], urls[4]) == (urls[1], urls[6])
    assert len(set(urls)) == len(sessions(newsroom) - there) == 5
    assert await newsroom.count("contributions") == rows + 5


async def test_a_form_with_anothers_id_leads_to_a_page_of_its_own(newsroom: Newsroom) -> None:
    """An id is in the page that a browser shows, which somebody may have saved and passed on."""
    form = Page((await newsroom.web.get("/donate")).text).form("/donate").submission()
    led = [
        await newsroom.web.post("/donate", data=form, headers={"x-forwarded-for": ip})
        for ip in ("203.0.113.7", "203.0.113.7", "198.51.100.7")
    ]
    there = [answer.headers["location"] for answer in led]
    assert there[0] == there[1] != there[2]


@pytest.mark.parametrize(
    "other", [{"amount": 501}, {"currency": "eur"}, {"frequency": "annual"}, {"campaign": "spring"}]
)
async def test_the_same_key_for_something_else_is_refused(
    newsroom: Newsroom, other: dict[str, object]
) -> None:
    await newsroom.creates_campaigns("spring")
    key = uuid4().hex
    assert (await newsroom.requests_contribution(key=key)).status_code == 201
    before = await traces(newsroom)
    answer = await send(newsroom, json.dumps({**GIFT, **other}), idempotency_key=key)
    assert "different request" in problem(answer, 422, "/Idempotency-Key")
    assert await traces(newsroom) == before


async def test_fifty_at_once_with_one_key_are_one_gift(newsroom: Newsroom) -> None:
    rows, there = await newsroom.count("contributions"), sessions(newsroom)
    key = uuid4().hex
    answers = await asyncio.gather(
        *(newsroom.requests_contribution(900, key=key) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert await newsroom.count("contributions") == rows + 1
    assert len(sessions(newsroom) - there) == 1


# --- anything at all ------------------------------------------------------------------------------

anything = settings(max_examples=250)
words = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(
    scalars, lambda part: st.lists(part, max_size=3) | st.dictionaries(words, part, max_size=3)
)
likely = st.sampled_from(
    [500, 200, 199, 10**9, "usd", "kwd", "xyz", "once", "monthly", "weekly", "spring", "en", ""]
)
bodies = st.one_of(
    values,
    st.fixed_dictionaries(
        {"amount": likely | values, "currency": likely | values, "frequency": likely | values},
        optional={"campaign": likely | values, "article": likely | values, "locale": words},
    ),
)


@anything
@given(body=bodies)
async def test_any_json_is_a_gift_or_a_refusal(newsroom: Newsroom, body: object) -> None:
    has_an_end(await send(newsroom, json.dumps(body)))


@anything
@given(body=st.binary(max_size=60), content_type=st.sampled_from(["application/json", "a/b", ""]))
async def test_any_bytes_are_a_refusal(newsroom: Newsroom, body: bytes, content_type: str) -> None:
    answer = await send(newsroom, body, content_type=content_type)
    assert answer.status_code in (400, 415, 422)
