"""Charges: each time Stripe took, or tried to take, money for a contribution.

A row is Stripe's charge as last fetched. A charge that succeeded has one balance transaction, which
may come later; when it is there it is posted to the ledger. Which contribution a charge belongs to
follows from its payment intent (`payment_intent_links`).
"""

from datetime import datetime, timedelta

import stripe
from sqlalchemy import CheckConstraint, ColumnElement, String, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.core.errors import StripeUnavailable
from payments.core.frequency import Frequency, Interval
from payments.core.open_enum import OpenEnum
from payments.giving import (
    adoption,
    contributions,
    erased_contributions,
    import_unknown,
    invoices,
    payment_intent_links,
)
from payments.giving.contributions import Contribution
from payments.giving.import_unknown import ImportedTerms
from payments.giving.payment_intent_links import PaymentIntentLink
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import db, job_queue, stripe_client, unknown_values
from payments.infra.context import Context
from payments.ledger import balance_transactions, entries, posting_rules
from payments.ledger.balance_transactions import BalanceTransaction
from payments.risk import emergency_stops, quarantine

BALANCE_TRANSACTION_FIELDS = ["balance_transaction", "failure_balance_transaction"]
ATTRIBUTION_GRACE = timedelta(hours=1)  # a charge may wait so long for its invoice


class NotYetAttributed(StripeUnavailable):
    """Stripe does not say yet what this payment was for. Its job is retried within seconds."""

    code = "not-yet-attributed"


class ChargeStatus(OpenEnum):
    """Stripe's statuses, and one for money that went back."""

    SUCCEEDED = "succeeded"
    PENDING = "pending"
    FAILED = "failed"
    RETURNED = "returned"  # succeeded or pending, then taken back by the donor's bank
    UNKNOWN = "unknown"  # a word that is new at Stripe

    def supersedes(self, other: "ChargeStatus") -> bool:
        """Whether a charge in this status may have been in the other before, but not after."""
        order = {ChargeStatus.PENDING: 0, ChargeStatus.UNKNOWN: 0, ChargeStatus.RETURNED: 2}
        return order.get(self, 1) > order.get(other, 1)


