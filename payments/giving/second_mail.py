"""The mail about a second subscription: what it says of each, as it is when the mail leaves."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import i18n
from payments.core.calendar import local_date
from payments.giving import billing_dates, change_log, second_subscriptions, subscriptions
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import SECOND_NOTICE_WITHIN, Subscription, SubscriptionStatus
from payments.infra.context import Context
from payments.mail.outbox import OutboxMail

MAX_DESCRIBED = 3  # others, in one mail
TWO_CLOCKS = timedelta(minutes=1)  # by which Stripe's and ours may differ


@dataclass(frozen=True, slots=True)
class OtherState:
    """What is so of another subscription: a word for its sentence, and the moment it names."""

    word: str
    at: datetime | None = None


def may_name_amounts(
    mail: OutboxMail, subscription: Subscription, others: list[Subscription]
) -> bool:
    """Whether a mail to a proved mailbox may say what is given: one is new, and they are few.

    Whose address was changed at Stripe, to that of another donor, has begun nothing. Of many it
    says none: their page does.
    """
    is_new = subscription.started_at > mail.created_at - SECOND_NOTICE_WITHIN
    return is_new and len(others) <= MAX_DESCRIBED


async def state_of(session: AsyncSession, other: Subscription) -> OtherState:
    """Return what is so of another live subscription, the most pressing first."""
    next_charge_at = billing_dates.next_charge_at(other)
    is_paused_by_us = await second_subscriptions.is_paused_by_us(session, other)
    is_ending = other.scheduled_end_at is not None
    states = (
        (other.status is SubscriptionStatus.UNPAID, OtherState("unpaid")),
        (other.status is SubscriptionStatus.PAST_DUE, OtherState("failing")),
        (other.needs_card, OtherState("needs_card")),
        (is_paused_by_us, OtherState("held")),
        (other.is_paused, OtherState("paused", other.resumes_at)),
        (is_ending and next_charge_at is None, OtherState("ends", other.scheduled_end_at)),
        (is_ending, OtherState("ends_later", other.scheduled_end_at)),
    )
    return next((state for is_so, state in states if is_so), OtherState("charged", next_charge_at))


def begun_on(ctx: Context, one: Subscription, all_of_them: list[Subscription], locale: str) -> str:
    """Return the day on which one began, and the minute where another began on the same day."""
    zone = ctx.settings.accounting_zone
    day = local_date(one.started_at, zone)
    of_that_day = [other for other in all_of_them if local_date(other.started_at, zone) == day]
    words = i18n.format_day(day, locale)
    if len(of_that_day) == 1:
        return words
    local = one.started_at.astimezone(ctx.settings.accounting_zoneinfo)
    return f"{words}, {local:%H:%M} {local.tzname()}"


async def is_held_in_place_of(
    session: AsyncSession, new: Subscription, others: list[Subscription]
) -> bool:
    """Whether each of the others that we hold is held because this one was begun.

    Of several that were begun before the hold it is not certain which was the reason.
    """
    contribution = await session.get_one(Contribution, new.contribution_id)
    if contribution.donor_id is None:
        return False
    given = await subscriptions.list_for_donor(session, contribution.donor_id)
    for other in others:
        if not await second_subscriptions.is_paused_by_us(session, other):
            continue
        pause = await change_log.current_pause(session, other.stripe_subscription_id)
        reasons = [
            one.stripe_subscription_id
            for one in given
            if pause is not None
            and other.started_at < one.started_at <= pause.decided_at + TWO_CLOCKS
        ]
        if reasons != [new.stripe_subscription_id]:
            return False
    return True
