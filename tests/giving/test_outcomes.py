"""The thank-you page is true: it says paid when Stripe says so, and never before."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from payments.core.frequency import Frequency
from payments.giving import cancellations, checkout_session, contribution_start
from payments.giving.change_log import Actor
from payments.giving.contributions import ContributionStatus
from payments.sandbox import invoices
from payments.sandbox.hosted_page_client import PageResult, pay
from payments.staff import accounts
from payments.staff.accounts import Role
from tests.support.donor import (
    SAME_ORIGIN_HEADERS,
    card_page_of,
    open_donor_browser,
    subscription_id_of,
)
from tests.support.newsroom import BASE_URL, Newsroom
from tests.support.page import Page
from tests.support.past import has_given
from webhooks import sweeps

pytestmark = pytest.mark.anyio

CONFIRMING, PAID, NOTHING = "Confirming your gift", "Thank you", "Nothing was charged"
DECLINED, SECURE = "4000000000000002", "4000002500003155"


async def asks(room: Newsroom, amount: int = 500, frequency: str = "once") -> tuple[str, str]:
    """Go as far as Stripe's page. Returns the contribution's id and the page's address."""
    started = await room.requests_contribution(amount, frequency)
    assert started.status_code == 201, started.text
    return started.json()["id"], started.json()["checkout_url"]


async def says(room: Newsroom, gift: str, state: str) -> Page:
    """Check that the thank-you page is in this state and in no other, and return it."""
    answer = await room.web.get(f"/thanks/{gift}", follow_redirects=True)
    page = Page(answer.text)
    assert answer.status_code == 200
    assert page.problems == []
    assert [word for word in (CONFIRMING, PAID, NOTHING) if word in page.text] == [state]
    assert ("refresh" in answer.headers) is (state == CONFIRMING)
    return page


async def charged(room: Newsroom, gift: str) -> list[tuple[object, ...]]:
    """Return the income that the ledger has for a contribution."""
    return await room.rows(
        "SELECT credit, amount, currency FROM ledger_entries"
        " WHERE credit LIKE 'income:%' AND contribution_id = :id",
        id=gift,
    )


# --- before Stripe's events -----------------------------------------------------------------------


async def test_a_visit_without_a_payment_never_says_paid(newsroom: Newsroom) -> None:
    gift, _ = await asks(newsroom)
    for _ in range(3):
        await says(newsroom, gift, CONFIRMING)
        await newsroom.runs_until_idle()
    assert await charged(newsroom, gift) == []
    assert (await newsroom.contribution(gift)).status is ContributionStatus.OPEN


async def test_the_page_looks_by_itself_a_while_and_then_leaves_it_to_the_reader(
    newsroom: Newsroom,
) -> None:
    gift, _ = await asks(newsroom)
    address, waited, looks = f"/thanks/{gift}", 0, 0
    while (answer := await newsroom.web.get(address, follow_redirects=True)).headers.get("refresh"):
        pause, _, address = answer.headers["refresh"].partition("; url=")
        assert f"every {pause} seconds" in Page(answer.text).text
        waited, looks = waited + int(pause), looks + 1
        assert looks < 20
    assert 45 <= waited <= 90
    page = Page(answer.text)
    assert "Check again now" in page.links
    assert "checks again automatically" not in page.text
    for nonsense in ("-1", "x", "9" * 30, "", "1.5"):
        answer = await newsroom.web.get(f"/thanks?poll={nonsense}")
        assert answer.status_code == 200
        assert "refresh" not in answer.headers


@pytest.mark.parametrize("frequency", ["once", "monthly", "annual"])
async def test_paid_is_said_when_stripe_has_said_so(newsroom: Newsroom, frequency: str) -> None:
    gift, checkout = await asks(newsroom, 2500, frequency)
    assert await newsroom.pays(checkout) == f"{BASE_URL}/thanks"
    await says(newsroom, gift, CONFIRMING)
    await newsroom.runs_until_idle()
    page = await says(newsroom, gift, PAID)
    assert "$25.00" in page.text
    assert gift[:8].upper() in page.text
    next_charge = {"monthly": "22 December 2026", "annual": "22 November 2027"}.get(frequency)
    assert ("Next payment" in page.text) is (next_charge is not None)
    assert next_charge is None or f"Next payment {next_charge}" in page.text
    assert await charged(newsroom, gift) == [(f"income:{frequency}", 2500, "usd")]


