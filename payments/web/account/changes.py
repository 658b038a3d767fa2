"""The changes of a promise: each has a page that says what will happen, and a button.

After a button the browser is sent back to the promise, whose page says what is true by then. A
page carries the dates it showed: when they have moved in the meantime, it is shown again.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.core import amount_input, money
from payments.core.errors import InvalidField
from payments.core.money import InvalidAmount, Money
from payments.giving import payment_methods, subscription_changes, subscriptions
from payments.giving.change_log import By
from payments.giving.checkout_session import Frequency
from payments.giving.subscription_changes import LONGEST_PAUSE, PromiseHasEnded
from payments.infra.context import Runtime
from payments.web import locale, origins, templates
from payments.web.account import view_models
from payments.web.account.overview import Own
from payments.web.forms import SMALL, AnyRequest, typed

INTENT = re.compile(r"[0-9a-f]{32}")
UNTIL_RESUMED = "open"
Sent = Mapping[str, str]


class Changes(Controller):
    path = "/contributions/{contribution_id:str}"

    @get("/amount")
    async def amount(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own]
    ) -> Response[str]:
        """Another amount, from the next charge on."""
        return _amount(rt, own)

    @post("/amount", request_max_body_size=SMALL)
    async def change_amount(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own], request: AnyRequest
    ) -> Response[Any]:
        sent = await typed(request)
        try:
            gift = amount_input.parse(sent.get("amount", ""), own.promise.currency, locale.spoken())
            await subscription_changes.change_amount(
                rt, own.id, gift, by=By.DONOR, intent=_intent(sent)
            )
        except (InvalidAmount, InvalidField) as error:
            return _amount(rt, own, sent, error=error)
        return _back(own, "amount")

    @get("/frequency")
    async def frequency(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own], request: AnyRequest
    ) -> Response[str]:
        """The other frequency: shows the very next charge before anything is decided."""
        return _frequency(rt, own, dict(request.query_params.items()))

    @post("/frequency", request_max_body_size=SMALL)
    async def change_frequency(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own], request: AnyRequest
    ) -> Response[Any]:
        sent = await typed(request)
        try:
            _as_shown(own, sent)
            gift = amount_input.parse(sent.get("amount", ""), own.promise.currency, locale.spoken())
            other = _other(sent.get("frequency", ""))
            await subscription_changes.change_frequency(
                rt, own.id, other, gift, by=By.DONOR, intent=_intent(sent)
            )
        except (InvalidAmount, InvalidField) as error:
            return _frequency(rt, own, sent, error=error)
        return _back(own, "frequency")

    @get("/skip")
    async def skip(self, rt: NamedDependency[Runtime], own: NamedDependency[Own]) -> Response[str]:
        """The charge that would be left out, and the one after it."""
        return _skip(rt, own)

    @post("/skip", request_max_body_size=SMALL)
    async def skip_next(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own], request: AnyRequest
    ) -> Response[Any]:
        sent = await typed(request)
        try:
            _as_shown(own, sent)
            await subscription_changes.skip(rt, own.id, by=By.DONOR, intent=_intent(sent))
        except InvalidField as error:
            return _skip(rt, own, error=error)
        return _back(own, "skipped")

    @get("/pause")
    async def pause(self, rt: NamedDependency[Runtime], own: NamedDependency[Own]) -> Response[str]:
        """How long, each with the charge that would come after."""
        return _pause(rt, own)

    @post("/pause", request_max_body_size=SMALL)
    async def pause_for(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own], request: AnyRequest
    ) -> Response[Any]:
        sent = await typed(request)
        try:
            _as_shown(own, sent)
            months = _months(sent.get("months", ""))
            await subscription_changes.pause(rt, own.id, months, by=By.DONOR, intent=_intent(sent))
        except InvalidField as error:
            return _pause(rt, own, error=error)
        return _back(own, "paused")

    @get("/resume")
    async def resume(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own]
    ) -> Response[str]:
        """When the next charge would be."""
        return _page(
            rt, own, "manage_resume.html", due=view_models.maybe_day(rt, own.promise.renews_at)
        )

    @post("/resume", request_max_body_size=SMALL)
    async def resume_now(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own], request: AnyRequest
    ) -> Response[Any]:
        await subscription_changes.resume(
            rt, own.id, by=By.DONOR, intent=_intent(await typed(request))
        )
        return _back(own, "resumed")

    @get("/keep")
    async def keep(self, rt: NamedDependency[Runtime], own: NamedDependency[Own]) -> Response[str]:
        """What comes if the last day that was set is taken back."""
        return _page(
            rt, own, "manage_keep.html", due=view_models.maybe_day(rt, own.promise.renews_at)
        )

    @post("/keep", request_max_body_size=SMALL)
    async def keep_giving(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own], request: AnyRequest
    ) -> Response[Any]:
        await subscription_changes.keep(
            rt, own.id, by=By.DONOR, intent=_intent(await typed(request))
        )
        return _back(own, "kept")

    @get("/card")
    async def card(self, rt: NamedDependency[Runtime], own: NamedDependency[Own]) -> Response[str]:
        """What replacing the card does."""
        return _page(rt, own, "manage_card.html")

    @post("/card", request_max_body_size=SMALL)
    async def replace_card(
        self, rt: NamedDependency[Runtime], request: AnyRequest, own: NamedDependency[Own]
    ) -> Response[Any]:
        """To Stripe's page, which takes the card and charges nothing."""
        page = await payment_methods.start_replacement(
            rt,
            own.id,
            by=By.DONOR,
            return_path=locale.here(f"{own.url}?card=back"),
            origin=origins.origin(rt.settings, request),
            locale=locale.tag(),
        )
        return Redirect(page, status_code=303)

    @get("/stop")
    async def stop(self, rt: NamedDependency[Runtime], own: NamedDependency[Own]) -> Response[Any]:
        """One page, one button."""
        if not own.promise.is_live:
            return _back(own, "stopped")
        return _page(rt, own, "manage_stop.html")

    @post("/stop", request_max_body_size=SMALL)
    async def stop_now(
        self, rt: NamedDependency[Runtime], own: NamedDependency[Own]
    ) -> Response[Any]:
        await subscription_changes.stop(rt, own.id, by=By.DONOR)
        return _back(own, "stopped")


