"""The form, without JavaScript: choose how often and how much, then pay on Stripe's page."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from babel.numbers import get_currency_name
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments import contributions, money
from payments.contributions import Ask, Frequency
from payments.errors import InvalidField, PaymentsError, StripeUnavailable
from payments.money import Money
from payments.runtime import Runtime
from payments.web import pages

MAX_BODY = 16 * 1024
LABELS = {Frequency.ONCE: "Once", Frequency.MONTHLY: "Monthly", Frequency.ANNUAL: "Annual"}
EVERY = {Frequency.ONCE: "once", Frequency.MONTHLY: "every month", Frequency.ANNUAL: "every year"}
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
INTENT = re.compile(r"[0-9a-f]{32}")
TERMS = (
    "You will pay on Stripe's page, which asks for a card and an e-mail address.",
    "A monthly or annual gift goes on until you stop it.",
)
FIELDS = frozenset({"intent", "frequency", "currency", "campaign", "article", "locale"}) | {
    f"{part}_{frequency}" for part in ("amount", "other") for frequency in Frequency
}


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
    async def show(
        self, rt: NamedDependency[Runtime], request: Request[Any, Any, Any]
    ) -> Response[str]:
        """An empty form, or one filled in by the link that led here."""
        asked = Typed(dict(request.query_params.items()))
        return pages.page(rt, "donate.html", **form(rt, _filled_in(rt, asked), errors={}))

    @post(request_max_body_size=MAX_BODY)
    async def give(
        self, rt: NamedDependency[Runtime], request: Request[Any, Any, Any]
    ) -> Response[Any]:
        """Start the gift and send the reader to pay, or show what to mend with nothing lost."""
        sent = await request.form()
        typed = Typed({name: value for name, value in sent.items() if isinstance(value, str)})
        try:
            ask = _ask(rt, typed, names=frozenset(sent))
        except PaymentsError as error:
            errors = {error.field or "": error.detail}
            return pages.page(rt, "donate.html", status=422, **form(rt, typed, errors=errors))
        intent = _intent(typed)
        # Twice the same is one gift; another amount after "Back" is another gift.
        try:
            gift = await contributions.start(rt, ask, key=f"form:{intent}:{ask.digest().hex()}")
        except StripeUnavailable as error:
            kept = Typed({**typed.values, "intent": intent})
            filled = form(rt, kept, errors={"": error.detail})
            return pages.page(rt, "donate.html", status=error.status, **filled)
        return Redirect(gift.checkout_url or f"/thanks/{gift.id}", status_code=303)


def _intent(typed: Typed) -> str:
    """The random name of one filling-in of the form, kept until it leads to a payment."""
    return typed["intent"] if INTENT.fullmatch(typed["intent"]) else secrets.token_hex(16)


def _ask(rt: Runtime, typed: Typed, *, names: frozenset[str]) -> Ask:
    """What the reader asks for. Raises a PaymentsError whose field is the form's."""
    if unknown := sorted(names - FIELDS):
        raise InvalidField(f"The form has no field “{unknown[0][:40]}”. Nothing was charged.")
    try:
        frequency = Frequency(typed["frequency"])
    except ValueError:
        raise InvalidField(
            "Choose once, monthly or annual. Nothing was charged.", field="frequency"
        ) from None
    for name in ("campaign", "article"):
        if typed[name] and not SLUG.fullmatch(typed[name]):
            raise InvalidField(f"The {name} of this link is not valid. Nothing was charged.")
    try:
        gift = _amount(rt, typed, frequency)
    except PaymentsError as error:
        if error.field == "amount":
            other = typed[f"amount_{frequency}"] in ("other", "")
            error.field = f"{'other' if other else 'amount'}_{frequency}"
        raise
    return Ask(
        money=gift,
        frequency=frequency,
        campaign=typed["campaign"] or None,
        locale=_language(typed["locale"]),
    )


