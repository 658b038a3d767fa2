"""Subscriptions: the standing promise behind a monthly or annual contribution, as Stripe keeps it.

Stripe owns the schedule. A row here is Stripe's subscription as last fetched; what differs from the
row before it is written to the promise's history and told to the donor, once, by whatever way it
came about. Each invoice tells which payment intents belong to the promise, so that every renewal
counts for the contribution that began it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

import stripe
from sqlalchemy import CheckConstraint, ForeignKey, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments import alarms, contributions, db, donors, gateway, history, outbox
from payments.alarms import AlarmKind
from payments.contributions import Contribution, Frequency
from payments.history import ChangeKind
from payments.money import Money
from payments.outbox import MessageKind
from payments.runtime import Runtime

YEARLY = timedelta(days=180)  # a period longer than this is a year's
EXPAND = ["default_payment_method", "customer.invoice_settings.default_payment_method"]


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    CANCELED = "canceled"
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"  # a longer wait until the next charge, after a change of frequency
    PAUSED = "paused"


LIVE = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.UNPAID,
    SubscriptionStatus.PAUSED,
)
_RENEWING = (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, SubscriptionStatus.PAST_DUE)


class Subscription(db.Base):
    """A promise: `amount` minor units of `currency` each month or year until it is cancelled."""

    __tablename__ = "subscriptions"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.is_currency())

    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    contribution_id: Mapped[db.OurId] = mapped_column(ForeignKey("contributions.id"), index=True)
    stripe_customer_id: Mapped[db.StripeId] = mapped_column(index=True)
    status: Mapped[SubscriptionStatus] = mapped_column(
        db.words(SubscriptionStatus, "status_is_known")
    )
    frequency: Mapped[Frequency] = mapped_column(db.words(Frequency, "frequency_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    stripe_price_id: Mapped[db.StripeId]
    # what the next charge would be made to; null when nothing is left to charge
    stripe_payment_method_id: Mapped[db.StripeId | None] = mapped_column(index=True)
    card_expires_on: Mapped[date | None]  # the last day of the month on the card
    started_at: Mapped[db.Moment]
    renews_at: Mapped[db.Moment | None] = mapped_column(index=True)
    pauses: Mapped[bool]  # charges are skipped, until `resumes_at` or until the donor resumes
    resumes_at: Mapped[db.Moment | None]
    ended_at: Mapped[db.Moment | None]
    synced_at: Mapped[db.Moment]

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def needs_card(self) -> bool:
        return self.is_live and self.stripe_payment_method_id is None


@dataclass(frozen=True, slots=True)
class Card:
    """The payment method the next charge is made to. No number, no brand."""

    id: str
    expires_on: date | None


async def sync(rt: Runtime, subscription_id: str) -> str:
    """Fetch a subscription as it is now and write it down. Gives the id of its contribution."""
    with gateway.reachable():
        fetched = await rt.stripe.v1.subscriptions.retrieve_async(
            subscription_id, {"expand": EXPAND}
        )
    async with rt.sessions.begin() as session:
        return await _write(rt, session, fetched)


async def find(session: AsyncSession, subscription_id: str) -> Subscription | None:
    """The promise with this id, if we know it."""
    return await session.get(Subscription, subscription_id)


async def of_contribution(session: AsyncSession, contribution_id: str) -> Subscription | None:
    """The promise that a contribution began: the live one, if Stripe holds several."""
    found: Subscription | None = await session.scalar(
        select(Subscription)
        .where(Subscription.contribution_id == contribution_id)
        .order_by(Subscription.ended_at.desc().nulls_first(), Subscription.started_at.desc())
        .limit(1)
    )
    return found


async def of_donor(session: AsyncSession, donor_id: str, *, limit: int = 200) -> list[Subscription]:
    """A donor's promises: those that live first, then the newest."""
    query = (
        select(Subscription)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(Contribution.donor_id == donor_id)
        .order_by(Subscription.ended_at.desc().nulls_first(), Subscription.started_at.desc())
        .limit(limit)
    )
    return list(await session.scalars(query))


# --- invoices -------------------------------------------------------------------------------------


async def sync_invoice(rt: Runtime, invoice_id: str) -> None:
    """Fetch an invoice: tie its payments to the contribution, and tell the donor of a failure."""
    with gateway.reachable():
        invoice = await rt.stripe.v1.invoices.retrieve_async(
            invoice_id, {"expand": ["payments.data.payment.payment_intent"]}
        )
    owner = await owner_of(rt, invoice)
    if owner is None or invoice.payments is None:
        return
    intents = [
        payment.payment.payment_intent
        for payment in invoice.payments.data
        if payment.payment.payment_intent is not None
    ]
    async with rt.sessions.begin() as session:
        for intent in intents:
            intent_id = gateway.id_of(intent)
            assert intent_id is not None
            await contributions.link(session, intent_id, owner, frequency_of(invoice))
        await _tell_of_failure(rt, session, invoice, intents)


