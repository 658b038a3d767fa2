"""The open alerts: what each means and what to do, and closing one with a reason.

Closing an alert says that somebody looked. If its cause is still there, it is raised again.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import InvalidField
from payments.infra import alerts, audit_log, retries
from payments.infra.alerts import Alert, AlertKind
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.settlement import importer
from payments.staff import accounts
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.csrf import require_same_origin
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, count_parameter, form_data
from payments.web.staff import layout
from payments.web.staff.guards import BOOKS

ALERTS_URL = "/staff/alerts"
APPROVALS_URL = "/finance/approvals"
MAX_ALERT_ID = 2**31 - 1  # of the column
ALERTS_PER_PAGE = 50
INSTRUCTIONS = {
    AlertKind.EVENT_ENDPOINT_DISABLED: (
        "Look under Events why it refuses; have it mended, and turn the endpoint on again. "
        "What waits for it is sent then, unless it is more than 14 days old."
    ),
    AlertKind.IMPORTED: (
        "Look at it at Stripe: who made it there, and should they have? It is in the books "
        "either way."
    ),
    AlertKind.ADOPTION_MISMATCH: (
        "An operator runs payments stripe adoption, which counts them. If the setting is wrong, "
        "correct it. If they are no contributions, payments stripe adoption --drop forgets them."
    ),
    AlertKind.SUSPENSE: (
        "Find the movement at Stripe by its id, and correct the books: to the account it belongs "
        "to, or to what two of you accept unexplained. Until then it is in suspense, and its "
        "month cannot be closed."
    ),
    AlertKind.UNATTRIBUTED: (
        "Look the charge up at Stripe. If it is no gift, nothing more is to be done; if it is "
        "one, an engineer ties it to its contribution."
    ),
    AlertKind.INTEGRITY_CHECK_FAILED: (
        "Close no month. Run payments verify-ledger: it names the rows. Call an engineer."
    ),
    AlertKind.ACTIVITY_DURING_STOP: (
        "A payment is refunded only where the donor safety policy says so: decide on it. A "
        "subscription was ended again. An alert that names no object of Stripe's is about other "
        "income of the account, once for all of it: nothing of that is refunded here. If more "
        "come, look where they begin."
    ),
    AlertKind.STOP_INCOMPLETE: (
        "Run payments emergency-stop with --resume: it names each object and why Stripe left it. "
        "It is tried again every five minutes as well."
    ),
    AlertKind.DEBT_LEFT: (
        "Open the subscription at Stripe: an invoice that is neither open nor a draft keeps it "
        "back. Begin a new billing period there, or ask the donor to give anew."
    ),
    AlertKind.INVOICE_LEFT: (
        "Open the subscription at Stripe and void the open payments that are older than its last "
        "one or, where it is paused, all. One that a bank works on cannot be voided before the "
        "bank has answered. It is looked at each hour; the alert closes once none is open."
    ),
    AlertKind.CHANGE_NOT_MADE: (
        "Compare it at Stripe with its page here. A schedule or another program may hold it; make "
        "the change at Stripe, or tell the donor that it cannot be made. The alert closes once it "
        "is made, or once what it is about has ended."
    ),
    AlertKind.RETRIES_EXHAUSTED: (
        "Look whether Stripe, or the mail server, has trouble. If not, call an engineer: the id "
        "says what could not be read or sent."
    ),
    AlertKind.STRIPE_UNAVAILABLE: (
        "Look at Stripe's status page. If it says that all is well, ask an engineer whether this "
        "service reaches it. The alert closes by itself."
    ),
    AlertKind.STRIPE_ROUTE_UNAVAILABLE: (
        "Look at Stripe's status page. What waited goes on by itself once such a request is "
        "answered, and the alert closes. If it lasts for a day, ask Stripe's support: the request "
        "is named here."
    ),
    AlertKind.STRIPE_KEY_REFUSED: (
        "An operator makes a new key at Stripe and sets PAYMENTS_STRIPE_API_KEY, today. What "
        "waited goes on by itself, and the alert closes."
    ),
    AlertKind.STRIPE_PERMISSION_MISSING: (
        "An operator gives the key the permission that is named here; payments stripe permissions "
        "lists all that it needs. What waited goes on by itself, and the alert closes."
    ),
    AlertKind.WRONG_STRIPE_ACCOUNT: (
        "The account of the key is named here. An operator sets PAYMENTS_STRIPE_API_KEY to a key "
        "of the newsroom's own account and mode, now, and starts the service again: payments "
        "doctor names both. Nothing was changed there. The alert closes by itself after the start."
    ),
    AlertKind.STRIPE_VALUE_UNKNOWN: (
        "Look the object up at Stripe: what it is there is true, and here it is shown as unknown. "
        "An engineer teaches this service the new word."
    ),
    AlertKind.OBJECT_FAILED: (
        "Look the object up at Stripe by its id. Try again; if it fails once more, call an "
        "engineer."
    ),
    AlertKind.ADDRESS_KEYS_UNREADABLE: (
        "Is the folder of PAYMENTS_ADDRESS_KEY_DIR mounted for every process, and the same one? "
        "Does every process have each of the PAYMENTS_SECRET_KEYS? Destroy none of them before "
        "this closes, which it does by itself with the next address that can be read."
    ),
    AlertKind.SCHEDULE_FAILED: (
        "Try again. If it fails once more, call an engineer: the log has the reason, and the name "
        "says what stands still. The alert closes by itself."
    ),
    AlertKind.IMPORT_STALLED: (
        "Close no month. If no other alert says why, call an engineer: a worker may hang, or none "
        "may run. The alert closes by itself."
    ),
    AlertKind.WEBHOOKS_MISSING: (
        "Run payments doctor. Often the signing secret was rolled (PAYMENTS_STRIPE_WEBHOOK_SECRETS"
        "), this server's clock is off, or Stripe has no endpoint here in this mode any more: then "
        "run payments stripe setup. The alert closes by itself."
    ),
    AlertKind.ERASE_AT_STRIPE: (
        "Within seven days an operator erases at Stripe what payments erased-at-stripe lists, and "
        "takes each off with --done. After that the numbers are destroyed, and the alert closes."
    ),
    AlertKind.READERS_HIDDEN: (
        "Readers wait or are refused who did nothing. An operator runs payments doctor: it says "
        "which proxy to name in PAYMENTS_TRUSTED_PROXIES, and whether that proxy can be believed."
    ),
    AlertKind.MISSING_AT_STRIPE: (
        "Was test data deleted, or the database copied? A subscription has ended here, and its "
        "donor was not written to. Of anything else, call an engineer: payments reconcile lists it."
    ),
    AlertKind.MAIL_UNDELIVERABLE: (
        "Look the gift up at Stripe: its customer has no address, or one that takes no mail. If "
        "you have another way to reach the donor, use it. The next mail that arrives closes this."
    ),
    AlertKind.MAIL_REFUSED: (
        "An operator asks the mail server's log why: 5.7 is a block, a password or a sender that "
        "is not allowed, 5.4 a quota, 5.2.2 a full mailbox, 5.1 very many mailboxes at once that "
        "are said not to exist. A mail is tried for a week. The alert closes by itself."
    ),
    AlertKind.CARD_TESTING: (
        "Nothing at once: the form defends itself. Look at Stripe's list of payments for small "
        "ones that succeeded, and refund those nobody made."
    ),
    AlertKind.CHARGED_AFTER_CANCELLATION: (
        "The donor had stopped. Refund the charge, and end the subscription at Stripe if it "
        "still runs."
    ),
    AlertKind.CONFIRMATION_LIMIT_REACHED: (
        "Somebody may be feeding the form other people's addresses. The confirmations wait by "
        "themselves; look again in an hour."
    ),
    AlertKind.SIGN_IN_LINK_LIMIT_REACHED: (
        "Somebody who knows addresses of donors may be feeding the sign-in form. Links are still "
        "sent: after three in an hour a mailbox gets one mail in five minutes."
    ),
    AlertKind.NEWSLETTER_DELIVERY_FAILED: (
        "Mend whatever takes the newsletter's addresses, then run payments newsletter retry. "
        "Thirty days after they were given they are destroyed."
    ),
    AlertKind.APPROVAL_WAITS: (
        "Look at it under Approvals, and approve or refuse it. Whoever proposed it cannot. The "
        "alert closes once it is decided; a refund ends by itself after seven days."
    ),
    AlertKind.REFUND_FAILED: (
        "Write to the donor by way of Stripe and ask where to send the money; then refund again."
    ),
    AlertKind.DISPUTE_OPENED: (
        "Answer it at Stripe before its day, or accept it. A gift that its donor forgot is best "
        "accepted."
    ),
    AlertKind.EVIDENCE_DUE: "Answer at Stripe today, or accept that it is lost.",
    AlertKind.DISPUTE_LOST: "The donor's next charge may be disputed too. Cancel the subscription.",
    AlertKind.FRAUD_WARNING: (
        "A dispute costs a fee, a refund does not. Refund unless you know the donor."
    ),
    AlertKind.PAYOUT_FAILED: "Check the bank account at Stripe. The money is still in the balance.",
    AlertKind.WEBHOOK_ENDPOINT_DRIFT: (
        "Run payments stripe setup. Until then we learn of payments late, by looking."
    ),
    AlertKind.QUARANTINED: (
        "Nothing is to be written to this donor. What it means is in the newsroom's own plan for "
        "protected countries."
    ),
    AlertKind.STATEMENT_DESCRIPTOR: (
        "Set the account's statement descriptor at Stripe back to what the form shows. "
        "Donations open again when it is."
    ),
    AlertKind.DESCRIPTOR_REVIEW_DUE: (
        "Give a little by each way to pay, wait for the bank's statement, compare its line with "
        "the form's, and file it. An operator writes it down: payments doctor ack-descriptor."
    ),
    AlertKind.PASSKEY_CLONED: (
        "Ask the colleague at once. If it was not them: payments staff invite NAME "
        "--revoke-existing, which ends every session and passkey of theirs."
    ),
    AlertKind.DONOR_VIEW_LIMIT_REACHED: (
        "Ask the colleague why. The audit has each look with its reason."
    ),
}


def _why_not_closable(alert: Alert) -> str | None:
    """Return why a colleague cannot close an alert: something goes on by it. None if they can."""
    if alert.kind is AlertKind.SUSPENSE:  # reports refer to it
        return "It stays open for as long as the money is in suspense."
    if alert.kind is AlertKind.APPROVAL_WAITS:
        return "It stays open until it is decided."
    if alert.kind is AlertKind.OBJECT_FAILED and alert.job == importer.RETRY_JOB:
        return (
            "It stays open until the transaction is in the books: each import fetches it "
            "again by this alert."
        )
    return None


class AlertPages(Controller):
    """The open alerts, closing one, and trying again what failed."""

    path = ALERTS_URL
    include_in_schema = False
    guards = [require_same_origin, BOOKS]  # noqa: RUF012 - litestar's own

    @get()
    async def list_open(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show a page of the open alerts, oldest first."""
        retried = request.query_params.get("retried") == "yes"
        after_id = count_parameter(request, "after")
        return await _render_alerts(ctx, colleague, after_id=after_id, retried=retried)

    @post("/{alert_id:int}/retry", request_max_body_size=SMALL_FORM_BYTES)
    async def retry(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        alert_id: FromPath[int],
    ) -> Response[Any]:
        """Have what failed done once more. The alert closes by itself when it has succeeded."""
        await _retry(ctx, colleague, alert_id)
        return Redirect(f"{ALERTS_URL}?retried=yes", status_code=303)

    @post("/{alert_id:int}", request_max_body_size=SMALL_FORM_BYTES)
    async def acknowledge(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        alert_id: FromPath[int],
    ) -> Response[Any]:
        """Close an alert, with what was found."""
        entered_reason = (await form_data(request)).get("reason", "")
        try:
            reason = audit_log.validate_reason(entered_reason)
            await _acknowledge(ctx, colleague, alert_id, reason)
        except InvalidField as error:
            return await _render_alerts(
                ctx, colleague, failed_id=alert_id, entered_reason=entered_reason, error=error
            )
        return Redirect(ALERTS_URL, status_code=303)


