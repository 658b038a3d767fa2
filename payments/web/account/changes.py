"""The changes of a subscription: each has a page that says what will happen, and a button.

After a change the browser is sent back to the subscription, whose page confirms what is true by
then. A form carries the date its page showed: if that has moved meanwhile, the page is shown again.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.core import amount_input
from payments.core.errors import InvalidField, StripeRejected, StripeUnavailable
from payments.core.frequency import Frequency
from payments.core.money import InvalidAmount, Money
from payments.giving import cancellations, change_decisions, covered_amounts, subscription_changes
from payments.giving.change_log import Actor, ChangeKind
from payments.infra.context import Context
from payments.web import request_locale
from payments.web.account import change_pages
from payments.web.account.change_pages import FormFields
from payments.web.account.overview import ASKS_STRIPE, OwnSubscription
from payments.web.forms import (
    SMALL_FORM_BYTES,
    AnyRequest,
    form_data,
    idempotency_key,
    pause_months,
)

# After these the form is shown again as it was sent.
FORM_ERRORS = (InvalidAmount, InvalidField, StripeUnavailable, StripeRejected)


class ChangePages(Controller):
    """A page for each change of a subscription, and the change itself."""

    path = "/contributions/{contribution_id:str}"

    @get("/amount")
    async def amount_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """Show the form for another amount, from the next charge on."""
        return change_pages.render_amount(ctx, own_subscription)

    @post("/amount", request_max_body_size=SMALL_FORM_BYTES, dependencies=ASKS_STRIPE)
    async def change_amount(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        """Change the amount from the next charge on. A refused amount shows the form again."""
        fields = await form_data(request)
        try:
            _require_same_fee(ctx, own_subscription, fields)
            amount = _parse_amount(own_subscription, fields)
            await subscription_changes.change_amount(
                ctx,
                own_subscription.subscription_id,
                amount,
                actor=Actor.DONOR,
                idempotency_key=idempotency_key(fields),
            )
        except FORM_ERRORS as error:
            return change_pages.render_amount(ctx, own_subscription, fields, error=error)
        return redirect_done(own_subscription, ChangeKind.AMOUNT)

    @get("/frequency")
    async def frequency_form(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[str]:
        """Show the form for the other frequency, with the next charge it leads to."""
        return change_pages.render_frequency(
            ctx, own_subscription, dict(request.query_params.items())
        )

    @post("/frequency", request_max_body_size=SMALL_FORM_BYTES, dependencies=ASKS_STRIPE)
    async def change_frequency(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        """Change the frequency; the next charge is of the new one."""
        fields = await form_data(request)
        try:
            _require_unmoved_dates(own_subscription, fields)
            _require_same_fee(ctx, own_subscription, fields)
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
            return change_pages.render_frequency(ctx, own_subscription, fields, error=error)
        return redirect_done(own_subscription, ChangeKind.FREQUENCY)

    @get("/skip")
    async def skip_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """Show the charge that would be skipped, and the one after it."""
        return change_pages.render_skip(ctx, own_subscription)

    @post("/skip", request_max_body_size=SMALL_FORM_BYTES, dependencies=ASKS_STRIPE)
    async def skip_next(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        """Skip the next payment, and no other."""
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
            return change_pages.render_skip(ctx, own_subscription, error=error)
        return redirect_done(own_subscription, ChangeKind.SKIPPED)

    @get("/pause")
    async def pause_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """Show the lengths of a pause, each with the first charge after it."""
        return change_pages.render_pause(ctx, own_subscription)

    @post("/pause", request_max_body_size=SMALL_FORM_BYTES, dependencies=ASKS_STRIPE)
    async def pause_for(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        """Pause for a number of months."""
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
            return change_pages.render_pause(ctx, own_subscription, error=error)
        return redirect_done(own_subscription, ChangeKind.PAUSED)

    @get("/resume")
    async def resume_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """Show the form that ends a pause, with the next charge."""
        return change_pages.render_resume(ctx, own_subscription)

    @post("/resume", request_max_body_size=SMALL_FORM_BYTES, dependencies=ASKS_STRIPE)
    async def resume_now(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        """End a pause; nothing is charged before the next date."""
        fields = await form_data(request)
        try:
            await subscription_changes.resume(
                ctx,
                own_subscription.subscription_id,
                actor=Actor.DONOR,
                idempotency_key=idempotency_key(fields),
            )
        except FORM_ERRORS as error:
            return change_pages.render_resume(ctx, own_subscription, error=error)
        return redirect_done(own_subscription, ChangeKind.RESUMED)

    @get("/stop")
    async def cancel_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[Any]:
        """Show the form that cancels at once. An ended subscription leads back to its page."""
        if not own_subscription.subscription.is_live:
            return redirect_done(own_subscription, ChangeKind.CANCELLED)
        return change_pages.render(ctx, own_subscription, "account_cancel.html")

    @post("/stop", request_max_body_size=SMALL_FORM_BYTES)
    async def cancel(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[Any]:
        """Cancel at once, whether or not Stripe can be reached."""
        await cancellations.cancel(ctx, own_subscription.subscription_id, actor=Actor.DONOR)
        return redirect_done(own_subscription, ChangeKind.CANCELLED)


def redirect_done(own_subscription: OwnSubscription, done: ChangeKind) -> Redirect:
    """Redirect to the subscription, whose page confirms the change if its history holds it."""
    return Redirect(
        request_locale.localised_url(f"{own_subscription.url}?done={done}"), status_code=303
    )


def _require_unmoved_dates(own_subscription: OwnSubscription, fields: FormFields) -> None:
    if fields.get("shown", "") != change_pages.shown_date(own_subscription):
        raise change_decisions.dates_moved()


def _require_same_fee(ctx: Context, own_subscription: OwnSubscription, fields: FormFields) -> None:
    """Refuse a form whose page said otherwise than now whether the payment fee is added."""
    is_added = covered_amounts.stays_covered(ctx, own_subscription.subscription)
    if (fields.get("fee") == "added") is not is_added:
        raise change_decisions.changed_meanwhile()


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
