"""Nothing leaks. People who exist nowhere else go every way there is, and then the bytes of the
disk, the logs, the metrics, every file finance takes away, a dump, the key store and other people's
mails are searched for them.

The search is for what a person is known by, however it may be written: as it was typed or in lower
case, in two bytes a letter, in hexadecimal, in base64 wherever it begins, escaped for an address,
and as a plain hash, which is as good as the address to whoever can guess it.
"""

import base64
import contextlib
import hashlib
import io
import re
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

import httpx
import psycopg
import pytest
from litestar import get
from litestar.params import FromPath
from sqlalchemy.engine import make_url

from payments.giving import campaigns
from payments.infra import logs
from payments.infra.embedded_postgres import temporary_postgres
from payments.ops import worker
from payments.risk.risk_level import RiskLevel
from payments.safety import retention
from payments.sandbox.hosted_page_client import pay
from payments.signups import newsletter, newsletter_delivery, reminder_sender
from payments.staff.accounts import Role
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.database import migrated_cluster
from tests.support.donor import SAME_ORIGIN_HEADERS, Donor, link_in
from tests.support.dumps import dump
from tests.support.geoip import country_database
from tests.support.newsroom import BASE_URL, Mail, Newsroom, open_newsroom
from tests.support.page import Page
from tests.support.risk import set_risk_level
from tests.support.safety_policy import BELARUSIAN, protected
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
TOKEN = secret_named("metrics")
COLLEAGUE = "Adalind Kontrollwort"  # who may be found: the search is known to find by her
SURNAME, ROOT, HOUSE = "Zwetkoffska", "Zilpzalp", "Kanarienhof"
BROWSER, STORY = "Federkiel", "zaunkoenig"
CARD, DECLINED, DISPUTED = "4242424242424242", "4000000000000002", "4000000000000259"
CAMPAIGN = b"""
[[campaigns]]
id = "spring"
enabled = true
[campaigns.message]
en = "Three reporters, one year, one story."
"""
FORMS = ("/remind", "/newsletter", "/manage", "/support")
PLACES = (
    "",
    "/thanks",
    "/manage/enter",
    "/remind/stop",
    "/mailbox/confirm",
    "/finance/contributions",
)
PAGE = 8192  # bytes of a table that PostgreSQL writes at once: no row goes beyond
POLICY = {"privacy_url": "https://lindenau.example/privacy", "privacy_version": "2026-05-01"}


@dataclass(frozen=True)
class Person:
    """Somebody invented, and all that we come to know of them for a moment."""

    number: int

    @property
    def name(self) -> str:
        return f"Quirina {SURNAME}-{self.number}"

    @property
    def typed(self) -> str:
        """Their address as they write it."""
        return f"Quirina.{ROOT}{self.number}@{HOUSE}.Example"

    @property
    def address(self) -> str:
        return self.typed.lower()

    @property
    def network(self) -> str:
        """Where they come from: by either kind of address."""
        last = 40 + self.number
        return f"2001:db8:fe{last}:cafe::{last}" if self.number % 2 else f"203.0.113.{last}"

    @property
    def story(self) -> str:
        return f"{STORY}-{self.number}"


PEOPLE = [Person(number) for number in range(12)]


# --- the search -----------------------------------------------------------------------------------


