"""The form, without JavaScript: choose how often and how much, then pay on Stripe's page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from babel.numbers import get_currency_name
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.core import amount_input, fee_cover, i18n, money
from payments.core.campaign_schema import DEFAULT_OPTIONS, FormOptions
from payments.core.errors import InvalidField, NotFound, PaymentsError, StripeUnavailable
from payments.core.frequency import Frequency
from payments.core.i18n import gettext_noop
from payments.core.identifiers import is_slug, row_id_or_new
from payments.core.money import Money
from payments.giving import article_counts, campaigns, contributions
from payments.giving.campaigns import RenderedCampaign
from payments.giving.checkout_session import ContributionRequest
from payments.giving.contributions import Contribution
from payments.infra.context import Context
from payments.risk import donor_notice
from payments.risk.rate_limit import TEMPORARY_REFUSALS, ProofOfWorkRequired
from payments.web import errors as refusals
from payments.web import rendering, request_locale
from payments.web.donate import abandoned_checkout, risk_check, safety
from payments.web.forms import AnyRequest
from payments.web.newsletter import pages

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
RETRY_LINK_LIFETIME = timedelta(hours=24)
TERMS_SENTENCES = (
    gettext_noop("You will pay on Stripe's page, which asks for a card and an e-mail address."),
    gettext_noop("A monthly or annual gift goes on until you stop it."),
)
FORM_FIELDS = (
    frozenset(
        {"intent", "frequency", "currency", "campaign", "variant", "article", "locale", "cover"}
    )
    | {donor_notice.DECLARATION_FIELD}
    | {f"{part}_{frequency}" for part in ("amount", "other") for frequency in Frequency}
    | risk_check.RISK_FIELDS
    | abandoned_checkout.REMINDER_FIELDS
)


@dataclass(frozen=True, slots=True)
class FormData:
    """What the form holds, as text, whether or not it makes sense."""

    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


class DonatePage(Controller):
    path = "/donate"
    include_in_schema = False

    @get()
    async def show(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
        """An empty form, or one filled in by the link that led here."""
        asked = FormData(dict(request.query_params.items()))
        if (before := await _abandoned_contribution(ctx, asked["again"])) is not None:
            asked = FormData({**asked.values, "campaign": before.campaign or ""})
            shown = await campaigns.redisplay(ctx, asked["campaign"], before.variant or "")
        else:
            shown = await campaigns.display(
                ctx, asked["campaign"], widget_variant_key=asked["variant"]
            )
        return _render_form(ctx, request, prefill(ctx, asked, shown), campaign=shown)

    @post(request_max_body_size=MAX_FORM_BYTES)
    async def submit(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """Start the gift and send the reader to pay, or show what to mend with nothing lost."""
        sent = await request.form()
        typed = FormData({name: value for name, value in sent.items() if isinstance(value, str)})
        request_locale.override(typed["locale"])
        try:
            ask = _parse_request(ctx, typed, field_names=frozenset(sent))
            ticked = abandoned_checkout.requested_reminder(ctx, typed.values, ask)
            campaign, lot = await campaigns.attribution(ctx, ask.campaign, typed["variant"])
            ask = msgspec.structs.replace(ask, campaign=campaign)
        except PaymentsError as error:
            return await _render_with_error(ctx, request, typed, error, status=422)
        intent = _form_id(typed)
        visit = await risk_check.request_context_of_form(ctx, request, typed.values, intent)
        # Twice the same is one gift; another amount after "Back" is another gift.
        key = f"form:{intent}:{ask.digest().hex()}"
        try:
            gift = await contributions.start(
                ctx, ask, idempotency_key=key, request_context=visit, variant=lot or None
            )
        except ProofOfWorkRequired as needed:
            return await risk_check.render_challenge(ctx, visit, typed.values, intent, needed)
        except (StripeUnavailable, *TEMPORARY_REFUSALS, *safety.POLICY_ERRORS) as error:
            if error.field == "amount":
                error.field = f"amount_{ask.frequency}"
            kept = FormData({**typed.values, "intent": intent})
            return await _render_with_error(ctx, request, kept, error, status=error.status)
        await article_counts.record_start(
            ctx, request.app.state.articles, _slug_or_empty(typed, "article")
        )
        await abandoned_checkout.remember(ctx, gift.id, ticked)
        return Redirect(
            gift.checkout_url or request_locale.localised_url(f"/thanks/{gift.id}"), status_code=303
        )


async def _abandoned_contribution(ctx: Context, contribution_id: str) -> Contribution | None:
    """A gift that a reader walked away from, while its thank-you page would still tell of it."""
    if not contribution_id:
        return None
    try:
        async with ctx.sessions() as session:
            gift = await contributions.get(session, contribution_id)
    except (NotFound, *campaigns.DATABASE_UNAVAILABLE_ERRORS):
        return None  # the form needs neither it nor the database to be shown
    return gift if ctx.now() - gift.created_at <= RETRY_LINK_LIFETIME else None


def _render_form(
    ctx: Context,
    request: AnyRequest,
    typed: FormData,
    error: PaymentsError | None = None,
    *,
    campaign: RenderedCampaign | None,
    status: int = 200,
) -> Response[str]:
    """The form as it was filled in, and what is wrong with it, if anything is."""
    errors = {} if error is None else {error.field or "": refusals.message_with_retry(error)}
    filled = form_context(ctx, typed, errors=errors, campaign=campaign)
    filled |= {"notice": safety.notice_for(ctx, request)}
    return rendering.render(ctx, "donate.html", status=status, **filled)


async def _render_with_error(
    ctx: Context, request: AnyRequest, typed: FormData, error: PaymentsError, *, status: int
) -> Response[str]:
    """The form once more, with the same campaign as before."""
    shown = await campaigns.redisplay(ctx, typed["campaign"], typed["variant"])
    answer = _render_form(ctx, request, typed, error, campaign=shown, status=status)
    return refusals.with_retry_after(answer, error)


def _form_id(typed: FormData) -> str:
    """The random name of one filling-in of the form, kept until it leads to a payment."""
    return row_id_or_new(typed["intent"])


def _parse_request(
    ctx: Context, typed: FormData, *, field_names: frozenset[str]
) -> ContributionRequest:
    """What the reader asks for. Raises a PaymentsError whose field is the form's."""
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
        gift = read_amount(ctx, typed, frequency)
    except PaymentsError as error:
        if error.field == "amount":
            chosen, own = typed[f"amount_{frequency}"], typed[f"other_{frequency}"].strip()
            other = chosen == "other" or (chosen == "" and own != "")
            error.field = f"{'other' if other else 'amount'}_{frequency}"
        raise
    added = fee_cover.fee_to_add(gift, ctx.settings.stripe_fees) if typed["cover"] else None
    return ContributionRequest(
        money=gift if added is None else gift + added,
        frequency=frequency,
        campaign=_slug_or_empty(typed, "campaign") or None,
        locale=request_locale.language_tag(),
    )


