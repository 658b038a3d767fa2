"""All that a donor gives, and one promise at a time. Whose it is, is asked before anything else."""

from dataclasses import dataclass

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core.errors import NotFound
from payments.core.frequency import Frequency
from payments.giving import change_log, charges, contributions, subscriptions
from payments.giving.change_log import ChangeKind, SubscriptionChange
from payments.giving.contributions import Contribution, ContributionStatus
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.web import rendering
from payments.web.account import view_models
from payments.web.account.sign_in import CurrentDonor
from payments.web.forms import AnyRequest

DONATED_STATUSES = (
    ContributionStatus.PAID,
    ContributionStatus.PROCESSING,
    ContributionStatus.RETURNED,
)


@dataclass(frozen=True, slots=True)
class OwnSubscription:
    """A promise, and the contribution it began with, of the donor who asks."""

    contribution: Contribution
    subscription: Subscription

    @property
    def subscription_id(self) -> str:
        return self.subscription.stripe_subscription_id

    @property
    def url(self) -> str:
        return f"/manage/contributions/{self.contribution.id}"


async def own_subscription(
    ctx: NamedDependency[Context],
    donor: NamedDependency[CurrentDonor],
    contribution_id: FromPath[str],
) -> OwnSubscription:
    """The promise of an address, if it is this donor's. A dependency of each of its pages."""
    async with ctx.sessions() as session:
        gift = await contributions.get_owned(session, donor.donor_id, contribution_id)
        promise = await subscriptions.get_for_contribution(session, gift.id)
    if promise is None:
        raise NotFound("There is no such contribution.")
    return OwnSubscription(gift, promise)


class OverviewPages(Controller):
    path = "/contributions"

    @get()
    async def list_contributions(
        self, ctx: NamedDependency[Context], donor: NamedDependency[CurrentDonor]
    ) -> Response[str]:
        """Standing gifts first, then those made once."""
        async with ctx.sessions() as session:
            promises = await subscriptions.list_for_donor(session, donor.donor_id)
            gifts = await contributions.list_for_donor(session, donor.donor_id)
            ids = [promise.stripe_subscription_id for promise in promises]
            stopping = await change_log.pending_cancellations(session, ids)
        once = [g for g in gifts if g.frequency is Frequency.ONCE and g.status in DONATED_STATUSES]
        return rendering.render(
            ctx,
            "account_overview.html",
            promises=[
                view_models.subscription_view(ctx, promise, pending_cancellations=stopping)
                for promise in promises
            ],
            gifts=[view_models.contribution_view(ctx, gift) for gift in once],
        )

    @get("/{contribution_id:str}")
    async def show_subscription(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        own_subscription: NamedDependency[OwnSubscription],
    ) -> Response[str]:
        """What is promised, what can be changed, and what happened."""
        async with ctx.sessions() as session:
            changes = await change_log.list_done(session, own_subscription.subscription_id)
            stopping = await change_log.pending_cancellations(
                session, [own_subscription.subscription_id]
            )
            card = await change_log.newest_decision(
                session, own_subscription.subscription_id, ChangeKind.CARD
            )
            paid = await charges.list_payments_of_donor(
                session,
                own_subscription.contribution.donor_id or "",
                contribution_id=own_subscription.contribution.id,
            )
        facts = view_models.subscription_view(
            ctx, own_subscription.subscription, changes, pending_cancellations=stopping
        )
        return rendering.render(
            ctx,
            "account_subscription.html",
            promise=facts,
            changes=[view_models.change_view(ctx, change) for change in changes],
            payments=[view_models.payment_view(ctx, payment) for payment in paid],
            last_payment=view_models.payment_crossing_cancellation(
                own_subscription.subscription, paid
            ),
            done=_confirmed_change(request.query_params.get("done"), changes),
            card=view_models.card_update_state(request.query_params.get("card"), card),
            card_url=f"{own_subscription.url}?card=back",
        )


def _confirmed_change(requested: str | None, changes: list[SubscriptionChange]) -> str:
    """What to confirm: only what the history confirms."""
    newest = [change.kind.value for change in changes if change.done_at == changes[0].done_at]
    return requested if requested in newest else ""
