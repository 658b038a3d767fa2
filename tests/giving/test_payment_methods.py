"""What a subscription is charged to changes in seven ways: each is logged and mailed once."""

from datetime import date, timedelta

import pytest

from payments.giving import cancellations, notices_due, payment_methods, subscription_changes
from payments.giving.change_log import Actor
from payments.giving.subscriptions import Subscription
from tests.support import stripe_dashboard
from tests.support.donor import card_page_of, subscription_id_of
from tests.support.newsroom import Newsroom
from tests.support.past import has_given

pytestmark = pytest.mark.anyio


async def start_subscription(newsroom: Newsroom, frequency: str = "monthly") -> Subscription:
    contribution = await has_given(newsroom, 500, frequency)
    id_ = await subscription_id_of(newsroom, contribution)
    async with newsroom.ctx.sessions() as session:
        return await session.get_one(Subscription, id_)


async def reload(newsroom: Newsroom, subscription: Subscription) -> Subscription:
    """Let everything happen, and return the subscription as it is then."""
    await newsroom.runs_until_idle()
    async with newsroom.ctx.sessions() as session:
        return await session.get_one(Subscription, subscription.stripe_subscription_id)


async def attach_card(newsroom: Newsroom, subscription: Subscription) -> str:
    """Attach another card of the same customer, as the dashboard or another program would."""
    stripe = newsroom.stripe_owner.v1
    method = await stripe.payment_methods.create_async(
        {"type": "card", "card": {"token": "tok_visa"}}
    )
    await stripe.payment_methods.attach_async(
        method.id, {"customer": subscription.stripe_customer_id}
    )
    return method.id


async def mail_kinds(newsroom: Newsroom, subscription: Subscription) -> list[tuple[object, ...]]:
    """Return the mails about a subscription, by kind, but for the news that it is a second one."""
    return await newsroom.rows(
        "SELECT kind FROM outbox_mails WHERE subscription_id = :id AND kind <> 'second_begun'"
        " ORDER BY kind",
        id=subscription.stripe_subscription_id,
    )


async def history(newsroom: Newsroom, subscription: Subscription) -> list[tuple[object, ...]]:
    return await newsroom.rows(
        "SELECT kind, actor FROM subscription_changes WHERE subscription_id = :id"
        " AND done_at IS NOT NULL ORDER BY done_at, kind",
        id=subscription.stripe_subscription_id,
    )


async def test_a_donor_replaces_the_card_and_only_that_subscription_changes(
    newsroom: Newsroom,
) -> None:
    one, other = await start_subscription(newsroom), await start_subscription(newsroom)
    page = await card_page_of(newsroom, one.stripe_subscription_id, actor=Actor.DONOR)
    assert await newsroom.pays(page) == "http://127.0.0.1:8000/manage"
    after, untouched = await reload(newsroom, one), await reload(newsroom, other)
    assert after.stripe_payment_method_id != one.stripe_payment_method_id
    assert untouched.stripe_payment_method_id == other.stripe_payment_method_id
    assert await mail_kinds(newsroom, one) == [("card_changed",)]
    assert await mail_kinds(newsroom, other) == []
    assert await history(newsroom, one) == [("card", "donor")]


async def test_a_card_that_is_only_attached_is_not_in_use(newsroom: Newsroom) -> None:
    subscription = await start_subscription(newsroom)
    await attach_card(newsroom, subscription)
    after = await reload(newsroom, subscription)
    assert after.stripe_payment_method_id == subscription.stripe_payment_method_id
    assert await mail_kinds(newsroom, subscription) == []


async def test_the_dashboard_sets_another_card_on_the_subscription(newsroom: Newsroom) -> None:
    subscription = await start_subscription(newsroom)
    method = await attach_card(newsroom, subscription)
    await newsroom.stripe_owner.v1.subscriptions.update_async(
        subscription.stripe_subscription_id, {"default_payment_method": method}
    )
    after = await reload(newsroom, subscription)
    assert after.stripe_payment_method_id == method
    assert await history(newsroom, subscription) == [("card", "stripe")]
    assert await mail_kinds(newsroom, subscription) == [("card_changed",)]


async def test_the_customers_default_counts_where_the_subscription_has_none(
    newsroom: Newsroom,
) -> None:
    subscription = await start_subscription(newsroom)
    stripe = newsroom.stripe_owner.v1
    await stripe.subscriptions.update_async(
        subscription.stripe_subscription_id, {"default_payment_method": ""}
    )
    method = await attach_card(newsroom, subscription)
    await stripe.customers.update_async(
        subscription.stripe_customer_id, {"invoice_settings": {"default_payment_method": method}}
    )
    after = await reload(newsroom, subscription)
    assert after.stripe_payment_method_id == method


