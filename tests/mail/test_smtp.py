"""A mail is sent over TLS where there is any, and a password to no other machine in the clear."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiosmtplib
import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from pydantic import SecretStr, TypeAdapter, ValidationError

from payments.core.setting_types import SmtpUrl
from payments.core.settings import Settings
from payments.mail import refusals, smtp
from payments.mail.render import RenderedMail
from payments.mail.smtp import Envelope, SendResult
from tests.support.newsroom import MailServer, settings_for

pytestmark = pytest.mark.anyio
CERTIFICATE = Path(__file__).parents[1] / "support" / "localhost.pem"
MAIL = RenderedMail("A subject", "Words.\n", "<p>Words.</p>\n")
NOWHERE = "postgresql+psycopg://nobody@localhost/none"


def own_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


@contextlib.asynccontextmanager
async def listening(
    tls: ssl.SSLContext | None = None, **options: object
) -> AsyncIterator[MailServer]:
    post = MailServer(tls=tls, options=options)
    await post.open()
    async with contextlib.aclosing(post):
        yield post


def settings_with(url: str) -> Settings:
    settings = settings_for(
        NOWHERE, "http://127.0.0.1:1", mail_from="Support <post@lindenau.example>"
    )
    return settings.model_copy(update={"smtp_url": SecretStr(url)})


async def sends(url: str, address: str = "someone@example.org") -> SendResult:
    settings = settings_with(url)
    envelope = Envelope("0" * 32, address, "en", datetime(2026, 11, 22, tzinfo=UTC))
    async with smtp.connection(settings) as server:
        return await smtp.send(server, settings, MAIL, envelope)


@dataclass
class Authenticator:
    """The server's check of who logs in, and what was tried."""

    name: str
    password: str
    attempts: list[object] = field(default_factory=list)

    def __call__(
        self,
        _server: object,
        _session: object,
        _envelope: object,
        _method: str,
        credentials: object,
    ) -> AuthResult:
        self.attempts.append(credentials)
        assert isinstance(credentials, LoginPassword)
        right = (credentials.login, credentials.password) == (
            self.name.encode(),
            self.password.encode(),
        )
        return AuthResult(success=right, handled=False)


@pytest.fixture
def known_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


@pytest.mark.usefixtures("known_certificate")
async def test_tls_is_used_where_it_is_offered() -> None:
    async with listening(tls_context=own_tls(), require_starttls=True) as post:
        assert await sends(f"smtp://localhost:{post.port}") is SendResult.ACCEPTED
        assert len(post.mails) == 1


@pytest.mark.usefixtures("known_certificate")
async def test_a_server_may_speak_tls_from_the_first_byte() -> None:
    async with listening(tls=own_tls()) as post:
        assert await sends(f"smtps://localhost:{post.port}") is SendResult.ACCEPTED
        assert len(post.mails) == 1


async def test_a_server_nobody_vouches_for_gets_no_mail() -> None:
    async with listening(tls=own_tls()) as post:
        with pytest.raises(aiosmtplib.SMTPConnectError):
            await sends(f"smtps://localhost:{post.port}")
        assert post.mails == []


# aiosmtpd warns of a name it sets itself.
@pytest.mark.filterwarnings("ignore:Session.login_data:DeprecationWarning")
@pytest.mark.usefixtures("known_certificate")
async def test_a_name_and_a_password_may_have_any_letters() -> None:
    authenticator = Authenticator("me@here", "p:ä/ss")
    async with listening(
        tls_context=own_tls(), auth_required=True, authenticator=authenticator
    ) as post:
        assert (
            await sends(f"smtp://me%40here:p%3A%C3%A4%2Fss@localhost:{post.port}")
            is SendResult.ACCEPTED
        )
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await sends(f"smtp://me%40here:wrong@localhost:{post.port}")
        assert len(post.mails) == 1


async def test_a_password_is_never_sent_to_another_machine_in_the_clear() -> None:
    authenticator = Authenticator("me", "secret")
    async with listening(auth_require_tls=False, authenticator=authenticator) as post:
        # To the service, any name but the loopback's is another machine's.
        with pytest.raises(aiosmtplib.SMTPException):
            await sends(f"smtp://me:secret@0.0.0.0:{post.port}")
        assert authenticator.attempts == []
        assert post.mails == []


async def test_another_machine_gets_no_mail_in_the_clear_unless_the_operator_says_so() -> None:
    async with listening() as post:
        with pytest.raises(aiosmtplib.SMTPException):
            await sends(f"smtp://0.0.0.0:{post.port}")
        assert post.mails == []
        await sends(f"smtp+cleartext://0.0.0.0:{post.port}")
        assert len(post.mails) == 1
    for refused in ("smtp+cleartext://me:secret@mail.example", "smtp+other://mail.example"):
        with pytest.raises(ValidationError):
            TypeAdapter(SmtpUrl).validate_python(refused)


async def test_a_mailbox_that_no_server_can_name_is_none_of_another() -> None:
    async with listening() as post:
        for address in ("wei\u00df@example.org", "wei\u017fs@example.org", "\ufb01ona@example.org"):
            assert await sends(post.url, address) is SendResult.NO_SUCH_MAILBOX
        assert post.mails == []


@pytest.mark.parametrize(
    ("code", "text", "status", "is_no_mailbox", "is_about_us"),
    [
        (550, "5.1.1 no such user", "5.1.1", True, False),
        (550, "5.1.10 RESOLVER.ADR.RecipientNotFound", "5.1.10", True, False),
        (550, "5.1.8 sender rejected", "5.1.8", False, True),
        (554, "5.7.1 Relay access denied", "5.7.1", False, True),
        (550, "5.4.5 Daily user sending limit exceeded", "5.4.5", False, True),
        (552, "5.2.2 Mailbox full", "5.2.2", False, False),
        (554, "relay denied", "554", False, True),
        (550, "no such mailbox", "550", False, False),
        (450, "4.2.0 greylisted", "4.2.0", False, False),
        (550, "4.1.1 of two minds", "550", False, False),
        (550, "5.1.1.7 of no mind", "550", False, False),
        (530, "5.7.0 Authentication required", "5.7.0", False, True),
    ],
)
def test_a_refusal_is_judged_by_its_enhanced_status(
    code: int, text: str, status: str, is_no_mailbox: bool, is_about_us: bool
) -> None:
    refusal = refusals.parse(code, text)
    assert (refusal.status, refusal.is_no_mailbox, refusal.is_about_us) == (
        status,
        is_no_mailbox,
        is_about_us,
    )


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("someone@пример.рф", "someone@xn--e1afmkfd.xn--p1ai"),
        ("two..dots@example.org", "two..dots@example.org"),
        ("a,b@example.org", '"a,b"@example.org'),
        (" plain+tag@Example.org ", "plain+tag@example.org"),
    ],
)
async def test_an_odd_address_is_one_mailbox(address: str, written: str) -> None:
    async with listening() as post:
        assert await sends(post.url, address) is SendResult.ACCEPTED
        assert [mail.to for mail in post.mails] == [[written]]
