"""What the page of a support case prints of a subscription and of a mail."""

from typing import Any

from payments.infra.context import Context
from payments.mail.outbox import MailStatus, OutboxMail
from payments.safety.support_cases import CaseView, SubscriptionWithChanges
from payments.web.account import view_models

MAIL_STATUS_LABELS = {
    MailStatus.PENDING: "waits",
    MailStatus.SENT: "sent",
    MailStatus.DROPPED: "not sent",
    MailStatus.UNDELIVERABLE: "could not be delivered",
}


def subscription_view(
    ctx: Context, entry: SubscriptionWithChanges, case_view: CaseView
) -> dict[str, Any]:
    """Return a subscription as the page of a case prints it, with what support may do to it."""
    subscription = entry.subscription
    view = view_models.subscription_view(
        ctx, subscription, entry.changes, pending_cancellations=case_view.pending_cancellations
    )
    return {
        **view,
        "url": subscription.contribution_id,
        "can_change": subscription.is_live and not view["cancel_requested"],
        "can_skip": subscription.current_period_end is not None and not subscription.is_paused,
        "changes": [view_models.change_view(ctx, change) for change in entry.changes],
    }


def mail_view(ctx: Context, mail: OutboxMail) -> dict[str, str]:
    """Return a mail as the page of a case prints it: its kind, its day, and no address."""
    return {
        "kind": mail.kind.value.replace("_", " ").capitalize(),
        "status": MAIL_STATUS_LABELS[mail.status],
        "at": view_models.format_minute(ctx, mail.sent_at or mail.created_at),
    }
