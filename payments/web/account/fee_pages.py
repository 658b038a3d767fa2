"""The payment fee: adding it to a contribution, so that the whole gift arrives, or leaving it out.

As with every change (`changes`), a page says what will happen, and its button does it.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from payments.core.errors import PaymentsError
from payments.giving import covered_amounts, subscription_changes
from payments.giving.change_log import Actor, ChangeKind
from payments.infra.context import Context
from payments.web import request_locale
from payments.web.account import change_pages, overview
from payments.web.account.changes import FORM_ERRORS, redirect_done
from payments.web.account.overview import ASKS_STRIPE, OwnSubscription
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data, idempotency_key


class FeePages(Controller):
    """Whether the payment fee is added."""

    path = "/contributions/{contribution_id:str}"

    @get("/fee")
    async def fee_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """Show the amount with the fee, or without it if it is added now."""
        return _render(ctx, own_subscription)

    @post("/fee", request_max_body_size=SMALL_FORM_BYTES, dependencies=ASKS_STRIPE)
    async def change_fee(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        """Add the fee from the next payment on, or leave it out."""
        fields = await form_data(request)
        try:
            await subscription_changes.change_fee_cover(
                ctx,
                own_subscription.subscription_id,
                covers=fields.get("covers") == "yes",
                shown_total=fields.get("total", ""),
                actor=Actor.DONOR,
                idempotency_key=idempotency_key(fields),
            )
        except FORM_ERRORS as error:
            return _render(ctx, await overview.reloaded(ctx, own_subscription), error=error)
        return redirect_done(own_subscription, ChangeKind.AMOUNT)


def _render(
    ctx: Context, own_subscription: OwnSubscription, *, error: PaymentsError | None = None
) -> Response[str]:
    """Return the page with the amount that the other choice leads to."""
    subscription = own_subscription.subscription
    gift, total, cover = covered_amounts.gift_of(subscription), None, None
    if gift is not None:
        total, cover = covered_amounts.with_fee(ctx, gift, covers=subscription.fee_cover is None)
    is_offered = total is not None and total != subscription.money
    return change_pages.render(
        ctx,
        own_subscription,
        "account_fee.html",
        error=error,
        total=request_locale.format_amount(total) if total is not None and is_offered else "",
        minor="" if total is None else str(total.amount),
        cover="" if cover is None else request_locale.format_amount(cover),
    )
