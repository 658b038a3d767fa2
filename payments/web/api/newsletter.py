"""The newsletter for programs."""

from typing import Annotated, Literal

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from payments.core import i18n
from payments.core.identifiers import new_row_id
from payments.infra.context import Context
from payments.risk import form_limit
from payments.signups import newsletter
from payments.web import risk_check
from payments.web.api.contributions import Locale, Proof
from payments.web.errors import problem_responses
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, strict_json
from payments.web.newsletter import sign_up

FIELD_HELP = {
    "address": "an e-mail address of at most 320 characters",
    "consent": "true, once the reader has agreed",
    "privacy_version": "the version of the privacy policy that was shown, as text",
    "locale": "a language, such as en or pt-BR",
    "proof": "the solution of a challenge, in base64",
}


class NewsletterSignup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address, and its owner's own consent to the privacy policy.

    `privacy_version` is the version that was shown to them. One that is no longer in force is
    refused: show them the new one. `proof` is needed after an answer of 428: see `getChallenge`.
    """

    address: Annotated[str, msgspec.Meta(max_length=320)]
    consent: bool
    privacy_version: Annotated[str, msgspec.Meta(max_length=64)]
    locale: Locale | None = None
    proof: Proof | None = None


class NewsletterAccepted(msgspec.Struct, frozen=True):
    """The same for every address."""

    status: Literal["noted"]


def _require_enabled(request: AnyRequest) -> None:
    newsletter.require_enabled(request.app.state.ctx.settings)


@post(
    "/api/newsletter",
    operation_id="askForNewsletter",
    summary="Get the newsletter",
    tags=["Newsletter"],
    before_request=strict_json(
        NewsletterSignup,
        FIELD_HELP,
        no_effect_message="Nothing was saved.",
        precondition=_require_enabled,
    ),
    request_max_body_size=SMALL_FORM_BYTES,
    status_code=202,
    responses=problem_responses(400, 404, 413, 415, 422, 428, 429, 503),
)
async def create_signup(
    ctx: NamedDependency[Context], request: AnyRequest, data: JSONBody[NewsletterSignup]
) -> NewsletterAccepted:
    """Whoever owns the mailbox gets one mail to confirm it. Once they have, the address goes to the
    newsroom's own mailing system, and is erased here. The answer does not tell whether the address
    is known or wants no mail. 404 where no newsletter is offered.
    """
    await sign_up.sign_up(
        ctx,
        await risk_check.request_context_of_api(
            ctx, request, new_row_id(), data.proof, purpose=form_limit.SIGN_UP
        ),
        address=data.address,
        agreed=data.consent,
        privacy_version=data.privacy_version,
        locale=i18n.negotiate_locale(data.locale, offered=ctx.settings.offered_locales),
    )
    return NewsletterAccepted("noted")
