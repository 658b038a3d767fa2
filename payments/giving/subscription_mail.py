"""Mail: what the outbox owes, rendered late, addressed late, handed over by SMTP at least once.

A mail is written from what is true when it leaves, and is dropped when it is no longer true. The
address is Stripe's to keep: it is fetched for one mail, put on its envelope and forgotten, never
stored and never logged. A row is marked sent once the mail server has taken the mail; when its
answer is lost the mail goes out again under the same Message-ID.
"""

import functools
from datetime import datetime, timedelta

import stripe
import structlog
from sqlalchemy import select, update

from payments.core import i18n, money
from payments.core.calendar import from_unix
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.donors import donors, sign_in
from payments.donors.donors import Donor
from payments.donors.sign_in import SignInLink
from payments.giving import change_log, subscriptions
from payments.giving.contributions import Contribution
from payments.giving.payment_methods import CARD_EXPIRY_NOTICE
from payments.giving.subscriptions import Subscription
from payments.infra import alerts, job_queue, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail import links, outbox, render, smtp
from payments.mail.outbox import MailKind, MailStatus, OutboxMail

log = structlog.get_logger("payments.giving.subscription_mail")
RESEND_AFTER = timedelta(minutes=10)  # a mail that waits longer is taken up again
INVOICE_KINDS = (MailKind.PAYMENT_FAILED, MailKind.ACTION_NEEDED)
END_KINDS = (MailKind.LAPSED, MailKind.CANCELLED)
CODE_GROUP_LENGTH = sign_in.CODE_LENGTH // 2


async def send(ctx: Context, message_id: str) -> None:
    """Send one mail of the outbox, or drop it. Raises when the mail server does not take it."""
    message = await _get_waiting(ctx, message_id)
    if message is None:
        return
    if message.expires_at <= ctx.now():
        await _record_outcome(ctx, message, MailStatus.DROPPED)
        return
    if not smtp.is_configured(ctx.settings):
        _warn_not_configured()
        return
    if message.kind is MailKind.SIGN_IN:
        outcome = await _send_sign_in_mail(ctx, message)
    else:
        outcome = await _send_subscription_mail(ctx, message)
    await _record_outcome(ctx, message, outcome)


async def resend_waiting(ctx: Context, *, limit: int = 500) -> int:
    """Ring again for mails that still wait: after an outage, or once mail is configured.

    Gives how many.
    """
    if not smtp.is_configured(ctx.settings):
        return 0
    async with ctx.sessions.begin() as session:
        waiting = await session.scalars(
            select(OutboxMail.id)
            .where(
                OutboxMail.status == MailStatus.PENDING,
                OutboxMail.created_at < ctx.now() - RESEND_AFTER,
            )
            .order_by(OutboxMail.created_at)
            .limit(limit)
        )
        ids = list(waiting)
        for message_id in ids:
            await job_queue.enqueue_sync(session, outbox.MAIL_JOB, message_id)
    return len(ids)


@functools.cache
def _warn_not_configured() -> None:
    log.warning("mail_not_configured")


async def _get_waiting(ctx: Context, message_id: str) -> OutboxMail | None:
    async with ctx.sessions() as session:
        return await session.scalar(
            select(OutboxMail).where(
                OutboxMail.id == message_id, OutboxMail.status == MailStatus.PENDING
            )
        )


async def _record_outcome(ctx: Context, message: OutboxMail, outcome: MailStatus) -> None:
    sent_at = ctx.now() if outcome is MailStatus.SENT else None
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(OutboxMail)
            .where(OutboxMail.id == message.id, OutboxMail.status == MailStatus.PENDING)
            .values(status=outcome, sent_at=sent_at)
        )
        await alerts.close(
            session, AlertKind.RETRIES_EXHAUSTED, object_id=message.id, now=ctx.now()
        )


# --- about a promise ------------------------------------------------------------------------------


