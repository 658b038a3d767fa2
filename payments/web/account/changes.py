"""The changes of a subscription: each has a page that says what will happen, and a button.

After a change the browser is sent back to the subscription, whose page confirms what is true by
then. A form carries the date its page showed: if that has moved meanwhile, the page is shown again.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.core import amount_input, money
from payments.core.errors import InvalidField, PaymentsError, StripeRejected, StripeUnavailable
from payments.core.frequency import Frequency
from payments.core.identifiers import new_row_id
from payments.core.money import InvalidAmount, Money
from payments.giving import billing_dates, subscription_changes
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.subscription_changes import MAX_PAUSE_MONTHS, SubscriptionEnded
from payments.infra.context import Context
from payments.web import rendering, request_locale
from payments.web.account import view_models
from payments.web.account.overview import OwnSubscription
from payments.web.forms import (
    SMALL_FORM_BYTES,
    AnyRequest,
    form_data,
    idempotency_key,
    pause_months,
)

FormFields = Mapping[str, str]
# After these the form is shown again as it was sent.
FORM_ERRORS = (InvalidAmount, InvalidField, StripeUnavailable, StripeRejected)


class ChangePages(Controller):
    path = "/contributions/{contribution_id:str}"

    @get("/amount")
    async def amount_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """The form for another amount, from the next charge on."""
        return _render_amount(ctx, own_subscription)

    @post("/amount", request_max_body_size=SMALL_FORM_BYTES)
    async def change_amount(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        fields = await form_data(request)
        try:
            amount = _parse_amount(own_subscription, fields)
            await subscription_changes.change_amount(
                ctx,
                own_subscription.subscription_id,
                amount,
                actor=Actor.DONOR,
                idempotency_key=idempotency_key(fields),
            )
        except FORM_ERRORS as error:
            return _render_amount(ctx, own_subscription, fields, error=error)
        return _redirect_done(own_subscription, ChangeKind.AMOUNT)

    @get("/frequency")
    async def frequency_form(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[str]:
        """The form for the other frequency, with the next charge it leads to."""
        return _render_frequency(ctx, own_subscription, dict(request.query_params.items()))

    @post("/frequency", request_max_body_size=SMALL_FORM_BYTES)
    async def change_frequency(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        fields = await form_data(request)
        try:
            _require_unmoved_dates(own_subscription, fields)
            amount = _parse_amount(own_subscription, fields)
            other = _parse_frequency(fields.get("frequency", ""))
            await subscription_changes.change_frequency(
                ctx,
                own_subscription.subscription_id,
                other,
                amount,
                actor=Actor.DONOR,
                idempotency_key=idempotency_key(fields),
            )
        except FORM_ERRORS as error:
            return _render_frequency(ctx, own_subscription, fields, error=error)
        return _redirect_done(own_subscription, ChangeKind.FREQUENCY)

    @get("/skip")
    async def skip_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """The charge that would be skipped, and the one after it."""
        return _render_skip(ctx, own_subscription)

    @post("/skip", request_max_body_size=SMALL_FORM_BYTES)
    async def skip_next(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        fields = await form_data(request)
        try:
            _require_unmoved_dates(own_subscription, fields)
            await subscription_changes.skip(
                ctx,
                own_subscription.subscription_id,
                actor=Actor.DONOR,
                idempotency_key=idempotency_key(fields),
            )
        except FORM_ERRORS as error:
            return _render_skip(ctx, own_subscription, error=error)
        return _redirect_done(own_subscription, ChangeKind.SKIPPED)

    @get("/pause")
    async def pause_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """The lengths of a pause, each with the first charge after it."""
        return _render_pause(ctx, own_subscription)

    @post("/pause", request_max_body_size=SMALL_FORM_BYTES)
    async def pause_for(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        fields = await form_data(request)
        try:
            _require_unmoved_dates(own_subscription, fields)
            months = pause_months(fields)
            await subscription_changes.pause(
                ctx,
                own_subscription.subscription_id,
                months,
                actor=Actor.DONOR,
                idempotency_key=idempotency_key(fields),
            )
        except FORM_ERRORS as error:
            return _render_pause(ctx, own_subscription, error=error)
        return _redirect_done(own_subscription, ChangeKind.PAUSED)

    @get("/resume")
    async def resume_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """The form that ends a pause, with the next charge."""
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
            idempotency_key=idempotency_key(await form_data(request)),
        )
        return _redirect_done(own_subscription, ChangeKind.RESUMED)

    @get("/keep")
    async def undo_end_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """The form that takes a scheduled end back, with the next charge."""
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
            idempotency_key=idempotency_key(await form_data(request)),
        )
        return _redirect_done(own_subscription, ChangeKind.END_CANCELLED)

    @get("/stop")
    async def cancel_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[Any]:
        """The form that cancels at once. A subscription that has ended leads back to its page."""
        if not own_subscription.subscription.is_live:
            return _redirect_done(own_subscription, ChangeKind.CANCELLED)
        return _render(ctx, own_subscription, "account_cancel.html")

    @post("/stop", request_max_body_size=SMALL_FORM_BYTES)
    async def cancel(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[Any]:
        await subscription_changes.cancel(ctx, own_subscription.subscription_id, actor=Actor.DONOR)
        return _redirect_done(own_subscription, ChangeKind.CANCELLED)


def _redirect_done(own_subscription: OwnSubscription, done: ChangeKind) -> Redirect:
    """Redirect to the subscription, whose page confirms the change if its history holds it."""
    return Redirect(
        request_locale.localised_url(f"{own_subscription.url}?done={done}"), status_code=303
    )


def _shown_date(own_subscription: OwnSubscription) -> str:
    """Return the day on which a page bases its dates. Its form sends it back."""
    period_end = own_subscription.subscription.current_period_end
    return "" if period_end is None else period_end.date().isoformat()


def _require_unmoved_dates(own_subscription: OwnSubscription, fields: FormFields) -> None:
    if fields.get("shown", "") != _shown_date(own_subscription):
        raise InvalidField(
            "A payment was due while this page was open, so its dates have moved. Please look "
            "again. Nothing was changed."
        )


def _render(
    ctx: Context,
    own_subscription: OwnSubscription,
    template: str,
    *,
    error: PaymentsError | None = None,
    **context: object,
) -> Response[str]:
    """Return a page about a subscription that is live. Raises SubscriptionEnded."""
    if not own_subscription.subscription.is_live:
        raise SubscriptionEnded("It was stopped or has lapsed. Nothing more is charged.")
    return rendering.render(
        ctx,
        template,
        status=200 if error is None else error.status,
        subscription=view_models.subscription_view(ctx, own_subscription.subscription),
        intent=new_row_id(),
        shown=_shown_date(own_subscription),
        error="" if error is None else request_locale.error_message(error),
        error_field="" if error is None else error.field or "",
        **context,
    )


def _render_amount(
    ctx: Context,
    own_subscription: OwnSubscription,
    fields: FormFields | None = None,
    *,
    error: PaymentsError | None = None,
) -> Response[str]:
    current = own_subscription.subscription.money
    lowest = money.min_gift(current.currency)
    highest = ctx.settings.max_gift_for(current.currency)
    return _render(
        ctx,
        own_subscription,
        "account_amount.html",
        error=error,
        value=(fields or {}).get(
            "amount", amount_input.format_for_input(current, request_locale.current())
        ),
        lowest=request_locale.format_amount(lowest),
        highest=request_locale.format_amount(highest),
    )


def _render_frequency(
    ctx: Context,
    own_subscription: OwnSubscription,
    fields: FormFields,
    *,
    error: PaymentsError | None = None,
) -> Response[str]:
    """Return the page of the other frequency, with the amount typed or the one that equals it."""
    subscription = own_subscription.subscription
    is_monthly = subscription.frequency is Frequency.MONTHLY
    other = Frequency.ANNUAL if is_monthly else Frequency.MONTHLY
    amount = _equivalent_amount(subscription.money, other, ctx)
    value = fields.get("amount", amount_input.format_for_input(amount, request_locale.current()))
    if error is None:
        try:
            amount = amount_input.parse_amount(value, amount.currency, request_locale.current())
            ctx.settings.validate_gift(amount.amount, amount.currency)
        except InvalidAmount as refusal:
            error = refusal
    return _render(
        ctx,
        own_subscription,
        "account_frequency.html",
        error=error,
        other=other.value,
        value=value,
        accepted_value=amount_input.format_for_input(amount, request_locale.current()),
        amount=request_locale.format_amount(amount),
        **_next_two_charges(ctx, own_subscription),
    )


def _equivalent_amount(amount: Money, frequency: Frequency, ctx: Context) -> Money:
    """Return twelve times an amount for annual or a twelfth for monthly, within the limits."""
    lowest = money.min_gift(amount.currency).amount
    highest = ctx.settings.max_gift_for(amount.currency).amount
    step = money.smallest_unit(amount.currency)
    exact = amount.amount * 12 if frequency is Frequency.ANNUAL else -(-amount.amount // 12)
    return Money(min(max(-(-exact // step) * step, lowest), highest), amount.currency)


def _next_two_charges(ctx: Context, own_subscription: OwnSubscription) -> dict[str, str]:
    """Return the days of the next charge and of the one after it, empty where there is none."""
    subscription = own_subscription.subscription
    due = subscription.current_period_end
    then = (
        None
        if due is None
        else billing_dates.first_charge_after(subscription, due + timedelta(days=1))
    )
    return {
        "due": view_models.format_date_or_empty(ctx, due),
        "then": view_models.format_date_or_empty(ctx, then),
    }


def _parse_amount(own_subscription: OwnSubscription, fields: FormFields) -> Money:
    """Return the amount typed, in the subscription's currency. Raises InvalidAmount."""
    return amount_input.parse_amount(
        fields.get("amount", ""),
        own_subscription.subscription.currency,
        request_locale.current(),
    )