async def test_when_the_webhook_is_lost_the_page_enqueues_a_sync_and_the_contribution_is_paid(
    newsroom: Newsroom,
) -> None:
    gift, checkout = await asks(newsroom)
    await newsroom.pays(checkout)
    await newsroom.sandbox.advance_to_captures()
    assert newsroom.sandbox.take_deliveries() != []  # taken, and never delivered
    await newsroom.runs_due_jobs()
    await says(newsroom, gift, CONFIRMING)
    assert await newsroom.count("stripe_events") == 0
    await newsroom.runs_due_jobs()
    await says(newsroom, gift, PAID)
    assert await newsroom.failed_integrity_checks() == []
    assert await charged(newsroom, gift) == [("income:once", 500, "usd")]


async def test_a_page_requested_often_enqueues_one_sync(newsroom: Newsroom) -> None:
    gift, checkout = await asks(newsroom)
    await newsroom.pays(checkout)
    await asyncio.gather(*(newsroom.thanks(gift) for _ in range(30)))
    assert await newsroom.count("procrastinate_jobs") == 1
    requests_before = newsroom.stripe_get_count()
    await newsroom.runs_due_jobs()
    assert newsroom.stripe_get_count() == requests_before + 1
    await says(newsroom, gift, PAID)


# --- when nothing was paid ------------------------------------------------------------------------


async def test_an_hour_after_it_began_an_unpaid_gift_has_expired(newsroom: Newsroom) -> None:
    gift, checkout = await asks(newsroom, 1234, "monthly")
    await newsroom.advances_time(timedelta(minutes=59))
    await newsroom.runs_until_idle()
    await says(newsroom, gift, CONFIRMING)
    await newsroom.advances_time(timedelta(minutes=2))
    await newsroom.runs_until_idle()
    page = await says(newsroom, gift, NOTHING)
    link = page.links["Try again with $12.34 every month"]
    again = Page((await newsroom.web.get(link, follow_redirects=True)).text)
    fields = again.form("/donate").submission()
    assert (fields["frequency"], fields["other_monthly"]) == ("monthly", "12.34")
    late = await pay(checkout)
    assert (late.status, late.redirect_url) == (410, None)
    await newsroom.runs_until_idle()
    await says(newsroom, gift, NOTHING)
    assert await newsroom.count("ledger_entries") == 0


async def test_an_expiry_without_a_webhook_is_found_by_the_sweep(newsroom: Newsroom) -> None:
    gift, _ = await asks(newsroom)
    await newsroom.advances_time(timedelta(minutes=66))
    assert newsroom.sandbox.take_deliveries() != []  # taken, and never delivered
    await newsroom.runs_sweeps()
    await says(newsroom, gift, NOTHING)


@pytest.mark.parametrize("frequency", ["once", "annual"])
async def test_a_declined_card_and_a_closed_page_charge_nothing(
    newsroom: Newsroom, frequency: str
) -> None:
    gift, checkout = await asks(newsroom, 500, frequency)
    refusal = await pay(checkout, DECLINED)
    assert refusal.error_text == "Your card was declined. Nothing was charged."
    await newsroom.runs_until_idle()
    await says(newsroom, gift, CONFIRMING)
    await newsroom.advances_time(timedelta(hours=2))
    await newsroom.runs_until_idle()
    await says(newsroom, gift, NOTHING)
    assert await newsroom.count("ledger_entries") == 0
    assert await newsroom.rows("SELECT status FROM charges") == [("failed",)]


@pytest.mark.parametrize("frequency", ["once", "monthly"])
async def test_after_a_decline_another_card_pays_the_same_gift(
    newsroom: Newsroom, frequency: str
) -> None:
    gift, checkout = await asks(newsroom, 500, frequency)
    for card in (DECLINED, "4000000000009995", "4000000000000069"):
        assert (await pay(checkout, card)).error_text
        await newsroom.runs_until_idle()
        await says(newsroom, gift, CONFIRMING)
    assert await newsroom.pays(checkout) == f"{BASE_URL}/thanks"
    await newsroom.runs_until_idle()
    await says(newsroom, gift, PAID)
    assert await charged(newsroom, gift) == [(f"income:{frequency}", 500, "usd")]
    states = await newsroom.rows("SELECT status, count(*) FROM charges GROUP BY 1 ORDER BY 1")
    assert states == [("failed", 3), ("succeeded", 1)]
    assert await newsroom.count("contributions") == 1


