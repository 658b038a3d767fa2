"""Disputes: what a bank asks, takes and gives back; deadlines; and warnings before."""

from datetime import datetime, timedelta

import pytest

from payments.settlement import disputes
from tests.support.newsroom import Newsroom
from tests.support.past import has_given

pytestmark = pytest.mark.anyio


async def paid(room: Newsroom, amount: int = 2500, card: str = "4242424242424242") -> str:
    """A gift once, with a card. Gives its charge."""
    asked = await room.requests_contribution(amount)
    await room.pays(asked.json()["checkout_url"], card)
    await room.runs_until_idle()
    rows = await room.rows("SELECT stripe_charge_id FROM charges ORDER BY charged_at DESC, 1")
    return str(rows[0][0])


async def balance_of(room: Newsroom, account: str) -> int:
    """The balance of a ledger account, its debits less its credits."""
    [[held]] = await room.rows(
        "SELECT CAST(coalesce(sum(CASE WHEN debit = :a THEN amount ELSE -amount END), 0) AS bigint)"
        "  FROM ledger_entries WHERE :a IN (debit, credit)",
        a=account,
    )
    assert isinstance(held, int)
    return held


async def status(room: Newsroom) -> list[object]:
    return [row[0] for row in await room.rows("SELECT status FROM disputes ORDER BY opened_at, 1")]


async def open_alerts(room: Newsroom) -> list[object]:
    rows = await room.rows("SELECT kind FROM alerts WHERE closed_at IS NULL ORDER BY kind")
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("card", "expected", "taken", "fee"),
    [
        ("4000000000000259", "needs_response", 2500, 1500),
        ("4000000000002685", "needs_response", 2500, 1500),
        ("4000000000001976", "warning_needs_response", 0, 0),
    ],
)
async def test_a_dispute_takes_the_payment_and_a_fee_and_an_inquiry_takes_nothing(
    newsroom: Newsroom, card: str, expected: str, taken: int, fee: int
) -> None:
    await paid(newsroom, card=card)
    await newsroom.runs_until_idle()
    assert await status(newsroom) == [expected]
    assert await balance_of(newsroom, "disputes") == taken
    assert await balance_of(newsroom, "expense:disputes") == fee
    assert await open_alerts(newsroom) == ["dispute_opened"]


@pytest.mark.parametrize(
    ("won", "with_fee", "taken", "fee"),
    [(True, False, 0, 1500), (True, True, 0, 0), (False, False, 1000, 1500)],
)
async def test_what_is_won_comes_back_and_what_is_lost_does_not(
    newsroom: Newsroom, won: bool, with_fee: bool, taken: int, fee: int
) -> None:
    charge = await paid(newsroom)
    dispute = newsroom.sandbox.dispute(charge, amount=1000)  # a part of it
    await newsroom.runs_until_idle()
    newsroom.sandbox.decide_dispute(dispute, won=won, refund_fee=with_fee)
    await newsroom.runs_until_idle()
    assert await status(newsroom) == ["won" if won else "lost"]
    assert await balance_of(newsroom, "disputes") == taken
    assert await balance_of(newsroom, "expense:disputes") == fee
    assert await open_alerts(newsroom) == []


async def test_a_dispute_of_a_gift_belongs_to_that_gift(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 500, "monthly")
    [[charge]] = await newsroom.rows("SELECT stripe_charge_id FROM charges")
    newsroom.sandbox.dispute(str(charge))
    await newsroom.runs_until_idle()
    assert await newsroom.rows(
        "SELECT DISTINCT contribution_id FROM ledger_entries WHERE debit = 'disputes'"
    ) == [(gift.id,)]


async def test_a_second_dispute_of_a_payment_is_one_of_its_own(newsroom: Newsroom) -> None:
    charge = await paid(newsroom)
    first = newsroom.sandbox.dispute(charge)
    newsroom.sandbox.decide_dispute(first, won=True)
    newsroom.sandbox.dispute(charge, amount=700)
    await newsroom.runs_until_idle()
    assert sorted(map(str, await status(newsroom))) == ["needs_response", "won"]
    assert await balance_of(newsroom, "disputes") == 700
    assert await balance_of(newsroom, "expense:disputes") == 3000


async def test_evidence_that_is_due_calls_a_person_in_time_and_once_it_is_late_it_is_lost(
    newsroom: Newsroom,
) -> None:
    charge = await paid(newsroom)
    newsroom.sandbox.dispute(charge)
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=10))
    await disputes.refresh_alerts(newsroom.ctx)
    assert await open_alerts(newsroom) == ["dispute_opened"]
    await newsroom.advances_time(timedelta(days=2))
    assert await disputes.refresh_alerts(newsroom.ctx) == 1
    assert await open_alerts(newsroom) == ["dispute_opened", "evidence_due"]
    [[due_at]] = await newsroom.rows(
        "SELECT evidence_due_at FROM disputes WHERE status = 'needs_response'"
    )
    assert isinstance(due_at, datetime)
    assert (due_at - newsroom.clock()).days == 2
    await newsroom.advances_time(timedelta(days=3))
    newsroom.sandbox.take_deliveries()  # and no webhook arrives
    await newsroom.runs_sweeps()
    assert await status(newsroom) == ["lost"]
    assert await open_alerts(newsroom) == []


