"""What many events cost: the requests to Stripe grow with the objects they name, and no faster."""

from datetime import timedelta

import pytest

from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio

COUNTS = (1, 3, 9)
FIXED_REQUESTS = 8  # lists that are read once or twice, however many objects there are
REQUESTS_PER_OBJECT = 3  # the object itself, and its charge


async def charges_of_one_gift(room: Newsroom, count: int) -> list[str]:
    """Charge the contribution of one gift so many times more, and take in what follows."""
    gift = await room.gives(5000)
    charges = []
    for _ in range(count):
        intent = room.sandbox.dashboard_request(
            "POST",
            "/v1/payment_intents",
            {
                "amount": "500",
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "automatic_payment_methods": {"enabled": "true", "allow_redirects": "never"},
                "confirm": "true",
                "metadata": {"contribution_id": gift.id},
            },
        )
        charges.append(str(intent["latest_charge"]))
    await room.runs_until_idle()
    await room.advances_time(timedelta(days=1))
    await room.runs_until_idle()
    return charges


async def requests_caused(room: Newsroom) -> int:
    """Let Stripe tell us of all that happened, and count what we asked it for because of that."""
    before = len(room.sandbox.requests)
    await room.runs_until_idle()
    return len(room.sandbox.requests) - before


async def refund(room: Newsroom, charge: str) -> None:
    await room.stripe_owner.v1.refunds.create_async({"charge": charge, "amount": 100})


async def dispute(room: Newsroom, charge: str) -> None:
    room.sandbox.dispute(charge)


async def test_many_at_once_cost_as_many_times_one(newsroom: Newsroom) -> None:
    charges = await charges_of_one_gift(newsroom, sum(COUNTS))
    for act in (refund, dispute):
        first = 0
        for count in COUNTS:
            for charge in charges[first : first + count]:
                await act(newsroom, charge)
            first += count
            caused = await requests_caused(newsroom)
            assert caused <= FIXED_REQUESTS + REQUESTS_PER_OBJECT * count, (act, count)
    assert await newsroom.count("refunds") == await newsroom.count("disputes") == sum(COUNTS)
    assert await newsroom.failed_integrity_checks() == []
