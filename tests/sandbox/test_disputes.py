"""Disputes and inquiries: which funds move when, and until when evidence is taken."""

from datetime import UTC, datetime, timedelta

import pytest
import stripe

from payments.sandbox.errors import ApiError
from tests.support.shop import START, Shop, identity_holds, paid, refunded

pytestmark = pytest.mark.anyio

FRAUDULENT = "4000000000000259"
NOT_RECEIVED = "4000000000002685"
ASKED_ABOUT = "4000000000001976"
FEE = 1500
DUE = datetime(2026, 11, 17, 23, 59, 59, tzinfo=UTC)


async def disputed(shop: Shop, card: str = FRAUDULENT) -> stripe.Dispute:
    """A dispute of a charge of ten dollars, as soon as it was captured."""
    await paid(shop, card=card)
    return (await shop.client.v1.disputes.list_async({"limit": 1})).data[0]


async def now(shop: Shop, dispute: stripe.Dispute) -> stripe.Dispute:
    return await shop.client.v1.disputes.retrieve_async(dispute.id)


async def answers(shop: Shop, dispute: stripe.Dispute, text: str) -> stripe.Dispute:
    return await shop.client.v1.disputes.update_async(
        dispute.id, {"evidence": {"uncategorized_text": text}}
    )


def moved(dispute: stripe.Dispute) -> list[tuple[int, int, str]]:
    return [(row.amount, row.fee, row.reporting_category) for row in dispute.balance_transactions]


def dispute_events(*names: str) -> list[str]:
    return [f"charge.dispute.{name}" for name in names]


# ------------------------------------------------------------------ withdrawn, won, lost


@pytest.mark.parametrize(
    ("card", "reason"), [(FRAUDULENT, "fraudulent"), (NOT_RECEIVED, "product_not_received")]
)
async def test_the_amount_and_a_fee_are_gone_at_once(shop: Shop, card: str, reason: str) -> None:
    dispute = await disputed(shop, card)

    assert (dispute.status, dispute.reason) == ("needs_response", reason)
    assert dispute.evidence_details.due_by == int(DUE.timestamp())
    assert (dispute.evidence_details.has_evidence, dispute.is_charge_refundable) == (False, False)
    assert moved(dispute) == [(-1000, FEE, "dispute")]
    assert await shop.balance() == {"usd": 1000 - 59 - 1000 - FEE}
    assert (await shop.events())[-2:] == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
    ]
    charge = await shop.client.v1.charges.retrieve_async(str(dispute.charge))
    assert charge.disputed
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refunded(shop, charge)
    assert refused.value.code == "charge_disputed"
    assert await identity_holds(shop)


