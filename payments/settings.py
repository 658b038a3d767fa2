"""The settings: read once from the environment, checked, frozen.

Every name starts with `PAYMENTS_`. A name that is not in the table below is an error, so a
misspelt setting never passes in silence. Each secret may come from a file instead:
`PAYMENTS_STRIPE_API_KEY_FILE` holds the path of a file whose text is the value.
"""

import base64
import os
import re
from collections.abc import Mapping
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from payments import geo, policy
from payments.policy import Policy

STRIPE_API = "https://api.stripe.com"
PREFIX = "PAYMENTS_"
SECRETS = (
    "database_url",
    "signing_key",
    "stripe_api_key",
    "stripe_webhook_secrets",
    "secret_keys",
    "metrics_token",
    "mail_events_token",
    "smtp_url",
    "newsletter_webhook_secret",
)


class SettingsError(Exception):
    """The environment is not usable. Each line names one setting and what is wrong with it."""


class Settings(BaseModel):
    """What an operator decides. `payments config` prints it with the secrets masked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: SecretStr = Field(
        description="PostgreSQL 15 or newer: postgresql+psycopg://user:password@host/name"
    )
    base_url: str = Field(description="where readers reach this service, without a trailing slash")
    stripe_api_key: SecretStr = Field(description="Stripe secret or restricted key")
    stripe_webhook_secrets: tuple[SecretStr, ...] = Field(
        default=(),
        description="signing secrets of the webhook endpoint, newest first; at most two",
    )
    secret_keys: tuple[SecretStr, ...] = Field(
        default=(),
        description="keys for links and for finding donors, newest first, 32 characters or more",
    )
    smtp_url: SecretStr | None = Field(
        None, description="where mails are handed over: smtp://user:password@host:587"
    )
    mail_from: str = Field(
        "", max_length=200, description="the sender of mails, neutral: Support <post@example.org>"
    )
    renewal_notice_days: int = Field(
        14, ge=1, le=60, description="how long before an annual charge its donor is told"
    )
    stripe_api_base: str = Field(STRIPE_API, description="another address of Stripe's API")
    stripe_requests_per_second: int = Field(
        15, ge=1, le=100, description="the budget of one worker for reads from Stripe"
    )
    publication: str = Field("The newsroom", min_length=1, max_length=80)
    support_contact: str = Field(
        "", max_length=200, description="an address or page where a reader finds help"
    )
    statement: str = Field(
        "", max_length=22, description="what a reader's bank statement will show"
    )
    accounting_zone: str = Field("UTC", description="IANA zone in which finance counts months")
    currency: str = Field("usd", description="the currency offered first")
    maximum_gifts: dict[str, int] = Field(
        default={}, description="the most one gift may be, in minor units: usd=500000,eur=450000"
    )
    fees: dict[str, tuple[int, int]] = Field(
        default={},
        description="what Stripe keeps of a gift, in hundredths of a percent and minor units: "
        "usd=290+30,eur=150+25. Where it is known a reader may add it",
    )
    shield_gifts: int = Field(
        3,
        ge=1,
        le=1_000_000,
        description="the gifts that one network may start in ten minutes; a day's follow from it",
    )
    shield_declines: int = Field(
        20, ge=4, le=1_000_000, description="the declined cards that may be an attack"
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        (IPv4Network("127.0.0.1"), IPv6Network("::1")),
        description="networks whose X-Forwarded-For is believed: 10.0.0.0/8,::1",
    )
    mirrors: tuple[str, ...] = Field(
        (), description="other addresses by which readers reach this service: https://a.example"
    )
    protection_file: str = Field(
        "", description="the policy that protects donors who may be prosecuted, as TOML"
    )
    geo_database: str = Field(
        "", description="a MaxMind database of countries, to choose how strong a notice is"
    )
    metrics_token: SecretStr | None = Field(
        None, description="what the operator's Prometheus sends to read /metrics"
    )
    mail_events_token: SecretStr | None = Field(
        None,
        min_length=32,
        description="what the mail server's hook sends to tell of bounces and complaints",
    )
    signing_key: SecretStr | None = Field(
        None, description="signs the packs of closed months; `payments keys new --signing`"
    )
    key_store: str = Field(
        "",
        description="a folder that all processes share and no backup holds: one file for each "
        "address kept, destroyed with it. Without it no reminder is sent by mail",
    )
    newsletter_webhook_url: str = Field(
        "",
        description="where the newsroom's mailing system takes a newsletter's confirmed address; "
        "without it, and without a file, no newsletter is offered",
    )
    newsletter_webhook_secret: SecretStr | None = Field(
        None, description="signs those webhooks (Standard Webhooks): whsec_ and 24 bytes in base64"
    )
    newsletter_file: str = Field(
        "", description="a file that takes those addresses instead, as lines of JSON"
    )
    newsletter_preview_url: str = Field("", description="a page that shows a past newsletter")
    privacy_url: str = Field("", description="the privacy policy that is agreed to with an address")
    privacy_version: str = Field(
        "", max_length=64, description="its version, kept with each consent: 2026-05-01"
    )
    demo_inbox: str = Field("", description="the folder that `payments demo` delivers mails to")
    environment: str = Field("production", pattern="^(production|demo|test)$")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")

    @field_validator("stripe_webhook_secrets", "secret_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("maximum_gifts", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if isinstance(value, str):
            pairs = [part.partition("=") for part in value.split(",") if part.strip()]
            if not all(re.fullmatch(r"\s*[0-9]+\s*", limit) for _, _, limit in pairs):
                raise ValueError("must be whole minor units: usd=500000,eur=450000")
            return {code.strip().lower(): limit.strip() for code, _, limit in pairs}
        return value

    @field_validator("trusted_proxies", "mirrors", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("fees", mode="before")
    @classmethod
    def _fees(cls, value: object) -> object:
        if isinstance(value, str):
            parts = [part.strip() for part in value.lower().split(",") if part.strip()]
            found = [re.fullmatch(r"([a-z]{3})=([0-9]{1,4})\+([0-9]{1,6})", part) for part in parts]
            if not all(found):
                raise ValueError("must be hundredths of a percent and minor units: usd=290+30")
            return {one[1]: (int(one[2]), int(one[3])) for one in found if one}
        return value

    @field_validator("mirrors")
    @classmethod
    def _mirrors(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cls._address(one) for one in value)

    @field_validator("protection_file")
    @classmethod
    def _protection(cls, value: str) -> str:
        if value:
            policy.read(value)
        return value

    @field_validator("geo_database")
    @classmethod
    def _geo(cls, value: str) -> str:
        if value:
            geo.opened(value)
        return value

    @field_validator("base_url", "stripe_api_base")
    @classmethod
    def _address(cls, value: str) -> str:
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

    @field_validator("newsletter_webhook_url", "newsletter_preview_url", "privacy_url")
    @classmethod
    def _page(cls, value: str) -> str:
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

    @field_validator("newsletter_webhook_secret")
    @classmethod
    def _newsletter_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            prefix, _, encoded = value.get_secret_value().partition("_")
            try:
                key = base64.b64decode(encoded, validate=True)
            except ValueError:
                key = b""
            if prefix != "whsec" or not 24 <= len(key) <= 64:
                raise ValueError("must be whsec_ and 24 to 64 bytes in base64")
        return value

    @field_validator("newsletter_file")
    @classmethod
    def _newsletter_file(cls, value: str) -> str:
        if value and not Path(value).is_absolute():
            raise ValueError("must be the whole path of a file: /var/lib/newsletter.jsonl")
        return value

    @field_validator("stripe_webhook_secrets")
    @classmethod
    def _webhook_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if len(value) > 2:
            raise ValueError("must hold one or two secrets")
        for secret in value:
            if not re.fullmatch(r"whsec_[!-~]{26,250}", secret.get_secret_value()):
                raise ValueError("each must start with whsec_ and have 32 characters or more")
        return value

    @field_validator("secret_keys")
    @classmethod
    def _secret_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < 32 for key in value):
            raise ValueError("each must have 32 characters or more")
        return value

    @field_validator("signing_key")
    @classmethod
    def _signing(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value.get_secret_value()):
            raise ValueError("must be 64 hexadecimal digits")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = urlsplit(value.get_secret_value())
            if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
                raise ValueError("must be smtp://host:port or smtps://host:port")
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        _name, address = parseaddr(value)
        if value and not (value.isprintable() and re.fullmatch(r"[^@\s]+@[^@\s]+", address)):
            raise ValueError("must be an address: Support <post@example.org>")
        return value

    @field_validator("stripe_api_key")
    @classmethod
    def _api_key(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"(sk|rk)_(test|live)_\w{8,}", value.get_secret_value()):
            raise ValueError("must be a secret or restricted key: sk_test_…, rk_live_…")
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith("postgresql+psycopg://"):
            raise ValueError("must start with postgresql+psycopg://")
        return value

    @field_validator("accounting_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("must be an IANA zone such as Europe/Amsterdam")
        return value

    @model_validator(mode="after")
    def _live_is_live(self) -> Self:
        if self.livemode and self.stripe_api_base != STRIPE_API:
            raise ValueError("PAYMENTS_STRIPE_API_BASE may not be changed with a live key")
        return self

    @model_validator(mode="after")
    def _newsletter_is_whole(self) -> Self:
        by_webhook, by_file = self.newsletter_webhook_url, self.newsletter_file
        if by_webhook and by_file:
            raise ValueError("PAYMENTS_NEWSLETTER_WEBHOOK_URL, PAYMENTS_NEWSLETTER_FILE: set one")
        needed = {
            "PAYMENTS_PRIVACY_URL": self.privacy_url,
            "PAYMENTS_PRIVACY_VERSION": self.privacy_version,
            "PAYMENTS_KEY_STORE": self.key_store,
            "PAYMENTS_SMTP_URL": self.smtp_url,
            "PAYMENTS_MAIL_FROM": self.mail_from,
        }
        if by_webhook:
            needed["PAYMENTS_NEWSLETTER_WEBHOOK_SECRET"] = self.newsletter_webhook_secret
        missing = [name for name, value in needed.items() if not value]
        if (by_webhook or by_file) and missing:
            raise ValueError(f"{', '.join(missing)}: needed to offer a newsletter")
        return self

    @property
    def livemode(self) -> bool:
        """Whether the Stripe key moves real money."""
        return "_live_" in self.stripe_api_key.get_secret_value()

    @property
    def policy(self) -> Policy | None:
        """What protects donors, or None while the switch is off."""
        return policy.read(self.protection_file) if self.protection_file else None

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.accounting_zone)

    @property
    def secure(self) -> bool:
        """Whether readers reach us by https, so that cookies can say so."""
        return self.base_url.startswith("https://")

    @property
    def keys(self) -> tuple[bytes, ...]:
        return tuple(key.get_secret_value().encode() for key in self.secret_keys)

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        return tuple(s.get_secret_value().encode() for s in self.stripe_webhook_secrets)


def ready_to_serve(settings: Settings) -> Settings:
    """The settings, if they can take webhooks; `payments stripe setup` runs before that."""
    if not settings.stripe_webhook_secrets:
        raise SettingsError(
            "PAYMENTS_STRIPE_WEBHOOK_SECRETS: needed to serve; `payments stripe setup` prints one"
        )
    if not settings.secret_keys:
        raise SettingsError("PAYMENTS_SECRET_KEYS: needed to serve; `payments keys new` prints one")
    return settings


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings, or raise SettingsError naming every setting that is wrong."""
    environ = os.environ if environ is None else environ
    given = {k: v for k, v in environ.items() if k.startswith(PREFIX)}
    problems: list[str] = []
    for name in SECRETS:
        key = f"{PREFIX}{name.upper()}_FILE"
        if (path := given.pop(key, None)) is not None:
            if key.removesuffix("_FILE") in given:
                problems.append(f"{key}: set it or {key.removesuffix('_FILE')}, not both")
            try:
                given[f"{PREFIX}{name.upper()}"] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{key}: {type(error).__name__}: cannot read {path}")
    values = {k.removeprefix(PREFIX).lower(): v for k, v in given.items()}
    for name in sorted(set(values) - set(Settings.model_fields)):
        problems.append(f"{PREFIX}{name.upper()}: there is no such setting")
        del values[name]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False):
            name = ".".join(str(part) for part in item["loc"][:1]).upper()
            words = item["msg"].removeprefix("Value error, ")
            problems.append(f"{PREFIX}{name}: {words}" if name else words)
        raise SettingsError("\n".join(problems)) from None
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")