class Charge(db.Base):
    """One attempt to charge. `amount` is in minor units of the currency the reader saw."""

    __tablename__ = "charges"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.currency_check())

    stripe_charge_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    stripe_payment_intent_id: Mapped[db.StripeId | None] = mapped_column(index=True)
    status: Mapped[ChargeStatus] = mapped_column(db.enum_column(ChargeStatus, "status_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    charged_at: Mapped[db.Timestamp] = mapped_column(index=True)
    balance_transaction: Mapped[db.StripeId | None] = mapped_column(String(255), unique=True)
    synced_at: Mapped[db.Timestamp]


async def sync(ctx: Context, charge_id: str, *, lookup: bool = False) -> None:
    """Fetch a charge, store it, and post its balance transactions, if it has any.

    Its contribution is known from its metadata, or later from its invoice: then what was unposted
    is posted. `lookup` asks Stripe for the invoice.
    """
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.charges.retrieve_async(
            charge_id, {"expand": BALANCE_TRANSACTION_FIELDS}
        )
    await upsert(ctx, fetched, lookup=lookup)


async def upsert(ctx: Context, fetched: stripe.Charge, *, lookup: bool = False) -> None:
    """Store a charge just fetched. Its balance transactions must be expanded or null."""
    intent_id = await _stored_intent(ctx, fetched)
    if not await _is_linked(ctx, intent_id):
        intent_id = await _attribute(ctx, fetched, intent_id, lookup=lookup)
    expanded = [getattr(fetched, name) for name in BALANCE_TRANSACTION_FIELDS]
    transactions = [bt for bt in expanded if isinstance(bt, stripe.BalanceTransaction)]
    async with ctx.sessions.begin() as session:
        await _upsert_row(ctx, session, fetched, intent_id)
        await unknown_values.update_alert(session, fetched.id, _status_of(fetched), now=ctx.now())
        await _update_contribution(session, intent_id, now=ctx.now())
        if fetched.status == "failed":
            await _enqueue_subscriptions(session, intent_id)
        link = await session.get(PaymentIntentLink, intent_id)
        if link is None or link.contribution_id is not None:
            await quarantine.flag_if_protected(ctx, session, fetched, is_known=link is not None)
        if link is not None or not lookup:  # else its job itself looks it up, or waits
            await emergency_stops.enqueue_enforcement(
                session, emergency_stops.ENFORCE_PAYMENT_JOB, fetched.id
            )
        await balance_transactions.store_transactions(session, transactions)
        await post_unposted(session, now=ctx.now())


async def _enqueue_subscriptions(session: AsyncSession, payment_intent_id: str) -> None:
    """Enqueue a sync of the live subscriptions that a failed charge is of: they may be past due."""
    ids = await session.scalars(
        select(Subscription.stripe_subscription_id)
        .join(PaymentIntentLink, PaymentIntentLink.contribution_id == Subscription.contribution_id)
        .where(
            PaymentIntentLink.stripe_payment_intent_id == payment_intent_id,
            Subscription.status.in_(LIVE_STATUSES),
        )
        .order_by(Subscription.stripe_subscription_id)
    )
    for subscription_id in ids:
        await job_queue.enqueue_sync(session, "subscription", subscription_id)


async def _stored_intent(ctx: Context, fetched: stripe.Charge) -> str:
    """Return what a charge is linked by: as stored, which of an erased contribution is another."""
    query = select(Charge.stripe_payment_intent_id).where(Charge.stripe_charge_id == fetched.id)
    async with ctx.sessions() as session:
        stored = await session.scalar(query)
    return stored or stripe_client.id_of(fetched.payment_intent) or fetched.id


async def link_payment(
    session: AsyncSession,
    payment_intent_id: str,
    contribution_id: str,
    interval: Interval | None,
    *,
    now: datetime,
) -> None:
    """Link a payment to its contribution, and write the outcome that its charges have so far."""
    for link_id in await payment_intent_links.link(
        session, payment_intent_id, contribution_id, interval
    ):
        await _update_contribution(session, link_id, now=now)


async def _is_linked(ctx: Context, payment_intent_id: str) -> bool:
    async with ctx.sessions() as session:
        return await session.get(PaymentIntentLink, payment_intent_id) is not None


async def find_link(session: AsyncSession, charge_id: str) -> PaymentIntentLink | None:
    """Return a charge's link, to a contribution or to none; None while whose it is is unknown."""
    found: PaymentIntentLink | None = await session.scalar(
        select(PaymentIntentLink)
        .join(Charge, Charge.stripe_payment_intent_id == PaymentIntentLink.stripe_payment_intent_id)
        .where(Charge.stripe_charge_id == charge_id)
    )
    return found


async def require_link(ctx: Context, charge_id: str) -> PaymentIntentLink:
    """Return whose a charge is, asking Stripe where it is not known. Raises NotYetAttributed."""
    async with ctx.sessions() as session:
        link = await find_link(session, charge_id)
    if link is None:
        await sync(ctx, charge_id, lookup=True)
        async with ctx.sessions() as session:
            link = await find_link(session, charge_id)
    if link is None:
        raise NotYetAttributed("Stripe does not say yet what this payment was for.")
    return link


async def _attribute(ctx: Context, fetched: stripe.Charge, intent_id: str, *, lookup: bool) -> str:
    """Link a charge to a contribution or to none, if it is known by now. Returns what it is linked
    by: its payment intent or, of an erased contribution, its own id.

    The invoice of a charge that waits for a bank has no event for days, so it is looked up.
    """
    lookup = lookup or fetched.status == "pending"
    payment_intent_id = stripe_client.id_of(fetched.payment_intent)
    claimed_id = stripe_client.metadata_value(fetched, "contribution_id")
    async with ctx.sessions() as session:
        contribution_id = await _claimed(ctx, session, claimed_id, intent_id)
        is_copied = contribution_id is None and await contributions.exists(session, claimed_id)
    interval, service, invoice, is_ours = None, None, None, True
    if lookup and contribution_id is None and payment_intent_id is not None:
        invoice = await fetch_invoice(ctx, payment_intent_id)
    if invoice is not None:
        contribution_id = await invoices.contribution_of(ctx, invoice)
        interval, service = await invoices.interval_of(ctx, invoice), invoices.service_of(invoice)
    is_searched = lookup or claimed_id is not None
    is_new = contribution_id is None and is_searched
    is_new = is_new and _is_unattributable(ctx, fetched, claimed_id, invoice)
    if is_new:
        is_ours = await adoption.includes_charge(ctx, fetched, invoice)
        is_ours = is_ours and (invoice is None or invoices.subscription_of(invoice) is None)
    given_at = from_unix(fetched.created)
    async with ctx.sessions.begin() as session:
        if is_new and is_ours:
            contribution_id = await import_unknown.import_from_stripe(
                session,
                ctx.settings,
                intent_id,
                claimed_id=None if is_copied else claimed_id,
                terms=ImportedTerms(fetched.amount, fetched.currency, None),
                given_at=given_at,
                now=ctx.now(),
            )
        if contribution_id is not None:
            if await erased_contributions.is_or_becomes_erased(
                session, contribution_id, given_at=given_at, now=ctx.now()
            ):
                await erased_contributions.use_own_ids(session, intent_id)
                intent_id = fetched.id
            await payment_intent_links.link(session, intent_id, contribution_id, interval, service)
        elif not is_ours:
            await payment_intent_links.link(session, intent_id, None, None)
    return intent_id


async def _claimed(
    ctx: Context, session: AsyncSession, claimed_id: str | None, intent_id: str
) -> str | None:
    """Return the contribution of a payment by its metadata. One of an erased contribution, whose
    payments are stored by other ids, may come as if it were new.
    """
    if await may_claim(session, claimed_id, intent_id):
        return claimed_id
    return await import_unknown.find_erased(session, ctx.settings, intent_id, claimed_id)


async def may_claim(
    session: AsyncSession, contribution_id: str | None, payment_intent_id: str
) -> bool:
    """Whether a payment may be the one of a contribution that its metadata names.

    It must be there, be given once and have no other payment: whoever copies an object at Stripe
    copies our id with it. The payment's own link, which another job may have made meanwhile, is no
    other. A renewal is known by its invoice.
    """
    row = None if contribution_id is None else await session.get(Contribution, contribution_id)
    if row is None or row.frequency is not Frequency.ONCE:
        return False
    others = select(PaymentIntentLink).where(
        PaymentIntentLink.contribution_id == row.id,
        PaymentIntentLink.stripe_payment_intent_id != payment_intent_id,
    )
    return await session.scalar(others.limit(1)) is None


async def fetch_invoice(ctx: Context, payment_intent_id: str) -> stripe.Invoice | None:
    """Return the invoice a payment intent pays. A first payment may be made before its invoice."""
    with stripe_client.translate_errors():
        invoice_payments = await ctx.stripe.v1.invoice_payments.list_async(
            {
                "payment": {"type": "payment_intent", "payment_intent": payment_intent_id},
                "expand": ["data.invoice"],
            }
        )
    invoice = invoice_payments.data[0].invoice if invoice_payments.data else None
    return invoice if isinstance(invoice, stripe.Invoice) else None


def _is_unattributable(
    ctx: Context, fetched: stripe.Charge, claimed_id: str | None, invoice: stripe.Invoice | None
) -> bool:
    """Whether money was taken without a row here: by its metadata, for an invoice that belongs to
    no contribution, or when none came in time.
    """
    if fetched.status != "succeeded":
        return False
    waited = ctx.now() - from_unix(fetched.created)
    return claimed_id is not None or invoice is not None or waited > ATTRIBUTION_GRACE


async def _upsert_row(
    ctx: Context, session: AsyncSession, fetched: stripe.Charge, payment_intent_id: str
) -> None:
    """Insert the row, then update it.

    A job and the importer may do so at once: then either unique key may be there first, and what
    was fetched earlier may be written later. So a status never goes back, and a balance
    transaction is never removed.
    """
    status = _status_of(fetched)
    await session.execute(
        insert(Charge)
        .values(
            stripe_charge_id=fetched.id,
            stripe_payment_intent_id=payment_intent_id,
            status=status,
            amount=fetched.amount,
            currency=fetched.currency,
            charged_at=from_unix(fetched.created),
            synced_at=ctx.now(),
        )
        .on_conflict_do_nothing()
    )
    transaction_id = stripe_client.id_of(fetched.balance_transaction)
    await session.execute(
        update(Charge)
        .where(Charge.stripe_charge_id == fetched.id)
        .values(
            status=case(
                (
                    Charge.status.in_([one for one in ChargeStatus if one.supersedes(status)]),
                    Charge.status,
                ),
                else_=status,
            ),
            balance_transaction=func.coalesce(transaction_id, Charge.balance_transaction),
            synced_at=ctx.now(),
        )
    )


def _status_of(fetched: stripe.Charge) -> ChargeStatus:
    if fetched.status == "failed" and fetched.failure_balance_transaction is not None:
        return ChargeStatus.RETURNED
    return ChargeStatus(fetched.status)


async def _update_contribution(
    session: AsyncSession, payment_intent_id: str, *, now: datetime
) -> None:
    """Write the outcome that a contribution has by all its charges so far."""
    contribution_id = await session.scalar(
        select(PaymentIntentLink.contribution_id).where(
            PaymentIntentLink.stripe_payment_intent_id == payment_intent_id
        )
    )
    if contribution_id is None:
        return
    statuses = await session.scalars(
        select(Charge.status)
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(PaymentIntentLink.contribution_id == contribution_id)
        .distinct()
    )
    seen = set(statuses)
    if seen & {ChargeStatus.SUCCEEDED, ChargeStatus.RETURNED}:
        # of a subscription one payment may be returned and others stay
        still_paid = ChargeStatus.SUCCEEDED in seen
        await contributions.apply_charge_outcome(
            session, contribution_id, still_paid=still_paid, now=now
        )


async def post_unposted(session: AsyncSession, *, now: datetime) -> int:
    """Post the unposted balance transactions that can be attributed. Returns how many.

    A charge stays unposted until its contribution is known, which decides which income it is.
    """
    unposted = await balance_transactions.unposted(session, _can_be_posted())
    if not unposted:
        return 0
    charge_ids = [bt.charge for bt in unposted if bt.charge is not None]
    rows = await session.execute(
        select(
            Charge.stripe_charge_id,
            PaymentIntentLink.contribution_id,
            PaymentIntentLink.frequency,
        )
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(Charge.stripe_charge_id.in_(charge_ids))
    )
    attributions = {
        charge_id: posting_rules.Attribution(contribution_id, str(frequency))
        for charge_id, contribution_id, frequency in rows
    }
    return await entries.post(session, unposted, attributions=attributions, now=now)


def _can_be_posted() -> ColumnElement[bool]:
    """Whether a balance transaction is of no charge, or of one whose contribution is known."""
    is_attributed = (
        select(Charge.stripe_charge_id)
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(Charge.stripe_charge_id == BalanceTransaction.charge)
        .exists()
    )
    return or_(BalanceTransaction.charge.is_(None), is_attributed)
