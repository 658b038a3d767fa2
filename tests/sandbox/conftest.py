"""Tests of the sandbox, on a real port and through the SDK, with every contract checked."""

from collections.abc import AsyncIterator

import pytest
import stripe

from payments.sandbox import Sandbox
from tests.support.loops import ANYIO_BACKEND, AnyioBackend
from tests.support.shop import ManualWallClock, Shop, open_shop


@pytest.fixture
def anyio_backend() -> AnyioBackend:
    return ANYIO_BACKEND


@pytest.fixture(autouse=True)
def _quiet_sdk() -> None:
    stripe.enable_telemetry = False


@pytest.fixture
def wall() -> ManualWallClock:
    return ManualWallClock()


@pytest.fixture
async def shop(wall: ManualWallClock) -> AsyncIterator[Shop]:
    """A shop whose requests, responses and events are checked against the SDK's types."""
    sandbox = Sandbox(wall=wall, check_contract=True)
    async with open_shop(sandbox, wall) as shop:
        yield shop
    assert sandbox.problems == []
