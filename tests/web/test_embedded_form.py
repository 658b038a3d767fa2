"""From the newsroom's own page to the payment, and what a reader may add or be asked on the way."""

import asyncio
import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from payments.core import fee_cover
from payments.core.money import Money
from payments.web import widget_files
from payments.web.donate import embed
from tests.support.campaigns import apply_campaigns
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom
from tests.support.page import Page
from tests.support.past import has_given
from tests.support.ports import reserve_port
from tests.support.serving import serve_newsroom

pytestmark = pytest.mark.anyio

PLUGIN = Path(__file__).parents[2] / "deploy" / "wordpress" / "reader-payments.php"
FEES = {"usd": (290, 30), "eur": (150, 25)}


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(
        database, environment="demo", stripe_fees="usd=290+30,eur=150+25"
    ) as room:
        yield room
        await room.runs_until_idle()
        assert await room.failed_integrity_checks() == []


def filled(html: str) -> dict[str, str]:
    """What the form of a page holds, in whatever language it goes on."""
    (form,) = [one for one in Page(html).forms if one.method == "post"]
    return form.submission()


async def test_the_file_is_the_one_whose_hash_the_snippet_carries(newsroom: Newsroom) -> None:
    snippet = embed.embed_snippet(newsroom.settings, campaign="spring")
    (script,) = (named for tag, named in Page(snippet).attributes if tag == "script")
    assert 'campaign="spring"' in snippet
    for address, lifetime in (
        (script["src"], "public, max-age=31536000, immutable"),
        (f"{BASE_URL}/embed.js", "public, max-age=300"),
    ):
        answer = await newsroom.web.get(address, headers={"origin": "https://news.example"})
        digest = base64.b64encode(hashlib.sha384(answer.content).digest()).decode()
        assert script["integrity"] == f"sha384-{digest}"
        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["cache-control"] == lifetime
        assert "set-cookie" not in answer.headers
    for made_up in (
        "0123456789abcdef.js",
        "donate-form.js",
        "built.json",
        "%2e%2e",
        "x" * 500,
    ):
        assert (await newsroom.web.get(f"/embed/{made_up}")).status_code == 404


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("", None),
    ],
)
async def test_a_cache_learns_what_it_holds(
    newsroom: Newsroom, accepted: str, encoding: str | None
) -> None:
    asked = {"accept-encoding": accepted}
    answer = await newsroom.web.get("/embed.js", headers=asked)
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "accept-encoding"
    head = await newsroom.web.head("/embed.js", headers=asked)
    varying = {"x-request-id"}
    assert {n: v for n, v in head.headers.items() if n not in varying} == {
        n: v for n, v in answer.headers.items() if n not in varying
    }
    assert head.content == b""
    again = await newsroom.web.get(
        "/embed.js", headers={**asked, "if-none-match": f'"x", {answer.headers["etag"]}'}
    )
    assert (again.status_code, again.content) == (304, b"")
    other = await newsroom.web.get("/embed.js", headers={**asked, "if-none-match": '"x"'})
    assert other.status_code == 200


async def test_the_files_of_our_pages_answer_to_head(newsroom: Newsroom) -> None:
    for address in ("/static/site.css", "/static/passkey.js"):
        assert (await newsroom.web.head(address)).status_code == 200


@pytest.mark.parametrize("locale", ["en", "ru"])
async def test_the_snippet_is_a_form_that_works_by_itself(newsroom: Newsroom, locale: str) -> None:
    page = Page(embed.embed_snippet(newsroom.settings, locale=locale, article="a-story"))
    assert page.problems == []
    sent = page.form(f"{BASE_URL}/donate", "get").submission(frequency="once", other="33,10")
    fields = filled((await newsroom.web.get("/donate", params=sent)).text)
    assert (fields["frequency"], fields["amount_once"], fields["other_once"]) == (
        "once",
        "other",
        "33,10",
    )
    assert fields["article"] == "a-story"


async def test_the_links_for_mails_and_amp_lead_to_the_form_filled_in(newsroom: Newsroom) -> None:
    plain = Page(embed.embed_snippet(newsroom.settings, plain=True, campaign="spring"))
    assert plain.forms == []
    links = [link for link in plain.links.values() if "/donate?" in link]
    assert len(links) == 3
    for link in links:
        fields = filled((await newsroom.web.get(link)).text)
        assert fields["campaign"] == "spring"
        assert f"frequency={fields['frequency']}&" in link


async def test_a_story_cannot_break_out_of_the_snippet(newsroom: Newsroom) -> None:
    settings = newsroom.settings.model_copy(
        update={"publication_name": '"><script>alert(1)</script>'}
    )
    assert "<script>alert" not in embed.embed_snippet(settings)


