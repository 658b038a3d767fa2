"""The doctor: is everything around this service as it must be? One line for each thing it looks at.

It reads and changes nothing, except that it closes donations where a bank statement would show what
it must not, just as the schedule does.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiosmtplib
import stripe
from sqlalchemy import text

from payments.core.calendar import from_unix
from payments.core.errors import StripeUnavailable
from payments.core.settings import Settings
from payments.infra import db, migrate, stripe_client
from payments.infra.context import Context
from payments.mail import smtp
from payments.risk import quarantine, statement_descriptor
from payments.risk.statement_descriptor import CheckFinding
from payments.safety import descriptor_review
from payments.staff import oidc_provider
from payments.staff.oidc_provider import OidcProvider, ProviderUnavailable
from webhooks import EVENT_TYPES

MAX_CLOCK_SKEW = timedelta(seconds=30)
MIN_CERTIFICATE_VALIDITY = timedelta(days=14)
TLS_CONNECT_TIMEOUT_SECONDS = 10.0
RADAR_LOOKBACK = timedelta(days=100)
RADAR_MAX_CHARGES = 300
MIN_PROXY_PREFIX_LENGTH = {4: 8, 6: 16}  # bits: 10.0.0.0/8 is somebody's own, and more is everybody
MIN_KEY_CHARS = 64
APPEND_ONLY_TABLES = (
    "ledger_entries",
    "balance_transactions",
    "stripe_events",
    "payout_transactions",
)
# What may go wrong while looking is itself a finding, never the end of the examination.
EXPECTED_ERRORS = (
    StripeUnavailable, stripe.StripeError, OSError, TimeoutError, aiosmtplib.SMTPException,
    ssl.SSLError, ValueError,
)  # fmt: skip


async def run_checks(ctx: Context) -> list[CheckFinding]:
    """Everything that can be looked at from here."""
    found: list[CheckFinding] = []
    for name, look in CHECKS.items():
        try:
            found += await look(ctx)
        except EXPECTED_ERRORS as error:
            found.append(
                CheckFinding(name, False, f"could not be looked at: {type(error).__name__}")
            )
    return found


# --- Stripe ---------------------------------------------------------------------------------------


async def _check_webhook_endpoint(ctx: Context) -> list[CheckFinding]:
    url = f"{ctx.settings.base_url}/webhooks/stripe"
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.webhook_endpoints.list_async({"limit": 100})
        ends = [end async for end in page.auto_paging_iter() if end.url == url]
    if not ends:
        return [
            CheckFinding("webhook", False, "no endpoint at Stripe: run `payments stripe setup`")
        ]
    lacking = set(EVENT_TYPES) - set(ends[0].enabled_events)
    wrong = []
    if ends[0].status != "enabled":
        wrong.append("is disabled")
    if lacking:
        wrong.append(f"lacks {', '.join(sorted(lacking))}")
    if ends[0].api_version != stripe_client.API_VERSION:
        wrong.append(f"renders {ends[0].api_version}, not {stripe_client.API_VERSION}")
    says = "; ".join(wrong) or "the endpoint at Stripe is as it should be"
    return [CheckFinding("webhook", not wrong, says)]


async def _check_clock(ctx: Context) -> list[CheckFinding]:
    with stripe_client.translate_errors():
        answer = await ctx.stripe.v1.products.list_async({"limit": 1})
    last = answer.last_response
    stated = (last.headers.get("Date") if last is not None else None) or ""
    skew = abs(ctx.now() - parsedate_to_datetime(stated).astimezone(UTC))
    says = f"this clock and Stripe's are {skew.total_seconds():.0f} s apart"
    return [CheckFinding("clock", skew <= MAX_CLOCK_SKEW, says)]


# --- this service ---------------------------------------------------------------------------------


async def _check_tls(ctx: Context) -> list[CheckFinding]:
    found = []
    for origin in (ctx.settings.base_url, *ctx.settings.alternate_origins):
        parts = urlsplit(origin)
        if origin == ctx.settings.onion_origin:
            continue  # no certificate: its name is its key
        if parts.scheme == "http":
            found.append(CheckFinding("tls", not ctx.settings.livemode, f"{origin} is not https"))
            continue
        assert parts.hostname is not None
        left = await _certificate_validity(parts.hostname, parts.port or 443)
        says = f"the certificate of {parts.hostname} is good for {left.days} days"
        found.append(CheckFinding("tls", left >= MIN_CERTIFICATE_VALIDITY, says))
    return found


async def _check_proxies(ctx: Context) -> list[CheckFinding]:
    """Whether readers are told apart: by https somebody else stands before us."""
    settings = ctx.settings
    wide = [
        str(one)
        for one in settings.trusted_proxies
        if one.prefixlen < MIN_PROXY_PREFIX_LENGTH[one.version]
    ]
    if wide:
        says = f"{', '.join(wide)} is so wide that anybody could write who they are"
        return [CheckFinding("proxies", False, f"PAYMENTS_TRUSTED_PROXIES: {says}")]
    if settings.uses_https and "trusted_proxies" not in settings.model_fields_set:
        says = (
            "set PAYMENTS_TRUSTED_PROXIES to the address of what serves https before this: unless "
            "it is believed, all readers share one network's limits. 127.0.0.1,::1 if it is here"
        )
        return [CheckFinding("proxies", False, says)]
    named = ", ".join(map(str, settings.trusted_proxies)) or "nobody"
    return [CheckFinding("proxies", True, f"X-Forwarded-For is believed of {named}")]


async def _certificate_validity(host: str, port: int) -> timedelta:
    """How long a host's certificate is good for; it must be valid now."""
    opening = asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    _reader, writer = await asyncio.wait_for(opening, TLS_CONNECT_TIMEOUT_SECONDS)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    ends = from_unix(ssl.cert_time_to_seconds(certificate["notAfter"]))
    return ends - datetime.now(UTC)  # a certificate goes by the real clock


