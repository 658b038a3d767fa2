"""The accounting zone is a fact of the books: recorded when they are first counted, and changed by
a recorded act alone.

A process that was started with another `PAYMENTS_ACCOUNTING_ZONE` refuses to count or to show a
figure: a month of another zone has other days. What donors do goes on. The zone is changed only
while no month is closed, because a closed month never changes.
"""

from sqlalchemy import Identity, String, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import is_known_zone
from payments.core.errors import InvalidField, PaymentsError
from payments.infra import audit_log, db
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.ledger import entries

_LAST_CLOSED = text("""
    SELECT month, zone
      FROM period_closings
     WHERE reopened_at IS NULL
     ORDER BY month DESC
     LIMIT 1
""")
_LOCK_KEY = 0x7A6F6E65  # "zone": whoever holds this advisory lock may record the first
FIRST_RECORDED_BY = "payments"


class AnotherZone(PaymentsError):
    """This process was started with another zone than the books are counted in."""

    status = 409
    code = "another-accounting-zone"
    title = "The books are counted in another time zone"


class AccountingZone(db.Base):
    """A zone that the books are counted in from then on: the newest counts. Never changed."""

    __tablename__ = "accounting_zones"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    zone: Mapped[str] = mapped_column(String(64))
    recorded_at: Mapped[db.Timestamp]
    recorded_by: Mapped[str] = mapped_column(String(80))
    reason: Mapped[str | None] = mapped_column(String(audit_log.MAX_REASON_LENGTH))


async def current(session: AsyncSession) -> str | None:
    """Return the zone of the books, None before they are counted for the first time."""
    query = select(AccountingZone.zone).order_by(AccountingZone.id.desc()).limit(1)
    zone: str | None = await session.scalar(query)
    return zone


async def history(session: AsyncSession) -> list[AccountingZone]:
    """Return the zones of the books, the newest first."""
    query = select(AccountingZone).order_by(AccountingZone.id.desc()).limit(100)
    return list(await session.scalars(query))


async def find_problem(session: AsyncSession, zone: str) -> str | None:
    """Return what is wrong with the zone of this process, None where nothing is."""
    of_books = await current(session)
    if of_books is None or of_books == zone:
        return None
    return (
        f"The books are counted in {of_books}, and this process was started with"
        f" PAYMENTS_ACCOUNTING_ZONE={zone}. Set it to {of_books} and start again, or change the"
        " zone of the books: payments period zone."
    )


async def require(session: AsyncSession, zone: str) -> None:
    """Raise AnotherZone if the books are counted in another zone."""
    problem = await find_problem(session, zone)
    if problem is not None:
        raise AnotherZone(problem)


async def record_first(ctx: Context, session: AsyncSession) -> None:
    """Record the zone of this process where the books have none. Raises AnotherZone."""
    zone = ctx.settings.accounting_zone
    if await current(session) is None:
        await db.advisory_lock(session, _LOCK_KEY)
        if await current(session) is None:
            session.add(
                AccountingZone(zone=zone, recorded_at=ctx.now(), recorded_by=FIRST_RECORDED_BY)
            )
            await session.flush()
    await require(session, zone)


async def change(ctx: Context, zone: str, *, reason: str, by: str) -> None:
    """Count the books in another zone from now on: every figure is counted again by its days.

    Raises InvalidField for no zone or the same, without a reason, or while a month is closed.
    """
    if not is_known_zone(zone):
        raise InvalidField(
            f"zone: {zone} is no time zone. It has a name such as Europe/Berlin. Nothing was"
            " changed.",
            field="zone",
        )
    reason = audit_log.validate_reason(reason)
    async with ctx.sessions.begin() as session:
        await entries.lock_chain(session)
        of_books = await current(session) or ctx.settings.accounting_zone
        if zone == of_books:
            raise InvalidField(
                f"zone: the books are counted in {zone} already. Nothing was changed.", field="zone"
            )
        closed = (await session.execute(_LAST_CLOSED)).one_or_none()
        if closed is not None:
            raise InvalidField(
                f"zone: {closed.month:%Y-%m} is closed by the days of {closed.zone}, and a closed"
                " month never changes. The zone can be changed only while none is closed. Nothing"
                " was changed.",
                field="zone",
            )
        session.add(AccountingZone(zone=zone, recorded_at=ctx.now(), recorded_by=by, reason=reason))
        await audit_log.record(
            session, AuditAction.ACCOUNTING_ZONE_CHANGED, staff_id=None, name=by,
            object_id=f"{of_books} to {zone}", reason=reason, now=ctx.now(),
        )  # fmt: skip
