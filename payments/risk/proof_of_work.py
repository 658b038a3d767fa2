"""Proof of work: what a browser computes by itself, instead of a puzzle for people.

Challenges and solutions are ALTCHA's (https://altcha.org/docs, version 2), made and verified here,
so that no third party learns of a donor. A challenge is bound to one form, or to programs, and
lasts ten minutes. The library verifies a solution as often as it is shown, by its own clock: the
end of a challenge is therefore ours, signed with the rest, and `rate_limit` accepts each solution
once. Without JavaScript a queue ticket takes the place of a solution.
"""

import asyncio
import base64
import binascii
import hashlib
from datetime import datetime, timedelta
from typing import Any

import altcha
import msgspec

from payments.core.errors import LinkInvalid
from payments.infra import signing
from payments.infra.context import Context
from payments.risk.request_context import Clearance
from payments.risk.risk_level import RiskLevel

CHALLENGE_LIFETIME = timedelta(minutes=10)
ALGORITHM = "PBKDF2/SHA-256"
KEY_PREFIX = "00"  # one derived key in 256 begins so
# Times the rounds of PBKDF2 that each derived key takes.
COST_FACTORS = {RiskLevel.NORMAL: 1, RiskLevel.CHALLENGE: 1, RiskLevel.RESTRICTED: 4}
MAX_SOLUTION_LENGTH = 4096  # characters
API_BINDING = "api"  # what a challenge for programs is bound to
HMAC_PURPOSE = "proof of work"
TICKET_PURPOSE, TICKET_LIFETIME = "queue", timedelta(hours=1)


def challenge(ctx: Context, binding: str, level: RiskLevel) -> dict[str, Any]:  # ALTCHA's own shape
    """Return a challenge for one form, or for programs, as costly as the risk level asks."""
    created = altcha.create_challenge(
        ALGORITHM,
        ctx.settings.proof_of_work_cost * COST_FACTORS[level],
        key_prefix=KEY_PREFIX,
        data={"for": binding, "until": int((ctx.now() + CHALLENGE_LIFETIME).timestamp())},
        hmac_secret=_hmac_secrets(ctx)[0],
    )
    return dict(created.to_dict())


async def verify(ctx: Context, solution: str, binding: str) -> Clearance | None:
    """Return the clearance of a solution; None if it is malformed, wrong, late or not for this."""
    payload = _parse_solution(solution)
    if payload is None:
        return None
    data = payload.challenge.parameters.data
    if not isinstance(data, dict) or data.get("for") != binding or not _is_in_time(data, ctx.now()):
        return None
    if not str(payload.solution.derived_key).startswith(KEY_PREFIX):
        return None  # without deriving a key, which anybody could have us do
    for secret in _hmac_secrets(ctx):
        # In a thread: hashlib releases the interpreter's lock while it derives.
        result = await asyncio.to_thread(altcha.verify_solution, payload, secret)
        if result.verified:
            nonce = str(payload.challenge.parameters.nonce)
            return Clearance(
                digest=hashlib.sha256(f"proof\0{nonce}".encode()).digest(),
                lifetime=CHALLENGE_LIFETIME * 2,
            )
    return None


def queue_ticket(ctx: Context, binding: str, wait: timedelta) -> str:
    """Return a signed place in the queue, for one form, that may pass after `wait`."""
    ready_at = int((ctx.now() + wait).timestamp())
    return signing.sign_token(
        ctx.settings.hmac_keys, TICKET_PURPOSE, [binding, ready_at], now=ctx.now()
    )


def ticket_wait(ctx: Context, ticket: str, binding: str) -> timedelta | None:
    """Return how much longer the ticket of a form has to wait: zero or less once it may pass.

    None for a ticket that is forged, expired or bound to another form.
    """
    try:
        bound_to, ready_at = signing.verify_token(
            ctx.settings.hmac_keys,
            TICKET_PURPOSE,
            ticket,
            tuple[str, int],
            now=ctx.now(),
            max_age=TICKET_LIFETIME,
        )
    except LinkInvalid:
        return None
    return timedelta(seconds=ready_at - ctx.now().timestamp()) if bound_to == binding else None


def clearance_of_ticket(ticket: str) -> Clearance:
    """Return the clearance of a ticket that may pass."""
    return Clearance(
        digest=hashlib.sha256(f"ticket\0{ticket}".encode()).digest(), lifetime=TICKET_LIFETIME
    )


def _parse_solution(solution: str) -> altcha.Payload | None:
    if not 0 < len(solution) <= MAX_SOLUTION_LENGTH:
        return None
    try:
        payload = altcha.Payload.from_dict(
            msgspec.json.decode(base64.b64decode(solution, validate=True))
        )
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    parameters = payload.challenge.parameters
    is_typed = isinstance(parameters.nonce, str) and isinstance(parameters.salt, str)
    return payload if is_typed and parameters.expires_at is None else None


def _is_in_time(challenge_data: dict[str, Any], now: datetime) -> bool:
    until = challenge_data.get("until")
    return type(until) is int and 0 <= until - now.timestamp() <= CHALLENGE_LIFETIME.total_seconds()


def _hmac_secrets(ctx: Context) -> list[bytes]:
    return signing.hmac_digests(ctx.settings.hmac_keys, HMAC_PURPOSE, "")
