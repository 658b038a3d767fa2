"""The types of settings: how an operator writes each kind of value, and what is refused.

An error says what the value must be and never repeats what it was: it may be a secret.
"""

import base64
import re
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationError

from payments.core import adoption, calendar, database_url, geoip, safety_policy, secret_strength
from payments.core.adoption import AdoptionRule
from payments.core.fee_cover import Fee
from payments.core.money import CURRENCY_REGEX

FEE_PATTERN = re.compile(rf"({CURRENCY_REGEX})=([0-9]{{1,4}})\+([0-9]{{1,6}})")
ONION_URL_PATTERN = re.compile(r"http://[a-z2-7]{56}\.onion/?")

# --- several in one line --------------------------------------------------------------------------


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _parse_amounts(value: object) -> object:
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not all(re.fullmatch(r"\s*[0-9]+\s*", limit) for _, _, limit in pairs):
            raise ValueError("must be whole minor units: usd=500000,eur=450000")
        return {code.strip().lower(): limit.strip() for code, _, limit in pairs}
    return value


def _parse_fees(value: object) -> object:
    if isinstance(value, str):
        parts = [part.strip() for part in value.lower().split(",") if part.strip()]
        matches = [FEE_PATTERN.fullmatch(part) for part in parts]
        if not all(matches):
            raise ValueError("must be hundredths of a percent and minor units: usd=290+30")
        return {match[1]: (int(match[2]), int(match[3])) for match in matches if match}
    return value


def _parse_adoption(value: object) -> object:
    return adoption.parse(value) if isinstance(value, str) else value


CommaSeparated = BeforeValidator(_split_commas)
Adoption = Annotated[AdoptionRule, BeforeValidator(_parse_adoption)]
AmountByCurrency = Annotated[dict[str, int], BeforeValidator(_parse_amounts)]
FeeByCurrency = Annotated[dict[str, Fee], BeforeValidator(_parse_fees)]

# --- addresses ------------------------------------------------------------------------------------


def _validate_origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https address")
    if not re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?", parts.netloc):
        raise ValueError("must name a host, and a port if need be, and nothing else")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must have no path, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https, except on this machine")
    return value.rstrip("/")


def _validate_alternate_origin(value: str) -> str:
    # Tor encrypts the connection to an onion service and authenticates it by its name.
    return value.rstrip("/") if ONION_URL_PATTERN.fullmatch(value) else _validate_origin(value)


def _validate_http_url(value: str) -> str:
    parts = urlsplit(value)
    if not value:
        return value
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an http or https address, without a password")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https, except on this machine")
    if parts.fragment or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("must have no fragment and no blanks")
    return value


def _validate_security_contact(value: str) -> str:
    if value.startswith("mailto:"):
        if not re.fullmatch(r"[^@\s?]+@[^@\s?]+", value.removeprefix("mailto:")):
            raise ValueError("must be one address after mailto:")
        return value
    return _validate_http_url(value)


def _validate_issuer_url(value: str) -> str:
    if urlsplit(value).query:
        raise ValueError("must have no query")
    return _validate_http_url(value)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def _refuse_placeholder_password(value: SecretStr) -> None:
    password = urlsplit(value.get_secret_value()).password
    if password is not None:
        _refuse(secret_strength.weakness_of_placeholder(password))


def _validate_database_url(value: SecretStr) -> SecretStr:
    _refuse_placeholder_password(value)
    database_url.validate(value.get_secret_value())
    return value


def _validate_smtp_url(value: SecretStr) -> SecretStr:
    _refuse_placeholder_password(value)
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("smtp", "smtps", "smtp+cleartext") or not parts.hostname:
        raise ValueError("must be smtp://host:port or smtps://host:port")
    if parts.scheme == "smtp+cleartext" and parts.username is not None:
        raise ValueError("no password without TLS: smtp://user:password@host:port demands it")
    return value


def _validate_sender(value: str) -> str:
    _name, address = parseaddr(value)
    if value and not (value.isprintable() and re.fullmatch(r"[^@\s]+@[^@\s]+", address)):
        raise ValueError("must be an address: Support <post@example.org>")
    return value


Origin = Annotated[str, AfterValidator(_validate_origin)]
AlternateOrigin = Annotated[str, AfterValidator(_validate_alternate_origin)]
HttpUrl = Annotated[str, AfterValidator(_validate_http_url)]
SecurityContact = Annotated[str, AfterValidator(_validate_security_contact)]
OidcIssuerUrl = Annotated[str, AfterValidator(_validate_issuer_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_validate_database_url)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_validate_smtp_url)]
MailSender = Annotated[str, AfterValidator(_validate_sender)]

# --- secrets --------------------------------------------------------------------------------------


def _refuse(problem: str | None) -> None:
    if problem is not None:
        raise ValueError(problem)


def _refuse_placeholder(value: SecretStr) -> SecretStr:
    """For what others made: how good it is, is theirs to say."""
    _refuse(secret_strength.weakness_of_placeholder(value.get_secret_value()))
    return value


