"""Once its key is destroyed, nothing yields an address: no row, no copy, no secret key."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from payments.signups import (
    address_vault,
    newsletter,
    newsletter_delivery,
    reminder_sender,
)
from payments.signups.address_vault import AssociatedData, KeyUnreadable
from tests.support import dumps
from tests.support import newsletter as newsletter_support
from tests.support.donor import Donor
from tests.support.newsletter import MailingSystem, is_confirmed
from tests.support.newsroom import Newsroom
from tests.support.reminders import (
    DAY,
    READER,
    is_reminded_in_a_week,
    keys,
    passes,
    signs_up,
    works,
)
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio


def destroyed(room: Newsroom) -> list[str]:
    """The names of keys that are known to be destroyed."""
    return [path.name for path in Path(room.settings.address_key_dir, "destroyed").iterdir()]


async def test_neither_the_database_nor_yesterdays_copy_of_it_yields_an_address(
    reader: Donor,
) -> None:
    room = reader.room
    await is_reminded_in_a_week(reader)
    yesterday = dumps.rows(room)
    ((row_id, ciphertext),) = await room.rows("SELECT id, address_ciphertext FROM reminders")
    assert isinstance(row_id, str)
    assert isinstance(ciphertext, bytes)
    bound_to = AssociatedData("reminders", "address_ciphertext", row_id)
    assert address_vault.decrypt(room.settings, bound_to, ciphertext) == READER
    of_another_row = AssociatedData("reminders", "address_ciphertext", "0" * 32)
    with pytest.raises(KeyUnreadable):
        address_vault.decrypt(room.settings, of_another_row, ciphertext)
    for moved in (
        AssociatedData("reminders", "zone", row_id),
        AssociatedData("letters", "address_ciphertext", row_id),
    ):
        assert address_vault.decrypt(room.settings, moved, ciphertext) is None
    await passes(room, 7 * DAY)
    today = dumps.rows(room)
    for dump in (yesterday, today):
        assert READER.encode() not in dump
        assert b"reader" not in dump
    # with the secret keys, yesterday's row and today's key store
    assert address_vault.decrypt(room.settings, bound_to, ciphertext) is None
    assert keys(room) == []


async def test_an_address_survives_a_roll_of_the_secret_keys(reader: Donor) -> None:
    await is_reminded_in_a_week(reader)
    room, settings = reader.room, reader.room.settings
    ((row_id, ciphertext),) = await room.rows("SELECT id, address_ciphertext FROM reminders")
    assert isinstance(ciphertext, bytes)
    bound_to = AssociatedData("reminders", "address_ciphertext", str(row_id))
    rolled = type(settings).model_validate(
        {**settings.model_dump(), "secret_keys": f"{secret_named('newest')},{secret_named('keys')}"}
    )
    newest = type(settings).model_validate(
        {**settings.model_dump(), "secret_keys": secret_named("newest")}
    )
    assert address_vault.decrypt(rolled, bound_to, ciphertext) == READER
    with pytest.raises(KeyUnreadable):
        address_vault.decrypt(newest, bound_to, ciphertext)
    assert (address_vault.rewrap_keys(rolled), address_vault.rewrap_keys(rolled)) == (1, 0)
    assert address_vault.decrypt(newest, bound_to, ciphertext) == READER
    address_vault.destroy_key(settings, str(row_id))
    assert address_vault.rewrap_keys(rolled) == 0
    assert keys(room) == []


async def test_a_process_that_lacks_a_secret_key_or_the_folder_destroys_nothing(
    reader: Donor,
) -> None:
    room = reader.room
    await is_reminded_in_a_week(reader)
    await room.advances_time(7 * DAY)
    (path,) = keys(room)
    wrapped, mails = path.read_bytes(), len(room.mails())
    newest = {"secret_keys": secret_named("newest")}
    alerts = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL"
    for settings, is_there in ((newest, True), ({}, False)):
        values = {**room.settings.model_dump(), **settings}
        ctx = replace(room.ctx, settings=type(room.settings).model_validate(values))
        if not is_there:
            path.unlink()
        ((row_id,),) = await room.rows("SELECT id FROM reminders WHERE state = 'scheduled'")
        await reminder_sender.send(ctx, str(row_id))
        assert await room.rows(alerts) == [("address_keys_unreadable", "key_store")]
        assert len(room.mails()) == mails
        assert keys(room) == ([path] if is_there else [])
        path.write_bytes(wrapped)  # mounted again
    await works(room)
    assert len(room.mails()) == mails + 1
    assert (await room.rows(alerts), keys(room)) == ([], [])
    assert destroyed(room) == [path.name]
    far = datetime.now(UTC).timestamp() + 500 * 86_400
    await reminder_sender.purge(room.ctx, file_time=far)
    assert destroyed(room) == []


async def test_a_key_that_cannot_be_destroyed_keeps_its_row_and_no_other(reader: Donor) -> None:
    room = reader.room
    for address in ("first@example.org", "second@example.org"):
        await signs_up(reader, address)
    path, _other = sorted(keys(room))
    held, wrapped = path.name, path.read_bytes()
    path.unlink()
    path.mkdir()  # neither written to nor unlinked
    await room.advances_time(3 * DAY)
    await reminder_sender.purge(room.ctx, file_time=0)
    assert await room.rows("SELECT id FROM reminders") == [(held,)]
    alerts = "SELECT kind, object_id, job FROM alerts WHERE closed_at IS NULL"
    assert await room.rows(alerts) == [("object_failed", held, "schedule:purge_reminders")]
    path.rmdir()
    path.write_bytes(wrapped)
    await reminder_sender.purge(room.ctx, file_time=0)
    assert (await room.count("reminders"), await room.rows(alerts), keys(room)) == (0, [], [])


async def test_a_key_that_a_crash_left_behind_is_destroyed(reader: Donor) -> None:
    room = reader.room
    await is_reminded_in_a_week(reader)
    address_vault.encrypt(
        room.settings,
        AssociatedData("reminders", "address_ciphertext", "f" * 32),
        "lost@example.org",
    )
    assert len(keys(room)) == 2
    await reminder_sender.purge(room.ctx, file_time=0)
    assert len(keys(room)) == 2
    future = datetime.now(UTC).timestamp() + 3 * 3600
    await reminder_sender.purge(room.ctx, file_time=future)
    assert len(keys(room)) == 1
    await passes(room, 7 * DAY)
    assert len(room.mails()) == 2


# --- newsletter -----------------------------------------------------------------------------------


async def test_nothing_here_yields_the_address_once_it_is_handed_over(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    room = subscriber.room
    await subscriber.gives(500, "once")
    await is_confirmed(subscriber)
    yesterday = dumps.rows(room)
    ((row_id, ciphertext),) = await room.rows(
        "SELECT id, address_ciphertext FROM newsletter_signups"
    )
    assert isinstance(ciphertext, bytes)
    bound_to, store = (
        AssociatedData("newsletter_signups", "address_ciphertext", str(row_id)),
        newsletter.key_settings(room.settings),
    )
    assert address_vault.decrypt(store, bound_to, ciphertext) == READER  # while it is needed
    # not with a reminder's keys
    with pytest.raises(KeyUnreadable):
        address_vault.decrypt(room.settings, bound_to, ciphertext)
    await newsletter_support.works(room)
    assert len(mailing.verified_messages()) == 1
    today = dumps.rows(room)
    assert address_vault.decrypt(store, bound_to, ciphertext) is None
    for dump in (yesterday, today):
        assert b"reader@" not in dump
    assert newsletter_support.keys(room) == []


async def test_a_sign_up_leads_to_no_gift_and_to_no_reminder(subscriber: Donor) -> None:
    room = subscriber.room
    await subscriber.gives(500, "once")
    page = await subscriber.opens("/remind")
    await subscriber.submits(page, "/remind", when="week", address=READER)
    await is_confirmed(subscriber)
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


async def test_a_key_that_a_crash_left_is_destroyed_and_one_in_use_is_not(
    subscriber: Donor,
) -> None:
    room = subscriber.room
    await is_confirmed(subscriber)
    store = newsletter.key_settings(room.settings)
    address_vault.encrypt(
        store,
        AssociatedData("newsletter_signups", "address_ciphertext", "f" * 32),
        "lost@example.org",
    )
    future = datetime.now(UTC).timestamp() + 3 * 3600
    await reminder_sender.purge(room.ctx, file_time=future)
    assert len(newsletter_support.keys(room)) == 2
    await newsletter_delivery.purge(room.ctx, file_time=future)
    assert len(newsletter_support.keys(room)) == 1
    await newsletter_support.works(room)
    assert await newsletter_support.states(room) == ["delivered"]
