"""No request can make a page fail: whatever is sent, to whichever route, by anybody, it is answered
without a 5xx.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from payments.staff.accounts import Role
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.donor import Donor, open_donor_browser
from tests.support.fuzzing import Fuzzer
from tests.support.http import app_of
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom
from tests.support.secret_values import secret_named

pytestmark = [
    pytest.mark.anyio,
    # A part in a wrong charset, after one with a file: the framework leaves that, in memory, alone.
    pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.Spooled:ResourceWarning"),
]
FIRST_PAGES = {
    "": ["/", "/donate", "/remind", "/newsletter", "/manage", "/safety", "/article", "/dev/inbox"],
    "donor": ["/manage/contributions"],
    "staff": ["/finance", "/staff", "/support"],
}
NOT_BY_INPUT = {"/health/ready"}  # says 503 where no worker runs


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(
        database, environment="demo", metrics_token=secret_named("metrics")
    ) as room:
        yield room


class Crowd:
    """A donor and an administrator who are signed in, and nobody."""

    def __init__(self, room: Newsroom, donor: Donor, colleague: Colleague) -> None:
        self.room, self.donor, self.colleague = room, donor, colleague
        self.fuzzer = Fuzzer(app_of(room), seed=1, base_url=BASE_URL)
        self.arrivals = 0

    async def sign_in(self) -> None:
        """Sign in whoever is not, some hours later: what was sent may have signed them out."""
        donor_page = await self.donor.web.get("/manage/contributions")
        staff_page = await self.colleague.web.get("/staff")
        if donor_page.status_code == staff_page.status_code == 200:
            return
        self.room.clock.advance(timedelta(hours=9))
        self.arrivals += 1
        self.donor.address = f"reader{self.arrivals}@example.org"
        self.colleague.name = f"Ada {self.arrivals}"
        await self.donor.gives()
        await self.donor.signs_in()
        await self.colleague.opens_link()
        self.fuzzer.cookies = "; ".join(
            f"{name}={value}"
            for one in (self.donor, self.colleague)
            for name, value in one.web.cookies.items()
        )

    async def send(self, count: int) -> None:
        """Send so many requests, having looked around as each of them."""
        await self.sign_in()
        await self.fuzzer.learn(self.room.web, FIRST_PAGES[""])
        await self.fuzzer.learn(self.donor.web, FIRST_PAGES["donor"])
        await self.fuzzer.learn(self.colleague.web, FIRST_PAGES["staff"])
        await self.fuzzer.send(count, then=self.sign_in)


async def answers_without_a_5xx(room: Newsroom, count: int) -> Crowd:
    async with AsyncExitStack() as stack:
        donor = await stack.enter_async_context(open_donor_browser(room))
        colleague = await stack.enter_async_context(open_colleague_browser(room, "Ada", Role.ADMIN))
        crowd = Crowd(room, donor, colleague)
        await crowd.send(count)
    failures = [one for one in crowd.fuzzer.failures if one[1].route not in NOT_BY_INPUT]
    assert Counter((made.method, made.route) for _, made in failures) == {}, failures[:3]
    return crowd


async def test_no_request_made_up_for_any_route_is_answered_with_a_5xx(newsroom: Newsroom) -> None:
    crowd = await answers_without_a_5xx(newsroom, 500)
    assert set(crowd.fuzzer.paths) == set(crowd.fuzzer.routes)
    for status in (200, 303, 400, 401, 403, 404, 405, 413, 415, 422):
        assert crowd.fuzzer.statuses[status], crowd.fuzzer.statuses


@pytest.mark.storm
async def test_none_of_a_hundred_thousand_is(newsroom: Newsroom) -> None:
    crowd = await answers_without_a_5xx(newsroom, 100_000)
    assert sum(crowd.fuzzer.statuses.values()) == 100_000