def _back(own: Own, done: str) -> Redirect:
    """To the promise, which confirms what its history confirms."""
    return Redirect(locale.here(f"{own.url}?done={done}"), status_code=303)


def _intent(sent: Sent) -> str:
    """The random name of one filling-in of a form, so that sending it twice is sending it once."""
    named = sent.get("intent", "")
    return named if INTENT.fullmatch(named) else secrets.token_hex(16)


def _shown(own: Own) -> str:
    """The day a page reckons with, to be sent back with its form."""
    return "" if own.promise.renews_at is None else own.promise.renews_at.date().isoformat()


def _as_shown(own: Own, sent: Sent) -> None:
    if sent.get("shown", "") != _shown(own):
        raise InvalidField(
            "A payment was due while this page was open, so its dates have moved. Please look "
            "again. Nothing was changed."
        )


def _page(
    rt: Runtime,
    own: Own,
    template: str,
    *,
    error: InvalidField | InvalidAmount | None = None,
    **more: object,
) -> Response[str]:
    """A page about one promise that still runs."""
    if not own.promise.is_live:
        raise PromiseHasEnded("It was stopped or has lapsed. Nothing more is charged.")
    return templates.page(
        rt,
        template,
        status=200 if error is None else error.status,
        promise=view_models.promise_facts(rt, own.promise),
        intent=secrets.token_hex(16),
        shown=_shown(own),
        error="" if error is None else locale.told(error),
        error_field="" if error is None else error.field or "",
        **more,
    )


