"""Refunds: whole and in part, requested here or made at Stripe, and what can go wrong with them."""

import asyncio
from datetime import timedelta

import pytest

from payments.core.errors import IdempotencyKeyReused, InvalidField, NotFound, StripeUnavailable
from payments.settlement import refund_requests, refunds
from payments.settlement.refund_requests import RefundNotPossible, RefundTooMuch
from payments.settlement.refunds import Refund, RefundReason, RefundStatus
from tests.support.newsroom import Newsroom
from tests.support.past import has_given

pytestmark = pytest.mark.anyio

DEFAULT_REASON = RefundReason.REQUESTED_BY_CUSTOMER


async def charges(room: Newsroom) -> list[str]:
    """The payments that succeeded, oldest first."""
    rows = await room.rows(
        "SELECT stripe_charge_id FROM charges WHERE status = 'succeeded' ORDER BY charged_at, 1"
    )
    return [str(row[0]) for row in rows]


async def paid(room: Newsroom, amount: int = 2500, card: str = "4242424242424242") -> str:
    """A gift once, with a card. Gives its charge."""
    before = set(await charges(room))
    asked = await room.requests_contribution(amount)
    await room.pays(asked.json()["checkout_url"], card)
    await room.runs_until_idle()
    [charge] = set(await charges(room)) - before
    return charge


async def ask(
    room: Newsroom, charge: str, amount: int | None = None, intent: str = "form-1"
) -> Refund:
    return await refund_requests.request(
        room.ctx,
        charge,
        amount=amount,
        reason=DEFAULT_REASON,
        staff_id=None,
        idempotency_key=intent,
    )


async def booked(room: Newsroom) -> int:
    """What the ledger says was refunded."""
    [[given]] = await room.rows(
        "SELECT CAST(coalesce(sum(CASE WHEN debit = 'refunds' THEN amount ELSE -amount END), 0)"
        " AS bigint) FROM ledger_entries WHERE 'refunds' IN (debit, credit)"
    )
    assert isinstance(given, int)
    return given


async def left(room: Newsroom, charge: str) -> int:
    async with room.ctx.sessions() as session:
        return (await refunds.refundable_amount(session, charge)).amount


async def at_stripe(room: Newsroom, charge: str) -> list[int]:
    page = await room.stripe_owner.v1.refunds.list_async({"charge": charge, "limit": 100})
    return [refund.amount for refund in page.data]


async def test_a_whole_payment_is_given_back_and_booked_once(newsroom: Newsroom) -> None:
    charge = await paid(newsroom)
    refund = await ask(newsroom, charge)
    assert (refund.status, refund.amount) == (RefundStatus.SUCCEEDED, 2500)
    await newsroom.runs_until_idle()
    assert await booked(newsroom) == 2500
    assert await left(newsroom, charge) == 0
    assert await newsroom.count("refunds") == 1
    with pytest.raises(RefundNotPossible, match=r"in full before.*Nothing was refunded"):
        await ask(newsroom, charge, intent="form-2")


async def test_parts_that_are_equal_are_several_refunds(newsroom: Newsroom) -> None:
    charge = await paid(newsroom)
    for n in range(3):
        await ask(newsroom, charge, 500, intent=f"form-{n}")
    await newsroom.runs_until_idle()
    assert await at_stripe(newsroom, charge) == [500, 500, 500]
    assert await booked(newsroom) == 1500
    assert await left(newsroom, charge) == 1000
    async with newsroom.ctx.sessions() as session:
        assert [r.amount for r in await refunds.list_for_charge(session, charge)] == [500, 500, 500]


async def test_more_than_is_left_is_refused_and_the_rest_is_named(newsroom: Newsroom) -> None:
    charge = await paid(newsroom)
    await ask(newsroom, charge, 2000)
    with pytest.raises(RefundTooMuch) as refused:
        await ask(newsroom, charge, 501, intent="form-2")
    assert refused.value.field == "amount"
    assert "$5.00" in refused.value.detail
    assert "Nothing was refunded" in refused.value.detail
    assert await at_stripe(newsroom, charge) == [2000]


@pytest.mark.parametrize("amount", [0, -1])
async def test_less_than_nothing_is_refused(newsroom: Newsroom, amount: int) -> None:
    charge = await paid(newsroom)
    with pytest.raises(InvalidField, match="Nothing was refunded"):
        await ask(newsroom, charge, amount)
    assert await newsroom.count("refunds") == 0


