"""A change of role, a removal and an invitation have their effect at once, and never on oneself."""

import re
from datetime import UTC, datetime, time, timedelta

import pytest

from payments.core.errors import InvalidField
from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser, passkey_options_of
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


async def test_an_access_ends_by_itself_after_its_last_day(house: Newsroom) -> None:
    async with (
        open_colleague_browser(house, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(house, "Kim", Role.AUDITOR) as kim,
    ):
        await ada.opens_link()
        today = house.clock().date()
        for bad in ("2020-01-01", f"{today + timedelta(days=9999)}", "9999-12-31", "soon"):
            refused = await ada.sends("/staff/colleagues", name="Kim", role="auditor", until=bad)
            assert refused.status_code == 422
            assert f'value="{bad}"' in refused.text  # what was typed stays
        last_day = today + timedelta(days=1)
        asked = {"name": "Kim", "role": "auditor", "until": f"{last_day}"}
        made = await ada.sends("/staff/colleagues", **asked)
        (link,) = re.findall(r"/staff/enter/[\w-]{43}", made.text)
        options = passkey_options_of(await kim.opens(link), link)
        assert (await kim.sends(link, answer=kim.device.create_credential(options))).is_redirect
        assert "until " in (await ada.opens("/staff/colleagues")).text
        midnight = datetime.combine(last_day + timedelta(days=1), time(), UTC)
        house.clock.current = midnight - timedelta(minutes=11)
        unused = await kim.sign_in_link()
        await kim.signs_in()
        house.clock.current = midnight - timedelta(seconds=1)
        await kim.opens("/finance")
        house.clock.current = midnight
        assert (await kim.web.get("/finance")).status_code == 401
        assert (await kim.signs_in()).status_code == 403
        assert (await kim.opens_link(unused)).status_code == 410
        with pytest.raises(InvalidField):
            await kim.sign_in_link()
        await ada.opens_link()
        refused = await ada.sends("/staff/colleagues", name="Kim", role="auditor")
        assert refused.status_code == 422
        page = await ada.opens("/staff/colleagues")
        assert "access ended on" in page.text
        (form,) = [one for one in page.forms if one.action.endswith("/role")]
        later = f"{midnight.date() + timedelta(days=9)}"
        assert (await ada.sends(form.action, **form.submission(until=later))).status_code == 303
        assert (await kim.signs_in()).status_code == 303
        ends = [one for one in await ada.audit_actions() if one[0] == "access_end_changed"]
        assert [name for _, name, _ in ends] == ["Kim"]


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
