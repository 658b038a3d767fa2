"""The day on which a contribution is charged: the page that shows what another one leads to.

As with every change (`changes`), a page says what will happen, and its button does it.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from payments.core import i18n
from payments.core.calendar import local_date
from payments.core.errors import InvalidField, PaymentsError
from payments.core.frequency import MONTH
from payments.giving import payment_day
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.payment_day import LAST_DAY, PaymentDay
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.web import request_locale
from payments.web.account import change_pages, overview
from payments.web.account.changes import FORM_ERRORS, redirect_done
from payments.web.account.overview import ASKS_STRIPE, OwnSubscription
from payments.web.forms import (
    SMALL_FORM_BYTES,
    AnyRequest,
    form_data,
    idempotency_key,
    select_options,
)


class DayPages(Controller):
    """Another day of the month, or of the year."""

    path = "/contributions/{contribution_id:str}"

    @get("/day")
    async def day_form(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[str]:
        """Show the days that can be chosen, and what the one chosen leads to."""
        return _render(ctx, own_subscription, dict(request.query_params.items()))

    @post("/day", request_max_body_size=SMALL_FORM_BYTES, dependencies=ASKS_STRIPE)
    async def change_day(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        """Have it charged on another day; the next payment is the first."""
        fields = await form_data(request)
        try:
            await payment_day.change_day(
                ctx,
                own_subscription.subscription_id,
                _chosen(own_subscription.subscription, fields),
                shown_due=fields.get("due", ""),
                shown_next=fields.get("next", ""),
                actor=Actor.DONOR,
                idempotency_key=idempotency_key(fields),
            )
        except FORM_ERRORS as error:
            now_there = await overview.reloaded(ctx, own_subscription)
            return _render(ctx, now_there, fields, error=error)
        return redirect_done(own_subscription, ChangeKind.DAY)


def _chosen(subscription: Subscription, fields: Mapping[str, str]) -> PaymentDay:
    """Return the day that a form names. Raises InvalidField."""
    names = ("day", "month") if payment_day.has_month(subscription) else ("day",)
    texts = [fields.get(name, "") for name in names]
    numbers = [int(text) if re.fullmatch(r"[0-9]{1,2}", text) else 0 for text in texts]
    return PaymentDay(*numbers)


def _render(
    ctx: Context,
    own_subscription: OwnSubscription,
    fields: Mapping[str, str],
    *,
    error: PaymentsError | None = None,
) -> Response[str]:
    """Return the page with what the day named in `fields` leads to, if one is."""
    subscription, zone = own_subscription.subscription, ctx.settings.accounting_zone
    refusal, shown = "", {}
    try:
        due_on = local_date(payment_day.require_movable(subscription), zone)
    except InvalidField as reason:
        refusal, due_on = request_locale.error_message(reason), local_date(ctx.now(), zone)
    else:
        try:
            if "day" in fields:
                chosen = _chosen(subscription, fields)
                shown = _outcome(ctx, subscription, chosen, due_on)
        except InvalidField as wrong:
            error = error or wrong
    return change_pages.render(
        ctx,
        own_subscription,
        "account_day.html",
        error=error,
        refusal=refusal,
        zone=zone,
        days=_days(fields.get("day", ""), due_on),
        months=_months(fields.get("month", ""), due_on)
        if payment_day.has_month(subscription)
        else [],
        outcome=shown,
    )


def _outcome(
    ctx: Context, subscription: Subscription, chosen: PaymentDay, due_on: date
) -> dict[str, str]:
    """Return the next payment, the one in whose place it is made, and a month without one."""
    zone, locale = ctx.settings.accounting_zone, request_locale.current()
    next_on = payment_day.next_payment_on(subscription, chosen, now=ctx.now(), zone=zone)
    is_month_left_out = subscription.every == MONTH and next_on.month != due_on.month
    return {
        "day": str(chosen.day),
        "month": "" if chosen.month is None else str(chosen.month),
        "due": due_on.isoformat(),
        "next": next_on.isoformat(),
        "due_day": i18n.format_day(due_on, locale),
        "next_day": i18n.format_day(next_on, locale),
        "left_out": i18n.format_month(due_on, locale) if is_month_left_out else "",
        "is_same": "yes" if next_on == due_on else "",
    }


def _days(typed: str, due_on: date) -> list[dict[str, object]]:
    days = [str(day) for day in range(1, LAST_DAY + 1)]
    return select_options([(day, day) for day in days], typed or str(min(due_on.day, LAST_DAY)))


def _months(typed: str, due_on: date) -> list[dict[str, object]]:
    locale = request_locale.current()
    months = [(str(month), i18n.month_name(month, locale)) for month in range(1, 13)]
    return select_options(months, typed or str(due_on.month))