@pytest.mark.parametrize("frequency", ["once", "annual"])
async def test_a_bank_that_asks_is_answered_and_the_gift_is_paid(
    newsroom: Newsroom, frequency: str
) -> None:
    gift, checkout = await asks(newsroom, 500, frequency)
    assert (await pay(checkout, SECURE)).redirect_url == f"{BASE_URL}/thanks"
    await newsroom.runs_until_idle()
    await says(newsroom, gift, PAID)


async def test_a_bank_that_is_not_answered_takes_nothing(newsroom: Newsroom) -> None:
    gift, checkout = await asks(newsroom)
    refusal: PageResult = await pay(checkout, SECURE, complete_3ds=False)
    assert refusal.redirect_url is None
    assert refusal.error_text is not None
    assert "Nothing was charged" in refusal.error_text
    await newsroom.runs_until_idle()
    await says(newsroom, gift, CONFIRMING)
    await newsroom.advances_time(timedelta(hours=2))
    await newsroom.runs_until_idle()
    await says(newsroom, gift, NOTHING)
    assert await newsroom.count("ledger_entries") == 0


# --- payments without a row -----------------------------------------------------------------------


async def foreign(room: Newsroom, claimed: str | None, interval: str | None = None) -> str:
    """Create a session at Stripe without a row here. Returns its address."""
    price: dict[str, Any] = {
        "currency": "eur",
        "unit_amount": 4200,
        "product": checkout_session.product_id(Frequency.ONCE),
    }
    params: dict[str, Any] = {
        "mode": "subscription" if interval else "payment",
        "success_url": f"{BASE_URL}/",
        "line_items": [{"quantity": 1, "price_data": price}],
    }
    if interval is not None:
        price["recurring"] = {"interval": interval}
    if claimed is not None:
        params["client_reference_id"] = claimed
    checkout = await room.stripe_owner.v1.checkout.sessions.create_async(params)  # type: ignore[arg-type]  # built as JSON
    assert checkout.url is not None
    return checkout.url


@pytest.mark.parametrize(
    ("claimed", "interval", "frequency"),
    [
        ("1" * 32, None, "once"),
        ("2" * 32, "month", "monthly"),
        ("somebody-else's", "year", "annual"),
        (None, None, "once"),
    ],
)
async def test_a_payment_without_a_row_is_imported_and_an_alert_raised(
    newsroom: Newsroom, claimed: str | None, interval: str | None, frequency: str
) -> None:
    assert await newsroom.pays(await foreign(newsroom, claimed, interval)) == f"{BASE_URL}/"
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(hours=2))
    await newsroom.runs_sweeps()
    rows = await newsroom.rows("SELECT id, status, origin, amount, frequency FROM contributions")
    ((imported_id, *rest),) = rows
    assert rest == ["paid", "imported", 4200, frequency]
    assert await newsroom.rows("SELECT kind, object_id FROM alerts") == [("imported", imported_id)]
    assert await charged(newsroom, str(imported_id)) == [(f"income:{frequency}", 4200, "eur")]
    await says(newsroom, str(imported_id), PAID)


async def test_nobody_marks_the_gift_of_another_as_paid(newsroom: Newsroom) -> None:
    gift, checkout = await asks(newsroom, 500_000)
    await newsroom.pays(await foreign(newsroom, claimed=gift))
    await newsroom.runs_until_idle()
    await says(newsroom, gift, CONFIRMING)
    assert await charged(newsroom, gift) == []
    rows = await newsroom.rows("SELECT origin, amount, status FROM contributions ORDER BY amount")
    assert rows == [("imported", 4200, "paid"), ("reader", 500_000, "open")]
    assert await newsroom.pays(checkout) == f"{BASE_URL}/thanks"
    await newsroom.runs_until_idle()
    await says(newsroom, gift, PAID)


