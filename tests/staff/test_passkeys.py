"""Passkeys: registered on an invitation, verified in every part, refused when possibly cloned."""

import re
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.staff import accounts, administration, passkeys
from payments.staff.accounts import Role
from payments.web import csrf
from payments.web.paths import STAFF_PREFIXES
from tests.support.colleague import Colleague, Device, open_colleague_browser, passkey_options_of
from tests.support.http import app_of
from tests.support.newsroom import Newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio


async def test_an_invitation_makes_a_passkey_and_a_passkey_opens_the_door(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        entered = await ada.enrols()
        assert (entered.status_code, entered.headers["location"]) == (303, "/finance")
        await ada.sends("/staff/leave")
        page = await ada.opens("/finance/audit?who=Ada", status=401)
        (back,) = (one for one in page.forms if one.action == "/staff/sign-in")
        assert back.submission()["back"] == "/finance/audit?who=Ada"
        ends = set()  # a form that is sent too late leads back to a page, whatever its address
        for path, _ in csrf.unsafe_routes(app_of(house)):
            sent = await ada.sends(re.sub("{[^}]*}", "7", path))
            if path.startswith(STAFF_PREFIXES) and sent.status_code == 401:
                (form,) = (one for one in Page(sent.text).forms if one.action == "/staff/sign-in")
                ends.add(form.submission()["back"])
                assert (await ada.web.get(form.submission()["back"])).status_code == 401, path
        assert {"/support/7", "/staff/alerts", "/staff/campaigns/7", "/finance/refund/7"} <= ends

        house.clock.advance(timedelta(days=30))
        again = await ada.signs_in(back="/finance/audit")
        assert (again.status_code, again.headers["location"]) == (303, "/finance/audit")
        shown = await ada.opens("/staff")
        assert "last used" in shown.text
        assert "You last signed in on 22 December 2026, 12:00 UTC, by a passkey." in shown.text
        assert "22 November 2026, 12:00 UTC by a one-time link" in shown.text
        assert await ada.audit_actions() == [
            ("passkey_added", name_of(ada), ""),
            ("signed_in", "", "by a one-time link"),
            ("signed_out", "", ""),
            ("signed_in", "", "by a passkey"),
        ]


def name_of(of: Colleague) -> str:
    return passkeys.StaffPasskey(credential_id=of.device.id).fingerprint


async def test_a_passkey_that_lies_opens_nothing(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        await ada.sends("/staff/leave")
        honest = ada.device
        lies: list[Device] = [
            Device(honest.id, honest.key, 5, origin="https://localhost.evil.example"),
            Device(honest.id, honest.key, 5, origin="http://localhost:8001"),
            Device(honest.id, honest.key, 5, host="evil.example"),
            Device(honest.id, honest.key, 5, flags=0x01),  # present, not verified
            Device(honest.id, honest.key, 5, flags=0x04),  # verified, not present
            Device(honest.id, ec.generate_private_key(ec.SECP256R1()), 5),  # another key
            Device(key=honest.key, count=5),  # an id that was never stored
        ]
        for liar in lies:
            ada.device = liar
            answer = await ada.signs_in()
            assert answer.status_code == 403, liar
            assert "staff" not in ada.web.cookies
            assert Page(answer.text).problems == []
        ada.device = honest
        assert (await ada.signs_in(type="webauthn.create")).status_code == 403
        assert (await ada.signs_in()).status_code == 303
        refused = [action for action, *_ in await ada.audit_actions() if action == "sign_in_failed"]
        assert len(refused) == 7  # all but the one that is nobody's
        strangers = await house.rows("SELECT action FROM audit_entries WHERE name = 'somebody'")
        assert strangers == [("sign_in_failed",)]


async def test_a_challenge_is_answered_once_in_time_and_is_ours(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        await ada.sends("/staff/leave")
        options = passkey_options_of(await ada.opens("/staff/sign-in"), "/staff/sign-in")
        answer = ada.device.get_assertion(options)
        assert (await ada.sends("/staff/sign-in", answer=answer)).status_code == 303
        await ada.sends("/staff/leave")
        # replayed as it was, and answered anew with a higher count
        for replayed in (answer, ada.device.get_assertion(options)):
            assert (await ada.sends("/staff/sign-in", answer=replayed)).status_code == 403
        old = passkey_options_of(await ada.opens("/staff/sign-in"), "/staff/sign-in")
        house.clock.advance(timedelta(minutes=10, seconds=1))
        late = await ada.sends("/staff/sign-in", answer=ada.device.get_assertion(old))
        assert late.status_code == 403
        assert "open for too long" in Page(late.text).text
        for forged in ("", "AAAA", old["challenge"][:-4] + "AAAA", "A" * 75):
            made_up = {**old, "challenge": forged}
            answer = ada.device.get_assertion(made_up)
            assert (await ada.sends("/staff/sign-in", answer=answer)).status_code == 403
        assert await house.count("staff_sessions") == 0


async def test_a_challenge_for_one_thing_is_none_for_another(house: Newsroom) -> None:
    async with (
        open_colleague_browser(house, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(house, "Bea", Role.FINANCE) as bea,
    ):
        await ada.enrols()
        await bea.enrols()
        house.clock.advance(timedelta(minutes=6))
        mine = passkey_options_of(await ada.opens("/staff/confirm"), "/staff/confirm")
        hers = passkey_options_of(await bea.opens("/staff/confirm"), "/staff/confirm")
        async with open_colleague_browser(house, "Ada", Role.ADMIN) as stranger:
            door = passkey_options_of(await stranger.opens("/staff/sign-in"), "/staff/sign-in")
            for other in (mine, hers):
                answer = ada.device.get_assertion(other)
                refused = await stranger.sends("/staff/sign-in", answer=answer)
                assert refused.status_code == 403
        for other in (door, hers):
            answer = ada.device.get_assertion(other)
            assert (await ada.sends("/staff/confirm", answer=answer)).status_code == 403
        # the right question, answered by a colleague
        answer = bea.device.get_assertion(mine)
        assert (await ada.sends("/staff/confirm", answer=answer)).status_code == 403
        assert (await ada.confirms("/staff/colleagues")).status_code == 303
        link = await ada.invitation_link()
        hers_too = await bea.invitation_link()
        options = passkey_options_of(await ada.opens(link), link)
        stolen = await bea.sends(hers_too, answer=Device().create_credential(options))
        assert stolen.status_code == 403
        assert (await bea.opens_link(hers_too)).status_code == 303  # the link is still good


async def test_a_copied_passkey_is_refused_and_opens_an_alert(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        copy = Device(ada.device.id, ada.device.key, ada.device.count)
        for _ in range(3):
            await ada.sends("/staff/leave")
            assert (await ada.signs_in()).status_code == 303
        honest, ada.device = ada.device, copy
        await ada.sends("/staff/leave")
        for _ in range(3):  # behind, behind, and level
            answer = await ada.signs_in()
            assert answer.status_code == 403
            assert "may have been copied" in Page(answer.text).text
        async with house.ctx.sessions() as session:
            (alert,) = await alerts.list_open(session)
        assert alert.kind is AlertKind.PASSKEY_CLONED
        ada.device = honest
        assert (await ada.signs_in()).status_code == 303


async def test_a_device_that_does_not_count_is_as_good(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        ada.device.increments_count = False
        await ada.enrols()
        for _ in range(2):
            await ada.sends("/staff/leave")
            assert (await ada.signs_in()).status_code == 303


async def test_an_answer_that_is_no_answer_is_refused(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        await ada.sends("/staff/leave")
        good = ada.device.get_assertion(
            passkey_options_of(await ada.opens("/staff/sign-in"), "/staff/sign-in")
        )
        odd = ["", "{}", "[]", "null", "1", "x" * 9000, '"', "{" * 5000, good[:-20], "\x00", "é"]
        odd += [good.replace('"public-key"', '"x"'), good.replace("signature", "nothing")]
        odd += [good.replace(written, "") for written in re.findall(r'": "([\w-]{30,})"', good)]
        for answer in odd:
            refused = await ada.sends("/staff/sign-in", answer=answer)
            assert refused.status_code == 403, answer[:80]
            link = await ada.invitation_link()
            if answer:
                assert (await ada.sends(link, answer=answer)).status_code == 403, answer[:80]
        assert (await ada.sends("/staff/sign-in", answer="x" * 20_000)).status_code == 413
        assert await house.count("staff_passkeys") == 1


async def test_a_passkey_is_stored_once_and_ten_are_the_most(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        options = passkey_options_of(await ada.opens("/staff"), "/staff/passkeys")
        assert [key["id"] for key in options["excludeCredentials"]]
        twice = await ada.sends("/staff/passkeys", answer=ada.device.create_credential(options))
        assert twice.status_code == 403
        assert "known already" in Page(twice.text).text
        for number in range(10):
            options = passkey_options_of(await ada.opens("/staff"), "/staff/passkeys")
            added = await ada.sends("/staff/passkeys", answer=Device().create_credential(options))
            assert added.status_code == (303 if number < 9 else 403)
        name = name_of(ada)
        assert (await ada.sends(f"/staff/passkeys/{name}/remove")).status_code == 303
        assert await house.count("staff_passkeys") == 9
        await ada.sends("/staff/leave")
        assert (await ada.signs_in()).status_code == 403


async def test_a_lost_device_is_replaced_and_opens_nothing_more(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        async with house.ctx.sessions.begin() as session:
            person = await accounts.get_by_name(session, "Ada")
            await administration.revoke_credentials(session, person, now=house.clock())
        assert (await ada.web.get("/finance")).status_code == 401
        assert (await ada.signs_in()).status_code == 403
        ada.device = Device()
        assert (await ada.enrols()).status_code == 303
        await ada.sends("/staff/leave")
        assert (await ada.signs_in()).status_code == 303


async def test_by_an_ip_there_are_links_and_no_passkeys(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        for page in (
            await ada.opens("/staff/sign-in"),
            await ada.opens(await ada.invitation_link()),
        ):
            assert not [1 for _, found in page.attributes if "data-options" in found]
        await ada.opens_link()
        assert "by an IP address" in (await ada.opens("/staff")).text
