"""SMTP: one connection and one mail, in an envelope that says as little as it can.

The sender is the one neutral name of the settings, and a mail loads nothing from anywhere. A mail
about somebody's own payments has no unsubscribe header; a reminder has one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import Policy
from email.utils import parseaddr
from enum import Enum
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog

from payments.core.email import normalise_email
from payments.core.errors import InvalidField
from payments.core.settings import Settings
from payments.mail import dkim_signature, refusals
from payments.mail.brand import LOGO_ID
from payments.mail.refusals import Refusal
from payments.mail.render import RenderedMail

log = structlog.get_logger("payments.mail.smtp")
SmtpClient = aiosmtplib.SMTP
RESPONSE_TIMEOUT = 20.0  # seconds, for each response
DEFAULT_PORTS = {"smtp": 587, "smtps": 465, "smtp+cleartext": 25}
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


class UrlHeader(UnstructuredHeader, BaseHeader):
    """A header of an address, in one line: RFC 2369 allows no encoded words in it."""

    def fold(self, *, policy: Policy) -> str:
        """Return the line as it is sent."""
        return f"{self.name}: {self}{policy.linesep}"


HEADERS = HeaderRegistry()
HEADERS.map_to_type("list-unsubscribe", UrlHeader)
# any server can carry it
MESSAGE_POLICY = policy.SMTP.clone(cte_type="7bit", header_factory=HEADERS)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands outside a mail. The same id is the same mail."""

    id: str
    address: str
    language: str
    written_at: datetime
    unsubscribe_url: str | None = None  # where one POST ends mails of this kind (RFC 8058)


class SendResult(Enum):
    """What became of a mail that is sent at most once."""

    ACCEPTED = "accepted"
    NO_SUCH_MAILBOX = "no such mailbox"
    NOT_CLAIMED = "not claimed"  # nothing was sent: no longer wanted, or another process sends it


class NoSuchMailbox(Exception):
    """The mail server says that there is no such mailbox."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__("There is no such mailbox.")
        self.refusal = refusal


def is_configured(settings: Settings) -> bool:
    """Whether there is a mail server and a sender in the settings."""
    return settings.smtp_url is not None and settings.mail_from != ""


@asynccontextmanager
async def connection(settings: Settings) -> AsyncIterator[SmtpClient]:
    """Open a connection to the mail server: to another machine over TLS or not at all.

    Only `smtp+cleartext://`, by which an operator vouches for a network of their own, needs none.
    On this machine TLS is used where it is offered. Raises aiosmtplib's errors and OSError.
    """
    assert settings.smtp_url is not None
    parts = urlsplit(settings.smtp_url.get_secret_value())
    needs_tls = parts.scheme == "smtp" and parts.hostname not in LOOPBACK_HOSTS
    async with aiosmtplib.SMTP(
        hostname=parts.hostname,
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        use_tls=parts.scheme == "smtps",
        start_tls=True if needs_tls else None,
        local_hostname=sender_address(settings).domain,
        timeout=RESPONSE_TIMEOUT,
    ) as server:
        yield server


async def send(
    server: SmtpClient, settings: Settings, rendered: RenderedMail, envelope: Envelope
) -> SendResult:
    """Send one mail. Raises NoSuchMailbox, and aiosmtplib's errors if it is not accepted."""
    mail = build_message(settings, rendered, envelope)
    if mail is None:
        return SendResult.NO_SUCH_MAILBOX
    content = dkim_signature.sign(settings, mail.as_bytes())
    (mailbox,) = mail["To"].addresses
    with _missing_mailbox_raised():
        await server.sendmail(sender_address(settings).addr_spec, [mailbox.addr_spec], content)
    return SendResult.ACCEPTED


async def send_at_most_once(
    server: SmtpClient,
    settings: Settings,
    rendered: RenderedMail,
    envelope: Envelope,
    claim: Callable[[], Awaitable[bool]],
    give_back: Callable[[], Awaitable[None]],
) -> SendResult:
    """Send one mail at most once: it is claimed after the server has accepted its recipient and
    before the server gets its content. Raises as `send` does; the claim stays unless the server
    has refused the content.
    """
    mail = build_message(settings, rendered, envelope)
    if mail is None:
        return SendResult.NO_SUCH_MAILBOX
    content = dkim_signature.sign(settings, mail.as_bytes())
    (mailbox,) = mail["To"].addresses
    await server.mail(sender_address(settings).addr_spec)
    with _missing_mailbox_raised():
        await server.rcpt(mailbox.addr_spec)
    if not await claim():
        return SendResult.NOT_CLAIMED
    try:
        await server.data(content)
    except aiosmtplib.SMTPDataError:
        await give_back()
        raise
    return SendResult.ACCEPTED


@contextmanager
def _missing_mailbox_raised() -> Iterator[None]:
    """Raise NoSuchMailbox for a recipient that is refused because there is none."""
    try:
        yield
    except (aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPRecipientsRefused) as error:
        refusal = refusals.refusal_of(error)
        if refusal is None or not refusal.is_no_mailbox:
            raise
        log.info("recipient_rejected")
        raise NoSuchMailbox(refusal) from None


def build_message(
    settings: Settings, rendered: RenderedMail, envelope: Envelope
) -> EmailMessage | None:
    """Return the mail as it is sent; None if its address cannot be one."""
    mailbox = _parse_mailbox(envelope.address)
    if mailbox is None:
        return None
    message = EmailMessage(policy=MESSAGE_POLICY)
    message["Subject"] = rendered.subject
    message["From"] = sender_address(settings)
    message["To"] = mailbox
    message["Date"] = envelope.written_at
    message["Message-ID"] = f"<{envelope.id}@{sender_address(settings).domain}>"
    message["Auto-Submitted"] = "auto-generated"
    if envelope.unsubscribe_url is not None:
        message["List-Unsubscribe"] = f"<{envelope.unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(rendered.text)
    message.add_alternative(rendered.html, subtype="html")
    if rendered.logo is not None:
        page = message.get_body(("html",))
        assert isinstance(page, EmailMessage)
        page.add_related(rendered.logo, "image", "png", cid=f"<{LOGO_ID}>", disposition="inline")
    message["Content-Language"] = envelope.language  # last: setting the content resets it
    return message


def sender_address(settings: Settings) -> Address:
    """Return the address that mails are from."""
    name, address = parseaddr(settings.mail_from)
    return Address(display_name=name, addr_spec=address)


def _parse_mailbox(address: str) -> Address | None:
    """Return an address that can be sent to; None for anything else.

    It is the mailbox of the address's normal form, by which its owner is known.
    """
    try:
        local, _, domain = normalise_email(address).rpartition("@")
    except InvalidField:
        return None
    typed = address.strip().rpartition("@")[0]
    if typed.lower() == local:  # capitals are left to the mail server
        local = typed
    return Address(username=local, domain=domain) if local.isascii() else None
