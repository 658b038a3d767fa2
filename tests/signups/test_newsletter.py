"""The newsletter box: agreed to, proved, handed once to the newsroom's system, and forgotten."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from payments.core import settings
from payments.core.settings import SettingsError
from payments.ops import worker
from payments.signups import (
    address_vault,
    confirmation,
    newsletter,
    newsletter_delivery,
    reminder_sender,
)
from payments.signups.address_vault import AssociatedData
from tests.support.donor import Donor, link_in, open_donor_browser
from tests.support.mail import TELLTALE
from tests.support.newsroom import (
    Mail,
    Newsroom,
    forgeries,
    open_newsroom,
    respellings,
    without_tokens,
)
from tests.support.page import Page

pytestmark = pytest.mark.anyio
READER = "reader@example.org"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY="
POLICY = {"privacy_url": "https://lindenau.example/privacy", "privacy_version": "2026-05-01"}


@dataclass
class MailingSystem:
    """The newsroom's own: takes webhooks over HTTP, unless it is told to answer otherwise."""

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    silent: asyncio.Event | None = None  # set once a message came that is never answered
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/newsletter"

    async def open(self) -> None:
        """Be there, at the same port as before."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def aclose(self) -> None:
        """Be away: nobody can connect."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        self.came.append((dict(request.headers), await request.read()))
        if self.silent is not None:
            self.silent.set()
            await asyncio.Event().wait()
        return web.Response(status=self.status, headers=self.headers)

    @property
    def ids(self) -> list[str]:
        return [named(headers)["webhook-id"] for headers, _ in self.came]

    def verified_messages(self) -> list[dict[str, Any]]:
        """What it may believe: whatever is signed, each message once."""
        signer, known = Webhook(SECRET), dict[str, bytes]()
        for headers, body in self.came:
            said = named(headers)
            at = datetime.fromtimestamp(int(said["webhook-timestamp"]), UTC)
            signed = signer.sign(said["webhook-id"], at, body.decode())
            assert said["webhook-signature"] == signed
            assert known.setdefault(said["webhook-id"], body) == body
        return [json.loads(body) for body in known.values()]


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.fixture
async def mailing() -> AsyncIterator[MailingSystem]:
    system = MailingSystem()
    await system.open()
    yield system
    await system.aclose()


@asynccontextmanager
async def reading(database: str, mailing: MailingSystem, **more: object) -> AsyncIterator[Donor]:
    """A reader at a browser, of a newsroom whose mailing system is this."""
    ours = {"newsletter_webhook_url": mailing.url, "newsletter_webhook_secret": SECRET}
    async with (
        open_newsroom(database, **{**POLICY, **ours, **more}) as room,
        open_donor_browser(room) as sits,
    ):
        yield sits


@pytest.fixture
async def reader(database: str, mailing: MailingSystem) -> AsyncIterator[Donor]:
    async with reading(database, mailing) as sits:
        yield sits


async def signs_up(reader: Donor, address: str = READER, *, at: str = "/newsletter") -> Page:
    """Fill in the box, tick it, and send it."""
    page = await reader.opens(at)
    action = next(form.action for form in page.forms if form.action.startswith("/newsletter"))
    sent = page.form(action).submission(address=address, consent="yes")
    answer = await reader.web.post(action, data=sent)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def works(room: Newsroom) -> None:
    """What the worker does in a minute."""
    await newsletter.send_confirmations(room.ctx)
    await newsletter_delivery.enqueue_due(room.ctx)
    await worker.run_due_jobs(room.ctx)


async def passes(room: Newsroom, by: timedelta) -> None:
    await room.advances_time(by)
    await works(room)


async def presses(reader: Donor, link: str) -> Page:
    """Open what a mail leads to, and press the button there."""
    page = await reader.opens(link)
    answer = await reader.submits_without_session(page, link)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def confirms(reader: Donor, mail: Mail | None = None) -> Page:
    newest_first = reversed([mail] if mail else reader.room.mails())
    mail = next(one for one in newest_first if "/mailbox/confirm/" in one.part())
    return await presses(reader, link_in(mail, "/mailbox/confirm/"))


