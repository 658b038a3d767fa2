"""The emergency stop: end all that a group can be charged by, without a mail to anybody.

A stop is a row, and so is each of its subscriptions with its state: a command that was killed goes
on where it was (`--resume`). It ends what Stripe lists (`stop_lists`) and what we call live: pages
that are open, schedules, subscriptions whatever their status, the invoices that could still be
paid, and what waits for the next one. Then it lists again, and is proved when nothing is left. Each
step may be repeated. One object that Stripe refuses to end, or that the database has no answer
about, is named, and the others are ended.

A stop stands until it is lifted; what comes later is ended by a schedule and
by `stop_enforcement`.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import PaymentsError, StripeUnavailable
from payments.core.identifiers import new_row_id
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import alerts, db, stripe_account
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.risk import emergency_stops
from payments.risk.emergency_stops import (
    EmergencyStop,
    StopGroup,
    StopItem,
    StopItemState,
    StopMode,
)
from payments.safety import stop_actions, stop_items, stop_lists
from payments.safety.stop_actions import Ended, NotStopped
from payments.safety.stop_lists import Chargeable, Scope

log = structlog.get_logger("payments.safety.emergency_stop")
CONCURRENCY = 8
MAX_PASSES = 5  # over what Stripe did not answer for, and what came meanwhile
ProgressCallback = Callable[[int, int], None]  # subscriptions done, and in all


class StopInProgress(PaymentsError):
    """A stop of this group stands."""

    status = 409
    code = "stop-in-progress"
    title = "A stop stands"


class NothingToResume(PaymentsError):
    """No stop of this group stands."""

    status = 404
    code = "nothing-to-resume"
    title = "There is nothing to resume"


@dataclass(frozen=True, slots=True)
class StopReport:
    """The result of a stop. `left` is the proof: what Stripe's lists held afterwards.

    `unfinished` are the subscriptions that were not ended; `refusals` says of each object that was
    left, and of each list that could not be read, why.
    """

    subscriptions: int
    done: int
    already_ended: int
    unfinished: tuple[str, ...]
    ended: Mapping[str, int]
    left: Mapping[str, int]
    refusals: Mapping[str, str]

    @property
    def is_proved(self) -> bool:
        """Whether nothing of the group can be charged any more."""
        return not (self.unfinished or self.refusals or any(self.left.values()))


@dataclass(slots=True)
class _Progress:
    """How far a run has come: what it ended by list, and what was refused in the last pass."""

    ended: Counter[str] = field(default_factory=Counter)
    refusals: dict[str, str] = field(default_factory=dict)
    report: ProgressCallback = lambda _done, _all: None


async def preview(ctx: Context, group: StopGroup, mode: StopMode) -> Chargeable:
    """Return what a stop would end, and change nothing.

    Raises NoProtectedGroup, and WrongStripeAccount for a key of another account.
    """
    await _refuse_other_account(ctx)
    scope = stop_lists.scope_of(ctx, group, mode)
    found = await stop_lists.read_all(ctx, scope)
    listed = found.ids[stop_lists.SUBSCRIPTIONS]
    found.ids[stop_lists.SUBSCRIPTIONS] = list(dict.fromkeys([*listed, *await _ours(ctx, scope)]))
    return found


async def execute(
    ctx: Context,
    group: StopGroup,
    mode: StopMode,
    *,
    resume: bool = False,
    progress: ProgressCallback = lambda _done, _all: None,
) -> StopReport:
    """Stop a group, or with `resume` go on with a stop that stands, whether or not it is proved.

    Raises StopInProgress, NothingToResume, NoProtectedGroup, and WrongStripeAccount for a key of
    another account: what that has is nobody's to end.
    """
    await _refuse_other_account(ctx)
    stop_lists.scope_of(ctx, group, mode)
    stop = await _get_standing(ctx, group, mode) if resume else await _create(ctx, group, mode)
    return await carry_out(ctx, stop, progress=progress)


async def lift(ctx: Context, group: StopGroup, mode: StopMode) -> None:
    """Let a group be charged again: what is new is not ended any more. Raises NothingToResume.

    What was cancelled stays so, and what was paused stays paused until its donor resumes it. Donors
    are written to again, but for those of the protected group.
    """
    stop = await _get_standing(ctx, group, mode)
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(EmergencyStop).where(EmergencyStop.id == stop.id).values(lifted_at=ctx.now())
        )
        if group is StopGroup.ALL:
            await stop_items.unmute(session, stop)
        kinds = (AlertKind.STOP_INCOMPLETE, AlertKind.ACTIVITY_DURING_STOP)
        await alerts.close_all(session, *kinds, object_ids=[stop.id], now=ctx.now())


async def _refuse_other_account(ctx: Context) -> None:
    """Raise WrongStripeAccount for a key of another account than the database's.

    Where Stripe does not answer the stop is decided all the same: nobody can give from then on.
    """
    with contextlib.suppress(StripeUnavailable):
        await stripe_account.ensure_bound(ctx)


async def _create(ctx: Context, group: StopGroup, mode: StopMode) -> EmergencyStop:
    stop = EmergencyStop(id=new_row_id(), group=group, mode=mode, decided_at=ctx.now())
    async with ctx.sessions.begin() as session:
        fields = {"id": stop.id, "group": group, "mode": mode, "decided_at": stop.decided_at}
        inserted_id = await session.scalar(
            insert(EmergencyStop)
            .values(fields)
            .on_conflict_do_nothing()
            .returning(EmergencyStop.id)
        )
    if inserted_id is None:
        raise StopInProgress("A stop of this group stands. Use --resume, or --lift it first.")
    return stop


async def _get_standing(ctx: Context, group: StopGroup, mode: StopMode) -> EmergencyStop:
    async with ctx.sessions() as session:
        for stop in await emergency_stops.standing(session):
            if (stop.group, stop.mode) == (group, mode):
                return stop
    raise NothingToResume("No stop of this group stands.")


async def carry_out(
    ctx: Context, stop: EmergencyStop, *, progress: ProgressCallback = lambda _done, _all: None
) -> StopReport:
    """End what is left of a group, list again, and store what that found.

    Raises WrongStripeAccount.
    """
    await _refuse_other_account(ctx)
    scope = stop_lists.scope_of(ctx, stop.group, stop.mode, stop.id)
    run = _Progress(report=progress)
    left = Chargeable()
    for _ in range(MAX_PASSES):
        run.refusals.clear()
        await stop_items.retry_rejected(ctx, stop)
        for name in scope.lists:
            if name == stop_lists.SUBSCRIPTIONS:
                await _add_subscriptions(ctx, scope, stop, run)
                await _process_pending(ctx, stop, run)
            else:
                await _end_listed(ctx, scope, name, run)
        left = await stop_lists.read_all(ctx, scope)
        if left.is_nothing and not await stop_items.in_state(ctx, stop.id, StopItemState.PENDING):
            break
    run.refusals.update(left.unread)
    return await _close(ctx, stop, run, left)


async def _close(ctx: Context, stop: EmergencyStop, run: _Progress, left: Chargeable) -> StopReport:
    """Store the proof, and raise an alert while there is none."""
    counts = select(StopItem.state, func.count()).where(StopItem.emergency_stop_id == stop.id)
    async with ctx.sessions() as session:
        rows = await session.execute(counts.group_by(StopItem.state))
        count_of = {StopItemState(state): int(count) for state, count in rows}
    unfinished = [
        subscription_id
        for state in (StopItemState.PENDING, StopItemState.REJECTED)
        for subscription_id in await stop_items.in_state(ctx, stop.id, state)
    ]
    report = StopReport(
        sum(count_of.values()),
        count_of.get(StopItemState.DONE, 0),
        count_of.get(StopItemState.ALREADY_ENDED, 0),
        tuple(unfinished),
        dict(run.ended),
        left.counts,
        dict(run.refusals),
    )
    now, is_proved = ctx.now(), report.is_proved
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(EmergencyStop)
            .where(EmergencyStop.id == stop.id)
            .values(left_at_stripe=left.counts, proved_at=now if is_proved else None)
        )
        act = alerts.close if is_proved else alerts.raise_alert
        await act(session, AlertKind.STOP_INCOMPLETE, object_id=stop.id, now=now)
    return report


# --- what is no subscription ----------------------------------------------------------------------


async def _end_listed(ctx: Context, scope: Scope, name: str, run: _Progress) -> None:
    """End every object of one of Stripe's lists, a few at once. What is refused is named."""

    async def end(object_id: str) -> None:
        if await stop_actions.ACTIONS[name](ctx, scope.mode, object_id) is Ended.DONE:
            run.ended[name] += 1

    await _for_each(await stop_lists.read_list(ctx, scope, name, Chargeable()), end, run)


