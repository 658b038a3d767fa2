"""Where a payment method may be used: by its owner, attached, in its currency; or once."""

from collections.abc import Awaitable, Callable

import pytest
import stripe

from payments.sandbox import card_tokens, cards
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

BELONGS_TO_ANOTHER = "belongs to another customer"
NOT_THEIRS = "does not have a payment method"
USED_UP = "may not be used again"
WRONG_CURRENCY = "The currency provided .usd. is invalid"
Use = Callable[[Shop, str, str], Awaitable[object]]


async def customer_with_card(shop: Shop) -> tuple[str, str]:
    """A customer and their card."""
    customer = await shop.client.v1.customers.create_async({"email": "reader@example.org"})
    method = await shop.client.v1.payment_methods.attach_async(
        "pm_card_visa", {"customer": customer.id}
    )
    return customer.id, method.id


async def pay_once(shop: Shop, customer: str, method: str) -> object:
    return await shop.client.v1.payment_intents.create_async(
        {
            "amount": 500,
            "currency": "usd",
            "customer": customer,
            "payment_method": method,
            "confirm": True,
        }
    )


async def plan_to_pay(shop: Shop, customer: str, method: str) -> object:
    return await shop.client.v1.payment_intents.create_async(
        {"amount": 500, "currency": "usd", "customer": customer, "payment_method": method}
    )


async def confirm_later(shop: Shop, customer: str, method: str) -> object:
    intent = await shop.client.v1.payment_intents.create_async(
        {"amount": 500, "currency": "usd", "customer": customer}
    )
    return await shop.client.v1.payment_intents.confirm_async(intent.id, {"payment_method": method})


async def save(shop: Shop, customer: str, method: str) -> object:
    return await shop.client.v1.setup_intents.create_async(
        {"customer": customer, "payment_method": method, "confirm": True}
    )


async def make_default(shop: Shop, customer: str, method: str) -> object:
    return await shop.client.v1.customers.update_async(
        customer, {"invoice_settings": {"default_payment_method": method}}
    )


async def subscribe(shop: Shop, customer: str, method: str) -> object:
    price = await monthly_price(shop)
    return await shop.client.v1.subscriptions.create_async(
        {"customer": customer, "items": [{"price": price}], "default_payment_method": method}
    )


async def pay_invoice(shop: Shop, customer: str, method: str) -> object:
    await shop.client.v1.invoice_items.create_async(
        {"customer": customer, "amount": 500, "currency": "usd"}
    )
    invoice = await shop.client.v1.invoices.create_async(
        {"customer": customer, "pending_invoice_items_behavior": "include"}
    )
    return await shop.client.v1.invoices.pay_async(invoice.id, {"payment_method": method})


async def monthly_price(shop: Shop) -> str:
    price = await shop.client.v1.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": 500,
            "recurring": {"interval": "month"},
            "product": await shop.product(),
        }
    )
    return price.id


@pytest.mark.parametrize(
    ("use", "refusal"),
    [
        (pay_once, BELONGS_TO_ANOTHER),
        (plan_to_pay, BELONGS_TO_ANOTHER),
        (confirm_later, BELONGS_TO_ANOTHER),
        (save, BELONGS_TO_ANOTHER),
        (make_default, NOT_THEIRS),
        (subscribe, NOT_THEIRS),
        (pay_invoice, NOT_THEIRS),
    ],
)
async def test_a_card_is_charged_for_its_owner_and_nobody_else(
    shop: Shop, use: Use, refusal: str
) -> None:
    (ours, card), (theirs, _) = await customer_with_card(shop), await customer_with_card(shop)

    await use(shop, ours, card)
    with pytest.raises(stripe.InvalidRequestError, match=refusal):
        await use(shop, theirs, card)

    await shop.client.v1.payment_methods.detach_async(card)
    with pytest.raises(stripe.InvalidRequestError, match=f"{USED_UP}|{NOT_THEIRS}"):
        await use(shop, ours, card)


async def test_a_saved_card_is_not_charged_without_naming_its_owner(shop: Shop) -> None:
    _, card = await customer_with_card(shop)
    with pytest.raises(stripe.InvalidRequestError, match="include the customer"):
        await shop.client.v1.payment_intents.create_async(
            {"amount": 500, "currency": "usd", "payment_method": card, "confirm": True}
        )


async def test_a_card_that_nobody_saved_pays_once(shop: Shop) -> None:
    ours, _ = await customer_with_card(shop)
    create = shop.client.v1.payment_methods.create_async
    used, declined, fresh = [
        (await create({"type": "card", "card": {"token": token}})).id
        for token in ("tok_visa", "tok_visa_chargeDeclined", "tok_visa")
    ]
    await pay_once(shop, ours, used)
    for use in (pay_once, plan_to_pay, confirm_later, save):
        with pytest.raises(stripe.InvalidRequestError, match=USED_UP):
            await use(shop, ours, used)
    with pytest.raises(stripe.InvalidRequestError, match=USED_UP):
        await shop.client.v1.payment_methods.attach_async(used, {"customer": ours})

    for _ in range(2):  # a decline uses nothing up
        with pytest.raises(stripe.CardError):
            await pay_once(shop, ours, declined)

    saved = await shop.client.v1.payment_intents.create_async(
        {
            "amount": 500,
            "currency": "usd",
            "customer": ours,
            "payment_method": fresh,
            "setup_future_usage": "off_session",
            "confirm": True,
        }
    )
    assert saved.status == "succeeded"
    assert (await shop.client.v1.payment_methods.retrieve_async(fresh)).customer == ours
    await pay_once(shop, ours, fresh)