async def _tell_of_failure(
    rt: Runtime,
    session: AsyncSession,
    invoice: stripe.Invoice,
    intents: list[str | stripe.PaymentIntent],
) -> None:
    """One mail for an invoice that could not be paid; none for a promise that has ended."""
    subscription_id = subscription_of(invoice)
    promise = await session.get(Subscription, subscription_id)
    if promise is None:
        return
    if promise.ended_at is not None and _moment(invoice.created) > promise.ended_at:
        if invoice.amount_due > 0:
            await alarms.sound(session, AlarmKind.AFTER_CANCEL, subject=invoice.id, now=rt.now())
        return
    if invoice.status != "open" or invoice.attempt_count == 0 or not promise.is_live:
        return
    needs_action = any(
        isinstance(intent, stripe.PaymentIntent) and intent.status == "requires_action"
        for intent in intents
    )
    kind = MessageKind.ACTION_NEEDED if needs_action else MessageKind.PAYMENT_FAILED
    await _tell(rt, session, promise, kind, key=f"failed:{invoice.id}", subject=invoice.id)


def subscription_of(invoice: stripe.Invoice) -> str | None:
    """The subscription that made an invoice, if one did."""
    details = invoice.parent.subscription_details if invoice.parent is not None else None
    return gateway.id_of(details.subscription) if details is not None else None


def frequency_of(invoice: stripe.Invoice) -> Frequency:
    """The frequency of the payment an invoice asks for, by the length of the period it pays."""
    longest = max(line.period.end - line.period.start for line in invoice.lines.data)
    return Frequency.ANNUAL if longest > YEARLY.total_seconds() else Frequency.MONTHLY


async def owner_of(rt: Runtime, invoice: stripe.Invoice) -> str | None:
    """The contribution an invoice is for; its subscription is fetched if we never met it.

    None for an invoice that no subscription made.
    """
    subscription_id = subscription_of(invoice)
    if subscription_id is None:
        return None
    async with rt.sessions() as session:
        known = await session.get(Subscription, subscription_id)
    return known.contribution_id if known is not None else await sync(rt, subscription_id)


# --- what Stripe says -----------------------------------------------------------------------------


async def _write(rt: Runtime, session: AsyncSession, fetched: stripe.Subscription) -> str:
    """Write one subscription as fetched, and what follows from the difference."""
    item = fetched["items"].data[0]
    money = Money(item.price.unit_amount * item.quantity, fetched.currency)
    frequency = contributions.frequency_of(fetched)
    owner = await _owner(rt, session, fetched, money, frequency)
    customer = gateway.id_of(fetched.customer)
    assert customer is not None
    status, card = SubscriptionStatus(fetched.status), card_of(fetched)
    email = getattr(fetched.customer, "email", None)
    if email is not None and status in LIVE:  # an ended promise may be a donor's who was erased
        donor_id = await donors.meet(
            session, rt.settings, address=email, customer=customer, now=rt.now()
        )
        await contributions.give_to(session, owner, donor_id)
    pause = fetched.pause_collection
    row: dict[str, Any] = {  # column -> value
        "status": status,
        "frequency": frequency,
        "amount": money.amount,
        "currency": money.currency,
        "stripe_price_id": item.price.id,
        "stripe_payment_method_id": card.id if card is not None else None,
        "card_expires_on": card.expires_on if card is not None else None,
        "renews_at": _moment(item.current_period_end) if status in _RENEWING else None,
        "pauses": pause is not None or status is SubscriptionStatus.PAUSED,
        "resumes_at": _maybe(pause.resumes_at) if pause is not None else None,
        "ended_at": _maybe(fetched.ended_at),
        "synced_at": rt.now(),
    }
    before = await session.scalar(
        select(Subscription)
        .where(Subscription.stripe_subscription_id == fetched.id)
        .with_for_update()
    )
    if before is None:
        await session.execute(
            insert(Subscription)
            .values(
                stripe_subscription_id=fetched.id,
                contribution_id=owner,
                stripe_customer_id=customer,
                started_at=_moment(fetched.start_date),
                **row,
            )
            .on_conflict_do_update(index_elements=["stripe_subscription_id"], set_=row)
        )
        return owner
    was = {name: getattr(before, name) for name in row}
    for name, value in row.items():
        setattr(before, name, value)
    await session.flush()
    await _follow(rt, session, before, was, fetched)
    return owner


async def _owner(
    rt: Runtime,
    session: AsyncSession,
    fetched: stripe.Subscription,
    money: Money,
    frequency: Frequency,
) -> str:
    ours = gateway.metadata_of(fetched, "contribution_id")
    if ours is not None and await contributions.exists(session, ours):
        return ours
    return await contributions.adopt(
        session, fetched.id, claimed_id=ours, money=money, frequency=frequency, now=rt.now()
    )


