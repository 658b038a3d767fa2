"""When Stripe or the database is away, it is said, and the gift can be finished later."""

import asyncio
import time
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.engine import make_url

from payments.infra import stripe_client
from payments.web.answer_deadline import AnswerDeadline
from payments.web.app import create_app
from tests.support.database_owner import as_owner
from tests.support.newsroom import BASE_URL, REAL_TIMEOUT_SECONDS, Newsroom
from tests.support.page import Page
from tests.support.refusals import API, GIFT, posts, problem, sessions, typed

pytestmark = pytest.mark.anyio
END_THE_OTHERS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

TROUBLE = (
    "status_500", "status_503", "html_500", "html_503", "drop_before", "drop_after",
    "conflict_409", "rate_limited", "lock_timeout",
)  # fmt: skip
CALLS_A_PERSON = {"unauthorized": "stripe_key_refused", "forbidden": "stripe_permission_missing"}


async def open_alerts(newsroom: Newsroom) -> set[str]:
    rows = await newsroom.rows("SELECT kind FROM alerts WHERE closed_at IS NULL")
    return {str(kind) for (kind,) in rows}


@pytest.mark.parametrize("kind", [*TROUBLE, *CALLS_A_PERSON])
async def test_when_stripe_is_away_the_same_key_finishes_the_gift_later(
    newsroom: Newsroom, kind: str
) -> None:
    there, key = sessions(newsroom), uuid4().hex
    alerts = await open_alerts(newsroom)
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", kind, remaining=3)
    answer = await newsroom.requests_contribution(key=key)
    newsroom.sandbox.faults.clear()
    assert problem(answer, 503).lower().count("nothing was charged") == 1
    (row,) = await newsroom.rows("SELECT id FROM contributions WHERE status = 'started'")
    again = await newsroom.requests_contribution(key=key)
    assert again.status_code == 201
    assert (again.json()["id"], again.json()["status"]) == (row[0], "open")
    assert len(sessions(newsroom) - there) == 1
    called = {CALLS_A_PERSON[kind]} if kind in CALLS_A_PERSON else set()
    # A key that is refused altogether stands for the permissions it lacks.
    if "stripe_key_refused" in alerts:
        called.discard("stripe_permission_missing")
    assert await open_alerts(newsroom) == alerts | called


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


async def test_while_stripe_hangs_a_reader_is_answered_in_time_and_gives_later(
    newsroom: Newsroom,
) -> None:
    there, key = sessions(newsroom), uuid4().hex
    newsroom.sandbox.faults.add("*", "/v1/", "hang_after", remaining=9)
    began = time.monotonic()
    with stripe_client.answer_within(0.3):
        answer = await newsroom.requests_contribution(900, key=key)
    assert problem(answer, 503).lower().count("nothing was charged") == 1
    assert time.monotonic() - began < REAL_TIMEOUT_SECONDS  # and not for as long as it hangs
    newsroom.sandbox.faults.release()
    newsroom.sandbox.faults.clear()
    assert (await newsroom.requests_contribution(900, key=key)).status_code == 201
    assert len(sessions(newsroom) - there) == 1


async def test_every_request_has_a_deadline_that_nobody_inside_can_put_off() -> None:
    left: list[float | None] = [stripe_client.seconds_left()]

    async def app(_scope: object, _receive: object, _send: object) -> None:
        with stripe_client.answer_within(3600):
            left.append(stripe_client.seconds_left())

    await AnswerDeadline(app)({}, None, None)  # type: ignore[arg-type]  # nothing is read
    assert left[0] is None
    assert left[1] is not None
    assert 0 < left[1] <= 10


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


async def test_while_the_database_takes_no_changes_it_is_said_and_then_all_goes_on(
    newsroom: Newsroom,
) -> None:
    """A standby that was not promoted yet, a disk whose owner stopped all writing."""
    url, key = newsroom.settings.database_url.get_secret_value(), uuid4().hex
    await newsroom.gives(500)
    await newsroom.runs_until_idle()
    with as_owner(url) as owner:
        name = owner.info.dbname
        owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        owner.execute(END_THE_OTHERS)
    try:
        assert (await newsroom.web.get("/health/ready")).status_code == 503
        answer = await newsroom.requests_contribution(key=key)
        assert problem(answer, 503).lower().count("nothing was charged") == 1
        assert await newsroom.deliver(newsroom.delivered[-1:]) == [503]
        assert (await newsroom.web.get("/donate")).status_code == 200
    finally:
        with as_owner(url) as owner:
            owner.execute("SET default_transaction_read_only = off")
            owner.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    # Whoever is still connected to what takes no changes meets it once, and nobody after that.
    assert (await newsroom.requests_contribution(key=key)).status_code == 503
    assert (await newsroom.requests_contribution(key=key)).status_code == 201
    assert (await newsroom.web.get("/health/ready")).status_code == 200
    assert await newsroom.deliver(newsroom.delivered[-1:]) == [200]
