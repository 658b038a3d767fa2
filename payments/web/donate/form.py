"""The donation form, without JavaScript: choose how often and how much, then pay at Stripe."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.core import amount_input, fee_cover, money
from payments.core.campaign_schema import DEFAULT_OPTIONS, FormOptions
from payments.core.errors import (
    InvalidField,
    PaymentsError,
    StripeRejected,
    StripeUnavailable,
)
from payments.core.frequency import OFFERED_FREQUENCIES, Frequency
from payments.core.i18n import gettext_noop
from payments.core.identifiers import is_slug
from payments.core.money import Money
from payments.giving import article_counts, campaign_attribution, campaigns, contribution_start
from payments.giving.campaigns import RenderedCampaign
from payments.giving.checkout_session import ContributionRequest
from payments.infra.context import Context
from payments.risk import donor_notice
from payments.risk.rate_limit import TEMPORARY_REFUSALS, ProofOfWorkRequired
from payments.web import errors as web_errors
from payments.web import forms, rendering, request_locale, risk_check
from payments.web.donate import (
    abandoned_checkout,
    campaign_texts,
    coming_back,
    gift_cookie,
    goal_texts,
    safety,
)
from payments.web.donate import currency as currencies
from payments.web.donate.abandoned_checkout import AbandonedCheckoutReminder
from payments.web.forms import AnyRequest
from payments.web.newsletter import pages as newsletter_pages

MAX_FORM_BYTES = 16 * 1024
FREQUENCY_LABELS = {
    Frequency.ONCE: gettext_noop("Once"),
    Frequency.MONTHLY: gettext_noop("Monthly"),
    Frequency.ANNUAL: gettext_noop("Annual"),
}
FREQUENCY_PHRASES = {
    Frequency.ONCE: gettext_noop("once"),
    Frequency.MONTHLY: gettext_noop("every month"),
    Frequency.ANNUAL: gettext_noop("every year"),
}
PAYMENT_TERMS = gettext_noop(
    "You will pay on Stripe's page, which asks for your card and e-mail address."
)
RENEWAL_TERMS = gettext_noop("Monthly and annual gifts renew until you cancel. Cancel any time.")
FORM_FIELDS = (
    frozenset(
        {"intent", "frequency", "currency", "campaign", "variant", "article", "locale", "cover"}
    )
    | {currencies.FIELD}
    | {donor_notice.DECLARATION_FIELD}
    | {f"{part}_{frequency}" for part in ("amount", "other") for frequency in OFFERED_FREQUENCIES}
    | risk_check.RISK_FIELDS
    | abandoned_checkout.REMINDER_FIELDS
)


@dataclass(frozen=True, slots=True)
class FormData:
    """The fields of a form as text, whether or not they make sense. A missing field is empty."""

    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


class DonatePage(Controller):
    """The form."""

    path = "/donate"
    include_in_schema = False

    @get()
    async def show(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """Show the form, filled in by the link that led here."""
        params = FormData(dict(request.query_params.items()))
        if (leads_on := await coming_back.lead_on(ctx, request, params["again"])) is not None:
            return leads_on
        if (abandoned := await coming_back.abandoned(ctx, request, params["again"])) is not None:
            params = FormData({**params.values, **coming_back.fields_of(abandoned)})
            campaign = await campaigns.redisplay(ctx, params["campaign"], abandoned.variant or "")
        else:
            campaign = await campaigns.display(
                ctx, params["campaign"], widget_variant_key=params["variant"]
            )
        return _render_form(ctx, request, prefill(ctx, params, campaign), campaign=campaign)

    @post(request_max_body_size=MAX_FORM_BYTES)
    async def submit(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """Start the contribution and redirect to Stripe, or show the form with what was wrong."""
        typed = FormData(await forms.form_data(request))
        request_locale.override(typed["locale"])
        if currencies.is_changed(typed.values):
            return await _render_in_new_currency(ctx, request, typed)
        try:
            submission = await _parse_submission(ctx, typed, field_names=frozenset(typed.values))
        except PaymentsError as error:
            return await _render_with_error(ctx, request, typed, error, status=422)
        contribution_request = submission.contribution_request
        form_id = forms.idempotency_key(typed.values)
        request_context = await risk_check.request_context_of_form(
            ctx, request, typed.values, form_id
        )
        try:
            contribution = await contribution_start.start(
                ctx,
                contribution_request,
                # The same form sent twice is one contribution; with another amount it is another.
                idempotency_key=f"form:{form_id}:{contribution_request.digest().hex()}",
                request_context=request_context,
                variant=submission.variant,
                article=_slug_or_empty(typed, "article") or None,
            )
        except ProofOfWorkRequired as error:
            return await risk_check.render_challenge(
                ctx, request_context, typed.values, form_id, error
            )
        except (
            StripeUnavailable, StripeRejected, *TEMPORARY_REFUSALS, *safety.POLICY_ERRORS
        ) as error:  # fmt: skip
            if error.field == "amount":
                error.field = f"amount_{contribution_request.frequency}"
            typed = FormData({**typed.values, "intent": form_id})
            return await _render_with_error(ctx, request, typed, error, status=error.status)
        await article_counts.record_start(
            ctx, request.app.state.articles, _slug_or_empty(typed, "article")
        )
        await abandoned_checkout.store_reminder(ctx, contribution.id, submission.reminder)
        thanks_url = request_locale.localised_url("/thanks")
        cookie = gift_cookie.cookie_for_new(ctx.settings, request, contribution.id)
        return Redirect(contribution.checkout_url or thanks_url, status_code=303, cookies=[cookie])


@dataclass(frozen=True, slots=True)
class Submission:
    """What a form asks for, checked."""

    contribution_request: ContributionRequest
    variant: str | None
    reminder: AbandonedCheckoutReminder | None


async def _parse_submission(
    ctx: Context, typed: FormData, *, field_names: frozenset[str]
) -> Submission:
    """Return what a form asks for. Raises a PaymentsError whose field is the form's."""
    contribution_request = _parse_request(ctx, typed, field_names=field_names)
    reminder = abandoned_checkout.requested_reminder(ctx, typed.values, contribution_request)
    campaign, variant = await campaign_attribution.attribution(
        ctx, contribution_request.campaign, typed["variant"]
    )
    return Submission(
        msgspec.structs.replace(contribution_request, campaign=campaign), variant or None, reminder
    )


