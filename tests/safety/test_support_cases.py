"""Support helps one donor: finds them by the address they wrote from, says why, sees no address, no
card, and nobody else.
"""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from payments.giving.contributions import Contribution
from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.safety import support_cases
from payments.staff.accounts import Role
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.donor import (
    OTHER_EMAIL,
    READER_EMAIL,
    code_in,
    link_in,
    open_donor_browser,
    payment_fails,
)
from tests.support.newsroom import Newsroom, without_tokens
from tests.support.page import Page

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sam(newsroom: Newsroom) -> AsyncIterator[Colleague]:
    async with open_colleague_browser(newsroom, "Sam", Role.SUPPORT) as colleague:
        await colleague.opens_link()
        yield colleague


async def gives(room: Newsroom, address: str = READER_EMAIL, amount: int = 500) -> Contribution:
    """A donor who gives every month."""
    async with open_donor_browser(room, address) as donor:
        return await donor.gives(amount)


async def opens_case(sam: Colleague, address: str = READER_EMAIL, ticket: str = "L-17") -> str:
    """Look for a donor. Gives the address of the case."""
    answer = await sam.sends("/support", address=address, reason="DONOR_WROTE", ticket=ticket)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def presses(sam: Colleague, case: str, action: str, **changes: str) -> Page:
    """Press a button of a case, and come to what it says then."""
    page = await sam.opens(case)
    (form,) = (form for form in page.forms if form.action.endswith(f"/{action}"))
    answer = await sam.sends(form.action, **form.submission(**changes))
    assert answer.status_code == 303, answer.text
    return await sam.opens(answer.headers["location"])


async def test_a_donor_is_found_by_however_they_type_their_address(
    newsroom: Newsroom, sam: Colleague
) -> None:
    await gives(newsroom)
    await gives(newsroom, OTHER_EMAIL, 900)
    case = await opens_case(sam, f"  {READER_EMAIL.upper()} ")
    page = await sam.opens(case)
    assert "$5.00 every month" in page.text
    assert "$9.00" not in page.text
    for private in ("reader@", "visa", "A Reader", "cus_", "sub_", "pm_"):
        assert private not in page.html, private
    assert "4242" not in without_tokens(page.html)
    assert re.fullmatch(r"/support/[0-9a-f]{32}", case)
    assert ("donor_viewed", "the donor wrote to us, L-17") in [
        (action, reason) for action, _, reason in await sam.audit_actions()
    ]


async def test_what_a_pause_does_to_a_failed_payment_is_said_before(newsroom: Newsroom) -> None:
    warning = "Pausing or skipping also voids that payment"
    async with open_donor_browser(newsroom, READER_EMAIL) as donor:
        await payment_fails(donor)
    await gives(newsroom, OTHER_EMAIL, 900)
    async with open_colleague_browser(newsroom, "Sam", Role.SUPPORT) as sam:
        await sam.opens_link()
        case = await opens_case(sam)
        assert warning in (await sam.opens(case)).text
        assert warning not in (await presses(sam, case, "pause", months="open")).text
        assert warning not in (await sam.opens(await opens_case(sam, OTHER_EMAIL))).text


async def test_who_never_gave_is_not_found_and_the_search_is_audited(
    newsroom: Newsroom, sam: Colleague
) -> None:
    await gives(newsroom)
    answer = await sam.sends("/support", address=OTHER_EMAIL, reason="BANK_INQUIRY", ticket="")
    assert (answer.status_code, "No gifts with this" in Page(answer.text).text) == (200, True)
    assert (await sam.audit_actions())[-1] == ("donor_searched", "nobody", "a question of a bank")
    assert OTHER_EMAIL not in str(await newsroom.rows("SELECT a::text FROM audit_entries AS a"))


