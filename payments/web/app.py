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
from payments.core.errors import Unauthenticated
from payments.core.settings import Settings
from payments.giving.article_counts import ArticleCounter
from payments.infra import context, db, logs
from payments.infra.context import Context, Now
from payments.staff.accounts import StepUpRequired
from payments.staff.oidc_provider import OidcProvider
from payments.web import (
    account,
    demo_inbox,
    errors,
    finance,
    health,
    origins,
    rendering,
    request_locale,
    security_headers,
)
from payments.web.api import contributions, reminders
from payments.web.donate import embed, form, risk_check, safety, thanks
from payments.web.finance import refund_form
from payments.web.newsletter import pages as newsletter_pages
from payments.web.reminders import pages as reminder_pages
from payments.web.staff import accounts, alerts, audit_log, auth, campaigns, sign_in, sso
from payments.web.support import pages as support_pages
from webhooks import routes
from webhooks.intake import Inbox
from webhooks.registry import SYNC_HANDLERS


def create_app(given_settings: Settings | None = None, *, now: Now = db.utc_now) -> Litestar:
    """The application, from the environment unless settings are given. `now` is its clock."""
    chosen = settings.require_serving_settings(
        given_settings if given_settings is not None else settings.load()
    )
    _check_currencies(chosen)
    logs.configure(chosen.log_level)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with context.open_context(chosen, now=now) as ctx:
            app.state.ctx = ctx
            app.state.articles = ArticleCounter()
            app.state.inbox = Inbox(ctx.engine, synced_types=frozenset(SYNC_HANDLERS))
            app.state.issuer = OidcProvider(chosen)
            yield

    handlers: list[ControllerRouterHandler] = [
        home,
        contributions.ContributionsApi,
        campaigns.get_campaign,
        risk_check.get_challenge,
        embed.serve_widget,
        reminder_pages.ReminderPages,
        reminder_pages.return_from_mail,
        reminders.RemindersApi,
        reminders.bounces,
        newsletter_pages.NewsletterPage,
        newsletter_pages.ConfirmPages,
        newsletter_pages.sign_up,
        form.DonatePage,
        thanks.thanks_page,
        safety.safety_page,
        *account.routes(),
        sign_in.StaffSignInPages,
        accounts.OwnAccountPage,
        accounts.StaffAccountPages,
        alerts.AlertPages,
        campaigns.CampaignPages,
        audit_log.AuditLogPage,
        support_pages.SupportPages,
        refund_form.RefundPages,
        *finance.routes(),
        health.live,
        health.ready,
        health.metrics,
        routes.receive_event,
        create_static_files_router(
            "/static", [rendering.WEB_DIR / "static"], cache_control=None, include_in_schema=False
        ),
    ]
    if chosen.oidc_issuer:
        handlers.append(sso.StaffSsoPages)
    if chosen.environment == "demo":
        handlers.append(embed.sample_article)
        if chosen.demo_inbox_dir:
            handlers.append(demo_inbox.list_mails)
    return Litestar(
        route_handlers=handlers,
        lifespan=[lifespan],
        dependencies={
            "ctx": Provide(_provide_context, sync_to_thread=False),
            "oidc_provider": Provide(_provide_oidc_provider, sync_to_thread=False),
            "staff_session": Provide(auth.current_session),
            "colleague": Provide(auth.current_colleague),
        },
        exception_handlers={
            **errors.EXCEPTION_HANDLERS,
            Unauthenticated: auth.on_unauthenticated,
            StepUpRequired: auth.on_step_up_required,
        },
        middleware=[request_locale.locale_middleware],
        before_send=[security_headers.header_hook(chosen)],
        # A prober asks by whatever address it has.
        allowed_hosts=AllowedHostsConfig(origins.allowed_hosts(chosen), exclude=r"^/health/"),
        openapi_config=OpenAPIConfig(
            title="reader-payments",
            version="1.0.0",
            path="/schema",
            render_plugins=[errors.OpenApiRenderer()],
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


def _check_currencies(app_settings: Settings) -> None:
    unknown = ({app_settings.default_currency} | set(app_settings.max_gift)) - set(
        money.GIFT_LIMITS
    )
    if unknown:
        raise settings.SettingsError(
            f"PAYMENTS_DEFAULT_CURRENCY, PAYMENTS_MAX_GIFT: {', '.join(sorted(unknown))} is not one of"
            f" {', '.join(money.GIFT_LIMITS)}"
        )
    for code, limit in app_settings.max_gift.items():
        if limit < (least := money.min_gift(code)).amount:
            raise settings.SettingsError(
                f"PAYMENTS_MAX_GIFT: {code} is below the least that may be given, {least}"
            )


def _provide_context(state: State) -> Context:
    ctx: Context = state.ctx
    return ctx


def _provide_oidc_provider(state: State) -> OidcProvider:
    there: OidcProvider = state.issuer
    return there


@get("/", include_in_schema=False)
async def home(ctx: NamedDependency[Context]) -> Response[str]:
    """Where to go from here."""
    return rendering.render(ctx, "home.html", demo=ctx.settings.environment == "demo")
