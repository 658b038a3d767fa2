"""Setting up Stripe creates what is missing, repairs what differs and leaves the rest alone."""

from collections.abc import AsyncIterator

import pytest

from payments.core.errors import StripeRejected
from payments.infra.context import Context, open_context
from payments.ops import stripe_setup
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.server import listen
from tests.support.newsroom import BASE_URL, settings_for
from webhooks import endpoint
from webhooks.registry import EVENT_TYPES

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox() -> Sandbox:
    return Sandbox(check_contract=True)


@pytest.fixture
async def ctx(database: str, sandbox: Sandbox) -> AsyncIterator[Context]:
    """A database of no account yet: setting up asks it whose the key may be."""
    async with listen(sandbox) as stripe_url:
        settings = settings_for(database, stripe_url)
        async with open_context(settings) as made:
            yield made
    assert sandbox.problems == []


async def changes(ctx: Context, **params: object) -> None:
    """Somebody changes our endpoint in Stripe's dashboard."""
    (ours,) = await endpoint.list_at_stripe(ctx)
    await ctx.stripe.v1.webhook_endpoints.update_async(ours.id, params)  # type: ignore[arg-type]  # any


async def test_a_dry_run_says_what_is_missing_and_creates_nothing(
    ctx: Context, sandbox: Sandbox
) -> None:
    lines = await stripe_setup.setup(ctx, dry_run=True)
    assert len(lines) == 4
    assert all("would be created" in line for line in lines)
    assert {request.method for request in sandbox.requests} == {"GET"}


async def test_what_is_missing_is_created_once(ctx: Context) -> None:
    lines = await stripe_setup.setup(ctx)
    assert sum("created" in line for line in lines) == 4
    assert sum(line.startswith("PAYMENTS_STRIPE_WEBHOOK_SECRETS=whsec_") for line in lines) == 1
    again = await stripe_setup.setup(ctx)
    assert len(again) == 4
    assert all(line.endswith("exists") for line in again)
    (ours,) = await endpoint.list_at_stripe(ctx)
    assert ours.url == f"{BASE_URL}/webhooks/stripe"
    assert set(ours.enabled_events) == set(EVENT_TYPES)
    assert await endpoint.list_problems(ctx) == []


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"disabled": True}, "is disabled"),
        ({"enabled_events": ["charge.succeeded"]}, "does not send account.updated, "),
    ],
)
async def test_an_endpoint_that_differs_is_repaired(
    ctx: Context, params: dict[str, object], problem: str
) -> None:
    await stripe_setup.setup(ctx)
    await changes(ctx, **params)
    (found,) = await endpoint.list_problems(ctx)
    assert problem in found
    assert "would be repaired" in (await stripe_setup.setup(ctx, dry_run=True))[-1]
    assert len(await endpoint.list_problems(ctx)) == 1
    assert (await stripe_setup.setup(ctx))[-1].endswith("repaired")
    assert await endpoint.list_problems(ctx) == []


async def test_a_repair_that_stripe_confirms_and_does_not_make_is_reported(
    ctx: Context, sandbox: Sandbox
) -> None:
    await stripe_setup.setup(ctx)
    await changes(ctx, disabled=True)
    sandbox.faults.add("POST", "/v1/webhook_endpoints/", "without_effect")
    with pytest.raises(StripeRejected, match="left the webhook endpoint"):
        await stripe_setup.setup(ctx)
    await stripe_setup.setup(ctx)
    assert await endpoint.list_problems(ctx) == []


async def test_a_product_that_was_archived_is_taken_back(ctx: Context, sandbox: Sandbox) -> None:
    await stripe_setup.setup(ctx)
    await ctx.stripe.v1.products.update_async("reader_payments_monthly", {"active": False})
    assert "would be taken back" in (await stripe_setup.setup(ctx, dry_run=True))[1]
    sandbox.faults.add("POST", "/v1/products/", "without_effect")
    with pytest.raises(StripeRejected, match="left reader_payments_monthly archived"):
        await stripe_setup.setup(ctx)
    assert (await stripe_setup.setup(ctx))[1].endswith("was archived, taken back")
    product = await ctx.stripe.v1.products.retrieve_async("reader_payments_monthly")
    assert product.active


async def test_an_endpoint_that_sends_more_than_we_need_is_left_alone(ctx: Context) -> None:
    await stripe_setup.setup(ctx)
    await changes(ctx, enabled_events=["*"])
    assert await endpoint.list_problems(ctx) == []
    assert (await stripe_setup.setup(ctx))[-1].endswith("exists")
    (ours,) = await endpoint.list_at_stripe(ctx)
    assert ours.enabled_events == ["*"]


async def test_an_endpoint_of_an_old_version_needs_a_new_one(
    ctx: Context, sandbox: Sandbox
) -> None:
    await stripe_setup.setup(ctx)
    (ours,) = await endpoint.list_at_stripe(ctx)
    sandbox.set_endpoint_version(ours.id, "2024-06-20")
    (found,) = await endpoint.list_problems(ctx)
    assert "renders 2024-06-20" in found
    assert "create a new one" in (await stripe_setup.setup(ctx))[-1]
    assert await endpoint.list_problems(ctx) == [found]