async def _check_mail(ctx: Context) -> list[CheckFinding]:
    settings = ctx.settings
    if not smtp.is_configured(settings):
        return [
            CheckFinding("mail", False, "no mail is sent: set PAYMENTS_SMTP_URL and _MAIL_FROM")
        ]
    async with smtp.connection(settings) as server:
        await server.noop()
    found = [CheckFinding("mail", True, "the mail server answers")]
    sender = smtp.sender_address(settings)
    for name, what, said in (
        ("name", "the name that mails are from", sender.display_name),
        ("address", "the address that mails are from", sender.addr_spec),
        (
            "links",
            "PAYMENTS_MAIL_LINK_ORIGIN, where links in mails lead,",
            settings.mail_links_base_url,
        ),
    ):
        bad = any(statement_descriptor.forbidden_words_in(settings, said))
        says = f"{what} holds {'a' if bad else 'no'} forbidden word"
        found.append(CheckFinding(f"mail:{name}", not bad, says))
    return found


async def _check_oidc(ctx: Context) -> list[CheckFinding]:
    name = oidc_provider.provider_name(ctx.settings)
    if not name:
        return [CheckFinding("sign-in", True, "colleagues come in by passkeys and one-time links")]
    try:
        await OidcProvider(ctx.settings).authorization_url({}, now=ctx.now())
    except ProviderUnavailable as error:
        return [
            CheckFinding("sign-in", False, f"{name} does not answer as it should: {error.outcome}")
        ]
    return [CheckFinding("sign-in", True, f"{name} answers as PAYMENTS_OIDC_ISSUER says")]


async def _check_keys(ctx: Context) -> list[CheckFinding]:
    settings = ctx.settings
    short = any(len(key) < MIN_KEY_CHARS for key in settings.hmac_keys)
    secrets = (
        f"{len(settings.hmac_keys)} secret keys, {'one of them short' if short else 'all long'}"
    )
    known = len(settings.webhook_signing_keys)
    webhooks = f"{known} webhook secrets" if known else "no webhook secret"
    return [
        CheckFinding("keys", bool(settings.hmac_keys) and not short, secrets),
        CheckFinding("keys:webhook", bool(known), webhooks),
        *_check_address_key_dir(settings),
    ]


def _check_address_key_dir(settings: Settings) -> Iterator[CheckFinding]:
    """The folder of the keys that can be shredded."""
    folder = Path(settings.address_key_dir)
    if not settings.address_key_dir:
        yield CheckFinding(
            "keys:store", False, "PAYMENTS_ADDRESS_KEY_DIR is not set: no reminders by mail"
        )
    elif not folder.is_dir():
        yield CheckFinding("keys:store", False, "PAYMENTS_ADDRESS_KEY_DIR is not a folder")
    else:
        closed = folder.stat().st_mode & 0o077 == 0
        says = "is ours alone" if closed else "can be read by others: chmod 700"
        yield CheckFinding("keys:store", closed, f"PAYMENTS_ADDRESS_KEY_DIR {says}")


