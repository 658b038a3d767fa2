"""The bare call: the SDK makes the Checkout Sessions that our service would, and that is all."""

import asyncio
import secrets
import sys
import time

import msgspec

from payments.core.money import Money
from payments.core.settings import Settings
from payments.giving import checkout_session
from payments.giving.checkout_session import Ask, Frequency
from payments.infra import context
from payments.infra.context import Runtime
from tests.bench import servers
from tests.bench.load import Plan, Seen, seen

ASK = Ask(money=Money(500, "usd"), frequency=Frequency.ONCE)


async def run(plan: Plan) -> Seen:
    """Carry the plan out with as many coroutines as it has connections."""
    named = servers.environment("postgresql+psycopg://nobody@/nothing", stripe_port=plan.port)
    settings = Settings.model_validate(
        {name.removeprefix("PAYMENTS_").lower(): value for name, value in named.items()}
    )
    took: list[float] = []
    async with context.opened(settings) as rt:
        await asyncio.gather(*(_call(rt) for _ in range(plan.connections)))
        began = time.perf_counter()

        async def caller() -> None:
            while (asked_at := time.perf_counter()) < began + plan.seconds:
                await _call(rt)
                took.append(time.perf_counter() - asked_at)

        await asyncio.gather(*(caller() for _ in range(plan.connections)))
        return seen(took, refused=0, seconds=time.perf_counter() - began)


async def _call(rt: Runtime) -> None:
    contribution_id = secrets.token_hex(16)
    request = checkout_session.checkout_request(rt, ASK, contribution_id, rt.now())
    await rt.stripe.v1.checkout.sessions.create_async(
        request,  # type: ignore[arg-type]  # plain JSON, as the service keeps it
        {"idempotency_key": contribution_id},
    )


if __name__ == "__main__":
    told = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(told))))
