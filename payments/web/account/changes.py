"""The changes of a promise: each has a page that says what will happen, and a button.

After a button the browser is sent back to the promise, whose page says what is true by then. A
page carries the dates it showed: when they have moved in the meantime, it is shown again.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.core import amount_input, money
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.identifiers import new_row_id, row_id_or_new
from payments.core.money import InvalidAmount, Money
from payments.giving import payment_methods, subscription_changes, subscriptions
from payments.giving.change_log import Actor
from payments.giving.subscription_changes import MAX_PAUSE_MONTHS, SubscriptionEnded
from payments.infra.context import Context
from payments.web import origins, rendering, request_locale
from payments.web.account import view_models
from payments.web.account.overview import OwnSubscription
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data

INDEFINITELY = "open"
FormFields = Mapping[str, str]


class ChangePages(Controller):
    path = "/contributions/{contribution_id:str}"

    @get("/amount")
    async def amount_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """Another amount, from the next charge on."""
        return _render_amount(ctx, own_subscription)

    @post("/amount", request_max_body_size=SMALL_FORM_BYTES)
    async def change_amount(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        sent = await form_data(request)
        try:
            gift = amount_input.parse_amount(
                sent.get("amount", ""),
                own_subscription.subscription.currency,
                request_locale.current(),
            )
            await subscription_changes.change_amount(
                ctx,
                own_subscription.subscription_id,
                gift,
                actor=Actor.DONOR,
                idempotency_key=_idempotency_key(sent),
            )
        except (InvalidAmount, InvalidField) as error:
            return _render_amount(ctx, own_subscription, sent, error=error)
        return _redirect_done(own_subscription, "amount")

    @get("/frequency")
    async def frequency_form(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[str]:
        """The other frequency: shows the very next charge before anything is decided."""
        return _render_frequency(ctx, own_subscription, dict(request.query_params.items()))

    @post("/frequency", request_max_body_size=SMALL_FORM_BYTES)
    async def change_frequency(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        sent = await form_data(request)
        try:
            _require_unmoved_dates(own_subscription, sent)
            gift = amount_input.parse_amount(
                sent.get("amount", ""),
                own_subscription.subscription.currency,
                request_locale.current(),
            )
            other = _parse_frequency(sent.get("frequency", ""))
            await subscription_changes.change_frequency(
                ctx,
                own_subscription.subscription_id,
                other,
                gift,
                actor=Actor.DONOR,
                idempotency_key=_idempotency_key(sent),
            )
        except (InvalidAmount, InvalidField) as error:
            return _render_frequency(ctx, own_subscription, sent, error=error)
        return _redirect_done(own_subscription, "frequency")

    @get("/skip")
    async def skip_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """The charge that would be left out, and the one after it."""
        return _render_skip(ctx, own_subscription)

    @post("/skip", request_max_body_size=SMALL_FORM_BYTES)
    async def skip_next(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        sent = await form_data(request)
        try:
            _require_unmoved_dates(own_subscription, sent)
            await subscription_changes.skip(
                ctx,
                own_subscription.subscription_id,
                actor=Actor.DONOR,
                idempotency_key=_idempotency_key(sent),
            )
        except InvalidField as error:
            return _render_skip(ctx, own_subscription, error=error)
        return _redirect_done(own_subscription, "skipped")

    @get("/pause")
    async def pause_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """How long, each with the charge that would come after."""
        return _render_pause(ctx, own_subscription)

    @post("/pause", request_max_body_size=SMALL_FORM_BYTES)
    async def pause_for(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        sent = await form_data(request)
        try:
            _require_unmoved_dates(own_subscription, sent)
            months = _parse_months(sent.get("months", ""))
            await subscription_changes.pause(
                ctx,
                own_subscription.subscription_id,
                months,
                actor=Actor.DONOR,
                idempotency_key=_idempotency_key(sent),
            )
        except InvalidField as error:
            return _render_pause(ctx, own_subscription, error=error)
        return _redirect_done(own_subscription, "paused")

    @get("/resume")
    async def resume_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """When the next charge would be."""
        return _render(
            ctx,
            own_subscription,
            "account_resume.html",
            due=view_models.format_date_or_empty(
                ctx, own_subscription.subscription.current_period_end
            ),
        )

    @post("/resume", request_max_body_size=SMALL_FORM_BYTES)
    async def resume_now(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        await subscription_changes.resume(
            ctx,
            own_subscription.subscription_id,
            actor=Actor.DONOR,
            idempotency_key=_idempotency_key(await form_data(request)),
        )
        return _redirect_done(own_subscription, "resumed")

    @get("/keep")
    async def undo_end_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """What comes if the last day that was set is taken back."""
        return _render(
            ctx,
            own_subscription,
            "account_undo_end.html",
            due=view_models.format_date_or_empty(
                ctx, own_subscription.subscription.current_period_end
            ),
        )

    @post("/keep", request_max_body_size=SMALL_FORM_BYTES)
    async def undo_end(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        await subscription_changes.undo_scheduled_end(
            ctx,
            own_subscription.subscription_id,
            actor=Actor.DONOR,
            idempotency_key=_idempotency_key(await form_data(request)),
        )
        return _redirect_done(own_subscription, "kept")

    @get("/card")
    async def card_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """What replacing the card does."""
        return _render(ctx, own_subscription, "account_card.html")

    @post("/card", request_max_body_size=SMALL_FORM_BYTES)
    async def start_card_update(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        own_subscription: NamedDependency[OwnSubscription],
    ) -> Response[Any]:
        """To Stripe's page, which takes the card and charges nothing."""
        page = await payment_methods.start_card_update(
            ctx,
            own_subscription.subscription_id,
            actor=Actor.DONOR,
            return_path=request_locale.localised_url(f"{own_subscription.url}?card=back"),
            origin=origins.request_origin(ctx.settings, request),
            locale=request_locale.language_tag(),
        )
        return Redirect(page, status_code=303)

    @get("/stop")
    async def cancel_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[Any]:
        """One page, one button."""
        if not own_subscription.subscription.is_live:
            return _redirect_done(own_subscription, "stopped")
        return _render(ctx, own_subscription, "account_cancel.html")

    @post("/stop", request_max_body_size=SMALL_FORM_BYTES)
    async def cancel(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[Any]:
        await subscription_changes.cancel(ctx, own_subscription.subscription_id, actor=Actor.DONOR)
        return _redirect_done(own_subscription, "stopped")


def _redirect_done(own_subscription: OwnSubscription, done: str) -> Redirect:
    """To the promise, which confirms what its history confirms."""
    return Redirect(
        request_locale.localised_url(f"{own_subscription.url}?done={done}"), status_code=303
    )


def _idempotency_key(sent: FormFields) -> str:
    """The random name of one filling-in of a form, so that sending it twice is sending it once."""
    named = sent.get("intent", "")
    return row_id_or_new(named)


def _shown_date(own_subscription: OwnSubscription) -> str:
    """The day a page reckons with, to be sent back with its form."""
    return (
        ""
        if own_subscription.subscription.current_period_end is None
        else own_subscription.subscription.current_period_end.date().isoformat()
    )


def _require_unmoved_dates(own_subscription: OwnSubscription, sent: FormFields) -> None:
    if sent.get("shown", "") != _shown_date(own_subscription):
        raise InvalidField(
            "A payment was due while this page was open, so its dates have moved. Please look "
            "again. Nothing was changed."
        )


def _render(
    ctx: Context,
    own_subscription: OwnSubscription,
    template: str,
    *,
    error: InvalidField | InvalidAmount | None = None,
    **more: object,
) -> Response[str]:
    """A page about one promise that still runs."""
    if not own_subscription.subscription.is_live:
        raise SubscriptionEnded("It was stopped or has lapsed. Nothing more is charged.")
    return rendering.render(
        ctx,
        template,
        status=200 if error is None else error.status,
        promise=view_models.subscription_view(ctx, own_subscription.subscription),
        intent=new_row_id(),
        shown=_shown_date(own_subscription),
        error="" if error is None else request_locale.error_message(error),
        error_field="" if error is None else error.field or "",
        **more,
    )


def _render_amount(
    ctx: Context,
    own_subscription: OwnSubscription,
    sent: FormFields | None = None,
    *,
    error: InvalidField | InvalidAmount | None = None,
) -> Response[str]:
    now = own_subscription.subscription.money
    lowest = money.min_gift(now.currency)
    highest = ctx.settings.max_gift_for(now.currency)
    return _render(
        ctx,
        own_subscription,
        "account_amount.html",
        error=error,
        value=(sent or {}).get(
            "amount", amount_input.format_for_input(now, request_locale.current())
        ),
        lowest=request_locale.format_amount(lowest),
        highest=request_locale.format_amount(highest),
    )


def _render_frequency(
    ctx: Context,
    own_subscription: OwnSubscription,
    sent: FormFields,
    *,
    error: InvalidField | InvalidAmount | None = None,
) -> Response[str]:
    """The other frequency with the amount that was typed, or with what comes to the same."""
    monthly = own_subscription.subscription.frequency is Frequency.MONTHLY
    other = Frequency.ANNUAL if monthly else Frequency.MONTHLY
    gift = _equivalent_amount(own_subscription.subscription.money, other, ctx)
    value = sent.get("amount", amount_input.format_for_input(gift, request_locale.current()))
    if error is None:
        try:
            gift = amount_input.parse_amount(value, gift.currency, request_locale.current())
            ctx.settings.validate_gift(gift.amount, gift.currency)
        except InvalidAmount as refusal:
            error = refusal
    due = own_subscription.subscription.current_period_end
    then = (
        subscriptions.first_charge_after(own_subscription.subscription, due + timedelta(days=1))
        if due
        else None
    )
    return _render(
        ctx,
        own_subscription,
        "account_frequency.html",
        error=error,
        other=other.value,
        value=value,
        typed=amount_input.format_for_input(gift, request_locale.current()),
        gift=request_locale.format_amount(gift),
        due=view_models.format_date_or_empty(ctx, due),
        then=view_models.format_date_or_empty(ctx, then),
    )


def _equivalent_amount(amount: Money, frequency: Frequency, ctx: Context) -> Money:
    """Twelve times as much in a year, or a twelfth in a month, within what may be given."""
    lowest = money.min_gift(amount.currency).amount
    highest = ctx.settings.max_gift_for(amount.currency).amount
    step = money.smallest_unit(amount.currency)
    wanted = amount.amount * 12 if frequency is Frequency.ANNUAL else -(-amount.amount // 12)
    return Money(min(max(-(-wanted // step) * step, lowest), highest), amount.currency)


def _parse_frequency(text: str) -> Frequency:
    try:
        return Frequency(text)
    except ValueError:
        raise InvalidField("Choose monthly or annual. Nothing was changed.") from None


def _render_skip(
    ctx: Context, own_subscription: OwnSubscription, *, error: InvalidField | None = None
) -> Response[str]:
    due = own_subscription.subscription.current_period_end
    then = (
        subscriptions.first_charge_after(own_subscription.subscription, due + timedelta(days=1))
        if due
        else None
    )
    possible = due is not None and not own_subscription.subscription.is_paused
    return _render(
        ctx,
        own_subscription,
        "account_skip.html",
        error=error,
        possible=possible,
        due=view_models.format_date_or_empty(ctx, due),
        then=view_models.format_date_or_empty(ctx, then),
    )


def _render_pause(
    ctx: Context, own_subscription: OwnSubscription, *, error: InvalidField | None = None
) -> Response[str]:
    """A year's pause is the same for one month as for twelve, so an annual promise has one."""
    lengths = (
        [MAX_PAUSE_MONTHS]
        if own_subscription.subscription.frequency is Frequency.ANNUAL
        else range(1, 13)
    )
    choices = []
    for months in lengths:
        ends = subscription_changes.pause_end(own_subscription.subscription, months, now=ctx.now())
        then = subscriptions.first_charge_after(own_subscription.subscription, ends) or ends
        choices.append(
            {"value": str(months), "months": months, "then": view_models.format_date(ctx, then)}
        )
    return _render(ctx, own_subscription, "account_pause.html", error=error, choices=choices)


def _parse_months(text: str) -> int | None:
    """The months of a pause; None for one until the donor resumes."""
    if text == INDEFINITELY:
        return None
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise InvalidField("Choose how long. Nothing was changed.", field="months")
    return int(text)
