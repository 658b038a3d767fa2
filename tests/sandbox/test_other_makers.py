"""Objects that other programs and people make: trials, incomplete and unpaid subscriptions,
legacy sources, what a shop sells in the same account.
"""

import pytest
import stripe

from tests.support.shop import Shop

pytestmark = pytest.mark.anyio


async def customer(shop: Shop, card: str | None = "pm_card_visa") -> str:
    """The id of a customer, with a default card or without any."""
    made = await shop.client.v1.customers.create_async({"email": "ann@reader.example"})
    if card is not None:
        method = await shop.client.v1.payment_methods.attach_async(card, {"customer": made.id})
        await shop.client.v1.customers.update_async(
            made.id, {"invoice_settings": {"default_payment_method": method.id}}
        )
    return made.id


async def subscribe(shop: Shop, customer_id: str, **params: object) -> stripe.Subscription:
    """A monthly subscription over 5 dollars, made through the API."""
    price = await shop.client.v1.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": 500,
            "product": await shop.product(),
            "recurring": {"interval": "month"},
        }
    )
    base: dict[str, object] = {"customer": customer_id, "items": [{"price": price.id}]}
    return await shop.client.v1.subscriptions.create_async({**base, **params})  # type: ignore[arg-type]


# ------------------------------------------------------------------ trials


@pytest.mark.parametrize(
    ("behavior", "status", "invoices"),
    [
        ("cancel", "canceled", ["paid"]),
        ("pause", "paused", ["paid"]),
        ("create_invoice", "past_due", ["open", "paid"]),
    ],
)
async def test_a_trial_that_ends_without_a_card_goes_on_as_its_settings_say(
    shop: Shop, behavior: str, status: str, invoices: list[str]
) -> None:
    settings = {"end_behavior": {"missing_payment_method": behavior}}
    subscription = await subscribe(
        shop, await customer(shop, None), trial_period_days=14, trial_settings=settings
    )
    assert subscription.status == "trialing"

    await shop.advance(14.5)

    assert (await shop.subscription(subscription.id)).status == status
    listed = await shop.client.v1.invoices.list_async({"subscription": subscription.id})
    assert [invoice.status for invoice in listed.data] == invoices
    assert await shop.paid_amounts() == []
    assert "customer.subscription.trial_will_end" in await shop.events()


async def test_a_trial_that_ends_with_a_card_is_charged(shop: Shop) -> None:
    subscription = await subscribe(shop, await customer(shop), trial_period_days=14)
    await shop.advance(14.5)
    assert (await shop.subscription(subscription.id)).status == "active"
    assert await shop.paid_amounts() == [500]


async def test_what_a_trials_end_paused_is_resumed_once_there_is_a_card(shop: Shop) -> None:
    settings = {"end_behavior": {"missing_payment_method": "pause"}}
    customer_id = await customer(shop, None)
    subscription = await subscribe(shop, customer_id, trial_period_days=14, trial_settings=settings)
    await shop.advance(20)
    method = await shop.client.v1.payment_methods.attach_async(
        "pm_card_visa", {"customer": customer_id}
    )
    await shop.client.v1.subscriptions.update_async(
        subscription.id, {"default_payment_method": method.id}
    )

    await shop.client.v1.subscriptions.resume_async(subscription.id)

    assert (await shop.subscription(subscription.id)).status == "active"
    assert await shop.paid_amounts() == [500]


# ------------------------------------------------------------------ incomplete and unpaid


@pytest.mark.parametrize(
    ("card", "status"),
    [("pm_card_visa", "active"), ("pm_card_visa_chargeDeclined", "incomplete")],
)
async def test_an_incomplete_subscription_is_active_once_its_payment_is_confirmed(
    shop: Shop, card: str, status: str
) -> None:
    subscription = await subscribe(
        shop, await customer(shop, None), payment_behavior="default_incomplete"
    )
    assert subscription.status == "incomplete"
    payments = await shop.client.v1.invoice_payments.list_async(
        {"invoice": str(subscription.latest_invoice)}
    )
    intent = payments.data[0].payment.payment_intent
    assert isinstance(intent, str)

    try:
        await shop.client.v1.payment_intents.confirm_async(intent, {"payment_method": card})
    except stripe.CardError:
        assert status == "incomplete"

    assert (await shop.subscription(subscription.id)).status == status
    await shop.advance(1)
    later = {"active": "active", "incomplete": "incomplete_expired"}[status]
    assert (await shop.subscription(subscription.id)).status == later


