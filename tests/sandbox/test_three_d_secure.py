"""3-D Secure: where it is asked for, and the trace it leaves."""

from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import stripe

from payments import sandbox as sandboxes
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

ALWAYS_ASKS = "4000002760003184"
RETURN_URL = "https://shop.example/back?order=7"


async def charge_of(shop: Shop, intent_id: object) -> stripe.Charge:
    assert isinstance(intent_id, str)
    intent = await shop.client.v1.payment_intents.retrieve_async(
        intent_id, {"expand": ["latest_charge"]}
    )
    assert isinstance(intent.latest_charge, stripe.Charge)
    return intent.latest_charge


def three_d_secure(charge: stripe.Charge) -> dict[str, object] | None:
    """The 3-D Secure details of a card's charge."""
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.card is not None
    details = charge.payment_method_details.card.three_d_secure
    return None if details is None else details.to_dict()


async def answer(url: str, button: str) -> tuple[int, str | None]:
    """Open the bank's page and press a button; the status and where it leads."""
    async with aiohttp.ClientSession() as browser:
        async with browser.get(url) as page:
            assert page.status == 200
            assert "Is it you?" in await page.text()
        async with browser.post(url, data={"answer": button}, allow_redirects=False) as page:
            return page.status, page.headers.get("Location")


async def test_a_charge_says_how_it_was_authenticated(shop: Shop) -> None:
    session = await shop.checkout(500)
    assert session.url is not None
    await sandboxes.pay(session.url, ALWAYS_ASKS)
    paid = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    unasked = await shop.gives(500)

    details = three_d_secure(await charge_of(shop, paid.payment_intent))
    assert details is not None
    assert details["result"] == "authenticated"
    assert details["authentication_flow"] == "challenge"
    assert details["version"] == "2.2.0"
    assert details["transaction_id"]
    assert three_d_secure(await charge_of(shop, unasked.payment_intent)) is None


@pytest.mark.parametrize(
    ("button", "redirect_status", "status"),
    [("complete", "succeeded", "succeeded"), ("fail", "failed", "requires_payment_method")],
)
async def test_an_intent_leads_to_the_bank_and_back(
    shop: Shop, button: str, redirect_status: str, status: str
) -> None:
    intent = await shop.client.v1.payment_intents.create_async(
        {
            "amount": 500,
            "currency": "usd",
            "payment_method": "pm_card_authenticationRequired",
            "confirm": True,
            "return_url": RETURN_URL,
        }
    )
    assert intent.status == "requires_action"
    assert intent.next_action is not None
    assert intent.next_action.type == "redirect_to_url"
    redirect = intent.next_action.redirect_to_url
    assert redirect is not None
    assert redirect.return_url == RETURN_URL
    assert redirect.url is not None

    code, location = await answer(redirect.url, button)

    assert code == 303
    assert location is not None
    assert location.startswith(RETURN_URL)
    query = parse_qs(urlsplit(location).query)
    assert query["payment_intent"] == [intent.id]
    assert query["redirect_status"] == [redirect_status]
    after = await shop.client.v1.payment_intents.retrieve_async(intent.id)
    assert (after.status, after.next_action) == (status, None)
    async with aiohttp.ClientSession() as browser, browser.get(redirect.url) as page:
        assert page.status == 404, "it is answered once"


async def test_without_a_way_back_it_is_left_to_the_pages_script(shop: Shop) -> None:
    intent = await shop.client.v1.payment_intents.create_async(
        {
            "amount": 500,
            "currency": "usd",
            "payment_method": "pm_card_threeDSecure2Required",
            "confirm": True,
        }
    )
    assert intent.next_action is not None
    assert intent.next_action.type == "use_stripe_sdk"
    with pytest.raises(stripe.InvalidRequestError, match="must begin with a scheme"):
        await shop.client.v1.payment_intents.confirm_async(
            intent.id, {"payment_method": "pm_card_visa", "return_url": "shop.example/back"}
        )


@pytest.mark.parametrize(
    ("button", "result", "status"),
    [("complete", "authenticated", "succeeded"), ("fail", "failed", "failed")],
)
async def test_an_attempt_to_save_a_card_says_how_it_was_authenticated(
    shop: Shop, button: str, result: str, status: str
) -> None:
    customer = await shop.client.v1.customers.create_async({})
    intent = await shop.client.v1.setup_intents.create_async(
        {
            "customer": customer.id,
            "payment_method": "pm_card_authenticationRequiredOnSetup",
            "confirm": True,
            "return_url": RETURN_URL,
        }
    )
    attempts = shop.client.v1.setup_attempts
    (attempt,) = (await attempts.list_async({"setup_intent": intent.id})).data
    assert (attempt.status, intent.latest_attempt) == ("requires_action", attempt.id)
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    assert intent.next_action.redirect_to_url.url is not None

    await answer(intent.next_action.redirect_to_url.url, button)

    (attempt,) = (await attempts.list_async({"setup_intent": intent.id})).data
    assert attempt.status == status
    assert attempt.payment_method_details.card is not None
    assert attempt.payment_method_details.card.three_d_secure is not None
    assert attempt.payment_method_details.card.three_d_secure.result == result
    assert (attempt.setup_error is not None) is (status == "failed")


async def test_an_attempt_that_is_cancelled_is_abandoned(shop: Shop) -> None:
    intent = await shop.client.v1.setup_intents.create_async(
        {"payment_method": "pm_card_authenticationRequired", "confirm": True}
    )
    await shop.client.v1.setup_intents.cancel_async(intent.id)

    attempts = await shop.client.v1.setup_attempts.list_async({"setup_intent": intent.id})
    assert [attempt.status for attempt in attempts.data] == ["abandoned"]