def _amount(
    rt: Runtime,
    own: Own,
    sent: Sent | None = None,
    *,
    error: InvalidField | InvalidAmount | None = None,
) -> Response[str]:
    now = own.promise.money
    lowest = money.minimum(now.currency)
    highest = money.maximum(now.currency, rt.settings.maximum_gifts)
    return _page(
        rt,
        own,
        "manage_amount.html",
        error=error,
        value=(sent or {}).get("amount", amount_input.typed(now, locale.spoken())),
        lowest=locale.amount(lowest),
        highest=locale.amount(highest),
    )


def _frequency(
    rt: Runtime, own: Own, sent: Sent, *, error: InvalidField | InvalidAmount | None = None
) -> Response[str]:
    """The other frequency with the amount that was typed, or with what comes to the same."""
    monthly = own.promise.frequency is Frequency.MONTHLY
    other = Frequency.ANNUAL if monthly else Frequency.MONTHLY
    gift = _same_over_a_year(own.promise.money, other, rt)
    value = sent.get("amount", amount_input.typed(gift, locale.spoken()))
    if error is None:
        try:
            gift = amount_input.parse(value, gift.currency, locale.spoken())
            highest = money.maximum(gift.currency, rt.settings.maximum_gifts)
            money.check_gift(gift.amount, gift.currency, maximum=highest.amount)
        except InvalidAmount as refusal:
            error = refusal
    due = own.promise.renews_at
    then = subscriptions.first_charge_after(own.promise, due + timedelta(days=1)) if due else None
    return _page(
        rt,
        own,
        "manage_frequency.html",
        error=error,
        other=other.value,
        value=value,
        typed=amount_input.typed(gift, locale.spoken()),
        gift=locale.amount(gift),
        due=view_models.maybe_day(rt, due),
        then=view_models.maybe_day(rt, then),
    )


def _same_over_a_year(gift: Money, other: Frequency, rt: Runtime) -> Money:
    """Twelve times as much in a year, or a twelfth in a month, within what may be given."""
    lowest = money.minimum(gift.currency).amount
    highest = money.maximum(gift.currency, rt.settings.maximum_gifts).amount
    step = money.step(gift.currency)
    wanted = gift.amount * 12 if other is Frequency.ANNUAL else -(-gift.amount // 12)
    return Money(min(max(-(-wanted // step) * step, lowest), highest), gift.currency)


def _other(text: str) -> Frequency:
    try:
        return Frequency(text)
    except ValueError:
        raise InvalidField("Choose monthly or annual. Nothing was changed.") from None


def _skip(rt: Runtime, own: Own, *, error: InvalidField | None = None) -> Response[str]:
    due = own.promise.renews_at
    then = subscriptions.first_charge_after(own.promise, due + timedelta(days=1)) if due else None
    possible = due is not None and not own.promise.pauses
    return _page(
        rt,
        own,
        "manage_skip.html",
        error=error,
        possible=possible,
        due=view_models.maybe_day(rt, due),
        then=view_models.maybe_day(rt, then),
    )


def _pause(rt: Runtime, own: Own, *, error: InvalidField | None = None) -> Response[str]:
    """A year's pause is the same for one month as for twelve, so an annual promise has one."""
    lengths = [LONGEST_PAUSE] if own.promise.frequency is Frequency.ANNUAL else range(1, 13)
    choices = []
    for months in lengths:
        ends = subscription_changes.pause_ends(own.promise, months, now=rt.now())
        then = subscriptions.first_charge_after(own.promise, ends) or ends
        choices.append({"value": str(months), "months": months, "then": view_models.day(rt, then)})
    return _page(rt, own, "manage_pause.html", error=error, choices=choices)


def _months(text: str) -> int | None:
    """The months of a pause; None for one until the donor resumes."""
    if text == UNTIL_RESUMED:
        return None
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise InvalidField("Choose how long. Nothing was changed.", field="months")
    return int(text)