def card_of(fetched: stripe.Subscription) -> Card | None:
    """What the next charge is made to: the subscription's own method, else the customer's.

    Both must be expanded. https://docs.stripe.com/billing/subscriptions/payment-methods-setting
    """
    method = fetched.default_payment_method
    if method is None and isinstance(fetched.customer, stripe.Customer):
        settings = fetched.customer.invoice_settings
        method = settings.default_payment_method if settings is not None else None
    if not isinstance(method, stripe.PaymentMethod) or method.customer is None:
        return None
    return Card(method.id, _last_day(method.card) if method.card is not None else None)


def _last_day(card: stripe.PaymentMethod.Card) -> date:
    month_after = date(card.exp_year + card.exp_month // 12, card.exp_month % 12 + 1, 1)
    return month_after - timedelta(days=1)


async def _follow(
    rt: Runtime,
    session: AsyncSession,
    promise: Subscription,
    was: dict[str, Any],
    fetched: stripe.Subscription,
) -> None:
    """Write the history of what changed, and owe the donor a word of it, once."""
    id_, live = promise.stripe_subscription_id, promise.is_live

    async def noted(change: ChangeKind, message: MessageKind, key: str) -> None:
        await history.seen(session, id_, change, now=rt.now())
        await _tell(rt, session, promise, message, key=key)

    if was["status"] in LIVE and not live:
        details = fetched.cancellation_details
        failed = details is not None and details.reason == "payment_failed"
        message = MessageKind.LAPSED if failed else MessageKind.STOPPED
        change = ChangeKind.LAPSED if failed else ChangeKind.STOPPED
        await noted(change, message, f"ended:{id_}")
    if not live:
        return
    if was["frequency"] != promise.frequency:
        key = f"frequency:{id_}:{promise.stripe_price_id}"
        await noted(ChangeKind.FREQUENCY, MessageKind.FREQUENCY_CHANGED, key)
    elif was["amount"] != promise.amount:
        key = f"amount:{id_}:{promise.stripe_price_id}"
        await noted(ChangeKind.AMOUNT, MessageKind.AMOUNT_CHANGED, key)
    if (was["pauses"], was["resumes_at"]) != (promise.pauses, promise.resumes_at):
        await _follow_pause(rt, session, promise)
    if was["stripe_payment_method_id"] != promise.stripe_payment_method_id:
        old, new = was["stripe_payment_method_id"], promise.stripe_payment_method_id
        message = MessageKind.CARD_CHANGED if new is not None else MessageKind.NEEDS_CARD
        await noted(ChangeKind.CARD, message, f"card:{id_}:{old}:{new}")


async def _follow_pause(rt: Runtime, session: AsyncSession, promise: Subscription) -> None:
    """A skip is a pause that ends after the next charge would have been."""
    id_, now = promise.stripe_subscription_id, rt.now()
    if not promise.pauses:
        await history.seen(session, id_, ChangeKind.RESUMED, now=now)
        key = f"resumed:{id_}:{now.isoformat()}"
        await _tell(rt, session, promise, MessageKind.RESUMED, key=key)
        return
    kind = await history.seen(session, id_, ChangeKind.PAUSED, now=now, also=(ChangeKind.SKIPPED,))
    message = MessageKind.SKIPPED if kind is ChangeKind.SKIPPED else MessageKind.PAUSED
    await _tell(rt, session, promise, message, key=f"paused:{id_}:{now.isoformat()}")


async def _tell(
    rt: Runtime,
    session: AsyncSession,
    promise: Subscription,
    kind: MessageKind,
    *,
    key: str,
    subject: str | None = None,
) -> None:
    """Owe the donor a mail about this promise."""
    language = await session.scalar(
        select(Contribution.language).where(Contribution.id == promise.contribution_id)
    )
    await outbox.put(
        session,
        kind,
        key=key,
        now=rt.now(),
        subscription_id=promise.stripe_subscription_id,
        subject=subject,
        language=language or "en",
    )


def next_charge(promise: Subscription) -> datetime | None:
    """When the donor is charged next, a pause included. None when nothing is charged by itself."""
    renews = promise.renews_at
    if renews is None or not promise.is_live:
        return None
    if not promise.pauses:
        return renews
    return None if promise.resumes_at is None else first_charge_after(promise, promise.resumes_at)


def first_charge_after(promise: Subscription, moment: datetime) -> datetime | None:
    """The first charge that would come at or after a moment."""
    renews = promise.renews_at
    if renews is None:
        return None
    while renews < moment:
        renews = _one_period_later(renews, promise.frequency)
    return renews


def _one_period_later(moment: datetime, frequency: Frequency) -> datetime:
    """The same day of the next month or year, or that month's last."""
    months = 12 if frequency is Frequency.ANNUAL else 1
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    for day in (moment.day, 30, 29, 28):
        try:
            return moment.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    raise AssertionError("every month has 28 days")


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: int | None) -> datetime | None:
    return None if seconds is None else _moment(seconds)