def _render_form(
    ctx: Context,
    request: AnyRequest,
    typed: FormData,
    error: PaymentsError | None = None,
    *,
    campaign: RenderedCampaign | None,
    status: int = 200,
    in_new_currency: bool = False,
) -> Response[str]:
    """Return the form as it was filled in, with what is wrong, if anything is."""
    errors = {} if error is None else {error.field or "": web_errors.message_with_retry(error)}
    context = form_context(ctx, typed, errors=errors, campaign=campaign)
    context |= {"notice": safety.notice_for(ctx, request), "in_new_currency": in_new_currency}
    return rendering.render(ctx, "donate.html", status=status, **context)


async def _render_with_error(
    ctx: Context, request: AnyRequest, typed: FormData, error: PaymentsError, *, status: int
) -> Response[str]:
    """Return the form with an error, in the same variant of its campaign."""
    campaign = await campaigns.redisplay(ctx, typed["campaign"], typed["variant"])
    response = _render_form(ctx, request, typed, error, campaign=campaign, status=status)
    return web_errors.with_retry_after(response, error)


async def _render_in_new_currency(
    ctx: Context, request: AnyRequest, typed: FormData
) -> Response[str]:
    """Return the form as it was filled in, in another currency."""
    typed = FormData(currencies.in_new_currency(typed.values))
    campaign = await campaigns.redisplay(ctx, typed["campaign"], typed["variant"])
    return _render_form(ctx, request, typed, campaign=campaign, in_new_currency=True)


