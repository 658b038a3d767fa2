"""Mails about refunds, once for each that Stripe has made, whoever asked for it.

They follow from what is stored, and only where the newsroom writes in its own name.
"""

from datetime import timedelta

from sqlalchemy import func, literal, select

from payments.core.brand_settings import DonorMails
from payments.giving.charges import Charge
from payments.giving.contributions import Contribution
from payments.giving.payment_intent_links import PaymentIntentLink
from payments.infra import stripe_account
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.outbox import MailKind, OutboxMail
from payments.settlement.refunds import Refund, RefundStatus

# Some banks take weeks; a refund that is found later gets no mail.
NOTIFIED_FOR = timedelta(days=21)
PAGE_SIZE = 500


async def enqueue(ctx: Context) -> int:
    """Enqueue the mail about every new refund. Returns how many."""
    if ctx.settings.donor_mails is not DonorMails.FULL:
        return 0
    key = literal(f"{MailKind.REFUNDED}:") + Refund.id
    digest = func.encode(func.sha256(func.convert_to(key, "UTF8")), "hex")
    async with ctx.sessions.begin() as session:
        account = await stripe_account.get(session)
        if account is None:
            return 0
        query = (
            select(Refund.id, Refund.stripe_charge_id, Contribution.language)
            .join(Charge, Charge.stripe_charge_id == Refund.stripe_charge_id)
            .join(
                PaymentIntentLink,
                PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
            )
            .join(Contribution, Contribution.id == PaymentIntentLink.contribution_id)
            .where(
                Refund.status == RefundStatus.SUCCEEDED,
                Refund.requested_at >= max(account.bound_at, ctx.now() - NOTIFIED_FOR),
                Contribution.donor_id.is_not(None),
                Contribution.protected.is_(False),
                ~select(OutboxMail.id).where(OutboxMail.key == digest).exists(),
            )
            .order_by(Refund.requested_at, Refund.id)
            .limit(PAGE_SIZE)
        )
        rows = (await session.execute(query)).all()
        for refund_id, charge_id, language in rows:
            await outbox.enqueue(
                session,
                MailKind.REFUNDED,
                key=f"{MailKind.REFUNDED}:{refund_id}",
                object_id=charge_id,
                language=language,
                now=ctx.now(),
            )
    return len(rows)
