"""The newsletter box, what its mail opens, and the same for programs.

The box is a form of its own: nothing of it travels with a gift or a reminder, and nobody but the
reader ticks it. Every address gets the same answer. Opening a link changes nothing; the button
behind it does.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from payments.core import i18n
from payments.core.errors import LinkInvalid, PaymentsError
from payments.infra.context import Context
from payments.risk import rate_limit
from payments.signups import address_vault, confirmation, newsletter
from payments.signups.suppression import SuppressionReason
from payments.web import forms, rendering
from payments.web import request_locale as web_locale
from payments.web.api.contributions import Locale
from payments.web.donate import risk_check
from payments.web.errors import problem_responses
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, strict_json

SIGNUPS_PER_NETWORK, SIGNUP_WINDOW = (
    3,
    timedelta(hours=1),
)  # sign-ups, before it waits behind the others
FIELD_OF_ERROR = {
    "privacy_version": "consent"
}  # where the form shows what is wrong with another field


def signup_box(
    ctx: Context,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """What the box shows, as it was filled in; None where no newsletter is offered."""
    if not newsletter.is_enabled(ctx.settings):
        return None
    typed, current = typed or {}, ctx.settings.privacy_version
    return {
        "privacy_url": ctx.settings.privacy_url,
        "privacy_version": current,
        "preview_url": ctx.settings.newsletter_preview_url,
        "address": typed.get("address", ""),
        # a tick was for the policy that stood beside it
        "ticked": bool(typed.get("consent")) and typed.get("privacy_version") == current,
        "errors": dict(errors or {}),
    }


def _on_link_invalid(request: AnyRequest, error: LinkInvalid) -> Response[str]:
    """One page for a link that was used, is too old, was cut short, or was guessed."""
    ctx: Context = request.app.state.ctx
    again = newsletter.is_enabled(ctx.settings)
    return rendering.render(ctx, "newsletter_link_invalid.html", status=error.status, again=again)


class NewsletterPage(Controller):
    path = "/newsletter"
    include_in_schema = False

    @get()
    async def show(self, ctx: NamedDependency[Context]) -> Response[str]:
        """The box on a page of its own."""
        newsletter.require_enabled(ctx.settings)
        return rendering.render(ctx, "newsletter.html", newsletter=signup_box(ctx))

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def submit(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
        """Note the wish, or show what to mend with nothing lost."""
        newsletter.require_enabled(ctx.settings)
        sent = await forms.form_data(request)
        try:
            late = await _sign_up(
                ctx,
                request,
                address=sent.get("address", ""),
                consented=bool(sent.get("consent")),
                version=sent.get("privacy_version", ""),
                locale=web_locale.current(),
            )
        except PaymentsError as error:
            field = FIELD_OF_ERROR.get(error.field or "", error.field or "")
            shown = signup_box(ctx, sent, {field: web_locale.error_message(error)})
            return rendering.render(ctx, "newsletter.html", status=error.status, newsletter=shown)
        return rendering.render(ctx, "newsletter_confirmation_sent.html", late=late)


class ConfirmPages(Controller):
    """What the confirmation leads to, by addresses that do not say of what."""

    path = "/mailbox"
    include_in_schema = False
    exception_handlers = {LinkInvalid: _on_link_invalid}  # noqa: RUF012 - litestar's

    @get("/confirm/{signed:str}")
    async def confirm_form(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """What was agreed to, and the button. Programs that look into mails do not press it."""
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
        """The mailbox is proved, and its address handed over."""
        await newsletter.confirm(ctx, signed)
        return _render_confirmed(ctx)

    @get("/never/{signed:str}")
    async def unsubscribe_form(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """The button that suppresses an address."""
        newsletter.parse_unsubscribe_link(ctx, signed)
        return rendering.render(ctx, "newsletter_unsubscribe.html", signed=signed, done=False)

    @post("/never/{signed:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def unsubscribe_all(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """Never again, whoever types the address."""
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


async def _sign_up(
    ctx: Context, request: AnyRequest, *, address: str, consented: bool, version: str, locale: str
) -> bool:
    """Keep a wish whose mailbox is to be proved. Gives whether the proof will take a while."""
    mailbox = address_vault.validated_email(address)
    newsletter.require_consent(ctx.settings, agreed=consented, privacy_version=version)
    network = risk_check.client_address(ctx.settings, request)
    async with ctx.sessions.begin() as session:
        crowded = await rate_limit.is_over_limit(
            ctx, session, network, "remind", limit=SIGNUPS_PER_NETWORK, period=SIGNUP_WINDOW
        )
        await newsletter.sign_up(
            session,
            ctx.settings,
            address=mailbox,
            deprioritised=crowded,
            now=ctx.now(),
            locale=locale,
        )
        return await confirmation.is_delayed(session, ctx.now())


# --- for programs ---------------------------------------------------------------------------------


class NewsletterSignup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address, and its owner's own consent to the privacy policy.

    `privacy_version` is the version that was shown to them. One that is no longer in force is
    refused: show them the new one.
    """

    address: Annotated[str, msgspec.Meta(max_length=320)]
    consent: bool
    privacy_version: Annotated[str, msgspec.Meta(max_length=64)]
    locale: Locale | None = None


class NewsletterAccepted(msgspec.Struct, frozen=True):
    """The same for every address."""

    status: Literal["noted"]


FIELD_HELP = {
    "address": "an e-mail address of at most 320 characters",
    "consent": "true, once the reader has agreed",
    "privacy_version": "the version of the privacy policy that was shown, as text",
    "locale": "a language, such as en or pt-BR",
}


def _require_offered(request: AnyRequest) -> None:
    newsletter.require_enabled(request.app.state.ctx.settings)


@post(
    "/api/newsletter",
    operation_id="askForNewsletter",
    summary="Ask for the newsletter",
    tags=["Newsletter"],
    before_request=strict_json(
        NewsletterSignup,
        FIELD_HELP,
        no_effect_message="Nothing was noted.",
        precondition=_require_offered,
    ),
    request_max_body_size=SMALL_FORM_BYTES,
    status_code=202,
    responses=problem_responses(400, 404, 413, 415, 422, 503),
)
async def sign_up(
    ctx: NamedDependency[Context], request: AnyRequest, data: JSONBody[NewsletterSignup]
) -> NewsletterAccepted:
    """Whoever owns the mailbox gets one mail to confirm it. Once they have, the address goes to the
    newsroom's own mailing system, and is erased here. The answer does not tell whether the address
    is known or wants no mail. 404 where no newsletter is offered.
    """
    await _sign_up(
        ctx,
        request,
        address=data.address,
        consented=data.consent,
        version=data.privacy_version,
        locale=i18n.negotiate_locale(data.locale),
    )
    return NewsletterAccepted("noted")
