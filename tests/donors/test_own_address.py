"""A donor changes their address: by the codes of both mailboxes, in the session that asked."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import event

from payments.donors import donors
from payments.mail.render import RenderedMail
from payments.signups import suppression
from payments.signups.suppression import SuppressionReason
from tests.support.donor import (
    OTHER_EMAIL,
    READER_EMAIL,
    Donor,
    code_in,
    open_donor_browser,
    well_formed_page,
)
from tests.support.mail import TELLTALE
from tests.support.newsroom import Mail, Newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio

NEW_EMAIL, FORM, CODES = "new@example.org", "/manage/data/address", "/manage/data/address/codes"
EMAILS_SQL = "SELECT stripe_customer_id FROM donor_customers"


async def asks(donor: Donor, address: str) -> tuple[Page, Mail, Mail]:
    """Ask for codes. Returns the page that takes them, and the mails of the old and the new."""
    page = well_formed_page(await donor.opens_and_submits(FORM, address=address))
    old, new = donor.room.mails()[-2:]
    return page, old, new


async def enters(donor: Donor, page: Page, old: Mail, new: Mail, **more: str) -> httpx.Response:
    codes = {"old_code": code_in(old), "new_code": code_in(new)} | more
    return await donor.submits(page, CODES, **codes)


async def emails_at_stripe(room: Newsroom) -> set[str]:
    """The addresses that the customers of all donors have at Stripe."""
    act = room.sandbox.dashboard_request
    return {
        act("GET", f"/v1/customers/{one}", {})["email"] for (one,) in await room.rows(EMAILS_SQL)
    }


@asynccontextmanager
async def statements_of(room: Newsroom) -> AsyncIterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    engine = room.ctx.sessions.kw["bind"].sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_both_mailboxes_move_all_that_was_given(donor: Donor) -> None:
    room = donor.room
    gifts = [
        await donor.gives(500),
        await donor.gives(9000, "annual"),
        await donor.gives(800, "once"),
    ]
    await donor.signs_in()
    assert FORM in (await donor.opens("/manage/data")).html
    page, old, new = await asks(donor, f" {NEW_EMAIL.upper()} ")
    assert (old.to, new.to) == ([READER_EMAIL], [NEW_EMAIL])
    for mail in (old, new):  # each names neither money nor us, and leads nowhere
        words = RenderedMail(mail.subject, mail.part(), mail.part("html"))
        assert TELLTALE.search(f"{words.subject} {words.text}") is None
        assert "http" not in words.text + words.html
    assert await emails_at_stripe(room) == {READER_EMAIL}

    async with open_donor_browser(room) as elsewhere:
        await elsewhere.signs_in()
        room.sandbox.take_deliveries()
        done = await enters(donor, page, old, new)
        assert done.status_code == 200, done.text
        assert "Stripe has the new address" in done.text
        assert (await elsewhere.web.get("/manage/data")).status_code == 401
    assert (await donor.web.get("/manage/data")).status_code == 401
    assert {one.lower() for one in await emails_at_stripe(room)} == {NEW_EMAIL}
    assert await room.rows("SELECT count(*), bool_and(mailbox_proved) FROM donors") == [(1, True)]
    assert (await enters(donor, page, old, new)).status_code == 401  # twice
    # the events come after all, and again
    deliveries = room.sandbox.take_deliveries()
    await room.deliver([*deliveries, *reversed(deliveries)])
    await room.runs_until_idle()
    (owner,) = {(await room.contribution(one.id)).donor_id for one in gifts}
    assert owner != gifts[0].donor_id
    async with open_donor_browser(room, NEW_EMAIL) as fresh:
        shown = await fresh.signs_in()
        for amount in ("$5.00", "$90.00", "$8.00"):
            assert amount in shown.text
        page, old, new = await asks(fresh, NEW_EMAIL)  # the same once more: no answer says so
        token = fresh.web.cookies["donor"]
        assert well_formed_page(await enters(fresh, page, old, new)).problems == []
        fresh.web.cookies.set("donor", token)  # the browser's was removed
        assert (await enters(fresh, page, old, new)).status_code == 401
    before = len(room.mails())
    async with open_donor_browser(room) as late:
        await late.opens_and_submits("/manage", address=READER_EMAIL)
        await room.runs_due_jobs()
    assert len(room.mails()) == before, "the old mailbox opens nothing"


async def test_what_is_not_proved_by_both_moves_nothing(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500)
    await donor.signs_in()
    page, old, new = await asks(donor, NEW_EMAIL)
    wrong = "AAAAA-AAAAA"
    for codes in (
        {"old_code": wrong},
        {"new_code": wrong},
        {"old_code": code_in(new)},
        {"new_code": code_in(old)},
        {"old_code": code_in(new), "new_code": code_in(old)},
        {"old_code": "", "new_code": ""},
        {"address": OTHER_EMAIL},
        {"address": "nobody"},
    ):
        refused = await enters(donor, page, old, new, **codes)
        assert refused.status_code == 422, codes
        assert "Nothing was changed" in refused.text or "address" in codes
    token = str(page.form(CODES).submission()["request"])
    for forged in ("", token[:-1], f"x{token}"):
        refused = await enters(donor, page, old, new, request=forged)
        assert refused.status_code == 410, forged
    for address in ("", "nobody", "a@b@", f"{'x' * 300}@example.org"):
        assert (await donor.opens_and_submits(FORM, address=address)).status_code == 422
    async with open_donor_browser(room) as other_session:
        await other_session.signs_in()  # of the same donor
        assert (await enters(other_session, page, old, new)).status_code == 422
    _, *others = await asks(donor, OTHER_EMAIL)
    assert (await enters(donor, page, *others)).status_code == 422  # codes of another page
    await room.advances_time(timedelta(minutes=11))
    assert (await enters(donor, page, old, new)).status_code == 410  # too late
    assert await emails_at_stripe(room) == {READER_EMAIL}
    # three times a day, then no mail to anybody
    await asks(donor, NEW_EMAIL)
    before = len(room.mails())
    refused = await donor.opens_and_submits(FORM, address=NEW_EMAIL)
    assert (refused.status_code, len(room.mails())) == (429, before)
    await room.advances_time(timedelta(hours=25))
    await donor.signs_in()
    page, old, new = await asks(donor, NEW_EMAIL)
    await donor.opens_and_submits("/manage/data/erase")
    assert (await enters(donor, page, old, new)).status_code == 401  # after the erasure
    assert await room.count("donors") == 0


async def test_a_donor_of_that_address_looks_like_anybody_and_joined_at_the_end(
    donor: Donor,
) -> None:
    room = donor.room
    gift = await donor.gives(500)
    async with open_donor_browser(room, OTHER_EMAIL) as other:
        theirs = await other.gives(700)
    async with open_donor_browser(room, "once@example.org") as guest:
        await guest.gives(800, "once")
    await donor.signs_in()
    seen = []
    for address in ("whoever@example.org", OTHER_EMAIL):
        form = await donor.opens(FORM)
        async with statements_of(room) as statements:
            answer = await donor.submits(form, FORM, address=address)
        page = well_formed_page(answer)
        token = str(page.form(CODES).submission()["request"])
        shown = answer.text.replace(token, "").replace(address, "")
        mails = [(one.subject, re.sub(r"code: \S+", "", one.part())) for one in room.mails()[-2:]]
        seen.append((answer.status_code, shown, mails, statements))
    assert seen[0] == seen[1]
    old, new = room.mails()[-2:]
    unwanted = "never@example.org"
    (never, *_) = await donors.address_hashes(room.settings, unwanted)
    async with room.ctx.sessions.begin() as session:
        await suppression.suppress(session, never, SuppressionReason.UNSUBSCRIBED, now=room.clock())
    answer = await donor.opens_and_submits(FORM, address=unwanted)
    token = str(Page(answer.text).form(CODES).submission()["request"])
    assert answer.text.replace(token, "").replace(unwanted, "") == seen[0][1]
    assert room.mails()[-1].to == [READER_EMAIL]

    room.sandbox.faults.add("POST", "/v1/customers/", "status_500", remaining=9)
    refused = await enters(donor, page, old, new)
    assert refused.status_code == 503
    assert "has not confirmed the new address" in refused.text
    assert await emails_at_stripe(room) == {READER_EMAIL, OTHER_EMAIL}
    room.sandbox.faults.clear()
    room.sandbox.faults.add("POST", "/v1/customers/", "drop_after", remaining=1)
    assert (await enters(donor, page, old, new)).status_code == 200
    await room.runs_until_idle()
    assert await emails_at_stripe(room) == {OTHER_EMAIL}
    assert (await room.contribution(gift.id)).donor_id == theirs.donor_id
    async with open_donor_browser(room, OTHER_EMAIL) as other:
        overview = await other.signs_in()
        room.mail_server.content_refusal = "451 4.3.0 later"
        assert (await other.opens_and_submits(FORM, address=NEW_EMAIL)).status_code == 503
        room.mail_server.content_refusal = ""
    assert "$5.00" in overview.text
    assert "$7.00" in overview.text

    async with open_donor_browser(room, "once@example.org") as guest:
        await guest.signs_in()  # Stripe has no customer of them
        assert "made once" in (await guest.opens(FORM, status=409)).text
        assert (await guest.web.get("/manage/data/address/codes")).status_code in (404, 405)
