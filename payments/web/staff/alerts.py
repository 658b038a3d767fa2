"""What a person must look at: each open alarm, what it means, what to do, and a reason to close it.

Closing says that somebody looked. An alarm whose cause is still there opens again by itself.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import InvalidField
from payments.infra import alerts, audit_log
from payments.infra.alerts import Alarm, AlarmKind
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime
from payments.staff import accounts
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.forms import SMALL, AnyRequest, typed
from payments.web.staff import auth

PAGE = "/staff/alarms"
SHOWN = 50
WHAT_TO_DO = {
    AlarmKind.ADOPTED: "Look at it at Stripe: who made it there, and should they have? It is in "
    "the books either way.",
    AlarmKind.SUSPENSE: "Find the movement at Stripe by its id and say what it was. An engineer "
    "adds its kind to the posting table; until then it is in suspense and in no report.",
    AlarmKind.UNATTRIBUTED: "Look the charge up at Stripe. If it is no gift, nothing more is to be "
    "done; if it is one, an engineer ties it to its contribution.",
    AlarmKind.BOOKS: "Close no month. Run payments check: it names the rows. Call an engineer.",
    AlarmKind.STUCK: "Look whether Stripe, or the mail server, has trouble. If not, call an "
    "engineer: the id says what could not be read or sent.",
    AlarmKind.CARD_TESTING: "Nothing at once: the form defends itself. Look at Stripe's list of "
    "payments for small ones that succeeded, and refund those nobody made.",
    AlarmKind.AFTER_CANCEL: "The donor had stopped. Refund the charge, and end the subscription at "
    "Stripe if it still runs.",
    AlarmKind.MANY_REMINDERS: "Somebody may be feeding the form other people's addresses. The "
    "confirmations wait by themselves; look again in an hour.",
    AlarmKind.MANY_LINKS: "Somebody may be feeding the sign-in form. Donors who ask for a link now "
    "get none until the hour is over.",
    AlarmKind.NEWSLETTER: "Mend whatever takes the newsletter's addresses, then run payments "
    "newsletter replay. Thirty days after they were given they are destroyed.",
    AlarmKind.REFUND_FAILED: "Write to the donor by way of Stripe and ask where to send the money; "
    "then refund again.",
    AlarmKind.DISPUTED: "Answer it at Stripe before its day, or accept it. A gift that its donor "
    "forgot is best accepted.",
    AlarmKind.EVIDENCE_DUE: "Answer at Stripe today, or accept that it is lost.",
    AlarmKind.DISPUTE_LOST: "The donor's next charge may be disputed too. Stop the promise.",
    AlarmKind.FRAUD_WARNING: "A dispute costs a fee, a refund does not. Refund unless you know "
    "the donor.",
    AlarmKind.PAYOUT_FAILED: "Check the bank account at Stripe. The money is still in the balance.",
    AlarmKind.ENDPOINT: "Run payments stripe setup. Until then we learn of payments late, by "
    "looking.",
    AlarmKind.QUARANTINED: "Nothing is to be written to this donor. What it means is in the "
    "newsroom's own plan for protected countries.",
    AlarmKind.STATEMENT: "Set the account's statement descriptor at Stripe back to what the form "
    "promises. Donations open again when it is.",
    AlarmKind.BANK_LINE: "Give a little by each way to pay, wait for the bank's statement, compare "
    "its line with the form's, and file it. An operator writes it down: payments doctor "
    "--bank-line-seen",
    AlarmKind.PASSKEY_COPIED: "Ask the colleague at once. If it was not them: payments staff "
    "invite NAME --replace, which ends every session and passkey of theirs.",
    AlarmKind.MANY_VIEWS: "Ask the colleague why. The audit has each look with its reason.",
}


# The books must be able to point to these for as long as their rows are there.
STANDING = (AlarmKind.SUSPENSE,)


class AlarmPages(Controller):
    path = PAGE
    include_in_schema = False

    @get()
    async def unattended(
        self, rt: NamedDependency[Runtime], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """The open alarms, oldest first."""
        return await _page(rt, colleague)

    @post("/{alarm_id:int}", request_max_body_size=SMALL)
    async def close(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        alarm_id: FromPath[int],
    ) -> Response[Any]:
        """Close one, with what was found."""
        written = (await typed(request)).get("reason", "")
        try:
            reason = audit_log.reason(written)
            await _close(rt, colleague, alarm_id, reason)
        except InvalidField as error:
            return await _page(rt, colleague, at=alarm_id, written=written, error=error)
        return Redirect(PAGE, status_code=303)


async def _close(rt: Runtime, colleague: Staff, alarm_id: int, reason: str) -> None:
    """Closing what is closed changes nothing and is nobody's deed."""
    async with rt.sessions.begin() as session:
        closed = await alerts.attend(session, min(alarm_id, 2**31 - 1), now=rt.now())
        if closed is not None and closed.kind in STANDING:
            raise InvalidField(
                "This one stays open for as long as the money is in suspense.", field="reason"
            )
        if closed is not None:
            about = f"{closed.kind}: {closed.subject}"
            await accounts.note(
                session, Deed.ALARM_CLOSED, colleague, about=about, reason=reason, now=rt.now()
            )


async def _page(
    rt: Runtime,
    colleague: Staff,
    *,
    at: int = 0,
    written: str = "",
    error: InvalidField | None = None,
) -> Response[str]:
    async with rt.sessions() as session:
        found = await alerts.unattended(session, limit=SHOWN + 1)
    return auth.page(
        rt,
        "staff_alarms.html",
        colleague,
        here=PAGE,
        status=200 if error is None else error.status,
        alarms=[_facts(rt, alarm) for alarm in found[:SHOWN]],
        more=len(found) > SHOWN,
        at=at,
        written=written,
        error="" if error is None else error.detail,
    )


def _facts(rt: Runtime, alarm: Alarm) -> dict[str, Any]:
    return {
        "id": alarm.id,
        "says": alerts.SENTENCES[alarm.kind],
        "do": WHAT_TO_DO.get(alarm.kind, ""),
        "subject": alarm.subject,
        "since": view_models.minute(rt, alarm.opened_at),
        "closable": alarm.kind not in STANDING,
    }
