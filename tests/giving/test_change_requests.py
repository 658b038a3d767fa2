"""A change that is asked of Stripe is looked for afterwards: what is shown is what came about."""

import asyncio
from datetime import timedelta

import pytest

from payments.giving import change_requests, subscription_changes, subscription_sync
from payments.giving.change_log import Actor
from tests.support.donor import (
    Donor,
    account_page,
    months_pass,
    subscription_id_of,
    successful_charges,
    well_formed_page,
)
from tests.support.newsroom import Newsroom
from tests.support.past import has_given

pytestmark = pytest.mark.anyio

PAUSED_IN_PORTAL = {
    "type": "subscription",
    "bill_for": {"unused_time_from": {"type": "none"}},
}
NOT_MADE = "accepted the change but did not make it. Nothing was changed or charged"
OPEN_ALERTS = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY id"


async def history(room: Newsroom) -> list[tuple[object, ...]]:
    """All that was done, as it was written: at one moment of a clock that stands, much is done."""
    return await room.rows(
        "SELECT kind, actor FROM subscription_changes WHERE done_at IS NOT NULL"
        " ORDER BY done_at, CAST(CAST(xmin AS text) AS bigint), kind DESC"
    )


def change_at_stripe(
    room: Newsroom, subscription_id: str, verb: str = "", **params: object
) -> None:
    """Change a subscription in Stripe's dashboard."""
    path = f"/v1/subscriptions/{subscription_id}{verb}"
    room.sandbox.dashboard_request("POST", path, dict(params))


# --- what Stripe confirms and does not make -------------------------------------------------------


async def test_a_change_that_stripe_confirms_and_does_not_make_is_shown_as_not_made(
    donor: Donor,
) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    await donor.signs_in()
    mails = len(room.mails())
    url = account_page(gift)
    changes = {"amount": {"amount": "9"}, "frequency": {}, "skip": {}, "pause": {"months": "2"}}
    for name, fields in changes.items():
        room.sandbox.faults.add("POST", f"/v1/subscriptions/{id_}", "without_effect")
        answer = await donor.opens_and_submits(f"{url}/{name}", **fields)
        assert answer.status_code == 502, name
        assert NOT_MADE in well_formed_page(answer).text, name
    assert await history(room) == []
    assert await room.rows(OPEN_ALERTS) == [("change_not_made", id_)]

    change_at_stripe(room, id_, pause_collection={"behavior": "void"})
    change_at_stripe(room, id_, cancel_at_period_end="true")
    await room.runs_until_idle()
    for name in ("resume", "keep"):
        room.sandbox.faults.add("POST", f"/v1/subscriptions/{id_}", "without_effect")
        answer = await donor.opens_and_submits(f"{url}/{name}")
        assert answer.status_code == 502, name
        assert NOT_MADE in well_formed_page(answer).text, name
    # The pause and the end were set at Stripe: nothing of it is put down to the donor.
    assert await history(room) == [("paused", "stripe"), ("end_scheduled", "stripe")]
    assert len(room.mails()) == mails + 2
    assert await room.rows(OPEN_ALERTS) == [("change_not_made", id_)]
    for name, fields in ({"resume": {}, "keep": {}} | changes).items():  # Stripe does make them
        answer = await donor.opens_and_submits(f"{url}/{name}", **fields)
        assert answer.status_code == 303, name
    assert await room.rows(OPEN_ALERTS) == []


async def test_a_cancellation_that_stripe_confirms_and_does_not_make_is_asked_again(
    donor: Donor,
) -> None:
    room, gift = donor.room, await donor.gives(500)
    await donor.signs_in()
    room.sandbox.faults.add("DELETE", "/v1/subscriptions/", "without_effect")
    page = await donor.follows_redirect(await donor.opens_and_submits(f"{account_page(gift)}/stop"))
    assert "We have received your cancellation" in page.text
    assert "Cancelled by you" not in page.text
    await room.runs_until_idle()
    assert "Cancelled by you" in (await donor.opens(account_page(gift))).text


async def test_what_stripe_did_not_make_is_not_the_cause_of_what_is_seen_later(
    donor: Donor,
) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/pause")
    room.sandbox.faults.add("POST", "/v1/subscriptions/", "without_effect")
    answer = await donor.submits(form_page, f"{account_page(gift)}/pause", months="2")
    assert answer.status_code == 502
    change_at_stripe(room, id_, pause_collection={"behavior": "void"})
    await room.runs_until_idle()
    assert await history(room) == [("paused", "stripe")]


async def test_an_answer_that_was_lost_is_not_the_cause_of_what_is_seen_hours_later(
    donor: Donor,
) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/pause")
    room.sandbox.faults.add("POST", "/v1/subscriptions/", "drop_before", remaining=3)
    answer = await donor.submits(form_page, f"{account_page(gift)}/pause", months="2")
    assert answer.status_code == 503
    await room.advances_time(timedelta(hours=1))
    await subscription_sync.sync(room.ctx, id_)
    change_at_stripe(room, id_, pause_collection={"behavior": "void"})
    await room.runs_until_idle()
    assert await history(room) == [("paused", "stripe")]
    change_at_stripe(room, id_, pause_collection="")
    await room.runs_until_idle()
    await donor.signs_in()
    await donor.submits(form_page, f"{account_page(gift)}/pause", months="2")  # the same form again
    assert (await history(room))[-1] == ("paused", "donor")


