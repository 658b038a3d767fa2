"""The emergency stop: cancel or pause every subscription of a group, without a mail to anybody.

A stop is a row, and so is each of its subscriptions with its state: a command that was killed goes
on where it was (`--resume`). Each step may be repeated: cancelling what has ended is done, and a
pause has the same idempotency key however often it is sent. The group is muted before Stripe is
asked, so that the events that follow are recorded and nobody is written to.

The group `protected` is decided by the card that a subscription would be charged to now: Stripe
lists its country, a hundred subscriptions a call, and we store none. Subscriptions of contributions
that were in quarantine belong to it whatever their card is now.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import stripe
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import PaymentsError, StripeUnavailable
from payments.core.identifiers import new_row_id
from payments.core.safety_policy import Policy
from payments.giving import change_log, subscriptions
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import job_queue, stripe_client
from payments.infra.context import Context
from payments.mail import muted, outbox
from payments.risk import quarantine
from payments.risk.bulk_stops import BulkStop, BulkStopItem, BulkStopItemState, StopGroup, StopMode

CONCURRENCY = 8
MAX_PASSES = 5  # over subscriptions for which Stripe did not answer
PAGE_SIZE = 500  # subscriptions read from the database at once
PAYMENT_METHOD_EXPAND = [
    "data.default_payment_method",
    "data.customer.invoice_settings.default_payment_method",
]
ProgressCallback = Callable[[int, int], None]  # subscriptions done, and in all


class StopInProgress(PaymentsError):
    """A stop of this group was started and is not finished."""

    status = 409
    code = "stop-in-progress"
    title = "A stop is under way"


class NothingToResume(PaymentsError):
    """No stop of this group is unfinished."""

    status = 404
    code = "nothing-to-resume"
    title = "There is nothing to resume"


class NoProtectedGroup(PaymentsError):
    """The group `protected` was asked for without a safety policy, which says who is in it."""

    status = 409
    code = "no-protected-group"
    title = "There is no protected group"


@dataclass(frozen=True, slots=True)
class StopReport:
    """The result of a stop. `unfinished` are the subscriptions a person must look at."""

    subscriptions: int
    done: int
    already_ended: int
    unfinished: tuple[str, ...]


async def preview(ctx: Context, group: StopGroup, mode: StopMode) -> int:
    """Return how many subscriptions a stop would touch, and change nothing.

    Raises NoProtectedGroup.
    """
    count = 0
    async for page in _subscriptions_in(ctx, group, mode):
        count += len(page)
    return count


async def execute(
    ctx: Context,
    group: StopGroup,
    mode: StopMode,
    *,
    resume: bool = False,
    progress: ProgressCallback = lambda _done, _all: None,
) -> StopReport:
    """Stop a group, or with `resume` finish a stop that was interrupted.

    Raises StopInProgress, NothingToResume, NoProtectedGroup.
    """
    stop = (
        await _get_open_stop(ctx, group, mode) if resume else await _create_stop(ctx, group, mode)
    )
    for _ in range(MAX_PASSES):
        # subscriptions that started meanwhile belong to the group too
        added = await _add_items(ctx, stop)
        await _process_pending(ctx, stop, progress)
        pending = len(await _items_in(ctx, stop.id, BulkStopItemState.PENDING))
        if not added and not pending:
            break
    return await _close_stop(ctx, stop)


async def _create_stop(ctx: Context, group: StopGroup, mode: StopMode) -> BulkStop:
    _policy_for(ctx, group)
    stop = BulkStop(id=new_row_id(), group=group, mode=mode, decided_at=ctx.now())
    async with ctx.sessions.begin() as session:
        fields = {"id": stop.id, "group": group, "mode": mode, "decided_at": stop.decided_at}
        inserted_id = await session.scalar(
            insert(BulkStop).values(fields).on_conflict_do_nothing().returning(BulkStop.id)
        )
    if inserted_id is None:
        raise StopInProgress("A stop of this group was begun and is not finished. Use --resume.")
    return stop


async def _get_open_stop(ctx: Context, group: StopGroup, mode: StopMode) -> BulkStop:
    query = select(BulkStop).where(
        BulkStop.group == group, BulkStop.mode == mode, BulkStop.ended_at.is_(None)
    )
    async with ctx.sessions() as session:
        stop = await session.scalar(query)
    if stop is None:
        raise NothingToResume("No stop of this group waits to be finished.")
    return stop


async def _close_stop(ctx: Context, stop: BulkStop) -> StopReport:
    """Close the stop if nothing is pending. What Stripe rejected is left to a person."""
    counts = select(BulkStopItem.state, func.count()).where(BulkStopItem.bulk_stop_id == stop.id)
    async with ctx.sessions.begin() as session:
        rows = await session.execute(counts.group_by(BulkStopItem.state))
        count_of = {BulkStopItemState(state): int(count) for state, count in rows}
        if not count_of.get(BulkStopItemState.PENDING):
            statement = update(BulkStop).where(BulkStop.id == stop.id)
            await session.execute(statement.values(ended_at=ctx.now()))
    unfinished = [
        subscription_id
        for state in (BulkStopItemState.PENDING, BulkStopItemState.REJECTED)
        for subscription_id in await _items_in(ctx, stop.id, state)
    ]
    return StopReport(
        sum(count_of.values()),
        count_of.get(BulkStopItemState.DONE, 0),
        count_of.get(BulkStopItemState.ALREADY_ENDED, 0),
        tuple(unfinished),
    )


# --- the subscriptions of a group -----------------------------------------------------------------


async def _add_items(ctx: Context, stop: BulkStop) -> int:
    """Store every subscription of the group and mute it. Returns how many are new."""
    added = 0
    async for page in _subscriptions_in(ctx, stop.group, stop.mode):
        rows = [
            {
                "bulk_stop_id": stop.id,
                "stripe_subscription_id": subscription_id,
                "state": BulkStopItemState.PENDING,
                "attempts": 0,
            }
            for subscription_id in page
        ]
        async with ctx.sessions.begin() as session:
            inserted = await session.scalars(
                insert(BulkStopItem)
                .values(rows)
                .on_conflict_do_nothing()
                .returning(BulkStopItem.stripe_subscription_id)
            )
            ids = list(inserted)
            await muted.mute(session, ids, now=ctx.now())
            await outbox.cancel_for(session, ids)
            added += len(ids)
    first_listed = update(BulkStop).where(
        BulkStop.id == stop.id, BulkStop.items_listed_at.is_(None)
    )
    async with ctx.sessions.begin() as session:
        await session.execute(first_listed.values(items_listed_at=ctx.now()))
    return added


async def _subscriptions_in(
    ctx: Context, group: StopGroup, mode: StopMode
) -> AsyncIterator[Sequence[str]]:
    """Yield the ids of a group's subscriptions that would still be charged, a page at a time."""
    policy, after_id = _policy_for(ctx, group), ""
    on_protected_cards: set[str] = set()
    if policy is not None:
        on_protected_cards = await _subscriptions_on_protected_cards(ctx, policy)
    while True:
        async with ctx.sessions() as session:
            page = await _page_of_live(session, mode, after_id)
        if not page:
            return
        after_id = page[-1][0]
        in_group = [
            subscription_id
            for subscription_id, is_protected in page
            if policy is None or is_protected or subscription_id in on_protected_cards
        ]
        if in_group:
            yield in_group


