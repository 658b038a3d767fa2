"""Charges: each time Stripe took, or tried to take, money for a contribution.

A row is Stripe's charge as last fetched. A charge that succeeded has one balance transaction,
which may come later than the charge; when it is there it goes straight to the ledger. To whom a
charge belongs follows from its payment intent.
"""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import stripe
from sqlalchemy import CheckConstraint, ColumnElement, String, case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.core.errors import NotFound
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.giving import contributions, import_unknown, invoices
from payments.giving.contributions import Contribution, PaymentIntentLink
from payments.infra import alerts, db, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.ledger import balance_transactions, entries, posting_rules
from payments.risk import quarantine

REFERENCE_PATTERN = re.compile("[0-9a-f]{16}")
BALANCE_TRANSACTION_FIELDS = ["balance_transaction", "failure_balance_transaction"]
ATTRIBUTION_GRACE = timedelta(
    hours=1
)  # how long a charge may wait for the invoice that explains it


class ChargeStatus(StrEnum):
    SUCCEEDED = "succeeded"
    PENDING = "pending"
    FAILED = "failed"
    RETURNED = "returned"  # arrived, and was taken back by the donor's bank later

    def supersedes(self, other: "ChargeStatus") -> bool:
        """Whether a charge that is this can have been the other before, and never again."""
        order = {ChargeStatus.PENDING: 0, ChargeStatus.RETURNED: 2}
        return order.get(self, 1) > order.get(other, 1)


class Charge(db.Base):
    """One attempt to move money. `amount` is in minor units of what the reader was shown."""

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


@dataclass(frozen=True, slots=True)
class DonorPayment:
    """One payment of a donor. `reference` names it on a receipt without Stripe's id."""

    reference: str
    contribution_id: str
    frequency: Frequency
    money: Money
    paid_at: datetime


def _reference_sql() -> ColumnElement[str]:
    """Not keyed: it is printed, and must be the same when the keys have changed."""
    digest = func.sha256(func.convert_to(Charge.stripe_charge_id, "UTF8"))
    return func.left(func.encode(digest, "hex"), 16)


async def list_payments_of_donor(
    session: AsyncSession,
    donor_id: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    reference: str | None = None,
    contribution_id: str | None = None,
    limit: int = 1000,
) -> Sequence[DonorPayment]:
    """What a donor paid, the newest first: all of it, or what was paid in a time, or one payment.

    Refunds are not taken off.
    """
    query = (
        select(
            _reference_sql(),
            PaymentIntentLink.contribution_id,
            PaymentIntentLink.frequency,
            Charge.amount,
            Charge.currency,
            Charge.charged_at,
        )
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .join(Contribution, Contribution.id == PaymentIntentLink.contribution_id)
        .where(Contribution.donor_id == donor_id, Charge.status == ChargeStatus.SUCCEEDED)
        .order_by(Charge.charged_at.desc(), Charge.stripe_charge_id)
        .limit(limit)
    )
    if since is not None:
        query = query.where(Charge.charged_at >= since)
    if until is not None:
        query = query.where(Charge.charged_at < until)
    if reference is not None:
        query = query.where(_reference_sql() == reference)
    if contribution_id is not None:
        query = query.where(Contribution.id == contribution_id)
    return [
        DonorPayment(name, owner, frequency, Money(amount, currency), paid_at)
        for name, owner, frequency, amount, currency, paid_at in await session.execute(query)
    ]


async def get_owned_payment(session: AsyncSession, donor_id: str, reference: str) -> DonorPayment:
    """A donor's own payment. Another's is NotFound, just as one that never was."""
    known = REFERENCE_PATTERN.fullmatch(reference) is not None
    paid = await list_payments_of_donor(session, donor_id, reference=reference) if known else []
    if not paid:
        raise NotFound("There is no such payment.")
    return paid[0]


async def sync(ctx: Context, charge_id: str, *, lookup: bool = False) -> None:
    """Fetch a charge as it is now, write it down, and post its balance transactions, if any.

    What a charge is for is told by its own metadata, or by its invoice in its own time: then the
    money that was waiting is posted. `looks_it_up` asks Stripe whose it is.
    """
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.charges.retrieve_async(
            charge_id, {"expand": BALANCE_TRANSACTION_FIELDS}
        )
    await upsert(ctx, fetched, lookup=lookup)


async def upsert(ctx: Context, fetched: stripe.Charge, *, lookup: bool = False) -> None:
    """Write down a charge just fetched. Its balance transactions must be expanded or null."""
    # A charge that was made without an intent stands for itself.
    intent = stripe_client.id_of(fetched.payment_intent) or fetched.id
    if not await _is_linked(ctx, intent):
        await _attribute(ctx, fetched, intent, lookup=lookup)
    moved = [getattr(fetched, name) for name in BALANCE_TRANSACTION_FIELDS]
    async with ctx.sessions.begin() as session:
        await _upsert_row(ctx, session, fetched, intent)
        await update_contribution(session, intent, now=ctx.now())
        await quarantine.flag_if_protected(ctx, session, fetched)
        found = [bt for bt in moved if isinstance(bt, stripe.BalanceTransaction)]
        await balance_transactions.store_transactions(session, found)
        await post_unposted(session, now=ctx.now())


async def _is_linked(ctx: Context, payment_intent_id: str) -> bool:
    async with ctx.sessions() as session:
        return await session.get(PaymentIntentLink, payment_intent_id) is not None