async def test_a_card_the_network_renewed_is_stored_without_a_mail(newsroom: Newsroom) -> None:
    subscription = await start_subscription(newsroom)
    assert subscription.stripe_payment_method_id is not None
    newsroom.sandbox.update_card_by_network(
        subscription.stripe_payment_method_id, exp_month=2, exp_year=2044
    )
    after = await reload(newsroom, subscription)
    assert after.card_expires_on == date(2044, 2, 29)
    assert await mail_kinds(newsroom, subscription) == []
    assert await history(newsroom, subscription) == []


async def test_a_detached_card_leaves_a_subscription_that_needs_one(newsroom: Newsroom) -> None:
    subscription = await start_subscription(newsroom)
    assert subscription.stripe_payment_method_id is not None
    newsroom.sandbox.dashboard_request(
        "POST", f"/v1/payment_methods/{subscription.stripe_payment_method_id}/detach"
    )
    after = await reload(newsroom, subscription)
    assert after.needs_card
    assert await mail_kinds(newsroom, subscription) == [("needs_card",)]


async def test_a_failed_renewal_is_notified_once_fixed_by_a_new_card_and_paid_once(
    newsroom: Newsroom,
) -> None:
    subscription = await start_subscription(newsroom)
    assert subscription.stripe_payment_method_id is not None
    newsroom.sandbox.fail_card(subscription.stripe_payment_method_id, "insufficient_funds")
    await newsroom.advances_time(timedelta(days=31))
    past_due = await reload(newsroom, subscription)
    assert past_due.status == "past_due"
    assert await mail_kinds(newsroom, subscription) == [("payment_failed",)]
    page = await card_page_of(newsroom, subscription.stripe_subscription_id, actor=Actor.LINK)
    await newsroom.pays(page)
    recovered = await reload(newsroom, subscription)
    assert recovered.status == "active"
    assert await newsroom.rows(
        "SELECT count(*), sum(amount) FROM ledger_entries WHERE credit = 'income:monthly'"
    ) == [(2, 1000)]
    assert await mail_kinds(newsroom, subscription) == [("card_changed",), ("payment_failed",)]


async def test_a_renewal_that_never_succeeds_lapses_and_nothing_is_owed(
    newsroom: Newsroom,
) -> None:
    subscription = await start_subscription(newsroom)
    assert subscription.stripe_payment_method_id is not None
    newsroom.sandbox.fail_card(subscription.stripe_payment_method_id, "insufficient_funds")
    for _ in range(8):
        await newsroom.advances_time(timedelta(days=7))
        await newsroom.runs_until_idle()
    after = await reload(newsroom, subscription)
    assert after.status == "canceled"
    assert await mail_kinds(newsroom, subscription) == [("lapsed",), ("payment_failed",)]
    assert await history(newsroom, subscription) == [("lapsed", "stripe")]


async def test_a_cancelled_subscription_is_notified_once_and_never_charged_again(
    newsroom: Newsroom,
) -> None:
    subscription = await start_subscription(newsroom)
    await cancellations.cancel(newsroom.ctx, subscription.stripe_subscription_id, actor=Actor.DONOR)
    await cancellations.cancel(newsroom.ctx, subscription.stripe_subscription_id, actor=Actor.DONOR)
    await newsroom.advances_time(timedelta(days=90))
    after = await reload(newsroom, subscription)
    assert after.status == "canceled"
    assert await mail_kinds(newsroom, subscription) == [("cancelled",)]
    assert await history(newsroom, subscription) == [("cancelled", "donor")]
    assert await newsroom.rows(
        "SELECT count(*) FROM ledger_entries WHERE credit = 'income:monthly'"
    ) == [(1,)]


async def test_an_expiring_card_is_notified_once_unless_the_network_renews_it(
    newsroom: Newsroom,
) -> None:
    expiring, renewed = await start_subscription(newsroom), await start_subscription(newsroom)
    for subscription in (expiring, renewed):
        assert subscription.stripe_payment_method_id is not None
        newsroom.sandbox.update_card_by_network(
            subscription.stripe_payment_method_id, exp_month=12, exp_year=2026
        )
    await newsroom.runs_until_idle()
    assert renewed.stripe_payment_method_id is not None
    newsroom.sandbox.update_card_by_network(
        renewed.stripe_payment_method_id, exp_month=12, exp_year=2031
    )
    await newsroom.advances_time(timedelta(days=20))
    await newsroom.runs_until_idle()
    for _ in range(2):
        await notices_due.notify_expiring_cards(newsroom.ctx)
    assert await mail_kinds(newsroom, expiring) == [("card_expiring",)]
    assert await mail_kinds(newsroom, renewed) == []


