"""The doctor's look at outgoing events: whether each program of the newsroom takes them."""

from datetime import timedelta

from payments.core.errors import InvalidField
from payments.infra.context import Context
from payments.infra.outgoing_events import addresses, endpoints
from payments.infra.outgoing_events.endpoints import Unreadable
from payments.infra.outgoing_events.tables import DisabledReason, EventEndpoint
from payments.risk.statement_descriptor import CheckFinding

CHECK = "events"
FAILING_FOR = timedelta(hours=1)


async def check(ctx: Context) -> list[CheckFinding]:
    """Look at each endpoint: whether it is on, takes what is sent, and has a public address."""
    async with ctx.sessions() as session:
        rows = await endpoints.list_all(session)
    findings = []
    for row in rows:
        if row.disabled_reason is not DisabledReason.BY_COLLEAGUE:
            problem = await _problem(ctx, row)
            description = f"{row.name}: {problem or 'takes events'}"
            findings.append(CheckFinding(CHECK, problem is None, description))
    return findings or [CheckFinding(CHECK, True, "no other program is sent events")]


async def _problem(ctx: Context, row: EventEndpoint) -> str | None:
    if row.disabled_reason is not None:
        return "turned off, because it takes nothing; /finance/events says why"
    if row.failing_since is not None and ctx.now() - row.failing_since > FAILING_FOR:
        return f"has taken nothing since {row.failing_since:%Y-%m-%d %H:%M} UTC"
    try:
        url = endpoints.unseal(ctx.settings, row).url
        await addresses.require_public(url, loopback=addresses.allows_loopback(ctx.settings))
    except Unreadable:
        return "sealed under a key that PAYMENTS_SECRET_KEYS has no more; save its address anew"
    except InvalidField:
        return "its host is not known, or leads into a private network"
    return None