async def test_a_foreign_session_that_nobody_pays_is_left_alone(newsroom: Newsroom) -> None:
    await foreign(newsroom, uuid4().hex)
    declined = await foreign(newsroom, uuid4().hex, "month")
    await pay(declined, DECLINED)
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=2))
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    assert await newsroom.count("contributions") == 0
    assert await newsroom.count("alerts") == 0


@pytest.mark.parametrize(
    "_turn", [0, *(pytest.param(turn, marks=pytest.mark.storm) for turn in range(1, 40))]
)
async def test_after_a_restore_from_an_old_backup_the_gift_comes_back_once(
    newsroom: Newsroom, _turn: int
) -> None:
    """The jobs of its charge and of its subscription import it at the same moment."""
    gift, checkout = await asks(newsroom, 3100, "monthly")
    async with newsroom.ctx.sessions.begin() as session:
        await session.execute(text("DELETE FROM contributions"))
    await newsroom.pays(checkout)
    await newsroom.runs_until_idle()
    row = await newsroom.contribution(gift)
    assert (row.origin, row.status, row.amount) == ("imported", ContributionStatus.PAID, 3100)
    assert await newsroom.rows("SELECT id FROM contributions") == [(gift,)]
    await says(newsroom, gift, PAID)
    await newsroom.advances_time(timedelta(days=31))
    await newsroom.runs_until_idle()
    assert await charged(newsroom, gift) == [("income:monthly", 3100, "usd")] * 2


# --- Stripe's refusals ----------------------------------------------------------------------------


async def test_a_gift_stripe_refuses_does_not_hold_up_the_others(newsroom: Newsroom) -> None:
    store = newsroom.sandbox.account.store
    product = store.objects["reader_payments_annual"]
    store.remove("reader_payments_annual")
    refused = await newsroom.requests_contribution(2500, "annual")
    assert refused.status_code == 502
    assert "Nothing was charged." in refused.json()["detail"]
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", "rate_limited")
    assert (await newsroom.requests_contribution(500)).status_code == 503
    await newsroom.advances_time(timedelta(minutes=2))
    await contribution_start.resume_started(newsroom.ctx)
    states = "SELECT frequency, status FROM contributions ORDER BY amount"
    assert await newsroom.rows(states) == [("once", "open"), ("annual", "started")]
    store.add(product)
    await contribution_start.resume_started(newsroom.ctx)
    assert await newsroom.rows(states) == [("once", "open"), ("annual", "open")]


# --- a bank that takes its time -------------------------------------------------------------------

ANSWERS, REFUSES, TAKES_BACK = (
    "AT611904300234573201", "AT861904300235473202", "AT911904300235473209",
)  # fmt: skip
ASKED, BACK = "We have asked your bank for the payment", "Your bank reversed this payment"
DAYS = timedelta(days=1)


async def gives_by_bank(room: Newsroom, iban: str, frequency: str = "once") -> str:
    """Give five euros from a bank account, and let Stripe's events come."""
    started = await room.requests_contribution(500, frequency, "eur")
    paid = await pay(started.json()["checkout_url"], iban=iban, email="reader@example.org")
    assert paid.redirect_url is not None
    await room.runs_until_idle()
    return str(started.json()["id"])


async def shows(room: Newsroom, gift: str, heading: str, status: str) -> Page:
    """Check what the thank-you page and the API say, and return the page."""
    answer = await room.web.get(f"/thanks/{gift}", follow_redirects=True)
    page = Page(answer.text)
    assert page.problems == []
    headings = (CONFIRMING, ASKED, PAID, NOTHING, BACK)
    assert [word for word in headings if f"<h1>{word}</h1>" in answer.text] == [heading]
    assert "refresh" not in answer.headers
    assert (await room.web.get(f"/api/contributions/{gift}")).json()["status"] == status
    return page


async def passes(room: Newsroom, days: int) -> None:
    await room.advances_time(days * DAYS)
    await room.runs_until_idle()


