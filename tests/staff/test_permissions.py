"""Each role opens its own pages and is turned away from the rest, and nobody else opens any.

Which role opens what is in tests/web/staff_access.txt; here each route is asked by everybody.
"""

import re

import pytest
from litestar import Litestar, get
from litestar.di import NamedDependency, Provide

from payments.staff.accounts import Role
from payments.staff.sessions import AuthenticatedStaff
from payments.web.staff import guards
from payments.web.staff.guards import EXPORT, FINANCE_ROLES, AccessRule, StaffOnly, UnguardedRoute
from payments.web.staff.layout import NAVIGATION
from tests.support.colleague import open_colleague_browser
from tests.support.donor import SAME_ORIGIN_HEADERS, open_donor_browser
from tests.support.http import app_of
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio

PATH_VALUES = {"token": "x" * 43, "case_id": "0" * 32, "contribution_id": "0" * 32,
               "alert_id": "1", "staff_id": "0" * 32, "fingerprint": "0" * 16,
               "month": "2026-11"}  # fmt: skip
DENIED = "access_denied"
# These refuse an empty form of a colleague who may send it.
REFUSES_EMPTY_FORM = ("POST /staff/passkeys", "POST /staff/confirm")


def guarded_rules(room: Newsroom) -> list[AccessRule]:
    """The rules of the staff pages that ask for a session."""
    return [rule for rule in guards.access_rules(app_of(room)) if rule.roles]


def method_and_path(rule: AccessRule) -> tuple[str, str]:
    method, path = rule.route.split(" ")
    return method, re.sub(r"{(\w+)}", lambda match: PATH_VALUES.get(match[1], "x"), path)


async def test_each_role_opens_its_own_and_is_turned_away_from_the_rest(
    newsroom: Newsroom,
) -> None:
    rules = guarded_rules(newsroom)
    for role in Role:
        async with open_colleague_browser(newsroom, f"A {role}", role) as one:
            await one.opens_link()
            for rule in rules:
                method, path = method_and_path(rule)
                answer = await one.web.request(method, path, headers=SAME_ORIGIN_HEADERS)
                is_refused = role not in rule.roles or rule.route in REFUSES_EMPTY_FORM
                assert (answer.status_code == 403) == is_refused, (role, rule, answer.status_code)
                assert answer.status_code not in (401, 500), (role, rule)
            denied = [str(url) for action, url, _ in await one.audit_actions() if action == DENIED]
            assert sorted(denied) == sorted(rule.route for rule in rules if role not in rule.roles)


async def test_nobody_and_no_donor_opens_any_of_them(newsroom: Newsroom) -> None:
    async with open_donor_browser(newsroom) as donor:
        await donor.gives()
        await donor.signs_in()
        key = donor.web.cookies["donor"]
        for rule in guarded_rules(newsroom):
            method, path = method_and_path(rule)
            for cookie in ("", f"donor={key}", f"staff={key}"):
                headers = {**SAME_ORIGIN_HEADERS, "cookie": cookie}
                answer = await newsroom.web.request(method, path, headers=headers)
                assert answer.status_code == 401, (rule, cookie)


async def test_an_auditor_reads_all_of_the_books_and_changes_nothing(newsroom: Newsroom) -> None:
    """From the routes: a new one that is none of these answers fails here."""
    of_the_books = ("/finance", "/staff/alerts")
    own = ("/staff/passkeys", "/staff/sessions", "/staff/confirm", "/staff/sign-on")
    for rule in guarded_rules(newsroom):
        method, path = rule.route.split(" ")
        is_of_the_books = path.startswith(of_the_books)
        is_own = path == "/staff" or path.startswith(own)
        reads = is_own or (is_of_the_books and method == "GET")
        assert (Role.AUDITOR in rule.roles) == reads, rule
        if is_of_the_books and method != "GET":
            assert rule.roles == FINANCE_ROLES, rule
        assert method in ("GET", "POST"), rule


REFUSED = ("currency", "format", "period", "version")


async def test_an_export_is_recorded_when_its_file_is_ready_and_not_when_it_is_refused(
    newsroom: Newsroom,
) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        for rule in guarded_rules(newsroom):
            if rule.is_export:
                _, path = method_and_path(rule)
                refused = await ada.web.get(path, params=dict.fromkeys(REFUSED, "x"))
                assert refused.status_code in (404, 422), rule
        assert await ada.audit_actions() == [("signed_in", "", "by a one-time link")]
        for rule in guarded_rules(newsroom):
            if rule.is_export and "pack" not in rule.route:  # of a month that was closed
                _, path = method_and_path(rule)
                answer = await ada.web.get(f"{path}?period=2026-10&format=csv")
                assert answer.status_code == 200, (rule, answer.text)
                assert (await ada.audit_actions())[-1] == (
                    "data_exported", f"{path}?period=2026-10&format=csv", "",
                )  # fmt: skip


# --- an application that forgot one does not start ------------------------------------------------


@get("/finance/forgotten")
async def unguarded_page() -> str:
    return ""


SESSION = Provide(guards.current_session, sync_to_thread=False)


@get("/elsewhere", dependencies={"staff_session": SESSION})
async def page_of_a_colleague(staff_session: NamedDependency[AuthenticatedStaff]) -> str:
    return staff_session.session_id


@get("/finance/forgotten.csv", guards=[StaffOnly(FINANCE_ROLES), EXPORT])
async def export_without_its_grant() -> str:
    return ""


@pytest.mark.parametrize("handler", [unguarded_page, page_of_a_colleague, export_without_its_grant])
def test_a_staff_route_without_its_guard_is_not_served(handler: object) -> None:
    app = Litestar([handler])  # type: ignore[list-item]  # any of the three
    with pytest.raises(UnguardedRoute):
        guards.check_routes(app)


async def test_the_navigation_asks_for_the_roles_of_its_pages(newsroom: Newsroom) -> None:
    rules = {rule.route: rule for rule in guards.access_rules(app_of(newsroom))}
    assert [rules[f"GET {item.url}"].roles for item in NAVIGATION] == [
        item.roles for item in NAVIGATION
    ]