async def _for_each(
    object_ids: Iterable[str],
    action: Callable[[str], Awaitable[None]],
    run: _Progress,
) -> None:
    """Await the action for each object, a few at once. One that fails is named, and the others are
    done: what failed is tried again in the next pass.

    Raises what the database raises when it answers nobody.
    """
    ids = iter(object_ids)

    async def work() -> None:
        for object_id in ids:
            try:
                await action(object_id)
            except NotStopped as refusal:
                run.refusals[object_id] = str(refusal)
            except PaymentsError as error:
                run.refusals[object_id] = stop_lists.explain(error)
            except Exception as error:
                if db.is_away(error):
                    raise
                log.warning("stop_failed", exc_info=True)
                run.refusals[object_id] = type(error).__name__

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONCURRENCY):
            tasks.create_task(work())


# --- subscriptions --------------------------------------------------------------------------------


async def _add_subscriptions(
    ctx: Context, scope: Scope, stop: EmergencyStop, run: _Progress
) -> None:
    """Store the subscriptions of a group: Stripe's list, and what our rows call live."""
    found = Chargeable()
    listed = await stop_lists.read_list(ctx, scope, stop_lists.SUBSCRIPTIONS, found)
    run.refusals.update(found.unread)
    every = list(dict.fromkeys([*listed, *await _ours(ctx, scope)]))
    await stop_items.add(ctx, stop, every, chargeable=listed)