def _parse_frequency(text: str) -> Frequency:
    try:
        return Frequency(text)
    except ValueError:
        raise InvalidField("Choose monthly or annual. Nothing was changed.") from None


def _render_skip(
    ctx: Context, own_subscription: OwnSubscription, *, error: PaymentsError | None = None
) -> Response[str]:
    subscription = own_subscription.subscription
    return _render(
        ctx,
        own_subscription,
        "account_skip.html",
        error=error,
        can_skip=subscription.current_period_end is not None and not subscription.is_paused,
        **_next_two_charges(ctx, own_subscription),
    )


def _render_pause(
    ctx: Context, own_subscription: OwnSubscription, *, error: PaymentsError | None = None
) -> Response[str]:
    """An annual subscription has one length of pause: one month and twelve skip the same charge."""
    subscription = own_subscription.subscription
    is_annual = subscription.frequency is Frequency.ANNUAL
    choices = []
    for months in [MAX_PAUSE_MONTHS] if is_annual else range(1, 13):
        ends_at = subscription_changes.pause_end(subscription, months, now=ctx.now())
        charged_at = billing_dates.first_charge_after(subscription, ends_at) or ends_at
        choices.append(
            {
                "value": str(months),
                "months": months,
                "next_charge": view_models.format_date(ctx, charged_at),
            }
        )
    return _render(ctx, own_subscription, "account_pause.html", error=error, choices=choices)
