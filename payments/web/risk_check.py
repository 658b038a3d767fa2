"""The request context of whoever gives, and the page where they prove or wait.

A client's address is the socket's or, behind proxies the operator trusts, the last hop that no
trusted proxy added. It goes no further than the request. The proof is computed on a page of ours
that follows the form, not on the article's: the newsroom's content policy may forbid fetching a
challenge there, and a reader who only looks should cost nothing.
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
from payments.infra import alerts, signing
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.risk import buckets, donor_notice, proof_of_work, rate_limit, risk_level
from payments.risk.rate_limit import ProofOfWorkRequired
from payments.risk.request_context import Clearance, RequestContext
from payments.web import origins, rendering, security_headers
from payments.web.forms import AnyRequest

FORM_TIMESTAMP_PURPOSE, FORM_LIFETIME = "form", timedelta(hours=24)
MIN_FILL_SECONDS = 2  # nobody reads a form and sends it so fast
HIDDEN_OBJECT_ID = "PAYMENTS_TRUSTED_PROXIES"
HONEYPOT = "website"  # a field that no person sees, and that a program fills in
RISK_FIELDS = frozenset({"rendered_at", "proof", "ticket", HONEYPOT})


def client_address(settings: Settings, request: AnyRequest) -> str:
    """Return the IP address a request comes from; empty if nobody can tell."""
    client_ip, hops = peer_address(request), forwarded_hops(request)
    while hops and is_trusted(settings, client_ip):
        hop = _without_port(hops.pop())
        if not hop:
            break
        client_ip = hop
    return client_ip


def peer_address(request: AnyRequest) -> str:
    """Return the IP address that the connection comes from: a proxy's, if there is one."""
    return request.client.host if request.client else ""


def forwarded_hops(request: AnyRequest) -> list[str]:
    """Return the addresses in X-Forwarded-For as they stand there, the newest last."""
    hops = ",".join(request.headers.getall("x-forwarded-for", [])).split(",")
    return [hop.strip() for hop in hops] if any(hop.strip() for hop in hops) else []


def is_trusted(settings: Settings, text: str) -> bool:
    """Whether an address is a proxy's that the operator trusts."""
    try:
        ip = ip_address(text)
    except ValueError:
        return False
    return any(ip in network for network in settings.trusted_proxies)


def _without_port(address: str) -> str:
    """Return an address without the port or the brackets that a proxy may add."""
    address = address.strip()
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def form_timestamp(ctx: Context, form_id: str) -> str:
    """Return the signed value of a form's field that says when the form was rendered."""
    rendered_at = int(ctx.now().timestamp())
    return signing.sign_token(
        ctx.settings.hmac_keys, FORM_TIMESTAMP_PURPOSE, [form_id, rendered_at], now=ctx.now()
    )


async def request_context_of_form(
    ctx: Context, request: AnyRequest, typed: Mapping[str, str], form_id: str
) -> RequestContext:
    """Return the context of whoever sends the form."""
    return RequestContext(
        client_ip=client_address(ctx.settings, request),
        attempt_id=form_id,
        is_suspicious=_is_suspicious(ctx, typed.get("rendered_at", ""), form_id),
        filled_honeypot=bool(typed.get(HONEYPOT)),
        clearance=await _clearance_of_form(ctx, typed, form_id),
        declaration_accepted=bool(typed.get(donor_notice.DECLARATION_FIELD)),
        origin=origins.request_origin(ctx.settings, request),
    )


async def _clearance_of_form(
    ctx: Context, typed: Mapping[str, str], form_id: str
) -> Clearance | None:
    """Return the clearance of a form's proof or, without one, of its ticket that has waited."""
    clearance = await proof_of_work.verify(ctx, typed.get("proof", ""), form_id)
    ticket = typed.get("ticket", "")
    wait = proof_of_work.ticket_wait(ctx, ticket, form_id)
    if clearance is None and wait is not None and wait <= timedelta(0):
        return proof_of_work.clearance_of_ticket(ticket)
    return clearance


