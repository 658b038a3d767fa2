"""Who may open what: every route, asked by nobody, by another donor, and by staff.

The routes are the application's own. One that is not in the table fails the first test, so nobody
adds a page without saying whose it is.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx
import pytest

from payments.giving.contributions import Contribution
from payments.mail import links
from payments.staff import accounts
from payments.staff.accounts import Role
from payments.web.app import create_app
from payments.web.finance_api import access
from payments.web.staff import guards
from tests.support.database import copy_database
from tests.support.donor import OTHER_EMAIL, SAME_ORIGIN_HEADERS, Donor, open_donor_browser
from tests.support.http import app_of, routes_of
from tests.support.loops import ANYIO_BACKEND, AnyioBackend
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom
from tests.support.oidc_provider import OidcProvider
from tests.support.programs import REVIEWED, operations_by_page

pytestmark = pytest.mark.anyio


class Whose(StrEnum):
    ANYBODY = "anybody"  # no person's data, or an id nobody can guess that shows nothing personal
    DONOR = "donor"  # shows the donor who asks what is theirs
    OWNER = "owner"  # names one thing in its address, which is one donor's
    LINK = "link"  # whoever holds a link that was mailed


PAGES = {
    Whose.ANYBODY: {
        "GET /", "GET /favicon.ico", "GET /brand/{file_name}", "GET /shown/{page_id}",
        "GET /article", "GET /embed.js",
        "GET /embed/{file_name}", "GET /api/challenge",
        "GET /api/campaigns/{campaign_id}", "GET /donate", "POST /donate",
        "GET /thanks", "GET /thanks/{contribution_id}", "POST /thanks/receipt",
        "GET /thanks/calendar",
        "GET /manage", "POST /manage", "POST /manage/leave",
        "GET /remind", "POST /remind", "POST /remind/with", "POST /remind/calendar",
        "GET /back/{packed}", "POST /webhooks/mail",
        "POST /api/reminders", "POST /api/reminders/cancel", "POST /api/reminders/reactivate",
        "POST /api/contributions", "GET /api/contributions/{contribution_id}",
        "POST /webhooks/stripe", "GET /health/live", "GET /health/ready", "GET /metrics",
        "GET /health/client",
        "GET /schema", "GET /schema/openapi.json", "GET /schema/{path}", "GET /static/{file_path}",
        "HEAD /static/{file_path}", "GET /dev/inbox", "GET /dev/inbox/{key}", "POST /dev/clock",
        "GET /safety",
        "GET /.well-known/security.txt", "GET /newsletter",
        "POST /newsletter", "POST /api/newsletter",
    },
    Whose.DONOR: {
        "GET /manage/contributions", "GET /manage/payments", "GET /manage/data",
        "GET /manage/data/file.json", "GET /manage/data/erase", "POST /manage/data/erase",
        "GET /manage/data/address", "POST /manage/data/address",
        "POST /manage/data/address/codes",
    },
    Whose.OWNER: {
        "GET /manage/contributions/{contribution_id}",
        *(f"{method} /manage/contributions/{{contribution_id}}/{change}"
          for method in ("GET", "POST")
          for change in ("amount", "frequency", "skip", "pause", "resume", "end", "day", "fee",
                         "keep",
                         "card", "stop")),
        "GET /manage/receipts/{reference}", "GET /manage/statements/{year}",
        "GET /manage/receipts/{reference}/pdf", "GET /manage/statements/{year}/pdf",
        "POST /manage/receipts/{reference}/pdf", "POST /manage/statements/{year}/pdf",
    },
    Whose.LINK: {
        "GET /staff/enter/{token}", "POST /staff/enter/{token}",
        "GET /manage/enter/{token}", "POST /manage/enter/{token}",
        "POST /manage/enter/{token}/code",
        *(f"{method} /remind/{link}" for method in ("GET", "POST")
          for link in ("confirm/{signed}", "stop/{code}", "never/{signed}")),
        *(f"{method} /mailbox/{link}/{{signed}}" for method in ("GET", "POST")
          for link in ("confirm", "never")),
        "GET /remind/again/{code}", "POST /remind/reactivate/{code}",
        "GET /stop/{signed}", "POST /stop/{signed}", "GET /fix/{signed}", "POST /fix/{signed}",
    },
}  # fmt: skip
STAFF_ACCESS = Path(__file__).with_name("staff_access.txt")
# What an administrator sees without the parameters it needs, or right after signing in.
STAFF_STATUSES = {
    "GET /finance/journal": (422,),
    "GET /finance/deferred/journal": (422,),
    "GET /staff/confirm": (303,),
}
POLICY = {route: whose for whose, routes in PAGES.items() for route in routes}


def of(whose: Whose) -> list[str]:
    return sorted(PAGES[whose])


@dataclass
class House:
    """One newsroom with an owner, who gave, and everybody else who might ask."""

    room: Newsroom
    owner: Donor
    others: dict[str, Donor]
    gift: Contribution
    reference: str

    def address(self, route: str) -> tuple[str, str]:
        """The method, and the address of the owner's own thing."""
        method, path = route.split(" ")
        return method, path.format(
            contribution_id=self.gift.id, reference=self.reference, year="2026",
            token="x" * 43, signed="x.y", code="x" * 43, file_path="x", packed="x", campaign_id="x",
        )  # fmt: skip

    async def asks(self, actor: Donor, route: str) -> httpx.Response:
        method, address = self.address(route)
        data = {"amount": "9", "months": "3", "shown": "2026-12-22", "frequency": "annual"}
        return await actor.web.request(
            method, address, headers=SAME_ORIGIN_HEADERS, data=data if method == "POST" else None
        )

    async def state(self) -> list[object]:
        """All that an intruder could have changed."""
        tables = (
            "subscriptions",
            "subscription_changes",
            "contributions",
            "donors",
            "outbox_mails",
        )
        return [await self.room.rows(f"SELECT * FROM {name} ORDER BY 1") for name in tables]  # noqa: S608 - ours


