"""Secrets of ours: keyed hashes to find a person by without keeping the address, and signed links.

Every use has a purpose of its own, so that a value made for one opens nothing else. Keys are the
operator's, newest first: new values are made with the newest, old ones are still found and opened
with the others.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

from itsdangerous import BadData, URLSafeSerializer, base64_decode, base64_encode

from payments.core.errors import LinkInvalid

SigningKeys = Sequence[bytes]


def hmac_digests(keys: SigningKeys, purpose: str, text: str) -> list[bytes]:
    """HMAC-SHA256 of the text under each key, the newest key's first."""
    return [hmac.new(key, f"{purpose}\0{text}".encode(), hashlib.sha256).digest() for key in keys]


def sign_token(keys: SigningKeys, purpose: str, payload: object, *, now: datetime) -> str:
    """A text for a link: what it is about and when it was made, signed with the newest key."""
    signed = _serializer(keys, purpose).dumps([int(now.timestamp()), payload])
    assert isinstance(signed, str)
    return signed


def verify_token(
    keys: SigningKeys, purpose: str, token: str, *, now: datetime, max_age: timedelta
) -> object:
    """What a link is about. Raises LinkSpent for one that is not ours or is too old."""
    spent = LinkInvalid("This link has expired or is not complete. Nothing was changed.")
    try:
        made_at, what = _serializer(keys, purpose).loads(token)
    except BadData:
        raise spent from None
    if not _has_canonical_signature(token):
        raise spent
    if not -60 <= now.timestamp() - made_at <= max_age.total_seconds():
        raise spent
    return what


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
