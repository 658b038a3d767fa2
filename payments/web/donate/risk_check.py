"""What the shield is told of a visit, and the page of somebody who has to prove or to wait.

The client's address is the socket's, or, behind a proxy the operator trusts, the last hop that no
trusted proxy vouches for. It goes no further than the request. The proof is found on our own page,
which follows the form by itself, and not on the article's: there the newsroom's policy may forbid
to fetch a challenge, and a reader who only looks should cost nobody anything.
"""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from payments.core.errors import LinkInvalid
from payments.core.settings import Settings
from payments.infra import signing
from payments.infra.context import Context
from payments.risk import donor_notice, proof_of_work, rate_limit
from payments.risk.rate_limit import ProofOfWorkRequired, RequestContext
from payments.web import origins, rendering, security_headers
from payments.web.forms import AnyRequest

FORM_TIMESTAMP_PURPOSE, FORM_LIFETIME = "form", timedelta(hours=24)
MIN_FILL_SECONDS = 2  # seconds: nobody reads a form and sends it so fast
HONEYPOT = "website"  # no person sees it; what fills in every field fills it in
RISK_FIELDS = frozenset({"made", "proof", "ticket", HONEYPOT})


def client_address(settings: Settings, request: AnyRequest) -> str:
    """Where a request comes from; empty if nobody can tell."""
    found = request.client.host if request.client else ""
    hops = ",".join(request.headers.getall("x-forwarded-for", [])).split(",")
    while hops and _is_trusted(settings, found):
        hop = _without_port(hops.pop())
        if not hop:
            break
        found = hop
    return found


def _is_trusted(settings: Settings, text: str) -> bool:
    try:
        found = ip_address(text)
    except ValueError:
        return False
    return any(found in network for network in settings.trusted_proxies)


def _without_port(address: str) -> str:
    """An address without the port or the brackets that a proxy may write with it."""
    address = address.strip()
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def form_timestamp(ctx: Context, form_id: str) -> str:
    """A form's own field: when it was made, signed."""
    when = int(ctx.now().timestamp())
    return signing.sign_token(
        ctx.settings.hmac_keys, FORM_TIMESTAMP_PURPOSE, [form_id, when], now=ctx.now()
    )


async def request_context_of_form(
    ctx: Context, request: AnyRequest, typed: Mapping[str, str], form_id: str
) -> RequestContext:
    """What there is to know of somebody who sends the form."""
    brings = await proof_of_work.verify(ctx, typed.get("proof", ""), form_id)
    ticket = typed.get("ticket", "")
    if brings is None and (left := proof_of_work.ticket_wait(ctx, ticket, form_id)) is not None:
        brings = proof_of_work.clearance_of_ticket(ticket) if left <= timedelta(0) else None
    return RequestContext(
        client_ip=client_address(ctx.settings, request),
        attempt_id=form_id,
        is_suspicious=_is_suspicious(ctx, typed.get("made", ""), form_id),
        filled_honeypot=bool(typed.get(HONEYPOT)),
        clearance=brings,
        declaration_accepted=bool(typed.get(donor_notice.DECLARATION_FIELD)),
        origin=origins.request_origin(ctx.settings, request),
    )


async def request_context_of_api(
    ctx: Context,
    request: AnyRequest,
    idempotency_key: str,
    proof_payload: str | None,
    *,
    declared: bool = False,
) -> RequestContext:
    """What there is to know of a program that asks with this key."""
    brings = await proof_of_work.verify(ctx, proof_payload or "", proof_of_work.API_BINDING)
    return RequestContext(
        client_ip=client_address(ctx.settings, request),
        attempt_id=idempotency_key,
        clearance=brings,
        declaration_accepted=declared,
        origin=origins.request_origin(ctx.settings, request),
    )


async def credit_paid_network(ctx: Context, request: AnyRequest, contribution_id: str) -> None:
    """Somebody is back from Stripe's page, and has paid."""
    await rate_limit.credit_paid_network(
        ctx, client_address(ctx.settings, request), contribution_id
    )


def _is_suspicious(ctx: Context, token: str, form_id: str) -> bool:
    try:
        what = signing.verify_token(
            ctx.settings.hmac_keys,
            FORM_TIMESTAMP_PURPOSE,
            token,
            now=ctx.now(),
            max_age=FORM_LIFETIME,
        )
    except LinkInvalid:
        return True
    match what:
        case [str(whose), int(when)]:
            return whose != form_id or ctx.now().timestamp() - when < MIN_FILL_SECONDS
        case _:
            return True


async def render_challenge(
    ctx: Context,
    request_context: RequestContext,
    typed: Mapping[str, str],
    form_id: str,
    needed: ProofOfWorkRequired,
) -> Response[str]:
    """The page between the form and the payment: the browser works, or the reader waits."""
    ticket = typed.get("ticket", "")
    left = proof_of_work.ticket_wait(ctx, ticket, form_id)
    if left is None or left <= timedelta(0):  # none yet, or it was spent
        left = await rate_limit.queue_wait(ctx, request_context)
        ticket = proof_of_work.queue_ticket(ctx, form_id, left)
    kept = {name: value for name, value in typed.items() if name not in {"proof", HONEYPOT}}
    answer = rendering.render(
        ctx,
        "proof_of_work.html",
        status=needed.status,
        fields={**kept, "intent": form_id, "ticket": ticket, "proof": ""},
        seconds=max(1, round(left.total_seconds())),
        challenge=msgspec.json.encode(proof_of_work.challenge(ctx, form_id, needed.level)).decode(),
    )
    answer.headers["content-security-policy"] = security_headers.policy_with_script(ctx.settings)
    return answer


@get(
    "/api/challenge",
    operation_id="getChallenge",
    summary="Work to do when a contribution is answered 428",
    tags=["Contributions"],
)
async def get_challenge(ctx: NamedDependency[Context]) -> dict[str, Any]:
    """An ALTCHA challenge (version 2). Solve it within ten minutes and send the payload, in
    base64, as `proof` with the same contribution.
    """
    async with ctx.sessions() as session:
        at = await rate_limit.current_level(session, ctx.now())
    return proof_of_work.challenge(ctx, proof_of_work.API_BINDING, at)
