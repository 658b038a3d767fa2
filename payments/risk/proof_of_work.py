"""Proof of work: what a browser does by itself instead of a puzzle for people.

The challenge and its solution are ALTCHA's, second version, made and verified here, so that no
third party hears of a donor. A challenge is for one form, or for a program, and lasts ten minutes.
The library verifies a solution as often as it is shown, and goes by its own clock: when a solution
ends is therefore ours, signed with the rest, and the shield spends each one once.
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
from payments.risk.rate_limit import TICKET_LIFETIME, Clearance, RiskLevel

CHALLENGE_LIFETIME = timedelta(minutes=10)
ALGORITHM = "PBKDF2/SHA-256"
KEY_PREFIX = "00"  # one try in 256 begins so
COST_FACTORS = {
    RiskLevel.NORMAL: 1,
    RiskLevel.CHALLENGE: 1,
    RiskLevel.RESTRICTED: 4,
}  # the rounds of each try
MAX_SOLUTION_LENGTH = 4096  # characters of a solution
API_BINDING = "api"  # what the challenge of a program is for
TICKET_PURPOSE = "queue"


def challenge(ctx: Context, binding: str, level: RiskLevel) -> dict[str, Any]:  # ALTCHA's own shape
    """Work for one form, or for a program. The more careful we are, the more of it."""
    made = altcha.create_challenge(
        ALGORITHM,
        ctx.settings.proof_of_work_cost * COST_FACTORS[level],
        key_prefix=KEY_PREFIX,
        data={"for": binding, "until": int((ctx.now() + CHALLENGE_LIFETIME).timestamp())},
        hmac_secret=_hmac_secrets(ctx)[0],
    )
    return dict(made.to_dict())


async def verify(ctx: Context, solution: str, binding: str) -> Clearance | None:
    """The pass that a solution is, if it is whole, in time and for this form."""
    payload = _parse_solution(solution)
    if payload is None:
        return None
    told = payload.challenge.parameters.data
    if not isinstance(told, dict) or told.get("for") != binding or not _is_in_time(told, ctx.now()):
        return None
    if not str(payload.solution.derived_key).startswith(KEY_PREFIX):
        return None  # or anybody could have us do the work
    for secret in _hmac_secrets(ctx):
        # The work of one try leaves the loop free: hashlib lets go of the interpreter.
        found = await asyncio.to_thread(altcha.verify_solution, payload, secret)
        if found.verified:
            nonce = str(payload.challenge.parameters.nonce)
            return Clearance(
                digest=hashlib.sha256(f"proof\0{nonce}".encode()).digest(),
                lifetime=CHALLENGE_LIFETIME * 2,
            )
    return None


def queue_ticket(ctx: Context, binding: str, wait: timedelta) -> str:
    """A place in the queue, for one form."""
    ready = int((ctx.now() + wait).timestamp())
    return signing.sign_token(
        ctx.settings.hmac_keys, TICKET_PURPOSE, [binding, ready], now=ctx.now()
    )


def ticket_wait(ctx: Context, ticket: str, binding: str) -> timedelta | None:
    """How much longer the ticket of a form has to wait: none or less when its turn has come."""
    try:
        what = signing.verify_token(
            ctx.settings.hmac_keys, TICKET_PURPOSE, ticket, now=ctx.now(), max_age=TICKET_LIFETIME
        )
    except LinkInvalid:
        return None
    match what:
        case [str(whose), int(ready)] if whose == binding:
            return timedelta(seconds=ready - ctx.now().timestamp())
        case _:
            return None


def clearance_of_ticket(ticket: str) -> Clearance:
    """What a ticket is worth when its turn has come."""
    return Clearance(
        digest=hashlib.sha256(f"ticket\0{ticket}".encode()).digest(), lifetime=TICKET_LIFETIME
    )


def _parse_solution(solution: str) -> altcha.Payload | None:
    if not 0 < len(solution) <= MAX_SOLUTION_LENGTH:
        return None
    try:
        told = msgspec.json.decode(base64.b64decode(solution, validate=True))
        payload = altcha.Payload.from_dict(told)
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    asked = payload.challenge.parameters
    sizes = isinstance(asked.nonce, str) and isinstance(asked.salt, str)
    return payload if sizes and asked.expires_at is None else None


def _is_in_time(challenge_data: dict[str, Any], now: datetime) -> bool:
    until = challenge_data.get("until")
    return type(until) is int and 0 <= until - now.timestamp() <= CHALLENGE_LIFETIME.total_seconds()


def _hmac_secrets(ctx: Context) -> list[bytes]:
    return signing.hmac_digests(ctx.settings.hmac_keys, "proof", "")