async def is_proved(reader: Donor, address: str = READER) -> None:
    """Signed up and confirmed; the worker has not got to it yet."""
    await signs_up(reader, address)
    await works(reader.room)
    await confirms(reader)


async def states(room: Newsroom) -> list[object]:
    rows = await room.rows("SELECT state FROM newsletter_signups ORDER BY signed_up_at, id")
    return [state for (state,) in rows]


def keys(room: Newsroom) -> list[Path]:
    store = Path(room.settings.address_key_dir)
    return [path for path in store.rglob("*") if path.is_file()]


async def open_alerts(room: Newsroom) -> list[object]:
    rows = await room.rows("SELECT kind FROM alerts WHERE closed_at IS NULL ORDER BY id")
    return [kind for (kind,) in rows]


# --- the whole way --------------------------------------------------------------------------------


async def test_a_proved_address_is_handed_over_once_and_forgotten(
    reader: Donor, mailing: MailingSystem
) -> None:
    room = reader.room
    page = await signs_up(reader)
    assert "Please look into your mailbox" in page.text
    await works(room)
    (asked,) = room.mails()
    assert (asked.to, asked.subject) == ([READER], "Please confirm your address")
    assert mailing.came == []
    shown = await confirms(reader)
    assert "without the address we cannot" in shown.text
    await works(room)
    (message,) = mailing.verified_messages()
    assert message == {
        "type": "newsletter.confirmed",
        "timestamp": "2026-11-22T12:00:00Z",
        "data": {
            "address": READER,
            "language": "en",
            "privacy_version": "2026-05-01",
            "agreed_at": "2026-11-22T12:00:00Z",
            "confirmed_at": "2026-11-22T12:00:00Z",
        },
    }
    assert await states(room) == ["delivered"]
    assert keys(room) == []
    await passes(room, 30 * DAY)
    assert len(mailing.came) == 1
    assert len(room.mails()) == 1
    await passes(room, DAY)
    await newsletter_delivery.purge(room.ctx)
    assert await states(room) == []


async def test_a_receiver_with_the_standard_library_accepts_ours_and_no_other(
    reader: Donor, mailing: MailingSystem
) -> None:
    reader.room.clock.current = datetime.now(UTC)  # the library goes by the machine's clock
    await is_proved(reader)
    await works(reader.room)
    ((headers, body),) = mailing.came
    receiver = Webhook(SECRET)
    assert receiver.verify(body, headers)["data"]["address"] == READER
    late = {**named(headers), "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
    for forged in (
        (body.replace(b"reader@", b"writer@"), headers),
        (body, late),
        (body, {**named(headers), "webhook-id": "msg_other"}),
    ):
        with pytest.raises(WebhookVerificationError):
            receiver.verify(*forged)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 32).verify(body, headers)


async def test_a_newsroom_without_a_webhook_gets_lines_in_a_file(
    database: str, tmp_path: Path
) -> None:
    path = tmp_path / "addresses.jsonl"
    path.touch(mode=0o644)
    async with (
        open_newsroom(database, **POLICY, newsletter_file=str(path)) as room,
        open_donor_browser(room) as sits,
    ):
        for number in range(3):
            await is_proved(sits, f"reader{number}@example.org")
            await works(room)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["data"]["address"] for line in lines] == [
            f"reader{number}@example.org" for number in range(3)
        ]
        assert len({line["id"] for line in lines}) == 3
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert keys(room) == []


