"""Mails about payments: thanks, receipts, refunds and statements, as they are when they leave.

Where a newsroom writes in its own name, they go to the address that was given at Stripe's page, as
every shop's do. Elsewhere a mailbox that is not proved gets an invitation to sign in instead
(`subscription_mail.compose` has the same rule).
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import calendar, i18n, money
from payments.core.brand_settings import DonorMails
from payments.core.money import Money
from payments.donors import donors
from payments.donors.donors import Donor
from payments.giving import (
    billing_dates,
    donor_address,
    donor_payments,
    subscription_mail,
    subscriptions,
)
from payments.giving.charges import Charge
from payments.giving.contributions import Contribution
from payments.giving.donor_payments import DonorPayment
from payments.giving.payment_intent_links import PaymentIntentLink
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.mail import links, muted, render
from payments.mail.outbox import MailKind, OutboxMail, Undeliverable
from payments.mail.render import AddressedMail
from payments.risk import emergency_stops

PAYMENT_KINDS = (MailKind.THANKS, MailKind.RECEIPT, MailKind.REFUNDED)
KINDS = (*PAYMENT_KINDS, MailKind.YEARLY_STATEMENT)


async def compose(ctx: Context, mail: OutboxMail) -> AddressedMail | None:
    """Return the mail and its address; None when it no longer applies.

    Raises Undeliverable when it applies and Stripe has no address.
    """
    locale = i18n.negotiate_locale(mail.language)
    if mail.kind is MailKind.YEARLY_STATEMENT:
        found = await _statement(ctx, mail.object_id or "", locale)
    else:
        found = await _payment(ctx, mail, locale)
    if found is None:
        return None
    donor, variables = found
    address = await donor_address.of_donor(ctx, donor)
    if address is None:
        raise Undeliverable
    if not donor.mailbox_proved and ctx.settings.donor_mails is not DonorMails.FULL:
        return await subscription_mail.invitation(ctx, mail, donor.id, address)
    rendered = render.render(mail.kind, locale, variables, subscription_mail.brand_for(ctx))
    return AddressedMail(address, rendered)


async def _payment(
    ctx: Context, mail: OutboxMail, locale: str
) -> tuple[Donor, dict[str, object]] | None:
    """Return the donor of a payment and what its mails say; None where nothing is to be said."""
    charge_id, _, refund_id = (mail.object_id or "").partition(":")
    refunded = None
    async with ctx.sessions() as session:
        contribution = await _contribution_of(session, charge_id)
        if contribution is None or contribution.donor_id is None:
            return None
        donor = await session.get_one(Donor, contribution.donor_id)
        subscription = await subscriptions.get_for_contribution(session, contribution.id)
        if not await _may_speak_of(session, [] if subscription is None else [subscription]):
            return None
        payments = await donor_payments.list_for_donor(
            session, donor.id, reference=func.receipt_number(charge_id)
        )
        remaining = None
        if mail.kind is MailKind.REFUNDED and payments:
            refunded = await donor_payments.refund_amount(session, refund_id)
            remaining = await donor_payments.given_after_refunds(
                session, charge_id, payments[0].amounts
            )
    if (
        not payments
        or not payments[0].is_mailable
        or not _applies(mail.kind, payments[0], refunded)
    ):
        return None
    variables = _payment_variables(ctx, payments[0], locale)
    contribution_id = contribution.id
    next_charge = (
        billing_dates.next_charge_at(subscription)
        if subscription is not None and subscription.is_live
        else None
    )
    variables |= subscription_mail.links_without_sign_in(
        ctx, contribution_id, donor.id, locale, is_proved=donor.mailbox_proved
    )
    return donor, variables | {
        "publication": ctx.settings.publication_name,
        "reference": contribution_id[:8].upper(),
        "next_charge": None if next_charge is None else _day(ctx, next_charge, locale),
        "amount_phrase": ""
        if subscription is None
        else subscription_mail.amount_phrase(subscription, locale),
        "refunded": "" if refunded is None else money.format(refunded, locale),
        "remaining": "" if remaining is None else money.format(remaining, locale),
        "manage_link": links.localised(links.manage_link(ctx), locale),
    }


async def _contribution_of(session: AsyncSession, charge_id: str) -> Contribution | None:
    contribution: Contribution | None = await session.scalar(
        select(Contribution)
        .join(PaymentIntentLink, PaymentIntentLink.contribution_id == Contribution.id)
        .join(Charge, Charge.stripe_payment_intent_id == PaymentIntentLink.stripe_payment_intent_id)
        .where(Charge.stripe_charge_id == charge_id)
    )
    return contribution


async def _may_speak_of(session: AsyncSession, given: Sequence[Subscription]) -> bool:
    """Whether none of these subscriptions is muted, and no stop of all stands."""
    ids = [one.stripe_subscription_id for one in given]
    return not (
        await muted.is_any_muted(session, ids) or await emergency_stops.is_stopping_all(session)
    )


def _applies(kind: MailKind, payment: DonorPayment, refunded: Money | None) -> bool:
    """Whether a mail of a kind is true of a payment: nobody is thanked for what went back."""
    if kind is MailKind.REFUNDED:
        return refunded is not None
    return payment.amounts.given.amount > 0


def _payment_variables(ctx: Context, payment: DonorPayment, locale: str) -> dict[str, object]:
    """Return the facts of a receipt. A neutral one shows neither entity, tax nor descriptor."""
    amounts = payment.amounts
    return {
        "given": money.format(amounts.given, locale),
        "paid": money.format(amounts.paid, locale),
        "returned": money.format(amounts.returned, locale) if amounts.returned.amount else "",
        "currency": amounts.paid.currency.upper(),
        "paid_on": _day(ctx, payment.paid_at, locale),
        "receipt_number": payment.printed_reference(ctx.settings.receipt_number_prefix),
        "entity": ctx.settings.receipt_entity or ctx.settings.publication_name,
        "tax_line": ctx.settings.receipt_tax_line,
        "descriptor": ctx.settings.statement_descriptor,
    }


async def _statement(
    ctx: Context, donor_and_year: str, locale: str
) -> tuple[Donor, dict[str, object]] | None:
    """Return a donor and what their statement says; None where nothing stayed given."""
    donor_id, _, year = donor_and_year.partition(":")
    since, until = year_bounds(ctx, int(year))
    async with ctx.sessions() as session:
        donor = await donors.get_or_none(session, donor_id)
        given = await subscriptions.list_for_donor(session, donor_id)
        if donor is None or not await _may_speak_of(session, given):
            return None
        found = await donor_payments.list_for_donor(session, donor_id, since=since, until=until)
    payments = [one for one in found if one.is_mailable]
    totals = [one for one in donor_payments.totals(payments) if one.amount]
    if not totals:
        return None
    link = f"{ctx.settings.mail_links_base_url}/manage/statements/{year}"
    contribution_id = payments[0].contribution_id
    return donor, {
        "year": year,
        "totals": [
            {"currency": one.currency.upper(), "amount": money.format(one, locale)}
            for one in totals
        ],
        "statement_link": links.localised(link, locale),
        "reference": contribution_id[:8].upper(),
    }


def year_bounds(ctx: Context, year: int) -> tuple[datetime, datetime]:
    """Return the first instant of a year and of the next, in the zone of receipts."""
    zone = ctx.settings.receipt_zoneinfo
    return datetime(year, 1, 1, tzinfo=zone), datetime(year + 1, 1, 1, tzinfo=zone)


def _day(ctx: Context, moment: datetime, locale: str) -> str:
    zone = ctx.settings.receipt_zoneinfo.key
    return i18n.format_day(calendar.local_date(moment, zone), locale)
