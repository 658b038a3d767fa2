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
from payments.infra.context import Runtime
from payments.ops import stripe_setup
from payments.settlement import importer
from webhooks import VERBS, sweeps

SETTLES_WITHIN = timedelta(minutes=5)  # what is newer may still be on its way here
MOVEMENT = "balance_transaction"
Seen = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not here as it is at Stripe."""

    kind: str
    id: str
    says: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What differed, and what still does; the same when nothing was healed."""

    before: tuple[Difference, ...]
    after: tuple[Difference, ...]


async def run(rt: Runtime, *, days: int = 30, heal: bool = False) -> Outcome:
    """Compare all that Stripe made in the last days, and repair it if asked to."""
    until = rt.now() - SETTLES_WITHIN
    since = until - timedelta(days=days)
    before = await differences(rt, since, until)
    if not heal or not before:
        return Outcome(before, before)
    await _heal(rt, before, since)
    return Outcome(before, await differences(rt, since, until))


async def differences(rt: Runtime, since: datetime, until: datetime) -> tuple[Difference, ...]:
    """All that differs, the money last."""
    found = [
        Difference(sweeps.ENDPOINT, sweeps.ENDPOINT, drift)
        for drift in await sweeps.endpoint_drift(rt)
    ]
    window = {"created": {"gte": int(since.timestamp()), "lte": int(until.timestamp())}}
    for kind, comparison in COMPARISONS.items():
        async for page in _listed(rt, comparison, window):
            ours = await _ours(rt, comparison, list(page))
            found += [
                Difference(kind, id_, _says(ours.get(id_), theirs))
                for id_, theirs in page.items()
                if ours.get(id_) != theirs
            ]
    return tuple(found)


def _says(ours: Seen | None, theirs: Seen) -> str:
    told = ", ".join(map(str, theirs))
    if ours is None:
        return f"is missing here; at Stripe it is {told}"
    return f"is {', '.join(map(str, ours))} here; at Stripe it is {told}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one kind of Stripe's things is listed, and what of it must be as in our row."""

    listing: Callable[[Runtime], Any]  # the SDK's services share no type
    theirs: Callable[[Any], Seen | None]  # None: nothing that we would keep
    table: str
    key: str
    ours: str
    params: Mapping[str, object] = field(default_factory=dict)


AMOUNT = "amount, currency, status"
COMPARISONS = {
    "checkout.session": Comparison(
        lambda rt: rt.stripe.v1.checkout.sessions,
        lambda s: ("paid",) if s.mode != "setup" and s.payment_status == "paid" else None,
        "contributions",
        "stripe_session_id",
        "CASE status WHEN 'returned' THEN 'paid' ELSE status END",
        {"status": "complete"},
    ),
    "subscription": Comparison(
        lambda rt: rt.stripe.v1.subscriptions,
        lambda s: (s.status,),
        "subscriptions",
        "stripe_subscription_id",
        "status",
        {"status": "all"},
    ),
    "charge": Comparison(
        lambda rt: rt.stripe.v1.charges,
        lambda c: (c.amount, c.currency, c.balance_transaction) if c.paid else None,
        "charges",
        "stripe_charge_id",
        "amount, currency, balance_transaction",
    ),
    "refund": Comparison(
        lambda rt: rt.stripe.v1.refunds,
        lambda r: (r.amount, r.currency, r.status),
        "refunds",
        "stripe_refund_id",
        AMOUNT,
    ),
    "dispute": Comparison(
        lambda rt: rt.stripe.v1.disputes,
        lambda d: (d.amount, d.currency, d.status),
        "disputes",
        "stripe_dispute_id",
        AMOUNT,
    ),
    "radar.early_fraud_warning": Comparison(
        lambda rt: rt.stripe.v1.radar.early_fraud_warnings,
        lambda w: (w.actionable,),
        "fraud_warnings",
        "stripe_warning_id",
        "actionable",
    ),
    "payout": Comparison(
        lambda rt: rt.stripe.v1.payouts,
        lambda p: (p.amount, p.currency, p.status),
        "payouts",
        "stripe_payout_id",
        AMOUNT,
    ),
    MOVEMENT: Comparison(
        lambda rt: rt.stripe.v1.balance_transactions,
        lambda bt: (bt.type, bt.amount, bt.fee, bt.net, bt.currency, bt.created),
        "balance_transactions",
        "id",
        "type, amount, fee, net, currency, CAST(extract(epoch FROM occurred_at) AS bigint)",
    ),
}


async def _listed(
    rt: Runtime, comparison: Comparison, window: Mapping[str, object]
) -> AsyncIterator[dict[str, Seen]]:
    """All of a kind in the window that we would keep, by id, a page at a time."""
    params = {"limit": 100, **window, **comparison.params}
    after = None
    while True:
        more: dict[str, str] = {} if after is None else {"starting_after": after}
        with stripe_client.reachable():
            page = await comparison.listing(rt).list_async({**params, **more})
        seen = {thing.id: comparison.theirs(thing) for thing in page.data}
        yield {id_: theirs for id_, theirs in seen.items() if theirs is not None}
        if not page.data or not page.has_more:
            return
        after = page.data[-1].id


async def _ours(rt: Runtime, comparison: Comparison, ids: list[str]) -> dict[str, Seen]:
    query = text(
        f"SELECT {comparison.key}, {comparison.ours} FROM {comparison.table}"  # noqa: S608 - ours
        f" WHERE {comparison.key} = ANY(:ids)"
    )
    async with rt.sessions() as session:
        rows = await session.execute(query, {"ids": ids})
        return {str(row[0]): tuple(row[1:]) for row in rows}


async def _heal(rt: Runtime, found: Sequence[Difference], since: datetime) -> None:
    """What a webhook would have rung for, and the importer for what moved."""
    kinds = {difference.kind for difference in found}
    # A new endpoint has a new secret, which only the one who runs `stripe setup` gets to see.
    if sweeps.ENDPOINT in kinds and not any(sweeps.NO_ENDPOINT in d.says for d in found):
        await stripe_setup.run(rt)
        await sweeps.watch_endpoint(rt)
    for difference in found:
        if difference.kind in VERBS:
            await VERBS[difference.kind](rt, difference.id)
    if MOVEMENT in kinds:
        await importer.import_since(rt, since)
