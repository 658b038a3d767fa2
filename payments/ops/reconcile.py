"""Reconciliation with Stripe: objects that are missing here, missing there or differ; their repair.

Stripe lists all it created in a window of days, and each object is compared with our row; live
subscriptions and donors' customers are compared whenever they began. A row that Stripe does not
list is asked for by its id. A repair runs the handlers that webhooks run. What it cannot repair,
such as a balance transaction whose amount was changed here, stays on the list: then somebody has
changed the books.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import stripe
import structlog
from sqlalchemy import text

from payments.core.errors import StripePermissionMissing
from payments.giving import subscription_sync
from payments.infra import isolation, stripe_account, stripe_client, stripe_objects
from payments.infra.context import Context
from payments.ops import missing_objects, stripe_setup
from payments.ops.comparisons import (
    BALANCE_TRANSACTION,
    COMPARISONS,
    AskedValues,
    ComparedValues,
    Comparison,
)
from payments.settlement import importer
from webhooks import endpoint
from webhooks.registry import SYNC_HANDLERS

log = structlog.get_logger("payments.ops.reconcile")
SYNC_GRACE = timedelta(minutes=5)  # what is newer may still be on its way here
MISSING_AT_STRIPE = "is here; Stripe does not have it"


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
    """Return all that differs, of objects created in the window and of what is live whenever it
    began; balance transactions last.
    """
    differences = [
        Difference(endpoint.OBJECT_TYPE, endpoint.OBJECT_TYPE, problem)
        for problem in await endpoint.list_problems(ctx)
    ]
    for name, comparison in COMPARISONS.items():
        kind = comparison.object_type or name
        try:
            differences += await _differences_of(ctx, kind, comparison, since, until)
        except StripePermissionMissing as error:  # the others are compared all the same
            missing = f"cannot be listed without {error.permission}"
            differences.append(Difference(kind, kind, missing))
        except Exception as error:
            if await isolation.concerns_all(ctx, error):
                raise
            differences.append(Difference(kind, kind, f"cannot be listed: {_name(error)}"))
    return tuple(differences)


async def _differences_of(
    ctx: Context, kind: str, comparison: "Comparison", since: datetime, until: datetime
) -> list[Difference]:
    window = {"created": {"gte": int(since.timestamp()), "lte": int(until.timestamp())}}
    differences: list[Difference] = []
    listed_ids: set[str] = set()
    async for page in _list_at_stripe(ctx, comparison, window):
        listed_ids |= {listed.id for listed in page}
        stored = await _stored_values(ctx, comparison, [listed.id for listed in page])
        for listed in page:
            description = await _difference(ctx, comparison, listed, stored.get(listed.id))
            if description is not None:
                differences.append(Difference(kind, listed.id, description))
    if comparison.held_sql is not None:
        held = await _held_ids(ctx, comparison, since, until)
        differences += await _not_at_stripe(ctx, comparison, kind, held - listed_ids)
    return differences


async def _difference(
    ctx: Context,
    comparison: Comparison,
    listed: Any,  # noqa: ANN401 - the SDK's objects share no type
    stored: ComparedValues | None,
) -> str | None:
    """Return how one object at Stripe differs from ours, else None.

    What cannot be compared says so and keeps no other waiting. Stripe is asked about what has no
    row here only once it is known to be ours.
    """
    try:
        is_asked = isinstance(comparison.stripe_values, AskedValues)
        if is_asked and stored is None and not await _should_be_here(ctx, comparison, listed.id):
            return None
        values = await comparison.values_of(ctx, listed)
        if values is None or stored == values:
            return None
        is_new = stored is None and not is_asked
        if is_new and not await _should_be_here(ctx, comparison, listed.id):
            return None
    except StripePermissionMissing:
        raise
    except Exception as error:
        if await isolation.concerns_all(ctx, error):
            raise
        log.warning("object_failed", object_type=comparison.table, exc_info=True)
        return f"could not be compared: {_name(error)}"
    return _describe(stored, values)


def _name(error: Exception) -> str:
    """Name an error without its words: they may hold somebody's data."""
    return type(error).__name__


