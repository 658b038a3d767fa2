"""What of a Stripe account is a contribution, when something else is sold by the same account."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from payments.accounting.reports import monthly, other_income
from payments.core import adoption
from payments.core.adoption import AdoptionKind
from payments.core.frequency import Frequency
from payments.giving import (
    adoption_review,
    cancellations,
    charges,
    checkout,
    checkout_session,
    subscription_origin,
    subscription_sync,
)
from payments.giving.change_log import Actor
from payments.infra.context import Context
from payments.ops import doctor, reconcile
from payments.safety import global_erasure, retention
from tests.support.donor import account_page, open_donor_browser, subscription_id_of
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.past import has_given
from tests.support.stripe_dashboard import pay_once, product_of, subscribe, update, with_card

pytestmark = pytest.mark.anyio

BUYER = "buyer@example.org"
INCOME_SQL = (
    "SELECT CASE WHEN debit = 'stripe:balance' THEN credit ELSE debit END AS account,"
    " sum(CASE WHEN debit = 'stripe:balance' THEN amount ELSE -amount END)"
    " FROM ledger_entries WHERE 'stripe:balance' IN (debit, credit)"
    " AND NOT ARRAY['bank', 'in-transit'] && ARRAY[debit, credit]::text[] GROUP BY 1 ORDER BY 1"
)


async def days_pass(room: Newsroom, days: int) -> None:
    await room.advances_time(timedelta(days=days))
    await room.runs_until_idle()
    await room.runs_sweeps()
    await room.runs_until_idle()


async def test_a_shop_on_the_same_account_is_no_donation_and_nobody_hears_of_it(
    newsroom: Newsroom,
) -> None:
    room = newsroom
    customer, card = with_card(room, BUYER)
    await room.gives(500)
    id_ = subscribe(room, customer, card, 1500, product="letters", shop="letters")
    charge = pay_once(room, customer, card, 2900, shop="tshirts")
    # What is odd of it concerns nobody: Stripe answers for it, or says what this does not know.
    odd = room.sandbox.account.store.objects[id_]
    odd["automatic_tax"]["enabled"] = True
    odd["items"]["data"][0]["price"]["recurring"]["interval"] = "fortnight"
    room.sandbox.faults.add("POST", "/v1/invoices/create_preview", "status_500", remaining=99)
    await room.runs_until_idle()
    assert await room.rows("SELECT args FROM procrastinate_jobs WHERE status <> 'doing'") == []
    assert "/v1/invoices/create_preview" not in [one.path for one in room.sandbox.requests]
    room.sandbox.faults.clear()
    odd["items"]["data"][0]["price"]["recurring"]["interval"] = "month"
    room.sandbox.problems.clear()  # the word is none of Stripe's yet
    await room.sandbox.advance_to_captures()
    (sale,) = [
        row
        for row in room.sandbox.account.store.of_kind("balance_transaction")
        if row["source"] == charge
    ]
    (part,) = sale["fee_details"]  # outside of the US a tax is a part of the fee
    parts = [{**part, "amount": sale["fee"] - 20}, {**part, "amount": 20, "type": "tax"}]
    room.sandbox.account.set_fields(sale, fee_details=parts)
    await days_pass(room, 2)
    assert await room.count("contributions") == 1
    assert await room.count("subscriptions") == 0
    assert await room.rows("SELECT kind FROM alerts") == []
    update(room, "/v1/refunds", charge=charge, amount=900)
    await room.runs_until_idle()
    room.sandbox.fail_card(card)
    await days_pass(room, 31)
    assert room.mails() == []
    assert await room.count("donors") == 1
    accounts: dict[Any, Any] = dict(await room.rows(INCOME_SQL))  # type: ignore[arg-type]
    assert {name: accounts[name] for name in accounts if not name.endswith("fees")} == {
        "expense:billing": accounts["expense:billing"],
        "expense:processing": -45,
        "income:once": 500,
        "other:income": 4400,
        "other:refunds": -900,
    }
    assert accounts["other:fees"] < 0
    stored = room.sandbox.account.store.objects[id_]
    assert stored["status"] == "past_due"
    assert await room.failed_integrity_checks() == []
    assert (await reconcile.run(room.ctx, days=60)).before == ()
    zone = room.settings.accounting_zoneinfo
    async with room.ctx.sessions() as session:
        months = await other_income.by_month(session, zone)
        donations = await monthly.by_month(session, zone)
    assert sum(month.gross for month in months) == 4400
    assert sum(month.refunds for month in months) == 900
    assert sum(total.gross for total in donations) == 500
    assert sum(total.refunds for total in donations) == 0


@pytest.mark.parametrize(
    ("rule", "is_adopted"),
    [
        ("ours", False),
        ("all", True),
        ("products:others,letters", True),
        ("products:others", False),
        ("metadata:shop=letters", True),
        ("metadata:shop=tshirts", False),
    ],
)
async def test_the_operator_says_what_is_a_contribution(
    database: str, rule: str, *, is_adopted: bool
) -> None:
    async with open_newsroom(database, adopt=rule) as room:
        customer, card = with_card(room, BUYER)
        id_ = subscribe(room, customer, card, 1500, product="letters", shop="letters")
        await days_pass(room, 2)
        rows = await room.rows("SELECT origin, status FROM contributions")
        assert rows == ([("imported", "paid")] if is_adopted else [])
        assert await room.count("subscriptions") == int(is_adopted)
        income = "income:monthly" if is_adopted else "other:income"
        assert (income, 1500) in await room.rows(INCOME_SQL)
        if rule == "metadata:shop=tshirts":  # later it is
            update(room, f"/v1/subscriptions/{id_}", metadata={"shop": "tshirts"})
        elif is_adopted and rule.startswith("metadata"):  # later it is not
            update(room, f"/v1/subscriptions/{id_}", metadata={"shop": ""})
        await days_pass(room, 31)
        expected = rule == "metadata:shop=tshirts" or is_adopted
        assert await room.count("subscriptions") == int(expected)
        income = "income:monthly" if expected else "other:income"
        months = 2 if expected is is_adopted else 1
        assert (income, 1500 * months) in await room.rows(INCOME_SQL)
        await room.proves_itself()


def with_rule(room: Newsroom, rule: str) -> Context:
    """The same service, whose operator has set or lost the rule."""
    settings = room.settings.model_copy(update={"adopt": adoption.parse(rule)})
    return replace(room.ctx, settings=settings)


async def test_a_rule_that_is_lost_takes_no_live_contribution_from_its_donor(
    database: str,
) -> None:
    async with open_newsroom(database, adopt="metadata:shop=letters") as room:
        ids = []
        for address in ("stays@example.org", "cancels@example.org"):
            customer, card = with_card(room, address)
            ids.append(subscribe(room, customer, card, 1500, product="letters", shop="letters"))
        await room.gives(500, "monthly")
        await days_pass(room, 1)
        assert await adoption_review.find_left_out(room.ctx) == []
        for rule in ("ours", "metadata:shop=leters"):
            ctx = with_rule(room, rule)
            for id_ in ids * 2:
                await subscription_sync.sync(ctx, id_)
            assert await room.count("subscriptions") == 3
            assert await room.count("donors") == 3
            assert sorted(await adoption_review.find_left_out(ctx)) == sorted(ids)
            (found,) = await doctor.CHECKS["adoption"](ctx)
            assert not found.ok
            assert "leaves out 2 live contributions" in found.description
        kind = "SELECT count(*) FROM alerts WHERE kind = 'adoption_mismatch' AND closed_at IS NULL"
        assert await room.rows(kind) == [(1,)]
        assert await adoption_review.find_left_out(room.ctx) == []  # the setting is corrected
        assert await room.rows(kind) == [(0,)]
        await subscription_sync.sync(ctx, ids[0])
        assert await room.rows(kind) == [(1,)]
        with pytest.raises(global_erasure.AdoptionUndecided, match="2 subscriptions were imported"):
            await global_erasure.erase_everyone(ctx, force=True, worklist_settled=True)
        assert await room.count("donors") == 3
        # one of them has been cancelled by its donor, and Stripe does not answer
        room.sandbox.faults.add("DELETE", "/v1/subscriptions/sub_", "status_500", remaining=1000)
        assert not await cancellations.cancel(ctx, ids[1], actor=Actor.DONOR)
        assert await adoption_review.drop(ctx, ids) == adoption_review.Dropped(1, 1)
        room.sandbox.faults.clear()
        assert await adoption_review.drop(ctx, ids) == adoption_review.Dropped(1, 0)
        assert room.sandbox.account.store.objects[ids[1]]["status"] == "canceled"
        assert room.sandbox.account.store.objects[ids[0]]["status"] == "active"
        assert await room.count("subscriptions") == 1
        assert await room.rows(kind) == [(0,)]
        assert await adoption_review.find_left_out(ctx) == []
        (found,) = await doctor.CHECKS["adoption"](ctx)
        assert found.ok
        await room.proves_itself()


async def test_a_dropped_subscription_is_never_cancelled_by_an_erasure(database: str) -> None:
    async with open_newsroom(database, adopt="metadata:shop=letters") as room:
        customer, card = with_card(room, BUYER)
        id_ = subscribe(room, customer, card, 1500, product="letters", shop="letters")
        ours = await room.gives(500, "monthly")
        await days_pass(room, 1)
        ctx = with_rule(room, "ours")
        assert await adoption_review.drop(ctx, [id_]) == adoption_review.Dropped(1, 0)
        changes = "SELECT count(*) FROM subscription_changes WHERE subscription_id = :id"
        async with ctx.sessions() as session:
            assert await session.scalar(text(changes), {"id": id_}) == 0
        assert await subscription_sync.sync(ctx, id_) is None
        # by a rule that takes it in again it is a contribution again, until it is dropped again
        assert await subscription_sync.sync(room.ctx, id_) is not None
        assert await adoption_review.drop(ctx, [id_]) == adoption_review.Dropped(1, 0)
        room.clock.advance(timedelta(days=430))
        await retention.purge_expired(ctx)
        erased = "SELECT count(*) FROM contributions WHERE erased"
        assert await room.rows(erased) == [(1,)]
        for by_everybody in (False, True):
            if by_everybody:
                await global_erasure.erase_everyone(ctx, force=True, worklist_settled=True)
            for one in (ctx, room.ctx, with_rule(room, "all")):
                assert await subscription_sync.sync(one, id_) is None
                found = (await reconcile.run(one, days=450)).before
                assert id_ not in [difference.id for difference in found]
        await subscription_sync.sync(ctx, await subscription_id_of(room, ours))
        await room.runs_due_jobs()
        states = room.sandbox.account.store.of_kind("subscription")
        assert {one["id"] == id_: one["status"] for one in states} == {
            True: "active",
            False: "canceled",
        }


async def test_a_rule_widened_after_everybodys_erasure_cancels_nothing_of_before(
    database: str,
) -> None:
    async with open_newsroom(database, adopt="metadata:shop=letters") as room:
        ids = {}
        for shop in ("letters", "tshirts"):
            customer, card = with_card(room, f"{shop}@example.org")
            ids[shop] = subscribe(room, customer, card, 1500, product=shop, shop=shop)
        room.sandbox.take_deliveries()  # lost
        room.clock.advance(timedelta(minutes=10))
        await global_erasure.erase_everyone(room.ctx, worklist_settled=True)
        ctx = with_rule(room, "all")
        room.clock.advance(timedelta(minutes=10))
        customer, card = with_card(room, "later@example.org")
        ids["later"] = subscribe(room, customer, card, 1500, product="tshirts", shop="tshirts")
        room.sandbox.take_deliveries()
        stored = {shop: await subscription_sync.sync(ctx, id_) for shop, id_ in ids.items()}
        await room.runs_due_jobs()
        assert {shop for shop, id_ in stored.items() if id_ is not None} == {"letters", "later"}
        store = room.sandbox.account.store
        assert {shop: store.objects[id_]["status"] for shop, id_ in ids.items()} == {
            "letters": "canceled",  # it was a contribution when everybody was erased
            "tshirts": "active",
            "later": "active",
        }
        found = (await reconcile.run(ctx, days=2)).before
        assert ids["tshirts"] not in [difference.id for difference in found]


async def test_a_monthly_payment_link_is_known_by_its_sessions_metadata(database: str) -> None:
    async with open_newsroom(database, adopt="metadata:shop=letters") as room:
        for product, shop in (("letters", "letters"), ("tshirts", "tshirts")):
            price = room.sandbox.dashboard_request(
                "POST",
                "/v1/prices",
                {
                    "currency": "usd",
                    "unit_amount": 1500,
                    "product": product_of(room, product),
                    "recurring": {"interval": "month"},
                },
            )
            link = room.sandbox.dashboard_request(
                "POST",
                "/v1/payment_links",
                {
                    "line_items": [{"price": price["id"], "quantity": 1}],
                    "metadata": {"shop": shop},
                },
            )
            await room.pays(str(link["url"]), email=f"{shop}@example.org")
        await days_pass(room, 1)
        await days_pass(room, 31)
        assert await room.rows("SELECT origin, status FROM contributions") == [("imported", "paid")]
        assert await room.rows("SELECT status, amount FROM subscriptions") == [("active", 1500)]
        assert await room.count("donors") == 1
        accounts: dict[Any, Any] = dict(await room.rows(INCOME_SQL))  # type: ignore[arg-type]
        assert (accounts["income:monthly"], accounts["other:income"]) == (3000, 3000)
        assert await adoption_review.find_left_out(room.ctx) == []
        assert (await reconcile.run(room.ctx, days=60)).before == ()
        await room.proves_itself()


async def test_a_payment_link_of_ours_is_known_by_its_product(newsroom: Newsroom) -> None:
    for product, amount in (("tshirts", 700), (checkout_session.product_id(Frequency.ONCE), 900)):
        made = await newsroom.ctx.stripe.v1.checkout.sessions.create_async(
            {
                "mode": "payment",
                "success_url": "https://example.org/",
                "line_items": [
                    {
                        "quantity": 1,
                        "price_data": {
                            "currency": "usd",
                            "unit_amount": amount,
                            "product": product_of(newsroom, product),
                        },
                    }
                ],
            }
        )
        assert made.url is not None
        await newsroom.pays(made.url)
    await days_pass(newsroom, 1)
    assert await newsroom.rows("SELECT amount, status FROM contributions") == [(900, "paid")]
    accounts: dict[Any, Any] = dict(await newsroom.rows(INCOME_SQL))  # type: ignore[arg-type]
    assert (accounts["income:once"], accounts["other:income"]) == (900, 700)


async def test_nothing_paid_is_not_paid(newsroom: Newsroom) -> None:
    room = newsroom
    customer, card = with_card(room, "reader@example.org")
    _, bad = with_card(room, BUYER, "tok_chargeCustomerFail", customer=customer)
    product = checkout_session.product_id(Frequency.MONTHLY)
    declined = subscribe(room, customer, bad, 700, product=product)
    trial = subscribe(room, customer, card, 900, product=product, trial_period_days=30)
    await room.runs_until_idle()
    statuses: dict[Any, Any] = dict(
        await room.rows(
            "SELECT s.stripe_subscription_id, s.status || ' ' || c.status FROM subscriptions s"
            " JOIN contributions c ON c.id = s.contribution_id"
        )  # type: ignore[arg-type]  # two columns
    )
    assert statuses == {declined: "incomplete failed", trial: "trialing trial"}
    async with open_donor_browser(room) as donor:
        page = await donor.signs_in()
        assert "Nothing has been charged yet" in page.text
        assert "Not started: the first payment was not completed" in page.text
    await days_pass(room, 31)
    rows = await room.rows("SELECT amount, status FROM contributions ORDER BY amount")
    assert rows == [(700, "failed"), (900, "paid")]


@pytest.mark.parametrize("prefix", ["card", "src"])
async def test_a_source_older_than_payment_methods_is_charged_and_shown_as_a_card(
    newsroom: Newsroom, prefix: str
) -> None:
    room = newsroom
    customer = update(room, "/v1/customers", email=BUYER)["id"]
    source = room.sandbox.save_legacy_card(customer, prefix=prefix)
    product = checkout_session.product_id(Frequency.MONTHLY)
    subscribe(room, customer, None, 700, product=product)
    await days_pass(room, 31)
    assert await room.rows("SELECT stripe_payment_method_id, status FROM subscriptions") == [
        (source, "active")
    ]
    async with open_donor_browser(room, BUYER) as donor:
        page = await donor.signs_in()
    assert "$7.00 every month" in page.text
    assert "No card to charge" not in page.text


async def test_an_unpaid_subscription_is_shown_as_given_up(newsroom: Newsroom) -> None:
    room = newsroom
    gift = await has_given(room, 500, "monthly")
    id_ = await subscription_id_of(room)
    room.sandbox.account.set_fields(room.sandbox.account.store.objects[id_], status="unpaid")
    await subscription_sync.sync(room.ctx, id_)
    async with open_donor_browser(room) as donor:
        await donor.signs_in()
        page = await donor.opens(account_page(gift))
    assert "No longer charged: payments did not go through" in page.text
    assert "Add another card and your contribution continues" in page.text
    assert "Next payment None scheduled" in page.text


async def test_what_is_copied_or_cleared_at_stripe_makes_no_phantom(newsroom: Newsroom) -> None:
    room = newsroom
    gift = await room.gives(500, "monthly")
    once = await has_given(room, 800)
    id_ = await subscription_id_of(room)
    stored = room.sandbox.account.store.objects[id_]
    product = checkout_session.product_id(Frequency.MONTHLY)
    customer, card = stored["customer"], stored["default_payment_method"]
    twin = subscribe(room, customer, card, 900, product=product, contribution_id=gift.id)
    subscribe(room, customer, card, 1100, product=product, contribution_id=once.id)
    pay_once(room, customer, card, 1300, contribution_id=once.id)
    update(room, f"/v1/subscriptions/{id_}", metadata={"contribution_id": ""})
    await days_pass(room, 1)
    rows = await room.rows("SELECT amount, frequency, status FROM contributions ORDER BY amount")
    assert rows == [
        (500, "monthly", "paid"),
        (800, "once", "paid"),
        (900, "monthly", "paid"),
        (1100, "monthly", "paid"),
        (1300, "once", "paid"),
    ]
    assert (await room.contribution(gift.id)).amount == 500
    async with open_donor_browser(room) as donor:
        page = await donor.signs_in()
        for amount in ("$5.00", "$9.00", "$11.00"):
            (link,) = [text for text in page.links if text.startswith(amount)]
            page_of_one = await donor.opens(page.links[link])
            assert f"You give {amount} every month" in page_of_one.text
            form = await donor.opens(page_of_one.links["Cancel this contribution"])
            if amount == "$9.00":
                await donor.submits(form, page_of_one.links["Cancel this contribution"])
    await room.runs_until_idle()
    ended = await room.rows(
        "SELECT stripe_subscription_id FROM subscriptions WHERE status = 'canceled'"
    )
    assert ended == [(twin,)]


async def test_an_object_stored_meanwhile_by_another_job_is_no_copy_of_itself(
    newsroom: Newsroom,
) -> None:
    room = newsroom
    gift = await room.gives(500, "monthly")
    once = await has_given(room, 800)
    ((payment,),) = await room.rows(
        "SELECT stripe_payment_intent_id FROM payment_intent_links WHERE contribution_id = :id",
        id=once.id,
    )
    async with room.ctx.sessions() as session:
        for may_claim, contribution, own, another in (
            (charges.may_claim, once, str(payment), "pi_another"),
            (checkout.may_claim, once, str(once.stripe_session_id), "cs_another"),
            (subscription_origin.may_claim, gift, await subscription_id_of(room), "sub_another"),
        ):
            assert await may_claim(session, contribution.id, own)
            assert not await may_claim(session, contribution.id, another)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ours", AdoptionKind.OURS),
        (" all ", AdoptionKind.ALL),
        ("products:prod_a, prod_b", AdoptionKind.PRODUCTS),
        ("metadata:line of business=news", AdoptionKind.METADATA),
    ],
)
def test_a_rule_is_read(text: str, kind: AdoptionKind) -> None:
    assert adoption.parse(text).kind is kind


@pytest.mark.parametrize(
    "text", ["", "none", "products:", "products:a b", "metadata:", "metadata:key", "metadata:=x"]
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be ours"):
        adoption.parse(text)