async def test_while_unpaid_every_month_has_a_draft_that_is_paid_only_by_hand(shop: Shop) -> None:
    shop.sandbox.billing.status_after_retries = "unpaid"
    shop.sandbox.billing.retry_days = (1, 2)
    subscription = await shop.subscribes()
    shop.sandbox.fail_card(str(subscription.default_payment_method), "insufficient_funds")
    await shop.advance(75)

    assert (await shop.subscription(subscription.id)).status == "unpaid"
    latest = await shop.latest_invoice(subscription.id)
    assert (latest.status, latest.auto_advance, latest.amount_due) == ("draft", False, 500)
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.invoices.void_invoice_async(str(latest.id))

    shop.sandbox.restore_card(str(subscription.default_payment_method))
    await shop.client.v1.invoices.finalize_invoice_async(str(latest.id))
    await shop.client.v1.invoices.pay_async(str(latest.id))

    assert (await shop.subscription(subscription.id)).status == "active"
    listed = await shop.client.v1.invoices.list_async({"subscription": subscription.id})
    assert [invoice.status for invoice in listed.data] == ["paid", "open", "paid"]


# ------------------------------------------------------------------ legacy sources


@pytest.mark.parametrize("prefix", ["card", "src"])
async def test_a_legacy_source_is_charged_where_there_is_no_payment_method(
    shop: Shop, prefix: str
) -> None:
    customer_id = await customer(shop, None)
    source = shop.sandbox.save_legacy_card(customer_id, prefix=prefix)
    assert source.startswith(f"{prefix}_")
    subscription = await subscribe(shop, customer_id)

    await shop.advance(31)

    assert await shop.paid_amounts() == [500, 500]
    charge = (await shop.client.v1.charges.list_async()).data[0]
    assert charge.payment_method == source
    assert charge.source is not None
    assert charge.source.id == source
    seen = await shop.client.v1.customers.retrieve_async(
        customer_id, {"expand": ["default_source", "sources"]}
    )
    assert seen.default_source is not None
    assert not isinstance(seen.default_source, str)
    assert seen.default_source.id == source
    assert seen.sources is not None
    assert [each.id for each in seen.sources.data] == [source]
    method = await shop.client.v1.payment_methods.retrieve_async(source)
    assert (method.type, method.customer) == ("card", customer_id)
    assert (await shop.subscription(subscription.id)).default_payment_method is None


async def test_a_subscriptions_own_source_and_any_payment_method_come_first(shop: Shop) -> None:
    customer_id = await customer(shop, None)
    first = shop.sandbox.save_legacy_card(customer_id)
    second = shop.sandbox.save_legacy_card(customer_id, "tok_mastercard")
    subscription = await subscribe(shop, customer_id, default_source=second)
    charges = shop.client.v1.charges
    assert (await charges.list_async()).data[0].payment_method == second

    service = shop.client.v1.subscriptions
    await service.update_async(subscription.id, {"default_source": first})
    await shop.advance(31)
    assert (await charges.list_async()).data[0].payment_method == first

    method = await shop.client.v1.payment_methods.attach_async(
        "pm_card_visa", {"customer": customer_id}
    )
    await service.update_async(subscription.id, {"default_payment_method": method.id})
    await shop.advance(31)
    assert (await charges.list_async()).data[0].payment_method == method.id


async def test_a_deleted_source_is_charged_no_more_and_a_strangers_is_refused(shop: Shop) -> None:
    customer_id, other = await customer(shop, None), await customer(shop, None)
    saved = await shop.client.v1.customers.payment_sources.create_async(
        customer_id, {"source": "tok_visa"}
    )
    strangers = shop.sandbox.save_legacy_card(other)
    await subscribe(shop, customer_id)
    with pytest.raises(stripe.InvalidRequestError, match="No such source"):
        await subscribe(shop, customer_id, default_source=strangers)
    with pytest.raises(stripe.InvalidRequestError, match="No such source"):
        await shop.client.v1.customers.payment_sources.retrieve_async(customer_id, strangers)

    await shop.client.v1.customers.payment_sources.delete_async(customer_id, saved.id)
    await shop.advance(31)

    assert (await shop.client.v1.customers.retrieve_async(customer_id)).default_source is None
    assert await shop.paid_amounts() == [500]


