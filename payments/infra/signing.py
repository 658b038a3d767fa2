"""Secrets of ours: keyed hashes to find a person by without keeping the address, and signed links.

Every use has a purpose of its own, so that a value made for one opens nothing else. Keys are the
operator's, newest first: new values are made with the newest, old ones are still found and opened
with the others.
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


def hmac_digests(keys: SigningKeys, purpose: str, text: str) -> list[bytes]:
    """HMAC-SHA256 of the text under each key, the newest key's first."""
    return [hmac.new(key, f"{purpose}\0{text}".encode(), hashlib.sha256).digest() for key in keys]


def sign_token(keys: SigningKeys, purpose: str, payload: object, *, now: datetime) -> str:
    """A text for a link: what it is about and when it was made, signed with the newest key."""
    signed = _serializer(keys, purpose).dumps([int(now.timestamp()), payload])
    assert isinstance(signed, str)
    return signed


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
    invalid = LinkInvalid("This link has expired or is not complete. Nothing was changed.")
    try:
        signed_at, payload = _serializer(keys, purpose).loads(token)
    except BadData:
        raise invalid from None
    if not _has_canonical_signature(token):
        raise invalid
    if not -60 <= now.timestamp() - signed_at <= max_age.total_seconds():
        raise invalid
    try:
        return msgspec.convert(payload, payload_type)
    except msgspec.ValidationError:
        raise invalid from None


def _has_canonical_signature(token: str) -> bool:
    """Whether the signature is as we write it: decoding passes over spare bits and odd characters.

    What is spent once is known by its text, so another text of the same signature is none of ours.
    """
    signature = token.rpartition(".")[2]
    return base64_encode(base64_decode(signature)).decode() == signature


def _serializer(keys: SigningKeys, purpose: str) -> URLSafeSerializer:
    """It signs with the last of its keys and opens with any."""
    return URLSafeSerializer(
        list(reversed(keys)), salt=purpose, signer_kwargs={"digest_method": hashlib.sha256}
    )
