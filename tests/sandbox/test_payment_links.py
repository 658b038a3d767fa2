"""Payment Links: opened by anybody, each visit a Checkout Session of its own."""

from typing import Any

import aiohttp
import pytest
import stripe

from payments import sandbox as sandboxes
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio


async def link(
    shop: Shop, amount: int = 700, interval: str | None = None, **params: object
) -> stripe.PaymentLink:
    """A link that sells one thing, once or each interval."""
    price: dict[str, object] = {
        "currency": "usd",
        "unit_amount": amount,
        "product": await shop.product(),
    }
    if interval:
        price["recurring"] = {"interval": interval}
    made = await shop.client.v1.prices.create_async(price)  # type: ignore[arg-type]  # the contract checks it
    base: dict[str, object] = {"line_items": [{"price": made.id, "quantity": 2}]}
    return await shop.client.v1.payment_links.create_async({**base, **params})  # type: ignore[typeddict-item]  # as above


async def sessions(shop: Shop, made: stripe.PaymentLink) -> list[stripe.checkout.Session]:
    """The sessions of a link, newest first."""
    return (await shop.client.v1.checkout.sessions.list_async({"payment_link": made.id})).data


async def test_every_visit_is_a_session_with_the_links_metadata(shop: Shop) -> None:
    made = await link(
        shop, metadata={"campaign": "spring"}, payment_intent_data={"metadata": {"a": "b"}}
    )
    query = "?client_reference_id=r1&prefilled_email=ann@reader.example"

    paid = await sandboxes.pay(made.url + query)
    await sandboxes.pay(made.url)

    assert (paid.status, paid.redirect_url, paid.error_text) == (200, None, None)
    second, first = await sessions(shop, made)
    assert (first.status, first.amount_total, first.payment_link) == ("complete", 1400, made.id)
    assert (first.client_reference_id, first.success_url) == ("r1", None)
    assert first.customer_details is not None
    assert first.customer_details.email == "ann@reader.example"
    assert first.metadata is not None
    assert first.metadata.to_dict() == {"campaign": "spring"}
    assert second.client_reference_id is None
    intent = await shop.client.v1.payment_intents.retrieve_async(str(first.payment_intent))
    assert intent.metadata.to_dict() == {"a": "b"}
    assert await shop.paid_amounts() == [1400, 1400]


async def test_a_link_sells_subscriptions_with_their_metadata(shop: Shop) -> None:
    made = await link(shop, interval="month", subscription_data={"metadata": {"kind": "club"}})
    await sandboxes.pay(made.url)

    (session,) = await sessions(shop, made)
    subscription = await shop.subscription(str(session.subscription))
    assert subscription.metadata.to_dict() == {"kind": "club"}
    await shop.advance(31)
    assert await shop.paid_amounts() == [1400, 1400]


async def test_a_link_leads_back_to_the_shop_where_it_says_so(shop: Shop) -> None:
    url = "https://shop.example/thanks?s={CHECKOUT_SESSION_ID}"
    made = await link(shop, after_completion={"type": "redirect", "redirect": {"url": url}})
    paid = await sandboxes.pay(made.url)
    (session,) = await sessions(shop, made)
    assert paid.redirect_url == f"https://shop.example/thanks?s={session.id}"


async def test_a_link_that_is_not_active_opens_nothing(shop: Shop) -> None:
    made = await link(shop, inactive_message="Come back in May")
    updated = await shop.client.v1.payment_links.update_async(made.id, {"active": False})
    assert updated.active is False

    async with aiohttp.ClientSession() as browser:
        async with browser.get(made.url) as answer:
            assert (answer.status, "Come back in May" in await answer.text()) == (410, True)
        async with browser.get(f"{made.url}x") as answer:
            assert answer.status == 404

    assert await sessions(shop, made) == []
    active = await shop.client.v1.payment_links.list_async({"active": True})
    assert active.data == []
    assert (await shop.events())[-2:] == ["payment_link.created", "payment_link.updated"]


