"""All that a donor gives, and one promise at a time. Whose it is, is asked before anything else."""

from dataclasses import dataclass

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core.errors import NotFound
from payments.giving import change_log, charges, contributions, subscriptions
from payments.giving.change_log import Change, ChangeKind
from payments.giving.checkout_session import Frequency
from payments.giving.contributions import Contribution, Status
from payments.giving.subscriptions import Subscription
from payments.infra.context import Runtime
from payments.web import templates
from payments.web.account import view_models
from payments.web.account.sign_in import SignedIn
from payments.web.forms import AnyRequest

GIVEN = (Status.PAID, Status.PROCESSING, Status.RETURNED)


@dataclass(frozen=True, slots=True)
class Own:
    """A promise, and the contribution it began with, of the donor who asks."""

    gift: Contribution
    promise: Subscription

    @property
    def id(self) -> str:
        return self.promise.stripe_subscription_id

    @property
    def url(self) -> str:
        return f"/manage/contributions/{self.gift.id}"


async def own_promise(
    rt: NamedDependency[Runtime], donor: NamedDependency[SignedIn], contribution_id: FromPath[str]
) -> Own:
    """The promise of an address, if it is this donor's. A dependency of each of its pages."""
    async with rt.sessions() as session:
        gift = await contributions.owned(session, donor.donor_id, contribution_id)
        promise = await subscriptions.of_contribution(session, gift.id)
    if promise is None:
        raise NotFound("There is no such contribution.")
    return Own(gift, promise)


class Overview(Controller):
    path = "/contributions"

    @get()
    async def all(
        self, rt: NamedDependency[Runtime], donor: NamedDependency[SignedIn]
    ) -> Response[str]:
        """Standing gifts first, then those made once."""
        async with rt.sessions() as session:
            promises = await subscriptions.of_donor(session, donor.donor_id)
            gifts = await contributions.of_donor(session, donor.donor_id)
            ids = [promise.stripe_subscription_id for promise in promises]
            stopping = await change_log.owed_stops(session, ids)
        once = [g for g in gifts if g.frequency is Frequency.ONCE and g.status in GIVEN]
        return templates.page(
            rt,
            "manage.html",
            promises=[
                view_models.promise_facts(rt, promise, stopping=stopping) for promise in promises
            ],
            gifts=[view_models.gift_facts(rt, gift) for gift in once],
        )

    @get("/{contribution_id:str}")
    async def one(
        self, rt: NamedDependency[Runtime], request: AnyRequest, own: NamedDependency[Own]
    ) -> Response[str]:
        """What is promised, what can be changed, and what happened."""
        async with rt.sessions() as session:
            changes = await change_log.of(session, own.id)
            stopping = await change_log.owed_stops(session, [own.id])
            card = await change_log.newest_decision(session, own.id, ChangeKind.CARD)
            paid = await charges.of_donor(
                session, own.gift.donor_id or "", contribution_id=own.gift.id
            )
        facts = view_models.promise_facts(rt, own.promise, changes, stopping=stopping)
        return templates.page(
            rt,
            "manage_promise.html",
            promise=facts,
            changes=[view_models.change_facts(rt, change) for change in changes],
            payments=[view_models.payment_facts(rt, payment) for payment in paid],
            last_payment=view_models.last_payment(own.promise, paid),
            done=_done(request.query_params.get("done"), changes),
            card=view_models.came_back(request.query_params.get("card"), card),
            card_url=f"{own.url}?card=back",
        )


def _done(asked: str | None, changes: list[Change]) -> str:
    """What to confirm: only what the history confirms."""
    newest = [change.kind.value for change in changes if change.done_at == changes[0].done_at]
    return asked if asked in newest else ""
