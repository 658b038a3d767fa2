"""Signing with the operator's secret keys: HMACs, by which a person is found, and signed tokens.

Every use has its own purpose, so that a value made for one is not valid for another. Keys come
newest first: new values are made with the newest, and old values are still found and verified with
the others.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from itsdangerous import BadData, URLSafeSerializer, base64_decode, base64_encode

from payments.core.errors import LinkInvalid

SigningKeys = Sequence[bytes]
Payload = TypeVar("Payload")
MAX_CLOCK_SKEW_SECONDS = 60  # by which another process's clock may be ahead


def hmac_digests(keys: SigningKeys, purpose: str, text: str) -> list[bytes]:
    """Return the HMAC-SHA256 of a text under each key, the newest key's first."""
    return [hmac.new(key, f"{purpose}\0{text}".encode(), hashlib.sha256).digest() for key in keys]


def sign_token(keys: SigningKeys, purpose: str, payload: object, *, now: datetime) -> str:
    """Return a token for a link: a JSON payload and the time, signed with the newest key."""
    token = _serializer(keys, purpose).dumps([int(now.timestamp()), payload])
    assert isinstance(token, str)
    return token


def verify_token(
    keys: SigningKeys,
    purpose: str,
    token: str,
    payload_type: type[Payload],
    *,
    now: datetime,
    max_age: timedelta,
) -> Payload:
    """Return the payload of a token, as the type it was signed with, such as `tuple[str, int]`.

    Raises LinkInvalid for a token that is forged, was signed for another purpose, is too old, or
    carries something else.
    """
    invalid = LinkInvalid("This link has expired or is incomplete. Nothing was changed.")
    try:
        signed_at, payload = _serializer(keys, purpose).loads(token)
    except BadData:
        raise invalid from None
    if not _has_canonical_signature(token):
        raise invalid
    age = now.timestamp() - signed_at
    if not -MAX_CLOCK_SKEW_SECONDS <= age <= max_age.total_seconds():
        raise invalid
    try:
        return msgspec.convert(payload, payload_type)
    except msgspec.ValidationError:
        raise invalid from None


def _has_canonical_signature(token: str) -> bool:
    """Whether the signature is written as `sign_token` writes it.

    Base64 decoding ignores spare bits and foreign characters, so one signature has several texts. A
    token that is good once is remembered by its text, so only one text may be valid.
    """
    signature = token.rpartition(".")[2]
    return base64_encode(base64_decode(signature)).decode() == signature


def _serializer(keys: SigningKeys, purpose: str) -> URLSafeSerializer:
    """Return a serializer that signs with the newest key and verifies with any."""
    return URLSafeSerializer(
        list(reversed(keys)), salt=purpose, signer_kwargs={"digest_method": hashlib.sha256}
    )
