"""The signed links of mails: each opens a page about one subscription, without signing in.

Opening a link changes nothing; its button does. The page for a link that does not open is the same
whether it is old, cut short or made up.
"""

from collections.abc import Callable
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import LinkInvalid, PaymentsError
from payments.giving import cancellations, change_log, subscriptions
from payments.giving.change_log import Actor
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.mail import links
from payments.mail.links import LinkedContribution
from payments.web import rendering, request_locale
from payments.web.account import view_models
from payments.web.account.sign_in import on_payments_error, render_link_invalid
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest

LinkReader = Callable[[Context, str], LinkedContribution]


def _on_link_invalid(request: AnyRequest, error: LinkInvalid) -> Response[str]:
    return render_link_invalid(request.app.state.ctx, error)


class MailLinkPages(Controller):
    """The pages of a signed link: nobody is signed in by it."""

    include_in_schema = False
    exception_handlers = {LinkInvalid: _on_link_invalid, PaymentsError: on_payments_error}  # noqa: RUF012 - litestar's


class CancelLinkPages(MailLinkPages):
    """Cancelling one subscription by a mail's link."""

    path = "/stop/{signed:str}"

    @get()
    async def show(self, ctx: NamedDependency[Context], signed: FromPath[str]) -> Response[str]:
        """Show what would be cancelled, or when it was."""
        subscription = await subscription_of_link(ctx, signed, links.contribution_for_cancel_link)
        async with ctx.sessions() as session:
            changes = await change_log.list_done(session, subscription.stripe_subscription_id)
            pending = await change_log.pending_cancellations(
                session, [subscription.stripe_subscription_id]
            )
        return rendering.render(
            ctx,
            "cancel_link.html",
            subscription=view_models.subscription_view(
                ctx, subscription, changes, pending_cancellations=pending
            ),
            signed=signed,
        )

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def cancel(self, ctx: NamedDependency[Context], signed: FromPath[str]) -> Response[Any]:
        """Cancel it, and show that it is."""
        subscription = await subscription_of_link(ctx, signed, links.contribution_for_cancel_link)
        await cancellations.cancel(ctx, subscription.stripe_subscription_id, actor=Actor.LINK)
        return Redirect(request_locale.localised_url(f"/stop/{signed}"), status_code=303)


async def subscription_of_link(ctx: Context, signed: str, read_link: LinkReader) -> Subscription:
    """Return the subscription that a link is about. Raises LinkInvalid."""
    linked = read_link(ctx, signed)
    async with ctx.sessions() as session:
        contribution = await session.get(Contribution, linked.contribution_id)
        subscription = await subscriptions.get_for_contribution(session, linked.contribution_id)
    if subscription is None or contribution is None or not linked.is_of(contribution.donor_id):
        raise LinkInvalid("This link has expired or is incomplete. Nothing was changed.")
    return subscription
