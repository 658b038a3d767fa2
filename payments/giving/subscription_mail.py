"""Subscription mails: written from what is true when they leave, dropped when it no longer is.

Whoever gives may type somebody else's address, and have their card fail. So a mailbox that is not
proved (`donors.Donor`) gets none of them, but an invitation to sign in, which names nothing; unless
the newsroom, whose donors are in no danger, writes in its own name (`PAYMENTS_DONOR_MAILS=full`).
"""

from datetime import datetime

import stripe
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import calendar, i18n, money
from payments.core.brand_settings import DonorMails
from payments.core.calendar import from_unix
from payments.core.frequency import VARYING_AMOUNT, Frequency
from payments.core.money import Money
from payments.donors import donors
from payments.giving import (
    billing_dates,
    change_log,
    contributions,
    debts,
    donor_address,
    second_mail,
    second_subscriptions,
    subscriptions,
)
from payments.giving.change_log import Actor
from payments.giving.current_card import CARD_EXPIRY_NOTICE
from payments.giving.subscriptions import ARREARS_STATUSES, Subscription, SubscriptionStatus
from payments.infra import stripe_client
from payments.infra.context import Context
from payments.mail import brand, links, render
from payments.mail.brand import Brand
from payments.mail.outbox import MailKind, OutboxMail, Undeliverable
from payments.mail.render import AddressedMail

INVOICE_KINDS = (MailKind.PAYMENT_FAILED, MailKind.ACTION_NEEDED)
PAUSE_KINDS = (MailKind.PAUSED, MailKind.SKIPPED)
END_KINDS = (MailKind.LAPSED, MailKind.CANCELLED)


async def compose(ctx: Context, mail: OutboxMail) -> AddressedMail | None:
    """Return the mail and its address; None when it no longer applies, or its customer was deleted.

    Raises Undeliverable when it applies and has no address.
    """
    subscription_id = mail.subscription_id or ""
    async with ctx.sessions() as session:
        subscription = await subscriptions.get_or_none(session, subscription_id)
        is_cancelling = await change_log.pending_cancellations(session, [subscription_id])
    if (
        subscription is None
        or (is_cancelling and subscription.is_live)
        or not _still_applies(mail.kind, subscription, now=ctx.now())
    ):
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
    await donor_address.sync_if_changed(ctx, customer)  # its links are the new donor's
    locale = i18n.negotiate_locale(mail.language)
    async with ctx.sessions() as session:
        donor_id = (await contributions.get(session, subscription.contribution_id)).donor_id
        is_proved = await donors.is_mailbox_proved(session, donor_id)
    if not is_proved and ctx.settings.donor_mails is not DonorMails.FULL:
        return await invitation(ctx, mail, donor_id, customer.email)
    async with ctx.sessions() as session:
        others = await _others(session, mail.kind, subscription)
        if mail.kind is MailKind.SECOND_BEGUN and not others:
            return None  # one of the two has ended
        variables = await _other_variables(
            ctx, session, mail, subscription, others, is_proved=is_proved
        )
    variables["still_open"] = await _is_still_open(ctx, mail.kind, subscription)
    variables |= _template_variables(ctx, subscription, invoice, locale)
    variables |= links_without_sign_in(
        ctx, subscription.contribution_id, donor_id, locale, is_proved=is_proved
    )
    rendered = render.render(mail.kind, locale, variables, brand_for(ctx))
    return AddressedMail(customer.email, rendered)


def brand_for(ctx: Context) -> Brand | None:
    """Return the brand of mails to donors; None where they are neutral."""
    is_full = ctx.settings.donor_mails is DonorMails.FULL
    return brand.brand_of(ctx.settings) if is_full else None


async def invitation(
    ctx: Context, mail: OutboxMail, donor_id: str | None, address: str
) -> AddressedMail | None:
    """Return what a mailbox that is not proved gets instead: to sign in, and nothing of what for.

    None where another mail did so within `donors.INVITATION_INTERVAL`, and for nobody: they could
    not sign in.
    """
    if donor_id is None:
        return None
    async with ctx.sessions.begin() as session:
        if not await donors.claim_invitation(session, donor_id, mail.id, now=ctx.now()):
            return None
    locale = i18n.negotiate_locale(mail.language)
    manage_link = links.localised(links.manage_link(ctx), locale)
    rendered = render.render("sign_in_invitation", locale, {"manage_link": manage_link})
    return AddressedMail(address, rendered)


def links_without_sign_in(
    ctx: Context, contribution_id: str, donor_id: str | None, locale: str, *, is_proved: bool
) -> dict[str, object]:
    """Return the links that change something for whoever has the mail; None in a mailbox that is
    not proved: with a mistyped address it is a stranger's, who could end the donor's payments.
    """
    if not is_proved:
        return {"card_update_link": None, "cancel_link": None}
    fix_link = links.card_update_link(ctx, contribution_id, donor_id)
    stop_link = links.cancel_link(ctx, contribution_id, donor_id)
    return {
        "card_update_link": links.localised(fix_link, locale),
        "cancel_link": links.localised(stop_link, locale),
    }


