"""What is true of a promise, ready to print. The sentences themselves are in the templates."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from payments.core import i18n
from payments.giving import subscriptions
from payments.giving.change_log import Change, ChangeKind
from payments.giving.charges import Payment
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra.context import Runtime
from payments.web import locale

SOON = timedelta(days=30)  # a card that ends before this is said to end soon
LAST_PAYMENT = timedelta(hours=2)  # a charge this near a stop crossed it on the way


def day(rt: Runtime, moment: datetime) -> str:
    """A day, as the newsroom counts days."""
    return i18n.day(moment.astimezone(rt.settings.zone).date(), locale.spoken())


def maybe_day(rt: Runtime, moment: datetime | None) -> str:
    return "" if moment is None else day(rt, moment)


def minute(rt: Runtime, moment: datetime) -> str:
    """A moment to the minute, with its zone."""
    local = moment.astimezone(rt.settings.zone)
    return f"{day(rt, moment)}, {local:%H:%M} {local.tzname()}"


def state(promise: Subscription, changes: Sequence[Change] = ()) -> str:
    """One word for what a donor should know first."""
    if promise.status is SubscriptionStatus.INCOMPLETE:
        return "incomplete"
    if not promise.is_live:
        lapsed = any(change.kind is ChangeKind.LAPSED for change in changes)
        return "lapsed" if lapsed else "ended"
    if promise.needs_card:
        return "needs_card"
    return _state_of_live(promise)


def _state_of_live(promise: Subscription) -> str:
    if promise.status in (SubscriptionStatus.PAST_DUE, SubscriptionStatus.UNPAID):
        return "past_due"
    if promise.ends_at is not None and subscriptions.next_charge(promise) is None:
        return "ending"
    if promise.pauses:
        return "paused" if promise.resumes_at is None else "skipping"
    return "active"


def promise_facts(
    rt: Runtime,
    promise: Subscription,
    changes: Sequence[Change] = (),
    *,
    stopping: Mapping[str, datetime] | None = None,
) -> dict[str, Any]:
    """One promise, for the list and for its own pages. `stopping` are the stops that Stripe has not
    confirmed.
    """
    ended = promise.ended_at
    decided = (stopping or {}).get(promise.stripe_subscription_id) if promise.is_live else None
    due = subscriptions.next_charge(promise) if decided is None else None
    return {
        "url": f"/manage/contributions/{promise.contribution_id}",
        "amount": locale.amount(promise.money),
        "currency": promise.currency,
        "frequency": promise.frequency.value,
        "state": state(promise, changes) if decided is None else "stopping",
        "stopping": "" if decided is None else minute(rt, decided),
        "ends": maybe_day(rt, promise.ends_at),
        "live": promise.is_live,
        "pauses": promise.pauses,
        "since": day(rt, promise.started_at),
        "next": maybe_day(rt, due),
        "ended": "" if ended is None else minute(rt, ended),
        "card_ends_soon": promise.is_live and _ends_soon(rt, promise),
    }


def _ends_soon(rt: Runtime, promise: Subscription) -> bool:
    """Whether the card will not last until after the next charge, or not a month."""
    if promise.card_expires_on is None:
        return False
    due = subscriptions.next_charge(promise) or rt.now()
    return promise.card_expires_on <= max(due, rt.now() + SOON).date()


def change_facts(rt: Runtime, change: Change) -> dict[str, str]:
    """One line of a history."""
    assert change.done_at is not None
    return {"kind": change.kind.value, "by": change.by.value, "at": minute(rt, change.done_at)}


def came_back(asked: str | None, decision: Change | None) -> str:
    """What to say to a donor who comes back from the page where a card is given."""
    if asked != "back" or decision is None:
        return ""
    return "waiting" if decision.done_at is None else "replaced"


def gift_facts(rt: Runtime, gift: Contribution) -> dict[str, str]:
    """A gift that was made once."""
    return {
        "amount": locale.amount(gift.money),
        "at": day(rt, gift.created_at),
        "status": gift.status.value,
    }


def payment_facts(rt: Runtime, payment: Payment) -> dict[str, str]:
    """One payment, for a list and for its receipt."""
    return {
        "amount": locale.amount(payment.money),
        "currency": payment.money.currency.upper(),
        "at": day(rt, payment.paid_at),
        "frequency": payment.frequency.value,
        "reference": payment.reference,
        "printed_reference": spaced(payment.reference),
        "url": f"/manage/receipts/{payment.reference}",
    }


def spaced(reference: str) -> str:
    """A reference as it is read aloud: in fours."""
    return " ".join(reference[i : i + 4] for i in range(0, len(reference), 4)).upper()


def last_payment(promise: Subscription, payments: Sequence[Payment]) -> str:
    """The amount of a payment that was under way when the promise was stopped, or nothing."""
    if promise.ended_at is None or not payments:
        return ""
    newest = max(payments, key=lambda payment: payment.paid_at)
    crossed = newest.paid_at > promise.ended_at - LAST_PAYMENT
    begun = newest.paid_at < promise.started_at + LAST_PAYMENT
    return locale.amount(newest.money) if crossed and not begun else ""
