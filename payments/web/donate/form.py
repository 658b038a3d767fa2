"""The form, without JavaScript: choose how often and how much, then pay on Stripe's page."""

import re
import secrets
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
from payments.core.campaign_schema import NOTHING_SAID, Offer
from payments.core.errors import InvalidField, NotFound, PaymentsError, StripeUnavailable
from payments.core.i18n import later
from payments.core.money import Money
from payments.giving import article_counts, campaigns, contributions
from payments.giving.campaigns import Shown
from payments.giving.checkout_session import Ask, Frequency
from payments.giving.contributions import Contribution
from payments.infra.context import Runtime
from payments.risk import donor_notice
from payments.risk.rate_limit import NOT_NOW, WorkNeeded
from payments.web import errors as refusals
from payments.web import locale, templates
from payments.web.donate import abandoned_checkout, risk_check, safety
from payments.web.forms import AnyRequest
from payments.web.newsletter import pages

MAX_BODY = 16 * 1024
LABELS = {
    Frequency.ONCE: later("Once"),
    Frequency.MONTHLY: later("Monthly"),
    Frequency.ANNUAL: later("Annual"),
}
EVERY = {
    Frequency.ONCE: later("once"),
    Frequency.MONTHLY: later("every month"),
    Frequency.ANNUAL: later("every year"),
}
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
INTENT = re.compile(r"[0-9a-f]{32}")
BEGUN_LASTS = timedelta(hours=24)
TERMS = (
    later("You will pay on Stripe's page, which asks for a card and an e-mail address."),
    later("A monthly or annual gift goes on until you stop it."),
)
FIELDS = (
    frozenset(
        {"intent", "frequency", "currency", "campaign", "variant", "article", "locale", "cover"}
    )
    | {donor_notice.FIELD}
    | {f"{part}_{frequency}" for part in ("amount", "other") for frequency in Frequency}
    | risk_check.FIELDS
    | abandoned_checkout.FIELDS
)


@dataclass(frozen=True, slots=True)
class Typed:
    """What the form holds, as text, whether or not it makes sense."""

    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