# ------------------------------------------------------------------ portal, and other lines


async def test_a_default_chosen_in_the_portal_reaches_only_subscriptions_without_their_own(
    shop: Shop,
) -> None:
    customer_id = await customer(shop)
    own = await shop.client.v1.payment_methods.attach_async(
        "pm_card_mastercard", {"customer": customer_id}
    )
    with_own = await subscribe(shop, customer_id, default_payment_method=own.id)
    without = await subscribe(shop, customer_id)

    chosen = shop.sandbox.set_default_in_portal(customer_id, "pm_card_amex")
    await shop.advance(31)

    charges = (await shop.client.v1.charges.list_async({"limit": 2})).data
    assert {charge.payment_method for charge in charges} == {own.id, chosen}
    assert (await shop.subscription(with_own.id)).default_payment_method == own.id
    assert (await shop.subscription(without.id)).default_payment_method is None


async def test_a_shop_in_the_same_account_sells_with_objects_of_its_own(shop: Shop) -> None:
    customer_id = await customer(shop)
    method = (await shop.client.v1.customers.payment_methods.list_async(customer_id)).data[0]
    await shop.client.v1.payment_intents.create_async(
        {
            "amount": 2500,
            "currency": "usd",
            "customer": customer_id,
            "payment_method": method.id,
            "confirm": True,
            "return_url": "https://shop.example/back",
            "metadata": {"order": "17", "contribution_id": "not ours"},
        }
    )
    await shop.client.v1.invoice_items.create_async(
        {"customer": customer_id, "amount": 700, "currency": "usd"}
    )
    invoice = await shop.client.v1.invoices.create_async(
        {"customer": customer_id, "pending_invoice_items_behavior": "include"}
    )
    await shop.client.v1.invoices.pay_async(str(invoice.id))

    assert await shop.paid_amounts() == [2500, 700]
    listed = await shop.client.v1.charges.list_async({"customer": customer_id})
    assert [charge.metadata.to_dict() for charge in listed.data] == [
        {},
        {"order": "17", "contribution_id": "not ours"},
    ]


# ------------------------------------------------------------------ schedules and invoice items


async def test_a_schedule_is_released_once_and_its_subscription_goes_on(shop: Shop) -> None:
    subscription = await subscribe(shop, await customer(shop))
    schedules = shop.client.v1.subscription_schedules
    made = await schedules.create_async(
        {
            "customer": stripe_id(subscription.customer),
            "start_date": int(shop.sandbox.clock.timestamp()) + 86400,
            "phases": [{"items": [{"price": subscription["items"].data[0].price.id}]}],
        }
    )
    await shop.advance(2)
    begun = await schedules.retrieve_async(made.id)
    released = await schedules.release_async(made.id)
    assert (begun.status, released.status) == ("active", "released")
    assert released.released_subscription == begun.subscription
    assert (await shop.subscription(stripe_id(begun.subscription))).status == "active"
    with pytest.raises(stripe.InvalidRequestError, match="released"):
        await schedules.release_async(made.id)


async def test_invoice_items_are_listed_by_whether_an_invoice_has_them(shop: Shop) -> None:
    buyer = await customer(shop)
    items = shop.client.v1.invoice_items
    first = await items.create_async({"customer": buyer, "amount": 300, "currency": "usd"})
    await shop.client.v1.invoices.create_async(
        {"customer": buyer, "pending_invoice_items_behavior": "include"}
    )
    second = await items.create_async({"customer": buyer, "amount": 400, "currency": "usd"})
    for pending, expected in ((True, second), (False, first)):
        page = await items.list_async({"pending": pending})
        assert [item.id for item in page.data] == [expected.id]


def stripe_id(found: object) -> str:
    return found if isinstance(found, str) else str(getattr(found, "id"))  # noqa: B009
