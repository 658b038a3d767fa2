"""Reconciliation: what Stripe has and we do not, or have otherwise; repaired by the same verbs that
a webhook rings for.

Stripe is asked for all it made in a window of days, and each thing is compared with our row. What
cannot be repaired so, such as a transaction whose amount was changed here, stays on the list: then
somebody has touched the books.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from payments.infra import stripe_client
from payments.infra.context import Context
from payments.ops import stripe_setup
from payments.settlement import importer
from webhooks import SYNC_HANDLERS, sweeps

SYNC_GRACE = timedelta(minutes=5)  # what is newer may still be on its way here
BALANCE_TRANSACTION = "balance_transaction"
ComparedValues = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not here as it is at Stripe."""

    kind: str
    id: str
    description: str


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """What differed, and what still does; the same when nothing was healed."""

    before: tuple[Difference, ...]
    after: tuple[Difference, ...]


async def run(ctx: Context, *, days: int = 30, repair: bool = False) -> ReconcileResult:
    """Compare all that Stripe made in the last days, and repair it if asked to."""
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
    """All that differs, the money last."""
    found = [
        Difference(sweeps.ENDPOINT_OBJECT, sweeps.ENDPOINT_OBJECT, drift)
        for drift in await sweeps.endpoint_drift(ctx)
    ]
    window = {"created": {"gte": int(since.timestamp()), "lte": int(until.timestamp())}}
    for kind, comparison in COMPARISONS.items():
        async for page in _list_at_stripe(ctx, comparison, window):
            ours = await _stored_values(ctx, comparison, list(page))
            found += [
                Difference(kind, id_, _describe(ours.get(id_), theirs))
                for id_, theirs in page.items()
                if ours.get(id_) != theirs
            ]
    return tuple(found)


def _describe(ours: ComparedValues | None, theirs: ComparedValues) -> str:
    told = ", ".join(map(str, theirs))
    if ours is None:
        return f"is missing here; at Stripe it is {told}"
    return f"is {', '.join(map(str, ours))} here; at Stripe it is {told}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one kind of Stripe's things is listed, and what of it must be as in our row."""

    list_service: Callable[[Context], Any]  # the SDK's services share no type
    stripe_values: Callable[[Any], ComparedValues | None]  # None: nothing that we would keep
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
    """All of a kind in the window that we would keep, by id, a page at a time."""
    params = {"limit": 100, **window, **comparison.list_params}
    after = None
    while True:
        more: dict[str, str] = {} if after is None else {"starting_after": after}
        with stripe_client.translate_errors():
            page = await comparison.list_service(ctx).list_async({**params, **more})
        seen = {thing.id: comparison.stripe_values(thing) for thing in page.data}
        yield {id_: theirs for id_, theirs in seen.items() if theirs is not None}
        if not page.data or not page.has_more:
            return
        after = page.data[-1].id


async def _stored_values(
    ctx: Context, comparison: Comparison, ids: list[str]
) -> dict[str, ComparedValues]:
    query = text(
        f"SELECT {comparison.id_column}, {comparison.columns_sql} FROM {comparison.table}"  # noqa: S608 - ours
        f" WHERE {comparison.id_column} = ANY(:ids)"
    )
    async with ctx.sessions() as session:
        rows = await session.execute(query, {"ids": ids})
        return {str(row[0]): tuple(row[1:]) for row in rows}


async def _repair(ctx: Context, differences: Sequence[Difference], since: datetime) -> None:
    """What a webhook would have rung for, and the importer for what moved."""
    kinds = {difference.kind for difference in differences}
    # A new endpoint has a new secret, which only the one who runs `stripe setup` gets to see.
    if sweeps.ENDPOINT_OBJECT in kinds and not any(
        sweeps.NO_ENDPOINT_MESSAGE in d.description for d in differences
    ):
        await stripe_setup.setup(ctx)
        await sweeps.refresh_endpoint_alert(ctx)
    for difference in differences:
        if difference.kind in SYNC_HANDLERS:
            await SYNC_HANDLERS[difference.kind](ctx, difference.id)
    if BALANCE_TRANSACTION in kinds:
        await importer.import_since(ctx, since)
