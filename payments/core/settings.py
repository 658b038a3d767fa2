"""The settings: read once from the environment, checked, frozen.

Every name starts with `PAYMENTS_`. A name that is no setting is an error, so that a misspelt one is
noticed. A secret may come from a file instead: `PAYMENTS_STRIPE_API_KEY_FILE` is the path of a file
whose text is the value. Amounts are in minor units.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, model_validator

from payments.core import money, safety_policy, secret_files, secret_strength, setting_types
from payments.core.adoption import AdoptionRule
from payments.core.brand_settings import ArticlePolicy, DonorMails
from payments.core.mail_settings import MailSettings
from payments.core.money import Money
from payments.core.safety_policy import Policy
from payments.core.setting_types import (
    AbsolutePath,
    Adoption,
    AlternateOrigin,
    AmountByCurrency,
    BearerToken,
    CommaSeparated,
    DatabaseUrl,
    FeeByCurrency,
    GeoipFile,
    HttpUrl,
    OidcClientId,
    OidcIssuerUrl,
    Origin,
    PolicyFile,
    SecretKeys,
    SecretOfOthers,
    SecurityContact,
    SigningKey,
    StandardWebhooksSecret,
    StripeKey,
    StripeWebhookSecrets,
    TimeZoneName,
    is_secret,
    secrets_in,
)

STRIPE_API = "https://api.stripe.com"
ENV_PREFIX = "PAYMENTS_"

ADDRESS_HASH_COST = 12
DEFAULT_RATE_LIMIT_GIFTS = 3  # in ten minutes; the other limits follow from it


class SettingsError(Exception):
    """The environment is not usable. Each line names one setting and what is wrong with it."""


class Settings(MailSettings):
    """What an operator decides: docs/settings.md has the fields with their descriptions."""

    database_url: DatabaseUrl = Field(
        description="PostgreSQL 15 or newer: postgresql://user:password@host/name, or several hosts"
    )
    base_url: Origin = Field(
        description="where readers reach this service, without a trailing slash"
    )
    stripe_api_key: StripeKey = Field(description="Stripe secret or restricted key")
    stripe_webhook_secrets: StripeWebhookSecrets = Field(
        default=(),
        description="signing secrets of the webhook endpoint, newest first; at most two",
    )
    secret_keys: SecretKeys = Field(
        default=(),
        description="keys for links and for finding donors, newest first, 32 characters or more",
    )
    confirmation_mails_per_hour: int = Field(
        200, ge=10, le=100_000, description="how many unconfirmed addresses get a mail in an hour"
    )
    renewal_notice_days: int = Field(
        14,
        ge=1,
        le=60,
        description="days of notice before a charge that comes every six months or less often",
    )
    stripe_api_base: Origin = Field(STRIPE_API, description="another address of Stripe's API")
    stripe_requests_per_second: int = Field(
        15, ge=1, le=100, description="how many reads from Stripe one worker may make in a second"
    )
    security_contact: SecurityContact = Field(
        "",
        description="where security problems are reported, for /.well-known/security.txt: "
        "mailto:security@example.org or an https address",
    )
    statement_descriptor: str = Field(
        "", max_length=22, description="what a reader's bank statement will show"
    )
    adopt: Adoption = Field(
        AdoptionRule(),
        description="which payments of the Stripe account are contributions, beside those of our "
        "own form: ours, products:prod_a,prod_b, metadata:key=value or all",
    )
    accounting_zone: TimeZoneName = Field(
        "UTC",
        description="IANA zone in which finance counts months, and of the days that donors read "
        "and choose",
    )
    fiscal_year_start: int = Field(
        1,
        ge=1,
        le=12,
        description="the month a fiscal year begins with, as a number: 7 is July. It names periods "
        "and changes no figure",
    )
    default_currency: str = Field("usd", description="the currency offered first")
    max_gift: AmountByCurrency = Field(
        default={}, description="the most one gift may be, in minor units: usd=500000,eur=450000"
    )
    correction_limit: AmountByCurrency = Field(
        default={},
        description="the most one colleague may reclassify in the books alone within a day, in "
        "minor units: usd=10000,eur=10000. Above it, and in any other currency, a second one "
        "approves",
    )
    refund_limit: AmountByCurrency = Field(
        default={},
        description="the most one colleague may refund alone within a day, in minor units: "
        "usd=10000,eur=10000. Above it, and in any other currency, a second one approves; while "
        "none is set, nobody has to",
    )
    stripe_fees: FeeByCurrency = Field(
        default={},
        description="Stripe's fee for a gift, in hundredths of a percent and minor units: "
        "usd=290+30,eur=150+25. In a currency listed here a reader may add it",
    )
    rate_limit_gifts: int = Field(
        DEFAULT_RATE_LIMIT_GIFTS,
        ge=1,
        le=1_000_000,
        description="how many gifts one network may start in ten minutes; the limit of a day "
        "follows from it",
    )
    card_testing_declines: int = Field(
        20,
        ge=4,
        le=1_000_000,
        description="how many declined cards are treated as a card testing attack",
    )
    proof_of_work_cost: int = Field(
        5_000,
        ge=1,
        le=100_000,
        description="the rounds of each try at a proof of work: with 5000, a browser finds it in "
        "about a second. Four times as many while small gifts are paused",
    )
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], CommaSeparated] = Field(
        (),
        description="networks of the proxies before this, whose X-Forwarded-For is believed: "
        "127.0.0.1,::1. `payments doctor` tries whether they can be",
    )
    alternate_origins: Annotated[tuple[AlternateOrigin, ...], CommaSeparated] = Field(
        (),
        description="other addresses by which readers reach this service: https://a.example, or "
        "http:// and the name of an onion service",
    )
    mail_link_origin: str = Field(
        "",
        description="which of these addresses the links in mails lead to, if not "
        "PAYMENTS_BASE_URL: neutral, and reachable where readers are",
    )
    donor_safety_policy: PolicyFile = Field(
        "", description="the policy that protects donors who may be prosecuted, a TOML file"
    )
    geoip_database: GeoipFile = Field(
        "", description="a MaxMind database of countries, to choose how strong a notice is"
    )
    metrics_token: BearerToken | None = Field(
        None, description="the bearer token with which Prometheus reads /metrics"
    )
    mail_events_token: BearerToken | None = Field(
        None,
        description="the bearer token with which the mail server reports bounces and complaints",
    )
    close_pack_signing_key: SigningKey | None = Field(
        None, description="signs the packs of closed months; `payments keys new --signing`"
    )
    address_key_dir: str = Field(
        "",
        description="a folder that all processes share and no backup holds: one file for each "
        "stored address, deleted with it. Without it no reminder is sent by mail",
    )
    newsletter_webhook_url: HttpUrl = Field(
        "",
        description="where the newsroom's mailing system takes a newsletter's confirmed address; "
        "without it, and without a file, no newsletter is offered",
    )
    newsletter_webhook_secret: StandardWebhooksSecret | None = Field(
        None, description="signs those webhooks (Standard Webhooks): whsec_ and 24 bytes in base64"
    )
    newsletter_file: AbsolutePath = Field(
        "", description="a file that takes those addresses instead, as lines of JSON"
    )
    newsletter_preview_url: HttpUrl = Field("", description="a page that shows a past newsletter")
    privacy_url: HttpUrl = Field(
        "", description="the privacy policy that is agreed to with an address"
    )
    privacy_version: str = Field(
        "", max_length=64, description="its version, stored with each consent: 2026-05-01"
    )
    oidc_issuer: OidcIssuerUrl = Field(
        "",
        description="where colleagues may sign in by OpenID Connect, besides their passkeys. Its "
        "redirect URI is /staff/sign-on/back",
    )
    oidc_client_id: OidcClientId = Field("", description="the client id of this service there")
    oidc_client_secret: SecretOfOthers | None = Field(
        None, description="the client secret of this service there"
    )
    demo_inbox_dir: str = Field("", description="the folder that `payments demo` delivers mails to")
    environment: str = Field(
        "production",
        pattern="^(production|demo|test)$",
        description="production, demo or test; the demo serves its inbox and a sample article",
    )
    log_level: str = Field(
        "info",
        pattern="^(debug|info|warning|error)$",
        description="debug, info, warning or error",
    )

    @model_validator(mode="after")
    def _require_different_secrets(self) -> Self:
        named = {
            f"{ENV_PREFIX}{name.upper()}": secrets_in(getattr(self, name))
            for name in SECRET_SETTINGS
        }
        if problem := secret_strength.reuse(named):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _require_stripe_api_in_livemode(self) -> Self:
        if self.livemode and self.stripe_api_base != STRIPE_API:
            raise ValueError("PAYMENTS_STRIPE_API_BASE may not be changed with a live key")
        return self

    @model_validator(mode="after")
    def _require_known_mail_link_origin(self) -> Self:
        if self.mail_link_origin and self.mail_link_origin not in (
            self.base_url,
            *self.alternate_origins,
        ):
            raise ValueError(
                "PAYMENTS_MAIL_LINK_ORIGIN must be PAYMENTS_BASE_URL or one of"
                " PAYMENTS_ALTERNATE_ORIGINS"
            )
        return self

    @model_validator(mode="after")
    def _require_little_where_donors_are_in_danger(self) -> Self:
        if self.donor_safety_policy and self.donor_mails is DonorMails.FULL:
            raise ValueError(
                "PAYMENTS_DONOR_MAILS must be neutral or none with PAYMENTS_DONOR_SAFETY_POLICY"
            )
        if self.donor_safety_policy and self.articles is ArticlePolicy.REVENUE:
            raise ValueError(
                "PAYMENTS_ARTICLES must be counts or off with PAYMENTS_DONOR_SAFETY_POLICY"
            )
        return self

    @model_validator(mode="after")
    def _require_complete_newsletter(self) -> Self:
        by_webhook, by_file = self.newsletter_webhook_url, self.newsletter_file
        if by_webhook and by_file:
            raise ValueError("PAYMENTS_NEWSLETTER_WEBHOOK_URL, PAYMENTS_NEWSLETTER_FILE: set one")
        needed = {
            "PAYMENTS_PRIVACY_URL": self.privacy_url,
            "PAYMENTS_PRIVACY_VERSION": self.privacy_version,
            "PAYMENTS_ADDRESS_KEY_DIR": self.address_key_dir,
            "PAYMENTS_SMTP_URL": self.smtp_url,
            "PAYMENTS_MAIL_FROM": self.mail_from,
        }
        if by_webhook:
            needed["PAYMENTS_NEWSLETTER_WEBHOOK_SECRET"] = self.newsletter_webhook_secret
        missing = [name for name, value in needed.items() if not value]
        if (by_webhook or by_file) and missing:
            raise ValueError(f"{', '.join(missing)}: needed to offer a newsletter")
        return self

    @model_validator(mode="after")
    def _require_complete_oidc(self) -> Self:
        secret = self.oidc_client_secret
        needed = {
            "PAYMENTS_OIDC_ISSUER": self.oidc_issuer,
            "PAYMENTS_OIDC_CLIENT_ID": self.oidc_client_id,
            "PAYMENTS_OIDC_CLIENT_SECRET": secret.get_secret_value() if secret else "",
        }
        missing = [name for name, value in needed.items() if not value]
        if 0 < len(missing) < len(needed):
            raise ValueError(f"{', '.join(missing)}: needed to sign in by OpenID Connect")
        return self

    @property
    def livemode(self) -> bool:
        """Whether the Stripe key moves real money."""
        return "_live_" in self.stripe_api_key.get_secret_value()

    def max_gift_for(self, currency: str) -> Money:
        """Return the most that may be given at once. Raises UnknownCurrency."""
        return money.max_gift(currency, self.max_gift)

    def validate_gift(self, amount: int, currency: str) -> Money:
        """Return an amount in minor units as money, if it may be given. Raises InvalidAmount."""
        return money.validate_gift(amount, currency, overrides=self.max_gift)

    @property
    def safety_policy(self) -> Policy | None:
        """The donor safety policy; None where there is none."""
        return safety_policy.load(self.donor_safety_policy) if self.donor_safety_policy else None

    @property
    def mail_links_base_url(self) -> str:
        """Where links in mails lead, for everybody: which origin a reader used is not stored."""
        return self.mail_link_origin or self.base_url

    @property
    def onion_origin(self) -> str | None:
        """The origin of the onion service, if there is one."""
        onions = (origin for origin in self.alternate_origins if origin.endswith(".onion"))
        return next(onions, None)

    @property
    def accounting_zoneinfo(self) -> ZoneInfo:
        """The zone in which finance counts days and months."""
        return ZoneInfo(self.accounting_zone)

    @property
    def receipt_zoneinfo(self) -> ZoneInfo:
        """The zone of the days and years on receipts."""
        return ZoneInfo(self.receipt_zone or self.accounting_zone)

    @property
    def address_hash_cost(self) -> int:
        """How slow the hash of an address is: the exponent of scrypt's N. Less in tests alone."""
        return 1 if self.environment == "test" and not self.livemode else ADDRESS_HASH_COST

    @property
    def uses_https(self) -> bool:
        """Whether readers reach this service by https."""
        return self.base_url.startswith("https://")

    @property
    def hmac_keys(self) -> tuple[bytes, ...]:
        """The secret keys as bytes, newest first."""
        return tuple(key.get_secret_value().encode() for key in self.secret_keys)

    @property
    def webhook_signing_keys(self) -> tuple[bytes, ...]:
        """The signing secrets of the webhook endpoint as bytes, newest first."""
        return tuple(s.get_secret_value().encode() for s in self.stripe_webhook_secrets)