async def test_a_link_ends_with_its_last_session(shop: Shop) -> None:
    made = await link(shop, restrictions={"completed_sessions": {"limit": 1}})
    await sandboxes.pay(made.url, "4000000000000002")
    assert (await shop.client.v1.payment_links.retrieve_async(made.id)).active is True

    await sandboxes.pay(made.url)

    ended = await shop.client.v1.payment_links.retrieve_async(made.id, {"expand": ["line_items"]})
    assert ended.active is False
    assert ended.restrictions is not None
    assert ended.restrictions.completed_sessions.count == 1
    assert ended.line_items is not None
    assert [item.quantity for item in ended.line_items.data] == [2]
    listed = await shop.client.v1.payment_links.line_items.list_async(made.id)
    assert [item.amount_total for item in listed.data] == [1400]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"line_items": [{"price": "price_none", "quantity": 0}]}, "line_items[0][quantity]"),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "line_items[0][price]"),
        ({"allow_promotion_codes": True}, "allow_promotion_codes"),
        (
            {"after_completion": {"type": "redirect", "redirect": {"url": ""}}},
            "after_completion[redirect][url]",
        ),
    ],
)
async def test_a_link_that_cannot_be_is_refused(
    shop: Shop,
    params: dict[str, Any],
    param: str,  # Any: what a client may send
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await link(shop, **params)
    assert refused.value.param == param
    assert (await shop.client.v1.payment_links.list_async()).data == []


# ------------------------------------------------------------------ amounts the payer chooses


async def custom_link(shop: Shop, **custom: int) -> stripe.PaymentLink:
    """A link over what the payer chooses to pay."""
    params: dict[str, object] = {
        "currency": "usd",
        "product": await shop.product(),
        "custom_unit_amount": {"enabled": True, **custom},
    }
    price = await shop.client.v1.prices.create_async(params)  # type: ignore[arg-type]  # as above
    assert (price.unit_amount, price.unit_amount_decimal) == (None, None)
    return await shop.client.v1.payment_links.create_async(
        {"line_items": [{"price": price.id, "quantity": 1}]}
    )


async def test_a_payer_chooses_what_to_pay(shop: Shop) -> None:
    made = await custom_link(shop, minimum=300, preset=1000)

    await sandboxes.pay(made.url, "4000000000000002", amount="8")
    paid = await sandboxes.pay(made.url, amount="12.50")

    assert (paid.status, paid.error_text) == (200, None)
    session, declined = await sessions(shop, made)
    assert (declined.status, declined.amount_total) == ("open", 800)
    assert (session.status, session.amount_total) == ("complete", 1250)
    items = await shop.client.v1.checkout.sessions.line_items.list_async(session.id)
    assert [item.amount_total for item in items.data] == [1250]
    assert declined.url is not None
    await sandboxes.pay(declined.url, amount="9,5")
    assert await shop.paid_amounts() == [1250, 950]


@pytest.mark.parametrize("amount", ["", "many", "2.99", "12.505", "100.01", "-5"])
async def test_an_amount_that_cannot_be_chosen_is_refused_on_the_page(
    shop: Shop, amount: str
) -> None:
    made = await custom_link(shop, minimum=300, maximum=10000)
    refused = await sandboxes.pay(made.url, amount=amount)
    assert (refused.status, refused.error_text is not None) == (422, True)
    assert await shop.paid_amounts() == []


async def test_a_chosen_amount_goes_with_nothing_else(shop: Shop) -> None:
    made = await custom_link(shop)
    (item,) = (await shop.client.v1.payment_links.line_items.list_async(made.id)).data
    assert item.price is not None
    for items in (
        [{"price": item.price.id, "quantity": 2}],
        [{"price": item.price.id, "quantity": 1}] * 2,
    ):
        with pytest.raises(stripe.InvalidRequestError, match="only line item"):
            await shop.checkout(line_items=items)
    with pytest.raises(stripe.InvalidRequestError, match="not recurring"):
        await shop.client.v1.prices.create_async(
            {
                "currency": "usd",
                "product": await shop.product(),
                "custom_unit_amount": {"enabled": True},
                "recurring": {"interval": "month"},
            }
        )
