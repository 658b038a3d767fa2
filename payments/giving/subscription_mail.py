"""Subscription mails: written from what is true when they leave, dropped when it no longer is."""

from collections.abc import Sequence
from datetime import datetime

import stripe

from payments.core import calendar, i18n, money
from payments.core.calendar import from_unix
from payments.core.frequency import VARYING_AMOUNT, Frequency
from payments.core.money import Money
from payments.giving import (
    billing_dates,
    change_log,
    contributions,
    donor_address,
    subscriptions,
)
from payments.giving.current_card import CARD_EXPIRY_NOTICE
from payments.giving.subscriptions import ARREARS_STATUSES, Subscription
from payments.infra import stripe_client
from payments.infra.context import Context
from payments.mail import links, render
from payments.mail.outbox import MailKind, OutboxMail, Undeliverable
from payments.mail.render import AddressedMail

INVOICE_KINDS = (MailKind.PAYMENT_FAILED, MailKind.ACTION_NEEDED)
END_KINDS = (MailKind.LAPSED, MailKind.CANCELLED)


async def compose(ctx: Context, mail: OutboxMail) -> AddressedMail | None:
    """Return the mail and its address; None when it no longer applies, or its customer was deleted.

    Raises Undeliverable when it applies and has no address.
    """
    subscription_id = mail.subscription_id or ""
    async with ctx.sessions() as session:
        subscription = await subscriptions.get_or_none(session, subscription_id)
        is_cancelling = await change_log.pending_cancellations(session, [subscription_id])
        donor_id = None
        if subscription is not None:
            donor_id = (await contributions.get(session, subscription.contribution_id)).donor_id
        others = []
        if donor_id is not None and mail.kind is MailKind.SECOND_BEGUN:
            others = await subscriptions.list_live_others(session, donor_id, subscription_id)
    if mail.kind is MailKind.SECOND_BEGUN and not others:
        return None  # one of the two has ended
    if subscription is None or (is_cancelling and subscription.is_live):
        return None
    if not _still_applies(mail.kind, subscription, now=ctx.now()):
        return None
    invoice = None
    if mail.kind in INVOICE_KINDS:
        invoice = await _open_invoice(ctx, mail.object_id or "")
        if invoice is None:
            return None
    customer = await donor_address.fetch_customer(ctx, subscription.stripe_customer_id)
    if customer is None:
        return None
    if customer.email is None:
        raise Undeliverable
    locale = i18n.negotiate_locale(mail.language)
    variables = _template_variables(ctx, subscription, donor_id, invoice, locale)
    variables |= _other_variables(others, locale)
    return AddressedMail(customer.email, render.render(mail.kind, locale, variables))


def _still_applies(kind: MailKind, subscription: Subscription, *, now: datetime) -> bool:
    """Whether what a mail of this kind says is true of the subscription."""
    expires_on, due = subscription.card_expires_on, billing_dates.next_charge_at(subscription)
    conditions = {
        MailKind.NEEDS_CARD: subscription.needs_card,
        MailKind.CARD_CHANGED: not subscription.needs_card,
        MailKind.CARD_EXPIRING: (
            expires_on is not None and expires_on <= now.date() + CARD_EXPIRY_NOTICE
        ),
        MailKind.RENEWS_SOON: due is not None and due > now,
        MailKind.SKIPPED: subscription.is_paused,
        MailKind.PAUSED: subscription.is_paused,
        MailKind.RESUMED: not subscription.is_paused,
        MailKind.END_SCHEDULED: subscription.scheduled_end_at is not None,
        MailKind.END_MOVED: subscription.scheduled_end_at is not None,
        MailKind.END_CANCELLED: subscription.scheduled_end_at is None,
    }
    return subscription.is_live is not (kind in END_KINDS) and conditions.get(kind, True)


async def _open_invoice(ctx: Context, invoice_id: str) -> stripe.Invoice | None:
    """Return an invoice that can still be paid."""
    with stripe_client.translate_errors():
        invoice = await ctx.stripe.v1.invoices.retrieve_async(invoice_id)
    return invoice if invoice.status == "open" else None


def _template_variables(
    ctx: Context,
    subscription: Subscription,
    donor_id: str | None,
    invoice: stripe.Invoice | None,
    locale: str,
) -> dict[str, object]:
    """Return what the templates show, ready to print in the mail's language."""

    def day(moment: datetime | None) -> str | None:
        if moment is None:
            return None
        local = calendar.local_date(moment, ctx.settings.accounting_zone)
        return i18n.format_day(local, locale)

    expires_on, frequency = subscription.card_expires_on, subscription.frequency
    amount, retry_at, confirm_link = subscription.money, None, None
    if invoice is not None:
        amount = Money(invoice.amount_remaining, invoice.currency)
        confirm_link = invoice.hosted_invoice_url
        if invoice.next_payment_attempt is not None:
            retry_at = from_unix(invoice.next_payment_attempt)
    contribution_id = subscription.contribution_id
    fix_link = links.card_update_link(ctx, contribution_id, donor_id)
    stop_link = links.cancel_link(ctx, contribution_id, donor_id)
    return {
        "annual": frequency is Frequency.ANNUAL,
        "periodic": frequency is Frequency.PERIODIC,
        "amount": _format_amount(amount, locale),
        "amount_phrase": _amount_phrase(subscription, locale),
        "next_charge": day(billing_dates.next_charge_at(subscription)),
        "skipped_on": day(subscription.current_period_end),
        "resumes_on": day(subscription.resumes_at),
        "ends_on": day(subscription.scheduled_end_at),
        "ended_on": day(subscription.ended_at),
        "card_expires_on": None if expires_on is None else i18n.format_day(expires_on, locale),
        "retry_on": day(retry_at),
        "confirm_link": confirm_link,
        "card_update_link": links.localised(fix_link, locale),
        "cancel_link": links.localised(stop_link, locale),
        "manage_link": links.localised(links.manage_link(ctx), locale),
        "reference": contribution_id[:8].upper(),  # as on the page after paying
    }


def _format_amount(amount: Money | None, locale: str) -> str:
    """Return an amount, or words for one that is not known in advance."""
    if amount is None:
        return i18n.translations(locale).gettext(VARYING_AMOUNT)
    return money.format(amount, locale)


def _amount_phrase(subscription: Subscription, locale: str) -> str:
    amount = _format_amount(subscription.money, locale)
    return render.amount_phrase(amount, locale, subscription.every)


def _other_variables(others: Sequence[Subscription], locale: str) -> dict[str, object]:
    """Return what is said of the donor's other subscriptions, and of one whose payment failed."""
    phrases = [_amount_phrase(other, locale) for other in others]
    has_failed = any(other.status in ARREARS_STATUSES or other.is_paused for other in others)
    return {"other_phrases": ", ".join(phrases), "other_is_held": has_failed}