async def _attribute(
    ctx: Context, fetched: stripe.Charge, payment_intent_id: str, *, lookup: bool
) -> None:
    """Tie the charge's payment intent to a contribution, if anything tells which."""
    claimed = stripe_client.metadata_value(fetched, "contribution_id")
    async with ctx.sessions() as session:
        owner = claimed if await contributions.exists(session, claimed) else None
    frequency, invoice = Frequency.ONCE, None
    if lookup and owner is None and fetched.payment_intent:
        invoice = await _invoice_of(ctx, payment_intent_id)
    if invoice is not None:
        owner = await invoices.contribution_of(ctx, invoice)
        frequency = invoices.frequency_of(invoice)
    async with ctx.sessions.begin() as session:
        was_asked = lookup or claimed is not None
        if owner is None and was_asked and _is_unattributable(ctx, fetched, claimed):
            owner = await import_unknown.import_from_stripe(
                session,
                payment_intent_id,
                claimed_id=claimed,
                money=Money(fetched.amount, fetched.currency),
                frequency=frequency,
                now=ctx.now(),
            )
        if owner is not None:
            await contributions.link_payment_intent(session, payment_intent_id, owner, frequency)


async def _invoice_of(ctx: Context, payment_intent_id: str) -> stripe.Invoice | None:
    """The invoice a payment intent pays. A first payment is made before its invoice exists."""
    with stripe_client.translate_errors():
        found = await ctx.stripe.v1.invoice_payments.list_async(
            {
                "payment": {"type": "payment_intent", "payment_intent": payment_intent_id},
                "expand": ["data.invoice"],
            }
        )
    invoice = found.data[0].invoice if found.data else None
    return invoice if isinstance(invoice, stripe.Invoice) else None


def _is_unattributable(ctx: Context, fetched: stripe.Charge, claimed_id: str | None) -> bool:
    """Whether money was taken for a contribution we lost, or that nothing came to explain."""
    if fetched.status != "succeeded":
        return False
    waited = ctx.now() - from_unix(fetched.created)
    return claimed_id is not None or waited > ATTRIBUTION_GRACE


async def _upsert_row(
    ctx: Context, session: AsyncSession, fetched: stripe.Charge, payment_intent_id: str
) -> None:
    """Insert the row, then bring it up to date.

    A job and the importer may do so at once: then either unique key may be there first, and the
    one who asked Stripe earlier may come later. Money that has moved stays moved.
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
    moved = stripe_client.id_of(fetched.balance_transaction)
    await session.execute(
        update(Charge)
        .where(Charge.stripe_charge_id == fetched.id)
        .values(
            status=case(
                (
                    Charge.status.in_([word for word in ChargeStatus if word.supersedes(status)]),
                    Charge.status,
                ),
                else_=status,
            ),
            balance_transaction=func.coalesce(moved, Charge.balance_transaction),
            synced_at=ctx.now(),
        )
    )


def _status_of(fetched: stripe.Charge) -> ChargeStatus:
    if fetched.status == "failed" and fetched.failure_balance_transaction is not None:
        return ChargeStatus.RETURNED
    return ChargeStatus(fetched.status)


async def update_contribution(
    session: AsyncSession, payment_intent_id: str, *, now: datetime
) -> None:
    """What a bank says days later decides what became of a contribution, too."""
    owner = await session.scalar(
        select(PaymentIntentLink.contribution_id).where(
            PaymentIntentLink.stripe_payment_intent_id == payment_intent_id
        )
    )
    words = await session.scalars(
        select(Charge.status)
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(PaymentIntentLink.contribution_id == owner)
        .distinct()
    )
    seen = set(words)
    if owner is not None and seen & {ChargeStatus.SUCCEEDED, ChargeStatus.RETURNED}:
        kept = ChargeStatus.SUCCEEDED in seen  # a promise whose one payment came back goes on
        await contributions.apply_charge_outcome(session, owner, still_paid=kept, now=now)


async def post_unposted(session: AsyncSession, *, now: datetime) -> int:
    """Post what waits for the books and can be explained by now. Gives how many were posted.

    A charge waits until its contribution is known, because that decides which income it is.
    """
    waiting = await balance_transactions.unposted(session)
    if not waiting:
        return 0
    about = [bt.charge for bt in waiting if bt.charge is not None]
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
        .where(Charge.stripe_charge_id.in_(about))
    )
    owners = {
        charge: posting_rules.Attribution(owner, str(frequency))
        for charge, owner, frequency in rows
    }
    return await entries.post(session, waiting, attributions=owners, now=now)


async def attribute_unposted(ctx: Context, *, limit: int = 1000) -> int:
    """Fetch the charges that recorded money waits for. Gives how many were fetched.

    This is how money arrives whole when no webhook does, and how an orphan is adopted in the end.
    """
    async with ctx.sessions() as session:
        rows = await balance_transactions.unposted(session)
    lacking = list(dict.fromkeys(bt.charge for bt in rows if bt.charge is not None))[:limit]
    for charge_id in lacking:
        # What Stripe will not show must not keep the others waiting: it is told of below.
        with suppress(stripe.InvalidRequestError):
            await sync(ctx, charge_id, lookup=True)
    await _alert_unattributed(ctx, {None, *lacking})
    return len(lacking)


async def _alert_unattributed(ctx: Context, looked_up: Collection[str | None]) -> None:
    """Call a person for money that still waits although its charge was asked about."""
    async with ctx.sessions.begin() as session:
        for bt in await balance_transactions.unposted(session):
            if bt.charge in looked_up and ctx.now() - bt.occurred_at > ATTRIBUTION_GRACE:
                kind = AlertKind.UNATTRIBUTED
                await alerts.raise_alert(session, kind, object_id=bt.id, now=ctx.now())
