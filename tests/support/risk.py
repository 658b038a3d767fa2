"""Rate limits as in production, and the work and the waits that a page asks for."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import altcha
import httpx

from payments.risk import risk_level
from payments.risk.risk_level import RiskLevel
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.page import Page

DECLINED = "4000000000000002"
HOME = "198.51.100.7"  # a reader's address


@asynccontextmanager
async def open_with_limits(database: str, **more: object) -> AsyncIterator[Newsroom]:
    """A newsroom with the limits of production."""
    limits = {"rate_limit_gifts": 3, "card_testing_declines": 20, "proof_of_work_cost": 1}
    async with open_newsroom(database, **{**limits, **more}) as room:
        yield room
        assert await room.failed_integrity_checks() == []


async def form(room: Newsroom) -> Page:
    """The form, read for a while."""
    page = Page((await room.web.get("/donate")).text)
    room.clock.advance(timedelta(seconds=10))
    return page


async def sends(room: Newsroom, page: Page, ip: str = HOME, **changes: str) -> httpx.Response:
    """A reader at an address sends what a page holds."""
    sent = page.form("/donate").submission(**changes)
    return await room.web.post("/donate", data=sent, headers={"x-forwarded-for": ip})


async def gives(room: Newsroom, ip: str = HOME, **changes: str) -> httpx.Response:
    """A reader at an address opens the form, reads it and sends it."""
    return await sends(room, await form(room), ip, **changes)


async def asks(room: Newsroom, ip: str = HOME, amount: int = 500, **more: object) -> httpx.Response:
    """A program asks on behalf of an address."""
    body = {"amount": amount, "frequency": "once", "currency": "usd", **more}
    headers = {"Idempotency-Key": uuid4().hex, "x-forwarded-for": ip}
    return await room.web.post("/api/contributions", json=body, headers=headers)


async def tries(room: Newsroom, count: int, *, declined: int, first: int = 0) -> None:
    """So many readers pay with a card, and so many of the cards are declined."""
    for number in range(count):
        answer = await asks(room, f"10.{first}.{number}.1", amount=2000)
        assert answer.status_code == 201, answer.text
        card = DECLINED if number < declined else "4242424242424242"
        await room.pays(answer.json()["checkout_url"], card)
    await room.runs_until_idle()


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


async def set_risk_level(room: Newsroom, level: RiskLevel) -> None:
    """Card testing was detected, or not."""
    now = room.clock()
    async with room.ctx.sessions.begin() as session:
        state = await risk_level.lock_state(session, now)
        state.challenge_until = now + timedelta(days=30)
        state.restricted_until = now + timedelta(days=30) if level is RiskLevel.RESTRICTED else now
