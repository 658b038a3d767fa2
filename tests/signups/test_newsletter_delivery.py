"""A confirmed address is delivered to the newsroom's mailing system, and erased here."""

import asyncio
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from payments.signups import (
    address_vault,
    newsletter,
    newsletter_delivery,
)
from tests.support.donor import Donor, open_donor_browser
from tests.support.newsletter import (
    DAY,
    HOUR,
    POLICY,
    READER,
    SECRET,
    MailingSystem,
    confirms,
    is_confirmed,
    keys,
    lower_case_headers,
    open_alerts,
    passes,
    signs_up,
    states,
    works,
)
from tests.support.newsroom import (
    open_newsroom,
)

pytestmark = pytest.mark.anyio


async def test_a_confirmed_address_is_handed_over_once_and_forgotten(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    room = subscriber.room
    page = await signs_up(subscriber)
    assert "Check your e-mail" in page.text
    await works(room)
    (confirmation_mail,) = room.mails()
    assert (confirmation_mail.to, confirmation_mail.subject) == (
        [READER],
        "Please confirm your address",
    )
    assert mailing.came == []
    shown = await confirms(subscriber)
    assert "without the address we can't" in shown.text
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
    subscriber: Donor, mailing: MailingSystem
) -> None:
    subscriber.room.clock.current = datetime.now(UTC)  # the library goes by the machine's clock
    await is_confirmed(subscriber)
    await works(subscriber.room)
    ((headers, body),) = mailing.came
    receiver = Webhook(SECRET)
    assert receiver.verify(body, headers)["data"]["address"] == READER
    late = {
        **lower_case_headers(headers),
        "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301),
    }
    for forged in (
        (body.replace(b"reader@", b"writer@"), headers),
        (body, late),
        (body, {**lower_case_headers(headers), "webhook-id": "msg_other"}),
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
        open_donor_browser(room) as browser,
    ):
        for number in range(3):
            await is_confirmed(browser, f"reader{number}@example.org")
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
        open_donor_browser(room) as browser,
    ):
        await is_confirmed(browser)
        await works(room)
        assert await states(room) == ["confirmed"]
        folder.mkdir()
        await passes(room, HOUR)
        assert READER in (folder / "addresses.jsonl").read_text()


# --- a mailing system that is away, slow, or of another mind --------------------------------------


async def test_a_system_that_was_down_gets_the_address_when_it_is_back(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    await mailing.aclose()
    await is_confirmed(subscriber)
    await works(subscriber.room)
    assert await states(subscriber.room) == ["confirmed"]
    await mailing.open()
    mailing.status = 503
    await passes(subscriber.room, timedelta(minutes=2))
    await passes(subscriber.room, HOUR)
    mailing.status = 204
    await passes(subscriber.room, 4 * HOUR)
    assert len(mailing.came) == 3
    assert len(set(mailing.ids)) == 1
    (message,) = mailing.verified_messages()
    assert message["data"]["address"] == READER
    assert await states(subscriber.room) == ["delivered"]
    assert await open_alerts(subscriber.room) == []


async def test_an_address_follows_no_redirect(subscriber: Donor, mailing: MailingSystem) -> None:
    mailing.status = 307
    mailing.headers = {"location": f"http://127.0.0.1:{mailing.port}/elsewhere"}
    await is_confirmed(subscriber)
    await works(subscriber.room)
    assert len(mailing.came) == 1
    assert await states(subscriber.room) == ["confirmed"]


async def test_a_system_that_wants_an_address_no_more_is_not_asked_again(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    mailing.status = 410
    await is_confirmed(subscriber)
    await works(subscriber.room)
    assert await states(subscriber.room) == ["suppressed"]
    assert keys(subscriber.room) == []
    mailing.status = 200
    await passes(subscriber.room, 100 * DAY)
    await signs_up(subscriber)
    await works(subscriber.room)
    assert len(subscriber.room.mails()) == 1
    assert len(mailing.came) == 1


async def test_after_three_days_a_person_is_called_and_can_replay(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    room = subscriber.room
    mailing.status = 500
    await is_confirmed(subscriber)
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
    subscriber: Donor, mailing: MailingSystem
) -> None:
    room = subscriber.room
    mailing.status = 500
    await is_confirmed(subscriber)
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
    subscriber: Donor, mailing: MailingSystem
) -> None:
    """At least once: the id is how a receiver knows that it has it already."""
    room = subscriber.room
    await is_confirmed(subscriber)
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


async def test_an_address_whose_key_is_gone_is_counted_as_lost(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    await is_confirmed(subscriber)
    room = subscriber.room
    for path in keys(room):
        path.unlink()  # which may be another folder than the newsroom's
    await works(room)
    assert (await newsletter_delivery.state_counts(room.ctx))["undelivered"] == 0
    assert await open_alerts(room) == ["address_keys_unreadable"]
    path.write_bytes(b"")
    ((row_id,),) = await room.rows("SELECT id FROM newsletter_signups")
    address_vault.destroy_key(newsletter.key_settings(room.settings), str(row_id))
    await room.advances_time(timedelta(minutes=5))
    await works(room)
    assert mailing.came == []
    assert (await newsletter_delivery.state_counts(room.ctx))["undelivered"] == 1
    assert await open_alerts(room) == []
