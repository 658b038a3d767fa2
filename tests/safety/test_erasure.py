"""A donor downloads what is stored of them, and has it erased, whatever is under way."""

import asyncio
import json
from datetime import timedelta

import pytest

from payments.donors import donors
from payments.giving import subscription_sync
from payments.sandbox.hosted_page_client import pay
from tests.support.donor import (
    READER_EMAIL,
    Donor,
    account_page,
    months_pass,
    subscription_id_of,
    successful_charges,
    well_formed_page,
)

pytestmark = pytest.mark.anyio


async def test_a_donor_downloads_all_that_is_held(donor: Donor) -> None:
    gift = await donor.gives(500)
    await donor.signs_in()
    await donor.follows_redirect(await donor.opens_and_submits(f"{account_page(gift)}/skip"))
    page = await donor.opens("/manage/data")
    answer = await donor.web.get(page.links["Download everything we hold"])
    assert answer.headers["content-disposition"] == 'attachment; filename="data.json"'
    assert answer.headers["cache-control"] == "no-store"
    data = json.loads(answer.text)
    assert [one["id"] for one in data["contributions"]] == [gift.id]
    assert [one["kind"] for one in data["subscriptions"][0]["history"]] == ["skipped"]
    assert [one["amount"] for one in data["payments"]] == [500]
    assert READER_EMAIL not in answer.text


async def test_erasing_stops_forgets_and_leaves_the_books(donor: Donor) -> None:
    room = donor.room
    gift = await donor.gives(500)
    await donor.gives(2500, "once")
    books = await room.rows("SELECT * FROM ledger_entries ORDER BY seq")
    await donor.signs_in()
    cookie = donor.web.cookies["donor"]
    page = await donor.opens("/manage/data/erase")
    assert "$5.00 every month" in page.text
    assert "asked to delete you at Stripe" in page.text
    answer = await donor.submits(page, "/manage/data/erase")
    assert "On 22 November 2026, 12:00 UTC" in well_formed_page(answer).text
    assert "donor" not in donor.web.cookies
    for table in ("donors", "donor_customers", "donor_sessions", "sign_in_links"):
        assert await room.count(table) == 0, table
    assert await room.rows("SELECT count(*) FROM contributions WHERE donor_id IS NOT NULL") == [
        (0,)
    ]
    donor.web.cookies.set("donor", cookie, domain="127.0.0.1")
    await donor.opens("/manage/contributions", status=401)
    mails = len(room.mails())
    await room.runs_until_idle()
    await months_pass(room, 2)
    await room.runs_sweeps()
    await room.runs_until_idle()
    assert len(room.mails()) == mails
    assert await room.count("donors") == 0
    assert (await room.rows("SELECT * FROM ledger_entries ORDER BY seq"))[: len(books)] == books
    assert len(await successful_charges(room)) == 2
    assert (await room.contribution(gift.id)).amount == 500


async def test_a_donor_who_was_erased_may_give_again(donor: Donor) -> None:
    await donor.gives(500)
    await donor.signs_in()
    await donor.opens_and_submits("/manage/data/erase")
    await donor.opens_and_submits("/manage", address=READER_EMAIL)
    await donor.room.runs_due_jobs()
    assert len(donor.room.mails()) == 1
    await donor.gives(700)
    page = await donor.signs_in()
    assert "$7.00 every month" in page.text
    assert "$5.00" not in page.text


async def test_what_cannot_be_stopped_is_not_erased(donor: Donor) -> None:
    await donor.gives(500)
    await donor.signs_in()
    form_page = await donor.opens("/manage/data/erase")
    donor.room.sandbox.faults.add("DELETE", "/v1/subscriptions/", "status_500", remaining=3)
    assert (await donor.submits(form_page, "/manage/data/erase")).status_code == 503
    assert (
        "$5.00 every month Cancellation in progress"
        in (await donor.opens("/manage/contributions")).text
    )
    assert await donor.room.count("donors") == 1
    assert (await donor.submits(form_page, "/manage/data/erase")).status_code == 200
    assert await donor.room.count("donors") == 0


# --- while something is under way -----------------------------------------------------------------


async def test_late_word_of_a_gift_does_not_bring_an_erased_donor_back(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500)
    started = await room.requests_contribution(2500, "once")
    await pay(started.json()["checkout_url"], email=READER_EMAIL)  # its webhooks are late
    room.clock.advance(timedelta(minutes=1))
    await donor.signs_in()
    answer = await donor.opens_and_submits("/manage/data/erase")
    assert answer.status_code == 200
    await room.runs_until_idle()
    await room.runs_sweeps()
    await room.runs_until_idle()
    for table in ("donors", "donor_customers"):
        assert await room.count(table) == 0, table
    assert (await room.contribution(started.json()["id"])).status == "paid"
    assert len(await successful_charges(room)) == 2


async def test_a_subscription_that_an_erased_donor_had_just_started_is_cancelled(
    donor: Donor,
) -> None:
    room = donor.room
    await donor.gives(2500, "once")
    started = await room.requests_contribution(500, "monthly")
    await pay(started.json()["checkout_url"], email=READER_EMAIL)
    room.clock.advance(timedelta(minutes=1))
    await donor.signs_in()
    assert (await donor.opens_and_submits("/manage/data/erase")).status_code == 200
    await room.runs_until_idle()
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    assert await room.count("donors") == 0
    await months_pass(room, 2)
    assert len(await successful_charges(room)) == 2


async def test_an_answer_from_before_the_erasure_brings_nobody_back(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500)
    id_ = await subscription_id_of(donor.room)
    await donor.signs_in()
    form_page = await donor.opens("/manage/data/erase")
    room.sandbox.faults.add("GET", f"/v1/subscriptions/{id_}", "hang_after")
    slow = asyncio.create_task(subscription_sync.sync(room.ctx, id_))
    await room.sandbox.faults.wait_until_hanging()  # Stripe has answered: it is active
    room.clock.advance(timedelta(seconds=1))
    assert (await donor.submits(form_page, "/manage/data/erase")).status_code == 200
    room.sandbox.faults.release()
    await slow
    assert await room.count("donors") == 0
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]


async def test_many_syncs_and_an_erasure_at_once_leave_nobody(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500)
    id_ = await subscription_id_of(donor.room)
    room.clock.advance(timedelta(seconds=5))
    await donor.signs_in()
    form_page = await donor.opens("/manage/data/erase")
    erasing = asyncio.create_task(donor.submits(form_page, "/manage/data/erase"))
    await asyncio.gather(*(subscription_sync.sync(room.ctx, id_) for _ in range(20)))
    assert (await erasing).status_code == 200
    assert await room.count("donors") == 0
    await room.runs_until_idle()
    assert await room.count("donors") == 0


async def test_who_stays_forgotten_is_forgotten_too_after_a_month(donor: Donor) -> None:
    await donor.gives(500)
    await donor.signs_in()
    await donor.opens_and_submits("/manage/data/erase")
    for days, left in ((29, 1), (2, 0)):
        donor.room.clock.advance(timedelta(days=days))
        async with donor.room.ctx.sessions.begin() as session:
            await donors.purge_erasures(session, donor.room.ctx.now())
        assert await donor.room.count("erasures") == left
