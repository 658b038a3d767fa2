"""All that a donor gives, and one subscription at a time.

A subscription of somebody else is answered like one that never was.
"""

from dataclasses import dataclass

from litestar import Controller, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath

from payments.core.errors import NotFound
from payments.core.frequency import Frequency
from payments.giving import change_log, contributions, donor_payments, subscriptions
from payments.giving.change_log import ChangeKind, SubscriptionChange
from payments.giving.contributions import Contribution, ContributionStatus
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.risk import account_limit
from payments.web import rendering
from payments.web.account import paging, view_models
from payments.web.account.sign_in import CurrentDonor
from payments.web.forms import AnyRequest

DONATED_STATUSES = (
    ContributionStatus.PAID,
    ContributionStatus.PROCESSING,
    ContributionStatus.RETURNED,
)


@dataclass(frozen=True, slots=True)
class OwnSubscription:
    """A subscription of the donor who asks, and the contribution it began with."""

    contribution: Contribution
    subscription: Subscription

    @property
    def subscription_id(self) -> str:
        """Return Stripe's id of the subscription."""
        return self.subscription.stripe_subscription_id

    @property
    def url(self) -> str:
        """Return the address of its page."""
        return f"/manage/contributions/{self.contribution.id}"


async def own_subscription(
    ctx: NamedDependency[Context],
    donor: NamedDependency[CurrentDonor],
    contribution_id: FromPath[str],
) -> OwnSubscription:
    """Return the subscription that the path names, if it is this donor's. Raises NotFound."""
    async with ctx.sessions() as session:
        contribution = await contributions.get_owned(session, donor.donor_id, contribution_id)
        subscription = await subscriptions.get_for_contribution(session, contribution.id)
    if subscription is None:
        raise NotFound("There is no such contribution.")
    return OwnSubscription(contribution, subscription)


async def subscription_to_change(
    ctx: NamedDependency[Context],
    donor: NamedDependency[CurrentDonor],
    contribution_id: FromPath[str],
) -> OwnSubscription:
    """Return the subscription that the path names, for a page that asks Stripe about it.

    Raises NotFound, TooManyChanges.
    """
    found = await own_subscription(ctx, donor, contribution_id)
    await account_limit.use(ctx, donor.donor_id)
    return found


async def reloaded(ctx: Context, own_subscription: OwnSubscription) -> OwnSubscription:
    """Return a subscription as it is stored now: a refused change may have fetched it anew."""
    async with ctx.sessions() as session:
        subscription = await subscriptions.get(session, own_subscription.subscription_id)
    return OwnSubscription(own_subscription.contribution, subscription)


# Of a handler that asks Stripe. Cancelling has no limit.
ASKS_STRIPE = {"own_subscription": Provide(subscription_to_change)}


class OverviewPages(Controller):
    """All that a donor gives, and one subscription at a time."""

    path = "/contributions"

    @get()
    async def list_contributions(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        donor: NamedDependency[CurrentDonor],
    ) -> Response[str]:
        """Subscriptions first, then a page of the contributions that were made once."""
        page = paging.page_of(request)
        async with ctx.sessions() as session:
            own_subscriptions = await subscriptions.list_for_donor(session, donor.donor_id)
            given_once = await contributions.list_for_donor(
                session,
                donor.donor_id,
                Contribution.frequency == Frequency.ONCE,
                Contribution.status.in_(DONATED_STATUSES),
                limit=paging.PAGE_SIZE + 1,
                offset=page.offset,
            )
            paid = await donor_payments.amounts_by_contribution(
                session, [contribution.id for contribution in given_once]
            )
            ids = [subscription.stripe_subscription_id for subscription in own_subscriptions]
            pending = await change_log.pending_cancellations(session, ids)
        views = [
            view_models.subscription_view(ctx, subscription, pending_cancellations=pending)
            for subscription in own_subscriptions
        ]
        view_models.tell_apart(ctx, own_subscriptions, views)
        return rendering.render(
            ctx,
            "account_overview.html",
            subscriptions=views,
            contributions=[
                view_models.contribution_view(ctx, contribution, paid.get(contribution.id))
                for contribution in given_once[: paging.PAGE_SIZE]
            ],
            pages=page.links("/manage/contributions", given_once),
        )

    @get("/{contribution_id:str}")
    async def show_subscription(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        own_subscription: NamedDependency[OwnSubscription],
    ) -> Response[str]:
        """Show what the donor gives, what they can change, and the history."""
        async with ctx.sessions() as session:
            changes = await change_log.list_done(session, own_subscription.subscription_id)
            pending = await change_log.pending_cancellations(
                session, [own_subscription.subscription_id]
            )
            card_decision = await change_log.newest_decision(
                session, own_subscription.subscription_id, ChangeKind.CARD
            )
            payments = await donor_payments.list_for_donor(
                session,
                own_subscription.contribution.donor_id or "",
                contribution_id=own_subscription.contribution.id,
                limit=paging.PAGE_SIZE + 1,
            )
        return rendering.render(
            ctx,
            "account_subscription.html",
            subscription=view_models.subscription_view(
                ctx, own_subscription.subscription, changes, pending_cancellations=pending
            ),
            changes=[view_models.change_view(ctx, change) for change in changes],
            payments=[
                view_models.payment_view(ctx, payment) for payment in payments[: paging.PAGE_SIZE]
            ],
            has_more_payments=len(payments) > paging.PAGE_SIZE,
            last_payment=view_models.payment_crossing_cancellation(
                own_subscription.subscription, payments
            ),
            done=_confirmed_change(request.query_params.get("done"), changes),
            card=view_models.card_update_state(
                request.query_params.get("card"), card_decision, own_subscription.subscription
            ),
            card_url=f"{own_subscription.url}?card=back",
        )


def _confirmed_change(requested: str | None, changes: list[SubscriptionChange]) -> str:
    """Return the kind of change that the page asks to confirm, if the newest changes hold it."""
    newest = [change.kind.value for change in changes if change.done_at == changes[0].done_at]
    return requested if requested in newest else ""
