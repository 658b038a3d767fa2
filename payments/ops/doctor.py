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

from payments.core.errors import StripeUnavailable
from payments.core.settings import Settings
from payments.infra import db, migrate, stripe_client
from payments.infra.context import Runtime
from payments.mail import smtp
from payments.risk import quarantine, statement_descriptor
from payments.risk.statement_descriptor import Finding
from payments.safety import descriptor_review
from payments.staff import oidc_provider
from payments.staff.oidc_provider import Issuer, IssuerAway
from webhooks import EVENTS

SKEW_MOST = timedelta(seconds=30)
CERTIFICATE_LEFT = timedelta(days=14)
PATIENCE = 10.0
LOOKS_BACK = timedelta(days=100)
CHARGES_MOST = 300
WIDEST = {4: 8, 6: 16}  # bits: 10.0.0.0/8 is somebody's own, and more is everybody
KEY_CHARACTERS = 64
APPEND_ONLY = ("ledger_entries", "balance_transactions", "stripe_events", "payout_transactions")
# What may go wrong while looking is itself a finding, never the end of the examination.
TROUBLE = (
    StripeUnavailable, stripe.StripeError, OSError, TimeoutError, aiosmtplib.SMTPException,
    ssl.SSLError, ValueError,
)  # fmt: skip


async def examine(rt: Runtime) -> list[Finding]:
    """Everything that can be looked at from here."""
    found: list[Finding] = []
    for name, look in LOOKS.items():
        try:
            found += await look(rt)
        except TROUBLE as error:
            found.append(Finding(name, False, f"could not be looked at: {type(error).__name__}"))
    return found


# --- Stripe ---------------------------------------------------------------------------------------


async def _endpoint(rt: Runtime) -> list[Finding]:
    url = f"{rt.settings.base_url}/webhooks/stripe"
    with stripe_client.reachable():
        page = await rt.stripe.v1.webhook_endpoints.list_async({"limit": 100})
        ends = [end async for end in page.auto_paging_iter() if end.url == url]
    if not ends:
        return [Finding("webhook", False, "no endpoint at Stripe: run `payments stripe setup`")]
    lacking = set(EVENTS) - set(ends[0].enabled_events)
    wrong = []
    if ends[0].status != "enabled":
        wrong.append("is disabled")
    if lacking:
        wrong.append(f"lacks {', '.join(sorted(lacking))}")
    if ends[0].api_version != stripe_client.API_VERSION:
        wrong.append(f"renders {ends[0].api_version}, not {stripe_client.API_VERSION}")
    says = "; ".join(wrong) or "the endpoint at Stripe is as it should be"
    return [Finding("webhook", not wrong, says)]


async def _clock(rt: Runtime) -> list[Finding]:
    with stripe_client.reachable():
        answer = await rt.stripe.v1.products.list_async({"limit": 1})
    last = answer.last_response
    stated = (last.headers.get("Date") if last is not None else None) or ""
    skew = abs(rt.now() - parsedate_to_datetime(stated).astimezone(UTC))
    says = f"this clock and Stripe's are {skew.total_seconds():.0f} s apart"
    return [Finding("clock", skew <= SKEW_MOST, says)]


# --- this service ---------------------------------------------------------------------------------


async def _tls(rt: Runtime) -> list[Finding]:
    found = []
    for origin in (rt.settings.base_url, *rt.settings.mirrors):
        parts = urlsplit(origin)
        if origin == rt.settings.onion:
            continue  # no certificate: its name is its key
        if parts.scheme == "http":
            found.append(Finding("tls", not rt.settings.livemode, f"{origin} is not https"))
            continue
        assert parts.hostname is not None
        left = await _certificate_lasts(parts.hostname, parts.port or 443)
        says = f"the certificate of {parts.hostname} is good for {left.days} days"
        found.append(Finding("tls", left >= CERTIFICATE_LEFT, says))
    return found


