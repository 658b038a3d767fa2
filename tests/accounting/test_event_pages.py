"""Finance sends events to other programs: adds one, sees its secret once, and what came of each."""

import json
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from payments.infra.outgoing_events import endpoints
from payments.infra.outgoing_events.tables import DisabledReason
from payments.ops import event_check
from payments.staff.accounts import Role
from tests.support import command_line
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.events import Receiver, is_signed, listening, sends_events
from tests.support.newsroom import Newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio
EVENTS = "/finance/events"


async def is_refused(ada: Colleague, sent: dict[str, str]) -> None:
    """What is wrong with a program is said, and nothing is saved."""
    for changes, words in (
        ({"url": "https://10.0.0.7/"}, "not a public one"),
        ({"url": "http://hooks.example.org/"}, "begins with https://"),
        ({"url": "https://a:b@hooks.example.org/"}, "no name, password"),
        ({"name": " "}, "A name has at most 80 characters"),
        ({"payout.paid": "no"}, "Choose at least one kind"),
    ):
        answer = await ada.sends(EVENTS, **{**sent, **changes})
        assert (answer.status_code, words in Page(answer.text).text) == (422, True), changes
    assert (await ada.web.get(f"{EVENTS}/{'0' * 32}")).status_code == 404


async def is_turned_off_and_on(ada: Colleague, url: str, receiver: Receiver) -> None:
    assert (await ada.sends(f"{url}/off")).status_code == 303
    assert "a colleague turned it off" in (await ada.opens(url)).text
    await ada.sends(f"{url}/test")
    await sends_events(ada.room)
    assert len(receiver.came) == 2
    await ada.sends(f"{url}/on")
    await sends_events(ada.room)
    assert len(receiver.came) == 3


async def is_seen_by_the_operator(room: Newsroom, endpoint_id: str, event: str) -> None:
    """The commands list, log, replay and test; the doctor says which program takes nothing."""

    async def runs(*arguments: str) -> command_line.Finished:
        return await command_line.run(room.settings, "events", *arguments)

    (listed,) = json.loads((await runs("list", "--json")).stdout)
    assert (listed["id"], listed["name"], listed["state"]) == (endpoint_id, "Chat", "on")
    assert b"hidden" not in (await runs("list")).stdout
    log = json.loads((await runs("log", endpoint_id, "--json")).stdout)
    assert (event, "delivered") in [(one["event"], one["state"]) for one in log]
    assert (await runs("replay", endpoint_id, "--event", event)).exit_code == 0
    days = ("--since", "2026-11-01", "--last", "9999-12-31")
    assert (await runs("replay", endpoint_id, *days)).exit_code == 0
    assert b"evt_" in (await runs("test", endpoint_id)).stdout
    for refused in (("replay", endpoint_id), ("replay", endpoint_id, "--event", "evt_x")):
        assert (await runs(*refused)).exit_code != 0, refused
    assert (await runs("test", "0" * 32)).exit_code == 1
    findings = await event_check.check(room.ctx)
    assert [(finding.ok, finding.description) for finding in findings] == [
        (True, "Chat: takes events")
    ]
    async with room.ctx.sessions.begin() as session:
        endpoint = await endpoints.get(session, endpoint_id, lock=True)
        await endpoints.disable(session, endpoint, DisabledReason.GONE, now=room.ctx.now())
    (finding,) = await event_check.check(room.ctx)
    assert (finding.ok, "takes nothing" in finding.description) == (False, True)


