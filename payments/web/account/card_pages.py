"""Replacing the card: on a donor's own page, and by the signed link of a mail.

A page says what the new card will be charged, and its form carries that back: if it is another by
then, the page is shown again.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import InvalidField
from payments.giving import change_log, contributions, debts, payment_methods
from payments.giving.change_decisions import SubscriptionEnded
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.debts import CardUpdatePlan
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.mail import links
from payments.risk import account_limit
from payments.web import origins, rendering, request_locale
from payments.web.account import view_models
from payments.web.account.mail_links import MailLinkPages, subscription_of_link
from payments.web.account.overview import ASKS_STRIPE, OwnSubscription
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data


class CardPages(Controller):
    """Replacing the card, signed in."""

    path = "/contributions/{contribution_id:str}/card"
    dependencies = ASKS_STRIPE

    @get()
    async def show(
        self, ctx: NamedDependency[Context], own_subscription: NamedDependency[OwnSubscription]
    ) -> Response[str]:
        """Show what replacing the card does, and what it charges."""
        return await _render_own(ctx, own_subscription)

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def start_card_update(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        own_subscription: NamedDependency[OwnSubscription],
    ) -> Response[Any]:
        """To Stripe's page, which takes the card and charges nothing."""
        try:
            return await _redirect_to_stripe(
                ctx,
                request,
                own_subscription.subscription_id,
                actor=Actor.DONOR,
                return_path=f"{own_subscription.url}?card=back",
            )
        except InvalidField as error:
            return await _render_own(ctx, own_subscription, error=error)


class CardLinkPages(MailLinkPages):
    """Replacing the card by a mail's link, without signing in."""

    path = "/fix/{signed:str}"

    @get()
    async def show(
        self, ctx: NamedDependency[Context], request: AnyRequest, signed: FromPath[str]
    ) -> Response[str]:
        """Why another card is needed, or what became of it."""
        return await _render_link(ctx, signed, request.query_params.get("card"))

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def start_card_update(
        self, ctx: NamedDependency[Context], request: AnyRequest, signed: FromPath[str]
    ) -> Response[Any]:
        """To Stripe's page, which takes the card."""
        subscription = await _linked_subscription(ctx, signed)
        try:
            return await _redirect_to_stripe(
                ctx,
                request,
                subscription.stripe_subscription_id,
                actor=Actor.LINK,
                return_path=f"/fix/{signed}?card=back",
            )
        except InvalidField as error:
            return await _render_link(ctx, signed, None, error=error)


async def _redirect_to_stripe(
    ctx: Context, request: AnyRequest, subscription_id: str, *, actor: Actor, return_path: str
) -> Redirect:
    page = await payment_methods.start_card_update(
        ctx,
        subscription_id,
        actor=actor,
        shown=(await form_data(request)).get("plan"),
        return_path=request_locale.localised_url(return_path),
        origin=origins.request_origin(ctx.settings, request),
        locale=request_locale.language_tag(),
    )
    return Redirect(page, status_code=303)


async def _render_own(
    ctx: Context, own_subscription: OwnSubscription, *, error: InvalidField | None = None
) -> Response[str]:
    subscription = own_subscription.subscription
    if not subscription.may_be_charged:
        raise SubscriptionEnded("It was cancelled or has ended. Nothing more is charged.")
    plan = await debts.plan_for(ctx, own_subscription.subscription_id)
    return rendering.render(
        ctx,
        "account_card.html",
        status=200 if error is None else error.status,
        subscription=view_models.subscription_view(ctx, subscription),
        plan=view_models.card_plan_view(ctx, plan),
        error="" if error is None else request_locale.error_message(error),
    )


async def _linked_subscription(ctx: Context, signed: str) -> Subscription:
    """Return the subscription of a link, for a page that asks Stripe about it.

    Raises LinkInvalid, TooManyChanges.
    """
    subscription = await subscription_of_link(ctx, signed, links.contribution_for_card_link)
    async with ctx.sessions() as session:
        contribution = await contributions.get(session, subscription.contribution_id)
    await account_limit.use(ctx, contribution.donor_id or contribution.id)
    return subscription


async def _render_link(
    ctx: Context, signed: str, return_flag: str | None, *, error: InvalidField | None = None
) -> Response[str]:
    subscription = await _linked_subscription(ctx, signed)
    async with ctx.sessions() as session:
        decision = await change_log.newest_decision(
            session, subscription.stripe_subscription_id, ChangeKind.CARD
        )
    card = view_models.card_update_state(return_flag, decision, subscription)
    plan = CardUpdatePlan()
    if subscription.may_be_charged and card != "replaced":
        plan = await debts.plan_for(ctx, subscription.stripe_subscription_id)
    if card == "declined" and plan.invoice_id is None:
        card = "replaced"  # its bank has yet to answer
    return rendering.render(
        ctx,
        "card_link.html",
        status=200 if error is None else error.status,
        subscription=view_models.subscription_view(ctx, subscription),
        signed=signed,
        plan=view_models.card_plan_view(ctx, plan),
        card=card,
        card_url=f"/fix/{signed}?card=back",
        error="" if error is None else request_locale.error_message(error),
    )