async def test_won_the_amount_comes_back_and_the_fee_does_not(shop: Shop) -> None:
    dispute = await disputed(shop)

    won = await answers(shop, dispute, "winning_evidence")

    assert (won.status, won.evidence_details.submission_count) == ("won", 1)
    assert won.evidence_details.submission_method == "manual"
    assert moved(won)[1:] == [(1000, 0, "dispute_reversal")]
    assert await shop.balance() == {"usd": 1000 - 59 - FEE}
    assert (await shop.events())[-2:] == [
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    for late in (answers(shop, dispute, "more"), shop.client.v1.disputes.close_async(dispute.id)):
        with pytest.raises(stripe.InvalidRequestError, match=r"no longer open|already closed"):
            await late
    with pytest.raises(ApiError, match="closed"):
        shop.sandbox.decide_dispute(dispute.id, won=False)
    assert await identity_holds(shop)


async def test_a_bank_may_give_the_fee_back_as_well(shop: Shop) -> None:
    dispute = await disputed(shop)

    shop.sandbox.decide_dispute(dispute.id, won=True, refund_fee=True)

    assert moved(await now(shop, dispute))[1:] == [(1000, -FEE, "dispute_reversal")]
    assert await shop.balance() == {"usd": 1000 - 59}
    assert await identity_holds(shop)


async def test_evidence_may_be_gathered_before_it_is_handed_in_once(shop: Shop) -> None:
    dispute = await disputed(shop)
    service = shop.client.v1.disputes

    draft = await service.update_async(
        dispute.id, {"evidence": {"product_description": "A gift"}, "submit": False}
    )
    assert (draft.status, draft.evidence_details.has_evidence) == ("needs_response", True)
    assert draft.evidence_details.submission_count == 0
    draft = await service.update_async(
        dispute.id, {"evidence": {"cancellation_rebuttal": ""}, "submit": False}
    )
    assert draft.evidence.cancellation_rebuttal is None
    for text in ("a" * 20_001, "b" * 20_001):
        with pytest.raises(stripe.InvalidRequestError, match="20000 characters"):
            await answers(shop, dispute, text)
    handed_in = await answers(shop, dispute, "They gave every month")

    assert handed_in.status == "under_review"
    assert handed_in.evidence.product_description == "A gift"
    with pytest.raises(stripe.InvalidRequestError, match="no longer open for evidence"):
        await answers(shop, dispute, "And one more thing")
    with pytest.raises(stripe.InvalidRequestError, match="no longer open for evidence"):
        await service.update_async(
            dispute.id, {"evidence": {"product_description": "Another"}, "submit": False}
        )
    shop.sandbox.decide_dispute(dispute.id, won=False)
    lost = await now(shop, dispute)
    assert (lost.status, moved(lost)) == ("lost", [(-1000, FEE, "dispute")])


async def test_what_nobody_answers_in_time_is_lost(shop: Shop) -> None:
    dispute = await disputed(shop)
    asked_about = await disputed(shop, ASKED_ABOUT)

    await shop.sandbox.advance(to=DUE - timedelta(seconds=1))
    assert (await now(shop, dispute)).status == "needs_response"
    await shop.sandbox.advance(to=DUE)

    lost = await now(shop, dispute)
    assert (lost.status, lost.evidence_details.past_due) == ("lost", True)
    with pytest.raises(stripe.InvalidRequestError, match="no longer open"):
        await answers(shop, dispute, "winning_evidence")
    with pytest.raises(stripe.InvalidRequestError, match="was due before"):
        await answers(shop, asked_about, "It is open, and its day has passed")
    shop.sandbox.decide_dispute(dispute.id, won=True)  # but a bank can think again
    assert moved(await now(shop, dispute))[1:] == [(1000, 0, "dispute_reversal")]


async def test_whoever_gives_in_loses_at_once(shop: Shop) -> None:
    dispute = await disputed(shop)

    closed = await shop.client.v1.disputes.close_async(dispute.id)

    assert closed.status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        await shop.client.v1.disputes.close_async(dispute.id)
    for unknown in ("dp_none", str(dispute.charge)):
        with pytest.raises(stripe.InvalidRequestError, match="No such dispute"):
            await shop.client.v1.disputes.close_async(unknown)


# ------------------------------------------------------------------ of a part, twice, in francs


async def test_a_part_is_disputed_and_then_another_but_never_more_than_was_paid(
    shop: Shop,
) -> None:
    charge = await paid(shop, 1000)

    first = shop.sandbox.dispute(charge.id, amount=400)
    shop.sandbox.decide_dispute(first, won=True)
    second = shop.sandbox.dispute(charge.id, amount=600, reason="subscription_canceled")

    listed = await shop.client.v1.disputes.list_async({"charge": charge.id})
    assert [one.id for one in listed.data] == [second, first]
    assert [one.amount for one in listed.data] == [600, 400]
    assert await shop.balance() == {"usd": 1000 - 59 - 600 - 2 * FEE}
    for amount in (1001, 0):
        with pytest.raises(ApiError, match="Only what was paid"):
            shop.sandbox.dispute(charge.id, amount=amount)
    with pytest.raises(KeyError):
        shop.sandbox.dispute("ch_none")
    assert await identity_holds(shop)


async def test_what_was_never_paid_is_not_disputed(shop: Shop) -> None:
    await shop.pays(await shop.checkout(1000), "4000000000000002")
    charge = (await shop.client.v1.charges.list_async()).data[0]
    with pytest.raises(ApiError, match="Only what was paid"):
        shop.sandbox.dispute(charge.id)
    assert (await shop.client.v1.disputes.list_async()).data == []


async def test_a_dispute_in_francs_moves_dollars_at_the_rates_of_its_days(shop: Shop) -> None:
    await shop.pays(await shop.checkout(1000, "chf"))
    await shop.sandbox.advance_to_captures()
    charge = (await shop.client.v1.charges.list_async({"limit": 1})).data[0]

    dispute = shop.sandbox.dispute(charge.id)
    shop.sandbox.set_rate("chf", "1.00")
    shop.sandbox.decide_dispute(dispute, won=True)

    stored = await shop.client.v1.disputes.retrieve_async(dispute)
    assert (stored.amount, stored.currency) == (1000, "chf")
    assert [(row.amount, row.currency) for row in stored.balance_transactions] == [
        (-1130, "usd"),
        (1000, "usd"),
    ]
    assert await identity_holds(shop)


# ------------------------------------------------------------------ inquiries


async def test_a_bank_that_only_asks_takes_nothing_and_the_gift_can_be_refunded(
    shop: Shop,
) -> None:
    inquiry = await disputed(shop, ASKED_ABOUT)
    assert (inquiry.status, moved(inquiry)) == ("warning_needs_response", [])
    assert inquiry.is_charge_refundable
    assert inquiry.payment_method_details is not None
    assert inquiry.payment_method_details.card is not None
    assert inquiry.payment_method_details.card.case_type == "inquiry"
    assert await shop.balance() == {"usd": 941}

    assert (await answers(shop, inquiry, "It was theirs")).status == "warning_under_review"
    charge = await shop.client.v1.charges.retrieve_async(str(inquiry.charge))
    assert (await refunded(shop, charge)).amount == 1000

    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        await shop.client.v1.disputes.close_async(inquiry.id)  # there is nothing to give in to


async def test_an_inquiry_is_ended_by_closing_it_and_takes_no_money(shop: Shop) -> None:
    inquiry = await disputed(shop, ASKED_ABOUT)

    closed = await shop.client.v1.disputes.close_async(inquiry.id)

    assert (closed.status, moved(closed)) == ("warning_closed", [])
    assert await shop.balance() == {"usd": 941}
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        await shop.client.v1.disputes.close_async(inquiry.id)


async def test_an_inquiry_that_becomes_a_dispute_takes_the_money_then(shop: Shop) -> None:
    inquiry = await disputed(shop, ASKED_ABOUT)
    await shop.advance(5)

    shop.sandbox.escalate_dispute(inquiry.id)

    grown = await now(shop, inquiry)
    assert (grown.status, grown.is_charge_refundable) == ("needs_response", False)
    assert moved(grown) == [(-1000, FEE, "dispute")]
    later = grown.evidence_details.due_by
    assert later is not None
    assert later == int((DUE + timedelta(days=5)).timestamp())
    with pytest.raises(ApiError, match="Only an inquiry"):
        shop.sandbox.escalate_dispute(inquiry.id)
    assert await identity_holds(shop)


async def test_an_inquiry_ends_by_itself_after_four_months_and_nothing_moved(shop: Shop) -> None:
    inquiry = await disputed(shop, ASKED_ABOUT)

    await shop.sandbox.advance(to=START + timedelta(days=121))

    ended = await now(shop, inquiry)
    assert (ended.status, moved(ended)) == ("warning_closed", [])
    with pytest.raises(ApiError, match="Only an inquiry"):
        shop.sandbox.escalate_dispute(inquiry.id)