def _policy_for(ctx: Context, group: StopGroup) -> Policy | None:
    """Return the policy that decides the group, None for the group of all.

    Raises NoProtectedGroup.
    """
    if group is StopGroup.ALL:
        return None
    if ctx.settings.safety_policy is None:
        raise NoProtectedGroup(
            "PAYMENTS_DONOR_SAFETY_POLICY names no policy, so nobody is in the group “protected”."
        )
    return ctx.settings.safety_policy


async def _page_of_live(
    session: AsyncSession, mode: StopMode, after_id: str
) -> list[tuple[str, bool]]:
    """Return ids of live subscriptions, and whether their contribution is protected.

    For a pause, without those that are already paused until resumed.
    """
    query = (
        select(Subscription.stripe_subscription_id, Contribution.protected)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(
            Subscription.status.in_(LIVE_STATUSES), Subscription.stripe_subscription_id > after_id
        )
        .order_by(Subscription.stripe_subscription_id)
        .limit(PAGE_SIZE)
    )
    if mode is StopMode.PAUSE:
        query = query.where(
            Subscription.is_paused.is_(False) | Subscription.resumes_at.is_not(None)
        )
    rows = await session.execute(query)
    return [(subscription_id, bool(protected)) for subscription_id, protected in rows]


async def _subscriptions_on_protected_cards(ctx: Context, policy: Policy) -> set[str]:
    """Return the ids of Stripe's subscriptions whose card is of a protected country."""
    ids = set()
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.subscriptions.list_async(
            {"limit": 100, "expand": PAYMENT_METHOD_EXPAND}
        )
        async for fetched in page.auto_paging_iter():
            if policy.protects(_card_country(fetched)):
                ids.add(fetched.id)
    return ids


