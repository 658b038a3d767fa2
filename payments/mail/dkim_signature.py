"""DKIM (RFC 6376): what proves a mail's sender to whoever receives it.

The signature covers the headers that a mail program shows or acts on, among them those of one-click
unsubscribing, as RFC 8058 demands. Each of them is named once more than it occurs, so that nobody
can add a second one on the way. Blanks and line ends may change on the way (relaxed).
"""

import base64

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from payments.core.settings import Settings

SIGNED_HEADERS = (
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Auto-Submitted",
)
NEW_KEY_BITS = 2048
MAX_STRING_LENGTH = 255  # of one string of a TXT record, which may hold several


def sign(settings: Settings, mail: bytes) -> bytes:
    """Return a mail, its lines ended by CRLF, with the signature that the settings ask for."""
    key = settings.dkim_key
    if key is None:
        return mail
    import dkim  # noqa: PLC0415 - it brings the whole of DNS, and few sign

    assert settings.dkim_domain is not None
    assert settings.dkim_selector is not None
    message = dkim.DKIM(mail)
    present = {name.lower() for name, _ in message.headers}
    names = [name.lower().encode() for name in SIGNED_HEADERS]
    header: bytes = message.sign(
        settings.dkim_selector.encode(),
        settings.dkim_domain.encode(),
        key,
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=[name for name in names if name in present for _ in range(2)],
    )
    return header + mail


def new_key() -> str:
    """Return a new RSA key in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=NEW_KEY_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


def public_record(pem: bytes) -> str:
    """Return the TXT record that lets everybody verify what a key (PEM) signs."""
    public = load_pem_private_key(pem, password=None).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


def record_name(selector: str, domain: str) -> str:
    """Return where in DNS the record stands."""
    return f"{selector}._domainkey.{domain}"


def zone_line(selector: str, domain: str, record: str) -> str:
    """Return the record as a line of a zone file: a long text is several strings."""
    pieces = [record[i : i + MAX_STRING_LENGTH] for i in range(0, len(record), MAX_STRING_LENGTH)]
    quoted = " ".join(f'"{piece}"' for piece in pieces)
    return f"{record_name(selector, domain)}. IN TXT ( {quoted} )"