@pytest.fixture(scope="module")
def anyio_backend() -> AnyioBackend:
    return ANYIO_BACKEND


@pytest.fixture(scope="module")
def database(cluster: str) -> Iterator[str]:
    with copy_database(cluster) as url:
        yield url


@pytest.fixture(scope="module")
async def house(database: str) -> AsyncIterator[House]:
    async with open_newsroom(database) as room, AsyncExitStack() as stack:
        owner, other, nobody, colleague = [
            await stack.enter_async_context(open_donor_browser(room, address))
            for address in ("owner@example.org", OTHER_EMAIL, "", "")
        ]
        gift = await owner.gives(500, "monthly")
        await other.gives(700, "annual", "eur")
        await owner.signs_in()
        await other.signs_in()
        async with room.ctx.sessions.begin() as session:
            token = await accounts.invite(session, "Ada", role=Role.ADMIN, now=room.ctx.now())
        await colleague.web.post(f"/staff/enter/{token}", headers=SAME_ORIGIN_HEADERS)
        page = await owner.opens("/manage/payments")
        (reference,) = re.findall(r"/manage/receipts/([0-9a-f]{16})", page.html)
        others = {"nobody": nobody, "other": other, "staff": colleague}
        yield House(room, owner, others, gift, reference)


async def test_every_route_says_whose_it_is(house: House, tmp_path: Path) -> None:
    demo = {"environment": "demo", "demo_inbox_dir": str(tmp_path)}
    values = {**house.room.settings.model_dump(), **demo}
    app = create_app(type(house.room.settings).model_validate(values))
    staff = {rule.route for rule in guards.access_rules(app)}
    programs = {f"{method} {path}" for method, path, _ in access.operations(app)}
    assert routes_of(app) - staff - programs - set(POLICY) == set(), "say in PAGES whose these are"
    assert set(POLICY) - routes_of(app) == set(), "these are no longer served"


async def test_who_may_open_each_staff_page_is_as_was_reviewed(house: House) -> None:
    """The table is derived from the guards. Whoever changes one shows it to a reviewer there."""
    with_sso = OidcProvider(port=1).settings
    values = {**house.room.settings.model_dump(), **with_sso}
    app = create_app(type(house.room.settings).model_validate(values))
    table = "".join(f"{rule}\n" for rule in guards.access_rules(app))
    assert table == STAFF_ACCESS.read_text(), f"{STAFF_ACCESS.name} should hold:\n{table}"


async def test_another_donor_and_nobody_learn_and_change_nothing(house: House) -> None:
    before = await house.state()
    stripe = len(house.room.sandbox.requests)
    for route in of(Whose.OWNER):
        for name, actor in house.others.items():
            answer = await house.asks(actor, route)
            expected = 404 if name == "other" else 401
            if name == "other" and "{year}" in route:
                assert answer.status_code == 200  # their own year
                assert "$5.00" not in answer.text
                continue
            assert answer.status_code == expected, (name, route)
            for private in (house.gift.id, house.reference, "5.00", "December"):
                assert private not in answer.text, (name, route, private)
    assert await house.state() == before
    ((customer,),) = await house.room.rows(
        "SELECT stripe_customer_id FROM subscriptions WHERE contribution_id = :id", id=house.gift.id
    )
    asked = house.room.sandbox.requests[stripe:]  # for their own name, on the paper of their year
    assert [one.method for one in asked] == ["GET"]
    assert str(customer) not in asked[0].path


