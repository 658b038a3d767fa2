"""What cannot be a gift is refused in words, and nothing comes of it: no row, session or charge."""

import asyncio
import json
import string
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from payments.core import money
from payments.core.money import Money
from payments.web.app import create_app
from tests.support.database import copy_database
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio

GIFT = {"amount": 500, "currency": "usd", "frequency": "once"}
EVIL = "https://evil.example/pay"
API = "/api/contributions"


# One newsroom serves the whole file: a refusal leaves nothing behind for the next.


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def database(cluster: str) -> Iterator[str]:
    with copy_database(cluster) as url:
        yield url


@pytest.fixture(scope="module")
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database) as room:
        yield room
        assert room.sandbox.problems == []
        assert await room.failed_integrity_checks() == []


@pytest.fixture
async def nothing_happens(newsroom: Newsroom) -> AsyncIterator[None]:
    """Whatever the test does, no row is written and no POST reaches Stripe."""
    before = await traces(newsroom)
    yield
    assert await traces(newsroom) == before


refused = pytest.mark.usefixtures("nothing_happens")


async def traces(room: Newsroom) -> tuple[int, ...]:
    tables = ("contributions", "stripe_events", "procrastinate_jobs", "charges")
    return (*[await room.count(table) for table in tables], posts(room))


def posts(room: Newsroom) -> int:
    return sum(seen.method == "POST" for seen in room.sandbox.requests)


def sessions(room: Newsroom) -> set[str]:
    """The Checkout Sessions that exist at Stripe."""
    return {row["id"] for row in room.sandbox.account.store.of_kind("checkout.session")}


