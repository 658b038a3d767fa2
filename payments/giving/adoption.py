"""Adoption: which payments and subscriptions of the Stripe account are contributions.

What our own form began always is: by our id in its metadata, or by our products. Of the rest
`PAYMENTS_ADOPT` decides. What is not a contribution is another line of business of the account: it
has no donor, nobody is written to about it, and its money is booked as other income.
"""

from collections.abc import Collection, Iterable

import stripe
from stripe.checkout import Session as CheckoutSession

from payments.core.adoption import AdoptionKind, AdoptionRule, parse
from payments.core.calendar import from_unix
from payments.core.frequency import OFFERED_FREQUENCIES
from payments.core.identifiers import is_row_id
from payments.donors import donors
from payments.giving.checkout_session import product_id
from payments.infra import stripe_client
from payments.infra.context import Context

OWN_PRODUCTS = frozenset(product_id(frequency) for frequency in OFFERED_FREQUENCIES)
SETTING = "PAYMENTS_ADOPT"  # what the alert is about
Holder = stripe.StripeObject | None  # something of Stripe's with metadata


def _includes_by_itself(rule: AdoptionRule, fetched: stripe.Subscription) -> bool:
    """Whether a subscription is a contribution by its metadata, or the product of any item."""
    return _includes(rule, [fetched], _products_of(fetched))


async def includes_subscription(ctx: Context, fetched: stripe.Subscription) -> bool:
    """Whether a subscription is a contribution: by itself or, where metadata decides, by that of
    the session that began it. A Payment Link's metadata is its sessions' alone. Raises
    StripeUnavailable.

    What the rule of an erasure of everybody left out stays another line of business, also by a
    wider rule: whoever began it before then was not erased, and is not taken for erased later.
    """
    if not await _includes_subscription(ctx, ctx.settings.adopt, fetched):
        return False
    async with ctx.sessions() as session:
        rules = await donors.erased_by_rules(session, from_unix(fetched.start_date))
    fits = [await _includes_subscription(ctx, parse(rule), fetched) for rule in rules]
    return any(fits) or not rules


async def _includes_subscription(
    ctx: Context, rule: AdoptionRule, fetched: stripe.Subscription
) -> bool:
    if _includes_by_itself(rule, fetched):
        return True
    if rule.kind is not AdoptionKind.METADATA:
        return False
    with stripe_client.translate_errors():
        begun_by = await ctx.stripe.v1.checkout.sessions.list_async(
            {"subscription": fetched.id, "limit": 1}
        )
    return _includes(rule, begun_by.data, ())


async def includes_session(ctx: Context, fetched: CheckoutSession) -> bool:
    """Whether a Checkout Session is for a contribution. Its intent and subscription are expanded.

    A Payment Link's metadata is its sessions'. Raises StripeUnavailable.
    """
    holders: list[Holder] = [fetched]
    for made in (fetched.payment_intent, fetched.subscription):
        holders += [made] if isinstance(made, stripe.StripeObject) else []
    if _includes(ctx.settings.adopt, holders, ()):
        return True
    if isinstance(fetched.subscription, stripe.Subscription):
        return _includes_by_itself(ctx.settings.adopt, fetched.subscription)
    with stripe_client.translate_errors():
        lines = await ctx.stripe.v1.checkout.sessions.line_items.list_async(
            fetched.id, {"limit": 100}
        )
    products = {stripe_client.id_of(line.price.product) for line in lines.data if line.price}
    return _includes(ctx.settings.adopt, (), products)


async def includes_charge(
    ctx: Context, fetched: stripe.Charge, invoice: stripe.Invoice | None
) -> bool:
    """Whether a charge without a row of ours pays a contribution.

    It is looked for in its metadata, its invoice's, and its Checkout Session's. Raises
    StripeUnavailable.
    """
    products = set[str | None]()
    for line in invoice.lines.data if invoice is not None else ():
        details = line.pricing.price_details if line.pricing is not None else None
        products |= {details.product} if details is not None else set()
    if _includes(ctx.settings.adopt, [fetched, invoice], products):
        return True
    intent_id = stripe_client.id_of(fetched.payment_intent)
    if intent_id is None:
        return False
    with stripe_client.translate_errors():
        sessions = await ctx.stripe.v1.checkout.sessions.list_async(
            {
                "payment_intent": intent_id,
                "expand": ["data.payment_intent", "data.subscription"],
            }
        )
    return any([await includes_session(ctx, session) for session in sessions.data])


def _products_of(fetched: stripe.Subscription) -> set[str | None]:
    return {stripe_client.id_of(item.price.product) for item in fetched["items"].data}


def _includes(
    rule: AdoptionRule, holders: Iterable[Holder], products: Collection[str | None]
) -> bool:
    claims = (stripe_client.metadata_value(one, "contribution_id") for one in holders)
    if any(is_row_id(claim) for claim in claims if claim is not None):
        return True
    if OWN_PRODUCTS & set(products):
        return True
    match rule.kind:
        case AdoptionKind.ALL:
            return True
        case AdoptionKind.PRODUCTS:
            return bool(rule.products & set(products))
        case AdoptionKind.METADATA:
            values = [stripe_client.metadata_value(one, rule.key) for one in holders]
            return rule.value in values
        case AdoptionKind.OURS:
            return False