async def test_finance_adds_a_program_tests_it_and_reads_the_log(newsroom: Newsroom) -> None:
    room = newsroom
    async with (
        open_colleague_browser(room, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(room, "Sue", Role.SUPPORT) as sue,
        open_colleague_browser(room, "Ivy", Role.AUDITOR) as ivy,
        listening() as receiver,
    ):
        for colleague in (ada, sue, ivy):
            await colleague.opens_link()
        sent = {"name": "Chat", "url": receiver.url + "?key=hidden", "payout.paid": "yes"}
        for nobody in (sue, ivy):
            assert (await nobody.sends(EVENTS, **sent)).status_code == 403
        assert (await sue.web.get(EVENTS)).status_code == 403
        assert "Nothing is sent anywhere yet" in (await ada.opens(EVENTS)).text
        await is_refused(ada, sent)
        answer = await ada.sends(EVENTS, **sent)
        assert answer.status_code == 200
        page = Page(answer.text)
        secret = next(word for word in page.text.split() if word.startswith("whsec_"))
        ((endpoint_id, stored),) = await room.rows("SELECT id, sealed FROM event_endpoints")
        assert isinstance(stored, bytes)
        assert b"hidden" not in stored
        url = f"{EVENTS}/{endpoint_id}"
        shown = await ada.opens(url)
        assert not [private for private in ("hidden", "whsec_") if private in shown.text]
        assert f"http://127.0.0.1:{receiver.port}/…" in shown.text
        for address, button in ((EVENTS, "Add a program"), (url, "Send a test")):
            assert button not in (await ivy.opens(address)).text

        receiver.status = 500
        assert (await ada.sends(f"{url}/test")).headers["location"] == f"{url}?done=test"
        await room.runs_due_jobs()
        ((event_id,),) = await room.rows("SELECT id FROM outgoing_events")
        assert "Waits until 22 Nov, 12:0" in (await ada.opens(url)).text
        assert "500: refused" in (await ivy.opens(f"{url}?state=waiting")).text
        assert "500: refused" not in (await ada.opens(f"{url}?state=delivered&page=x")).text
        receiver.status = 200
        page = Page((await ada.sends(f"{url}/secret")).text)
        new = next(word for word in page.text.split() if word.startswith("whsec_"))
        assert (await ada.sends(f"{url}/replay", event=f"evt_{event_id}")).status_code == 303
        await room.runs_due_jobs()
        assert all(is_signed(*receiver.came[-1], one) for one in (secret, new))
        lasts = ({"since": "2026-11-22", "last": last} for last in ("soon", "9999-12-31"))
        for fields in ({}, {"event": "evt_x"}, *lasts):
            assert (await ada.sends(f"{url}/replay", **fields)).status_code == 422, fields
        days = {"since": "2026-11-22", "last": "2026-11-22"}
        answer = await ada.sends(f"{url}/replay", **days)
        assert answer.headers["location"] == f"{url}?done=none"
        answer = await ada.sends(f"{url}/change", **{**sent, "url": "", "period.closed": "yes"})
        assert answer.headers["location"] == f"{url}?done=changed"
        await is_turned_off_and_on(ada, url, receiver)
        await is_seen_by_the_operator(room, str(endpoint_id), f"evt_{event_id}")
        await is_saved_anew_where_its_key_is_gone(room, ada, url, sent)
        assert (await ada.sends(f"{url}/nothing")).status_code == 404
        room.clock.advance(timedelta(minutes=6))
        late = await ada.sends(f"{url}/delete")
        assert late.headers["location"].startswith("/staff/confirm?back=%2Ffinance%2Fevents")
        actions = [(action, reason) for action, _, reason in await ada.audit_actions()]
        assert ("event_endpoint_changed", "secret") in actions
        assert ("events_replayed", "replay") in actions


async def is_saved_anew_where_its_key_is_gone(
    room: Newsroom, ada: Colleague, url: str, sent: dict[str, str]
) -> None:
    """As `payments doctor` says: with its address, which gives it a new secret."""
    await room.rows("UPDATE event_endpoints SET sealed = 'unreadable' RETURNING id")
    await ada.opens(url)
    refused = await ada.sends(f"{url}/secret")
    assert refused.status_code == 422
    assert "Save its address again" in Page(refused.text).text
    assert (await ada.sends(f"{url}/change", **{**sent, "url": ""})).status_code == 303
    assert "whsec_" in Page((await ada.sends(f"{url}/change", **sent)).text).text
    assert f"{urlsplit(sent['url']).netloc}/…" in (await ada.opens(url)).text
    assert (await ada.sends(f"{url}/secret")).status_code == 200