async def test_a_form_sent_twice_refunds_once(newsroom: Newsroom) -> None:
    charge = await paid(newsroom)
    both = await asyncio.gather(*(ask(newsroom, charge, 500) for _ in range(5)))
    assert len({refund.id for refund in both}) == 1
    assert await at_stripe(newsroom, charge) == [500]
    again = await ask(newsroom, charge, 500)
    assert again.status is RefundStatus.SUCCEEDED
    with pytest.raises(IdempotencyKeyReused):
        await ask(newsroom, charge, 700)


async def test_two_colleagues_at_once_cannot_give_back_more_than_was_paid(
    newsroom: Newsroom,
) -> None:
    charge = await paid(newsroom)
    done = await asyncio.gather(
        *(ask(newsroom, charge, 2000, intent=f"colleague-{n}") for n in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Refund) for one in done) == 1
    assert sum(isinstance(one, RefundTooMuch) for one in done) == 3
    assert await at_stripe(newsroom, charge) == [2000]


async def test_what_stripe_rejects_is_reported_and_leaves_the_amount_free(
    newsroom: Newsroom,
) -> None:
    charge = await paid(newsroom)
    await newsroom.stripe_owner.v1.refunds.create_async({"charge": charge, "amount": 2400})
    newsroom.sandbox.take_deliveries()  # and no webhook arrives
    with pytest.raises(RefundNotPossible, match="Nothing was refunded"):
        await ask(newsroom, charge, 500)
    assert await newsroom.rows("SELECT status FROM refunds") == [("rejected",)]
    assert await left(newsroom, charge) == 2500
    await newsroom.advances_time(timedelta(hours=1))
    await newsroom.runs_sweeps()
    assert await left(newsroom, charge) == 100


async def test_an_answer_that_was_lost_is_asked_for_again_and_refunds_once(
    newsroom: Newsroom,
) -> None:
    charge = await paid(newsroom)
    newsroom.sandbox.faults.add("POST", "/v1/refunds", "drop_after", 3)
    with pytest.raises(StripeUnavailable):
        await ask(newsroom, charge, 500)
    assert await newsroom.rows("SELECT status FROM refunds") == [("requested",)]
    assert await left(newsroom, charge) == 2000
    # Its own request may still be under way.
    assert await refund_requests.resume_requested(newsroom.ctx) == 0
    await newsroom.advances_time(timedelta(minutes=2))
    assert await refund_requests.resume_requested(newsroom.ctx) == 1
    assert await newsroom.rows("SELECT status FROM refunds") == [("succeeded",)]
    assert await at_stripe(newsroom, charge) == [500]


@pytest.mark.parametrize(
    ("kind", "status"), [("drop_before", "rejected"), ("drop_after", "succeeded")]
)
async def test_after_a_day_it_is_looked_for_and_never_asked_with_a_key_that_is_forgotten(
    newsroom: Newsroom, kind: str, status: str
) -> None:
    charge = await paid(newsroom)
    newsroom.sandbox.faults.add("POST", "/v1/refunds", kind, 3)
    with pytest.raises(StripeUnavailable):
        await ask(newsroom, charge, 500)
    newsroom.sandbox.take_deliveries()
    await newsroom.advances_time(timedelta(hours=25))
    await refund_requests.resume_requested(newsroom.ctx)
    assert await newsroom.rows("SELECT status FROM refunds") == [(status,)]
    opened = await newsroom.rows("SELECT kind FROM alerts WHERE kind = 'refund_failed'")
    assert len(opened) == (status == "rejected")


async def test_a_refund_that_takes_a_day_is_pending_until_then(newsroom: Newsroom) -> None:
    charge = await paid(newsroom, card="4000000000007726")
    assert (await ask(newsroom, charge)).status is RefundStatus.PENDING
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=1, minutes=1))
    newsroom.sandbox.take_deliveries()  # lost
    await newsroom.runs_sweeps()
    assert await newsroom.rows("SELECT status FROM refunds") == [("succeeded",)]


async def test_a_refund_that_fails_days_later_is_money_of_ours_again(newsroom: Newsroom) -> None:
    charge = await paid(newsroom, card="4000000000005126")
    refund = await ask(newsroom, charge)
    await newsroom.runs_until_idle()
    assert await booked(newsroom) == 2500
    await newsroom.advances_time(timedelta(days=2, minutes=1))
    await newsroom.runs_until_idle()
    assert await booked(newsroom) == 0
    assert await newsroom.rows("SELECT status, failure_reason FROM refunds") == [
        ("failed", "expired_or_canceled_card")
    ]
    assert await left(newsroom, charge) == 2500
    assert await newsroom.rows("SELECT kind, object_id FROM alerts WHERE closed_at IS NULL") == [
        ("refund_failed", refund.stripe_refund_id)
    ]


