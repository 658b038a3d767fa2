"""The doctor's look at DNS: whether others can tell our mail from a forged one.

SPF (RFC 7208) says which servers send for the sender's domain, DKIM (RFC 6376) has the key of what
is signed, DMARC (RFC 9989) says what becomes of a mail that neither proves. A finding says what was
seen and what to publish. Where DNS does not answer, one finding says so.
"""

import re
from dataclasses import dataclass
from email.utils import parseaddr
from urllib.parse import urlsplit

import dns.asyncresolver
import dns.exception
import dns.resolver

from payments.core.email import normalise_email
from payments.core.errors import InvalidField
from payments.core.mail_settings import split_resolver
from payments.core.settings import Settings
from payments.infra.context import Context
from payments.mail import dkim_signature, smtp
from payments.risk.statement_descriptor import CheckFinding

CHECK = "sender"
ANSWER_SECONDS = 5.0
UDP_PAYLOAD = 1232  # bytes; a longer answer comes over TCP
MAX_SPF_LOOKUPS = 10  # RFC 7208, 4.6.4: with more, receivers give up
MAX_SHOWN = 300  # characters of a record
# Names that nobody can have records for (RFC 2606, RFC 6761, RFC 7686).
RESERVED = (
    *(".example", ".test", ".invalid", ".localhost", ".local", ".onion"),
    *(".example.org", ".example.com", ".example.net"),
)
SPF_LOOKUP_PATTERN = re.compile(r"[+?~-]?(include|a|mx|ptr|exists)(?=[:/]|$)|redirect=")
SPF_FOLLOWED_PATTERN = re.compile(r"[+?~-]?include:(\S+)|redirect=(\S+)")


class DnsUnavailable(Exception):
    """DNS gives no answer."""


@dataclass(frozen=True, slots=True)
class Dns:
    """TXT records, from the resolver of the settings or this machine's."""

    resolver: dns.asyncresolver.Resolver

    @classmethod
    def of(cls, settings: Settings) -> "Dns":
        """Open the resolver. Raises DnsUnavailable."""
        try:
            resolver = dns.asyncresolver.Resolver(configure=not settings.dns_resolver)
        except (dns.resolver.NoResolverConfiguration, OSError) as error:
            raise DnsUnavailable(type(error).__name__) from None
        if settings.dns_resolver:
            host, port = split_resolver(settings.dns_resolver)
            resolver.nameservers, resolver.port = [host], port
        resolver.lifetime = ANSWER_SECONDS
        resolver.use_edns(0, 0, UDP_PAYLOAD)
        return cls(resolver)

    async def txt(self, name: str) -> list[str]:
        """Return the TXT records of a name; none where there are none. Raises DnsUnavailable."""
        try:
            answer = await self.resolver.resolve(name, "TXT", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise DnsUnavailable(type(error).__name__) from None
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]


async def check(ctx: Context) -> list[CheckFinding]:
    """Whether receivers of our mail can tell it from a forged one."""
    return await check_settings(ctx.settings)


async def check_settings(settings: Settings) -> list[CheckFinding]:
    """Do as `check`, which needs nothing but the settings."""
    domain = _sender_domain(settings)
    if domain is None:
        return [CheckFinding(CHECK, True, "no mail is sent, so no sender has to be proved")]
    if f".{domain}".endswith(RESERVED):
        description = f"{domain} is a name for examples: DNS was not asked about it"
        return [CheckFinding(CHECK, not settings.livemode, description)]
    findings = []
    try:
        records = Dns.of(settings)
        for part in (_check_spf, _check_dkim, _check_dmarc):
            findings.append(await part(records, settings, domain))
    except DnsUnavailable as error:
        description = (
            f"DNS gives no answer ({error}), so not all of SPF, DKIM and DMARC of {domain} was "
            "looked at: PAYMENTS_DNS_RESOLVER names another resolver"
        )
        findings.append(CheckFinding(f"{CHECK}:dns", False, description))
    return findings


def _sender_domain(settings: Settings) -> str | None:
    """Return the domain of the sender as DNS has it; None where no mail is sent."""
    if not smtp.is_configured(settings):
        return None
    address = parseaddr(settings.mail_from)[1]
    try:
        return normalise_email(address).rpartition("@")[2]
    except InvalidField:
        return address.rpartition("@")[2].lower()


def _shown(record: str) -> str:
    """Return a record of somebody's as it may be printed."""
    text = "".join(c if c.isprintable() else "?" for c in record)
    return f"“{text[:MAX_SHOWN]}{'…' if len(text) > MAX_SHOWN else ''}”"


def _starting(records: list[str], version: str) -> list[str]:
    """Return the records of a version: `v=spf1`, alone or before a blank or a semicolon."""
    pattern = re.compile(rf"{re.escape(version)}(?=[ ;]|$)", re.IGNORECASE)
    return [record for record in records if pattern.match(record.strip())]


# --- SPF ------------------------------------------------------------------------------------------


async def _check_spf(records: Dns, settings: Settings, domain: str) -> CheckFinding:
    """Whether SPF says which servers send for the domain, and that no others do."""
    found = _starting(await records.txt(domain), "v=spf1")
    name = f"{CHECK}:spf"
    if len(found) != 1:
        seen = f"{len(found)} SPF records, so receivers take none" if found else "no SPF record"
        suggestion = f"v=spf1 {_own_servers(settings)} -all"
        return CheckFinding(
            name,
            False,
            f"{domain} has {seen}: publish one TXT record there, such as “{suggestion}”, with what "
            "your mail provider says of its servers",
        )
    (record,) = found
    terms = record.lower().split()[1:]
    problem = None
    if {"all", "+all"} & set(terms):
        problem = "lets everybody send for it: end it with -all"
    elif not {"-all", "~all"} & set(terms) and not any(t.startswith("redirect=") for t in terms):
        problem = "refuses nobody: end it with -all, or ~all while you try it"
    else:
        count = await _count_lookups(records, domain, record)
        if count is None:
            problem = "includes a name without an SPF record of its own, so receivers give up"
        elif count > MAX_SPF_LOOKUPS:
            problem = f"needs {count} look-ups or more where receivers make {MAX_SPF_LOOKUPS}"
    described = f"SPF of {domain}, {_shown(record)}, {problem or 'names who sends for it'}"
    return CheckFinding(name, problem is None, described)


