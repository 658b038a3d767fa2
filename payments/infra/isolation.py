"""Work on many things, of which one that fails stops none of the others.

A failure is logged and has an alert that names its object; the next run that succeeds closes it.
Only what would fail for all of them ends the work: Stripe or the database answers nobody. A row
that is locked, or a statement that takes too long, is of one.
`tests/core/test_isolation.py` finds the loops that do not go through here.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog
from stripe import InvalidRequestError

from payments.core.errors import (
    PaymentsError,
    StripeBusy,
    StripePermissionMissing,
    StripeUnavailable,
)
from payments.infra import alerts, db, stripe_health, stripe_objects
from payments.infra.alerts import AlertKind
from payments.infra.context import Context

log = structlog.get_logger("payments.infra.isolation")
MAX_BUSY = 5  # requests refused in a row as too many, after which the next run goes on
Step = Callable[[], Awaitable[object]]


async def for_each(
    ctx: Context,
    object_ids: Iterable[str],
    action: Callable[[str], Awaitable[object]],
    *,
    job: str,
) -> int:
    """Await the action for each object. Returns how many succeeded.

    `job` is the kind of job, or `retries.schedule_job`, that does once more what failed. What
    Stripe does not have, or refuses as one request too many, is passed over and logged, and what
    our key may not do, or Stripe does not answer to anybody, has its own alert. Raises what Stripe
    or the database raises when it answers nobody, and what it refuses several of in a row.
    """
    done, failed, succeeded, busy = list[str](), list[str](), 0, 0
    try:
        for object_id in object_ids:
            try:
                await action(object_id)
            except Exception as error:
                if await concerns_all(ctx, error):
                    raise
                is_nobodys = await _is_nobodys(ctx, error)
                busy = busy + 1 if is_nobodys else 0
                if busy == MAX_BUSY:
                    raise
                if await _is_missing(ctx, error, job, object_id):
                    done.append(object_id)
                elif not is_nobodys and not isinstance(error, StripePermissionMissing):
                    failed.append(object_id)
                log.warning("object_failed", object_type=job, exc_info=True)
            else:
                done.append(object_id)
                succeeded, busy = succeeded + 1, 0
    finally:
        await _update_alerts(ctx, done, failed, job)
    return succeeded


async def run_steps(*steps: Step) -> None:
    """Await each step, whether or not the one before it failed, and then raise what failed.

    A single failure is raised as it is, several as a group.
    """
    errors = list[Exception]()
    for step in steps:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - it is raised below
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup("steps failed", errors)


async def concerns_all(ctx: Context, error: Exception) -> bool:
    """Whether an error is nobody's own: Stripe, or the database, answers nobody."""
    if isinstance(error, StripeUnavailable):
        return await stripe_health.is_outage(ctx, error)
    return db.is_away(error)


async def _is_nobodys(ctx: Context, error: Exception) -> bool:
    """Whether Stripe is busy, or answers no request of this kind."""
    if not isinstance(error, StripeUnavailable):
        return False
    return isinstance(error, StripeBusy) or await stripe_health.is_route_out(ctx, error)


async def _is_missing(ctx: Context, error: Exception, job: str, object_id: str) -> bool:
    """Whether Stripe does not have the object itself, and not something that it names."""
    if not stripe_objects.is_missing_error(error):
        return False
    try:
        return await stripe_objects.is_missing(ctx, job, object_id)
    except (PaymentsError, InvalidRequestError):
        return False


async def _update_alerts(
    ctx: Context, done: Sequence[str], failed: Sequence[str], job: str
) -> None:
    if not done and not failed:
        return
    kind, now = AlertKind.OBJECT_FAILED, ctx.now()
    async with ctx.sessions.begin() as session:
        if done:
            await alerts.close_all(session, kind, object_ids=done, job=job, now=now)
        for object_id in failed:
            await alerts.raise_alert(session, kind, object_id=object_id, job=job, now=now)