class DonatePage(Controller):
    path = "/donate"
    include_in_schema = False

    @get()
    async def show(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[str]:
        """An empty form, or one filled in by the link that led here."""
        asked = Typed(dict(request.query_params.items()))
        if (before := await _begun(rt, asked["again"])) is not None:
            asked = Typed({**asked.values, "campaign": before.campaign or ""})
            shown = await campaigns.shown_before(rt, asked["campaign"], before.variant or "")
        else:
            shown = await campaigns.show(rt, asked["campaign"], drawn=asked["variant"])
        return _page(rt, request, filled_in(rt, asked, shown), shown=shown)

    @post(request_max_body_size=MAX_BODY)
    async def give(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[Any]:
        """Start the gift and send the reader to pay, or show what to mend with nothing lost."""
        sent = await request.form()
        typed = Typed({name: value for name, value in sent.items() if isinstance(value, str)})
        locale.choose(typed["locale"])
        try:
            ask = _ask(rt, typed, names=frozenset(sent))
            ticked = abandoned_checkout.wanted(rt, typed.values, ask)
            campaign, lot = await campaigns.attributed(rt, ask.campaign, typed["variant"])
            ask = msgspec.structs.replace(ask, campaign=campaign)
        except PaymentsError as error:
            return await _again(rt, request, typed, error, status=422)
        intent = _intent(typed)
        visit = await risk_check.of_form(rt, request, typed.values, intent)
        # Twice the same is one gift; another amount after "Back" is another gift.
        key = f"form:{intent}:{ask.digest().hex()}"
        try:
            gift = await contributions.start(rt, ask, key=key, visit=visit, variant=lot or None)
        except WorkNeeded as needed:
            return await risk_check.ask_to_wait(rt, visit, typed.values, intent, needed)
        except (StripeUnavailable, *NOT_NOW, *safety.REFUSALS) as error:
            if error.field == "amount":
                error.field = f"amount_{ask.frequency}"
            kept = Typed({**typed.values, "intent": intent})
            return await _again(rt, request, kept, error, status=error.status)
        await article_counts.count(rt, request.app.state.articles, _slug(typed, "article"))
        await abandoned_checkout.watch(rt, gift.id, ticked)
        return Redirect(gift.checkout_url or locale.here(f"/thanks/{gift.id}"), status_code=303)


async def _begun(rt: Runtime, contribution_id: str) -> Contribution | None:
    """A gift that a reader walked away from, while its thank-you page would still tell of it."""
    if not contribution_id:
        return None
    try:
        async with rt.sessions() as session:
            gift = await contributions.find(session, contribution_id)
    except (NotFound, *campaigns.AWAY):
        return None  # the form needs neither it nor the database to be shown
    return gift if rt.now() - gift.created_at <= BEGUN_LASTS else None


def _page(
    rt: Runtime,
    request: AnyRequest,
    typed: Typed,
    error: PaymentsError | None = None,
    *,
    shown: Shown | None,
    status: int = 200,
) -> Response[str]:
    """The form as it was filled in, and what is wrong with it, if anything is."""
    errors = {} if error is None else {error.field or "": refusals.told(error)}
    filled = form(rt, typed, errors=errors, shown=shown)
    filled |= {"notice": safety.notice_for(rt, request)}
    return templates.page(rt, "donate.html", status=status, **filled)


async def _again(
    rt: Runtime, request: AnyRequest, typed: Typed, error: PaymentsError, *, status: int
) -> Response[str]:
    """The form once more, with the same campaign as before."""
    shown = await campaigns.shown_before(rt, typed["campaign"], typed["variant"])
    answer = _page(rt, request, typed, error, shown=shown, status=status)
    return refusals.with_when(answer, error)


def _intent(typed: Typed) -> str:
    """The random name of one filling-in of the form, kept until it leads to a payment."""
    return typed["intent"] if INTENT.fullmatch(typed["intent"]) else secrets.token_hex(16)


def _ask(rt: Runtime, typed: Typed, *, names: frozenset[str]) -> Ask:
    """What the reader asks for. Raises a PaymentsError whose field is the form's."""
    if unknown := sorted(names - FIELDS):
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
        gift = amount_of(rt, typed, frequency)
    except PaymentsError as error:
        if error.field == "amount":
            chosen, own = typed[f"amount_{frequency}"], typed[f"other_{frequency}"].strip()
            other = chosen == "other" or (chosen == "" and own != "")
            error.field = f"{'other' if other else 'amount'}_{frequency}"
        raise
    added = fee_cover.addition(gift, rt.settings.fees) if typed["cover"] else None
    return Ask(
        money=gift if added is None else gift + added,
        frequency=frequency,
        campaign=_slug(typed, "campaign") or None,
        locale=locale.tag(),
    )


def _slug(typed: Typed, name: str) -> str:
    """The campaign or story of a link, if it can be one: no gift is lost over a label."""
    return typed[name] if SLUG.fullmatch(typed[name]) else ""


def amount_of(rt: Runtime, typed: Typed, frequency: Frequency) -> Money:
    currency = typed["currency"]
    highest = money.maximum(currency, rt.settings.maximum_gifts)
    chosen, own = typed[f"amount_{frequency}"], typed[f"other_{frequency}"].strip()
    if chosen == own == "":  # nothing was ticked for them, and they ticked nothing
        raise InvalidField("Choose an amount. Nothing was charged.", field="amount")
    if chosen in ("", "other"):
        minor = amount_input.parse(own, currency, locale.spoken()).amount
    elif re.fullmatch(r"[0-9]{1,12}", chosen):
        minor = int(chosen)
        # A reader who typed an amount and left a suggestion ticked is asked, not charged.
        if own and (meant := amount_input.parse(own, currency, locale.spoken())).amount != minor:
            raise amount_input.AmountAmbiguous((Money(minor, currency), meant))
    else:
        raise amount_input.AmountNotANumber(currency)
    return money.check_gift(minor, currency, maximum=highest.amount)


def filled_in(rt: Runtime, asked: Typed, shown: Shown | None = None) -> Typed:
    """A link's `frequency`, `amount` (minor units) and `currency` as the form's own fields.

    What makes no sense is left out: a link is not an answer to refuse.
    """
    offer = NOTHING_SAID if shown is None else shown.offer
    usual = (shown and shown.currency) or rt.settings.currency
    currency = asked["currency"] if asked["currency"] in money.BOUNDS else usual
    often = asked["frequency"] if asked["frequency"] in tuple(Frequency) else ""
    frequency = safety.chosen(rt.settings, often or offer.default_frequency or "")
    values = {"currency": currency, "frequency": frequency}
    values["variant"] = "" if shown is None else shown.variant
    values |= {name: _slug(asked, name) for name in ("campaign", "article")}
    if re.fullmatch(r"[0-9]{1,9}", asked["amount"]):
        gift = Money(int(asked["amount"]), currency)
        if gift in offer.amounts(currency, frequency):
            values[f"amount_{frequency}"] = str(gift.amount)
        else:
            values[f"amount_{frequency}"] = "other"
            values[f"other_{frequency}"] = amount_input.typed(gift, locale.spoken())
    if asked["other"].strip():  # typed on another page, where no script was there to read it
        values[f"amount_{frequency}"] = "other"
        values[f"other_{frequency}"] = asked["other"].strip()[: amount_input.TYPED_CHARACTERS_MAX]
    return Typed(values)


def form(
    rt: Runtime, typed: Typed, *, errors: Mapping[str, str], shown: Shown | None = None
) -> dict[str, Any]:
    """All that donate.html is given. `errors` maps a field's name to what is wrong with it."""
    currency = typed["currency"] if typed["currency"] in money.BOUNDS else rt.settings.currency
    chosen = safety.chosen(rt.settings, typed["frequency"])
    offer = NOTHING_SAID if shown is None else shown.offer
    said = offer.said_in(locale.spoken())
    return {
        "frequencies": [
            _frequency(rt, typed, f, currency, f == chosen, offer)
            for f in safety.offered(rt.settings)
        ],
        "currencies": [
            {"code": code, "label": _currency_name(code), "selected": code == currency}
            for code in money.BOUNDS
        ],
        "currency": currency,
        "intent": (intent := _intent(typed)),
        "made": typed["made"] or risk_check.made(rt, intent),
        "covers": currency in rt.settings.fees,
        "cover_ticked": bool(typed["cover"]),
        "unfinished": abandoned_checkout.is_offered(rt.settings),
        "remind_ticked": bool(typed[abandoned_checkout.TICK]),
        "remind_address": typed[abandoned_checkout.ADDRESS],
        "campaign": typed["campaign"],
        "variant": typed["variant"],
        "message": said and {"text": said[0], **i18n.marked(said[1])},
        "article": typed["article"],
        "locale": locale.tag(),
        "errors": [{"field_id": name or "main", "message": says} for name, says in errors.items()],
        "field_errors": dict(errors),
        "statement": rt.settings.statement,
        "terms": [locale.say(line) for line in TERMS[: len(safety.offered(rt.settings))]],
        "newsletter": pages.box(rt),
        "notice": None,
        "declared": bool(typed[donor_notice.FIELD]),
    }


def _currency_name(code: str) -> str:
    """Its name in the plural where a plural can stand by itself, as it can in English."""
    spoken = locale.spoken()
    return get_currency_name(code.upper(), 2 if spoken == i18n.SOURCE else None, spoken)


def _frequency(
    rt: Runtime,
    typed: Typed,
    frequency: Frequency,
    currency: str,
    checked: bool,
    offer: Offer,
) -> dict[str, Any]:
    """One frequency's radio and amounts, ready to print."""
    presets, ticked = offer.amounts(currency, frequency), offer.ticked(currency, frequency)
    own = "other" if typed[f"other_{frequency}"] else "" if ticked is None else str(ticked.amount)
    picked = typed[f"amount_{frequency}"] or own
    lowest, highest = money.minimum(currency), money.maximum(currency, rt.settings.maximum_gifts)
    return {
        "value": frequency.value,
        "label": locale.say(LABELS[frequency]),
        "checked": checked,
        "presets": [
            {
                "value": str(preset.amount),
                "label": locale.amount(preset),
                "checked": picked == str(preset.amount),
            }
            for preset in presets
        ],
        "additions": [
            (locale.amount(preset), locale.amount(added))
            for preset in presets
            if (added := fee_cover.addition(preset, rt.settings.fees)) is not None
        ],
        "other_checked": picked not in ["", *(str(preset.amount) for preset in presets)],
        "other_value": typed[f"other_{frequency}"],
        "other_hint": _between(lowest, highest),
    }


def _between(lowest: Money, highest: Money) -> str:
    return locale.say(
        "From %(lowest)s to %(highest)s",
        lowest=locale.amount(lowest),
        highest=locale.amount(highest),
    )