def _slug_or_empty(typed: FormData, name: str) -> str:
    """The campaign or story of a link, if it can be one: no gift is lost over a label."""
    return typed[name] if is_slug(typed[name]) else ""


def read_amount(ctx: Context, typed: FormData, frequency: Frequency) -> Money:
    currency = typed["currency"]
    chosen, own = typed[f"amount_{frequency}"], typed[f"other_{frequency}"].strip()
    if chosen == own == "":  # nothing was ticked for them, and they ticked nothing
        raise InvalidField("Choose an amount. Nothing was charged.", field="amount")
    if chosen in ("", "other"):
        minor = amount_input.parse_amount(own, currency, request_locale.current()).amount
    elif re.fullmatch(r"[0-9]{1,12}", chosen):
        minor = int(chosen)
        # A reader who typed an amount and left a suggestion ticked is asked, not charged.
        if (
            own
            and (meant := amount_input.parse_amount(own, currency, request_locale.current())).amount
            != minor
        ):
            raise amount_input.AmountAmbiguous((Money(minor, currency), meant))
    else:
        raise amount_input.AmountNotANumber(currency)
    return ctx.settings.validate_gift(minor, currency)


def prefill(ctx: Context, params: FormData, campaign: RenderedCampaign | None = None) -> FormData:
    """A link's `frequency`, `amount` (minor units) and `currency` as the form's own fields.

    What makes no sense is left out: a link is not an answer to refuse.
    """
    offer = DEFAULT_OPTIONS if campaign is None else campaign.options
    usual = (campaign and campaign.currency) or ctx.settings.default_currency
    currency = params["currency"] if params["currency"] in money.GIFT_LIMITS else usual
    often = params["frequency"] if params["frequency"] in tuple(Frequency) else ""
    frequency = safety.initial_frequency(ctx.settings, often or offer.default_frequency or "")
    values = {"currency": currency, "frequency": frequency}
    values["variant"] = "" if campaign is None else campaign.variant
    values |= {name: _slug_or_empty(params, name) for name in ("campaign", "article")}
    if re.fullmatch(r"[0-9]{1,9}", params["amount"]):
        gift = Money(int(params["amount"]), currency)
        if gift in offer.suggested_amounts(currency, frequency):
            values[f"amount_{frequency}"] = str(gift.amount)
        else:
            values[f"amount_{frequency}"] = "other"
            values[f"other_{frequency}"] = amount_input.format_for_input(
                gift, request_locale.current()
            )
    if params["other"].strip():  # typed on another page, where no script was there to read it
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
    """All that donate.html is given. `errors` maps a field's name to what is wrong with it."""
    currency = (
        typed["currency"]
        if typed["currency"] in money.GIFT_LIMITS
        else ctx.settings.default_currency
    )
    chosen = safety.initial_frequency(ctx.settings, typed["frequency"])
    offer = DEFAULT_OPTIONS if campaign is None else campaign.options
    said = offer.message_for(request_locale.current())
    return {
        "frequencies": [
            _frequency_view(ctx, typed, f, currency, f == chosen, offer)
            for f in safety.offered_frequencies(ctx.settings)
        ],
        "currencies": [
            {"code": code, "label": _currency_name(code), "selected": code == currency}
            for code in money.GIFT_LIMITS
        ],
        "currency": currency,
        "intent": (intent := _form_id(typed)),
        "made": typed["made"] or risk_check.form_timestamp(ctx, intent),
        "covers": currency in ctx.settings.stripe_fees,
        "cover_ticked": bool(typed["cover"]),
        "unfinished": abandoned_checkout.is_offered(ctx.settings),
        "remind_ticked": bool(typed[abandoned_checkout.CHECKBOX_FIELD]),
        "remind_address": typed[abandoned_checkout.ADDRESS_FIELD],
        "campaign": typed["campaign"],
        "variant": typed["variant"],
        "message": said and {"text": said[0], **i18n.html_lang_attrs(said[1])},
        "article": typed["article"],
        "locale": request_locale.language_tag(),
        "errors": [{"field_id": name or "main", "message": says} for name, says in errors.items()],
        "field_errors": dict(errors),
        "statement": ctx.settings.statement_descriptor,
        "terms": [
            request_locale.translate(line)
            for line in TERMS_SENTENCES[: len(safety.offered_frequencies(ctx.settings))]
        ],
        "newsletter": pages.signup_box(ctx),
        "notice": None,
        "declared": bool(typed[donor_notice.DECLARATION_FIELD]),
    }


