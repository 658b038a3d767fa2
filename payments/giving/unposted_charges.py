"""Unposted charges: those whose balance transactions wait, as their contribution is not known."""

from collections.abc import Sequence

from sqlalchemy import func, or_, select

from payments.giving import charges
from payments.infra import alerts, isolation
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.ledger import balance_transactions
from payments.ledger.balance_transactions import BalanceTransaction, UnpostedTransaction


async def attribute(ctx: Context, *, limit: int = 1000) -> int:
    """Fetch the charges of unposted balance transactions. Returns how many.

    This is how everything is posted when no webhook comes, and how a payment without a row is
    imported in the end. What is still unposted after its grace raises an alert.
    """
    # Any of them: the oldest might be those that Stripe never shows.
    query = (
        select(BalanceTransaction.charge)
        .join(UnpostedTransaction, UnpostedTransaction.balance_transaction == BalanceTransaction.id)
        .where(BalanceTransaction.charge.is_not(None))
        .group_by(BalanceTransaction.charge)
        .order_by(func.random())
        .limit(limit)
    )
    async with ctx.sessions() as session:
        charge_ids = [id_ for id_ in await session.scalars(query) if id_ is not None]
    await isolation.for_each(
        ctx, charge_ids, lambda charge_id: charges.sync(ctx, charge_id, lookup=True), job="charge"
    )
    await _alert_unattributed(ctx, charge_ids)
    return len(charge_ids)


async def _alert_unattributed(ctx: Context, looked_up: Sequence[str]) -> None:
    """Raise an alert for what is still unposted although its charge was looked up, and close those
    of what is posted by now.
    """
    transaction = BalanceTransaction
    waits = or_(transaction.charge.is_(None), transaction.charge.in_(looked_up))
    is_late = transaction.occurred_at < ctx.now() - charges.ATTRIBUTION_GRACE
    async with ctx.sessions.begin() as session:
        for late in await balance_transactions.unposted(session, waits, is_late):
            await alerts.raise_alert(
                session, AlertKind.UNATTRIBUTED, object_id=late.id, now=ctx.now()
            )
        open_ids = await alerts.open_object_ids(session, AlertKind.UNATTRIBUTED)
        query = select(UnpostedTransaction.balance_transaction).where(
            UnpostedTransaction.balance_transaction.in_(open_ids)
        )
        posted = open_ids - set(await session.scalars(query))
        await alerts.close_all(
            session, AlertKind.UNATTRIBUTED, object_ids=list(posted), now=ctx.now()
        )
