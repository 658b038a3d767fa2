"""The bare call: the SDK makes the Checkout Sessions that our service would, and that is all."""

import asyncio
import secrets
import sys
import time

import msgspec

from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.core.settings import Settings
from payments.giving import checkout_session
from payments.giving.checkout_session import ContributionRequest
from payments.infra import context
from payments.infra.context import Context
from tests.bench import servers
from tests.bench.load import LoadPlan, LoadResult, load_result

REQUEST = ContributionRequest(money=Money(500, "usd"), frequency=Frequency.ONCE)


async def run(plan: LoadPlan) -> LoadResult:
    """Carry the plan out with as many coroutines as it has connections."""
    named = servers.environment("postgresql+psycopg://nobody@/nothing", stripe_port=plan.port)
    settings = Settings.model_validate(
        {name.removeprefix("PAYMENTS_").lower(): value for name, value in named.items()}
    )
    took: list[float] = []
    async with context.open_context(settings) as ctx:
        await asyncio.gather(*(_call(ctx) for _ in range(plan.connections)))
        began = time.perf_counter()

        async def caller() -> None:
            while (asked_at := time.perf_counter()) < began + plan.seconds:
                await _call(ctx)
                took.append(time.perf_counter() - asked_at)

        await asyncio.gather(*(caller() for _ in range(plan.connections)))
        return load_result(took, refused=0, seconds=time.perf_counter() - began)


async def _call(ctx: Context) -> None:
    contribution_id = secrets.token_hex(16)
    request = checkout_session.build_params(ctx, REQUEST, contribution_id, ctx.now())
    await ctx.stripe.v1.checkout.sessions.create_async(
        request,  # type: ignore[arg-type]  # plain JSON, as the service keeps it
        {"idempotency_key": contribution_id},
    )


if __name__ == "__main__":
    requested_plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(requested_plan))))