async def _send_subscription_mail(ctx: Context, message: OutboxMail) -> MailStatus:
    """Send a mail about a promise, if what it says is true."""
    async with ctx.sessions() as session:
        promise = await subscriptions.get_or_none(session, message.subscription_id or "")
        is_stopping = await change_log.pending_cancellations(
            session, [message.subscription_id or ""]
        )
    if promise is None or (is_stopping and promise.is_live):
        return MailStatus.DROPPED
    if not _still_applies(message.kind, promise, now=ctx.now()):
        return MailStatus.DROPPED
    invoice = None
    if message.kind in INVOICE_KINDS:
        invoice = await _open_invoice(ctx, message.object_id or "")
        if invoice is None:
            return MailStatus.DROPPED
    address = await _address_of_customer(ctx, promise.stripe_customer_id)
    if address is None:
        return MailStatus.DROPPED
    tongue = i18n.negotiate_locale(message.language)
    letter = render.render(message.kind, tongue, _template_context(ctx, promise, invoice, tongue))
    async with smtp.connection(ctx.settings) as server:
        return await _deliver(ctx, server, message, address, letter)


def _still_applies(kind: MailKind, subscription: Subscription, *, now: datetime) -> bool:
    """Whether what a mail says is so."""
    ends, due = subscription.card_expires_on, subscriptions.next_charge_at(subscription)
    truths = {
        MailKind.NEEDS_CARD: subscription.needs_card,
        MailKind.CARD_CHANGED: not subscription.needs_card,
        MailKind.CARD_EXPIRING: ends is not None and ends <= now.date() + CARD_EXPIRY_NOTICE,
        MailKind.RENEWS_SOON: due is not None and due > now and not subscription.is_paused,
        MailKind.SKIPPED: subscription.is_paused,
        MailKind.PAUSED: subscription.is_paused,
        MailKind.RESUMED: not subscription.is_paused,
        MailKind.END_SCHEDULED: subscription.scheduled_end_at is not None,
        MailKind.END_CANCELLED: subscription.scheduled_end_at is None,
    }
    return subscription.is_live is not (kind in END_KINDS) and truths.get(kind, True)


async def _open_invoice(ctx: Context, invoice_id: str) -> stripe.Invoice | None:
    """An invoice that still waits to be paid."""
    with stripe_client.translate_errors():
        invoice = await ctx.stripe.v1.invoices.retrieve_async(invoice_id)
    return invoice if invoice.status == "open" else None


def _template_context(
    ctx: Context, subscription: Subscription, invoice: stripe.Invoice | None, locale: str
) -> dict[str, object]:
    """What a letter about a promise is written from, ready to print."""

    def day(moment: datetime | None) -> str | None:
        if moment is None:
            return None
        return i18n.format_day(moment.astimezone(ctx.settings.accounting_zoneinfo).date(), locale)

    def here(link: str) -> str:
        return _localised_link(link, locale)

    ends, annual = subscription.card_expires_on, subscription.frequency is Frequency.ANNUAL
    amount, retry_at, confirm_link = subscription.money, None, None
    if invoice is not None:
        amount = Money(invoice.amount_remaining, invoice.currency)
        confirm_link = invoice.hosted_invoice_url
        if invoice.next_payment_attempt is not None:
            retry_at = from_unix(invoice.next_payment_attempt)
    return {
        "annual": annual,
        "amount": money.format(amount, locale),
        "amount_phrase": render.amount_phrase(
            money.format(subscription.money, locale), locale, annual=annual
        ),
        "next_charge": day(subscriptions.next_charge_at(subscription)),
        "skipped_on": day(subscription.current_period_end),
        "resumes_on": day(subscription.resumes_at),
        "ends_on": day(subscription.scheduled_end_at),
        "ended_on": day(subscription.ended_at),
        "card_expires_on": None if ends is None else i18n.format_day(ends, locale),
        "retry_on": day(retry_at),
        "confirm_link": confirm_link,
        "card_update_link": here(links.card_update_link(ctx, subscription.contribution_id)),
        "cancel_link": here(links.cancel_link(ctx, subscription.contribution_id)),
        "manage_link": here(links.manage_link(ctx)),
        "reference": subscription.contribution_id[:8].upper(),  # as on the page after paying
    }