SECRET_SETTINGS = tuple(
    name for name, field in Settings.model_fields.items() if is_secret(field.annotation)
)
"""The settings that may come from a file and are never printed."""


def require_serving_settings(settings: Settings) -> Settings:
    """Return the settings, if they are enough to serve. Raises SettingsError.

    `payments stripe setup`, which prints the webhook secret, runs before they are.
    """
    if not settings.stripe_webhook_secrets:
        raise SettingsError(
            "PAYMENTS_STRIPE_WEBHOOK_SECRETS: needed to serve; `payments stripe setup` prints one"
        )
    if not settings.secret_keys:
        raise SettingsError("PAYMENTS_SECRET_KEYS: needed to serve; `payments keys new` prints one")
    return settings


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment. Raises SettingsError, naming every wrong one."""
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in environ.items() if name.startswith(ENV_PREFIX)}
    problems = secret_files.read_into(given, SECRET_SETTINGS, prefix=ENV_PREFIX)
    values = {name.removeprefix(ENV_PREFIX).lower(): value for name, value in given.items()}
    for name in sorted(set(values) - set(Settings.model_fields)):
        problems.append(f"{ENV_PREFIX}{name.upper()}: there is no such setting")
        del values[name]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += setting_types.describe(error, prefix=ENV_PREFIX)
        raise SettingsError("\n".join(problems)) from None
    if problems:
        raise SettingsError("\n".join(problems))
    return settings
