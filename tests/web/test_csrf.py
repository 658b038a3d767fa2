"""A form counts only if a page of ours sent it: one rule for donors and for staff, on every route
that changes something.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from litestar import Litestar, post

from payments.staff.accounts import Role
from payments.web import csrf
from payments.web.app import create_app
from payments.web.csrf import UnguardedRoute, require_same_origin
from tests.support.colleague import open_colleague_browser
from tests.support.donor import open_donor_browser
from tests.support.http import routes_of
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom
from tests.support.oidc_provider import OidcProvider

pytestmark = pytest.mark.anyio

MIRROR = "https://mirror.example.org"
Headers = dict[str, str]
ACCEPTED: tuple[Headers, ...] = (
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "same-origin", "origin": "null"},
    {"sec-fetch-site": "same-origin", "origin": BASE_URL},
    {"origin": BASE_URL},  # Safari before 16.4
    {"origin": MIRROR, "host": "mirror.example.org"},
)
REFUSED: tuple[Headers, ...] = (
    {},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "https://evil.example"},
    {"origin": f"{BASE_URL}.evil.example"},
    {"origin": "http://127.0.0.1:8001"},
    {"origin": MIRROR},  # of ours, but not where the request came to
    {"origin": BASE_URL, "host": "mirror.example.org"},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site", "origin": "null"},
    {"sec-fetch-site": "same-site", "origin": BASE_URL},
    {"sec-fetch-site": "cross-site", "origin": BASE_URL},
    {"sec-fetch-site": "same-origin, cross-site"},
    {"sec-fetch-site": ""},
)
PAIRS = [*((headers, True) for headers in ACCEPTED), *((headers, False) for headers in REFUSED)]


@pytest.fixture
async def room(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database, alternate_origins=(MIRROR,)) as room:
        yield room


async def test_donors_and_staff_have_one_rule(room: Newsroom) -> None:
    async with (
        open_donor_browser(room) as donor,
        open_colleague_browser(room, "Ada", Role.FINANCE) as ada,
    ):
        await donor.gives()
        await donor.signs_in()
        await ada.opens_link()
        for headers, accepted in PAIRS:
            for browser, url in ((donor.web, "/manage"), (ada.web, "/staff/alerts/1")):
                answer = await browser.post(url, headers=headers)  # an empty form: let in, not done
                assert answer.status_code == (422 if accepted else 403), (url, headers)


async def test_a_form_of_another_site_changes_nothing_and_is_in_no_log(room: Newsroom) -> None:
    async with open_colleague_browser(room, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        before = await room.count("audit_entries")
        for url in ("/staff/leave", "/staff/colleagues", "/support", "/staff/alerts/1",
                    "/staff/sign-in", "/staff/passkeys", await ada.invitation_link()):  # fmt: skip
            for headers in REFUSED:
                answer = await ada.web.post(url, headers=headers)
                assert answer.status_code == 403, (url, headers)
                assert "did not come from our own page" in answer.text
        assert await room.count("audit_entries") == before + 1  # the invitation
        assert (await ada.web.get("/staff")).status_code == 200


async def test_another_site_signs_no_donor_up_for_a_reminder_without_confirmation(
    newsroom: Newsroom,
) -> None:
    """The form has no guard, and reads the session only for a request of our own pages."""
    async with open_donor_browser(newsroom) as donor:
        await donor.gives(500, "once")
        await donor.signs_in()
        form = (await donor.opens("/remind")).form("/remind").submission(address=donor.address)
        for headers, state in ((REFUSED[9], "unconfirmed"), (ACCEPTED[0], "scheduled")):
            answer = await donor.web.post("/remind", data=form, headers=headers)
            assert answer.status_code == 200
            (newest,) = await newsroom.rows(
                "SELECT state FROM reminders ORDER BY signed_up_at DESC, state LIMIT 1"
            )
            assert newest == (state,)
            newsroom.clock.advance(timedelta(minutes=1))


async def test_every_route_that_changes_something_is_guarded_or_exempt(
    room: Newsroom, tmp_path: Path
) -> None:
    more = {"environment": "demo", "demo_inbox_dir": str(tmp_path), **OidcProvider(port=1).settings}
    app = create_app(type(room.settings).model_validate({**room.settings.model_dump(), **more}))
    routes = {path: csrf.is_guarded(handler) for path, handler in csrf.unsafe_routes(app)}
    assert {f"POST {path}" for path in routes} == {
        route for route in routes_of(app) if route.split(" ")[0] not in ("GET", "HEAD")
    }
    assert {path for path, is_guarded in routes.items() if not is_guarded} == set(
        csrf.EXEMPT_ROUTES
    )
    for prefix in ("/manage", "/staff", "/finance", "/support"):
        assert all(guarded for path, guarded in routes.items() if path.startswith(prefix))


@post("/somewhere")
async def unguarded_handler() -> str:
    return ""


@post("/somewhere", guards=[require_same_origin])
async def guarded_handler() -> str:
    return ""


def test_a_route_that_is_neither_is_not_served() -> None:
    csrf.check_routes(Litestar([guarded_handler]))
    with pytest.raises(UnguardedRoute, match="/somewhere"):
        csrf.check_routes(Litestar([unguarded_handler]))