async def _proxies(rt: Runtime) -> list[Finding]:
    """Whether readers are told apart: by https somebody else stands before us."""
    settings = rt.settings
    wide = [str(one) for one in settings.trusted_proxies if one.prefixlen < WIDEST[one.version]]
    if wide:
        says = f"{', '.join(wide)} is so wide that anybody could write who they are"
        return [Finding("proxies", False, f"PAYMENTS_TRUSTED_PROXIES: {says}")]
    if settings.secure and "trusted_proxies" not in settings.model_fields_set:
        says = (
            "set PAYMENTS_TRUSTED_PROXIES to the address of what serves https before this: unless "
            "it is believed, all readers share one network's limits. 127.0.0.1,::1 if it is here"
        )
        return [Finding("proxies", False, says)]
    named = ", ".join(map(str, settings.trusted_proxies)) or "nobody"
    return [Finding("proxies", True, f"X-Forwarded-For is believed of {named}")]


async def _certificate_lasts(host: str, port: int) -> timedelta:
    """How long a host's certificate is good for; it must be valid now."""
    opening = asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    _reader, writer = await asyncio.wait_for(opening, PATIENCE)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    return ends - datetime.now(UTC)  # a certificate goes by the real clock


async def _mail(rt: Runtime) -> list[Finding]:
    settings = rt.settings
    if not smtp.is_configured(settings):
        return [Finding("mail", False, "no mail is sent: set PAYMENTS_SMTP_URL and _MAIL_FROM")]
    async with smtp.connection(settings) as server:
        await server.noop()
    found = [Finding("mail", True, "the mail server answers")]
    sender = smtp.sender(settings)
    for name, what, said in (
        ("name", "the name that mails are from", sender.display_name),
        ("address", "the address that mails are from", sender.addr_spec),
        ("links", "PAYMENTS_MAIL_URL, where links in mails lead,", settings.mailed_url),
    ):
        bad = any(statement_descriptor.forbidden(settings, said))
        says = f"{what} holds {'a' if bad else 'no'} forbidden word"
        found.append(Finding(f"mail:{name}", not bad, says))
    return found


async def _sign_in(rt: Runtime) -> list[Finding]:
    name = oidc_provider.name(rt.settings)
    if not name:
        return [Finding("sign-in", True, "colleagues come in by passkeys and one-time links")]
    try:
        await Issuer(rt.settings).entrance({}, now=rt.now())
    except IssuerAway as error:
        return [Finding("sign-in", False, f"{name} does not answer as it should: {error.why}")]
    return [Finding("sign-in", True, f"{name} answers as PAYMENTS_OIDC_ISSUER says")]


async def _keys(rt: Runtime) -> list[Finding]:
    settings = rt.settings
    short = any(len(key) < KEY_CHARACTERS for key in settings.keys)
    secrets = f"{len(settings.keys)} secret keys, {'one of them short' if short else 'all long'}"
    known = len(settings.webhook_keys)
    webhooks = f"{known} webhook secrets" if known else "no webhook secret"
    return [
        Finding("keys", bool(settings.keys) and not short, secrets),
        Finding("keys:webhook", bool(known), webhooks),
        *_store(settings),
    ]


def _store(settings: Settings) -> Iterator[Finding]:
    """The folder of the keys that can be shredded."""
    folder = Path(settings.key_store)
    if not settings.key_store:
        yield Finding("keys:store", False, "PAYMENTS_KEY_STORE is not set: no reminders by mail")
    elif not folder.is_dir():
        yield Finding("keys:store", False, "PAYMENTS_KEY_STORE is not a folder")
    else:
        closed = folder.stat().st_mode & 0o077 == 0
        says = "is ours alone" if closed else "can be read by others: chmod 700"
        yield Finding("keys:store", closed, f"PAYMENTS_KEY_STORE {says}")


