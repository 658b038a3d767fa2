"""A second opinion on DKIM signatures: written from RFC 6376, on another library than the signer's.

It knows only what our mails use: rsa-sha256, relaxed headers and body.
"""

import base64
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key


def tags_of(value: str) -> dict[str, str]:
    """The tags of a signature or of a record, without blanks in their values."""
    pairs = (part.partition("=") for part in value.split(";") if part.strip())
    return {name.strip(): re.sub(r"\s+", "", text) for name, _, text in pairs}


def headers_of(raw: bytes) -> list[tuple[str, str]]:
    """The headers of a mail, in lower case and relaxed."""
    unfolded = re.sub(r"\r\n(?=[ \t])", "", raw.partition(b"\r\n\r\n")[0].decode("ascii"))
    pairs = (line.partition(":") for line in unfolded.split("\r\n"))
    return [
        (name.strip().lower(), re.sub(r"[ \t]+", " ", value).strip()) for name, _, value in pairs
    ]


def signature_of(raw: bytes) -> dict[str, str]:
    """The tags of a mail's only signature."""
    (value,) = (value for name, value in headers_of(raw) if name == "dkim-signature")
    return tags_of(value)


def is_signed(raw: bytes, record: str) -> bool:
    """Whether a mail is as it was when whoever published this record signed it."""
    tags = signature_of(raw)
    assert (tags["v"], tags["a"], tags["c"]) == ("1", "rsa-sha256", "relaxed/relaxed")
    body = re.sub(rb"[ \t]+(?=\r\n)", b"", raw.partition(b"\r\n\r\n")[2])
    body = re.sub(rb"[ \t]+", b" ", body).rstrip(b"\r\n") + b"\r\n"
    if base64.b64encode(hashlib.sha256(body).digest()).decode() != tags["bh"]:
        return False
    left = headers_of(raw)
    lines = []
    for name in tags["h"].lower().split(":"):
        found = next((one for one in reversed(left) if one[0] == name), None)
        if found is not None:
            left.remove(found)
            lines.append(f"{name}:{found[1]}\r\n")
    (own,) = (value for name, value in headers_of(raw) if name == "dkim-signature")
    emptied = re.sub(r"(\bb=)[^;]*", r"\1", own).rstrip()
    signed = "".join([*lines, f"dkim-signature:{emptied}"]).encode()
    key = load_der_public_key(base64.b64decode(tags_of(record)["p"]))
    assert isinstance(key, RSAPublicKey)
    try:
        key.verify(base64.b64decode(tags["b"]), signed, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
