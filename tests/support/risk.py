"""Rate limits as in production, and the work and the waits that a page asks for."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import altcha
import httpx

from payments.risk import risk_level
from payments.risk.risk_level import RiskLevel
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.page import Page

DECLINED = "4000000000000002"


@asynccontextmanager
async def open_with_limits(database: str, **more: object) -> AsyncIterator[Newsroom]:
    """A newsroom with the limits of production."""
    limits = {"rate_limit_gifts": 3, "card_testing_declines": 20, "proof_of_work_cost": 1}
    async with open_newsroom(database, **{**limits, **more}) as room:
        yield room
        assert await room.failed_integrity_checks() == []


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