@pytest.mark.parametrize("frequency", ["once", "monthly"])
async def test_a_debit_is_pending_for_days_and_then_paid(
    newsroom: Newsroom, frequency: str
) -> None:
    gift = await gives_by_bank(newsroom, ANSWERS, frequency)
    for _ in range(2):
        page = await shows(newsroom, gift, ASKED, "processing")
        assert "nothing is confirmed until then" in page.text
        assert await charged(newsroom, gift) == []
        assert await newsroom.failed_integrity_checks() == []
        await passes(newsroom, 1)
    await passes(newsroom, 2)
    await shows(newsroom, gift, PAID, "paid")
    assert await charged(newsroom, gift) == [(f"income:{frequency}", 500, "eur")]
    assert await newsroom.count("outbox_mails") == 0
    await passes(newsroom, 2)
    assert (await newsroom.web.get(f"/thanks/{gift}", follow_redirects=True)).status_code == 404


async def test_a_debit_that_fails_days_later_has_taken_nothing(newsroom: Newsroom) -> None:
    gift = await gives_by_bank(newsroom, REFUSES)
    await shows(newsroom, gift, ASKED, "processing")
    await passes(newsroom, 4)
    page = await shows(newsroom, gift, NOTHING, "failed")
    assert "Try again with €5.00 once" in page.links
    assert await newsroom.count("ledger_entries") == 0
    assert await newsroom.failed_integrity_checks() == []


async def test_a_subscription_whose_first_debit_fails_is_notified_once_and_paid_once_it_recovers(
    newsroom: Newsroom,
) -> None:
    gift = await gives_by_bank(newsroom, REFUSES, "monthly")
    await shows(newsroom, gift, ASKED, "processing")
    await passes(newsroom, 3)  # before Stripe asks the bank again
    page = await shows(newsroom, gift, NOTHING, "failed")
    assert "We may ask your bank again" in page.text
    assert not [link for link in page.links if link.startswith("Try again")]
    assert await newsroom.count("ledger_entries") == 0
    assert await newsroom.rows("SELECT kind FROM outbox_mails") == [("payment_failed",)]
    page_address = await card_page_of(newsroom, await subscription_id_of(newsroom))
    await newsroom.pays(page_address)
    await newsroom.runs_until_idle()
    await shows(newsroom, gift, PAID, "paid")
    assert await charged(newsroom, gift) == [("income:monthly", 500, "eur")]


async def test_a_debit_that_comes_back_is_shown_as_returned_and_nothing_of_it_stays(
    newsroom: Newsroom,
) -> None:
    gift = await gives_by_bank(newsroom, TAKES_BACK)
    await passes(newsroom, 4)
    await shows(newsroom, gift, PAID, "paid")
    await passes(newsroom, 8)
    page = await shows(newsroom, gift, BACK, "returned")
    assert "We keep none of it" in page.text
    assert await newsroom.rows(
        "SELECT debit, credit, amount FROM ledger_entries WHERE contribution_id = :id"
        " ORDER BY seq", id=gift,
    ) == [
        ("stripe:balance", "income:once", 500),
        ("expense:processing", "stripe:balance", 35),
        ("refunds", "stripe:balance", 500),
    ]  # fmt: skip
    assert await newsroom.rows("SELECT status FROM charges") == [("returned",)]
    async with open_donor_browser(newsroom) as donor:
        await donor.signs_in()
        payments = (await donor.opens("/manage/payments")).text
        assert "€0.00 Paid €5.00 Returned by the bank €5.00" in payments
    assert await newsroom.failed_integrity_checks() == []
    assert await newsroom.count("alerts") == 0


async def test_one_returned_payment_of_a_subscription_leaves_the_others(
    newsroom: Newsroom,
) -> None:
    gift = await gives_by_bank(newsroom, ANSWERS, "monthly")
    await passes(newsroom, 4)
    store = newsroom.sandbox.account.store
    [method] = [row for row in store.of_kind("payment_method") if row["type"] == "sepa_debit"]
    store.private(method["id"])["number"] = TAKES_BACK
    await passes(newsroom, 30)
    await passes(newsroom, 5)
    assert len(await charged(newsroom, gift)) == 2
    await passes(newsroom, 8)
    assert (await newsroom.contribution(gift)).status is ContributionStatus.PAID
    states = await newsroom.rows("SELECT status, count(*) FROM charges GROUP BY 1 ORDER BY 1")
    assert states == [("returned", 1), ("succeeded", 1)]
    returned = "SELECT contribution_id, amount FROM ledger_entries WHERE debit = 'refunds'"
    assert await newsroom.rows(returned) == [(gift, 500)]
    assert await newsroom.failed_integrity_checks() == []


