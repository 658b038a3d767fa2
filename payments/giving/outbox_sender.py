"""The outbox sender: each mail is composed, addressed and handed to SMTP at least once.

A mail is marked sent once the mail server has accepted it. When the server's answer is lost, the
mail goes out again under the same Message-ID. A mail that is not true any more is dropped. One that
is, and has no address, is refused by its mailbox or finds no mail server for a week, is
undeliverable: an alert says that a donor does not know.
"""

import functools
from datetime import timedelta

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import i18n
from payments.core.brand_settings import DonorMails
from payments.donors.sign_in import LinkPostponed
from payments.giving import payment_mail, sign_in_mail, subscription_mail, subscriptions
from payments.infra import alerts, job_queue
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail import delivery, outbox, smtp
from payments.mail.outbox import MailKind, MailStatus, OutboxMail, Undeliverable
from payments.mail.render import AddressedMail
from payments.mail.smtp import SendResult

log = structlog.get_logger("payments.giving.outbox_sender")
RESEND_AFTER = timedelta(minutes=10)  # before a pending mail's job is enqueued again


async def send(ctx: Context, mail_id: str) -> None:
    """Send one mail of the outbox, drop it, or find it undeliverable. Raises when the mail server
    does not accept it.

    A mail that is not pending is ignored; without a mail server it stays pending.
    """
    mail = await _get_pending(ctx, mail_id)
    if mail is None:
        return
    if not smtp.is_configured(ctx.settings):
        _warn_not_configured()
        return
    try:
        outcome = await _try_to_deliver(ctx, mail)
    except LinkPostponed as postponed:
        async with ctx.sessions.begin() as session:
            await job_queue.enqueue_sync(session, outbox.MAIL_JOB, mail.id, delay=postponed.delay)
        return
    await _record_outcome(ctx, mail, outcome)


async def _try_to_deliver(ctx: Context, mail: OutboxMail) -> MailStatus:
    has_expired = mail.expires_at <= ctx.now()
    if mail.kind is not MailKind.SIGN_IN and ctx.settings.donor_mails is DonorMails.NONE:
        return MailStatus.DROPPED
    if mail.kind is MailKind.SIGN_IN:
        addressed = None if has_expired else await sign_in_mail.compose(ctx, mail)
    else:
        try:
            compose = (
                payment_mail.compose
                if mail.kind in payment_mail.KINDS
                else subscription_mail.compose
            )
            addressed = await compose(ctx, mail)
        except Undeliverable:
            return MailStatus.UNDELIVERABLE
    if addressed is None:
        return MailStatus.DROPPED
    return MailStatus.UNDELIVERABLE if has_expired else await _deliver(ctx, mail, addressed)


async def resend_pending(ctx: Context) -> int:
    """Enqueue the mails that are still pending, after an outage or once mail is configured.

    Returns how many.
    """
    if not smtp.is_configured(ctx.settings):
        return 0
    async with ctx.sessions.begin() as session:
        pending = await session.scalars(
            select(OutboxMail.id)
            .where(
                OutboxMail.status == MailStatus.PENDING,
                OutboxMail.created_at < ctx.now() - RESEND_AFTER,
            )
            .order_by(OutboxMail.created_at)
        )
        ids = list(pending)
        for mail_id in ids:
            await job_queue.enqueue_sync(session, outbox.MAIL_JOB, mail_id)
    return len(ids)


@functools.cache
def _warn_not_configured() -> None:
    """Log it once for each process."""
    log.warning("mail_not_configured")


async def _get_pending(ctx: Context, mail_id: str) -> OutboxMail | None:
    async with ctx.sessions() as session:
        return await session.scalar(
            select(OutboxMail).where(
                OutboxMail.id == mail_id, OutboxMail.status == MailStatus.PENDING
            )
        )


async def _deliver(ctx: Context, mail: OutboxMail, addressed: AddressedMail) -> MailStatus:
    locale = i18n.negotiate_locale(mail.language)
    envelope = smtp.Envelope(mail.id, addressed.address, language=locale, written_at=ctx.now())
    result = await delivery.send(ctx, addressed.rendered, envelope)
    return MailStatus.SENT if result is SendResult.ACCEPTED else MailStatus.UNDELIVERABLE


async def _record_outcome(ctx: Context, mail: OutboxMail, outcome: MailStatus) -> None:
    sent_at = ctx.now() if outcome is MailStatus.SENT else None
    async with ctx.sessions.begin() as session:
        if mail.kind is MailKind.SIGN_IN and outcome is MailStatus.DROPPED:
            await session.execute(delete(OutboxMail).where(OutboxMail.id == mail.id))
            return  # what a stranger asked for leaves nothing
        await session.execute(
            update(OutboxMail)
            .where(OutboxMail.id == mail.id, OutboxMail.status == MailStatus.PENDING)
            .values(status=outcome, sent_at=sent_at)
        )
        await alerts.close(session, AlertKind.RETRIES_EXHAUSTED, object_id=mail.id, now=ctx.now())
        await _update_alert(ctx, session, mail, outcome)


async def _update_alert(
    ctx: Context, session: AsyncSession, mail: OutboxMail, outcome: MailStatus
) -> None:
    """Raise an alert about a donor who got no mail, and close it when the next mail arrives.

    Whoever waits for a sign-in link can ask for another: it has none.
    """
    if mail.subscription_id is None or outcome is MailStatus.DROPPED:
        return
    subscription = await subscriptions.get_or_none(session, mail.subscription_id)
    if subscription is not None:
        change = alerts.close if outcome is MailStatus.SENT else alerts.raise_alert
        await change(
            session,
            AlertKind.MAIL_UNDELIVERABLE,
            object_id=subscription.contribution_id,
            now=ctx.now(),
        )
