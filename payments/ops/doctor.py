"""The doctor: whether everything around this service is as it must be. One finding for each check.

It changes nothing, except that it closes donations where a bank statement would show what it must
not, just as the schedule does, and an alert about proxies that are right now.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import stripe
from sqlalchemy import text

from payments.core.calendar import from_unix
from payments.core.errors import StripeUnavailable
from payments.core.safety_policy import Policy
from payments.core.settings import Settings
from payments.giving import adoption_review
from payments.infra import (
    connections,
    migrate,
    service_role,
    stripe_account,
    stripe_client,
    stripe_permissions,
)
from payments.infra.context import Context
from payments.mail import smtp
from payments.ops import event_check, proxy_check, sender_records, zone_check
from payments.risk import quarantine, statement_descriptor
from payments.risk.statement_descriptor import CheckFinding
from payments.safety import descriptor_review
from payments.staff import oidc_provider
from payments.staff.oidc_provider import OidcProvider, ProviderUnavailable
from webhooks import endpoint

MAX_CLOCK_SKEW = timedelta(seconds=30)
MIN_CERTIFICATE_VALIDITY = timedelta(days=14)
TLS_CONNECT_TIMEOUT_SECONDS = 10.0
RADAR_LOOKBACK = timedelta(days=100)
RADAR_MAX_CHARGES = 300
MIN_KEY_CHARS = 64
APPEND_ONLY_TABLES = (
    "account_maps",
    "accounting_zones",
    "audit_entries",
    "balance_transactions",
    "correction_decisions",
    "corrections",
    "ledger_entries",
    "payout_transactions",
    "stripe_events",
    "verified_heads",
)


async def run_checks(ctx: Context) -> list[CheckFinding]:
    """Run every check and return what they found, in the order of `CHECKS`."""
    findings: list[CheckFinding] = []
    for name, check in CHECKS.items():
        try:
            findings += await check(ctx)
        except Exception as error:  # noqa: BLE001 - a check that fails is a finding itself
            detail = error.operator_detail if isinstance(error, StripeUnavailable) else None
            findings.append(
                CheckFinding(
                    name, False, f"could not be looked at: {detail or type(error).__name__}"
                )
            )
    return findings


# --- Stripe ---------------------------------------------------------------------------------------


async def _check_webhook_endpoint(ctx: Context) -> list[CheckFinding]:
    problems = await endpoint.list_problems(ctx)
    description = "; ".join(problems) or "the endpoint at Stripe is as it should be"
    return [CheckFinding("webhook", not problems, description)]


async def _check_account(ctx: Context) -> list[CheckFinding]:
    """Whether the key is of the account and mode that this database belongs to."""
    problem = await stripe_account.find_problem(ctx)
    return [
        CheckFinding("account", problem is None, problem or "the key is of this database's account")
    ]


async def _check_adoption(ctx: Context) -> list[CheckFinding]:
    """Whether the contributions that were imported still fit the rule by which they were."""
    left_out = await adoption_review.find_left_out(ctx)
    description = f"PAYMENTS_ADOPT={ctx.settings.adopt} fits all that was imported"
    if left_out:
        description = (
            f"PAYMENTS_ADOPT={ctx.settings.adopt} leaves out {len(left_out)} live contributions "
            "that were imported. They stay until you decide: payments stripe adoption"
        )
    return [CheckFinding("adoption", not left_out, description)]


async def _check_permissions(ctx: Context) -> list[CheckFinding]:
    """Whether the key has every permission that this service needs. Nothing is changed."""
    missing = await stripe_permissions.missing(ctx)
    names = ", ".join(f"{one.access} {one.row} ({one.name})" for one in missing)
    description = f"the key lacks {names}" if missing else "the key may do all that is needed"
    return [CheckFinding("permissions", not missing, description)]


async def _check_clock(ctx: Context) -> list[CheckFinding]:
    """Whether this clock agrees with Stripe's, as a response's Date header has it."""
    with stripe_client.translate_errors():
        products = await ctx.stripe.v1.products.list_async({"limit": 1})
    response = products.last_response
    date = (response.headers.get("Date") if response is not None else None) or ""
    skew = abs(ctx.now() - parsedate_to_datetime(date).astimezone(UTC))
    description = f"this clock and Stripe's are {skew.total_seconds():.0f} s apart"
    return [CheckFinding("clock", skew <= MAX_CLOCK_SKEW, description)]


# --- this service ---------------------------------------------------------------------------------


async def _check_tls(ctx: Context) -> list[CheckFinding]:
    """Whether readers reach us by https, with a certificate that will last for a while."""
    findings = []
    for origin in (ctx.settings.base_url, *ctx.settings.alternate_origins):
        parts = urlsplit(origin)
        if origin == ctx.settings.onion_origin:
            continue  # no certificate: its name is its key
        if parts.scheme == "http":
            description = f"{origin} is not https"
            findings.append(CheckFinding("tls", not ctx.settings.livemode, description))
            continue
        assert parts.hostname is not None
        validity = await _certificate_validity(parts.hostname, parts.port or 443)
        description = f"the certificate of {parts.hostname} is good for {validity.days} days"
        findings.append(CheckFinding("tls", validity >= MIN_CERTIFICATE_VALIDITY, description))
    return findings


async def _certificate_validity(host: str, port: int) -> timedelta:
    """Return how long a host's certificate is still valid. Raises SSLError if it is not now."""
    connect = asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    _reader, writer = await asyncio.wait_for(connect, TLS_CONNECT_TIMEOUT_SECONDS)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    expires_at = from_unix(ssl.cert_time_to_seconds(certificate["notAfter"]))
    return expires_at - datetime.now(UTC)  # a certificate goes by the real clock