async def test_a_dispute_that_was_answered_waits_for_the_bank(newsroom: Newsroom) -> None:
    charge = await paid(newsroom)
    dispute = newsroom.sandbox.dispute(charge)
    await newsroom.runs_until_idle()
    evidence = {"evidence": {"uncategorized_text": "They signed in and saw it."}}
    newsroom.sandbox.dashboard_request("POST", f"/v1/disputes/{dispute}", evidence)
    await newsroom.runs_until_idle()
    assert await status(newsroom) == ["under_review"]
    assert await newsroom.rows("SELECT evidence_submitted FROM disputes") == [(True,)]
    await newsroom.advances_time(timedelta(days=13))
    assert await disputes.refresh_alerts(newsroom.ctx) == 0
    assert await open_alerts(newsroom) == []


async def test_an_inquiry_may_become_a_dispute_or_end(newsroom: Newsroom) -> None:
    first, second = await paid(newsroom), await paid(newsroom, 700)
    inquiry = newsroom.sandbox.dispute(first, inquiry=True)
    newsroom.sandbox.dispute(second, inquiry=True)
    await newsroom.runs_until_idle()
    assert await balance_of(newsroom, "disputes") == 0
    newsroom.sandbox.escalate_dispute(inquiry)
    await newsroom.runs_until_idle()
    assert await balance_of(newsroom, "disputes") == 2500
    newsroom.sandbox.decide_dispute(inquiry, won=True)
    await newsroom.advances_time(timedelta(days=121))
    await newsroom.runs_until_idle()
    assert sorted(map(str, await status(newsroom))) == ["warning_closed", "won"]
    assert await balance_of(newsroom, "disputes") == 0


async def test_a_lost_dispute_of_a_subscription_that_is_still_charged_opens_an_alert_until_it_ends(
    newsroom: Newsroom,
) -> None:
    await has_given(newsroom, 500, "monthly")
    [[charge]] = await newsroom.rows("SELECT stripe_charge_id FROM charges")
    dispute = newsroom.sandbox.dispute(str(charge))
    newsroom.sandbox.decide_dispute(dispute, won=False)
    await newsroom.runs_until_idle()
    assert await open_alerts(newsroom) == ["dispute_lost"]
    [[subscription]] = await newsroom.rows("SELECT stripe_subscription_id FROM subscriptions")
    newsroom.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{subscription}")
    await newsroom.runs_until_idle()
    await disputes.refresh_alerts(newsroom.ctx)
    assert await open_alerts(newsroom) == []


async def test_with_every_word_lost_disputes_and_their_money_are_found(newsroom: Newsroom) -> None:
    charge = await paid(newsroom)
    newsroom.sandbox.dispute(charge)
    newsroom.sandbox.dispute(await paid(newsroom, 700), inquiry=True)
    newsroom.sandbox.take_deliveries()
    await newsroom.runs_sweeps()
    assert sorted(map(str, await status(newsroom))) == ["needs_response", "warning_needs_response"]
    assert await balance_of(newsroom, "disputes") == 2500


async def test_a_warning_of_fraud_calls_a_person_until_the_payment_is_given_back(
    newsroom: Newsroom,
) -> None:
    charge = await paid(newsroom, card="4000000000005423")
    await newsroom.runs_until_idle()
    assert await newsroom.rows("SELECT stripe_charge_id, actionable FROM fraud_warnings") == [
        (charge, True)
    ]
    assert await open_alerts(newsroom) == ["fraud_warning"]
    newsroom.sandbox.dashboard_request("POST", "/v1/refunds", {"charge": charge})
    await newsroom.runs_until_idle()
    assert await newsroom.rows("SELECT actionable FROM fraud_warnings") == [(False,)]
    assert await open_alerts(newsroom) == []


async def test_a_dispute_closed_and_reopened_in_one_second_ends_as_it_is_at_stripe(
    newsroom: Newsroom,
) -> None:
    charge = await paid(newsroom)
    dispute = newsroom.sandbox.dispute(charge)
    newsroom.sandbox.decide_dispute(dispute, won=False)
    waiting = newsroom.sandbox.take_deliveries(copies=2, seed=3)
    await newsroom.deliver(waiting)
    await newsroom.runs_due_jobs()
    await newsroom.runs_until_idle()
    assert await status(newsroom) == ["lost"]
    # "Partially won" in the dashboard: lost, and a part is put back.
    taken_back = "SELECT taken_back FROM returned_money"
    account = newsroom.sandbox.account
    at_stripe = account.store.objects[dispute]
    [withdrawn] = at_stripe["balance_transactions"]
    at_stripe["balance_transactions"].append({**withdrawn, "id": "txn_a_part", "amount": 1000})
    account.emit("charge.dispute.funds_reinstated", at_stripe)
    await newsroom.runs_until_idle()
    assert await newsroom.rows(taken_back) == [(2500,)]  # not all of it is given again
    del at_stripe["balance_transactions"][1]
    newsroom.sandbox.decide_dispute(dispute, won=True)  # on appeal
    await newsroom.runs_until_idle()
    assert await status(newsroom) == ["won"]
    assert await newsroom.rows(taken_back) == []
    assert await balance_of(newsroom, "disputes") == 0
