"""What this service needs at Stripe: a Product for each frequency, and a webhook endpoint.

Setting up is safe to repeat: it creates what is missing and repairs what differs.
"""

from typing import Any

import stripe

from payments.core.errors import StripeRejected
from payments.core.frequency import OFFERED_FREQUENCIES, Frequency
from payments.giving.checkout_session import product_id
from payments.infra import stripe_client
from payments.infra.context import Context
from webhooks import endpoint
from webhooks.registry import EVENT_TYPES

# Readers see these on Stripe's page and in their receipts; they name no newsroom.
PRODUCT_NAMES = {
    Frequency.ONCE: "Contribution",
    Frequency.MONTHLY: "Monthly contribution",
    Frequency.ANNUAL: "Annual contribution",
}
ENABLED_EVENTS: list[Any] = list(EVENT_TYPES)  # the SDK wants each of its 275 literals


async def setup(ctx: Context, *, dry_run: bool = False) -> list[str]:
    """Create what is missing and repair what differs; with `dry_run` change nothing.

    Returns a line for each object, and `PAYMENTS_STRIPE_WEBHOOK_SECRETS=…` of a new endpoint.
    """
    lines = [
        await _ensure_product(ctx, frequency, dry_run=dry_run) for frequency in OFFERED_FREQUENCIES
    ]
    return [*lines, *await _ensure_webhook_endpoint(ctx, dry_run=dry_run)]


async def _ensure_product(ctx: Context, frequency: Frequency, *, dry_run: bool) -> str:
    product = product_id(frequency)
    try:
        with stripe_client.translate_errors():
            found = await ctx.stripe.v1.products.retrieve_async(product)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
    else:
        if found.active:
            return f"product {product}: exists"
        return await _unarchive_product(ctx, product, dry_run=dry_run)
    if dry_run:
        return f"product {product}: would be created"
    with stripe_client.translate_errors():
        await ctx.stripe.v1.products.create_async({"id": product, "name": PRODUCT_NAMES[frequency]})
    return f"product {product}: created"


async def _unarchive_product(ctx: Context, product: str, *, dry_run: bool) -> str:
    """Let prices be made of a product again: Stripe refuses them of an archived one."""
    if dry_run:
        return f"product {product}: is archived and would be taken back"
    with stripe_client.translate_errors():
        updated = await ctx.stripe.v1.products.update_async(product, {"active": True})
    if not updated.active:
        raise StripeRejected(f"Stripe left {product} archived: nobody can give by it.")
    return f"product {product}: was archived, taken back"


async def _ensure_webhook_endpoint(ctx: Context, *, dry_run: bool) -> list[str]:
    endpoints = await endpoint.list_at_stripe(ctx)
    if not endpoints:
        return await _create_webhook_endpoint(ctx, dry_run=dry_run)
    lines = []
    for ours in endpoints:
        if not endpoint.is_current_version(ours):
            lines.append(
                f"webhook endpoint {ours.id}: renders {ours.api_version}; "
                f"create a new one at {stripe_client.API_VERSION} and remove this"
            )
        if not endpoint.is_subscribed(ours):
            if not dry_run:
                with stripe_client.translate_errors():
                    updated = await ctx.stripe.v1.webhook_endpoints.update_async(
                        ours.id, {"enabled_events": ENABLED_EVENTS, "disabled": False}
                    )
                if not endpoint.is_subscribed(updated):
                    raise StripeRejected(f"Stripe left the webhook endpoint {ours.id} as it was.")
            lines.append(f"webhook endpoint {ours.id}: {'would be ' if dry_run else ''}repaired")
    return lines or [f"webhook endpoint {endpoints[0].id}: exists"]


async def _create_webhook_endpoint(ctx: Context, *, dry_run: bool) -> list[str]:
    url = endpoint.url(ctx.settings)
    if dry_run:
        return [f"webhook endpoint {url}: would be created"]
    with stripe_client.translate_errors():
        created = await ctx.stripe.v1.webhook_endpoints.create_async(
            {
                "url": url,
                "enabled_events": ENABLED_EVENTS,
                "api_version": stripe_client.API_VERSION,
            }
        )
    return [
        f"webhook endpoint {created.id}: created",
        f"PAYMENTS_STRIPE_WEBHOOK_SECRETS={created.secret}",
        "Store that secret now: Stripe shows it only once.",
    ]
