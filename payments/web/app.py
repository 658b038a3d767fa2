"""The web application: its routes, dependencies and error pages, and what it holds open.

`create_app` refuses to start with a route that changes something and is not guarded against forms
of other sites, or a staff route that does not say who may open it.
"""

import ctypes
import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from litestar import Litestar, Response, get
from litestar.config.allowed_hosts import AllowedHostsConfig
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import OpenAPIConfig
from litestar.types import ControllerRouterHandler

from payments.core import money, settings
from payments.core.errors import Unauthenticated
from payments.core.settings import Settings
from payments.giving.article_counts import ArticleCounter
from payments.infra import context, logs
from payments.infra.context import Context, Now
from payments.signups import newsletter
from payments.staff.oidc_provider import OidcProvider
from payments.staff.sessions import StepUpRequired
from payments.web import (
    account,
    body_deadline,
    brand_files,
    csrf,
    demo_inbox,
    errors,
    finance,
    finance_api,
    form_answers,
    health,
    origins,
    rendering,
    request_locale,
    risk_check,
    security_headers,
    security_txt,
    static_files,
)
from payments.web.answer_deadline import AnswerDeadline
from payments.web.api import campaigns as campaigns_api
from payments.web.api import contributions, mail_events, reminders
from payments.web.api import newsletter as newsletter_api
from payments.web.donate import embed, form, safety, thanks
from payments.web.finance_api import access
from payments.web.form_answers import PostRedirectGet
from payments.web.newsletter import pages as newsletter_pages
from payments.web.reminders import pages as reminder_pages
from payments.web.request_spelling import RequestSpelling
from payments.web.staff import (
    accounts,
    alerts,
    api_tokens,
    auth,
    campaigns,
    guards,
    sign_in,
    sso,
)
from payments.web.support import pages as support_pages
from webhooks import routes
from webhooks.intake import Inbox
from webhooks.registry import SYNC_HANDLERS

WEBHOOK_HANDLERS: tuple[ControllerRouterHandler, ...] = (
    health.live,
    health.ready,
    routes.receive_event,
)

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def create_app(
    given_settings: Settings | None = None,
    *,
    now: Now | None = None,
    only_webhooks: bool = False,
) -> Litestar:
    """Return the application, from the environment unless settings are given. `now` is its clock,
    if not the real one or the demo's.

    Raises SettingsError.
    """
    app_settings = given_settings if given_settings is not None else settings.load()
    check_settings(app_settings)
    logs.configure(app_settings.log_level)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with context.open_context(app_settings, now=now) as ctx:
            attach(app, ctx)
            yield

    options = AppOptions.of(app_settings)
    return build(options, lifespan=[lifespan], only_webhooks=only_webhooks)


def check_settings(app_settings: Settings) -> None:
    """Raise SettingsError for settings that cannot serve."""
    settings.require_serving_settings(app_settings)
    _check_currencies(app_settings)


def attach(app: Litestar, ctx: Context) -> None:
    """Make an application answer from this context, whose settings gave the app its options."""
    app.before_send = [access.add_headers, security_headers.header_hook(ctx.settings)]
    app.state = State(
        {
            "ctx": ctx,
            "articles": ArticleCounter(),
            "recent_pages": form_answers.RecentPages(),
            "inbox": Inbox(ctx.engine, synced_types=frozenset(SYNC_HANDLERS)),
            "oidc_provider": OidcProvider(ctx.settings),
        }
    )


@dataclass(frozen=True, slots=True)
class AppOptions:
    """What of the settings decides how an application is built."""

    allowed_hosts: tuple[str, ...]
    has_sso: bool
    has_sample_article: bool
    has_demo_inbox: bool

    @classmethod
    def of(cls, app_settings: Settings) -> "AppOptions":
        """Return the options that follow from settings."""
        is_demo = app_settings.environment == "demo"
        return cls(
            allowed_hosts=tuple(origins.allowed_hosts(app_settings)),
            has_sso=bool(app_settings.oidc_issuer),
            has_sample_article=is_demo,
            has_demo_inbox=is_demo and bool(app_settings.demo_inbox_dir),
        )


