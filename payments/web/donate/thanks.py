"""The thank-you page: what became of a contribution, by our own records.

Coming back to it from Stripe proves nothing. Until the outcome is known the page reloads by itself,
and each load enqueues a sync of the Checkout Session, so that a late or lost webhook does not leave
a reader in doubt. A day after the outcome is known the page says nothing any more.
"""

from datetime import datetime
from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core import frequency, money
from payments.core.errors import NotFound
from payments.core.frequency import OFFERED_FREQUENCIES, Frequency
from payments.giving import billing_dates, checkout_session, contributions, subscriptions
from payments.giving.contributions import Contribution, ContributionStatus
from payments.giving.subscriptions import Subscription
from payments.infra import job_queue
from payments.infra.context import Context
from payments.web import rendering, request_locale, risk_check
from payments.web.account import view_models
from payments.web.donate.form import THANKS_PAGE_LIFETIME
from payments.web.forms import AnyRequest
from payments.web.newsletter import pages as newsletter_pages

POLL_DELAYS = (2, 2, 2, 3, 3, 5, 5, 8, 8, 13, 13)  # seconds before each reload; then it stops
STATE_OF_STATUS = {
    ContributionStatus.STARTED: "confirming",
    ContributionStatus.OPEN: "confirming",
    ContributionStatus.PROCESSING: "processing",
    ContributionStatus.TRIAL: "confirming",
    ContributionStatus.PAID: "paid",
    ContributionStatus.FAILED: "failed",
    ContributionStatus.EXPIRED: "expired",
    ContributionStatus.RETURNED: "returned",
}
STATES_WITH_NEXT_CHARGE = ("confirming", "processing", "paid")


@get("/thanks/{contribution_id:str}", include_in_schema=False)
async def thanks_page(
    ctx: NamedDependency[Context], request: AnyRequest, contribution_id: FromPath[str]
) -> Response[str]:
    """Show the state of a contribution. Unknown, expired and malformed ids get one answer."""
    async with ctx.sessions.begin() as session:
        try:
            contribution = await contributions.get(session, contribution_id)
            if not _is_shown(contribution, now=ctx.now()):
                raise NotFound("This page has said what it had to say.")
        except NotFound:
            return rendering.render(ctx, "thanks.html", status=404, **_unknown_context())
        session_id = contribution.stripe_session_id
        if contribution.status is ContributionStatus.OPEN and session_id is not None:
            await job_queue.enqueue_sync(session, "checkout.session", session_id)
        subscription = await subscriptions.get_for_contribution(session, contribution.id)
    if contribution.status is ContributionStatus.PAID:
        await risk_check.credit_paid_network(ctx, request, contribution.id)
    state = STATE_OF_STATUS[contribution.status]
    poll = _poll_number(request.query_params.get("poll", "0"))
    is_polling = state == "confirming" and poll < len(POLL_DELAYS)
    is_one_time = contribution.frequency is Frequency.ONCE
    response = rendering.render(
        ctx,
        "thanks.html",
        state=state,
        amount=request_locale.format_amount_or_varying(contribution.money),
        frequency_label=frequency.every(contribution.interval, request_locale.current()),
        next_charge=_next_charge(ctx, subscription) if state in STATES_WITH_NEXT_CHARGE else None,
        is_subscription_live=subscription is not None and subscription.is_live,
        retry_url=_prefilled_form_url(contribution, names_contribution=True),
        remind_url=_prefilled_form_url(contribution),
        monthly=_monthly_suggestion(contribution) if state == "paid" and is_one_time else None,
        refresh_seconds=POLL_DELAYS[poll] if is_polling else None,
        stop_refresh_url=f"/thanks/{contribution.id}?poll={len(POLL_DELAYS)}",
        reference=contribution.id[:8].upper(),
        newsletter=newsletter_pages.signup_box(ctx) if state == "paid" else None,
    )
    if is_polling:
        next_url = request_locale.localised_url(f"/thanks/{contribution.id}?poll={poll + 1}")
        response.headers["refresh"] = f"{POLL_DELAYS[poll]}; url={next_url}"
    return response


def _prefilled_form_url(contribution: Contribution, *, names_contribution: bool = False) -> str:
    """Return the form filled in as a contribution was, as far as the form offers it."""
    if contribution.money is None or contribution.frequency not in OFFERED_FREQUENCIES:
        return "/donate"
    return checkout_session.prefilled_form_url(
        contribution.frequency,
        contribution.money,
        contribution_id=contribution.id if names_contribution else "",
    )


def _is_shown(contribution: Contribution, *, now: datetime) -> bool:
    """Whether a page is within its lifetime, which begins with the outcome.

    One whose bank has not answered, which may take two weeks, is always shown.
    """
    if contribution.outcome_known_at is None:
        return (
            contribution.status is ContributionStatus.PROCESSING
            or now - contribution.created_at <= THANKS_PAGE_LIFETIME
        )
    return now - contribution.outcome_known_at <= THANKS_PAGE_LIFETIME


def _monthly_suggestion(contribution: Contribution) -> dict[str, str]:
    """Return a monthly amount to suggest to somebody who gave once: no more than they just gave,
    unless even the smallest suggestion is.
    """
    suggested = money.suggested_amounts(contribution.currency, Frequency.MONTHLY)[:2]
    given = contribution.money
    affordable = (one for one in suggested if given is not None and one <= given)
    amount = max(affordable, default=suggested[0])
    url = checkout_session.prefilled_form_url(
        Frequency.MONTHLY, amount, contribution_id=contribution.id
    )
    return {
        "amount": request_locale.format_amount(amount),
        "url": request_locale.localised_url(url),
    }


def _poll_number(text: str) -> int:
    """Return how often the page has reloaded by itself. What makes no sense counts as enough."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 4 else len(POLL_DELAYS)


def _next_charge(ctx: Context, subscription: Subscription | None) -> str | None:
    charge_at = None if subscription is None else billing_dates.next_charge_at(subscription)
    return None if charge_at is None else view_models.format_date(ctx, charge_at)


def _unknown_context() -> dict[str, Any]:
    return {
        "state": "unknown",
        "amount": "",
        "frequency_label": "",
        "next_charge": None,
        "is_subscription_live": False,
        "retry_url": "/donate",
        "remind_url": "/donate",
        "monthly": None,
        "refresh_seconds": None,
        "stop_refresh_url": "",
        "reference": "",
        "newsletter": None,
    }
