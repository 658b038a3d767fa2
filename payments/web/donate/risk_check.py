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

from payments.core.errors import LinkSpent
from payments.core.settings import Settings
from payments.infra import signing
from payments.infra.context import Runtime
from payments.risk import donor_notice, proof_of_work, rate_limit
from payments.risk.rate_limit import Visit, WorkNeeded
from payments.web import origins, security_headers, templates
from payments.web.forms import AnyRequest

MADE, MADE_LASTS = "form", timedelta(hours=24)
BLINK = 2  # seconds: nobody reads a form and sends it so fast
TRAP = "website"  # no person sees it; what fills in every field fills it in
FIELDS = frozenset({"made", "proof", "ticket", TRAP})


def address(settings: Settings, request: AnyRequest) -> str:
    """Where a request comes from; empty if nobody can tell."""
    found = request.client.host if request.client else ""
    hops = ",".join(request.headers.getall("x-forwarded-for", [])).split(",")
    while hops and _is_trusted(settings, found):
        hop = _plain(hops.pop())
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


def _plain(hop: str) -> str:
    """An address without the port or the brackets that a proxy may write with it."""
    hop = hop.strip()
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def made(rt: Runtime, intent: str) -> str:
    """A form's own field: when it was made, signed."""
    when = int(rt.now().timestamp())
    return signing.sign(rt.settings.keys, MADE, [intent, when], now=rt.now())


async def of_form(rt: Runtime, request: AnyRequest, typed: Mapping[str, str], intent: str) -> Visit:
    """What there is to know of somebody who sends the form."""
    brings = await proof_of_work.verify(rt, typed.get("proof", ""), intent)
    ticket = typed.get("ticket", "")
    if brings is None and (left := proof_of_work.waiting(rt, ticket, intent)) is not None:
        brings = proof_of_work.pass_of_ticket(ticket) if left <= timedelta(0) else None
    return Visit(
        address=address(rt.settings, request),
        attempt=intent,
        odd=_is_odd(rt, typed.get("made", ""), intent),
        trapped=bool(typed.get(TRAP)),
        brings=brings,
        declared=bool(typed.get(donor_notice.FIELD)),
        origin=origins.origin(rt.settings, request),
    )


async def of_program(
    rt: Runtime, request: AnyRequest, key: str, shown: str | None, *, declared: bool = False
) -> Visit:
    """What there is to know of a program that asks with this key."""
    brings = await proof_of_work.verify(rt, shown or "", proof_of_work.PROGRAM)
    return Visit(
        address=address(rt.settings, request),
        attempt=key,
        brings=brings,
        declared=declared,
        origin=origins.origin(rt.settings, request),
    )


async def welcome_back(rt: Runtime, request: AnyRequest, contribution_id: str) -> None:
    """Somebody is back from Stripe's page, and has paid."""
    await rate_limit.welcome_back(rt, address(rt.settings, request), contribution_id)


def _is_odd(rt: Runtime, shown: str, intent: str) -> bool:
    try:
        what = signing.opened(rt.settings.keys, MADE, shown, now=rt.now(), lasts=MADE_LASTS)
    except LinkSpent:
        return True
    match what:
        case [str(whose), int(when)]:
            return whose != intent or rt.now().timestamp() - when < BLINK
        case _:
            return True


async def ask_to_wait(
    rt: Runtime, visit: Visit, typed: Mapping[str, str], intent: str, needed: WorkNeeded
) -> Response[str]:
    """The page between the form and the payment: the browser works, or the reader waits."""
    ticket = typed.get("ticket", "")
    left = proof_of_work.waiting(rt, ticket, intent)
    if left is None or left <= timedelta(0):  # none yet, or it was spent
        left = await rate_limit.wait_for(rt, visit)
        ticket = proof_of_work.ticket(rt, intent, left)
    kept = {name: value for name, value in typed.items() if name not in {"proof", TRAP}}
    answer = templates.page(
        rt,
        "wait.html",
        status=needed.status,
        fields={**kept, "intent": intent, "ticket": ticket, "proof": ""},
        seconds=max(1, round(left.total_seconds())),
        challenge=msgspec.json.encode(proof_of_work.challenge(rt, intent, needed.level)).decode(),
    )
    answer.headers["content-security-policy"] = security_headers.with_script(rt.settings)
    return answer


@get(
    "/api/challenge",
    operation_id="getChallenge",
    summary="Work to do when a contribution is answered 428",
    tags=["Contributions"],
)
async def challenge(rt: NamedDependency[Runtime]) -> dict[str, Any]:
    """An ALTCHA challenge (version 2). Solve it within ten minutes and send the payload, in
    base64, as `proof` with the same contribution.
    """
    async with rt.sessions() as session:
        at = await rate_limit.level(session, rt.now())
    return proof_of_work.challenge(rt, proof_of_work.PROGRAM, at)
