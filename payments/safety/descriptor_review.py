"""The bank line: what a donor's bank really prints, which only a person can look at.

What Stripe's account says is compared every hour (`statements`); what a bank makes of it is on
paper. So every hundred days, while donors are protected, somebody gives a little by each way to
pay, waits for the statement, compares it with what we promise and files it. Here stands only when.
"""

from datetime import date, datetime, timedelta

from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.settlement.importer import ImportCursor

REVIEW_INTERVAL = timedelta(days=100)
REVIEW_CURSOR = "descriptor_review"


async def record_review(ctx: Context) -> None:
    """Somebody has looked at real lines today, and they are right."""
    async with ctx.sessions.begin() as session:
        await session.merge(ImportCursor(name=REVIEW_CURSOR, reached_at=ctx.now()))
        await alerts.close(
            session, AlertKind.DESCRIPTOR_REVIEW_DUE, object_id=REVIEW_CURSOR, now=ctx.now()
        )


async def last_review_date(ctx: Context) -> date | None:
    """When somebody looked."""
    moment = await _last_review_at(ctx)
    return None if moment is None else moment.date()


async def is_due(ctx: Context) -> bool:
    """Whether nobody has looked for too long."""
    moment = await _last_review_at(ctx)
    return moment is None or ctx.now() - moment > REVIEW_INTERVAL


async def alert_if_due(ctx: Context) -> None:
    """Call a person when it is due, where a policy is in force."""
    if ctx.settings.safety_policy is None or not await is_due(ctx):
        return
    async with ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session, AlertKind.DESCRIPTOR_REVIEW_DUE, object_id=REVIEW_CURSOR, now=ctx.now()
        )


async def _last_review_at(ctx: Context) -> datetime | None:
    async with ctx.sessions() as session:
        mark = await session.get(ImportCursor, REVIEW_CURSOR)
    return None if mark is None else mark.reached_at
