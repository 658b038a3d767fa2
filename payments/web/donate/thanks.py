"""The thank-you page: what became of a contribution, by our own records.

Coming back to it from Stripe proves nothing. Until the outcome is known the page reloads by itself,
and each load enqueues a sync of the Checkout Session, so that a late or lost webhook does not leave
a reader in doubt. A day after the outcome is known the page says nothing any more.

Its address is the same for everybody, so that a browser's history names no gift: which one it is
stands in a cookie (`gift_cookie`). Without that the page says that it does not know.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import frequency, i18n, ics, money
from payments.core.brand_settings import DonorMails
from payments.core.calendar import local_date
from payments.core.errors import NotFound
from payments.core.frequency import OFFERED_FREQUENCIES, Frequency
from payments.core.i18n import gettext_noop
from payments.giving import (
    billing_dates,
    campaigns,
    checkout_session,
    contributions,
    donor_payments,
    payment_notices,
    subscriptions,
)
from payments.giving.contributions import Contribution, ContributionStatus
from payments.giving.donor_payments import GivenAmounts
from payments.giving.subscriptions import Subscription
from payments.infra import job_queue
from payments.infra.context import Context
from payments.mail import smtp
from payments.web import rendering, request_locale, risk_check
from payments.web.account import view_models
from payments.web.csrf import require_same_origin
from payments.web.donate import campaign_texts, gift_cookie
from payments.web.donate.coming_back import THANKS_PAGE_LIFETIME
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


TITLES = {
    "confirming": gettext_noop("Confirming your gift"),
    "processing": gettext_noop("We have asked your bank for the payment"),
    "paid": gettext_noop("Thank you"),
    "failed": gettext_noop("Nothing was charged"),
    "expired": gettext_noop("Nothing was charged"),
    "returned": gettext_noop("Your bank reversed this payment"),
    "refunded": gettext_noop("This gift was refunded"),
    "unnamed": gettext_noop("Thank you, if you have paid"),
    "unknown": gettext_noop("We cannot find this gift"),
}
OUTCOMES = frozenset({"paid", "failed", "expired", "returned", "refunded"})
CLEARED = '"cache"'  # our styles in a browser's cache say that it was here


@get("/thanks/{contribution_id:str}", include_in_schema=False)
async def thanks_link(
    ctx: NamedDependency[Context], contribution_id: FromPath[str]
) -> Response[Any]:
    """Lead to the page of one contribution. Unknown, expired and malformed ids get one answer.

    For links of before, and for programs that know who came back.
    """
    async with ctx.sessions() as session:
        if not await _shown(ctx, session, [contribution_id]):
            return _render_without_gift(ctx, "unknown", status=404)
    return Redirect(
        request_locale.localised_url("/thanks"),
        status_code=303,
        cookies=[gift_cookie.cookie_for_link(ctx.settings, contribution_id)],
    )


@get("/thanks", include_in_schema=False)
async def thanks_page(ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
    """Show the state of the contribution that this browser began: the newest whose outcome is
    known, else the newest. Of any other it says what became of it.
    """
    async with ctx.sessions.begin() as session:
        shown = await _shown(ctx, session, gift_cookie.begun(ctx.settings, request))
        if not shown:
            return _render_without_gift(ctx, "unnamed", status=200)
        for one in shown:
            if one.status is ContributionStatus.OPEN and one.stripe_session_id is not None:
                await job_queue.enqueue_sync(session, "checkout.session", one.stripe_session_id)
        contribution = next((one for one in shown if _has_outcome(one)), shown[0])
        subscription = await subscriptions.get_for_contribution(session, contribution.id)
        receipt = await _receipt_by_mail(ctx, session, contribution)
        paid = await donor_payments.amounts_by_contribution(session, [one.id for one in shown])
        said = await campaigns.thanks_text(
            session,
            contribution.campaign,
            contribution.variant or "",
            request_locale.current(),
        )
    if contribution.status is ContributionStatus.PAID:
        await risk_check.credit_paid_network(ctx, request, contribution.id)
    others = [one for one in shown if one is not contribution]
    response = _render(ctx, request, contribution, subscription, others, paid, receipt, said)
    if _has_outcome(contribution):
        response.set_cookie(gift_cookie.cookie_for_shown(ctx.settings, request, contribution.id))
        if ctx.settings.safety_policy is not None:
            response.headers["clear-site-data"] = CLEARED
    return response


@post("/thanks/receipt", include_in_schema=False, guards=[require_same_origin])
async def request_receipt(ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
    """E-mail the receipt of the contribution that the page shows, to the address given at Stripe.

    Once: pressing again sends no second one.
    """
    async with ctx.sessions.begin() as session:
        for one in await _shown(ctx, session, gift_cookie.begun(ctx.settings, request)):
            if one.status is ContributionStatus.PAID and _may_offer_receipt(ctx, one):
                await payment_notices.request_receipt(
                    session, one.id, language=request_locale.current(), now=ctx.now()
                )
                break
    return Redirect(request_locale.localised_url("/thanks"), status_code=303)


@get("/thanks/calendar", include_in_schema=False)
async def next_payment_calendar(
    ctx: NamedDependency[Context], request: AnyRequest
) -> Response[bytes]:
    """Return the payments to come of the contribution that the page shows, as a calendar file.

    Its words are neutral: a calendar is often shared. Raises NotFound where none is scheduled.
    """
    async with ctx.sessions() as session:
        for one in await _shown(ctx, session, gift_cookie.begun(ctx.settings, request)):
            subscription = await subscriptions.get_for_contribution(session, one.id)
            due = None if subscription is None else billing_dates.next_charge_at(subscription)
            if subscription is None or due is None or one.status is not ContributionStatus.PAID:
                continue
            locale = request_locale.current()
            zone = ctx.settings.accounting_zone
            content = ics.payment_ics(
                local_date(due, zone),
                day=local_date(subscription.billing_anchor_at, zone).day,
                months=None if subscription.scheduled_end_at else subscription.every.months,
                link=i18n.with_lang(f"{ctx.settings.base_url}/manage", locale),
                locale=locale,
                now=ctx.now(),
            )
            return Response(
                content,
                media_type="text/calendar",
                headers={"content-disposition": 'attachment; filename="note.ics"'},
            )
    raise NotFound("There is no payment to come.")


def _may_offer_receipt(ctx: Context, contribution: Contribution) -> bool:
    """Whether whoever gave can ask for a receipt by mail."""
    return (
        ctx.settings.donor_mails is DonorMails.NEUTRAL
        and smtp.is_configured(ctx.settings)
        and not contribution.protected
    )


async def _receipt_by_mail(ctx: Context, session: AsyncSession, contribution: Contribution) -> str:
    """Return what is so of a receipt by mail: coming, requested, offered or none; empty before
    anything was paid.
    """
    if contribution.status is not ContributionStatus.PAID:
        return ""
    if contribution.protected:
        return "none"
    if ctx.settings.donor_mails is DonorMails.FULL and smtp.is_configured(ctx.settings):
        is_thanked = await payment_notices.is_thanked(ctx, session, contribution)
        return "coming" if is_thanked else "none"
    if not _may_offer_receipt(ctx, contribution):
        return "none"
    was_requested = await payment_notices.was_receipt_requested(session, contribution.id)
    return "requested" if was_requested else "offered"


def _render(
    ctx: Context,
    request: AnyRequest,
    contribution: Contribution,
    subscription: Subscription | None,
    others: Sequence[Contribution],
    paid: Mapping[str, GivenAmounts],
    receipt: str,
    said: tuple[str, str] | None,
) -> Response[str]:
    amounts = paid.get(contribution.id)
    state = _state_of(contribution, amounts)
    poll = _poll_number(request.query_params.get("poll", "0"))
    is_polling = state == "confirming" and poll < len(POLL_DELAYS)
    is_one_time = contribution.frequency is Frequency.ONCE
    response = rendering.render(
        ctx,
        "thanks.html",
        state=state,
        page_title=request_locale.translate(TITLES[state]),
        **_facts(contribution),
        receipt=receipt,
        descriptor=ctx.settings.statement_descriptor,
        share_url=None if ctx.settings.safety_policy else ctx.settings.base_url,
        campaign_says=campaign_texts.text_view(said, in_paragraphs=True),
        returned=view_models.returned_view(amounts),
        others=[
            {
                **_facts(one),
                "outcome": request_locale.translate(TITLES[_state_of(one, paid.get(one.id))]),
            }
            for one in others
        ],
        next_charge=_next_charge(ctx, subscription) if state in STATES_WITH_NEXT_CHARGE else None,
        is_subscription_live=subscription is not None and subscription.is_live,
        retry_url=_prefilled_form_url(contribution, names_contribution=True),
        remind_url=_prefilled_form_url(contribution),
        monthly=_monthly_suggestion(contribution) if state == "paid" and is_one_time else None,
        refresh_seconds=POLL_DELAYS[poll] if is_polling else None,
        stop_refresh_url=f"/thanks?poll={len(POLL_DELAYS)}",
        newsletter=newsletter_pages.signup_box(ctx) if state == "paid" else None,
    )
    if is_polling:
        next_url = request_locale.localised_url(f"/thanks?poll={poll + 1}")
        response.headers["refresh"] = f"{POLL_DELAYS[poll]}; url={next_url}"
    return response


def _facts(contribution: Contribution) -> dict[str, Any]:
    return {
        "amount": request_locale.format_amount_or_varying(contribution.money),
        "frequency_label": frequency.every(contribution.interval, request_locale.current()),
        "reference": contribution.id[:8].upper(),
    }


def _state_of(contribution: Contribution, amounts: GivenAmounts | None) -> str:
    """Return what became of a contribution, and of its money since."""
    state = STATE_OF_STATUS[contribution.status]
    if state != "paid" or amounts is None or amounts.given.amount:
        return state
    return "refunded" if amounts.refunded.amount else "returned"


def _has_outcome(contribution: Contribution) -> bool:
    return STATE_OF_STATUS[contribution.status] in OUTCOMES


async def _shown(
    ctx: Context, session: AsyncSession, contribution_ids: Sequence[str]
) -> list[Contribution]:
    """Return those of the contributions that the page still shows, in the same order."""
    shown = []
    for contribution_id in contribution_ids:
        with suppress(NotFound):
            contribution = await contributions.get(session, contribution_id)
            if _is_shown(contribution, now=ctx.now()):
                shown.append(contribution)
    return shown


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
    # What is suggested, and nothing of the gift: `again` would fill in the gift itself.
    url = checkout_session.prefilled_form_url(Frequency.MONTHLY, amount)
    url += f"&campaign={contribution.campaign}" if contribution.campaign else ""
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


def _render_without_gift(ctx: Context, state: str, *, status: int) -> Response[str]:
    """Return the page that names no gift: of an unknown link, or of a browser without cookies."""
    return rendering.render(
        ctx,
        "thanks.html",
        status=status,
        state=state,
        page_title=request_locale.translate(TITLES[state]),
        others=[],
        refresh_seconds=None,
        newsletter=None,
    )
