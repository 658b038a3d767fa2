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
from payments.core.frequency import Frequency
from payments.giving import billing_dates, checkout_session, contributions, subscriptions
from payments.giving.contributions import Contribution, ContributionStatus
from payments.giving.subscriptions import Subscription
from payments.infra import job_queue
from payments.infra.context import Context
from payments.web import rendering, request_locale
from payments.web.account import view_models
from payments.web.donate import risk_check
from payments.web.donate.form import FREQUENCY_PHRASES
from payments.web.forms import AnyRequest
from payments.web.newsletter import pages

POLL_DELAYS = (2, 2, 2, 3, 3, 5, 5, 8, 8, 13, 13)  # seconds before each look; then we stop looking
PAGE_LIFETIME = timedelta(hours=24)  # then whoever finds the address learns nothing from it
STATE_OF_STATUS = {
    ContributionStatus.STARTED: "confirming",
    ContributionStatus.OPEN: "confirming",
    ContributionStatus.PROCESSING: "processing",
    ContributionStatus.PAID: "paid",
    ContributionStatus.FAILED: "failed",
    ContributionStatus.EXPIRED: "expired",
    ContributionStatus.RETURNED: "returned",
}
STATES_WITH_NEXT_CHARGE = (
    "confirming",
    "processing",
    "paid",
)  # states in which another charge may be announced


@get("/thanks/{contribution_id:str}", include_in_schema=False)
async def thanks_page(
    ctx: NamedDependency[Context], request: AnyRequest, contribution_id: FromPath[str]
) -> Response[str]:
    """Confirming, with the bank, paid, failed, expired or returned; the same answer for a gift that
    never was.
    """
    async with ctx.sessions.begin() as session:
        try:
            gift = await contributions.get(session, contribution_id)
            if not _is_shown(gift, now=ctx.now()):
                raise NotFound("This page has said what it had to say.")
        except NotFound:
            return rendering.render(ctx, "thanks.html", status=404, **_unknown_context())
        if gift.status is ContributionStatus.OPEN and gift.stripe_session_id is not None:
            await job_queue.enqueue_sync(session, "checkout.session", gift.stripe_session_id)
        promise = await subscriptions.get_for_contribution(session, gift.id)
    if gift.status is ContributionStatus.PAID:
        await risk_check.credit_paid_network(ctx, request, gift.id)
    state = STATE_OF_STATUS[gift.status]
    looked = _poll_number(request.query_params.get("looked", "0"))
    waits = state == "confirming" and looked < len(POLL_DELAYS)
    answer = rendering.render(
        ctx,
        "thanks.html",
        state=state,
        amount=request_locale.format_amount(gift.money),
        frequency_label=request_locale.translate(FREQUENCY_PHRASES[gift.frequency]),
        next_charge=_next_charge(ctx, promise) if state in STATES_WITH_NEXT_CHARGE else None,
        goes_on=promise is not None and promise.is_live,
        retry_url=checkout_session.prefilled_form_url(
            gift.frequency, gift.money, contribution_id=gift.id
        ),
        remind_url=checkout_session.prefilled_form_url(gift.frequency, gift.money),
        monthly=_monthly_suggestion(gift)
        if state == "paid" and gift.frequency is Frequency.ONCE
        else None,
        refresh_seconds=POLL_DELAYS[looked] if waits else None,
        stop_refresh_url=f"/thanks/{gift.id}?looked={len(POLL_DELAYS)}",
        reference=gift.id[:8].upper(),
        newsletter=pages.signup_box(ctx) if state == "paid" else None,
    )
    if waits:
        again = request_locale.localised_url(f"/thanks/{gift.id}?looked={looked + 1}")
        answer.headers["refresh"] = f"{POLL_DELAYS[looked]}; url={again}"
    return answer


def _is_shown(contribution: Contribution, *, now: datetime) -> bool:
    """A day from when it was known what became of a gift; a bank may take a fortnight to say."""
    if contribution.outcome_known_at is None:
        return (
            contribution.status is ContributionStatus.PROCESSING
            or now - contribution.created_at <= PAGE_LIFETIME
        )
    return now - contribution.outcome_known_at <= PAGE_LIFETIME


def _monthly_suggestion(contribution: Contribution) -> dict[str, str]:
    """What somebody who gave once may be asked, once and quietly: a suggested amount a month, no
    more than they have just given.
    """
    offered = money.suggested_amounts(contribution.currency, Frequency.MONTHLY)[:2]
    amount = max((one for one in offered if one <= contribution.money), default=offered[0])
    url = checkout_session.prefilled_form_url(
        Frequency.MONTHLY, amount, contribution_id=contribution.id
    )
    return {
        "amount": request_locale.format_amount(amount),
        "url": request_locale.localised_url(url),
    }


def _poll_number(text: str) -> int:
    """How often the page has looked by itself. What makes no sense counts as enough."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 4 else len(POLL_DELAYS)


def _next_charge(ctx: Context, subscription: Subscription | None) -> str | None:
    due = None if subscription is None else billing_dates.next_charge_at(subscription)
    return None if due is None else view_models.format_date(ctx, due)


def _unknown_context() -> dict[str, Any]:
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