async def _check_mail(ctx: Context) -> list[CheckFinding]:
    """Whether the mail server answers, and mails name nothing that the policy forbids."""
    settings = ctx.settings
    if not smtp.is_configured(settings):
        return [
            CheckFinding("mail", False, "no mail is sent: set PAYMENTS_SMTP_URL and _MAIL_FROM")
        ]
    async with smtp.connection(settings) as server:
        await server.noop()
    findings = [CheckFinding("mail", True, "the mail server answers")]
    sender = smtp.sender_address(settings)
    for name, subject, shown in (
        ("name", "the name that mails are from", sender.display_name),
        ("address", "the address that mails are from", sender.addr_spec),
        ("selector", "the DKIM selector, in every mail,", settings.dkim_selector or ""),
        (
            "links",
            "PAYMENTS_MAIL_LINK_ORIGIN, where links in mails lead,",
            settings.mail_links_base_url,
        ),
    ):
        findings.append(_check_words(settings, f"mail:{name}", subject, shown))
    return findings


def _check_words(settings: Settings, name: str, subject: str, shown: str) -> CheckFinding:
    """Whether a text that donors or others see is free of the policy's forbidden words."""
    forbidden = any(statement_descriptor.forbidden_words_in(settings, shown))
    description = f"{subject} holds {'a' if forbidden else 'no'} forbidden word"
    return CheckFinding(name, not forbidden, description)


async def _check_oidc(ctx: Context) -> list[CheckFinding]:
    """Whether the newsroom's sign-in service answers, where there is one."""
    name = oidc_provider.provider_name(ctx.settings)
    if not name:
        return [CheckFinding("oidc", True, "colleagues come in by passkeys and one-time links")]
    try:
        await OidcProvider(ctx.settings).authorization_url({}, now=ctx.now())
    except ProviderUnavailable as error:
        return [
            CheckFinding("oidc", False, f"{name} does not answer as it should: {error.outcome}")
        ]
    return [CheckFinding("oidc", True, f"{name} answers as PAYMENTS_OIDC_ISSUER says")]


