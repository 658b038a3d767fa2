"""The newsletter box, what its mail opens, and the same for programs.

The box is a form of its own: nothing of it travels with a gift or a reminder, and nobody but the
reader ticks it. Every address gets the same answer. Opening a link changes nothing; the button
behind it does.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from payments.core import i18n
from payments.core.errors import LinkSpent, PaymentsError
from payments.infra.context import Runtime
from payments.risk import rate_limit as crowds
from payments.signups import address_vault, newsletter, reminder_sender
from payments.web import forms, templates
from payments.web import locale as web_locale
from payments.web.api.contributions import Locale
from payments.web.donate import risk_check
from payments.web.errors import problems
from payments.web.forms import SMALL, AnyRequest, exactly

A_NETWORK_MAY, IN = 3, reminder_sender.AN_HOUR  # sign-ups, before it waits behind the others
FIELDS = {"privacy_version": "consent"}  # where the form shows what is wrong with another field


def box(
    rt: Runtime,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """What the box shows, as it was filled in; None where no newsletter is offered."""
    if not newsletter.is_offered(rt.settings):
        return None
    typed, current = typed or {}, rt.settings.privacy_version
    return {
        "privacy_url": rt.settings.privacy_url,
        "privacy_version": current,
        "preview_url": rt.settings.newsletter_preview_url,
        "address": typed.get("address", ""),
        # a tick was for the policy that stood beside it
        "ticked": bool(typed.get("consent")) and typed.get("privacy_version") == current,
        "errors": dict(errors or {}),
    }


def _spent(request: AnyRequest, error: LinkSpent) -> Response[str]:
    """One page for a link that was used, is too old, was cut short, or was guessed."""
    rt: Runtime = request.app.state.rt
    again = newsletter.is_offered(rt.settings)
    return templates.page(rt, "newsletter_spent.html", status=error.status, again=again)


class NewsletterPage(Controller):
    path = "/newsletter"
    include_in_schema = False

    @get()
    async def show(self, rt: NamedDependency[Runtime]) -> Response[str]:
        """The box on a page of its own."""
        newsletter.check_offered(rt.settings)
        return templates.page(rt, "newsletter.html", newsletter=box(rt))

    @post(request_max_body_size=SMALL)
    async def ask(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[str]:
        """Note the wish, or show what to mend with nothing lost."""
        newsletter.check_offered(rt.settings)
        sent = await forms.typed(request)
        try:
            late = await _note(
                rt,
                request,
                address=sent.get("address", ""),
                agreed=bool(sent.get("consent")),
                version=sent.get("privacy_version", ""),
                speaks=web_locale.spoken(),
            )
        except PaymentsError as error:
            field = FIELDS.get(error.field or "", error.field or "")
            shown = box(rt, sent, {field: web_locale.told(error)})
            return templates.page(rt, "newsletter.html", status=error.status, newsletter=shown)
        return templates.page(rt, "newsletter_asked.html", late=late)


class MailboxPages(Controller):
    """What the confirmation leads to, by addresses that do not say of what."""

    path = "/mailbox"
    include_in_schema = False
    exception_handlers = {LinkSpent: _spent}  # noqa: RUF012 - litestar's

    @get("/confirm/{signed:str}")
    async def what(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[str]:
        """What was agreed to, and the button. Programs that look into mails do not press it."""
        row = await newsletter.to_prove(rt, signed)
        if row.proved_at is not None:
            return _confirmed(rt)
        return templates.page(
            rt,
            "newsletter_confirm.html",
            signed=signed,
            privacy_url=rt.settings.privacy_url,
            privacy_version=row.privacy_version,
        )

    @post("/confirm/{signed:str}", request_max_body_size=SMALL)
    async def confirm(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[str]:
        """The mailbox is proved, and its address handed over."""
        await newsletter.confirm(rt, signed)
        return _confirmed(rt)

    @get("/never/{signed:str}")
    async def ask_never(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[str]:
        """The button that suppresses an address."""
        newsletter.owner_who_wants_none(rt, signed)
        return templates.page(rt, "newsletter_never.html", signed=signed, done=False)

    @post("/never/{signed:str}", request_max_body_size=SMALL)
    async def never(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[str]:
        """Never again, whoever types the address."""
        await newsletter.never(rt, newsletter.owner_who_wants_none(rt, signed))
        return templates.page(rt, "newsletter_never.html", signed=signed, done=True)


def _confirmed(rt: Runtime) -> Response[str]:
    return templates.page(
        rt, "newsletter_confirmed.html", preview_url=rt.settings.newsletter_preview_url
    )


async def _note(
    rt: Runtime, request: AnyRequest, *, address: str, agreed: bool, version: str, speaks: str
) -> bool:
    """Keep a wish whose mailbox is to be proved. Gives whether the proof will take a while."""
    mailbox = address_vault.normal(address)
    newsletter.check_consent(rt.settings, agreed=agreed, version=version)
    network = risk_check.address(rt.settings, request)
    async with rt.sessions.begin() as session:
        crowded = await crowds.is_crowd(
            rt, session, network, "remind", most=A_NETWORK_MAY, period=IN
        )
        await newsletter.ask(
            session, rt.settings, address=mailbox, crowded=crowded, now=rt.now(), tongue=speaks
        )
        return await reminder_sender.is_crowded(session, rt.now())


# --- for programs ---------------------------------------------------------------------------------


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address, and its owner's own consent to the privacy policy.

    `privacy_version` is the version that was shown to them. One that is no longer in force is
    refused: show them the new one.
    """

    address: Annotated[str, msgspec.Meta(max_length=320)]
    consent: bool
    privacy_version: Annotated[str, msgspec.Meta(max_length=64)]
    locale: Locale | None = None


class Noted(msgspec.Struct, frozen=True):
    """The same for every address."""

    status: Literal["noted"]


WANTED = {
    "address": "an e-mail address of at most 320 characters",
    "consent": "true, once the reader has agreed",
    "privacy_version": "the version of the privacy policy that was shown, as text",
    "locale": "a language, such as en or pt-BR",
}


def _offered(request: AnyRequest) -> None:
    newsletter.check_offered(request.app.state.rt.settings)


@post(
    "/api/newsletter",
    operation_id="askForNewsletter",
    summary="Ask for the newsletter",
    tags=["Newsletter"],
    before_request=exactly(Asked, WANTED, nothing="Nothing was noted.", first=_offered),
    request_max_body_size=SMALL,
    status_code=202,
    responses=problems(400, 404, 413, 415, 422, 503),
)
async def ask(rt: NamedDependency[Runtime], request: AnyRequest, data: JSONBody[Asked]) -> Noted:
    """Whoever owns the mailbox gets one mail to confirm it. Once they have, the address goes to the
    newsroom's own mailing system, and is erased here. The answer does not tell whether the address
    is known or wants no mail. 404 where no newsletter is offered.
    """
    await _note(
        rt,
        request,
        address=data.address,
        agreed=data.consent,
        version=data.privacy_version,
        speaks=i18n.negotiate(data.locale),
    )
    return Noted("noted")
