"""The signed links of mails. Each opens one page about one promise and works without signing in.

Opening one changes nothing; the button does. What is wrong with a link that does not open is not
told: it may be old, cut short or made up.
"""

from collections.abc import Callable
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import LinkSpent, PaymentsError
from payments.giving import change_log, payment_methods, subscription_changes, subscriptions
from payments.giving.change_log import By, ChangeKind
from payments.giving.subscriptions import Subscription
from payments.infra.context import Runtime
from payments.mail import links
from payments.web import locale, origins, templates
from payments.web.account import view_models
from payments.web.account.sign_in import refused, spent
from payments.web.forms import SMALL, AnyRequest

Opened = Callable[[Runtime, str], str]


def _spent(request: AnyRequest, error: LinkSpent) -> Response[str]:
    return spent(request.app.state.rt, error)


class ByMail(Controller):
    include_in_schema = False
    exception_handlers = {LinkSpent: _spent, PaymentsError: refused}  # noqa: RUF012 - litestar's


class StopByMail(ByMail):
    path = "/stop/{signed:str}"

    @get()
    async def show(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[str]:
        """What would be stopped, or when it was."""
        promise = await _promise(rt, signed, links.promise_to_stop)
        async with rt.sessions() as session:
            changes = await change_log.of(session, promise.stripe_subscription_id)
            stopping = await change_log.owed_stops(session, [promise.stripe_subscription_id])
        facts = view_models.promise_facts(rt, promise, changes, stopping=stopping)
        return templates.page(rt, "stop.html", promise=facts, signed=signed)

    @post(request_max_body_size=SMALL)
    async def stop(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[Any]:
        """Stop it, and show that it is."""
        promise = await _promise(rt, signed, links.promise_to_stop)
        await subscription_changes.stop(rt, promise.stripe_subscription_id, by=By.LINK)
        return Redirect(locale.here(f"/stop/{signed}"), status_code=303)


class FixByMail(ByMail):
    path = "/fix/{signed:str}"

    @get()
    async def show(
        self, rt: NamedDependency[Runtime], request: AnyRequest, signed: FromPath[str]
    ) -> Response[str]:
        """Why another card is needed, or what became of it."""
        promise = await _promise(rt, signed, links.promise_to_fix)
        async with rt.sessions() as session:
            decision = await change_log.newest_decision(
                session, promise.stripe_subscription_id, ChangeKind.CARD
            )
        asked = request.query_params.get("card")
        return templates.page(
            rt,
            "fix.html",
            promise=view_models.promise_facts(rt, promise),
            signed=signed,
            card=view_models.came_back(asked, decision),
            card_url=f"/fix/{signed}?card=back",
        )

    @post(request_max_body_size=SMALL)
    async def fix(
        self, rt: NamedDependency[Runtime], request: AnyRequest, signed: FromPath[str]
    ) -> Response[Any]:
        """To Stripe's page, which takes the card."""
        promise = await _promise(rt, signed, links.promise_to_fix)
        page = await payment_methods.start_replacement(
            rt,
            promise.stripe_subscription_id,
            by=By.LINK,
            return_path=locale.here(f"/fix/{signed}?card=back"),
            origin=origins.origin(rt.settings, request),
            locale=locale.tag(),
        )
        return Redirect(page, status_code=303)


async def _promise(rt: Runtime, signed: str, opened: Opened) -> Subscription:
    """The promise that a link is about."""
    async with rt.sessions() as session:
        promise = await subscriptions.of_contribution(session, opened(rt, signed))
    if promise is None:
        raise LinkSpent("This link has expired or is not complete. Nothing was changed.")
    return promise