async def _acknowledge(ctx: Context, colleague: Staff, alert_id: int, reason: str) -> None:
    """Close an alert and record who did. Does nothing for one that is closed already."""
    async with ctx.sessions.begin() as session:
        closed = await alerts.acknowledge(session, min(alert_id, MAX_ALERT_ID), now=ctx.now())
        if closed is not None and (sentence := _why_not_closable(closed)):
            raise InvalidField(sentence, field="reason")
        if closed is not None:
            await accounts.record_action(
                session,
                AuditAction.ALERT_CLOSED,
                colleague,
                object_id=f"{closed.kind}: {closed.object_id}",
                reason=reason,
                now=ctx.now(),
            )


async def _retry(ctx: Context, colleague: Staff, alert_id: int) -> None:
    """Enqueue what an alert is about, and record who asked. Nothing for one that is closed."""
    async with ctx.sessions.begin() as session:
        alert = await alerts.get_open(session, min(alert_id, MAX_ALERT_ID))
        if alert is None or not await retries.retry_alert(session, alert):
            return
        await accounts.record_action(
            session,
            AuditAction.ALERT_RETRIED,
            colleague,
            object_id=f"{alert.kind}: {alert.object_id}",
            now=ctx.now(),
        )


async def _render_alerts(
    ctx: Context,
    colleague: Staff,
    *,
    after_id: int = 0,
    retried: bool = False,
    failed_id: int = 0,
    entered_reason: str = "",
    error: InvalidField | None = None,
) -> Response[str]:
    async with ctx.sessions() as session:
        open_alerts = await alerts.list_open(
            session, after_id=min(after_id, MAX_ALERT_ID), limit=ALERTS_PER_PAGE + 1
        )
        count = await alerts.count_open(session)
    shown = open_alerts[:ALERTS_PER_PAGE]
    return layout.render(
        ctx,
        "staff_alerts.html",
        colleague,
        active_url=ALERTS_URL,
        status=200 if error is None else error.status,
        alerts=[_alert_view(ctx, alert) for alert in shown],
        count=count,
        is_first_page=after_id == 0,
        retried=retried,
        more_url=(
            f"{ALERTS_URL}?after={shown[-1].id}" if len(open_alerts) > ALERTS_PER_PAGE else ""
        ),
        failed_id=failed_id,
        entered_reason=entered_reason,
        error="" if error is None else error.detail,
    )


def _alert_view(ctx: Context, alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "message": alerts.MESSAGES[alert.kind],
        "instruction": INSTRUCTIONS.get(alert.kind, ""),
        "object_id": alert.object_id,
        "since": view_models.format_minute(ctx, alert.opened_at),
        "url": APPROVALS_URL if alert.kind is AlertKind.APPROVAL_WAITS else "",
        "can_retry": alert.kind in retries.KINDS,
        "stays_open": _why_not_closable(alert),
    }
