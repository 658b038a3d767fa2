"""Our webhook endpoint at Stripe, and the one rule of when it is right.

It is right when it is enabled, sends every event type of the registry, and renders objects at the
API version of this service. A click in Stripe's dashboard can change that without any event, so a
schedule looks at it, and `payments stripe setup` and `payments doctor` go by the same rule.
"""

import stripe

from payments.core.settings import Settings
from payments.infra import alerts, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from webhooks.registry import EVENT_TYPES

PATH = "/webhooks/stripe"
OBJECT_TYPE = "webhook_endpoint"  # also the alert's object: there is one endpoint
ALL_EVENTS = "*"


def url(settings: Settings) -> str:
    """Return the address that Stripe is to post events to."""
    return f"{settings.base_url}{PATH}"


async def list_at_stripe(ctx: Context) -> list[stripe.WebhookEndpoint]:
    """Return the account's endpoints with our address; there should be one."""
    our_url = url(ctx.settings)
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.webhook_endpoints.list_async({"limit": 100})
        return [endpoint async for endpoint in page.auto_paging_iter() if endpoint.url == our_url]


def is_subscribed(endpoint: stripe.WebhookEndpoint) -> bool:
    """Whether it is enabled and sends every event type we need. Stripe lets both be changed."""
    return endpoint.status == "enabled" and not _missing_event_types(endpoint)


def is_current_version(endpoint: stripe.WebhookEndpoint) -> bool:
    """Whether it renders objects at our API version, which only a new endpoint can change."""
    return endpoint.api_version == stripe_client.API_VERSION


def _missing_event_types(endpoint: stripe.WebhookEndpoint) -> list[str]:
    enabled = set(endpoint.enabled_events)
    return [] if ALL_EVENTS in enabled else sorted(set(EVENT_TYPES) - enabled)


def _problems_of(endpoint: stripe.WebhookEndpoint) -> list[str]:
    problems = []
    if endpoint.status != "enabled":
        problems.append("is disabled")
    if not is_current_version(endpoint):
        problems.append(f"renders {endpoint.api_version}, not {stripe_client.API_VERSION}")
    if missing := _missing_event_types(endpoint):
        problems.append(f"does not send {', '.join(missing)}")
    return problems


async def list_problems(ctx: Context) -> list[str]:
    """Return how the endpoint at Stripe differs from what this service needs, for the operator."""
    endpoints = await list_at_stripe(ctx)
    if not endpoints:
        missing = f"there is no webhook endpoint for {url(ctx.settings)}"
        return [f"{missing}; `payments stripe setup` makes one"]
    return [
        f"{endpoint.id} {problem}" for endpoint in endpoints for problem in _problems_of(endpoint)
    ]


async def refresh_alert(ctx: Context) -> list[str]:
    """Raise the alert about the endpoint or close it. Returns the problems."""
    problems = await list_problems(ctx)
    change = alerts.raise_alert if problems else alerts.close
    async with ctx.sessions.begin() as session:
        await change(
            session, AlertKind.WEBHOOK_ENDPOINT_DRIFT, object_id=OBJECT_TYPE, now=ctx.now()
        )
    return problems
