"""What became of a gift, told from our own records. The return address proves nothing.

While we wait for Stripe's word the page asks again by itself, and rings for the session, so a
webhook that is late or lost does not leave a reader in doubt. A day after its end is
known the address tells nothing.
"""

from datetime import datetime, timedelta
from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core import money
from payments.core.errors import NotFound
from payments.giving import checkout_session, contributions, subscriptions
from payments.giving.checkout_session import Frequency
from payments.giving.contributions import Contribution, Status
from payments.giving.subscriptions import Subscription
from payments.infra import job_queue
from payments.infra.context import Runtime
from payments.web import locale, templates
from payments.web.account import view_models
from payments.web.donate import risk_check
from payments.web.donate.form import EVERY
from payments.web.forms import AnyRequest
from payments.web.newsletter import pages

PAUSES = (2, 2, 2, 3, 3, 5, 5, 8, 8, 13, 13)  # seconds before each look; then we stop looking
SHOWN_FOR = timedelta(hours=24)  # then whoever finds the address learns nothing from it
STATES = {
    Status.STARTED: "confirming",
    Status.OPEN: "confirming",
    Status.PROCESSING: "processing",
    Status.PAID: "paid",
    Status.FAILED: "failed",
    Status.EXPIRED: "expired",
    Status.RETURNED: "returned",
}
PROMISING = ("confirming", "processing", "paid")  # states in which another charge may be announced


@get("/thanks/{contribution_id:str}", include_in_schema=False)
async def thanks(
    rt: NamedDependency[Runtime], request: AnyRequest, contribution_id: FromPath[str]
) -> Response[str]:
    """Confirming, with the bank, paid, failed, expired or returned; the same answer for a gift that
    never was.
    """
    async with rt.sessions.begin() as session:
        try:
            gift = await contributions.find(session, contribution_id)
            if not _is_shown(gift, now=rt.now()):
                raise NotFound("This page has said what it had to say.")
        except NotFound:
            return templates.page(rt, "thanks.html", status=404, **_unknown())
        if gift.status is Status.OPEN and gift.stripe_session_id is not None:
            await job_queue.ring(session, "checkout.session", gift.stripe_session_id)
        promise = await subscriptions.of_contribution(session, gift.id)
    if gift.status is Status.PAID:
        await risk_check.welcome_back(rt, request, gift.id)
    state = STATES[gift.status]
    looked = _looked(request.query_params.get("looked", "0"))
    waits = state == "confirming" and looked < len(PAUSES)
    answer = templates.page(
        rt,
        "thanks.html",
        state=state,
        amount=locale.amount(gift.money),
        frequency_label=locale.say(EVERY[gift.frequency]),
        next_charge=_next_charge(rt, promise) if state in PROMISING else None,
        goes_on=promise is not None and promise.is_live,
        retry_url=checkout_session.again_url(gift.frequency, gift.money, of=gift.id),
        remind_url=checkout_session.again_url(gift.frequency, gift.money),
        monthly=_monthly(gift) if state == "paid" and gift.frequency is Frequency.ONCE else None,
        refresh_seconds=PAUSES[looked] if waits else None,
        stop_refresh_url=f"/thanks/{gift.id}?looked={len(PAUSES)}",
        reference=gift.id[:8].upper(),
        newsletter=pages.box(rt) if state == "paid" else None,
    )
    if waits:
        again = locale.here(f"/thanks/{gift.id}?looked={looked + 1}")
        answer.headers["refresh"] = f"{PAUSES[looked]}; url={again}"
    return answer


def _is_shown(gift: Contribution, *, now: datetime) -> bool:
    """A day from when it was known what became of a gift; a bank may take a fortnight to say."""
    if gift.settled_at is None:
        return gift.status is Status.PROCESSING or now - gift.created_at <= SHOWN_FOR
    return now - gift.settled_at <= SHOWN_FOR


def _monthly(gift: Contribution) -> dict[str, str]:
    """What somebody who gave once may be asked, once and quietly: a suggested amount a month, no
    more than they have just given.
    """
    offered = money.presets(gift.currency, Frequency.MONTHLY)[:2]
    amount = max((one for one in offered if one <= gift.money), default=offered[0])
    url = checkout_session.again_url(Frequency.MONTHLY, amount, of=gift.id)
    return {"amount": locale.amount(amount), "url": locale.here(url)}


def _looked(text: str) -> int:
    """How often the page has looked by itself. What makes no sense counts as enough."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 4 else len(PAUSES)


def _next_charge(rt: Runtime, promise: Subscription | None) -> str | None:
    due = None if promise is None else subscriptions.next_charge(promise)
    return None if due is None else view_models.day(rt, due)


def _unknown() -> dict[str, Any]:
    return {
        "state": "unknown",
        "amount": "",
        "frequency_label": "",
        "next_charge": None,
        "goes_on": False,
        "retry_url": "/donate",
        "remind_url": "/donate",
        "monthly": None,
        "refresh_seconds": None,
        "stop_refresh_url": "",
        "reference": "",
        "newsletter": None,
    }