def _parse_request(
    ctx: Context, typed: FormData, *, field_names: frozenset[str]
) -> ContributionRequest:
    """Return the contribution that a form asks for. Raises a PaymentsError of the form's field."""
    if unknown := sorted(field_names - FORM_FIELDS):
        raise InvalidField(
            "The form has no field “%(name)s”. Nothing was charged.", name=unknown[0][:40]
        )
    try:
        frequency = Frequency(typed["frequency"])
    except ValueError:
        raise InvalidField(
            "Choose once, monthly or annual. Nothing was charged.", field="frequency"
        ) from None
    try:
        amount = read_amount(ctx, typed, frequency)
    except PaymentsError as error:
        if error.field == "amount":
            chosen, own = typed[f"amount_{frequency}"], typed[f"other_{frequency}"].strip()
            is_own = chosen == "other" or (chosen == "" and own != "")
            error.field = f"{'other' if is_own else 'amount'}_{frequency}"
        raise
    fee = fee_cover.fee_to_add(amount, ctx.settings.stripe_fees) if typed["cover"] else None
    return ContributionRequest(
        money=amount if fee is None else amount + fee,
        fee_cover=None if fee is None else fee.amount,
        frequency=frequency,
        campaign=_slug_or_empty(typed, "campaign") or None,
        locale=request_locale.language_tag(),
    )


def _slug_or_empty(typed: FormData, name: str) -> str:
    """Return a campaign or an article; empty if it is no slug: no gift is lost over a label."""
    return typed[name] if is_slug(typed[name]) else ""


def read_amount(ctx: Context, typed: FormData, frequency: Frequency) -> Money:
    """Return the amount that is chosen for a frequency. Raises a PaymentsError of "amount"."""
    currency = typed["currency"]
    chosen, own = typed[f"amount_{frequency}"], typed[f"other_{frequency}"].strip()
    if chosen == own == "":
        raise InvalidField("Choose an amount. Nothing was charged.", field="amount")
    if chosen in ("", "other"):
        minor = amount_input.parse_amount(own, currency, request_locale.current()).amount
    elif re.fullmatch(r"[0-9]{1,12}", chosen):
        minor = int(chosen)
        # A reader who typed an amount and left a suggestion ticked is asked, not charged.
        if own:
            own_amount = amount_input.parse_amount(own, currency, request_locale.current())
            if own_amount.amount != minor:
                raise amount_input.AmountAmbiguous((Money(minor, currency), own_amount))
    else:
        raise amount_input.AmountNotANumber(currency)
    return ctx.settings.validate_gift(minor, currency)


def prefill(ctx: Context, params: FormData, campaign: RenderedCampaign | None = None) -> FormData:
    """Return the form's fields for a link's `frequency`, `amount` (minor units) and `currency`.

    What makes no sense is left out: a link is not refused.
    """
    options = DEFAULT_OPTIONS if campaign is None else campaign.options
    default_currency = (campaign and campaign.currency) or ctx.settings.default_currency
    currency = params["currency"] if params["currency"] in money.GIFT_LIMITS else default_currency
    requested = params["frequency"] if params["frequency"] in OFFERED_FREQUENCIES else ""
    frequency = safety.initial_frequency(ctx.settings, requested or options.default_frequency or "")
    values = {"currency": currency, "frequency": frequency}
    values["variant"] = "" if campaign is None else campaign.variant
    values |= {name: _slug_or_empty(params, name) for name in ("campaign", "article")}
    if campaign is not None:
        values["campaign"] = campaign.campaign  # the one that follows, where one has ended
    if re.fullmatch(r"[0-9]{1,9}", params["amount"]):
        amount = Money(int(params["amount"]), currency)
        if amount in options.suggested_amounts(currency, frequency):
            values[f"amount_{frequency}"] = str(amount.amount)
        else:
            values[f"amount_{frequency}"] = "other"
            values[f"other_{frequency}"] = amount_input.format_for_input(
                amount, request_locale.current()
            )
    if params["other"].strip():  # typed on another page, without a script to parse it
        values[f"amount_{frequency}"] = "other"
        values[f"other_{frequency}"] = params["other"].strip()[: amount_input.MAX_INPUT_LENGTH]
    return FormData(values)


