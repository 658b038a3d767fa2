"""What colleagues do at Stripe itself: customers, subscriptions and payments without our form."""

from typing import Any

from tests.support.newsroom import Newsroom


def with_card(
    room: Newsroom,
    email: str,
    token: str = "tok_visa",  # noqa: S107 - a test card
    *,
    customer: str | None = None,
) -> tuple[str, str]:
    """Attach a card to a customer, who is made unless given. Returns both ids."""
    act = room.sandbox.dashboard_request
    if customer is None:
        customer = str(act("POST", "/v1/customers", {"email": email})["id"])
    card = act("POST", "/v1/payment_methods", {"type": "card", "card": {"token": token}})["id"]
    act("POST", f"/v1/payment_methods/{card}/attach", {"customer": customer})
    return customer, str(card)


def product_of(room: Newsroom, product: str) -> str:
    """Return the id of a product, which is made if it is new."""
    if product not in room.sandbox.account.store.objects:
        room.sandbox.dashboard_request("POST", "/v1/products", {"id": product, "name": product})
    return product


def subscribe(
    room: Newsroom,
    customer: str,
    card: str | None,
    amount: int,
    *,
    product: str,
    interval: str = "month",
    count: int = 1,
    trial_period_days: int | None = None,
    **metadata: str,
) -> str:
    """Begin a subscription for a product, which is made if it is new. Returns its id."""
    price = {
        "currency": "usd",
        "unit_amount": amount,
        "product": product_of(room, product),
        "recurring": {"interval": interval, "interval_count": count},
    }
    params: dict[str, Any] = {
        "customer": customer,
        "items": [{"price_data": price}],
        "metadata": metadata,
    }
    if card is not None:  # else what the customer has is charged
        params["default_payment_method"] = card
    if trial_period_days is not None:
        params["trial_period_days"] = trial_period_days
    return str(room.sandbox.dashboard_request("POST", "/v1/subscriptions", params)["id"])


def update(room: Newsroom, path: str, **params: object) -> dict[str, Any]:
    """Change an object at Stripe. Returns it."""
    return dict(room.sandbox.dashboard_request("POST", path, params))


def pay_once(room: Newsroom, customer: str, card: str, amount: int, **metadata: str) -> str:
    """Charge a card of a customer. Returns the id of the charge."""
    params = {
        "amount": amount,
        "currency": "usd",
        "customer": customer,
        "payment_method": card,
        "confirm": True,
        "off_session": True,
        "metadata": metadata,
    }
    return str(
        room.sandbox.dashboard_request("POST", "/v1/payment_intents", params)["latest_charge"]
    )
