"""The web application: routes, dependencies, error pages, and what it holds open while it lives."""

import ctypes
import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, Response, get
from litestar.config.allowed_hosts import AllowedHostsConfig
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import OpenAPIConfig
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler

from payments.core import money, settings
from payments.core.errors import NotSignedIn
from payments.core.settings import Settings
from payments.giving.article_counts import Tally
from payments.infra import context, db, logs
from payments.infra.context import Now, Runtime
from payments.staff.accounts import ConfirmFirst
from payments.staff.oidc_provider import Issuer
from payments.web import (
    account,
    demo_inbox,
    errors,
    finance,
    health,
    locale,
    origins,
    security_headers,
    templates,
)
from payments.web.api import contributions, reminders
from payments.web.donate import embed, form, risk_check, safety, thanks
from payments.web.finance import refund_form
from payments.web.newsletter import pages as newsletter_pages
from payments.web.reminders import pages as reminder_pages
from payments.web.staff import accounts, alerts, audit_log, auth, campaigns, sign_in, sso
from payments.web.support import pages as support_pages
from webhooks import VERBS, routes
from webhooks.intake import Inbox


def create_app(given: Settings | None = None, *, now: Now = db.utc_now) -> Litestar:
    """The application, from the environment unless settings are given. `now` is its clock."""
    chosen = settings.ready_to_serve(given if given is not None else settings.load())
    _check_currencies(chosen)
    logs.configure(chosen.log_level)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with context.opened(chosen, now=now) as rt:
            app.state.rt = rt
            app.state.articles = Tally()
            app.state.inbox = Inbox(rt.engine, rings=frozenset(VERBS))
            app.state.issuer = Issuer(chosen)
            yield

    handlers: list[ControllerRouterHandler] = [
        home,
        contributions.ContributionsApi,
        campaigns.tell,
        risk_check.challenge,
        embed.embed_js,
        reminder_pages.RemindPage,
        reminder_pages.back,
        reminders.RemindersApi,
        reminders.mail_events,
        newsletter_pages.NewsletterPage,
        newsletter_pages.MailboxPages,
        newsletter_pages.ask,
        form.DonatePage,
        thanks.thanks,
        safety.page,
        *account.routes(),
        sign_in.StaffDoor,
        accounts.OwnPage,
        accounts.ColleaguePages,
        alerts.AlarmPages,
        campaigns.CampaignPages,
        audit_log.AuditPage,
        support_pages.SupportPages,
        refund_form.RefundPages,
        *finance.routes(),
        health.live,
        health.ready,
        health.metrics,
        routes.stripe,
        create_static_files_router(
            "/static", [templates.HERE / "static"], cache_control=None, include_in_schema=False
        ),
    ]
    if chosen.oidc_issuer:
        handlers.append(sso.SignOn)
    if chosen.environment == "demo":
        handlers.append(embed.sample_article)
        if chosen.demo_inbox:
            handlers.append(demo_inbox.inbox)
    return Litestar(
        route_handlers=handlers,
        lifespan=[lifespan],
        dependencies={
            "rt": Provide(_runtime, sync_to_thread=False),
            "there": Provide(_issuer, sync_to_thread=False),
            "asking": Provide(auth.asking),
            "colleague": Provide(auth.signed_in),
        },
        exception_handlers={
            **errors.HANDLERS,
            NotSignedIn: auth.sign_in_first,
            ConfirmFirst: auth.confirm_first,
        },
        middleware=[locale.listening],
        before_send=[security_headers.writer(chosen)],
        # A prober asks by whatever address it has.
        allowed_hosts=AllowedHostsConfig(origins.hosts(chosen), exclude=r"^/health/"),
        openapi_config=OpenAPIConfig(
            title="reader-payments",
            version="1.0.0",
            path="/schema",
            render_plugins=[errors.Description()],
        ),
        request_max_body_size=64 * 1024,
        logging_config=None,
    )


def create_worker_app() -> Litestar:
    """The application in a worker process, which does not outlive a killed `payments serve`."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    app = create_app()
    gc.freeze()  # what lives as long as the process is never looked through for garbage
    return app


def _check_currencies(chosen: Settings) -> None:
    unknown = ({chosen.currency} | set(chosen.maximum_gifts)) - set(money.BOUNDS)
    if unknown:
        raise settings.SettingsError(
            f"PAYMENTS_CURRENCY, PAYMENTS_MAXIMUM_GIFTS: {', '.join(sorted(unknown))} is not one of"
            f" {', '.join(money.BOUNDS)}"
        )
    for code, limit in chosen.maximum_gifts.items():
        if limit < (least := money.minimum(code)).amount:
            raise settings.SettingsError(
                f"PAYMENTS_MAXIMUM_GIFTS: {code} is below the least that may be given, {least}"
            )


def _runtime(state: State) -> Runtime:
    rt: Runtime = state.rt
    return rt


def _issuer(state: State) -> Issuer:
    there: Issuer = state.issuer
    return there


@get("/", include_in_schema=False)
async def home(rt: NamedDependency[Runtime]) -> Response[str]:
    """Where to go from here."""
    return templates.page(rt, "home.html", demo=rt.settings.environment == "demo")