async def test_a_change_that_is_refused_after_its_first_half_says_so(donor: Donor) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    change_at_stripe(room, id_, pause_collection={"behavior": "void"})
    change_at_stripe(room, id_, "/pause", **PAUSED_IN_PORTAL)
    await room.runs_until_idle()
    await donor.signs_in()
    room.sandbox.faults.add("POST", f"/v1/subscriptions/{id_}/resume", "refused")
    answer = await donor.opens_and_submits(f"{account_page(gift)}/resume")
    assert answer.status_code == 502
    said = well_formed_page(answer).text
    assert "only part of the change" in said
    assert "Nothing was changed" not in said
    room.sandbox.faults.add("POST", f"/v1/subscriptions/{id_}/resume", "declined")
    answer = await donor.opens_and_submits(f"{account_page(gift)}/resume")
    assert answer.status_code == 502
    assert "Nothing was changed or charged" in well_formed_page(answer).text
    assert await room.rows("SELECT is_paused FROM subscriptions") == [(True,)]
    room.sandbox.faults.add("POST", f"/v1/subscriptions/{id_}", "declined")
    answer = await donor.opens_and_submits(f"{account_page(gift)}/amount", amount="9")
    assert answer.status_code == 502
    assert "did not accept the change" in well_formed_page(answer).text
    change_at_stripe(room, id_, "/resume")
    await room.runs_until_idle()
    assert ("resumed", "donor") not in await history(room)


async def test_a_refusal_of_what_is_true_already_is_no_failure(donor: Donor) -> None:
    room, _ = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    change_at_stripe(room, id_, "/pause", **PAUSED_IN_PORTAL)
    await room.runs_until_idle()
    room.sandbox.faults.add("POST", f"/v1/subscriptions/{id_}/resume", "hang_before")
    resuming = asyncio.create_task(subscription_changes.resume(room.ctx, id_, actor=Actor.STAFF))
    await room.sandbox.faults.wait_until_hanging()
    unbilled = {"billing_cycle_anchor": {"type": "unchanged"}, "proration_behavior": "none"}
    change_at_stripe(room, id_, "/resume", **unbilled)
    room.sandbox.faults.release()
    await resuming
    assert await room.rows("SELECT is_paused, status FROM subscriptions") == [(False, "active")]
    assert await room.rows(OPEN_ALERTS) == []


async def test_no_parameter_is_asked_for_that_nothing_looks_for(newsroom: Newsroom) -> None:
    await has_given(newsroom, 500, "monthly")
    fetched = await subscription_sync.fetch(newsroom.ctx, await subscription_id_of(newsroom))
    assert change_requests.has_come_about({"cancel_at": ""}, fetched)
    assert not change_requests.has_come_about({"cancel_at_period_end": True}, fetched)
    with pytest.raises(KeyError):
        change_requests.has_come_about({"description": "a coffee"}, fetched)


# --- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["portal", "collection", "both"])
async def test_a_pause_made_at_stripe_is_ended_here(donor: Donor, kind: str) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    if kind in ("collection", "both"):
        change_at_stripe(room, id_, pause_collection={"behavior": "void"})
    if kind in ("portal", "both"):
        change_at_stripe(room, id_, "/pause", **PAUSED_IN_PORTAL)
    await room.runs_until_idle()
    await donor.signs_in()
    url = f"{account_page(gift)}/resume"
    form, other_tab = [await donor.opens(url) for _ in range(2)]
    assert "Nothing is charged today" in form.text
    page = await donor.follows_redirect(await donor.submits(form, url))
    assert "Your contribution has resumed" in page.text
    assert "Next payment 22 December 2026" in page.text
    await donor.follows_redirect(await donor.submits(form, url))
    await donor.follows_redirect(await donor.submits(other_tab, url))
    await room.runs_until_idle()
    assert room.sandbox.account.store.objects[id_]["status"] == "active"
    assert (await history(room))[-1] == ("resumed", "donor")
    assert [kind for kind, _ in await history(room)].count("resumed") == 1
    assert await successful_charges(room) == [("2026-11-22", 500)]
    await months_pass(room, 1)
    assert await successful_charges(room) == [("2026-11-22", 500), ("2026-12-22", 500)]


async def test_a_pause_that_stripe_began_at_the_end_of_a_trial_is_ended_here(
    newsroom: Newsroom,
) -> None:
    at_stripe = newsroom.sandbox.dashboard_request
    customer = at_stripe("POST", "/v1/customers", {"email": "reader@example.org"})["id"]
    price = {
        "currency": "usd",
        "unit_amount": "700",
        "product": "reader_payments_monthly",
        "recurring": {"interval": "month"},
    }
    made = at_stripe(
        "POST",
        "/v1/subscriptions",
        {
            "customer": customer,
            "items": [{"price_data": price}],
            "trial_period_days": "7",
            "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
        },
    )
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=8))
    await newsroom.runs_until_idle()
    is_paused = "SELECT is_paused, status FROM subscriptions"
    assert await newsroom.rows(is_paused) == [(True, "paused")]
    for _ in range(2):
        await subscription_changes.resume(newsroom.ctx, made["id"], actor=Actor.STAFF)
    assert await newsroom.rows(is_paused) == [(False, "active")]


async def test_another_pause_of_what_stripe_has_paused_ends_when_the_donor_says(
    donor: Donor,
) -> None:
    room, gift = donor.room, await donor.gives(500)
    id_ = await subscription_id_of(room)
    change_at_stripe(room, id_, "/pause", **PAUSED_IN_PORTAL)
    await room.runs_until_idle()
    await donor.signs_in()
    page = await donor.follows_redirect(
        await donor.opens_and_submits(f"{account_page(gift)}/pause", months="2")
    )
    assert "Paused for now" in page.text
    await months_pass(room, 5)
    assert len(await successful_charges(room)) > 1
