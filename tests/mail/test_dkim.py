"""Whoever receives a mail can prove who sent it: DKIM, on the bytes that arrive over SMTP."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from payments.core.settings import Settings, SettingsError, load
from payments.mail import dkim_signature, smtp
from payments.mail.render import RenderedMail
from payments.mail.smtp import Envelope, SendResult
from tests.support import command_line
from tests.support.dkim_keys import new_key_file
from tests.support.dkim_verifier import is_signed, signature_of
from tests.support.newsroom import MailServer, settings_for

pytestmark = pytest.mark.anyio
NOWHERE = ("postgresql+psycopg://nobody@localhost/none", "http://127.0.0.1:1")
FROM = "Поддержка <post@mail.lindenau.example>"
LONG = "Очень длинная строка. " * 80 + "x" * 1200
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
CYRILLIC = RenderedMail(
    "Напоминание: эта тема не помещается в одну строку письма, даже закодированная",
    f"Здравствуйте!\n\n.точка в начале\n..\n  отступ\t\n{LONG}\n\n\n",
    f"<p>{LONG}</p>\n",
    PICTURE,
)
PLAIN = RenderedMail("A subject", "Words.\n", "<p>Words.</p>\n")
UNSUBSCRIBE = "https://pay.lindenau.example/remind/stop/" + "x" * 90
COVERED = [
    *("from", "to", "subject", "date", "message-id", "mime-version", "content-type"),
    *("list-unsubscribe", "list-unsubscribe-post", "auto-submitted"),
]


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_key_file(tmp_path_factory.mktemp("dkim"))


@pytest.fixture(scope="module")
def record(key_file: Path) -> str:
    return dkim_signature.public_record(key_file.read_bytes())


def signing(key_file: Path | str, **more: object) -> dict[str, Any]:
    return {
        "mail_from": FROM,
        "dkim_domain": "Lindenau.example",
        "dkim_selector": "post1",
        "dkim_key_file": str(key_file),
        **more,
    }


def dns_with(record: str) -> Callable[..., bytes | None]:
    """The look-up of a world that knows one record."""

    def look_up(name: bytes | str, timeout: int = 5) -> bytes | None:  # noqa: ARG001 - dkimpy's
        text = name.decode() if isinstance(name, bytes) else name
        return record.encode() if text == "post1._domainkey.lindenau.example." else None

    return look_up


async def arrives(
    settings: Settings, mail: RenderedMail, *, at_most_once: bool = False, unsubscribe: str | None
) -> bytes:
    """Send a mail; return the bytes that the mail server got."""

    async def claim() -> bool:
        return True

    async def give_back() -> None:
        raise AssertionError

    post = MailServer()
    await post.open()
    try:
        settings = settings.model_copy(update={"smtp_url": smtp_url(post.url)})
        at = datetime(2026, 11, 22, tzinfo=UTC)
        envelope = Envelope("0" * 32, "reader@example.org", "ru", at, unsubscribe)
        async with smtp.connection(settings) as server:
            sent = (
                await smtp.send_at_most_once(server, settings, mail, envelope, claim, give_back)
                if at_most_once
                else await smtp.send(server, settings, mail, envelope)
            )
        assert sent is SendResult.ACCEPTED
        return post.mails[0].raw
    finally:
        await post.aclose()


def smtp_url(url: str) -> object:
    return settings_for(*NOWHERE, smtp_url=url, mail_from=FROM).smtp_url


@pytest.mark.parametrize(
    ("mail", "at_most_once", "unsubscribe"),
    [(CYRILLIC, True, UNSUBSCRIBE), (PLAIN, False, None)],
)
async def test_what_arrives_proves_its_sender_and_no_altered_mail_does(
    key_file: Path, record: str, mail: RenderedMail, at_most_once: bool, unsubscribe: str | None
) -> None:
    settings = settings_for(*NOWHERE, **signing(key_file))
    raw = await arrives(settings, mail, at_most_once=at_most_once, unsubscribe=unsubscribe)

    def is_proved(message: bytes) -> bool:
        theirs = dkim.verify(message, dnsfunc=dns_with(record))
        assert theirs == is_signed(message, record)
        return bool(theirs)

    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", raw)
    assert is_proved(raw)
    tags = signature_of(raw)
    assert (tags["d"], tags["s"]) == ("lindenau.example", "post1")
    names = tags["h"].split(":")
    present = [name for name in COVERED if unsubscribe or not name.startswith("list-")]
    assert sorted(names) == sorted(present * 2)  # each once more than it occurs

    head, _, body = raw.partition(b"\r\n\r\n")
    # A relay may fold headers elsewhere, add its own and cut blanks at ends of lines.
    relayed = head.replace(b"\r\nSubject: ", b"\r\nSubject:\r\n  ") + b"\r\nX-Relay: seen"
    assert is_proved(b"Received: from here\r\n" + relayed + b"\r\n\r\n" + body)
    for name in present:
        added = f"{name}: other\r\n".encode()
        assert not is_proved(added + raw), f"a second {name} above"
        assert not is_proved(head + b"\r\n" + added.strip() + b"\r\n\r\n" + body), name
    assert not is_proved(head + b"\r\n\r\n" + body.replace(b"--\r\n", b"--\r\nmore\r\n"))
    other = dkim_signature.public_record(dkim_signature.new_key().encode())
    assert not dkim.verify(raw, dnsfunc=dns_with(other))
    assert not is_signed(raw, other)


async def test_without_a_key_nothing_is_signed() -> None:
    settings = settings_for(*NOWHERE, mail_from=FROM)
    raw = await arrives(settings, PLAIN, unsubscribe=None)
    assert b"dkim" not in raw.lower()


def private_bytes(key: object, password: bytes | None = None) -> bytes:
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)


def test_a_signature_that_would_prove_nothing_is_refused_by_its_name(
    key_file: Path, tmp_path: Path
) -> None:
    def refusal(**wrong: object) -> str:
        base = {
            "PAYMENTS_DATABASE_URL": NOWHERE[0],
            "PAYMENTS_BASE_URL": "https://give.example.org",
            "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "k" * 24,
        }
        given = {name: value for name, value in signing(key_file, **wrong).items() if value}
        with pytest.raises(SettingsError) as refused:
            load(base | {f"PAYMENTS_{name.upper()}": str(v) for name, v in given.items()})
        assert "PRIVATE KEY" not in str(refused.value)
        return str(refused.value)

    def with_key(pem: bytes, mode: int = 0o600) -> str:
        file = tmp_path / "other.pem"
        file.write_bytes(pem)
        file.chmod(mode)
        return refusal(dkim_key_file=file)

    for name in ("dkim_domain", "dkim_selector", "dkim_key_file"):
        variable = f"PAYMENTS_{name.upper()}"
        assert refusal(**{name: " "}).startswith(f"{variable}: is blank")
        assert refusal(**{name: None}) == f"{variable}: needed to sign mails with DKIM"
    assert refusal(mail_from=None) == "PAYMENTS_MAIL_FROM: needed to sign mails with DKIM"
    for name, value in (
        ("dkim_domain", "localhost"),
        ("dkim_domain", "lindenau example"),
        ("dkim_domain", "-.example"),
        ("dkim_selector", "post_1"),
        ("dkim_selector", "post; t=y"),
    ):
        assert refusal(**{name: value}).startswith(f"PAYMENTS_{name.upper()}: must be a")
    for domain in ("other.example", "enau.example", "x.mail.lindenau.example"):
        assert "PAYMENTS_DKIM_DOMAIN: must be mail.lindenau.example" in refusal(dkim_domain=domain)
    assert "cannot read" in refusal(dkim_key_file=tmp_path / "nowhere.pem")
    assert "cannot read" in refusal(dkim_key_file=tmp_path)
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - refused
    assert "the key has 1024 bits" in with_key(private_bytes(short))
    assert "everybody on this machine" in with_key(key_file.read_bytes(), 0o644)
    for pem in (
        b"",
        b"-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----\n",
        private_bytes(ec.generate_private_key(ec.SECP256R1())),
        private_bytes(short, b"a password"),
    ):
        assert with_key(pem).startswith("PAYMENTS_DKIM_KEY_FILE: ")
        assert "holds no RSA key" in with_key(pem)


def test_the_command_makes_a_key_and_prints_its_record(tmp_path: Path) -> None:
    new = tmp_path / "new.pem"

    def run(*words: str) -> command_line.Finished:
        return command_line.run_in({}, "keys", "dkim", *words)

    made = run("mail.lindenau.example", "post1", "--output", str(new))
    assert made.exit_code == 0, made.stderr
    assert new.stat().st_mode & 0o777 == 0o600
    line = made.stdout.decode().strip()
    name, _, quoted = line.partition(" IN TXT ")
    assert name == "post1._domainkey.mail.lindenau.example."
    strings = re.findall(r'"([^"]*)"', quoted)
    assert max(map(len, strings)) <= 255
    assert "".join(strings) == dkim_signature.public_record(new.read_bytes())
    again = run("mail.lindenau.example", "post1", "--key", str(new))
    assert again.stdout == made.stdout
    assert "PAYMENTS_DKIM_SELECTOR=post1" in again.stderr
    for words in (
        ("lindenau.example", "post1"),
        ("lindenau.example", "post1", "--output", str(new)),
        ("localhost", "post1", "--output", str(tmp_path / "x")),
        ("lindenau.example", "post1", "--key", __file__),
    ):
        assert run(*words).exit_code != 0
    assert not (tmp_path / "x").exists()
    assert new.read_text().count("BEGIN") == 1
