"""How mail is sent, and proves that it is ours: the mail server, the sender, the DKIM signature.

Part of the settings. A signature is set whole or not at all, and its key is read when they are.
"""

import re
import stat
from email.utils import parseaddr
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from payments.core.brand_settings import BrandSettings
from payments.core.setting_types import MailSender, SmtpUrl

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
NAME_PATTERN = re.compile(rf"{LABEL}(\.{LABEL})*")
MIN_DKIM_BITS = 2048  # what mail providers ask for; RFC 8301 demands 1024
MAX_DKIM_BITS = 4096  # the most that every verifier takes
DEFAULT_DNS_PORT = 53


def validate_dns_name(value: str) -> str:
    """Return a name of DNS in its normal form. Raises ValueError."""
    name = value.strip().lower().rstrip(".")
    if not name:
        raise ValueError("is blank: give a value or leave the line out")
    if len(name) > 200 or not NAME_PATTERN.fullmatch(name):
        raise ValueError("must be a name as DNS has it: letters a to z, digits, hyphens and dots")
    return name


def validate_dkim_domain(value: str) -> str:
    """Return a domain in its normal form. Raises ValueError."""
    name = validate_dns_name(value)
    if "." not in name:
        raise ValueError("must be a whole domain: example.org")
    return name


def validate_dkim_key_file(value: str) -> str:
    """Refuse a key that cannot be read, that others can read, or that verifiers do not accept."""
    if not value.strip():
        raise ValueError("is blank: give a value or leave the line out")
    path = Path(value)
    try:
        mode = path.stat().st_mode
        pem = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {value}: {type(error).__name__}") from None
    if mode & stat.S_IRWXO:
        raise ValueError(f"everybody on this machine can open {value}: chmod 600")
    bits = _rsa_bits(pem)
    if bits is None:
        raise ValueError(f"{value} holds no RSA key in PEM, without a password")
    if not MIN_DKIM_BITS <= bits <= MAX_DKIM_BITS:
        raise ValueError(
            f"the key has {bits} bits: {MIN_DKIM_BITS} to {MAX_DKIM_BITS} are accepted by mail "
            "providers; `payments keys dkim` makes one"
        )
    return value


def _rsa_bits(pem: bytes) -> int | None:
    """Return how long an RSA key is; None if it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - large, few sign
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key.key_size if isinstance(key, RSAPrivateKey) else None


def _validate_resolver(value: str) -> str:
    if value:
        split_resolver(value)
    return value


def split_resolver(value: str) -> tuple[str, int]:
    """Return a resolver's IP address and port. Raises ValueError."""
    parts = re.fullmatch(r"\[(.+)\](?::([0-9]{1,5}))?|([0-9.]+):([0-9]{1,5})", value)
    host, port = value, DEFAULT_DNS_PORT
    if parts is not None:
        host = parts[1] or parts[3]
        port = int(parts[2] or parts[4] or DEFAULT_DNS_PORT)
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is None or not 0 < port < 65536:
        raise ValueError("must be an IP address, with a port if need be: 127.0.0.1:53")
    return str(address), port


DkimDomain = Annotated[str, AfterValidator(validate_dkim_domain)]
DkimSelector = Annotated[str, AfterValidator(validate_dns_name)]
DkimKeyFile = Annotated[str, AfterValidator(validate_dkim_key_file)]
DnsResolver = Annotated[str, AfterValidator(_validate_resolver)]


class MailSettings(BrandSettings):
    """The settings of the mail server, the sender and what proves it."""

    smtp_url: SmtpUrl | None = Field(
        None, description="for mail: smtp://user:password@host:587; smtp+cleartext:// without TLS"
    )
    mail_from: MailSender = Field(
        "", max_length=200, description="the sender of mails, neutral: Support <post@example.org>"
    )
    dkim_domain: DkimDomain | None = Field(
        None,
        description="signs mails with DKIM for this domain: that of PAYMENTS_MAIL_FROM, or one "
        "above it",
    )
    dkim_selector: DkimSelector | None = Field(
        None,
        description="names the key in DNS, at <selector>._domainkey.<domain>. It stands in every "
        "mail: as neutral as the sender",
    )
    dkim_key_file: DkimKeyFile | None = Field(
        None,
        description="the RSA key in PEM, closed to others; `payments keys dkim` makes one and "
        "prints its DNS record",
    )
    dns_resolver: DnsResolver = Field(
        "",
        description="the resolver that `payments doctor` asks about SPF, DKIM and DMARC, if not "
        "this machine's: 127.0.0.1:53",
    )

    @model_validator(mode="after")
    def _require_complete_dkim(self) -> Self:
        needed = {
            "PAYMENTS_DKIM_DOMAIN": self.dkim_domain,
            "PAYMENTS_DKIM_SELECTOR": self.dkim_selector,
            "PAYMENTS_DKIM_KEY_FILE": self.dkim_key_file,
        }
        missing = [name for name, value in needed.items() if not value]
        if len(missing) == len(needed):
            return self
        sender_domain = parseaddr(self.mail_from)[1].rpartition("@")[2].lower()
        if not sender_domain:
            missing.append("PAYMENTS_MAIL_FROM")
        if missing:
            raise ValueError(f"{', '.join(missing)}: needed to sign mails with DKIM")
        if not f".{sender_domain}".endswith(f".{self.dkim_domain}"):
            raise ValueError(
                f"PAYMENTS_DKIM_DOMAIN: must be {sender_domain}, the domain of PAYMENTS_MAIL_FROM, "
                "or one above it: else DMARC takes the mail for somebody else's"
            )
        return self

    @cached_property
    def dkim_key(self) -> bytes | None:
        """The key that mails are signed with, in PEM; None where they are not signed."""
        return Path(self.dkim_key_file).read_bytes() if self.dkim_key_file else None