async def test_a_charge_that_comes_seldom_is_announced_once_and_a_frequent_one_is_not(
    newsroom: Newsroom,
) -> None:
    annual, monthly = (
        await start_subscription(newsroom, "annual"),
        await start_subscription(newsroom),
    )
    paused = await start_subscription(newsroom, "annual")
    card, customer = monthly.stripe_payment_method_id, monthly.stripe_customer_id
    intervals = ("month", 3), ("month", 6), ("week", 26), ("day", 180), ("year", 2), ("month", 36)
    begun = {
        stripe_dashboard.subscribe(
            newsroom,
            customer,
            card,
            500,
            product="reader_payments_annual",
            interval=interval,
            count=count,
        ): (interval, count)
        for interval, count in intervals
    }
    await newsroom.runs_until_idle()
    await subscription_changes.pause(
        newsroom.ctx, paused.stripe_subscription_id, None, actor=Actor.DONOR
    )
    announced = set[tuple[object, ...]]()
    # Of these half a year or a year shows enough.
    frequent = {id_ for id_, each in begun.items() if each in {("month", 3), ("day", 180)}}
    # Ten days before half a year, a year, two and three.
    often = [monthly.stripe_subscription_id]
    for days, ended in (170, []), (185, often), (365, frequent), (365, []):
        for id_ in ended:
            newsroom.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{id_}")
        await newsroom.advances_time(timedelta(days=days))
        await newsroom.runs_until_idle()
        new = await notices_due.notify_upcoming_renewals(newsroom.ctx)
        assert await notices_due.notify_upcoming_renewals(newsroom.ctx) == 0
        rows = await newsroom.rows(
            "SELECT subscription_id, key FROM outbox_mails WHERE kind = 'renews_soon'"
        )
        assert new == len(rows) - len(announced) > 0
        announced |= set(rows)
    assert {id_ for id_, _ in announced} == {annual.stripe_subscription_id, *begun} - frequent
    await newsroom.runs_until_idle()
    subjects = {mail.subject.partition(" on ")[0] for mail in newsroom.mails()}
    assert {"Your annual payment is due", "Your regular payment is due"} <= subjects


async def test_a_charge_that_comes_seldom_is_announced_after_a_pause_too(
    newsroom: Newsroom,
) -> None:
    annual = await start_subscription(newsroom, "annual")
    id_ = annual.stripe_subscription_id
    newsroom.sandbox.dashboard_request(
        "POST",
        f"/v1/subscriptions/{id_}",
        {
            "pause_collection": {
                "behavior": "void",
                "resumes_at": int((newsroom.clock() + timedelta(days=364)).timestamp()),
            }
        },
    )
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=356))
    await newsroom.runs_until_idle()
    assert await notices_due.notify_upcoming_renewals(newsroom.ctx) == 1
    assert await mail_kinds(newsroom, annual) == [("paused",), ("renews_soon",)]
    await newsroom.runs_until_idle()
    assert "Your annual payment is due on" in newsroom.mails()[-1].subject


async def test_an_event_of_an_old_card_that_comes_late_does_not_bring_it_back(
    newsroom: Newsroom,
) -> None:
    subscription = await start_subscription(newsroom)
    page = await card_page_of(newsroom, subscription.stripe_subscription_id, actor=Actor.DONOR)
    await newsroom.pays(page)
    await newsroom.runs_until_idle()
    newer = await attach_card(newsroom, subscription)
    await newsroom.stripe_owner.v1.subscriptions.update_async(
        subscription.stripe_subscription_id, {"default_payment_method": newer}
    )
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=2))
    intents = newsroom.sandbox.dashboard_request("GET", "/v1/setup_intents")
    await payment_methods.sync_setup_intent(newsroom.ctx, intents["data"][0]["id"])
    after = await reload(newsroom, subscription)
    assert after.stripe_payment_method_id == newer


async def test_a_card_for_a_subscription_that_has_ended_meanwhile_opens_no_alert(
    newsroom: Newsroom,
) -> None:
    subscription = await start_subscription(newsroom)
    page = await card_page_of(newsroom, subscription.stripe_subscription_id, actor=Actor.DONOR)
    await newsroom.pays(page)
    newsroom.sandbox.dashboard_request(
        "DELETE", f"/v1/subscriptions/{subscription.stripe_subscription_id}"
    )
    await newsroom.runs_until_idle()
    after = await reload(newsroom, subscription)
    assert after.status == "canceled"
    assert await newsroom.count("alerts") == 0
