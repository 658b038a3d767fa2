"""How much a subscription charges and how often, when it was not begun on our own form."""

import itertools
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from payments.accounting.reports import recurring, variance
from payments.accounting.reports.period import month_period
from payments.core.frequency import Interval
from payments.giving import billing_dates, subscription_sync
from payments.giving.subscriptions import Subscription
from payments.sandbox import billing_periods
from tests.support.donor import (
    Donor,
    account_page,
    subscription_id_of,
    successful_charges,
)
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio

# interval, count, how it is shown, and what one charge of 30.00 is worth a month
INTERVALS = (
    ("day", 14, "every 2 weeks", Fraction(3000 * 26, 12)),
    ("day", 10, "every 10 days", Fraction(3000 * 365, 120)),
    ("week", 1, "every week", Fraction(3000 * 52, 12)),
    ("month", 3, "every 3 months", Fraction(1000)),
    ("month", 12, "every year", Fraction(250)),
    ("year", 2, "every 2 years", Fraction(125)),
)


def subscribe_at_stripe(room: Newsroom, first: str, *items: dict[str, Any]) -> str:
    """Begin a subscription in Stripe's dashboard for the customer and card of another one."""
    store = room.sandbox.account.store.objects
    made = room.sandbox.dashboard_request(
        "POST",
        "/v1/subscriptions",
        {
            "customer": store[first]["customer"],
            "default_payment_method": store[first]["default_payment_method"],
            "items": list(items),
        },
    )
    return str(made["id"])


def price(amount: int, interval: str = "month", count: int = 1) -> dict[str, Any]:
    """Return an item of a subscription."""
    recurring = {"interval": interval, "interval_count": count}
    return {
        "price_data": {
            "currency": "usd",
            "unit_amount": amount,
            "product": "reader_payments_monthly",
            "recurring": recurring,
        }
    }


async def row_of(room: Newsroom, subscription_id: str) -> Subscription:
    async with room.ctx.sessions() as session:
        return await session.get_one(Subscription, subscription_id)


async def test_every_interval_is_what_stripe_charges_and_what_finance_counts(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500, "monthly")
    first = await subscription_id_of(room)
    begun = {
        subscribe_at_stripe(room, first, price(3000, interval, count)): one
        for one in INTERVALS
        for interval, count, *_ in [one]
    }
    await room.runs_until_idle()
    page = await donor.signs_in()
    for id_, (interval, count, shown, _) in begun.items():
        row = await row_of(room, id_)
        assert f"$30.00 {shown}" in page.text
        assert row.current_period_end is not None
        second = billing_dates.first_charge_after(row, row.current_period_end + timedelta(days=1))
        at_stripe = room.sandbox.account.store.objects[id_]
        timing = at_stripe["items"]["data"][0]["price"]["recurring"]
        assert (timing["interval"], timing["interval_count"]) == (interval, count)
        exact = billing_periods.period_start(at_stripe["billing_cycle_anchor"], timing, 2)
        assert second == datetime.fromtimestamp(exact, UTC), shown
        ((link,),) = await room.rows(
            "SELECT interval_count || ' ' || interval_unit FROM payment_intent_links"
            " WHERE contribution_id = :id",
            id=row.contribution_id,
        )
        assert row.interval is not None
        assert link == f"{row.interval.count} {row.interval.unit}"
    async with room.ctx.sessions() as session:
        (committed,) = await recurring.committed_mrr(session)
    exactly = 500 + sum(monthly for *_, monthly in INTERVALS)
    assert committed == recurring.CommittedMrr("usd", 7, round(exactly), 0)


async def test_a_periodic_contribution_is_changed_at_its_own_interval(donor: Donor) -> None:
    room = donor.room
    await donor.gives(500, "monthly")
    id_ = subscribe_at_stripe(room, await subscription_id_of(room), price(3000, "month", 3))
    await room.runs_until_idle()
    contribution = await room.contribution((await row_of(room, id_)).contribution_id)
    page = await donor.signs_in()
    page = await donor.opens(account_page(contribution))
    assert "You give $30.00 every 3 months" in page.text
    form = await donor.opens(f"{account_page(contribution)}/amount")
    assert "New amount every 3 months (USD)" in form.text
    await donor.submits(form, f"{account_page(contribution)}/amount", amount="45")
    pauses = await donor.opens(f"{account_page(contribution)}/pause")
    assert "3 months (22 May 2027)" in pauses.text
    assert "4 months" not in pauses.text
    frequency = await donor.opens(f"{account_page(contribution)}/frequency")
    assert "Give $15.00 every month" in frequency.text
    await room.runs_until_idle()
    subject, text = room.mails()[-1].subject, room.mails()[-1].part()
    assert subject == "The amount of your regular payment has changed"
    assert "now $45.00 every 3 months" in text
    item = room.sandbox.account.store.objects[id_]["items"]["data"][0]
    assert item["price"]["recurring"]["interval_count"] == 3
    for days in (93, 1):  # the charge is captured, and then settled
        await room.advances_time(timedelta(days=days))
        await room.runs_until_idle()
    await room.runs_sweeps()
    charged = await successful_charges(room)
    assert ("2027-02-22", 4500) in charged
    rows = await room.rows(
        "SELECT credit, sum(amount) FROM ledger_entries WHERE credit LIKE 'income:%' GROUP BY 1"
        " ORDER BY 1"
    )
    assert rows == [("income:monthly", 2000), ("income:periodic", 7500)]
    async with room.ctx.sessions() as session:
        zone = room.settings.accounting_zoneinfo
        months = await recurring.mrr_by_month(
            session, zone, since=date(2026, 11, 1), until=date(2027, 2, 1)
        )
    assert [month.closing for month in months] == [1500, 1500, 1500]