async def test_without_a_reason_or_an_address_nobody_is_looked_up(
    newsroom: Newsroom, sam: Colleague
) -> None:
    await gives(newsroom)
    before = await sam.audit_actions()
    for fields in (
        {"address": READER_EMAIL, "reason": "", "ticket": ""},
        {"address": READER_EMAIL, "reason": "curious", "ticket": ""},
        {"address": READER_EMAIL, "reason": "DONOR_WROTE", "ticket": "of reader@example.org"},
        {"address": READER_EMAIL, "reason": "DONOR_WROTE", "ticket": "x" * 41},
        {"address": "", "reason": "DONOR_WROTE", "ticket": ""},
        {"address": "reader", "reason": "DONOR_WROTE", "ticket": ""},
        {"address": "a@b@c\x00", "reason": "DONOR_WROTE", "ticket": ""},
    ):
        answer = await sam.sends("/support", **fields)
        assert answer.status_code == 422, fields
        page = Page(answer.text)
        assert page.problems == []
        assert len(page.alerts) == 1, fields
    assert await sam.audit_actions() == before


async def test_a_case_closes_and_is_its_openers_alone(newsroom: Newsroom, sam: Colleague) -> None:
    gift = await gives(newsroom)
    case = await opens_case(sam)
    async with open_colleague_browser(newsroom, "Tea", Role.SUPPORT) as tea:
        await tea.opens_link()
        for address in (case, f"{case}/erase", "/support/" + "0" * 32, "/support/%00"):
            await tea.opens(address, status=404)
        for change in ("link", f"{gift.id}/stop", f"{gift.id}/pause", "erase"):
            assert (await tea.sends(f"{case}/{change}")).status_code == 404
    newsroom.clock.advance(timedelta(minutes=14))
    await sam.opens(case)
    newsroom.clock.advance(timedelta(minutes=14))
    await sam.opens(case)
    newsroom.clock.advance(timedelta(minutes=2))
    await sam.opens(case, status=404)
    assert (await sam.sends(f"{case}/{gift.id}/stop")).status_code == 404
    assert await newsroom.rows("SELECT status FROM subscriptions") == [("active",)]


async def test_a_case_leads_to_no_other_donors_subscription(
    newsroom: Newsroom, sam: Colleague
) -> None:
    await gives(newsroom)
    other = await gives(newsroom, OTHER_EMAIL, 900)
    case = await opens_case(sam)
    asked = len(newsroom.sandbox.requests)
    for id_ in (other.id, "0" * 32, "x", "%00"):
        for change in ("stop", "skip", "pause", "resume"):
            answer = await sam.sends(f"{case}/{id_}/{change}", months="1")
            assert answer.status_code == 404, (id_, change)
    assert len(newsroom.sandbox.requests) == asked


async def test_support_skips_pauses_resumes_and_stops(newsroom: Newsroom, sam: Colleague) -> None:
    gift = await gives(newsroom)
    case = await opens_case(sam)
    page = await presses(sam, case, "skip")
    assert "Your next payment will be skipped" in page.text
    assert "Next payment skipped, by our staff" in page.text
    page = await presses(sam, case, "resume")
    assert "The contribution goes on" in page.text
    page = await presses(sam, case, "pause", months="3")
    assert "Paused, by our staff" in page.text
    page = await presses(sam, case, "resume")
    wrong = await sam.sends(f"{case}/{gift.id}/pause", months="99")
    assert wrong.status_code == 422
    assert "Nothing was changed" in Page(wrong.text).text
    page = await presses(sam, case, "stop")
    assert "The contribution is stopped" in page.text
    assert (await sam.sends(f"{case}/{gift.id}/stop")).status_code == 303  # twice is once
    assert (await sam.sends(f"{case}/{gift.id}/skip")).status_code == 409
    await newsroom.runs_until_idle()
    assert await newsroom.rows("SELECT status FROM subscriptions") == [("canceled",)]
    requests = [
        (action, object_id)
        for action, object_id, _ in await sam.audit_actions()
        if str(action).endswith("_requested")
    ]
    assert requests == [
        (f"{change}_requested", gift.id)
        for change in ("skip", "resume", "pause", "resume", "pause", "cancellation",
                       "cancellation", "skip")
    ]  # fmt: skip
    failed = [one for one in await sam.audit_actions() if one[0] == "request_failed"]
    assert failed == [
        ("request_failed", gift.id, f"{change}_requested") for change in ("pause", "skip")
    ]


