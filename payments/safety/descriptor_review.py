"""The bank line: what a donor's bank really prints, which only a person can look at.

What Stripe's account says is compared every hour (`statements`); what a bank makes of it is on
paper. So every hundred days, while donors are protected, somebody gives a little by each way to
pay, waits for the statement, compares it with what we promise and files it. Here stands only when.
"""

from datetime import date, datetime, timedelta

from payments.infra import alerts
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.settlement.importer import Watermark

LOOKED_AT_EVERY = timedelta(days=100)
NAME = "bank_line_seen"


async def seen(rt: Runtime) -> None:
    """Somebody has looked at real lines today, and they are right."""
    async with rt.sessions.begin() as session:
        await session.merge(Watermark(name=NAME, reached=rt.now()))
        await alerts.close(session, AlarmKind.BANK_LINE, subject=NAME, now=rt.now())


async def last_seen(rt: Runtime) -> date | None:
    """When somebody looked."""
    moment = await _moment(rt)
    return None if moment is None else moment.date()


async def is_due(rt: Runtime) -> bool:
    """Whether nobody has looked for too long."""
    moment = await _moment(rt)
    return moment is None or rt.now() - moment > LOOKED_AT_EVERY


async def watch(rt: Runtime) -> None:
    """Call a person when it is due, where a policy is in force."""
    if rt.settings.policy is None or not await is_due(rt):
        return
    async with rt.sessions.begin() as session:
        await alerts.sound(session, AlarmKind.BANK_LINE, subject=NAME, now=rt.now())


async def _moment(rt: Runtime) -> datetime | None:
    async with rt.sessions() as session:
        mark = await session.get(Watermark, NAME)
    return None if mark is None else mark.reached