async def test_a_bank_account_is_debited_in_euros_only(shop: Shop) -> None:
    customer = (await shop.client.v1.customers.create_async({})).id
    debit = await shop.client.v1.payment_methods.create_async(
        {
            "type": "sepa_debit",
            "sepa_debit": {"iban": "AT611904300234573201"},
            "billing_details": {"email": "reader@example.org", "name": "A Reader"},
        }
    )
    await shop.client.v1.payment_methods.attach_async(debit.id, {"customer": customer})

    for use in (subscribe, pay_invoice, pay_once):
        with pytest.raises(stripe.InvalidRequestError, match=WRONG_CURRENCY):
            await use(shop, customer, debit.id)

    await make_default(shop, customer, debit.id)
    price = await monthly_price(shop)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        await shop.client.v1.subscriptions.create_async(
            {"customer": customer, "items": [{"price": price}]}
        )
    euros = await shop.client.v1.payment_intents.create_async(
        {
            "amount": 500,
            "currency": "eur",
            "customer": customer,
            "payment_method": debit.id,
            "confirm": True,
        }
    )
    assert euros.status == "processing"
    form = {"amount": "500", "currency": "eur", "customer": customer, "payment_method": debit.id}
    only_cards = {**form, "payment_method_types[]": "card"}  # as clients before endive send it
    status, answer = await shop.post("/v1/payment_intents", only_cards)
    assert (status, "sepa_debit is not allowed" in str(answer)) == (400, True)


async def test_a_page_takes_its_customers_card_or_a_new_one(shop: Shop) -> None:
    (ours, card), (_, other) = await customer_with_card(shop), await customer_with_card(shop)
    session = await shop.checkout(500, customer=ours)
    for method, expected in ((other, 400), ("pm_card_nothing", 400), (card, 200)):
        status, answer = await shop.post(
            f"/v1/payment_pages/{session.id}/confirm", {"payment_method": method}
        )
        assert status == expected, answer


# ------------------------------------------------------------------ names


async def test_a_name_of_no_test_card_is_refused(shop: Shop) -> None:
    for name in ("pm_card_teapot", "tok_visa", "pm_nothing"):
        with pytest.raises(stripe.InvalidRequestError, match="No such PaymentMethod") as refused:
            await shop.client.v1.payment_intents.create_async(
                {"amount": 500, "currency": "usd", "payment_method": name}
            )
        assert (refused.value.code, refused.value.param) == ("resource_missing", "payment_method")
    for name in ("tok_teapot", "pm_card_visa", "4242424242424242"):
        with pytest.raises(stripe.InvalidRequestError, match="No such token") as refused:
            await shop.client.v1.payment_methods.create_async(
                {"type": "card", "card": {"token": name}}
            )
        assert (refused.value.code, refused.value.param) == ("resource_missing", "card[token]")


def test_every_name_means_a_card_with_a_valid_number() -> None:
    assert len(card_tokens.NUMBER_BY_NAME) > 100
    assert set(card_tokens.NUMBER_BY_NAME.values()) <= set(cards.BY_NUMBER)
    assert [number for number in cards.BY_NUMBER if not cards.passes_luhn(number)] == []
    assert len({card.number for card in cards.BY_NUMBER.values()}) == len(cards.BY_NUMBER)


@pytest.mark.parametrize(
    ("name", "decline_code"),
    [
        ("visa_chargeDeclined", "generic_decline"),
        ("visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("visa_chargeDeclinedLostCard", "lost_card"),
        ("visa_chargeDeclinedStolenCard", "stolen_card"),
        ("visa_chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded"),
        ("chargeDeclinedExpiredCard", "expired_card"),
        ("chargeDeclinedIncorrectCvc", "incorrect_cvc"),
        ("chargeDeclinedProcessingError", "processing_error"),
        ("chargeDeclinedFraudulent", "fraudulent"),
        ("threeDSecureRequiredProcessingError", "generic_decline"),
    ],
)
async def test_a_name_declines_as_documented(shop: Shop, name: str, decline_code: str) -> None:
    with pytest.raises(stripe.CardError) as refused:
        await shop.client.v1.payment_intents.create_async(
            {
                "amount": 500,
                "currency": "usd",
                "payment_method": f"pm_card_{name}",
                "confirm": True,
            }
        )
    assert refused.value.error is not None
    assert refused.value.error.decline_code == decline_code


async def test_names_succeed_with_their_brand_country_risk_and_checks(shop: Shop) -> None:
    async def charge_of(name: str) -> stripe.Charge:
        intent = await shop.client.v1.payment_intents.create_async(
            {
                "amount": 500,
                "currency": "usd",
                "payment_method": f"pm_card_{name}",
                "confirm": True,
                "expand": ["latest_charge"],
            }
        )
        assert isinstance(intent.latest_charge, stripe.Charge)
        return intent.latest_charge

    for name, brand, country in (
        ("jcb", "jcb", "JP"),
        ("unionpay", "unionpay", "CN"),
        ("de", "visa", "DE"),
        ("gb_mastercard", "mastercard", "GB"),
    ):
        details = (await charge_of(name)).payment_method_details
        assert details is not None
        assert details.card is not None
        assert (details.card.brand, details.card.country) == (brand, country)
    for name, level in (("riskLevelElevated", "elevated"), ("riskLevelHighest", "highest")):
        outcome = (await charge_of(name)).outcome
        assert outcome is not None
        assert outcome.risk_level == level
    details = (await charge_of("cvcCheckFail")).payment_method_details
    assert details is not None
    assert details.card is not None
    assert details.card.checks is not None
    assert details.card.checks.cvc_check == "fail"
