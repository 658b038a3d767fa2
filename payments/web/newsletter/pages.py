"""The newsletter's sign-up form, and the pages that its mails link to.

The form is one of its own: nothing of it is sent with a contribution or a reminder, and nobody but
the reader ticks it. Every address gets the same answer. Opening a link changes nothing; only the
button of its page does.
"""

from collections.abc import Mapping
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core.errors import LinkInvalid, PaymentsError
from payments.infra.context import Context
from payments.risk import form_limit
from payments.risk.rate_limit import ProofOfWorkRequired
from payments.signups import newsletter
from payments.signups.suppression import SuppressionReason
from payments.web import errors as web_errors
from payments.web import forms, rendering, request_locale, risk_check
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest
from payments.web.newsletter import sign_up

# The visible field beside which the form shows an error of another.
VISIBLE_FIELDS = {"privacy_version": "consent"}


def signup_box(
    ctx: Context,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """Return what the form prints, as it was filled in; None where no newsletter is offered."""
    if not newsletter.is_enabled(ctx.settings):
        return None
    typed, current_version = typed or {}, ctx.settings.privacy_version
    return {
        "privacy_url": ctx.settings.privacy_url,
        "privacy_version": current_version,
        "preview_url": ctx.settings.newsletter_preview_url,
        "address": typed.get("address", ""),
        # consent is to the version that was shown beside it
        "ticked": bool(typed.get("consent")) and typed.get("privacy_version") == current_version,
        "errors": dict(errors or {}),
    }


def _on_link_invalid(request: AnyRequest, error: LinkInvalid) -> Response[str]:
    """Return one page for every link that is used, expired, incomplete or guessed."""
    ctx: Context = request.app.state.ctx
    can_retry = newsletter.is_enabled(ctx.settings)
    return rendering.render(
        ctx, "newsletter_link_invalid.html", status=error.status, can_retry=can_retry
    )


class NewsletterPage(Controller):
    """The sign-up form on a page of its own."""

    path = "/newsletter"
    include_in_schema = False

    @get()
    async def show(self, ctx: NamedDependency[Context]) -> Response[str]:
        """Show the empty form."""
        newsletter.require_enabled(ctx.settings)
        return rendering.render(ctx, "newsletter.html", newsletter=signup_box(ctx))

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def submit(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
        """Store the sign-up, or show the form with what was wrong."""
        newsletter.require_enabled(ctx.settings)
        typed = await forms.form_data(request)
        form_id = forms.idempotency_key(typed)
        request_context = await risk_check.request_context_for_mail(
            ctx, request, typed, form_id, form_limit.SIGN_UP
        )
        try:
            await sign_up.sign_up(
                ctx,
                request_context,
                address=typed.get("address", ""),
                agreed=bool(typed.get("consent")),
                privacy_version=typed.get("privacy_version", ""),
                locale=request_locale.current(),
            )
        except ProofOfWorkRequired as error:
            return await risk_check.render_challenge(
                ctx, request_context, typed, form_id, error, action="/newsletter"
            )
        except PaymentsError as error:
            field = VISIBLE_FIELDS.get(error.field or "", error.field or "")
            box = signup_box(ctx, typed, {field: request_locale.error_message(error)})
            page = rendering.render(ctx, "newsletter.html", status=error.status, newsletter=box)
            return web_errors.with_retry_after(page, error)
        return rendering.render(ctx, "newsletter_confirmation_sent.html")


class ConfirmPages(Controller):
    """The pages that mails link to, at addresses that do not say what they are about."""

    path = "/mailbox"
    include_in_schema = False
    exception_handlers = {LinkInvalid: _on_link_invalid}  # noqa: RUF012 - litestar's

    @get("/confirm/{signed:str}")
    async def confirm_form(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """Show what was agreed to, and a button, which programs that open links do not press."""
        row = await newsletter.get_confirmable(ctx, signed)
        if row.confirmed_at is not None:
            return _render_confirmed(ctx)
        return rendering.render(
            ctx,
            "newsletter_confirm.html",
            signed=signed,
            privacy_url=ctx.settings.privacy_url,
            privacy_version=row.privacy_version,
        )

    @post("/confirm/{signed:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def confirm(self, ctx: NamedDependency[Context], signed: FromPath[str]) -> Response[str]:
        """Confirm the sign-up."""
        await newsletter.confirm(ctx, signed)
        return _render_confirmed(ctx)

    @get("/never/{signed:str}")
    async def unsubscribe_form(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """Show the button that suppresses an address."""
        newsletter.parse_unsubscribe_link(ctx, signed)
        return rendering.render(ctx, "newsletter_unsubscribe.html", signed=signed, done=False)

    @post("/never/{signed:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def unsubscribe_all(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """Suppress an address, whoever types it from now on."""
        address_hash = newsletter.parse_unsubscribe_link(ctx, signed)
        async with ctx.sessions.begin() as session:
            await newsletter.suppress_address(
                session,
                ctx.settings,
                [address_hash],
                SuppressionReason.UNSUBSCRIBED,
                now=ctx.now(),
            )
        return rendering.render(ctx, "newsletter_unsubscribe.html", signed=signed, done=True)


def _render_confirmed(ctx: Context) -> Response[str]:
    return rendering.render(
        ctx, "newsletter_confirmed.html", preview_url=ctx.settings.newsletter_preview_url
    )