async def test_a_file_that_cannot_be_written_loses_nothing(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "away"
    wanted = {"newsletter_file": str(folder / "addresses.jsonl")}
    async with (
        open_newsroom(database, **POLICY, **wanted) as room,
        open_donor_browser(room) as sits,
    ):
        await is_proved(sits)
        await works(room)
        assert await states(room) == ["confirmed"]
        folder.mkdir()
        await passes(room, HOUR)
        assert READER in (folder / "addresses.jsonl").read_text()


# --- the box --------------------------------------------------------------------------------------


async def test_the_box_stands_beside_the_appeal_and_apart_from_it(reader: Donor) -> None:
    for at in ("/donate", "/newsletter"):
        page = await reader.opens(at)
        box = page.form("/newsletter")
        assert box.submission() == {
            "privacy_version": "2026-05-01",
            "address": "",
        }  # nothing is ticked
        assert page.links["Read the privacy policy"] == POLICY["privacy_url"]
        assert "See a past one" not in page.links
    asked = await reader.gives(500, "once")
    thanks = await reader.opens(f"/thanks/{asked.id}")
    assert thanks.form("/newsletter").submission()["address"] == ""
    gift = (await reader.opens("/donate")).form("/donate")
    assert not {"consent", "address", "privacy_version"} & {one.name for one in gift.fields}


async def test_a_past_letter_can_be_looked_at_first(database: str, mailing: MailingSystem) -> None:
    preview = "https://lindenau.example/letters/12"
    async with reading(database, mailing, newsletter_preview_url=preview) as sits:
        page = await sits.opens("/newsletter")
        assert page.links["See a past one"] == preview


async def test_where_nobody_takes_addresses_none_is_asked_for(newsroom: Newsroom) -> None:
    async with open_donor_browser(newsroom) as sits:
        page = await sits.opens("/donate")
        assert "newsletter" not in page.html
        assert (await sits.web.get("/newsletter")).status_code == 404
        sent = {"address": READER, "consent": "yes", "privacy_version": ""}
        assert (await sits.web.post("/newsletter", data=sent)).status_code == 404
        answer = await asks(newsroom)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert keys(newsroom) == []


@pytest.mark.parametrize(
    ("sent", "says", "field"),
    [
        ({"consent": ""}, "Please agree to the privacy policy", "consent"),
        ({"privacy_version": "2019-01-01"}, "The privacy policy is a newer one", "consent"),
        ({"privacy_version": ""}, "The privacy policy is a newer one", "consent"),
        ({"address": "nonsense"}, "Please check the e-mail address.", "address"),
        ({"address": f"{READER}\r\nBcc: x@example.org"}, "Please check the e-mail", "address"),
        ({"address": "a" * 400 + "@example.org"}, "Please check the e-mail", "address"),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_stored(
    reader: Donor, sent: dict[str, str], says: str, field: str
) -> None:
    good = {"address": READER, "consent": "yes", "privacy_version": "2026-05-01"}
    answer = await reader.web.post("/newsletter", data=good | sent)
    assert answer.status_code == 422
    page = Page(answer.text)
    assert page.problems == []
    assert says in page.alerts[0]
    assert page.field(f"newsletter-{field}")["aria-invalid"] == "true"
    again = page.form("/newsletter").submission()
    assert again["privacy_version"] == "2026-05-01"
    assert ("consent" in again) is (field == "address")  # their own tick, for the same policy
    assert await reader.room.count("newsletter_signups") == 0
    assert keys(reader.room) == []


async def test_it_speaks_russian_from_the_box_to_the_last_page(
    reader: Donor, mailing: MailingSystem
) -> None:
    page = await signs_up(reader, at="/newsletter?lang=ru")
    assert "Проверьте, пожалуйста, почту" in page.text
    await works(reader.room)
    mail = reader.room.mails()[0]
    assert mail.parsed["Content-Language"] == "ru"
    link = link_in(mail, "/mailbox/confirm/")
    shown = await reader.opens(f"{link}?lang=ru")
    assert "Да, присылайте рассылку" in shown.text
    await reader.web.post(link)
    await works(reader.room)
    assert mailing.verified_messages()[0]["data"]["language"] == "ru"


@pytest.mark.parametrize("locale", ["en", "ru"])
async def test_its_mail_tells_nobody_at_the_readers_shoulder_of_what(
    reader: Donor, locale: str
) -> None:
    await signs_up(reader, at=f"/newsletter?lang={locale}")
    await works(reader.room)
    (mail,) = reader.room.mails()
    heads = "\n".join(f"{name}: {value}" for name, value in mail.parsed.items())
    everything = "\n".join([heads, mail.part(), mail.part("html")])
    everything = without_tokens(everything.replace(READER, ""))
    assert TELLTALE.search(everything) is None, TELLTALE.search(everything)
    for said in ("The Example", "newsletter", "рассылк", "<img"):
        assert said not in everything
    assert mail.parsed["Auto-Submitted"] == "auto-generated"
    assert len(mail.raw) < 6 * 1024


# --- whose mailbox it is --------------------------------------------------------------------------


async def test_looking_at_the_link_confirms_nothing_and_pressing_twice_is_once(
    reader: Donor, mailing: MailingSystem
) -> None:
    await signs_up(reader)
    await works(reader.room)
    link = link_in(reader.room.mails()[0], "/mailbox/confirm/")
    for _ in range(5):
        await reader.opens(link)
    await works(reader.room)
    assert mailing.came == []
    assert (await reader.web.post(link)).status_code == 200
    assert (await reader.web.post(link)).status_code == 200
    await works(reader.room)
    assert (await reader.web.post(link)).status_code == 200
    assert "Your address is confirmed" in (await reader.opens(link)).text
    await works(reader.room)
    assert len(mailing.came) == 1


async def test_a_link_that_is_late_or_forged_opens_nothing(
    reader: Donor, mailing: MailingSystem
) -> None:
    await signs_up(reader)
    await works(reader.room)
    link = link_in(reader.room.mails()[0], "/mailbox/confirm/")
    never = link_in(reader.room.mails()[0], "/mailbox/never/")
    swapped = never.replace("/never/", "/confirm/")
    for forged in (*forgeries(link), *respellings(link), swapped):
        for answer in (await reader.web.get(forged), await reader.web.post(forged)):
            assert answer.status_code == 410
            assert "Nothing was changed." in Page(answer.text).text
    await reader.room.advances_time(49 * HOUR)
    assert (await reader.web.post(link)).status_code == 410
    await newsletter_delivery.purge(reader.room.ctx)
    assert await reader.room.count("newsletter_signups") == 0
    assert keys(reader.room) == []
    await works(reader.room)
    assert mailing.came == []


async def test_the_answer_is_the_same_for_every_address(reader: Donor) -> None:
    unknown = await signs_up(reader, "nobody@example.org")
    await is_proved(reader)
    known = await signs_up(reader)
    await presses(reader, link_in(reader.room.mails()[-1], "/mailbox/never/"))
    suppressed = await signs_up(reader)
    assert unknown.html == known.html == suppressed.html
    answers = [
        await asks(reader.room, address=one) for one in ("new@example.org", READER, READER.upper())
    ]
    assert {(one.status_code, one.text) for one in answers} == {(202, '{"status":"noted"}')}


async def test_whoever_says_never_gets_no_such_mail_and_is_not_handed_over(
    reader: Donor, mailing: MailingSystem
) -> None:
    await is_proved(reader)
    link = link_in(reader.room.mails()[0], "/mailbox/never/")
    await reader.opens(link)
    assert await states(reader.room) == ["confirmed"]
    page = await presses(reader, link)
    assert "We will never write to you" in page.text
    assert keys(reader.room) == []
    await passes(reader.room, 100 * DAY)
    await signs_up(reader)
    await passes(reader.room, DAY)
    assert len(reader.room.mails()) == 1
    assert mailing.came == []
    assert (await reader.web.get(link_in(reader.room.mails()[0], "/mailbox/confirm/"))).is_error


async def test_a_mailbox_that_wants_no_reminder_gets_none_of_these_either(reader: Donor) -> None:
    page = await reader.opens("/remind")
    await reader.submits(page, "/remind", when="week", address=READER)
    await reminder_sender.send_confirmations(reader.room.ctx)
    never = link_in(reader.room.mails()[-1], "/remind/never/")
    assert (await reader.web.post(never)).status_code == 200
    await signs_up(reader)
    await works(reader.room)
    assert len(reader.room.mails()) == 1
    assert keys(reader.room) == []


async def test_a_mailbox_that_does_not_exist_is_not_tried_twice(reader: Donor) -> None:
    reader.room.mail_server.rejections[READER] = "550 5.1.1 no such mailbox"
    await signs_up(reader)
    await works(reader.room)
    reader.room.mail_server.rejections.clear()
    await signs_up(reader)
    await works(reader.room)
    assert reader.room.mails() == []
    assert keys(reader.room) == []


async def test_many_who_ask_for_one_address_send_it_one_mail(reader: Donor) -> None:
    for variant in [READER, READER.upper(), "Reader@EXAMPLE.org", "\u200breader@example.org"] * 10:
        answer = await asks(reader.room, address=variant)
        assert answer.status_code == 202
    await works(reader.room)
    assert await reader.room.count("newsletter_signups") == 1
    for _ in range(6):
        await passes(reader.room, 15 * DAY - HOUR)
        await newsletter_delivery.purge(reader.room.ctx)
        await signs_up(reader)
        await works(reader.room)
    assert len(reader.room.mails()) == 1
    await passes(reader.room, DAY)
    await newsletter_delivery.purge(reader.room.ctx)
    await signs_up(reader)
    await works(reader.room)
    assert len(reader.room.mails()) == 2


async def test_many_addresses_share_an_hour_with_the_reminders_and_call_a_person(
    reader: Donor,
) -> None:
    room = reader.room
    most = confirmation.CONFIRMATIONS_PER_HOUR
    async with room.ctx.sessions.begin() as session:
        for number in range(500):  # more than two hours' worth, behind one network
            await newsletter.sign_up(
                session,
                room.settings,
                address=f"victim{number}@example.org",
                deprioritised=number >= 3,
                now=room.clock(),
                locale="en",
            )
    for _ in range(5):
        await works(room)
    assert len(room.mails()) == most // 2  # a crowd does not get all of the hour
    assert await open_alerts(room) == ["confirmation_limit_reached"]
    await signs_up(reader, "honest@example.org")
    await works(room)
    assert room.mails()[-1].to == ["honest@example.org"]
    page = await reader.opens("/remind")
    await reader.submits(page, "/remind", when="week", address="other@example.org")
    await reminder_sender.send_confirmations(room.ctx)
    assert room.mails()[-1].to == ["other@example.org"]
    await passes(room, HOUR + timedelta(minutes=1))
    assert len(room.mails()) == most // 2 + 2 + most // 2
    await passes(room, 48 * HOUR)
    await newsletter_delivery.purge(room.ctx)
    assert len(room.mails()) <= 2 * most
    assert await states(room) == []
    assert keys(room) == [path for path in keys(room) if "newsletter" not in path.parts]


# --- a mailing system that is away, slow, or of another mind --------------------------------------


async def test_a_system_that_was_down_gets_the_address_when_it_is_back(
    reader: Donor, mailing: MailingSystem
) -> None:
    await mailing.aclose()
    await is_proved(reader)
    await works(reader.room)
    assert await states(reader.room) == ["confirmed"]
    await mailing.open()
    mailing.status = 503
    await passes(reader.room, timedelta(minutes=2))
    await passes(reader.room, HOUR)
    mailing.status = 204
    await passes(reader.room, 4 * HOUR)
    assert len(mailing.came) == 3
    assert len(set(mailing.ids)) == 1
    (message,) = mailing.verified_messages()
    assert message["data"]["address"] == READER
    assert await states(reader.room) == ["delivered"]
    assert await open_alerts(reader.room) == []


async def test_an_address_follows_no_redirect(reader: Donor, mailing: MailingSystem) -> None:
    mailing.status = 307
    mailing.headers = {"location": f"http://127.0.0.1:{mailing.port}/elsewhere"}
    await is_proved(reader)
    await works(reader.room)
    assert len(mailing.came) == 1
    assert await states(reader.room) == ["confirmed"]


async def test_a_system_that_wants_an_address_no_more_is_not_asked_again(
    reader: Donor, mailing: MailingSystem
) -> None:
    mailing.status = 410
    await is_proved(reader)
    await works(reader.room)
    assert await states(reader.room) == ["suppressed"]
    assert keys(reader.room) == []
    mailing.status = 200
    await passes(reader.room, 100 * DAY)
    await signs_up(reader)
    await works(reader.room)
    assert len(reader.room.mails()) == 1
    assert len(mailing.came) == 1


async def test_after_three_days_a_person_is_called_and_can_replay(
    reader: Donor, mailing: MailingSystem
) -> None:
    room = reader.room
    mailing.status = 500
    await is_proved(reader)
    for _ in range(3 * 24 - 1):
        await passes(room, HOUR)
    assert await states(room) == ["confirmed"]
    assert await open_alerts(room) == []
    for _ in range(6):
        await passes(room, HOUR)
    tried = len(mailing.came)
    assert tried < 40  # it is not hammered
    assert await states(room) == ["stuck"]
    assert await open_alerts(room) == ["newsletter_delivery_failed"]
    assert len(keys(room)) == 1
    await passes(room, 10 * DAY)
    assert len(mailing.came) == tried
    mailing.status = 200
    assert await newsletter_delivery.retry_stuck(room.ctx, dry_run=True) == 1
    await works(room)
    assert len(mailing.came) == tried
    assert await newsletter_delivery.retry_stuck(room.ctx) == 1
    await works(room)
    assert len(set(mailing.ids)) == 1
    assert await states(room) == ["delivered"]
    assert await open_alerts(room) == []
    assert await newsletter_delivery.retry_stuck(room.ctx) == 0
    assert keys(room) == []


async def test_what_nobody_takes_in_thirty_days_has_its_key_destroyed_and_is_counted(
    reader: Donor, mailing: MailingSystem
) -> None:
    room = reader.room
    mailing.status = 500
    await is_proved(reader)
    for _ in range(4):
        await passes(room, DAY)
    assert await states(room) == ["stuck"]
    await passes(room, 26 * DAY + HOUR)
    await newsletter_delivery.purge(room.ctx)
    assert keys(room) == []
    assert await open_alerts(room) == []
    assert (await newsletter_delivery.state_counts(room.ctx))["undelivered"] == 1
    assert await newsletter_delivery.retry_stuck(room.ctx) == 0
    await passes(room, 60 * DAY)
    await newsletter_delivery.purge(room.ctx)
    assert (await newsletter_delivery.state_counts(room.ctx))["undelivered"] == 1


async def test_a_worker_killed_before_its_note_delivers_again_under_the_same_id(
    reader: Donor, mailing: MailingSystem
) -> None:
    """At least once: the id is how a receiver knows that it has it already."""
    room = reader.room
    await is_proved(reader)
    mailing.silent = asyncio.Event()
    ((row_id,),) = await room.rows("SELECT id FROM newsletter_signups")
    dying = asyncio.create_task(newsletter_delivery.deliver(room.ctx, str(row_id)))
    await mailing.silent.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert await states(room) == ["confirmed"]
    mailing.silent = None
    await works(room)
    assert len(mailing.came) == 2
    assert len(set(mailing.ids)) == 1
    assert len(mailing.verified_messages()) == 1
    assert await states(room) == ["delivered"]


# --- what is kept ---------------------------------------------------------------------------------


async def test_nothing_here_yields_the_address_once_it_is_handed_over(
    reader: Donor, mailing: MailingSystem
) -> None:
    room = reader.room
    await reader.gives(500, "once")
    await is_proved(reader)
    yesterday = await dumped(room)
    ((row_id, sealed),) = await room.rows("SELECT id, address_ciphertext FROM newsletter_signups")
    assert isinstance(sealed, bytes)
    cell, store = (
        AssociatedData("newsletter_signups", "address_ciphertext", str(row_id)),
        newsletter.key_settings(room.settings),
    )
    assert address_vault.decrypt(store, cell, sealed) == READER  # while it is needed
    assert address_vault.decrypt(room.settings, cell, sealed) is None  # not with a reminder's keys
    await works(room)
    assert len(mailing.verified_messages()) == 1
    today = await dumped(room)
    assert address_vault.decrypt(store, cell, sealed) is None
    for dump in (yesterday, today):
        assert b"reader@" not in dump
    assert keys(room) == []


async def test_a_sign_up_leads_to_no_gift_and_to_no_reminder(reader: Donor) -> None:
    room = reader.room
    await reader.gives(500, "once")
    page = await reader.opens("/remind")
    await reader.submits(page, "/remind", when="week", address=READER)
    await is_proved(reader)
    ((mine,),) = await room.rows("SELECT address_hash FROM newsletter_signups")
    others = await room.rows(
        "SELECT address_hash FROM donors UNION ALL SELECT address_hash FROM reminders"
    )
    assert len(others) == 2
    assert (mine,) not in others
    links = await room.rows(
        "SELECT conname FROM pg_constraint WHERE contype = 'f'"
        " AND 'newsletter_signups'::regclass IN (conrelid, confrelid)"
    )
    assert links == []


async def test_a_key_that_a_crash_left_is_destroyed_and_one_in_use_is_not(reader: Donor) -> None:
    room = reader.room
    await is_proved(reader)
    store = newsletter.key_settings(room.settings)
    address_vault.encrypt(
        store,
        AssociatedData("newsletter_signups", "address_ciphertext", "f" * 32),
        "lost@example.org",
    )
    future = datetime.now(UTC).timestamp() + 3 * 3600
    await reminder_sender.purge(room.ctx, file_time=future)
    assert len(keys(room)) == 2
    await newsletter_delivery.purge(room.ctx, file_time=future)
    assert len(keys(room)) == 1
    await works(room)
    assert await states(room) == ["delivered"]


async def test_an_address_whose_key_is_gone_is_counted_as_lost(
    reader: Donor, mailing: MailingSystem
) -> None:
    await is_proved(reader)
    for path in keys(reader.room):
        path.unlink()
    await works(reader.room)
    assert mailing.came == []
    assert (await newsletter_delivery.state_counts(reader.room.ctx))["undelivered"] == 1


async def dumped(room: Newsroom) -> bytes:
    """Every row of every table, as a backup has it."""
    tables = await room.rows(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    )
    dump = b""
    for (name,) in tables:
        rows = await room.rows(f"SELECT t::text FROM {name} AS t")  # noqa: S608 - the catalogue's own
        dump += b"\n".join(str(row).encode() for row in rows)
    return dump


# --- for programs, and for the operator -----------------------------------------------------------


async def asks(room: Newsroom, **body: object):  # type: ignore[no-untyped-def]  # noqa: ANN201 - httpx's
    good = {"address": READER, "consent": True, "privacy_version": "2026-05-01"}
    sent = {name: value for name, value in (good | body).items() if value is not None}
    return await room.web.post("/api/newsletter", json=sent)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"consent": None}, "consent"),
        ({"consent": False}, "consent"),
        ({"consent": "yes"}, "consent"),
        ({"consent": 1}, "consent"),
        ({"privacy_version": None}, "privacy_version"),
        ({"privacy_version": "2019-01-01"}, "privacy_version"),
        ({"address": None}, "address"),
        ({"address": "nonsense"}, "address"),
        ({"address": ["a@example.org"]}, "address"),
        ({"address": "иван@example.org"}, "address"),
        ({"locale": "../../etc"}, "locale"),
        ({"reminder": True}, "reminder"),
    ],
)
async def test_programs_learn_which_field_is_wrong(
    reader: Donor, body: dict[str, object], field: str
) -> None:
    answer = await asks(reader.room, **body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [f"/{field}"]
    assert await reader.room.count("newsletter_signups") == 0
    assert keys(reader.room) == []


async def test_the_description_for_programs_names_what_is_answered(reader: Donor) -> None:
    described = (await reader.room.web.get("/schema/openapi.json")).json()
    asking = described["paths"]["/api/newsletter"]["post"]
    assert set(asking["responses"]) >= {"202", "404", "422"}
    assert "application/problem+json" in asking["responses"]["422"]["content"]


WHOLE = {
    "newsletter_webhook_url": "https://mailing.lindenau.example/hook?for=us",
    "newsletter_webhook_secret": SECRET,
    "address_key_dir": "/var/lib/keys",
    "smtp_url": "smtp://localhost",
    "mail_from": "post@lindenau.example",
    **POLICY,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"newsletter_webhook_url": "http://mailing.lindenau.example/hook"}, "must be https"),
        ({"newsletter_webhook_url": "ftp://mailing.lindenau.example"}, "http or https address"),
        ({"newsletter_webhook_url": "https://me:pw@mailing.example/"}, "without a password"),
        ({"newsletter_webhook_secret": "whsec_short"}, "24 to 64 bytes"),
        ({"newsletter_webhook_secret": ""}, "24 to 64 bytes"),
        ({"newsletter_file": "/var/lib/x.jsonl"}, "set one"),
        ({"newsletter_file": "x.jsonl", "newsletter_webhook_url": ""}, "whole path"),
        ({"privacy_version": ""}, "PAYMENTS_PRIVACY_VERSION: needed"),
        ({"privacy_url": ""}, "PAYMENTS_PRIVACY_URL: needed"),
        ({"address_key_dir": ""}, "PAYMENTS_ADDRESS_KEY_DIR: needed"),
    ],
)
def test_half_a_newsletter_is_refused_by_name(change: dict[str, str], said: str) -> None:
    needed = {
        "PAYMENTS_DATABASE_URL": "postgresql+psycopg://localhost/x",
        "PAYMENTS_BASE_URL": "https://support.lindenau.example",
        "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
    }
    environ: Callable[[dict[str, str]], dict[str, str]] = lambda more: {  # noqa: E731 - one use
        **needed,
        **{f"PAYMENTS_{name.upper()}": value for name, value in more.items()},
    }
    assert settings.load(environ(WHOLE)).newsletter_webhook_secret is not None
    with pytest.raises(SettingsError, match=said):
        settings.load(environ({**WHOLE, **change}))


def test_the_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    given = {f"PAYMENTS_{name.upper()}": value for name, value in WHOLE.items()}
    del given["PAYMENTS_NEWSLETTER_WEBHOOK_SECRET"]
    read = settings.load(
        {
            **given,
            "PAYMENTS_NEWSLETTER_WEBHOOK_SECRET_FILE": str(path),
            "PAYMENTS_DATABASE_URL": "postgresql+psycopg://localhost/x",
            "PAYMENTS_BASE_URL": "https://support.lindenau.example",
            "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
        }
    )
    assert read.newsletter_webhook_secret is not None
    assert read.newsletter_webhook_secret.get_secret_value() == SECRET
    assert SECRET not in repr(read)
