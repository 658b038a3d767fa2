"""The pages of the changes: what each will do, with the dates and amounts it leads to."""

import math
from collections.abc import Mapping
from datetime import timedelta

from litestar import Response

from payments.core import amount_input, money
from payments.core.errors import PaymentsError
from payments.core.frequency import Frequency
from payments.core.identifiers import new_row_id
from payments.core.money import InvalidAmount, Money
from payments.giving import billing_dates, covered_amounts, subscription_changes
from payments.giving.change_decisions import SubscriptionEnded
from payments.giving.subscription_changes import MAX_PAUSE_MONTHS
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.web import rendering, request_locale
from payments.web.account import view_models
from payments.web.account.overview import OwnSubscription

FormFields = Mapping[str, str]


def shown_date(own_subscription: OwnSubscription) -> str:
    """Return the day on which a page bases its dates. Its form sends it back."""
    period_end = own_subscription.subscription.current_period_end
    return "" if period_end is None else period_end.date().isoformat()


def render(
    ctx: Context,
    own_subscription: OwnSubscription,
    template: str,
    *,
    error: PaymentsError | None = None,
    **context: object,
) -> Response[str]:
    """Return a page about a subscription that is live. Raises SubscriptionEnded."""
    if not own_subscription.subscription.is_live:
        raise SubscriptionEnded("It was cancelled or has ended. Nothing more is charged.")
    return rendering.render(
        ctx,
        template,
        status=200 if error is None else error.status,
        subscription=view_models.subscription_view(ctx, own_subscription.subscription),
        intent=new_row_id(),
        shown=shown_date(own_subscription),
        error="" if error is None else request_locale.error_message(error),
        error_field="" if error is None else error.field or "",
        **context,
    )


def render_amount(
    ctx: Context,
    own_subscription: OwnSubscription,
    fields: FormFields | None = None,
    *,
    error: PaymentsError | None = None,
) -> Response[str]:
    """Return the page of another amount, with what was typed or the one of today."""
    subscription = own_subscription.subscription
    current, currency = covered_amounts.gift_of(subscription), subscription.currency
    lowest = money.min_gift(currency)
    highest = ctx.settings.max_gift_for(currency)
    current_value = ""
    if current is not None:
        current_value = amount_input.format_for_input(current, request_locale.current())
    return render(
        ctx,
        own_subscription,
        "account_amount.html",
        error=error,
        value=(fields or {}).get("amount", current_value),
        lowest=request_locale.format_amount(lowest),
        highest=request_locale.format_amount(highest),
    )


def render_frequency(
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
    amount = _equivalent_amount(subscription, other, ctx)
    value = fields.get("amount", amount_input.format_for_input(amount, request_locale.current()))
    if error is None:
        try:
            amount = amount_input.parse_amount(value, amount.currency, request_locale.current())
            ctx.settings.validate_gift(amount.amount, amount.currency)
        except InvalidAmount as refusal:
            error = refusal
    covers = subscription.fee_cover is not None
    total, _ = covered_amounts.with_fee(ctx, amount, covers=covers)
    return render(
        ctx,
        own_subscription,
        "account_frequency.html",
        error=error,
        other=other.value,
        value=value,
        accepted_value=amount_input.format_for_input(amount, request_locale.current()),
        amount=request_locale.format_amount(total),
        **_next_two_charges(ctx, own_subscription),
    )


def _equivalent_amount(subscription: Subscription, frequency: Frequency, ctx: Context) -> Money:
    """Return what is given in a month or year, rounded up to the smallest unit, within the limits.

    It is the lowest amount where the present one is not known.
    """
    currency = subscription.currency
    lowest = money.min_gift(currency).amount
    highest = ctx.settings.max_gift_for(currency).amount
    step = money.smallest_unit(currency)
    gift = covered_amounts.gift_of(subscription)
    exact = (0 if gift is None else gift.amount) * subscription.every.charges_per_month
    if frequency is Frequency.ANNUAL:
        exact *= 12
    return Money(min(max(math.ceil(exact / step) * step, lowest), highest), currency)


def _next_two_charges(ctx: Context, own_subscription: OwnSubscription) -> dict[str, str]:
    """Return the days of the next charge and of the one after it, empty where there is none or an
    end comes first.
    """
    subscription = own_subscription.subscription
    due = subscription.current_period_end
    then = (
        None
        if due is None
        else billing_dates.first_charge_after(subscription, due + timedelta(days=1))
    )
    due, then = (
        one if billing_dates.is_before_end(subscription, one) else None for one in (due, then)
    )
    return {
        "due": view_models.format_date_or_empty(ctx, due),
        "then": view_models.format_date_or_empty(ctx, then),
    }


def render_skip(
    ctx: Context, own_subscription: OwnSubscription, *, error: PaymentsError | None = None
) -> Response[str]:
    """Return the page of the charge that would be skipped, and of the one after it."""
    subscription = own_subscription.subscription
    return render(
        ctx,
        own_subscription,
        "account_skip.html",
        error=error,
        can_skip=subscription.current_period_end is not None and not subscription.is_paused,
        **_next_two_charges(ctx, own_subscription),
    )


def render_resume(
    ctx: Context, own_subscription: OwnSubscription, *, error: PaymentsError | None = None
) -> Response[str]:
    """Return the page of the next charge if a pause ends now, and of those before an end."""
    return render(
        ctx,
        own_subscription,
        "account_resume.html",
        error=error,
        resumed=view_models.end_view(ctx, own_subscription.subscription, resumed=True),
        **_next_two_charges(ctx, own_subscription),
    )


def render_pause(
    ctx: Context, own_subscription: OwnSubscription, *, error: PaymentsError | None = None
) -> Response[str]:
    """Return the page of the lengths of a pause, each with the first charge after it.

    A pause is of whole intervals: within a year, one month and twelve skip the same charge. None is
    offered after which the contribution ends without a charge.
    """
    subscription = own_subscription.subscription
    step = min(subscription.every.months or 1, MAX_PAUSE_MONTHS)
    choices = []
    for months in range(step, MAX_PAUSE_MONTHS + 1, step):
        ends_at = subscription_changes.pause_end(subscription, months, now=ctx.now())
        charged_at = billing_dates.first_charge_after(subscription, ends_at) or ends_at
        if not billing_dates.is_before_end(subscription, charged_at):
            break
        choices.append(
            {
                "value": str(months),
                "months": months,
                "next_charge": view_models.format_date(ctx, charged_at),
            }
        )
    return render(ctx, own_subscription, "account_pause.html", error=error, choices=choices)
