"""Review of the statement descriptor as banks print it, which only a person can see.

`risk.statement_descriptor` compares every hour what Stripe's account says; what a bank makes of it
is on paper. So every hundred days, while a safety policy is in force, somebody gives a little by
each payment method, waits for the statement, compares it with the form's notice, and files it.
Stored is only when the last review was.
"""

from datetime import date, datetime, timedelta

from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.settlement.importer import ImportCursor

REVIEW_INTERVAL = timedelta(days=100)
REVIEW_CURSOR = "descriptor_review"


async def record_review(ctx: Context) -> None:
    """Record that somebody compared real statements today and found them right."""
    async with ctx.sessions.begin() as session:
        await session.merge(ImportCursor(name=REVIEW_CURSOR, reached_at=ctx.now()))
        await alerts.close(
            session, AlertKind.DESCRIPTOR_REVIEW_DUE, object_id=REVIEW_CURSOR, now=ctx.now()
        )


async def last_review_date(ctx: Context) -> date | None:
    """Return the day of the last review, in UTC, if there was one."""
    reviewed_at = await _last_review_at(ctx)
    return None if reviewed_at is None else reviewed_at.date()


async def is_due(ctx: Context) -> bool:
    """Whether the last review is longer ago than the interval, or there was none."""
    reviewed_at = await _last_review_at(ctx)
    return reviewed_at is None or ctx.now() - reviewed_at > REVIEW_INTERVAL


async def alert_if_due(ctx: Context) -> None:
    """Raise an alert when a review is due and a safety policy is in force."""
    if ctx.settings.safety_policy is None or not await is_due(ctx):
        return
    async with ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session, AlertKind.DESCRIPTOR_REVIEW_DUE, object_id=REVIEW_CURSOR, now=ctx.now()
        )


async def _last_review_at(ctx: Context) -> datetime | None:
    async with ctx.sessions() as session:
        cursor = await session.get(ImportCursor, REVIEW_CURSOR)
    return None if cursor is None else cursor.reached_at
