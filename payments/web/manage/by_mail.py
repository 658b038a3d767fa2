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

from payments import history, links, payment_methods, promises, subscriptions
from payments.errors import LinkSpent, PaymentsError
from payments.history import By, ChangeKind
from payments.runtime import Runtime
from payments.subscriptions import Subscription
from payments.web import mirrors, pages, tongue
from payments.web.bodies import SMALL, AnyRequest
from payments.web.manage import words
from payments.web.manage.door import refused, spent

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
            changes = await history.of(session, promise.stripe_subscription_id)
            stopping = await history.owed_stops(session, [promise.stripe_subscription_id])
        facts = words.promise_facts(rt, promise, changes, stopping=stopping)
        return pages.page(rt, "stop.html", promise=facts, signed=signed)

    @post(request_max_body_size=SMALL)
    async def stop(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[Any]:
        """Stop it, and show that it is."""
        promise = await _promise(rt, signed, links.promise_to_stop)
        await promises.stop(rt, promise.stripe_subscription_id, by=By.LINK)
        return Redirect(tongue.here(f"/stop/{signed}"), status_code=303)


class FixByMail(ByMail):
    path = "/fix/{signed:str}"

    @get()
    async def show(
        self, rt: NamedDependency[Runtime], request: AnyRequest, signed: FromPath[str]
    ) -> Response[str]:
        """Why another card is needed, or what became of it."""
        promise = await _promise(rt, signed, links.promise_to_fix)
        async with rt.sessions() as session:
            decision = await history.newest_decision(
                session, promise.stripe_subscription_id, ChangeKind.CARD
            )
        asked = request.query_params.get("card")
        return pages.page(
            rt,
            "fix.html",
            promise=words.promise_facts(rt, promise),
            signed=signed,
            card=words.came_back(asked, decision),
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
            return_path=tongue.here(f"/fix/{signed}?card=back"),
            origin=mirrors.origin(rt.settings, request),
            locale=tongue.tag(),
        )
        return Redirect(page, status_code=303)


async def _promise(rt: Runtime, signed: str, opened: Opened) -> Subscription:
    """The promise that a link is about."""
    async with rt.sessions() as session:
        promise = await subscriptions.of_contribution(session, opened(rt, signed))
    if promise is None:
        raise LinkSpent("This link has expired or is not complete. Nothing was changed.")
    return promise