async def test_days_and_weeks_are_the_same_revenue_in_every_month_until_one_ends(
    donor: Donor,
) -> None:
    room = donor.room
    zone = room.settings.accounting_zoneinfo
    await donor.gives(500, "monthly")
    first = await subscription_id_of(room)
    counts = (20, 30, 35, 90)
    worth = {count: 3000 * Interval.of("day", count).charges_per_month for count in counts}
    begun = {count: subscribe_at_stripe(room, first, price(3000, "day", count)) for count in counts}
    await room.advances_time(timedelta(days=210))
    await room.runs_until_idle()
    room.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{begun[90]}", {})
    await room.runs_until_idle()
    await room.advances_time(timedelta(days=105))
    await room.runs_until_idle()
    await room.runs_sweeps()
    since, until = date(2026, 12, 1), date(2027, 10, 1)
    async with room.ctx.sessions() as session:
        months = (await recurring.mrr_by_month(session, zone, since=since, until=until))[::-1]
        of_90_days = await room.rows(
            "SELECT CAST(max(occurred_at AT TIME ZONE :zone) AS date) FROM ledger_entries"
            " WHERE contribution_id = :id AND credit = 'income:periodic'",
            zone=zone.key,
            id=(await row_of(room, begun[90])).contribution_id,
        )
        causes = {
            part.cause: part
            for earlier, later in itertools.pairwise(month.month for month in months)
            for part in (
                await variance.net_variance(
                    session,
                    zone,
                    currency="usd",
                    earlier=month_period(earlier),
                    later=month_period(later),
                )
            ).components
        }
    ((last_payment,),) = of_90_days
    assert isinstance(last_payment, date)
    ends = (last_payment + timedelta(days=90)).replace(day=1)
    steady = 500 + sum(worth.values())
    for month in months:
        assert month.closing == round(steady - (worth[90] if month.month >= ends else 0)), month
        assert month.churn_involuntary == month.reactivation == 0
        assert month.churn_voluntary == month.closing - month.opening
        assert (month.churn_voluntary < 0) == (month.month == ends)
    assert since < ends < until
    assert causes.keys() <= {
        variance.VarianceCause.PERIODIC,
        variance.VarianceCause.TIMING,
        variance.VarianceCause.FEES,
    }
    assert variance.VarianceCause.PERIODIC in causes


async def test_all_items_are_summed_and_one_amount_replaces_them(donor: Donor) -> None:
    room = donor.room
    gift = await donor.gives(500, "monthly")
    id_ = await subscription_id_of(room)
    at_stripe = room.sandbox.account.store.objects[id_]
    (item,) = at_stripe["items"]["data"]
    decimal = {**item["price"], "id": "p2", "unit_amount": None, "unit_amount_decimal": "0.5"}
    second = {**item, "id": "si_second", "quantity": 1999, "price": decimal}
    room.sandbox.account.set_fields(at_stripe, items={**at_stripe["items"], "data": [item, second]})
    await subscription_sync.sync(room.ctx, id_)
    assert (await row_of(room, id_)).amount == 1500
    await room.runs_due_jobs()
    assert "now $15.00 a month" in room.mails()[-1].part()
    await donor.signs_in()
    assert "You give $15.00 every month" in (await donor.opens(account_page(gift))).text


