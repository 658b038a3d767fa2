"""Donor addresses, and names: fetched from Stripe for one mail or paper, neither stored nor logged.

An address that is changed at Stripe, there or by its donor here (`safety.address_change`), is
followed: what its customer gave belongs to the donor of the new address from then on, and the old
mailbox opens none of it.
"""

import stripe
from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import InvalidField
from payments.donors import donors, sign_in
from payments.donors.donors import Donor
from payments.giving import subscriptions
from payments.giving.contributions import Contribution
from payments.giving.subscription_differences import notify
from payments.giving.subscriptions import Subscription
from payments.infra import stripe_client
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.outbox import MailKind


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
    found = await _find_at_stripe(ctx, donor)
    return None if found is None else found.email


async def name_of_donor(ctx: Context, donor: Donor) -> str | None:
    """Return the name that Stripe has of a donor, for one paper that they ask for; None if none.

    It is neither stored nor logged. Raises StripeUnavailable.
    """
    found = await _find_at_stripe(ctx, donor)
    return None if found is None else found.name


async def _find_at_stripe(
    ctx: Context, donor: Donor
) -> stripe.Customer | stripe.checkout.Session.CustomerDetails | None:
    """Return whatever has a donor's address: one of their customers, or else the details that they
    gave at their last Checkout Session.
    """
    async with ctx.sessions() as session:
        customer_ids = await donors.customers_of(session, donor.id)
        session_id = await _last_session_id(session, donor)
    for customer_id in customer_ids:
        customer = await fetch_customer(ctx, customer_id)
        if customer is not None and await _is_address_of(ctx, donor, customer.email):
            return customer
    details = None if session_id is None else await _session_details(ctx, session_id)
    if details is not None and await _is_address_of(ctx, donor, details.email):
        return details
    return None


async def _last_session_id(session: AsyncSession, donor: Donor) -> str | None:
    session_id: str | None = await session.scalar(
        select(Contribution.stripe_session_id)
        .where(Contribution.donor_id == donor.id, Contribution.stripe_session_id.is_not(None))
        .order_by(Contribution.created_at.desc())
        .limit(1)
    )
    return session_id


async def _session_details(
    ctx: Context, session_id: str
) -> stripe.checkout.Session.CustomerDetails | None:
    with stripe_client.translate_errors():
        checkout = await ctx.stripe.v1.checkout.sessions.retrieve_async(session_id)
    return checkout.customer_details


async def _is_address_of(ctx: Context, donor: Donor, address: str | None) -> bool:
    """Whether an address has this donor's hash: a customer's address may have been changed."""
    try:
        return address is not None and donors.has_address(
            donor, await donors.address_hashes(ctx.settings, address)
        )
    except InvalidField:
        return False


# --- a changed address ----------------------------------------------------------------------------


async def sync_if_changed(ctx: Context, customer: stripe.Customer) -> None:
    """Do as `sync_address` if a customer, as just fetched, has not the address of their donor."""
    async with ctx.sessions() as session:
        donor = await donors.of_customer(session, customer.id)
    if donor is None:
        return
    hashes = await donors.lenient_address_hashes(ctx.settings, customer.email)
    if not donors.has_address(donor, hashes):
        await sync_address(ctx, customer.id)


async def sync_address(ctx: Context, customer_id: str) -> None:
    """Move what a customer gave to the donor of the address that the customer has now.

    Sign-in links and sessions of the old mailbox end at once, and so do the links in its mails.
    Nothing happens for a customer who is no donor's or was deleted: they are not somebody else.
    """
    async with ctx.sessions() as session:
        if await donors.of_customer(session, customer_id) is None:
            return
    with stripe_client.translate_errors():
        customer = await ctx.stripe.v1.customers.retrieve_async(customer_id)
    if getattr(customer, "deleted", False):
        return
    hashes = await donors.lenient_address_hashes(ctx.settings, customer.email)
    async with ctx.sessions() as session:
        donor = await donors.of_customer(session, customer_id)
        if donor is None or donors.has_address(donor, hashes):
            return
    with stripe_client.translate_errors():
        checkouts = await ctx.stripe.v1.checkout.sessions.list_async(
            {"customer": customer_id, "limit": 100}
        )
        session_ids = [checkout.id async for checkout in checkouts.auto_paging_iter()]
    async with ctx.sessions.begin() as session:
        await donors.lock(session, donor.id)
        current = await donors.of_customer(session, customer_id)
        if current is None or current.id != donor.id:
            return  # erased or moved in the meantime
        new_id = await donors.move_customer(session, hashes, customer_id, now=ctx.now())
        begun = select(Subscription.contribution_id).where(
            Subscription.stripe_customer_id == customer_id
        )
        await session.execute(
            update(Contribution)
            .where(
                Contribution.donor_id == donor.id,
                or_(Contribution.id.in_(begun), Contribution.stripe_session_id.in_(session_ids)),
            )
            .values(donor_id=new_id)
        )
        await sign_in.end_access(session, donor.id)
        await _notify_if_several(ctx, session, new_id, customer_id)
        await delete_if_empty(session, donor.id)


async def _notify_if_several(
    ctx: Context, session: AsyncSession, donor_id: str, customer_id: str
) -> None:
    """Enqueue the mail about a second subscription where a new address makes two donors one.

    None is enqueued where their donor had it before about one of them.
    """
    live = [one for one in await subscriptions.list_for_donor(session, donor_id) if one.is_live]
    moved = [one for one in live if one.stripe_customer_id == customer_id]
    kind = MailKind.SECOND_BEGUN
    keys = [f"{kind}:{one.stripe_subscription_id}" for one in live]
    if moved and len(live) > len(moved) and not await outbox.exists(session, keys):
        newest = moved[0]
        key = f"{kind}:{newest.stripe_subscription_id}"
        await notify(ctx, session, newest, kind, key=key)


async def delete_if_empty(session: AsyncSession, donor_id: str) -> None:
    """Delete a donor of whom nothing is left."""
    gave = select(Contribution.id).where(Contribution.donor_id == donor_id).limit(1)
    if await session.scalar(gave) is None and not await donors.customers_of(session, donor_id):
        await donors.delete_donors(session, [donor_id])
