"""Donor addresses: fetched from Stripe for one mail, and neither stored nor logged."""

import stripe
from sqlalchemy import select

from payments.core.errors import InvalidField
from payments.donors import donors
from payments.donors.donors import Donor
from payments.giving.contributions import Contribution
from payments.infra import stripe_client
from payments.infra.context import Context


async def of_customer(ctx: Context, customer_id: str) -> str | None:
    """Return the address of a customer at Stripe; None for one who has none or was deleted."""
    customer = await fetch_customer(ctx, customer_id)
    return None if customer is None else customer.email


async def fetch_customer(ctx: Context, customer_id: str) -> stripe.Customer | None:
    """Return a customer as they are at Stripe; None for one who was deleted."""
    try:
        with stripe_client.translate_errors():
            customer = await ctx.stripe.v1.customers.retrieve_async(customer_id)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        return None
    return None if getattr(customer, "deleted", False) else customer


async def of_donor(ctx: Context, donor: Donor) -> str | None:
    """Return the address a donor gave with, from one of their customers or, for a guest, from their
    last Checkout Session; None if Stripe has no such address any more.
    """
    async with ctx.sessions() as session:
        customer_ids = await donors.customers_of(session, donor.id)
        session_id = await session.scalar(
            select(Contribution.stripe_session_id)
            .where(Contribution.donor_id == donor.id, Contribution.stripe_session_id.is_not(None))
            .order_by(Contribution.created_at.desc())
            .limit(1)
        )
    for customer_id in customer_ids:
        address = await of_customer(ctx, customer_id)
        if _is_address_of(ctx, donor, address):
            return address
    if session_id is None:
        return None
    with stripe_client.translate_errors():
        checkout = await ctx.stripe.v1.checkout.sessions.retrieve_async(session_id)
    address = checkout.customer_details.email if checkout.customer_details is not None else None
    return address if _is_address_of(ctx, donor, address) else None


def _is_address_of(ctx: Context, donor: Donor, address: str | None) -> bool:
    """Whether an address has this donor's hash: a customer's address may have been changed."""
    try:
        return address is not None and donor.address_hash in donors.address_hashes(
            ctx.settings, address
        )
    except InvalidField:
        return False