def _refuse_weak(value: SecretStr) -> SecretStr:
    _refuse(secret_strength.weakness(value.get_secret_value()))
    return value


def _validate_stripe_key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    _refuse(secret_strength.weakness_of_placeholder(key))
    if not re.fullmatch(r"(sk|rk)_(test|live)_\w{8,}", key):
        raise ValueError("must be a secret or restricted key: sk_test_…, rk_live_…")
    if "_live_" in key and len(set(key.partition("_live_")[2])) == 1:
        raise ValueError("is a placeholder: give a real value")
    return value


def _validate_webhook_secrets(value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if len(value) > 2:
        raise ValueError("must hold one or two secrets")
    for secret in value:
        text = secret.get_secret_value()
        _refuse(secret_strength.weakness_of_placeholder(text))
        if not re.fullmatch(r"whsec_[!-~]{26,250}", text):
            raise ValueError("each must start with whsec_ and have 32 characters or more")
        _refuse(secret_strength.weakness(text))
    return value


def _validate_secret_keys(value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for key in value:
        _refuse(secret_strength.weakness_of_placeholder(key.get_secret_value()))
        if len(key.get_secret_value()) < 32:
            raise ValueError("each must have 32 characters or more")
        _refuse(secret_strength.weakness(key.get_secret_value()))
    return value


def _validate_token(value: SecretStr) -> SecretStr:
    _refuse(secret_strength.weakness_of_placeholder(value.get_secret_value()))
    if not re.fullmatch(r"[!-~]{32,250}", value.get_secret_value()):
        raise ValueError("must have 32 characters or more, all ASCII, without blanks")
    return _refuse_weak(value)


def _validate_signing_key(value: SecretStr) -> SecretStr:
    _refuse(secret_strength.weakness_of_placeholder(value.get_secret_value()))
    if not re.fullmatch(r"[0-9a-f]{64}", value.get_secret_value()):
        raise ValueError("must be 64 hexadecimal digits")
    return _refuse_weak(value)


def _validate_standard_webhooks_secret(value: SecretStr) -> SecretStr:
    _refuse(secret_strength.weakness_of_placeholder(value.get_secret_value()))
    prefix, _, encoded = value.get_secret_value().partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if prefix != "whsec" or not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64")
    return _refuse_weak(value)


StripeKey = Annotated[SecretStr, AfterValidator(_validate_stripe_key)]
StripeWebhookSecrets = Annotated[
    tuple[SecretStr, ...], CommaSeparated, AfterValidator(_validate_webhook_secrets)
]
SecretKeys = Annotated[tuple[SecretStr, ...], CommaSeparated, AfterValidator(_validate_secret_keys)]
BearerToken = Annotated[SecretStr, AfterValidator(_validate_token)]
SecretOfOthers = Annotated[SecretStr, AfterValidator(_refuse_placeholder)]
SigningKey = Annotated[SecretStr, AfterValidator(_validate_signing_key)]
StandardWebhooksSecret = Annotated[SecretStr, AfterValidator(_validate_standard_webhooks_secret)]


def is_secret(annotation: object) -> bool:
    """Whether a setting's type has a SecretStr anywhere in it."""
    return annotation is SecretStr or any(map(is_secret, get_args(annotation)))


def secrets_in(value: object) -> list[str]:
    """Return the secrets that a setting's value holds, as text."""
    if isinstance(value, SecretStr):
        return [value.get_secret_value()]
    return [text for part in value for text in secrets_in(part)] if type(value) is tuple else []


# --- files, zones, names --------------------------------------------------------------------------


def _validate_policy_file(value: str) -> str:
    if value:
        safety_policy.load(value)
    return value


def _validate_geoip_file(value: str) -> str:
    if value:
        geoip.open_database(value)
    return value


def _validate_absolute_path(value: str) -> str:
    if value and not Path(value).is_absolute():
        raise ValueError("must be the whole path of a file: /var/lib/newsletter.jsonl")
    return value


def _validate_time_zone(value: str) -> str:
    if not calendar.is_known_zone(value):
        raise ValueError("must be an IANA zone such as Europe/Amsterdam")
    return value


def _validate_client_id(value: str) -> str:
    if not re.fullmatch(r"[!-~]{0,255}", value):
        raise ValueError("must be at most 255 characters of ASCII, without blanks")
    return value


PolicyFile = Annotated[str, AfterValidator(_validate_policy_file)]
GeoipFile = Annotated[str, AfterValidator(_validate_geoip_file)]
AbsolutePath = Annotated[str, AfterValidator(_validate_absolute_path)]
TimeZoneName = Annotated[str, AfterValidator(_validate_time_zone)]
OidcClientId = Annotated[str, AfterValidator(_validate_client_id)]


def describe(error: ValidationError, *, prefix: str) -> list[str]:
    """Return a line for each setting that is wrong, by its variable and without its value."""
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in item["loc"][:1]).upper()
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{prefix}{name}: {message}" if name else message)
    return lines
