"""Mails that follow from payments: thanks with a receipt, and the statement of a year.

They follow from what is stored, not from an event, so it does not matter which road brought it: a
webhook, a sweep or an import. Each is enqueued once, by its key. Only where the newsroom writes in
its own name (`PAYMENTS_DONOR_MAILS=full`); a neutral receipt is for whoever asks for it.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from payments.core.brand_settings import DonorMails
from payments.giving import donor_payments, payment_mail
from payments.giving.charges import Charge, ChargeStatus
from payments.giving.contributions import Contribution
from payments.giving.payment_intent_links import PaymentIntentLink
from payments.giving.subscriptions import Subscription
from payments.infra import stripe_account
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.muted import MutedSubscription
from payments.mail.outbox import MailKind
from payments.risk import emergency_stops

# A bank may take two weeks to confirm a debit; a payment that is found later is not thanked for.
THANKED_FOR = timedelta(days=21)
STATEMENT_DAYS = range(5, 32)  # of January: what the year's last days brought is settled by then
PAGE_SIZE = 500


async def enqueue_thanks(ctx: Context) -> int:
    """Enqueue the mail of every new payment. Returns how many.

    None of payments from before `mailed_about_since`, from protected countries and of
    erased donors.
    """
    async with ctx.sessions.begin() as session:
        mailed_since = await mailed_about_since(ctx, session)
        if mailed_since is None:
            return 0
        since = max(mailed_since, ctx.now() - THANKED_FOR)
        query = (
            _payments()
            .where(
                Charge.charged_at >= since,
                outbox.has_none(literal(f"{MailKind.THANKS}:") + Charge.stripe_charge_id),
            )
            .order_by(Charge.charged_at, Charge.stripe_charge_id)
            .limit(PAGE_SIZE)
        )
        rows = (await session.execute(query)).all()
        for charge_id, language in rows:
            await _enqueue(session, MailKind.THANKS, charge_id, language, now=ctx.now())
    return len(rows)


async def mailed_about_since(ctx: Context, session: AsyncSession) -> datetime | None:
    """Return since when payments are mailed about; None while they are not, or all are stopped.

    That is since the newsroom writes in its own name, as far as this service saw: who gave before
    read that no mail comes unless they ask.
    """
    account = await stripe_account.get(session)
    if account is None:
        return None
    if ctx.settings.donor_mails is not DonorMails.FULL:
        account.own_name_since = None
        return None
    if account.own_name_since is None:
        account.own_name_since = ctx.now()
    if await emergency_stops.is_stopping_all(session):
        return None
    return max(account.bound_at, account.own_name_since)


async def is_thanked(ctx: Context, session: AsyncSession, contribution: Contribution) -> bool:
    """Whether the donor of a contribution that was paid gets its receipt without asking."""
    since = await mailed_about_since(ctx, session)
    return (
        since is not None
        and contribution.created_at >= since
        and contribution.donor_id is not None
        and not (contribution.protected or contribution.erased or contribution.dropped)
    )


async def request_receipt(
    session: AsyncSession, contribution_id: str, *, language: str, now: datetime
) -> bool:
    """Enqueue the receipt of a contribution's newest payment, for whoever asks: once. Returns
    whether there is such a payment.
    """
    query = (
        _payments()
        .where(Contribution.id == contribution_id)
        .order_by(Charge.charged_at.desc(), Charge.stripe_charge_id)
        .limit(1)
    )
    row = (await session.execute(query)).first()
    if row is None:
        return False
    await _enqueue(session, MailKind.RECEIPT, row[0], language, now=now)
    return True


async def was_receipt_requested(session: AsyncSession, contribution_id: str) -> bool:
    """Whether the receipt of a payment of a contribution was asked for."""
    query = _payments().where(Contribution.id == contribution_id).order_by(Charge.charged_at)
    charges = [charge_id for charge_id, _ in await session.execute(query.limit(PAGE_SIZE))]
    return await outbox.exists(session, [f"{MailKind.RECEIPT}:{one}" for one in charges])


async def enqueue_statements(ctx: Context) -> int:
    """Enqueue last year's statement of every donor who gave, in January. Returns how many."""
    today = ctx.now().astimezone(ctx.settings.receipt_zoneinfo).date()
    if (
        ctx.settings.donor_mails is not DonorMails.FULL
        or today.month != 1
        or today.day not in STATEMENT_DAYS
    ):
        return 0
    year = today.year - 1
    since, until = payment_mail.year_bounds(ctx, year)
    theirs = aliased(Contribution)
    key = literal(f"{MailKind.YEARLY_STATEMENT}:{year}:") + Contribution.donor_id
    newest_language = func.array_agg(
        aggregate_order_by(Contribution.language, Charge.charged_at.desc(), Charge.stripe_charge_id)
    )[1]
    async with ctx.sessions.begin() as session:
        mailed_since = await mailed_about_since(ctx, session)
        if mailed_since is None:
            return 0
        query = (
            of_donors(select(Contribution.donor_id, newest_language).select_from(Charge))
            .where(
                Charge.status == ChargeStatus.SUCCEEDED,
                Charge.charged_at >= max(since, mailed_since),
                Charge.charged_at < until,
                ~_has_muted(
                    Subscription.contribution_id == theirs.id,
                    theirs.donor_id == Contribution.donor_id,
                ),
                outbox.has_none(key),
            )
            .group_by(Contribution.donor_id)
            .order_by(Contribution.donor_id)
            .limit(PAGE_SIZE)
        )
        rows = (await session.execute(query)).all()
        for donor_id, language in rows:
            await outbox.enqueue(
                session,
                MailKind.YEARLY_STATEMENT,
                key=f"{MailKind.YEARLY_STATEMENT}:{year}:{donor_id}",
                object_id=f"{donor_id}:{year}",
                language=language,
                now=ctx.now(),
            )
    return len(rows)