def _card_country(fetched: stripe.Subscription) -> str | None:
    method = fetched.default_payment_method
    if method is None:
        settings = getattr(fetched.customer, "invoice_settings", None)
        method = settings.default_payment_method if settings is not None else None
    if not isinstance(method, stripe.PaymentMethod):
        return None
    return quarantine.method_country(method)


# --- one subscription at a time -------------------------------------------------------------------


async def _process_pending(ctx: Context, stop: BulkStop, progress: ProgressCallback) -> None:
    """Process every pending subscription, a few at once within Stripe's rate limit."""
    pending = iter(await _items_in(ctx, stop.id, BulkStopItemState.PENDING))
    async with ctx.sessions() as session:
        total = await session.scalar(
            select(func.count()).where(BulkStopItem.bulk_stop_id == stop.id)
        )
        processed = await session.scalar(
            select(func.count()).where(
                BulkStopItem.bulk_stop_id == stop.id,
                BulkStopItem.state != BulkStopItemState.PENDING,
            )
        )
    done = int(processed or 0)

    async def work() -> None:
        nonlocal done
        for subscription_id in pending:
            with suppress(StripeUnavailable):  # it stays pending until the next pass
                await _process_item(ctx, stop, subscription_id)
                done += 1
                progress(done, int(total or 0))

    progress(done, int(total or 0))
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


async def _items_in(ctx: Context, bulk_stop_id: str, state: BulkStopItemState) -> list[str]:
    query = select(BulkStopItem.stripe_subscription_id).where(
        BulkStopItem.bulk_stop_id == bulk_stop_id, BulkStopItem.state == state
    )
    async with ctx.sessions() as session:
        return list(await session.scalars(query.order_by(BulkStopItem.stripe_subscription_id)))


async def _process_item(ctx: Context, stop: BulkStop, subscription_id: str) -> None:
    """Record the decision, ask Stripe, and record its answer. Raises StripeUnavailable."""
    kind = ChangeKind.CANCELLED if stop.mode is StopMode.CANCEL else ChangeKind.PAUSED
    async with ctx.sessions.begin() as session:
        if kind is ChangeKind.CANCELLED:
            await change_log.record_cancellation(
                session, subscription_id, actor=Actor.STAFF, now=ctx.now()
            )
        else:
            await change_log.record_decision(
                session,
                subscription_id,
                kind,
                actor=Actor.STAFF,
                now=ctx.now(),
                idempotency_key=stop.id,
            )
        await _update_item(session, stop.id, subscription_id, attempts=BulkStopItem.attempts + 1)
    state = await _apply_at_stripe(ctx, stop, subscription_id)
    async with ctx.sessions.begin() as session:
        await _update_item(session, stop.id, subscription_id, state=state)
        await job_queue.enqueue_sync(session, "subscription", subscription_id)


async def _update_item(
    session: AsyncSession, bulk_stop_id: str, subscription_id: str, **values: object
) -> None:
    statement = update(BulkStopItem).where(
        BulkStopItem.bulk_stop_id == bulk_stop_id,
        BulkStopItem.stripe_subscription_id == subscription_id,
    )
    await session.execute(statement.values(values))


async def _apply_at_stripe(ctx: Context, stop: BulkStop, subscription_id: str) -> BulkStopItemState:
    """Cancel or pause at Stripe, and return the state that follows. Raises StripeUnavailable."""
    try:
        with stripe_client.translate_errors():
            if stop.mode is StopMode.CANCEL:
                await ctx.stripe.v1.subscriptions.cancel_async(subscription_id)
            else:
                await ctx.stripe.v1.subscriptions.update_async(
                    subscription_id,
                    {"pause_collection": {"behavior": "void"}},
                    {"idempotency_key": f"stop-{stop.id}-{subscription_id}"[:255]},
                )
    except stripe.InvalidRequestError as error:
        has_ended = error.code == "resource_missing"
        return BulkStopItemState.ALREADY_ENDED if has_ended else BulkStopItemState.REJECTED
    return BulkStopItemState.DONE


def to_json(report: StopReport) -> Mapping[str, object]:
    """Return a report as a JSON object."""
    return {
        "subscriptions": report.subscriptions,
        "done": report.done,
        "already_ended": report.already_ended,
        "unfinished": list(report.unfinished),
    }


async def count_live(session: AsyncSession) -> int:
    """Return how many subscriptions are live."""
    query = select(func.count()).where(Subscription.status.in_(subscriptions.LIVE_STATUSES))
    return int(await session.scalar(query) or 0)