async def test_a_reader_may_add_the_fee_and_the_whole_gift_arrives(newsroom: Newsroom) -> None:
    page = Page((await newsroom.web.get("/donate")).text)
    assert "cover" in page.ids
    assert "checked" not in page.field("cover")  # nobody is made to
    assert "$0.46 on $5.00" in page.text
    chosen = {"frequency": "once", "amount_once": "500"}
    without = {**page.form("/donate").submission(**chosen)}
    answer = await newsroom.web.post("/donate", data={**without, "cover": "yes"})
    assert answer.status_code == 303
    await newsroom.pays(answer.headers["location"])
    await newsroom.runs_until_idle()
    net = await newsroom.rows(
        "SELECT sum(CASE WHEN debit = 'stripe:balance' THEN amount ELSE -amount END)"
        " FROM ledger_entries"
    )
    assert net[0][0] in (500, 501)


@pytest.mark.parametrize("amount", [200, 500, 2500, 999_999])
@pytest.mark.parametrize("currency", list(FEES))
def test_what_is_added_is_the_least_that_leaves_the_gift_whole(amount: int, currency: str) -> None:
    added = fee_cover.fee_to_add(Money(amount, currency), FEES)
    assert added is not None
    share, fixed = FEES[currency]
    for total, is_enough in ((amount + added.amount, True), (amount + added.amount - 1, False)):
        left = total * (10_000 - share) - fixed * 10_000
        assert (left >= amount * 10_000) is is_enough


def test_where_the_fee_is_not_known_nothing_is_offered() -> None:
    assert fee_cover.fee_to_add(Money(500, "gbp"), FEES) is None


async def test_who_gave_once_is_asked_once_and_quietly(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 2500)
    page = Page((await newsroom.web.get(f"/thanks/{gift.id}", follow_redirects=True)).text)
    link = page.links["Give $5.00 every month from now on"]
    fields = filled((await newsroom.web.get(link)).text)
    assert (fields["frequency"], fields["amount_monthly"]) == ("monthly", "500")


async def test_who_gives_every_month_is_not_asked(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 500, "monthly")
    assert "every month from now on" not in await newsroom.thanks(gift.id)
    await newsroom.advances_time(timedelta(hours=1))