async def test_a_discount_of_the_customer_is_asked_of_stripe_and_no_amount_is_set_beside_it(
    donor: Donor,
) -> None:
    room = donor.room
    gift = await donor.gives(500, "monthly")
    id_ = await subscription_id_of(room)

    async def previews_of_a_sync() -> int:
        seen = len(room.sandbox.requests)
        await subscription_sync.sync(room.ctx, id_)
        return sum("create_preview" in one.path for one in room.sandbox.requests[seen:])

    assert await previews_of_a_sync() == 0
    store = room.sandbox.account.store
    customer = store.objects[store.objects[id_]["customer"]]
    discount = {
        "id": "di_1", "object": "discount", "checkout_session": None, "customer": customer["id"],
        "customer_account": None, "end": None, "invoice": None, "invoice_item": None,
        "promotion_code": None, "source": {"type": "coupon", "coupon": "half"},
        "start": customer["created"], "subscription": None, "subscription_item": None,
    }  # fmt: skip
    room.sandbox.account.set_fields(customer, discount=discount)
    assert await previews_of_a_sync() == 1
    await donor.signs_in()
    form = await donor.opens(f"{account_page(gift)}/amount")
    answer = await donor.submits(form, f"{account_page(gift)}/amount", amount="7")
    assert "A discount or a tax applies" in answer.text
    assert (await row_of(room, id_)).amount == 500


@pytest.mark.parametrize("kind", ["tiers", "metered"])
async def test_an_amount_that_stripe_does_not_fix_is_shown_as_that(donor: Donor, kind: str) -> None:
    room = donor.room
    gift = await donor.gives(500, "monthly")
    id_ = await subscription_id_of(room)
    at_stripe = room.sandbox.account.store.objects[id_]
    (item,) = at_stripe["items"]["data"]
    if kind == "tiers":
        once = {"customer": at_stripe["customer"], "amount": 250, "currency": "usd"}
        room.sandbox.dashboard_request("POST", "/v1/invoiceitems", once)  # on the next invoice too
        recurring_price = {
            **price(1)["price_data"],
            "unit_amount": None,
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [{"up_to": 2, "unit_amount": 300}, {"up_to": "inf", "unit_amount": 100}],
        }
        made = room.sandbox.dashboard_request("POST", "/v1/prices", recurring_price)
        room.sandbox.dashboard_request(
            "POST",
            f"/v1/subscriptions/{id_}",
            {"items": [{"id": item["id"], "price": made["id"], "quantity": 4}],
             "proration_behavior": "none"},
        )  # fmt: skip
    else:
        odd = {**item["price"], "unit_amount": None, "unit_amount_decimal": None}
        odd |= {"recurring": {**odd["recurring"], "usage_type": "metered"}}
        room.sandbox.account.set_fields(
            at_stripe, items={**at_stripe["items"], "data": [{**item, "price": odd}]}
        )
    await subscription_sync.sync(room.ctx, id_)
    expected = 800 if kind == "tiers" else None  # of the next invoice: the last one was 500
    assert (await row_of(room, id_)).amount == expected
    if kind == "tiers":  # while only a trial's invoice is known, the last amount stays
        trial_end = at_stripe["created"] + 86_400
        room.sandbox.account.set_fields(at_stripe, trial_end=trial_end)
        room.sandbox.faults.add("POST", "/invoices/create_preview", "refused")
        await subscription_sync.sync(room.ctx, id_)
        assert (await row_of(room, id_)).amount == 800
        room.sandbox.account.set_fields(at_stripe, trial_end=None)
        await room.runs_due_jobs()
        assert not any("varying" in mail.part() for mail in room.mails())
    await donor.signs_in()
    page = await donor.opens(account_page(gift))
    shown = "$8.00" if kind == "tiers" else "a varying amount"
    assert f"You give {shown} every month" in page.text
    async with room.ctx.sessions() as session:
        (committed,) = await recurring.committed_mrr(session)
    assert (committed.amount, committed.unknown) == (expected or 0, int(expected is None))
    form = await donor.opens(f"{account_page(gift)}/amount")
    await donor.submits(form, f"{account_page(gift)}/amount", amount="7")
    assert (await row_of(room, id_)).amount == 700


@pytest.mark.parametrize(
    ("start", "end", "interval"),
    [
        ("2026-11-22", "2026-12-22", ("month", 1)),
        ("2027-02-28", "2027-03-31", ("month", 1)),  # counted from the 31st
        ("2027-01-31", "2027-02-28", ("month", 1)),
        ("2027-02-28", "2027-05-31", ("month", 3)),
        ("2026-11-22", "2026-11-29", ("week", 1)),
        ("2026-11-22", "2026-12-02", ("day", 10)),
        ("2026-11-22", "2028-11-22", ("year", 2)),
        ("2027-11-22", "2028-11-22", ("year", 1)),
    ],
)
def test_an_interval_follows_from_its_period(
    start: str, end: str, interval: tuple[str, int]
) -> None:
    begin, finish = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (start, end))
    assert Interval.between(begin, finish) == Interval.of(*interval)


@pytest.mark.parametrize(("unit", "count"), [("fortnight", 1), ("month", 0), ("week", -1)])
def test_what_is_no_interval_is_refused(unit: str, count: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        Interval.of(unit, count)
