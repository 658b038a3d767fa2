"""Debts: the invoices of a subscription that nobody paid, and what becomes of them with a new card.

A donor who replaces the card pays one gift, the newest that was not paid, and is shown before:
its amount and its day. Once it is paid, older ones are voided, because nobody asked for several
gifts at once: they are voided, so that Stripe charges none of them later. A card that is declined
has forgiven nothing. An invoice is a debt when it is

* open: its attempts failed, or none was made;
* a draft of a subscription that is `unpaid`: Stripe finalizes none of those;
* uncollectible and the newest of a subscription that is owed for still.

A void one is no debt, nor is the draft of a pause, nor one that a bank is working on. What Stripe
has paused because a payment failed, or for want of a card, goes on when the debt is paid. While an
emergency stop holds a subscription none is paid and none is resumed.

Whoever pauses a subscription, or skips a charge of it, is forgiven what was not paid before: that
nothing is charged meanwhile is what they were shown.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from uuid import uuid4

import stripe

from payments.core.calendar import from_unix
from payments.core.money import Money
from payments.giving import change_requests, invoices, subscription_sync, subscriptions
from payments.giving.subscriptions import SubscriptionStatus
from payments.infra import alerts, stripe_client, stripe_objects
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.risk import emergency_stops

# Of Stripe's pauses, those that end with another card: nobody asked for them.
PAUSES_FOR_WANT_OF_PAYMENT = (
    "first_payment_failure",
    "final_payment_failure",
    "trial_end_without_payment_method",
)

SETTLED_STATUSES = ("paid", "void")  # of an invoice that is never charged again


class _Outcome(Enum):
    """What became of the debt that a donor was shown."""

    SETTLED = auto()  # it is paid, or is none any more
    PENDING = auto()  # a bank has days to answer
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class CardUpdatePlan:
    """What a new card is charged, and whether a pause ends with it. Shown before, done after."""

    invoice_id: str | None = None
    amount: Money | None = None
    due_at: datetime | None = None
    voids_older: bool = False  # there are older debts
    resumes: bool = False

    @property
    def fingerprint(self) -> str:
        """A word for what the plan charges, for a form: another invoice or amount is another."""
        if self.invoice_id is None:
            return ""
        return hashlib.sha256(f"{self.invoice_id}:{self.amount}".encode()).hexdigest()[:16]


async def plan_for(ctx: Context, subscription_id: str) -> CardUpdatePlan:
    """Return what replacing the card would do, as Stripe has it now.

    Raises StopStands and StripeUnavailable.
    """
    async with ctx.sessions() as session:
        await emergency_stops.require_not_stopped(session, subscription_id)
    with stripe_client.translate_errors():
        fetched = await subscription_sync.fetch(ctx, subscription_id)
        debts = await _debts_of(ctx, fetched)
        resumes = _is_paused_for_want_of_payment(fetched)
        if not debts or await _is_with_the_bank(ctx, debts[0].id):
            return CardUpdatePlan(resumes=resumes)
    newest = debts[0]
    return CardUpdatePlan(
        newest.id,
        Money(newest.amount_remaining, newest.currency),
        from_unix(newest.created),
        voids_older=len(debts) > 1,
        resumes=resumes,
    )


async def collect_newest(
    ctx: Context, subscription_id: str, payment_method_id: str, *, shown_invoice_id: str | None
) -> None:
    """Do with a new card what its donor was shown: once, however often this is called.

    Nothing but the invoice they were shown is charged. A decline is not raised: the donor gets the
    mail of the invoice's own events, and a person an alert where Stripe tries no more. Raises
    StripeUnavailable.
    """
    requested_at, outcome = ctx.now(), _Outcome.SETTLED
    fetched = await subscription_sync.fetch(ctx, subscription_id)
    with stripe_client.translate_errors():
        if shown_invoice_id is not None:
            outcome = await _pay_and_void(ctx, fetched, shown_invoice_id, payment_method_id)
        is_paused = _is_paused_for_want_of_payment(fetched)
        is_stopped = await emergency_stops.is_to_be_left(ctx, fetched)
        if is_paused and outcome is not _Outcome.REFUSED and not is_stopped:
            await _resume(ctx, fetched)
    if shown_invoice_id is not None or is_paused:
        requested_at = ctx.now()
        fetched = await subscription_sync.fetch(ctx, subscription_id)
    await subscription_sync.store(ctx, fetched, requested_at=requested_at)
    if not _is_never_charged(fetched):
        async with ctx.sessions.begin() as session:
            await alerts.close(
                session, AlertKind.DEBT_LEFT, object_id=subscription_id, now=ctx.now()
            )
    elif outcome is not _Outcome.PENDING and not is_stopped:
        async with ctx.sessions.begin() as session:
            await alerts.raise_alert(
                session, AlertKind.DEBT_LEFT, object_id=subscription_id, now=ctx.now()
            )


async def is_owed(ctx: Context, subscription_id: str) -> bool:
    """Whether Stripe may charge a subscription for what was invoiced before now, at its next
    attempt or when a bank has answered. Raises StripeUnavailable.
    """
    with stripe_client.translate_errors():
        return bool(await _debts_of(ctx, await subscription_sync.fetch(ctx, subscription_id)))


async def void_all(ctx: Context, subscription_id: str) -> None:
    """Void whatever a subscription owes, and store what it is then. Raises StripeUnavailable.

    The oldest first: without the newest Stripe takes it for paid, and the others would be left by
    an attempt that fails half way.
    """
    with stripe_client.translate_errors():
        fetched = await subscription_sync.fetch(ctx, subscription_id)
        for debt in reversed(await _debts_of(ctx, fetched)):
            await _void(ctx, subscription_id, debt)
        await _close_if_settled(ctx, subscription_id)
    await subscription_sync.sync(ctx, subscription_id)


async def void_paused(ctx: Context, subscription_id: str) -> None:
    """Void whatever a subscription owes that is paused, unless it was resumed since: then only look
    whether it still owes something. Raises StripeUnavailable.
    """
    async with ctx.sessions() as session:
        subscription = await subscriptions.get_or_none(session, subscription_id)
    if subscription is None:
        return
    if subscription.is_paused:
        await void_all(ctx, subscription_id)
        return
    with stripe_client.translate_errors():
        await _close_if_settled(ctx, subscription_id)


async def _close_if_settled(ctx: Context, subscription_id: str) -> None:
    """Close the alert about payments that are left open, once none is."""
    kind = AlertKind.INVOICE_LEFT
    async with ctx.sessions() as session:
        is_open = await alerts.is_open(session, kind, object_id=subscription_id)
    if is_open and not await _debts_of(ctx, await subscription_sync.fetch(ctx, subscription_id)):
        async with ctx.sessions.begin() as session:
            await alerts.close(session, kind, object_id=subscription_id, now=ctx.now())


async def _pay_and_void(
    ctx: Context, fetched: stripe.Subscription, shown_invoice_id: str, payment_method_id: str
) -> _Outcome:
    """Pay the debt that was shown and, when that is done or under way, forgive the older."""
    debts = await _debts_of(ctx, fetched)
    shown = next((debt for debt in debts if debt.id == shown_invoice_id), None)
    if shown is not None:
        if await emergency_stops.is_to_be_left(ctx, fetched):
            return _Outcome.REFUSED
        outcome = await _pay(ctx, fetched.id, shown, payment_method_id)
    else:  # it was paid meanwhile, or somebody voided it
        shown = await ctx.stripe.v1.invoices.retrieve_async(shown_invoice_id)
        if shown.status != "paid":
            return _Outcome.SETTLED
        # drafts too, of the time in which it was unpaid
        outcome, debts = _Outcome.SETTLED, await _debts_of(ctx, fetched, with_drafts=True)
    if outcome is not _Outcome.REFUSED:
        for debt in reversed(debts):
            if debt.created < shown.created:
                await _void(ctx, fetched.id, debt)
    return outcome


async def _debts_of(
    ctx: Context, fetched: stripe.Subscription, *, with_drafts: bool = False
) -> list[stripe.Invoice]:
    """Return the invoices of a subscription that are debts, the newest first."""
    found: list[stripe.Invoice] = []
    with_drafts = with_drafts or fetched.status == SubscriptionStatus.UNPAID
    for status in ("open", "draft") if with_drafts else ("open",):
        page = await ctx.stripe.v1.invoices.list_async(
            {
                "subscription": fetched.id,
                "status": status,
                "limit": stripe_client.MAX_PAGE_SIZE,
            }
        )
        found += [invoice async for invoice in page.auto_paging_iter()]
    latest_id = stripe_client.id_of(fetched.latest_invoice)
    if (
        latest_id is not None
        and fetched.status in subscriptions.OWING_STATUSES
        and latest_id not in _ids(found)
    ):
        latest = await ctx.stripe.v1.invoices.retrieve_async(latest_id)
        if latest.status == "uncollectible":
            found.append(latest)
    owed = [invoice for invoice in found if invoice.amount_remaining > 0]
    return sorted(owed, key=lambda invoice: (invoice.created, invoice.id), reverse=True)


def _ids(found: Sequence[stripe.Invoice]) -> set[str]:
    return {invoice.id for invoice in found}


async def _is_with_the_bank(ctx: Context, invoice_id: str) -> bool:
    """Whether a payment of an invoice is under way: a bank debit takes days."""
    invoice = await ctx.stripe.v1.invoices.retrieve_async(
        invoice_id, {"expand": invoices.INVOICE_EXPAND}
    )
    intents = (
        [one.payment.payment_intent for one in invoice.payments.data] if invoice.payments else []
    )
    return any(
        isinstance(intent, stripe.PaymentIntent) and intent.status == "processing"
        for intent in intents
    )


async def _pay(
    ctx: Context, subscription_id: str, debt: stripe.Invoice, payment_method_id: str
) -> _Outcome:
    """Pay a debt with a card. Returns what became of it.

    The key names the card, so that it is tried once for a debt, however often this is called.
    """
    try:
        await _finalize_draft(ctx, debt)
        answer = await ctx.stripe.v1.invoices.pay_async(
            debt.id,
            {"payment_method": payment_method_id},
            {"idempotency_key": f"pay-{debt.id}-{payment_method_id}"},
        )
    except stripe.CardError:
        return _Outcome.REFUSED
    except stripe.InvalidRequestError:  # it was paid meanwhile, for one
        answer = await ctx.stripe.v1.invoices.retrieve_async(debt.id)
    if answer.status in SETTLED_STATUSES:
        return _Outcome.SETTLED
    if await _is_with_the_bank(ctx, debt.id):
        return _Outcome.PENDING
    await _alert_left(ctx, subscription_id)
    return _Outcome.REFUSED


async def _void(ctx: Context, subscription_id: str, debt: stripe.Invoice) -> None:
    """Void a debt, so that it is never charged. One that Stripe will not void raises an alert,
    unless it is none any more: paid, voided or deleted meanwhile.
    """
    try:
        await _finalize_draft(ctx, debt)
        answer = await ctx.stripe.v1.invoices.void_invoice_async(debt.id)
    except stripe.InvalidRequestError:
        try:
            answer = await ctx.stripe.v1.invoices.retrieve_async(debt.id)
        except stripe.InvalidRequestError as error:
            if stripe_objects.is_missing_error(error):
                return  # a draft was deleted
            raise
    if answer.status not in SETTLED_STATUSES:
        await _alert_left(ctx, subscription_id)


async def _finalize_draft(ctx: Context, debt: stripe.Invoice) -> None:
    """Finalize an invoice that is a draft: Stripe neither pays nor voids one."""
    if debt.status == "draft":
        with contextlib.suppress(stripe.InvalidRequestError):  # finalized meanwhile
            await ctx.stripe.v1.invoices.finalize_invoice_async(debt.id, {"auto_advance": False})


async def _alert_left(ctx: Context, subscription_id: str) -> None:
    """Raise an alert that names the subscription: an invoice's id would outlive an erasure."""
    async with ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session,
            AlertKind.INVOICE_LEFT,
            object_id=subscription_id,
            job=subscriptions.FORGIVE_JOB,
            now=ctx.now(),
        )


# --- the subscription -----------------------------------------------------------------------------


def _is_paused_for_want_of_payment(fetched: stripe.Subscription) -> bool:
    paused = getattr(getattr(fetched, "status_details", None), "paused", None)
    reason = getattr(getattr(paused, "subscription", None), "type", None)
    return fetched.status == "paused" and reason in PAUSES_FOR_WANT_OF_PAYMENT


async def _resume(ctx: Context, paused: stripe.Subscription) -> None:
    """Resume what Stripe has paused because nothing could be charged. A refusal is not raised."""
    call = change_requests.resume_call(ctx, paused.id)
    with contextlib.suppress(stripe.InvalidRequestError):  # resumed meanwhile
        await call(uuid4().hex)  # it may be paused anew within the day of an earlier answer


def _is_never_charged(fetched: stripe.Subscription) -> bool:
    """Whether Stripe would not charge a subscription by itself, whatever its card is."""
    is_given_up = fetched.status in subscriptions.GIVEN_UP_STATUSES
    return is_given_up or _is_paused_for_want_of_payment(fetched)