def _localised_link(link: str, locale: str) -> str:
    """A link to a page in the language of its mail. English is also what nobody asked for."""
    return i18n.with_lang(link, None if locale == i18n.DEFAULT_LOCALE else locale)


# --- a link to sign in ----------------------------------------------------------------------------


async def _send_sign_in_mail(ctx: Context, message: OutboxMail) -> MailStatus:
    """Send the two ways in to a donor who asked; nothing to an address nobody gave with."""
    async with ctx.sessions() as session:
        donor = await session.scalar(
            select(Donor)
            .join(SignInLink, SignInLink.address_hash == Donor.address_hash)
            .where(SignInLink.id == message.object_id)
        )
    address = None if donor is None else await _address_of_donor(ctx, donor)
    if address is None:
        return MailStatus.DROPPED
    async with ctx.sessions.begin() as session:
        ways = await sign_in.issue_credentials(
            session, ctx.settings, message.object_id or "", now=ctx.now()
        )
    if ways is None:
        return MailStatus.DROPPED
    tongue = i18n.negotiate_locale(message.language)
    facts = {
        "minutes": int(sign_in.LINK_LIFETIME.total_seconds()) // 60,
        "sign_in_link": _localised_link(links.sign_in_link(ctx, ways.token), tongue),
        "code": f"{ways.code[:CODE_GROUP_LENGTH]}-{ways.code[CODE_GROUP_LENGTH:]}",
    }
    letter = render.render(message.kind, tongue, facts)
    async with smtp.connection(ctx.settings) as server:
        return await _deliver(ctx, server, message, address, letter)


# --- whom to -------------------------------------------------------------------------------------


async def _address_of_customer(ctx: Context, customer_id: str) -> str | None:
    """Where Stripe says a customer is written to; None for one who is gone."""
    try:
        with stripe_client.translate_errors():
            customer = await ctx.stripe.v1.customers.retrieve_async(customer_id)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        return None
    return getattr(customer, "email", None)  # a deleted customer has no such field


async def _address_of_donor(ctx: Context, donor: Donor) -> str | None:
    """The address a donor gave with: a customer's of theirs or, for a guest, their last gift's."""
    async with ctx.sessions() as session:
        customers = await donors.customers_of(session, donor.id)
        last = await session.scalar(
            select(Contribution.stripe_session_id)
            .where(Contribution.donor_id == donor.id, Contribution.stripe_session_id.is_not(None))
            .order_by(Contribution.created_at.desc())
            .limit(1)
        )
    for customer_id in customers:
        address = await _address_of_customer(ctx, customer_id)
        if _is_address_of(ctx, donor, address):
            return address
    if last is None:
        return None
    with stripe_client.translate_errors():
        gift = await ctx.stripe.v1.checkout.sessions.retrieve_async(last)
    address = gift.customer_details.email if gift.customer_details is not None else None
    return address if _is_address_of(ctx, donor, address) else None


def _is_address_of(ctx: Context, donor: Donor, address: str | None) -> bool:
    """Whether an address is the one this donor is known by: a customer's may have been changed."""
    try:
        return address is not None and donor.address_hash in donors.address_hashes(
            ctx.settings, address
        )
    except InvalidField:
        return False


async def _deliver(
    ctx: Context,
    server: smtp.SmtpClient,
    message: OutboxMail,
    address: str,
    rendered: render.RenderedMail,
) -> MailStatus:
    tongue = i18n.negotiate_locale(message.language)
    envelope = smtp.Envelope(message.id, address, language=tongue, written_at=ctx.now())
    taken = await smtp.send(server, ctx.settings, rendered, envelope)
    return MailStatus.SENT if taken else MailStatus.DROPPED