def _own_servers(settings: Settings) -> str:
    assert settings.smtp_url is not None
    host = urlsplit(settings.smtp_url.get_secret_value()).hostname
    return "mx" if host in smtp.LOOPBACK_HOSTS else f"a:{host}"


async def _count_lookups(records: Dns, domain: str, record: str) -> int | None:
    """Return how many look-ups a record makes, those of what it includes too; None where an
    included name has no record. It stops counting once there are too many.
    """
    count, waiting, seen = 0, [record], {domain}
    while waiting and count <= MAX_SPF_LOOKUPS:
        terms = waiting.pop().lower().split()[1:]
        count += sum(SPF_LOOKUP_PATTERN.match(term) is not None for term in terms)
        for term in terms:
            followed = SPF_FOLLOWED_PATTERN.fullmatch(term)
            name = (followed[1] or followed[2]) if followed else None
            if name is None or "%" in name or name in seen:
                continue
            seen.add(name)
            theirs = _starting(await records.txt(name), "v=spf1")
            if len(theirs) != 1:
                return None
            waiting.append(theirs[0])
    return count


# --- DKIM -----------------------------------------------------------------------------------------


async def _check_dkim(records: Dns, settings: Settings, sender_domain: str) -> CheckFinding:
    """Whether DNS has the key that mails are signed with."""
    name = f"{CHECK}:dkim"
    key, domain, selector = settings.dkim_key, settings.dkim_domain, settings.dkim_selector
    if key is None or domain is None or selector is None:
        return CheckFinding(
            name,
            True,
            "mails are not signed here, so your mail server has to: PAYMENTS_DKIM_DOMAIN, "
            "_SELECTOR and _KEY_FILE sign them here (payments keys dkim)",
        )
    where = dkim_signature.record_name(selector, domain)
    right = dkim_signature.public_record(key)
    found = await records.txt(where)
    if len(found) != 1:
        seen = f"has {len(found)} TXT records" if found else "has no TXT record"
        return CheckFinding(name, False, f"{where} {seen}: publish “{right}” there, and no other")
    tags = _tags(found[0])
    problem = None
    if not tags.get("p"):
        problem = f"holds no key: publish “{right}”"
    elif tags["p"] != _tags(right)["p"]:
        problem = (
            "holds another key than PAYMENTS_DKIM_KEY_FILE, so every signature fails: publish "
            f"“{right}”"
        )
    elif "y" in tags.get("t", "").split(":"):
        problem = "says t=y, so receivers take signed mails as unsigned: take it out"
    elif "s" in tags.get("t", "").split(":") and domain != sender_domain:
        problem = f"says t=s, so it proves {domain} alone and not the sender's domain: take it out"
    return CheckFinding(name, problem is None, f"{where} {problem or 'holds the key that signs'}")


def _tags(record: str) -> dict[str, str]:
    """Return the tags of a record of DKIM or DMARC, without blanks."""
    pairs = (part.partition("=") for part in record.split(";"))
    return {key.strip().lower(): re.sub(r"\s", "", value) for key, _, value in pairs}


# --- DMARC ----------------------------------------------------------------------------------------


async def _check_dmarc(records: Dns, settings: Settings, domain: str) -> CheckFinding:
    """Whether DMARC says what becomes of a mail that nothing proves, and ours are proved by it."""
    name = f"{CHECK}:dmarc"
    owner, found = await _dmarc_records(records, domain)
    if len(found) != 1:
        seen = f"{len(found)} DMARC records, so receivers take none" if found else "no DMARC record"
        suggestion = f"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"
        return CheckFinding(
            name,
            False,
            f"_dmarc.{owner} has {seen}: publish one TXT record there, such as “{suggestion}”",
        )
    tags = _tags(found[0])
    policy = tags.get("p", "").lower()
    if owner != domain:
        policy = tags.get("sp", policy).lower()
    described = f"DMARC at _dmarc.{owner}, {_shown(found[0])},"
    if policy not in ("none", "quarantine", "reject"):
        return CheckFinding(name, False, f"{described} has no policy: none, quarantine or reject")
    if tags.get("adkim", "r").lower() == "s" and settings.dkim_domain not in (None, domain):
        return CheckFinding(
            name,
            False,
            f"{described} wants signatures of {domain} itself (adkim=s): set PAYMENTS_DKIM_DOMAIN "
            "to it, or take adkim out",
        )
    if policy == "none":
        return CheckFinding(
            name, True, f"{described} only watches: p=quarantine once its reports are clean"
        )
    return CheckFinding(name, True, f"{described} protects the sender's name")


async def _dmarc_records(records: Dns, domain: str) -> tuple[str, list[str]]:
    """Return the DMARC records of a domain, or of the nearest above it that has any, and its name.

    Where nobody has one, the domain itself and none.
    """
    labels = domain.split(".")
    for i in range(len(labels) - 1):
        owner = ".".join(labels[i:])
        if found := _starting(await records.txt(f"_dmarc.{owner}"), "v=DMARC1"):
            return owner, found
    return domain, []
