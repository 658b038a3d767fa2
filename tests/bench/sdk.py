"""The bare call: Stripe's SDK creates the Checkout Sessions that the service would, and no more."""

import asyncio
import secrets
import sys
import time

import msgspec

from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.core.settings import load
from payments.giving import checkout_session
from payments.giving.checkout_session import ContributionRequest
from payments.infra import context
from payments.infra.context import Context
from tests.bench import servers
from tests.bench.load import LoadPlan, LoadResult, load_result

REQUEST = ContributionRequest(money=Money(500, "usd"), frequency=Frequency.ONCE)


async def run(plan: LoadPlan) -> LoadResult:
    """Carry out a plan, with as many coroutines as it has connections."""
    database = "postgresql+psycopg://nobody@/nothing"
    settings = load(servers.environment(database, stripe_port=plan.port))
    response_times: list[float] = []
    async with context.open_context(settings) as ctx:
        await asyncio.gather(*(_call(ctx) for _ in range(plan.connections)))
        began = time.perf_counter()

        async def caller() -> None:
            while (sent_at := time.perf_counter()) < began + plan.seconds:
                await _call(ctx)
                response_times.append(time.perf_counter() - sent_at)

        await asyncio.gather(*(caller() for _ in range(plan.connections)))
        return load_result(response_times, refused=0, seconds=time.perf_counter() - began)


async def _call(ctx: Context) -> None:
    contribution_id = secrets.token_hex(16)
    params = checkout_session.build_params(ctx, REQUEST, contribution_id, ctx.now())
    await ctx.stripe.v1.checkout.sessions.create_async(
        params,  # type: ignore[arg-type]  # plain JSON, as the service stores it
        {"idempotency_key": contribution_id},
    )


if __name__ == "__main__":
    requested_plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(requested_plan))))