def form_context(
    ctx: Context,
    typed: FormData,
    *,
    errors: Mapping[str, str],
    campaign: RenderedCampaign | None = None,
) -> dict[str, Any]:
    """Return what donate.html prints. `errors` maps a field's name to what is wrong with it."""
    currency = (
        typed["currency"]
        if typed["currency"] in money.GIFT_LIMITS
        else ctx.settings.default_currency
    )
    frequency = safety.initial_frequency(ctx.settings, typed["frequency"])
    offered = safety.offered_frequencies(ctx.settings)
    options = DEFAULT_OPTIONS if campaign is None else campaign.options
    form_id = forms.idempotency_key(typed.values)
    return {
        "frequencies": [
            _frequency_view(ctx, typed, one, currency, one == frequency, options) for one in offered
        ],
        "currencies": currencies.choices(currency),
        "currency": currency,
        "intent": form_id,
        "rendered_at": typed["rendered_at"] or risk_check.form_timestamp(ctx, form_id),
        "covers": currency in ctx.settings.stripe_fees,
        "cover_ticked": bool(typed["cover"]),
        "offers_reminder": abandoned_checkout.is_offered(ctx.settings),
        "remind_ticked": bool(typed[abandoned_checkout.CHECKBOX_FIELD]),
        "remind_address": typed[abandoned_checkout.ADDRESS_FIELD],
        "campaign": typed["campaign"],
        "variant": typed["variant"],
        **campaign_texts.form_texts(options, request_locale.current()),
        "goal": campaign and goal_texts.goal_view(campaign.goal, request_locale.current()),
        "article": typed["article"],
        "locale": request_locale.language_tag(),
        "errors": [
            {"field_id": name or "main", "message": error} for name, error in errors.items()
        ],
        "field_errors": dict(errors),
        "statement": ctx.settings.statement_descriptor,
        "terms": _terms(offered),
        "newsletter": newsletter_pages.signup_box(ctx),
        "notice": None,
        "in_new_currency": False,
        "declared": bool(typed[donor_notice.DECLARATION_FIELD]),
    }


def _terms(offered: Sequence[Frequency]) -> list[str]:
    is_recurring_offered = any(frequency is not Frequency.ONCE for frequency in offered)
    sentences = (PAYMENT_TERMS, RENEWAL_TERMS) if is_recurring_offered else (PAYMENT_TERMS,)
    return [request_locale.translate(sentence) for sentence in sentences]


def _frequency_view(
    ctx: Context,
    typed: FormData,
    frequency: Frequency,
    currency: str,
    checked: bool,
    options: FormOptions,
) -> dict[str, Any]:
    """Return one frequency's radio and amounts, ready to print."""
    presets = options.suggested_amounts(currency, frequency)
    preselected = options.preselected_amount(currency, frequency)
    default_choice = "" if preselected is None else str(preselected.amount)
    if typed[f"other_{frequency}"]:
        default_choice = "other"
    chosen = typed[f"amount_{frequency}"] or default_choice
    lowest, highest = money.min_gift(currency), ctx.settings.max_gift_for(currency)
    return {
        "value": frequency.value,
        "label": request_locale.translate(FREQUENCY_LABELS[frequency]),
        "checked": checked,
        "presets": [
            {
                "value": str(preset.amount),
                "label": request_locale.format_amount(preset),
                "checked": chosen == str(preset.amount),
            }
            for preset in presets
        ],
        "added_fees": [
            (request_locale.format_amount(preset), request_locale.format_amount(fee))
            for preset in presets
            if (fee := fee_cover.fee_to_add(preset, ctx.settings.stripe_fees)) is not None
        ],
        "other_checked": chosen not in ["", *(str(preset.amount) for preset in presets)],
        "other_value": typed[f"other_{frequency}"],
        "other_hint": _amount_range(lowest, highest),
    }


def _amount_range(lowest: Money, highest: Money) -> str:
    return request_locale.translate(
        "From %(lowest)s to %(highest)s",
        lowest=request_locale.format_amount(lowest),
        highest=request_locale.format_amount(highest),
    )
