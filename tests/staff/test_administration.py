"""A change of role, a removal and an invitation have their effect at once, and never on oneself."""

import re
from datetime import timedelta

import pytest

from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


async def test_another_role_begins_with_signing_in_anew(newsroom: Newsroom) -> None:
    async with (
        open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(newsroom, "Bea", Role.FINANCE) as bea,
    ):
        await ada.opens_link()
        await bea.opens_link()
        page = await ada.opens("/staff/colleagues")
        ((action, filled),) = [
            (form.action, form.submission(role="support"))
            for form in page.forms
            if form.action.endswith("/role")
        ]
        assert (await ada.sends(action, **filled)).status_code == 303
        assert (await bea.web.get("/finance")).status_code == 401
        assert (await ada.sends(action, role="owner")).status_code == 422
        bea.role = Role.SUPPORT
        assert (await bea.opens_link()).headers["location"] == "/support"
        assert (await bea.web.get("/finance")).status_code == 403
        assert ("role_changed", "Bea", "finance to support") in await ada.audit_actions()


async def test_who_is_removed_is_out_at_once_and_stays_in_the_audit(newsroom: Newsroom) -> None:
    async with (
        open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(newsroom, "Bea", Role.FINANCE) as bea,
    ):
        await ada.opens_link()
        await bea.opens_link()
        spare = await bea.invitation_link()
        page = await ada.opens("/staff/colleagues")
        (action,) = (form.action for form in page.forms if form.action.endswith("/remove"))
        assert (await ada.sends(action)).status_code == 303
        assert (await bea.web.get("/finance")).status_code == 401
        assert (await bea.opens_link(spare)).status_code == 410
        assert (await ada.sends(action)).status_code == 404
        assert "Bea" not in (await ada.opens("/staff/colleagues")).text
        assert await bea.audit_actions() == [("signed_in", "", "by a one-time link")]
        assert (await bea.opens_link()).status_code == 303  # invited anew


async def test_nobody_does_it_to_themselves(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        ((own,),) = await newsroom.rows("SELECT id FROM staff")
        for action in ("role", "remove"):
            answer = await ada.sends(f"/staff/colleagues/{own}/{action}", role="finance")
            assert answer.status_code == 403
        again = await ada.sends("/staff/colleagues", name="Ada", role="admin", replace="yes")
        assert again.status_code == 403
        assert (await ada.web.get("/staff")).status_code == 200


async def test_an_administrator_invites(newsroom: Newsroom) -> None:
    async with (
        open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(newsroom, "Bea", Role.SUPPORT) as bea,
    ):
        await ada.opens_link()
        made = await ada.sends("/staff/colleagues", name="Bea", role="support")
        (link,) = re.findall(r"/staff/enter/[\w-]{43}", made.text)
        assert (await bea.opens_link(link)).headers["location"] == "/support"
        for name, role in (("", "finance"), ("x" * 81, "finance"), ("Bea", "finance"),
                           ("Cleo", "owner"), ("Cleo", ""), ("\u202eadA", "finance"),
                           ("the command line", "admin"), ("\x00", "admin")):  # fmt: skip
            answer = await ada.sends("/staff/colleagues", name=name, role=role)
            assert answer.status_code == 422, (name, role)
            assert "/staff/enter/" not in answer.text
        assert await newsroom.count("staff") == 2
        newsroom.clock.advance(timedelta(minutes=5))
        late = await ada.sends("/staff/colleagues", name="Cleo", role="admin")
        assert late.headers["location"] == "/staff/confirm?back=%2Fstaff%2Fcolleagues"
        assert await newsroom.count("staff") == 2