async def _others(
    session: AsyncSession, kind: MailKind, subscription: Subscription
) -> list[Subscription]:
    """Return the donor's other subscriptions, for the mails that say something of them."""
    if kind not in (MailKind.SECOND_BEGUN, MailKind.PAYMENT_FAILED, *END_KINDS):
        return []
    return await second_subscriptions.list_others(session, subscription)


async def _is_still_open(ctx: Context, kind: MailKind, subscription: Subscription) -> bool:
    """Whether a payment from before a pause may still be made, once what a pause of ours forgives
    is voided: Stripe refuses to void what a bank is working on. Raises StripeUnavailable.
    """
    if kind not in PAUSE_KINDS:
        return False
    id_ = subscription.stripe_subscription_id
    async with ctx.sessions() as session:
        pause = await change_log.current_pause(session, id_)
    is_ours = pause is not None and pause.actor is not Actor.STRIPE
    if is_ours and subscription.status in ARREARS_STATUSES:
        await debts.void_all(ctx, id_)  # its job may be yet to come
    return await debts.is_owed(ctx, id_)


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
    invoice: stripe.Invoice | None,
    locale: str,
) -> dict[str, object]:
    """Return what the templates show, ready to print in the mail's language."""

    def day(moment: datetime | None) -> str | None:
        return _format_day(ctx, moment, locale)

    expires_on, frequency = subscription.card_expires_on, subscription.frequency
    before_end = billing_dates.charges_before_end(subscription) or []
    amount, retry_at, confirm_link = subscription.money, None, None
    if invoice is not None:
        amount = Money(invoice.amount_remaining, invoice.currency)
        confirm_link = invoice.hosted_invoice_url
        if invoice.next_payment_attempt is not None:
            retry_at = from_unix(invoice.next_payment_attempt)
    return {
        "annual": frequency is Frequency.ANNUAL,
        "periodic": frequency is Frequency.PERIODIC,
        "amount": _format_amount(amount, locale),
        "amount_phrase": amount_phrase(subscription, locale),
        "next_charge": day(billing_dates.next_charge_at(subscription)),
        "skipped_on": day(subscription.current_period_end),
        "resumes_on": day(subscription.resumes_at),
        "ends_on": day(subscription.scheduled_end_at),
        "payments_left": len(before_end),
        "last_payment": day(before_end[-1] if before_end else None),
        "ended_on": day(subscription.ended_at),
        "card_expires_on": None if expires_on is None else i18n.format_day(expires_on, locale),
        "retry_on": day(retry_at),
        "confirm_link": confirm_link,
        "manage_link": links.localised(links.manage_link(ctx), locale),
        "reference": subscription.contribution_id[:8].upper(),  # as on the page after paying
    }


def _format_day(ctx: Context, moment: datetime | None, locale: str) -> str | None:
    if moment is None:
        return None
    return i18n.format_day(calendar.local_date(moment, ctx.settings.accounting_zone), locale)


def _format_amount(amount: Money | None, locale: str) -> str:
    """Return an amount, or words for one that is not known in advance."""
    if amount is None:
        return i18n.translations(locale).gettext(VARYING_AMOUNT)
    return money.format(amount, locale)


def amount_phrase(subscription: Subscription, locale: str) -> str:
    """Return the amount of a subscription and how often it is charged, within a sentence."""
    amount = _format_amount(subscription.money, locale)
    return render.amount_phrase(amount, locale, subscription.every)


async def _other_variables(
    ctx: Context,
    session: AsyncSession,
    mail: OutboxMail,
    subscription: Subscription,
    others: list[Subscription],
    *,
    is_proved: bool,
) -> dict[str, object]:
    """Return what is said of the donor's other subscriptions, each by what is so of it."""
    locale = i18n.negotiate_locale(mail.language)
    variables: dict[str, object] = {
        "names_amounts": False,
        "is_paused_by_us": await second_subscriptions.is_paused_by_us(session, subscription),
        "begun_on": "",
        "others": [],
        "held": [
            await second_subscriptions.is_paused_by_us(session, other) for other in others
        ].count(True),
        "held_for_it": await second_mail.is_held_in_place_of(session, subscription, others),
        "has_other": any(
            other.status is SubscriptionStatus.ACTIVE and not other.is_paused for other in others
        ),
    }
    if mail.kind is not MailKind.SECOND_BEGUN or not second_mail.may_name_amounts(
        mail, subscription, others
    ):
        return variables
    all_of_them = [subscription, *others]
    said = []
    for other in others:
        state = await second_mail.state_of(session, other)
        contribution = await contributions.get(session, other.contribution_id)
        stopping = links_without_sign_in(
            ctx, contribution.id, contribution.donor_id, locale, is_proved=is_proved
        )
        said.append(
            {
                "amount_phrase": amount_phrase(other, locale),
                "begun_on": second_mail.begun_on(ctx, other, all_of_them, locale),
                "state": state.word,
                "date": _format_day(ctx, state.at, locale),
                "cancel_link": stopping["cancel_link"],
            }
        )
    begun_on = second_mail.begun_on(ctx, subscription, all_of_them, locale)
    return variables | {"names_amounts": True, "begun_on": begun_on, "others": said}