async def keys_of_donor(session: AsyncSession, donor_id: str, *, now: datetime) -> list[str]:
    """Return the keys of all mails there can be about what a donor paid: of each payment, each
    refund and each year.
    """
    its_charges = (
        select(Charge.stripe_charge_id, Charge.charged_at)
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .join(Contribution, Contribution.id == PaymentIntentLink.contribution_id)
        .where(Contribution.donor_id == donor_id)
        .order_by(Charge.stripe_charge_id)
    )
    charges = (await session.execute(its_charges)).all()
    ids = [charge_id for charge_id, _ in charges]
    first_year = min((charged_at.year for _, charged_at in charges), default=now.year)
    return [
        *(f"{kind}:{id_}" for kind in (MailKind.THANKS, MailKind.RECEIPT) for id_ in ids),
        *(
            f"{MailKind.REFUNDED}:{refund_id}"
            for refund_id in await donor_payments.refund_ids(session, ids)
        ),
        *(
            f"{MailKind.YEARLY_STATEMENT}:{year}:{donor_id}"
            for year in range(first_year - 1, now.year + 1)
        ),
    ]


def of_donors(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Return a query of charges, joined with contributions whose donors may be written to."""
    return (
        query.join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .join(Contribution, Contribution.id == PaymentIntentLink.contribution_id)
        .where(
            Contribution.donor_id.is_not(None),
            Contribution.protected.is_(False),
            Contribution.erased.is_(False),
            Contribution.dropped.is_(False),
            ~_has_muted(Subscription.contribution_id == Contribution.id),
        )
    )


def _has_muted(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a subscription that meets these conditions is muted."""
    is_it = Subscription.stripe_subscription_id == MutedSubscription.stripe_subscription_id
    return select(MutedSubscription.stripe_subscription_id).where(is_it, *conditions).exists()


def _payments() -> Select[*tuple[Any, ...]]:
    """Return a query of payments that were made: the charge, and the language of its mails."""
    query = select(Charge.stripe_charge_id, Contribution.language).select_from(Charge)
    return of_donors(query).where(Charge.status == ChargeStatus.SUCCEEDED)


async def _enqueue(
    session: AsyncSession, kind: MailKind, charge_id: str, language: str, *, now: datetime
) -> None:
    await outbox.enqueue(
        session,
        kind,
        key=f"{kind}:{charge_id}",
        object_id=charge_id,
        language=language,
        now=now,
    )
