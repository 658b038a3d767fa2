"""Lists go on to their end, and sums are of everything, however long the list is."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from payments.core import money
from payments.core.money import Money
from payments.settlement import disputes
from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser
from tests.support.donor import account_page, open_donor_browser
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.page import Page
from tests.support.past import has_given
from tests.support.volume import copies, link_to

pytestmark = pytest.mark.anyio

# How many there are of a kind: several pages of each list. What is cut anywhere else in the code
# has its reason in tests/core/limits.txt.
MANY = pytest.mark.parametrize("some", [300, pytest.param(1_000, marks=pytest.mark.storm)])


@pytest.fixture
async def room(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom whose rows need not be true: nobody proves its books."""
    async with open_newsroom(database) as made:
        yield made


async def walks(
    opens: Callable[[str], Awaitable[Page]], address: str | None, words: str, line: str
) -> int:
    """Follow the link to the next page to the end. Returns how many lines there were."""
    count = 0
    while address is not None:
        page = await opens(address)
        count += page.html.count(line)
        address = link_to(page, words)
    return count


@MANY
async def test_a_donor_of_thousands_of_payments_sees_all_and_their_years_add_up(
    room: Newsroom, some: int
) -> None:
    payments = 10 * some
    gift = await has_given(room, 500, "monthly")
    await copies(
        room,
        "contributions",
        some,
        id="md5(CAST(n AS text))",
        frequency="'once'",
        interval_unit="NULL",
        interval_count="NULL",
        status="CASE WHEN n % 2 = 0 THEN 'paid' ELSE 'expired' END",
        stripe_session_id="NULL",
        idempotency_key_hash="NULL",
    )
    await copies(
        room,
        "payment_intent_links",
        payments,
        stripe_payment_intent_id="'pi_' || n",
        contribution_id=f"CASE WHEN n <= 300 THEN t.contribution_id"
        f" ELSE md5(CAST(n % {some} + 1 AS text)) END",
    )
    await copies(
        room,
        "charges",
        payments,
        stripe_charge_id="'ch_' || n",
        stripe_payment_intent_id="'pi_' || n",
        balance_transaction="NULL",
        amount="500 + n",
        charged_at=f"t.charged_at - n * interval '{20_000 // payments} hours'",
    )
    charged = await room.rows("SELECT charged_at, amount FROM charges")
    totals: dict[int, int] = {}
    for at, amount in charged:
        assert isinstance(at, datetime)
        assert isinstance(amount, int)
        totals[at.year] = totals.get(at.year, 0) + amount
    assert len(totals) == 3
    async with open_donor_browser(room) as donor:
        await donor.signs_in()
        line = 'href="/manage/receipts/'
        assert await walks(donor.opens, "/manage/payments", "Older", line) == payments + 1
        for year, total in totals.items():
            page = await donor.opens(f"/manage/statements/{year}")
            assert money.format(Money(total, "usd")) in page.text
        own = await donor.web.get("/manage/data/file.json")
        held = json.loads(own.text)
        assert len(held["payments"]) == payments + 1
        assert len(held["contributions"]) == some + 1
        page = await donor.opens(account_page(gift))
        assert page.html.count(line) == 200
        assert link_to(page, "All payments and receipts") is not None
        given_once = '<span class="num"><bdi>'
        overview = "/manage/contributions"
        assert await walks(donor.opens, overview, "Older", given_once) == some / 2
        for nonsense in ("0", "-1", "x", "9" * 7, "%00"):
            await donor.opens(f"/manage/payments?page={nonsense}", status=404)
        assert line not in (await donor.opens("/manage/payments?page=999999")).html


@MANY
async def test_colleagues_see_hundreds_of_everything(room: Newsroom, some: int) -> None:
    gift = await has_given(room, 500, "monthly")
    ((charge,),) = await room.rows("SELECT stripe_charge_id FROM charges")
    for _ in range(7):
        await room.advances_time(timedelta(days=1))
        await room.runs_until_idle()
    await room.runs_sweeps()
    ((payout,),) = await room.rows("SELECT stripe_payout_id FROM payout_transactions LIMIT 1")
    await room.stripe_owner.v1.refunds.create_async({"charge": str(charge), "amount": 100})
    room.sandbox.dispute(str(charge), amount=100)
    await room.creates_campaigns("spring")
    await room.runs_until_idle()
    async with open_colleague_browser(room, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        await copies(room, "disputes", some, stripe_dispute_id="'dp_' || n")
        await copies(
            room, "refunds", some, id="md5(CAST(n AS text))", stripe_refund_id="'re_' || n"
        )
        await copies(room, "alerts", some, object_id="'dp_' || n")
        await copies(room, "campaigns", some, id="'campaign-' || n")
        await copies(room, "staff", some, id="md5(CAST(n AS text))", name="'Colleague ' || n")
        await copies(room, "audit_entries", some)
        await copies(
            room,
            "subscriptions",
            some + 1,
            stripe_subscription_id="'sub_' || n",
            contribution_id=f"'{gift.id}'",
            status="'past_due'",
        )
        await copies(
            room, "stripe_events", some + 1, id="'evt_' || n", object_id=f"'{charge}'", type="'x'"
        )
        await copies(room, "payout_transactions", 2 * some, balance_transaction="'txn_none' || n")
        await copies(room, "balance_transactions", some, id="'txn_' || n")
        await copies(
            room,
            "ledger_entries",
            some,
            seq="1000 + n",
            balance_transaction="'txn_' || n",
        )
        async with room.ctx.sessions.begin() as session:
            await session.execute(
                text("INSERT INTO late_entries SELECT seq, '2027-01-01' FROM ledger_entries")
            )
        more = some + 1
        for address, words, line in (
            ("/finance/refunds", "More disputes", "Waits for our answer"),
            ("/finance/refunds", "Earlier refunds", ">Sent<"),
            ("/finance/recurring", "More at risk", "A payment failed"),
            (f"/finance/contributions/{gift.id}", "Later events", ">Webhook<"),
            (f"/finance/payouts/{payout}", "More of this payout", "Not in our books"),
            ("/finance/periods", "Earlier late entries", "by its time"),
            ("/staff/alerts", "More", "<h2>A donor"),
            ("/staff/campaigns", "-", 'href="/staff/campaigns/'),
        ):
            found = await walks(ada.opens, address, words, line)
            assert found >= more, (address, words, found)
        page = await ada.opens("/staff/colleagues")
        assert f"Colleague {some}" in page.text
        assert f"{more} are open" in (await ada.opens("/staff/alerts?after=5")).text
        assert (await ada.web.get("/staff/alerts?after=x")).status_code == 422
        for address in (
            "refunds?disputes_after=-1",
            "recurring?at_risk_after=x",
            f"contributions/{gift.id}?after=-1",
            f"payouts/{payout}?after=x",
            "periods?late_after=1.5",
        ):
            assert (await ada.web.get(f"/finance/{address}")).status_code == 422, address
    assert await disputes.refresh_alerts(room.ctx) == more
