"""The end of a contribution: after how many more payments, and taking that back.

As with every change (`changes`), a page says what will happen, and its button does it.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from payments.core.errors import PaymentsError
from payments.giving import scheduled_ends
from payments.giving.change_log import Actor, ChangeKind
from payments.infra.context import Context
from payments.web.account import change_pages, overview, view_models
from payments.web.account.changes import FORM_ERRORS, redirect_done
from payments.web.account.overview import ASKS_STRIPE, OwnSubscription
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data, idempotency_key


class EndPages(Controller):
    """Setting an end, moving it, and taking it back."""

    path = "/contributions/{contribution_id:str}"

    @get("/end")
    async def end_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """Show the ends that can be chosen, each with its last payment."""
        return _render_end(ctx, own_subscription)

    @post("/end", request_max_body_size=SMALL_FORM_BYTES, dependencies=ASKS_STRIPE)
    async def set_end(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        """Have it end after so many more payments."""
        fields = await form_data(request)
        try:
            await scheduled_ends.set_end(
                ctx,
                own_subscription.subscription_id,
                fields.get("last", ""),
                shown_end=fields.get("shown_end", ""),
                actor=Actor.DONOR,
                idempotency_key=idempotency_key(fields),
            )
        except FORM_ERRORS as error:
            return _render_end(ctx, await overview.reloaded(ctx, own_subscription), error=error)
        had_end = own_subscription.subscription.scheduled_end_at is not None
        return redirect_done(
            own_subscription, ChangeKind.END_MOVED if had_end else ChangeKind.END_SCHEDULED
        )

    @get("/keep")
    async def undo_end_form(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """Show the form that takes a scheduled end back, with the next charge."""
        return change_pages.render(
            ctx,
            own_subscription,
            "account_undo_end.html",
            due=view_models.format_date_or_empty(
                ctx, own_subscription.subscription.current_period_end
            ),
        )

    @post("/keep", request_max_body_size=SMALL_FORM_BYTES, dependencies=ASKS_STRIPE)
    async def undo_end(
        self,
        ctx: NamedDependency[Context],
        own_subscription: NamedDependency[OwnSubscription],
        request: AnyRequest,
    ) -> Response[Any]:
        """Take a scheduled end back."""
        await scheduled_ends.undo_scheduled_end(
            ctx,
            own_subscription.subscription_id,
            actor=Actor.DONOR,
            idempotency_key=idempotency_key(await form_data(request)),
        )
        return redirect_done(own_subscription, ChangeKind.END_CANCELLED)


def _render_end(
    ctx: Context, own_subscription: OwnSubscription, *, error: PaymentsError | None = None
) -> Response[str]:
    """Return the page of the ends that can be chosen."""
    subscription = own_subscription.subscription
    return change_pages.render(
        ctx,
        own_subscription,
        "account_end.html",
        error=error,
        shown_end=scheduled_ends.end_value(subscription),
        choices=[
            {
                "value": one.value,
                "payments": one.payments,
                "last": view_models.format_date(ctx, one.last_charge_at),
            }
            for one in scheduled_ends.choices(subscription, now=ctx.now())
        ],
    )