async def test_a_button_pressed_twice_is_pressed_once(newsroom: Newsroom, sam: Colleague) -> None:
    gift = await gives(newsroom)
    case = await opens_case(sam)
    page = await sam.opens(case)
    form = page.form(f"{case}/{gift.id}/skip")
    for _ in range(2):
        assert (await sam.sends(form.action, **form.submission())).status_code == 303
    assert await newsroom.rows("SELECT kind, actor FROM subscription_changes") == [
        ("skipped", "staff")
    ]


async def test_a_sign_in_mail_goes_to_the_donor_and_nobody_sees_to_whom(
    newsroom: Newsroom, sam: Colleague
) -> None:
    await gives(newsroom)
    case = await opens_case(sam)
    page = await presses(sam, case, "link")
    assert "on its way" in page.text
    assert READER_EMAIL not in page.html
    await newsroom.runs_due_jobs()
    mail = newsroom.mails()[-1]
    assert mail.to == [READER_EMAIL]
    async with open_donor_browser(newsroom) as donor:
        link = link_in(mail, "/manage/enter/")
        asked = await donor.opens_and_submits(link)  # another browser than any that asked
        assert "code" in asked.text
        entered = await donor.submits(Page(asked.text), f"{link}/code", code=code_in(mail))
        assert "$5.00" in (await donor.follows_redirect(entered)).text
    for _ in range(4):
        await presses(sam, case, "link")
    await newsroom.runs_due_jobs()
    assert len([one for one in newsroom.mails() if one.subject == mail.subject]) == 3


async def test_erasing_stops_and_forgets_after_a_fresh_proof(
    newsroom: Newsroom, sam: Colleague
) -> None:
    gift = await gives(newsroom)
    case = await opens_case(sam)
    newsroom.clock.advance(timedelta(minutes=6))
    answer = await sam.sends(f"{case}/erase")
    assert answer.headers["location"].startswith("/staff/confirm?back=%2Fsupport%2F")
    assert await newsroom.count("donors") == 1
    await sam.opens_link(await sam.sign_in_link())
    page = await sam.opens(f"{case}/erase")
    assert "$5.00 every month is stopped" in page.text
    done = await sam.sends(f"{case}/erase")
    assert "The donor is erased" in Page(done.text).text
    await newsroom.runs_until_idle()
    assert await newsroom.count("donors") == 0
    assert await newsroom.count("support_cases") == 0
    assert await newsroom.rows("SELECT status FROM subscriptions") == [("canceled",)]
    await sam.opens(case, status=404)
    ((donor_id,),) = await newsroom.rows(
        "SELECT object_id FROM audit_entries WHERE action = 'erasure_requested'"
    )
    assert donor_id != gift.id
    again = await sam.sends("/support", address=READER_EMAIL, reason="DONOR_WROTE", ticket="")
    assert "No gifts with this" in Page(again.text).text


async def test_nobody_looks_at_more_than_twenty_donors_in_an_hour(
    newsroom: Newsroom, sam: Colleague
) -> None:
    await gives(newsroom)
    for number in range(support_cases.MAX_SEARCHES_PER_HOUR):
        answer = await sam.sends(
            "/support",
            address=READER_EMAIL if number % 2 else OTHER_EMAIL,
            reason="DONOR_WROTE",
            ticket="",
        )
        assert answer.status_code in (200, 303)
    refused = await sam.sends("/support", address=READER_EMAIL, reason="DONOR_WROTE", ticket="")
    assert refused.status_code == 429
    assert "Administrators see an alert" in Page(refused.text).text
    async with newsroom.ctx.sessions() as session:
        assert [one.kind for one in await alerts.list_open(session)] == [
            AlertKind.DONOR_VIEW_LIMIT_REACHED
        ]
    async with open_colleague_browser(newsroom, "Tea", Role.SUPPORT) as tea:
        await tea.opens_link()
        await opens_case(tea)
    newsroom.clock.advance(timedelta(minutes=61))
    await sam.opens_link()
    await opens_case(sam)
