"""Reconciliation with Stripe: objects that are missing here or differ, and their repair.

Stripe lists all it created in a window of days, and each object is compared with our row. A repair
runs the handlers that webhooks run. What it cannot repair, such as a balance transaction whose
amount was changed here, stays on the list: then somebody has changed the books.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from payments.infra import stripe_account, stripe_client
from payments.infra.context import Context
from payments.ops import stripe_setup
from payments.settlement import importer
from webhooks import endpoint
from webhooks.registry import SYNC_HANDLERS

SYNC_GRACE = timedelta(minutes=5)  # what is newer may still be on its way here
BALANCE_TRANSACTION = "balance_transaction"
PAGE_SIZE = 100  # the most that Stripe lists at once
ComparedValues = tuple[object, ...]  # of one object, in the order of its comparison


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that is not here as it is at Stripe."""

    kind: str
    id: str
    description: str


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """What differed, and what still does; the same when nothing was repaired."""

    before: tuple[Difference, ...]
    after: tuple[Difference, ...]


async def run(ctx: Context, *, days: int = 30, repair: bool = False) -> ReconcileResult:
    """Compare all that Stripe created in the last `days`, and with `repair` repairs it."""
    await stripe_account.ensure_bound(ctx)
    until = ctx.now() - SYNC_GRACE
    since = until - timedelta(days=days)
    before = await find_differences(ctx, since, until)
    if not repair or not before:
        return ReconcileResult(before, before)
    await _repair(ctx, before, since)
    return ReconcileResult(before, await find_differences(ctx, since, until))


async def find_differences(
    ctx: Context, since: datetime, until: datetime
) -> tuple[Difference, ...]:
    """Return all that differs, of objects created in the window; balance transactions last."""
    differences = [
        Difference(endpoint.OBJECT_TYPE, endpoint.OBJECT_TYPE, problem)
        for problem in await endpoint.list_problems(ctx)
    ]
    window = {"created": {"gte": int(since.timestamp()), "lte": int(until.timestamp())}}
    for kind, comparison in COMPARISONS.items():
        async for at_stripe in _list_at_stripe(ctx, comparison, window):
            stored = await _stored_values(ctx, comparison, list(at_stripe))
            differences += [
                Difference(kind, id_, _describe(stored.get(id_), values))
                for id_, values in at_stripe.items()
                if stored.get(id_) != values
            ]
    return tuple(differences)


def _describe(stored: ComparedValues | None, at_stripe: ComparedValues) -> str:
    stripe_part = f"at Stripe it is {', '.join(map(str, at_stripe))}"
    if stored is None:
        return f"is missing here; {stripe_part}"
    return f"is {', '.join(map(str, stored))} here; {stripe_part}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one type of object is listed at Stripe, and what of it our row must equal."""

    list_service: Callable[[Context], Any]  # the SDK's services share no type
    stripe_values: Callable[[Any], ComparedValues | None]  # None for what we would not store
    table: str
    id_column: str
    columns_sql: str
    list_params: Mapping[str, object] = field(default_factory=dict)


AMOUNT_COLUMNS = "amount, currency, status"
COMPARISONS = {
    "checkout.session": Comparison(
        lambda ctx: ctx.stripe.v1.checkout.sessions,
        lambda s: ("paid",) if s.mode != "setup" and s.payment_status == "paid" else None,
        "contributions",
        "stripe_session_id",
        "CASE status WHEN 'returned' THEN 'paid' ELSE status END",
        {"status": "complete"},
    ),
    "subscription": Comparison(
        lambda ctx: ctx.stripe.v1.subscriptions,
        lambda s: (s.status,),
        "subscriptions",
        "stripe_subscription_id",
        "status",
        {"status": "all"},
    ),
    "charge": Comparison(
        lambda ctx: ctx.stripe.v1.charges,
        lambda c: (c.amount, c.currency, c.balance_transaction) if c.paid else None,
        "charges",
        "stripe_charge_id",
        "amount, currency, balance_transaction",
    ),
    "refund": Comparison(
        lambda ctx: ctx.stripe.v1.refunds,
        lambda r: (r.amount, r.currency, r.status),
        "refunds",
        "stripe_refund_id",
        AMOUNT_COLUMNS,
    ),
    "dispute": Comparison(
        lambda ctx: ctx.stripe.v1.disputes,
        lambda d: (d.amount, d.currency, d.status),
        "disputes",
        "stripe_dispute_id",
        AMOUNT_COLUMNS,
    ),
    "radar.early_fraud_warning": Comparison(
        lambda ctx: ctx.stripe.v1.radar.early_fraud_warnings,
        lambda w: (w.actionable,),
        "fraud_warnings",
        "stripe_warning_id",
        "actionable",
    ),
    "payout": Comparison(
        lambda ctx: ctx.stripe.v1.payouts,
        lambda p: (p.amount, p.currency, p.status),
        "payouts",
        "stripe_payout_id",
        AMOUNT_COLUMNS,
    ),
    BALANCE_TRANSACTION: Comparison(
        lambda ctx: ctx.stripe.v1.balance_transactions,
        lambda bt: (bt.type, bt.amount, bt.fee, bt.net, bt.currency, bt.created),
        "balance_transactions",
        "id",
        "type, amount, fee, net, currency, CAST(extract(epoch FROM occurred_at) AS bigint)",
    ),
}


async def _list_at_stripe(
    ctx: Context, comparison: Comparison, window: Mapping[str, object]
) -> AsyncIterator[dict[str, ComparedValues]]:
    """Yields, a page at a time, the values by id of all in the window that we would store."""
    params: dict[str, object] = {"limit": PAGE_SIZE, **window, **comparison.list_params}
    while True:
        with stripe_client.translate_errors():
            page = await comparison.list_service(ctx).list_async(params)
        values_by_id = {listed.id: comparison.stripe_values(listed) for listed in page.data}
        yield {id_: values for id_, values in values_by_id.items() if values is not None}
        if not page.data or not page.has_more:
            return
        params["starting_after"] = page.data[-1].id


async def _stored_values(
    ctx: Context, comparison: Comparison, ids: list[str]
) -> dict[str, ComparedValues]:
    query = text(
        f"""
        SELECT {comparison.id_column}, {comparison.columns_sql}
          FROM {comparison.table}
         WHERE {comparison.id_column} = ANY(:ids)
        """  # noqa: S608 - constants of this module
    )
    async with ctx.sessions() as session:
        rows = await session.execute(query, {"ids": ids})
        return {str(row[0]): tuple(row[1:]) for row in rows}


async def _repair(ctx: Context, differences: Sequence[Difference], since: datetime) -> None:
    """Sync what differs as its webhook would have, and import the balance of the window."""
    kinds = {difference.kind for difference in differences}
    # A new endpoint has a new secret, which only whoever runs `stripe setup` gets to see.
    if endpoint.OBJECT_TYPE in kinds and await endpoint.list_at_stripe(ctx):
        await stripe_setup.setup(ctx)
        await endpoint.refresh_alert(ctx)
    for difference in differences:
        if difference.kind in SYNC_HANDLERS:
            await SYNC_HANDLERS[difference.kind](ctx, difference.id)
    if BALANCE_TRANSACTION in kinds:
        await importer.import_since(ctx, since)