async def test_a_renewal_is_refunded_as_any_payment(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 500, "monthly")
    await newsroom.advances_time(timedelta(days=32))
    await newsroom.runs_until_idle()
    first, renewal = await charges(newsroom)
    await ask(newsroom, renewal, 200)
    await newsroom.runs_until_idle()
    assert await left(newsroom, first) == 500
    assert await left(newsroom, renewal) == 300
    assert await newsroom.rows(
        "SELECT contribution_id, amount FROM ledger_entries WHERE debit = 'refunds'"
    ) == [(gift.id, 200)]
    assert await newsroom.rows("SELECT stripe_charge_id, amount FROM refunds") == [(renewal, 200)]


async def test_what_is_refunded_at_stripe_is_known_with_or_without_a_webhook(
    newsroom: Newsroom,
) -> None:
    charge = await paid(newsroom)
    newsroom.sandbox.dashboard_request("POST", "/v1/refunds", {"charge": charge, "amount": 300})
    await newsroom.runs_until_idle()
    newsroom.sandbox.dashboard_request("POST", "/v1/refunds", {"charge": charge, "amount": 300})
    newsroom.sandbox.take_deliveries()
    await newsroom.runs_sweeps()
    assert (
        await newsroom.rows("SELECT amount, status, requested_by FROM refunds")
        == [(300, "succeeded", None)] * 2
    )
    assert await left(newsroom, charge) == 1900


async def test_a_copied_id_of_ours_ties_no_other_refund(newsroom: Newsroom) -> None:
    charge = await paid(newsroom)
    ours = await ask(newsroom, charge, 500)
    params = {"charge": charge, "amount": 500, "metadata": {"refund_id": ours.id}}
    newsroom.sandbox.dashboard_request("POST", "/v1/refunds", params)
    await newsroom.runs_until_idle()
    assert await newsroom.count("refunds") == 2
    assert await left(newsroom, charge) == 1500


async def test_an_unknown_or_failed_payment_cannot_be_refunded(newsroom: Newsroom) -> None:
    with pytest.raises(NotFound):
        await ask(newsroom, "ch_of_nobody")
    asked = await newsroom.requests_contribution()
    await newsroom.pays(asked.json()["checkout_url"], "4000000000000002")
    await newsroom.runs_until_idle()
    [[failed]] = await newsroom.rows("SELECT stripe_charge_id FROM charges")
    with pytest.raises(RefundNotPossible, match="did not succeed"):
        await ask(newsroom, str(failed))


async def test_what_a_bank_has_taken_back_is_not_given_back_again(newsroom: Newsroom) -> None:
    charge = await paid(newsroom)
    dispute = newsroom.sandbox.dispute(charge)
    await newsroom.runs_until_idle()
    with pytest.raises(RefundNotPossible, match="disputed"):
        await ask(newsroom, charge)
    newsroom.sandbox.decide_dispute(dispute, won=False)
    await newsroom.runs_until_idle()
    with pytest.raises(RefundNotPossible, match="disputed"):
        await ask(newsroom, charge)
    assert await at_stripe(newsroom, charge) == []


async def test_a_payment_a_bank_only_asks_about_can_be_refunded(newsroom: Newsroom) -> None:
    charge = await paid(newsroom, card="4000000000001976")
    await newsroom.runs_until_idle()
    assert await newsroom.rows("SELECT status FROM disputes") == [("warning_needs_response",)]
    assert (await ask(newsroom, charge)).status is RefundStatus.SUCCEEDED


async def test_a_refund_at_another_rate_is_booked_as_it_moved(newsroom: Newsroom) -> None:
    asked = await newsroom.requests_contribution(2000, currency="cad")
    await newsroom.pays(asked.json()["checkout_url"])
    await newsroom.runs_until_idle()
    [charge] = await charges(newsroom)
    newsroom.sandbox.set_rate("cad", "0.80")
    await ask(newsroom, charge)
    await newsroom.runs_until_idle()
    assert await booked(newsroom) == 1600  # it came as 1460
    assert await newsroom.rows("SELECT amount, currency FROM refunds") == [(2000, "cad")]