async def _ours(ctx: Context, scope: Scope) -> Sequence[str]:
    """Return the ids of our rows of a group that would still be charged."""
    query = (
        select(Subscription.stripe_subscription_id)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(Subscription.status.in_(LIVE_STATUSES))
        .order_by(Subscription.stripe_subscription_id)
    )
    if scope.policy is not None:
        query = query.where(Contribution.protected)
    if scope.mode is StopMode.PAUSE:
        query = query.where(
            Subscription.is_paused.is_(False) | Subscription.resumes_at.is_not(None)
        )
    async with ctx.sessions() as session:
        return list(await session.scalars(query))


async def _process_pending(ctx: Context, stop: EmergencyStop, run: _Progress) -> None:
    """Process every pending subscription, a few at once within Stripe's rate limit."""
    pending = await stop_items.in_state(ctx, stop.id, StopItemState.PENDING)
    query = select(func.count()).where(StopItem.emergency_stop_id == stop.id)
    async with ctx.sessions() as session:
        total = await session.scalar(query)
        processed = await session.scalar(query.where(StopItem.state != StopItemState.PENDING))
    done = int(processed or 0)

    async def stop_one(subscription_id: str) -> None:
        nonlocal done
        refusal = await stop_items.process(ctx, stop, subscription_id)
        if refusal is not None:
            run.refusals[subscription_id] = refusal
        done += 1
        run.report(done, int(total or 0))

    run.report(done, int(total or 0))
    await _for_each(pending, stop_one, run)


def to_json(report: StopReport) -> Mapping[str, object]:
    """Return a report as a JSON object."""
    return {
        "subscriptions": report.subscriptions,
        "done": report.done,
        "already_ended": report.already_ended,
        "unfinished": list(report.unfinished),
        "ended": dict(report.ended),
        "left_at_stripe": dict(report.left),
        "refusals": dict(report.refusals),
        "proved": report.is_proved,
    }


async def count_live(session: AsyncSession) -> int:
    """Return how many subscriptions are live."""
    query = select(func.count()).where(Subscription.status.in_(LIVE_STATUSES))
    return int(await session.scalar(query) or 0)