async def test_a_foreign_id_is_answered_like_one_that_never_was(house: House) -> None:
    other = house.others["other"]
    never = ["0" * 32, "x", "A" * 32, "%00", "a" * 3000]
    for route in of(Whose.OWNER):
        if "{contribution_id}" not in route and "{reference}" not in route:
            continue
        method, address = house.address(route)
        foreign = await house.asks(other, route)
        for id_ in never:
            made_up = address.replace(house.gift.id, id_).replace(house.reference, id_)
            answer = await other.web.request(method, made_up, headers=SAME_ORIGIN_HEADERS)
            assert (answer.status_code, answer.text) == (404, foreign.text), (route, id_)


async def test_the_owner_is_let_in(house: House) -> None:
    for route in [*of(Whose.OWNER), *of(Whose.DONOR)]:
        if route.startswith("GET"):
            assert (await house.asks(house.owner, route)).status_code == 200, route


async def test_a_donors_own_pages_show_only_what_is_theirs(house: House) -> None:
    before = await house.state()
    for route in of(Whose.DONOR):
        for name in ("nobody", "staff"):
            answer = await house.asks(house.others[name], route)
            assert answer.status_code == 401, (name, route)
        if route.startswith("GET"):
            text = (await house.asks(house.others["other"], route)).text
            for private in (house.gift.id, house.reference, "$5.00"):
                assert private not in text, (route, private)
    assert await house.state() == before


async def test_staff_pages_are_for_staff(house: House) -> None:
    routes = [
        rule.route
        for rule in guards.access_rules(app_of(house.room))
        if rule.roles and rule.route.startswith("GET") and "{" not in rule.route
    ]
    assert "GET /finance/monthly.csv" in routes
    for route in routes:
        for name in ("nobody", "other"):
            assert (await house.asks(house.others[name], route)).status_code == 401
        assert (await house.asks(house.owner, route)).status_code == 401
        status = (await house.asks(house.others["staff"], route)).status_code
        assert status in STAFF_STATUSES.get(route, (200,)), route


async def test_the_api_of_finance_is_for_programs_with_a_token(house: House) -> None:
    operations = access.operations(app_of(house.room))
    assert len(operations) > 10
    for method, path, _ in operations:
        for actor in (house.owner, *house.others.values()):
            answer = await actor.web.request(method, re.sub(r"{\w+}", "x", path))
            assert answer.status_code == 401, path


async def test_each_page_of_finance_has_its_operations_for_programs(house: House) -> None:
    app = app_of(house.room)
    pages = {rule.route for rule in guards.access_rules(app) if "GET /finance" in rule.route}
    listed = operations_by_page()
    assert set(listed) == pages, f"say in {REVIEWED.name} which operations have its figures"
    operations = {f"/api/finance/{one}" for found in listed.values() for one in found}
    assert {path for _, path, _ in access.operations(app)} == {
        *operations,
        "/api/finance/openapi.json",
    }


async def test_a_session_of_staff_is_none_of_a_donors_and_the_other_way_round(
    house: House,
) -> None:
    taken = house.owner.web.cookies["donor"], house.others["staff"].web.cookies["staff"]
    async with open_donor_browser(house.room) as thief:
        thief.web.cookies.set("staff", taken[0], domain="127.0.0.1")
        thief.web.cookies.set("donor", taken[1], domain="127.0.0.1")
        await thief.opens("/manage/contributions", status=401)
        assert (await thief.web.get("/finance")).status_code == 401


async def test_links_open_to_whoever_holds_them_and_to_nobody_who_guesses(house: House) -> None:
    for route in of(Whose.LINK):
        for actor in (*house.others.values(), house.owner):
            assert (await house.asks(actor, route)).status_code == 410, route
    link = links.cancel_link(house.room.ctx, house.gift.id, house.gift.donor_id).removeprefix(
        BASE_URL
    )
    for actor in house.others.values():
        assert (await actor.web.get(link)).status_code == 200
    await house.others["nobody"].opens(f"/manage/contributions/{house.gift.id}", status=401)


async def test_a_donor_who_is_signed_in_cannot_take_what_is_nobodys(house: House) -> None:
    """A contribution whose donor was erased has no owner at all."""
    async with open_donor_browser(house.room, "gone@example.org") as gone:
        gift = await gone.gives(900, "monthly")
        await gone.signs_in()
        await gone.opens_and_submits("/manage/data/erase")
    for actor in (house.owner, house.others["other"]):
        await actor.opens(f"/manage/contributions/{gift.id}", status=404)
        data = (await actor.web.get("/manage/data/file.json")).text
        assert gift.id not in data
