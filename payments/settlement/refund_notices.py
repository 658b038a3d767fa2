"""Mails about refunds, once for each that Stripe has made, whoever asked for it.

They follow from what is stored, and only where the newsroom writes in its own name.
"""

from datetime import timedelta

from sqlalchemy import literal, select

from payments.core.brand_settings import DonorMails
from payments.giving import payment_notices
from payments.giving.charges import Charge
from payments.giving.contributions import Contribution
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.outbox import MailKind
from payments.settlement.refunds import Refund, RefundStatus

# From the moment it was first seen to have succeeded: some banks take weeks.
NOTIFIED_FOR = timedelta(days=21)
PAGE_SIZE = 500


async def enqueue(ctx: Context) -> int:
    """Enqueue the mail about every new refund. Returns how many."""
    if ctx.settings.donor_mails is not DonorMails.FULL:
        return 0
    key = literal(f"{MailKind.REFUNDED}:") + Refund.id
    async with ctx.sessions.begin() as session:
        mailed_since = await payment_notices.mailed_about_since(ctx, session)
        if mailed_since is None:
            return 0
        query = (
            payment_notices.of_donors(
                select(Refund.id, Refund.stripe_charge_id, Contribution.language)
                .select_from(Refund)
                .join(Charge, Charge.stripe_charge_id == Refund.stripe_charge_id)
            )
            .where(
                Refund.status == RefundStatus.SUCCEEDED,
                Refund.requested_at >= mailed_since,
                Refund.succeeded_at >= ctx.now() - NOTIFIED_FOR,
                outbox.has_none(key),
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
                object_id=f"{charge_id}:{refund_id}",
                language=language,
                now=ctx.now(),
            )
    return len(rows)
