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

from payments.core.errors import LinkSpent
from payments.infra import signing
from payments.infra.context import Runtime
from payments.risk.rate_limit import TICKET_LASTS, Level, Pass

LASTS = timedelta(minutes=10)
ALGORITHM = "PBKDF2/SHA-256"
PREFIX = "00"  # one try in 256 begins so
TIMES = {Level.CALM: 1, Level.ELEVATED: 1, Level.PAUSED: 4}  # the rounds of each try
LONGEST = 4096  # characters of a solution
PROGRAM = "api"  # what the challenge of a program is for
QUEUE = "queue"


def challenge(rt: Runtime, bound: str, at: Level) -> dict[str, Any]:  # ALTCHA's own shape
    """Work for one form, or for a program. The more careful we are, the more of it."""
    made = altcha.create_challenge(
        ALGORITHM,
        rt.settings.shield_work * TIMES[at],
        key_prefix=PREFIX,
        data={"for": bound, "until": int((rt.now() + LASTS).timestamp())},
        hmac_secret=_secrets(rt)[0],
    )
    return dict(made.to_dict())


async def verify(rt: Runtime, shown: str, bound: str) -> Pass | None:
    """The pass that a solution is, if it is whole, in time and for this form."""
    payload = _read(shown)
    if payload is None:
        return None
    told = payload.challenge.parameters.data
    if not isinstance(told, dict) or told.get("for") != bound or not _in_time(told, rt.now()):
        return None
    if not str(payload.solution.derived_key).startswith(PREFIX):
        return None  # or anybody could have us do the work
    for secret in _secrets(rt):
        # The work of one try leaves the loop free: hashlib lets go of the interpreter.
        found = await asyncio.to_thread(altcha.verify_solution, payload, secret)
        if found.verified:
            nonce = str(payload.challenge.parameters.nonce)
            return Pass(digest=hashlib.sha256(f"proof\0{nonce}".encode()).digest(), lasts=LASTS * 2)
    return None


def ticket(rt: Runtime, bound: str, wait: timedelta) -> str:
    """A place in the queue, for one form."""
    ready = int((rt.now() + wait).timestamp())
    return signing.sign(rt.settings.keys, QUEUE, [bound, ready], now=rt.now())


def waiting(rt: Runtime, shown: str, bound: str) -> timedelta | None:
    """How much longer the ticket of a form has to wait: none or less when its turn has come."""
    try:
        what = signing.opened(rt.settings.keys, QUEUE, shown, now=rt.now(), lasts=TICKET_LASTS)
    except LinkSpent:
        return None
    match what:
        case [str(whose), int(ready)] if whose == bound:
            return timedelta(seconds=ready - rt.now().timestamp())
        case _:
            return None


def pass_of_ticket(shown: str) -> Pass:
    """What a ticket is worth when its turn has come."""
    return Pass(digest=hashlib.sha256(f"ticket\0{shown}".encode()).digest(), lasts=TICKET_LASTS)


def _read(shown: str) -> altcha.Payload | None:
    if not 0 < len(shown) <= LONGEST:
        return None
    try:
        told = msgspec.json.decode(base64.b64decode(shown, validate=True))
        payload = altcha.Payload.from_dict(told)
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    asked = payload.challenge.parameters
    sizes = isinstance(asked.nonce, str) and isinstance(asked.salt, str)
    return payload if sizes and asked.expires_at is None else None


def _in_time(told: dict[str, Any], now: datetime) -> bool:
    until = told.get("until")
    return type(until) is int and 0 <= until - now.timestamp() <= LASTS.total_seconds()


def _secrets(rt: Runtime) -> list[bytes]:
    return signing.keyed_hashes(rt.settings.keys, "proof", "")