async def _not_at_stripe(
    ctx: Context, comparison: "Comparison", kind: str, ids: set[str]
) -> list[Difference]:
    """Return those of our objects that Stripe did not list and does not have, or has otherwise."""
    differences = []
    for id_ in sorted(ids):
        try:
            with stripe_client.translate_errors():
                fetched = await comparison.list_service(ctx).retrieve_async(id_)
        except StripePermissionMissing:
            raise
        except Exception as error:
            if stripe_objects.is_missing_error(error):
                differences.append(Difference(kind, id_, MISSING_AT_STRIPE))
            elif await isolation.concerns_all(ctx, error):
                raise
            else:
                description = f"could not be compared: {_name(error)}"
                differences.append(Difference(kind, id_, description))
            continue
        if getattr(fetched, "deleted", False):
            differences.append(Difference(kind, id_, MISSING_AT_STRIPE))
        elif kind == missing_objects.SUBSCRIPTION:
            differences.append(
                Difference(kind, id_, f"is live here; at Stripe it is {fetched.status}")
            )
    return differences


def _describe(stored: ComparedValues | None, at_stripe: ComparedValues) -> str:
    stripe_part = f"at Stripe it is {', '.join(map(str, at_stripe))}"
    if stored is None:
        return f"is missing here; {stripe_part}"
    return f"is {', '.join(map(_shown, stored))} here; {stripe_part}"


def _shown(value: object) -> str:
    return "another address" if isinstance(value, bytes) else str(value)


async def _list_at_stripe(
    ctx: Context, comparison: Comparison, window: Mapping[str, object]
) -> AsyncIterator[list[Any]]:
    """Yield, a page at a time, all in the window."""
    params: dict[str, object] = {"limit": stripe_client.MAX_PAGE_SIZE, **comparison.list_params}
    if not comparison.lists_all_held:
        params |= window
    while True:
        page = await _list_page(ctx, comparison, params)
        yield page.data
        if not page.data or not page.has_more:
            return
        params["starting_after"] = page.data[-1].id


async def _list_page(ctx: Context, comparison: Comparison, params: dict[str, object]) -> Any:  # noqa: ANN401 - the SDK's services share no type
    """Return one page, without what Stripe refuses to expand: the settings of a deleted customer
    make it refuse the whole page.
    """
    with stripe_client.translate_errors():
        try:
            return await comparison.list_service(ctx).list_async(params)
        except stripe.InvalidRequestError:
            if "expand" not in params:
                raise
            expand = [subscription_sync.SUBSCRIPTION_EXPAND[0]]
            params = params | {"expand": [f"data.{path}" for path in expand]}
            return await comparison.list_service(ctx).list_async(params)


async def _held_ids(
    ctx: Context, comparison: Comparison, since: datetime, until: datetime
) -> set[str]:
    """Return the ids of our rows that Stripe must have."""
    query = text(
        f"""
        SELECT {comparison.id_column}
          FROM {comparison.table}
         WHERE {comparison.id_column} IS NOT NULL
           AND {comparison.held_sql}
        """  # noqa: S608 - constants of this module
    )
    async with ctx.sessions() as session:
        return set(await session.scalars(query, {"since": since, "until": until}))


async def _should_be_here(ctx: Context, comparison: Comparison, object_id: str) -> bool:
    return comparison.is_ours is None or await comparison.is_ours(ctx, object_id)


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
    for kind in kinds:
        missing = {
            one.id: one.description == MISSING_AT_STRIPE
            for one in differences
            if one.kind == kind and one.id != kind
        }
        await isolation.for_each(ctx, missing, partial(_repair_one, ctx, kind, missing), job=kind)
    if BALANCE_TRANSACTION in kinds:
        await importer.import_since(ctx, since)


async def _repair_one(
    ctx: Context, kind: str, missing_at_stripe: Mapping[str, bool], object_id: str
) -> None:
    if missing_at_stripe[object_id]:
        await missing_objects.handle(ctx, kind, object_id)
    elif kind in SYNC_HANDLERS:
        await SYNC_HANDLERS[kind](ctx, object_id)