def written(word: str) -> Iterator[bytes]:
    """A word in every way it may be written down, in lower case where case may differ."""
    for form in {word, word.lower()}:
        plain = form.encode()
        for shift, lost in ((0, 0), (1, 2), (2, 3)):
            coded = base64.b64encode(bytes(shift) + plain)
            whole = coded[lost : (shift + len(plain)) // 3 * 4]
            yield whole
            yield whole.translate(bytes.maketrans(b"+/", b"-_"))
    plain = word.lower().encode()
    yield plain
    yield plain.decode().encode("utf-16-le")
    yield plain.decode().encode("utf-16-be")
    yield plain.hex().encode()
    yield word.encode().hex().encode()
    yield quote(word.lower(), safe="").encode().lower()


def hashed(word: str) -> Iterator[bytes]:
    """A word's plain hashes."""
    for kind in (hashlib.sha256, hashlib.sha1, hashlib.md5):
        digest = kind(word.encode())
        yield digest.digest()
        yield digest.hexdigest().encode()


def needles() -> dict[bytes, str]:
    """All that is looked for, and what it is."""
    known_by = (SURNAME, ROOT, HOUSE, BROWSER, STORY, CARD, DECLINED, DISPUTED, BELARUSIAN)
    found_by: dict[bytes, str] = {}
    for word in [*known_by, *(person.network for person in PEOPLE), "203.0.113."]:
        found_by |= dict.fromkeys(written(word), word)
    for person in PEOPLE:
        for secret in (person.address, person.typed, person.network):
            found_by |= dict.fromkeys(hashed(secret), f"a hash of {secret}")
        packed = ip_address(person.network).packed
        if len(packed) > 4:  # four bytes are found anywhere
            found_by[packed[:7]] = f"the network of {person.network}"
    assert min(map(len, found_by)) > 6
    return found_by


NEEDLES = needles()
# A file as a dump writes it, read as what it is: its digits are nobody's card.
OF_A_DUMP = re.compile(rb"\\x((?:[0-9a-f]{2}){64,})")


def seen_in(blob: bytes, needles: dict[bytes, str] = NEEDLES) -> set[str]:
    """Whom and what of theirs the bytes tell."""
    blob = re.sub(rb"\x00{64,}", b"\x00", blob)  # what a file keeps free
    blob = OF_A_DUMP.sub(lambda found: bytes.fromhex(found[1].decode()), blob)
    lower = blob.lower()
    return {
        what
        for needle, what in needles.items()
        if needle in (lower if needle == needle.lower() else blob)
    }


def on_disk(home: Path) -> dict[str, bytes]:
    """Every file of the server: tables, indexes, the log that precedes them, and its output.

    The databases of a server begin as copies of each other: a page of a table that several have
    is in the first alone.
    """
    read, pages = {}, set[bytes]()
    for path in sorted(home.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                data = path.read_bytes()
                if "base" in path.relative_to(home).parts:
                    own = (data[at : at + PAGE] for at in range(0, len(data), PAGE))
                    new = dict.fromkeys(page for page in own if page not in pages)
                    pages.update(new)
                    data = b"".join(new)
                read[str(path.relative_to(home))] = data
    return read


# --- a newsroom with a disk of its own ------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A server that holds nothing but these tests, so that all of its disk can be searched."""
    with temporary_postgres(fsync=False) as url, migrated_cluster(url):
        yield url


@pytest.fixture
def home(cluster: str) -> Path:
    return home_of(cluster)


def home_of(cluster: str) -> Path:
    """The directory of a server, with its socket, data and logs."""
    return Path(unquote(str(make_url(cluster).query["host"])))


def cluster_address(cluster: str) -> str:
    """The URL of a server, for psycopg."""
    return make_url(cluster).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
async def newsroom(database: str, tmp_path: Path) -> AsyncIterator[Newsroom]:
    more: dict[str, Any] = {
        "trusted_proxies": "127.0.0.1,10.0.0.0/8",
        "metrics_token": TOKEN,
        "mail_events_token": secret_named("mail events"),
        "newsletter_file": str(tmp_path / "newsletter.jsonl"),
        "stripe_fees": "usd=290+30",
        **POLICY,
    }
    async with open_newsroom(database, **more) as room:
        yield room


@asynccontextmanager
async def sits_down(room: Newsroom, person: Person) -> AsyncIterator[Donor]:
    """A person at a browser that tells everything a browser can, behind a proxy or not."""
    app = cast("httpx.ASGITransport", room.web._transport).app
    behind = person.number % 3 != 0
    transport = httpx.ASGITransport(
        app=app,
        raise_app_exceptions=False,
        client=("10.1.2.3" if behind else person.network, 40_000),
    )
    headers = {
        "user-agent": f"{BROWSER}/{person.number} (of {person.name})",
        "referer": f"https://zeitung.example/{person.story}",
        "accept-language": f"en, x-{STORY}",
        "from": person.address,
    }
    if behind:
        headers["x-forwarded-for"] = f"198.51.100.9, {person.network}"
    headers = {name: value.encode("ascii", "ignore").decode() for name, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL, headers=headers) as web:
        yield Donor(room, web, person.address)


async def works(room: Newsroom) -> None:
    """What the worker does in a minute."""
    await reminder_sender.enqueue_due(room.ctx)
    await reminder_sender.send_confirmations(room.ctx)
    await newsletter.send_confirmations(room.ctx)
    await newsletter_delivery.enqueue_due(room.ctx)
    await worker.run_due_jobs(room.ctx)


def newest(room: Newsroom, person: Person) -> Mail:
    """The last that came to their mailbox."""
    return [mail for mail in room.mails() if mail.to[0].lower() == person.address][-1]


# --- what people do -------------------------------------------------------------------------------


async def gives(
    room: Newsroom, person: Person, frequency: str, *, card: str = CARD, **more: str
) -> None:
    """From a story, by the form, as far as Stripe's page, and pays there unless the card fails."""
    async with sits_down(room, person) as reader:
        page = await reader.opens(f"/donate?article={person.story}&frequency={frequency}")
        sent = page.form("/donate").submission(**{f"amount_{frequency}": "1000", **more})
        answer = await reader.web.post("/donate", data=sent)
        assert answer.status_code == 303, answer.text
        paid = await pay(
            answer.headers["location"], card=card, email=person.typed, name=person.name
        )
        await room.runs_until_idle()
        if paid.redirect_url:
            await reader.opens(paid.redirect_url)


async def asks_by_program(room: Newsroom, person: Person) -> None:
    async with sits_down(room, person) as reader:
        body = {"amount": 700, "currency": "usd", "frequency": "monthly", "article": person.story}
        key = {"idempotency-key": f"{person.address}-0123456789"}
        asked = await reader.web.post("/api/contributions", json=body, headers=key)
        assert asked.status_code == 201, asked.text
        await pay(asked.json()["checkout_url"], email=person.typed, name=person.name)
        await room.runs_until_idle()


async def is_reminded(room: Newsroom, person: Person, *, stops: bool = False) -> None:
    async with sits_down(room, person) as reader:
        page = await reader.opens("/remind?frequency=monthly&amount=500&currency=usd")
        fields = {"when": "week", "address": person.typed, "once_more": "yes"}
        answer = await reader.submits(page, "/remind", **fields)
        assert answer.status_code == 200, answer.text
        await works(room)
        link = link_in(newest(room, person), "/remind/confirm/")
        await reader.submits_without_session(await reader.opens(link), link)
        if not stops:
            return
        await room.advances_time(7 * DAY)
        await works(room)
        stop = link_in(newest(room, person), "/remind/stop/")
        await reader.submits_without_session(await reader.opens(stop), stop)


async def wants_the_newsletter(room: Newsroom, person: Person) -> None:
    async with sits_down(room, person) as reader:
        page = await reader.opens("/newsletter")
        sent = page.form("/newsletter").submission(address=person.typed, consent="yes")
        assert (await reader.web.post("/newsletter", data=sent)).status_code == 200
        await works(room)
        link = link_in(newest(room, person), "/mailbox/confirm/")
        await reader.submits_without_session(await reader.opens(link), link)
        await works(room)


async def comes_back(room: Newsroom, person: Person, last: str) -> None:
    """Signs in, looks at everything, pauses, resumes, and then stops or has all erased."""
    async with sits_down(room, person) as donor:
        donor.address = person.typed
        page = await donor.opens("/manage")
        await donor.submits(page, "/manage", address=person.typed)
        await room.runs_due_jobs()
        link = link_in(newest(room, person), "/manage/enter/")
        await donor.follows_redirect(await donor.opens_and_submits(link))
        page = await donor.opens("/manage/contributions")
        (own_page,) = set(re.findall(r"/manage/contributions/[0-9a-f]{32}", page.html))
        for address in ("/manage/payments", "/manage/data", "/manage/statements/2026"):
            await donor.opens(address)
        assert (await donor.web.get("/manage/data/file.json")).status_code == 200
        named = await donor.web.post("/manage/statements/2026/pdf", headers=SAME_ORIGIN_HEADERS)
        assert named.status_code in (200, 422)
        paused = await donor.opens_and_submits(f"{own_page}/pause", months="1")
        resumed = await donor.opens_and_submits(f"{own_page}/resume")
        assert (paused.status_code, resumed.status_code) == (303, 303)
        last = f"{own_page}/stop" if last == "stop" else "/manage/data/erase"
        answer = await donor.opens_and_submits(last)
        assert answer.status_code in (200, 303), answer.text
        await room.runs_until_idle()


async def is_helped(room: Newsroom, person: Person) -> None:
    """Wrote to support, whose colleague looks, and sends a link."""
    async with open_colleague_browser(room, "Samo", Role.SUPPORT) as sam:
        await sam.opens_link()
        answer = await sam.sends(
            "/support", address=person.typed, reason="DONOR_WROTE", ticket="L-17"
        )
        assert answer.status_code == 303, answer.text
        case = answer.headers["location"]
        page = await sam.opens(case)
        assert seen_in(page.html.encode()) == set()
        (form,) = (form for form in page.forms if form.action.endswith("/link"))
        assert (await sam.sends(form.action, **form.submission())).status_code == 303
    await room.runs_due_jobs()


async def is_misunderstood(room: Newsroom, person: Person) -> None:
    """Puts everything into every field it does not belong in, and tries to be Stripe."""
    async with sits_down(room, person) as reader:
        traces = (
            person.typed,
            person.name,
            person.network,
            person.story,
            CARD,
            "\x00" + person.name,
        )
        for word in traces:
            for field in ("currency", "frequency", "campaign", "other_once", "locale", word):
                page = await reader.opens("/donate")
                sent = {**page.form("/donate").submission(), "amount_once": "other", field: word}
                answer = await reader.web.post("/donate", data=sent)
                assert answer.status_code in (200, 303, 422)  # 200: the form in another currency
            for address in (*FORMS, *(f"{place}/{word}" for place in PLACES)):
                fields = {"address": f"{word}@", "when": word, "on": word, "zone": word}
                for answer in (
                    await reader.web.get(quote(address), params=fields),
                    await reader.web.post(quote(address), data=fields, headers=SAME_ORIGIN_HEADERS),
                ):
                    assert answer.status_code < 500, address
            for program in ("contributions", "reminders", "newsletter", "reminders/cancel"):
                body = {"address": word, "amount": word, word: word, "code": word}
                answer = await reader.web.post(f"/api/{program}", json=body)
                assert 400 <= answer.status_code < 500, program
        forged = {"stripe-signature": f"t=1,v1={person.name}"}
        event = {"id": person.story, "object": "event", "data": {"object": {"email": person.typed}}}
        answer = await reader.web.post("/webhooks/stripe", json=event, headers=forged)
        assert answer.status_code == 400


async def meets_what_is_broken(room: Newsroom, person: Person) -> None:
    """Stripe drops the answer, a mail comes back, and there is a bug that quotes."""
    async with sits_down(room, person) as reader:
        page = await reader.opens("/donate")
        room.sandbox.faults.add("POST", "/v1/checkout/sessions", "drop_after", remaining=4)
        sent = page.form("/donate").submission(remind="yes", remind_address=person.typed)
        assert (await reader.web.post("/donate", data=sent)).status_code == 503
        await reader.web.post("/donate", data=sent)
        bounced = {"events": [{"kind": "bounce", "address": person.typed}]}
        hook = {"authorization": f"Bearer {secret_named('mail events')}"}
        assert (
            await reader.web.post("/webhooks/mail", json=bounced, headers=hook)
        ).status_code == 200
        answer = await reader.web.get(f"/boom/{quote(person.name)}", params={"who": person.typed})
        assert answer.status_code == 500
        assert seen_in(answer.content) == set()


async def cannot_be_reached(room: Newsroom, person: Person, says: str) -> None:
    """Their mail server refuses, and quotes them."""
    room.mail_server.rejections[person.address] = f"{says}: <{person.address}> ({person.name})"
    async with sits_down(room, person) as reader:
        asked = {"address": person.typed, "every_months": 2}
        assert (await reader.web.post("/api/reminders", json=asked)).status_code == 202
    await works(room)


@get("/boom/{word:str}", sync_to_thread=False)
def boom(word: FromPath[str]) -> None:
    """A bug that quotes."""
    raise RuntimeError(word)


async def gets_it_back(room: Newsroom, ada: Colleague) -> None:
    """Finance gives a gift back."""
    ((charge,),) = await room.rows(
        "SELECT stripe_charge_id FROM charges WHERE status = 'succeeded'"
        " ORDER BY charged_at, 1 LIMIT 1"
    )
    place = f"/finance/refund/{charge}"
    page = await ada.opens(place)
    sent = page.form(place).submission(amount="2.00", reason="requested_by_customer")
    assert (await ada.sends(place, **sent)).status_code == 303
    await room.runs_until_idle()


async def all_happens(room: Newsroom, ada: Colleague) -> None:
    # While there are campaigns, what a form calls one and is none is not stored.
    await campaigns.apply_file(room.ctx, CAMPAIGN)
    await gives(room, PEOPLE[0], "once")
    await gives(room, PEOPLE[1], "monthly")
    await asks_by_program(room, PEOPLE[2])
    await gives(room, PEOPLE[3], "once", card=DECLINED)
    await gives(room, PEOPLE[4], "once", card=DISPUTED)
    await gets_it_back(room, ada)
    await is_helped(room, PEOPLE[1])
    await comes_back(room, PEOPLE[1], "stop")
    await comes_back(room, PEOPLE[2], "erase")
    await is_misunderstood(room, PEOPLE[5])
    await gives(
        room, PEOPLE[3], "monthly", card=DECLINED, remind="yes", remind_address=PEOPLE[3].typed
    )
    await room.advances_time(2 * DAY)  # the payment page of those who were declined is closed
    await room.runs_until_idle()
    await room.runs_sweeps()
    await works(room)
    await wants_the_newsletter(room, PEOPLE[6])
    await is_reminded(room, PEOPLE[7], stops=True)
    await is_reminded(room, PEOPLE[8])
    await meets_what_is_broken(room, PEOPLE[9])
    await cannot_be_reached(room, PEOPLE[10], "450 4.2.0 not now")
    await cannot_be_reached(room, PEOPLE[11], "550 5.1.1 is gone")
    await room.advances_time(2 * DAY)
    await room.runs_until_idle()
    await room.runs_sweeps()
    await works(room)
    await retention.purge_expired(room.ctx)


# --- where it might have gone ---------------------------------------------------------------------


async def taken_away(ada: Colleague) -> AsyncIterator[tuple[str, bytes]]:
    """Every file that finance takes away, opened where it is a packed one."""
    place = "/finance/periods/2026-11"
    answer = await ada.sends(f"{place}/close")
    assert answer.status_code == 303, Page(answer.text).text
    for address in (
        "/finance/transactions.csv", "/finance/transactions.xlsx", "/finance/monthly.csv",
        "/finance/payouts.csv", "/finance/recurring.csv", "/finance/refunds.csv",
        "/finance/disputes.csv", "/finance/audit.csv",
        "/finance/journal?format=csv", "/finance/journal?format=xero-statement",
        "/finance/journal?format=beancount", "/finance/accounts", "/finance/accounts/file",
        f"{place}/pack", "/finance", "/finance/transactions", "/finance/reminders",
        "/finance/audit", "/finance/sources", "/staff/alerts", "/finance/refunds",
        "/finance/report", "/finance/report.pdf",
    ):  # fmt: skip
        answer = await ada.web.get(address)
        assert answer.status_code == 200, (address, answer.text[-300:])
        yield address, answer.content
        if answer.content.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(answer.content)) as files:
                for name in files.namelist():
                    yield f"{address} {name}", files.read(name)
    answer = await ada.web.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert b"payments_webhooks_total" in answer.content
    yield "/metrics", answer.content


async def has_happened(room: Newsroom) -> None:
    """Check that they went where they were sent: else nothing was there to be found."""
    for table, number in (("disputes", 1), ("refunds", 1), ("erasures", 1)):
        assert await room.count(table) == number, table
    for query, expected in (
        ("SELECT DISTINCT status FROM charges", {"succeeded", "failed"}),
        ("SELECT DISTINCT status FROM contributions", {"paid", "expired"}),
        ("SELECT DISTINCT state FROM reminders", {"unconfirmed", "scheduled", "cancelled"}),
        ("SELECT DISTINCT state FROM newsletter_signups", {"delivered"}),
        ("SELECT DISTINCT kind FROM subscription_changes", {"paused", "resumed", "cancelled"}),
        ("SELECT DISTINCT action FROM audit_entries", {"donor_viewed", "refund_requested"}),
        ("SELECT DISTINCT reason FROM suppressed_addresses", {"bounced"}),
    ):
        assert {word for (word,) in await room.rows(query)} >= expected, query
    # an address is stored, encrypted: that is what must not be found
    assert await room.rows(
        "SELECT count(*) > 0 FROM reminders WHERE address_ciphertext IS NOT NULL"
    ) == [(True,)]


async def test_people_who_went_every_way_are_found_nowhere(
    newsroom: Newsroom, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug")
    room = newsroom
    cast("Any", room.web._transport).app.register(boom)
    async with open_colleague_browser(room, COLLEAGUE, Role.ADMIN) as ada:
        await ada.opens_link()
        await all_happens(room, ada)
        await ada.opens_link(await ada.sign_in_link())
        files = [pair async for pair in taken_away(ada)]
    assert {place: seen for place, data in files if (seen := seen_in(data))} == {}

    await has_happened(room)
    saved = dump(room)
    assert COLLEAGUE.encode() in saved
    assert seen_in(saved) == set()
    disk = on_disk(home)
    assert {path: seen for path, data in disk.items() if (seen := seen_in(data))} == {}
    assert any(COLLEAGUE.encode() in data for path, data in disk.items() if "/base/" in path)
    assert any(COLLEAGUE.encode() in data for path, data in disk.items() if "/pg_wal/" in path)
    store = on_disk(Path(room.settings.address_key_dir))
    assert store != {}
    assert {path: seen for path, data in store.items() if (seen := seen_in(data))} == {}

    output = capfd.readouterr()
    assert seen_in(output.out.encode() + output.err.encode()) == set()
    assert '"unexpected_error"' in output.err
    asked = repr([(one.path, one.params, one.idempotency_key) for one in room.sandbox.requests])
    assert seen_in(asked.encode()) == set()
    nobody_reads_of_another(room)


async def test_a_donor_who_may_be_prosecuted_is_found_nowhere(
    database: str, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Came from a protected country, confirmed the notice, paid with a card of one, and waited in
    the queue of an attack before.
    """
    logs.configure("debug")
    person = PEOPLE[6]
    geo = tmp_path / "geo.mmdb"
    geo.write_bytes(country_database({f"{person.network}/32": "BY"}))
    async with protected(database, tmp_path, geoip_database=str(geo)) as room:
        await set_risk_level(room, RiskLevel.CHALLENGE)
        async with sits_down(room, person) as reader:
            page = await reader.opens(f"/donate?article={person.story}&frequency=monthly")
            fields = {"amount_monthly": "1000", "declaration": "yes"}
            waits = await reader.submits(page, "/donate", **fields)
            assert waits.status_code == 428
            room.clock.advance(timedelta(minutes=20))
            answer = await reader.submits(Page(waits.text), "/donate")
            assert answer.status_code == 303, answer.text
            await pay(
                answer.headers["location"], card=BELARUSIAN, email=person.typed, name=person.name
            )
        await room.runs_until_idle()
        assert await room.count("quarantines") == 1
        assert await room.count("donors") == 0
        assert room.mails() == []
        assert seen_in(dump(room)) == set()
        assert {path: seen for path, data in on_disk(home).items() if (seen := seen_in(data))} == {}
        output = capfd.readouterr()
        assert seen_in(output.out.encode() + output.err.encode()) == set()


def nobody_reads_of_another(room: Newsroom) -> None:
    """A mail has its reader's own address at its head, and in its words nobody's."""
    mails = room.mails()
    assert len({mail.to[0].lower() for mail in mails}) >= 5
    for mail in mails:
        (to,) = mail.to
        whole = mail.raw.lower().replace(to.lower().encode(), b"")
        parts = [part for part in mail.parsed.walk() if part.get_content_maintype() == "text"]
        everything = whole + "".join(str(part.get_content()) for part in parts).encode()
        assert seen_in(everything) == set(), mail.subject


# --- the search finds -----------------------------------------------------------------------------


def test_whatever_is_written_down_would_be_found() -> None:
    """In a table, a file or a line, in any of the ways there are.

    On a server of its own: what is planted stays in its write-ahead log.
    """
    person = PEOPLE[1]
    with (
        temporary_postgres(fsync=False) as cluster,
        psycopg.connect(cluster_address(cluster), autocommit=True) as connection,
    ):
        home = home_of(cluster)
        for shift in range(3):  # base64 looks otherwise wherever it begins
            coded = base64.b64encode(f"{'x' * shift}<{person.typed}>".encode()).decode()
            network = bytes(shift) + ip_address(person.network).packed
            connection.execute("CREATE TABLE planted (words text, bytes bytea)")
            connection.execute("INSERT INTO planted VALUES (%s, %s)", (coded, network))
            connection.execute("CHECKPOINT")
            row = connection.execute("SELECT pg_relation_filepath('planted')").fetchone()
            assert row is not None
            found_in = seen_in(on_disk(home)[f"data/{row[0]}"])
            connection.execute("DROP TABLE planted")
            assert found_in >= {ROOT, HOUSE, f"the network of {person.network}"}
    for blob in (
        person.name.encode("utf-16-le"),
        person.address.encode().hex().encode(),
        f"?back={quote(person.typed, safe='')}".encode(),
        hashlib.sha256(person.address.encode()).digest(),
        f"from {person.network}:4711".encode(),
        CARD.encode(),
    ):
        assert seen_in(b"before " + blob + b" after") != set(), blob
