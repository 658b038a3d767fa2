"""The emergency stop: end or pause every promise of a group, mailing nobody, whatever gets in the
way.

A stop is a row, and each promise in it is a row with its state, so a killed command goes on where
it was (`--resume`). Stripe is asked once for each promise: a promise that Stripe has ended already
is done, and a pause is asked for by the same key however often. Before anything is asked the group
is silenced (`quiet`), so that what Stripe then tells of it is written down and told to nobody.

Group `protected` is decided by the card that a promise would be charged to now, as Stripe tells its
country in its lists, a hundred promises a call: we keep no country ourselves. Promises of gifts
that were in quarantine belong to it, whatever their card is now.
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
MAX_PASSES = 5  # over what Stripe did not answer
PAGE_SIZE = 500
PAYMENT_METHOD_EXPAND = [
    "data.default_payment_method",
    "data.customer.invoice_settings.default_payment_method",
]
ProgressCallback = Callable[[int, int], None]  # done, of so many


class StopInProgress(PaymentsError):
    """A stop of this group was begun and is not finished."""

    status = 409
    code = "stop-in-progress"
    title = "A stop is under way"


class NothingToResume(PaymentsError):
    """No stop of this group waits to be finished."""

    status = 404
    code = "nothing-to-resume"
    title = "There is nothing to resume"


class NoProtectedGroup(PaymentsError):
    """The group `protected` is empty by definition while no policy says who is in it."""

    status = 409
    code = "no-protected-group"
    title = "There is no protected group"


@dataclass(frozen=True, slots=True)
class StopReport:
    """What came of a stop. `left` are the promises a person must see to."""

    subscriptions: int
    done: int
    already_ended: int
    unfinished: tuple[str, ...]


async def preview(ctx: Context, group: StopGroup, mode: StopMode) -> int:
    """How many promises a stop would touch. Nothing is written, here or at Stripe."""
    count = 0
    async for some in _subscriptions_in(ctx, group, mode):
        count += len(some)
    return count


async def execute(
    ctx: Context,
    group: StopGroup,
    mode: StopMode,
    *,
    resume: bool = False,
    progress: ProgressCallback = lambda _done, _all: None,
) -> StopReport:
    """Stop a group, or finish a stop that was cut short. Raises StopUnderWay, NothingToResume."""
    stop = (
        await _get_open_stop(ctx, group, mode) if resume else await _create_stop(ctx, group, mode)
    )
    for _ in range(MAX_PASSES):
        # a promise that began meanwhile belongs to it too
        added = await _add_items(ctx, stop)
        await _process_waiting(ctx, stop, progress)
        waiting = len(await _items_in(ctx, stop.id, BulkStopItemState.PENDING))
        if not added and not waiting:
            break
    return await _close_stop(ctx, stop)


async def _create_stop(ctx: Context, group: StopGroup, mode: StopMode) -> BulkStop:
    _policy_for(ctx, group)
    made = BulkStop(id=new_row_id(), group=group, mode=mode, decided_at=ctx.now())
    async with ctx.sessions.begin() as session:
        fields = {"id": made.id, "group": group, "mode": mode, "decided_at": made.decided_at}
        new = await session.scalar(
            insert(BulkStop).values(fields).on_conflict_do_nothing().returning(BulkStop.id)
        )
    if new is None:
        raise StopInProgress("A stop of this group was begun and is not finished. Use --resume.")
    return made


async def _get_open_stop(ctx: Context, group: StopGroup, mode: StopMode) -> BulkStop:
    query = select(BulkStop).where(
        BulkStop.group == group, BulkStop.mode == mode, BulkStop.ended_at.is_(None)
    )
    async with ctx.sessions() as session:
        found = await session.scalar(query)
    if found is None:
        raise NothingToResume("No stop of this group waits to be finished.")
    return found


async def _close_stop(ctx: Context, stop: BulkStop) -> StopReport:
    """Close the stop if nothing waits. What Stripe refused is for a person, not for a repeat."""
    counts = select(BulkStopItem.state, func.count()).where(BulkStopItem.bulk_stop_id == stop.id)
    async with ctx.sessions.begin() as session:
        rows = await session.execute(counts.group_by(BulkStopItem.state))
        number = {BulkStopItemState(state): int(count) for state, count in rows}
        if not number.get(BulkStopItemState.PENDING):
            done = update(BulkStop).where(BulkStop.id == stop.id)
            await session.execute(done.values(ended_at=ctx.now()))
    left = [
        one
        for state in (BulkStopItemState.PENDING, BulkStopItemState.REJECTED)
        for one in await _items_in(ctx, stop.id, state)
    ]
    return StopReport(
        sum(number.values()),
        number.get(BulkStopItemState.DONE, 0),
        number.get(BulkStopItemState.ALREADY_ENDED, 0),
        tuple(left),
    )


# --- who is in it ---------------------------------------------------------------------------------


async def _add_items(ctx: Context, stop: BulkStop) -> int:
    """Write down every promise of the group, hushed before anything is asked. Gives how many are
    new.
    """
    added = 0
    async for some in _subscriptions_in(ctx, stop.group, stop.mode):
        rows = [
            {
                "bulk_stop_id": stop.id,
                "stripe_subscription_id": one,
                "state": "pending",
                "attempts": 0,
            }
            for one in some
        ]
        async with ctx.sessions.begin() as session:
            new = await session.scalars(
                insert(BulkStopItem)
                .values(rows)
                .on_conflict_do_nothing()
                .returning(BulkStopItem.stripe_subscription_id)
            )
            ids = list(new)
            await muted.mute(session, ids, now=ctx.now())
            await outbox.cancel_for(session, ids)
            added += len(ids)
    async with ctx.sessions.begin() as session:
        listed = update(BulkStop).where(BulkStop.id == stop.id, BulkStop.items_listed_at.is_(None))
        await session.execute(listed.values(items_listed_at=ctx.now()))
    return added


async def _subscriptions_in(
    ctx: Context, group: StopGroup, mode: StopMode
) -> AsyncIterator[Sequence[str]]:
    """The promises of a group that would still be charged, some at a time."""
    policy, after = _policy_for(ctx, group), ""
    listed = set() if policy is None else await _subscriptions_on_protected_cards(ctx, policy)
    while True:
        async with ctx.sessions() as session:
            some = await _page_of_live(session, mode, after)
        if not some:
            return
        after = some[-1][0]
        chosen = [one for one, flag in some if policy is None or flag or one in listed]
        if chosen:
            yield chosen


def _policy_for(ctx: Context, group: StopGroup) -> Policy | None:
    """Who is protected, where the group depends on it."""
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
    """Promises that live and, for a pause, are not paused for good already."""
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
    return [(one, bool(flag)) for one, flag in await session.execute(query)]


async def _subscriptions_on_protected_cards(ctx: Context, policy: Policy) -> set[str]:
    """The promises at Stripe whose card is of a protected country."""
    found = set()
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.subscriptions.list_async(
            {"limit": 100, "expand": PAYMENT_METHOD_EXPAND}
        )
        async for fetched in page.auto_paging_iter():
            if policy.protects(_card_country(fetched)):
                found.add(fetched.id)
    return found


def _card_country(fetched: stripe.Subscription) -> str | None:
    method = fetched.default_payment_method
    if method is None:
        settings = getattr(fetched.customer, "invoice_settings", None)
        method = settings.default_payment_method if settings is not None else None
    if not isinstance(method, stripe.PaymentMethod):
        return None
    return quarantine.method_country(method)


# --- one by one -----------------------------------------------------------------------------------


async def _process_waiting(ctx: Context, stop: BulkStop, progress: ProgressCallback) -> None:
    """Ask Stripe for every promise that waits, a few at once within the budget."""
    waiting = iter(await _items_in(ctx, stop.id, BulkStopItemState.PENDING))
    async with ctx.sessions() as session:
        total = await session.scalar(
            select(func.count()).where(BulkStopItem.bulk_stop_id == stop.id)
        )
        past = await session.scalar(
            select(func.count()).where(
                BulkStopItem.bulk_stop_id == stop.id,
                BulkStopItem.state != BulkStopItemState.PENDING,
            )
        )
    count = int(past or 0)

    async def work() -> None:
        nonlocal count
        for subscription_id in waiting:
            with suppress(StripeUnavailable):  # it waits for the next round
                await _process_item(ctx, stop, subscription_id)
                count += 1
                progress(count, int(total or 0))

    progress(count, int(total or 0))
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


async def _items_in(ctx: Context, bulk_stop_id: str, state: BulkStopItemState) -> list[str]:
    query = select(BulkStopItem.stripe_subscription_id).where(
        BulkStopItem.bulk_stop_id == bulk_stop_id, BulkStopItem.state == state
    )
    async with ctx.sessions() as session:
        return list(await session.scalars(query.order_by(BulkStopItem.stripe_subscription_id)))


async def _process_item(ctx: Context, stop: BulkStop, subscription_id: str) -> None:
    """Write the decision down, ask Stripe, write down what it said."""
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
        await job_queue.enqueue_sync(
            session, "subscription", subscription_id
        )  # writes what became of it


async def _update_item(
    session: AsyncSession, bulk_stop_id: str, subscription_id: str, **values: object
) -> None:
    step = update(BulkStopItem).where(
        BulkStopItem.bulk_stop_id == bulk_stop_id,
        BulkStopItem.stripe_subscription_id == subscription_id,
    )
    await session.execute(step.values(values))


async def _apply_at_stripe(ctx: Context, stop: BulkStop, subscription_id: str) -> BulkStopItemState:
    """Ask Stripe. It answers the same to a repeat, or that nothing is there any more."""
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
        return (
            BulkStopItemState.ALREADY_ENDED
            if error.code == "resource_missing"
            else BulkStopItemState.REJECTED
        )
    return BulkStopItemState.DONE


def to_json(report: StopReport) -> Mapping[str, object]:
    """A report as JSON."""
    return {
        "promises": report.subscriptions,
        "done": report.done,
        "ended_before": report.already_ended,
        "left": list(report.unfinished),
    }


async def count_live(session: AsyncSession) -> int:
    """How many promises would still be charged."""
    query = select(func.count()).where(Subscription.status.in_(subscriptions.LIVE_STATUSES))
    return int(await session.scalar(query) or 0)
