"""The OpenAPI description is true: what fits it, and much that does not, is answered as it says."""

import asyncio
import contextlib
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from tests.support.newsroom import open_newsroom
from tests.support.ports import reserve_port
from tests.support.serving import serve_newsroom

pytestmark = pytest.mark.anyio


def excluded_checks(status: int) -> list[CheckFunction]:
    """Returns the checks that an answer of this status cannot pass."""
    # What is enough depends on the currency, which a description cannot say; and what is too large
    # is refused before it is read.
    return [positive_data_acceptance, *([negative_data_rejection] if status == 413 else [])]


def send_generated_requests(url: str, cases: int) -> int:
    """Sends `cases` generated requests to every operation. Returns how many were answered."""
    schema = schemathesis.openapi.from_url(f"{url}/schema/openapi.json")
    answered = 0
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()

            @hypothesis.settings(
                max_examples=cases,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: schemathesis.Case[Any]) -> None:
                nonlocal answered
                response = case.call()
                answered += 1
                case.validate_response(
                    response, excluded_checks=excluded_checks(response.status_code)
                )

            with contextlib.suppress(Unsatisfiable):  # there is no wrong text for a path
                send()
    return answered


async def drive(database: str, cases: int) -> int:
    with reserve_port() as port:
        url = f"http://127.0.0.1:{port}"
        async with open_newsroom(database, base_url=url) as room, serve_newsroom(room, port):
            return await asyncio.to_thread(send_generated_requests, url, cases)


async def test_made_up_requests_are_answered_as_described(database: str) -> None:
    assert await drive(database, 6) > 60


@pytest.mark.storm
async def test_twenty_thousand_made_up_requests_are_answered_as_described(database: str) -> None:
    assert await drive(database, 7000) > 20_000
