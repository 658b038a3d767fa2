"""Alerts on their page: each says what to do, and is closed once, with a reason."""

import ast
from pathlib import Path

import pytest

from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.staff.accounts import Role
from payments.web.staff.alerts import INSTRUCTIONS
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
CLOSERS = ("close", "close_all", "close_kind", "acknowledge")


# What has happened and does not end by itself: whoever has looked at it says so.
CLOSED_BY_A_PERSON = {
    *("CHARGED_AFTER_CANCELLATION", "IMPORTED", "PASSKEY_CLONED", "QUARANTINED"),
    *("PAYOUT_FAILED", "REFUND_FAILED"),  # another payout or refund is another object
    *("DONOR_VIEW_LIMIT_REACHED", "SIGN_IN_LINK_LIMIT_REACHED"),
}


def kinds_that_close() -> set[str]:
    """The kinds of alert that a function names which closes some, itself or by a list of kinds."""
    functions, lists = [], dict[str, set[str]]()
    for file in sorted(ROOT.glob("payments/**/*.py")) + sorted(ROOT.glob("webhooks/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions.append(node)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                lists[node.targets[0].id] = _kinds_in(node)
    found = set[str]()
    for function in functions:
        attributes = [one for one in ast.walk(function) if isinstance(one, ast.Attribute)]
        if any(one.attr in CLOSERS and ast.unparse(one.value) == "alerts" for one in attributes):
            found |= _kinds_in(function)
            words = {one.id for one in ast.walk(function) if isinstance(one, ast.Name)}
            for name in words | {one.attr for one in attributes}:
                found |= lists.get(name, set()) if name.isupper() else set()
    return found


def _kinds_in(tree: ast.AST) -> set[str]:
    return {
        one.attr
        for one in ast.walk(tree)
        if isinstance(one, ast.Attribute) and ast.unparse(one.value) == "AlertKind"
    }


def test_each_alert_closes_once_its_cause_is_gone_or_is_for_a_person_to_close() -> None:
    assert {kind.name for kind in AlertKind} - kinds_that_close() == CLOSED_BY_A_PERSON


def test_each_alert_says_what_to_do() -> None:
    assert set(INSTRUCTIONS) == set(alerts.MESSAGES) == set(AlertKind)


async def test_an_alert_is_acknowledged_with_a_reason_once(newsroom: Newsroom) -> None:
    async def raises_alert() -> None:
        async with newsroom.ctx.sessions.begin() as session:
            await alerts.raise_alert(
                session, AlertKind.RETRIES_EXHAUSTED, object_id="ch_1", now=newsroom.clock()
            )

    await raises_alert()
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens("/staff/alerts")
        assert "was not read" in page.text
        (action,) = (
            form.action
            for form in page.forms
            if "/alerts/" in form.action and not form.action.endswith("/retry")
        )
        for wrong in ("", " ", "x" * 201, "reader@example.org asked", "card 4242 4242 4242 4242"):
            answer = await ada.sends(action, reason=wrong)
            assert answer.status_code == 422, wrong
            assert Page(answer.text).problems == []
        for reason in ("Stripe was away", "twice"):
            assert (await ada.sends(action, reason=reason)).status_code == 303
        assert "Nothing needs attention" in (await ada.opens("/staff/alerts")).text
        closed = [entry for entry in await ada.audit_actions() if entry[0] == "alert_closed"]
        assert closed == [("alert_closed", "retries_exhausted: ch_1", "Stripe was away")]
        await raises_alert()  # its cause is still there
        assert "was not read" in (await ada.opens("/staff/alerts")).text
        assert (await ada.sends("/staff/alerts/" + "9" * 30, reason="x")).status_code == 303


async def test_what_the_books_point_to_is_not_closed(newsroom: Newsroom) -> None:
    async with newsroom.ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session, AlertKind.SUSPENSE, object_id="txn_1", now=newsroom.clock()
        )
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens("/staff/alerts")
        assert [form for form in page.forms if "/alerts/" in form.action] == []
        ((number,),) = await newsroom.rows("SELECT id FROM alerts")
        answer = await ada.sends(f"/staff/alerts/{number}", reason="seen")
        assert answer.status_code == 422
        assert "txn_1" in (await ada.opens("/staff/alerts")).text