def _all_handlers(options: AppOptions) -> list[ControllerRouterHandler]:
    """Return every route."""
    handlers: list[ControllerRouterHandler] = [
        home,
        contributions.ContributionsApi,
        campaigns_api.get_campaign,
        risk_check.get_challenge,
        embed.serve_newest_widget,
        embed.serve_widget,
        reminder_pages.ReminderPages,
        reminder_pages.return_from_mail,
        reminders.RemindersApi,
        mail_events.report_mail_events,
        newsletter_pages.NewsletterPage,
        newsletter_pages.ConfirmPages,
        newsletter_api.create_signup,
        form.DonatePage,
        thanks.thanks_link,
        thanks.thanks_page,
        thanks.request_receipt,
        thanks.next_payment_calendar,
        safety.safety_page,
        security_txt.security_txt,
        *account.routes(),
        sign_in.StaffSignInPages,
        accounts.OwnAccountPage,
        accounts.StaffAccountPages,
        alerts.AlertPages,
        campaigns.CampaignPages,
        support_pages.SupportPages,
        *finance.routes(),
        *finance_api.routes(),
        api_tokens.ApiTokenPages,
        *WEBHOOK_HANDLERS,
        health.seen_client,
        health.metrics,
        form_answers.shown_page,
        brand_files.serve_brand_file,
        static_files.favicon,
        static_files.router(),
    ]
    if options.has_sso:
        handlers.append(sso.StaffSsoPages)
    if options.has_sample_article:
        handlers.append(embed.sample_article)
    if options.has_demo_inbox:
        handlers += [demo_inbox.list_mails, demo_inbox.show_mail, demo_inbox.turn_clock]
    return handlers


def build(
    options: AppOptions,
    *,
    lifespan: Sequence[Lifespan] = (),
    only_webhooks: bool = False,
) -> Litestar:
    """Return an application with every route, or the webhooks' alone.

    It answers once a context is attached to it.
    """
    app = Litestar(
        route_handlers=WEBHOOK_HANDLERS if only_webhooks else _all_handlers(options),
        lifespan=[*lifespan],
        dependencies={
            "ctx": Provide(_provide_context, sync_to_thread=False),
            "oidc_provider": Provide(_provide_oidc_provider, sync_to_thread=False),
            "staff_session": Provide(guards.current_session, sync_to_thread=False),
            "colleague": Provide(guards.current_colleague, sync_to_thread=False),
            "export_grant": Provide(guards.current_export_grant, sync_to_thread=False),
        },
        exception_handlers={
            **errors.EXCEPTION_HANDLERS,
            Unauthenticated: auth.on_unauthenticated,
            StepUpRequired: auth.on_step_up_required,
        },
        middleware=[request_locale.locale_middleware],
        # A health probe asks by whatever address it has.
        allowed_hosts=AllowedHostsConfig([*options.allowed_hosts], exclude=r"^/(health/|metrics$)"),
        openapi_config=None
        if only_webhooks
        else OpenAPIConfig(
            title="reader-payments",
            version="1.0.0",
            path="/schema",
            render_plugins=[errors.OpenApiRenderer()],
        ),
        request_max_body_size=body_deadline.MAX_BYTES,
        logging_config=None,
    )
    app.asgi_handler = AnswerDeadline(
        RequestSpelling(PostRedirectGet(app.asgi_handler, app), options.allowed_hosts)
    )
    csrf.check_routes(app)
    guards.check_routes(app)
    access.check_routes(app)
    return app


def create_worker_app(*, only_webhooks: bool = False) -> Litestar:
    """Return the application of a worker process, which ends when `payments serve` is killed."""
    end_with_parent()
    app = create_app(only_webhooks=only_webhooks)
    gc.freeze()  # what lives as long as the process need not be scanned for garbage
    return app


def end_with_parent() -> None:
    """Have the system kill this process when the one that started it is gone, however it ended."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _check_currencies(app_settings: Settings) -> None:
    """Raise SettingsError for a currency that is not supported, or a maximum below the minimum."""
    unknown = ({app_settings.default_currency} | set(app_settings.max_gift)) - set(
        money.GIFT_LIMITS
    )
    if unknown:
        raise settings.SettingsError(
            f"PAYMENTS_DEFAULT_CURRENCY, PAYMENTS_MAX_GIFT: {', '.join(sorted(unknown))} is not one"
            f" of {', '.join(money.GIFT_LIMITS)}"
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
    oidc_provider: OidcProvider = state.oidc_provider
    return oidc_provider


@get("/", include_in_schema=False)
async def home(ctx: NamedDependency[Context]) -> Response[str]:
    """Show the start page: links to what readers do here."""
    return rendering.render(
        ctx,
        "home.html",
        demo=ctx.settings.environment == "demo",
        offers_newsletter=newsletter.is_enabled(ctx.settings),
    )
