"""Programs ask for reminders, and bad input is refused by field."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.support.newsroom import Newsroom
from tests.support.reminders import asks, keys

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"on": None, "every_months": 0}, "every_months"),
        ({"on": None, "every_months": 13}, "every_months"),
        ({"on": None, "every_months": -1}, "every_months"),
        ({"on": None, "every_months": 2**70}, "every_months"),
        ({"on": None, "every_months": 1.5}, "every_months"),
        ({"on": "2026-11-22"}, "on"),
        ({"on": "2026-01-01"}, "on"),
        ({"on": "2027-11-23"}, "on"),
        ({"on": "9999-12-31"}, "on"),
        ({"on": "soon"}, "on"),
        ({"on": None}, "on"),
        ({"on": None, "month": "2026-11"}, "on"),
        ({"on": None, "month": "2026-13"}, "month"),
        ({"on": None, "month": "0000-01"}, "month"),
        ({"on": None, "month": "2027-01\n"}, "month"),
        ({"every_months": 3}, "on"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"address": "nobody"}, "address"),
        ({"address": "a@b"}, "address"),
        ({"address": ""}, "address"),
        ({"address": "почта@example.org"}, "address"),
        ({"address": "a@example.org\r\nBcc: b@example.org"}, "address"),
        ({"address": "a@example.org,b@example.org"}, "address"),
        ({"address": '"a b"@example.org'}, "address"),
        ({"address": "Name <a@example.org>"}, "address"),
        ({"address": "a" * 300 + "@example.org"}, "address"),
        ({"address": 7}, "address"),
        ({"amount": 500}, "amount"),
        ({"amount": 1, "currency": "usd", "frequency": "once"}, "amount"),
        ({"stage": "PRE"}, "stage"),
    ],
)
async def test_bad_input_is_refused_by_field_and_keeps_nothing(
    newsroom: Newsroom, body: dict[str, object], field: str
) -> None:
    answer = await asks(newsroom, **body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == f"/{field}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert await newsroom.count("reminders") == 0
    assert keys(newsroom) == []


@pytest.mark.parametrize(
    "change",
    [
        "interval_months = 0",
        "interval_months = 13",
        "first_send_on = signed_up_on",
        "first_send_on = signed_up_on - 1",
        "first_send_on = signed_up_on + 367",
        "slots = 3",
        "slot = 1, sent_count = 2",
        "address_ciphertext = NULL",
        "amount = -1, currency = 'usd', frequency = 'once'",
        "amount = 1",
    ],
)
async def test_the_database_refuses_it_too(newsroom: Newsroom, change: str) -> None:
    assert (await asks(newsroom)).status_code == 202
    with pytest.raises(IntegrityError):
        async with newsroom.ctx.sessions.begin() as session:
            await session.execute(text(f"UPDATE reminders SET {change}"))  # noqa: S608 - a test's own word


async def test_a_program_asks_cancels_and_reads_the_same_answers(newsroom: Newsroom) -> None:
    for body in ({}, {"on": None, "month": "2027-01"}, {"on": None, "every_months": 12}):
        answer = await asks(newsroom, **body)
        assert (answer.status_code, answer.json()) == (202, {"status": "noted"})
    assert await newsroom.count("reminders") == 1
    broken = await newsroom.web.post("/api/reminders/cancel", json={"code": "nonsense"})
    assert broken.status_code == 410
    page = await newsroom.web.get("/schema/openapi.json")
    assert {"/api/reminders", "/api/reminders/cancel", "/api/reminders/reactivate"} <= set(
        page.json()["paths"]
    )
