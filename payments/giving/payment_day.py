"""The payment day: a donor has a contribution charged on another day of the month, or of the year.

Stripe moves the day of a running subscription by a trial that ends on the new one: its anchor is
then that day. Without proration nothing is charged or given back for it.
https://docs.stripe.com/billing/subscriptions/billing-cycle

Days are those of the accounting zone, as everywhere, and Stripe counts months in UTC: so a charge
is due at a time of day that is of one date in both. The days 29 to 31 are not in every month, and
an anchor on a short month's last day would stay there: they are not offered.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from payments.core.calendar import add_months, local_date, zone_or_utc
from payments.core.errors import InvalidField
from payments.core.frequency import IntervalUnit
from payments.giving import change_decisions
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra.context import Context

LAST_DAY = 28
EARLIEST_IN_UTC, LATEST_IN_UTC = time(1), time(23)  # an hour of summer time changes no date


@dataclass(frozen=True, slots=True)
class PaymentDay:
    """A day of the month; with a month, a day of the year. Raises InvalidField for no such day."""

    day: int
    month: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.day <= LAST_DAY or not 1 <= (self.month or 1) <= 12:
            raise InvalidField("Choose a day from 1 to 28. Nothing was changed.", field="day")


def has_month(subscription: Subscription) -> bool:
    """Whether the month is chosen too: of what is charged in whole years."""
    return subscription.every.unit is IntervalUnit.YEAR


def require_movable(subscription: Subscription) -> datetime:
    """Return when the payment is due that would be moved. Raises InvalidField where none can be."""
    due = subscription.current_period_end
    if subscription.every.months is None:
        raise InvalidField("It is charged by weeks or days, so it has no day to choose.")
    if subscription.is_paused:
        raise InvalidField("It is paused. Please resume it first; then you can choose the day.")
    if due is None or subscription.status is SubscriptionStatus.PAST_DUE:
        raise InvalidField(
            "A payment is still open. Please replace the card first; then you can choose the day."
        )
    if subscription.scheduled_end_at is not None:
        raise InvalidField(
            "It is set to end. Please take that back first; then you can choose the day, and set "
            "an end again."
        )
    return due


def next_payment_on(
    subscription: Subscription, chosen: PaymentDay, *, now: datetime, zone: str
) -> date:
    """Return the day of the next payment if it is moved: in the month in which it is due now, or in
    the one after where that day is over; of a year, the nearest to when it is due now, so that none
    is paid long before its time. Raises InvalidField.
    """
    due, today = local_date(require_movable(subscription), zone), local_date(now, zone)
    if has_month(subscription):
        years = (due.year - 1, due.year, due.year + 1)
        days = (date(year, chosen.month or due.month, chosen.day) for year in years)
        return min((day for day in days if day > today), key=lambda day: abs(day - due))
    moved = due.replace(day=chosen.day)
    return moved if moved > today else add_months(moved, 1)


def charge_time(day: date, zone: str) -> datetime:
    """Return noon of a day in a zone, or what is nearest to it on the same date in UTC."""
    noon = datetime.combine(day, time(12), zone_or_utc(zone)).astimezone(UTC)
    earliest, latest = (datetime.combine(day, at, UTC) for at in (EARLIEST_IN_UTC, LATEST_IN_UTC))
    return min(max(noon, earliest), latest)


async def change_day(
    ctx: Context,
    subscription_id: str,
    chosen: PaymentDay,
    *,
    shown_due: str,
    shown_next: str,
    actor: Actor,
    idempotency_key: str | None = None,
) -> None:
    """Have the next payment, and every one after it, made on another day.

    The donor was shown which payment is moved and to which day, each as an ISO date in the
    accounting zone: where another would be moved now, nothing is. Raises what every change raises
    (`subscription_changes`).
    """
    zone = ctx.settings.accounting_zone
    subscription = await change_decisions.require_renewing_at_stripe(ctx, subscription_id)
    due_on = local_date(require_movable(subscription), zone)
    if due_on.isoformat() == shown_next:
        return  # it was moved there before
    next_on = next_payment_on(subscription, chosen, now=ctx.now(), zone=zone)
    if (due_on.isoformat(), next_on.isoformat()) != (shown_due, shown_next):
        raise change_decisions.dates_moved()
    await change_decisions.update_at_stripe(
        ctx,
        subscription,
        ChangeKind.DAY,
        {
            "trial_end": int(charge_time(next_on, zone).timestamp()),
            "proration_behavior": "none",
        },
        actor=actor,
        idempotency_key=idempotency_key,
    )