@pytest.mark.parametrize("iban", [ANSWERS, REFUSES, TAKES_BACK])
async def test_a_debit_of_which_every_event_is_lost_ends_the_same(
    newsroom: Newsroom, iban: str
) -> None:
    started = await newsroom.requests_contribution(500, "once", "eur")
    gift = str(started.json()["id"])
    await pay(started.json()["checkout_url"], iban=iban, email="reader@example.org")
    for _ in range(7):
        await newsroom.advances_time(2 * DAYS)
        newsroom.sandbox.take_deliveries()  # taken, and never delivered
        await newsroom.runs_sweeps()
    status = {ANSWERS: "paid", REFUSES: "failed", TAKES_BACK: "returned"}[iban]
    assert (await newsroom.contribution(gift)).status == status
    assert await newsroom.failed_integrity_checks() == []


# --- a subscription that has ended ----------------------------------------------------------------


async def test_an_invoice_of_a_subscription_that_has_ended_opens_an_alert(
    newsroom: Newsroom,
) -> None:
    gift = await has_given(newsroom, 500, "monthly")
    id_, stripe = await subscription_id_of(newsroom), newsroom.stripe_owner.v1
    await cancellations.cancel(newsroom.ctx, id_, actor=Actor.DONOR)
    await newsroom.runs_until_idle()
    assert await newsroom.count("alerts") == 0
    await newsroom.advances_time(timedelta(days=1))
    account = newsroom.sandbox.account
    invoice = invoices.draft(account, account.store.objects[id_], "subscription_cycle")
    ((method,),) = await newsroom.rows("SELECT stripe_payment_method_id FROM subscriptions")
    await stripe.invoices.pay_async(invoice["id"], {"payment_method": str(method)})
    await newsroom.runs_until_idle()
    assert await newsroom.rows("SELECT kind, object_id FROM alerts") == [
        ("charged_after_cancellation", id_)
    ]
    assert len(await charged(newsroom, gift.id)) == 2
    async with newsroom.ctx.sessions.begin() as session:
        token = await accounts.invite(session, "Ada", role=Role.ADMIN, now=newsroom.ctx.now())
    await newsroom.web.post(f"/staff/enter/{token}", headers=SAME_ORIGIN_HEADERS)
    assert (
        "A subscription that had ended was charged again"
        in (await newsroom.web.get("/finance")).text
    )


# --- the number of requests -----------------------------------------------------------------------


async def test_a_gift_takes_few_requests_to_stripe(newsroom: Newsroom) -> None:
    before = newsroom.stripe_get_count()
    await has_given(newsroom, 500, "monthly")
    assert newsroom.stripe_get_count() - before <= 6
    before = newsroom.stripe_get_count()
    await newsroom.advances_time(timedelta(days=31))
    await newsroom.runs_until_idle()
    assert len(await newsroom.rows("SELECT 1 FROM charges WHERE status = 'succeeded'")) == 2
    assert newsroom.stripe_get_count() - before <= 5


async def test_a_card_that_nothing_is_charged_to_takes_no_request(newsroom: Newsroom) -> None:
    await has_given(newsroom, 500, "monthly")
    stripe = newsroom.stripe_owner.v1
    ((customer,),) = await newsroom.rows("SELECT stripe_customer_id FROM subscriptions")
    method = await stripe.payment_methods.create_async(
        {"type": "card", "card": {"token": "tok_visa"}}
    )
    before = newsroom.stripe_get_count()
    await stripe.payment_methods.attach_async(method.id, {"customer": str(customer)})
    await stripe.payment_methods.detach_async(method.id)
    await newsroom.runs_until_idle()
    assert newsroom.stripe_get_count() == before


async def test_a_debit_under_way_is_looked_at_once_a_day(newsroom: Newsroom) -> None:
    await gives_by_bank(newsroom, ANSWERS)
    before = newsroom.stripe_get_count()
    for _ in range(12):
        await newsroom.advances_time(timedelta(hours=4))
        await sweeps.sync_overdue(newsroom.ctx)
        await newsroom.runs_due_jobs()
    assert newsroom.stripe_get_count() - before <= 4