def _currency_name(code: str) -> str:
    """Its name in the plural where a plural can stand by itself, as it can in English."""
    spoken = request_locale.current()
    return get_currency_name(code.upper(), 2 if spoken == i18n.DEFAULT_LOCALE else None, spoken)


def _frequency_view(
    ctx: Context,
    typed: FormData,
    frequency: Frequency,
    currency: str,
    checked: bool,
    options: FormOptions,
) -> dict[str, Any]:
    """One frequency's radio and amounts, ready to print."""
    presets, ticked = (
        options.suggested_amounts(currency, frequency),
        options.preselected_amount(currency, frequency),
    )
    own = "other" if typed[f"other_{frequency}"] else "" if ticked is None else str(ticked.amount)
    picked = typed[f"amount_{frequency}"] or own
    lowest, highest = money.min_gift(currency), ctx.settings.max_gift_for(currency)
    return {
        "value": frequency.value,
        "label": request_locale.translate(FREQUENCY_LABELS[frequency]),
        "checked": checked,
        "presets": [
            {
                "value": str(preset.amount),
                "label": request_locale.format_amount(preset),
                "checked": picked == str(preset.amount),
            }
            for preset in presets
        ],
        "additions": [
            (request_locale.format_amount(preset), request_locale.format_amount(added))
            for preset in presets
            if (added := fee_cover.fee_to_add(preset, ctx.settings.stripe_fees)) is not None
        ],
        "other_checked": picked not in ["", *(str(preset.amount) for preset in presets)],
        "other_value": typed[f"other_{frequency}"],
        "other_hint": _amount_range(lowest, highest),
    }


def _amount_range(lowest: Money, highest: Money) -> str:
    return request_locale.translate(
        "From %(lowest)s to %(highest)s",
        lowest=request_locale.format_amount(lowest),
        highest=request_locale.format_amount(highest),
    )
