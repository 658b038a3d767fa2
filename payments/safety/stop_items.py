"""The subscriptions of an emergency stop: a row of each, with how far its stop has come.

A subscription is muted in the transaction that stores its row, before Stripe is asked, so that the
events that follow are recorded and nobody is written to.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.giving import change_log
from payments.giving.change_log import Actor, ChangeKind
from payments.infra import alerts, job_queue
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail import muted, outbox
from payments.risk.emergency_stops import (
    EmergencyStop,
    StopItem,
    StopItemState,
    StopMode,
)
from payments.safety import stop_actions
from payments.safety.stop_actions import Ended, NotStopped

BATCH_SIZE = 500  # subscriptions written to the database at once


async def add(
    ctx: Context,
    stop: EmergencyStop,
    subscription_ids: Sequence[str],
    *,
    chargeable: Collection[str],
) -> None:
    """Store subscriptions as items of a stop and mute them.

    `chargeable` are those of them that Stripe says can be charged: one of these that was done is
    pending again. It and what is new raise an alert once the stop was proved.
    """
    for start in range(0, len(subscription_ids), BATCH_SIZE):
        page = subscription_ids[start : start + BATCH_SIZE]
        rows = [
            {
                "emergency_stop_id": stop.id,
                "stripe_subscription_id": subscription_id,
                "state": StopItemState.PENDING,
                "attempts": 0,
            }
            for subscription_id in page
        ]
        async with ctx.sessions.begin() as session:
            inserted = await session.scalars(
                insert(StopItem)
                .values(rows)
                .on_conflict_do_nothing()
                .returning(StopItem.stripe_subscription_id)
            )
            new = list(inserted)
            again = await session.scalars(
                update(StopItem)
                .where(
                    StopItem.emergency_stop_id == stop.id,
                    StopItem.stripe_subscription_id.in_(set(page) & set(chargeable)),
                    StopItem.state == StopItemState.DONE,
                )
                .values(state=StopItemState.PENDING)
                .returning(StopItem.stripe_subscription_id)
            )
            for subscription_id in (*new, *again) if stop.proved_at is not None else ():
                await alerts.raise_alert(
                    session,
                    AlertKind.ACTIVITY_DURING_STOP,
                    object_id=subscription_id,
                    now=ctx.now(),
                )
            await muted.mute(session, page, now=ctx.now())
            await outbox.cancel_for(session, page)


_UNMUTE_SQL = text("""
    DELETE FROM muted_subscriptions muted
     USING emergency_stop_items item, subscriptions subscription, contributions contribution
     WHERE item.emergency_stop_id = :stop
       AND item.stripe_subscription_id = muted.stripe_subscription_id
       AND subscription.stripe_subscription_id = muted.stripe_subscription_id
       AND contribution.id = subscription.contribution_id
       AND NOT contribution.protected
       AND NOT contribution.erased
       AND NOT contribution.dropped
       AND NOT EXISTS (
           SELECT 1
             FROM emergency_stop_items other_item
             JOIN emergency_stops other ON other.id = other_item.emergency_stop_id
            WHERE other_item.stripe_subscription_id = muted.stripe_subscription_id
              AND other.id <> :stop
              AND (other.lifted_at IS NULL OR other."group" = 'protected'))
""")


async def unmute(session: AsyncSession, stop: EmergencyStop) -> None:
    """Let mails be sent again about what a stop muted.

    Not to a donor for whom a mail itself is a danger, nor about what another stop holds.
    """
    await session.execute(_UNMUTE_SQL, {"stop": stop.id})


async def in_state(ctx: Context, emergency_stop_id: str, state: StopItemState) -> list[str]:
    """Return the subscriptions of a stop that are in a state."""
    query = select(StopItem.stripe_subscription_id).where(
        StopItem.emergency_stop_id == emergency_stop_id, StopItem.state == state
    )
    async with ctx.sessions() as session:
        return list(await session.scalars(query.order_by(StopItem.stripe_subscription_id)))


async def retry_rejected(ctx: Context, stop: EmergencyStop) -> None:
    """Have what Stripe rejected asked for once more."""
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(StopItem)
            .where(
                StopItem.emergency_stop_id == stop.id,
                StopItem.state == StopItemState.REJECTED,
            )
            .values(state=StopItemState.PENDING)
        )


async def process(ctx: Context, stop: EmergencyStop, subscription_id: str) -> str | None:
    """Record the decision, ask Stripe, and record its answer. Returns why it was not stopped.

    Whatever the answer, the subscription is fetched once more: our row may be behind. Raises
    StripeUnavailable, and then it stays pending until the next pass.
    """
    kind = ChangeKind.CANCELLED if stop.mode is StopMode.CANCEL else ChangeKind.PAUSED
    async with ctx.sessions.begin() as session:
        if kind is ChangeKind.CANCELLED:
            decision = await change_log.record_cancellation(
                session, subscription_id, actor=Actor.STAFF, now=ctx.now()
            )
        else:
            decision = await change_log.record_next_decision(
                session,
                subscription_id,
                kind,
                actor=Actor.STAFF,
                now=ctx.now(),
                cause=stop.id,
            )
        await _update_item(session, stop.id, subscription_id, attempts=StopItem.attempts + 1)
    reason: str | None = None
    try:
        ended = await stop_actions.stop_subscription(ctx, stop.mode, subscription_id)
    except NotStopped as refusal:
        reason, state = str(refusal), StopItemState.REJECTED
    else:
        is_done = ended is Ended.DONE
        state = StopItemState.DONE if is_done else StopItemState.ALREADY_ENDED
    async with ctx.sessions.begin() as session:
        await _update_item(session, stop.id, subscription_id, state=state)
        # a cancellation is asked for again until it is done
        if state is StopItemState.REJECTED and kind is ChangeKind.PAUSED:
            await change_log.mark_failed(session, decision.id, now=ctx.now())
        await job_queue.enqueue_sync(session, "subscription", subscription_id)
    return reason


async def _update_item(
    session: AsyncSession, emergency_stop_id: str, subscription_id: str, **values: object
) -> None:
    statement = update(StopItem).where(
        StopItem.emergency_stop_id == emergency_stop_id,
        StopItem.stripe_subscription_id == subscription_id,
    )
    await session.execute(statement.values(values))