async def request_context_of_api(
    ctx: Context,
    request: AnyRequest,
    idempotency_key: str,
    proof_payload: str | None,
    *,
    purpose: str = "",
    declaration_accepted: bool = False,
) -> RequestContext:
    """Return the context of a program that asks with this key."""
    clearance = await proof_of_work.verify(ctx, proof_payload or "", proof_of_work.API_BINDING)
    return RequestContext(
        client_ip=client_address(ctx.settings, request),
        purpose=purpose,
        attempt_id=idempotency_key,
        clearance=clearance,
        declaration_accepted=declaration_accepted,
        origin=origins.request_origin(ctx.settings, request),
    )


async def request_context_for_mail(
    ctx: Context, request: AnyRequest, typed: Mapping[str, str], form_id: str, purpose: str
) -> RequestContext:
    """Return the context of whoever sends a form that has us mail somebody."""
    return RequestContext(
        client_ip=client_address(ctx.settings, request),
        purpose=purpose,
        attempt_id=form_id,
        clearance=await _clearance_of_form(ctx, typed, form_id),
    )


async def credit_paid_network(ctx: Context, request: AnyRequest, contribution_id: str) -> None:
    """Credit the network of somebody who is back from Stripe's page, and has paid."""
    await rate_limit.credit_paid_network(
        ctx, client_address(ctx.settings, request), contribution_id
    )


def _is_suspicious(ctx: Context, token: str, form_id: str) -> bool:
    try:
        rendered_id, rendered_at = signing.verify_token(
            ctx.settings.hmac_keys,
            FORM_TIMESTAMP_PURPOSE,
            token,
            tuple[str, int],
            now=ctx.now(),
            max_age=FORM_LIFETIME,
        )
    except LinkInvalid:
        return True
    is_too_fast = ctx.now().timestamp() - rendered_at < MIN_FILL_SECONDS
    return rendered_id != form_id or is_too_fast


async def render_challenge(
    ctx: Context,
    request_context: RequestContext,
    typed: Mapping[str, str],
    form_id: str,
    error: ProofOfWorkRequired,
    *,
    action: str = "/donate",
) -> Response[str]:
    """Return the page before the payment, or before the form of `action` has us mail somebody, on
    which the browser computes or the reader waits.
    """
    await _report_hidden_readers(ctx, request_context.client_ip)
    ticket = typed.get("ticket", "")
    wait = proof_of_work.ticket_wait(ctx, ticket, form_id)
    if wait is None or wait <= timedelta(0):  # none yet, or it was used
        wait = await rate_limit.queue_wait(ctx, request_context)
        ticket = proof_of_work.queue_ticket(ctx, form_id, wait)
    fields = {name: value for name, value in typed.items() if name not in {"proof", HONEYPOT}}
    challenge = proof_of_work.challenge(ctx, form_id, error.level)
    answer = rendering.render(
        ctx,
        "proof_of_work.html",
        status=error.status,
        action=action,
        fields={**fields, "intent": form_id, "ticket": ticket, "proof": ""},
        seconds=max(1, round(wait.total_seconds())),
        challenge=msgspec.json.encode(challenge).decode(),
    )
    answer.headers["content-security-policy"] = security_headers.policy_with_script(ctx.settings)
    return answer


async def _report_hidden_readers(ctx: Context, client_ip: str) -> None:
    """Raise an alert if a limit was reached by an address that no reader can have.

    It is a proxy's that is not trusted: all readers behind it share the limits of one network.
    """
    try:
        ip = ip_address(client_ip)
    except ValueError:
        is_hidden = True
    else:
        is_hidden = not ip.is_global and ip not in buckets.TOR_CIRCUITS
    if is_hidden and ctx.settings.uses_https:
        async with ctx.sessions.begin() as session:
            await alerts.raise_alert(
                session, AlertKind.READERS_HIDDEN, object_id=HIDDEN_OBJECT_ID, now=ctx.now()
            )


@get(
    "/api/challenge",
    operation_id="getChallenge",
    summary="Work to do when a contribution is answered 428",
    tags=["Contributions"],
)
async def get_challenge(ctx: NamedDependency[Context]) -> dict[str, Any]:
    """Return an ALTCHA challenge (version 2). Solve it within ten minutes and send the payload, in
    base64, as `proof` with the same contribution.
    """
    async with ctx.sessions() as session:
        level = await risk_level.current_level(session, ctx.now())
    return proof_of_work.challenge(ctx, proof_of_work.API_BINDING, level)
