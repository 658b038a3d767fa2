"""An address is changed at Stripe, by support or by the donor: the old mailbox loses its power."""

from datetime import timedelta

import pytest

from payments.donors import sign_in
from payments.mail import links
from tests.support.donor import (
    OTHER_EMAIL,
    READER_EMAIL,
    Donor,
    account_page,
    open_donor_browser,
)
from tests.support.newsroom import BASE_URL, Newsroom

pytestmark = pytest.mark.anyio

NEW_EMAIL = "new@example.org"


async def customer_of(room: Newsroom, contribution_id: str) -> str:
    ((customer,),) = await room.rows(
        "SELECT stripe_customer_id FROM subscriptions WHERE contribution_id = :id",
        id=contribution_id,
    )
    return str(customer)


async def change_address(
    room: Newsroom, contribution_id: str, address: str, *, is_delivered: bool = True
) -> None:
    customer = await customer_of(room, contribution_id)
    room.sandbox.dashboard_request("POST", f"/v1/customers/{customer}", {"email": address})
    if not is_delivered:
        room.sandbox.take_deliveries()
    await room.runs_until_idle()


async def mails_for(room: Newsroom, address: str) -> int:
    """Ask for a link for an address. Returns how many mails came of it."""
    before = len(room.mails())
    async with open_donor_browser(room, address) as browser:
        await browser.opens_and_submits("/manage", address=address)
        await room.runs_due_jobs()
    return len(room.mails()) - before


@pytest.mark.parametrize("is_delivered", [True, False])
async def test_the_new_mailbox_opens_what_the_old_one_did(
    donor: Donor, *, is_delivered: bool
) -> None:
    room = donor.room
    gift, once = await donor.gives(500), await donor.gives(800, "once")
    await donor.signs_in()
    old_link = links.cancel_link(room.ctx, gift.id, gift.donor_id).removeprefix(BASE_URL)
    async with open_donor_browser(room) as waiting:
        mailed = await waiting.requests_sign_in_link()
        await change_address(room, gift.id, NEW_EMAIL, is_delivered=is_delivered)
        if not is_delivered:
            await room.advances_time(timedelta(days=8))
            await room.runs_sweeps()
            await room.runs_until_idle()
        link = mailed.link("/manage/enter/")
        assert (await waiting.web.get(link)).status_code == 410
    assert (await donor.web.get(account_page(gift))).status_code in (303, 401, 404)
    assert (await donor.web.get(old_link)).status_code == 410
    async with open_donor_browser(room, NEW_EMAIL) as fresh:
        page = await fresh.signs_in()
        assert "$5.00 every month" in page.text
        assert "$8.00" not in page.text
    assert (await room.contribution(once.id)).donor_id == gift.donor_id  # another customer
    async with open_donor_browser(room) as old:
        page = await old.signs_in()
        assert "$8.00" in page.text
        assert "$5.00" not in page.text


async def test_a_donor_who_moved_with_all_they_gave_is_known_by_the_new_address_only(
    donor: Donor,
) -> None:
    room = donor.room
    gift = await donor.gives(500)
    async with open_donor_browser(room, OTHER_EMAIL) as other:
        theirs = await other.gives(700)
    await change_address(room, gift.id, OTHER_EMAIL)
    assert await mails_for(room, READER_EMAIL) == 0
    async with open_donor_browser(room, OTHER_EMAIL) as other:
        page = await other.signs_in()
    assert "$5.00 every month" in page.text
    assert "$7.00 every month" in page.text
    assert (await room.contribution(gift.id)).donor_id == theirs.donor_id
    assert await room.count("donors") == 1


async def test_a_cleared_address_opens_nothing_until_there_is_one(donor: Donor) -> None:
    room = donor.room
    gift = await donor.gives(500)
    await donor.signs_in()
    await change_address(room, gift.id, "")
    assert (await donor.web.get(account_page(gift))).status_code in (303, 401, 404)
    assert await mails_for(room, READER_EMAIL) == 0
    assert await room.rows("SELECT address_hash FROM donors") == [(None,)]
    await change_address(room, gift.id, READER_EMAIL)
    page = await donor.signs_in()
    assert "$5.00 every month" in page.text
    assert await room.count("donors") == 1


async def test_what_changes_nothing_ends_no_session(donor: Donor) -> None:
    room = donor.room
    gift = await donor.gives(500)
    await donor.signs_in()
    await change_address(room, gift.id, READER_EMAIL.upper())
    act = room.sandbox.dashboard_request
    stranger = act("POST", "/v1/customers", {"email": READER_EMAIL})["id"]
    act("POST", f"/v1/customers/{stranger}", {"email": NEW_EMAIL})
    await room.runs_until_idle()
    await donor.opens(account_page(gift))
    assert await room.count("donors") == 1
    async with room.ctx.sessions() as session:
        with pytest.raises(Exception, match="ask for a link"):
            await sign_in.current_donor(session, "nobody's", now=room.clock())