async def _check_keys(ctx: Context) -> list[CheckFinding]:
    """Whether the keys and secrets that serving needs are set, and long enough."""
    settings = ctx.settings
    count = len(settings.hmac_keys)
    has_short = any(len(key) < MIN_KEY_CHARS for key in settings.hmac_keys)
    keys = f"{count} secret keys, {'one of them too short' if has_short else 'all long enough'}"
    secret_count = len(settings.webhook_signing_keys)
    secrets = f"{secret_count} webhook secrets" if secret_count else "no webhook secret"
    return [
        CheckFinding("keys", count > 0 and not has_short, keys if count else "no secret key"),
        CheckFinding("keys:webhook", secret_count > 0, secrets),
        _check_address_key_dir(settings),
    ]


def _check_address_key_dir(settings: Settings) -> CheckFinding:
    """Whether the folder of the addresses' keys is there, and closed to others."""
    folder = Path(settings.address_key_dir)
    if not settings.address_key_dir:
        ok, state = False, "is not set: no reminders by mail"
    elif not folder.is_dir():
        ok, state = False, "is not a folder"
    elif folder.stat().st_mode & 0o077:
        ok, state = False, "can be read by others: chmod 700"
    else:
        ok, state = True, "is ours alone"
    return CheckFinding("keys:address-dir", ok, f"PAYMENTS_ADDRESS_KEY_DIR {state}")


# The append-only tables a row of which the current role may change or remove.
CHANGEABLE_TABLES = text(
    """
    SELECT relname
      FROM pg_class
     WHERE relname = ANY(:tables)
       AND (has_any_column_privilege(current_user, oid, 'UPDATE')
            OR has_table_privilege(current_user, oid, 'DELETE')
            OR has_table_privilege(current_user, oid, 'TRUNCATE'))
     ORDER BY relname
    """
)
# The tables that whoever logged in may act as the owner of, whatever role it works as now.
OWNED_TABLES_SQL = text(
    """
    SELECT count(*)
      FROM pg_class
     WHERE relnamespace = CAST('public' AS regnamespace)
       AND relkind = 'r'
       AND pg_has_role(session_user, relowner, 'MEMBER')
    """
)


async def _check_database(ctx: Context) -> list[CheckFinding]:
    """Whether the schema is current, our role may not change the books, commits are durable, and
    nobody reads along on the way.
    """
    async with ctx.sessions() as session:
        changeable = list(
            await session.scalars(CHANGEABLE_TABLES, {"tables": list(APPEND_ONLY_TABLES)})
        )
        owns_tables = bool(await session.scalar(OWNED_TABLES_SQL))
        fsync = await session.scalar(text("SELECT current_setting('fsync')"))
    url = ctx.settings.database_url.get_secret_value()
    missing = await asyncio.to_thread(migrate.pending_revisions, url)
    schema = ", ".join(missing) or "the schema is up to date"
    privilege = f"may change {', '.join(changeable)}" if changeable else "may not change the books"
    role = service_role.APP_ROLE
    login = "is the owner of the tables: serve and work need one of their own (docs/operations.md)"
    is_durable = fsync == "on" or not ctx.settings.livemode
    is_separate = not owns_tables or not ctx.settings.livemode
    return [
        CheckFinding("database:schema", not missing, schema),
        CheckFinding("database:role", not changeable, f"the role {role} {privilege}"),
        CheckFinding(
            "database:login", is_separate, f"the login {login if owns_tables else 'owns no table'}"
        ),
        await check_database_connection(ctx),
        CheckFinding("database:fsync", is_durable, f"fsync is {fsync}"),
    ]


async def check_database_connection(ctx: Context) -> CheckFinding:
    """Whether a database on another machine is reached by TLS."""
    async with ctx.sessions() as session:
        ssl_of_ours = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        uses_tls = bool(await session.scalar(ssl_of_ours))
    hosts = connections.hosts(ctx.settings.database_url.get_secret_value())
    is_local = all(host.startswith("/") or host in ("", *smtp.LOOPBACK_HOSTS) for host in hosts)
    way = "by TLS" if uses_tls else "on this machine" if is_local else "in the clear: set sslmode"
    is_well = uses_tls or is_local or not ctx.settings.livemode
    return CheckFinding("database:tls", is_well, f"the database is reached {way}")


# --- donors in danger -----------------------------------------------------------------------------