async def _database(rt: Runtime) -> list[Finding]:
    async with rt.sessions() as session:
        may = await session.execute(
            text(
                "SELECT c.relname FROM pg_class c WHERE c.relname = ANY(:tables)"
                "   AND has_any_column_privilege(current_user, c.oid, 'UPDATE')"
                " UNION SELECT c.relname FROM pg_class c WHERE c.relname = ANY(:tables)"
                "   AND (has_table_privilege(current_user, c.oid, 'DELETE')"
                "        OR has_table_privilege(current_user, c.oid, 'TRUNCATE'))"
            ),
            {"tables": list(APPEND_ONLY)},
        )
        changeable = sorted(str(name) for (name,) in may)
        fsync = await session.scalar(text("SELECT current_setting('fsync')"))
    url = rt.settings.database_url.get_secret_value()
    missing = await asyncio.to_thread(migrate.missing, url)
    role = f"the role {db.APP_ROLE}"
    books = f"may change {', '.join(changeable)}" if changeable else "may not change the books"
    return [
        Finding("database:schema", not missing, ", ".join(missing) or "the schema is up to date"),
        Finding("database:role", not changeable, f"{role} {books}"),
        Finding("database:fsync", fsync == "on" or not rt.settings.livemode, f"fsync is {fsync}"),
    ]


async def _protection(rt: Runtime) -> list[Finding]:
    policy = rt.settings.policy
    if policy is None:
        return [Finding("protection", True, "the switch is off: PAYMENTS_PROTECTION_FILE")]
    words = len(policy.forbidden_words)
    says = f"{len(policy.protected_countries)} countries, {words} forbidden words"
    found = [Finding("protection", words > 0, says)]
    promised = any(statement_descriptor.forbidden(rt.settings, rt.settings.statement))
    says = f"PAYMENTS_STATEMENT holds {'a' if promised else 'no'} forbidden word"
    return [*found, Finding("protection:statement", not promised, says)]


async def _radar(rt: Runtime) -> list[Finding]:
    """Whether Stripe stops protected cards before a bank is asked, by the newest that was tried."""
    policy, since = rt.settings.policy, rt.now() - LOOKS_BACK
    if policy is None:
        return []
    with stripe_client.reachable():
        page = await rt.stripe.v1.charges.list_async(
            {"limit": 100, "created": {"gte": int(since.timestamp())}}
        )
        tried, looked = None, 0
        async for charge in page.auto_paging_iter():
            looked += 1
            if policy.protects(quarantine.country_of(charge)):
                tried = charge
            if tried is not None or looked == CHARGES_MOST:
                break
    rule = " or ".join(f":card_country: = '{one}'" for one in policy.protected_countries)
    by_hand = (
        f"At Stripe, Radar, Rules: “Block if {rule}”. Then, in a sandbox of Stripe's with the same "
        "rule, give with a test card of such a country (docs.stripe.com/testing): its charge must "
        "say blocked, not_sent_to_network"
    )
    if tried is None:
        says = f"none of the last {looked} payments tried one, so nothing proves it. {by_hand}"
        return [Finding("radar", True, f"a card of a protected country: {says}")]
    day = datetime.fromtimestamp(tried.created, UTC).date()
    stopped = tried.outcome is not None and tried.outcome.network_status == "not_sent_to_network"
    if stopped:
        says = f"that of {day} was stopped before its bank was asked"
    else:
        says = f"that of {day} reached its bank. {by_hand}"
    return [Finding("radar", stopped, f"a card of a protected country: {says}")]


async def _bank_line(rt: Runtime) -> list[Finding]:
    """How long ago somebody looked at a real statement of a bank."""
    if rt.settings.policy is None:
        return []
    last = await descriptor_review.last_seen(rt)
    if not await descriptor_review.is_due(rt):
        return [Finding("bank-line", True, f"a bank's real line was looked at on {last}")]
    says = (
        f"a bank's real line was looked at: {last or 'never'}. Every 100 days give a little by "
        "each way to pay, wait for the bank's statement, compare it with PAYMENTS_STATEMENT, file "
        "it, and write that down: `payments doctor --bank-line-seen`"
    )
    return [Finding("bank-line", False, says)]


Look = Callable[[Runtime], Awaitable[list[Finding]]]
LOOKS: dict[str, Look] = {
    "statement": statement_descriptor.check,
    "webhook": _endpoint,
    "clock": _clock,
    "tls": _tls,
    "proxies": _proxies,
    "mail": _mail,
    "sign-in": _sign_in,
    "keys": _keys,
    "database": _database,
    "protection": _protection,
    "radar": _radar,
    "bank-line": _bank_line,
}
