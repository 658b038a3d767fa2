"""A donor cancels a contribution; an end that was set elsewhere is shown and can be taken back."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from payments.giving import cancellations, subscription_sync
from tests.support.donor import (
    SAME_ORIGIN_HEADERS,
    Donor,
    account_page,
    months_pass,
    subscription_id_of,
    successful_charges,
    well_formed_page,
)

pytestmark = pytest.mark.anyio

CHANGES: dict[str, dict[str, str]] = {
    "amount": {"amount": "9"},
    "frequency": {},
    "skip": {},
    "pause": {"months": "3"},
}


async def test_a_contribution_is_stopped_by_two_clicks_and_it_is_acknowledged(
    donor: Donor,
) -> None:
    gift = await donor.gives(500)
    page = await donor.signs_in()
    page = await donor.opens(account_page(gift))
    form_page = await donor.opens(page.links["Cancel this contribution"])
    assert [form.method for form in form_page.forms] == [
        "post",
        "post",
    ]  # this one, and signing out
    page = await donor.follows_redirect(
        await donor.submits(form_page, f"{account_page(gift)}/stop")
    )
    assert "This contribution has been cancelled" in page.text
    assert "Since 22 November 2026, 12:00 UTC. Nothing more will be charged." in page.text
    assert "Cancel this contribution" not in page.links
    again = page.links["Start again with $5.00 every month"]
    form = (await donor.opens(again)).form("/donate").submission()
    assert (form["frequency"], form["amount_monthly"]) == ("monthly", "500")
    await donor.room.runs_until_idle()
    assert sum("cancelled on" in mail.part().casefold() for mail in donor.room.mails()[1:]) == 1
    await months_pass(donor.room, 3)
    assert await successful_charges(donor.room) == [("2026-11-22", 500)]


async def test_stopping_offers_less_but_not_in_the_way(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/stop")
    button = form_page.text.index("Cancel my contribution")
    for instead in ("skip the next payment", "pause for a while", "give a different amount"):
        assert form_page.text.index(instead) > button
        await donor.opens(form_page.links[instead])


STEPS = ("period", "charge", "stop", "webhooks")


ORDERS = [
    order
    for order in itertools.permutations(STEPS)
    if order.index("period") < order.index("charge")
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
async def test_a_stop_and_a_renewal_in_the_same_moment(
    donor: Donor, order: tuple[str, ...]
) -> None:
    """The period begins, Stripe charges for it, the donor cancels, the webhooks arrive."""
    gift = await donor.gives(500)
    await donor.room.advances_time(timedelta(days=29, hours=23, minutes=59, seconds=59))
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/stop")

    async def stop() -> None:
        page = await donor.follows_redirect(
            await donor.submits(form_page, f"{account_page(gift)}/stop")
        )
        assert "Nothing more will be charged" in page.text

    async def period() -> None:
        await donor.room.advances_time(timedelta(seconds=2))

    async def charge() -> None:
        await donor.room.advances_time(timedelta(minutes=70))
        await donor.room.sandbox.advance_to_captures()
        await donor.signs_in()

    steps = {
        "period": period,
        "charge": charge,
        "stop": stop,
        "webhooks": donor.room.runs_until_idle,
    }
    for step in order:
        await steps[step]()
    await donor.room.runs_until_idle()
    was_charged = order.index("charge") < order.index("stop")
    assert len(await successful_charges(donor.room)) == 1 + was_charged
    assert await donor.room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    assert ("One last payment of $5.00" in page.text) is was_charged
    await months_pass(donor.room, 2)
    assert len(await successful_charges(donor.room)) == 1 + was_charged
    assert await donor.room.rows("SELECT kind FROM alerts") == []


# --- Stripe is away -------------------------------------------------------------------------------


async def test_a_cancellation_that_does_not_reach_stripe_is_stored_and_performed(
    donor: Donor,
) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    form_page = await donor.opens(f"{account_page(gift)}/stop")
    donor.room.sandbox.faults.add("DELETE", "/v1/subscriptions/sub_", "status_500", remaining=9)
    page = await donor.follows_redirect(
        await donor.submits(form_page, f"{account_page(gift)}/stop")
    )
    assert "We have received your cancellation" in page.text
    assert "one more payment may still be made" in page.text
    assert "Nothing more will be charged" not in page.text
    assert "Change the amount" not in page.links
    assert "Cancellation in progress" in (await donor.opens("/manage/contributions")).text
    again = await donor.follows_redirect(
        await donor.submits(form_page, f"{account_page(gift)}/stop")
    )
    assert "We have received your cancellation" in again.text
    for change in ("amount", "pause", "keep"):
        answer = await donor.web.post(
            f"{account_page(gift)}/{change}", headers=SAME_ORIGIN_HEADERS,
            data={"amount": "9", "months": "1", "shown": "2026-12-22"},
        )  # fmt: skip
        assert answer.status_code == 409, change
    await donor.room.runs_due_jobs()
    assert await donor.room.rows("SELECT status FROM subscriptions") == [("active",)]
    donor.room.sandbox.faults.clear()
    donor.room.clock.advance(timedelta(days=2))  # and Stripe was away for long
    assert await cancellations.resume(donor.room.ctx) == 1
    await donor.room.runs_due_jobs()
    await donor.room.runs_until_idle()
    assert await cancellations.resume(donor.room.ctx) == 0
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    assert "This contribution has been cancelled" in page.text
    assert page.text.count("Cancelled by you") == 1
    kinds = await donor.room.rows("SELECT kind FROM outbox_mails WHERE kind <> 'sign_in'")
    assert kinds == [("cancelled",)]
    await months_pass(donor.room, 2)
    assert await successful_charges(donor.room) == [("2026-11-22", 500)]


async def test_a_stop_whose_answer_is_lost_is_one_stop(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    donor.room.sandbox.faults.add("DELETE", "/v1/subscriptions/", "drop_after", remaining=3)
    page = await donor.follows_redirect(await donor.opens_and_submits(f"{account_page(gift)}/stop"))
    assert "cancel" in page.text
    await donor.room.runs_due_jobs()
    await donor.room.runs_until_idle()
    page = await donor.opens(account_page(gift))
    assert page.text.count("Cancelled by you") == 1
    assert await donor.room.rows("SELECT count(*) FROM outbox_mails WHERE kind = 'cancelled'") == [
        (1,)
    ]


async def test_a_customer_who_was_deleted_at_stripe_leaves_a_subscription_that_ended(
    donor: Donor,
) -> None:
    room = donor.room
    await donor.gives(500)
    id_ = await subscription_id_of(donor.room)
    ((customer,),) = await room.rows("SELECT stripe_customer_id FROM subscriptions")
    await room.stripe_owner.v1.subscriptions.update_async(id_, {"default_payment_method": ""})
    await room.stripe_owner.v1.customers.delete_async(str(customer))
    await room.runs_until_idle()
    await subscription_sync.sync(room.ctx, id_)
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    assert await room.rows("SELECT kind FROM alerts") == []


# --- an end set in advance ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel_at_period_end", "cancel_at"])
async def test_an_end_set_in_the_dashboard_is_shown_and_can_be_taken_back(
    donor: Donor, how: str
) -> None:
    gift = await donor.gives(500)
    id_, stripe = await subscription_id_of(donor.room), donor.room.stripe_owner.v1
    period_end = 1797940800  # 22 December 2026, 12:00 UTC
    value = {"cancel_at_period_end": True} if how == "cancel_at_period_end" else {
        "cancel_at": period_end, "proration_behavior": "none"
    }  # fmt: skip
    await stripe.subscriptions.update_async(id_, value)  # type: ignore[arg-type]  # either
    await donor.room.runs_until_idle()
    page = await donor.signs_in()
    assert "Ends on 22 December 2026" in page.text
    assert "next payment on" not in page.text
    page = await donor.opens(account_page(gift))
    assert "This contribution ends on 22 December 2026" in page.text
    assert "Next payment None scheduled" in page.text
    assert "Set to end as reported by our payment provider" in page.text
    assert "Skip the next payment" not in page.links
    form_page = await donor.opens(page.links["Keep giving"])
    assert "Next payment $5.00 , 22 December 2026" in form_page.text
    for _ in range(2):
        page = await donor.follows_redirect(
            await donor.submits(form_page, f"{account_page(gift)}/keep")
        )
    assert "Your contribution will continue" in page.text
    assert "Next payment 22 December 2026" in page.text
    assert page.text.count("Set to continue by you") == 1
    await months_pass(donor.room, 2)
    assert len(await successful_charges(donor.room)) == 3


async def test_an_end_that_is_not_taken_back_ends_it_and_nothing_more_is_charged(
    donor: Donor,
) -> None:
    gift = await donor.gives(500)
    id_ = await subscription_id_of(donor.room)
    await donor.signs_in()
    changes = {
        name: f"{account_page(gift)}/{name}" for name in ("amount", "frequency", "skip", "pause")
    }
    old_tabs = {name: await donor.opens(address) for name, address in changes.items()}
    await donor.room.stripe_owner.v1.subscriptions.update_async(id_, {"cancel_at_period_end": True})
    await donor.room.runs_until_idle()
    for name, address in changes.items():
        answer = await donor.submits(old_tabs[name], address, **CHANGES[name])
        assert answer.status_code == 422, name
        assert "set to end" in well_formed_page(answer).text
    assert "It is set to end on 22 December 2026" in (await donor.opens(changes["frequency"])).text
    await months_pass(donor.room, 2)
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    assert "This contribution has been cancelled" in page.text
    assert await successful_charges(donor.room) == [("2026-11-22", 500)]
    answer = await donor.web.post(f"{account_page(gift)}/keep", headers=SAME_ORIGIN_HEADERS)
    assert answer.status_code == 409
    kinds = await donor.room.rows(
        "SELECT kind FROM outbox_mails WHERE kind <> 'sign_in' ORDER BY 1"
    )
    assert kinds == [("cancelled",), ("end_scheduled",)]


async def test_the_donor_is_mailed_once_of_a_last_day_that_is_moved(donor: Donor) -> None:
    gift = await donor.gives(500)
    id_ = await subscription_id_of(donor.room)
    noon = int(datetime(2026, 12, 12, 12, tzinfo=UTC).timestamp())
    days = timedelta(days=180).total_seconds()
    for cancel_at in (noon, noon + 60, noon + int(days), noon + int(days) + 60):
        await donor.room.stripe_owner.v1.subscriptions.update_async(
            id_, {"cancel_at": cancel_at, "proration_behavior": "none"}
        )
        await donor.room.runs_until_idle()
    first, second = donor.room.mails()
    assert first.subject == "Your monthly payment is set to end"
    assert "ends on 12 December 2026" in first.part()
    assert second.subject == "The end date of your monthly payment has changed"
    assert "now ends on 10 June 2027" in second.part()
    assert "The next payment, $5.00, is due on 22 December 2026." in second.part()
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    assert page.text.count("End date changed as reported by our payment provider") == 1


async def test_what_is_set_to_end_can_be_stopped_at_once(donor: Donor) -> None:
    gift = await donor.gives(500)
    id_ = await subscription_id_of(donor.room)
    await donor.room.stripe_owner.v1.subscriptions.update_async(id_, {"cancel_at_period_end": True})
    await donor.room.runs_until_idle()
    await donor.signs_in()
    page = await donor.follows_redirect(await donor.opens_and_submits(f"{account_page(gift)}/stop"))
    assert "This contribution has been cancelled" in page.text