async def _check_donor_safety_policy(ctx: Context) -> list[CheckFinding]:
    """Whether the policy names forbidden words, and our own descriptor holds none of them."""
    settings, policy = ctx.settings, ctx.settings.safety_policy
    if policy is None:
        description = "the switch is off: PAYMENTS_DONOR_SAFETY_POLICY"
        return [CheckFinding("donor-safety", True, description)]
    word_count = len(policy.forbidden_descriptor_words)
    description = f"{len(policy.protected_countries)} countries, {word_count} forbidden words"
    return [
        CheckFinding("donor-safety", word_count > 0, description),
        _check_words(
            settings,
            "donor-safety:descriptor",
            "PAYMENTS_STATEMENT_DESCRIPTOR",
            settings.statement_descriptor,
        ),
    ]


async def _check_radar_rule(ctx: Context) -> list[CheckFinding]:
    """Whether Radar blocks cards of protected countries before their banks see anything, by the
    newest charge of one. Without such a charge nothing is proved, and it is no problem.
    """
    policy = ctx.settings.safety_policy
    if policy is None:
        return []
    rule = " or ".join(f":card_country: = '{country}'" for country in policy.protected_countries)
    by_hand = (
        f"At Stripe, Radar, Rules: “Block if {rule}”. Then, in a sandbox of Stripe's with the same "
        "rule, give with a test card of such a country (docs.stripe.com/testing): its charge must "
        "say blocked, not_sent_to_network"
    )
    charge, count = await _newest_protected_charge(ctx, policy)
    if charge is None:
        ok = True
        outcome = f"none of the last {count} payments tried one, so nothing proves it. {by_hand}"
    else:
        day = from_unix(charge.created).date()
        ok = charge.outcome is not None and charge.outcome.network_status == "not_sent_to_network"
        outcome = (
            f"that of {day} was stopped before its bank was asked"
            if ok
            else f"that of {day} reached its bank. {by_hand}"
        )
    return [CheckFinding("radar", ok, f"a card of a protected country: {outcome}")]


async def _newest_protected_charge(
    ctx: Context, policy: Policy
) -> tuple[stripe.Charge | None, int]:
    """Return the newest charge of a protected country's card, and how many charges were read."""
    since = int((ctx.now() - RADAR_LOOKBACK).timestamp())
    count = 0
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.charges.list_async({"limit": 100, "created": {"gte": since}})
        async for charge in page.auto_paging_iter():
            count += 1
            if policy.protects(quarantine.card_country(charge)):
                return charge, count
            if count == RADAR_MAX_CHARGES:
                break
    return None, count


async def _check_descriptor_review(ctx: Context) -> list[CheckFinding]:
    """Whether somebody has compared a bank's real statement with our descriptor lately."""
    if ctx.settings.safety_policy is None:
        return []
    last = await descriptor_review.last_review_date(ctx)
    ok = not await descriptor_review.is_due(ctx)
    description = f"a bank's real line was looked at: {last or 'never'}"
    if not ok:
        description += (
            f". Every {descriptor_review.REVIEW_INTERVAL.days} days give a little by each way to "
            "pay, wait for the bank's statement, compare it with PAYMENTS_STATEMENT_DESCRIPTOR, "
            "file it, and write that down: `payments doctor ack-descriptor`"
        )
    return [CheckFinding("descriptor-review", ok, description)]


Check = Callable[[Context], Awaitable[list[CheckFinding]]]
CHECKS: dict[str, Check] = {
    "descriptor": statement_descriptor.check_and_alert,
    "account": _check_account,
    "permissions": _check_permissions,
    "adoption": _check_adoption,
    "zone": zone_check.check,
    "webhook": _check_webhook_endpoint,
    "clock": _check_clock,
    "tls": _check_tls,
    "proxies": proxy_check.check,
    "mail": _check_mail,
    sender_records.CHECK: sender_records.check,
    "oidc": _check_oidc,
    "keys": _check_keys,
    event_check.CHECK: event_check.check,
    "database": _check_database,
    "donor-safety": _check_donor_safety_policy,
    "radar": _check_radar_rule,
    "descriptor-review": _check_descriptor_review,
}
