"""SEPA debits: they take days, and may be returned after they succeeded."""

import pytest
import stripe

from payments import sandbox as sandboxes
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

SUCCEEDS = "AT61 1904 3002 3457 3201"
FAILS = "AT861904300235473202"
RETURNS = "AT911904300235473209"


async def gives_by_debit(
    shop: Shop, iban: str, interval: str | None = None
) -> stripe.checkout.Session:
    session = await shop.checkout(500, "eur", interval)
    assert (await sandboxes.pay(str(session.url), iban=iban)).status == 303
    return await shop.client.v1.checkout.sessions.retrieve_async(session.id)


async def test_a_debit_is_under_way_for_three_days_and_then_paid(shop: Shop) -> None:
    session = await gives_by_debit(shop, SUCCEEDS)
    assert (session.status, session.payment_status) == ("complete", "unpaid")
    events = await shop.events()
    assert events[-3:] == [
        "charge.pending",
        "payment_intent.processing",
        "checkout.session.completed",
    ]
    (charge,) = (await shop.client.v1.charges.list_async()).data
    assert charge.id.startswith("py_")
    assert (charge.status, charge.paid, charge.balance_transaction) == ("pending", False, None)
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.sepa_debit is not None
    mandate = charge.payment_method_details.sepa_debit.mandate
    assert (await shop.client.v1.mandates.retrieve_async(str(mandate))).status == "active"
    assert await shop.balance() == {}

    await shop.advance(3)

    assert (await shop.events())[-3:] == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.async_payment_succeeded",
    ]
    paid = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert paid.payment_status == "paid"
    (row,) = await shop.transactions()
    assert (row.type, row.reporting_category, row.net) == ("payment", "charge", 465)


async def test_a_debit_that_fails_is_said_to_have_failed_and_nothing_was_paid(
    shop: Shop,
) -> None:
    session = await gives_by_debit(shop, FAILS)

    await shop.advance(3)

    assert (await shop.events())[-3:] == [
        "charge.failed",
        "payment_intent.payment_failed",
        "checkout.session.async_payment_failed",
    ]
    unpaid = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert unpaid.payment_status == "unpaid"
    assert await shop.transactions() == []


async def test_a_debit_may_be_returned_after_it_was_paid(shop: Shop) -> None:
    session = await gives_by_debit(shop, RETURNS)
    await shop.advance(3)
    assert await shop.balance() == {"eur": 465}

    await shop.advance(8)

    rows = [row for row in await shop.transactions() if row.type != "payout"]
    assert [(r.type, r.reporting_category, r.amount) for r in rows] == [
        ("payment_failure_refund", "charge_failure", -500),
        ("payment", "charge", 500),
    ]
    (charge,) = (await shop.client.v1.charges.list_async()).data
    assert (charge.status, charge.paid) == ("failed", False)
    assert charge.failure_balance_transaction == rows[0].id
    intent = await shop.client.v1.payment_intents.retrieve_async(str(session.payment_intent))
    assert intent.status == "requires_payment_method"


async def test_a_debit_is_given_back_as_a_payment_refund(shop: Shop) -> None:
    session = await gives_by_debit(shop, SUCCEEDS)
    with pytest.raises(stripe.InvalidRequestError, match="has not been paid"):
        await shop.client.v1.refunds.create_async({"payment_intent": str(session.payment_intent)})
    await shop.advance(3)

    refund = await shop.client.v1.refunds.create_async(
        {"payment_intent": str(session.payment_intent)}
    )

    assert refund.id.startswith("pyr_")
    row = (await shop.transactions())[0]
    assert (row.type, row.reporting_category, row.amount) == ("payment_refund", "refund", -500)


async def test_a_subscription_by_debit_runs_and_its_invoices_are_paid_later(shop: Shop) -> None:
    session = await gives_by_debit(shop, SUCCEEDS, "month")
    subscription = await shop.subscription(str(session.subscription))
    assert subscription.status == "active"
    assert (await shop.latest_invoice(subscription.id)).status == "open"

    await shop.advance(3)
    assert (await shop.latest_invoice(subscription.id)).status == "paid"
    await shop.advance(28)
    assert (await shop.latest_invoice(subscription.id)).status == "open"
    await shop.advance(3)
    assert (await shop.latest_invoice(subscription.id)).status == "paid"
    assert (await shop.subscription(subscription.id)).status == "active"


async def test_a_subscription_whose_debit_fails_is_past_due_and_tried_again(shop: Shop) -> None:
    session = await gives_by_debit(shop, SUCCEEDS, "month")
    subscription = await shop.subscription(str(session.subscription))
    await shop.advance(5)
    shop.sandbox.fail_card(str(subscription.default_payment_method), "insufficient_funds")

    await shop.advance(29)

    assert (await shop.subscription(subscription.id)).status == "past_due"
    invoice = await shop.latest_invoice(subscription.id)
    assert invoice.next_payment_attempt is not None
    shop.sandbox.restore_card(str(subscription.default_payment_method))
    await shop.advance(5)
    assert (await shop.latest_invoice(subscription.id)).status == "paid"
    assert (await shop.subscription(subscription.id)).status == "active"


@pytest.mark.parametrize(
    "iban", ["AT611904300234573202", "DE89370400440532013000", "not an account"]
)
async def test_an_account_that_is_wrong_or_real_is_refused_at_its_field(
    shop: Shop, iban: str
) -> None:
    session = await shop.checkout(500, "eur")

    refused = await sandboxes.pay(str(session.url), iban=iban)

    assert refused.status == 422
    assert refused.error_text
    assert (await shop.client.v1.charges.list_async()).data == []


async def test_a_debit_is_offered_in_euros_and_where_the_shop_allows_it(shop: Shop) -> None:
    dollars = await shop.checkout(500, "usd")
    cards_only = await shop.checkout(500, "eur", allowed_payment_method_types=["card", "link"])

    for session in (dollars, cards_only):
        assert session.payment_method_types == ["card"]
        assert (await sandboxes.pay(str(session.url), iban=SUCCEEDS)).status == 422
    account = await shop.client.v1.payment_methods.create_async(
        {"type": "sepa_debit", "sepa_debit": {"iban": FAILS}}
    )
    with pytest.raises(stripe.InvalidRequestError, match="invalid for one or more"):
        await shop.client.v1.payment_intents.create_async(
            {"amount": 500, "currency": "usd", "payment_method": account.id, "confirm": True}
        )