def problem(answer: httpx.Response, status: int, pointer: str | None = None) -> str:
    """Check that the answer is a whole RFC 9457 problem about this field. Gives its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body.keys() <= {"type", "title", "status", "detail", "instance", "errors"}
    assert body["type"].startswith("urn:reader-payments:problem:")
    assert body["status"] == status
    assert body["title"]
    assert body["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    assert [one["pointer"] for one in body.get("errors", [])] == ([pointer] if pointer else [])
    assert all(one["code"] and one["message"] for one in body.get("errors", []))
    detail: str = body["detail"]
    assert "Nothing was charged." in detail
    return detail


async def send(room: Newsroom, body: str | bytes, **headers: str) -> httpx.Response:
    """A body as it is, with a new key and a JSON content type unless `headers` say otherwise."""
    sent = {"content-type": "application/json", "idempotency-key": uuid4().hex}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await room.web.post(API, content=body, headers=sent)


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
    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")
    page = await newsroom.web.post("/donations", data={"frequency": "once"})
    assert page.status_code == 404
    assert "There is nothing at this address" in Page(page.text).text


@refused
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:9", "", "@"])
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


@refused
@pytest.mark.parametrize(
    "keys",
    [[], [b""], [b"   "], [b'""'], [b"a" * 256], ["gêft".encode()], [b"\xff"], [b"a\tb"],
     [b"one", b"two"], [b"same", b"same"]],
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


# --- the form -------------------------------------------------------------------------------------


async def typed(room: Newsroom, query: str = "", **changes: str) -> httpx.Response:
    """Open the form, change what it holds, and press the button."""
    form = Page((await room.web.get(f"/donate{query}")).text).form("/donate")
    return await room.web.post("/donate", data=form.submission(**changes))


def complaint(answer: httpx.Response, field: str) -> str:
    """Check that the page names the field at fault, in a summary and beside it. Gives its words."""
    assert answer.status_code == 422, answer.text
    page = Page(answer.text)
    assert page.problems == []
    (words,) = page.alerts
    assert "Nothing was charged." in words
    assert f"#{field}" in page.links.values()
    if field != "main":
        at_fault = [named for _, named in page.attributes if "aria-invalid" in named]
        assert len(at_fault) == 1
        assert f"{field}-wrong" in at_fault[0]["aria-describedby"].split()
    return words


@refused
@pytest.mark.parametrize("currency", money.GIFT_LIMITS)
async def test_the_form_says_the_limit_and_keeps_what_was_typed(
    newsroom: Newsroom, currency: str
) -> None:
    coin = money.smallest_unit(currency)
    least, most = money.min_gift(currency), money.max_gift(currency)
    for amount, words in (
        (least.amount - coin, f"smallest amount is {least}."),
        (most.amount + coin, f"largest amount is {most}."),
    ):
        text = money.to_decimal_string(Money(amount, currency))
        answer = await typed(
            newsroom,
            f"?currency={currency}",
            frequency="annual",
            amount_annual="other",
            other_annual=text,
        )
        assert words in complaint(answer, "other_annual")
        fields = Page(answer.text).form("/donate").submission()
        assert (fields["frequency"], fields["currency"]) == ("annual", currency)
        assert (fields["amount_annual"], fields["other_annual"]) == ("other", text)


@refused
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("12,5o", "in digits"),
        ("five", "in digits"),
        ("-5", "in digits"),
        ("5 000 000 0", "in digits"),
        ("5²", "in digits"),
        ("", "in digits"),
        ("  ", "in digits"),
        ("9" * 200, "in digits"),
        ("\x00", "in digits"),
        ("0", "smallest amount is 2.00 USD"),
        ("1.99", "smallest amount is 2.00 USD"),
        ("10000.01", "largest amount is 10000.00 USD"),
        ("1" + "0" * 22, "largest amount is 10000.00 USD"),
        ("5.001", "multiple of 0.01 USD"),
        ("5.005", "multiple of 0.01 USD"),
        ("1.250", "Did you mean 1250.00 USD or 1.25 USD?"),
        ('"><script>alert(1)</script>', "in digits"),
        ("{{ 7 * 7 }}", "in digits"),
    ],
)
async def test_an_amount_nobody_can_read_comes_back_as_it_was_typed(
    newsroom: Newsroom, text: str, words: str
) -> None:
    answer = await typed(newsroom, frequency="once", amount_once="other", other_once=text)
    assert words in complaint(answer, "other_once")
    page = Page(answer.text)
    assert page.field("other_once")["value"] == text
    assert not any(tag == "script" for tag, _ in page.attributes)


@refused
@pytest.mark.parametrize(
    "amount",
    ["199", "0", "1000001", "9" * 12, "9" * 23, "-500", "5.00", "\N{ARABIC-INDIC DIGIT FIVE}"],
)
async def test_a_preset_nobody_offered_is_refused(newsroom: Newsroom, amount: str) -> None:
    complaint(await typed(newsroom, frequency="monthly", amount_monthly=amount), "amount_monthly")


@refused
async def test_a_fraction_of_the_smallest_coin_is_refused_in_the_form(newsroom: Newsroom) -> None:
    changes = {"frequency": "once", "amount_once": "other", "other_once": "5.001"}
    answer = await typed(newsroom, "?currency=kwd", **changes)
    assert "multiple of 0.010 KWD" in complaint(answer, "other_once")
    answer = await typed(newsroom, "?currency=jpy", **{**changes, "other_once": "500.50"})
    assert "multiple of 1 JPY" in complaint(answer, "other_once")


@refused
@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("frequency", "weekly", "frequency"),
        ("frequency", "", "frequency"),
        ("currency", "xyz", "currency"),
        ("currency", "", "currency"),
    ],
)
async def test_the_form_names_the_field_that_makes_no_sense(
    newsroom: Newsroom, field: str, value: str, named: str
) -> None:
    complaint(await typed(newsroom, **{field: value}), named)


@refused
@pytest.mark.parametrize("field", ["return_url", "success_url", "price", "<b>", ""])
async def test_the_form_takes_no_field_it_did_not_offer(newsroom: Newsroom, field: str) -> None:
    form = Page((await newsroom.web.get("/donate")).text).form("/donate").submission()
    answer = await newsroom.web.post("/donate", data={**form, field: EVIL})
    complaint(answer, "main")
    assert "evil.example" not in answer.text


@refused
@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 422),
        ("text/plain", b"frequency=once", 422),
        ("application/x-www-form-urlencoded", b"", 422),
        ("application/x-www-form-urlencoded", b"\xff\xfe=%ff&=&&%", 422),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 3000), 422),
        ("application/x-www-form-urlencoded", b"campaign=" + b"a" * 17_000, 413),
        ("multipart/form-data", b"--x", 400),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a" * 17_000, 413),
    ],
)
async def test_a_form_that_cannot_be_read_gets_a_page_that_says_so(
    newsroom: Newsroom, content_type: str, body: bytes, status: int
) -> None:
    answer = await newsroom.web.post(
        "/donate", content=body, headers={"content-type": content_type}
    )
    assert answer.status_code == status
    page = Page(answer.text)
    assert page.problems == []
    assert "Nothing was charged." in page.text


async def test_after_a_mistake_the_mended_form_leads_to_the_payment(newsroom: Newsroom) -> None:
    refusal = await typed(newsroom, frequency="once", amount_once="other", other_once="1.99")
    mended = Page(refusal.text).form("/donate").submission(other_once="2,50")
    answer = await newsroom.web.post("/donate", data=mended)
    assert answer.status_code == 303
    assert newsroom.sandbox.requests[-1].params["line_items"][0]["price_data"]["unit_amount"] in (
        "250",
        250,
    )


# --- when Stripe or the database is away ----------------------------------------------------------

TROUBLE = ("status_500", "html_500", "drop_before", "drop_after", "conflict_409", "rate_limited")


@pytest.mark.parametrize("kind", TROUBLE)
async def test_when_stripe_is_away_the_same_key_finishes_the_gift_later(
    newsroom: Newsroom, kind: str
) -> None:
    there, key = sessions(newsroom), uuid4().hex
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", kind, remaining=3)
    answer = await newsroom.requests_contribution(key=key)
    newsroom.sandbox.faults.clear()
    problem(answer, 503)
    (row,) = await newsroom.rows("SELECT id FROM contributions WHERE status = 'started'")
    again = await newsroom.requests_contribution(key=key)
    assert again.status_code == 201
    assert (again.json()["id"], again.json()["status"]) == (row[0], "open")
    assert len(sessions(newsroom) - there) == 1


async def test_when_stripe_is_away_the_form_stays_filled_and_can_be_sent_again(
    newsroom: Newsroom,
) -> None:
    there, rows = sessions(newsroom), await newsroom.count("contributions")
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", "drop_after", remaining=3)
    changes = {"frequency": "annual", "amount_annual": "other", "other_annual": "77.70"}
    answer = await typed(newsroom, **changes)
    newsroom.sandbox.faults.clear()
    assert answer.status_code == 503
    page = Page(answer.text)
    assert page.problems == []
    assert "Nothing was charged." in page.alerts[0]
    again = page.form("/donate").submission()
    assert again.items() >= changes.items()
    answer = await newsroom.web.post("/donate", data=again)
    assert answer.status_code == 303
    assert await newsroom.count("contributions") == rows + 1
    assert len(sessions(newsroom) - there) == 1


async def test_fifty_at_once_while_stripe_is_slow_are_one_gift(newsroom: Newsroom) -> None:
    rows, there, key = await newsroom.count("contributions"), sessions(newsroom), uuid4().hex
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", "hang_after")
    first = asyncio.create_task(newsroom.requests_contribution(900, key=key))
    await newsroom.sandbox.faults.wait_until_hanging()
    others = await asyncio.gather(
        *(newsroom.requests_contribution(900, key=key) for _ in range(10))
    )
    for other in others:
        problem(other, 503)
    newsroom.sandbox.faults.release()
    assert (await first).status_code == 201
    assert (await newsroom.requests_contribution(900, key=key)).json() == (await first).json()
    assert await newsroom.count("contributions") == rows + 1
    assert len(sessions(newsroom) - there) == 1


async def test_when_the_database_is_away_it_is_said_and_stripe_is_not_asked(
    newsroom: Newsroom,
) -> None:
    url = make_url(newsroom.settings.database_url.get_secret_value())
    nowhere = url.set(database="nowhere").render_as_string(hide_password=False)
    posts_before = posts(newsroom)
    values = {**newsroom.settings.model_dump(), "database_url": nowhere}
    app = create_app(type(newsroom.settings).model_validate(values), now=newsroom.clock)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]  # one protocol, typed differently
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as web:
        answer = await web.post(API, json=GIFT, headers={"idempotency-key": uuid4().hex})
        problem(answer, 503)
        form = Page((await web.get("/donate")).text).form("/donate")
        page = await web.post("/donate", data=form.submission())
        assert page.status_code == 503
        assert "Nothing was charged." in Page(page.text).text
        assert (await web.get("/health/live")).status_code == 200
        assert (await web.get("/health/ready")).status_code == 503
        assert (await web.get("/finance")).status_code == 503
    assert posts(newsroom) == posts_before


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
fields = st.sampled_from(
    [
        *("intent", "frequency", "currency", "campaign", "article", "locale", "amount_once"),
        *("variant", "again"),
        *("other_once", "amount_monthly", "other_monthly", "amount_annual", "other_annual"),
    ]
)
texts = st.sampled_from(["once", "monthly", "usd", "jpy", "500", "other", "12,50", "0" * 32]) | (
    st.text(max_size=30) | st.text(string.digits + ".,' ", max_size=12)
)


def has_an_end(answer: httpx.Response) -> None:
    """Check that the answer is a gift or a refusal that is whole."""
    if answer.status_code in (201, 303):
        return
    assert 400 <= answer.status_code < 500, answer.text
    assert "Nothing was charged." in answer.text


@anything
@given(body=bodies)
async def test_any_json_is_a_gift_or_a_refusal(newsroom: Newsroom, body: object) -> None:
    has_an_end(await send(newsroom, json.dumps(body)))


@anything
@given(body=st.binary(max_size=60), content_type=st.sampled_from(["application/json", "a/b", ""]))
async def test_any_bytes_are_a_refusal(newsroom: Newsroom, body: bytes, content_type: str) -> None:
    answer = await send(newsroom, body, content_type=content_type)
    assert answer.status_code in (400, 415, 422)


@anything
@given(form=st.dictionaries(fields | words, texts, max_size=8))
async def test_any_form_is_a_gift_or_a_refusal(newsroom: Newsroom, form: dict[str, str]) -> None:
    has_an_end(await newsroom.web.post("/donate", data=form))


@anything
@given(query=st.dictionaries(fields | words, texts, max_size=5))
async def test_any_link_to_the_form_shows_a_whole_form(
    newsroom: Newsroom, query: dict[str, str]
) -> None:
    answer = await newsroom.web.get("/donate", params=query)
    assert answer.status_code == 200
    assert Page(answer.text).problems == []
