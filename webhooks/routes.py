"""POST /webhooks/stripe: 200 once the event is stored, or is not for us; 400 for what is not
Stripe's; 503 where Stripe should send it again.

The busiest address of all. What it needs is taken from the application's state and not injected:
two dependencies are two tasks for each request, which cost more than checking the signature.
"""

from typing import Any

from litestar import Request, post
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from payments.core.errors import BadWebhook, DatabaseUnavailable, PaymentsError
from payments.infra.context import Context
from payments.infra.metrics import WEBHOOKS, WebhookOutcome
from webhooks import endpoint, intake
from webhooks.intake import Inbox

OK_RESPONSE = ASGIResponse(body=b"null", status_code=200)  # the same for every event


@post(
    endpoint.PATH,
    include_in_schema=False,
    status_code=200,
    request_max_body_size=intake.MAX_BODY_BYTES,
)
async def receive_event(request: Request[Any, Any, Any]) -> ASGIApp:
    """Verify the signature, store the event and enqueue a sync of its object."""
    ctx: Context = request.app.state.ctx
    inbox: Inbox = request.app.state.inbox
    body, now = await request.body(), ctx.now()
    try:
        headers = request.headers.getall("stripe-signature", [])
        if len(headers) != 1:
            raise BadWebhook("There must be one Stripe-Signature header.")
        intake.verify_signature(body, headers[0], keys=ctx.settings.webhook_signing_keys, now=now)
        event = intake.decode(body, livemode=ctx.settings.livemode)
        new = await inbox.store(event, now=now)
    except intake.ForeignEvent:  # it is Stripe's: sent again, it would be no more ours
        WEBHOOKS.labels(WebhookOutcome.FOREIGN).inc()
        return OK_RESPONSE
    except PaymentsError as error:
        is_down = isinstance(error, DatabaseUnavailable)
        outcome = WebhookOutcome.UNAVAILABLE if is_down else WebhookOutcome.REFUSED
        WEBHOOKS.labels(outcome).inc()
        raise
    WEBHOOKS.labels(_outcome(inbox, event, new=new)).inc()
    return OK_RESPONSE


def _outcome(inbox: Inbox, event: intake.EventEnvelope, *, new: bool) -> WebhookOutcome:
    if not new:
        return WebhookOutcome.DUPLICATE
    return WebhookOutcome.ENQUEUED if inbox.enqueues(event) else WebhookOutcome.UNKNOWN