async def _check_database(ctx: Context) -> list[CheckFinding]:
    async with ctx.sessions() as session:
        may = await session.execute(
            text(
                "SELECT c.relname FROM pg_class c WHERE c.relname = ANY(:tables)"
                "   AND has_any_column_privilege(current_user, c.oid, 'UPDATE')"
                " UNION SELECT c.relname FROM pg_class c WHERE c.relname = ANY(:tables)"
                "   AND (has_table_privilege(current_user, c.oid, 'DELETE')"
                "        OR has_table_privilege(current_user, c.oid, 'TRUNCATE'))"
            ),
            {"tables": list(APPEND_ONLY_TABLES)},
        )
        changeable = sorted(str(name) for (name,) in may)
        fsync = await session.scalar(text("SELECT current_setting('fsync')"))
    url = ctx.settings.database_url.get_secret_value()
    missing = await asyncio.to_thread(migrate.pending_revisions, url)
    role = f"the role {db.APP_ROLE}"
    books = f"may change {', '.join(changeable)}" if changeable else "may not change the books"
    return [
        CheckFinding(
            "database:schema", not missing, ", ".join(missing) or "the schema is up to date"
        ),
        CheckFinding("database:role", not changeable, f"{role} {books}"),
        CheckFinding(
            "database:fsync", fsync == "on" or not ctx.settings.livemode, f"fsync is {fsync}"
        ),
    ]


async def _check_donor_safety_policy(ctx: Context) -> list[CheckFinding]:
    policy = ctx.settings.safety_policy
    if policy is None:
        return [CheckFinding("protection", True, "the switch is off: PAYMENTS_DONOR_SAFETY_POLICY")]
    words = len(policy.forbidden_descriptor_words)
    says = f"{len(policy.protected_countries)} countries, {words} forbidden words"
    found = [CheckFinding("protection", words > 0, says)]
    promised = any(
        statement_descriptor.forbidden_words_in(ctx.settings, ctx.settings.statement_descriptor)
    )
    says = f"PAYMENTS_STATEMENT_DESCRIPTOR holds {'a' if promised else 'no'} forbidden word"
    return [*found, CheckFinding("protection:statement", not promised, says)]


async def _check_radar_rule(ctx: Context) -> list[CheckFinding]:
    """Whether Stripe stops protected cards before a bank is asked, by the newest that was tried."""
    policy, since = ctx.settings.safety_policy, ctx.now() - RADAR_LOOKBACK
    if policy is None:
        return []
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.charges.list_async(
            {"limit": 100, "created": {"gte": int(since.timestamp())}}
        )
        tried, looked = None, 0
        async for charge in page.auto_paging_iter():
            looked += 1
            if policy.protects(quarantine.card_country(charge)):
                tried = charge
            if tried is not None or looked == RADAR_MAX_CHARGES:
                break
    rule = " or ".join(f":card_country: = '{one}'" for one in policy.protected_countries)
    by_hand = (
        f"At Stripe, Radar, Rules: “Block if {rule}”. Then, in a sandbox of Stripe's with the same "
        "rule, give with a test card of such a country (docs.stripe.com/testing): its charge must "
        "say blocked, not_sent_to_network"
    )
    if tried is None:
        says = f"none of the last {looked} payments tried one, so nothing proves it. {by_hand}"
        return [CheckFinding("radar", True, f"a card of a protected country: {says}")]
    day = from_unix(tried.created).date()
    stopped = tried.outcome is not None and tried.outcome.network_status == "not_sent_to_network"
    if stopped:
        says = f"that of {day} was stopped before its bank was asked"
    else:
        says = f"that of {day} reached its bank. {by_hand}"
    return [CheckFinding("radar", stopped, f"a card of a protected country: {says}")]


async def _check_descriptor_review(ctx: Context) -> list[CheckFinding]:
    """How long ago somebody looked at a real statement of a bank."""
    if ctx.settings.safety_policy is None:
        return []
    last = await descriptor_review.last_review_date(ctx)
    if not await descriptor_review.is_due(ctx):
        return [CheckFinding("bank-line", True, f"a bank's real line was looked at on {last}")]
    says = (
        f"a bank's real line was looked at: {last or 'never'}. Every 100 days give a little by "
        "each way to pay, wait for the bank's statement, compare it with PAYMENTS_STATEMENT_DESCRIPTOR, file "
        "it, and write that down: `payments doctor ack-descriptor`"
    )
    return [CheckFinding("bank-line", False, says)]


Check = Callable[[Context], Awaitable[list[CheckFinding]]]
CHECKS: dict[str, Check] = {
    "statement": statement_descriptor.check_and_alert,
    "webhook": _check_webhook_endpoint,
    "clock": _check_clock,
    "tls": _check_tls,
    "proxies": _check_proxies,
    "mail": _check_mail,
    "sign-in": _check_oidc,
    "keys": _check_keys,
    "database": _check_database,
    "protection": _check_donor_safety_policy,
    "radar": _check_radar_rule,
    "bank-line": _check_descriptor_review,
}