async def test_it_travels_in_five_kilobytes_at_most(newsroom: Newsroom) -> None:
    with reserve_port() as port:
        async with serve_newsroom(newsroom, port):
            for accepted in ("br", "gzip"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(
                    f"GET /embed/{widget_files.built().current}.js HTTP/1.1\r\n"
                    f"host: {urlsplit(BASE_URL).netloc}\r\naccept-encoding: {accepted}\r\n"
                    "connection: close\r\n\r\n".encode()
                )
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
                writer.close()
                assert f"content-encoding: {accepted}".encode() in head.lower()
                assert b"transfer-encoding" not in head.lower()
                assert 3_000 < len(body) <= 5 * 1024


SPRING = """
[[campaigns]]
id = "spring"
currency = "eur"
currencies = ["usd", "jpy"]
message.en = "*Spring* </script> is here."
button.en = "Stand with us"
ends_on = {ends_on}
followed_by = "summer"
presets.once.usd = [700, 1400]
[[campaigns]]
id = "summer"
message.en = "Summer."
followed_by = "spring"
"""


async def widget_facts_of(newsroom: Newsroom, file_name: str) -> dict[str, Any]:
    """What a campaign's own script says."""
    answer = await newsroom.web.get(f"/embed/{file_name}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert "</script" not in answer.text
    found = re.search(r"unshift\((.*)\);import\(", answer.text)
    assert found is not None
    facts: dict[str, Any] = json.loads(found[1])
    return facts


async def test_a_campaigns_own_script_says_what_it_says_now(newsroom: Newsroom) -> None:
    before = await widget_facts_of(newsroom, "spring.en.js")  # there is none yet
    assert list(before["currencies"]) == ["usd"]
    assert before["message"] == [["p", {}, "Gifts from readers help keep this reporting going."]]
    today = newsroom.ctx.now().date()
    await apply_campaigns(newsroom, SPRING.format(ends_on=today))
    facts = await widget_facts_of(newsroom, "spring.en.js")
    assert facts["message"] == [["p", {}, ["em", {}, "Spring"], " </script> is here."]]
    assert (facts["campaign"], facts["shown"], facts["go"]) == ("spring", "spring", "Stand with us")
    assert list(facts["currencies"]) == ["eur", "usd", "jpy"]
    assert facts["currencies"]["usd"]["presets"].startswith("once:700,1400;")
    assert facts["currencies"]["jpy"]["signs"] == "\N{YEN SIGN} \N{CJK UNIFIED IDEOGRAPH-5186}"
    russian = await widget_facts_of(newsroom, "spring.ru.js")
    assert russian["message"][0][:2] == ["div", {"lang": "en", "dir": "ltr"}]
    for tag in ("en_US", "en-GB", "xx", "zh_Hant_TW"):
        assert (await widget_facts_of(newsroom, f"spring.{tag}.js"))["lang"] == "en"
    assert (await widget_facts_of(newsroom, "spring.ru_RU.js"))["lang"] == "ru"
    await newsroom.advances_time(timedelta(days=2))  # it is over, and the next one is shown
    facts = await widget_facts_of(newsroom, "spring.en.js")
    assert (facts["campaign"], facts["shown"]) == ("spring", "summer")
    assert facts["message"] == [["p", {}, "Summer."]]
    page = Page((await newsroom.web.get("/donate?campaign=spring")).text)
    assert "Summer." in page.text
    assert page.form("/donate").submission()["campaign"] == "summer"
    for made_up in ("spring.english.js", "spring.en.css", "a.b.en.js", "Spring.en.js", ".en.js"):
        assert (await newsroom.web.get(f"/embed/{made_up}")).status_code == 404, made_up


async def test_the_snippet_that_is_copied_once_holds_nothing_that_changes(
    newsroom: Newsroom,
) -> None:
    snippet = embed.embed_snippet(newsroom.settings, campaign="spring", article="a", live=True)
    page = Page(snippet)
    assert page.problems == []
    (script,) = (named for tag, named in page.attributes if tag == "script")
    assert script["src"] == f"{BASE_URL}/embed/spring.en.js"
    assert "integrity" not in script
    (widget,) = (named for tag, named in page.attributes if tag == "donate-form")
    assert widget == {"lang": "en", "dir": "ltr", "campaign": "spring", "article": "a"}
    assert page.form(f"{BASE_URL}/donate", "get").submission()["campaign"] == "spring"


WORDPRESS = """
define("ABSPATH", "/"); define("READER_PAYMENTS_URL", "https://support.example.org/");
function add_shortcode($name, $function) {} function get_locale() { return "en_US"; }
function untrailingslashit($text) { return rtrim($text, "/"); }
function shortcode_atts($known, $given) {
  return array_merge($known, array_intersect_key($given, $known));
}
function get_post_field() { return "a-story"; }
function esc_attr($text) { return htmlspecialchars($text); }
function esc_html($text) { return htmlspecialchars($text); }
function esc_url($text) { return htmlspecialchars($text); }
require $argv[1];
echo reader_payments_shortcode(json_decode($argv[2], true));
"""


@pytest.mark.parametrize(("campaign", "script"), [("spring", "spring.en.js"), ('"><b>', "en.js")])
def test_the_wordpress_plugin_prints_the_snippet(campaign: str, script: str) -> None:
    php = shutil.which("php")
    if php is None:
        pytest.skip("php is not here: the WordPress plugin was not run")
    command = [php, "-r", WORDPRESS, str(PLUGIN), json.dumps({"campaign": campaign})]
    page = Page(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert page.problems == []
    (source,) = (named["src"] for tag, named in page.attributes if tag == "script")
    assert source == f"https://support.example.org/embed/{script}"
    sent = page.form("https://support.example.org/donate", "get").submission()
    assert sent["article"] == "a-story"
    assert sent.get("campaign", "") == ("spring" if campaign == "spring" else "")


async def test_a_reader_reads_how_one_can_pay_as_the_account_has_it(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom, SPRING.format(ends_on="2999-01-01"))

    async def named(currency: str) -> list[str]:
        facts = await widget_facts_of(newsroom, "spring.en.js")
        return [method[-1] for method in facts["currencies"][currency]["methods"]]

    cards = ["Visa", "Mastercard", "American Express"]
    assert await named("usd") == [*cards, "Apple Pay", "Google Pay"]
    asked = len(newsroom.sandbox.requests)
    switched = {"sepa_debit": True, "google_pay": False, "klarna": True}
    newsroom.sandbox.account.state["payment_methods"] = switched
    assert await named("eur") == [*cards, "Apple Pay", "Google Pay"]  # as a quarter hour ago
    assert len(newsroom.sandbox.requests) == asked
    await newsroom.advances_time(timedelta(minutes=16))
    assert await named("eur") == [*cards, "Apple Pay", "SEPA"]
    assert await named("usd") == [*cards, "Apple Pay"]
    newsroom.sandbox.account.state["payment_methods"] = {"card": False, "apple_pay": False}
    await newsroom.advances_time(timedelta(minutes=16))
    assert await named("usd") == ["Google Pay"]

    # One asks at a time, and others read the last answer meanwhile; also where Stripe refuses.
    newsroom.sandbox.account.state["payment_methods"] = {"card": False}
    await newsroom.advances_time(timedelta(minutes=16))
    asked = len(newsroom.sandbox.requests)
    newsroom.sandbox.faults.add("GET", "payment_method_configurations", "hang_before")
    first = asyncio.create_task(named("usd"))
    await newsroom.sandbox.faults.wait_until_hanging()
    async with asyncio.timeout(2):  # the first waits for three seconds
        assert await asyncio.gather(*(named("usd") for _ in range(5))) == [["Google Pay"]] * 5
    assert not first.done()
    newsroom.sandbox.faults.clear()
    assert await first == await named("usd") == ["Apple Pay", "Google Pay"]
    assert len(newsroom.sandbox.requests) == asked + 1
    await newsroom.advances_time(timedelta(minutes=16))
    newsroom.sandbox.faults.add("GET", "payment_method_configurations", "refused", 99)
    assert {tuple(await named("usd")) for _ in range(3)} == {("Apple Pay", "Google Pay")}
    asked = len(newsroom.sandbox.requests)
    assert await named("usd") == ["Apple Pay", "Google Pay"]
    assert len(newsroom.sandbox.requests) == asked, "not before a minute has passed"
