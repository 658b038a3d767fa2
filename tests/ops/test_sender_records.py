"""The doctor reads in DNS whether others can tell our mail from a forged one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from payments.core.settings import Settings
from payments.mail import dkim_signature
from payments.ops import sender_records
from tests.support.dkim_keys import new_key_file
from tests.support.dns_server import DnsServer, serving_dns
from tests.support.newsroom import settings_for
from tests.support.ports import reserve_port

pytestmark = pytest.mark.anyio
NOWHERE = ("postgresql+psycopg://nobody@127.0.0.1:9/none", "http://127.0.0.1:9")
DOMAIN, ABOVE = "mail.lindenau.press", "lindenau.press"
SUBDOMAINS = "v=DMARC1; p=none; sp=quarantine"
KEY_NAME = f"post1._domainkey.{DOMAIN}"


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_key_file(tmp_path_factory.mktemp("dkim"))


@pytest.fixture(scope="module")
def key_record(key_file: Path) -> str:
    return dkim_signature.public_record(key_file.read_bytes())


@pytest.fixture
async def world(key_record: str) -> AsyncIterator[DnsServer]:
    """A DNS in which everything is right."""
    async with serving_dns() as server:
        server.records = {
            DOMAIN: ["v=spf1 include:relay.press -all", "google-site-verification=1"],
            "relay.press": ["v=spf1 ip4:192.0.2.1 ~all"],
            KEY_NAME: [key_record],
            f"_dmarc.{ABOVE}": [SUBDOMAINS],
        }
        yield server


def settings_with(world: DnsServer, key_file: Path | None, **more: str) -> Settings:
    given = {
        "smtp_url": "smtp://relay.press",
        "mail_from": f"Support <post@{DOMAIN.upper()}>",
        "dns_resolver": world.address,
    }
    if key_file is not None:
        given |= {"dkim_domain": DOMAIN, "dkim_selector": "post1", "dkim_key_file": str(key_file)}
    return settings_for(*NOWHERE, **(given | more))


async def findings(settings: Settings) -> dict[str, tuple[bool, str]]:
    found = await sender_records.check_settings(settings)
    return {one.name.removeprefix("sender:"): (one.ok, one.description) for one in found}


async def test_what_is_published_is_read_and_said(world: DnsServer, key_file: Path) -> None:
    settings = settings_with(world, key_file)
    assert await findings(settings) == {
        "spf": (
            True,
            f"SPF of {DOMAIN}, “v=spf1 include:relay.press -all”, names who sends for it",
        ),
        "dkim": (True, f"{KEY_NAME} holds the key that signs"),
        "dmarc": (
            True,
            f"DMARC at _dmarc.{ABOVE}, “{SUBDOMAINS}”, protects the sender's name",
        ),
    }
    assert "_dmarc.press" not in world.asked
    unsigned = await findings(settings_with(world, None))
    assert unsigned["dkim"][0]
    assert "your mail server has to" in unsigned["dkim"][1]


@pytest.mark.parametrize(
    ("name", "texts", "check", "said"),
    [
        (DOMAIN, [], "spf", "publish one TXT record there, such as “v=spf1 a:relay.press -all”"),
        (DOMAIN, ["v=spf1 -all", "v=spf1 mx -all"], "spf", "2 SPF records"),
        (DOMAIN, ["v=spf10 mx -all"], "spf", "no SPF record"),
        (DOMAIN, ["v=spf1 mx +all"], "spf", "lets everybody send"),
        (DOMAIN, ["v=spf1 mx ?all"], "spf", "refuses nobody"),
        (DOMAIN, ["v=spf1 mx"], "spf", "refuses nobody"),
        (DOMAIN, ["v=spf1 include:gone.press -all"], "spf", "without an SPF record of its own"),
        ("relay.press", ["v=spf1 " + "a mx " * 5 + "-all"], "spf", "needs 11 look-ups"),
        (KEY_NAME, [], "dkim", "has no TXT record: publish “v=DKIM1; k=rsa; p="),
        (KEY_NAME, ["v=DKIM1; p="], "dkim", "holds no key"),
        (KEY_NAME, ["v=DKIM1; p=AAAA"], "dkim", "holds another key"),
        (KEY_NAME, ["a", "b"], "dkim", "has 2 TXT records"),
        (KEY_NAME, ["RIGHT; t=y"], "dkim", "as unsigned"),
        (f"_dmarc.{ABOVE}", [], "dmarc", f"_dmarc.{DOMAIN} has no DMARC record"),
        (f"_dmarc.{DOMAIN}", ["v=DMARC1; p=maybe"], "dmarc", "has no policy"),
        (f"_dmarc.{DOMAIN}", ["v=DMARC1; p=none", "v=DMARC1"], "dmarc", "2 DMARC records"),
    ],
)
async def test_what_is_missing_or_wrong_is_a_problem_with_what_to_publish(
    world: DnsServer,
    key_file: Path,
    key_record: str,
    name: str,
    texts: list[str],
    check: str,
    said: str,
) -> None:
    world.records[name] = [text.replace("RIGHT", key_record) for text in texts]
    found = await findings(settings_with(world, key_file))
    assert {one for one, (ok, _) in found.items() if not ok} == {check}
    assert said in found[check][1]


async def test_a_policy_is_read_as_receivers_read_it(world: DnsServer, key_file: Path) -> None:
    world.records[f"_dmarc.{DOMAIN}"] = ["v=DMARC1; P=Reject; adkim=s\x1b[2J"]
    strict = await findings(settings_with(world, key_file))
    assert strict["dmarc"][0]
    assert "\x1b" not in strict["dmarc"][1]
    world.records[f"_dmarc.{DOMAIN}"] = ["v=DMARC1; p=none; adkim=s"]
    world.records[f"post1._domainkey.{ABOVE}"] = world.records[KEY_NAME]
    above = await findings(settings_with(world, key_file, dkim_domain=ABOVE))
    assert not above["dmarc"][0]
    assert "adkim=s" in above["dmarc"][1]
    world.records[f"_dmarc.{DOMAIN}"] = ["v=DMARC1; p=none"]
    world.records[DOMAIN] = ["v=spf1 redirect=relay.press"]
    world.records[f"post1._domainkey.{ABOVE}"][0] += "; t=s"
    watched = await findings(settings_with(world, key_file, dkim_domain=ABOVE))
    assert watched["spf"][0]
    assert (watched["dmarc"][0], "only watches" in watched["dmarc"][1]) == (True, True)
    assert (watched["dkim"][0], "t=s" in watched["dkim"][1]) == (False, True)


async def test_a_dns_that_gives_no_answer_is_said_and_ends_no_other_check(
    world: DnsServer, key_file: Path
) -> None:
    world.broken.add(KEY_NAME)
    found = await findings(settings_with(world, key_file))
    assert list(found) == ["spf", "dns"]
    assert (found["spf"][0], found["dns"][0]) == (True, False)
    assert "PAYMENTS_DNS_RESOLVER" in found["dns"][1]
    with reserve_port() as nobody:  # whoever asked would wait
        settings = settings_with(
            world, None, mail_from="post@lindenau.example", dns_resolver=f"127.0.0.1:{nobody}"
        )
        assert await findings(settings) == {
            "sender": (True, "lindenau.example is a name for examples: DNS was not asked about it")
        }
    assert list(await findings(settings_for(*NOWHERE))) == ["sender"]


@pytest.mark.parametrize("value", ["dns.example", "127.0.0.1:", "127.0.0.1:99999", "[x]"])
def test_a_resolver_is_an_address(value: str) -> None:
    with pytest.raises(ValidationError, match="dns_resolver"):
        settings_for(*NOWHERE, dns_resolver=value)
    for right in ("192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:53"):
        assert settings_for(*NOWHERE, dns_resolver=right).dns_resolver == right
