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
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import stripe
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import PaymentsError, StripeUnavailable
from payments.core.safety_policy import Policy
from payments.giving import change_log, subscriptions
from payments.giving.change_log import By, ChangeKind
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import LIVE, Subscription
from payments.infra import job_queue, stripe_client
from payments.infra.context import Runtime
from payments.mail import muted, outbox
from payments.risk.emergency_stop import Group, Mode, StepState, Stop, StopStep

AT_ONCE = 8
ROUNDS = 5  # over what Stripe did not answer
BATCH = 500
EXPAND = ["data.default_payment_method", "data.customer.invoice_settings.default_payment_method"]
Progress = Callable[[int, int], None]  # done, of so many


class StopUnderWay(PaymentsError):
    """A stop of this group was begun and is not finished."""

    status = 409
    code = "stop-under-way"
    title = "A stop is under way"


class NothingToResume(PaymentsError):
    """No stop of this group waits to be finished."""

    status = 404
    code = "nothing-to-resume"
    title = "There is nothing to resume"


class NobodyIsProtected(PaymentsError):
    """The group `protected` is empty by definition while no policy says who is in it."""

    status = 409
    code = "nobody-is-protected"
    title = "There is no protected group"


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a stop. `left` are the promises a person must see to."""

    promises: int
    done: int
    gone: int
    left: tuple[str, ...]


async def preview(rt: Runtime, group: Group, mode: Mode) -> int:
    """How many promises a stop would touch. Nothing is written, here or at Stripe."""
    count = 0
    async for some in _members(rt, group, mode):
        count += len(some)
    return count


async def run(
    rt: Runtime,
    group: Group,
    mode: Mode,
    *,
    resume: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Report:
    """Stop a group, or finish a stop that was cut short. Raises StopUnderWay, NothingToResume."""
    stop = await _resumed(rt, group, mode) if resume else await _begun(rt, group, mode)
    for _ in range(ROUNDS):
        # a promise that began meanwhile belongs to it too
        added = await _list(rt, stop)
        await _carry_out(rt, stop, progress)
        waiting = len(await _steps(rt, stop.id, StepState.WAITING))
        if not added and not waiting:
            break
    return await _ended(rt, stop)


async def _begun(rt: Runtime, group: Group, mode: Mode) -> Stop:
    _policy_of(rt, group)
    made = Stop(id=secrets.token_hex(16), group=group, mode=mode, decided_at=rt.now())
    async with rt.sessions.begin() as session:
        fields = {"id": made.id, "group": group, "mode": mode, "decided_at": made.decided_at}
        new = await session.scalar(
            insert(Stop).values(fields).on_conflict_do_nothing().returning(Stop.id)
        )
    if new is None:
        raise StopUnderWay("A stop of this group was begun and is not finished. Use --resume.")
    return made


async def _resumed(rt: Runtime, group: Group, mode: Mode) -> Stop:
    query = select(Stop).where(Stop.group == group, Stop.mode == mode, Stop.ended_at.is_(None))
    async with rt.sessions() as session:
        found = await session.scalar(query)
    if found is None:
        raise NothingToResume("No stop of this group waits to be finished.")
    return found


async def _ended(rt: Runtime, stop: Stop) -> Report:
    """Close the stop if nothing waits. What Stripe refused is for a person, not for a repeat."""
    counts = select(StopStep.state, func.count()).where(StopStep.stop_id == stop.id)
    async with rt.sessions.begin() as session:
        rows = await session.execute(counts.group_by(StopStep.state))
        number = {StepState(state): int(count) for state, count in rows}
        if not number.get(StepState.WAITING):
            done = update(Stop).where(Stop.id == stop.id)
            await session.execute(done.values(ended_at=rt.now()))
    left = [
        one
        for state in (StepState.WAITING, StepState.REFUSED)
        for one in await _steps(rt, stop.id, state)
    ]
    return Report(
        sum(number.values()),
        number.get(StepState.DONE, 0),
        number.get(StepState.GONE, 0),
        tuple(left),
    )


# --- who is in it ---------------------------------------------------------------------------------


async def _list(rt: Runtime, stop: Stop) -> int:
    """Write down every promise of the group, hushed before anything is asked. Gives how many are
    new.
    """
    added = 0
    async for some in _members(rt, stop.group, stop.mode):
        rows = [
            {"stop_id": stop.id, "stripe_subscription_id": one, "state": "waiting", "tried": 0}
            for one in some
        ]
        async with rt.sessions.begin() as session:
            new = await session.scalars(
                insert(StopStep)
                .values(rows)
                .on_conflict_do_nothing()
                .returning(StopStep.stripe_subscription_id)
            )
            ids = list(new)
            await muted.hush(session, ids, now=rt.now())
            await outbox.drop_about(session, ids)
            added += len(ids)
    async with rt.sessions.begin() as session:
        listed = update(Stop).where(Stop.id == stop.id, Stop.listed_at.is_(None))
        await session.execute(listed.values(listed_at=rt.now()))
    return added


async def _members(rt: Runtime, group: Group, mode: Mode) -> AsyncIterator[Sequence[str]]:
    """The promises of a group that would still be charged, some at a time."""
    policy, after = _policy_of(rt, group), ""
    listed = set() if policy is None else await _cards_from(rt, policy)
    while True:
        async with rt.sessions() as session:
            some = await _some_live(session, mode, after)
        if not some:
            return
        after = some[-1][0]
        chosen = [one for one, flag in some if policy is None or flag or one in listed]
        if chosen:
            yield chosen


def _policy_of(rt: Runtime, group: Group) -> Policy | None:
    """Who is protected, where the group depends on it."""
    if group is Group.ALL:
        return None
    if rt.settings.policy is None:
        raise NobodyIsProtected(
            "PAYMENTS_PROTECTION_FILE names no policy, so nobody is in the group “protected”."
        )
    return rt.settings.policy


async def _some_live(session: AsyncSession, mode: Mode, after: str) -> list[tuple[str, bool]]:
    """Promises that live and, for a pause, are not paused for good already."""
    query = (
        select(Subscription.stripe_subscription_id, Contribution.protected)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(Subscription.status.in_(LIVE), Subscription.stripe_subscription_id > after)
        .order_by(Subscription.stripe_subscription_id)
        .limit(BATCH)
    )
    if mode is Mode.PAUSE:
        query = query.where(Subscription.pauses.is_(False) | Subscription.resumes_at.is_not(None))
    return [(one, bool(flag)) for one, flag in await session.execute(query)]


async def _cards_from(rt: Runtime, policy: Policy) -> set[str]:
    """The promises at Stripe whose card is of a protected country."""
    found = set()
    with stripe_client.reachable():
        page = await rt.stripe.v1.subscriptions.list_async({"limit": 100, "expand": EXPAND})
        async for fetched in page.auto_paging_iter():
            if policy.protects(_country(fetched)):
                found.add(fetched.id)
    return found


def _country(fetched: stripe.Subscription) -> str | None:
    method = fetched.default_payment_method
    if method is None:
        settings = getattr(fetched.customer, "invoice_settings", None)
        method = settings.default_payment_method if settings is not None else None
    if not isinstance(method, stripe.PaymentMethod):
        return None
    kind = getattr(method, method.type, None)
    country = getattr(kind, "country", None)
    return None if country is None else str(country)


# --- one by one -----------------------------------------------------------------------------------


async def _carry_out(rt: Runtime, stop: Stop, progress: Progress) -> None:
    """Ask Stripe for every promise that waits, a few at once within the budget."""
    waiting = iter(await _steps(rt, stop.id, StepState.WAITING))
    async with rt.sessions() as session:
        total = await session.scalar(select(func.count()).where(StopStep.stop_id == stop.id))
        past = await session.scalar(
            select(func.count()).where(
                StopStep.stop_id == stop.id, StopStep.state != StepState.WAITING
            )
        )
    count = int(past or 0)

    async def work() -> None:
        nonlocal count
        for subscription_id in waiting:
            with suppress(StripeUnavailable):  # it waits for the next round
                await _step(rt, stop, subscription_id)
                count += 1
                progress(count, int(total or 0))

    progress(count, int(total or 0))
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def _steps(rt: Runtime, stop_id: str, state: StepState) -> list[str]:
    query = select(StopStep.stripe_subscription_id).where(
        StopStep.stop_id == stop_id, StopStep.state == state
    )
    async with rt.sessions() as session:
        return list(await session.scalars(query.order_by(StopStep.stripe_subscription_id)))


async def _step(rt: Runtime, stop: Stop, subscription_id: str) -> None:
    """Write the decision down, ask Stripe, write down what it said."""
    kind = ChangeKind.STOPPED if stop.mode is Mode.CANCEL else ChangeKind.PAUSED
    async with rt.sessions.begin() as session:
        if kind is ChangeKind.STOPPED:
            await change_log.decide_stop(session, subscription_id, by=By.STAFF, now=rt.now())
        else:
            await change_log.decide(
                session, subscription_id, kind, by=By.STAFF, now=rt.now(), intent=stop.id
            )
        await _note(session, stop.id, subscription_id, tried=StopStep.tried + 1)
    state = await _asked(rt, stop, subscription_id)
    async with rt.sessions.begin() as session:
        await _note(session, stop.id, subscription_id, state=state)
        await job_queue.ring(session, "subscription", subscription_id)  # writes what became of it


async def _note(
    session: AsyncSession, stop_id: str, subscription_id: str, **values: object
) -> None:
    step = update(StopStep).where(
        StopStep.stop_id == stop_id, StopStep.stripe_subscription_id == subscription_id
    )
    await session.execute(step.values(values))


async def _asked(rt: Runtime, stop: Stop, subscription_id: str) -> StepState:
    """Ask Stripe. It answers the same to a repeat, or that nothing is there any more."""
    try:
        with stripe_client.reachable():
            if stop.mode is Mode.CANCEL:
                await rt.stripe.v1.subscriptions.cancel_async(subscription_id)
            else:
                await rt.stripe.v1.subscriptions.update_async(
                    subscription_id,
                    {"pause_collection": {"behavior": "void"}},
                    {"idempotency_key": f"stop-{stop.id}-{subscription_id}"[:255]},
                )
    except stripe.InvalidRequestError as error:
        return StepState.GONE if error.code == "resource_missing" else StepState.REFUSED
    return StepState.DONE


def as_rows(report: Report) -> Mapping[str, object]:
    """A report as JSON."""
    return {
        "promises": report.promises,
        "done": report.done,
        "ended_before": report.gone,
        "left": list(report.left),
    }


async def live(session: AsyncSession) -> int:
    """How many promises would still be charged."""
    query = select(func.count()).where(Subscription.status.in_(subscriptions.LIVE))
    return int(await session.scalar(query) or 0)
