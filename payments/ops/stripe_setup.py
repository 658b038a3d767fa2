"""What this service needs at Stripe: a Product for each frequency and a webhook endpoint. Safe to
repeat.
"""

from typing import Any

import stripe

from payments.giving.checkout_session import Frequency, product_id
from payments.infra import stripe_client
from payments.infra.context import Context
from webhooks import EVENT_TYPES

# Readers see these on Stripe's page and in their receipts; they name no newsroom.
PRODUCT_NAMES = {
    Frequency.ONCE: "Contribution",
    Frequency.MONTHLY: "Monthly contribution",
    Frequency.ANNUAL: "Annual contribution",
}
ENABLED_EVENTS: list[Any] = list(EVENT_TYPES)  # the SDK wants each of its 275 literals


async def setup(ctx: Context, *, dry_run: bool = False) -> list[str]:
    """Make what is missing, mend what differs. Gives a line for each thing."""
    lines = [await _ensure_product(ctx, frequency, dry_run=dry_run) for frequency in Frequency]
    return [*lines, *await _ensure_webhook_endpoint(ctx, dry_run=dry_run)]


async def _ensure_product(ctx: Context, frequency: Frequency, *, dry_run: bool) -> str:
    wanted = product_id(frequency)
    try:
        with stripe_client.translate_errors():
            await ctx.stripe.v1.products.retrieve_async(wanted)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
    else:
        return f"product {wanted}: there"
    if dry_run:
        return f"product {wanted}: would be made"
    with stripe_client.translate_errors():
        await ctx.stripe.v1.products.create_async(
            {"id": wanted, "name": PRODUCT_NAMES[frequency]},
            {"idempotency_key": f"product-{wanted}"},
        )
    return f"product {wanted}: made"


async def _ensure_webhook_endpoint(ctx: Context, *, dry_run: bool) -> list[str]:
    url = f"{ctx.settings.base_url}/webhooks/stripe"
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.webhook_endpoints.list_async({"limit": 100})
        found = [end async for end in page.auto_paging_iter() if end.url == url]
    if not found:
        return await _create_webhook_endpoint(ctx, url, dry_run=dry_run)
    lines = []
    for end in found:
        if end.api_version != stripe_client.API_VERSION:
            lines.append(
                f"webhook endpoint {end.id}: renders {end.api_version}; "
                f"make a new one at {stripe_client.API_VERSION} and remove this"
            )
        if set(end.enabled_events) != set(EVENT_TYPES) or end.status != "enabled":
            if not dry_run:
                with stripe_client.translate_errors():
                    await ctx.stripe.v1.webhook_endpoints.update_async(
                        end.id,
                        {"enabled_events": ENABLED_EVENTS, "disabled": False},
                    )
            lines.append(f"webhook endpoint {end.id}: {'would be ' if dry_run else ''}mended")
    return lines or [f"webhook endpoint {found[0].id}: there"]


async def _create_webhook_endpoint(ctx: Context, url: str, *, dry_run: bool) -> list[str]:
    if dry_run:
        return [f"webhook endpoint {url}: would be made"]
    with stripe_client.translate_errors():
        made = await ctx.stripe.v1.webhook_endpoints.create_async(
            {
                "url": url,
                "enabled_events": ENABLED_EVENTS,
                "api_version": stripe_client.API_VERSION,
            }
        )
    return [
        f"webhook endpoint {made.id}: made",
        f"PAYMENTS_STRIPE_WEBHOOK_SECRETS={made.secret}",
        "Keep that secret now: Stripe shows it only once.",
    ]