def _amount(rt: Runtime, typed: Typed, frequency: Frequency) -> Money:
    currency = typed["currency"]
    highest = money.maximum(currency, rt.settings.maximum_gifts)
    chosen, own = typed[f"amount_{frequency}"], typed[f"other_{frequency}"].strip()
    language = _language(typed["locale"]) or "en"
    if chosen in ("", "other"):
        minor = money.parse(own, currency, language).amount
    elif re.fullmatch(r"[0-9]{1,12}", chosen):
        minor = int(chosen)
        # A reader who typed an amount and left a suggestion ticked is asked, not charged.
        if own and (meant := money.parse(own, currency, language)).amount != minor:
            raise money.AmountAmbiguous((Money(minor, currency), meant))
    else:
        raise money.AmountNotANumber(currency)
    return money.check_gift(minor, currency, maximum=highest.amount)


def _language(text: str) -> str | None:
    return text if text in pages.LANGUAGES else None


def _filled_in(rt: Runtime, asked: Typed) -> Typed:
    """A link's `frequency`, `amount` (minor units) and `currency` as the form's own fields.

    What makes no sense is left out: a link is not an answer to refuse.
    """
    currency = asked["currency"] if asked["currency"] in money.BOUNDS else rt.settings.currency
    frequency = asked["frequency"] if asked["frequency"] in list(Frequency) else "monthly"
    values = {"currency": currency, "frequency": frequency, "locale": asked["locale"]}
    values |= {name: asked[name] for name in ("campaign", "article") if SLUG.fullmatch(asked[name])}
    if re.fullmatch(r"[0-9]{1,9}", asked["amount"]):
        gift = Money(int(asked["amount"]), currency)
        if gift in money.presets(currency, frequency):
            values[f"amount_{frequency}"] = str(gift.amount)
        else:
            values[f"amount_{frequency}"] = "other"
            values[f"other_{frequency}"] = money.plain(gift)
    return Typed(values)


def form(rt: Runtime, typed: Typed, *, errors: Mapping[str, str]) -> dict[str, Any]:
    """All that donate.html is given. `errors` maps a field's name to what is wrong with it."""
    currency = typed["currency"] if typed["currency"] in money.BOUNDS else rt.settings.currency
    chosen = typed["frequency"] if typed["frequency"] in list(Frequency) else "monthly"
    return {
        "frequencies": [_frequency(rt, typed, f, currency, chosen) for f in Frequency],
        "currencies": [
            {"code": code, "label": _currency_name(code), "selected": code == currency}
            for code in money.BOUNDS
        ],
        "currency": currency,
        "intent": _intent(typed),
        "campaign": typed["campaign"],
        "article": typed["article"],
        "locale": _language(typed["locale"]) or "en",
        "errors": [{"field_id": name or "main", "message": says} for name, says in errors.items()],
        "field_errors": dict(errors),
        "statement": rt.settings.statement,
        "terms": TERMS,
    }


def _currency_name(code: str) -> str:
    return get_currency_name(code.upper(), count=2, locale="en")


def _frequency(
    rt: Runtime, typed: Typed, frequency: Frequency, currency: str, chosen: str
) -> dict[str, Any]:
    """One frequency's radio and amounts, ready to print."""
    presets = money.presets(currency, frequency)
    picked = typed[f"amount_{frequency}"] or str(presets[1].amount)
    lowest, highest = money.minimum(currency), money.maximum(currency, rt.settings.maximum_gifts)
    return {
        "value": frequency.value,
        "label": LABELS[frequency],
        "checked": frequency == chosen,
        "presets": [
            {
                "value": str(preset.amount),
                "label": money.format(preset),
                "checked": picked == str(preset.amount),
            }
            for preset in presets
        ],
        "other_checked": picked not in [str(preset.amount) for preset in presets],
        "other_value": typed[f"other_{frequency}"],
        "other_hint": f"From {money.format(lowest)} to {money.format(highest)}",
    }


@get("/article", include_in_schema=False)
async def sample_article(rt: NamedDependency[Runtime]) -> Response[str]:
    """A story with the block at its end, for the demo."""
    ready = form(rt, _filled_in(rt, Typed({})), errors={})
    return pages.page(
        rt,
        "article.html",
        donate_url="/donate",
        frequencies=ready["frequencies"],
        currency=ready["currency"],
    )
