"""What a mail server reports of the mails it delivered: bounces and complaints."""

from typing import Annotated, Literal

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from payments.core.errors import InvalidField
from payments.infra.context import Context
from payments.mail import refusals
from payments.signups import address_vault, reminders
from payments.signups.suppression import SuppressionReason
from payments.web.bearer_token import require_bearer_token
from payments.web.errors import problem_responses
from payments.web.forms import AnyRequest, strict_json

MAX_BODY_BYTES = 64 * 1024
FIELD_HELP = {
    "events": "a list of at most 200 of {kind: bounce or complaint, address, status}",
    "kind": "bounce or complaint",
    "status": "of a bounce, its enhanced status code: 5.1.1",
    "address": "an e-mail address of at most 320 characters",
}
SUPPRESSION_REASONS = {
    "bounce": SuppressionReason.BOUNCED,
    "complaint": SuppressionReason.COMPLAINED,
}


class MailEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a mail. Of a bounce `status` says whether it is about the mailbox."""

    kind: Literal["bounce", "complaint"]
    address: Annotated[str, msgspec.Meta(max_length=320)]
    status: Annotated[str, msgspec.Meta(max_length=32)] = ""


class MailEvents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The events of one report."""

    events: Annotated[list[MailEvent], msgspec.Meta(max_length=200)]


@post(
    "/webhooks/mail",
    operation_id="reportMailEvents",
    summary="Report bounces and complaints",
    tags=["Mail"],
    before_request=strict_json(MailEvents, FIELD_HELP, no_effect_message="Nothing was saved."),
    request_max_body_size=MAX_BODY_BYTES,
    status_code=200,
    responses=problem_responses(400, 404, 413, 415, 422, 503),
)
async def report_mail_events(
    ctx: NamedDependency[Context], request: AnyRequest, data: JSONBody[MailEvents]
) -> dict[str, int]:
    """Send `Authorization: Bearer` with PAYMENTS_MAIL_EVENTS_TOKEN. Stored is a keyed hash: of a
    bounce for half a year, of a complaint for good. A bounce counts if its `status` (RFC 3463: of
    5.1) says that the mailbox does not exist; any other is not about the mailbox, and one about
    this service raises an alert. A value that is no address is skipped.
    """
    require_bearer_token(request, ctx.settings.mail_events_token)
    taken = 0
    for event in data.events:
        if event.kind == "bounce" and not await _is_no_mailbox(ctx, event.status):
            continue
        try:
            hashes = await address_vault.address_hashes(ctx.settings, event.address)
        except InvalidField:
            continue
        async with ctx.sessions.begin() as session:
            await reminders.suppress_address(
                session, ctx.settings, hashes, SUPPRESSION_REASONS[event.kind], now=ctx.now()
            )
        taken += 1
    return {"taken": taken}


async def _is_no_mailbox(ctx: Context, status: str) -> bool:
    """Whether a bounce says that the mailbox does not exist. One about us raises an alert."""
    refusal = refusals.parse_status(status)
    if refusal is not None and refusal.is_about_us:
        async with ctx.sessions.begin() as session:
            await refusals.record_report(session, refusal, now=ctx.now())
    return refusal is not None and refusal.is_no_mailbox
