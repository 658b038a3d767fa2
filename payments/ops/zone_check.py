"""Zone check: whether this process counts in the accounting zone of the books."""

from payments.accounting import accounting_zone
from payments.infra.context import Context
from payments.risk.statement_descriptor import CheckFinding


async def check(ctx: Context) -> list[CheckFinding]:
    """Return whether the setting is the zone of the books, or why not."""
    zone = ctx.settings.accounting_zone
    async with ctx.sessions() as session:
        problem = await accounting_zone.find_problem(session, zone)
    return [CheckFinding("zone", problem is None, problem or f"the books are counted in {zone}")]
