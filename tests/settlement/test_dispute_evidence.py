"""Disputes are answered from here: staged at Stripe, sent once, accepted, and never with a name."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from payments.accounting.reports.dispute_rates import MASTERCARD_RULE, VISA_RULE, DisputeMonth
from payments.staff.accounts import Role
from payments.web.finance.tables import EMPTY_CELL
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.mail import execute
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.safety_policy import protected

pytestmark = pytest.mark.anyio
TEXT = "A gift to a newsroom, given on 2026-11-22 and confirmed on 2026-11-23."


@pytest.fixture
async def ada(database: str, tmp_path: Path) -> AsyncIterator[Colleague]:
    """A colleague of finance in a newsroom with a donor safety policy."""
    async with (
        protected(database, tmp_path) as room,
        open_colleague_browser(room, "Ada", Role.FINANCE) as ada,
    ):
        await ada.opens_link()
        yield ada


async def disputed(room: Newsroom, amount: int, *, inquiry: bool = False) -> str:
    asked = await room.requests_contribution(amount, declaration=True)
    await room.pays(asked.json()["checkout_url"])
    await room.runs_until_idle()
    ((charge,),) = await room.rows(
        "SELECT stripe_charge_id FROM charges WHERE amount = :amount", amount=amount
    )
    dispute: str = room.sandbox.dispute(str(charge), inquiry=inquiry)
    await room.runs_until_idle()
    return dispute


def at_stripe(room: Newsroom, dispute: str) -> dict[str, Any]:
    found: dict[str, Any] = room.sandbox.dashboard_request("GET", f"/v1/disputes/{dispute}")
    return found


async def answers(ada: Colleague, page: Page, act: str, **fields: str) -> httpx.Response:
    (form,) = (one for one in page.forms if "product_description" in one.submission())
    typed = {"product_description": TEXT, **fields}
    ticked = {"names_nobody": "yes"} if typed.pop("names_nobody", "") else {}
    return await ada.sends(form.action, **form.submission(**typed), **ticked, act=act)


async def test_evidence_is_staged_at_stripe_then_sent_once_and_names_nobody(ada: Colleague) -> None:
    room = ada.room
    dispute = await disputed(room, 2500)
    address = f"/finance/disputes/{dispute}"
    listed = await ada.opens("/finance/disputes")
    assert "Waiting for our answer" in listed.text
    assert "14 days left" in listed.text
    first, second = await ada.opens(address), await ada.opens(address)
    assert "The donor's bank reads all of it" in first.text
    for typed in ("ask reader@example.org", "from 192.0.2.7", "from 2001:db8::1",
                  "card 4242 4242 4242 4242"):  # fmt: skip
        refused = await answers(ada, first, "staged", product_description=typed)
        assert refused.status_code == 422
        assert "holds no e-mail address" in refused.text
        assert typed in refused.text  # what was typed is still there
    assert not at_stripe(room, dispute)["evidence_details"]["has_evidence"]
    staged = await answers(ada, first, "staged", product_description=TEXT)
    assert staged.status_code == 303, Page(staged.text).text
    assert at_stripe(room, dispute)["evidence"]["product_description"] == TEXT
    assert at_stripe(room, dispute)["status"] == "needs_response"
    assert "The bank has not seen it" in (await ada.opens(f"{address}?done=staged")).text
    # The other tab shows what was before.
    stale = await answers(ada, second, "sent", product_description="Other", names_nobody="yes")
    assert stale.status_code == 409
    assert "changed meanwhile" in stale.text
    assert "Other" in stale.text
    page = await ada.opens(address)
    unsure = await answers(ada, page, "sent")
    assert unsure.status_code == 422
    assert "Confirm that the evidence names nobody" in unsure.text
    room.sandbox.dashboard_request(
        "POST", f"/v1/disputes/{dispute}",
        {"evidence": {"customer_name": "A Reader"}, "submit": "false"},
    )  # fmt: skip
    page = await ada.opens(address)
    assert "A Reader" not in page.text
    named = await answers(ada, page, "sent", names_nobody="yes")
    assert "more is staged than this page shows" in named.text
    room.sandbox.dashboard_request(
        "POST", f"/v1/disputes/{dispute}", {"evidence": {"customer_name": ""}, "submit": "false"}
    )
    page = await ada.opens(address)
    sent = await answers(ada, page, "sent", names_nobody="yes")
    assert sent.status_code == 303, Page(sent.text).text
    again = await answers(ada, page, "sent", names_nobody="yes")  # the button pressed twice
    assert again.status_code == 409
    now = at_stripe(room, dispute)
    assert (now["status"], now["evidence_details"]["submission_count"]) == ("under_review", 1)
    assert await room.rows("SELECT status, evidence_submitted FROM disputes") == [
        ("under_review", True)
    ]
    assert "It cannot be answered from here" in (await ada.opens(address)).text
    audit = [(action, reason) for action, _, reason in await ada.audit_actions()][1:]
    assert audit == [
        ("evidence_staged", ""),
        ("dispute_answer_failed", "sent: evidence-refused"),
        ("dispute_answer_failed", "sent: evidence-refused"),
        ("evidence_sent", ""),
        ("dispute_answer_failed", "sent: evidence-refused"),
    ]


async def test_a_dispute_is_accepted_and_what_cannot_be_answered_is_refused_by_stripe_as_well(
    ada: Colleague,
) -> None:
    room = ada.room
    lost, inquiry = await disputed(room, 700), await disputed(room, 900, inquiry=True)
    late = await disputed(room, 1100)
    page = await ada.opens(f"/finance/disputes/{lost}")
    (accept,) = (one for one in page.forms if "sure" in {field.name for field in one.fields})
    fields = {**accept.submission(), "act": "accepted"}
    fields.pop("sure", None)
    assert (await ada.sends(accept.action, **fields)).status_code == 422
    assert at_stripe(room, lost)["status"] == "needs_response"
    done = await ada.sends(accept.action, **fields, sure="yes")
    assert done.status_code == 303, Page(done.text).text
    assert at_stripe(room, lost)["status"] == "lost"
    twice = await ada.sends(accept.action, **fields, sure="yes")
    assert twice.status_code == 409
    assert "Accept it" not in (await ada.opens(f"/finance/disputes/{inquiry}")).text
    refused = await ada.sends(
        f"/finance/disputes/{inquiry}", act="accepted", sure="yes", seen=fields["seen"]
    )
    assert refused.status_code == 409
    # An inquiry can be answered; a payment in quarantine cannot.
    sent = await answers(
        ada, await ada.opens(f"/finance/disputes/{inquiry}"), "sent",
        product_description=TEXT, names_nobody="yes",
    )  # fmt: skip
    assert sent.status_code == 303, Page(sent.text).text
    assert at_stripe(room, inquiry)["status"] == "warning_under_review"
    page = await ada.opens(f"/finance/disputes/{late}")
    await execute(
        room,
        "INSERT INTO quarantines (stripe_charge_id, flagged_at, processed_at)"
        " SELECT stripe_charge_id, now(), now() FROM charges WHERE amount = 1100",
    )
    shown = (await ada.opens(f"/finance/disputes/{late}")).text
    assert "This payment came from a protected country" in shown
    refused = await answers(ada, page, "sent", product_description=TEXT, names_nobody="yes")
    assert refused.status_code == 409
    assert "protected country" in refused.text
    assert at_stripe(room, late)["evidence_details"]["submission_count"] == 0
    await execute(room, "DELETE FROM quarantines")
    rates = await ada.opens("/finance/disputes")
    assert ["November 2026", "3", "2", "1", "0", "66.67 %", EMPTY_CELL] in rates.cells
    for missing in ("dp_nobody", "x"):
        assert (await ada.web.get(f"/finance/disputes/{missing}")).status_code == 404
    await room.advances_time(timedelta(days=15))  # past its day
    await ada.opens_link(await ada.sign_in_link())
    page = await ada.opens(f"/finance/disputes/{late}")
    assert "its day has passed" in page.text


def test_a_threshold_is_reached_by_count_and_rate_together() -> None:
    def month(payments: int, before: int, disputes: int, warnings: int) -> DisputeMonth:
        return DisputeMonth(date(2026, 11, 1), payments, before, disputes, 5, warnings)

    assert month(100_000, 1, 1_000, 500).reaches(VISA_RULE)
    assert not month(100_001, 1, 1_000, 500).reaches(VISA_RULE)
    assert not month(1_000, 1, 1_000, 499).reaches(VISA_RULE)
    assert month(1, 6_666, 100, 0).reaches(MASTERCARD_RULE)
    assert not month(1, 6_667, 100, 0).reaches(MASTERCARD_RULE)
    assert not month(1, 10, 99, 0).reaches(MASTERCARD_RULE)
